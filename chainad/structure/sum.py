"""The sum of two structures: keep the ties that both have, or the union of their entries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod

from chainad.ir.ops import Broadcast, Full, Place, Reshape
from chainad.ir.positions import Positions, as_array, positions, refine
from chainad.structure.constructors import Ops, arrange, dense
from chainad.structure.entry_grid import MAX_PADDING, Entries, EntryGrid
from chainad.structure.materialize import flat_places, to_vector
from chainad.structure.normal_form import Labeling, Operand
from chainad.structure.product import have_one_place, materialize_ops
from chainad.structure.structure import Axis, Structure, places
from chainad.structure.ties import split_to


@dataclass(frozen=True)
class StructureSum:
    """The sum of two structures; `left` and `right` make arrays that broadcast to the same shape.

    If the result keeps no array, all ops are empty. `fills` says that one of the two arrays
    has the full shape, so that the other, if it ends in `Place`, can be added in place.
    `pads` says that it may store entries that neither term has.
    `multiplications` are those that materialize operators. `terms` are the two structures.
    """

    structure: Structure
    additions: int
    left: Ops
    right: Ops
    after: Ops
    fills: bool = False
    pads: bool = False
    multiplications: int = 0
    terms: tuple[Structure, ...] = ()


@lru_cache(maxsize=65536)
def add(left: Structure, right: Structure) -> StructureSum:
    """Return the sum of two structures of the same shape."""
    assert left.row_shape == right.row_shape, (left.row_shape, right.row_shape)
    assert left.col_shape == right.col_shape, (left.col_shape, right.col_shape)
    return replace(_add(left, right), terms=(left, right))


def _add(left: Structure, right: Structure) -> StructureSum:
    if left.action or right.action:
        return _add_materialized(left, right)
    if left.rows == right.rows and left.cols == right.cols and left.sizes == right.sizes:
        return _add_same_ties(left, right)
    extension = contiguous_extension(left, right)
    if extension is not None:
        return _add_contiguous(left, right, extension)
    return _add_1d(left, right) or _add_by_labels(left, right)


@lru_cache(maxsize=4096)
def add_to_dense(left: Structure, right: Structure) -> StructureSum:
    """Return the sum of two structures with arrays, or of scales, with every entry stored."""
    total = dense(left.row_shape, left.col_shape)
    made: list[Ops] = []
    whole = range(prod(left.matrix_shape))
    for term in (left, right):
        where = flat_places(term)
        place = () if where == whole else (Place(0, where, len(whole)),)
        made.append(to_vector(term, repeated=True) + place)
    return StructureSum(
        structure=total,
        additions=min(left.nonzeros, right.nonzeros),
        left=made[0],
        right=made[1],
        after=(Reshape(total.stored_shape),),
        fills=whole in map(flat_places, (left, right)),
        pads=True,
        terms=(left, right),
    )


# Jacobians whose entries lie along one axis are added by NumPy if they have more entries.
_MAX_1D_ENTRIES = 64


def _add_1d(left: Structure, right: Structure) -> StructureSum | None:
    """Add two structures whose entries lie along the same axis; None if they do not.

    Functions of scalars have hundreds of them, each at other places: what is found here is what
    the labels would say, in a tenth of the time.
    """
    one, two = _places_1d(left), _places_1d(right)
    if one is None or two is None or one[0] != two[0]:
        return None
    visited = sorted({*one[1], *two[1]})
    count = len(visited)
    number = {place: k for k, place in enumerate(visited)}
    where = [positions([number[place] for place in found]) for _, found in (one, two)]
    axes = [*left.rows, *left.cols]
    size, union = axes[one[0]].size, positions(visited)
    axes[one[0]] = Axis(size, (0,), None if union == range(size) else union)
    n = len(left.rows)
    return StructureSum(
        structure=Structure(tuple(axes[:n]), tuple(axes[n:]), (0,), (count,), None),
        additions=min(left.nonzeros, right.nonzeros),
        left=_place_1d(left, where[0], count),
        right=_place_1d(right, where[1], count),
        after=(Broadcast((count,)), Reshape((count,))),
        fills=range(count) in where,
    )


@lru_cache(maxsize=65536)
def _places_1d(structure: Structure) -> tuple[int, tuple[int, ...]] | None:
    """Return the only axis that has entries (rows counted first) and their places; else None."""
    if structure.action is not None or len(structure.sizes) > 1:
        return None
    if not 0 < structure.nonzeros <= _MAX_1D_ENTRIES:
        return None
    axes = (*structure.rows, *structure.cols)
    found = [k for k, axis in enumerate(axes) if axis.size != 1]
    if len(found) != 1 or not all(have_one_place((axis,)) for axis in axes if axis.size == 1):
        return None
    axis = axes[found[0]]
    where = range(axis.size) if axis.positions is None else axis.positions
    return found[0], tuple(as_array(where).tolist())


def _place_1d(structure: Structure, where: Positions, count: int) -> Ops:
    """Return the ops that put the array of a structure at some of `count` places."""
    ops: list[Full | Reshape | Broadcast | Place] = []
    if structure.scale is not None:
        ops.append(Full(structure.scale))
    if not structure.stored:
        ops.append(Reshape((1,)))
        if structure.nonzeros > 1:
            ops.append(Broadcast((structure.nonzeros,)))
    if where != range(count):
        ops.append(Place(0, where, count))
    return tuple(ops)


@dataclass(frozen=True)
class Extension:
    """Two structures as contiguous pieces of a longer one: `label` runs on from one to the other.

    `offsets` tell where on the longer label, of `size`, the pieces begin; `rows`, `cols` and
    `sizes` index the longer structure.
    """

    label: int
    offsets: tuple[int, int]
    size: int
    rows: tuple[Axis, ...]
    cols: tuple[Axis, ...]
    sizes: dict[int, int]


def contiguous_extension(left: Structure, right: Structure) -> Extension | None:
    """Return the longer structure that two are pieces of, if they overlap or adjoin; else None."""
    if len(left.sizes) != len(right.sizes):
        return None
    axes = list(zip((*left.rows, *left.cols), (*right.rows, *right.cols), strict=True))
    shifts = {_shift(a, b) for a, b in axes if a != b}
    if any(a.labels != b.labels for a, b in axes) or len(shifts) != 1:
        return None
    found = shifts.pop()
    if found is None:
        return None
    label, shift = found
    differ = {x for x, (n, m) in enumerate(zip(left.sizes, right.sizes, strict=True)) if n != m}
    # The label must move equally on all of its axes: one that stands still would tie them anew.
    if differ - {label} or any(a == b and label in a.labels for a, b in axes):
        return None
    n, m = left.sizes[label], right.sizes[label]
    offsets = (max(0, -shift), max(0, shift))
    size = max(offsets[0] + n, offsets[1] + m)
    if size > n + m:
        return None

    def longer(axis: Axis) -> Axis:
        if label not in axis.labels:
            return axis
        where = _range_of(axis)
        assert where is not None
        first = where.start - where.step * offsets[0]
        return Axis(axis.size, axis.labels, range(first, first + where.step * size, where.step))

    sizes = {**dict(enumerate(left.sizes)), label: size}
    rows, cols = tuple(map(longer, left.rows)), tuple(map(longer, left.cols))
    return Extension(label, offsets, size, rows, cols, sizes)


def _shift(one: Axis, two: Axis) -> tuple[int, int] | None:
    """Return the label of two axes and how many of its steps the second begins later, or None."""
    a, b = _range_of(one), _range_of(two)
    if len(one.labels) != 1 or a is None or b is None:
        return None
    if a.step != b.step or (b.start - a.start) % a.step:
        return None
    return one.labels[0], (b.start - a.start) // a.step


def _range_of(axis: Axis) -> range | None:
    """Return the places of an axis if they are a range."""
    if axis.positions is None:
        return range(axis.size)
    return axis.positions if isinstance(axis.positions, range) else None


# Fewer entries are cheaper to list one by one than to keep as separate terms.
MIN_SEPARATE_ENTRIES = 256


@lru_cache(maxsize=65536)
def keep_separate(left: Structure, right: Structure) -> bool:
    """Return whether two Jacobians are better kept as separate terms than added.

    So are long pieces at regular places if their sum would have to list every entry: the
    diagonals of a stencil, or blocks that are tied in different ways. Nothing of their size is then
    made for a plan, and what is multiplied are blocks, not single entries.
    """
    if not (left.is_regular and right.is_regular):
        return False
    if left.nonzeros + right.nonzeros < MIN_SEPARATE_ENTRIES:
        return False
    return contiguous_extension(left, right) is None and not _fits_box(left, right)


def _fits_box(left: Structure, right: Structure) -> bool:
    """Return whether the box around all entries holds few places beside them."""
    one, two = Labeling(), Labeling()
    one.add(left)
    two.add(right)
    _refine_together(one, two)
    _, merged = _partition(_slots(one, two))
    box = prod(_visited_at_least(one, two, slot) for slot in merged)
    inner = [
        prod(s.sizes[x] for x in s.sizes if any(x in getattr(slot, side) for slot in merged))
        for s, side in ((one, "left"), (two, "right"))
    ]
    return box <= sum(inner) + MAX_PADDING * min(inner)


def _visited_at_least(one: Labeling, two: Labeling, slot: _Slot) -> int:
    """Return the places of a slot that one of the terms visits: all, or the longer of the two."""
    if slot.agrees:
        return slot.size
    return max(_visited(one, slot), _visited(two, slot))


def _visited(labeling: Labeling, slot: _Slot) -> int:
    axis = labeling.axes[slot.axis]
    return axis.size if axis.positions is None else len(axis.positions)


def _add_materialized(left: Structure, right: Structure) -> StructureSum:
    """Add what operators stand for."""
    plain = add(left.materialized, right.materialized)
    return replace(
        plain,
        left=materialize_ops(left) + plain.left,
        right=materialize_ops(right) + plain.right,
        multiplications=left.cost_to_materialize + right.cost_to_materialize,
    )


def _add_same_ties(left: Structure, right: Structure) -> StructureSum:
    """Add two structures with the same ties and positions."""
    if left.scale is not None and right.scale is not None:
        scale = left.scale + right.scale
        structure = Structure(left.rows, left.cols, (), left.sizes, scale)
        return StructureSum(structure, 0, (), (), ())
    stored = sorted({*left.stored, *right.stored})
    operands = [Operand(term.stored, term.scale) for term in (left, right)]
    for operand in operands:
        operand.fill()
        operand.spread(stored, dict(enumerate(left.sizes)))
    # What both leave out may now be merged with what one of them stores: normal form again.
    arrangement = arrange(left.rows, left.cols, dict(enumerate(left.sizes)), stored)
    return StructureSum(
        structure=arrangement.structure,
        additions=arrangement.structure.count,
        left=tuple(operands[0].ops),
        right=tuple(operands[1].ops),
        after=arrangement.ops,
    )


def _add_contiguous(left: Structure, right: Structure, extension: Extension) -> StructureSum:
    """Add two structures that are contiguous pieces of a longer one."""
    label, offsets, size = extension.label, extension.offsets, extension.size
    counts = (left.sizes[label], right.sizes[label])
    if left.scale is not None and left.scale == right.scale and sum(counts) == size:
        arrangement = arrange(extension.rows, extension.cols, extension.sizes, scale=left.scale)
        return StructureSum(arrangement.structure, 0, (), (), ())
    stored = sorted({*left.stored, *right.stored, label})
    made: list[Ops] = []
    for term, offset, count in zip((left, right), offsets, counts, strict=True):
        operand, sizes = Operand(term.stored, term.scale), dict(enumerate(term.sizes))
        operand.fill()
        operand.spread(stored, sizes)
        if count < size:
            if label not in term.stored:
                spread = tuple(sizes[x] if x in (label, *term.stored) else 1 for x in stored)
                operand.ops.append(Broadcast(spread))
            where = range(offset, offset + count)
            operand.ops.append(Place(stored.index(label), where, size))
        made.append(tuple(operand.ops))
    arrangement = arrange(extension.rows, extension.cols, extension.sizes, stored)
    shape = tuple(extension.sizes[x] for x in stored)
    return StructureSum(
        structure=arrangement.structure,
        additions=min(left.nonzeros, right.nonzeros),
        left=made[0],
        right=made[1],
        after=(Broadcast(shape), *arrangement.ops),
        fills=any(
            set(stored) == set(term.stored) and term.sizes[label] == size for term in (left, right)
        ),
    )


@dataclass
class _Slot:
    """One position among the labels of an axis: a label on each side, or the whole axis."""

    axis: int
    size: int
    left: tuple[int, ...]
    right: tuple[int, ...]
    agrees: bool


def _add_by_labels(left: Structure, right: Structure) -> StructureSum:
    """Add two structures label by label where these agree, entry by entry elsewhere."""
    one, two = Labeling(), Labeling()
    operands = (one.add(left)[0], two.add(right)[0])
    _refine_together(one, two)
    slots = _slots(one, two)
    kept, merged = _partition(slots)
    result, label_of = _result_axes(one, slots, kept, merged)
    entries = (_entries_of(one, 0, merged), _entries_of(two, 1, merged))
    grid = EntryGrid([label_of[id(slot)] for slot in merged], [slot.size for slot in merged])
    outer, where = grid.lay_out(result, entries)
    # A kept label is stored if either side stores it.
    pairs = [(g[0].left[0], g[0].right[0], label_of[id(g[0])]) for g in kept]
    pairs = [p for p in pairs if p[0] in operands[0].labels or p[1] in operands[1].labels]
    fills = False
    for side, labeling in enumerate((one, two)):
        operand, own = operands[side], [pair[side] for pair in pairs]
        all_places = where[side] == range(grid.count)
        fills |= all_places and set(own) <= set(operand.labels)
        operand.fill()
        inner = [x for x in labeling.sizes if x in entries[side].labels]
        operand.bring_to(own, inner, labeling.sizes)
        if not all_places:
            operand.ops.append(Place(len(own), where[side], grid.count))
    summed = Operand([*(c for _, _, c in pairs), outer], None)
    summed.ops.append(Broadcast(tuple(result.sizes[x] for x in summed.labels)))
    if grid.is_box:
        summed.reshape([*summed.labels[:-1], *grid.labels], result.sizes)
    result.operands = [summed]
    structure = result.normal_form(len(left.rows))
    return StructureSum(
        structure=structure,
        additions=min(left.nonzeros, right.nonzeros),
        left=tuple(operands[0].ops),
        right=tuple(operands[1].ops),
        after=tuple(summed.ops),
        fills=fills,
        pads=grid.pads,
    )


def _result_axes(
    labeling: Labeling, slots: list[_Slot], kept: list[list[_Slot]], merged: list[_Slot]
) -> tuple[Labeling, dict[int, int]]:
    """Label the axes of the sum; return them and the label of every slot, by id.

    Slots that have the same ties on both sides share a label, all others get one of their own.
    """
    result = Labeling()
    label_of = {id(slot): result.new(slot.size) for slot in merged}
    for group in kept:
        label = result.new(group[0].size)
        label_of |= {id(slot): label for slot in group}
    for k, axis in enumerate(labeling.axes):
        mine = [slot for slot in slots if slot.axis == k]
        agrees = all(slot.agrees for slot in mine)
        labels = tuple(label_of[id(slot)] for slot in mine)
        result.axes.append(Axis(axis.size, labels, axis.positions if agrees else None))
    return result, label_of


def _refine_together(one: Labeling, two: Labeling) -> None:
    """Split labels of axes without positions until both sides have the same sizes."""
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
            for labeling in (one, two):
                split_to(labeling, k, parts)


def _slots(one: Labeling, two: Labeling) -> list[_Slot]:
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
    """Split the slots into groups with the same ties on both sides, and all others."""
    groups: list[list[_Slot]] = []
    for slot in slots:
        group = [slot]
        for other in [g for g in groups if any(_share(slot, s) for s in g)]:
            groups.remove(other)
            group = other + group
        groups.append(group)
    kept = [group for group in groups if _has_same_ties(group)]
    return kept, [slot for group in groups if not _has_same_ties(group) for slot in group]


def _share(one: _Slot, two: _Slot) -> bool:
    return bool(set(one.left) & set(two.left)) or bool(set(one.right) & set(two.right))


def _has_same_ties(group: list[_Slot]) -> bool:
    return all(s.agrees and s.left == group[0].left and s.right == group[0].right for s in group)


def _entries_of(labeling: Labeling, side: int, merged: list[_Slot]) -> Entries:
    labels = [x for x in labeling.sizes if any(x in (s.left, s.right)[side] for s in merged)]
    coordinates = []
    for slot in merged:
        axis = labeling.axes[slot.axis]
        if slot.agrees:
            axis = Axis(slot.size, (slot.left, slot.right)[side])
        coordinates.append(places(axis, tuple(labels), labeling.sizes))
    return Entries(set(labels), tuple(labeling.sizes[x] for x in labels), coordinates)
