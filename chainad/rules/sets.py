"""Sets of entries, and parts of sorted arrays, as selections of the entries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainad.rules.base import defined, refuse_unless
from chainad.rules.statistics import values_of


@defined(np.unique)
def _unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: Any = None,
    *,
    equal_nan: bool = True,
    sorted: bool = True,
) -> Any:
    refuse_unless(axis is None, "axis= is not differentiated")
    options = {"return_inverse": return_inverse, "return_counts": return_counts}
    plain = values_of(ar)
    function: Callable[..., tuple[Any, ...]] = np.unique
    found = function(plain, return_index=True, equal_nan=equal_nan, **options)
    values = np.ravel(ar)[found[1]]  # the first of equal ones, as NumPy keeps it
    rest = found[1:] if return_index else found[2:]
    return (values, *rest) if rest else values


def _tuple_of(function: Callable[..., Any], **options: bool) -> None:
    """Define one of the functions of the array API that return np.unique by named parts."""

    def definition(x: Any, /) -> Any:
        unique: Callable[..., Any] = np.unique
        found = unique(x, **options)
        return type(function(np.zeros(1)))(*found)

    defined(function)(definition)


_tuple_of(np.unique_all, return_index=True, return_inverse=True, return_counts=True)
_tuple_of(np.unique_counts, return_counts=True)
_tuple_of(np.unique_inverse, return_inverse=True)


@defined(np.unique_values)
def _unique_values(x: Any, /) -> Any:
    # NumPy does not say in which order.
    order = np.argmax(np.equal(np.ravel(values_of(x)), np.unique_values(values_of(x))[:, None]), 1)
    return np.ravel(x)[order]


def _entries_equal_to(values: Any, wanted: Any) -> Any:
    """Return the entries of values, a flat array, that equal the wanted values."""
    plain = values_of(values)
    order = np.argsort(plain, kind="stable")
    return values[order[np.searchsorted(plain[order], wanted)]]


@defined(np.intersect1d)
def _intersect1d(
    ar1: Any, ar2: Any, assume_unique: bool = False, return_indices: bool = False
) -> Any:
    refuse_unless(not return_indices, "return_indices= is not differentiated")
    return _entries_equal_to(
        np.ravel(ar1), np.intersect1d(values_of(ar1), values_of(ar2), assume_unique)
    )


@defined(np.setdiff1d)
def _setdiff1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Any:
    return _entries_equal_to(
        np.ravel(ar1), np.setdiff1d(values_of(ar1), values_of(ar2), assume_unique)
    )


defined(np.union1d)(lambda ar1, ar2: np.unique(np.concatenate([np.ravel(ar1), np.ravel(ar2)])))


@defined(np.setxor1d)
def _setxor1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Any:
    both = np.concatenate([np.ravel(ar1), np.ravel(ar2)])
    return _entries_equal_to(both, np.setxor1d(values_of(ar1), values_of(ar2), assume_unique))


@defined(np.partition)
def _partition(a: Any, kth: Any, axis: Any = -1, kind: Any = None, order: Any = None) -> Any:
    if axis is None:
        a, axis = np.ravel(a), -1
    return np.take_along_axis(a, np.argpartition(a, kth, axis=axis), axis=axis)


@defined(np.trim_zeros)
def _trim_zeros(filt: Any, trim: str = "fb") -> Any:
    there = np.flatnonzero(filt)
    if there.size == 0:
        return filt[:0]
    start = there[0] if "f" in trim.lower() else 0
    stop = there[-1] + 1 if "b" in trim.lower() else np.size(filt)
    return filt[start:stop]
