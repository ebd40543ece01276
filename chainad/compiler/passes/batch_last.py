"""Batches: long batches of small blocks are worked on with the batch as their last axis.

NumPy calls its inner loop, or BLAS, once for each of the small blocks: that takes ten times as long
as the arithmetic. With the batch last, a product of blocks is a few sums of products of long
vectors. Blocks are turned where they come in, and turned back, as views, where they go out.
"""

from __future__ import annotations

from math import prod

from chainad.compiler.passes.program_builder import ProgramBuilder
from chainad.ir.ops import (
    Add,
    AddAt,
    Broadcast,
    Copy,
    MatMul,
    Multiply,
    Place,
    Reshape,
    Scale,
    Subtract,
    Sum,
    Take,
    Transpose,
)
from chainad.ir.program import Instruction, Program
from chainad.ir.shapes import Shape

# A batch is long from here on, and a block small up to so many numbers.
LONG = 1024
SMALL = 40

# What turning a number costs, and what working on one block saves, in nanoseconds.
TURN, SAVED, SAVED_BY_PRODUCT = 3, 5, 30

ELEMENTWISE = (Add, Subtract, Multiply, Scale)


def move_batches_last(program: Program, builder: ProgramBuilder) -> tuple[Program, ProgramBuilder]:
    """Return the program with long batches last, where that is quicker.

    `builder` is the one that built the program: it knows the shapes. What is returned has its own.
    """
    batched = _batched(program, builder)
    if _gain(program, builder, batched) <= 0:
        return program, builder
    turning = _Turning(program, builder, batched)
    return turning.program(), turning.builder


def _is_batch(shape: Shape | None) -> bool:
    return (
        shape is not None and len(shape) > 1 and shape[0] >= LONG and 0 < prod(shape[1:]) <= SMALL
    )


def _batched(program: Program, builder: ProgramBuilder) -> set[int]:
    """Return the registers that can be made with the batch last."""
    found: set[int] = set()
    if not any(map(_is_batch, builder.shapes.values())):
        return found
    for i in program.instructions:
        shapes = [builder.shapes.get(k) for k in i.inputs]
        shape = builder.shapes.get(i.output)
        # A vector of one number per block lies the same either way.
        is_vector = shape is not None and len(shape) == 1 and i.inputs and _is_batch(shapes[0])
        if None not in shapes and (_is_batch(shape) or is_vector) and _is_able(i, builder):
            found.add(i.output)
    return found


def _is_able(i: Instruction, builder: ProgramBuilder) -> bool:
    """Return whether an op does within every block what it does."""
    shape = builder.shapes[i.output]
    first = builder.shapes[i.inputs[0]] if i.inputs else None
    if shape is None or first is None:
        return False
    has_batch = len(first) > 0 and first[0] == shape[0]
    match i.op:
        case Add() | Subtract() | Multiply() | Scale():
            return True
        case MatMul():
            second = builder.shapes[i.inputs[1]]
            assert second is not None
            if len(shape) != 3 or len(first) < 2 or len(second) < 2 or not first[-1]:
                return False
            return (2 * first[-1] - 1) * shape[1] * shape[2] <= 2 * SMALL
        case Reshape():
            return has_batch
        case Broadcast(to):
            return has_batch and len(first) == len(to)
        case Transpose(order):
            return order[0] == 0 and len(order) > 1
        case Sum(axes):
            return 0 not in axes and has_batch
        case Take(axis) | Place(axis) | AddAt(axis):
            return axis > 0 and has_batch
    return False


def _gain(program: Program, builder: ProgramBuilder, batched: set[int]) -> int:
    """Return the nanoseconds that are saved, roughly."""
    gain, turned = 0, set[int]()
    for i in program.instructions:
        if i.output not in batched:
            continue
        shape = builder.shapes[i.output]
        assert shape is not None
        if isinstance(i.op, (*ELEMENTWISE, AddAt)):
            gain += SAVED * shape[0]
        elif isinstance(i.op, MatMul):
            gain += SAVED_BY_PRODUCT * shape[0]
        for k in i.inputs:
            own = builder.shapes[k]
            if k not in batched and k not in turned and own is not None and _is_batch(own):
                turned.add(k)
                gain -= TURN * prod(own)
    return gain


class _Turning:
    """Writes a program anew; `last` are the registers that have their batch last."""

    def __init__(self, program: Program, old: ProgramBuilder, batched: set[int]) -> None:
        self.source, self.old, self.batched = program, old, batched
        self.builder = ProgramBuilder(program.n_slots)
        self.builder.shapes |= {k: old.shapes.get(k) for k in range(program.n_slots)}
        self.plain: dict[int, int] = {k: k for k in range(program.n_slots)}
        self.last: dict[int, int] = {}

    def program(self) -> Program:
        for i in self.source.instructions:
            if i.output in self.batched:
                self.last[i.output] = self._turned(i)
            else:
                inputs = tuple(map(self._plain, i.inputs))
                self.plain[i.output] = self.builder.emit(i.op, *inputs)
                self.builder.shapes[self.plain[i.output]] = self.old.shapes.get(i.output)
        outputs = tuple(None if k is None else self._result(k) for k in self.source.outputs)
        return Program(self.source.n_slots, tuple(self.builder.instructions), outputs)

    def _result(self, k: int) -> int:
        # Results are handed out in rows.
        return self.builder.unaliased(self._plain(k)) if k not in self.last else self._copied(k)

    def _copied(self, k: int) -> int:
        return self.builder.emit(Copy(), self._plain(k))

    def _plain(self, k: int) -> int:
        """Return a register with its batch first, as it was."""
        if k not in self.plain:
            n = len(self._shape(k))
            self.plain[k] = self.builder.emit(Transpose((n - 1, *range(n - 1))), self.last[k])
        return self.plain[k]

    def _shape(self, k: int) -> Shape:
        shape = self.old.shapes[k]
        assert shape is not None
        return shape

    def _operand(self, k: int, ndim: int, batch: int) -> int:
        """Return an operand of a block-wise op with `ndim` axes, its batch or a 1 last."""
        shape = self._shape(k)
        if k in self.last and len(shape) == ndim:
            return self.last[k]
        if len(shape) < ndim or shape[0] == 1:
            own = shape[1:] if len(shape) == ndim else (1,) * (ndim - 1 - len(shape)) + shape
            return self.builder.emit(Reshape((*own, 1)), self._plain(k))
        assert shape[0] == batch
        turned = self.builder.emit(Transpose((*range(1, ndim), 0)), self._plain(k))
        if ndim > 1:
            turned = self.builder.emit(Copy(), turned)
        self.last[k] = turned
        return turned

    def _turned(self, i: Instruction) -> int:
        """Emit an instruction with the batch last."""
        shape, emit = self._shape(i.output), self.builder.emit
        batch = shape[0]
        first = len(self._shape(i.inputs[0]))
        match i.op:
            case MatMul():
                return self._product(i, batch)
            case Reshape():
                return emit(Reshape((*shape[1:], batch)), self._operand(i.inputs[0], first, batch))
            case Broadcast():
                x = self._operand(i.inputs[0], first, batch)
                return emit(Broadcast((*shape[1:], batch)), x)
            case Transpose(order):
                turned = (*(k - 1 for k in order[1:]), len(order) - 1)
                return emit(Transpose(turned), self._operand(i.inputs[0], first, batch))
            case Sum(axes):
                x = self._operand(i.inputs[0], first, batch)
                return emit(Sum(tuple(k - 1 for k in axes)), x)
            case Take(axis, where):
                return emit(Take(axis - 1, where), self._operand(i.inputs[0], first, batch))
            case Place(axis, where, size):
                return emit(Place(axis - 1, where, size), self._operand(i.inputs[0], first, batch))
            case AddAt(axis, where):
                x, y = (self._operand(k, first, batch) for k in i.inputs)
                return emit(AddAt(axis - 1, where), x, y)
        return emit(i.op, *(self._operand(k, len(shape), batch) for k in i.inputs))

    def _product(self, i: Instruction, batch: int) -> int:
        """Emit a product of blocks as sums of products of long vectors."""
        emit = self.builder.emit
        left, right = (self._operand(k, 3, batch) for k in i.inputs)
        total = None
        for k in range(self._shape(i.inputs[0])[-1]):
            column = emit(Take(1, range(k, k + 1)), left)
            row = emit(Take(0, range(k, k + 1)), right)
            term = emit(Multiply(), column, row)
            total = term if total is None else emit(Add(), total, term)
        assert total is not None
        return total
