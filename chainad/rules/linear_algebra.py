"""Linear algebra: solves as operators, and decompositions by their textbook differentials.

Where NumPy reads one triangle of a matrix only (cholesky, eigh), so do the derivatives: entries of
the other triangle have derivative zero, those read count for both. Eigenvalues and singular values
must be distinct where vectors are differentiated.
Source: M. Giles 2008, *An extended collection of matrix derivative results*.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # loads scipy.linalg when it is first used

from chainad.ir.graph import Argument
from chainad.rules.base import (
    Composite,
    Local,
    Locals,
    constant,
    defined,
    dispatching,
    rule,
)
from chainad.rules.kinds import PiecewiseConstant
from chainad.rules.matrix_operators import (
    I,
    J,
    K,
    batch_axes,
    batch_labels,
    batch_sizes,
    matrix_local,
    matrix_operator,
    read_of,
    sizes_in,
    symmetric_of,
)
from chainad.structure import from_labels, operator
from chainad.structure.linear_operators import Inverse, Operator

# --------------------------------------------------------------------- solves


@rule(np.linalg.solve, operands=(0, 1))
def _solve(y: Argument, a: Argument, b: Argument) -> Composite:
    return locals_of_solve(y, a, b, Inverse, a.shape[-1] ** 2)


def locals_of_solve(
    y: Argument, a: Argument, b: Argument, inverse: Callable[[Any], Operator], cost: int
) -> Composite:
    """Return the local Jacobians of a solve, with the operator that `inverse` makes of a matrix.

    `cost` is that of one right-hand side.
    """
    # A dy = db - dA y: the right-hand side is the intermediate, A's inverse is applied to it.
    is_vector = b.ndim == 1
    last = () if is_vector else ((y.shape[-1], (K,)),)
    n = a.shape[-1]
    inner = y.ndim - 2 + is_vector
    batch = y.shape[:inner]
    sizes = {I: n, J: n, K: 1 if is_vector else y.shape[-1], **batch_sizes(batch)}
    every = batch_axes(batch, inner)
    rows = [*every, (n, (I,)), *last]
    cols = [*batch_axes(a.shape[:-2], inner), (n, (I,)), (n, (J,))]
    right = [*batch_axes(b.shape[: -1 if is_vector else -2], inner), (n, (I,)), *last]
    kept = (*batch_labels(batch, inner), J, *(() if is_vector else (K,)))
    shape = tuple(sizes[x] for x in kept)
    used = {x: sizes[x] for x in sizes if x != J}
    locals_: dict[Argument, Local | None] = {}
    if b.traced:
        locals_[b] = Local(from_labels(rows, right, sizes_in(used, rows, right), scale=1), None)
    if a.traced:
        found = from_labels(rows, cols, sizes_in(sizes, rows, cols), kept)
        locals_[a] = Local(found, lambda y, a, b: -np.reshape(y, shape))
    return Composite(y.shape, _inverse(a, every, last, sizes, inner, inverse, cost), locals_)


def _inverse(
    a: Argument,
    every: Any,
    last: Any,
    sizes: dict[int, int],
    inner: int,
    inverse: Callable[[Any], Operator],
    cost: int,
) -> Local:
    """Return the inverse of a as a local Jacobian: an operator."""
    n = a.shape[-1]
    rows, cols = [*every, (n, (I,)), *last], [*every, (n, (J,)), *last]
    kept = batch_labels(a.shape[:-2], inner)
    found = from_labels(rows, cols, sizes_in(sizes, rows, cols), (*kept, I, J))
    shape = (*(sizes[x] for x in kept), n, n)
    if n == 1 or found.ops:  # without labels there is nothing to apply to
        return Local(found, lambda y, a, b: np.reshape(np.linalg.inv(a), shape))
    return Local(operator(found, cost, cost), InverseFormula(inverse, shape))


@dataclass(frozen=True)
class InverseFormula:
    """The formula of a solve's operator, which reads the matrix alone; `shape` is what it keeps."""

    inverse: Callable[[Any], Operator]
    shape: tuple[int, ...]

    def __call__(self, y: Any, a: Any, b: Any) -> Operator:
        return self.of_matrix(a)

    def of_matrix(self, a: Any) -> Operator:
        return self.inverse(np.reshape(a, self.shape))


@rule(np.linalg.inv)
def _inv(y: Argument, a: Argument) -> Composite:
    # dY = -Y dA Y: first dA Y, then -Y times that.
    n, batch = a.shape[-1], a.shape[:-2]
    every, sizes = batch_axes(batch, len(batch)), {I: n, J: n, K: n, **batch_sizes(batch)}
    kept = batch_labels(batch, len(batch))
    rows, cols = [*every, (n, (I,)), (n, (K,))], [*every, (n, (I,)), (n, (J,))]
    shape = tuple(sizes[x] for x in (*kept, I, J))
    inner = Local(
        from_labels(rows, cols, sizes_in(sizes, rows, cols), (*kept, J, K)),
        lambda y, a: np.reshape(y, shape),
    )
    rows, cols = [*every, (n, (I,)), (n, (K,))], [*every, (n, (J,)), (n, (K,))]
    outer = Local(
        from_labels(rows, cols, sizes_in(sizes, rows, cols), (*kept, I, J)),
        lambda y, a: -np.reshape(y, shape),
    )
    return Composite(y.shape, outer, {a: inner})


# ------------------------------------------------------------------- matrices


@dispatching
def cofactors(a: Any) -> Any:
    """Return the cofactors, the derivative of the determinant, of singular matrices also."""
    sign, u, s, vh = _rotated(a)
    others = np.where(np.eye(s.shape[-1], dtype=bool), 1.0, s[..., None, :]).prod(-1)
    return sign[..., None, None] * (u * others[..., None, :]) @ vh


def _rotated(a: Any) -> tuple[Any, Any, Any, Any]:
    """Return the sign of u @ vh, and the conjugate factors u, s, vh of the SVD of a."""
    u, s, vh = np.linalg.svd(a)
    return np.linalg.det(u) * np.linalg.det(vh), np.conj(u), s, np.conj(vh)


@dispatching
def slopes_of_det(y: Any, a: Any) -> Any:
    """Return the derivatives of the determinants y by the entries of a."""
    if np.all(y != 0):
        return y[..., None, None] * np.matrix_transpose(np.linalg.inv(a))
    return cofactors(a)


@defined(slopes_of_det)
def _slopes_of_det(y: Any, a: Any) -> Any:
    return cofactors(a)


@rule(np.linalg.det)
def _det(y: Argument, a: Argument) -> Locals:
    return {a: matrix_local(y, a, (), slopes_of_det)}


@dispatching
def slopes_of_cofactors(c: Any, a: Any) -> Any:
    """Return the derivatives of the cofactors c by the entries of a."""
    # det^-1 (c_ij c_kl - c_il c_kj) loses all digits where det is small: what is small cancels
    # beforehand in the basis of the singular vectors, where the matrix is diagonal.
    sign, u, s, vh = _rotated(a)
    unit = np.eye(s.shape[-1], dtype=bool)
    left_out = unit[:, None] | unit  # (i, k, m): m is i or k
    others = np.where(left_out, 1.0, s[..., None, None, :]).prod(-1) * ~unit
    others = sign[..., None, None] * others
    pairs = np.einsum("...ai,...ib,...ck,...kd,...ik->...abcd", u, vh, u, vh, others)
    return pairs - np.swapaxes(pairs, -3, -1)


@rule(cofactors)
def _cofactors(y: Argument, a: Argument) -> Locals:
    return {a: matrix_local(y, a, (I, J), slopes_of_cofactors)}


@defined(slopes_of_cofactors)
def _cofactors_of_invertible(c: Any, a: Any) -> Any:
    """Return the derivatives of the cofactors in functions that can be traced again."""
    s = np.linalg.svdvals(a)
    if not np.all(s[..., -1] > 1e-5 * s[..., 0]):
        raise np.linalg.LinAlgError(
            "third derivatives of np.linalg.det are only given for well-conditioned matrices, but"
            " the condition number is above 1e5; np.linalg.slogdet may do"
        )
    pairs = np.einsum("...ij,...kl->...ijkl", c, c)
    y = np.linalg.det(a)[..., None, None, None, None]
    return (pairs - np.swapaxes(pairs, -3, -1)) / y


@dispatching
def logabsdet(a: Any) -> Any:
    """Return log |det a|; the second part of np.linalg.slogdet, which goes through it."""
    return np.linalg.slogdet(a)[1]


@rule(logabsdet)
def _logabsdet(y: Argument, a: Argument) -> Locals:
    return {a: matrix_local(y, a, (), lambda y, a: np.matrix_transpose(np.linalg.inv(a)))}


@dispatching
def sign_of_det(a: Any) -> Any:
    """Return the sign of det a, the first part of np.linalg.slogdet."""
    return np.linalg.slogdet(a)[0]


constant(sign_of_det, kind=PiecewiseConstant())


@defined(np.linalg.slogdet)
def _slogdet(a: Any) -> Any:
    pair = type(np.linalg.slogdet(np.eye(1)))
    return pair(sign_of_det(a), logabsdet(a))


@rule(np.linalg.pinv)
def _pinv(y: Argument, a: Argument, rcond: Any = None, *args: Any, **kwargs: Any) -> Locals:
    # Golub & Pereyra 1973, for matrices of constant rank.
    def formula(p: Any, a: Any) -> Any:
        pt = np.matrix_transpose(p)
        left = np.eye(a.shape[-1], dtype=a.dtype) - p @ a
        right = np.eye(a.shape[-2], dtype=a.dtype) - a @ p
        total = -np.einsum("...ik,...lj->...ijkl", p, p)
        total = total + np.einsum("...il,...kj->...ijkl", p @ pt, right)
        return total + np.einsum("...il,...kj->...ijkl", left, pt @ p)

    return {a: matrix_local(y, a, (I, J), formula)}


# -------------------------------------------------------------- decompositions


def _read(n: int, upper: bool) -> Any:
    """Return how often NumPy counts an entry of a symmetric matrix: 1, or 0 in the unread half."""
    ones = np.ones((n, n))
    return np.triu(ones) if upper else np.tril(ones)


def _symmetric(slopes: Any, upper: bool) -> Any:
    """Turn derivatives by free entries (..., K, L) into those by the entries that are read."""
    n = np.shape(slopes)[-1]
    both = slopes + np.matrix_transpose(slopes)
    return both * (_read(n, upper) * (1 - 0.5 * np.eye(n)))


@rule(np.linalg.cholesky)
def _cholesky(y: Argument, a: Argument, /, *, upper: bool = False) -> Locals:
    # With x = l^-1 da l^-T, half of it below and on the diagonal: dl = l half(x) (Murray 2016).
    def lower(factor: Any) -> Any:
        return np.matrix_transpose(factor) if upper else factor

    def prepare(factor: Any, a: Any) -> tuple[Any, ...]:
        return factor, lower(triangular_inverse(lower(factor)))

    def push(da: Any, factor: Any, inverse: Any) -> Any:
        inverse = lower(inverse)
        x = inverse @ symmetric_of(da, upper) @ np.matrix_transpose(inverse)
        return lower(lower(factor) @ _half(x))

    def pull(adjoint: Any, factor: Any, inverse: Any) -> Any:
        inverse = lower(inverse)
        x = _half(np.matrix_transpose(lower(factor)) @ lower(adjoint))
        return read_of(np.matrix_transpose(inverse) @ x @ inverse, upper)

    return {a: matrix_operator(y, a, (I, J), 3 * a.shape[-1] ** 3, prepare, push, pull)}


def _half(x: Any) -> Any:
    """Return what lies below the diagonal, and half of the diagonal."""
    return 0.5 * (np.tril(x) + np.tril(x, -1))


def triangular_inverse(low: Any) -> Any:
    """Return the inverses of lower triangular matrices."""
    if not isinstance(low, np.ndarray) or low.ndim != 2 or low.dtype.char not in "fd":
        return np.linalg.inv(low)
    # LAPACK stores columns, so it is given the transpose.
    found, info = scipy.linalg.get_lapack_funcs("trtri", dtype=low.dtype)(low.T)
    if info:
        raise np.linalg.LinAlgError("Singular matrix")  # as NumPy says it
    return found.T


def _check_triangle(uplo: Any) -> bool:
    """Return whether the upper triangle is read."""
    if uplo.upper() not in ("L", "U"):
        raise ValueError("UPLO argument must be 'L' or 'U'")
    return str(uplo).upper() == "U"


@rule(np.linalg.eigvalsh)
def _eigvalsh(y: Argument, a: Argument, UPLO: Any = "L") -> Locals:
    upper = _check_triangle(UPLO)

    def formula(w: Any, a: Any) -> Any:
        v = eigenvectors(a, UPLO)
        return _symmetric(np.einsum("...ki,...li->...ikl", v, v), upper)

    return {a: matrix_local(y, a, (I,), formula)}


@dispatching
def eigenvectors(a: Any, uplo: Any = "L") -> Any:
    """Return the eigenvectors of symmetric matrices, the second part of np.linalg.eigh."""
    return np.linalg.eigh(a, uplo)[1]


@rule(eigenvectors)
def eigenvectors_locals(y: Argument, a: Argument, uplo: Any = "L") -> Locals:
    """Return the local Jacobian of the eigenvectors of symmetric matrices, whatever their signs."""
    upper = _check_triangle(uplo)
    n = a.shape[-1]

    def formula(v: Any, a: Any) -> Any:
        w = np.linalg.eigvalsh(a, uplo)
        gaps = w[..., None, :] - w[..., :, None] + np.eye(n)  # (j, i): w_i - w_j
        weights = (1 - np.eye(n)) / gaps
        towards = np.einsum("...aj,...ji->...aji", v, weights)
        found = np.einsum("...aji,...kj->...aik", towards, v)
        return _symmetric(np.einsum("...aik,...li->...aikl", found, v), upper)

    return {a: matrix_local(y, a, (I, J), formula)}


@defined(np.linalg.eigh)
def _eigh(a: Any, UPLO: Any = "L") -> Any:
    pair = type(np.linalg.eigh(np.eye(1)))
    return pair(np.linalg.eigvalsh(a, UPLO), eigenvectors(a, UPLO))


@dispatching
def slopes_of_singular_values(s: Any, a: Any) -> Any:
    """Return the derivatives of the singular values s by the entries of a."""
    u, _, vh = np.linalg.svd(a, full_matrices=False)
    return np.einsum("...ki,...il->...ikl", u, vh)


@defined(slopes_of_singular_values)
def _slopes_of_singular_values(s: Any, a: Any) -> Any:
    # Right vectors from eigh of the smaller Gram matrix, which can be differentiated again.
    wide = a.shape[-1] > a.shape[-2]
    m = np.matrix_transpose(a) if wide else a
    v = np.flip(eigenvectors(np.matrix_transpose(m) @ m), -1)
    u = (m @ v) / s[..., None, :]
    return np.einsum("...li,...ki->...ikl" if wide else "...ki,...li->...ikl", u, v)


@rule(np.linalg.svdvals)
def _svdvals(y: Argument, a: Argument, /) -> Locals:
    return {a: matrix_local(y, a, (I,), slopes_of_singular_values)}


# --------------------------------------------------------- in terms of others


@defined(np.linalg.lstsq)
def _lstsq(a: Any, b: Any, rcond: Any = None) -> Any:
    if rcond is not None:
        raise NotImplementedError("rcond= changes the rank; leave it away")
    x = np.linalg.pinv(a) @ b
    rank = np.int32(np.linalg.matrix_rank(a))
    m, n = np.shape(a)
    left = np.sum(np.square(b - a @ x), axis=0)
    residuals = np.atleast_1d(left) if m > n == rank else np.zeros(0, x.dtype)
    return x, residuals, rank, np.linalg.svdvals(a)


@defined(np.linalg.cond)
def _cond(x: Any, p: Any = None) -> Any:
    if p not in (None, 2, -2):
        return np.linalg.norm(x, p, (-2, -1)) * np.linalg.norm(np.linalg.inv(x), p, (-2, -1))
    s = np.linalg.svdvals(x)
    return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]


@defined(np.linalg.tensorinv)
def _tensorinv(a: Any, ind: int = 2) -> Any:
    shape = np.shape(a)
    n = int(np.prod(shape[ind:]))
    return np.reshape(np.linalg.inv(np.reshape(a, (n, -1))), (*shape[ind:], *shape[:ind]))


@defined(np.linalg.tensorsolve)
def _tensorsolve(a: Any, b: Any, axes: Any = None) -> Any:
    if axes is not None:
        raise NotImplementedError("axes= is not differentiated; move the axes beforehand")
    shape = np.shape(a)[np.ndim(b) :]
    n = int(np.prod(shape))
    return np.reshape(np.linalg.solve(np.reshape(a, (-1, n)), np.ravel(b)), shape)


constant(np.linalg.matrix_rank, kind=PiecewiseConstant())
