"""The array operations that a program is made of: names and static parameters, no data.

The algebra of structures states in ops how stored arrays are moved and multiplied; `lower` puts
them into programs; a backend implements each once. Axes are counted from zero. What there is to
know of an op, its class says: the shape and the cost of its result, what it may share memory with,
and how it acts on stacks of arrays. `from chainad.ir import ops` gives all of them names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, ClassVar

import numpy as np

from chainad.ir.memory_layouts import (
    MemoryLayout,
    broadcast,
    fresh_elements,
    loops_of_sum,
    row_major,
)
from chainad.ir.op import Op
from chainad.ir.op_costs import (
    copied,
    dots_of,
    elementwise,
    gathered,
    size_of_both,
    suits_blas,
    written_at,
)
from chainad.ir.operation_counts import OperationCounts
from chainad.ir.positions import Positions
from chainad.ir.shapes import Shape, broadcast_shape, resized, symmetric_bands

# ---------------------------------------------------------------------- views


class View(Op):
    """The elements of one array, seen in another way."""

    __slots__ = ()

    @property
    def is_view(self) -> bool:
        return True

    def cost(self, *inputs: MemoryLayout) -> OperationCounts:
        return OperationCounts(views=1)

    def layout(self, *inputs: MemoryLayout) -> MemoryLayout:
        return row_major(self.infer_shape([inputs[0].shape]) or ())


@dataclass(frozen=True, slots=True)
class Reshape(View):
    """The same elements in row-major order, with other axes."""

    shape: Shape

    def infer_shape(self, inputs: Sequence[Shape | None]) -> Shape | None:
        if -1 not in self.shape:
            return self.shape
        (have,) = inputs
        if have is None:
            return None
        rest = -prod(self.shape)
        missing = prod(have) // rest if rest else 0
        return tuple(missing if n == -1 else n for n in self.shape)

    def layout(self, *inputs: MemoryLayout) -> MemoryLayout:
        shape = self.infer_shape([inputs[0].shape]) or ()
        return inputs[0].reshaped(shape) or row_major(shape)

    def cost(self, *inputs: MemoryLayout) -> OperationCounts:
        x = inputs[0]
        view = OperationCounts(views=1)
        is_copied = x.reshaped(self.infer_shape([x.shape]) or ()) is None
        return view + copied(x, calls=0) if is_copied else view

    def on_rows(self, count: int, row: Shape) -> Op | None:
        return Reshape((count, *row))

    def with_rows_last(self, *inputs: Shape) -> Op | None:
        shape = self.infer_shape(inputs)
        if not shape or inputs[0][:1] != shape[:1]:
            return None
        return Reshape((*shape[1:], shape[0]))


@dataclass(frozen=True, slots=True)
class Transpose(View):
    """The axes in another order: new axis k is old axis `order[k]`."""

    order: tuple[int, ...]

    def result_shape(self, *inputs: Shape) -> Shape | None:
        return tuple(inputs[0][k] for k in self.order)

    def layout(self, *inputs: MemoryLayout) -> MemoryLayout:
        return inputs[0].transposed(self.order)

    def on_rows(self, count: int, row: Shape) -> Op | None:
        return Transpose((0, *(k + 1 for k in self.order)))

    def with_rows_last(self, *inputs: Shape) -> Op | None:
        if len(self.order) < 2 or self.order[0] != 0:
            return None
        return Transpose((*(k - 1 for k in self.order[1:]), len(self.order) - 1))


@dataclass(frozen=True, slots=True)
class Broadcast(View):
    """Axes of size 1 (or missing in front) repeated up to `shape`."""

    shape: Shape

    aligns_last_axes: ClassVar[bool] = True

    def infer_shape(self, inputs: Sequence[Shape | None]) -> Shape | None:
        return self.shape

    def layout(self, *inputs: MemoryLayout) -> MemoryLayout:
        return broadcast(inputs[0], self.shape)

    def cost(self, *inputs: MemoryLayout) -> OperationCounts:
        return OperationCounts(views=15)  # a function in Python

    def on_rows(self, count: int, row: Shape) -> Op | None:
        return Broadcast((count, *self.shape))

    def with_rows_last(self, *inputs: Shape) -> Op | None:
        shape = self.shape
        if len(inputs[0]) != len(shape) or inputs[0][:1] != shape[:1]:
            return None
        return Broadcast((*shape[1:], shape[0]))


@dataclass(frozen=True, slots=True)
class Row(View):
    """The entry at `index` of the first axis, without that axis."""

    index: int

    def result_shape(self, *inputs: Shape) -> Shape | None:
        return inputs[0][1:]

    def layout(self, *inputs: MemoryLayout) -> MemoryLayout:
        return MemoryLayout(inputs[0].shape[1:], inputs[0].strides[1:])


# --------------------------------------------------- copies, gathers, scatters


@dataclass(frozen=True, slots=True)
class Full(Op):
    """A 0-d array that holds `value`, a double where no dtype is given."""

    value: float
    dtype: np.dtype[Any] | None = field(default=None, repr=False)

    def result_shape(self, *inputs: Shape) -> Shape | None:
        return ()

    def cost(self, *inputs: MemoryLayout) -> OperationCounts:
        return OperationCounts()


@dataclass(frozen=True, slots=True)
class Copy(Op):
    """The same elements in memory of their own."""

    is_unique: ClassVar[bool] = True

    def result_shape(self, *inputs: Shape) -> Shape | None:
        return inputs[0]

    def cost(self, *inputs: MemoryLayout) -> OperationCounts:
        return copied(inputs[0])


@dataclass(frozen=True, slots=True)
class Take(Op):
    """Gather along one axis."""

    axis: int
    positions: Positions

    @property
    def is_view(self) -> bool:
        return isinstance(self.positions, range)

    def result_shape(self, *inputs: Shape) -> Shape | None:
        return resized(inputs[0], self.axis, len(self.positions))

    def layout(self, *inputs: MemoryLayout) -> MemoryLayout:
        (x,), where = inputs, self.positions
        shape = resized(x.shape, self.axis, len(where))
        if not isinstance(where, range):
            return row_major(shape)
        return MemoryLayout(shape, resized(x.strides, self.axis, x.strides[self.axis] * where.step))

    def cost(self, *inputs: MemoryLayout) -> OperationCounts:
        if self.is_view:
            return OperationCounts(views=2)
        x, row = inputs[0], prod(inputs[0].shape[self.axis + 1 :])
        size = prod(resized(x.shape, self.axis, len(self.positions)))
        before = OperationCounts() if x.is_row_major else copied(x)
        return before + OperationCounts(calls=1, **gathered(size, row), elements=2 * size)

    def on_rows(self, count: int, row: Shape) -> Op | None:
        return Take(self.axis + 1, self.positions)

    def with_rows_last(self, *inputs: Shape) -> Op | None:
        return Take(self.axis - 1, self.positions) if self.axis else None


@dataclass(frozen=True, slots=True)
class Place(Op):
    """Put the entries of one axis at `positions` of a zero axis of `size`; the inverse of Take."""

    axis: int
    positions: Positions
    size: int

    def result_shape(self, *inputs: Shape) -> Shape | None:
        return resized(inputs[0], self.axis, self.size)

    def cost(self, *inputs: MemoryLayout) -> OperationCounts:
        x, made = inputs[0], prod(resized(inputs[0].shape, self.axis, self.size))
        zeros = OperationCounts(
            calls=2, views=4, moved=made, elements=made, fresh=fresh_elements(made)
        )
        return zeros + written_at(x, self.axis, self.positions)

    def on_rows(self, count: int, row: Shape) -> Op | None:
        return Place(self.axis + 1, self.positions, self.size)

    def with_rows_last(self, *inputs: Shape) -> Op | None:
        return Place(self.axis - 1, self.positions, self.size) if self.axis else None


@dataclass(frozen=True, slots=True)
class Scatter(Op):
    """Sums of vectors (or of scalars) put at `positions` of one vector of `size`.

    `signs` has a tuple for every region, +1 or -1 for each of its terms; the inputs are the terms
    of all regions, one after the other. Left empty, every region has one term. Overlapping entries
    are added up; `covers` says that there are none, and that every place is taken.
    """

    positions: tuple[Positions, ...]
    size: int
    covers: bool
    signs: tuple[tuple[int, ...], ...] = ()

    # None occurs twice, and the positions are long to compare.
    is_unique: ClassVar[bool] = True

    @property
    def signs_by_region(self) -> tuple[tuple[int, ...], ...]:
        """The signs of the terms of every region."""
        return self.signs or ((1,),) * len(self.positions)

    def infer_shape(self, inputs: Sequence[Shape | None]) -> Shape | None:
        return (self.size,)

    def cost(self, *inputs: MemoryLayout) -> OperationCounts:
        own = self.signs_by_region
        sizes = [len(each) for each in self.positions]
        added = sum(n * (len(signs) - self.covers) for n, signs in zip(sizes, own, strict=True))
        read = sum(each.size for each in inputs)
        return OperationCounts(
            calls=len(inputs), views=30, moved=sum(sizes), added=added, elements=read + self.size
        )


@dataclass(frozen=True, slots=True)
class Concatenate(Op):
    """Arrays of one axis or more, one after the other along the first."""

    def result_shape(self, *inputs: Shape) -> Shape | None:
        return resized(inputs[0], 0, sum(shape[0] for shape in inputs))

    def cost(self, *inputs: MemoryLayout) -> OperationCounts:
        return sum((copied(each) for each in inputs), OperationCounts())


# ------------------------------------------------------------ elementwise, sums


class Elementwise(Op):
    """Every element of the result is made of one of each operand; operands broadcast."""

    __slots__ = ()

    aligns_last_axes: ClassVar[bool] = True

    def infer_shape(self, inputs: Sequence[Shape | None]) -> Shape | None:
        one, two = inputs
        return one if one == two else broadcast_shape(one, two)

    def on_rows(self, count: int, row: Shape) -> Op | None:
        return self

    def with_rows_last(self, *inputs: Shape) -> Op | None:
        return self


@dataclass(frozen=True, slots=True)
class Add(Elementwise):
    """Elementwise sum of two arrays that broadcast."""

    is_symmetric: ClassVar[bool] = True

    def cost(self, *inputs: MemoryLayout) -> OperationCounts:
        return elementwise(inputs) + OperationCounts(added=size_of_both(*inputs))


@dataclass(frozen=True, slots=True)
class Subtract(Elementwise):
    """Elementwise difference of two arrays that broadcast."""

    def cost(self, *inputs: MemoryLayout) -> OperationCounts:
        return Add().cost(*inputs)


@dataclass(frozen=True, slots=True)
class Multiply(Elementwise):
    """Elementwise product of two arrays that broadcast."""

    is_symmetric: ClassVar[bool] = True

    def cost(self, *inputs: MemoryLayout) -> OperationCounts:
        return elementwise(inputs) + OperationCounts(multiplied=size_of_both(*inputs))


@dataclass(frozen=True, slots=True)
class Scale(Elementwise):
    """Every element times `factor`."""

    factor: float

    aligns_last_axes: ClassVar[bool] = False

    def infer_shape(self, inputs: Sequence[Shape | None]) -> Shape | None:
        return inputs[0]

    def cost(self, *inputs: MemoryLayout) -> OperationCounts:
        return elementwise(inputs) + OperationCounts(multiplied=inputs[0].size)


@dataclass(frozen=True, slots=True)
class Sum(Op):
    """The entries of some axes added up."""

    axes: tuple[int, ...]

    def result_shape(self, *inputs: Shape) -> Shape | None:
        return tuple(n for k, n in enumerate(inputs[0]) if k not in self.axes)

    def cost(self, *inputs: MemoryLayout) -> OperationCounts:
        (x,), made = inputs, prod(self.result_shape(inputs[0].shape) or ())
        loops, across = loops_of_sum(x, self.axes)
        # It takes several times as long to start a loop that adds up.
        return OperationCounts(
            calls=1, views=4, loops=4 * loops, strided=across, added=x.size, elements=x.size + made
        )

    def on_rows(self, count: int, row: Shape) -> Op | None:
        return Sum(tuple(k + 1 for k in self.axes))

    def with_rows_last(self, *inputs: Shape) -> Op | None:
        return None if 0 in self.axes else Sum(tuple(k - 1 for k in self.axes))


@dataclass(frozen=True, slots=True)
class SegmentSum(Op):
    """Add up the entries of one axis that share a segment id."""

    axis: int
    segments: Positions
    size: int

    def result_shape(self, *inputs: Shape) -> Shape | None:
        return resized(inputs[0], self.axis, self.size)

    def cost(self, *inputs: MemoryLayout) -> OperationCounts:
        given, made = inputs[0].size, prod(resized(inputs[0].shape, self.axis, self.size))
        return OperationCounts(calls=1, sparse=1, entries=given, elements=given + made)


class Accumulate(Op):
    """The first array, with the second added to some of its entries."""

    __slots__ = ()

    def result_shape(self, *inputs: Shape) -> Shape | None:
        return inputs[0]

    def cost(self, *inputs: MemoryLayout) -> OperationCounts:
        whole, added = inputs
        return (
            copied(whole)
            + elementwise((added, added))
            + OperationCounts(calls=1, views=12, added=added.size)
        )


@dataclass(frozen=True, slots=True)
class AddAt(Accumulate):
    """Add the second array to the entries of the first at `positions` of one axis."""

    axis: int
    positions: Positions

    def cost(self, *inputs: MemoryLayout) -> OperationCounts:
        whole, added = inputs
        read, written = (written_at(each, self.axis, self.positions) for each in (added, added))
        return copied(whole) + read + written + OperationCounts(calls=1, views=12, added=added.size)

    aligns_last_axes: ClassVar[bool] = True

    def on_rows(self, count: int, row: Shape) -> Op | None:
        return AddAt(self.axis + 1, self.positions)

    def with_rows_last(self, *inputs: Shape) -> Op | None:
        return AddAt(self.axis - 1, self.positions) if self.axis else None


@dataclass(frozen=True, slots=True)
class AddTied(Accumulate):
    """Add the second array to those entries of the first at which axes run together.

    The first array is seen in `shape`; its axis k runs along axis `ties[k]` of the second: two
    equal ties are a Kronecker delta. The second array broadcasts along axes of size 1. The result
    has the axes of the first.
    """

    shape: Shape
    ties: tuple[int, ...]


# -------------------------------------------------------------------- products


@dataclass(frozen=True, slots=True)
class MatMul(Op):
    """Matrix product over the last two axes, earlier axes broadcast."""

    def result_shape(self, *inputs: Shape) -> Shape | None:
        a, b = inputs
        batch = np.broadcast_shapes(a[:-2], b[:-2])
        return (*batch, *a[-2:-1], *(b[-1:] if len(b) > 1 else ()))

    def cost(self, *inputs: MemoryLayout) -> OperationCounts:
        a, b = (each.shape for each in inputs)
        batch = prod(np.broadcast_shapes(a[:-2], b[:-2]))
        rows, inner, cols = prod(a[-2:-1]), a[-1], b[-1] if len(b) > 1 else 1
        made = batch * rows * cols
        copies = [copied(each) for each in inputs if not suits_blas(each)]
        # Around BLAS there are checks as long as a call.
        return sum(copies, OperationCounts()) + OperationCounts(
            calls=2,
            views=1,
            dots=batch * dots_of(rows, inner, cols),
            items=batch,
            elements=prod(a) + prod(b) + made,
            fresh=fresh_elements(made),
        )

    def on_rows(self, count: int, row: Shape) -> Op | None:
        return self


@dataclass(frozen=True, slots=True)
class SymmetricMatMul(MatMul):
    """Product of two matrices that is symmetric: of `blocks` bands of rows, none is made twice."""

    blocks: int

    def cost(self, *inputs: MemoryLayout) -> OperationCounts:
        a, b = (each.shape for each in inputs)
        bands = symmetric_bands(a[0], self.blocks)
        entries = sum((stop - start) * stop for start, stop in bands)
        size = a[0] * a[0]
        return OperationCounts(
            calls=2 * self.blocks - 1,
            dots=entries * a[1],
            items=self.blocks,
            moved=size - entries,
            elements=prod(a) + prod(b) + 2 * size - entries,
        )

    def on_rows(self, count: int, row: Shape) -> Op | None:
        return None


@dataclass(frozen=True, slots=True)
class PairMatMul(Op):
    """Rows of pairs, (m, n, 2), times one 2 x 2 matrix for every pair, (n, 2, 2).

    Mostly the pairs are complex numbers, and so are the matrices: then it is their product.
    """

    def result_shape(self, *inputs: Shape) -> Shape | None:
        return inputs[0]

    def cost(self, *inputs: MemoryLayout) -> OperationCounts:
        x, matrices = inputs
        elements = 2 * x.size + matrices.size
        return OperationCounts(calls=1, multiplied=2 * x.size, elements=elements)


@dataclass(frozen=True, slots=True)
class Dot(Op):
    """Sum over the last axis of an elementwise product."""

    aligns_last_axes: ClassVar[bool] = True

    def result_shape(self, *inputs: Shape) -> Shape | None:
        found = broadcast_shape(*inputs)
        return None if found is None else found[:-1]

    def cost(self, *inputs: MemoryLayout) -> OperationCounts:
        terms = size_of_both(*inputs)
        made = prod(self.result_shape(*(each.shape for each in inputs)) or ())
        read = sum(each.size for each in inputs)
        across = sum(each.size for each in inputs if each.strides and each.strides[-1] > 1)
        return OperationCounts(
            calls=1, views=3, loops=4 * made, strided=across, multiplied=terms, elements=read + made
        )

    def on_rows(self, count: int, row: Shape) -> Op | None:
        return self


@dataclass(frozen=True, slots=True)
class SparseDot(Op):
    """A sparse matrix, its entries in the first array, times the 2-d second array.

    Entry k stands in row `rows[k]` of `size`, column `cols[k]`.
    """

    rows: Positions
    cols: Positions
    size: int

    def result_shape(self, *inputs: Shape) -> Shape | None:
        return (self.size, inputs[1][1])

    def cost(self, *inputs: MemoryLayout) -> OperationCounts:
        width = inputs[1].shape[1]
        terms, made = len(self.rows) * width, self.size * width
        counts = OperationCounts(calls=1, sparse=1, entries=terms, elements=terms + made)
        return counts if inputs[1].is_row_major else counts + copied(inputs[1])


# ------------------------------------------------------------------- operators


@dataclass(frozen=True, slots=True)
class Materialize(Op):
    """The array of an operator, in the shape of its labels."""

    shape: Shape

    operator: ClassVar[int | None] = 0

    def infer_shape(self, inputs: Sequence[Shape | None]) -> Shape | None:
        return self.shape

    def cost(self, *inputs: MemoryLayout) -> OperationCounts:
        return OperationCounts(operators=1, moved=prod(self.shape), elements=prod(self.shape))


class Application(Op):
    """An operator applied to a block; the result may be the very array that it is applied to.

    Attributes
    ----------
    operand : int
        Which operand the block is.
    """

    __slots__ = ()

    operand: ClassVar[int]

    def infer_shape(self, inputs: Sequence[Shape | None]) -> Shape | None:
        return None

    def cost(self, *inputs: MemoryLayout) -> OperationCounts:
        raise AssertionError("only the structure of an operator tells its cost")


@dataclass(frozen=True, slots=True)
class Jvp(Application):
    """An operator applied to tangents, of shape (batch, in, columns)."""

    operator: ClassVar[int | None] = 0
    operand: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class Vjp(Application):
    """Adjoints, of shape (batch, rows, out), times an operator, which comes second."""

    operator: ClassVar[int | None] = 1
    operand: ClassVar[int] = 0


# ----------------------------------------------------------------- exact zeros


# A mask is an array that has zeros where another has exact zeros. None is read but where a result
# is not finite.


class Mask(Op):
    """An op that makes a mask, or takes some."""

    __slots__ = ()

    def cost(self, *inputs: MemoryLayout) -> OperationCounts:
        size = prod(self.infer_shape([each.shape for each in inputs]) or ())
        read = sum(each.size for each in inputs)
        return OperationCounts(calls=1, moved=size, elements=read + size)


@dataclass(frozen=True, slots=True)
class Ones(Mask):
    """The mask of an array without exact zeros."""

    def result_shape(self, *inputs: Shape) -> Shape | None:
        return inputs[0]


@dataclass(frozen=True, slots=True)
class NonZero(Mask):
    """1 where an element is not zero, else 0."""

    def result_shape(self, *inputs: Shape) -> Shape | None:
        return inputs[0]


@dataclass(frozen=True, slots=True)
class Masked(Mask):
    """The elements of the second array where those of the first, a mask, are not zero; else 0."""

    def result_shape(self, *inputs: Shape) -> Shape | None:
        return broadcast_shape(*inputs)


@dataclass(frozen=True, slots=True)
class MaskedMatMul(Mask):
    """The matrix product of two arrays, followed by their masks: exact zeros count as 0."""

    def result_shape(self, *inputs: Shape) -> Shape | None:
        return MatMul().result_shape(*inputs[:2])


@dataclass(frozen=True, slots=True)
class MaskedJvp(Jvp):
    """An operator applied to tangents, followed by their mask: none that are all masked."""


@dataclass(frozen=True, slots=True)
class MaskedVjp(Vjp):
    """Adjoints times an operator, followed by their mask: none that are all masked."""


@dataclass(frozen=True, slots=True)
class AnyAlong(Mask):
    """Whether a mask has anything along one axis, in an array of the shape of the second one."""

    axis: int

    def result_shape(self, *inputs: Shape) -> Shape | None:
        return inputs[1]


@dataclass(frozen=True, slots=True)
class SumOfSquares(Op):
    """A number that is finite only if all elements of the arrays are; 0 where these are traced."""

    def result_shape(self, *inputs: Shape) -> Shape | None:
        return ()

    def cost(self, *inputs: MemoryLayout) -> OperationCounts:
        size = sum(each.size for each in inputs)
        return OperationCounts(calls=len(inputs), multiplied=size, elements=size)
