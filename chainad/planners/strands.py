"""Strands: the ties of a whole chain at once, from which the prices of all its products follow.

A label that factors hand on from one to the next runs along the chain as one *strand*, from the
vertex where it begins to the one where it ends. Where every label occurs at most once on either
side of a factor, and none is added up that no factor keeps, the product of segments i..k and k+1..j
takes

    count(i..j) * product of the sizes of the strands through vertex k + 1 that begin and end
                  inside and that a factor on both sides keeps

multiplications, and nothing if either segment is all ones: `count` does not depend on k. This is
the price that `algebra.multiply` reads off the labels, for all products of a chain at once.
Dense matrices are the case of one strand between every two neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import prod

from chainad.pattern import refine
from chainad.structure import Structure


@dataclass(slots=True, eq=False)
class Strand:
    """A label from vertex `start` to vertex `stop`, and the factors that keep numbers along it."""

    size: int
    start: int
    stop: int = 0
    stored: list[int] = field(default_factory=list)


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
        crosses.append(cross)
    for strand in crosses[-1]:
        strand.stop = n
    inside = (x for cross in crosses for x in cross if x.start > 0 and x.stop < n)
    # Adding up equal terms multiplies by their number, when depends on the bracketing.
    return crosses if all(strand.stored for strand in inside) else None


def kept_whole(structure: Structure, before: Cross, after: Cross) -> bool:
    """Return whether no label of an operator is split, so that its action meets arrays as it is."""
    return len({id(x) for x in (*before, *after)}) == len(structure.sizes)


def _is_plain(structure: Structure) -> bool:
    """Return whether every label occurs at most once on either side, and every place is visited."""
    for side in (structure.rows, structure.cols):
        labels = [label for axis in side for label in axis.labels]
        if len(set(labels)) < len(labels) or any(axis.positions is not None for axis in side):
            return False
    return (structure.scale is None or structure.is_unit) and 0 not in structure.sizes


@dataclass(slots=True, eq=False)
class _Label:
    """A label of one factor, and the sizes of the labels that it is split into."""

    name: int
    parts: list[int]


@dataclass(slots=True)
class _Word:
    """One factor: the labels of its rows and of its cols, in order, and which axis holds which."""

    rows: list[_Label]
    cols: list[_Label]
    row_axes: list[list[_Label]]
    col_axes: list[list[_Label]]


def _word(structure: Structure) -> _Word:
    labels = [_Label(k, [size]) for k, size in enumerate(structure.sizes)]
    rows, cols = (
        [[labels[x] for x in axis.labels] for axis in side]
        for side in (structure.rows, structure.cols)
    )
    flat = [[label for axis in side for label in axis] for side in (rows, cols)]
    return _Word(flat[0], flat[1], rows, cols)


def _refined(structures: Sequence[Structure]) -> list[_Word] | None:
    """Split labels until neighbours spell the vertex between them alike; None if they cannot."""
    words = [_word(structure) for structure in structures]
    to_do = list(range(1, len(words)))[::-1]
    while to_do:
        v = to_do.pop()
        before, after = words[v - 1], words[v]
        split: list[_Label] = []
        for one, two in zip(before.row_axes, after.col_axes, strict=True):
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
    return words


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
