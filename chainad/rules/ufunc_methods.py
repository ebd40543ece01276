"""Methods of ufuncs, by the functions that do the same, or entry by entry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any

import numpy as np

from chainad.ir.array_functions import segment_sum
from chainad.ir.positions import positions
from chainad.rules.base import REDUCTIONS, refuse_unless
from chainad.rules.reduction import in_dtype
from chainad.rules.statistics import running_extreme


def reduce(ufunc: np.ufunc, a: Any, axis: Any = 0, dtype: Any = None, **options: Any) -> Any:
    """Return ufunc.reduce(a, axis, dtype, ...)."""
    if ufunc in REDUCTIONS:
        options |= {} if dtype is None else {"dtype": dtype}
        return REDUCTIONS[ufunc](a, axis=axis, **options)
    keepdims = options.pop("keepdims", False)
    refuse_unless(not options, f"{', '.join(options)} is not differentiated; use a loop")
    if axis is None or isinstance(axis, tuple):
        refuse_unless(np.ndim(a) == 1, "it is differentiated along one axis only")
        axis = 0
    entries = np.moveaxis(in_dtype(a, dtype), axis, 0)
    if len(entries) == 1 and ufunc.identity is not None:
        total = ufunc(ufunc.identity, entries[0])  # hypot(0, x) is the modulus of x
    else:
        *_, total = _running(ufunc, entries)
    return np.expand_dims(total, axis) if keepdims else total


def running(ufunc: np.ufunc, a: Any, axis: int = 0, dtype: Any = None) -> Any:
    """Return ufunc.accumulate(a, axis, dtype)."""
    if ufunc in (np.add, np.multiply):
        return (np.cumsum if ufunc is np.add else np.cumprod)(a, axis=axis, dtype=dtype)
    if ufunc in (np.maximum, np.minimum):
        return running_extreme(ufunc, a, axis)
    return np.stack([*_running(ufunc, np.moveaxis(in_dtype(a, dtype), axis, 0))], axis)


def _running(ufunc: np.ufunc, a: Any) -> Iterator[Any]:
    return accumulate(iter(a), ufunc)


def reduceat(ufunc: np.ufunc, a: Any, indices: Any, axis: int = 0, dtype: Any = None) -> Any:
    """Return ufunc.reduceat(a, indices, axis, dtype)."""
    a, n = in_dtype(a, dtype), np.shape(a)[axis]
    starts = np.asarray(indices, np.intp)
    if ((starts < 0) | (starts >= n)).any():
        raise IndexError(f"an index of {starts} is out of bounds for reduceat of {n} entries")
    stops = np.maximum([*starts[1:], n], starts + 1)
    parts = [np.arange(*ends) for ends in zip(starts, stops, strict=True)]
    if ufunc is np.add and parts:
        segments = np.repeat(np.arange(len(parts)), stops - starts)
        taken = np.take(a, np.concatenate(parts), axis)
        return segment_sum(taken, axis % np.ndim(a), positions(segments), len(parts))
    segmented = (np.moveaxis(np.take(a, part, axis), axis, 0) for part in parts)
    return np.stack([[*_running(ufunc, part)][-1] for part in segmented], axis)


def outer(ufunc: np.ufunc, a: Any, b: Any, **options: Any) -> Any:
    """Return ufunc.outer(a, b, ...)."""
    return ufunc(np.reshape(a, (*np.shape(a), *(1,) * np.ndim(b))), b, **options)


METHODS: dict[str, Callable[..., Any]] = {
    "reduce": reduce,
    "accumulate": running,
    "reduceat": reduceat,
    "outer": outer,
}
