"""Functions of complex numbers that are not holomorphic, or have no row of their own, in real ones.

A matrix a + bi does to (re, im) what the real matrix [[a, -b], [b, a]] does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainad.rules.base import DEFINED
from chainad.rules.complexes import COMPLEX, argument, modulus
from chainad.rules.norms import matrix_norm
from chainad.rules.reduction import deviation_by_norm, variance_by_sums


def _by(*functions: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function as what some functions are on complex numbers."""

    def register(definition: Callable[..., Any]) -> Callable[..., Any]:
        COMPLEX.update(dict.fromkeys(functions, definition))
        return definition

    return register


_by(np.var)(variance_by_sums)
_by(np.std)(deviation_by_norm)
_by(np.angle)(lambda z, deg=False: argument(z) * (180 / np.pi) if deg else argument(z))


@_by(np.sign)
def _sign(z: Any) -> Any:
    size = modulus(z)
    return z / np.where(np.equal(size, 0), 1.0, size)


@_by(np.cumsum)
def _cumsum(a: Any, *args: Any, **kwargs: Any) -> Any:
    return np.cumsum(np.real(a), *args, **kwargs) + 1j * np.cumsum(np.imag(a), *args, **kwargs)


# ------------------------------------------------- what conjugates one operand


_by(np.vdot)(lambda a, b: np.dot(np.conjugate(np.ravel(a)), np.ravel(b)))


@_by(np.vecdot, np.linalg.vecdot)
def _vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    return np.sum(np.conjugate(x1) * x2, axis=axis)


def _vecmat(x1: Any, x2: Any, /) -> Any:
    return np.matmul(np.conjugate(x1)[..., None, :], x2)[..., 0, :]


if hasattr(np, "vecmat"):
    _by(np.vecmat)(_vecmat)


_by(np.correlate)(lambda a, v, mode="valid": DEFINED[np.correlate](a, np.conjugate(v), mode))


# ------------------------------------------------------------- linear algebra


@_by(np.linalg.norm)
def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: Any = False) -> Any:
    found = matrix_norm(x, ord, axis, keepdims)
    if found is not NotImplemented:
        return found
    if ord not in (None, "fro", 2):
        return np.linalg.norm(np.abs(x), ord, axis, keepdims)
    if axis is None:
        parts = np.stack([np.real(x), np.imag(x)])
        found = np.linalg.norm(np.ravel(parts))
        return np.reshape(found, (1,) * np.ndim(x)) if keepdims else found
    along = int(np.ravel(axis)[0])
    parts = np.concatenate([np.real(x), np.imag(x)], axis=along)
    return np.linalg.norm(parts, None, axis, keepdims)


def _as_real(a: Any) -> Any:
    """Return the real matrices that act on (re, im) as complex ones do."""
    re, im = np.real(a), np.imag(a)
    rows = [np.concatenate([re, -im], -1), np.concatenate([im, re], -1)]
    return np.concatenate(rows, axis=-2)


def _joined(parts: Any, axis: int) -> Any:
    """Return complex numbers from their real parts, followed by the imaginary ones."""
    re, im = np.split(parts, 2, axis=axis)
    return re + 1j * im


@_by(np.linalg.pinv)
def _pinv(a: Any, *args: Any, **kwargs: Any) -> Any:
    found = np.linalg.pinv(_as_real(a), *args, **kwargs)
    return _joined(found[..., : np.shape(a)[-2]], axis=-2)


@_by(np.linalg.svdvals)
def _svdvals(x: Any, /) -> Any:
    return np.linalg.svdvals(_as_real(x))[..., ::2]  # each of them occurs twice


@_by(np.linalg.eigvalsh)
def _eigvalsh(a: Any, UPLO: Any = "L") -> Any:
    half = np.tril(a, -1) if UPLO.upper() == "L" else np.triu(a, 1)
    diagonal = np.real(np.diagonal(a, axis1=-2, axis2=-1))[..., None] * np.eye(np.shape(a)[-1])
    full = half + np.conjugate(np.matrix_transpose(half)) + diagonal
    return np.linalg.eigvalsh(_as_real(full), UPLO)[..., ::2]
