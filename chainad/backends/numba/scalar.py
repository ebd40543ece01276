"""SSA programs of scalars as source code for numba to compile, for one point or for many."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np

from chainad.backends.python import ScalarEmitter
from chainad.backends.scalar_expressions import NUMBA_TEMPLATES, OPERATOR_TEMPLATES
from chainad.errors import MissingExtraError
from chainad.ir.scalar_program import ScalarProgram

# Points that are computed together: their elements stay in the processor's L1 cache.
CHUNK_POINTS = 64

# Functions for which processors have SIMD instructions.
_VECTORIZABLE = {*OPERATOR_TEMPLATES, np.sqrt, np.absolute, np.sign}


def unsupported(program: ScalarProgram) -> list[str]:
    """Return the names of functions that machine code has no expression for."""
    return sorted(
        {x.function.__name__ for x in program.instructions if x.function not in NUMBA_TEMPLATES}
    )


def is_installed() -> bool:
    """Return whether numba can be imported."""
    return find_spec("numba") is not None


def check_installed() -> None:
    """Raise MissingExtraError if numba is not there."""
    if not is_installed():
        raise MissingExtraError(
            "backend='numba' needs numba, which is not installed; pip install \"chainad[numba]\","
            " or use backend='auto'"
        )


def source(program: ScalarProgram) -> str:
    """Return a module whose `run` fills arrays of shape (points, elements)."""
    inputs = [f"x{k}" for k in range(len(program.inputs))]
    outputs = [f"y{k}" for k in range(len(program.outputs))]
    body = _by_chunks(program) if _is_vectorizable(program) else _by_points(program)
    kinds = ["READ(2)"] * len(inputs) + ["float64[:, ::1]"] * len(outputs)
    return _module(f"void({', '.join(kinds)})", [*inputs, *outputs], body)


def _is_vectorizable(program: ScalarProgram) -> bool:
    """Return whether transposing chunks of points pays, so that arithmetic is vectorized over them.

    Copying an element there and back takes about as long as four operations; and functions of the
    mathematical library take one number at a time.
    """
    written = {k for output in program.outputs for k in output if not program.is_constant(k)}
    is_arithmetic = all(
        instruction.function in _VECTORIZABLE for instruction in program.instructions
    )
    return is_arithmetic and len(program.instructions) > 4 * (len(written) + program.n_inputs)


def _by_points(program: ScalarProgram) -> str:
    """Return a loop over points."""
    read = [[f"x{k}[i, {n}]" for n in range(size)] for k, size in enumerate(program.inputs)]
    written = [
        [f"y{k}[i, {n}]" for n in range(len(output))] for k, output in enumerate(program.outputs)
    ]
    lines = _body(program, read, written, ScalarEmitter(program, NUMBA_TEMPLATES))
    body = "\n        ".join(lines or ["pass"])  # of results without entries
    return f"for i in range(y0.shape[0]):\n        {body}"


def _by_chunks(program: ScalarProgram) -> str:
    """Return a loop over chunks of points, transposed in `s`: one row per element.

    Then the compiler vectorizes arithmetic over the points.
    """
    emitter = ScalarEmitter(program, NUMBA_TEMPLATES)
    elements = [(k, n) for k, size in enumerate(program.inputs) for n in range(size)]
    lines = [
        f"v{row} = s[{row * CHUNK_POINTS} + j]" for row in range(len(elements)) if program.uses[row]
    ]
    lines += emitter.lines()
    rows = {k: k for k in range(program.n_inputs)}
    last = []
    for k, output in enumerate(program.outputs):
        for n, register in enumerate(output):
            value = emitter.name(register)
            if not program.is_constant(register):
                if register not in rows:
                    rows[register] = len(rows)
                    lines.append(f"s[{rows[register] * CHUNK_POINTS} + j] = {value}")
                value = f"s[{rows[register] * CHUNK_POINTS} + j]"
            last.append(f"y{k}[first + j, {n}] = {value}")
    first = [
        f"s[{row * CHUNK_POINTS} + j] = x{k}[first + j, {n}]" for row, (k, n) in enumerate(elements)
    ]
    inner = [
        "\n            ".join([f"for j in range(min({CHUNK_POINTS}, count - first)):", *part])
        for part in (first, lines, last)
    ]
    return "\n    ".join(
        [
            f"s = np.empty({len(rows) * CHUNK_POINTS})",
            "count = y0.shape[0]",
            f"for first in range(0, count, {CHUNK_POINTS}):",
            *(f"    {loop}" for loop in inner),
        ]
    )


def source_at_point(
    program: ScalarProgram,
    inputs: Sequence[tuple[int, ...]],
    outputs: Sequence[tuple[int, ...]],
) -> str:
    """Return a module whose `run` fills arrays of some shapes, at one point.

    Inputs of shape () are floats, outputs of shape () arrays of one element. If the program has one
    output more, it is returned: whether the guards hold, without which the others are not valid.
    """
    xs, ys = [f"x{k}" for k in range(len(inputs))], [f"y{k}" for k in range(len(outputs))]
    read = [_elements(x, shape) if shape else [x] for x, shape in zip(xs, inputs, strict=True)]
    written = [_elements(y, shape or (1,)) for y, shape in zip(ys, outputs, strict=True)]
    emitter = ScalarEmitter(program, NUMBA_TEMPLATES)
    lines = _body(program, read, written, emitter)
    tests = program.outputs[len(outputs) :]
    lines += [f"return {emitter.name(register)}" for test in tests for register in test]
    kinds = [f"READ({len(shape)})" if shape else "float64" for shape in inputs]
    kinds += [f"float64[{':, ' * (len(shape or (1,)) - 1)}::1]" for shape in outputs]
    result = "boolean" if tests else "void"
    return _module(
        f"{result}({', '.join(kinds)})",
        [*xs, *ys],
        "\n    ".join([*lines, "return"] if not tests else lines),
    )


def _elements(name: str, shape: tuple[int, ...]) -> list[str]:
    """Return the elements of an array as source, in row-major order."""
    return [f"{name}[{', '.join(map(str, index))}]" for index in np.ndindex(shape)]


def _body(
    program: ScalarProgram,
    read: Sequence[Sequence[str]],
    written: Sequence[Sequence[str]],
    emitter: ScalarEmitter,
) -> list[str]:
    """Return the lines of one point; `read` and `written` are the elements of arrays as source."""
    elements = [x for array in read for x in array]
    first = [f"v{k} = {x}" for k, x in enumerate(elements) if program.uses[k]]
    lines = emitter.lines()
    last = [
        f"{y} = {emitter.name(register)}"
        for array, output in zip(written, program.outputs, strict=False)
        for y, register in zip(array, output, strict=True)
    ]
    return [*first, *lines, *last]


def _module(signature: str, arguments: Sequence[str], body: str) -> str:
    """Return the source of a module; arrays that are only read may be read-only."""
    return f'''"""Generated by chainad; safe to delete."""

from math import *

import numpy as np
from numba import boolean, float64, njit, void
from numba.types import Array


def READ(ndim):
    return Array(float64, ndim, "C", readonly=True)


@njit({signature}, cache=True, error_model="numpy", nogil=True)
def run({", ".join(arguments)}):
    {body}
'''
