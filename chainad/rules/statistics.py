"""Statistics, interpolation and counting, in terms of functions that have rows of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainad.ir.array_functions import segment_sum
from chainad.ir.positions import positions
from chainad.rules.base import REFUSED, constant, defined, dispatching, refuse_unless, static
from chainad.rules.kinds import PiecewiseConstant
from chainad.rules.reduction import in_dtype, join_axes, keep_reduced


def _axis_first(x: Any, axis: Any) -> Any:
    """Return x with `axis` in front; flat without one."""
    return np.ravel(x) if axis is None else np.moveaxis(x, axis, 0)


@dispatching
def values_of(x: Any) -> Any:
    """Return the values of x as a constant: for decisions, which have no derivative."""
    return np.asarray(x)


def as_double(x: Any) -> Any:
    """Return x in double precision, in which some functions of NumPy always compute."""
    if isinstance(x, (list, tuple)):
        x = np.stack(x)  # of traced values, perhaps
    kind = complex if np.iscomplexobj(x) else float
    if np.result_type(x) == kind:
        return x
    return x.astype(kind) if hasattr(x, "astype") else np.asarray(x, kind)


def at_least_double(x: Any) -> Any:
    """Return x in double precision, or in the extended one that it has."""
    return x if np.result_type(x) == np.longdouble else as_double(x)


# ----------------------------------------------------------------- quantiles


# Methods that select an entry, rather than interpolate between two.
_SELECTING = {"inverted_cdf", "closest_observation", "lower", "higher", "nearest"}


def _of_sorted(a: Any, q: Any, axis: Any, method: str) -> Any:
    """Return quantiles of the sorted entries along an axis, those of `q` in front."""
    front = np.sort(_axis_first(a, axis), axis=0)
    n = np.shape(front)[0]
    # The place of a quantile is the quantile of the places, whatever the method.
    at = np.quantile(np.arange(float(n)), q, method=method)  # type: ignore[call-overload]
    low = np.floor(at).astype(int)
    if method in _SELECTING:
        found = front[low]
    else:
        high = np.minimum(low + 1, n - 1)
        weight = np.reshape(at - low, (*np.shape(q), *(1,) * (np.ndim(front) - 1)))
        # A list of quantiles is an array of doubles to NumPy, one alone takes the dtype of a.
        weight = weight if np.ndim(q) else weight.astype(a.dtype)
        found = front[low] + (front[high] - front[low]) * weight
    return np.where(np.isnan(front[-1]), np.nan, found)  # NaN is sorted to the end


def _of_weighted(a: Any, q: Any, axis: Any, method: str, weights: Any) -> Any:
    """Return weighted quantiles, which are entries of a, those of `q` in front.

    Which entries is all that weights decide: the derivative by these is zero.
    """
    rows, options = join_axes(a, axis), {"method": method, "weights": values_of(weights)}
    function: Callable[..., Any] = np.quantile
    found = function(values_of(a), q, axis=axis, **options)
    shape = (*np.shape(found), np.shape(rows)[-1])
    place = np.argmax(np.equal(values_of(rows), found[..., None]), axis=-1)
    return np.take_along_axis(np.broadcast_to(rows, shape), place[..., None], axis=-1)[..., 0]


def _quantiles(scale: float) -> Callable[..., Any]:
    """Return the definition of np.quantile, of np.percentile with a scale of 100."""

    def definition(
        a: Any,
        q: Any,
        axis: Any = None,
        out: Any = None,
        overwrite_input: bool = False,
        method: str = "linear",
        keepdims: Any = False,
        *,
        weights: Any = None,
    ) -> Any:
        q = np.asarray(static(q), float) / scale
        if weights is not None:
            found = _of_weighted(a, q, axis, method, weights)
        elif axis is None or np.ndim(axis) == 0:
            found = _of_sorted(a, q, axis, method)
        else:
            found = _of_sorted(join_axes(a, axis), q, -1, method)
        return keep_reduced(found, a, axis, keepdims, np.ndim(q))

    return definition


defined(np.quantile)(_quantiles(1.0))
defined(np.percentile)(_quantiles(100.0))


# ------------------------------------------------------------ NaN-skipping ones


def _filled(a: Any, value: float) -> Any:
    return np.where(np.isnan(a), value, a)


def _of_numbers(quantile: Callable[..., Any]) -> Callable[..., Any]:
    """Return the definition of a quantile of the entries that are not nan, slice by slice."""

    def definition(
        a: Any,
        q: Any,
        axis: Any = None,
        out: Any = None,
        overwrite_input: bool = False,
        method: str = "linear",
        keepdims: Any = False,
    ) -> Any:
        rows, q = join_axes(a, axis), static(q)
        flat = np.reshape(rows, (-1, np.shape(rows)[-1]))
        there = [~np.isnan(values_of(row)) for row in flat]
        found = [
            quantile(row[k], q, method=method) if k.any() else np.full(np.shape(q), np.nan)
            for row, k in zip(flat, there, strict=True)
        ]
        y = np.reshape(np.stack(found, -1), (*np.shape(q), *np.shape(rows)[:-1]))
        return keep_reduced(y, a, axis, keepdims, np.ndim(q))

    return definition


defined(np.nanquantile)(_of_numbers(np.quantile))
defined(np.nanpercentile)(_of_numbers(np.percentile))


@defined(np.nanmedian)
def _nanmedian(
    a: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False, keepdims: Any = False
) -> Any:
    return np.nanquantile(a, 0.5, axis, keepdims=keepdims)


@defined(np.nanmax)
def _nanmax(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, **part: Any) -> Any:
    return np.max(_filled(a, -np.inf), axis=axis, keepdims=keepdims, **part)


@defined(np.nanmin)
def _nanmin(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, **part: Any) -> Any:
    return np.min(_filled(a, np.inf), axis=axis, keepdims=keepdims, **part)


defined(np.nancumsum)(lambda a, axis=None: np.cumsum(_filled(a, 0.0), axis=axis))
defined(np.nancumprod)(lambda a, axis=None: np.cumprod(_filled(a, 1.0), axis=axis))


@defined(np.nanvar)
def _nanvar(a: Any, axis: Any = None, *, ddof: Any = 0, keepdims: bool = False) -> Any:
    there = np.where(np.isnan(a), 0.0, 1.0).astype(a.dtype)
    count = np.sum(there, axis=axis, keepdims=keepdims)
    deviation = (_filled(a, 0.0) - np.nanmean(a, axis=axis, keepdims=True)) * there
    return np.sum(np.square(deviation), axis=axis, keepdims=keepdims) / (count - ddof)


@defined(np.nanstd)
def _nanstd(a: Any, axis: Any = None, *, ddof: Any = 0, keepdims: bool = False) -> Any:
    return np.sqrt(np.nanvar(a, axis=axis, ddof=ddof, keepdims=keepdims))


# ---------------------------------------------------------------- covariances


def _observations(m: Any, y: Any, rowvar: bool) -> Any:
    def rows(x: Any) -> Any:
        x = np.atleast_2d(x)
        return x if rowvar or np.shape(x)[0] == 1 else np.transpose(x)

    return rows(m) if y is None else np.concatenate([rows(m), rows(y)])


@defined(np.cov)
def _cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: Any = None,
    fweights: Any = None,
    aweights: Any = None,
    *,
    dtype: Any = None,
) -> Any:
    x = in_dtype(at_least_double(_observations(m, y, rowvar)), dtype)
    given = [np.ravel(w) for w in (fweights, aweights) if w is not None]
    # Counted observations, and observations of a certain weight.
    weights = (
        np.ones(np.shape(x)[1])
        if not given
        else np.multiply(given[0], given[-1] if given[1:] else 1.0)
    )
    total = np.sum(weights)
    x = x - np.sum(x * weights, axis=1, keepdims=True) / total
    less = (0 if bias else 1) if ddof is None else ddof
    divisor = total - less * (
        1 if aweights is None else np.sum(weights * np.ravel(aweights)) / total
    )
    other = np.conjugate(x) if np.iscomplexobj(x) else x
    return np.squeeze((x * weights) @ np.transpose(other) / divisor)


@defined(np.corrcoef)
def _corrcoef(x: Any, y: Any = None, rowvar: bool = True, *, dtype: Any = None) -> Any:
    c = np.cov(x, y, rowvar, dtype=dtype)
    if np.ndim(c) == 0:
        return c / c
    scale = np.sqrt(np.real(np.diagonal(c)) if np.iscomplexobj(c) else np.diagonal(c))
    return c / np.outer(scale, scale)


@defined(np.correlate)
def _correlate(a: Any, v: Any, mode: Any = "valid") -> Any:
    if np.size(v) > np.size(a):
        return np.flip(_correlate(v, a, mode))
    return np.convolve(a, np.flip(v), mode)


# --------------------------------------------------- counting and interpolating


@defined(np.bincount)
def _bincount(x: Any, weights: Any = None, minlength: int = 0) -> Any:
    bins = np.asarray(x)
    size = max(int(bins.max(initial=-1)) + 1, minlength)
    return segment_sum(as_double(weights), 0, positions(bins), size)


@defined(np.interp)
def _interp(
    x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None
) -> Any:
    x, xp, fp = as_double(x), as_double(xp), as_double(fp)
    if period is not None:
        x, xp, left, right = x % abs(period), xp % abs(period), None, None
        order = np.argsort(xp)
        xp, fp = xp[order], fp[order]
        xp = np.concatenate([xp[-1:] - abs(period), xp, xp[:1] + abs(period)])
        fp = np.concatenate([fp[-1:], fp, fp[:1]])
    low = fp[0] if left is None else left
    high = fp[-1] if right is None else right
    if np.size(xp) == 1:
        inside = fp[0]
    else:
        k = np.clip(np.searchsorted(xp, x, side="right") - 1, 0, np.size(xp) - 2)
        x0, x1, y0, y1 = np.take(xp, k), np.take(xp, k + 1), np.take(fp, k), np.take(fp, k + 1)
        inside = y0 + (y1 - y0) / (x1 - x0) * (x - x0)
    return np.where(np.less(x, xp[0]), low, np.where(np.greater(x, xp[-1]), high, inside))


@defined(np.gradient)
def _gradient(f: Any, *spacing: Any, axis: Any = None, edge_order: int = 1) -> Any:
    axes = tuple(range(np.ndim(f))) if axis is None else tuple(np.ravel(axis))
    steps = list(spacing) * (len(axes) if len(spacing) == 1 else 1) or [1.0] * len(axes)
    if len(steps) != len(axes):
        raise TypeError("invalid number of arguments")
    # The spacing may be of higher precision; the result is not.
    found = [
        _slope(f, h, int(k), edge_order).astype(f.dtype) for h, k in zip(steps, axes, strict=True)
    ]
    return found[0] if len(axes) == 1 else tuple(found)


def _slope(f: Any, h: Any, axis: int, edge_order: int) -> Any:
    """Return second-order differences inside, one-sided ones at both ends."""
    refuse_unless(edge_order in (1, 2), "edge_order must be 1 or 2")
    y = np.moveaxis(f, axis, 0)
    n = np.shape(y)[0]
    if np.ndim(h):
        gaps = np.reshape(np.diff(h), (-1, *(1,) * (np.ndim(y) - 1)))
    else:
        gaps = np.reshape(np.multiply(h, np.ones(n - 1, f.dtype)), (-1, *(1,) * (np.ndim(y) - 1)))
    a, b = gaps[:-1], gaps[1:]
    middle = y[2:] * a**2 - y[:-2] * b**2
    if np.ndim(h):  # with equal gaps, no entry depends on that in its own place
        middle = middle + y[1:-1] * (b**2 - a**2)
    middle = middle / (a * b * (a + b))
    if edge_order == 1:
        first, last = (y[1:2] - y[:1]) / gaps[:1], (y[-1:] - y[-2:-1]) / gaps[-1:]
    else:
        first = _one_sided(y[:1], y[1:2], y[2:3], gaps[:1], gaps[1:2])
        last = -_one_sided(y[-1:], y[-2:-1], y[-3:-2], gaps[-1:], gaps[-2:-1])
    return np.moveaxis(np.concatenate([first, middle, last]), 0, axis)


def _one_sided(y0: Any, y1: Any, y2: Any, a: Any, b: Any) -> Any:
    return (-y0 * b * (2 * a + b) + y1 * (a + b) ** 2 - y2 * a**2) / (a * b * (a + b))


# ------------------------------------------------------------------- piecewise


@defined(np.piecewise, nested=True)
def _piecewise(x: Any, condlist: Any, funclist: Sequence[Any], *args: Any, **kw: Any) -> Any:
    if not np.ndim(x):  # a number takes no mask
        conditions = [np.reshape(np.asarray(c, bool), 1) for c in condlist]
        return _piecewise(np.reshape(x, 1), conditions, funclist, *args, **kw)[0]
    conditions = [np.asarray(c, bool) for c in (condlist if np.ndim(condlist[0]) else [condlist])]
    if len(funclist) == len(conditions) + 1:
        conditions.append(~np.any(conditions, axis=0))
    y = np.zeros_like(x)
    for condition, function in zip(conditions, funclist, strict=True):
        part = x[condition]
        y[condition] = function(part, *args, **kw) if callable(function) else function
    return y


@defined(np.choose, nested=True)
def _choose(a: Any, choices: Any, out: Any = None, mode: str = "raise") -> Any:
    refuse_unless(mode == "raise", "only mode='raise' is differentiated")
    shape = np.broadcast_shapes(np.shape(a), *map(np.shape, choices))
    stacked = np.stack([np.broadcast_to(c, shape) for c in choices])
    return np.take_along_axis(stacked, np.broadcast_to(a, shape)[None], 0)[0]


@defined(np.unwrap)
def _unwrap(p: Any, discont: Any = None, axis: int = -1, *, period: float = 2 * np.pi) -> Any:
    steps = np.unwrap(values_of(p), discont, axis, period=period) - values_of(p)
    return p + steps  # whole periods, which are constant


@defined(np.apply_along_axis)
def _apply_along_axis(
    func1d: Callable[..., Any], axis: int, arr: Any, *args: Any, **kw: Any
) -> Any:
    front = np.moveaxis(arr, axis, -1)
    flat = np.reshape(front, (-1, np.shape(front)[-1]))
    rows = np.stack([func1d(row, *args, **kw) for row in flat])
    y = np.reshape(rows, (*np.shape(front)[:-1], *np.shape(rows)[1:]))
    n = np.ndim(rows) - 1
    return np.moveaxis(y, range(np.ndim(y) - n, np.ndim(y)), range(axis, axis + n)) if n else y


@defined(np.apply_over_axes)
def _apply_over_axes(func: Callable[..., Any], a: Any, axes: Any) -> Any:
    for axis in np.ravel(axes):
        found = func(a, int(axis))
        a = found if np.ndim(found) == np.ndim(a) else np.expand_dims(found, int(axis))
    return a


# ------------------------------------------------- grids, and running extremes


@defined(np.logspace)
def _logspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    base: Any = 10.0,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    if np.ndim(base):
        start, stop, base = np.broadcast_arrays(start, stop, base)
        base = np.expand_dims(base, axis)
    return in_dtype(np.power(base, np.linspace(start, stop, num, endpoint, axis=axis)), dtype)


@defined(np.geomspace)
def _geomspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0
) -> Any:
    sign = np.where(np.logical_and(np.less(start, 0), np.less(stop, 0)), -1.0, 1.0)
    first, last = (np.log(sign * at_least_double(x)) for x in (start, stop))
    signs = np.expand_dims(sign, axis) if np.ndim(sign) else sign
    return in_dtype(signs * np.exp(np.linspace(first, last, num, endpoint, axis=axis)), dtype)


def running_extreme(ufunc: np.ufunc, x: Any, axis: int) -> Any:
    """Return np.maximum.accumulate or np.minimum.accumulate; of equal entries, the first counts."""
    found = np.moveaxis(ufunc.accumulate(values_of(x), axis=axis), axis, 0)
    first = np.ones(found.shape, bool)
    nan = np.isnan(found)
    first[1:] = (found[1:] != found[:-1]) & ~(nan[1:] & nan[:-1])
    steps = np.arange(len(found)).reshape(-1, *(1,) * (found.ndim - 1))
    places = np.maximum.accumulate(np.where(first, steps, 0), axis=0)
    return np.take_along_axis(x, np.moveaxis(places, 0, axis), axis)


constant(np.histogram_bin_edges)
constant(values_of, kind=PiecewiseConstant())
REFUSED |= {
    np.frexp: "np.frexp splits numbers by their bits; use np.log2 and np.exp2",
    np.roots: "np.roots has no rule; solve with np.linalg.eigvalsh or a Newton iteration",
    np.histogram: "np.histogram counts, and its derivative is zero or undefined; for weighted sums"
    " use np.bincount(np.digitize(...), weights=x)",
    np.histogram2d: "np.histogram2d counts; use np.bincount with weights=",
    np.histogramdd: "np.histogramdd counts; use np.bincount with weights=",
    np.sort_complex: "np.sort_complex makes complex numbers; use np.sort",
    np.lib.stride_tricks.as_strided: "as_strided reads memory that no rule knows; use"
    " np.lib.stride_tricks.sliding_window_view or indexing",
}
