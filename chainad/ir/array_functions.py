"""The few array functions that programs need and NumPy lacks; all can be traced like NumPy's own.

They follow NEP 18: an argument with `__array_function__` that is no ndarray takes over.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, reduce
from math import prod
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt
import scipy.sparse

from chainad.ir.positions import Positions, as_array, lattice
from chainad.ir.shapes import resized, symmetric_bands
from chainad.ir.strides import StridedCopy, strided_copies, strided_view, view_at

Array = npt.NDArray[Any]


def take(x: Array, axis: int, indexer: slice | Array) -> Array:
    """Return the entries of one axis at what `indexer_of` returns of positions."""
    return x[(slice(None),) * axis + (indexer,)]


def is_ndarray(x: Any) -> TypeGuard[Array]:
    """Return whether x is an array of NumPy's: isinstance says so of traced arrays, too."""
    return issubclass(type(x), np.ndarray)


def place(x: Array, axis: int, where: Positions, size: int) -> Array:
    """Put the entries of one axis at the positions `where` of a zero axis of `size` places.

    The inverse of `np.take(x, where, axis)`. The positions must be distinct.
    """
    if not is_ndarray(x):
        return _dispatch(place, x, axis, where, size)  # type: ignore[no-any-return]
    out = np.zeros((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype)
    place_into(out, axis, where, x)
    return out


def place_into(out: Array, axis: int, where: Positions, x: Array) -> None:
    """Overwrite the entries of one axis of a row-major array at distinct positions."""
    target = view_at(out, axis, where)
    if target is None:
        out[(slice(None),) * axis + (indexer_of(where),)] = x
    else:
        np.copyto(target, x.reshape(target.shape))


def segment_sum(x: Array, axis: int, segments: Positions, size: int) -> Array:
    """Add up the entries of one axis that have the same id in `segments` (below `size`)."""
    if not is_ndarray(x):
        return _dispatch(segment_sum, x, axis, segments, size)  # type: ignore[no-any-return]
    if x.ndim == 1 and x.dtype == float and x.size:  # which counts integers if there are none
        return np.bincount(as_array(segments), x, size)
    front = np.moveaxis(x, axis, 0)
    count = len(segments)
    rows = np.ascontiguousarray(front).reshape(count, prod(front.shape[1:]))
    total = sparse_dot(np.ones(count, x.dtype), segments, range(count), size, rows)
    return np.moveaxis(total.reshape(size, *front.shape[1:]), 0, axis)


def add_at(x: Array, axis: int, where: Positions, y: Array) -> Array:
    """Return x with y added to its entries at the distinct positions `where` of one axis."""
    for array in (x, y):
        if is_traced(array):
            return x + place(y, axis, where, x.shape[axis])
    out = np.array(x, dtype=np.result_type(x, y), order="C")
    add_at_into(out, axis, where, y)
    return out


def add_at_into(out: Array, axis: int, where: Positions, y: Array) -> None:
    """Do what `add_at` does to a row-major array."""
    target = view_at(out, axis, where)
    if target is None:
        out[(slice(None),) * axis + (indexer_of(where),)] += y
    else:
        spread = np.broadcast_to(y, resized(out.shape, axis, len(where)))
        np.add(target, spread.reshape(target.shape), target)


def add_tied(x: Array, shape: tuple[int, ...], ties: tuple[int, ...], y: Array) -> Array:
    """Return x with y added to its entries where tied axes run together, x seen in `shape`.

    Axis k of x runs along axis `ties[k]` of y.
    """
    sizes, steps = _tied(shape, ties)
    if is_traced(x) or is_traced(y):
        flat = np.broadcast_to(y, sizes).reshape((prod(sizes),))
        where = lattice(0, steps, sizes)
        return add_at(x.reshape((prod(shape),)), 0, where, flat).reshape(x.shape)
    out = np.array(x, dtype=np.result_type(x, y), order="C")
    add_tied_into(out, shape, ties, y)
    return out


def add_tied_into(out: Array, shape: tuple[int, ...], ties: tuple[int, ...], y: Array) -> None:
    """Do what `add_tied` does to a row-major array."""
    sizes, steps = _tied(shape, ties)
    width = out.itemsize
    at = np.ndarray(sizes, out.dtype, out, 0, tuple([width * step for step in steps]))
    np.add(at, y, at)


@lru_cache(maxsize=1024)
def _tied(shape: tuple[int, ...], ties: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the sizes of the axes that run together, and their steps in a row-major array."""
    sizes, steps, step = [0] * (max(ties, default=-1) + 1), [0] * (max(ties, default=-1) + 1), 1
    for size, tie in zip(reversed(shape), reversed(ties), strict=True):
        sizes[tie] = size
        steps[tie] += step
        step *= size
    return tuple(sizes), tuple(steps)


def scatter(
    positions: tuple[Positions, ...],
    size: int,
    covers: bool,
    signs: tuple[tuple[int, ...], ...],
    *vectors: Array,
) -> Array:
    """Put sums of vectors, or of scalars, at positions of one vector; overlaps are added.

    `signs` has a tuple for every region, +1 or -1 for each of its terms; empty: one term each.
    `covers` says that nothing overlaps, and that every place is taken.
    """
    if any(is_traced(vector) for vector in vectors):
        summed = (_sum(signs_, terms) for signs_, terms in _regions(positions, signs, vectors))
        spread = [np.broadcast_to(x, len(p)) for x, p in zip(summed, positions, strict=True)]
        terms = [place(x, 0, p, size) for x, p in zip(spread, positions, strict=True)]
        return reduce(np.add, terms)
    out = np.empty(size, np.result_type(*vectors))
    scatter_into(out, positions, covers, signs, *vectors)
    return out


def scatter_into(
    out: Array,
    positions: tuple[Positions, ...],
    covers: bool,
    signs: tuple[tuple[int, ...], ...],
    *vectors: Array,
) -> None:
    """Do what `scatter` does, in a row-major vector that is there."""
    if not covers:
        out.fill(0)
    for where, (signs_, terms) in zip(positions, _regions(positions, signs, vectors), strict=True):
        *first, last = terms
        a = _sum(signs_[:-1], first) if first else None
        found = strided_copies(where)
        if found is None:
            place_of = as_array(where)
            out[place_of] = _accumulated(out[place_of] if not covers else None, a, last, signs_[-1])
            continue
        a, b = None if a is None else _row_major(a), _row_major(last)
        for copy in found:
            target = strided_view(out, copy.sizes, copy.target)
            before = None if covers else target
            one = None if a is None else _along(a, copy)
            _accumulated(before, one, _along(b, copy), signs_[-1], target)


def _accumulated(before: Any, a: Any, b: Array, sign: int, out: Any = None) -> Array:
    """Return before + a + sign * b, in `out` if that is given; None stands for nothing."""
    if before is not None and a is not None:
        before, a = None, np.add(before, a, out)
    a = before if a is None else a
    found: Array
    if a is not None:
        found = np.add(a, b, out) if sign == 1 else np.subtract(a, b, out)
    else:
        found = np.positive(b, out) if sign == 1 else np.negative(b, out)
    return found


def _regions(
    positions: tuple[Positions, ...], signs: tuple[tuple[int, ...], ...], vectors: Sequence[Array]
) -> list[tuple[tuple[int, ...], Sequence[Array]]]:
    """Return signs and terms of every region."""
    found, start = [], 0
    for each in signs or ((1,),) * len(positions):
        found.append((each, vectors[start : start + len(each)]))
        start += len(each)
    return found


def _sum(signs: tuple[int, ...], terms: Sequence[Array]) -> Array:
    total = terms[0] if signs[0] == 1 else np.negative(terms[0])
    for sign, term in zip(signs[1:], terms[1:], strict=True):
        total = np.add(total, term) if sign == 1 else np.subtract(total, term)
    return total


def _row_major(x: Array) -> Array:
    return np.reshape(x, ()) if np.size(x) == 1 else np.ascontiguousarray(x)


def _along(x: Array, copy: StridedCopy) -> Array:
    """Return what a copy takes from a vector, or a 0-d array as it is."""
    return x if x.ndim == 0 else strided_view(x, copy.sizes, copy.source)


def symmetric_matmul(x: Array, y: Array, blocks: int, out: Array | None = None) -> Array:
    """Return the product of two plain matrices that is symmetric, up to rounding.

    Every band of rows is multiplied up to the diagonal; what is beyond is copied.
    """
    if out is None:
        out = np.empty((len(x), len(x)), np.result_type(x, y))
    for start, stop in symmetric_bands(len(x), blocks):
        np.matmul(x[start:stop], y[:, :stop], out[start:stop, :stop])
        out[:start, start:stop] = out[start:stop, :start].T
    return out


def pair_matmul(x: Array, y: Array, out: Array | None = None) -> Array:
    """Return rows of pairs, (m, n, 2), times 2 x 2 matrices, (n, 2, 2); of plain arrays.

    Of the matrices [[p, -q], [q, p]] it is one complex product, by p - iq.
    """
    if out is None:
        out = np.empty(x.shape, np.result_type(x, y))
    p, q = y[:, 0, 0], y[:, 1, 0]
    has_one_dtype = x.dtype == y.dtype == out.dtype and out.dtype.char in "fd"
    is_complex = np.array_equal(p, y[:, 1, 1]) and np.array_equal(-q, y[:, 0, 1])
    if is_complex and has_one_dtype and out.flags.c_contiguous:
        factors = np.empty_like(p, np.result_type(p, np.complex64))
        factors.real = p
        np.negative(q, factors.imag)
        np.multiply(join_pairs(x), factors, join_pairs(out))
    else:
        np.matmul(x.transpose(1, 0, 2), y, out.transpose(1, 0, 2))
    return out


def sparse_dot(values: Array, rows: Positions, cols: Positions, size: int, x: Array) -> Array:
    """Return the product of a sparse matrix and x, of shape (number of columns, n).

    The matrix has `values[k]` in row `rows[k]`, of `size`, and column `cols[k]`.
    """
    for array in (values, x):
        if is_traced(array):
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


def indexer_of(where: Positions) -> slice | Array:
    """Return the index of one axis at `where`: a slice if possible, else an array."""
    if not isinstance(where, range):
        return as_array(where)
    stop: int | None = where.start + where.step * len(where)
    if stop is not None and stop < 0:  # a descending slice down to place 0 has no stop
        stop = None
    return slice(where.start, stop, where.step)


def join_pairs(pairs: Array) -> Array:
    """Return the complex numbers whose real and imaginary parts are the last axis, of size 2."""
    if is_ndarray(pairs) and pairs.flags.c_contiguous and pairs.dtype.char in "fd":
        found: Array = pairs.view(np.result_type(pairs, np.complex64))[..., 0]
        return found
    return pairs[..., 0] + 1j * pairs[..., 1]


def split_pairs(x: Array) -> Array:
    """Return real and imaginary parts as a new last axis; the inverse of `join_pairs`."""
    if is_ndarray(x) and x.flags.c_contiguous and x.dtype.char in "FD":
        return x.view(x.real.dtype).reshape(*x.shape, 2)
    return np.stack([np.real(x), np.imag(x)], -1)


def is_traced(x: Any) -> bool:
    """Return whether x is an array that NumPy dispatches its functions to (NEP 18)."""
    return hasattr(type(x), "__array_function__") and not is_ndarray(x)


def _dispatch(function: Any, x: Any, *args: Any) -> Any:
    if not hasattr(type(x), "__array_function__"):
        return function(np.asarray(x), *args)
    return x.__array_function__(function, (type(x),), (x, *args), {})
