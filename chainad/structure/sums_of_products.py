"""What structured Jacobians have in common, whatever library the arrays are of that they store."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, Generic, Self, TypeVar

from chainad.errors import ChainadError, InputError
from chainad.ir.ops import Take, Transpose
from chainad.ir.positions import as_array
from chainad.structure.constructors import arrange
from chainad.structure.structure import Structure


@dataclass(frozen=True, eq=False, repr=False)
class StoredFactor:
    """A structure and its stored array.

    Attributes
    ----------
    structure : Structure
        Which axes are tied, and which labels the array has.
    array : array or None
        The stored array, of shape `structure.stored_shape`: the diagonal of a diagonal matrix,
        blocks of shape (batch, m, n); None if `structure.scale` says it all.
    dtype : dtype
        That of the array, or of the scale.
    """

    structure: Structure
    array: Any
    dtype: Any

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.structure}, {self.dtype})"

    def as_matrix(self) -> Any:
        """Return the factor as a full matrix."""
        raise NotImplementedError

    @property
    def T(self) -> Self:
        """The factor with its axes in reverse order, so that rows and columns change places."""
        own, array = self.structure, self.array
        sizes = dict(enumerate(own.sizes))
        found = arrange(own.cols[::-1], own.rows[::-1], sizes, own.stored, own.scale)
        for op in found.ops:
            assert array is not None
            assert isinstance(op, (Transpose, Take)), "no label is split or merged"
            if isinstance(op, Transpose):
                array = array.transpose(op.order)
            else:
                array = array.take(as_array(op.positions), op.axis)
        return type(self)(found.structure, array, self.dtype)


F = TypeVar("F", bound=StoredFactor)


class SumOfProducts(Generic[F]):
    """A sum of `terms`, each a product of factors: an array of `shape`, `n_rows` axes of it rows.

    A class of these is made of shape, rows, terms and dtype, in this order; messages say what it
    has besides, in the words `_FULL`, `_TENSORDOT` and `_SPARSE`.
    """

    shape: tuple[int, ...]
    n_rows: int
    terms: tuple[tuple[F, ...], ...]
    dtype: Any

    _FULL: ClassVar[str]
    _TENSORDOT: ClassVar[str]
    _SPARSE: ClassVar[str]

    def __repr__(self) -> str:
        terms = " + ".join(" @ ".join(str(f.structure) for f in term) for term in self.terms)
        return f"{type(self).__name__}({self.shape}: {terms or 'zero'})"

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """Rows and columns of the Jacobian as a matrix."""
        return prod(self.shape[: self.n_rows]), prod(self.shape[self.n_rows :])

    @property
    def ndim(self) -> int:
        """How many axes the dense Jacobian has."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many entries the dense Jacobian has."""
        return prod(self.shape)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a Jacobian without axes has no len()")
        return self.shape[0]

    @property
    def array(self) -> Any:
        """The stored array of the only factor: a diagonal, blocks of shape (batch, m, n), ...

        Raises
        ------
        ChainadError
            If there are several terms or factors, or none that stores an array.
        """
        if len(self.terms) == 1 and len(self.terms[0]) == 1 and self.terms[0][0].array is not None:
            return self.terms[0][0].array
        raise ChainadError(
            f"{self!r} is not one array; read J.terms, or take {self._SPARSE} or {self._FULL}"
        )

    @property
    def factors(self) -> tuple[Any, ...]:
        """The factors of the only term as matrices, left one first: J = U @ V.

        Raises
        ------
        ChainadError
            If there are several terms.
        """
        if len(self.terms) != 1:
            raise ChainadError(f"{self!r} is a sum of several terms; read J.terms")
        return tuple(factor.as_matrix() for factor in self.terms[0])

    @property
    def T(self) -> Self:
        """The Jacobian with its axes in reverse order, as that of an array; it shares what it can.

        Of a matrix it is the transpose.
        """
        terms = tuple(tuple(factor.T for factor in reversed(term)) for term in self.terms)
        make: Any = type(self)
        found: Self = make(self.shape[::-1], self.ndim - self.n_rows, terms, self.dtype)
        return found

    def check_right(self, shape: tuple[int, ...]) -> None:
        """Refuse what J @ v does not take: v has one axis of x, and another one if it is many."""
        cols = self.shape[self.n_rows :]
        if len(cols) != 1:
            raise InputError(
                f"J @ v contracts the axis of x where it has one, but this is a Jacobian by an x of"
                f" shape {cols}; use {self._TENSORDOT}({self._FULL}, v, {len(cols)}), or"
                f" {self._SPARSE}, whose rows and columns are raveled"
            )
        if len(shape) not in (1, 2) or shape[:1] != cols:
            raise InputError(
                f"J @ v takes v of shape {cols} or ({cols[0]}, k), but got one of shape {shape}"
            )

    def check_left(self) -> None:
        """Refuse u @ J where J is neither a matrix nor a vector."""
        if self.ndim != 1 and (self.ndim, self.n_rows) != (2, 1):
            raise InputError(
                f"u @ J is offered for a Jacobian that is a matrix, but this one has the shape"
                f" {self.shape}; use {self._TENSORDOT}(u, {self._FULL}, {self.n_rows}), or"
                f" {self._SPARSE}, whose rows and columns are raveled"
            )
