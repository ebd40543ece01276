"""Operators: local Jacobians known by their action on blocks of tangents and adjoints.

A structure with an `action` keeps no array; its slot holds an `Operator`, which a program applies
to tangents (`jvp`) or to adjoints (`vjp`), or materializes. Leading axes are batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy  # loads scipy.linalg when it is first used

from chainad.ir.array_functions import is_ndarray, is_traced
from chainad.ir.cache import cached_property

Array = npt.NDArray[Any]


class Operator:
    """A linear map from `n_in` to `n_out` scalars, of `dtype`, with leading batch axes `batch`.

    `aliases` says that what it returns may alias memory that somebody else holds; `is_pure`, that
    operators of the same arrays are the same.
    """

    aliases = False
    is_pure = True
    batch: tuple[int, ...]
    n_out: int
    n_in: int
    dtype: np.dtype[Any]

    @property
    def is_traced(self) -> bool:
        """Whether the operator holds traced arrays, so that what it returns is traced."""
        return any(map(is_traced, self._held))

    @property
    def _held(self) -> Iterable[Any]:
        """What the operator computes with."""
        return ()

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the materialized array."""
        return (*self.batch, self.n_out, self.n_in)

    def jvp(self, tangents: Any) -> Any:
        """Return the map applied to tangents of shape (batch, n_in, k): (batch, n_out, k)."""
        raise NotImplementedError

    def vjp(self, adjoints: Any) -> Any:
        """Return adjoints of shape (batch, k, n_out) times the map: (batch, k, n_in)."""
        raise NotImplementedError

    def materialize(self) -> Any:
        """Return the map as an array of shape (batch, n_out, n_in)."""
        unit = np.broadcast_to(
            np.eye(self.n_in, dtype=self.dtype), (*self.batch, *2 * (self.n_in,))
        )
        return self.jvp(unit)

    def copy(self) -> Operator:
        """Return an operator that shares no memory with the user's arrays."""
        return self

    def astype(self, dtype: Any) -> Operator:
        """Return the operator as it is: its arrays have the dtype of what they are applied to."""
        return self


@cache
def _lapack(typecode: str) -> Any:
    """Return LAPACK's LU factorization and the solve with it, without SciPy's checks."""
    return scipy.linalg.get_lapack_funcs(("getrf", "getrs"), dtype=typecode)


class Inverse(Operator):
    """The inverse of square matrices, by one factorization for all right-hand sides."""

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix
        self.batch = np.shape(matrix)[:-2]
        self.n_in = self.n_out = np.shape(matrix)[-1]
        self.dtype = matrix.dtype

    @property
    def _held(self) -> Iterable[Any]:
        return (self.matrix,)

    def _factorize(self) -> Any:
        """Return the factors of a plain matrix."""
        if self.dtype.char not in "fdFD" or not self.n_in:
            return scipy.linalg.lu_factor(self.matrix, check_finite=False)
        lu, pivots, info = _lapack(self.dtype.char)[0](self.matrix)
        if info:
            raise np.linalg.LinAlgError("Singular matrix")  # as NumPy says it
        return lu, pivots

    @cached_property
    def _factors(self) -> Any:
        return self._factorize()

    def _solve(self, right: Any, trans: int) -> Any:
        """Solve with a plain matrix, or its transpose."""
        if self.dtype != right.dtype or self.dtype.char not in "fdFD" or not right.size:
            return scipy.linalg.lu_solve(self._factors, right, trans=trans, check_finite=False)
        found, _ = _lapack(self.dtype.char)[1](*self._factors, right, trans)
        return found

    def _is_plain(self, right: Any) -> bool:
        """Return whether SciPy can solve this; else NumPy is to be asked."""
        return is_ndarray(self.matrix) and is_ndarray(right) and not self.batch

    def jvp(self, tangents: Any) -> Any:
        if self._is_plain(tangents):
            return self._solve(tangents, 0)
        return np.linalg.solve(self.matrix, tangents)

    def vjp(self, adjoints: Any) -> Any:
        if self._is_plain(adjoints):
            return self._solve(adjoints.T, 1).T
        transposed = np.matrix_transpose(self.matrix)
        return np.matrix_transpose(np.linalg.solve(transposed, np.matrix_transpose(adjoints)))

    def materialize(self) -> Any:
        return np.linalg.inv(self.matrix)

    def copy(self) -> Operator:
        return Inverse(np.array(self.matrix))


class TriangularInverse(Inverse):
    """The inverse of a triangular matrix, whose other half is zero."""

    def __init__(self, matrix: Any, lower: bool) -> None:
        super().__init__(matrix)
        self.lower = lower

    def _solve(self, right: Any, trans: int) -> Any:
        return scipy.linalg.solve_triangular(
            self.matrix, right, trans, self.lower, check_finite=False
        )

    def copy(self) -> Operator:
        return TriangularInverse(np.array(self.matrix), self.lower)


class PositiveInverse(Inverse):
    """The inverse of a symmetric positive definite matrix, by its Cholesky factor."""

    def _factorize(self) -> Any:
        return scipy.linalg.cho_factor(self.matrix, check_finite=False)

    def _solve(self, right: Any, trans: int) -> Any:
        return scipy.linalg.cho_solve(self._factors, right, check_finite=False)

    def copy(self) -> Operator:
        return PositiveInverse(np.array(self.matrix))


class RunningSum(Operator):
    """The lower triangle of ones: cumulative sums."""

    batch = ()

    def __init__(self, n: int, dtype: np.dtype[Any]) -> None:
        self.n_in = self.n_out = n
        self.dtype = dtype

    def jvp(self, tangents: Any) -> Any:
        return np.cumsum(tangents, axis=0)

    def vjp(self, adjoints: Any) -> Any:
        return np.flip(np.cumsum(np.flip(adjoints, axis=1), axis=1), axis=1)

    def materialize(self) -> Any:
        return np.tri(self.n_out, dtype=self.dtype)


class UserOperator(Operator):
    """A map given by the functions of a user; where one is missing, the map is materialized.

    `values` are what these functions take besides tangents or adjoints.
    """

    aliases = True
    batch = ()

    def __init__(
        self,
        n_out: int,
        n_in: int,
        dtype: np.dtype[Any],
        jvp: Callable[..., Any] | None,
        vjp: Callable[..., Any] | None,
        values: Sequence[Any] = (),
    ) -> None:
        assert jvp is not None or vjp is not None
        self.n_out, self.n_in, self.dtype = n_out, n_in, dtype
        self._jvp, self._vjp, self.values = jvp, vjp, values

    @property
    def _held(self) -> Iterable[Any]:
        return self.values

    def jvp(self, tangents: Any) -> Any:
        if self._jvp is None:
            return self.materialize() @ tangents
        return self._jvp(tangents, *self.values)

    def vjp(self, adjoints: Any) -> Any:
        if self._vjp is None:
            return adjoints @ self.materialize()
        return self._vjp(adjoints, *self.values)

    def materialize(self) -> Any:
        if self._jvp is not None and (self._vjp is None or self.n_in <= self.n_out):
            return self.jvp(np.eye(self.n_in, dtype=self.dtype))
        return self.vjp(np.eye(self.n_out, dtype=self.dtype))

    def copy(self) -> Operator:
        values = [x.copy() if is_ndarray(x) else x for x in self.values]
        return UserOperator(self.n_out, self.n_in, self.dtype, self._jvp, self._vjp, values)
