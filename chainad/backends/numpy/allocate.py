"""Buffer allocation: which registers of a program share memory, by the types of a first run.

A register is live from the instruction that writes it to the last one that reads it or a view of
it. Registers that are not live at the same time may share a buffer. An elementwise op may overwrite
an operand whose live range ends there. Results have no buffers: their memory is the caller's.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from chainad.backends.numpy.emit import can_write_into
from chainad.ir import ops
from chainad.ir.op import Op
from chainad.ir.program import Instruction, Program

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class ArrayType:
    """Shape and dtype of a register in a first run, and whether it is a view of its first input."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_view: bool

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


def type_of(register: Any, source: Any) -> ArrayType:
    """Return the type of a register; `source` is the first input of the op that written it."""
    is_array = isinstance(register, np.ndarray) and isinstance(source, np.ndarray)
    is_view = is_array and np.may_share_memory(register, source)
    dtype = getattr(register, "dtype", None)
    return ArrayType(np.shape(register), np.dtype(object) if dtype is None else dtype, is_view)


@dataclass(frozen=True)
class BufferAllocation:
    """The memory that the registers of a program are written into.

    Attributes
    ----------
    sizes : tuple of int
        The bytes of every buffer.
    buffers : dict
        The number of the buffer of every register that is written into one.
    results : dict
        For registers that are written into a result: its number, and the ops that make the register
        a view of it.
    in_place : frozenset of int
        The registers that overwrite their first operand.
    """

    sizes: tuple[int, ...]
    buffers: Mapping[int, int]
    results: Mapping[int, tuple[int, tuple[Op, ...]]]
    in_place: frozenset[int]

    def allocate(self) -> list[Array]:
        """Return new buffers, each a vector of bytes."""
        return [np.empty(size, np.uint8) for size in self.sizes]


def allocate_buffers(
    program: Program, types: Mapping[int, ArrayType], constants: Container[int]
) -> BufferAllocation:
    """Return where every register is written; `types` has one for each.

    `constants` are registers that are never written.
    """
    written = {i.output: i for i in program.instructions if i.output not in constants}
    owner = _owners(program, types)
    last = _last_reads(program, owner)
    results = results_in_place(program, types, written)
    in_place: set[int] = set()
    buffers: dict[int, int] = {}
    sizes: list[int] = []
    free: list[tuple[int, int]] = []
    ends: dict[int, list[int]] = {}
    overwritten = _overwritten(written, types, owner, last, program)
    for k, x in reversed(overwritten.items()):
        # What is overwritten on the way to a result lies in its memory, too.
        is_same = types[x] == types[k]
        if is_same and k in results and x not in results and _fits(written[x], results[k][1]):
            results[x] = results[k]
    for n, instruction in enumerate(program.instructions):
        k = instruction.output
        for buffer in ends.pop(n, ()):
            insort(free, (sizes[buffer], buffer))
        if k not in written or not _can_write_into_out(instruction, types):
            continue
        target = overwritten.get(k)
        if k in results:
            if target is not None and results.get(target) == results[k]:
                in_place.add(k)
            continue
        if target is not None and target in buffers:
            in_place.add(k)
            buffers[k] = buffers[target]
            ends[last[target] + 1].remove(buffers[k])
        else:
            buffers[k] = _free_buffer(types[k].nbytes, sizes, free)
        # An operand is read while the result is written: its buffer is free one later.
        ends.setdefault(last.get(k, n) + 1, []).append(buffers[k])
    return BufferAllocation(tuple(sizes), buffers, results, frozenset(in_place))


def _can_write_into_out(instruction: Instruction, types: Mapping[int, ArrayType]) -> bool:
    """Return whether an instruction can write into memory that it is given."""
    found = types[instruction.output]
    if not found.shape or found.is_view or found.dtype == object:
        return False
    return can_write_into(instruction.op)


def _owners(program: Program, types: Mapping[int, ArrayType]) -> dict[int, int]:
    """Return, for every register, the one that it is a view of, or itself."""
    owner = {k: k for k in range(program.n_slots)}
    for i in program.instructions:
        if isinstance(i.op, ops.Application):
            # What a user's action returns may be the very array that it was given.
            owner[i.output] = owner[i.inputs[i.op.operand]]
        else:
            is_view = bool(i.inputs) and types[i.output].is_view
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


def _overwritten(
    written: Mapping[int, Instruction],
    types: Mapping[int, ArrayType],
    owner: Mapping[int, int],
    last: Mapping[int, int],
    program: Program,
) -> dict[int, int]:
    """Return the registers that may overwrite an operand that dies there, and that operand.

    Of an operand that is another seen in another shape, that other one.
    """
    found: dict[int, int] = {}
    for n, i in enumerate(program.instructions):
        if i.output not in written:
            continue
        if not isinstance(i.op, (ops.Elementwise, ops.Accumulate)):
            continue
        made = types[i.output]
        for x in i.inputs if isinstance(i.op, ops.Elementwise) else i.inputs[:1]:
            own = _unshaped(x, written, types)
            is_last = owner[own] == own and last[own] == n and own in written
            # Another view of the same memory is read at other places than are written.
            is_alone = not any(owner[y] == own for y in i.inputs if y != x)
            is_same_type = x in types and (types[x].shape, types[x].dtype) == (
                made.shape,
                made.dtype,
            )
            if is_last and is_alone and is_same_type and _can_write_into_out(written[own], types):
                found[i.output] = own
                break
    return found


def _unshaped(k: int, written: Mapping[int, Instruction], types: Mapping[int, ArrayType]) -> int:
    """Return the register whose memory a register is, in another shape; mostly itself."""
    while k in written and types[k].is_view and isinstance(written[k].op, ops.Reshape):
        k = written[k].inputs[0]
    return k


def results_in_place(
    program: Program, types: Mapping[int, ArrayType], written: Mapping[int, Instruction]
) -> dict[int, tuple[int, tuple[Op, ...]]]:
    """Return the registers written into a result: its number, and the ops of the view of it."""
    found: dict[int, tuple[int, tuple[Op, ...]]] = {}
    for number, result in enumerate(program.outputs):
        k = -1 if result is None else result
        views: list[Op] = []
        while k in written and types[k].is_view:
            op, x = written[k].op, written[k].inputs[0]
            if isinstance(op, ops.Reshape):
                views.append(ops.Reshape(types[x].shape))
            elif isinstance(op, ops.Transpose):
                views.append(ops.Transpose(tuple(np.argsort(op.order).tolist())))
            else:
                break
            k = x
        if k in written and _can_write_into_out(written[k], types) and _fits(written[k], views):
            found[k] = (number, tuple(views))
    return found


def _fits(instruction: Instruction, views: Sequence[Op]) -> bool:
    """Return whether a register can be written into that view of a result."""
    if not any(isinstance(op, ops.Transpose) for op in views):
        return True
    # Products and gathers write row-major arrays only; a reshape of a transpose would be a copy.
    return len(views) == 1 and isinstance(instruction.op, ops.Elementwise)


def _free_buffer(nbytes: int, sizes: list[int], free: list[tuple[int, int]]) -> int:
    """Return a free buffer of at most twice the size, or a new one."""
    at = bisect_left(free, (nbytes, -1))
    if at < len(free) and free[at][0] <= 2 * nbytes:
        return free.pop(at)[1]
    sizes.append(nbytes)
    return len(sizes) - 1


def buffer_views(
    allocation: BufferAllocation, types: Mapping[int, ArrayType], memory: Sequence[Array]
) -> list[Array]:
    """Return, for every register with a buffer, its array in that buffer, in their order."""
    return [
        memory[buffer][: types[k].nbytes].view(types[k].dtype).reshape(types[k].shape)
        for k, buffer in allocation.buffers.items()
    ]
