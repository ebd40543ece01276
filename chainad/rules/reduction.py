"""Reductions: functions that take whole axes to one number each.

Ties of `max` and `min` share the derivative evenly; `norm` has derivative 0 at the zero vector,
and `std` where all entries are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from chainad.ir.graph import Argument
from chainad.rules.base import (
    Formula,
    Local,
    Locals,
    available,
    constant,
    defined,
    normalize_axes,
    rule,
)
from chainad.rules.kinds import Accumulation, PiecewiseConstant, Reduction
from chainad.structure import from_labels, operator, reduced
from chainad.structure.linear_operators import RunningSum

Axes = tuple[int, ...]


def _refuse(**options: Any) -> None:
    """Raise for options that change the result in ways the rule does not know."""
    harmless = {"where": True}
    named = [k for k, v in options.items() if v is not None and v is not harmless.get(k)]
    if named:
        raise NotImplementedError(
            f"{', '.join(f'{name}=' for name in named)} is not differentiated; select or convert"
            " the values beforehand, for example with np.where or astype"
        )


def reduction(
    *functions: Callable[..., Any],
    ufunc: np.ufunc | None = None,
    definition: Callable[..., Any] | None = None,
) -> Callable[[Callable[[Any, Any, Axes], Any]], None]:
    """Register functions by a formula for the derivative: of (y with axes kept, x, axes).

    `ufunc` is what they apply between the entries, `definition` what they are in simpler functions.
    """

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
            _refuse(dtype=dtype, out=out, initial=initial, where=where)
            axes = normalize_axes(axis, x.ndim)
            return {
                x: Local(reduced(y.shape, x.shape, axes, None), keep_axes(slope, axes, x.shape))
            }

        rule(*functions, kind=Reduction(ufunc), definition=definition)(locals_)

    return register


def keep_axes(slope: Callable[[Any, Any, Axes], Any], axes: Axes, shape: Sequence[int]) -> Formula:
    """Return a formula of (y, x) from a slope of (y with axes kept, x, axes)."""
    kept = tuple(1 if k in axes else n for k, n in enumerate(shape))
    return lambda y, x: np.broadcast_to(slope(np.reshape(y, kept), x, axes), shape)


@rule(np.sum, kind=Reduction(np.add, is_holomorphic=True))
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
    _refuse(dtype=dtype, out=out, where=where)
    return {x: Local(reduced(y.shape, x.shape, normalize_axes(axis, x.ndim), 1), None)}


def _mean_by_sum(
    x: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False
) -> Any:
    _refuse(dtype=dtype, out=out)
    total = np.sum(x, axis=axis, keepdims=bool(keepdims))
    return total / (np.size(x) / max(np.size(total), 1))


@rule(np.mean, kind=Reduction(is_holomorphic=True), definition=_mean_by_sum)
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
    _refuse(dtype=dtype, out=out, where=where)
    axes = normalize_axes(axis, x.ndim)
    count = prod(x.shape[k] for k in axes)
    return {x: Local(reduced(y.shape, x.shape, axes, 1 / count if count else np.nan), None)}


@reduction(np.prod, ufunc=np.multiply)
def _prod(y: Any, x: Any, axes: Axes) -> Any:
    # The product of all others: y / x unless a factor is zero, or the product over- or underflows.
    if np.all(np.logical_and(np.isfinite(y), y != 0)):
        return y / x
    front = np.moveaxis(x, axes, range(len(axes)))
    others = _products_of_others(np.reshape(front, (-1, *np.shape(front)[len(axes) :])))
    return np.moveaxis(np.reshape(others, np.shape(front)), range(len(axes)), axes)


def _products_of_others(x: Any) -> Any:
    """Return, for every entry along the first axis, the product of all others.

    Pairs are multiplied on the way up a binary tree, and passed to their siblings on the way down;
    nothing is divided, so this and its derivatives are right at zeros.
    """
    n = np.shape(x)[0]
    if n == 1:
        return np.ones_like(x)
    if n % 2:
        x = np.concatenate([x, np.ones_like(x[:1])])
    above = _products_of_others(x[::2] * x[1::2])
    pairs = np.stack([above * x[1::2], above * x[::2]], axis=1)
    return np.reshape(pairs, np.shape(x))[:n]


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
        _refuse(dtype=dtype, out=out, where=where, mean=mean)
        axes = normalize_axes(axis, x.ndim)
        count = prod(x.shape[k] for k in axes)
        # A NumPy number, so that dividing by zero gives infinity, as it does in the function.
        divisor = np.float64(count - (ddof if correction is None else correction))

        def slope(y_kept: Any, value: Any, along: Axes) -> Any:
            centred = value - np.mean(value, axis=along, keepdims=True)
            if not root:
                return centred * float(2 / divisor)
            return centred / (float(divisor) * np.where(np.equal(y_kept, 0), 1.0, y_kept))

        return {x: Local(reduced(y.shape, x.shape, axes, None), keep_axes(slope, axes, x.shape))}

    return locals_


def _variance_by_sums(
    x: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: Any = 0,
    keepdims: Any = False,
    *,
    correction: Any = None,
) -> Any:
    _refuse(dtype=dtype, out=out)
    centred = x - np.mean(x, axis=axis, keepdims=True)
    total = np.sum(centred * centred, axis=axis, keepdims=bool(keepdims))
    count = np.size(x) / max(np.size(total), 1)
    return total / (count - (ddof if correction is None else correction))


def _deviation_by_sums(*args: Any, **kwargs: Any) -> Any:
    return np.sqrt(_variance_by_sums(*args, **kwargs))


rule(np.var, kind=Reduction(), definition=_variance_by_sums)(_deviation(root=False))
rule(np.std, kind=Reduction(), definition=_deviation_by_sums)(_deviation(root=True))


def _norm_by_sums(x: Any, ord: Any = None, axis: Any = None, keepdims: Any = False) -> Any:
    is_vector = (axis is None and np.ndim(x) == 1) or isinstance(axis, (int, np.integer))
    if not (ord is None or (ord == "fro" and np.ndim(x) == 2) or (ord == 2 and is_vector)):
        raise NotImplementedError(f"ord={ord!r} is no sum of squares")
    return np.sqrt(np.sum(x * x, axis=axis, keepdims=bool(keepdims)))


@rule(np.linalg.norm, kind=Reduction(), definition=_norm_by_sums)
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
    return {
        x: Local(reduced(y.shape, x.shape, axes, None), keep_axes(_norm_slope(p), axes, x.shape))
    }


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


reduction(np.max, np.amax, ufunc=np.maximum)(_extreme)
reduction(np.min, np.amin, ufunc=np.minimum)(_extreme)


def _along_one_axis(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None
) -> tuple[Any, ...]:
    """Return the arguments of a cumulative function with an axis; without one it takes x flat."""
    _refuse(dtype=dtype, out=out)
    return (np.ravel(a), 0) if axis is None else (a, axis)


@rule(np.cumsum, canonical=_along_one_axis, kind=Accumulation(np.add))
def _cumsum(y: Argument, x: Argument, axis: int) -> Locals:
    k = normalize_axes(axis, x.ndim)[0]
    n = x.shape[k]
    later = x.ndim
    rows = [(size, (later if at == k else at,)) for at, size in enumerate(x.shape)]
    cols = [(size, (at,)) for at, size in enumerate(x.shape)]
    sizes = {**dict(enumerate(x.shape)), later: n}
    arrangement = from_labels(rows, cols, sizes, (later, k))
    if n < 2 or arrangement.ops:  # without labels there is nothing to apply to
        return {x: Local(arrangement, lambda y, x: np.ones((n, n)))}
    # Sums, no products: the operator is applied for nothing.
    return {x: Local(operator(arrangement, 0, 0), lambda y, x: RunningSum(n, y.dtype))}


@defined(np.trace)
def _trace(
    a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None
) -> Any:
    _refuse(dtype=dtype, out=out)
    return np.sum(np.diagonal(a, offset, axis1, axis2), axis=-1)


@defined(np.ptp)
def _ptp(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False) -> Any:
    _refuse(out=out)
    return np.max(a, axis=axis, keepdims=keepdims) - np.min(a, axis=axis, keepdims=keepdims)


@defined(np.average)
def _average(a: Any, axis: Any = None, weights: Any = None, *, keepdims: Any = False) -> Any:
    if weights is None:
        return np.mean(a, axis=axis, keepdims=keepdims)
    if np.shape(weights) != np.shape(a):
        if np.ndim(weights) != 1 or not isinstance(axis, (int, np.integer)):
            raise NotImplementedError("weights= must have the shape of a, or of its axis=axis")
        # One weight per place on the axis: the axis goes to the end, where they are broadcast.
        a, axis = np.moveaxis(a, axis, -1), -1
        if keepdims:
            raise NotImplementedError("keepdims= needs weights= of the shape of a")
        weights = np.broadcast_to(weights, np.shape(a))
    total = np.sum(weights, axis=axis, keepdims=keepdims)
    return np.sum(np.multiply(a, weights), axis=axis, keepdims=keepdims) / total


@defined(np.cumprod)
def _cumprod(a: Any, axis: Any = None, dtype: Any = None) -> Any:
    # Products over windows of doubling length; right at zeros, in log2(n) steps.
    a, axis = _along_one_axis(a, axis, dtype)
    x = np.moveaxis(a, axis, 0)
    step, n = 1, np.shape(x)[0]
    while step < n:
        x = np.concatenate([x[:step], x[step:] * x[:-step]])
        step *= 2
    return np.moveaxis(x, 0, axis)


@defined(*available(np, "cumulative_sum"))
def _cumulative_sum(x: Any, /, *, axis: Any = None, include_initial: bool = False) -> Any:
    return _with_start(np.cumsum, 0.0, x, axis, include_initial)


@defined(*available(np, "cumulative_prod"))
def _cumulative_prod(x: Any, /, *, axis: Any = None, include_initial: bool = False) -> Any:
    return _with_start(np.cumprod, 1.0, x, axis, include_initial)


def _with_start(
    function: Callable[..., Any], start: float, x: Any, axis: Any, include_initial: bool
) -> Any:
    if axis is None and np.ndim(x) > 1:
        raise ValueError("axis must be given for arrays of several axes")
    axis = 0 if axis is None else axis
    y = function(x, axis=axis)
    if not include_initial:
        return y
    first = np.full_like(np.take(x, [0], axis=axis), start)
    return np.concatenate([first, y], axis=axis)


@defined(np.nansum)
def _nansum(a: Any, axis: Any = None, *, keepdims: Any = False) -> Any:
    return np.sum(np.where(np.isnan(a), 0.0, a), axis=axis, keepdims=keepdims)


@defined(np.nanprod)
def _nanprod(a: Any, axis: Any = None, *, keepdims: Any = False) -> Any:
    return np.prod(np.where(np.isnan(a), 1.0, a), axis=axis, keepdims=keepdims)


@defined(np.nanmean)
def _nanmean(a: Any, axis: Any = None, *, keepdims: Any = False) -> Any:
    count = np.sum(np.where(np.isnan(a), 0.0, 1.0), axis=axis, keepdims=keepdims, dtype=a.dtype)
    return np.nansum(a, axis=axis, keepdims=keepdims) / count


@defined(np.linalg.vector_norm)
def _vector_norm(x: Any, /, *, axis: Any = None, keepdims: Any = False, ord: Any = 2) -> Any:
    if axis is None:
        flat = np.linalg.norm(np.ravel(x), ord)
        return np.reshape(flat, (1,) * np.ndim(x)) if keepdims else flat
    if isinstance(axis, tuple) and len(axis) > 1:
        raise NotImplementedError("several axes: reshape them to one beforehand")
    return np.linalg.norm(x, ord, axis, keepdims)


@defined(np.linalg.matrix_norm)
def _matrix_norm(x: Any, /, *, keepdims: Any = False, ord: Any = "fro") -> Any:
    return np.linalg.norm(x, ord, (-2, -1), keepdims)


@defined(np.linalg.trace)
def _linalg_trace(x: Any, /, *, offset: int = 0) -> Any:
    return np.trace(x, offset, -2, -1)


@defined(np.trapezoid)
def _trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    y = np.moveaxis(y, axis, -1)
    if x is not None:
        dx = np.diff(x) if np.ndim(x) == 1 else np.diff(np.moveaxis(x, axis, -1))
    return np.sum(dx * (y[..., 1:] + y[..., :-1]) / 2.0, axis=-1)


constant(np.any, kind=Reduction(np.logical_or))
constant(np.all, kind=Reduction(np.logical_and))
constant(
    np.argmax,
    np.argmin,
    np.argsort,
    np.argpartition,
    np.count_nonzero,
    np.searchsorted,
    np.digitize,
    np.isclose,
    np.lexsort,
    np.nanargmax,
    np.nanargmin,
    kind=PiecewiseConstant(),
)
constant(
    np.argwhere,
    np.nonzero,
    np.flatnonzero,
    np.allclose,
    np.array_equal,
    np.array_equiv,
)
