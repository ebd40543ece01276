"""Linear algebra: solves and least squares as operators, inverses and determinants.

Source: M. Giles 2008, *An extended collection of matrix derivative results*.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import matrix_transpose as transpose

from chainad.ir.array_functions import is_ndarray
from chainad.ir.graph import Argument
from chainad.rules.base import (
    Composite,
    Local,
    Locals,
    constant,
    defined,
    dispatching,
    rule,
    static,
)
from chainad.rules.decompositions import (
    left_vectors,
    right_vectors,
    singular_factors,
    singular_values,
)
from chainad.rules.kinds import Holomorphic, PiecewiseConstant
from chainad.rules.matrix_operators import (
    I,
    J,
    K,
    batch_axes,
    batch_labels,
    batch_sizes,
    matrix_local,
    matrix_operator,
    sizes_in,
)
from chainad.structure import from_labels, operator
from chainad.structure.linear_operators import Inverse, Operator

# --------------------------------------------------------------------- solves


@rule(np.linalg.solve, operands=(0, 1), kind=Holomorphic())
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


@rule(np.linalg.inv, kind=Holomorphic())
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
        return y[..., None, None] * transpose(np.linalg.inv(a))
    return cofactors(a)


defined(slopes_of_det)(lambda y, a: cofactors(a))


@rule(np.linalg.det, kind=Holomorphic())
def _det(y: Argument, a: Argument) -> Locals:
    return {a: matrix_local(y, a, (), slopes_of_det)}


def _products_without_two(s: Any) -> Any:
    """Return at (i, k) the product of all entries but those at i and k; anything where i is k."""
    n = s.shape[-1]
    one = np.ones((*s.shape[:-1], 1), s.dtype)
    before = np.cumprod(np.concatenate([one, s[..., :-1]], -1), -1)
    behind = np.flip(np.cumprod(np.concatenate([one, np.flip(s[..., 1:], -1)], -1), -1), -1)
    # Between i and k: a running product along each row, from the entry after i on.
    later = np.where(np.tri(n, dtype=bool), 1.0, s[..., None, :])
    between = np.cumprod(np.concatenate([np.ones_like(later[..., :1]), later[..., :-1]], -1), -1)
    upper = np.triu(before[..., :, None] * between * behind[..., None, :], 1)
    return upper + transpose(upper)


@rule(cofactors, kind=Holomorphic())
def _cofactors(y: Argument, a: Argument) -> Locals:
    # In the basis of the singular vectors the matrix is diagonal, and what is small cancels
    # beforehand; elsewhere (tr(c^T da) c - c da^T c) / det, which is of the same form.
    def prepare(c: Any, a: Any) -> tuple[Any, ...]:
        if is_ndarray(a):
            sign, u, s, vh = _rotated(a)
            return sign[..., None, None] * u, u, vh, _products_without_two(s)
        _refuse_ill_conditioned(a)
        unit = np.ones_like(c[..., :1]) * np.eye(c.shape[-1])
        return c, c, unit, np.ones_like(c) / np.linalg.det(a)[..., None, None]

    def push(da: Any, left: Any, u: Any, vh: Any, others: Any) -> Any:
        x = transpose(u) @ da @ transpose(vh)
        return left @ (_diagonal(others, x) - others * transpose(x)) @ vh

    def pull(adjoint: Any, left: Any, u: Any, vh: Any, others: Any) -> Any:
        x = transpose(left) @ adjoint @ transpose(vh)
        return u @ (_diagonal(others, x) - others * transpose(x)) @ vh

    return {a: matrix_operator(y, a, (I, J), 4 * a.shape[-1] ** 3, prepare, push, pull)}


def _diagonal(others: Any, x: Any) -> Any:
    """Return the diagonal matrices of a symmetric matrix times the diagonal of x."""
    diagonal = np.diagonal(x, axis1=-2, axis2=-1)
    return (others @ diagonal[..., None]) * np.eye(x.shape[-1])


def _refuse_ill_conditioned(a: Any) -> None:
    s = np.linalg.svdvals(a)
    if not np.all(s[..., -1] > 1e-5 * s[..., 0]):
        raise np.linalg.LinAlgError(
            "third derivatives of np.linalg.det are only given for well-conditioned matrices, but"
            " the condition number is above 1e5; np.linalg.slogdet may do"
        )


@dispatching
def logabsdet(a: Any) -> Any:
    """Return log |det a|; the second part of np.linalg.slogdet, which goes through it."""
    return np.linalg.slogdet(a)[1]


@rule(logabsdet)
def _logabsdet(y: Argument, a: Argument) -> Locals:
    return {a: matrix_local(y, a, (), lambda y, a: transpose(np.linalg.inv(a)))}


@dispatching
def sign_of_det(a: Any) -> Any:
    """Return the sign of det a, the first part of np.linalg.slogdet."""
    return np.linalg.slogdet(a)[0]


constant(sign_of_det, kind=PiecewiseConstant())


@defined(np.linalg.slogdet)
def _slogdet(a: Any) -> Any:
    pair = type(np.linalg.slogdet(np.eye(1)))
    return pair(sign_of_det(a), logabsdet(a))


# --------------------------------------------------------------- least squares


@rule(np.linalg.pinv)
def _pinv(y: Argument, a: Argument, rcond: Any = None, *args: Any, **kwargs: Any) -> Locals:
    # Golub & Pereyra 1973, for matrices of constant rank.
    def prepare(p: Any, a: Any) -> tuple[Any, ...]:
        left = np.eye(a.shape[-1], dtype=a.dtype) - p @ a
        right = np.eye(a.shape[-2], dtype=a.dtype) - a @ p
        return p, p @ transpose(p), transpose(p) @ p, left, right

    def push(da: Any, p: Any, pp: Any, qq: Any, left: Any, right: Any) -> Any:
        back = transpose(da)
        return pp @ back @ right + left @ back @ qq - p @ da @ p

    def pull(adjoint: Any, p: Any, pp: Any, qq: Any, left: Any, right: Any) -> Any:
        back = transpose(adjoint)
        return right @ back @ pp + qq @ back @ left - transpose(p) @ adjoint @ transpose(p)

    m, n = a.shape[-2:]
    return {a: matrix_operator(y, a, (I, J), 3 * m * n * (m + n), prepare, push, pull)}


@dispatching
def least_squares(a: Any, b: Any, factors: Any, cutoff: float) -> Any:
    """Return the least x of those with the least norm of a x - b, from the singular factors of a.

    Singular values up to `cutoff` times the largest count as zero.
    """
    s = singular_values(a, factors)
    is_kept = s > cutoff * s.max(initial=0.0)
    u, v = left_vectors(a, factors)[:, is_kept], right_vectors(a, factors)[:, is_kept]
    return (v / s[is_kept]) @ (transpose(u) @ b)


@rule(least_squares, operands=(0, 1, 2))
def _least_squares(
    y: Argument, a: Argument, b: Argument, factors: Argument, cutoff: float
) -> Locals:
    # With r = b - a x: dx = p (db - da x) + p p^T da^T r + (1 - p a) da^T p^T x, p pseudo-inverse.
    (m, n), is_vector = a.shape, b.ndim == 1
    count = 1 if is_vector else b.shape[1]
    last = () if is_vector else ((count, (K,)),)

    def inverse(a: Any, factors: Any) -> Any:
        return least_squares(a, np.eye(m, dtype=a.dtype), factors, cutoff)

    def prepare(y: Any, a: Any, b: Any, factors: Any) -> tuple[Any, ...]:
        x, p = np.reshape(y, (n, count)), inverse(a, factors)
        return x, p, p @ transpose(p), np.reshape(b, (m, count)) - a @ x, transpose(p) @ x, a

    def push(da: Any, x: Any, p: Any, pp: Any, r: Any, z: Any, a: Any) -> Any:
        back = transpose(da)
        along = back @ z
        return pp @ (back @ r) + along - p @ (a @ along + da @ x)

    def pull(adjoint: Any, x: Any, p: Any, pp: Any, r: Any, z: Any, a: Any) -> Any:
        adjoint = np.reshape(adjoint, (*adjoint.shape[:1], n, count))
        pulled = transpose(p) @ adjoint
        rest = adjoint - transpose(a) @ pulled
        return r @ transpose(pp @ adjoint) + z @ transpose(rest) - pulled @ transpose(x)

    result = (I,) if is_vector else (I, J)
    cost = count * (4 * m * n + n * n)
    found: dict[Argument, Local | None] = {factors: None}
    if a.traced:
        found[a] = matrix_operator(y, a, result, cost, prepare, push, pull)
    if b.traced:
        rows, cols = [(n, (I,)), *last], [(m, (J,)), *last]
        sizes = sizes_in({I: n, J: m, K: count}, rows, cols)
        found[b] = Local(
            from_labels(rows, cols, sizes, (I, J)), lambda y, a, b, factors: inverse(a, factors)
        )
    return found


# --------------------------------------------------------- in terms of others


@defined(np.linalg.lstsq)
def _lstsq(a: Any, b: Any, rcond: Any = None) -> Any:
    m, n = np.shape(a)
    accuracy = np.finfo(a.dtype).eps
    cutoff = float(accuracy * max(m, n) if rcond is None else accuracy if rcond == -1 else rcond)
    factors = singular_factors(a)
    s = singular_values(a, factors)
    x = least_squares(a, b, factors, cutoff)
    rank = np.int32(np.count_nonzero(s > cutoff * np.max(s, initial=0.0)))
    left = np.sum(np.square(b - a @ x), axis=0)
    residuals = np.atleast_1d(left) if m > n == rank else np.zeros(0, x.dtype)
    return x, residuals, rank, s


@defined(np.linalg.cond)
def _cond(x: Any, p: Any = None) -> Any:
    p = static(p)
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
