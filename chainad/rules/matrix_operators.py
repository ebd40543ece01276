"""Derivatives of functions of matrices as operators, by their action on stacks of directions.

A factorisation of n x n matrices has a local Jacobian of n^4 entries, but one direction takes a few
products of n x n matrices. So a row states how tangents are pushed forward and how adjoints are
pulled back, in functions that can be traced again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from math import prod
from typing import Any, TypeAlias

import numpy as np

from chainad.ir.graph import Argument
from chainad.rules.base import Local
from chainad.structure import Arrangement, from_labels, operator
from chainad.structure.linear_operators import Operator

# Labels: the axes of a matrix, and from BATCH on those of a batch.
I, J, K, L, BATCH = 0, 1, 2, 3, 4  # noqa: E741

# Takes a stack of directions (batch, count, ...), then the arrays of `Prepare`, with an axis of
# size 1 in the place of the count.
Action: TypeAlias = Callable[..., Any]
# Takes the result and the operands of a call; returns the arrays that both actions need.
Prepare: TypeAlias = Callable[..., tuple[Any, ...]]


def batch_axes(shape: tuple[int, ...], ndim: int) -> list[tuple[int, tuple[int, ...]]]:
    """Return axes of a batch of `ndim` axes, aligned at the last; those of size 1 are broadcast."""
    skip = ndim - len(shape)
    return [(n, () if n == 1 else (BATCH + skip + k,)) for k, n in enumerate(shape)]


def batch_sizes(shape: tuple[int, ...]) -> dict[int, int]:
    """Return the sizes of the labels of a batch."""
    return {BATCH + k: n for k, n in enumerate(shape)}


def batch_labels(shape: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    """Return the labels of a batch."""
    return tuple(x for _, labels in batch_axes(shape, ndim) for x in labels)


def sizes_in(sizes: dict[int, int], *axes: Any) -> dict[int, int]:
    """Return the sizes of the labels that occur."""
    named = {x for group in axes for _, labels in group for x in labels}
    return {x: n for x, n in sizes.items() if x in named}


def of_matrix(
    y: Argument, a: Argument, result: tuple[int, ...], kept: tuple[int, ...]
) -> Arrangement:
    """Return the structure of a function of matrices: rows `result`, cols (K, L), all batches tied.

    The last axes of y have the labels `result`; the array keeps the batch and the labels `kept`.
    """
    batch = a.shape[:-2]
    every = batch_axes(batch, len(batch))
    last = y.shape[len(batch) :]
    rows = [*every, *((n, (x,)) for n, x in zip(last, result, strict=True))]
    cols = [*every, (a.shape[-2], (K,)), (a.shape[-1], (L,))]
    sizes = {**batch_sizes(batch), **{x: n for n, (x,) in cols[-2:]}}
    sizes |= dict(zip(result, last, strict=True))
    stored = (*batch_labels(batch, len(batch)), *kept)
    return from_labels(rows, cols, sizes_in(sizes, rows, cols), stored)


def matrix_local(y: Argument, a: Argument, result: tuple[int, ...], formula: Any) -> Local:
    """Return a local Jacobian tied by its batch alone; formula: (y, a) -> (..., K, L)."""
    arrangement = of_matrix(y, a, result, (*result, K, L))
    shape = (*_kept(a.shape[:-2]), *y.shape[a.ndim - 2 :], *a.shape[-2:])
    return Local(arrangement, lambda y, a, *rest: np.reshape(formula(y, a, *rest), shape))


def _kept(batch: tuple[int, ...]) -> tuple[int, ...]:
    """Return the axes of a batch that have labels."""
    return tuple(n for n in batch if n != 1)


def matrix_operator(
    y: Argument,
    a: Argument,
    result: tuple[int, ...],
    cost: int,
    prepare: Prepare,
    push: Action,
    pull: Action,
) -> Local:
    """Return the local Jacobian of a function of matrices by its action.

    Parameters
    ----------
    y, a : Argument
        The result, and the matrices that it is differentiated by, with the same batch.
    result : tuple of int
        The labels of the last axes of y, those that are not the batch's.
    cost : int
        Multiplications for one direction.
    prepare : callable
        (y, *operands) -> arrays, with the axes of the batch in front.
    push, pull : callable
        (stack of tangents, *arrays) -> stack of results, and back for adjoints.
    """
    n_batch = a.ndim - 2
    batch, shapes = _kept(a.shape[:-2]), (y.shape[n_batch:], a.shape[-2:])
    found = of_matrix(y, a, result, (*result, K, L))

    def make(*values: Any) -> MatrixOperator:
        arrays = [np.reshape(x, (*batch, 1, *np.shape(x)[n_batch:])) for x in prepare(*values)]
        return MatrixOperator(batch, shapes, arrays, push, pull)

    if found.ops or 1 in map(prod, shapes):  # without labels there is nothing to apply to
        shape = (*batch, *shapes[0], *shapes[1])
        return Local(found, lambda *values: np.reshape(make(*values).materialize(), shape))
    stored = prod(batch) * sum(map(prod, shapes))
    return Local(operator(found, cost, cost, stored), make)


class MatrixOperator(Operator):
    """The derivative of a function of matrices, raveled matrices to raveled results.

    `shapes` are those of a result and of a matrix. Both actions take the arrays, which have an axis
    of size 1 between those of the batch and their own.
    """

    def __init__(
        self,
        batch: tuple[int, ...],
        shapes: tuple[tuple[int, ...], tuple[int, ...]],
        arrays: Sequence[Any],
        push: Action,
        pull: Action,
    ) -> None:
        self.batch, self.shapes, self.arrays = batch, shapes, arrays
        self.push, self.pull = push, pull
        self.n_out, self.n_in = prod(shapes[0]), prod(shapes[1])
        self.dtype = arrays[0].dtype

    @property
    def _held(self) -> Iterable[Any]:
        return self.arrays

    def jvp(self, tangents: Any) -> Any:
        stack = np.matrix_transpose(tangents)
        found = self._act(self.push, stack, self.shapes[1], self.n_out)
        return np.matrix_transpose(found)

    def vjp(self, adjoints: Any) -> Any:
        return self._act(self.pull, adjoints, self.shapes[0], self.n_in)

    def _act(self, action: Action, stack: Any, shape: tuple[int, ...], size: int) -> Any:
        """Apply an action to rows (batch, count, size), each an array of this shape."""
        count = np.shape(stack)[-2]
        found = action(np.reshape(stack, (*self.batch, count, *shape)), *self.arrays)
        return np.reshape(found, (*self.batch, count, size))

    def materialize(self) -> Any:
        size = min(self.n_in, self.n_out)
        unit = np.broadcast_to(np.eye(size, dtype=self.dtype), (*self.batch, size, size))
        return self.jvp(unit) if self.n_in <= self.n_out else self.vjp(unit)

    def copy(self) -> MatrixOperator:
        arrays = [np.array(x) for x in self.arrays]
        return MatrixOperator(self.batch, self.shapes, arrays, self.push, self.pull)


# --------------------------------------------------------- symmetric matrices


@lru_cache(maxsize=64)
def _halves(n: int, char: str) -> Any:
    """Return ones below the diagonal of a matrix, and halves on it."""
    found = np.tri(n, dtype=char) - 0.5 * np.eye(n, dtype=char)
    found.flags.writeable = False
    return found


def half_of(x: Any) -> Any:
    """Return the lower triangle of matrices, with half of the diagonal."""
    return x * _halves(x.shape[-1], x.dtype.char)


def symmetric_of(x: Any, upper: bool) -> Any:
    """Return the symmetric matrices of which one triangle is read."""
    half, rest = (np.triu(x), np.triu(x, 1)) if upper else (np.tril(x), np.tril(x, -1))
    return half + np.matrix_transpose(rest)


def read_of(x: Any, upper: bool) -> Any:
    """Return adjoints by the triangle that is read, from those by free entries."""
    half = (np.triu(x), np.tril(x, -1)) if upper else (np.tril(x), np.triu(x, 1))
    return half[0] + np.matrix_transpose(half[1])
