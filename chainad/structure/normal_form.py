"""Normal form: relabeling the axes of structures and of the arrays that go with them.

Products and sums of structures are found by a few moves on labels (split, identify, substitute,
flatten); every move changes the axes, and writes down the ops that do the same to the arrays.
`Labeling.normal_form` brings what is left into normal form:

1. a label of size 1 is left out;
2. no entry of the matrix is stored twice (entries that coincide are added up);
3. labels run through their positions in ascending order;
4. labels that are always adjacent are one label;
5. labels are numbered by first appearance, rows first, and `stored` is ascending.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from chainad.ir.op import Op
from chainad.ir.ops import Broadcast, Full, Reshape, Scale, SegmentSum, Sum, Take, Transpose
from chainad.ir.positions import (
    Integers,
    Positions,
    as_array,
    compose,
    coordinates,
    distinct,
    is_ascending,
    is_injective,
    lattice,
    numbered,
    positions,
)
from chainad.structure.structure import Axis, Structure, places


class Operand:
    """An array known by the labels of its axes, and the ops applied to it so far.

    `multiplications` counts those that the ops make. An operand that keeps no array has a
    `scale` and neither labels nor ops.
    """

    def __init__(self, labels: Sequence[int], scale: float | None) -> None:
        self.labels = list(labels)
        self.scale = scale
        self.ops: list[Op] = []
        self.multiplications = 0

    def transpose(self, labels: Sequence[int]) -> None:
        """Bring the axes into the order of `labels`."""
        if list(labels) != self.labels:
            self.ops.append(Transpose(tuple(map(self.labels.index, labels))))
            self.labels = list(labels)

    def reshape(self, labels: Sequence[int], sizes: dict[int, int]) -> None:
        """Relabel the axes; the elements stay in their row-major order."""
        self.ops.append(Reshape(tuple(sizes[label] for label in labels)))
        self.labels = list(labels)

    def gather(self, old: Sequence[int], new: int, where: Positions, sizes: dict[int, int]) -> None:
        """Replace the axes `old` by one axis `new` that visits their row-major positions."""
        if len(old) > 1:
            rest = [label for label in self.labels if label not in old]
            self.transpose([*rest, *old])
            shape = tuple(sizes[label] for label in rest)
            self.ops.append(Reshape((*shape, prod(sizes[label] for label in old))))
            self.labels = [*rest, new]
        else:
            self.labels[self.labels.index(old[0])] = new
        if where != range(prod(sizes[label] for label in old)):
            self.ops.append(Take(self.labels.index(new), where))

    def sum_out(self, labels: set[int]) -> None:
        """Add up the axes of `labels`."""
        if labels:
            self.ops.append(Sum(tuple(k for k, x in enumerate(self.labels) if x in labels)))
            self.labels = [label for label in self.labels if label not in labels]

    def multiply(self, factor: float, sizes: dict[int, int]) -> None:
        """Multiply every element by `factor`."""
        if self.scale is not None:
            self.scale *= factor
        elif factor != 1:
            self.ops.append(Scale(factor))
            if factor != -1:  # a change of sign is no multiplication
                self.multiplications += prod(sizes[label] for label in self.labels)

    def spread(self, labels: Sequence[int], sizes: dict[int, int]) -> None:
        """Give the array one axis per label, of size 1 where it has none."""
        self.transpose([x for x in labels if x in self.labels])
        if len(self.labels) != len(labels):
            shape = tuple(sizes[x] if x in self.labels else 1 for x in labels)
            self.ops.append(Reshape(shape))

    def bring_to(self, own: Sequence[int], inner: Sequence[int], sizes: dict[int, int]) -> None:
        """Give the array the axes `own` (of size 1 where it has none), then one for all `inner`."""
        self.spread([*own, *inner], sizes)
        own_shape = tuple(sizes[x] if x in self.labels else 1 for x in own)
        inner_shape = tuple(sizes[x] for x in inner)
        if any(x not in self.labels for x in inner):
            self.ops.append(Broadcast((*own_shape, *inner_shape)))
        if len(inner) != 1:
            self.ops.append(Reshape((*own_shape, prod(inner_shape))))

    def fill(self) -> None:
        """Turn a scale into a 0-d array."""
        if self.scale is not None:
            self.ops.append(Full(self.scale))
            self.scale = None


class Labeling:
    """Axes and operands that share one set of labels (einsum indices) while rewritten."""

    def __init__(self) -> None:
        self.sizes: dict[int, int] = {}
        self.axes: list[Axis] = []
        self.operands: list[Operand] = []

    def new(self, size: int) -> int:
        """Return a fresh label."""
        label = max(self.sizes, default=-1) + 1
        self.sizes[label] = size
        return label

    def add(self, structure: Structure) -> tuple[Operand, list[int], list[int]]:
        """Bring in a structure; return its operand and the indices of its row and column axes."""
        rename = [self.new(size) for size in structure.sizes]
        start = len(self.axes)
        for axis in (*structure.rows, *structure.cols):
            labels = tuple(rename[label] for label in axis.labels)
            self.axes.append(Axis(axis.size, labels, axis.positions))
        operand = Operand([rename[label] for label in structure.stored], structure.scale)
        self.operands.append(operand)
        middle = start + len(structure.rows)
        return operand, list(range(start, middle)), list(range(middle, len(self.axes)))

    def size(self, labels: Sequence[int]) -> int:
        return prod(self.sizes[label] for label in labels)

    # ------------------------------------------------------------------ moves

    def split(self, label: int, parts: Sequence[int]) -> tuple[int, ...]:
        """Write `label` as the row-major product of new labels of the sizes `parts`."""
        new = tuple(self.new(size) for size in parts)
        self.axes = [_replace(axis, label, new) for axis in self.axes]
        for operand in self.operands:
            if label in operand.labels:
                k = operand.labels.index(label)
                operand.reshape([*operand.labels[:k], *new, *operand.labels[k + 1 :]], self.sizes)
        return new

    def identify(self, old: int, new: int) -> None:
        """Tie `old` to `new`, a label of the same size."""
        self.substitute(old, new, range(self.sizes[new]))

    def substitute(self, old: int, new: int, where: Positions) -> None:
        """Let `old` follow `new`: wherever `new` is p, `old` is where[p]."""
        if old != new:
            self.follow(new, {old: where})

    def follow(self, leader: int, moves: dict[int, Positions]) -> None:
        """Let every label of `moves` follow `leader`, all at once."""
        self.axes = [self._relabel(axis, leader, moves) for axis in self.axes]
        for operand in self.operands:
            own = [label for label in operand.labels if label in moves]
            if not own:
                continue
            where = _row_major([(moves[x], self.sizes[x]) for x in own])
            if leader in operand.labels:
                n = self.sizes[leader]
                where = positions(as_array(where) * n + np.arange(n))
                own.append(leader)
            operand.gather(own, leader, where, self.sizes)

    def flatten(self, labels: Sequence[int]) -> int:
        """Write several labels as one new label, their row-major product."""
        if len(labels) == 1:
            return labels[0]
        shape = tuple(self.sizes[label] for label in labels)
        new = self.new(prod(shape))
        places_of = coordinates(np.arange(prod(shape)), shape)
        self.follow(new, {x: positions(at) for x, at in zip(labels, places_of, strict=True)})
        return new

    def _relabel(self, axis: Axis, leader: int, moves: dict[int, Positions]) -> Axis:
        """Return `axis` with every label of `moves` following `leader`."""
        if not any(label in moves for label in axis.labels):
            return axis
        if len(axis.labels) == 1:
            where = moves[axis.labels[0]]
            if axis.positions is not None:
                where = compose(axis.positions, where)
            return _normal_axis(Axis(axis.size, (leader,), where))
        labels = tuple(dict.fromkeys(leader if x in moves else x for x in axis.labels))
        if len(labels) == len(axis.labels) and all(
            moves[x] == range(self.sizes[x]) for x in axis.labels if x in moves
        ):
            return Axis(axis.size, labels, axis.positions)  # another name for the same label
        regular = self._regular_positions(axis, labels, leader, moves)
        where = (
            self._gathered_positions(axis, labels, leader, moves) if regular is None else regular
        )
        if axis.positions is not None:
            where = compose(axis.positions, where)
        return _normal_axis(Axis(axis.size, labels, where))

    def _regular_positions(
        self, axis: Axis, labels: tuple[int, ...], leader: int, moves: dict[int, Positions]
    ) -> Positions | None:
        """Return the places of an axis whose labels each follow a range, else None."""
        if len(labels) != len(axis.labels):
            return None
        start, steps, stride = 0, [], 1
        for label in reversed(axis.labels):
            where = moves.get(label, range(self.sizes[label]))
            if not isinstance(where, range):
                return None
            start += stride * where.start
            steps.append(stride * where.step)
            stride *= self.sizes[label]
        sizes = [self.sizes[leader if x in moves else x] for x in axis.labels]
        return lattice(start, steps[::-1], sizes)

    def _gathered_positions(
        self, axis: Axis, labels: tuple[int, ...], leader: int, moves: dict[int, Positions]
    ) -> Positions:
        """Return the places of an axis, one by one."""
        total = np.zeros((1,) * len(labels), np.int64)
        for label in axis.labels:
            shape = [1] * len(labels)
            new = leader if label in moves else label
            shape[labels.index(new)] = self.sizes[new]
            where = moves.get(label, range(self.sizes[label]))
            total = total * self.sizes[label] + as_array(where).reshape(shape)
        spread = np.broadcast_to(total, tuple(self.sizes[label] for label in labels))
        return positions(spread.ravel())

    def combine(self, indices: Sequence[int]) -> int:
        """Append the row-major product of several axes as one axis; return its index."""
        if len(indices) == 1:
            return indices[0]
        axes = [self.axes[k] for k in indices]
        labels = tuple(dict.fromkeys(label for axis in axes for label in axis.labels))
        total = np.zeros((1,) * len(labels), np.int64)
        for axis in axes:
            total = total * axis.size + places(axis, labels, self.sizes)
        total = np.broadcast_to(total, tuple(self.sizes[label] for label in labels)).ravel()
        self.axes.append(_normal_axis(Axis(prod(a.size for a in axes), labels, positions(total))))
        return len(self.axes) - 1

    # ------------------------------------------------------------ normal form

    def normal_form(self, n_rows: int) -> Structure:
        """Bring axes and the one operand into normal form, and return the structure.

        The first `n_rows` axes are the rows; the operand's ops produce the kept array.
        """
        (operand,) = self.operands
        self.axes = list(map(_normal_axis, self.axes))
        self._drop_ones(operand)
        self._add_up_coincident_entries(operand)
        self._drop_ones(operand)
        self._merge_adjacent_labels(operand)
        self._sort()
        labels = list(dict.fromkeys(x for axis in self.axes for x in axis.labels))
        number = {label: k for k, label in enumerate(labels)}
        axes = tuple(
            Axis(axis.size, tuple(number[x] for x in axis.labels), axis.positions)
            for axis in self.axes
        )
        operand.transpose([x for x in labels if x in operand.labels])
        stored = tuple(number[x] for x in operand.labels)
        sizes = tuple(self.sizes[x] for x in labels)
        return Structure(axes[:n_rows], axes[n_rows:], stored, sizes, operand.scale)

    def _drop_ones(self, operand: Operand) -> None:
        ones = {label for label, size in self.sizes.items() if size == 1}
        if not ones:
            return
        self.axes = [
            _normal_axis(Axis(a.size, tuple(x for x in a.labels if x not in ones), a.positions))
            if any(x in ones for x in a.labels)
            else a
            for a in self.axes
        ]
        if any(label in ones for label in operand.labels):
            operand.reshape([x for x in operand.labels if x not in ones], self.sizes)

    def _add_up_coincident_entries(self, operand: Operand) -> None:
        determined: set[int] = set()
        while loose := self._undetermined_labels(determined):
            label = self.flatten(loose)
            mine = [k for k, axis in enumerate(self.axes) if label in axis.labels]
            key = np.zeros(self.sizes[label], np.int64)
            for k in mine:
                key = key * self.axes[k].size + places(self.axes[k], (label,), self.sizes)
            determined.add(self._merge_entries(operand, label, *numbered(key)))

    def _merge_entries(
        self, operand: Operand, label: int, first: Integers, segments: Integers, counts: Integers
    ) -> int:
        new = self.new(first.size)
        if label in operand.labels:
            k = operand.labels.index(label)
            if first.size == segments.size:
                operand.ops.append(Take(k, positions(first)))
            else:
                operand.ops.append(SegmentSum(k, positions(segments), first.size))
            operand.labels[k] = new
        elif counts.size and counts.min() == counts.max():
            operand.multiply(int(counts[0]), self.sizes)
        else:
            operand.fill()
            shape = [self.sizes[x] for x in operand.labels]
            operand.ops.append(Reshape((*shape, 1)))
            operand.ops.append(Broadcast((*shape, segments.size)))
            operand.ops.append(SegmentSum(len(shape), positions(segments), first.size))
            operand.labels.append(new)
        moves = {label: positions(first)}
        self.axes = [self._relabel(axis, new, moves) for axis in self.axes]
        return new

    def _undetermined_labels(self, determined: set[int]) -> list[int]:
        """Return a group of labels that do not determine their entry alone, or []."""
        anchored = {x for axis in self.axes if axis.is_injective for x in axis.labels} | determined
        # Two axes together may still distinguish all entries of one label.
        for axis in self.axes:
            free = [x for x in axis.labels if x not in anchored]
            if free and not self._together_injective(free, axis):
                return self._closure(free)
        return []

    def _together_injective(self, free: list[int], axis: Axis) -> bool:
        """Return whether the axes of one label, indexed by it alone, distinguish its entries."""
        if len(axis.labels) > 1:
            return False
        mine = [a for a in self.axes if free[0] in a.labels]
        if any(len(a.labels) > 1 for a in mine):
            return False
        key = np.zeros(self.sizes[free[0]], np.int64)
        for a in mine:
            key = key * a.size + places(a, (free[0],), self.sizes)
        return distinct(key).size == key.size

    def _closure(self, labels: list[int]) -> list[int]:
        group = dict.fromkeys(labels)
        grown = True
        while grown:
            grown = False
            for axis in self.axes:
                if any(x in group for x in axis.labels):
                    for x in axis.labels:
                        grown |= x not in group
                        group[x] = None
        return list(group)

    def _sort(self) -> None:
        """Let every label that is alone on its axes run through its entries in ascending order."""
        for label in dict.fromkeys(x for axis in self.axes for x in axis.labels):
            mine = [axis for axis in self.axes if label in axis.labels]
            if any(len(axis.labels) > 1 for axis in mine):
                continue
            if mine[0].positions is None or is_ascending(mine[0].positions):
                continue
            if isinstance(mine[0].positions, range):
                where: Positions = range(self.sizes[label] - 1, -1, -1)
            elif is_injective(mine[0].positions):
                where = positions(np.argsort(as_array(mine[0].positions)))
            else:
                keys = [places(axis, (label,), self.sizes) for axis in mine]
                if prod(axis.size for axis in mine) > np.iinfo(np.int64).max:
                    where = positions(np.lexsort(keys[::-1]))
                else:  # sorting one key takes half the time
                    key = keys[0]
                    for axis, more in zip(mine[1:], keys[1:], strict=True):
                        key = key * axis.size + more
                    where = positions(np.argsort(key, kind="stable"))
            if where != range(len(where)):
                self.substitute(label, self.new(self.sizes[label]), where)

    def _merge_adjacent_labels(self, operand: Operand) -> None:
        """Make one label of those that are always adjacent."""
        for group in self._adjacent_labels(set(operand.labels)):
            if len(group) == 1:
                continue
            new = self.new(self.size(group))
            for k, axis in enumerate(self.axes):
                if group[0] in axis.labels:
                    at = axis.labels.index(group[0])
                    labels = (*axis.labels[:at], new, *axis.labels[at + len(group) :])
                    self.axes[k] = Axis(axis.size, labels, axis.positions)
            if group[0] in operand.labels:
                operand.gather(group, new, range(self.sizes[new]), self.sizes)

    def _adjacent_labels(self, stored: set[int]) -> list[list[int]]:
        """Group the labels that are always adjacent, all stored or none."""
        follower: dict[int, int | None] = {}
        leader: dict[int, int | None] = {}
        for axis in self.axes:
            for left, right in zip((None, *axis.labels), (*axis.labels, None), strict=True):
                if left is not None:
                    follower[left] = right if follower.get(left, right) == right else None
                if right is not None:
                    leader[right] = left if leader.get(right, left) == left else None
        groups: dict[int, list[int]] = {}
        for label in dict.fromkeys(x for axis in self.axes for x in axis.labels):
            left = leader[label]
            joined = left is not None and follower[left] == label
            if left is not None and joined and (left in stored) == (label in stored):
                groups[label] = groups[left]
                groups[label].append(label)
            else:
                groups[label] = [label]
        return list({id(group): group for group in groups.values()}.values())


def _row_major(parts: Sequence[tuple[Positions, int]]) -> Positions:
    """Return the row-major number of coordinates, each given with its size."""
    if len(parts) == 1:
        return parts[0][0]
    total = np.zeros(len(parts[0][0]), np.int64)
    for where, size in parts:
        total = total * size + as_array(where)
    return positions(total)


def _replace(axis: Axis, label: int, new: tuple[int, ...]) -> Axis:
    if label not in axis.labels:
        return axis
    k = axis.labels.index(label)
    return Axis(axis.size, (*axis.labels[:k], *new, *axis.labels[k + 1 :]), axis.positions)


def _normal_axis(axis: Axis) -> Axis:
    """Drop positions that visit every place in order."""
    if axis.positions is not None and axis.positions == range(axis.size):
        return Axis(axis.size, axis.labels)
    return axis
