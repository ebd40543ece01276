"""The sum of two structures: keep the ties that both have, or the union of their entries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np

from chainad.algebra.build import Kernels, arrange
from chainad.algebra.product import split_to
from chainad.kernels import Broadcast, Place
from chainad.pattern import Integers, Positions, distinct, positions, refine
from chainad.spelling import Operand, Spelling
from chainad.structure import Axis, Structure, places


@dataclass(frozen=True)
class Total:
    """The sum of two structures; `left` and `right` make arrays that broadcast to the same shape.

    If the result keeps no numbers, all kernels are empty. `fills` says that one of the two arrays
    has the full shape, so that the other, if it ends in `Place`, can be added in place.
    """

    structure: Structure
    additions: int
    left: Kernels
    right: Kernels
    after: Kernels
    fills: bool = False


@lru_cache(maxsize=65536)
def add(left: Structure, right: Structure) -> Total:
    """Return the sum of two structures of the same shape."""
    assert left.row_shape == right.row_shape, (left.row_shape, right.row_shape)
    assert left.col_shape == right.col_shape, (left.col_shape, right.col_shape)
    if left.rows == right.rows and left.cols == right.cols and left.sizes == right.sizes:
        return _add_alike(left, right)
    return _add_unlike(left, right)


def _add_alike(left: Structure, right: Structure) -> Total:
    """Add two structures with the same ties and positions."""
    if left.scale is not None and right.scale is not None:
        scale = left.scale + right.scale
        structure = Structure(left.rows, left.cols, (), left.sizes, scale)
        return Total(structure, 0, (), (), ())
    stored = sorted({*left.stored, *right.stored})
    operands = [Operand(term.stored, term.scale) for term in (left, right)]
    for operand in operands:
        operand.keep_numbers()
        operand.spread(stored, dict(enumerate(left.sizes)))
    # What both leave out may now be merged with what one of them stores: normal form again.
    arrangement = arrange(left.rows, left.cols, dict(enumerate(left.sizes)), stored)
    return Total(
        structure=arrangement.structure,
        additions=arrangement.structure.count,
        left=tuple(operands[0].kernels),
        right=tuple(operands[1].kernels),
        after=arrangement.kernels,
    )


@dataclass
class _Slot:
    """One place in the spelling of an axis: a label on each side, or the whole axis."""

    axis: int
    size: int
    left: tuple[int, ...]
    right: tuple[int, ...]
    alike: bool


def _add_unlike(left: Structure, right: Structure) -> Total:
    """Add two structures label by label where these agree, entry by entry elsewhere."""
    one, two = Spelling(), Spelling()
    operands = (one.add(left)[0], two.add(right)[0])
    _refine_together(one, two)
    slots = _slots(one, two)
    kept, merged = _partition(slots)
    result, spelled = _result_axes(one, slots, kept, merged)
    entries = (_entries_of(one, 0, merged), _entries_of(two, 1, merged))
    grid = _Grid([spelled[id(slot)] for slot in merged], [slot.size for slot in merged])
    outer, where = grid.lay_out(result, entries)
    # A kept label is stored if either side stores it.
    pairs = [(g[0].left[0], g[0].right[0], spelled[id(g[0])]) for g in kept]
    pairs = [p for p in pairs if p[0] in operands[0].labels or p[1] in operands[1].labels]
    fills = False
    for side, spelling in enumerate((one, two)):
        operand, own = operands[side], [pair[side] for pair in pairs]
        all_places = where[side] == range(grid.count)
        fills |= all_places and set(own) <= set(operand.labels)
        operand.keep_numbers()
        inner = [x for x in spelling.sizes if x in entries[side].labels]
        operand.bring_to(own, inner, spelling.sizes)
        if not all_places:
            operand.kernels.append(Place(len(own), where[side], grid.count))
    total = Operand([*(c for _, _, c in pairs), outer], None)
    total.kernels.append(Broadcast(tuple(result.sizes[x] for x in total.labels)))
    if grid.is_box:
        total.reshape([*total.labels[:-1], *grid.labels], result.sizes)
    result.operands = [total]
    structure = result.finish(len(left.rows))
    return Total(
        structure=structure,
        additions=min(left.nonzeros, right.nonzeros),
        left=tuple(operands[0].kernels),
        right=tuple(operands[1].kernels),
        after=tuple(total.kernels),
        fills=fills,
    )


def _result_axes(
    spelling: Spelling, slots: list[_Slot], kept: list[list[_Slot]], merged: list[_Slot]
) -> tuple[Spelling, dict[int, int]]:
    """Spell the axes of the sum; return them and the label of every slot, by id.

    Slots that are tied alike on both sides share a label, all others get one of their own.
    """
    result = Spelling()
    spelled = {id(slot): result.new(slot.size) for slot in merged}
    for group in kept:
        label = result.new(group[0].size)
        spelled |= {id(slot): label for slot in group}
    for k, axis in enumerate(spelling.axes):
        mine = [slot for slot in slots if slot.axis == k]
        alike = all(slot.alike for slot in mine)
        labels = tuple(spelled[id(slot)] for slot in mine)
        result.axes.append(Axis(axis.size, labels, axis.positions if alike else None))
    return result, spelled


def _refine_together(one: Spelling, two: Spelling) -> None:
    """Split labels of axes spelled without positions until both sides have the same sizes."""
    changed = True
    while changed:
        changed = False
        for k in range(len(one.axes)):
            if one.axes[k].positions is not None or two.axes[k].positions is not None:
                continue
            sizes = [[s.sizes[x] for x in s.axes[k].labels] for s in (one, two)]
            parts = refine(*sizes)
            if parts is None or sizes[0] == sizes[1]:
                continue
            changed = True
            for spelling in (one, two):
                split_to(spelling, k, parts)


def _slots(one: Spelling, two: Spelling) -> list[_Slot]:
    slots = []
    for k, (a, b) in enumerate(zip(one.axes, two.axes, strict=True)):
        sizes = [one.sizes[x] for x in a.labels]
        if a.positions == b.positions and sizes == [two.sizes[x] for x in b.labels]:
            for x, y, size in zip(a.labels, b.labels, sizes, strict=True):
                slots.append(_Slot(k, size, (x,), (y,), True))
        else:
            slots.append(_Slot(k, a.size, a.labels, b.labels, False))
    return slots


def _partition(slots: list[_Slot]) -> tuple[list[list[_Slot]], list[_Slot]]:
    """Split the slots into groups tied alike on both sides, and all others."""
    groups: list[list[_Slot]] = []
    for slot in slots:
        group = [slot]
        for other in [g for g in groups if any(_share(slot, s) for s in g)]:
            groups.remove(other)
            group = other + group
        groups.append(group)
    kept = [group for group in groups if _tied_alike(group)]
    return kept, [slot for group in groups if not _tied_alike(group) for slot in group]


def _share(one: _Slot, two: _Slot) -> bool:
    return bool(set(one.left) & set(two.left)) or bool(set(one.right) & set(two.right))


def _tied_alike(group: list[_Slot]) -> bool:
    return all(s.alike and s.left == group[0].left and s.right == group[0].right for s in group)


@dataclass
class _Entries:
    """Where the entries of one term lie on the merged slots.

    `coordinates` has, for every slot, the place of every entry: an array over the term's labels,
    of size 1 along those that do not matter.
    """

    labels: set[int]
    shape: tuple[int, ...]
    coordinates: list[Integers]

    @property
    def count(self) -> int:
        return prod(self.shape)

    def fills(self, sizes: Sequence[int]) -> bool:
        """Return whether the entries are all places of all slots, in row-major order."""
        if self.shape != tuple(sizes):
            return False
        along = [(1,) * k + (n,) + (1,) * (len(sizes) - k - 1) for k, n in enumerate(sizes)]
        return all(
            place.shape == shape and np.array_equal(place.ravel(), np.arange(place.size))
            for place, shape in zip(self.coordinates, along, strict=True)
        )

    def keys(self, sizes: Sequence[int]) -> Integers:
        """Return the row-major number of every entry's places."""
        key = np.zeros((1,) * len(self.shape), np.int64)
        for place, size in zip(self.coordinates, sizes, strict=True):
            key = key * size + place
        return np.broadcast_to(key, self.shape).ravel()


def _entries_of(spelling: Spelling, side: int, merged: list[_Slot]) -> _Entries:
    labels = [x for x in spelling.sizes if any(x in (s.left, s.right)[side] for s in merged)]
    coordinates = []
    for slot in merged:
        axis = spelling.axes[slot.axis]
        if slot.alike:
            axis = Axis(slot.size, (slot.left, slot.right)[side])
        coordinates.append(places(axis, tuple(labels), spelling.sizes))
    return _Entries(set(labels), tuple(spelling.sizes[x] for x in labels), coordinates)


class _Grid:
    """The places of a sum's merged slots: a box of labels, or one label through all entries."""

    def __init__(self, labels: list[int], sizes: list[int]) -> None:
        self.labels = labels
        self.sizes = sizes
        self.count = 0
        self.is_box = False

    def lay_out(self, result: Spelling, terms: Sequence[_Entries]) -> tuple[int, list[Positions]]:
        """Choose box or union; return the label of all places, and where the terms lie on it."""
        visited = [
            distinct(np.concatenate([term.coordinates[k].ravel() for term in terms]))
            for k in range(len(self.labels))
        ]
        box = prod(seen.size for seen in visited)
        if box <= 2 * max(term.count for term in terms):
            return self._as_box(result, terms, visited)
        keys = [term.keys(self.sizes) for term in terms]
        union = distinct(np.concatenate(keys))
        if box <= 2 * union.size:
            return self._as_box(result, terms, visited)
        return self._as_union(result, keys, union)

    def _as_box(
        self, result: Spelling, terms: Sequence[_Entries], visited: list[Integers]
    ) -> tuple[int, list[Positions]]:
        """Spell the box of all places that are visited on some slot."""
        self.is_box = True
        self.count = prod(seen.size for seen in visited)
        for k, seen in enumerate(visited):
            if seen.size < self.sizes[k]:
                narrow = result.new(seen.size)
                result.substitute(self.labels[k], narrow, positions(seen))
                self.labels[k] = narrow
        return result.new(self.count), [_inside(term, visited) for term in terms]

    def _as_union(
        self, result: Spelling, keys: list[Integers], union: Integers
    ) -> tuple[int, list[Positions]]:
        """Spell the union of the terms' entries by one label."""
        self.count = union.size
        label = result.new(union.size)
        for old, place in zip(self.labels, np.unravel_index(union, self.sizes), strict=True):
            result.substitute(old, label, positions(place))
        return label, [positions(np.searchsorted(union, key)) for key in keys]


def _inside(term: _Entries, visited: list[Integers]) -> Positions:
    """Return where the entries of a term lie in the box of the places visited."""
    sizes = [seen.size for seen in visited]
    narrowed = [
        np.searchsorted(seen, place) for seen, place in zip(visited, term.coordinates, strict=True)
    ]
    inside = _Entries(term.labels, term.shape, narrowed)
    return range(prod(sizes)) if inside.fills(sizes) else positions(inside.keys(sizes))
