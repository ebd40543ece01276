"""Operation counts: array calls and elements, by kind of op, that a product or a sum takes.

The ops that the algebra states are counted as they will be lowered, without lowering them. Both
the cost in bytes and the cost in time are read off these counts.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from functools import lru_cache
from math import prod

from chainad.ir.ops import (
    Broadcast,
    Full,
    Materialize,
    Op,
    Place,
    Reshape,
    Scale,
    SegmentSum,
    Sum,
    Take,
    Transpose,
)
from chainad.structure import Ops, Product, add, materialize_operator, multiply
from chainad.structure.structure import Structure

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OperationCounts:
    """How often, and on how many elements, the machine does what.

    Attributes
    ----------
    calls, views : int
        Array operations that compute, and those that only view an array in another way.
    moved, gathered : int
        Elements copied in order, and elements taken from or put at an index.
    multiplied, added : int
        Elements that an elementwise product or sum makes, or that a sum reads.
    dots, items : int
        Multiplications inside matrix products, and how many matrices these have as their result.
    entries, sparse : int
        Multiplications with the entries of sparse matrices, and how many such products there are.
    applied : int
        Multiplications that an operator makes.
    elements : int
        Elements read from memory and written there, by all of these together.
    """

    calls: int = 0
    views: int = 0
    moved: int = 0
    gathered: int = 0
    multiplied: int = 0
    added: int = 0
    dots: int = 0
    items: int = 0
    entries: int = 0
    sparse: int = 0
    applied: int = 0
    elements: int = 0


KINDS_OF_OPERATION = tuple(field.name for field in fields(OperationCounts))


class _Count:
    """Counts the operations of ops as these are applied."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def note(self, *, read: int = 0, written: int = 0, **counts: int) -> None:
        self._counts.update(counts)
        self._counts["elements"] += read + written

    def counts(self) -> OperationCounts:
        return OperationCounts(**self._counts)

    def apply(self, ops: Ops, shape: Shape | None) -> Shape | None:
        """Count unary ops one after the other; return the shape that they end in."""
        for op in ops:
            shape = self._one(op, shape or ())
        return shape

    def _one(self, op: Op, shape: Shape) -> Shape:
        size = prod(shape)
        match op:
            case Full():
                return ()
            case Reshape(new):
                self.note(views=1)
                return new
            case Transpose(order):
                self.note(views=1)
                return tuple(shape[k] for k in order)
            case Broadcast(new):
                self.note(views=1)
                return new
            case Take(axis, where):
                new = _with(shape, axis, len(where))
                if isinstance(where, range):
                    self.note(views=1)
                else:
                    self.note(calls=1, gathered=prod(new), read=prod(new), written=prod(new))
                return new
            case Place(axis, where, places):
                new = _with(shape, axis, places)
                kind = "moved" if isinstance(where, range) else "gathered"
                self.note(calls=2, moved=prod(new), read=size, written=prod(new))
                self.note(**{kind: size})
                return new
            case SegmentSum(axis, _, places):
                new = _with(shape, axis, places)
                self.note(calls=1, sparse=1, entries=size, read=size, written=prod(new))
                return new
            case Sum(axes):
                new = tuple(n for k, n in enumerate(shape) if k not in axes)
                self.note(calls=1, added=size, read=size, written=prod(new))
                return new
            case Scale():
                self.note(calls=1, multiplied=size, read=size, written=size)
                return shape
            case Materialize(new):
                self.note(calls=1, moved=prod(new), written=prod(new))
                return new
        raise AssertionError(op)


def _with(shape: Shape, axis: int, size: int) -> Shape:
    return (*shape[:axis], size, *shape[axis + 1 :])


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
    if product.action:
        count.note(calls=1, views=2, applied=product.multiplications, read=read, written=written)
    elif not inner:
        count.note(calls=1, multiplied=written, read=read, written=written)
    elif set(out) == {x for x in left if x in right and x in out}:
        count.note(calls=1, multiplied=terms, read=read, written=written)
    else:
        batch = prod(size[x] for x in out if x in left and x in right)
        # Around BLAS there is about one more call's worth of checks.
        count.note(calls=2, views=1, dots=terms, items=batch, read=read, written=written)


def _is_sparse_product(product: Product) -> bool:
    """Return whether `lower` makes this a product of a sparse matrix and an array."""
    if not product.after or not isinstance(product.after[0], SegmentSum) or product.action:
        return False
    assert product.labels is not None
    left, right, out = product.labels
    label = out[product.after[0].axis]
    sides = ((left, product.right, right), (right, product.left, left))
    return any(
        vector == (label,)
        and bool(ops)
        and isinstance(ops[-1], Take)
        and labels[ops[-1].axis] == label
        for vector, ops, labels in sides
    )


def _multiply_sparsely(count: _Count, product: Product, size: dict[int, int]) -> None:
    segments = product.after[0]
    assert isinstance(segments, SegmentSum)
    assert product.labels is not None
    shape = tuple(size[x] for x in product.labels[2])
    made = _with(shape, segments.axis, segments.size)
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
        made = _broadcast(a, b)
        count.note(calls=1, added=prod(made), read=prod(a) + prod(b), written=prod(made))
        count.apply(sum_.after, made)
        count.note(applied=left.cost_to_materialize + right.cost_to_materialize)
    return count.counts()


def _broadcast(a: Shape, b: Shape) -> Shape:
    """Return the shape of two arrays together."""
    width = max(len(a), len(b))
    one, two = ((1,) * (width - len(x)) + x for x in (a, b))
    return tuple(m if n == 1 else n for n, m in zip(one, two, strict=True))


@lru_cache(maxsize=4096)
def counts_of_materialize(operator: Structure) -> OperationCounts:
    """Return the operation counts of materializing an operator."""
    count = _Count()
    count.apply(materialize_operator(operator).left, ())
    count.note(applied=operator.cost_to_materialize)
    return count.counts()
