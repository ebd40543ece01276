"""Gradients of W9 as one would write them by hand: of likelihoods, and adjoints of factorisations.

Sources: Rasmussen & Williams 2006, ch. 5; Giles 2008; Murray 2016; Townsend 2016.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg

from benchmarks.workload import Array, Function


def likelihood(squares: Any, y: Any, np: Any) -> Function:
    """Return the gradient of a Gaussian process's likelihood: one inverse, then weighted sums."""
    n = y.shape[0]
    flat, one = squares.reshape(3, -1), np.eye(n)

    def gradient(t: Any) -> Any:
        scale = np.exp(-2 * t[:3])
        kernel = np.exp(t[3] - 0.5 * (scale @ flat)).reshape(n, n)
        noise = np.exp(t[4])
        inverse = np.linalg.inv(kernel + (noise + 1e-6) * one)
        alpha = inverse @ y
        weights = 0.5 * (inverse - alpha[:, None] * alpha)
        weighted = (weights * kernel).ravel()
        by_noise = noise * np.trace(weights)
        return np.concatenate([scale * (flat @ weighted), np.stack([np.sum(weighted), by_noise])])

    return gradient


def factor(squares: Any, y: Any, np: Any) -> Function:
    """Return the Jacobian of the Cholesky factor of the kernel matrix: five tangents."""
    n = y.shape[0]
    one = np.eye(n)
    half = np.tril(np.ones((n, n))) - 0.5 * one

    def jacobian(t: Any) -> Any:
        scaled = squares * np.exp(-2 * t[:3])[:, None, None]
        kernel = np.exp(t[3] - 0.5 * np.sum(scaled, axis=0))
        noise = np.exp(t[4])
        L = np.linalg.cholesky(kernel + (noise + 1e-6) * one)
        inverse = np.linalg.inv(L)
        tangents = np.concatenate([scaled * kernel, kernel[None], noise * one[None]])
        found = L @ (half * (inverse @ tangents @ inverse.T))
        return np.moveaxis(found, 0, -1).reshape(n, n, 5)

    return jacobian


def _half(a: Array) -> Array:
    found: Array = np.tril(a)
    found[np.diag_indices_from(a)] *= 0.5
    return found


def cholesky(a: Array) -> Array:
    L = np.linalg.cholesky(a @ a.T)
    inverse = scipy.linalg.solve_triangular(L, np.eye(len(a)), lower=True, check_finite=False)
    S = inverse.T @ _half(L.T @ np.tril(np.cos(L))) @ inverse
    found: Array = (S + S.T) @ a
    return found


def qr(a: Array) -> Array:
    Q, R = np.linalg.qr(a)
    q2, r2 = Q * Q, R * R
    G = 2 * np.cos(q2 * r2)
    by_Q, by_R = G * r2 * Q, np.triu(G * q2 * R)
    M = R @ by_R.T - by_Q.T @ Q
    inner = by_Q + Q @ (np.tril(M) + np.tril(M, -1).T)
    found: Array = scipy.linalg.solve_triangular(R, inner.T, check_finite=False).T
    return found


def eigh(a: Array) -> Array:
    w, V = np.linalg.eigh((a + a.T) / 9)
    w2, V2 = w * w, V * V
    G = 2 * np.cos(w2 * V2)
    gaps = w - w[:, None]
    np.fill_diagonal(gaps, np.inf)
    inner = (V.T @ (G * w2 * V)) / gaps
    np.fill_diagonal(inner, np.sum(G * V2, axis=0) * w)
    S = V @ inner @ V.T / 9
    return S + S.T


def svd(a: Array) -> Array:
    U, s, Vt = np.linalg.svd(a)
    s2, U2 = s * s, U * U
    G = 2 * np.cos(U2 * s2)
    gaps = s2 - s2[:, None]
    np.fill_diagonal(gaps, np.inf)
    turned = U.T @ (G * s2 * U)
    inner = (turned - turned.T) / gaps * s
    np.fill_diagonal(inner, np.sum(G * U2, axis=0) * s)
    found: Array = U @ inner @ Vt
    return found


def pinv(a: Array) -> Array:
    P = np.linalg.inv(a)  # it is square and regular
    found: Array = -P.T @ np.cos(P) @ P.T
    return found


def lstsq(a: Array) -> Array:
    lu = scipy.linalg.lu_factor(a, check_finite=False)  # it is square and regular
    x = scipy.linalg.lu_solve(lu, a[:, 0] ** 2, check_finite=False)
    adjoint = scipy.linalg.lu_solve(lu, np.cos(x), trans=1, check_finite=False)
    found: Array = np.outer(-adjoint, x)
    found[:, 0] += 2 * a[:, 0] * adjoint
    return found


def expm(a: Array) -> Array:
    G = np.cos(scipy.linalg.expm(a / 9))
    found: Array = scipy.linalg.expm_frechet(a.T / 9, G, compute_expm=False, check_finite=False)
    return found / 9


def sqrtm(a: Array) -> Array:
    S = scipy.linalg.sqrtm(a)
    found: Array = scipy.linalg.solve_sylvester(S.T, S.T, np.cos(S))
    return found


ADJOINTS: dict[str, Callable[[Array], Array]] = {
    f.__name__: f for f in (cholesky, qr, eigh, svd, pinv, lstsq, expm, sqrtm)
}


def number(name: str, n: int) -> Function:
    """Return the gradient of one number through a factorisation of an n x n matrix."""
    adjoint = ADJOINTS[name]
    return lambda x: adjoint(x.reshape(n, n)).ravel()
