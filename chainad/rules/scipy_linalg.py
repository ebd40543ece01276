"""scipy.linalg for traced values: solves by their own factors, functions of matrices, builders.

Where SciPy reads one triangle of a matrix only, entries of the other have derivative zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy  # loads scipy.linalg when it is first used
from numpy import matrix_transpose as transpose

from chainad.ir.graph import Argument
from chainad.rules.banded import banded_solve
from chainad.rules.base import Composite, Locals, constant, dispatching, refuse_unless, rule
from chainad.rules.decompositions import eigenvalues, eigenvectors, factors_of, triangular_inverse
from chainad.rules.kinds import Holomorphic, PiecewiseConstant
from chainad.rules.linear_algebra import locals_of_solve
from chainad.rules.matrix_functions import exponential, logarithm, square_root, sylvester_solution
from chainad.rules.matrix_operators import I, J, matrix_operator, symmetric_of
from chainad.rules.scipy_wrappers import wrapper_of
from chainad.rules.statistics import as_double, values_of
from chainad.structure.linear_operators import PositiveInverse, TriangularInverse


def _as_lapack_type(x: Any) -> Any:
    """Return an array in a precision that LAPACK has: float32 for float16, float64 for long double.

    That is what SciPy converts to.
    """
    dtype = getattr(x, "dtype", None)
    if dtype == np.float16:
        return x.astype(np.float32)
    return x.astype(np.float64) if dtype == np.longdouble and dtype != np.float64 else x


_lapack_wrapper = wrapper_of("scipy.linalg", convert=_as_lapack_type)


def _refuse_batch(a: Any) -> None:
    refuse_unless(np.ndim(a) == 2, "batches of matrices are not differentiated; loop over them")


# --------------------------------------------------------------------- solves


@dispatching
def triangular_solve(a: Any, b: Any, lower: bool) -> Any:
    """Solve with a triangular matrix, whose other half is zero."""
    return scipy.linalg.solve_triangular(a, b, lower=lower)


@rule(triangular_solve, operands=(0, 1), kind=Holomorphic())
def _triangular_solve(y: Argument, a: Argument, b: Argument, lower: bool) -> Composite:
    n = a.shape[-1]
    return locals_of_solve(
        y, a, b, lambda matrix: TriangularInverse(matrix, lower), n * (n + 1) // 2
    )


@dispatching
def positive_solve(a: Any, b: Any) -> Any:
    """Solve with a symmetric positive definite matrix, given in full."""
    return scipy.linalg.cho_solve(scipy.linalg.cho_factor(a), b)


@rule(positive_solve, operands=(0, 1))
def _positive_solve(y: Argument, a: Argument, b: Argument) -> Composite:
    return locals_of_solve(y, a, b, PositiveInverse, a.shape[-1] ** 2)


def _turned(a: Any, trans: Any) -> Any:
    """Return a matrix as `trans` of SciPy says: as it is, transposed, or conjugated as well."""
    if trans in (0, "N"):
        return a
    is_conjugate = trans in (2, "C") and np.iscomplexobj(a)
    return np.transpose(np.conjugate(a) if is_conjugate else a)


@_lapack_wrapper
def solve_triangular(
    a: Any,
    b: Any,
    trans: Any = 0,
    lower: bool = False,
    unit_diagonal: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
) -> Any:
    _refuse_batch(a)
    refuse_unless(trans in (0, 1, 2, "N", "T", "C"), f"trans={trans!r} is unknown")
    k = 1 if unit_diagonal else 0
    half = np.tril(a, -k) if lower else np.triu(a, k)
    if unit_diagonal:
        half = half + np.eye(np.shape(a)[0], dtype=a.dtype)
    if trans in (0, "N"):
        return triangular_solve(half, b, bool(lower))
    return triangular_solve(_turned(half, trans), b, not lower)


@_lapack_wrapper
def solve(
    a: Any,
    b: Any,
    lower: bool = False,
    overwrite_a: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
    assume_a: Any = None,
    transposed: bool = False,
) -> Any:
    _refuse_batch(a)
    kind = {
        "gen": "general", "sym": "symmetric", "her": "symmetric", "hermitian": "symmetric",
        "pos": "positive definite", None: "general",
    }.get(assume_a, assume_a)  # fmt: skip
    if kind in ("upper triangular", "lower triangular"):
        return solve_triangular(a, b, int(transposed), kind.startswith("lower"))
    if kind == "general":
        return np.linalg.solve(np.transpose(a) if transposed else a, b)
    refuse_unless(
        assume_a == "sym"
        or (kind in ("symmetric", "positive definite") and not np.iscomplexobj(a)),
        f"assume_a={assume_a!r} is not differentiated; leave it away",
    )
    full = symmetric_of(a, not lower)
    return positive_solve(full, b) if kind.startswith("pos") else np.linalg.solve(full, b)


@_lapack_wrapper
def solve_banded(
    l_and_u: Any,
    ab: Any,
    b: Any,
    overwrite_ab: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
) -> Any:
    _refuse_batch(ab)
    low, up = l_and_u
    return banded_solve(ab, b, low, up)


class _Factorization(tuple[Any, ...]):
    """The result of a factorisation; `matrix` is what was factorised, and what solves go by."""

    matrix: Any

    @classmethod
    def of(cls, matrix: Any, *parts: Any) -> _Factorization:
        found = cls(parts)
        found.matrix = matrix
        return found


@_lapack_wrapper
def cho_factor(
    a: Any, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True
) -> Any:
    _refuse_batch(a)
    # What the other triangle holds is left open by SciPy: zeros, or what was there.
    factor = np.linalg.cholesky(a, upper=not lower)
    return _Factorization.of(symmetric_of(a, not lower), factor, lower)


@_lapack_wrapper
def cho_solve(
    c_and_lower: Any, b: Any, overwrite_b: bool = False, check_finite: bool = True
) -> Any:
    if isinstance(c_and_lower, _Factorization):
        return positive_solve(c_and_lower.matrix, b)
    factor, lower = c_and_lower
    _refuse_batch(factor)
    half = np.tril(factor) if lower else np.triu(factor)
    first, last = (half, _turned(half, 2)) if lower else (_turned(half, 2), half)
    return triangular_solve(last, triangular_solve(first, b, True), False)


@_lapack_wrapper
def lu_factor(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> Any:
    _refuse_batch(a)
    return _Factorization.of(a, packed_factors(a), scipy.linalg.lu_factor(values_of(a))[1])


@dispatching
def packed_factors(a: Any) -> Any:
    """Return L and U of a matrix in one array, as scipy.linalg.lu_factor does."""
    return scipy.linalg.lu_factor(a)[0]


@dispatching
def places_of_rows(a: Any) -> Any:
    """Return to which place every row of a matrix comes in its factors."""
    return np.argsort(_order(scipy.linalg.lu_factor(a)[1]))


constant(places_of_rows, kind=PiecewiseConstant())


def _order(pivots: Any) -> Any:
    """Return which row of a matrix comes to which place, from the exchanges of rows."""
    order = np.arange(len(pivots))
    for k, other in enumerate(pivots):
        order[[k, other]] = order[[other, k]]
    return order


@rule(packed_factors, kind=Holomorphic())
def _packed_factors(y: Argument, a: Argument) -> Locals:
    # With x = l^-1 p da u^-1: dl = l below(x), du = (x - below(x)) u.
    def prepare(packed: Any, a: Any) -> tuple[Any, ...]:
        low = np.tril(packed, -1) + np.eye(packed.shape[-1], dtype=packed.dtype)
        up = np.triu(packed)
        inverse = triangular_inverse(low)[:, places_of_rows(a)]
        return low, up, inverse, transpose(triangular_inverse(transpose(up)))

    def push(da: Any, low: Any, up: Any, low_inverse: Any, up_inverse: Any) -> Any:
        x = low_inverse @ da @ up_inverse
        return low @ np.tril(x, -1) + np.triu(x) @ up

    def pull(adjoint: Any, low: Any, up: Any, low_inverse: Any, up_inverse: Any) -> Any:
        below = np.tril(transpose(low) @ np.tril(adjoint, -1), -1)
        x = below + np.triu(np.triu(adjoint) @ transpose(up))
        return transpose(low_inverse) @ x @ transpose(up_inverse)

    return {a: matrix_operator(y, a, (I, J), 4 * a.shape[-1] ** 3, prepare, push, pull)}


@_lapack_wrapper
def lu_solve(
    lu_and_piv: Any, b: Any, trans: int = 0, overwrite_b: bool = False, check_finite: bool = True
) -> Any:
    if isinstance(lu_and_piv, _Factorization):
        a = lu_and_piv.matrix
        return np.linalg.solve(_turned(a, trans), b)
    packed, pivots = lu_and_piv
    _refuse_batch(packed)
    order = _order(pivots)
    low = np.tril(packed, -1) + np.eye(len(pivots), dtype=packed.dtype)
    if not trans:
        return triangular_solve(np.triu(packed), triangular_solve(low, b[order], True), False)
    found = triangular_solve(_turned(np.triu(packed), trans), b, True)
    return triangular_solve(_turned(low, trans), found, False)[np.argsort(order)]


# ------------------------------------------------------------------ as NumPy's


@_lapack_wrapper
def inv(
    a: Any,
    overwrite_a: bool = False,
    check_finite: bool = True,
    *,
    assume_a: Any = None,
    lower: bool = False,
) -> Any:
    refuse_unless(assume_a in (None, "gen", "general"), "assume_a= is not differentiated")
    return np.linalg.inv(a)


@_lapack_wrapper
def det(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> Any:
    return np.linalg.det(as_double(a))


@_lapack_wrapper
def cholesky(
    a: Any, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True
) -> Any:
    return np.linalg.cholesky(a, upper=not lower)


@factors_of
def symmetric_factors_of_scipy(a: Any, uplo: str) -> Any:
    """Return the eigenvalues of a symmetric matrix as a row on top of SciPy's eigenvectors."""
    return np.vstack(scipy.linalg.eigh(a, lower=uplo == "L"))


@_lapack_wrapper
def eigh(
    a: Any,
    b: Any = None,
    *,
    lower: bool = True,
    eigvals_only: bool = False,
    check_finite: bool = True,
    **options: Any,
) -> Any:
    refuse_unless(
        b is None and not options, "only eigh(a, lower=, eigvals_only=) is differentiated"
    )
    _refuse_batch(a)
    uplo: Any = "L" if lower else "U"
    if eigvals_only:
        return np.linalg.eigvalsh(a, uplo)
    factors = symmetric_factors_of_scipy(a, uplo)
    return eigenvalues(a, factors, uplo), eigenvectors(a, factors, uplo)


@_lapack_wrapper
def eigvalsh(
    a: Any, b: Any = None, *, lower: bool = True, check_finite: bool = True, **options: Any
) -> Any:
    return eigh(a, b, lower=lower, eigvals_only=True, **options)


@_lapack_wrapper
def svdvals(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> Any:
    return np.linalg.svdvals(a)


@_lapack_wrapper
def pinv(a: Any, *, check_finite: bool = True, **options: Any) -> Any:
    refuse_unless(not options, "only pinv(a) is differentiated")
    return np.linalg.pinv(a)


@wrapper_of("scipy.linalg")
def norm(
    a: Any, ord: Any = None, axis: Any = None, keepdims: bool = False, check_finite: bool = True
) -> Any:
    return np.linalg.norm(a, ord, axis, keepdims)


# ------------------------------------------------------- functions of matrices


@wrapper_of("scipy.linalg")
def expm(A: Any) -> Any:
    is_one = np.size(A) == 1 and getattr(A, "dtype", None) == np.longdouble
    return exponential(A if is_one else _as_lapack_type(A))


def _refuse_complex(found: Any, what: str) -> None:
    refuse_unless(
        not np.iscomplexobj(found), f"the {what} is complex here, which is not differentiated"
    )


@wrapper_of("scipy.linalg")
def sqrtm(A: Any) -> Any:
    _refuse_complex(square_root(values_of(A)), "square root")
    return square_root(A)


@wrapper_of("scipy.linalg")
def logm(A: Any, disp: Any = True) -> Any:
    refuse_unless(disp is True, "disp= is not differentiated; leave it away")
    A = as_double(A)
    _refuse_complex(logarithm(values_of(A)), "logarithm")
    return logarithm(A)


# ------------------------------------------------------------------- builders


@wrapper_of("scipy.linalg")
def block_diag(*arrs: Any) -> Any:
    blocks = [np.atleast_2d(block) for block in arrs]
    width, left, rows = sum(np.shape(block)[1] for block in blocks), 0, []
    for block in blocks:
        right = width - left - np.shape(block)[1]
        rows.append(np.pad(block, ((0, 0), (left, right))))
        left += np.shape(block)[1]
    return np.concatenate(rows)


@wrapper_of("scipy.linalg")
def toeplitz(c: Any, r: Any = None) -> Any:
    refuse_unless(np.ndim(c) <= 1 and np.ndim(r) <= 1, "only vectors are differentiated")
    c = np.ravel(c)
    r = c if r is None else np.ravel(r)
    m, n = np.size(c), np.size(r)
    return np.concatenate([np.flip(c), r[1:]])[m - 1 - np.arange(m)[:, None] + np.arange(n)]


@wrapper_of("scipy.linalg")
def circulant(c: Any) -> Any:
    refuse_unless(np.ndim(c) == 1, "only vectors are differentiated")
    n = np.size(c)
    return c[(np.arange(n)[:, None] - np.arange(n)) % n]


@_lapack_wrapper
def solve_sylvester(a: Any, b: Any, q: Any) -> Any:
    return sylvester_solution(a, b, q)
