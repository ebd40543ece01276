"""Operators: local Jacobians known by their action on blocks of tangents and adjoints.

A structure with an `action` keeps no array; its slot holds an `Operator`, which a program applies
to tangents (`jvp`) or to adjoints (`vjp`), or materializes. Leading axes are batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy  # loads scipy.linalg when it is first used

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
        return (
            isinstance(self.matrix, np.ndarray) and isinstance(right, np.ndarray) and not self.batch
        )

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


class Exponential(Operator):
    """The Frechet derivative of the matrix exponential: raveled matrices to raveled matrices.

    All directions go through one scaling, one denominator and one chain of squarings.
    Source: A. Al-Mohy & N. Higham 2009, *Computing the Frechet derivative of the matrix
    exponential, with an application to condition number estimation*, algorithm 6.4.
    """

    batch = ()

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix
        self.n_in = self.n_out = np.size(matrix)
        self.dtype = matrix.dtype

    def jvp(self, tangents: Any) -> Any:
        transposed = np.reshape(np.transpose(tangents), (-1, *self.matrix.shape))
        return np.transpose(np.reshape(_frechet(self.matrix, transposed), (-1, self.n_out)))

    def vjp(self, adjoints: Any) -> Any:
        # The adjoint of the derivative at A is the derivative at A transposed.
        given = np.reshape(adjoints, (-1, *self.matrix.shape))
        return np.reshape(_frechet(np.transpose(self.matrix), given), (-1, self.n_in))

    def copy(self) -> Operator:
        return Exponential(np.array(self.matrix))


# The coefficients of the Pade approximant of degree 13, and the 1-norm up to which it is exact to
# double precision together with its derivative.
_PADE = (
    64764752532480000, 32382376266240000, 7771770303897600, 1187353796428800, 129060195264000,
    10559470521600, 670442572800, 33522128640, 1323241920, 40840800, 960960, 16380, 182, 1,
)  # fmt: skip
_THETA = 4.74


def _frechet(a: Any, e: Any) -> Any:
    """Return the derivatives of expm at a (n, n) in the directions e (count, n, n)."""
    sums, squarings = np.sum(np.abs(a), axis=0), 0
    while squarings < 64 and np.any(sums > _THETA * 2.0**squarings):
        squarings += 1
    a, e = a / 2.0**squarings, e / 2.0**squarings
    c = np.array(_PADE, dtype=float).astype(a.dtype)
    unit = np.eye(a.shape[-1], dtype=a.dtype)
    a2, m2 = a @ a, a @ e + e @ a
    a4, m4 = a2 @ a2, a2 @ m2 + m2 @ a2
    a6, m6 = a2 @ a4, a4 @ m2 + m4 @ a2
    w1, z1 = c[13] * a6 + c[11] * a4 + c[9] * a2, c[12] * a6 + c[10] * a4 + c[8] * a2
    w2 = c[7] * a6 + c[5] * a4 + c[3] * a2 + c[1] * unit
    z2 = c[6] * a6 + c[4] * a4 + c[2] * a2 + c[0] * unit
    w = a6 @ w1 + w2
    u, v = a @ w, a6 @ z1 + z2
    lw = a6 @ (c[13] * m6 + c[11] * m4 + c[9] * m2) + m6 @ w1
    lw = lw + c[7] * m6 + c[5] * m4 + c[3] * m2
    lu = a @ lw + e @ w
    lv = a6 @ (c[12] * m6 + c[10] * m4 + c[8] * m2) + m6 @ z1
    lv = lv + c[6] * m6 + c[4] * m4 + c[2] * m2
    below = np.linalg.inv(v - u)
    r = below @ (v + u)
    found = below @ (lu + lv + (lu - lv) @ r)
    for _ in range(squarings):
        found = r @ found + found @ r
        r = r @ r
    return found


class SquareRoot(Operator):
    """The derivative of the principal square root s of a matrix: solves s ds + ds s = da."""

    batch = ()

    def __init__(self, root: Any) -> None:
        self.root = root
        self.n_in = self.n_out = np.size(root)
        self.dtype = root.dtype

    def jvp(self, tangents: Any) -> Any:
        if not isinstance(self.root, np.ndarray) or not isinstance(tangents, np.ndarray):
            unit = np.eye(self.root.shape[-1])
            both = np.kron(self.root, unit) + np.kron(unit, np.transpose(self.root))
            return np.linalg.solve(both, tangents)
        return self._solved(self.root, tangents)

    def vjp(self, adjoints: Any) -> Any:
        return np.transpose(SquareRoot(np.transpose(self.root)).jvp(np.transpose(adjoints)))

    def _solved(self, root: Any, tangents: Any) -> Any:
        columns = [
            scipy.linalg.solve_sylvester(root, root, np.reshape(each, root.shape)).ravel()
            for each in tangents.T
        ]
        return np.stack(columns, axis=1)

    def copy(self) -> Operator:
        return SquareRoot(np.array(self.root))


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
        values = [x.copy() if isinstance(x, np.ndarray) else x for x in self.values]
        return UserOperator(self.n_out, self.n_in, self.dtype, self._jvp, self._vjp, values)
