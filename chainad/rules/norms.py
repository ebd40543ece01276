"""Norms of vectors and of matrices.

The norm has derivative 0 at the zero vector; second derivatives are nan there, but those of smooth
functions of its square are right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainad.ir.graph import Argument
from chainad.rules.base import Local, Locals, defined, normalize_axes, refuse_unless, rule, static
from chainad.rules.elementwise import direction
from chainad.rules.kinds import Reduction
from chainad.rules.reduction import Axes, extreme_slope, join_axes, keep_axes, keep_reduced
from chainad.structure import reduced


def _is_matrix_norm(x: Any, ord: Any, axis: Any) -> bool:
    """Return whether a call is of a norm of matrices, other than that of Frobenius."""
    count = np.ndim(x) if axis is None else np.size(axis)
    return count == 2 and ord is not None and ord != "fro"


def _matrix_norm_of(x: Any, ord: Any, axis: Any) -> Any:
    """Return a norm of matrices in terms of other functions."""
    row, col = normalize_axes(axis, np.ndim(x))
    x = np.moveaxis(x, (row, col), (-2, -1))
    if ord in (1, -1, np.inf, -np.inf):
        sums = np.sum(np.abs(x), axis=-2 if abs(ord) == 1 else -1)
        return np.max(sums, axis=-1) if ord > 0 else np.min(sums, axis=-1)
    values = np.linalg.svdvals(x)
    if ord == "nuc":
        return np.sum(values, axis=-1)
    if ord not in (2, -2):
        raise ValueError(f"invalid norm order {ord!r} for matrices")
    return np.max(values, axis=-1) if ord > 0 else np.min(values, axis=-1)


def matrix_norm(x: Any, ord: Any = None, axis: Any = None, keepdims: Any = False) -> Any:
    """Return a norm of matrices in terms of others; NotImplemented where it is one of entries."""
    ord = static(ord)
    if not _is_matrix_norm(x, ord, axis):
        return NotImplemented
    return keep_reduced(_matrix_norm_of(x, ord, axis), x, axis, keepdims)


def _norm_by_sums(x: Any, ord: Any = None, axis: Any = None, keepdims: Any = False) -> Any:
    is_vector = (axis is None and np.ndim(x) == 1) or isinstance(axis, (int, np.integer))
    if not (ord in (None, "fro") or (ord == 2 and is_vector)):
        raise NotImplementedError(f"ord={ord!r} is no sum of squares")
    return np.sqrt(np.sum(x * x, axis=axis, keepdims=bool(keepdims)))


def _norm_squared(
    squared: Callable[[Any], Any],
    y: Any,
    x: Any,
    ord: Any = None,
    axis: Any = None,
    keepdims: Any = False,
) -> Any:
    refuse_unless(ord in (None, 2, "fro"), "the square of other norms has kinks, too")
    return np.sum(squared(x), axis=axis, keepdims=bool(keepdims))


@rule(
    np.linalg.norm,
    rewrite=matrix_norm,
    kind=Reduction(),
    definition=_norm_by_sums,
    square=_norm_squared,
)
def _norm(
    y: Argument, x: Argument, ord: Any = None, axis: Any = None, keepdims: Any = False
) -> Locals:
    axes = normalize_axes(axis, x.ndim)
    p = 2 if ord in (None, "fro") else ord
    mask = None
    if p in (np.inf, -np.inf):  # the largest magnitude, or the smallest, is selected
        mask = keep_axes(lambda y, x, axes: extreme_slope(y, np.abs(x), axes), axes, x.shape)
    formula = keep_axes(_norm_slope(p), axes, x.shape)
    return {x: Local(reduced(y.shape, x.shape, axes, None), formula, mask)}


def _norm_slope(p: float) -> Callable[[Any, Any, Axes], Any]:
    def slope(y: Any, x: Any, axes: Axes) -> Any:
        if p == 2:
            return direction(x, y)
        if p == 1:
            return np.sign(x)
        if p in (np.inf, -np.inf):
            return np.sign(x) * extreme_slope(y, np.abs(x), axes)
        if p == 0:
            return np.zeros(np.shape(x))
        return np.sign(x) * np.power(direction(np.abs(x), y), p - 1)

    return slope


@defined(np.linalg.vector_norm)
def _vector_norm(x: Any, /, *, axis: Any = None, keepdims: Any = False, ord: Any = 2) -> Any:
    ord = static(ord)
    if axis is None:
        flat = np.linalg.norm(np.ravel(x), ord)
        return np.reshape(flat, (1,) * np.ndim(x)) if keepdims else flat
    found = np.linalg.norm(join_axes(x, axis), ord, -1)
    return keep_reduced(found, x, axis, keepdims)


@defined(np.linalg.matrix_norm)
def _matrix_norm(x: Any, /, *, keepdims: Any = False, ord: Any = "fro") -> Any:
    return np.linalg.norm(x, static(ord), (-2, -1), keepdims)
