"""BufferAllocation: which registers of a program share memory, from what a first run showed.

A register lives from the instruction that writes it to the last one that reads it or a view of it.
Registers that do not live at the same time may have the same memory. An elementwise op whose
first operand ends there writes over it. What is handed out is not among them: it is memory of the
caller's.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from chainad.ir.ops import (
    Add,
    AddAt,
    AddTied,
    Concatenate,
    Copy,
    Dot,
    Jvp,
    MatMul,
    Multiply,
    Op,
    Place,
    Reshape,
    Scale,
    Scatter,
    Subtract,
    Sum,
    Take,
    Transpose,
    Vjp,
)
from chainad.ir.program import Instruction, Program

Array = npt.NDArray[Any]
ELEMENTWISE = (Add, Subtract, Multiply, Scale)
ADDING = (AddAt, AddTied)
WRITING = (*ELEMENTWISE, *ADDING, Concatenate, Copy, Dot, MatMul, Place, Scatter, Sum)


@dataclass(frozen=True, slots=True)
class ArrayType:
    """What a run showed of a register: shape, dtype, whether it looks at its input's memory."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_view: bool

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


def look(register: Any, source: Any) -> ArrayType:
    """Return what is seen of a register and of the first input of what made it."""
    is_array = isinstance(register, np.ndarray) and isinstance(source, np.ndarray)
    is_view = is_array and np.may_share_memory(register, source)
    dtype = getattr(register, "dtype", None)
    return ArrayType(np.shape(register), np.dtype(object) if dtype is None else dtype, is_view)


@dataclass(frozen=True)
class BufferAllocation:
    """Where the registers of a program are written.

    Attributes
    ----------
    sizes : tuple of int
        The bytes of every piece of memory that is kept from call to call.
    pieces : dict
        The piece of every register that is written into one.
    results : dict
        For the other registers with a place: the number of the result whose memory they take, and
        the ops that turn that array into the register.
    in_place : frozenset of int
        The registers that take the memory of their first operand.
    """

    sizes: tuple[int, ...]
    pieces: Mapping[int, int]
    results: Mapping[int, tuple[int, tuple[Op, ...]]]
    in_place: frozenset[int]

    def make(self) -> list[Array]:
        """Return new memory, a vector of bytes for every piece."""
        return [np.empty(size, np.uint8) for size in self.sizes]


def assign(
    program: Program, seen: Mapping[int, ArrayType], constants: Container[int]
) -> BufferAllocation:
    """Return where every register is written; `seen` tells of them all.

    `constants` are registers that are never written.
    """
    made = {i.output: i for i in program.instructions if i.output not in constants}
    owner = _owners(program, seen)
    last = _last_reads(program, owner)
    results = _in_results(program, seen, made)
    in_place: set[int] = set()
    pieces: dict[int, int] = {}
    sizes: list[int] = []
    free: list[tuple[int, int]] = []
    ends: dict[int, list[int]] = {}
    taken_over = _taken_over(made, seen, owner, last, program)
    for k, x in reversed(taken_over.items()):
        # The result's memory serves what is overwritten on the way to it, too.
        if k in results and x not in results and _fits(made[x], results[k][1]):
            results[x] = results[k]
    for n, instruction in enumerate(program.instructions):
        k = instruction.output
        for piece in ends.pop(n, ()):
            insort(free, (sizes[piece], piece))
        if k not in made or not _is_stored(instruction, seen):
            continue
        over = taken_over.get(k)
        if k in results:
            if over is not None and results.get(over) == results[k]:
                in_place.add(k)
            continue
        if over is not None and over in pieces:
            in_place.add(k)
            pieces[k] = pieces[over]
            ends[last[over] + 1].remove(pieces[k])
        else:
            pieces[k] = _piece(seen[k].nbytes, sizes, free)
        # An operand is read while the result is written: its memory is free one later.
        ends.setdefault(last.get(k, n) + 1, []).append(pieces[k])
    return BufferAllocation(tuple(sizes), pieces, results, frozenset(in_place))


def _is_stored(instruction: Instruction, seen: Mapping[int, ArrayType]) -> bool:
    """Return whether an instruction can write into memory that it is given."""
    found = seen[instruction.output]
    if not found.shape or found.is_view or found.dtype == object:
        return False
    op = instruction.op
    if isinstance(op, Take):
        return not isinstance(op.positions, range)
    return isinstance(op, (*WRITING, Reshape))


def _owners(program: Program, seen: Mapping[int, ArrayType]) -> dict[int, int]:
    """Return, for every register, the one whose memory it looks at."""
    owner = {k: k for k in range(program.n_slots)}
    for i in program.instructions:
        if isinstance(i.op, (Jvp, Vjp)):
            # What a user's action returns may be the very array that it was given.
            owner[i.output] = owner[i.inputs[isinstance(i.op, Jvp)]]
        else:
            is_view = bool(i.inputs) and seen[i.output].is_view
            owner[i.output] = owner[i.inputs[0]] if is_view else i.output
    return owner


def _last_reads(program: Program, owner: Mapping[int, int]) -> dict[int, int]:
    """Return the last instruction that reads each register's memory; results are read later."""
    last: dict[int, int] = {}
    for n, i in enumerate(program.instructions):
        for x in i.inputs:
            last[owner[x]] = n
    for k in program.outputs:
        if k is not None:
            last[owner[k]] = len(program.instructions)
    return last


def _taken_over(
    made: Mapping[int, Instruction],
    seen: Mapping[int, ArrayType],
    owner: Mapping[int, int],
    last: Mapping[int, int],
    program: Program,
) -> dict[int, int]:
    """Return the registers that may overwrite an operand that ends there, and that operand."""
    found: dict[int, int] = {}
    for n, i in enumerate(program.instructions):
        if i.output not in made:
            continue
        candidates = i.inputs[:1] if isinstance(i.op, ADDING) else i.inputs
        if not isinstance(i.op, (*ELEMENTWISE, *ADDING)):
            continue
        for x in candidates:
            is_last = owner[x] == x and last[x] == n and x in made
            # Another look at the same memory is read at other places than are written.
            is_alone = not any(owner[y] == x for y in i.inputs if y != x)
            alike = seen.get(x) == seen[i.output]
            if is_last and is_alone and alike and _is_stored(made[x], seen):
                found[i.output] = x
                break
    return found


def _in_results(
    program: Program, seen: Mapping[int, ArrayType], made: Mapping[int, Instruction]
) -> dict[int, tuple[int, tuple[Op, ...]]]:
    """Return the registers that lie in the memory of a result, and the way from there."""
    found: dict[int, tuple[int, tuple[Op, ...]]] = {}
    for number, result in enumerate(program.outputs):
        k = -1 if result is None else result
        way: list[Op] = []
        while k in made and seen[k].is_view:
            op, x = made[k].op, made[k].inputs[0]
            if isinstance(op, Reshape):
                way.append(Reshape(seen[x].shape))
            elif isinstance(op, Transpose):
                way.append(Transpose(tuple(np.argsort(op.order).tolist())))
            else:
                break
            k = x
        if k in made and _is_stored(made[k], seen) and _fits(made[k], way):
            found[k] = (number, tuple(way))
    return found


def _fits(instruction: Instruction, way: Sequence[Op]) -> bool:
    """Return whether a register can be written into what becomes of a result on some way."""
    if not any(isinstance(op, Transpose) for op in way):
        return True
    # Products and gathers write rows only; and a reshape of turned axes would be a copy.
    return len(way) == 1 and isinstance(instruction.op, ELEMENTWISE)


def _piece(nbytes: int, sizes: list[int], free: list[tuple[int, int]]) -> int:
    """Return a free piece of at most twice the size, or a new one."""
    at = bisect_left(free, (nbytes, -1))
    if at < len(free) and free[at][0] <= 2 * nbytes:
        return free.pop(at)[1]
    sizes.append(nbytes)
    return len(sizes) - 1


def views(
    storage: BufferAllocation, seen: Mapping[int, ArrayType], memory: Sequence[Array]
) -> list[Array]:
    """Return the array of every register with a piece, in their order, on some memory."""
    return [
        memory[piece][: seen[k].nbytes].view(seen[k].dtype).reshape(seen[k].shape)
        for k, piece in storage.pieces.items()
    ]
