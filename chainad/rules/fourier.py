"""Fourier transforms along one axis, as operators; those along several go axis by axis.

Cost: 5/2 n log2 n multiplications for each transform of length n.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log2
from typing import Any

import numpy as np

from chainad.ir.array_functions import is_ndarray, join_pairs, split_pairs
from chainad.ir.graph import Argument
from chainad.rules.base import Local, Locals, defined, normalize_axes, rule
from chainad.rules.movement import movement
from chainad.structure import arrange, operator
from chainad.structure.linear_operators import Operator
from chainad.structure.structure import Axis

# The factor in front: 1 for the direction that `norm` leaves alone, else 1/n.
_FORWARD = {None: 0.0, "backward": 0.0, "ortho": 0.5, "forward": 1.0}

# The system gives memory for larger copies anew each time, and clears it first.
_MAX_BLOCK_BYTES = 120_000


class FourierTransform(Operator):
    """A transform of `n_given` entries (cut or padded to n), on pairs (re, im) where complex."""

    batch = ()

    def __init__(
        self, kind: str, n_given: int, n: int, norm: Any, pairs: tuple[bool, bool]
    ) -> None:
        self.kind, self.n_given, self.n, self.norm, self.pairs = kind, n_given, n, norm, pairs
        made = {"rfft": n // 2 + 1}.get(kind, n)
        self.n_out = made * (1 + pairs[0])
        self.n_in = n_given * (1 + pairs[1])
        self.dtype = np.dtype(float)

    def jvp(self, tangents: Any) -> Any:
        count = np.shape(tangents)[-1]
        x = _joined(np.reshape(tangents, (self.n_given, -1, count)))
        y = getattr(np.fft, self.kind)(x, self.n, 0, self.norm)
        return np.reshape(_split(y) if self.pairs[0] else y, (self.n_out, count))

    def vjp(self, adjoints: Any) -> Any:
        # Every row is transformed where it lies: its entries, and re and im, are side by side.
        count = np.shape(adjoints)[0]
        shape = (count, -1, 2)
        y = join_pairs(np.reshape(adjoints, shape)) if self.pairs[0] else adjoints
        x = self._adjoint(y)[:, : self.n_given]
        missing = self.n_given - np.shape(x)[1]
        x = np.pad(x, ((0, 0), (0, missing))) if missing else x
        return np.reshape(split_pairs(x) if self.pairs[1] else np.real(x), (count, self.n_in))

    def materialize(self) -> Any:
        return self.vjp(np.eye(self.n_out))

    def _adjoint(self, y: Any) -> Any:
        """Return the conjugate transpose of the transform, applied along the last axis."""
        if self.kind == "ifft":
            return np.fft.fft(y, self.n, -1, self._norm)
        if self.kind == "fft":
            return np.fft.ifft(y, self.n, -1, self._norm)
        # Of two conjugate frequencies one is there: it stands for both.
        if self.kind == "irfft":
            found = np.fft.rfft(y, self.n, -1, self._norm)
            return self._weighted(found, 2.0, in_place=is_ndarray(found))
        if not is_ndarray(y) or y.dtype != complex:
            return np.fft.irfft(self._weighted(y, 0.5), self.n, -1, self._norm)
        made = np.empty((len(y), self.n))
        step = max(1, _MAX_BLOCK_BYTES // (y.itemsize * y.shape[1]))
        for start in range(0, len(y), step):
            rows = slice(start, start + step)
            weighted = self._weighted(y[rows], 0.5)
            np.fft.irfft(weighted, self.n, -1, self._norm, out=made[rows])
        return made

    def _weighted(self, y: Any, weight: float, in_place: bool = False) -> Any:
        """Return frequencies times a weight, but for those that are their own conjugates."""
        weights = np.full((self.n // 2 + 1, 2), weight)
        weights[0] = 1
        if self.n % 2 == 0:
            weights[-1] = 1
        # Real and imaginary parts in one row: NumPy would make complex numbers of the weights.
        pairs = np.reshape(split_pairs(y), (-1, weights.size))
        pairs = np.multiply(pairs, weights.ravel(), *((pairs,) if in_place else ()))
        return join_pairs(np.reshape(pairs, (-1, *weights.shape)))

    @property
    def _norm(self) -> Any:
        """The norm with which the transform the other way has the factor of this one."""
        is_forward = self.kind in ("fft", "rfft")
        power = _FORWARD[self.norm] if is_forward else 1 - _FORWARD[self.norm]
        return {0.5: "ortho", float(is_forward): "backward"}.get(power, "forward")


def _joined(pairs: Any) -> Any:
    """Return complex numbers from (n, 2, k), or the real ones of (n, 1, k)."""
    if np.shape(pairs)[1] == 1:
        return pairs[:, 0]
    return pairs[:, 0] + 1j * pairs[:, 1]


def _split(x: Any) -> Any:
    return np.stack([np.real(x), np.imag(x)], 1)


def _transform(kind: str, makes_complex: bool) -> Callable[..., Locals]:
    def locals_(
        y: Argument, x: Argument, n: Any = None, axis: int = -1, norm: Any = None
    ) -> Locals:
        at = normalize_axes(axis, x.ndim)[0]
        given = x.shape[at]
        length = y.shape[at] if kind != "rfft" else (given if n is None else int(n))
        pairs = (makes_complex, x.dtype.kind == "c")
        out = x.ndim  # labels: the axes of x, then those of the result
        rows = [Axis(m, (out if k == at else k,)) for k, m in enumerate(y.shape)]
        cols = [Axis(m, (k,)) for k, m in enumerate(x.shape)]
        sizes = {**dict(enumerate(x.shape)), out: y.shape[at]}
        stored = [out, at]
        if pairs[0]:
            rows.append(Axis(2, (out + 1,)))
            sizes[out + 1] = 2
            stored.insert(1, out + 1)
        if pairs[1]:
            cols.append(Axis(2, (out + 2,)))
            sizes[out + 2] = 2
            stored.append(out + 2)
        found = arrange(rows, cols, sizes, stored)
        shape = tuple(sizes[k] for k in stored)

        def fourier() -> FourierTransform:
            return FourierTransform(kind, given, length, norm, pairs)

        if found.ops or 1 in (given, y.shape[at]):
            return {x: Local(found, lambda y, x: np.reshape(fourier().materialize(), shape))}
        cost = round(2.5 * length * log2(max(2, length)))
        return {x: Local(operator(found, cost, cost, 0), lambda y, x: fourier())}

    return locals_


rule(np.fft.fft, has_pairs=True)(_transform("fft", True))
rule(np.fft.ifft, has_pairs=True)(_transform("ifft", True))
rule(np.fft.rfft, has_pairs=True)(_transform("rfft", True))
rule(np.fft.irfft, has_pairs=True)(_transform("irfft", False))
movement(np.fft.fftshift, np.fft.ifftshift)


def _lengths(a: Any, s: Any, axes: Any) -> list[tuple[Any, int]]:
    """Return length and axis of every transform."""
    if axes is None:
        axes = range(np.ndim(a)) if s is None else range(-len(s), 0)
    axes = [int(k) for k in axes]
    return list(zip([None] * len(axes) if s is None else s, axes, strict=True))


def _along(function: Any, default: Any) -> Callable[..., Any]:
    def definition(a: Any, s: Any = None, axes: Any = default, norm: Any = None) -> Any:
        for n, axis in reversed(_lengths(a, s, axes)):
            a = function(a, n, axis, norm)
        return a

    return definition


defined(np.fft.fftn)(_along(np.fft.fft, None))
defined(np.fft.ifftn)(_along(np.fft.ifft, None))
defined(np.fft.fft2)(_along(np.fft.fft, (-2, -1)))
defined(np.fft.ifft2)(_along(np.fft.ifft, (-2, -1)))


def _real_forward(default: Any) -> Callable[..., Any]:
    def definition(a: Any, s: Any = None, axes: Any = default, norm: Any = None) -> Any:
        *others, (n, last) = _lengths(a, s, axes)
        a = np.fft.rfft(a, n, last, norm)
        for m, axis in reversed(others):
            a = np.fft.fft(a, m, axis, norm)
        return a

    return definition


def _real_back(default: Any) -> Callable[..., Any]:
    def definition(a: Any, s: Any = None, axes: Any = default, norm: Any = None) -> Any:
        *others, (n, last) = _lengths(a, s, axes)
        for m, axis in others:
            a = np.fft.ifft(a, m, axis, norm)
        return np.fft.irfft(a, n, last, norm)

    return definition


defined(np.fft.rfftn)(_real_forward(None))
defined(np.fft.rfft2)(_real_forward((-2, -1)))
defined(np.fft.irfftn)(_real_back(None))
defined(np.fft.irfft2)(_real_back((-2, -1)))

# The norm of a transform, for the one in the other direction.
_SWAPPED: dict[Any, Any] = {
    None: "forward",
    "backward": "forward",
    "ortho": "ortho",
    "forward": "backward",
}


@defined(np.fft.hfft)
def _hfft(a: Any, n: Any = None, axis: int = -1, norm: Any = None) -> Any:
    return np.fft.irfft(np.conjugate(a), n, axis, _SWAPPED[norm])


@defined(np.fft.ihfft)
def _ihfft(a: Any, n: Any = None, axis: int = -1, norm: Any = None) -> Any:
    return np.conjugate(np.fft.rfft(a, n, axis, _SWAPPED[norm]))
