"""Results: the forms in which a Jacobian is returned, and what each needs of a program."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from math import prod
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse

from chainad.ir.array_functions import is_traced
from chainad.ir.cache import cached_property
from chainad.ir.positions import as_array
from chainad.structure import Layout, lay_out
from chainad.structure.structure import Structure
from chainad.structure.sums_of_products import StoredFactor, SumOfProducts

Output: TypeAlias = Literal["dense", "sparse", "structured", "operator"]

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class DenseForm:
    """A full array; its one register holds it."""

    shape: tuple[int, ...]

    width = 1

    def assemble(self, arrays: Sequence[Any], dtype: np.dtype[Any]) -> Any:
        return arrays[0]


@dataclass(frozen=True)
class SparseForm:
    """A `scipy.sparse.csr_array`; its only register holds the entries in the layout's order."""

    layout: Layout

    width = 1

    def assemble(self, arrays: Sequence[Any], dtype: np.dtype[Any]) -> scipy.sparse.csr_array:
        return _compressed(
            self._empty, self.layout, arrays[0].astype(sparse_dtype(dtype), copy=False)
        )

    @cached_property
    def _empty(self) -> scipy.sparse.csr_array:
        return _without_entries(self.layout)


@dataclass(frozen=True)
class StructuredForm:
    """A sum of products of structures; a register for every factor, None where it keeps none."""

    terms: tuple[tuple[Structure, ...], ...]
    shape: tuple[int, ...]
    n_rows: int

    @property
    def width(self) -> int:
        return sum(map(len, self.terms))

    def assemble(self, arrays: Sequence[Any], dtype: np.dtype[Any]) -> StructuredJacobian:
        given = iter(arrays)
        terms = tuple(tuple(Factor(s, next(given), dtype) for s in term) for term in self.terms)
        return StructuredJacobian(self.shape, self.n_rows, terms, dtype)


ResultForm: TypeAlias = DenseForm | SparseForm | StructuredForm


def sparse_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of a sparse matrix: SciPy has none of half precision."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def zero(output: str, rows: tuple[int, ...], cols: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """Return a Jacobian without entries, in the form `output`."""
    if output == "sparse":
        return scipy.sparse.csr_array((prod(rows), prod(cols)), dtype=sparse_dtype(dtype))
    if output == "structured":
        return StructuredJacobian((*rows, *cols), len(rows), (), dtype)
    return np.zeros((*rows, *cols), dtype)


def pattern(
    form: ResultForm | None, rows: tuple[int, ...], cols: tuple[int, ...], dtype: np.dtype[Any]
) -> scipy.sparse.csr_array:
    """Return where a sparse result has entries, as a matrix of booleans."""
    if not isinstance(form, SparseForm):
        return scipy.sparse.csr_array((prod(rows), prod(cols)), dtype=bool)
    layout = form.layout
    return _compressed(_without_entries(layout), layout, np.ones(layout.indices.size, bool))


def _without_entries(layout: Layout) -> scipy.sparse.csr_array:
    """Return a matrix that has the shape of a layout, and keeps its order."""
    parts = (np.zeros(0), layout.indices[:0], np.zeros_like(layout.indptr))
    matrix = scipy.sparse.csr_array(parts, shape=layout.shape)
    matrix.has_canonical_format = True
    return matrix


def _compressed(empty: scipy.sparse.csr_array, layout: Layout, data: Array) -> Any:
    """Return a matrix with the entries of a layout; `empty` is one without."""
    # A copy: the constructor checks anew what is known to be right, in twice the time of the rest.
    matrix = copy(empty)
    matrix.data = data
    # Index arrays are copied, too: whoever gets the matrix may change it in place.
    matrix.indices, matrix.indptr = layout.indices.copy(), layout.indptr.copy()
    return matrix


class Factor(StoredFactor):
    """A structure and its stored array, of NumPy.

    Attributes
    ----------
    structure : Structure
        Which axes are tied, and which labels the array has.
    array : ndarray or None
        The stored array, of shape `structure.stored_shape`: the diagonal of a diagonal matrix,
        blocks of shape (batch, m, n); None if `structure.scale` says it all.
    dtype : dtype
        That of the array, or of the scale.
    """

    def entries(self) -> tuple[Array, Array, Array]:
        """Return rows, columns and values of all entries."""
        structure = self.structure
        rows, cols = structure.entries()
        if self.array is None:
            return rows, cols, np.full(rows.size, structure.scale, self.dtype)
        shape = tuple(n if x in structure.stored else 1 for x, n in enumerate(structure.sizes))
        values = np.broadcast_to(self.array.reshape(shape), structure.sizes)
        return rows, cols, values.ravel()

    def tosparse(self) -> scipy.sparse.csr_array:
        """Return the factor as a sparse matrix."""
        layout = lay_out([self.structure])
        rows, _, values = self.entries()
        data = np.empty(rows.size, sparse_dtype(self.dtype))
        data[as_array(layout.places[0])] = values
        return _compressed(_without_entries(layout), layout, data)

    def toarray(self) -> Array:
        """Return the factor as a full matrix."""
        if self.array is not None and self.structure.kind == "dense":
            kept: Array = self.array.reshape(self.structure.matrix_shape)
            return kept.copy()
        rows, cols, values = self.entries()
        full = np.zeros(self.structure.matrix_shape, self.dtype)
        full[rows, cols] = values
        return full

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        return _converted(self.toarray(), dtype, copy)

    def as_matrix(self) -> Array:
        return self.toarray()

    def __matmul__(self, right: Array) -> Array:
        """Return the product of the factor as a matrix with `right`."""
        if self.array is not None and self.structure.kind == "dense":
            product: Array = self.array.reshape(self.structure.matrix_shape) @ right
        else:
            product = self.tosparse() @ right
        return product


@dataclass(frozen=True, eq=False, repr=False)
class StructuredJacobian(SumOfProducts[Factor]):
    """A Jacobian as its stored arrays; made by `jacobian(f, output="structured")`.

    It is a sum of `terms` (mostly one), each a product of factors: one, or two where multiplying
    them would take more room than both. Functions of NumPy take it for the dense array; only `@`
    multiplies what is stored.

    Attributes
    ----------
    shape : tuple of int
        The shape of the dense Jacobian, `f(x).shape + x.shape`.
    n_rows : int
        How many of these axes are rows, those of `f(x)`.
    terms : tuple of tuples of Factor
        Left factor first.
    dtype : dtype
        That of `f(x)`.

    Examples
    --------
    >>> import numpy as np
    >>> import chainad
    >>> J = chainad.jacobian(np.square, output="structured")(np.array([1.0, 3.0]))
    >>> J.array
    array([2., 6.])
    >>> J.toarray()
    array([[2., 0.],
           [0., 6.]])
    >>> J @ np.ones(2)
    array([2., 6.])
    """

    shape: tuple[int, ...]
    n_rows: int
    terms: tuple[tuple[Factor, ...], ...]
    dtype: np.dtype[Any]

    _FULL = "J.toarray()"
    _TENSORDOT = "np.tensordot"
    _SPARSE = "J.tosparse()"

    def tosparse(self) -> scipy.sparse.csr_array:
        """Return the Jacobian as a sparse matrix, rows and columns raveled."""
        total = scipy.sparse.csr_array(self.matrix_shape, dtype=sparse_dtype(self.dtype))
        for term in self.terms:
            product = term[0].tosparse()
            for factor in term[1:]:
                product = product @ factor.tosparse()
            total = total + product
        total.sort_indices()
        return total

    def __matmul__(self, right: Any) -> Any:
        """Return J @ right, for a Jacobian by an x of one axis, which is contracted.

        Parameters
        ----------
        right : array_like or sparse array
            Of shape (x.size,) or (x.size, k).

        Raises
        ------
        InputError
            If x has another number of axes, or `right` another shape.
        """
        if scipy.sparse.issparse(right) and (self.ndim, self.n_rows) == (2, 1):
            return self.tosparse() @ right
        if is_traced(right) or not isinstance(right, _ARRAYS):
            return NotImplemented
        if (self.ndim, self.n_rows) == (1, 1):
            return self.T @ right  # a vector has but one axis, which is contracted
        v, rows = np.asarray(right), self.shape[: self.n_rows]
        self.check_right(v.shape)
        total = np.zeros((prod(rows), *v.shape[1:]), np.result_type(self.dtype, v))
        for term in self.terms:
            product = v
            for factor in reversed(term):
                product = factor @ product
            total += product
        return total.reshape((*rows, *v.shape[1:]))[()]

    def __rmatmul__(self, left: Any) -> Any:
        """Return left @ J, for a Jacobian that is a matrix or a vector."""
        if is_traced(left) or not isinstance(left, _ARRAYS):
            return NotImplemented
        self.check_left()
        return np.transpose(self.T @ np.transpose(left))[()]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        return _converted(self.toarray(), dtype, copy)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if "out" in kwargs:
            return NotImplemented  # nothing is written into a Jacobian
        if ufunc is np.matmul and method == "__call__" and not kwargs:
            left, right = inputs
            return self.__matmul__(right) if left is self else self.__rmatmul__(left)
        dense = [np.asarray(x) if isinstance(x, StructuredJacobian) else x for x in inputs]
        return getattr(ufunc, method)(*dense, **kwargs)

    def toarray(self) -> Array:
        """Return the Jacobian as a full array of shape `shape`."""
        full: Array = np.zeros(self.matrix_shape, self.dtype)
        for term in self.terms:
            product = term[0].toarray()
            for factor in term[1:]:
                product = product @ factor.toarray()
            full += product
        return full.reshape(self.shape)


# What `@` takes as it is; other kinds of arrays multiply by the dense Jacobian, if they do.
_ARRAYS = (np.ndarray, np.generic, list, tuple, StructuredJacobian)


def _converted(full: Array, dtype: npt.DTypeLike | None, copy: bool | None) -> Array:
    """Return a fresh array as `__array__` is to."""
    if copy is False:
        raise ValueError("a Jacobian is no array: the dense one is made, which copy=False forbids")
    return full if dtype is None else full.astype(dtype, copy=False)
