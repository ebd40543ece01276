"""Operation counts of steps: array calls and elements, by kind, that a product or a sum takes.

The ops that the algebra states are counted as they will be lowered, without lowering them. Both
the cost in bytes and the cost in time are read off these counts.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod

import numpy as np

from chainad.ir import ops
from chainad.ir.op import Op
from chainad.ir.operation_counts import OperationCounts, total_counts
from chainad.ir.shapes import Shape, resized
from chainad.structure import Ops, Product, add, materialize_operator, multiply
from chainad.structure.structure import Structure


class _Count:
    """Counts the operations of ops as these are applied."""

    def __init__(self) -> None:
        self._counts: list[OperationCounts] = []

    def note(self, *, read: int = 0, written: int = 0, **counts: int) -> None:
        self._counts.append(OperationCounts(elements=read + written, **counts))

    def add(self, op: Op, *shapes: Shape) -> None:
        self._counts.append(op.cost(*shapes))

    def counts(self) -> OperationCounts:
        return total_counts(self._counts)

    def apply(self, unary: Ops, shape: Shape | None) -> Shape | None:
        """Count unary ops one after the other; return the shape that they end in."""
        for op in unary:
            inputs = () if isinstance(op, ops.Full) else (shape or (),)
            self.add(op, *inputs)
            shape = op.infer_shape(inputs)
        return shape


@lru_cache(maxsize=65536)
def counts_of_product(left: Structure, right: Structure) -> OperationCounts:
    """Return the operation counts of a product."""
    product = multiply(left, right)
    count = _Count()
    if product.structure.scale is not None and not product.after:
        return count.counts()
    a = count.apply(product.left, _start(left))
    b = count.apply(product.right, _start(right))
    if product.labels is None:
        count.apply(product.after, b if a is None else a)
        return count.counts()
    size = dict(product.sizes)
    if not _is_sparse_product(product):
        _contract(count, product, size)
        made: Shape | None = tuple(size[x] for x in product.labels[2])
        count.apply(product.after, made)
    else:
        _multiply_sparsely(count, product, size)
    for factor in (left, right):
        count.note(applied=0 if _is_applied(product, factor, left) else factor.cost_to_materialize)
    return count.counts()


def _start(structure: Structure) -> Shape | None:
    return None if structure.scale is not None else structure.stored_shape


def _is_applied(product: Product, factor: Structure, left: Structure) -> bool:
    return product.action == ("jvp" if factor is left else "vjp")


def _contract(count: _Count, product: Product, size: dict[int, int]) -> None:
    """Count what `lower.contract` makes of a product."""
    assert product.labels is not None
    left, right, out = product.labels
    counts = [prod(size[x] for x in labels) for labels in product.labels]
    read, written = counts[0] + counts[1], counts[2]
    terms = prod(size.values())
    inner = [x for x in left if x in right and x not in out]
    if product.action:  # the operator reads what it holds
        is_jvp = product.action == "jvp"
        read = counts[is_jvp] + product.factors[not is_jvp].count
        count.note(calls=1, views=2, applied=product.multiplications, read=read, written=written)
    elif not inner:
        count.note(calls=1, multiplied=written, read=read, written=written)
    elif out and set(out) == {x for x in left if x in right and x in out}:
        count.note(calls=1, multiplied=terms, read=read, written=written)
    else:
        batch = prod(size[x] for x in out if x in left and x in right)
        # Around BLAS there is about one more call's worth of checks.
        count.note(calls=2, views=1, dots=terms, items=batch, read=read, written=written)


def _is_sparse_product(product: Product) -> bool:
    """Return whether `lower` makes this a product of a sparse matrix and an array."""
    if not product.after or not isinstance(product.after[0], ops.SegmentSum) or product.action:
        return False
    assert product.labels is not None
    left, right, out = product.labels
    label = out[product.after[0].axis]
    sides = ((left, product.right, right), (right, product.left, left))
    return any(
        vector == (label,)
        and bool(on_array)
        and isinstance(on_array[-1], ops.Take)
        and labels[on_array[-1].axis] == label
        for vector, on_array, labels in sides
    )


def _multiply_sparsely(count: _Count, product: Product, size: dict[int, int]) -> None:
    segments = product.after[0]
    assert isinstance(segments, ops.SegmentSum)
    assert product.labels is not None
    shape = tuple(size[x] for x in product.labels[2])
    made = resized(shape, segments.axis, segments.size)
    terms = prod(shape)
    # What the gather would have taken is read in place.
    taken = prod(shape)
    count.note(calls=1, views=2, sparse=1, entries=terms, read=taken, written=prod(made))
    count.apply(product.after[1:], made)


@lru_cache(maxsize=65536)
def counts_of_sum(left: Structure, right: Structure) -> OperationCounts:
    """Return the operation counts of a sum."""
    sum_ = add(left, right)
    count = _Count()
    if sum_.structure.scale is None:
        a = count.apply(sum_.left, _start(left)) or ()
        b = count.apply(sum_.right, _start(right)) or ()
        count.add(ops.Add(), a, b)
        count.apply(sum_.after, np.broadcast_shapes(a, b))
        count.note(applied=left.cost_to_materialize + right.cost_to_materialize)
    return count.counts()


@lru_cache(maxsize=4096)
def counts_of_materialize(operator: Structure) -> OperationCounts:
    """Return the operation counts of materializing an operator."""
    count = _Count()
    count.apply(materialize_operator(operator).left, ())
    count.note(applied=operator.cost_to_materialize)
    return count.counts()
