"""Positions: which places of an axis a label visits, kept as a `range` wherever that is possible.

A slice, a roll, a gather, a piece of a concatenation: each says at which position of an axis the
entries of a label sit. Regular positions stay symbolic (a `range`, or a `Lattice` of several), so
that a stencil on a million points costs nothing to compare, compose or join; all others are an
`Index`, an immutable integer vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import gcd, prod
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from chainad.ir.cache import cached_property

Integers: TypeAlias = npt.NDArray[np.int64]

# Marking which values there are is quicker than sorting up to this length of their range.
_MAX_RANGE_PER_VALUE = 8


class Index:
    """An immutable, hashable vector of integers that is not an arithmetic progression."""

    def __init__(self, values: Integers) -> None:
        self.values = np.array(values, np.int64)  # a copy: the user may change theirs
        self.values.flags.writeable = False

    def __reduce__(self) -> tuple[Any, ...]:
        return Index, (self.values,)

    @cached_property
    def _hash(self) -> int:
        return hash(self.values.tobytes())

    @cached_property
    def is_injective(self) -> bool:
        """Whether no position is visited twice."""
        return _are_distinct(self.values)

    def __len__(self) -> int:
        return int(self.values.size)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Index) or self._hash != other._hash:
            return False
        return np.array_equal(self.values, other.values)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        head = ", ".join(map(str, self.values[:3]))
        return f"Index([{head}, ...], length={len(self)})"


@dataclass(frozen=True, slots=True)
class Lattice:
    """Nested progressions: start + steps . (i, j, ...), row-major, as of a box cut out of a grid.

    In normal form (see `lattice`) there are two or more axes, and no two of them are one.
    """

    start: int
    steps: tuple[int, ...]
    sizes: tuple[int, ...]

    def __len__(self) -> int:
        return prod(self.sizes)


Positions: TypeAlias = range | Lattice | Index
# Positions that are a formula, however many they are.
Regular: TypeAlias = range | Lattice


def lattice(start: int, steps: Sequence[int], sizes: Sequence[int]) -> Positions:
    """Return nested progressions in normal form."""
    if 0 in sizes:
        return range(0)
    axes: list[tuple[int, int]] = []
    for step, size in zip(steps, sizes, strict=True):
        if size == 1:
            continue
        if axes and axes[-1][0] == step * size:
            axes[-1] = (step, axes[-1][1] * size)
        else:
            axes.append((step, size))
    if any(step == 0 for step, _ in axes):
        return positions(_lattice_array(start, *zip(*axes, strict=True)))
    if len(axes) < 2:
        step, size = axes[0] if axes else (1, 1)
        return range(start, start + step * size, step)
    return Lattice(start, *map(tuple, zip(*axes, strict=True)))


def progressions(where: Regular) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Return start, steps and sizes of regular positions."""
    if isinstance(where, range):
        return where.start, (where.step,), (len(where),)
    return where.start, where.steps, where.sizes


def _lattice_array(start: int, steps: Sequence[int], sizes: Sequence[int]) -> Integers:
    total = np.full((1,) * len(sizes), start, np.int64)
    for k, (step, size) in enumerate(zip(steps, sizes, strict=True)):
        along = (size,) + (1,) * (len(sizes) - k - 1)
        total = total + step * np.arange(size, dtype=np.int64).reshape(along)
    return total.ravel()


def positions(values: Integers | Sequence[int] | Positions) -> Positions:
    """Return `values` in normal form: a `range` if they are an arithmetic progression."""
    if isinstance(values, range | Lattice | Index):
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
    if isinstance(where, Lattice):
        return _lattice_array(where.start, where.steps, where.sizes)
    return where.values


def coordinates(places: Integers, shape: Sequence[int]) -> tuple[Integers, ...]:
    """Return the coordinates of row-major places, one array per axis.

    Not `np.unravel_index`: NumPy 2.4 gives wrong numbers for more than 8192 places in a column.
    """
    found: list[Integers] = []
    rest = np.asarray(places)
    for size in reversed(shape[1:]):
        rest, own = np.divmod(rest, max(1, size))
        found.append(own)
    return (rest, *found[::-1]) if shape else ()


def compose(outer: Positions, inner: Positions) -> Positions:
    """Return outer[inner], the positions reached by two steps."""
    if isinstance(outer, range) and not isinstance(inner, Index):
        start, steps, sizes = progressions(inner)
        return lattice(
            outer.start + outer.step * start, [outer.step * step for step in steps], sizes
        )
    if not isinstance(outer, Index) and not isinstance(inner, Index):
        start, strides, sizes = progressions(outer)
        box = as_box(inner, sizes)
        if box is not None:
            start += sum(step * first for step, first in zip(strides, box.first, strict=True))
            moves = [
                strides[digit] * step for digit, step in zip(box.digits, box.steps, strict=True)
            ]
            return lattice(start, moves, box.sizes)
    return positions(as_array(outer)[as_array(inner)])


@dataclass(frozen=True, slots=True)
class Box:
    """Positions on a grid, as one progression of coordinates along some axes of the grid.

    The progression starts at `first`; its k-th axis, of `sizes[k]`, moves along the grid's axis
    `digits[k]` by `steps[k]`.
    """

    first: tuple[int, ...]
    digits: tuple[int, ...]
    steps: tuple[int, ...]
    sizes: tuple[int, ...]

    def along(self, digit: int) -> range:
        """Return the coordinates visited on one axis of the grid."""
        if digit not in self.digits:
            return range(self.first[digit], self.first[digit] + 1)
        k, first = self.digits.index(digit), self.first[digit]
        return range(first, first + self.steps[k] * self.sizes[k], self.steps[k])


def as_box(where: Regular, grid: Sequence[int]) -> Box | None:
    """Return the coordinates of positions on a row-major grid, if each axis moves one of them."""
    if len(where) == 0 or 0 in grid:
        return None
    start, steps, sizes = progressions(where)
    strides = _tails(grid)[::-1][1:]
    first = tuple(start // stride % size for stride, size in zip(strides, grid, strict=True))
    axes: list[tuple[int, int, int]] = []
    # Axes are split from the last one on: what overflows one coordinate moves the next.
    stack = list(zip(steps, sizes, strict=True))
    while stack:
        step, size = stack.pop()
        if size == 1:
            continue
        digit = next((d for d, stride in enumerate(strides) if abs(step) >= stride), None)
        if digit is None or step % strides[digit] or digit in (d for d, _, _ in axes):
            return None
        own = step // strides[digit]
        if 0 <= first[digit] + own * (size - 1) < grid[digit]:
            axes.append((digit, own, size))
            continue
        count = grid[digit] // abs(own)
        entry = first[digit] if own > 0 else grid[digit] - 1 - first[digit]
        if grid[digit] % own or size % count or entry >= abs(own):
            return None
        axes.append((digit, own, count))
        stack.append((step * count, size // count))
    digits, moves, lengths = zip(*axes[::-1], strict=True) if axes else ((), (), ())
    return Box(first, digits, moves, lengths)


def distinct(values: Integers) -> Integers:
    """Return the sorted distinct values.

    By sorting: the hash table behind `np.unique` takes quadratic time on some regular patterns.
    """
    flat = values.ravel()
    falls = flat.size - 1 - np.count_nonzero(flat[1:] > flat[:-1])
    if falls <= 0:
        return flat
    least, most = int(flat.min()), int(flat.max())
    if most - least < _MAX_RANGE_PER_VALUE * flat.size:
        marks = np.zeros(most - least + 1, bool)
        marks[flat - least if least else flat] = True
        return np.flatnonzero(marks) + least
    # A stable sort merges what is sorted in long parts; anything else is quicker without.
    ordered = np.sort(flat, kind="stable" if 64 * falls < flat.size else None)
    keep = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    found: Integers = ordered[keep]
    return found


def numbered(values: Integers) -> tuple[Integers, Integers, Integers]:
    """Return of the sorted distinct values where each is first, and how often it occurs.

    Between the two: which of them every value is.
    """
    least, most = (int(values.min()), int(values.max())) if values.size else (0, -1)
    if most - least >= _MAX_RANGE_PER_VALUE * values.size:
        _, first, number, counts = np.unique(
            values, return_index=True, return_inverse=True, return_counts=True
        )
        return first, number, counts
    counted = np.bincount(values - least, minlength=most - least + 1)
    found = np.flatnonzero(counted)
    place = np.zeros(counted.size, np.int64)
    place[values[::-1] - least] = np.arange(values.size - 1, -1, -1)
    first = place[found]
    place[found] = np.arange(found.size)
    return first, place[values - least], counted[found]


def is_injective(where: Positions) -> bool:
    """Return whether no position is visited twice."""
    if isinstance(where, range):
        return True
    if isinstance(where, Lattice):
        axes = sorted(
            (abs(step), size) for step, size in zip(where.steps, where.sizes, strict=True)
        )
        if _is_nested(axes):
            return True
    return where.is_injective if isinstance(where, Index) else _are_distinct(as_array(where))


def _are_distinct(array: Integers) -> bool:
    """Return whether no value occurs twice."""
    return distinct(array).size == array.size


def is_ascending(where: Positions) -> bool:
    """Return whether the positions strictly increase."""
    if isinstance(where, range):
        return len(where) < 2 or where.step > 0
    if isinstance(where, Lattice):
        axes = list(zip(where.steps, where.sizes, strict=True))[::-1]
        return min(where.steps) > 0 and _is_nested(axes)
    return bool(np.all(np.diff(where.values) > 0))


def _is_nested(axes: Sequence[tuple[int, int]]) -> bool:
    """Return whether every step leads beyond all that the axes before it reach."""
    reach = 0
    for step, size in axes:
        if step <= reach:
            return False
        reach += step * (size - 1)
    return True


def join(left: Positions, right: Positions, size: int) -> tuple[Positions, Positions]:
    """Return all pairs (i, j) with left[i] == right[j], as two vectors, i ascending.

    Both sides are positions on one axis of `size` places.
    """
    if not isinstance(left, Index) and not isinstance(right, Index):
        found = _join_regular(left, right, size)
        if found is not None:
            return found
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


def _join_regular(left: Regular, right: Regular, size: int) -> tuple[Positions, Positions] | None:
    """Return what `join` does for boxes of one grid, or None if these are none."""
    if isinstance(left, range) and isinstance(right, range):
        return _join_ranges(left, right)
    for grid in (_grid_of(left, size), _grid_of(right, size)):
        boxes = [None if grid is None else as_box(where, grid) for where in (left, right)]
        one, two = boxes
        if grid is None or one is None or two is None:
            continue
        if list(one.digits) != sorted(one.digits) or list(two.digits) != sorted(two.digits):
            continue
        pairs = [_join_ranges(one.along(d), two.along(d)) for d in range(len(grid))]
        if any(len(hits) == 0 for hits, _ in pairs):
            return range(0), range(0)
        return _indices_in_box([p for p, _ in pairs], one), _indices_in_box(
            [q for _, q in pairs], two
        )
    return None


def _indices_in_box(hits: Sequence[range], box: Box) -> Positions:
    """Return the indices, in the order of a box, of the places that are hit along every digit."""
    strides = _tails([len(box.along(d)) for d in range(len(hits))])[::-1][1:]
    start = sum(hit.start * stride for hit, stride in zip(hits, strides, strict=True))
    steps = [hit.step * stride for hit, stride in zip(hits, strides, strict=True)]
    return lattice(start, steps, [len(hit) for hit in hits])


def _grid_of(where: Regular, size: int) -> list[int] | None:
    """Return the grid whose axes the steps of a lattice follow, if they divide one another."""
    grid, above = [], size
    for step in progressions(where)[1]:
        if step <= 0 or above % step or above == step:
            return None
        grid.append(above // step)
        above = step
    return [*grid, above] if above > 1 else grid


def _join_ranges(left: range, right: range) -> tuple[range, range]:
    """Return all pairs (i, j) with left[i] == right[j], by the Chinese remainder theorem."""
    # i * a - j * b == c
    a, b, c = left.step, right.step, right.start - left.start
    divisor = gcd(a, b)
    if c % divisor or not left or not right:
        return range(0), range(0)
    period = abs(b) // divisor
    i = c // divisor * pow(a // divisor, -1, period) % period if period > 1 else 0
    along = a // divisor * (1 if b > 0 else -1)  # how far j moves as i moves by a period
    j = (i * a - c) // b
    # Both must stay inside: i + period * k in range(n), j + along * k in range(m).
    low, high = 0, (len(left) - 1 - i) // period
    if along > 0:
        low, high = max(low, -(j // along)), min(high, (len(right) - 1 - j) // along)
    else:
        low, high = max(low, -((len(right) - 1 - j) // -along)), min(high, j // -along)
    count = max(0, high - low + 1)
    if not count:
        return range(0), range(0)
    first, other = i + period * low, j + along * low
    return (
        range(first, first + period * count, period),
        range(other, other + along * count, along),
    )


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
