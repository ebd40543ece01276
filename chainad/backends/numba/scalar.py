"""SSA programs of scalars as source code for numba to compile, for one point or for many."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np

from chainad.backends.numba.straight_line import (
    Lines,
    function_source,
    indented,
    names_in,
    part_functions,
    parts_handing_on,
)
from chainad.backends.python import ScalarEmitter
from chainad.backends.scalar_expressions import NUMBA_TEMPLATES, OPERATOR_TEMPLATES
from chainad.errors import MissingExtraError
from chainad.ir.scalar_program import ScalarProgram

# Points that are computed together: their elements stay in the processor's L1 cache.
CHUNK_POINTS = 64

# Of fewer zeros each is stored by itself.
_MIN_ZEROS_AT_ONCE = 8

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
    sizes = [*program.inputs, *map(len, program.outputs)]
    names = [f"x{k}" for k in range(len(program.inputs))]
    names += [f"y{k}" for k in range(len(program.outputs))]
    parameters = [f"{name}: (None, {size})" for name, size in zip(names, sizes, strict=True)]
    emit = _by_chunks if _is_vectorizable(program) else _by_points
    functions, body, size = emit(program, [*parameters, "s: (None,)"])
    functions.append(function_source("work", [*parameters, "s: (None,)"], body))
    kinds = ["READ(2)"] * len(program.inputs) + ["float64[:, ::1]"] * len(program.outputs)
    call = f"work({', '.join([*names, f'np.empty({size})'])})"
    return _module(functions, f"void({', '.join(kinds)})", names, call)


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


def _by_points(program: ScalarProgram, parameters: Sequence[str]) -> tuple[list[str], Lines, int]:
    """Return functions and the body of `work`, a loop over points, and the size of its memory."""
    read = [[f"x{k}[i, {n}]" for n in range(size)] for k, size in enumerate(program.inputs)]
    written = [
        [f"y{k}[i, {n}]" for n in range(len(output))] for k, output in enumerate(program.outputs)
    ]
    emitter = ScalarEmitter(program, NUMBA_TEMPLATES)
    parts, size = parts_handing_on(
        _statements(program, written, emitter), _elements_of(read), "s[{}]"
    )
    functions, calls = part_functions(parts, ["i: int", *parameters])
    # Without entries there are no statements.
    return functions, ["for i in range(y0.shape[0]):", *indented(calls or ["pass"])], size


def _by_chunks(program: ScalarProgram, parameters: Sequence[str]) -> tuple[list[str], Lines, int]:
    """Return functions and the body of `work`, a loop over chunks of points, and its memory's size.

    The elements are transposed in `s`, one row each, so that arithmetic is vectorized over points.
    """
    emitter = ScalarEmitter(program, NUMBA_TEMPLATES)
    assignments = emitter.assignments()
    rows = {k: k for k in range(program.n_inputs)}
    stores = []
    last = []
    for k, output in enumerate(program.outputs):
        for n, register in enumerate(output):
            value = emitter.name(register)
            if not program.is_constant(register):
                if register not in rows:
                    rows[register] = len(rows)
                    stores.append((_row(rows[register]), value))
                value = _row(rows[register])
            last.append(f"y{k}[first + j, {n}] = {value}")
    elements = {f"v{row}": _row(row) for row in range(program.n_inputs)}
    ordered = _ordered([line for _, line in assignments], stores)
    slot = f"s[{{}} * {CHUNK_POINTS} + {len(rows) * CHUNK_POINTS} + j]"
    parts, size = parts_handing_on(ordered, elements, slot)
    parameters = [*parameters, "first: int", "count: int"]
    head = "for j in range(count):"
    functions, calls = part_functions([[head, *indented(x)] for x in parts], parameters)
    last_parts = parts_handing_on(last, {}, "")[0]
    own, last_calls = part_functions(
        [[head, *indented(x)] for x in last_parts], parameters, "store"
    )
    transposed, row = [], 0
    for k, n in enumerate(program.inputs):
        to = f"s[{CHUNK_POINTS} * k + {CHUNK_POINTS * row} + j]"
        transposed += [f"    for k in range({n}):", f"        {to} = x{k}[first + j, k]"]
        row += n
    body = [
        f"for first in range(0, y0.shape[0], {CHUNK_POINTS}):",
        f"    count = min({CHUNK_POINTS}, y0.shape[0] - first)",
        *indented([head, *transposed] if transposed else []),
        *indented([*calls, *last_calls]),
    ]
    return [*functions, *own], body, CHUNK_POINTS * (len(rows) + size)


def _row(row: int) -> str:
    """Return the element of a row of `s` for point j of a chunk."""
    return f"s[{row * CHUNK_POINTS} + j]"


def source_at_point(
    program: ScalarProgram,
    inputs: Sequence[tuple[int, ...]],
    outputs: Sequence[tuple[int, ...]],
) -> str:
    """Return a module whose `run` fills arrays of some shapes, at one point.

    Inputs of shape () are floats, outputs of shape () arrays of one element. If the program has one
    output more, it is returned: whether the guards hold, without which the others are not valid.
    """
    outputs = [shape or (1,) for shape in outputs]
    xs, ys = [f"x{k}" for k in range(len(inputs))], [f"y{k}" for k in range(len(outputs))]
    read = [_elements(x, shape) if shape else [x] for x, shape in zip(xs, inputs, strict=True)]
    written = [_elements(y, shape) for y, shape in zip(ys, outputs, strict=True)]
    emitter = ScalarEmitter(program, NUMBA_TEMPLATES)
    statements = _statements(program, written, emitter)
    tests = [emitter.name(k) for output in program.outputs[len(outputs) :] for k in output]
    statements += [f"return {test}" for test in tests]
    parts, size = parts_handing_on(statements, _elements_of(read), "s[{}]")
    parameters = [f"{x}: {shape or 'float'}" for x, shape in zip(xs, inputs, strict=True)]
    parameters += [f"{y}: {shape}" for y, shape in zip(ys, outputs, strict=True)]
    result = " -> bool" if tests else ""
    functions: list[str] = []
    if len(parts) == 1:
        body = parts[0]
    else:
        functions, body = part_functions(parts, [*parameters, "s: (None,)"], result=result)
        body.insert(0, f"s = np.empty({size})")
    functions.append(function_source("work", parameters, body, result))
    kinds = [f"READ({len(shape)})" if shape else "float64" for shape in inputs]
    kinds += [f"float64[{':, ' * (len(shape) - 1)}::1]" for shape in outputs]
    signature = f"{'boolean' if tests else 'void'}({', '.join(kinds)})"
    names = [*xs, *ys]
    call = f"work({', '.join(names)})"
    return _module(functions, signature, names, f"return {call}" if tests else call)


def _elements(name: str, shape: tuple[int, ...]) -> list[str]:
    """Return the elements of an array as source, in row-major order."""
    return [f"{name}[{', '.join(map(str, index))}]" for index in np.ndindex(shape)]


def _elements_of(read: Sequence[Sequence[str]]) -> dict[str, str]:
    """Return the elements of arrays by the names of their registers."""
    return {f"v{k}": x for k, x in enumerate(x for array in read for x in array)}


def _statements(
    program: ScalarProgram, written: Sequence[Sequence[str]], emitter: ScalarEmitter
) -> Lines:
    """Return the statements of one point; `written` are the elements of arrays as source."""
    assignments = [line for _, line in emitter.assignments()]
    first, stores = [], []
    for array, output in zip(written, program.outputs, strict=False):
        found = [(y, emitter.name(k)) for y, k in zip(array, output, strict=True)]
        n_zeros = sum(value == "0.0" for _, value in found)
        name, _, index = array[0].partition("[") if array else ("", "", "")
        if n_zeros >= _MIN_ZEROS_AT_ONCE and not index.startswith("i,"):
            first.append(f"{name}[:] = 0.0")
            found = [(y, value) for y, value in found if value != "0.0"]
        stores += found
    return first + _ordered(assignments, stores)


def _ordered(assignments: Sequence[str], stores: Sequence[tuple[str, str]]) -> Lines:
    """Return statements; an element is stored as soon as what it depends on is there."""
    defined = {line.partition(" ")[0]: k for k, line in enumerate(assignments)}
    after: dict[int, Lines] = {}
    for element, value in stores:
        at = max((defined.get(name, -1) for name in names_in(value)), default=-1)
        after.setdefault(at, []).append(f"{element} = {value}")
    found = after.get(-1, [])
    for k, line in enumerate(assignments):
        found += [line, *after.get(k, ())]
    return found


def _module(functions: Sequence[str], signature: str, arguments: Sequence[str], call: str) -> str:
    """Return the source of a module; arrays that are only read may be read-only."""
    *parts, work = functions
    defined = "\n\n\n".join([*parts, f"@llvm_function\n{work}"])
    return f'''"""Generated by chainad; safe to delete."""

from math import *

import numpy as np
from numba import boolean, float64, njit, void
from numba.types import Array

from chainad.backends.numba.llvm_functions import llvm_function


def READ(ndim):
    return Array(float64, ndim, "C", readonly=True)


{defined}


@njit({signature}, cache=True, error_model="numpy", nogil=True)
def run({", ".join(arguments)}):
    {call}
'''
