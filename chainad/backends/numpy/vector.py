"""The vector backend: an SSA program of scalars on many points at once, in NumPy.

Every operation is one ufunc call on a row with one element per point. Rows are registers: they are
reused as soon as their value is dead, and points come in chunks so small that all registers stay in
the processor's cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import local
from typing import Any

import numpy as np
import numpy.typing as npt

from chainad.backends.namespace import Namespace
from chainad.ir.scalar_program import Register, ScalarProgram

Array = npt.NDArray[Any]
# Reads arrays of shape (points, elements) and fills such arrays.
Runner = Callable[[Sequence[Array], Sequence[Array]], None]

# So that registers stay in a processor's cache, and chunks are long enough for NumPy's calls to
# cost little: measured on W5, where half of this and twice this take longer.
_REGISTER_BYTES = 2 << 20
_MIN_CHUNK_POINTS, _MAX_CHUNK_POINTS = 256, 4096
_MAX_KEPT_SIZES = 4  # numbers of points that registers are kept for


@dataclass(frozen=True)
class RowAllocation:
    """Which row holds the value of every register.

    Rows of floats are those of the inputs, then of the outputs, then temporaries; rows of booleans
    are numbered separately.
    """

    rows: dict[Register, int]
    n_rows: int
    n_bool_rows: int


def allocate_rows(program: ScalarProgram) -> RowAllocation:
    """Choose a row for every value: that of an output, or one whose value is dead."""
    rows = dict(enumerate(range(program.n_inputs)))
    next_row = program.n_inputs
    for output in program.outputs:
        for register in output:
            if (
                register >= program.first_result
                and register not in rows
                and not program.is_boolean(register)
            ):
                rows[register] = next_row
            next_row += 1
    pinned = {*rows}
    left = [*program.uses]
    free: dict[bool, list[int]] = {True: [], False: []}
    counts = {True: 0, False: next_row}
    for k, instruction in enumerate(program.instructions):
        register = program.first_result + k
        for x in instruction.operands:
            left[x] -= 1
            if not left[x] and x not in pinned and x >= program.first_result:
                free[program.is_boolean(x)].append(rows[x])
        if register not in rows:
            kind = program.is_boolean(register)
            if not free[kind]:
                free[kind].append(counts[kind])
                counts[kind] += 1
            rows[register] = free[kind].pop()
    return RowAllocation(rows, counts[False], counts[True])


def _run_chunk(
    program: ScalarProgram, found: RowAllocation, dtype: np.dtype[Any]
) -> Callable[[list[Array], list[Array]], None]:
    """Return what computes one chunk."""
    names = Namespace()
    for k, value in enumerate(program.constants):
        kind = bool if isinstance(value, bool) else dtype
        names.objects[f"k{program.n_inputs + k}"] = np.array(value, kind)
    lines = []

    def name(register: Register) -> str:
        if program.is_constant(register):
            return f"k{register}"
        return f"{'b' if program.is_boolean(register) else 'r'}{found.rows[register]}"

    for k, instruction in enumerate(program.instructions):
        function = instruction.function
        called = names.function(function)
        args = ", ".join(map(name, instruction.operands))
        out = name(program.first_result + k)
        if isinstance(function, np.ufunc):
            lines.append(f"{called}({args}, out={out})")
        else:
            lines.append(f"{out}[...] = {called}({args})")
    row = program.n_inputs
    for output in program.outputs:
        for register in output:
            if not program.is_constant(register) and found.rows[register] != row:
                lines.append(f"r{row}[...] = {name(register)}")
            row += 1
    rows = "".join(f"r{k}, " for k in range(found.n_rows))
    bool_rows = "".join(f"b{k}, " for k in range(found.n_bool_rows))
    unpacked = [f"({rows}) = rows", *([f"({bool_rows}) = bool_rows"] if bool_rows else [])]
    return names.define("run(rows, bool_rows)", [*unpacked, *lines])[0]


class _Registers(local):
    """The registers of one thread, by the number of points: all floats, their rows, bool rows."""

    def __init__(self) -> None:
        self.by_size: dict[int, tuple[Array, list[Array], list[Array]]] = {}


def build(program: ScalarProgram, dtype: np.dtype[Any]) -> Runner:
    """Return a function that fills arrays of shape (points, elements) from such arrays."""
    found = allocate_rows(program)
    run_chunk = _run_chunk(program, found, dtype)
    kept = _Registers()
    chunk = _REGISTER_BYTES // (dtype.itemsize * max(found.n_rows, 1))
    chunk = min(max(chunk, _MIN_CHUNK_POINTS), _MAX_CHUNK_POINTS)
    constants = _constant_rows(program)

    def registers(size: int) -> tuple[Array, list[Array], list[Array]]:
        known = kept.by_size.get(size)
        if known is None:
            block = np.empty((found.n_rows, size), dtype)
            for row, value in constants:
                block[row] = value
            known = block, list(block), list(np.empty((found.n_bool_rows, size), bool))
            if len(kept.by_size) >= _MAX_KEPT_SIZES:
                kept.by_size.clear()
            kept.by_size[size] = known
        return known

    def run(inputs: Sequence[Array], outputs: Sequence[Array]) -> None:
        count = len(outputs[0])
        with np.errstate(all="ignore"):
            for first in range(0, count, chunk):
                points = slice(first, min(first + chunk, count))
                block, rows, bool_rows = registers(points.stop - first)
                at = 0
                for array in inputs:
                    block[at : at + array.shape[1]] = array[points].T
                    at += array.shape[1]
                run_chunk(rows, bool_rows)
                for array in outputs:
                    array[points] = block[at : at + array.shape[1]].T
                    at += array.shape[1]

    return run


def _constant_rows(program: ScalarProgram) -> list[tuple[int, float]]:
    """Return the rows of the outputs that are constants: they are filled once."""
    registers = [register for output in program.outputs for register in output]
    return [
        (program.n_inputs + k, float(program.constant(register)))
        for k, register in enumerate(registers)
        if program.is_constant(register)
    ]
