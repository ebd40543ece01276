"""The algebra of structured Jacobians: product and sum, with their prices, and dense form.

A product ties the inner axes and adds up the labels that neither side keeps: an einsum, read off
the labels. A sum keeps only the ties that both sides have, or, where that would waste more than
half of the places, the union of their entries. Both laws are checked against dense arrays.

Laws (each one a test):
- the structure of a product does not depend on its bracketing;
- a product with +1 or -1 everywhere costs no multiplication;
- no product costs more than the product of the dense matrices;
- a sum stores at most twice the union of the entries of its terms.

Source: the ties are the generalised Kronecker deltas of index notation; for products of chains
of Jacobians see Griewank & Walther, *Evaluating Derivatives*, 2nd ed., ch. 9-10.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np

from chainad.kernels import Broadcast, Kernel, Place, Reshape
from chainad.pattern import Integers, Positions, as_array, compose, join, positions, refine
from chainad.spelling import Operand, Spelling
from chainad.structure import Axis, Structure, places

Kernels = tuple[Kernel, ...]


@dataclass(frozen=True)
class Arrangement:
    """A structure, and the kernels that turn an array as a rule states it into the kept one."""

    structure: Structure
    kernels: Kernels


@dataclass(frozen=True)
class Product:
    """The product of two structures: what it is, what it costs and how its numbers are made.

    `left` and `right` are applied to the kept arrays; these meet in an einsum over `labels`
    (left, right, result); `after` makes the kept array of `structure`. Where one side keeps no
    numbers, the other is all there is (`labels` is None). `sizes` are those of the labels.
    """

    structure: Structure
    multiplications: int
    additions: int
    left: Kernels
    right: Kernels
    labels: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] | None
    sizes: tuple[tuple[int, int], ...]
    after: Kernels


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


# ------------------------------------------------------------------- building


def arrange(
    rows: Sequence[Axis],
    cols: Sequence[Axis],
    sizes: dict[int, int],
    stored: Sequence[int] = (),
    scale: float | None = None,
) -> Arrangement:
    """Bring a structure as a rule states it into normal form.

    Parameters
    ----------
    rows, cols : sequence of Axis
        Axes of the output and of the input, spelled by the labels 0, 1, ..., len(sizes) - 1.
    sizes : dict
        The size of every label.
    stored : sequence of int
        The labels of the array that the rule keeps, in its own order.
    scale : float, optional
        The number in front, for a structure that keeps no array.
    """
    spelling = Spelling()
    spelling.sizes = dict(sizes)
    spelling.axes = [*rows, *cols]
    operand = Operand(stored, scale)
    spelling.operands = [operand]
    structure = spelling.finish(len(rows))
    return Arrangement(structure, tuple(operand.kernels))


@lru_cache(maxsize=4096)
def identity(shape: tuple[int, ...]) -> Structure:
    """Return the identity on arrays of `shape`."""
    axes = [Axis(size, (k,)) for k, size in enumerate(shape)]
    return arrange(axes, axes, dict(enumerate(shape)), scale=1).structure


@lru_cache(maxsize=4096)
def dense(row_shape: tuple[int, ...], col_shape: tuple[int, ...]) -> Structure:
    """Return the structure without any structure."""
    axes = [Axis(size, (k,)) for k, size in enumerate((*row_shape, *col_shape))]
    n = len(row_shape)
    sizes = dict(enumerate((*row_shape, *col_shape)))
    return arrange(axes[:n], axes[n:], sizes, stored=range(len(axes))).structure


@lru_cache(maxsize=4096)
def diagonal(shape: tuple[int, ...]) -> Structure:
    """Return the structure of an elementwise function of arrays of `shape`."""
    axes = [Axis(size, (k,)) for k, size in enumerate(shape)]
    return arrange(axes, axes, dict(enumerate(shape)), stored=range(len(axes))).structure


# -------------------------------------------------------------------- product


@lru_cache(maxsize=65536)
def multiply(left: Structure, right: Structure) -> Product:
    """Return the product of two structures, left @ right.

    Raises
    ------
    AssertionError
        If the columns of `left` are not the rows of `right`.
    """
    assert left.col_shape == right.row_shape, (left.col_shape, right.row_shape)
    spelling = Spelling()
    a, rows, inner_left = spelling.add(left)
    b, inner_right, cols = spelling.add(right)
    tie(spelling, list(zip(inner_left, inner_right, strict=True)))
    kept = {x for k in (*rows, *cols) for x in spelling.axes[k].labels}
    inner = {x for k in (*inner_left, *inner_right) for x in spelling.axes[k].labels} - kept
    spelling.axes = [spelling.axes[k] for k in (*rows, *cols)]
    return _contract(spelling, a, b, inner, len(rows))


def _contract(spelling: Spelling, a: Operand, b: Operand, inner: set[int], n_rows: int) -> Product:
    """Multiply two operands whose inner axes are tied; `inner` labels are to be added up."""
    everywhere = spelling.size([*inner.union(*(axis.labels for axis in spelling.axes))])
    only_a = {x for x in a.labels if x in inner and x not in b.labels}
    only_b = {x for x in b.labels if x in inner and x not in a.labels}
    a.sum_out(only_a)
    b.sum_out(only_b)
    # A label that is added up and that neither array has: so many equal terms.
    repeats = spelling.size([x for x in inner - only_a - only_b if x not in a.labels + b.labels])
    union = [*a.labels, *(x for x in b.labels if x not in a.labels)]
    labels = None
    if a.scale is not None or b.scale is not None:
        one, other = (a, b) if a.scale is not None else (b, a)
        factor = (one.scale or 0) * repeats
        cost = 0 if other.scale is not None or abs(factor) == 1 else spelling.size(other.labels)
        result = Operand(other.labels, other.scale)
        result.multiply(factor)
    else:
        cost = spelling.size(union)
        out = [x for x in union if x not in inner]
        labels = (tuple(a.labels), tuple(b.labels), tuple(out))
        result = Operand(out, None)
        result.multiply(repeats)
        cost += spelling.size(out) if repeats != 1 else 0
    left, right = tuple(a.kernels), tuple(b.kernels)
    sizes = tuple((x, spelling.sizes[x]) for x in union)
    spelling.operands = [result]
    structure = spelling.finish(n_rows)
    kept_numbers = structure.scale is None
    # Entries beyond the first that meet in one number of the result.
    terms = _terms(everywhere, structure) if kept_numbers else 0
    return Product(structure, cost, terms, left, right, labels, sizes, tuple(result.kernels))


def _terms(everywhere: int, structure: Structure) -> int:
    """Return the additions of a product: terms over all labels, less the entries they end in."""
    return max(0, (everywhere - structure.nonzeros) * structure.count // max(1, structure.nonzeros))


def tie(spelling: Spelling, pairs: list[tuple[int, int]]) -> None:
    """Let the two axes of every pair run together."""
    for group in _groups(spelling, pairs):
        plain = all(spelling.axes[k].positions is None for pair in group for k in pair)
        if plain:
            for i, j in group:
                _tie_plain(spelling, i, j)
        else:
            # Axes that share labels are tied at once: one by one, too many pairs would meet.
            i = spelling.combine([i for i, _ in group])
            j = spelling.combine([j for _, j in group])
            _tie_positions(spelling, i, j)


def _groups(spelling: Spelling, pairs: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Group the pairs of axes that share labels on either side."""
    groups: list[tuple[set[int], list[tuple[int, int]]]] = []
    for i, j in pairs:
        labels = {*spelling.axes[i].labels, *spelling.axes[j].labels}
        members = [(i, j)]
        for group in [g for g in groups if g[0] & labels]:
            groups.remove(group)
            labels |= group[0]
            members = group[1] + members
        groups.append((labels, members))
    return [members for _, members in groups]


def _tie_plain(spelling: Spelling, i: int, j: int) -> None:
    def sizes(k: int) -> list[int]:
        return [spelling.sizes[label] for label in spelling.axes[k].labels]

    parts = refine(sizes(i), sizes(j))
    if parts is None or spelling.axes[i].positions != spelling.axes[j].positions:
        _tie_positions(spelling, i, j)
        return
    for k in (i, j):
        split_to(spelling, k, parts)
    for place in range(len(parts)):
        spelling.identify(spelling.axes[j].labels[place], spelling.axes[i].labels[place])


def split_to(spelling: Spelling, k: int, parts: Sequence[int]) -> None:
    """Split the labels of axis k until their sizes are `parts`, a refinement of theirs."""
    for place, size in enumerate(parts):
        label = spelling.axes[k].labels[place]
        if spelling.sizes[label] != size:
            spelling.split(label, (size, spelling.sizes[label] // size))
            continue


def _tie_positions(spelling: Spelling, i: int, j: int) -> None:
    if spelling.axes[i] == spelling.axes[j]:
        return
    left, right = spelling.axes[i].labels, spelling.axes[j].labels
    if set(left) & set(right):
        both = spelling.flatten(list(dict.fromkeys(left + right)))
        f, g = (_visited(spelling, k, both) for k in (i, j))
        keep = np.flatnonzero(f == g)
        spelling.substitute(both, spelling.new(keep.size), positions(keep))
        return
    if spelling.axes[i].positions is None:
        _follow(spelling, i, j)
    elif spelling.axes[j].positions is None:
        _follow(spelling, j, i)
    else:
        _join(spelling, i, j)


def _visited(spelling: Spelling, k: int, label: int) -> Integers:
    return np.broadcast_to(
        places(spelling.axes[k], (label,), spelling.sizes), (spelling.sizes[label],)
    )


def _follow(spelling: Spelling, plain: int, other: int) -> None:
    """Let the labels of a plain axis follow those of an axis with positions."""
    if not spelling.axes[other].labels:
        spelling.axes[other] = Axis(
            spelling.axes[other].size, (spelling.new(1),), spelling.axes[other].positions
        )
    leader = spelling.flatten(spelling.axes[other].labels)
    where = _positions_of(spelling.axes[other])
    labels = spelling.axes[plain].labels
    shape = tuple(spelling.sizes[label] for label in labels)
    if len(labels) == 1:
        spelling.substitute(labels[0], leader, where)
        return
    if not labels:  # an axis of size 1: every label of the other visits its only place
        return
    places_of = np.unravel_index(as_array(where), shape)
    spelling.follow(leader, {x: positions(at) for x, at in zip(labels, places_of, strict=True)})


def _positions_of(axis: Axis) -> Positions:
    return range(axis.size) if axis.positions is None else axis.positions


def _join(spelling: Spelling, i: int, j: int) -> None:
    """Tie two axes with positions: only places that both visit remain."""
    for k in (i, j):
        if not spelling.axes[k].labels:
            axis = spelling.axes[k]
            spelling.axes[k] = Axis(axis.size, (spelling.new(1),), axis.positions)
    p = spelling.flatten(spelling.axes[i].labels)
    q = spelling.flatten(spelling.axes[j].labels)
    size = spelling.axes[i].size
    f, g = (_positions_of(spelling.axes[k]) for k in (i, j))
    at_p, at_q = join(f, g, size)
    if at_p == range(len(f)):
        spelling.substitute(q, p, at_q)
    elif at_q == range(len(g)):
        spelling.substitute(p, q, at_p)
    else:
        both = spelling.new(len(at_p))
        spelling.substitute(p, both, at_p)
        spelling.substitute(q, both, at_q)


# ------------------------------------------------------------------------ sum


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
    kernels = []
    for term in (left, right):
        operand = Operand(term.stored, term.scale)
        operand.keep_numbers()
        _spread(operand, stored, dict(enumerate(term.sizes)))
        kernels.append(tuple(operand.kernels))
    # What both leave out may now be merged with what one of them stores: normal form again.
    arrangement = arrange(left.rows, left.cols, dict(enumerate(left.sizes)), stored)
    additions = arrangement.structure.count
    return Total(arrangement.structure, additions, kernels[0], kernels[1], arrangement.kernels)


def _spread(operand: Operand, labels: Sequence[int], sizes: dict[int, int]) -> None:
    """Give the operand one axis per label, of size 1 where it has none."""
    operand.transpose([x for x in labels if x in operand.labels])
    shape = tuple(sizes[x] if x in operand.labels else 1 for x in labels)
    if len(operand.labels) != len(labels):
        operand.kernels.append(Reshape(shape))


@dataclass
class _Slot:
    """One place in the spelling of an axis: a label on each side, or the whole axis."""

    axis: int
    size: int
    left: tuple[int, ...]
    right: tuple[int, ...]
    alike: bool


def _add_unlike(left: Structure, right: Structure) -> Total:
    spellings = (Spelling(), Spelling())
    operands = [s.add(term)[0] for s, term in zip(spellings, (left, right), strict=True)]
    _refine_together(*spellings)
    slots = _slots(*spellings)
    kept, merged = _partition(slots)
    axes_of_both = [spelling.axes for spelling in spellings]
    result = Spelling()
    spelled = {id(slot): result.new(slot.size) for slot in merged}
    for group in kept:
        label = result.new(group[0].size)
        spelled |= {id(slot): label for slot in group}
    for k, axis in enumerate(axes_of_both[0]):
        mine = tuple(spelled[id(slot)] for slot in slots if slot.axis == k)
        alike = all(slot.alike for slot in slots if slot.axis == k)
        result.axes.append(Axis(axis.size, mine, axis.positions if alike else None))
    shared = [(group[0].left[0], group[0].right[0], spelled[id(group[0])]) for group in kept]
    entries = [_entries_of(spelling, side, merged) for side, spelling in enumerate(spellings)]
    grid = _Grid([spelled[id(slot)] for slot in merged], [slot.size for slot in merged])
    outer, where = grid.lay_out(result, entries)
    kept_labels = [c for a, b, c in shared if a in operands[0].labels or b in operands[1].labels]
    kernels = []
    full = [False, False]
    for side, (spelling, operand) in enumerate(zip(spellings, operands, strict=True)):
        inner = [x for x in spelling.sizes if x in entries[side].labels]
        own = [pair[side] for pair in shared if pair[2] in kept_labels]
        operand.keep_numbers()
        full[side] = where[side] == range(grid.count) and set(own) <= set(operand.labels)
        _bring_to(operand, own, inner, spelling.sizes)
        if where[side] != range(grid.count):
            operand.kernels.append(Place(len(own), where[side], grid.count))
        kernels.append(tuple(operand.kernels))
    total = Operand([*kept_labels, outer], None)
    total.kernels.append(Broadcast((*(result.sizes[x] for x in kept_labels), grid.count)))
    if grid.is_box:
        total.reshape([*kept_labels, *grid.labels], result.sizes)
    result.operands = [total]
    structure = result.finish(len(left.rows))
    additions = min(left.nonzeros, right.nonzeros)
    return Total(structure, additions, *kernels, tuple(total.kernels), any(full))


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
    unlike = [g for g in groups if not _tied_alike(g)]
    # Slots on an axis with positions cannot be told apart from their neighbours on that axis.
    kept = [g for g in groups if _tied_alike(g)]
    merged = [slot for group in unlike for slot in group]
    return kept, merged


def _share(one: _Slot, two: _Slot) -> bool:
    return bool(set(one.left) & set(two.left)) or bool(set(one.right) & set(two.right))


def _tied_alike(group: list[_Slot]) -> bool:
    return all(s.alike and s.left == group[0].left and s.right == group[0].right for s in group)


@dataclass
class _Entries:
    """Where the entries of one term lie: for every merged slot, the place of every entry."""

    labels: set[int]
    count: int
    coordinates: list[Integers]


def _entries_of(spelling: Spelling, side: int, merged: list[_Slot]) -> _Entries:
    labels = [x for x in spelling.sizes if any(x in (s.left, s.right)[side] for s in merged)]
    shape = tuple(spelling.sizes[x] for x in labels)
    coordinates = []
    for slot in merged:
        axis = spelling.axes[slot.axis]
        if slot.alike:
            axis = Axis(slot.size, (slot.left, slot.right)[side])
        place = places(axis, tuple(labels), spelling.sizes)
        coordinates.append(np.broadcast_to(place, shape).ravel())
    return _Entries(set(labels), prod(shape), coordinates)


class _Grid:
    """The places of a sum's merged slots: a box of labels, or one label through all entries."""

    def __init__(self, labels: list[int], sizes: list[int]) -> None:
        self.labels = labels
        self.sizes = sizes
        self.count = 0
        self.is_box = False

    def lay_out(self, result: Spelling, terms: list[_Entries]) -> tuple[int, list[Positions]]:
        """Choose box or union; return the label of all places, and where the terms lie on it."""
        visited = [
            np.unique(np.concatenate([term.coordinates[k] for term in terms]))
            for k in range(len(self.labels))
        ]
        box = prod(seen.size for seen in visited)
        if box <= 2 * max(term.count for term in terms):
            return self._as_box(result, terms, visited)
        keys = [self._keys(term) for term in terms]
        union = np.unique(np.concatenate(keys))
        if box <= 2 * union.size:
            return self._as_box(result, terms, visited)
        return self._as_union(result, keys, union)

    def _keys(self, term: _Entries) -> Integers:
        key = np.zeros(term.count, np.int64)
        for place, size in zip(term.coordinates, self.sizes, strict=True):
            key = key * size + place
        return key

    def _as_box(
        self, result: Spelling, terms: list[_Entries], visited: list[Integers]
    ) -> tuple[int, list[Positions]]:
        self.is_box = True
        self.count = prod(seen.size for seen in visited)
        where = []
        for term in terms:
            key = np.zeros(term.count, np.int64)
            for place, seen in zip(term.coordinates, visited, strict=True):
                key = key * seen.size + np.searchsorted(seen, place)
            where.append(positions(key))
        for k, seen in enumerate(visited):
            if seen.size < self.sizes[k]:
                narrow = result.new(seen.size)
                result.substitute(self.labels[k], narrow, positions(seen))
                self.labels[k] = narrow
        return result.new(self.count), where

    def _as_union(
        self, result: Spelling, keys: list[Integers], union: Integers
    ) -> tuple[int, list[Positions]]:
        self.count = union.size
        label = result.new(union.size)
        for old, place in zip(self.labels, np.unravel_index(union, self.sizes), strict=True):
            result.substitute(old, label, positions(place))
        return label, [positions(np.searchsorted(union, key)) for key in keys]


def _bring_to(operand: Operand, own: list[int], inner: list[int], sizes: dict[int, int]) -> None:
    """Give the operand the axes `own`, then one axis for all of `inner`."""
    _spread(operand, [*own, *inner], sizes)
    own_shape = tuple(sizes[x] if x in operand.labels else 1 for x in own)
    inner_shape = tuple(sizes[x] for x in inner)
    if any(x not in operand.labels for x in inner):
        operand.kernels.append(Broadcast((*own_shape, *inner_shape)))
    operand.kernels.append(Reshape((*own_shape, prod(inner_shape))))


# ----------------------------------------------------------------- dense form


@lru_cache(maxsize=4096)
def to_dense(structure: Structure) -> Kernels:
    """Return the kernels that make the full array, of shape rows + cols, from the kept one."""
    operand = Operand(structure.stored, structure.scale)
    shape = (*structure.row_shape, *structure.col_shape)
    sizes = dict(enumerate(structure.sizes))
    axes = (*structure.rows, *structure.cols)
    spelled = [x for axis in axes for x in axis.labels]
    operand.keep_numbers()
    if len(spelled) == len(sizes) and not structure.has_positions:
        _spread(operand, spelled, sizes)
        if len(operand.labels) != len(spelled):
            operand.kernels.append(Broadcast(tuple(sizes[x] for x in spelled)))
        operand.kernels.append(Reshape(shape))
        return tuple(operand.kernels)
    rows, cols = structure.entries()
    where = positions(rows * structure.matrix_shape[1] + cols)
    _bring_to(operand, [], list(sizes), sizes)
    operand.kernels.append(Place(0, where, prod(shape)))
    operand.kernels.append(Reshape(shape))
    return tuple(operand.kernels)


__all__ = [
    "Arrangement",
    "Product",
    "Total",
    "add",
    "arrange",
    "compose",
    "dense",
    "diagonal",
    "identity",
    "multiply",
    "to_dense",
]
