"""Positions without a formula as a few strided copies, so that elements are moved in blocks.

The entries of a diagonal lie in the rows of a sparse matrix like the teeth of a comb, but for the
first and last rows, where other diagonals begin or end. Gathers by an index array take several
times as long as strided copies, and read the index from memory, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from chainad.ir.positions import Index, Integers, Lattice, Positions, as_array, progressions

Array = npt.NDArray[Any]

# Beyond these limits an index array is as quick.
_MAX_STRIDED_COPIES = 24
_MIN_ELEMENTS_PER_COPY = 200
_MIN_ELEMENTS_PER_ROW = 8
# The lengths of runs are taken to repeat after at most this many runs.
_MAX_RUN_PERIOD = 6


@dataclass(frozen=True, slots=True)
class StridedCopy:
    """Two nested progressions; `source` and `target` hold a start and two steps each."""

    sizes: tuple[int, int]
    source: tuple[int, int, int]
    target: tuple[int, int, int]


@lru_cache(maxsize=1024)
def strided_copies(where: Positions) -> tuple[StridedCopy, ...] | None:
    """Return the copies that bring the elements of a vector to `where`; None if too many."""
    if len(where) == 0:
        return ()
    if isinstance(where, range):
        return (StridedCopy((1, len(where)), (0, 0, 1), (where.start, 0, where.step)),)
    if isinstance(where, Lattice) and len(where.sizes) == 2:
        (m, n), (down, along) = where.sizes, where.steps
        return (StridedCopy((m, n), (0, n, 1), (where.start, down, along)),)
    array = as_array(where)
    if array.size < _MIN_ELEMENTS_PER_COPY:
        return None
    found: list[StridedCopy] = []
    for copy in _copies_of_runs(array):
        found.append(copy)
        if len(found) > _MAX_STRIDED_COPIES or len(found) * _MIN_ELEMENTS_PER_COPY > array.size:
            return None
    return tuple(found)


def _copies_of_runs(array: Integers) -> Iterator[StridedCopy]:
    """Yield copies of the runs of the commonest step, in groups as their lengths repeat."""
    steps = np.diff(array)
    values, counts = np.unique(steps, return_counts=True)
    step = int(values[np.argmax(counts)])
    starts = np.concatenate([[0], np.flatnonzero(steps != step) + 1])
    lengths = np.diff(np.append(starts, array.size))
    period = _period_of_lengths(lengths)
    for k in range(period):
        own = starts[k::period]
        yield from _copies_of_equal_runs(own, array[own], lengths[k::period], step)


def _period_of_lengths(lengths: Integers) -> int:
    """Return after how many runs their lengths repeat, in most places."""
    best, most = 1, -1
    for period in range(1, min(_MAX_RUN_PERIOD, lengths.size) + 1):
        equal = int(np.sum(lengths[period:] == lengths[:-period])) if period < lengths.size else 0
        # A longer period must be better by more than it costs in copies.
        if equal > most + period:
            best, most = period, equal
    return best


def _copies_of_equal_runs(
    sources: Integers, targets: Integers, lengths: Integers, step: int
) -> Iterator[StridedCopy]:
    """Yield copies of runs, cut where their lengths or their distances change."""
    k = 0
    while k < sources.size:
        end = k + 1
        over, down = 0, 0
        if end < sources.size and lengths[end] == lengths[k]:
            over, down = int(sources[end] - sources[k]), int(targets[end] - targets[k])
            equal = (
                (lengths[k + 1 :] == lengths[k])
                & (np.diff(sources[k:]) == over)
                & (np.diff(targets[k:]) == down)
            )
            broken = np.flatnonzero(~equal)
            end = k + 1 + (int(broken[0]) if broken.size else equal.size)
        first, start = int(sources[k]), int(targets[k])
        yield StridedCopy((end - k, int(lengths[k])), (first, over, 1), (start, down, step))
        k = end


@lru_cache(maxsize=1024)
def as_transpose(where: Positions, size: int) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Return a shape and an order of its axes that bring every place to where it goes.

    `where` must take each of `size` places once, and be nested progressions: then entries in the
    shape, their axes put in order, lie row-major at their places. None if it is not so.
    """
    if len(where) != size or size < 2:
        return None
    nested = _nested(where)
    if nested is None:
        return None
    start, steps, sizes = nested
    order = sorted(range(len(steps)), key=lambda k: -steps[k])
    reach = 1
    for k in reversed(order):  # the places must be the digits of a number
        if steps[k] != reach:
            return None
        reach *= sizes[k]
    return (sizes, tuple(order)) if start == 0 else None


def _nested(where: Positions) -> tuple[int, tuple[int, ...], tuple[int, ...]] | None:
    """Return positions as nested progressions, or None."""
    if not isinstance(where, Index):
        return progressions(where)
    array, steps, sizes = as_array(where), list[int](), list[int]()
    while array.size > 1:
        step = int(array[1] - array[0])
        broken = np.flatnonzero(np.diff(array) != step)
        count = int(broken[0]) + 1 if broken.size else array.size
        if array.size % count:
            return None
        rows = array.reshape(-1, count)
        if np.any(rows != rows[:, :1] + step * np.arange(count)):
            return None
        steps.insert(0, step)
        sizes.insert(0, count)
        array = rows[:, 0]
    return int(array[0]), tuple(steps), tuple(sizes)


def strided_view(array: Array, sizes: tuple[int, int], progression: tuple[int, int, int]) -> Array:
    """Return the elements of a row-major vector that a copy visits."""
    start, down, along = progression
    width = array.itemsize
    return np.ndarray(sizes, array.dtype, array, start * width, (down * width, along * width))


def view_at(array: Array, axis: int, where: Positions) -> Array | None:
    """Return the entries of one axis of a row-major array at nested progressions, as a view.

    It has an axis for every progression. None where an index is as quick.
    """
    nested = _long_nested(where)
    if nested is None:
        return None
    start, steps, sizes = nested
    step, before, after = array.strides[axis], slice(axis), slice(axis + 1, None)
    return np.ndarray(
        (*array.shape[before], *sizes, *array.shape[after]),
        array.dtype,
        array,
        start * step,
        (*array.strides[before], *(step * each for each in steps), *array.strides[after]),
    )


@lru_cache(maxsize=1024)
def _long_nested(where: Positions) -> tuple[int, tuple[int, ...], tuple[int, ...]] | None:
    """Return positions as nested progressions that are quicker than an index, or None."""
    if isinstance(where, range) or len(where) < _MIN_ELEMENTS_PER_COPY:
        return None
    nested = _nested(where)
    # NumPy begins anew for every row.
    return nested if nested is not None and nested[2][-1] >= _MIN_ELEMENTS_PER_ROW else None
