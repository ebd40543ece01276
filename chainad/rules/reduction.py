"""Reductions: functions that take whole axes to one number each.

Ties of `max` and `min` share the derivative evenly; `std` has derivative 0 where all entries are
equal; second derivatives are nan there, but those of smooth functions of its square are right.
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
    refuse_unless,
    rule,
)
from chainad.rules.elementwise import direction
from chainad.rules.kinds import Accumulation, PiecewiseConstant, Reduction
from chainad.structure import from_labels, operator, reduced
from chainad.structure.linear_operators import RunningSum

Axes = tuple[int, ...]


def join_axes(x: Any, axis: Any) -> Any:
    """Return x with some axes joined to one, the last (None: all of them)."""
    axes = normalize_axes(axis, np.ndim(x))
    if axes == (np.ndim(x) - 1,):
        return x
    rest = [k for k in range(np.ndim(x)) if k not in axes]
    return np.reshape(np.transpose(x, (*rest, *axes)), (*(np.shape(x)[k] for k in rest), -1))


def keep_reduced(y: Any, x: Any, axis: Any, keepdims: Any, skip: int = 0) -> Any:
    """Return y, reduced from x, with the reduced axes kept as ones of size 1 if `keepdims`.

    The first `skip` axes of y are none of x.
    """
    axes = tuple(skip + k for k in normalize_axes(axis, np.ndim(x)))
    return np.expand_dims(y, axes) if keepdims else y


def in_dtype(x: Any, dtype: Any) -> Any:
    """Return x in a dtype, if one is given."""
    return x if dtype is None or np.dtype(dtype) == x.dtype else x.astype(dtype)


def _selection(ufunc: np.ufunc, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the rewriting of a reduction by a ufunc in a dtype, of a part, from a start value."""

    def rewrite(
        a: Any,
        axis: Any = None,
        dtype: Any = None,
        out: Any = None,
        keepdims: Any = False,
        initial: Any = None,
        where: Any = True,
    ) -> Any:
        if initial is None and _is_plain(a, dtype, where):
            return NotImplemented
        # Some versions of NumPy take an array of one entry for a number, others do not.
        refuse_unless(np.ndim(initial) == 0, "initial= is a number; add an array to the result")
        neutral = initial if ufunc.identity is None else ufunc.identity
        if neutral is None:
            raise ValueError(f"np.{function.__name__} with where= needs initial=, too")
        a = in_dtype(a, dtype)
        if not _is_plain(a, None, where):
            a = np.where(np.broadcast_to(where, np.shape(a)), a, neutral)
        if ufunc.identity is None and not np.size(a):
            none = np.zeros(np.shape(a), a.dtype)
            return np.sum(none, axis=axis, keepdims=bool(keepdims)) + initial
        y = function(a, axis=axis, keepdims=bool(keepdims))
        return y if initial is None else ufunc(y, initial)

    return rewrite


def reduction(
    *functions: Callable[..., Any],
    ufunc: np.ufunc | None = None,
    definition: Callable[..., Any] | None = None,
    is_holomorphic: bool = False,
    is_selection: bool = False,
) -> Callable[[Callable[[Any, Any, Axes], Any]], None]:
    """Register functions by a formula for the derivative: of (y with axes kept, x, axes).

    `ufunc` is what they apply between the entries, which makes sense of `where=`, `initial=` and
    `dtype=`; `definition` is what they are in simpler functions. `is_selection` says that they
    select entries, by their derivative.
    """

    def register(slope: Callable[[Any, Any, Axes], Any]) -> None:
        def locals_(
            y: Argument, x: Argument, axis: Any = None, *options: Any, **named: Any
        ) -> Locals:
            axes = normalize_axes(axis, x.ndim)
            return {
                x: Local(reduced(y.shape, x.shape, axes, None), keep_axes(slope, axes, x.shape))
            }

        def square(
            squared: Callable[[Any], Any],
            y: Any,
            x: Any,
            axis: Any = None,
            dtype: Any = None,
            out: Any = None,
            keepdims: Any = False,
        ) -> Any:
            axes = normalize_axes(axis, np.ndim(x))
            hit = keep_axes(slope, axes, np.shape(x))(y, x)
            return np.sum(hit * squared(x), axis=axes, keepdims=bool(keepdims))

        for function in functions:
            rule(
                function,
                rewrite=None if ufunc is None else _selection(ufunc, function),
                kind=Reduction(ufunc, is_holomorphic, is_selection),
                definition=definition,
                square=square if is_selection else None,
            )(locals_)

    return register


def keep_axes(slope: Callable[[Any, Any, Axes], Any], axes: Axes, shape: Sequence[int]) -> Formula:
    """Return a formula of (y, x) from a slope of (y with axes kept, x, axes)."""
    kept = tuple(1 if k in axes else n for k, n in enumerate(shape))
    return lambda y, x: np.broadcast_to(slope(np.reshape(y, kept), x, axes), shape)


@rule(np.sum, rewrite=_selection(np.add, np.sum), kind=Reduction(np.add, is_holomorphic=True))
def _sum(y: Argument, x: Argument, axis: Any = None, *options: Any, **named: Any) -> Locals:
    return {x: Local(reduced(y.shape, x.shape, normalize_axes(axis, x.ndim), 1), None)}


def _is_plain(x: Any, dtype: Any, where: Any, mean: Any = None) -> bool:
    """Return whether the options of a mean are those that it has by default."""
    is_whole = isinstance(where, bool) and where
    return is_whole and mean is None and (dtype is None or np.dtype(dtype) == x.dtype)


def _count(x: Any, axis: Any, keepdims: Any, where: Any) -> Any:
    """Return how many entries are averaged."""
    if isinstance(where, bool) and where:
        return prod(np.shape(x)[k] for k in normalize_axes(axis, np.ndim(x)))
    selected = np.broadcast_to(np.not_equal(where, 0), np.shape(x)).astype(x.dtype)
    return np.sum(selected, axis=axis, keepdims=bool(keepdims))


def _mean_by_sum(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = False,
    *,
    where: Any = True,
) -> Any:
    a = in_dtype(a, dtype)
    selection = {} if isinstance(where, bool) and where else {"where": where}
    total = np.sum(a, axis=axis, keepdims=bool(keepdims), **selection)
    return total / _count(a, axis, keepdims, where)


def _mean_of_selection(
    a: Any, axis: Any = None, dtype: Any = None, *rest: Any, where: Any = True, **options: Any
) -> Any:
    if _is_plain(a, dtype, where):
        return NotImplemented
    return _mean_by_sum(a, axis, dtype, *rest, where=where, **options)


@rule(
    np.mean,
    rewrite=_mean_of_selection,
    kind=Reduction(is_holomorphic=True),
    definition=_mean_by_sum,
)
def _mean(y: Argument, x: Argument, axis: Any = None, *options: Any, **named: Any) -> Locals:
    axes = normalize_axes(axis, x.ndim)
    count = prod(x.shape[k] for k in axes)
    return {x: Local(reduced(y.shape, x.shape, axes, 1 / count if count else np.nan), None)}


@reduction(np.prod, ufunc=np.multiply, is_holomorphic=True)
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


def _deviation(root: bool) -> Callable[..., Locals]:
    def locals_(
        y: Argument,
        x: Argument,
        axis: Any = None,
        dtype: Any = None,
        out: Any = None,
        ddof: Any = 0,
        keepdims: Any = False,
        *,
        correction: Any = None,
        **named: Any,
    ) -> Locals:
        axes = normalize_axes(axis, x.ndim)
        count = prod(x.shape[k] for k in axes)
        # A NumPy number, so that dividing by zero gives infinity, as it does in the function.
        divisor = np.float64(count - (ddof if correction is None else correction))

        def slope(y_kept: Any, value: Any, along: Axes) -> Any:
            centred = value - np.mean(value, axis=along, keepdims=True)
            if not root:
                return centred * float(2 / divisor)
            return direction(centred, float(divisor) * y_kept)

        return {x: Local(reduced(y.shape, x.shape, axes, None), keep_axes(slope, axes, x.shape))}

    return locals_


def _by_sums(sum_of_squares: Callable[..., Any], root: bool) -> Callable[..., Any]:
    """Return np.var or np.std, by what sums the squares of the deviations along some axes."""

    def definition(
        a: Any,
        axis: Any = None,
        dtype: Any = None,
        out: Any = None,
        ddof: Any = 0,
        keepdims: Any = False,
        *,
        where: Any = True,
        mean: Any = None,
        correction: Any = None,
    ) -> Any:
        a = in_dtype(a, dtype)
        centre = np.mean(a, axis=axis, keepdims=True, where=where) if mean is None else mean
        centred = a - centre
        if not _is_plain(a, None, where):
            centred = np.where(np.broadcast_to(where, np.shape(a)), centred, 0.0)
        divisor = _count(a, axis, keepdims, where) - (ddof if correction is None else correction)
        total = sum_of_squares(centred, axis, bool(keepdims))
        return total / (in_dtype(np.sqrt(divisor), total.dtype) if root else divisor)

    return definition


def _sum_of_squares(x: Any, axis: Any, keepdims: bool) -> Any:
    square = np.square(np.real(x)) + np.square(np.imag(x)) if np.iscomplexobj(x) else x * x
    return np.sum(square, axis=axis, keepdims=keepdims)


def _root_of_squares(x: Any, axis: Any, keepdims: bool) -> Any:
    # A norm, whose derivative is 0 where all entries are equal.
    return keep_reduced(np.linalg.norm(join_axes(x, axis), axis=-1), x, axis, keepdims)


variance_by_sums = _by_sums(_sum_of_squares, root=False)
deviation_by_norm = _by_sums(_root_of_squares, root=True)


def _deviation_by_sums(*args: Any, **kwargs: Any) -> Any:
    return np.sqrt(variance_by_sums(*args, **kwargs))


def _unless_plain(definition: Callable[..., Any]) -> Callable[..., Any]:
    """Return the rewriting of np.var or np.std, by a definition that takes all options."""

    def rewrite(
        a: Any,
        axis: Any = None,
        dtype: Any = None,
        *rest: Any,
        where: Any = True,
        mean: Any = None,
        **options: Any,
    ) -> Any:
        if _is_plain(a, dtype, where, mean):
            return NotImplemented
        return definition(a, axis, dtype, *rest, where=where, mean=mean, **options)

    return rewrite


rule(
    np.var,
    rewrite=_unless_plain(variance_by_sums),
    kind=Reduction(),
    definition=variance_by_sums,
)(_deviation(root=False))
rule(
    np.std,
    rewrite=_unless_plain(deviation_by_norm),
    kind=Reduction(),
    definition=_deviation_by_sums,
    square=lambda squared, y, *args, **kwargs: np.var(*args, **kwargs),
)(_deviation(root=True))


def extreme_slope(y: Any, x: Any, axes: Axes) -> Any:
    """Return the slope of max or min, of (y with axes kept, x, axes): ties share it evenly."""
    hit = np.where(np.equal(x, y), 1.0, 0.0)
    return hit / np.sum(hit, axis=axes, keepdims=True)


reduction(np.max, np.amax, ufunc=np.maximum, is_selection=True)(extreme_slope)
reduction(np.min, np.amin, ufunc=np.minimum, is_selection=True)(extreme_slope)


def _along_one_axis(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None
) -> tuple[Any, ...]:
    """Return the arguments of a cumulative function with an axis; without one it takes x flat."""
    a = in_dtype(a, dtype)
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
    return {
        x: Local(
            operator(arrangement, 0, 0, 0, is_triangular=True), lambda y, x: RunningSum(n, y.dtype)
        )
    }


@defined(np.trace)
def _trace(
    a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None
) -> Any:
    return np.sum(np.diagonal(in_dtype(a, dtype), offset, axis1, axis2), axis=-1)


@defined(np.ptp)
def _ptp(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False) -> Any:
    return np.max(a, axis=axis, keepdims=keepdims) - np.min(a, axis=axis, keepdims=keepdims)


@defined(np.average)
def _average(
    a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: Any = False
) -> Any:
    if weights is None:
        mean = np.mean(a, axis=axis, keepdims=bool(keepdims))
        return (
            (mean, np.full(np.shape(mean), np.size(a) / np.size(mean), mean.dtype))
            if returned
            else mean
        )
    if np.shape(weights) != np.shape(a):
        # One weight per place on the axes, which come in the order that the weights have.
        if axis is None:
            raise TypeError("Axis must be specified when shapes of a and weights differ.")
        axes = normalize_axes(axis, np.ndim(a))
        weights = np.transpose(weights, np.argsort(axes))
        shape = [np.shape(a)[k] if k in axes else 1 for k in range(np.ndim(a))]
        weights = np.broadcast_to(np.reshape(weights, shape), np.shape(a))
    total = np.sum(weights, axis=axis, keepdims=bool(keepdims))
    mean = np.sum(np.multiply(a, weights), axis=axis, keepdims=bool(keepdims)) / total
    return (mean, total) if returned else mean


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


def _without_nan(function: Callable[..., Any], neutral: float) -> Callable[..., Any]:
    """Return the definition of a reduction that takes nan for the neutral value."""

    def definition(a: Any, *args: Any, **options: Any) -> Any:
        return function(np.where(np.isnan(a), neutral, a), *args, **options)

    return definition


defined(np.nansum)(_without_nan(np.sum, 0.0))
defined(np.nanprod)(_without_nan(np.prod, 1.0))


@defined(np.nanmean)
def _nanmean(a: Any, axis: Any = None, *, keepdims: Any = False) -> Any:
    count = np.sum(np.where(np.isnan(a), 0.0, 1.0), axis=axis, keepdims=keepdims, dtype=a.dtype)
    return np.nansum(a, axis=axis, keepdims=keepdims) / count


defined(np.linalg.trace)(lambda x, /, *, offset=0: np.trace(x, offset, -2, -1))


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
