"""Functions of complex numbers that are not holomorphic, or have no row of their own, in real ones.

An entry a + bi of a matrix does to (re, im) what the real block [[a, -b], [b, a]] does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainad.rules.base import DEFINED, constant, dispatching
from chainad.rules.complexes import COMPLEX, argument, modulus
from chainad.rules.decompositions import eigenvalues, singular_values
from chainad.rules.kinds import PiecewiseConstant
from chainad.rules.linear_algebra import logabsdet, sign_of_det
from chainad.rules.norms import matrix_norm
from chainad.rules.reduction import deviation_by_norm, variance_by_sums
from chainad.rules.statistics import values_of


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
    """Return the real matrices that act on (re, im) of every entry in turn as complex ones do."""
    return _real_of_parts(np.real(a), np.imag(a))


def _real_of_parts(re: Any, im: Any) -> Any:
    rows = [np.stack([re, -im], -1), np.stack([im, re], -1)]
    *batch, m, n = np.shape(re)
    return np.reshape(np.stack(rows, -3), (*batch, 2 * m, 2 * n))


def _as_complex(a: Any) -> Any:
    """Return the complex matrices that act as these real ones."""
    return a[..., ::2, ::2] + 1j * a[..., 1::2, ::2]


def _parts_of_hermitian(a: Any) -> tuple[Any, Any]:
    """Return both parts of matrices whose imaginary parts on the diagonal are not read."""
    return np.real(a), np.where(np.eye(np.shape(a)[-1], dtype=bool), 0.0, np.imag(a))


@_by(np.linalg.pinv)
def _pinv(a: Any, *args: Any, **kwargs: Any) -> Any:
    return _as_complex(np.linalg.pinv(_as_real(a), *args, **kwargs))


@_by(np.linalg.svdvals)
def _svdvals(x: Any, /) -> Any:
    return np.linalg.svdvals(_as_real(x))[..., ::2]  # each of them occurs twice


_by(singular_values)(lambda a, factors: np.linalg.svdvals(a))


@_by(np.linalg.eigvalsh)
def _eigvalsh(a: Any, UPLO: Any = "L") -> Any:
    return np.linalg.eigvalsh(_real_of_parts(*_parts_of_hermitian(a)), UPLO)[..., ::2]


_by(eigenvalues)(lambda a, factors, uplo: np.linalg.eigvalsh(a, uplo))
_by(logabsdet)(lambda a: logabsdet(_as_real(a)) / 2)


@_by(sign_of_det)
def _sign_of_det(a: Any) -> Any:
    size = values_of(logabsdet(a))[..., None, None]  # determinants may be out of range
    scale = np.exp(-size / max(np.shape(a)[-1], 1))
    return np.sign(np.linalg.det(a * np.where(np.isfinite(scale), scale, 1.0)))


# Of both, the factors of the real matrix are the real matrices of the factors.
@_by(np.linalg.cholesky)
def _cholesky(a: Any, /, *, upper: bool = False) -> Any:
    return _as_complex(np.linalg.cholesky(_real_of_parts(*_parts_of_hermitian(a)), upper=upper))


@_by(np.linalg.qr)
def _qr(a: Any, mode: Any = "reduced") -> Any:
    found = np.linalg.qr(_as_real(a), mode)
    r = found if mode == "r" else found[1]
    # The diagonal of r is real in LAPACK, of any sign.
    signs = np.repeat(signs_of_qr(a), 2, -1) * np.sign(np.diagonal(r, axis1=-2, axis2=-1))
    r = _as_complex(r * signs[..., None])
    return r if mode == "r" else type(found)(_as_complex(found[0] * signs[..., None, :]), r)


@dispatching
def signs_of_qr(a: Any) -> Any:
    """Return the signs of the diagonal of r in np.linalg.qr."""
    return np.sign(np.real(np.diagonal(np.linalg.qr(a, "r"), axis1=-2, axis2=-1)))


constant(signs_of_qr, kind=PiecewiseConstant())
