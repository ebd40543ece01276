"""Polynomials, in terms of functions that have rows of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainad.rules.base import defined, refuse_unless
from chainad.rules.statistics import values_of


@defined(np.polyder)
def _polyder(p: Any, m: int = 1) -> Any:
    for _ in range(m):
        n = np.size(p) - 1
        p = p[:-1] * np.arange(n, 0, -1.0) if n > 0 else p[:0]
    return p


@defined(np.polyint)
def _polyint(p: Any, m: int = 1, k: Any = None) -> Any:
    refuse_unless(k is None, "k= is not differentiated; add the constants afterwards")
    for _ in range(m):
        scaled = p / np.arange(np.size(p), 0, -1.0)
        p = np.concatenate([scaled, np.zeros(1)])
    return p


def _added(sign: float) -> Callable[[Any, Any], Any]:
    def definition(a1: Any, a2: Any) -> Any:
        a1, a2 = np.atleast_1d(a1), np.atleast_1d(a2)
        n = max(np.size(a1), np.size(a2))
        return np.pad(a1, (n - np.size(a1), 0)) + sign * np.pad(a2, (n - np.size(a2), 0))

    return definition


defined(np.polyadd)(_added(1.0))
defined(np.polysub)(_added(-1.0))


@defined(np.polymul)
def _polymul(a1: Any, a2: Any) -> Any:
    return np.convolve(a1, a2)


@defined(np.poly)
def _poly(seq_of_zeros: Any) -> Any:
    zeros = np.linalg.eigvals(seq_of_zeros) if np.ndim(seq_of_zeros) == 2 else seq_of_zeros
    zeros = np.ravel(zeros)
    if not np.size(zeros):
        return 1.0
    found, none = np.ones(1, zeros.dtype), np.zeros(1, zeros.dtype)
    for zero in zeros:
        found = np.concatenate([found, none]) - zero * np.concatenate([none, found])
    return found


@defined(np.polydiv)
def _polydiv(u: Any, v: Any) -> Any:
    u, v = np.atleast_1d(u), np.atleast_1d(v)
    n, dtype = np.size(v), np.result_type(u, v)
    found = []
    while np.size(u) >= n:
        found.append(u[0] / v[0])
        u = np.concatenate([u[1:n] - found[-1] * v[1:], u[n:]])
    if not found:
        return np.zeros(1, dtype), u
    # NumPy drops leading zeros of the remainder, but keeps one entry.
    plain = values_of(u)
    rest = np.flatnonzero(np.abs(plain) > 1e-8)
    start = rest[0] if rest.size else max(plain.size - 1, 0)
    return np.stack(found), u[start:] if plain.size else np.zeros(1, dtype)


@defined(np.vander)
def _vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    n = np.size(x) if N is None else N
    powers = np.arange(n) if increasing else np.arange(n - 1, -1, -1)
    return np.reshape(x, (-1, 1)) ** powers


@defined(np.polyfit)
def _polyfit(x: Any, y: Any, deg: int, rcond: Any = None, full: bool = False, w: Any = None) -> Any:
    refuse_unless(rcond is None and not full, "rcond= and full= are not differentiated")
    a = np.vander(x, int(deg) + 1)
    if w is not None:
        a, y = a * np.reshape(w, (-1, 1)), np.multiply(np.transpose(y), w).T
    scale = np.sqrt(np.sum(np.square(a), axis=0))
    found = np.linalg.pinv(a / scale) @ y
    return np.transpose(np.transpose(found) / scale)
