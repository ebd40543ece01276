"""Batch axes: long batches of small blocks are processed with the batch as their last axis.

NumPy calls its inner loop, or BLAS, once for each of the small blocks: that takes ten times as long
as the arithmetic. With the batch last, a product of blocks is a few sums of products of long
vectors. Inputs are transposed by a copy, and results are transposed back.
"""

from __future__ import annotations

from math import prod

from chainad.ir import ops
from chainad.ir.program import Instruction, Program
from chainad.ir.program_builder import ProgramBuilder
from chainad.ir.shapes import Shape

MIN_BATCH_SIZE = 1024
_MAX_BLOCK_ELEMENTS = 40

# What transposing an element costs, and what an op saves on every block.
_NS_PER_TRANSPOSED_ELEMENT = 3
_NS_SAVED_PER_BLOCK, _NS_SAVED_PER_BLOCK_PRODUCT = 5, 30


def move_batches_last(program: Program, builder: ProgramBuilder) -> tuple[Program, ProgramBuilder]:
    """Return the program with long batches last, if that is faster.

    `builder` is the one that built the program: it knows the shapes. What is returned has its own.
    """
    batched = _batched(program, builder)
    if _saved_ns(program, builder, batched) <= 0:
        return program, builder
    rebuilt = _BatchLastBuilder(program, builder, batched)
    return rebuilt.program(), rebuilt.builder


def _is_batch(shape: Shape | None) -> bool:
    return (
        shape is not None
        and len(shape) > 1
        and shape[0] >= MIN_BATCH_SIZE
        and 0 < prod(shape[1:]) <= _MAX_BLOCK_ELEMENTS
    )


def _batched(program: Program, builder: ProgramBuilder) -> set[int]:
    """Return the registers that can be computed with the batch last."""
    found: set[int] = set()
    if not any(map(_is_batch, builder.shapes.values())):
        return found
    for i in program.instructions:
        shapes = [builder.shapes.get(k) for k in i.inputs]
        shape = builder.shapes.get(i.output)
        # A vector with one element per block has the same layout either way.
        is_vector = shape is not None and len(shape) == 1 and i.inputs and _is_batch(shapes[0])
        if None not in shapes and (_is_batch(shape) or is_vector) and _acts_blockwise(i, builder):
            found.add(i.output)
    return found


def _acts_blockwise(i: Instruction, builder: ProgramBuilder) -> bool:
    """Return whether an op acts on every block separately."""
    shape = builder.shapes[i.output]
    first = builder.shapes[i.inputs[0]] if i.inputs else None
    if shape is None or first is None:
        return False
    if isinstance(i.op, ops.Elementwise):
        return True
    if isinstance(i.op, ops.MatMul):
        second = builder.shapes[i.inputs[1]]
        assert second is not None
        if len(shape) != 3 or len(first) < 2 or len(second) < 2 or not first[-1]:
            return False
        return (2 * first[-1] - 1) * shape[1] * shape[2] <= 2 * _MAX_BLOCK_ELEMENTS
    has_batch = len(first) > 0 and first[0] == shape[0]
    return has_batch and i.op.with_rows_last(first) is not None


def _saved_ns(program: Program, builder: ProgramBuilder, batched: set[int]) -> int:
    """Return an estimate of the nanoseconds that are saved."""
    saved, transposed = 0, set[int]()
    for i in program.instructions:
        if i.output not in batched:
            continue
        shape = builder.shapes[i.output]
        assert shape is not None
        if isinstance(i.op, (ops.Elementwise, ops.AddAt)):
            saved += _NS_SAVED_PER_BLOCK * shape[0]
        elif isinstance(i.op, ops.MatMul):
            saved += _NS_SAVED_PER_BLOCK_PRODUCT * shape[0]
        for k in i.inputs:
            own = builder.shapes[k]
            if k not in batched and k not in transposed and own is not None and _is_batch(own):
                transposed.add(k)
                saved -= _NS_PER_TRANSPOSED_ELEMENT * prod(own)
    return saved


class _BatchLastBuilder:
    """Rebuilds a program; `last` and `first` have the registers with their batch there."""

    def __init__(self, program: Program, old: ProgramBuilder, batched: set[int]) -> None:
        self.source, self.old, self.batched = program, old, batched
        self.builder = ProgramBuilder(program.n_slots)
        self.builder.shapes |= {k: old.shapes.get(k) for k in range(program.n_slots)}
        self.first: dict[int, int] = {k: k for k in range(program.n_slots)}
        self.last: dict[int, int] = {}

    def program(self) -> Program:
        for i in self.source.instructions:
            if i.output in self.batched:
                self.last[i.output] = self._emit_batch_last(i)
            else:
                inputs = tuple(map(self._batch_first, i.inputs))
                self.first[i.output] = self.builder.emit(i.op, *inputs)
                self.builder.shapes[self.first[i.output]] = self.old.shapes.get(i.output)
        outputs = tuple(None if k is None else self._result(k) for k in self.source.outputs)
        return Program(self.source.n_slots, tuple(self.builder.instructions), outputs)

    def _result(self, k: int) -> int:
        # Results are row-major with the batch first.
        return (
            self.builder.unaliased(self._batch_first(k)) if k not in self.last else self._copied(k)
        )

    def _copied(self, k: int) -> int:
        return self.builder.emit(ops.Copy(), self._batch_first(k))

    def _batch_first(self, k: int) -> int:
        """Return a register with its batch first, as in the source."""
        if k not in self.first:
            n = len(self._shape(k))
            self.first[k] = self.builder.emit(ops.Transpose((n - 1, *range(n - 1))), self.last[k])
        return self.first[k]

    def _shape(self, k: int) -> Shape:
        shape = self.old.shapes[k]
        assert shape is not None
        return shape

    def _operand(self, k: int, ndim: int, batch: int) -> int:
        """Return an operand of a blockwise op with `ndim` axes, its batch or a 1 last."""
        shape = self._shape(k)
        if k in self.last and len(shape) == ndim:
            return self.last[k]
        if len(shape) < ndim or shape[0] == 1:
            own = shape[1:] if len(shape) == ndim else (1,) * (ndim - 1 - len(shape)) + shape
            return self.builder.emit(ops.Reshape((*own, 1)), self._batch_first(k))
        assert shape[0] == batch
        transposed = self.builder.emit(ops.Transpose((*range(1, ndim), 0)), self._batch_first(k))
        if ndim > 1:
            transposed = self.builder.emit(ops.Copy(), transposed)
        self.last[k] = transposed
        return transposed

    def _emit_batch_last(self, i: Instruction) -> int:
        """Emit an instruction with the batch last."""
        shape, first = self._shape(i.output), self._shape(i.inputs[0])
        if isinstance(i.op, ops.MatMul):
            return self._product(i, shape[0])
        op = i.op.with_rows_last(first)
        assert op is not None
        ndim = len(shape if isinstance(op, ops.Elementwise) else first)
        return self.builder.emit(op, *(self._operand(k, ndim, shape[0]) for k in i.inputs))

    def _product(self, i: Instruction, batch: int) -> int:
        """Emit a product of blocks as sums of products of long vectors."""
        emit = self.builder.emit
        left, right = (self._operand(k, 3, batch) for k in i.inputs)
        total = None
        for k in range(self._shape(i.inputs[0])[-1]):
            column = emit(ops.Take(1, range(k, k + 1)), left)
            row = emit(ops.Take(0, range(k, k + 1)), right)
            term = emit(ops.Multiply(), column, row)
            total = term if total is None else emit(ops.Add(), total, term)
        assert total is not None
        return total
