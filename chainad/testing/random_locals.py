"""Random local Jacobians of the kinds that NumPy functions have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from random import Random
from typing import TypeAlias

from chainad.ir.positions import Positions, positions
from chainad.structure.structure import Axis
from chainad.testing.oracles import Shape
from chainad.testing.random_structures import (
    AXIS_SIZES,
    RandomJacobian,
    random_jacobian,
    random_shape,
)


def axes_of(shape: Shape, first: int = 0) -> tuple[list[Axis], dict[int, int]]:
    """Return an axis with a label of its own for every size, and the sizes of the labels."""
    labels = range(first, first + len(shape))
    axes = [Axis(n, (x,)) for x, n in zip(labels, shape, strict=True)]
    return axes, dict(zip(labels, shape, strict=True))


def _dense(rng: Random, shape: Shape) -> RandomJacobian:
    rows, new = axes_of(random_shape(rng), len(shape))
    cols, sizes = axes_of(shape)
    return random_jacobian(rng, rows, cols, sizes | new, [*new, *sizes])


def _diagonal(rng: Random, shape: Shape) -> RandomJacobian:
    axes, sizes = axes_of(shape)
    return random_jacobian(rng, axes, axes, sizes, [*sizes])


def _unit(rng: Random, shape: Shape) -> RandomJacobian:
    axes, sizes = axes_of(shape)
    return random_jacobian(rng, axes, axes, sizes, scale=rng.choice([1, -1]))


def _kronecker(rng: Random, shape: Shape) -> RandomJacobian:
    return _matmul(rng, shape, batched=False)


def _block_diagonal(rng: Random, shape: Shape) -> RandomJacobian:
    return _matmul(rng, shape, batched=True)


def _matmul(rng: Random, shape: Shape, batched: bool) -> RandomJacobian:
    if not shape:
        return _diagonal(rng, shape)
    cols, sizes = axes_of(shape)
    new, k = len(shape), rng.randrange(len(shape))
    sizes[new] = rng.choice(AXIS_SIZES)
    rows = [*cols[:k], Axis(sizes[new], (new,)), *cols[k + 1 :]]
    return random_jacobian(rng, rows, cols, sizes, [*sizes] if batched else [new, k])


def _sum(rng: Random, shape: Shape) -> RandomJacobian:
    cols, sizes = axes_of(shape)
    k = rng.randint(0, len(shape))
    return random_jacobian(rng, [*cols[:k], *cols[k + 1 :]], cols, sizes, scale=1)


def _broadcast(rng: Random, shape: Shape) -> RandomJacobian:
    cols, sizes = axes_of(shape)
    new, k = len(shape), rng.randint(0, len(shape))
    sizes[new] = rng.choice((2, 3))
    return random_jacobian(
        rng, [*cols[:k], Axis(sizes[new], (new,)), *cols[k:]], cols, sizes, scale=1
    )


def _transpose(rng: Random, shape: Shape) -> RandomJacobian:
    cols, sizes = axes_of(shape)
    return random_jacobian(rng, rng.sample(cols, len(cols)), cols, sizes, scale=1)


def _ravel(rng: Random, shape: Shape) -> RandomJacobian:
    cols, sizes = axes_of(shape)
    return random_jacobian(rng, [Axis(prod(shape), tuple(sizes))], cols, sizes, scale=1)


def _selection(
    rng: Random, shape: Shape, choose: Callable[[Random, int, int], Positions]
) -> RandomJacobian:
    if not shape:
        return _unit(rng, shape)
    cols, sizes = axes_of(shape)
    k = rng.randrange(len(shape))
    n = shape[k]
    where = choose(rng, rng.randint(1, n), n)
    sizes[k] = len(where)
    rows = [*cols[:k], Axis(len(where), (k,)), *cols[k + 1 :]]
    return random_jacobian(
        rng, rows, [*cols[:k], Axis(n, (k,), where), *cols[k + 1 :]], sizes, scale=1
    )


def _slice(rng: Random, shape: Shape) -> RandomJacobian:
    def choose(rng: Random, count: int, n: int) -> Positions:
        start = rng.randint(0, n - count)
        return range(start, start + count)

    return _selection(rng, shape, choose)


def _gather(rng: Random, shape: Shape) -> RandomJacobian:
    def choose(rng: Random, count: int, n: int) -> Positions:
        return positions([rng.randrange(n) for _ in range(count)])

    return _selection(rng, shape, choose)


def _pad(rng: Random, shape: Shape) -> RandomJacobian:
    if not shape:
        return _unit(rng, shape)
    cols, sizes = axes_of(shape)
    k = rng.randrange(len(shape))
    start, after = rng.randint(0, 2), rng.randint(0, 2)
    where = range(start, start + shape[k])
    rows = [*cols[:k], Axis(start + shape[k] + after, (k,), where), *cols[k + 1 :]]
    return random_jacobian(rng, rows, cols, sizes, scale=1)


_LocalKind: TypeAlias = Callable[[Random, Shape], RandomJacobian]

LOCAL_KINDS: dict[str, _LocalKind] = {
    "dense": _dense,
    "diagonal": _diagonal,
    "unit": _unit,
    "kronecker": _kronecker,
    "block diagonal": _block_diagonal,
    "sum": _sum,
    "broadcast": _broadcast,
    "transpose": _transpose,
    "ravel": _ravel,
    "slice": _slice,
    "gather": _gather,
    "pad": _pad,
}
_ENLARGING = ("broadcast", "pad")
_MAX_ENLARGED_ENTRIES = 40


def random_local(
    rng: Random, col_shape: Shape, kinds: Sequence[str] = tuple(LOCAL_KINDS)
) -> RandomJacobian:
    """Return a random local Jacobian of an operation on arrays of `col_shape`.

    Parameters
    ----------
    rng : random.Random
    col_shape : tuple of int
        The shape of the input; the operation settles that of the output.
    kinds : sequence of str
        Names from `LOCAL_KINDS`; those that enlarge are left out for large shapes.

    Examples
    --------
    >>> random_local(Random(0), (2, 3), ["diagonal"]).structure.kind
    'diagonal'
    """
    if prod(col_shape) > _MAX_ENLARGED_ENTRIES:
        kinds = [kind for kind in kinds if kind not in _ENLARGING] or ["unit"]
    return LOCAL_KINDS[rng.choice(kinds)](rng, col_shape)
