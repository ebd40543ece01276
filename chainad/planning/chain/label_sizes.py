"""Strands: the ties of a whole chain at once, from which the costs of all its products follow.

A label that factors hand on from one to the next runs along the chain as one *strand*, from the
vertex where it begins to the one where it ends; selections on the way (slices, pads) let fewer of
its places survive. Where every label occurs at most once on either side of a factor, the product of
segments i..k and k+1..j takes

    count(i..j) * product of the sizes of the strands through vertex k + 1 that begin and end
                  inside and that a factor on both sides keeps

multiplications, and nothing if either segment is all ones: `count` does not depend on k. Strands
that no factor keeps are added up as equal terms: `count(i..j)` once more, where that happens. This
is the cost that `algebra.multiply` reads off the labels, for all products of a chain at once.
Dense matrices are the case of one strand between every two neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod

import numpy as np

from chainad.ir.positions import Integers, Positions, as_array, refine
from chainad.structure.structure import Structure

# So many places are followed through selections; beyond, the algebra is asked.
MOST_PLACES = 10_000_000


@dataclass(frozen=True, slots=True)
class Link:
    """How a factor hands a label on: its size, and the places it visits in cols and in rows."""

    size: int
    cols: Positions | None
    rows: Positions | None


@dataclass(slots=True, eq=False)
class Strand:
    """A label from vertex `start` to vertex `stop`, and the factors that keep numbers along it.

    `size` counts the places that survive from end to end. Where factors select places, `alive`
    says how many survive factors i to j, both counted from the first factor that has the label;
    else it is None, and all places survive.
    """

    size: int
    start: int
    stop: int = 0
    stored: list[int] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    alive: Integers | None = None

    @property
    def first(self) -> int:
        """The first factor that has the label."""
        return max(self.start - 1, 0)

    @property
    def most(self) -> int:
        return max(link.size for link in self.links)


Cross = list[Strand]  # the strands through one vertex


def strands_of(structures: Sequence[Structure]) -> list[Cross] | None:
    """Return the strands through every vertex of a chain, or None where labels do not tell all.

    Factor i maps vertex i to vertex i + 1.
    """
    if not all(map(_is_plain, structures)):
        return None
    words = _refined(structures)
    if words is None:
        return None
    n = len(structures)
    crosses: list[Cross] = [[Strand(size, 0) for label in words[0].cols for size in label.parts]]
    for i, word in enumerate(words):
        taken = iter(crosses[-1])
        runs = {label.name: [next(taken) for _ in label.parts] for label in word.cols}
        ended = runs.copy()
        cross: Cross = []
        for label in word.rows:
            ended.pop(label.name, None)
            fresh = [Strand(size, i + 1) for size in label.parts]
            cross += runs.setdefault(label.name, fresh)
        for name in structures[i].stored:
            for strand in runs[name]:
                strand.stored.append(i)
        for strand in (x for run in ended.values() for x in run):
            strand.stop = i
        for label in word.labels:
            for strand, size in zip(runs[label.name], label.parts, strict=True):
                strand.links.append(Link(size, label.col_places, label.row_places))
        crosses.append(cross)
    for strand in crosses[-1]:
        strand.stop = n
    strands = [*{id(x): x for cross in crosses for x in cross}.values()]
    if not all(map(_survive, strands)):
        return None
    return crosses


def kept_whole(structure: Structure, before: Cross, after: Cross) -> bool:
    """Return whether an operator meets arrays by its own labels, neither split nor selected."""
    if any(x.alive is not None for x in (*before, *after)):
        return False
    return len({id(x) for x in (*before, *after)}) == len(structure.sizes)


def _survive(strand: Strand) -> bool:
    """Count the places that survive between any two factors; False if none or too many do."""
    links = strand.links
    if all(link.cols is None and link.rows is None for link in links):
        return True
    if len(links) ** 2 * strand.most > MOST_PLACES:
        return False
    strand.alive = np.zeros((len(links), len(links)), np.int64)
    for i, link in enumerate(links):
        places = _places(link.rows, link.size)
        strand.alive[i, i] = link.size
        for j in range(i + 1, len(links)):
            cols = _places(links[j].cols, links[j].size)
            _, met, own = np.intersect1d(places, cols, assume_unique=True, return_indices=True)
            places = _places(links[j].rows, links[j].size)[own]
            strand.alive[i, j] = met.size
    strand.size = int(strand.alive[0, -1])
    return strand.size > 0


def _places(where: Positions | None, size: int) -> Integers:
    return np.arange(size) if where is None else as_array(where)


def _is_plain(structure: Structure) -> bool:
    """Return whether every label occurs at most once on either side, and none twice in a place.

    Places may be selected only where a label stands alone on its axis.
    """
    for side in (structure.rows, structure.cols):
        labels = [label for axis in side for label in axis.labels]
        if len(set(labels)) < len(labels):
            return False
        for axis in side:
            if axis.positions is not None and (len(axis.labels) > 1 or not axis.is_injective):
                return False
    return (structure.scale is None or structure.is_unit) and 0 not in structure.sizes


@dataclass(slots=True, eq=False)
class _Label:
    """A label of one factor, the sizes that it is split into, and the places that it visits."""

    name: int
    parts: list[int]
    col_places: Positions | None = None
    row_places: Positions | None = None


@dataclass(slots=True)
class _Word:
    """One factor: its labels, those of its rows and cols in order, and the labels by axis."""

    labels: list[_Label]
    rows: list[_Label]
    cols: list[_Label]
    row_axes: list[list[_Label]]
    col_axes: list[list[_Label]]


def _word(structure: Structure) -> _Word:
    labels = [_Label(k, [size]) for k, size in enumerate(structure.sizes)]
    sides: list[list[list[_Label]]] = []
    for axes in (structure.rows, structure.cols):
        sides.append([])
        for axis in axes:
            own = [labels[x] for x in axis.labels]
            if axis.positions is not None and not own:
                # One place of many: a label of size 1, which structures do not write.
                own = [_Label(len(labels), [1])]
                labels += own
            for label in own:
                if len(sides) == 1:
                    label.row_places = axis.positions
                else:
                    label.col_places = axis.positions
            sides[-1].append(own)
    rows, cols = sides
    return _Word(
        labels, [x for axis in rows for x in axis], [x for a in cols for x in a], rows, cols
    )


def _refined(structures: Sequence[Structure]) -> list[_Word] | None:
    """Split labels until neighbours spell the vertex between them alike; None if they cannot."""
    words = [_word(structure) for structure in structures]
    to_do = list(range(1, len(words)))[::-1]
    while to_do:
        v = to_do.pop()
        before, after = words[v - 1], words[v]
        split: list[_Label] = []
        for one, two in zip(before.row_axes, after.col_axes, strict=True):
            if any(x.row_places is not None for x in one) or any(
                x.col_places is not None for x in two
            ):
                continue
            sizes = [[n for label in axis for n in label.parts] for axis in (one, two)]
            if sizes[0] == sizes[1]:
                continue
            parts = refine(*sizes)
            if parts is None:
                return None
            split += [x for axis in (one, two) for x in _split(axis, parts)]
        if any(label in after.rows for label in split) and v + 1 < len(words):
            to_do.append(v + 1)
        if any(label in before.cols for label in split) and v > 1:
            to_do.append(v - 1)
    return words if _selects_whole_labels(words) else None


def _selects_whole_labels(words: Sequence[_Word]) -> bool:
    """Return whether no label is split that selects places, or meets one that does."""
    return all(
        len(one) == len(two) == 1 and len(one[0].parts) == len(two[0].parts) == 1
        for before, after in pairwise(words)
        for one, two in zip(before.row_axes, after.col_axes, strict=True)
        if any(x.row_places is not None for x in one) or any(x.col_places is not None for x in two)
    )


def _split(axis: Sequence[_Label], parts: Sequence[int]) -> Iterator[_Label]:
    """Give the labels of an axis the sizes `parts`, a refinement of theirs; yield the changed."""
    rest = iter(parts)
    for label in axis:
        own: list[int] = []
        while prod(own) < prod(label.parts):
            own.append(next(rest))
        if own != label.parts:
            label.parts = own
            yield label
