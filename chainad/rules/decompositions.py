"""Decompositions as operators: Cholesky, eigenvalues and vectors, singular ones, QR and LU.

What one call of LAPACK finds is an array of *factors*, without a derivative; each part of it is a
call of its own, so that what is not used is not differentiated. Where NumPy reads one triangle of a
matrix only (cholesky, eigh), so do the derivatives: entries of the other triangle have derivative
zero, those read count for both. Where vectors are differentiated, eigenvalues and singular values
must be distinct, else derivatives are nan; functions of matrices written by vectors need no gaps,
see `spectral`. Columns must be independent for QR, eigenvalues of general matrices real.
Sources: M. Giles 2008, *An extended collection of matrix derivative results*; I. Murray 2016,
*Differentiation of the Cholesky decomposition*; S. Walter & L. Lehmann 2010, *Algorithmic
differentiation of linear algebra functions* (QR).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import scipy  # loads scipy.linalg when it is first used
from numpy import matrix_transpose as transpose

from chainad.ir.array_functions import is_ndarray
from chainad.ir.graph import Argument
from chainad.rules.base import Locals, defined, dispatching, refuse_unless, rule
from chainad.rules.matrix_operators import I, J, half_of, matrix_operator, read_of, symmetric_of
from chainad.rules.statistics import values_of

# Of larger matrices, the derivatives of the Cholesky factor are found block by block.
MAX_UNBLOCKED_ROWS = 64

# The named tuples that NumPy returns.
_EIGH, _EIG = type(np.linalg.eigh(np.eye(1))), type(np.linalg.eig(np.eye(1)))
_SVD, _QR = type(np.linalg.svd(np.eye(1))), type(np.linalg.qr(np.eye(1)))


def factors_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function return what its parts are cut from: it has no derivative itself."""
    found = dispatching(function)
    rule(found)(lambda y, a, *options: {a: None})
    return found


def _with_factors(locals_: Callable[..., Locals]) -> Callable[..., Locals]:
    """Let a part of factors have its derivative by the matrix, none by the factors."""

    def of_matrix(y: Argument, a: Argument, factors: Argument, *options: Any) -> Locals:
        return {**locals_(y, a, *options), factors: None}

    return of_matrix


# -------------------------------------------------------------------- Cholesky


@rule(np.linalg.cholesky)
def _cholesky(y: Argument, a: Argument, /, *, upper: bool = False) -> Locals:
    # With x = l^-1 da l^-T, half of it below and on the diagonal: dl = l half(x).
    def lower(factor: Any) -> Any:
        return transpose(factor) if upper else factor

    def prepare(factor: Any, a: Any) -> tuple[Any, ...]:
        return (lower(factor),)

    def push(da: Any, low: Any) -> Any:
        inverse = triangular_inverse(low)
        x = inverse @ symmetric_of(da, upper) @ transpose(inverse)
        return lower(low @ half_of(x))

    def pull(adjoint: Any, low: Any) -> Any:
        if _is_one_matrix(low) and _is_one_matrix(adjoint):
            found = np.zeros(low.shape, low.dtype)
            _pull_by_blocks(lower(adjoint)[0], low[0], found[0])
            return lower(found)
        inverse = triangular_inverse(low)
        x = half_of(transpose(low) @ lower(adjoint))
        return read_of(transpose(inverse) @ x @ inverse, upper)

    return {a: matrix_operator(y, a, (I, J), 3 * a.shape[-1] ** 3, prepare, push, pull)}


def _is_one_matrix(x: Any) -> bool:
    """Return whether a stack is one plain matrix, in a precision that LAPACK has."""
    return is_ndarray(x) and x.ndim == 3 and x.shape[0] == 1 and x.dtype.char in "fd"


@cache
def _blas(typecode: str) -> Any:
    """Return BLAS's products and solves with a triangular matrix."""
    return scipy.linalg.get_blas_funcs(("trmm", "trsm"), dtype=typecode)


def _pull_by_blocks(adjoint: Any, low: Any, found: Any) -> None:
    """Pull an adjoint of a lower factor back to the entries that are read, into `found`.

    Of the adjoint, too, the lower half is read. Each matrix is two rows of two blocks, of which the
    last block on the diagonal comes first (Murray 2016, blocked reverse mode): a third of the
    operations that the formula for all at once takes.
    """
    multiply, solve = _blas(low.dtype.char)
    n = len(low)
    if n <= MAX_UNBLOCKED_ROWS:
        x = half_of(multiply(1.0, low.T, adjoint))
        free = solve(1.0, low.T, solve(1.0, low.T, x), side=1, trans_a=1)
        found[...] = half_of(free + free.T)
        return
    first, last = slice(n // 2), slice(n // 2, n)
    _pull_by_blocks(adjoint[last, last], low[last, last], found[last, last])
    corner, side = found[last, last], low[last, first]
    across = adjoint[last, first] - (corner + corner.T) @ side
    # BLAS stores columns, so it is given transposes.
    found[last, first] = solve(1.0, low[first, first].T, across.T, overwrite_b=True).T
    rest = adjoint[first, first] - found[last, first].T @ side
    _pull_by_blocks(rest, low[first, first], found[first, first])


def triangular_inverse(low: Any) -> Any:
    """Return the inverses of lower triangular matrices."""
    if _is_one_matrix(low):
        return triangular_inverse(low[0])[None]
    if not is_ndarray(low) or low.ndim != 2 or low.dtype.char not in "fd":
        return np.linalg.inv(low)
    # LAPACK stores columns, so it is given the transpose.
    found, info = scipy.linalg.get_lapack_funcs("trtri", dtype=low.dtype)(low.T)
    if info:
        raise np.linalg.LinAlgError("Singular matrix")  # as NumPy says it
    return found.T


# ---------------------------------------------------------- symmetric matrices


def check_triangle(uplo: Any) -> bool:
    """Return whether the upper triangle is read."""
    if uplo.upper() not in ("L", "U"):
        raise ValueError("UPLO argument must be 'L' or 'U'")
    return str(uplo).upper() == "U"


@factors_of
def symmetric_factors(a: Any, uplo: Any) -> Any:
    """Return the eigenvalues of symmetric matrices as a row on top of the eigenvectors."""
    w, v = np.linalg.eigh(a, uplo)
    return np.concatenate([w[..., None, :], v], axis=-2)


@dispatching
def eigenvalues(a: Any, factors: Any, uplo: str) -> Any:
    """Return the eigenvalues of symmetric matrices from their factors."""
    return factors[..., 0, :].copy()


@dispatching
def eigenvectors(a: Any, factors: Any, uplo: str) -> Any:
    """Return the eigenvectors of symmetric matrices from their factors."""
    return factors[..., 1:, :].copy()


def _eigenvalues_local(y: Argument, a: Argument, uplo: str, prepare: Any) -> Any:
    upper = check_triangle(uplo)

    def push(da: Any, v: Any) -> Any:
        return np.sum(v * (symmetric_of(da, upper) @ v), axis=-2)

    def pull(adjoint: Any, v: Any) -> Any:
        return read_of((v * adjoint[..., None, :]) @ transpose(v), upper)

    return matrix_operator(y, a, (I,), a.shape[-1] ** 3, prepare, push, pull)


@rule(np.linalg.eigvalsh)
def _eigvalsh(y: Argument, a: Argument, UPLO: Any = "L") -> Locals:
    def prepare(w: Any, a: Any) -> tuple[Any, ...]:
        return (eigenvectors(a, symmetric_factors(a, UPLO), UPLO),)

    return {a: _eigenvalues_local(y, a, UPLO, prepare)}


@rule(eigenvalues, operands=(0, 1))
@_with_factors
def _eigenvalues(y: Argument, a: Argument, uplo: str) -> Locals:
    def prepare(w: Any, a: Any, factors: Any) -> tuple[Any, ...]:
        return (eigenvectors(a, factors, uplo),)

    return {a: _eigenvalues_local(y, a, uplo, prepare)}


@rule(eigenvectors, operands=(0, 1))
@_with_factors
def _eigenvectors(y: Argument, a: Argument, uplo: str) -> Locals:
    upper = check_triangle(uplo)
    _refuse_phases(a)

    # With x = v^T da v: dv = v (slopes * x).
    def prepare(v: Any, a: Any, factors: Any) -> tuple[Any, ...]:
        return v, inverse_gaps(eigenvalues(a, factors, uplo))

    def push(da: Any, v: Any, slopes: Any) -> Any:
        return v @ (slopes * (transpose(v) @ symmetric_of(da, upper) @ v))

    def pull(adjoint: Any, v: Any, slopes: Any) -> Any:
        return read_of(v @ (slopes * (transpose(v) @ adjoint)) @ transpose(v), upper)

    return {a: matrix_operator(y, a, (I, J), 3 * a.shape[-1] ** 3, prepare, push, pull)}


def _refuse_phases(a: Argument) -> None:
    refuse_unless(
        a.dtype.kind != "c",
        "complex vectors are only given up to a phase, and have no derivative; eigenvalues and"
        " singular values have one",
    )


def inverse_gaps(w: Any, roots: Any = None) -> Any:
    """Return 1 / (w_j - w_i) at (i, j), and 0 on the diagonal; nan where that says nothing.

    That is where w, or its `roots`, differ by less than half of the digits of the largest; vectors
    have no derivative where they coincide.
    """
    plain = values_of(w if roots is None else roots)
    unit = np.eye(w.shape[-1], dtype=w.dtype)
    smallest = np.sqrt(np.finfo(w.dtype).eps) * np.max(np.abs(plain), axis=-1, initial=0)
    gaps = np.abs(plain[..., None, :] - plain[..., :, None])
    close = np.logical_and(gaps <= smallest[..., None, None], unit == 0)
    if np.any(close):
        warnings.warn(
            "vectors of equal or nearly equal eigenvalues or singular values have no derivative: it"
            " is nan; functions of the matrix, such as (V * f(w)) @ V.T, have one",
            RuntimeWarning,
            stacklevel=2,
        )
    no_gap = np.where(close, np.nan, unit).astype(w.dtype)
    return (1 - unit) / (w[..., None, :] - w[..., :, None] + no_gap)


@defined(np.linalg.eigh)
def _eigh(a: Any, UPLO: Any = "L") -> Any:
    factors = symmetric_factors(a, UPLO)
    return _EIGH(eigenvalues(a, factors, UPLO), eigenvectors(a, factors, UPLO))


# ------------------------------------------------------------ singular vectors


@factors_of
def singular_factors(a: Any) -> Any:
    """Return the factors of np.linalg.svd below one another: left vectors, values, right ones."""
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    return np.concatenate([u, s[..., None, :], transpose(vh)], axis=-2)


@dispatching
def left_vectors(a: Any, factors: Any) -> Any:
    """Return the left singular vectors, as many as values."""
    return factors[..., : np.shape(a)[-2], :].copy()


@dispatching
def singular_values(a: Any, factors: Any) -> Any:
    """Return the singular values, falling."""
    return factors[..., np.shape(a)[-2], :].copy()


@dispatching
def right_vectors(a: Any, factors: Any) -> Any:
    """Return the right singular vectors, as columns."""
    return factors[..., np.shape(a)[-2] + 1 :, :].copy()


def _singular_values_local(y: Argument, a: Argument, prepare: Any) -> Any:
    def push(da: Any, u: Any, v: Any) -> Any:
        return np.sum(u * (da @ v), axis=-2)

    def pull(adjoint: Any, u: Any, v: Any) -> Any:
        return (u * adjoint[..., None, :]) @ transpose(v)

    cost = a.shape[-2] * a.shape[-1] * y.shape[-1]
    return matrix_operator(y, a, (I,), cost, prepare, push, pull)


def _vectors(a: Any, factors: Any) -> tuple[Any, ...]:
    return left_vectors(a, factors), right_vectors(a, factors)


@rule(np.linalg.svdvals)
def _svdvals(y: Argument, a: Argument, /) -> Locals:
    def prepare(s: Any, a: Any) -> tuple[Any, ...]:
        return _vectors(a, singular_factors(a))

    return {a: _singular_values_local(y, a, prepare)}


@rule(singular_values, operands=(0, 1))
@_with_factors
def _singular_values(y: Argument, a: Argument) -> Locals:
    return {a: _singular_values_local(y, a, lambda s, a, factors: _vectors(a, factors))}


def _of_side(u: Any, s: Any, v: Any) -> tuple[Any, ...]:
    return u, s[..., None, :], v, inverse_gaps(np.square(s), s)


def _push_vectors(da: Any, u: Any, s: Any, v: Any, slopes: Any) -> Any:
    """Return the change of the left vectors u (m, k), of da (m, n)."""
    # With x = u^T da v: du = u (slopes * (x s + s x^T)), and what leaves the span of u.
    along = da @ v
    x = transpose(u) @ along
    found = u @ (slopes * (x * s + transpose(x * s)))
    if u.shape[-2] == u.shape[-1]:
        return found
    return found + (along - u @ x) / s


def _pull_vectors(adjoint: Any, u: Any, s: Any, v: Any, slopes: Any) -> Any:
    turned = transpose(u) @ adjoint
    x = slopes * turned
    inner = (x + transpose(x)) * s
    if u.shape[-2] == u.shape[-1]:
        return u @ inner @ transpose(v)
    return (u @ (inner - turned / s) + adjoint / s) @ transpose(v)


def _cost_of_vectors(y: Argument, a: Argument) -> int:
    _refuse_phases(a)
    m, n = a.shape[-2:]
    return y.shape[-1] * (m * n + 2 * y.shape[-2] * y.shape[-1])


@rule(left_vectors, operands=(0, 1))
@_with_factors
def _left_vectors(y: Argument, a: Argument) -> Locals:
    def prepare(u: Any, a: Any, factors: Any) -> tuple[Any, ...]:
        return _of_side(u, singular_values(a, factors), right_vectors(a, factors))

    cost = _cost_of_vectors(y, a)
    return {a: matrix_operator(y, a, (I, J), cost, prepare, _push_vectors, _pull_vectors)}


@rule(right_vectors, operands=(0, 1))
@_with_factors
def _right_vectors(y: Argument, a: Argument) -> Locals:
    # The right vectors of a are the left ones of its transpose.
    def prepare(v: Any, a: Any, factors: Any) -> tuple[Any, ...]:
        return _of_side(v, singular_values(a, factors), left_vectors(a, factors))

    def push(da: Any, *arrays: Any) -> Any:
        return _push_vectors(transpose(da), *arrays)

    def pull(adjoint: Any, *arrays: Any) -> Any:
        return transpose(_pull_vectors(adjoint, *arrays))

    return {a: matrix_operator(y, a, (I, J), _cost_of_vectors(y, a), prepare, push, pull)}


@defined(np.linalg.svd)
def _svd(
    a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    if hermitian:
        raise NotImplementedError("hermitian= is not differentiated; use np.linalg.eigh")
    if not compute_uv:
        return np.linalg.svdvals(a)
    m, n = np.shape(a)[-2:]
    if full_matrices and m != n:
        raise NotImplementedError(
            "the vectors that full_matrices=True adds are any that fit, and have no derivative;"
            " say full_matrices=False"
        )
    factors = singular_factors(a)
    right = np.matrix_transpose(right_vectors(a, factors))
    return _SVD(left_vectors(a, factors), singular_values(a, factors), right)


# -------------------------------------------------------------------------- QR


@factors_of
def orthogonal_factors(a: Any) -> Any:
    """Return q of np.linalg.qr on top of the transpose of r, for matrices that are not wide."""
    q, r = np.linalg.qr(a)
    return np.concatenate([q, transpose(r)], axis=-2)


@dispatching
def orthogonal_factor(a: Any, factors: Any) -> Any:
    """Return q of np.linalg.qr from its factors."""
    return factors[..., : np.shape(a)[-2], :].copy()


@dispatching
def triangular_factor(a: Any, factors: Any) -> Any:
    """Return r of np.linalg.qr from its factors."""
    return transpose(factors[..., np.shape(a)[-2] :, :]).copy()


def _of_qr(q: Any, r: Any) -> tuple[Any, ...]:
    return q, r, transpose(triangular_inverse(transpose(r)))


def _cost_of_qr(a: Argument) -> int:
    m, n = a.shape[-2:]
    return 3 * m * n * n


@rule(orthogonal_factor, operands=(0, 1))
@_with_factors
def _orthogonal_factor(y: Argument, a: Argument) -> Locals:
    # With x = q^T da r^-1: dq = q (below(x) - below(x)^T) + (1 - q q^T) da r^-1.
    def prepare(q: Any, a: Any, factors: Any) -> tuple[Any, ...]:
        return _of_qr(q, triangular_factor(a, factors))

    def push(da: Any, q: Any, r: Any, inverse: Any) -> Any:
        scaled = da @ inverse
        x = transpose(q) @ scaled
        below = np.tril(x, -1)
        return scaled + q @ (below - transpose(below) - x)

    def pull(adjoint: Any, q: Any, r: Any, inverse: Any) -> Any:
        x = transpose(q) @ adjoint
        below = np.tril(x - transpose(x), -1)
        return (adjoint + q @ (below - x)) @ transpose(inverse)

    return {a: matrix_operator(y, a, (I, J), _cost_of_qr(a), prepare, push, pull)}


@rule(triangular_factor, operands=(0, 1))
@_with_factors
def _triangular_factor(y: Argument, a: Argument) -> Locals:
    # dr = (x - below(x) + below(x)^T) r.
    def prepare(r: Any, a: Any, factors: Any) -> tuple[Any, ...]:
        return _of_qr(orthogonal_factor(a, factors), r)

    def push(da: Any, q: Any, r: Any, inverse: Any) -> Any:
        x = transpose(q) @ da @ inverse
        return (np.triu(x) + transpose(np.tril(x, -1))) @ r

    def pull(adjoint: Any, q: Any, r: Any, inverse: Any) -> Any:
        x = adjoint @ transpose(r)
        return q @ (np.triu(x) + np.tril(transpose(x), -1)) @ transpose(inverse)

    return {a: matrix_operator(y, a, (I, J), _cost_of_qr(a), prepare, push, pull)}


@defined(np.linalg.qr)
def _qr(a: Any, mode: str = "reduced") -> Any:
    m, n = np.shape(a)[-2:]
    if mode not in ("reduced", "r") and not (mode == "complete" and m <= n):
        raise NotImplementedError("only mode='reduced' and mode='r' are differentiated")
    left = a[..., :m]
    factors = orthogonal_factors(left)
    q = orthogonal_factor(left, factors)
    r = triangular_factor(left, factors)
    if m < n:
        r = np.concatenate([r, np.matrix_transpose(q) @ a[..., m:]], axis=-1)
    return r if mode == "r" else _QR(q, r)


# ---------------------------------------------- eigenvalues of general matrices


def as_real(z: Any, tolerance: float = 0.0) -> Any:
    """Return numbers as real if their imaginary parts are zero: NumPy 2.5 has complex ones here."""
    if not np.iscomplexobj(z) or abs(z.imag).max(initial=0.0) > tolerance * abs(z).max(initial=0.0):
        return z
    return z.real.copy()


@factors_of
def real_factors(a: Any) -> Any:
    """Return the eigenvalues of general matrices, in the order of np.linalg.eig, and vectors."""
    w, r = np.linalg.eig(a)
    return as_real(np.concatenate([w[..., None, :], r], axis=-2))


@dispatching
def real_eigenvalues(a: Any, factors: Any) -> Any:
    """Return the eigenvalues of general matrices, in the order of np.linalg.eig."""
    return factors[..., 0, :].copy()


@dispatching
def real_eigenvectors(a: Any, factors: Any) -> Any:
    """Return the eigenvectors of general matrices, of length 1."""
    return factors[..., 1:, :].copy()


def _inverse_gaps(w: Any) -> Any:
    """Return 1 / (w_j - w_i) at (i, j), and 0 on the diagonal; raise if eigenvalues coincide."""
    if np.any(w[..., None, :] - w[..., :, None] + np.eye(w.shape[-1]) == 0):
        raise np.linalg.LinAlgError(
            "an eigenvalue that occurs twice has no derivative; np.linalg.eigvalsh may do for"
            " symmetric matrices"
        )
    return inverse_gaps(w)


@rule(real_eigenvalues, operands=(0, 1))
@_with_factors
def _real_eigenvalues(y: Argument, a: Argument) -> Locals:
    def prepare(w: Any, a: Any, factors: Any) -> tuple[Any, ...]:
        _inverse_gaps(w)
        r = real_eigenvectors(a, factors)
        return r, np.linalg.inv(r)

    def push(da: Any, r: Any, inverse: Any) -> Any:
        return np.sum(transpose(inverse) * (da @ r), axis=-2)

    def pull(adjoint: Any, r: Any, inverse: Any) -> Any:
        return (transpose(inverse) * adjoint[..., None, :]) @ transpose(r)

    return {a: matrix_operator(y, a, (I,), a.shape[-1] ** 3, prepare, push, pull)}


@rule(real_eigenvectors, operands=(0, 1))
@_with_factors
def _real_eigenvectors(y: Argument, a: Argument) -> Locals:
    # With x = r^-1 da r: r (slopes * x), less what would change the length of each vector.
    def prepare(r: Any, a: Any, factors: Any) -> tuple[Any, ...]:
        return r, np.linalg.inv(r), _inverse_gaps(real_eigenvalues(a, factors))

    def push(da: Any, r: Any, inverse: Any, slopes: Any) -> Any:
        found = r @ (slopes * (inverse @ da @ r))
        return found - r * np.sum(r * found, axis=-2, keepdims=True)

    def pull(adjoint: Any, r: Any, inverse: Any, slopes: Any) -> Any:
        across = adjoint - r * np.sum(r * adjoint, axis=-2, keepdims=True)
        x = slopes * (transpose(r) @ across)
        return transpose(inverse) @ x @ transpose(r)

    return {a: matrix_operator(y, a, (I, J), 3 * a.shape[-1] ** 3, prepare, push, pull)}


def _refuse_complex(a: Any) -> None:
    if np.iscomplexobj(as_real(np.linalg.eigvals(values_of(a)))):
        raise NotImplementedError(
            "some eigenvalues are complex here, and these are not differentiated; use"
            " np.linalg.eigh for symmetric matrices"
        )


@defined(np.linalg.eig)
def _eig(a: Any) -> Any:
    _refuse_complex(a)
    factors = real_factors(a)
    return _EIG(real_eigenvalues(a, factors), real_eigenvectors(a, factors))


@defined(np.linalg.eigvals)
def _eigvals(a: Any) -> Any:
    _refuse_complex(a)
    plain = values_of(a)
    # The same values in the order of np.linalg.eigvals, which may differ from that of eig.
    rising = np.argsort(np.linalg.eig(plain)[0])
    place = np.argsort(np.argsort(np.linalg.eigvals(plain)))
    values = real_eigenvalues(a, real_factors(a))
    return np.take_along_axis(values, np.take_along_axis(rising, place, -1), -1)
