"""Positions: which places of an axis a label visits, kept as a `range` wherever that is possible.

A slice, a roll, a gather, a piece of a concatenation: each says at which position of an axis the
numbers of a label sit. Regular positions stay symbolic (a `range`), so that a stencil on a million
points costs nothing to compare; all others are an `Index`, an immutable integer vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from hashlib import blake2b
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Integers: TypeAlias = npt.NDArray[np.int64]


class Index:
    """An immutable, hashable vector of integers that is not an arithmetic progression."""

    def __init__(self, values: Integers) -> None:
        self.values = np.array(values, np.int64)  # a copy: the user may change theirs
        self.values.flags.writeable = False

    @cached_property
    def digest(self) -> bytes:
        return blake2b(self.values.tobytes(), digest_size=16).digest()

    def __len__(self) -> int:
        return int(self.values.size)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Index) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        head = ", ".join(map(str, self.values[:3]))
        return f"Index([{head}, ...], length={len(self)})"


Positions: TypeAlias = range | Index


def positions(values: Integers | Sequence[int]) -> Positions:
    """Return `values` in normal form: a `range` if they are an arithmetic progression."""
    if isinstance(values, range):
        return values
    array = np.asarray(values, dtype=np.int64).ravel()
    if array.size == 0:
        return range(0)
    first = int(array[0])
    if array.size == 1:
        return range(first, first + 1)
    step = int(array[1]) - first
    if step == 0 or not np.array_equal(array, first + step * np.arange(array.size)):
        return Index(array)
    stop = first + step * array.size
    # A descending range that would stop below zero is still a good Python range.
    return range(first, stop, step)


def as_array(where: Positions) -> Integers:
    """Return the positions as an int64 vector."""
    if isinstance(where, range):
        return where.start + where.step * np.arange(len(where), dtype=np.int64)
    return where.values


def compose(outer: Positions, inner: Positions) -> Positions:
    """Return outer[inner], the positions reached by two steps."""
    if isinstance(outer, range) and isinstance(inner, range):
        if len(inner) == 0:
            return range(0)
        start, step = outer.start + outer.step * inner.start, outer.step * inner.step
        return range(start, start + step * len(inner), step)
    return positions(as_array(outer)[as_array(inner)])


def distinct(values: Integers) -> Integers:
    """Return the sorted distinct values.

    By sorting: the hash table behind `np.unique` takes quadratic time on some regular patterns.
    """
    flat = values.ravel()
    if np.all(flat[1:] > flat[:-1]):
        return flat
    ordered = np.sort(flat, kind="stable")  # merges what is sorted in parts
    keep = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    found: Integers = ordered[keep]
    return found


def is_injective(where: Positions) -> bool:
    """Return whether no position is visited twice."""
    return isinstance(where, range) or distinct(where.values).size == len(where)


def is_ascending(where: Positions) -> bool:
    """Return whether the positions strictly increase."""
    if isinstance(where, range):
        return len(where) < 2 or where.step > 0
    return bool(np.all(np.diff(where.values) > 0))


def join(left: Positions, right: Positions, size: int) -> tuple[Positions, Positions]:
    """Return all pairs (i, j) with left[i] == right[j], as two vectors, i ascending.

    Both sides are positions on one axis of `size` places.
    """
    f, g = as_array(left), as_array(right)
    if is_injective(right):
        where = np.full(size, -1, np.int64)
        where[g] = np.arange(g.size)
        partner = where[f]
        hits = np.flatnonzero(partner >= 0)
        return positions(hits), positions(partner[hits])
    order = np.argsort(g, kind="stable")
    starts = np.searchsorted(g[order], f, side="left")
    counts = np.searchsorted(g[order], f, side="right") - starts
    i = np.repeat(np.arange(f.size), counts)
    offset = np.arange(i.size) - np.repeat(np.cumsum(counts) - counts, counts)
    return positions(i), positions(order[np.repeat(starts, counts) + offset])


def refine(left: Sequence[int], right: Sequence[int]) -> list[int] | None:
    """Return the coarsest common refinement of two factorisations of one size, or None.

    `refine((6,), (2, 3)) == [2, 3]`, while (2, 3) and (3, 2) have none.
    """
    if 0 in left or 0 in right:
        return list(left) if tuple(left) == tuple(right) else None
    # Row-major: boundaries are the products of the trailing sizes.
    boundaries = sorted({*_tails(left), *_tails(right)})
    parts = []
    for small, large in pairwise(boundaries):
        if large % small:
            return None
        parts.append(large // small)
    return parts[::-1]


def _tails(sizes: Sequence[int]) -> list[int]:
    tails = [1]
    for size in reversed(sizes):
        tails.append(tails[-1] * size)
    return tails
