"""scipy.interpolate for traced values: B-splines, and piecewise polynomials.

Knots are constants; what is interpolated between them, and where, may be traced.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import scipy  # loads scipy.interpolate when it is first used

from chainad.errors import TraceError
from chainad.ir.array_functions import Array
from chainad.rules.base import first_traced
from chainad.rules.scipy_wrappers import WRAPPERS, of_scipy

# Knots of so many splines are kept with what makes coefficients of values.
MAX_KNOWN_KNOTS = 32


class Interpolant:
    """A curve that takes traced values.

    Attributes
    ----------
    ends : tuple of float
        Outside of these it is extrapolated.
    extrapolate : bool or "periodic"
        Whether it is, or nan there, or goes on periodically.
    axis : int
        Where the axes of x stand in the result.
    scipys : object
        The same curve as an object of SciPy's; None where it depends on traced values.
    """

    def __init__(
        self, ends: tuple[Any, Any], extrapolate: Any, axis: int, scipys: Any = None
    ) -> None:
        self.ends, self.extrapolate, self.axis, self.scipys = ends, extrapolate, axis, scipys

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or self.scipys is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.scipys, name)

    def __call__(self, x: Any, nu: int = 0, extrapolate: Any = None) -> Any:
        """Return the curve, or its derivative of order `nu`, at some places."""
        if self.scipys is not None and first_traced((x,)) is None:
            return self.scipys(x, nu, extrapolate)
        curve = self.derivative(nu) if nu else self
        extrapolate = self.extrapolate if extrapolate is None else extrapolate
        (low, high), places = self.ends, np.reshape(x, -1)
        if extrapolate == "periodic":
            places = low + (places - low) % (high - low)
        found = curve.at(places)
        if not extrapolate:
            is_outside = np.logical_or(places < low, places > high)
            found = np.where(_columns(is_outside, found), np.nan, found)
        found = np.reshape(found, (*np.shape(x), *np.shape(found)[1:]))
        axes = range(np.ndim(x))
        return np.moveaxis(found, axes, [self.axis + k for k in axes])

    def at(self, x: Any) -> Any:
        """Return the curve at the entries of a vector; what it has of axes comes after."""
        raise NotImplementedError

    def derivative(self, nu: int = 1) -> Interpolant:
        """Return the derivative of order `nu` as a curve."""
        raise NotImplementedError

    def integrate(self, a: Any, b: Any, extrapolate: Any = None) -> Any:
        """Return the integral from `a` to `b`."""
        if self.scipys is None:
            raise TraceError("integrals of traced curves are not differentiated")
        if first_traced((a, b)) is None:
            return self.scipys.integrate(a, b, extrapolate)
        whole = interpolant_of(self.scipys.antiderivative())
        return whole(b, extrapolate=extrapolate) - whole(a, extrapolate=extrapolate)


def _columns(x: Any, like: Any) -> Any:
    """Return a vector as a column, with as many axes as `like`."""
    return np.reshape(x, (-1, *(1,) * (np.ndim(like) - 1)))


class Spline(Interpolant):
    """A sum of B-splines of degree k over the knots t, with the coefficients c."""

    def __init__(
        self, t: Any, c: Any, k: int, extrapolate: Any = True, axis: int = 0, scipys: Any = None
    ) -> None:
        self.t, self.c, self.k = np.asarray(t, float), c, k
        super().__init__((self.t[k], self.t[-k - 1]), extrapolate, axis, scipys)

    def at(self, x: Any) -> Any:
        """Add up the k + 1 B-splines that are not zero there, by their recurrence (de Boor)."""
        t, k = self.t, self.k
        interval = np.clip(np.searchsorted(t, x, side="right") - 1, k, len(t) - k - 2)
        basis: list[Any] = [np.ones(np.shape(x))]
        for degree in range(1, k + 1):
            grown: list[Any] = [0.0] * (degree + 1)
            for r, each in enumerate(basis):
                left = np.take(t, interval + (r + 1 - degree))
                right = np.take(t, interval + (r + 1))
                part = each / (right - left)
                grown[r] = grown[r] + (right - x) * part
                grown[r + 1] = (x - left) * part
            basis = grown
        terms = [np.take(self.c, interval + (r - k), axis=0) for r in range(k + 1)]
        return sum(_columns(b, term) * term for b, term in zip(basis, terms, strict=True))

    def derivative(self, nu: int = 1) -> Interpolant:
        """See Interpolant.derivative."""
        t, c, k = self.t, self.c, self.k
        for _ in range(nu):
            if not k:
                return Spline(t, 0.0 * c, k, self.extrapolate, self.axis)
            c = c[: len(t) - k - 1]
            c = (c[1:] - c[:-1]) * _columns(k / (t[k + 1 : -1] - t[1 : -k - 1]), c)
            t, k = t[1:-1], k - 1
        return Spline(t, c, k, self.extrapolate, self.axis)


class Pieces(Interpolant):
    """A polynomial in x - x[i] between any two knots; the highest coefficients come first."""

    def __init__(
        self, x: Any, c: Sequence[Any], extrapolate: Any = True, axis: int = 0, scipys: Any = None
    ) -> None:
        self.x, self.c = np.asarray(x, float), c
        super().__init__((self.x[0], self.x[-1]), extrapolate, axis, scipys)

    def at(self, x: Any) -> Any:
        """Evaluate the polynomials by Horner's rule."""
        interval = np.clip(np.searchsorted(self.x, x, side="right") - 1, 0, len(self.x) - 2)
        step = _columns(x - np.take(self.x, interval), self.c[0])
        total = np.take(self.c[0], interval, axis=0) + 0.0 * step
        for each in self.c[1:]:
            total = total * step + np.take(each, interval, axis=0)
        return total

    def derivative(self, nu: int = 1) -> Interpolant:
        """See Interpolant.derivative."""
        c = [*self.c]
        for _ in range(nu):
            c = [(len(c) - 1 - k) * each for k, each in enumerate(c[:-1])] or [0.0 * c[0]]
        return Pieces(self.x, c, self.extrapolate, self.axis)


def interpolant_of(value: Any) -> Any:
    """Return a curve of SciPy's as one that takes traced values; None if it is none."""
    if not type(value).__module__.startswith("scipy.interpolate."):
        return None
    if isinstance(value, scipy.interpolate.BSpline):
        return Spline(value.t, value.c, value.k, value.extrapolate, value.axis, value)
    if isinstance(value, scipy.interpolate.PPoly) and value.x[0] < value.x[-1]:
        return Pieces(value.x, value.c, value.extrapolate, value.axis, value)
    return None


_constructor = of_scipy("scipy.interpolate", interpolant_of)

for _name in ("__init__", "__call__"):
    WRAPPERS["scipy.interpolate", _name] = "chainad.scipy.interpolate, such as .CubicSpline"


@_constructor
def BSpline(t: Any, c: Any, k: int, extrapolate: Any = True, axis: int = 0) -> Any:
    return Spline(t, np.moveaxis(c, axis, 0), k, extrapolate, axis)


@_constructor
def PPoly(c: Any, x: Any, extrapolate: Any = True, axis: int = 0) -> Any:
    return Pieces(x, np.moveaxis(c, (axis, axis + 1), (0, 1)), extrapolate, axis)


def _hermite(x: Any, y: Any, slopes: Any, extrapolate: Any, axis: int) -> Interpolant:
    """Return the cubic pieces with some values and slopes at the knots, along the first axis."""
    h = _columns(np.diff(x), y)
    chord = np.diff(y, axis=0) / h
    first, last = slopes[:-1], slopes[1:]
    bend = (first + last - 2 * chord) / h
    return Pieces(x, [bend / h, (chord - first) / h - bend, first, y[:-1]], extrapolate, axis)


@_constructor
def CubicHermiteSpline(x: Any, y: Any, dydx: Any, axis: int = 0, extrapolate: Any = None) -> Any:
    y, slopes = np.moveaxis(y, axis, 0), np.moveaxis(dydx, axis, 0)
    return _hermite(np.asarray(x, float), y, slopes, extrapolate in (None, True), axis)


@_constructor
def CubicSpline(
    x: Any, y: Any, axis: int = 0, bc_type: Any = "not-a-knot", extrapolate: Any = None
) -> Any:
    if not isinstance(bc_type, str) and not all(isinstance(end, str) for end in bc_type):
        raise TraceError("values of derivatives at the ends are not differentiated")
    if extrapolate is None:
        extrapolate = "periodic" if bc_type == "periodic" else True
    knots, values = np.asarray(x, float), np.moveaxis(y, axis, 0)
    bc_type = bc_type if isinstance(bc_type, str) else tuple(bc_type)
    slopes = np.tensordot(_slopes(knots.tobytes(), bc_type), values, axes=1)
    return _hermite(knots, values, slopes, extrapolate, axis)


@lru_cache(maxsize=MAX_KNOWN_KNOTS)
def _slopes(x: bytes, bc_type: Any) -> Array:
    """Return the matrix that makes slopes at the knots of a cubic spline from its values."""
    knots = np.frombuffer(x)
    values = np.eye(len(knots))
    if bc_type == "periodic":
        values[-1] = values[0]
    found: Array = scipy.interpolate.CubicSpline(knots, values, bc_type=bc_type)(knots, 1)
    return found


@_constructor
def PchipInterpolator(x: Any, y: Any, axis: int = 0, extrapolate: Any = None) -> Any:
    knots, values = np.asarray(x, float), np.moveaxis(y, axis, 0)
    slopes = _monotone_slopes(_columns(np.diff(knots), values), values)
    return _hermite(knots, values, slopes, extrapolate in (None, True), axis)


def _monotone_slopes(h: Any, y: Any) -> Any:
    """Return harmonic means of the slopes to both sides, 0 at extremes (Fritsch & Butland)."""
    chord = np.diff(y, axis=0) / h
    if len(h) == 1:
        return np.concatenate([chord, chord])
    before, after = chord[:-1], chord[1:]
    is_monotone = np.sign(before) * np.sign(after) > 0
    one, two = 2 * h[1:] + h[:-1], h[1:] + 2 * h[:-1]
    mean = one / np.where(is_monotone, before, 1.0) + two / np.where(is_monotone, after, 1.0)
    inner = np.where(is_monotone, (one + two) / mean, 0.0)
    ends = [_end_slope(*(x[k] for x in (h, chord) for k in at)) for at in ((0, 1), (-1, -2))]
    return np.concatenate([ends[0][None], inner, ends[1][None]])


def _end_slope(h: Any, next_h: Any, chord: Any, next_chord: Any) -> Any:
    found = ((2 * h + next_h) * chord - h * next_chord) / (h + next_h)
    turns = np.sign(chord) != np.sign(next_chord)
    found = np.where(np.logical_and(turns, abs(found) > 3 * abs(chord)), 3 * chord, found)
    return np.where(np.sign(found) == np.sign(chord), found, 0.0)


@_constructor
def make_interp_spline(
    x: Any, y: Any, k: int = 3, t: Any = None, bc_type: Any = None, axis: int = 0
) -> Any:
    if bc_type is not None and not isinstance(bc_type, str):
        raise TraceError("values of derivatives at the ends are not differentiated")
    knots = None if t is None else np.asarray(t, float).tobytes()
    one = _coefficients(np.asarray(x, float).tobytes(), k, knots, bc_type)
    return Spline(one.t, np.tensordot(one.c, np.moveaxis(y, axis, 0), axes=1), k, True, axis)


@lru_cache(maxsize=MAX_KNOWN_KNOTS)
def _coefficients(x: bytes, k: int, t: bytes | None, bc_type: Any) -> Any:
    """Return the spline whose coefficients are the matrix that makes them from values."""
    places = np.frombuffer(x)
    knots = None if t is None else np.frombuffer(t)
    values = np.eye(len(places))
    if bc_type == "periodic":
        values[-1] = values[0]
    return scipy.interpolate.make_interp_spline(places, values, k, knots, bc_type)
