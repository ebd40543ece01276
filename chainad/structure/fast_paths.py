"""Numbers and strips: products and sums that take no spelling out of labels.

A number is a Jacobian of one entry, a strip one whose entries lie along a single axis. Functions of
scalars have hundreds of them, each at other places: what is found here is what the labels would
say, in a tenth of the time.
"""

from __future__ import annotations

from functools import lru_cache

from chainad.ir.ops import Broadcast, Full, Place, Reshape, Scale
from chainad.ir.positions import Positions, as_array, positions
from chainad.structure.build import Ops
from chainad.structure.structure import Axis, Structure

# Strips of more entries are added up by NumPy.
MOST = 64

Places = tuple[int, ...]


def is_number(structure: Structure) -> bool:
    """Return whether a Jacobian is one entry, all of it."""
    return structure.action is None and meets_at_one((*structure.rows, *structure.cols))


def meets_at_one(axes: tuple[Axis, ...]) -> bool:
    """Return whether some axes have one place altogether."""
    return all(axis.size == 1 and not axis.labels and axis.positions is None for axis in axes)


def times_number(number: Structure, other: Structure) -> tuple[float | None, int, Ops]:
    """Return scale, multiplications and last ops of a number times another Jacobian."""
    if number.scale is not None and other.scale is not None:
        return number.scale * other.scale, 0, ()
    if number.scale is None and other.scale is None:
        return None, other.count, ()
    factor = number.scale if other.scale is None else other.scale
    assert factor is not None
    count = max(1, other.count)
    after = () if factor == 1 else (Scale(factor),)
    return None, 0 if abs(factor) == 1 else count, after


@lru_cache(maxsize=65536)
def strip_of(structure: Structure) -> tuple[int, Places] | None:
    """Return the axis of a strip, rows counted first, and its places there; None if it is none."""
    if structure.action is not None or len(structure.sizes) > 1:
        return None
    if not 0 < structure.nonzeros <= MOST:
        return None
    axes = (*structure.rows, *structure.cols)
    found = [k for k, axis in enumerate(axes) if axis.size != 1]
    if len(found) != 1 or not all(meets_at_one((axis,)) for axis in axes if axis.size == 1):
        return None
    axis = axes[found[0]]
    where = range(axis.size) if axis.positions is None else axis.positions
    return found[0], tuple(as_array(where).tolist())


def union_of(
    one: Structure, two: Structure
) -> tuple[tuple[Axis, ...], int, list[Positions]] | None:
    """Return the axes of the sum of two strips, its count, and where each lies on it."""
    left, right = strip_of(one), strip_of(two)
    if left is None or right is None or left[0] != right[0]:
        return None
    visited = sorted({*left[1], *right[1]})
    number = {place: k for k, place in enumerate(visited)}
    where = [positions([number[place] for place in places]) for _, places in (left, right)]
    axes = [*one.rows, *one.cols]
    size, found = axes[left[0]].size, positions(visited)
    axes[left[0]] = Axis(size, (0,), None if found == range(size) else found)
    return tuple(axes), len(visited), where


def placed(strip: Structure, where: Positions, count: int) -> Ops:
    """Return the ops that put the array of a strip at some of `count` places."""
    ops: list[Full | Reshape | Broadcast | Place] = []
    if strip.scale is not None:
        ops.append(Full(strip.scale))
    if not strip.stored:
        ops.append(Reshape((1,)))
        if strip.nonzeros > 1:
            ops.append(Broadcast((strip.nonzeros,)))
    if where != range(count):
        ops.append(Place(0, where, count))
    return tuple(ops)
