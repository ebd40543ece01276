"""Replaying a scalar program: at one point, from the arguments of a call to value and Jacobian."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainad.backends import numba, python, vector
from chainad.replay.arguments import checks
from chainad.replay.recording import Recording
from chainad.replay.source import MISS, Replay
from chainad.replay.spelling import Names
from chainad.scalars.program import ScalarProgram
from chainad.scalars.straight import StraightLine
from chainad.scalars.table import NotScalarError

Nested = Callable[[Sequence[Any]], Any]

BACKENDS = ("auto", "numpy", "python", "numba")


def single(
    recording: Recording,
    program: ScalarProgram,
    backend: str,
    scalars: Sequence[bool],
    nested: Nested,
    is_tuple: bool,
) -> tuple[Replay, str]:
    """Return what computes one point, and its source.

    Parameters
    ----------
    recording, program
        What is computed.
    backend : str
        "python" or "numba".
    scalars : sequence of bool
        Whether the value of each output is a NumPy scalar rather than an array.
    nested : callable
        Arranges the blocks of the Jacobian as the user asked.
    is_tuple : bool
        Whether the function returns several outputs.

    Raises
    ------
    NotScalarError
        If the backend lacks a function or a dtype.
    """
    refuse(program, backend)
    names = Names()
    lines = taking(recording, names)
    names.objects |= {"np": np, "array": np.array, "float64": np.float64, "empty": np.empty}
    straight = program.straight
    count = len(straight.outputs)
    results = "".join(f"y{k}, " for k in range(count))
    if backend == "python":
        text = python.source(straight)
        names.objects["work"] = python.load(text)
        names.objects["by_numpy"] = by_numpy(straight)
        lists = ", ".join(_as_list(program, k) for k in program.flows)
        rows = ", ".join(f"v{k}" for k in program.flows)
        lines += [
            "try:",
            f"    ({results}) = work({lists})",
            "except (ArithmeticError, ValueError):",
            f"    ({results}) = by_numpy({rows})",
        ]
    else:
        text = numba.source(straight)
        names.objects["work"] = numba.load(text).run
        names.objects["plain"] = plain
        rows = ", ".join(_as_row(program, k) for k in program.flows)
        for k, output in enumerate(straight.outputs):
            lines.append(f"y{k} = empty((1, {len(output)}))")
        lines += [
            "try:",
            f"    work({rows}, {results})",
            "except TypeError:  # an array that is read-only or not aligned",
            f"    work(*map(plain, ({rows},)), {results})",
        ]
    at = "[0]" if backend == "python" else "[0, 0]"
    if program.has_guard:
        lines += [f"if not y{count - 1}{at}:", "    return MISS"]
    n_values = len(scalars) if program.has_value else 0
    arrays = [_as_array(program, k, backend) for k in range(len(program.shapes))]
    values = [
        f"float64(y{k}{at})" if is_scalar else array
        for k, (is_scalar, array) in enumerate(zip(scalars, arrays, strict=False))
    ][:n_values]
    value = f"({', '.join(values)},)" if is_tuple and values else (*values, "()")[0]
    names.objects |= {"nested": nested, "MISS": MISS}
    blocks = ", ".join(arrays[n_values:])
    jacobian = f"nested([{blocks}])" if len(arrays) - n_values != 1 or is_tuple else None
    lines.append(
        f"return {value if n_values or is_tuple else None}, {jacobian or f'nested(({blocks},))'}"
    )
    body = "\n    ".join(lines)
    source = f"def replay(args, kwargs, out=None):\n    {body}\n"
    exec(compile(source, "<chainad scalar replay>", "exec"), names.objects)
    replay: Replay = names.objects["replay"]
    return replay, f"{text}\n{source}"


def refuse(program: ScalarProgram, backend: str) -> None:
    """Raise NotScalarError for what a backend of single numbers lacks."""
    if backend == "numba":
        numba.check_installed()
    absent = (numba if backend == "numba" else python).missing(program.straight)
    if absent:
        raise NotScalarError(f"no spelling of {', '.join(absent)}")
    if program.dtype != np.float64:
        raise NotScalarError(f"the numbers are {program.dtype}")


def taking(recording: Recording, names: Names, holds_constants: bool = True) -> list[str]:
    """Return lines that find the arguments that flow, or give up where the call is another one.

    The numbers of arrays from elsewhere are part of a scalar program (`holds_constants`), so they
    must be the same.
    """
    positional, named = recording.arguments
    names.objects |= {"ndarray": np.ndarray, "MISS": MISS}
    lines = [*checks(positional, "args", names.constant), *checks(named, "kwargs", names.constant)]
    held = [(each.array, each.numbers) for each in recording.statics]
    if holds_constants:
        held += [(x, x) for x in recording.constants.values()]
    for array, numbers in held:
        known = names.constant(numbers.tobytes())
        lines += [f"if {names.constant(array)}.tobytes() != {known}:", "    return MISS"]
    return lines


def by_numpy(straight: StraightLine) -> Callable[..., tuple[Any, ...]]:
    """Return what computes one point by NumPy: infinity and nan are what they are there."""
    run = vector.build(straight, np.dtype(float))
    sizes = [len(output) for output in straight.outputs]

    def compute(*arrays: Any) -> tuple[Any, ...]:
        rows = [np.empty((1, size)) for size in sizes]
        run([np.reshape(x, (1, -1)) for x in arrays], rows)
        return tuple(row[0] for row in rows)

    return compute


def plain(row: Any) -> Any:
    """Return a copy of numbers that compiled code can read."""
    return np.array(row, float, order="C")


def _as_list(program: ScalarProgram, number: int) -> str:
    shape = program.flows[number].shape
    if not shape:
        return f"(float(v{number}),)"
    return f"v{number}.tolist()" if len(shape) == 1 else f"v{number}.ravel().tolist()"


def _as_row(program: ScalarProgram, number: int) -> str:
    flow = program.flows[number]
    if flow.shape and flow.is_c:
        return f"v{number}.reshape(1, {int(np.prod(flow.shape, dtype=int))})"
    return f"plain(v{number}).reshape(1, -1)"


def _as_array(program: ScalarProgram, k: int, backend: str) -> str:
    shape = program.shapes[k]
    if backend == "numba":
        return f"y{k}.reshape({shape})"
    array = f"array(y{k}, float64)"
    return array if len(shape) == 1 else f"{array}.reshape({shape})"
