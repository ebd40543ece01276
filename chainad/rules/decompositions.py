"""Decompositions of general matrices: singular vectors, QR, and real eigenvalues.

Each factor is a call of its own, so that what is not used is not differentiated. Singular values
must be distinct and not zero, columns independent, eigenvalues real and distinct.
Source: M. Giles 2008, *An extended collection of matrix derivative results*; S. Walter & L. Lehmann
2010, *Algorithmic differentiation of linear algebra functions* (QR).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainad.ir.graph import Argument
from chainad.rules.base import Locals, defined, dispatching, rule
from chainad.rules.matrix_operators import I, J, matrix_local
from chainad.rules.statistics import values_of

# ------------------------------------------------------------ singular vectors


@dispatching
def left_vectors(a: Any) -> Any:
    """Return the left singular vectors, the first part of np.linalg.svd, as many as values."""
    return np.linalg.svd(a, full_matrices=False)[0]


@dispatching
def right_vectors(a: Any) -> Any:
    """Return the right singular vectors as rows, the third part of np.linalg.svd."""
    return np.linalg.svd(a, full_matrices=False)[2]


def _vector_slopes(u: Any, a: Any) -> Any:
    """Return the derivatives of the left vectors u (m, k) by a (m, n): (m, k, m, n)."""
    s = np.linalg.svdvals(a)
    v = (np.matrix_transpose(a) @ u) / s[..., None, :]
    k = np.shape(s)[-1]
    squares = np.square(s)
    gaps = squares[..., None, :] - squares[..., :, None] + np.eye(k)  # (i, j): s_j^2 - s_i^2
    weights = (1 - np.eye(k)) / gaps
    us, vs = u * s[..., None, :], v * s[..., None, :]
    inside = np.einsum("...ai,...ij,...pi,...qj->...ajpq", u, weights, u, vs)
    inside = inside + np.einsum("...ai,...ij,...qi,...pj->...ajpq", us, weights, v, u)
    outside = np.eye(np.shape(a)[-2]) - u @ np.matrix_transpose(u)
    return inside + np.einsum("...ap,...qj->...ajpq", outside, v / s[..., None, :])


@rule(left_vectors)
def _left_vectors(y: Argument, a: Argument) -> Locals:
    return {a: matrix_local(y, a, (I, J), _vector_slopes)}


@rule(right_vectors)
def _right_vectors(y: Argument, a: Argument) -> Locals:
    def formula(vh: Any, a: Any) -> Any:
        # The right vectors of a are the left ones of its transpose.
        found = _vector_slopes(np.matrix_transpose(vh), np.matrix_transpose(a))
        return np.swapaxes(np.swapaxes(found, -1, -2), -3, -4)

    return {a: matrix_local(y, a, (I, J), formula)}


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
    triple = type(np.linalg.svd(np.eye(1)))
    return triple(left_vectors(a), np.linalg.svdvals(a), right_vectors(a))


# -------------------------------------------------------------------------- QR


@dispatching
def orthogonal_factor(a: Any) -> Any:
    """Return q of np.linalg.qr, for matrices that are not wide."""
    return np.linalg.qr(a)[0]


@dispatching
def triangular_factor(a: Any) -> Any:
    """Return r of np.linalg.qr, for matrices that are not wide."""
    return np.linalg.qr(a, "r")


def _turned(q: Any, a: Any) -> tuple[Any, Any, Any]:
    """Return r, its inverse, and which entries lie below the diagonal."""
    r = np.matrix_transpose(q) @ a
    n = np.shape(a)[-1]
    return r, np.linalg.inv(np.triu(r)), np.tril(np.ones((n, n)), -1)


@rule(orthogonal_factor)
def _orthogonal_factor(y: Argument, a: Argument) -> Locals:
    def formula(q: Any, a: Any) -> Any:
        # With c = q^T da r^-1: dq = q (below(c) - below(c)^T) + (1 - q q^T) da r^-1.
        _, inverse, below = _turned(q, a)
        found = np.einsum("...ai,ij,...ki,...lj->...ajkl", q, below, q, inverse)
        found = found - np.einsum("...ai,ji,...kj,...li->...ajkl", q, below, q, inverse)
        outside = np.eye(np.shape(a)[-2]) - q @ np.matrix_transpose(q)
        return found + np.einsum("...ak,...lj->...ajkl", outside, inverse)

    return {a: matrix_local(y, a, (I, J), formula)}


@rule(triangular_factor)
def _triangular_factor(y: Argument, a: Argument) -> Locals:
    def formula(r: Any, a: Any) -> Any:
        # dr = (c - below(c) + below(c)^T) r.
        q = a @ np.linalg.inv(r)
        _, inverse, below = _turned(q, a)
        found = np.einsum("ij,...ki,...lj,...jb->...ibkl", 1 - below, q, inverse, r)
        return found + np.einsum("ji,...kj,...li,...jb->...ibkl", below, q, inverse, r)

    return {a: matrix_local(y, a, (I, J), formula)}


@defined(np.linalg.qr)
def _qr(a: Any, mode: str = "reduced") -> Any:
    m, n = np.shape(a)[-2:]
    if mode not in ("reduced", "r") and not (mode == "complete" and m <= n):
        raise NotImplementedError("only mode='reduced' and mode='r' are differentiated")
    left = a[..., :m]
    q = orthogonal_factor(left)
    r = triangular_factor(left)
    if m < n:
        r = np.concatenate([r, np.matrix_transpose(q) @ a[..., m:]], axis=-1)
    pair = type(np.linalg.qr(np.eye(1)))
    return r if mode == "r" else pair(q, r)


# ----------------------------------------------------------------- eigenvalues


def as_real(z: Any, tolerance: float = 0.0) -> Any:
    """Return numbers as real if their imaginary parts are zero: NumPy 2.5 has complex ones here."""
    if not np.iscomplexobj(z) or abs(z.imag).max(initial=0.0) > tolerance * abs(z).max(initial=0.0):
        return z
    return z.real.copy()


@dispatching
def real_eigenvalues(a: Any) -> Any:
    """Return the eigenvalues of general matrices, in the order of np.linalg.eig."""
    return as_real(np.linalg.eig(a)[0])


@dispatching
def real_eigenvectors(a: Any) -> Any:
    """Return the eigenvectors of general matrices, of length 1."""
    return as_real(np.linalg.eig(a)[1])


def _gaps(w: Any) -> Any:
    """Return w_j - w_i at (i, j), and 1 on the diagonal; raise if eigenvalues coincide."""
    n = np.shape(w)[-1]
    gaps = w[..., None, :] - w[..., :, None] + np.eye(n)
    if np.any(gaps == 0):
        raise np.linalg.LinAlgError(
            "an eigenvalue that occurs twice has no derivative; np.linalg.eigvalsh may do for"
            " symmetric matrices"
        )
    return gaps


@rule(real_eigenvalues)
def _real_eigenvalues(y: Argument, a: Argument) -> Locals:
    def formula(w: Any, a: Any) -> Any:
        _gaps(w)
        r = real_eigenvectors(a)
        return np.einsum("...ik,...li->...ikl", np.linalg.inv(r), r)

    return {a: matrix_local(y, a, (I,), formula)}


@rule(real_eigenvectors)
def _real_eigenvectors(y: Argument, a: Argument) -> Locals:
    def formula(r: Any, a: Any) -> Any:
        n = np.shape(a)[-1]
        weights = (1 - np.eye(n)) / _gaps(real_eigenvalues(a))
        # Directions along r_i, less what would change the length of r_j.
        along = np.einsum("...ai,...ij->...aij", r, weights)
        lengths = np.einsum("...aj,...aij->...ij", r, along)
        along = along - np.einsum("...aj,...ij->...aij", r, lengths)
        return np.einsum("...aij,...ik,...lj->...ajkl", along, np.linalg.inv(r), r)

    return {a: matrix_local(y, a, (I, J), formula)}


def _refuse_complex(a: Any) -> None:
    if np.iscomplexobj(as_real(np.linalg.eigvals(values_of(a)))):
        raise NotImplementedError(
            "some eigenvalues are complex here, and these are not differentiated; use"
            " np.linalg.eigh for symmetric matrices"
        )


@defined(np.linalg.eig)
def _eig(a: Any) -> Any:
    _refuse_complex(a)
    pair = type(np.linalg.eig(np.eye(1)))
    return pair(real_eigenvalues(a), real_eigenvectors(a))


@defined(np.linalg.eigvals)
def _eigvals(a: Any) -> Any:
    _refuse_complex(a)
    plain = values_of(a)
    # The same values in the order of np.linalg.eigvals, which may differ from that of eig.
    rising = np.argsort(np.linalg.eig(plain)[0])
    place = np.argsort(np.argsort(np.linalg.eigvals(plain)))
    return np.take_along_axis(real_eigenvalues(a), np.take_along_axis(rising, place, -1), -1)
