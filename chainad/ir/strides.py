"""Moves: positions without a formula as a few strided walks, so that numbers are moved in blocks.

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

# Beyond so many walks, or with fewer numbers in each, an index array is as quick.
MOST = 24
LEAST = 200
# Runs are taken to follow one another in turns of at most so many.
LONGEST_TURN = 6


@dataclass(frozen=True, slots=True)
class Walk:
    """Two nested progressions; `source` and `target` hold a start and two steps each."""

    sizes: tuple[int, int]
    source: tuple[int, int, int]
    target: tuple[int, int, int]


@lru_cache(maxsize=1024)
def walks(where: Positions) -> tuple[Walk, ...] | None:
    """Return the walks that bring a vector, number by number, to `where`; None if too many."""
    if len(where) == 0:
        return ()
    if isinstance(where, range):
        return (Walk((1, len(where)), (0, 0, 1), (where.start, 0, where.step)),)
    if isinstance(where, Lattice) and len(where.sizes) == 2:
        (m, n), (down, along) = where.sizes, where.steps
        return (Walk((m, n), (0, n, 1), (where.start, down, along)),)
    array = as_array(where)
    if array.size < LEAST:
        return None
    found: list[Walk] = []
    for walk in _walks_of_runs(array):
        found.append(walk)
        if len(found) > MOST or len(found) * LEAST > array.size:
            return None
    return tuple(found)


def _walks_of_runs(array: Integers) -> Iterator[Walk]:
    """Yield walks over the runs of the commonest step; runs are taken in turns."""
    steps = np.diff(array)
    values, counts = np.unique(steps, return_counts=True)
    step = int(values[np.argmax(counts)])
    starts = np.concatenate([[0], np.flatnonzero(steps != step) + 1])
    lengths = np.diff(np.append(starts, array.size))
    turn = _turn(lengths)
    for k in range(turn):
        own = starts[k::turn]
        yield from _walks_of_alike(own, array[own], lengths[k::turn], step)


def _turn(lengths: Integers) -> int:
    """Return after how many runs their lengths repeat, in most places."""
    best, most = 1, -1
    for turn in range(1, min(LONGEST_TURN, lengths.size) + 1):
        alike = int(np.sum(lengths[turn:] == lengths[:-turn])) if turn < lengths.size else 0
        # A longer turn must be better by more than it costs in walks.
        if alike > most + turn:
            best, most = turn, alike
    return best


def _walks_of_alike(
    sources: Integers, targets: Integers, lengths: Integers, step: int
) -> Iterator[Walk]:
    """Yield walks over runs, cut where their lengths or their distances change."""
    k = 0
    while k < sources.size:
        end = k + 1
        over, down = 0, 0
        if end < sources.size and lengths[end] == lengths[k]:
            over, down = int(sources[end] - sources[k]), int(targets[end] - targets[k])
            alike = (
                (lengths[k + 1 :] == lengths[k])
                & (np.diff(sources[k:]) == over)
                & (np.diff(targets[k:]) == down)
            )
            broken = np.flatnonzero(~alike)
            end = k + 1 + (int(broken[0]) if broken.size else alike.size)
        first, start = int(sources[k]), int(targets[k])
        yield Walk((end - k, int(lengths[k])), (first, over, 1), (start, down, step))
        k = end


@lru_cache(maxsize=1024)
def as_turn(where: Positions, size: int) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
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


def view(array: Array, sizes: tuple[int, int], walk: tuple[int, int, int]) -> Array:
    """Return the numbers of a row-major vector that a walk visits."""
    start, down, along = walk
    width = array.itemsize
    return np.ndarray(sizes, array.dtype, array, start * width, (down * width, along * width))
