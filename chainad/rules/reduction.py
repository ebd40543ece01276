"""Reductions: functions that take whole axes to one number each.

Ties of `max` and `min` share the derivative evenly; `norm` has derivative 0 at the zero vector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainad.algebra import Arrangement
from chainad.graph import Argument
from chainad.rules.base import (
    CONSTANT,
    Formula,
    Local,
    Locals,
    defined,
    normalize_axes,
    rule,
    spelled,
)

Axes = tuple[int, ...]


def _spelled(y: Argument, x: Argument, axes: Axes, scale: float | None) -> Arrangement:
    """Return the structure of a reduction of x over `axes`, which keeps all of x or a scale."""
    kept = [k for k in range(x.ndim) if k not in axes]
    if y.ndim == x.ndim:  # keepdims
        rows = [(n, () if k in axes else (k,)) for k, n in enumerate(y.shape)]
    else:
        rows = [(n, (k,)) for k, n in zip(kept, y.shape, strict=True)]
    cols = [(n, (k,)) for k, n in enumerate(x.shape)]
    sizes = dict(enumerate(x.shape))
    stored = None if scale is not None else tuple(range(x.ndim))
    return spelled(rows, cols, sizes, stored, scale)


def _refuse(**options: Any) -> None:
    """Raise for options that change the result in ways the rule does not know."""
    named = [name for name, value in options.items() if value is not None]
    if named:
        raise NotImplementedError(
            f"{', '.join(f'{name}=' for name in named)} is not differentiated; select or convert"
            " the values beforehand, for example with np.where or astype"
        )


def reduction(
    *functions: Callable[..., Any],
) -> Callable[[Callable[[Any, Any, Axes], Any]], None]:
    """Register functions by a formula for the derivative: of (y with axes kept, x, axes)."""

    def register(slope: Callable[[Any, Any, Axes], Any]) -> None:
        def locals_(
            y: Argument,
            x: Argument,
            axis: Any = None,
            dtype: Any = None,
            out: Any = None,
            keepdims: Any = False,
            *,
            initial: Any = None,
            where: Any = None,
        ) -> Locals:
            _refuse(dtype=dtype, out=out, initial=initial, where=None if where is True else where)
            axes = normalize_axes(axis, x.ndim)
            return {x: Local(_spelled(y, x, axes, None), _keeping(slope, axes, x.shape))}

        rule(*functions)(locals_)

    return register


def _keeping(slope: Callable[[Any, Any, Axes], Any], axes: Axes, shape: Sequence[int]) -> Formula:
    kept = tuple(1 if k in axes else n for k, n in enumerate(shape))
    return lambda y, x: np.broadcast_to(slope(np.reshape(y, kept), x, axes), shape)


@rule(np.sum)
def _sum(
    y: Argument,
    x: Argument,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = False,
    initial: Any = None,
    where: Any = None,
) -> Locals:
    _refuse(dtype=dtype, out=out, where=None if where is True else where)
    return {x: Local(_spelled(y, x, normalize_axes(axis, x.ndim), 1), None)}


@rule(np.mean)
def _mean(
    y: Argument,
    x: Argument,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = False,
    *,
    where: Any = None,
) -> Locals:
    _refuse(dtype=dtype, out=out, where=None if where is True else where)
    axes = normalize_axes(axis, x.ndim)
    count = int(np.prod([x.shape[k] for k in axes], dtype=np.int64))
    return {x: Local(_spelled(y, x, axes, 1 / count if count else np.nan), None)}


@reduction(np.prod)
def _prod(y: Any, x: Any, axes: Axes) -> Any:
    # The product of all others, right also where some factors are zero.
    zero = np.equal(x, 0)
    zeros = np.sum(zero, axis=axes, keepdims=True)
    rest = np.prod(np.where(zero, 1.0, x), axis=axes, keepdims=True)
    others = rest / np.where(zero, 1.0, x)
    return np.where(zeros == 0, others, np.where(np.logical_and(zeros == 1, zero), rest, 0.0))


def _deviation(
    root: bool,
) -> Callable[..., Locals]:
    def locals_(
        y: Argument,
        x: Argument,
        axis: Any = None,
        dtype: Any = None,
        out: Any = None,
        ddof: Any = 0,
        keepdims: Any = False,
        *,
        where: Any = None,
        mean: Any = None,
        correction: Any = None,
    ) -> Locals:
        _refuse(dtype=dtype, out=out, where=None if where is True else where, mean=mean)
        axes = normalize_axes(axis, x.ndim)
        count = int(np.prod([x.shape[k] for k in axes], dtype=np.int64))
        divisor = count - (ddof if correction is None else correction)

        def slope(y_kept: Any, value: Any, along: Axes) -> Any:
            centred = value - np.mean(value, axis=along, keepdims=True)
            if not root:
                return 2 / divisor * centred
            return centred / (divisor * np.where(np.equal(y_kept, 0), 1.0, y_kept))

        return {x: Local(_spelled(y, x, axes, None), _keeping(slope, axes, x.shape))}

    return locals_


rule(np.var)(_deviation(root=False))
rule(np.std)(_deviation(root=True))


@rule(np.linalg.norm)
def _norm(
    y: Argument, x: Argument, ord: Any = None, axis: Any = None, keepdims: Any = False
) -> Locals:
    axes = normalize_axes(axis, x.ndim)
    matrix = len(axes) == 2 and not (axis is None and ord is None)
    if matrix and ord not in (None, "fro"):
        raise NotImplementedError(
            f"the matrix norm ord={ord!r} is not differentiated; only the Frobenius norm is"
        )
    p = 2 if ord in (None, "fro") else ord
    return {x: Local(_spelled(y, x, axes, None), _keeping(_norm_slope(p), axes, x.shape))}


def _norm_slope(p: float) -> Callable[[Any, Any, Axes], Any]:
    def slope(y: Any, x: Any, axes: Axes) -> Any:
        if p == 2:
            return x / np.where(np.equal(y, 0), 1.0, y)
        if p == 1:
            return np.sign(x)
        if p in (np.inf, -np.inf):
            return np.sign(x) * _extreme(y, np.abs(x), axes)
        if p == 0:
            return np.zeros(np.shape(x))
        safe = np.where(np.equal(y, 0), 1.0, y)
        return np.sign(x) * np.power(np.abs(x) / safe, p - 1)

    return slope


def _extreme(y: Any, x: Any, axes: Axes) -> Any:
    hit = np.where(np.equal(x, y), 1.0, 0.0)
    return hit / np.sum(hit, axis=axes, keepdims=True)


reduction(np.max, np.min)(_extreme)


@rule(np.cumsum)
def _cumsum(
    y: Argument, x: Argument, axis: Any = None, dtype: Any = None, out: Any = None
) -> Locals:
    _refuse(dtype=dtype, out=out)
    if axis is None and x.ndim != 1:
        raise NotImplementedError("cumsum over all axes: write np.cumsum(np.ravel(x))")
    k = normalize_axes(axis or 0, x.ndim)[0]
    n = x.shape[k]
    later = x.ndim
    rows = [(size, (later if at == k else at,)) for at, size in enumerate(x.shape)]
    cols = [(size, (at,)) for at, size in enumerate(x.shape)]
    sizes = {**dict(enumerate(x.shape)), later: n}
    arrangement = spelled(rows, cols, sizes, (later, k))
    return {x: Local(arrangement, lambda y, x: np.tri(n))}


@defined(np.trace)
def _trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    return np.sum(np.diagonal(a, offset, axis1, axis2), axis=-1)


@defined(np.ptp)
def _ptp(a: Any, axis: Any = None, keepdims: Any = False) -> Any:
    return np.max(a, axis=axis, keepdims=keepdims) - np.min(a, axis=axis, keepdims=keepdims)


@defined(np.average)
def _average(a: Any, axis: Any = None, weights: Any = None) -> Any:
    if weights is None:
        return np.mean(a, axis=axis)
    return np.sum(a * weights, axis=axis) / np.sum(weights * np.ones(np.shape(a)), axis=axis)


@defined(np.cumprod)
def _cumprod(a: Any, axis: Any = None) -> Any:
    raise NotImplementedError("np.cumprod has no rule yet; np.exp(np.cumsum(np.log(x))) for x > 0")


CONSTANT |= {
    np.argmax,
    np.argmin,
    np.argsort,
    np.argpartition,
    np.argwhere,
    np.nonzero,
    np.flatnonzero,
    np.count_nonzero,
    np.searchsorted,
    np.digitize,
    np.any,
    np.all,
    np.isclose,
    np.allclose,
    np.array_equal,
    np.array_equiv,
    np.lexsort,
}
