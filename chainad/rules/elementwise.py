"""Elementwise functions: one row each, a partial derivative per operand.

A partial is a function of the result and the operands, or a number where it is constant. Which
axes a partial keeps is found by evaluating the formula on arrays of two entries per axis: for x,
`z = x * y` keeps no more axes than y has, so that a scalar times a matrix stays one scalar.

Kinks and ties: `abs` and `sign` have derivative 0 at 0, ties of `maximum` and `minimum` share
evenly, `clip` has derivative 1 on its bounds, `hypot` 0 where both legs are 0, and 0**p counts as 0
for every p. Functions with a kink where they are 0 state their `square`, and even functions their
derivative by the square of their operand, so that compositions of both have second derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import factorial
from typing import Any

import numpy as np
import scipy.special as sp

from chainad.ir.graph import Argument
from chainad.rules.base import (
    ALL,
    Formula,
    Local,
    Locals,
    constant,
    defined,
    dispatching,
    refuse_options,
    rule,
)
from chainad.rules.kinds import Elementwise, PiecewiseConstant
from chainad.structure import from_labels

Partial = Formula | float | str

# The derivative exists and is not zero, but has no closed form: asking for it is an error.
UNKNOWN = "unknown"


def elementwise(
    function: Callable[..., Any],
    *partials: Partial | None,
    definition: Callable[..., Any] | None = None,
    is_constant: Callable[[tuple[Any, ...]], bool] | None = None,
    canonical: Callable[..., tuple[Any, ...]] | None = None,
    square: Callable[..., Any] | None = None,
    by_square: tuple[Formula | None, ...] = (),
    uses: dict[int, Formula] | None = None,
    **kind: Any,
) -> None:
    """Add a row: `function`, and its partial derivative for every operand (None: zero).

    Where it is even in an operand, `by_square` has its derivative by the square of that. `uses`
    tells, by the position of an operand, where the result depends on that: elsewhere the derivative
    is an exact zero. See `Rule` for the other options, and `Elementwise` for what else may be said
    of the kind.
    """
    uses = uses or {}

    def locals_(y: Argument, *operands: Argument) -> Locals:
        return {
            x: None if partial is None else _local(y, operands, x, partial, uses.get(k))
            for k, (x, partial) in enumerate(zip(operands, partials, strict=True))
            if x.traced
        }

    rule(
        function,
        operands=ALL,
        is_constant=is_constant,
        canonical=canonical,
        kind=Elementwise(len(partials), **kind),
        definition=definition,
        square=square,
        partials=partials,
    )(locals_)
    for position, slope in enumerate(by_square):
        if slope is not None:
            EVEN[function, position] = _of_square(function, position, slope, partials)


# By an even function, and the position of the operand that it is even in: the same function with
# the square of that operand in front of all operands, which is what the operand is read from.
EVEN: dict[tuple[Callable[..., Any], int], Callable[..., Any]] = {}


def _of_square(
    function: Callable[..., Any],
    position: int,
    slope: Formula,
    partials: tuple[Partial | None, ...],
) -> Callable[..., Any]:
    @dispatching
    def of_square(square: Any, *operands: Any) -> Any:
        root = np.copysign(np.sqrt(square), operands[position])
        return function(*operands[:position], root, *operands[position + 1 :])

    def after_square(partial: Partial | None) -> Partial | None:
        if not callable(partial):
            return partial
        return lambda y, square, *operands: partial(y, *operands)

    of_square.__name__ = f"{function.__name__}_of_square"
    others = [None if k == position else after_square(p) for k, p in enumerate(partials)]
    elementwise(of_square, after_square(slope), *others)
    return of_square


def _local(
    y: Argument,
    operands: tuple[Argument, ...],
    x: Argument,
    partial: Partial,
    use: Formula | None,
) -> Local:
    sizes = dict(enumerate(y.shape))
    rows = [(size, (k,)) for k, size in enumerate(y.shape)]
    skip = y.ndim - x.ndim
    cols = [(n, (skip + k,) if n == y.shape[skip + k] else ()) for k, n in enumerate(x.shape)]
    if isinstance(partial, str):
        raise NotImplementedError(
            f"the derivative with respect to operand {x.number + 1} has no closed form;"
            " keep that operand constant, for example with chainad.stop_gradient"
        )
    if not callable(partial):
        return Local(from_labels(rows, cols, sizes, scale=partial), None)
    kept = _kept_axes(partial, y.shape, tuple((o.shape, o.dtype) for o in operands))
    shape = tuple(y.shape[k] for k in kept)

    def formula(result: Any, *values: Any) -> Any:
        array = partial(result, *values)
        return array if getattr(array, "shape", ()) == shape else np.reshape(array, shape)

    def mask(result: Any, *values: Any) -> Any:
        assert use is not None
        whole = np.broadcast_to(np.where(use(result, *values), 1.0, 0.0), y.shape)
        return whole[tuple(slice(None) if k in kept else 0 for k in range(y.ndim))]

    arrangement = from_labels(rows, cols, sizes, stored=kept)
    return Local(arrangement, formula, None if use is None else mask)


def _kept_axes(
    partial: Formula, shape: tuple[int, ...], operands: tuple[tuple[tuple[int, ...], Any], ...]
) -> tuple[int, ...]:
    """Return the axes of the result that the values of a partial derivative depend on."""

    def small(sizes: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(1 if n == 1 else 2 for n in sizes)

    tiny = tuple((small(s), dtype) for s, dtype in operands)
    return _probe(partial, small(shape), tiny)


@lru_cache(maxsize=4096)
def _probe(
    partial: Formula, shape: tuple[int, ...], operands: tuple[tuple[tuple[int, ...], Any], ...]
) -> tuple[int, ...]:
    with np.errstate(all="ignore"):
        result = partial(np.ones(shape), *(np.ones(s, dtype) for s, dtype in operands))
    kept = np.shape(result)
    skip = len(shape) - len(kept)
    return tuple(skip + k for k, n in enumerate(kept) if n == 2)


@dispatching
def direction(x: Any, length: Any) -> Any:
    """Return x / length, and 0 where the length is 0; the derivatives are nan there.

    The slope of a root of squares, which has no second derivative where it is 0.
    """
    return x / np.where(np.equal(length, 0), 1.0, length)


def _inverse_length(z: Any, x: Any, length: Any) -> Any:
    return 1 / np.where(np.equal(length, 0), np.nan, length)


elementwise(
    direction,
    _inverse_length,
    lambda z, x, length: -z * _inverse_length(z, x, length),
    definition=lambda x, length: x / np.where(np.equal(length, 0), 1.0, length),
)


@dispatching
def root_of(square: Any, root: Any) -> Any:
    """Return the root of a square that has the sign of `root`."""
    return np.copysign(np.sqrt(square), root)


elementwise(root_of, lambda y, square, root: direction(0.5, y), None)


def _selected(*weights: Formula) -> Callable[..., Any]:
    """Return the square of a function that selects an operand, by the slope for each of these."""

    def square(squared: Callable[[Any], Any], z: Any, *operands: Any) -> Any:
        return sum(
            weight(z, *operands) * squared(x) for weight, x in zip(weights, operands, strict=True)
        )

    return square


def _heaviside(x: Any) -> Any:
    """Return 1 where x > 0, 1/2 at 0, else 0."""
    return 0.5 * (np.sign(x) + 1)


def _abs_slope(y: Any, x: Any) -> Any:
    return np.sign(x)


def _power_by_base(z: Any, x: Any, p: Any) -> Any:
    # Small powers as products: equal to x**1 and x**2 to the last bit, but much faster.
    if isinstance(p, (int, float)) and p in (2, 3):
        return p * x if p == 2 else p * (x * x)
    # p * x**(p - 1), without the nan of 0 * 0**-1.
    return p * np.power(x, np.where(np.equal(p, 0), 1.0, p - 1))


def _power_by_square(z: Any, x: Any, p: Any) -> Any:
    return 0.5 * p * np.power(x, p - 2)


def _power_by_exponent(z: Any, x: Any, p: Any) -> Any:
    # 0**p is 0 for all p > 0, so its derivative is 0 there and not 0 * log(0).
    positive = np.logical_or(x != 0, p < 0)
    return z * np.log(np.where(positive, x, 1.0))


def _arccosh_slope(y: Any, x: Any) -> Any:
    if np.iscomplexobj(x):  # of one root, the sign would be wrong on the left
        return 1 / (np.sqrt(x - 1) * np.sqrt(x + 1))
    return 1 / np.sqrt(x * x - 1)


def _bounds(
    a: Any,
    a_min: Any = None,
    a_max: Any = None,
    out: Any = None,
    *,
    min: Any = None,
    max: Any = None,
    **kwargs: Any,
) -> tuple[Any, Any, Any]:
    """Return the arguments of a call of np.clip as (a, low, high), infinite where not given."""
    refuse_options(kwargs)
    low = min if a_min is None else a_min
    high = max if a_max is None else a_max
    return a, -np.inf if low is None else low, np.inf if high is None else high


def _sinc_by_sine(x: Any) -> Any:
    t = np.pi * np.where(np.equal(x, 0), 1e-20, x)
    return np.sin(t) / t


def _sinc_slope(y: Any, x: Any) -> Any:
    # d/dx sin(pi x)/(pi x)
    t = np.pi * x
    small, _, far, series = _slope_of_sine_ratio(t)
    return np.pi * np.where(small, t * series, far)


def _sinc_slope_by_square(y: Any, x: Any) -> Any:
    small, safe, far, series = _slope_of_sine_ratio(np.pi * x)
    return 0.5 * np.pi**2 * np.where(small, series, far / safe)


def _slope_of_sine_ratio(t: Any) -> tuple[Any, Any, Any, Any]:
    """Return where t is small, t elsewhere, d/dt sin(t)/t there, and its series by t at small t."""
    small = np.abs(t) < 1
    safe = np.where(small, 1.0, t)
    far = (np.cos(safe) - np.sin(safe) / safe) / safe
    square = np.where(small, t * t, 0.0)
    return small, safe, far, sum(c * square**k for k, c in enumerate(_SINC_SERIES))


_SINC_SERIES = [(-1) ** k * 2 * k / factorial(2 * k + 1) for k in range(1, 10)]
_ONE_OVERLN2 = float(1 / np.log(2.0))
ONE_OVER_LN10 = float(1 / np.log(10.0))
LN2 = float(np.log(2.0))
DEGREE = float(np.pi / 180)
_RADIAN = float(180 / np.pi)

# --------------------------------------------------------------- NumPy ufuncs

elementwise(np.add, 1, 1, is_holomorphic=True)
elementwise(np.subtract, 1, -1, is_holomorphic=True)
elementwise(np.multiply, lambda z, x, y: y, lambda z, x, y: x, is_holomorphic=True)
elementwise(np.divide, lambda z, x, y: 1 / y, lambda z, x, y: -z / y, is_holomorphic=True)
elementwise(np.negative, -1, is_holomorphic=True, is_exact=True)
elementwise(np.positive, 1, definition=lambda x: x, is_holomorphic=True, is_exact=True)
elementwise(
    np.power,
    _power_by_base,
    _power_by_exponent,
    is_holomorphic=True,
    by_square=(_power_by_square, None),
)
elementwise(
    np.float_power,
    _power_by_base,
    _power_by_exponent,
    definition=np.power,
    by_square=(_power_by_square, None),
)
elementwise(np.square, lambda y, x: 2 * x, definition=lambda x: x * x, is_holomorphic=True)
elementwise(np.sqrt, lambda y, x: 0.5 / y, is_holomorphic=True)
elementwise(np.cbrt, lambda y, x: 1 / (3 * y * y), is_odd=True)
elementwise(np.reciprocal, lambda y, x: -y * y, definition=lambda x: 1.0 / x, is_holomorphic=True)
elementwise(np.exp, lambda y, x: y, is_holomorphic=True)
elementwise(np.exp2, lambda y, x: LN2 * y, is_holomorphic=True)
elementwise(np.expm1, lambda y, x: y + 1, is_holomorphic=True)
elementwise(np.log, lambda y, x: 1 / x, is_holomorphic=True)
elementwise(np.log2, lambda y, x: _ONE_OVERLN2 / x, is_holomorphic=True)
elementwise(np.log10, lambda y, x: ONE_OVER_LN10 / x, is_holomorphic=True)
elementwise(np.log1p, lambda y, x: 1 / (1 + x), is_holomorphic=True)
elementwise(np.logaddexp, lambda z, x, y: np.exp(x - z), lambda z, x, y: np.exp(y - z))
elementwise(np.logaddexp2, lambda z, x, y: np.exp2(x - z), lambda z, x, y: np.exp2(y - z))
elementwise(np.sin, lambda y, x: np.cos(x), is_holomorphic=True, bound=1.0, is_odd=True)
elementwise(
    np.cos,
    lambda y, x: -np.sin(x),
    is_holomorphic=True,
    bound=1.0,
    by_square=(lambda y, x: -0.5 * np.sinc(x / np.pi),),
)
elementwise(np.tan, lambda y, x: 1 + y * y, is_holomorphic=True, is_odd=True)
elementwise(np.arcsin, lambda y, x: 1 / np.sqrt(1 - x * x), is_odd=True, is_holomorphic=True)
elementwise(np.arccos, lambda y, x: -1 / np.sqrt(1 - x * x), is_holomorphic=True)
elementwise(np.arctan, lambda y, x: 1 / (1 + x * x), bound=2.0, is_odd=True, is_holomorphic=True)
elementwise(np.arctan2, lambda z, y, x: x / (x * x + y * y), lambda z, y, x: -y / (x * x + y * y))


@dispatching
def displaced(x: Any, direction: Any, t: Any) -> Any:
    """Return x + t * direction at t = 0, where it is x whatever the direction."""
    return np.positive(x)


elementwise(
    displaced,
    1.0,
    None,
    lambda y, x, direction, t: direction,
    definition=lambda x, direction, t: np.positive(x),
)
elementwise(
    np.hypot,
    lambda z, x, y: direction(x, z),
    lambda z, x, y: direction(y, z),
    square=lambda squared, z, x, y: squared(x) + squared(y),
)
elementwise(np.sinh, lambda y, x: np.cosh(x), is_holomorphic=True, is_odd=True)
elementwise(
    np.cosh,
    lambda y, x: np.sinh(x),
    is_holomorphic=True,
    by_square=(lambda y, x: 0.25 * (sp.exprel(x) + sp.exprel(-x)),),
)
elementwise(np.tanh, lambda y, x: 1 - y * y, is_holomorphic=True, bound=1.0, is_odd=True)
elementwise(np.arcsinh, lambda y, x: 1 / np.sqrt(1 + x * x), is_odd=True, is_holomorphic=True)
elementwise(np.arccosh, _arccosh_slope, is_holomorphic=True)
elementwise(np.arctanh, lambda y, x: 1 / (1 - x * x), is_odd=True, is_holomorphic=True)
elementwise(np.deg2rad, lambda y, x: DEGREE, definition=lambda x: x * DEGREE)
elementwise(np.radians, lambda y, x: DEGREE, definition=lambda x: x * DEGREE)
elementwise(np.rad2deg, lambda y, x: 1 / DEGREE, definition=lambda x: x * _RADIAN)
elementwise(np.degrees, lambda y, x: 1 / DEGREE, definition=lambda x: x * _RADIAN)
elementwise(np.abs, _abs_slope, square=lambda squared, y, x: squared(x))
elementwise(np.fabs, _abs_slope, definition=np.abs, square=lambda squared, y, x: squared(x))
elementwise(np.conjugate, 1, definition=lambda x: x)
_FIRST_IS_ABOVE: tuple[Formula, Formula] = (
    lambda z, x, y: _heaviside(x - y),
    lambda z, x, y: _heaviside(y - x),
)
_FIRST_IS_BELOW = _FIRST_IS_ABOVE[::-1]
elementwise(np.maximum, *_FIRST_IS_ABOVE, square=_selected(*_FIRST_IS_ABOVE), is_selection=True)
elementwise(np.minimum, *_FIRST_IS_BELOW, square=_selected(*_FIRST_IS_BELOW), is_selection=True)
elementwise(
    np.fmax,
    lambda z, x, y: np.where(np.isnan(y), 1.0, np.where(np.isnan(x), 0.0, _heaviside(x - y))),
    lambda z, x, y: (
        np.where(np.isnan(x), 1.0, np.where(np.isnan(y), 0.0, _heaviside(y - x)))
        * np.logical_not(np.logical_and(np.isnan(x), np.isnan(y)))
    ),
    is_selection=True,
)
elementwise(
    np.fmin,
    lambda z, x, y: np.where(np.isnan(y), 1.0, np.where(np.isnan(x), 0.0, _heaviside(y - x))),
    lambda z, x, y: (
        np.where(np.isnan(x), 1.0, np.where(np.isnan(y), 0.0, _heaviside(x - y)))
        * np.logical_not(np.logical_and(np.isnan(x), np.isnan(y)))
    ),
    is_selection=True,
)
elementwise(np.copysign, lambda z, x, y: np.copysign(1.0, x) * np.copysign(1.0, y), None)
elementwise(
    np.heaviside,
    None,
    lambda z, x, y: np.where(np.equal(x, 0), 1.0, 0.0),
    is_constant=lambda args: isinstance(args[1], (int, float, np.generic)),
    is_selection=True,
)
elementwise(
    np.fmod,
    1,
    lambda z, x, y: -np.trunc(x / y),
    uses={1: lambda z, x, y: np.not_equal(np.trunc(x / y), 0)},
)
elementwise(
    np.remainder,
    1,
    lambda z, x, y: -np.floor(x / y),
    uses={1: lambda z, x, y: np.not_equal(np.floor(x / y), 0)},
)
elementwise(np.nextafter, 1, None)
elementwise(
    np.clip,
    lambda y, x, low, high: np.where(np.logical_or(x < low, x > high), 0.0, 1.0),
    lambda y, x, low, high: np.where(np.logical_and(x < low, low <= high), 1.0, 0.0),
    lambda y, x, low, high: np.where(np.logical_or(x > high, low > high), 1.0, 0.0),
    canonical=_bounds,
    definition=lambda x, low, high: np.minimum(np.maximum(x, low), high),
    is_selection=True,
)
elementwise(
    np.where,
    None,
    lambda z, condition, x, y: np.where(condition, 1.0, 0.0),
    lambda z, condition, x, y: np.where(condition, 0.0, 1.0),
    # With a condition alone, np.where tells where it holds.
    is_constant=lambda args: len(args) == 1,
    is_holomorphic=True,
    is_selection=True,
    is_exact=True,
)
elementwise(np.ldexp, lambda z, x, n: np.exp2(n), None)
elementwise(np.real, 1, definition=lambda x: x)
elementwise(np.sinc, _sinc_slope, definition=_sinc_by_sine, by_square=(_sinc_slope_by_square,))
elementwise(np.i0, lambda y, x: sp.i1(x), by_square=(lambda y, x: 0.25 * (sp.i0(x) - sp.iv(2, x)),))


defined(np.divmod)(lambda x, y: (np.floor_divide(x, y), np.remainder(x, y)))
defined(np.modf)(lambda x: (x - np.trunc(x), np.trunc(x)))


@defined(np.nan_to_num)
def _nan_to_num(
    x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None
) -> Any:
    if not copy:
        raise NotImplementedError("copy=False writes into x; call it with copy=True")
    limits = np.finfo(x.dtype)
    high = float(limits.max) if posinf is None else posinf
    low = float(limits.min) if neginf is None else neginf
    x = np.where(np.isnan(x), nan, x)
    return np.where(np.isposinf(x), high, np.where(np.isneginf(x), low, x))


# ------------------------------------------------------------------ constants

constant(
    np.floor,
    np.ceil,
    np.rint,
    np.trunc,
    np.floor_divide,
    np.spacing,
    kind=Elementwise(),
)
constant(
    np.sign,
    np.signbit,
    np.isnan,
    np.isinf,
    np.isfinite,
    np.isposinf,
    np.isneginf,
    np.greater,
    np.greater_equal,
    np.less,
    np.less_equal,
    np.equal,
    np.not_equal,
    np.logical_and,
    np.logical_or,
    np.logical_not,
    np.logical_xor,
    kind=Elementwise(bound=1.0),
)
# What bitwise functions are of booleans; of integers they are nothing that is differentiated.
LOGICAL: dict[Callable[..., Any], np.ufunc] = {
    np.bitwise_and: np.logical_and,
    np.bitwise_or: np.logical_or,
    np.bitwise_xor: np.logical_xor,
    np.invert: np.logical_not,
}
constant(np.isreal, np.iscomplex, np.angle, kind=PiecewiseConstant())
