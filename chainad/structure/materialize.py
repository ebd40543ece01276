"""The full array of a structure, or of several that add up."""

from __future__ import annotations

from functools import lru_cache
from math import prod

from chainad.ir.ops import Broadcast, Place, Reshape
from chainad.ir.positions import Positions, positions
from chainad.structure.constructors import Ops
from chainad.structure.normal_form import Operand
from chainad.structure.structure import Structure


@lru_cache(maxsize=4096)
def to_dense(structure: Structure) -> Ops:
    """Return the ops that make the full array, of shape rows + cols, from the kept one."""
    operand = Operand(structure.stored, structure.scale)
    shape = (*structure.row_shape, *structure.col_shape)
    sizes = dict(enumerate(structure.sizes))
    axes = (*structure.rows, *structure.cols)
    labels = [x for axis in axes for x in axis.labels]
    operand.fill()
    if len(labels) == len(sizes) and not structure.has_positions:
        operand.spread(labels, sizes)
        if len(operand.labels) != len(labels):
            operand.ops.append(Broadcast(tuple(sizes[x] for x in labels)))
        if tuple(sizes[x] for x in labels) != shape:
            operand.ops.append(Reshape(shape))
        return tuple(operand.ops)
    operand.bring_to([], list(sizes), sizes)
    operand.ops.append(Place(0, flat_places(structure), prod(shape)))
    operand.ops.append(Reshape(shape))
    return tuple(operand.ops)


def flat_places(structure: Structure) -> Positions:
    """Return where the entries lie in the full array, row-major, in label order."""
    rows, cols = structure.entries()
    return positions(rows * structure.matrix_shape[1] + cols)


@lru_cache(maxsize=4096)
def to_vector(structure: Structure, repeated: bool = False) -> Ops:
    """Return the ops that make one element per entry, in label order; a scale stays 0-d.

    The entries are those that `Structure.entries` lists; `repeated`: a scale is, too.
    """
    operand = Operand(structure.stored, structure.scale)
    operand.fill()
    if structure.scale is None or repeated:
        sizes = dict(enumerate(structure.sizes))
        operand.bring_to([], list(sizes), sizes)
    return tuple(operand.ops)
