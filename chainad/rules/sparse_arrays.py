"""Sparse arrays with traced entries at constant places, under the operators of SciPy's.

What moves entries and computes none (indexing, joining, the constructors) is done by SciPy itself,
on arrays whose entries are their own numbers: where these go, the traced entries go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
import scipy.sparse

from chainad.errors import TraceError
from chainad.ir.array_functions import is_ndarray, is_traced, segment_sum, sparse_dot
from chainad.ir.positions import Integers, positions
from chainad.ir.source_lines import here

# In these formats entries stand along rows, or along columns, and each place has one.
_COMPRESSED = {"csr": 0, "csc": 1}


class SparseArray:
    """A sparse array with `entries[k]` at row `rows[k]`, column `cols[k]`.

    Attributes
    ----------
    entries : traced array
        What they are.
    rows, cols : ndarray of int
        Their places.
    shape : tuple of int
        How many rows and columns there are.
    kind : type
        The class of SciPy's that it stands for, such as `scipy.sparse.csr_array`.
    """

    # NumPy's arrays leave operators to this class.
    __array_ufunc__ = None
    ndim = 2

    def __init__(
        self, entries: Any, rows: Integers, cols: Integers, shape: tuple[int, ...], kind: type
    ) -> None:
        self.entries, self.rows, self.cols, self.kind = entries, rows, cols, kind
        self.shape = (int(shape[0]), int(shape[1]))

    @classmethod
    def of(cls, value: Any) -> SparseArray:
        """Return a sparse array of SciPy's, or one of this class, as one of this class."""
        if isinstance(value, SparseArray):
            return value
        if not scipy.sparse.issparse(value):
            raise TraceError(
                f"{here()}a dense array became sparse by which of its entries are zero, which has"
                " no derivative; give the places: chainad.scipy.sparse.csr_array((data, (rows,"
                " cols)), shape=shape)"
            )
        # The user's entries, not a copy, so that a compiled function sees them change.
        entries = value.tocoo(copy=False)
        return arranged(entries.data, *_places(entries), value.shape, type(value))

    # ------------------------------------------------------------ attributes

    @property
    def dtype(self) -> np.dtype[Any]:
        found: np.dtype[Any] = self.entries.dtype
        return found

    @property
    def format(self) -> str:
        found: str = self.kind.__name__.split("_")[0]
        return found

    @property
    def is_matrix(self) -> bool:
        """Whether * is the product of matrices, and sums keep their axis."""
        return issubclass(self.kind, scipy.sparse.spmatrix)

    @property
    def nnz(self) -> int:
        return len(self.rows)

    size = nnz

    @property
    def data(self) -> Any:
        if self.format not in ("csr", "csc", "coo"):
            self._refuse("data")
        return self.entries

    @property
    def T(self) -> SparseArray:
        other = {"csr": "csc", "csc": "csr"}.get(self.format, self.format)
        shape = self.shape[::-1]
        return SparseArray(self.entries, self.cols, self.rows, shape, self._kind_of(other))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if self.format in _COMPRESSED and name in ("indices", "indptr"):
            return getattr(self.numbered(), name)
        if self.format == "coo" and name in ("row", "col", "coords"):
            return {"row": self.rows, "col": self.cols, "coords": (self.rows, self.cols)}[name]
        if not hasattr(self.kind, name):
            raise AttributeError(f"{self.kind.__name__!r} object has no attribute {name!r}")
        return self._refuse(name)

    def _refuse(self, name: str) -> NoReturn:
        raise TraceError(
            f"{here()}.{name} of a sparse array with traced entries is not there; A.data of a"
            " csr_array or coo_array and A.toarray() are traced arrays, and"
            " chainad.stop_gradient(A) is SciPy's own"
        )

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TraceError(
            f"{here()}entries of a sparse array with traced entries cannot be set; give all of"
            " them at once: chainad.scipy.sparse.csr_array((data, (rows, cols)), shape=shape)"
        )

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        raise TraceError(
            f"{here()}{getattr(function, '__name__', function)} takes no sparse arrays with traced"
            " entries; use their operators and methods, or A.toarray()"
        )

    def __repr__(self) -> str:
        return f"<{self.kind.__name__} of shape {self.shape} with {self.nnz} traced entries>"

    # ------------------------------------------------------------ conversions

    def asformat(self, format: str | None, copy: bool = False) -> SparseArray:
        kind = self.kind if format is None else self._kind_of(format)
        return arranged(self.entries, self.rows, self.cols, self.shape, kind)

    def _kind_of(self, format: str) -> type:
        suffix = "matrix" if self.is_matrix else "array"
        found: type = getattr(scipy.sparse, f"{format}_{suffix}")
        return found

    def tocoo(self, copy: bool = False) -> SparseArray:
        return self.asformat("coo")

    def tocsr(self, copy: bool = False) -> SparseArray:
        return self.asformat("csr")

    def tocsc(self, copy: bool = False) -> SparseArray:
        return self.asformat("csc")

    def copy(self) -> SparseArray:
        return self

    def conjugate(self, copy: bool = True) -> SparseArray:
        return self.with_entries(np.conjugate(self.entries))

    conj = conjugate

    def astype(self, dtype: Any, casting: str = "unsafe", copy: bool = True) -> SparseArray:
        return self.with_entries(self.entries.astype(dtype))

    def toarray(self, order: Any = None, out: Any = None) -> Any:
        size = self.shape[0] * self.shape[1]
        places = positions(self.rows * self.shape[1] + self.cols)
        return np.reshape(segment_sum(self.entries, 0, places, size), self.shape)

    todense = toarray

    def plain(self, data: Any) -> Any:
        """Return the sparse array of SciPy's with these entries."""
        entries = scipy.sparse.coo_array((data, (self.rows, self.cols)), shape=self.shape)
        return self.kind(entries)

    def with_entries(self, data: Any) -> SparseArray:
        return SparseArray(data, self.rows, self.cols, self.shape, self.kind)

    def numbered(self) -> Any:
        """Return the array of SciPy's whose entries are 1, 2, ..., as the data are."""
        return self.plain(np.arange(1.0, self.nnz + 1))

    def _rearranged(self, function: Callable[[Any], Any]) -> Any:
        """Return what a function of SciPy's makes of the array, which moves entries alone."""
        one = self if self.format in _COMPRESSED else self.asformat("csr")
        one = one._with_kind(self.kind)
        return renumbered(function(one.numbered()), one.entries)

    def _with_kind(self, kind: type) -> SparseArray:
        return SparseArray(self.entries, self.rows, self.cols, self.shape, kind)

    # ---------------------------------------------------------------- moving

    def transpose(self, axes: Any = None, copy: bool = False) -> SparseArray:
        return self.T

    def __getitem__(self, key: Any) -> Any:
        return self._rearranged(lambda numbers: numbers[key])

    def diagonal(self, k: int = 0) -> Any:
        return self._rearranged(lambda numbers: numbers.diagonal(k))

    # ------------------------------------------------------------- arithmetic

    def __neg__(self) -> SparseArray:
        return self.with_entries(-self.entries)

    def __abs__(self) -> SparseArray:
        return self.with_entries(np.abs(self.entries))

    def __matmul__(self, other: Any) -> Any:
        if isinstance(other, SparseArray) or scipy.sparse.issparse(other):
            return _product(self, SparseArray.of(other))
        shape = np.shape(other)
        if shape[:1] != self.shape[1:] or len(shape) > 2:
            raise ValueError(f"matmul: shapes {self.shape} and {shape} do not fit")
        other = as_array(other)
        x = other if len(shape) == 2 else np.reshape(other, (-1, 1))
        places = positions(self.rows), positions(self.cols)
        data = self.entries if is_traced(self.entries) else self.entries.astype(x.dtype, copy=False)
        y = sparse_dot(data, *places, self.shape[0], x)
        return y if len(shape) == 2 else np.reshape(y, -1)

    def __rmatmul__(self, other: Any) -> Any:
        if scipy.sparse.issparse(other):
            return SparseArray.of(other) @ self
        y = self.T @ (np.transpose(other) if np.ndim(other) == 2 else other)
        return np.transpose(y) if np.ndim(other) == 2 else y

    def dot(self, other: Any) -> Any:
        return self * other if _is_scalar(other) else self @ other

    def multiply(self, other: Any) -> SparseArray:
        """Return the product of the entries; `other` may be sparse, dense, or a number."""
        if _is_scalar(other):
            return self.with_entries(self.entries * other)
        if isinstance(other, SparseArray) or scipy.sparse.issparse(other):
            other = SparseArray.of(other)
            return products_of_entries(lambda a, b: a.multiply(b), self, other)
        factors = np.broadcast_to(other, self.shape)[self.rows, self.cols]
        return self.with_entries(self.entries * factors)

    def __mul__(self, other: Any) -> Any:
        return self @ other if self.is_matrix and not _is_scalar(other) else self.multiply(other)

    def __rmul__(self, other: Any) -> Any:
        if self.is_matrix and not _is_scalar(other):
            return other @ self
        return self.multiply(other)

    def __truediv__(self, other: Any) -> SparseArray:
        return self.multiply(1 / other)

    def power(self, n: Any, dtype: Any = None) -> SparseArray:
        return self.asformat("csr" if self.format == "coo" else None).with_entries(self.entries**n)

    def __pow__(self, n: Any) -> SparseArray:
        if not self.is_matrix:
            return self.power(n)
        if n < 1:
            return NotImplemented
        return self if n == 1 else self @ self ** (n - 1)

    def __add__(self, other: Any) -> Any:
        if _is_scalar(other) and is_zero(other):  # where sum() starts
            return self
        if not (isinstance(other, SparseArray) or scipy.sparse.issparse(other)):
            return self.toarray() + other
        other = SparseArray.of(other)
        if other.shape != self.shape:
            raise ValueError(f"shapes {self.shape} and {other.shape} do not fit")
        rows, cols = (np.concatenate(x) for x in ((self.rows, other.rows), (self.cols, other.cols)))
        kind = self.kind if self.format in _COMPRESSED else self._kind_of("csr")
        return arranged(np.concatenate([self.entries, other.entries]), rows, cols, self.shape, kind)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return self + -1 * other

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def sum(self, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
        """Return the sum of all entries, or of those along an axis."""
        if axis is None:
            return np.sum(self.entries)
        along = axis % 2
        places = positions((self.cols, self.rows)[along])
        total = segment_sum(self.entries, 0, places, self.shape[1 - along])
        return np.expand_dims(total, along) if self.is_matrix else total


def _is_scalar(value: Any) -> bool:
    return not isinstance(value, SparseArray) and np.ndim(value) == 0


def as_array(value: Any) -> Any:
    """Return an array, traced if it is, or if a traced function has filled it with such values."""
    if is_ndarray(value) and getattr(value, "is_traced", False):
        return np.reshape(value, value.shape)
    return value if is_traced(value) else np.asarray(value)


def is_zero(value: Any) -> bool:
    """Return whether a number is a plain zero."""
    return not is_traced(value) and value == 0


def _places(entries: Any) -> tuple[Integers, Integers]:
    """Return the places of an array in the coordinate format."""
    rows, cols = (np.asarray(x, np.int64) for x in entries.coords)
    return rows, cols


def arranged(
    data: Any, rows: Integers, cols: Integers, shape: tuple[int, ...], kind: type
) -> SparseArray:
    """Return the array of a kind with these entries, which may be in any order.

    Compressed formats have them along their axis, those of one place added.
    """
    axis = _COMPRESSED.get(kind.__name__.split("_")[0])
    if axis is None:
        return SparseArray(data, rows, cols, shape, kind)
    place = rows * shape[1] + cols if axis == 0 else cols * shape[0] + rows
    if np.all(np.diff(place) > 0):
        return SparseArray(data, rows, cols, shape, kind)
    unique, first, inverse = np.unique(place, return_index=True, return_inverse=True)
    if len(unique) == len(place):
        data = data[first]
    else:
        data = segment_sum(data, 0, positions(inverse), len(unique))
    return SparseArray(data, rows[first], cols[first], shape, kind)


def renumbered(found: Any, data: Any) -> Any:
    """Return an array whose entries say by their numbers, from 1 on, which data are there."""
    if not scipy.sparse.issparse(found):  # dense; 0 where there is no entry
        numbers = np.asarray(found, np.int64)
        padded = np.concatenate([np.zeros(1, data.dtype), data])
        return padded[int(numbers)] if numbers.ndim == 0 else padded[numbers]
    entries = found.tocoo()
    if len(entries.shape) != 2:
        raise TraceError(
            f"{here()}sparse arrays of one axis with traced entries are not there; keep the axis:"
            " A[[i]], A[:, [j]], or use A.toarray()"
        )
    numbers = entries.data.astype(np.int64) - 1
    is_all = len(numbers) == data.shape[0] and np.array_equal(numbers, np.arange(len(numbers)))
    moved = data if is_all else data[numbers]
    return arranged(moved, *_places(entries), found.shape, type(found))


class Numbering:
    """Numbers in the places of entries, one after the other: what of, and where they stand."""

    def __init__(self) -> None:
        self.parts: list[Any] = []
        self.count = 0

    def numbers(self, value: Any) -> Any:
        """Return numbers in the place of an array, a number, or those in a nested list."""
        if value is None:
            return None
        if isinstance(value, (list, tuple)) and not all(isinstance(x, float) for x in value):
            return [self.numbers(item) for item in value]
        if isinstance(value, SparseArray) or scipy.sparse.issparse(value):
            sparse = SparseArray.of(value)
            if sparse.format not in _COMPRESSED:
                sparse = sparse.asformat("csr")
            return sparse.plain(self._next(sparse.entries, sparse.nnz))
        value = as_array(value)
        return np.reshape(self._next(np.reshape(value, -1), int(np.size(value))), np.shape(value))

    def _next(self, data: Any, count: int) -> Any:
        self.parts.append(data)
        self.count += count
        return np.arange(self.count - count + 1.0, self.count + 1)

    @property
    def data(self) -> Any:
        return np.concatenate(self.parts)


def products_of_entries(
    function: Callable[[Any, Any], Any], a: SparseArray, b: SparseArray
) -> SparseArray:
    """Return what a function of SciPy's makes of two arrays, each entry a product of two."""
    a, b = (x if x.format in _COMPRESSED else x.asformat("csr") for x in (a, b))
    ones_a, ones_b = (x.plain(np.ones(x.nnz)) for x in (a, b))
    left: SparseArray = renumbered(function(a.numbered(), ones_b), a.entries)
    right: SparseArray = renumbered(function(ones_a, b.numbered()), b.entries)
    return left.with_entries(left.entries * right.entries)


def _product(a: SparseArray, b: SparseArray) -> SparseArray:
    """Return the product of two sparse arrays: of all pairs that meet, the sums by place."""
    if a.shape[1] != b.shape[0]:
        raise ValueError(f"matmul: shapes {a.shape} and {b.shape} do not fit")
    b = b.asformat("csr")
    counts = np.bincount(b.rows, minlength=b.shape[0])
    starts = np.cumsum(counts) - counts
    repeats = counts[a.cols]
    of_a = np.repeat(np.arange(a.nnz), repeats)
    ends = np.cumsum(repeats)
    of_b = np.arange(len(of_a)) - np.repeat(ends - repeats - starts[a.cols], repeats)
    kind = a.kind if a.format in _COMPRESSED else a._kind_of("csr")
    data = a.entries[of_a] * b.entries[of_b]
    return arranged(data, a.rows[of_a], b.cols[of_b], (a.shape[0], b.shape[1]), kind)
