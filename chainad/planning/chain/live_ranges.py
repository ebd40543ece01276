"""The live ranges of labels along a chain, from which the costs of all its products follow.

A label that factors pass on from one to the next is live along the chain from the vertex where it
begins to the one where it ends: its *live range*. Selections on the way (slices, pads) let fewer of
its positions survive. Where every label occurs at most once on either side of a factor, the product
of segments i..k and k+1..j takes

    count(i..j) * product of the sizes of the live ranges through vertex k + 1 that begin and end
                  inside and that a factor on both sides stores

multiplications, and nothing if either segment is all ones: `count` does not depend on k. Live
ranges that no factor stores are summed as equal terms: `count(i..j)` once more, where that happens.
This is the cost that `multiply` reads off the labels, for all products of a chain at once.
Dense matrices are the case of one live range between every two neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod

import numpy as np

from chainad.ir.positions import Integers, Positions, as_array, refine
from chainad.structure.structure import Structure

# With more positions to follow through selections, products are computed one by one.
MAX_TRACED_POSITIONS = 10_000_000


@dataclass(frozen=True, slots=True)
class Link:
    """How a factor passes a label on: its size, and its positions in cols and in rows."""

    size: int
    cols: Positions | None
    rows: Positions | None


@dataclass(slots=True, eq=False)
class LiveRange:
    """A label from vertex `start` to vertex `stop`, and the factors that store it.

    `size` counts the positions that survive from end to end. Where factors select positions,
    `surviving` says how many survive factors i to j, both counted from the first factor that has
    the label; else it is None, and all positions survive.
    """

    size: int
    start: int
    stop: int = 0
    stored: list[int] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    surviving: Integers | None = None

    @property
    def first(self) -> int:
        """The first factor that has the label."""
        return max(self.start - 1, 0)

    @property
    def max_size(self) -> int:
        return max(link.size for link in self.links)


Crossing = list[LiveRange]  # the live ranges across one vertex


def live_ranges_of(structures: Sequence[Structure]) -> list[Crossing] | None:
    """Return the live ranges through every vertex of a chain, or None where labels are not enough.

    Factor i maps vertex i to vertex i + 1.
    """
    if not all(map(_is_plain, structures)):
        return None
    factors = _refined(structures)
    if factors is None:
        return None
    n = len(structures)
    crosses: list[Crossing] = [
        [LiveRange(size, 0) for label in factors[0].cols for size in label.parts]
    ]
    for i, factor in enumerate(factors):
        taken = iter(crosses[-1])
        runs = {label.name: [next(taken) for _ in label.parts] for label in factor.cols}
        ended = runs.copy()
        cross: Crossing = []
        for label in factor.rows:
            ended.pop(label.name, None)
            fresh = [LiveRange(size, i + 1) for size in label.parts]
            cross += runs.setdefault(label.name, fresh)
        for name in structures[i].stored:
            for live_range in runs[name]:
                live_range.stored.append(i)
        for live_range in (x for run in ended.values() for x in run):
            live_range.stop = i
        for label in factor.labels:
            for live_range, size in zip(runs[label.name], label.parts, strict=True):
                live_range.links.append(Link(size, label.col_positions, label.row_positions))
        crosses.append(cross)
    for live_range in crosses[-1]:
        live_range.stop = n
    live_ranges = [*{id(x): x for cross in crosses for x in cross}.values()]
    if not all(map(_survive, live_ranges)):
        return None
    return crosses


def kept_whole(structure: Structure, before: Crossing, after: Crossing) -> bool:
    """Return whether an operator is applied along its own labels, neither split nor selected."""
    if any(x.surviving is not None for x in (*before, *after)):
        return False
    return len({id(x) for x in (*before, *after)}) == len(structure.sizes)


def _survive(live_range: LiveRange) -> bool:
    """Count the positions that survive between any two factors; False if none or too many do."""
    links = live_range.links
    if all(link.cols is None and link.rows is None for link in links):
        return True
    if len(links) ** 2 * live_range.max_size > MAX_TRACED_POSITIONS:
        return False
    live_range.surviving = np.zeros((len(links), len(links)), np.int64)
    for i, link in enumerate(links):
        positions = _positions(link.rows, link.size)
        live_range.surviving[i, i] = link.size
        for j in range(i + 1, len(links)):
            cols = _positions(links[j].cols, links[j].size)
            _, both, own = np.intersect1d(positions, cols, assume_unique=True, return_indices=True)
            positions = _positions(links[j].rows, links[j].size)[own]
            live_range.surviving[i, j] = both.size
    live_range.size = int(live_range.surviving[0, -1])
    return live_range.size > 0


def _positions(where: Positions | None, size: int) -> Integers:
    return np.arange(size) if where is None else as_array(where)


def _is_plain(structure: Structure) -> bool:
    """Return whether every label occurs at most once on either side, no position twice.

    Positions may be selected only where a label stands alone on its axis.
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
    """A label of one factor, the sizes that it is split into, and its positions on either side."""

    name: int
    parts: list[int]
    col_positions: Positions | None = None
    row_positions: Positions | None = None


@dataclass(slots=True)
class _IndexedFactor:
    """One factor: its labels, those of its rows and cols in order, and the labels by axis."""

    labels: list[_Label]
    rows: list[_Label]
    cols: list[_Label]
    row_axes: list[list[_Label]]
    col_axes: list[list[_Label]]


def _indexed_factor(structure: Structure) -> _IndexedFactor:
    labels = [_Label(k, [size]) for k, size in enumerate(structure.sizes)]
    sides: list[list[list[_Label]]] = []
    for axes in (structure.rows, structure.cols):
        sides.append([])
        for axis in axes:
            own = [labels[x] for x in axis.labels]
            if axis.positions is not None and not own:
                # One position of many: a label of size 1, which structures leave out.
                own = [_Label(len(labels), [1])]
                labels += own
            for label in own:
                if len(sides) == 1:
                    label.row_positions = axis.positions
                else:
                    label.col_positions = axis.positions
            sides[-1].append(own)
    rows, cols = sides
    return _IndexedFactor(
        labels, [x for axis in rows for x in axis], [x for a in cols for x in a], rows, cols
    )


def _refined(structures: Sequence[Structure]) -> list[_IndexedFactor] | None:
    """Split labels to a common refinement at every vertex; None if there is none."""
    factors = [_indexed_factor(structure) for structure in structures]
    to_do = list(range(1, len(factors)))[::-1]
    while to_do:
        v = to_do.pop()
        before, after = factors[v - 1], factors[v]
        split: list[_Label] = []
        for one, two in zip(before.row_axes, after.col_axes, strict=True):
            if any(x.row_positions is not None for x in one) or any(
                x.col_positions is not None for x in two
            ):
                continue
            sizes = [[n for label in axis for n in label.parts] for axis in (one, two)]
            if sizes[0] == sizes[1]:
                continue
            parts = refine(*sizes)
            if parts is None:
                return None
            split += [x for axis in (one, two) for x in _split(axis, parts)]
        if any(label in after.rows for label in split) and v + 1 < len(factors):
            to_do.append(v + 1)
        if any(label in before.cols for label in split) and v > 1:
            to_do.append(v - 1)
    return factors if _selects_whole_labels(factors) else None


def _selects_whole_labels(factors: Sequence[_IndexedFactor]) -> bool:
    """Return whether no label is split that selects positions, or is tied to one that does."""
    return all(
        len(one) == len(two) == 1 and len(one[0].parts) == len(two[0].parts) == 1
        for before, after in pairwise(factors)
        for one, two in zip(before.row_axes, after.col_axes, strict=True)
        if any(x.row_positions is not None for x in one)
        or any(x.col_positions is not None for x in two)
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
