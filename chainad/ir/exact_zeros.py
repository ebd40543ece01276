"""Products of arrays with exact zeros, which can be traced like NumPy's own.

What a selection does not use has an exact zero in its local Jacobian. An exact zero times anything
is an exact zero, nan and infinity included. A mask has zeros where an array has exact zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from chainad.ir.array_functions import is_ndarray, is_traced, place
from chainad.ir.positions import positions

Array = npt.NDArray[Any]


def is_finite(arrays: Iterable[Any]) -> bool:
    """Return whether some arrays have neither nan nor infinity, nor squares that overflow."""
    # The quickest sum, and one that never warns.
    return all(x is None or isfinite(np.vdot(x, x).real) for x in arrays)


def sum_of_squares(*arrays: Any) -> float:
    """Return a number that is finite only if all elements of some arrays are.

    It is 0 of what is traced: what is recorded is looked at in each replay.
    """
    if any(map(is_traced, arrays)):
        return 0.0
    # Sums of Python's numbers never warn.
    return sum([float(np.vdot(x, x).real) for x in arrays], 0.0)


def masked_matmul(a: Array, b: Array, mask_a: Array, mask_b: Array) -> Array:
    """Return the matrix product of arrays of one axis or more, in which exact zeros count as zero.

    >>> x, y = np.array([1.0, 0.0]), np.array([3.0, np.nan])
    >>> float(masked_matmul(x, y, np.array([1, 0]), np.ones(2)))
    3.0
    """
    args = (a, b, mask_a, mask_b)
    for x in args:
        if is_traced(x):
            kind: Any = type(x)
            traced: Array = kind.__array_function__(x, masked_matmul, (kind,), args, {})
            return traced
    with np.errstate(all="ignore"):
        found: Array = np.matmul(a, b)
        if np.isfinite(found).all():
            return found
        left, mask_left = (x[None] if x.ndim == 1 else x for x in (a, mask_a))
        right, mask_right = (x[:, None] if x.ndim == 1 else x for x in (b, mask_b))
        is_finite = np.isfinite(left).all(axis=(*range(left.ndim - 2), -2))
        is_finite &= np.isfinite(right).all(axis=(*range(right.ndim - 2), -1))
        total = np.matmul(left[..., is_finite], right[..., is_finite, :])
        for k in np.flatnonzero(~is_finite):
            is_zero = (mask_left[..., k, None] == 0) | (mask_right[..., None, k, :] == 0)
            term = left[..., k, None] * right[..., None, k, :]
            total = total + np.where(is_zero, 0.0, term)
        result: Array = total.reshape(found.shape)
        return result


def masked_jvp(operator: Any, tangents: Array, mask: Array) -> Array:
    """Return `operator.jvp(tangents)`, applied to those that are not exact zeros throughout."""
    return _applied(operator.jvp, tangents, mask, -2, operator.n_out)


def masked_vjp(adjoints: Array, operator: Any, mask: Array) -> Array:
    """Return `operator.vjp(adjoints)`, applied to those that are not exact zeros throughout."""
    return _applied(operator.vjp, adjoints, mask, -1, operator.n_in)


def _applied(
    apply: Callable[[Array], Array], block: Array, mask: Array, axis: int, size: int
) -> Array:
    """Return what an operator makes of vectors along an axis, of the new length `size`."""
    shape = [*block.shape]
    shape[axis] = size
    is_any = any_along(mask, axis, tuple(shape))
    if not is_ndarray(block) or not is_ndarray(mask):
        return np.where(np.equal(is_any, 0), 0.0, apply(block))
    # LAPACK may refuse nan, also where nothing depends on it.
    across = block.ndim + (-1 if axis == -2 else -2)
    kept = np.flatnonzero(mask.any(axis=tuple(k for k in range(block.ndim) if k != across)))
    if not kept.size:
        return np.zeros(shape, block.dtype)
    some = apply(block.take(kept, across))
    found = place(some, across, positions(kept), shape[across])
    return np.where(is_any == 0, 0.0, found)


def any_along(mask: Array, axis: int, shape: tuple[int, ...]) -> Array:
    """Return a mask of some shape: whether a mask has anything along one axis.

    >>> any_along(np.array([[0, 1], [0, 0]]), -2, (3, 2))[0]
    array([0., 1.])
    """
    is_any = np.any(np.not_equal(mask, 0), axis=axis, keepdims=True)
    return np.broadcast_to(np.where(is_any, 1.0, 0.0), shape)
