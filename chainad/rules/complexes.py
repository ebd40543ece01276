"""Complex values inside real functions: a complex array is a real one with a last axis (re, im).

The rows of functions of holomorphic kinds serve as they are: `lift` makes pairs of their entries.
Functions that are not holomorphic (real, imag, abs, angle, conj) are replaced by functions with
rows of their own here, or by a definition: `COMPLEX` maps NumPy's to these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainad.ir.graph import Argument
from chainad.rules.base import Local, Locals, dispatching, rule
from chainad.rules.elementwise import direction
from chainad.structure import arrange
from chainad.structure.structure import Axis

# ---------------------------------------------------------- not holomorphic


@dispatching
def real(z: Any) -> Any:
    """Return the real part of complex numbers."""
    return np.real(z)


@dispatching
def imag(z: Any) -> Any:
    """Return the imaginary part of complex numbers."""
    return np.imag(z)


@dispatching
def conj(z: Any) -> Any:
    """Return the complex conjugate."""
    return np.conjugate(z)


@dispatching
def modulus(z: Any) -> Any:
    """Return the modulus of complex numbers; derivative 0 at 0."""
    return np.abs(z)


@dispatching
def argument(z: Any) -> Any:
    """Return the argument of complex numbers."""
    return np.angle(z)


modulus.__name__, argument.__name__ = "abs", "angle"  # as printed

# NumPy's function -> what replaces it on complex numbers: a function with a row, or a definition in
# terms of others; None: refused there.
COMPLEX: dict[Callable[..., Any], Callable[..., Any] | None] = {
    np.real: real,
    np.imag: imag,
    np.conjugate: conj,
    np.abs: modulus,
}


def _parts(x: Argument) -> tuple[list[Axis], dict[int, int]]:
    return [Axis(n, (k,)) for k, n in enumerate(x.shape)], dict(enumerate(x.shape))


def _selects(place: int) -> Callable[..., Locals]:
    def locals_(y: Argument, x: Argument) -> Locals:
        axes, sizes = _parts(x)
        cols = [*axes, Axis(2, (), range(place, place + 1))]
        return {x: Local(arrange(axes, cols, sizes, scale=1), None)}

    return locals_


rule(real, has_pairs=True)(_selects(0))
rule(imag, has_pairs=True)(_selects(1))


@rule(conj, has_pairs=True)
def _conj(y: Argument, x: Argument) -> Locals:
    axes, sizes = _parts(x)
    pair = [*axes, Axis(2, (x.ndim,))]
    arrangement = arrange(pair, pair, {**sizes, x.ndim: 2}, (x.ndim,))
    return {x: Local(arrangement, lambda y, x: np.array([1.0, -1.0]))}


def _gradient(slope: Callable[[Any, Any], Any]) -> Callable[..., Locals]:
    """Return the rule of a real function of each number, whose slope has a last axis (re, im)."""

    def locals_(y: Argument, x: Argument) -> Locals:
        axes, sizes = _parts(x)
        cols = [*axes, Axis(2, (x.ndim,))]
        stored = tuple(range(x.ndim + 1))
        return {x: Local(arrange(axes, cols, {**sizes, x.ndim: 2}, stored), slope)}

    return locals_


def _modulus_slope(y: Any, z: Any) -> Any:
    return np.stack([direction(np.real(z), y), direction(np.imag(z), y)], -1)


def _argument_slope(y: Any, z: Any) -> Any:
    re, im = np.real(z), np.imag(z)
    square = re * re + im * im
    return np.stack([-im / square, re / square], -1)


def _modulus_squared(squared: Callable[[Any], Any], y: Any, z: Any) -> Any:
    return np.square(np.real(z)) + np.square(np.imag(z))


rule(modulus, has_pairs=True, square=_modulus_squared)(_gradient(_modulus_slope))
rule(argument, has_pairs=True)(_gradient(_argument_slope))
