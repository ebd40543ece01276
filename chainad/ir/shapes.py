"""Shapes of arrays: what broadcasts, another size along an axis, bands of symmetric matrices."""

from __future__ import annotations

from itertools import pairwise
from typing import TypeAlias

import numpy as np

Shape: TypeAlias = tuple[int, ...]


def broadcast_shape(one: Shape | None, two: Shape | None) -> Shape | None:
    """Return the shape that two arrays have together; None if one of theirs is not known."""
    if one is None or two is None:
        return None
    if one == two or not two:
        return one
    return np.broadcast_shapes(one, two) if one else two


def resized(shape: Shape, axis: int, size: int) -> Shape:
    """Return a shape with another size along one axis."""
    return (*shape[:axis], size, *shape[axis + 1 :])


def symmetric_bands(size: int, blocks: int) -> list[tuple[int, int]]:
    """Return first row and end of the bands of a symmetric matrix.

    Of the rows from `start` to `stop`, the columns up to `stop` say it all.
    """
    ends = [size * k // blocks for k in range(blocks + 1)]
    return [*pairwise(ends)]
