"""Shapes: what an op makes of the shapes of its inputs."""

from __future__ import annotations

import numpy as np

from chainad.ir.ops import (
    Add,
    AddAt,
    AddTied,
    Broadcast,
    Concatenate,
    Copy,
    Dot,
    Full,
    Jvp,
    Materialize,
    MatMul,
    Multiply,
    Op,
    Place,
    Reshape,
    Row,
    Scale,
    Scatter,
    SegmentSum,
    SparseDot,
    Subtract,
    Sum,
    Take,
    Transpose,
    Vjp,
)

Shape = tuple[int, ...]

ELEMENTWISE = (Add, Subtract, Multiply)


def broadcast_shape(one: Shape | None, two: Shape | None) -> Shape | None:
    """Return the shape that two arrays have together; None if one of theirs is not known."""
    if one is None or two is None:
        return None
    if not one or not two:
        return one or two
    return np.broadcast_shapes(one, two)


def shape_of(op: Op, inputs: tuple[Shape | None, ...]) -> Shape | None:
    """Return the shape of what an op makes; None if that is not known.

    Slots whose arrays a rule states in its own way have no known shape, nor have the results of
    operators.
    """
    if isinstance(op, ELEMENTWISE):
        one, two = inputs
        return one if one == two else broadcast_shape(one, two)
    known = [shape for shape in inputs if shape is not None]
    if isinstance(op, (Reshape, Broadcast, Full, Scatter, Materialize)):
        return _stated(op, known)
    if len(known) < len(inputs):
        return None
    match op:
        case Transpose(order):
            return tuple(known[0][k] for k in order)
        case Take(axis, positions):
            return _resized(known[0], axis, len(positions))
        case Place(axis, _, size) | SegmentSum(axis, _, size):
            return _resized(known[0], axis, size)
        case Sum(axes):
            return tuple(n for k, n in enumerate(known[0]) if k not in axes)
        case Scale() | Copy() | AddAt() | AddTied():
            return known[0]
        case MatMul():
            return _matmul(*known)
        case Dot():
            found = broadcast_shape(*known)
            return None if found is None else found[:-1]
        case SparseDot(_, _, size):
            return (size, known[1][1])
        case Concatenate():
            return _resized(known[0], 0, sum(shape[0] for shape in known))
        case Row():
            return known[0][1:]
        case Jvp() | Vjp():
            return None
    raise AssertionError(op)


def _stated(op: Op, known: list[Shape]) -> Shape | None:
    match op:
        case Reshape(shape) if -1 in shape:
            if not known:
                return None
            rest = -int(np.prod(shape))
            size = int(np.prod(known[0], dtype=np.int64))
            return tuple((size // rest if rest else 0) if n == -1 else n for n in shape)
        case Reshape(shape) | Broadcast(shape) | Materialize(shape):
            return shape
        case Scatter(_, size):
            return (size,)
    return ()


def _resized(shape: Shape, axis: int, size: int) -> Shape:
    return (*shape[:axis], size, *shape[axis + 1 :])


def _matmul(a: Shape, b: Shape) -> Shape:
    batch = np.broadcast_shapes(a[:-2], b[:-2])
    return (*batch, *a[-2:-1], *(b[-1:] if len(b) > 1 else ()))
