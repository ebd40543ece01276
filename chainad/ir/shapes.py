"""Shapes of arrays: two that broadcast, and one with another size along an axis."""

from __future__ import annotations

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
