"""Where the entries of a sum lie: in a box of labels, or along one label through all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from chainad.ir.positions import Integers, Positions, coordinates, distinct, positions
from chainad.structure.normal_form import Labeling
from chainad.structure.structure import MIN_FILL_INVERSE

# A sum may store so many places that no entry has for each entry of its smaller term.
MAX_PADDING = 2


@dataclass
class Entries:
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


class EntryGrid:
    """The places of a sum's merged slots: a box of labels, or one label through all entries."""

    def __init__(self, labels: list[int], sizes: list[int]) -> None:
        self.labels = labels
        self.sizes = sizes
        self.count = 0
        self.is_box = False
        self.pads = False

    def lay_out(self, result: Labeling, terms: Sequence[Entries]) -> tuple[int, list[Positions]]:
        """Choose box or union; return the label of all places, and where the terms lie on it.

        A box has at most `MAX_PADDING` places without an entry for each of the smaller term, so
        that a long sum does not grow a box around few entries; or it is a third full and all there
        is, so that what fills up is not listed entry by entry.
        """
        visited = [
            distinct(np.concatenate([term.coordinates[k].ravel() for term in terms]))
            for k in range(len(self.labels))
        ]
        box = prod(seen.size for seen in visited)
        least, most = sorted(term.count for term in terms)
        self.pads = box > most and len(self.sizes) > 1
        if box <= most + MAX_PADDING * least:
            return self._as_box(result, terms, visited)
        where, union = self._union(terms)
        count = union[0].size
        if box <= count + MAX_PADDING * least or prod(self.sizes) <= MIN_FILL_INVERSE * count:
            return self._as_box(result, terms, visited)
        self.pads = False
        return self._as_union(result, where, union)

    def _union(self, terms: Sequence[Entries]) -> tuple[list[Integers], Sequence[Integers]]:
        """Return where each term's entries lie in the union of all, and the places of the union."""
        if prod(self.sizes) > np.iinfo(np.int64).max:
            return _union_slot_by_slot(terms, self.sizes)
        keys = [term.keys(self.sizes) for term in terms]
        union = distinct(np.concatenate(keys))
        return [np.searchsorted(union, key) for key in keys], coordinates(union, self.sizes)

    def _as_box(
        self, result: Labeling, terms: Sequence[Entries], visited: list[Integers]
    ) -> tuple[int, list[Positions]]:
        """Label the box of all places that are visited on some slot."""
        self.is_box = True
        self.count = prod(seen.size for seen in visited)
        for k, seen in enumerate(visited):
            if seen.size < self.sizes[k]:
                narrow = result.new(seen.size)
                result.substitute(self.labels[k], narrow, positions(seen))
                self.labels[k] = narrow
        return result.new(self.count), [_places_in_box(term, visited) for term in terms]

    def _as_union(
        self, result: Labeling, where: list[Integers], union: Sequence[Integers]
    ) -> tuple[int, list[Positions]]:
        """Index the union of the terms' entries by one label."""
        self.count = union[0].size
        label = result.new(self.count)
        for old, place in zip(self.labels, union, strict=True):
            result.substitute(old, label, positions(place))
        return label, [positions(places) for places in where]


def _union_slot_by_slot(
    terms: Sequence[Entries], sizes: Sequence[int]
) -> tuple[list[Integers], Sequence[Integers]]:
    """Unite like `EntryGrid._union`, where row-major numbers would not fit into 64 bits.

    Entries are numbered anew after every slot, so that no number exceeds entries times size.
    """
    number = np.zeros(sum(term.count for term in terms), np.int64)
    every = []
    for k, size in enumerate(sizes):
        flat = [np.broadcast_to(term.coordinates[k], term.shape).ravel() for term in terms]
        every.append(np.concatenate(flat))
        number = np.unique(number * size + every[-1], return_inverse=True)[1]
    first = np.unique(number, return_index=True)[1]
    where = np.split(number, np.cumsum([term.count for term in terms])[:-1])
    return where, [place[first] for place in every]


def _places_in_box(term: Entries, visited: list[Integers]) -> Positions:
    """Return where the entries of a term lie in the box of the places visited."""
    sizes = [seen.size for seen in visited]
    narrowed = [
        np.searchsorted(seen, place) for seen, place in zip(visited, term.coordinates, strict=True)
    ]
    inside = Entries(term.labels, term.shape, narrowed)
    return range(prod(sizes)) if inside.fills(sizes) else positions(inside.keys(sizes))
