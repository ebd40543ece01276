"""Ties: two axes of a labeling run together, label by label or through their positions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainad.ir.positions import (
    Index,
    Integers,
    Positions,
    as_array,
    as_box,
    coordinates,
    join,
    positions,
    refine,
)
from chainad.structure.normal_form import Labeling
from chainad.structure.structure import Axis, places


def tie(labeling: Labeling, pairs: list[tuple[int, int]]) -> None:
    """Let the two axes of every pair run together."""
    for group in _groups(labeling, pairs):
        plain = all(labeling.axes[k].positions is None for pair in group for k in pair)
        if plain:
            for i, j in group:
                _tie_plain(labeling, i, j)
        else:
            # Axes that share labels are tied at once: one by one, too many pairs would match.
            i = labeling.combine([i for i, _ in group])
            j = labeling.combine([j for _, j in group])
            _tie_positions(labeling, i, j)


def _groups(labeling: Labeling, pairs: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Group the pairs of axes that share labels on either side."""
    groups: list[tuple[set[int], list[tuple[int, int]]]] = []
    for i, j in pairs:
        labels = {*labeling.axes[i].labels, *labeling.axes[j].labels}
        members = [(i, j)]
        for group in [g for g in groups if g[0] & labels]:
            groups.remove(group)
            labels |= group[0]
            members = group[1] + members
        groups.append((labels, members))
    return [members for _, members in groups]


def _tie_plain(labeling: Labeling, i: int, j: int) -> None:
    """Tie two axes label by label, after splitting labels until both have the same sizes.

    Labels that the axes share with one another may change both axes at every move: then a label
    may come to stand twice on one axis, which is indexed through positions from there on.
    """

    def sizes(k: int) -> list[int]:
        return [labeling.sizes[label] for label in labeling.axes[k].labels]

    def common() -> list[int] | None:
        plain = labeling.axes[i].positions is None and labeling.axes[j].positions is None
        return refine(sizes(i), sizes(j)) if plain else None

    parts = common()
    while parts is not None and sizes(i) != sizes(j):
        split_to(labeling, i if sizes(i) != parts else j, parts)
        parts = common()
    for place in range(len(parts or ())):
        if common() is not None:
            labeling.identify(labeling.axes[j].labels[place], labeling.axes[i].labels[place])
    if common() is None:
        _tie_positions(labeling, i, j)


def split_to(labeling: Labeling, k: int, parts: Sequence[int]) -> None:
    """Split the labels of axis k until their sizes are `parts`, a refinement of theirs."""
    for place, size in enumerate(parts):
        label = labeling.axes[k].labels[place]
        if labeling.sizes[label] != size:
            labeling.split(label, (size, labeling.sizes[label] // size))


def _tie_positions(labeling: Labeling, i: int, j: int) -> None:
    if labeling.axes[i] == labeling.axes[j]:
        return
    left, right = labeling.axes[i].labels, labeling.axes[j].labels
    if set(left) & set(right):
        both = labeling.flatten(list(dict.fromkeys(left + right)))
        f, g = (_visited(labeling, k, both) for k in (i, j))
        keep = np.flatnonzero(f == g)
        labeling.substitute(both, labeling.new(keep.size), positions(keep))
        return
    if labeling.axes[i].positions is None:
        _follow(labeling, i, j)
    elif labeling.axes[j].positions is None:
        _follow(labeling, j, i)
    else:
        _join(labeling, i, j)


def _visited(labeling: Labeling, k: int, label: int) -> Integers:
    return np.broadcast_to(
        places(labeling.axes[k], (label,), labeling.sizes), (labeling.sizes[label],)
    )


def _follow(labeling: Labeling, plain: int, other: int) -> None:
    """Let the labels of a plain axis follow those of an axis with positions."""
    labels, followed = labeling.axes[plain].labels, labeling.axes[other].labels
    if len(labels) == 1 and len(followed) > 1:
        _follow_all_labels(labeling, labels[0], other)
        return
    if len(labels) > 1 and _follow_in_box(labeling, plain, other):
        return
    leader = _one_label(labeling, other)
    where = _positions_of(labeling.axes[other])
    shape = tuple(labeling.sizes[label] for label in labels)
    if len(labels) == 1:
        labeling.substitute(labels[0], leader, where)
        return
    if not labels:  # an axis of size 1: every label of the other visits its only place
        return
    places_of = coordinates(as_array(where), shape)
    labeling.follow(leader, {x: positions(at) for x, at in zip(labels, places_of, strict=True)})


def _follow_in_box(labeling: Labeling, plain: int, other: int) -> bool:
    """Tie a plain axis of several labels to a box of its places, label by label if possible."""
    labels, followed = labeling.axes[plain].labels, labeling.axes[other].labels
    where = _positions_of(labeling.axes[other])
    shape = [labeling.sizes[label] for label in labels]
    box = None if isinstance(where, Index) else as_box(where, shape)
    have = [labeling.sizes[label] for label in followed]
    if box is None or refine(have, box.sizes) != list(box.sizes):
        return False
    split_to(labeling, other, box.sizes)
    parts = dict(zip(box.digits, labeling.axes[other].labels, strict=True))
    for digit, label in enumerate(labels):
        part = parts[digit] if digit in parts else labeling.new(1)
        labeling.substitute(label, part, box.along(digit))
    return True


def _follow_all_labels(labeling: Labeling, label: int, other: int) -> None:
    """Let one label follow all labels of an axis; these keep the ties that each has elsewhere."""
    followed = labeling.axes[other].labels
    whole = labeling.new(labeling.size(followed))
    labeling.substitute(label, whole, _positions_of(labeling.axes[other]))
    parts = labeling.split(whole, [labeling.sizes[x] for x in followed])
    for part, own in zip(parts, followed, strict=True):
        labeling.identify(part, own)


def _one_label(labeling: Labeling, k: int) -> int:
    """Index axis k by one label, of size 1 if it had none; return that label."""
    axis = labeling.axes[k]
    if not axis.labels:
        labeling.axes[k] = Axis(axis.size, (labeling.new(1),), axis.positions)
    return labeling.flatten(labeling.axes[k].labels)


def _positions_of(axis: Axis) -> Positions:
    return range(axis.size) if axis.positions is None else axis.positions


def _join(labeling: Labeling, i: int, j: int) -> None:
    """Tie two axes with positions: only places that both visit remain."""
    p, q = _one_label(labeling, i), _one_label(labeling, j)
    size = labeling.axes[i].size
    f, g = (_positions_of(labeling.axes[k]) for k in (i, j))
    at_p, at_q = join(f, g, size)
    if at_p == range(len(f)):
        labeling.substitute(q, p, at_q)
    elif at_q == range(len(g)):
        labeling.substitute(p, q, at_p)
    else:
        both = labeling.new(len(at_p))
        labeling.substitute(p, both, at_p)
        labeling.substitute(q, both, at_q)
