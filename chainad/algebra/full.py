"""The full array of a structure."""

from __future__ import annotations

from functools import lru_cache
from math import prod

from chainad.algebra.build import Kernels
from chainad.kernels import Broadcast, Place, Reshape
from chainad.pattern import positions
from chainad.spelling import Operand
from chainad.structure import Structure


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
        operand.spread(spelled, sizes)
        if len(operand.labels) != len(spelled):
            operand.kernels.append(Broadcast(tuple(sizes[x] for x in spelled)))
        if tuple(sizes[x] for x in spelled) != shape:
            operand.kernels.append(Reshape(shape))
        return tuple(operand.kernels)
    rows, cols = structure.entries()
    where = positions(rows * structure.matrix_shape[1] + cols)
    operand.bring_to([], list(sizes), sizes)
    operand.kernels.append(Place(0, where, prod(shape)))
    operand.kernels.append(Reshape(shape))
    return tuple(operand.kernels)
