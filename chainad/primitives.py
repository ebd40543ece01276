"""The few array functions that programs need and NumPy lacks; all can be traced like NumPy's own.

They follow NEP 18: an argument with `__array_function__` that is no ndarray takes over.
"""

from __future__ import annotations

from functools import lru_cache, reduce
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse

from chainad.pattern import Positions, as_array

Array = npt.NDArray[Any]


def place(x: Array, axis: int, where: Positions, size: int) -> Array:
    """Put the entries of one axis at the positions `where` of a zero axis of `size` places.

    The inverse of `np.take(x, where, axis)`. The positions must be distinct.
    """
    if not isinstance(x, np.ndarray):
        return _dispatch(place, x, axis, where, size)
    out = np.zeros((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype)
    out[(slice(None),) * axis + (key_of(where),)] = x
    return out


def segment_sum(x: Array, axis: int, segments: Positions, size: int) -> Array:
    """Add up the entries of one axis that have the same number in `segments` (below `size`)."""
    if not isinstance(x, np.ndarray):
        return _dispatch(segment_sum, x, axis, segments, size)
    front = np.moveaxis(x, axis, 0)
    count = len(segments)
    rows = np.ascontiguousarray(front).reshape(count, prod(front.shape[1:]))
    total = sparse_dot(np.ones(count, x.dtype), segments, range(count), size, rows)
    return np.moveaxis(total.reshape(size, *front.shape[1:]), 0, axis)


def add_at(x: Array, axis: int, where: Positions, y: Array) -> Array:
    """Return x with y added to its entries at the distinct positions `where` of one axis."""
    for array in (x, y):
        if takes_over(array):
            return x + place(y, axis, where, x.shape[axis])
    out = np.array(x, dtype=np.result_type(x, y))
    out[(slice(None),) * axis + (key_of(where),)] += y
    return out


def scatter(positions: tuple[Positions, ...], size: int, covers: bool, *vectors: Array) -> Array:
    """Put vectors, or single numbers, at positions of one vector; what meets is added up.

    `covers` says that nothing meets, and that every place is taken.
    """
    if any(takes_over(vector) for vector in vectors):
        spread = [np.broadcast_to(x, len(p)) for x, p in zip(vectors, positions, strict=True)]
        terms = [place(x, 0, p, size) for x, p in zip(spread, positions, strict=True)]
        return reduce(np.add, terms)
    out = (np.empty if covers else np.zeros)(size, np.result_type(*vectors))
    for where, vector in zip(positions, vectors, strict=True):
        if covers:
            out[key_of(where)] = vector
        else:
            out[key_of(where)] += vector
    return out


def sparse_dot(values: Array, rows: Positions, cols: Positions, size: int, x: Array) -> Array:
    """Return the product of a sparse matrix and x, of shape (number of columns, n).

    The matrix has `values[k]` in row `rows[k]`, of `size`, and column `cols[k]`.
    """
    for array in (values, x):
        if takes_over(array):
            kind: Any = type(array)
            args = (values, rows, cols, size, x)
            found: Array = kind.__array_function__(array, sparse_dot, (kind,), args, {})
            return found
    order, indices, indptr = _compressed(rows, cols, size)
    data = values if order is None else values[order]
    matrix = scipy.sparse.csr_array((data, indices, indptr), shape=(size, x.shape[0]))
    result: Array = matrix @ x
    return result


@lru_cache(maxsize=256)
def _compressed(rows: Positions, cols: Positions, size: int) -> tuple[Array | None, Array, Array]:
    """Return the order of the entries along the rows (None: as they are), and their layout."""
    numbers, columns = as_array(rows), as_array(cols)
    order = None if np.all(np.diff(numbers) >= 0) else np.argsort(numbers, kind="stable")
    indptr = np.concatenate([[0], np.cumsum(np.bincount(numbers, minlength=size))])
    return order, columns if order is None else columns[order], indptr


def key_of(where: Positions) -> slice | Array:
    """Return what indexes one axis at `where`: a slice if it can be."""
    if not isinstance(where, range):
        return as_array(where)
    stop: int | None = where.start + where.step * len(where)
    if stop is not None and stop < 0:  # a descending slice down to place 0 has no stop
        stop = None
    return slice(where.start, stop, where.step)


def takes_over(array: Any) -> bool:
    """Return whether an argument is no plain array or number, but something that is traced."""
    return not isinstance(array, np.ndarray) and hasattr(type(array), "__array_function__")


def _dispatch(function: Any, x: Any, *args: Any) -> Any:
    if not hasattr(type(x), "__array_function__"):
        return function(np.asarray(x), *args)
    return x.__array_function__(function, (type(x),), (x, *args), {})
