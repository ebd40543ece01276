"""Elementwise functions: one row each, a partial derivative per operand.

A partial is a function of the result and the operands, or a number where it is constant. Which
axes a partial keeps is read off by trying the formula on arrays of two: `z = x * y` keeps for x
no more axes than y has, so that a scalar times a matrix stays one number.

Kinks and ties: `abs` and `sign` have derivative 0 at 0, ties of `maximum` and `minimum` share
evenly, `clip` has derivative 1 on its bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.special as sp

from chainad.graph import Argument
from chainad.rules.base import ALL, CONSTANT, RULES, Formula, Local, Locals, Rule, spelled

Partial = Formula | float | str

# The derivative exists and is not zero, but has no closed form: asking for it is an error.
UNKNOWN = "unknown"


def elementwise(function: Callable[..., Any], *partials: Partial | None) -> None:
    """Add a row: `function`, and its partial derivative for every operand (None: zero)."""

    def locals_(y: Argument, *operands: Argument, **kwargs: Any) -> Locals:
        _check_kwargs(function, kwargs)
        return {
            x: _local(y, operands, x, partial)
            for x, partial in zip(operands, partials, strict=True)
            if x.traced and partial is not None
        }

    RULES[function] = Rule(locals_, operands=ALL)


def _check_kwargs(function: Callable[..., Any], kwargs: dict[str, Any]) -> None:
    extra = sorted(k for k, v in kwargs.items() if not (k == "where" and v is True))
    if extra:
        raise NotImplementedError(
            f"{', '.join(f'{k}=' for k in extra)} is not differentiated;"
            " call it without, and use np.where or astype afterwards"
        )


def _local(y: Argument, operands: tuple[Argument, ...], x: Argument, partial: Partial) -> Local:
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
        return Local(spelled(rows, cols, sizes, scale=partial), None)
    kept = _kept_axes(partial, y.shape, tuple((o.shape, o.dtype) for o in operands))
    shape = tuple(y.shape[k] for k in kept)

    def formula(result: Any, *values: Any) -> Any:
        array = partial(result, *values)
        return array if np.shape(array) == shape else np.reshape(array, shape)

    return Local(spelled(rows, cols, sizes, stored=kept), formula)


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


def _heaviside(x: Any) -> Any:
    """Return 1 where x > 0, 1/2 at 0, else 0."""
    return 0.5 * (np.sign(x) + 1)


def _abs_slope(y: Any, x: Any) -> Any:
    return np.sign(x)


def _power_by_base(z: Any, x: Any, p: Any) -> Any:
    # p * x**(p - 1), without the nan of 0 * 0**-1.
    return p * np.power(x, np.where(np.equal(p, 0), 1.0, p - 1))


def _power_by_exponent(z: Any, x: Any, p: Any) -> Any:
    # 0**p is 0 for all p > 0, so its derivative is 0 there and not 0 * log(0).
    positive = np.logical_or(x != 0, p < 0)
    return z * np.log(np.where(positive, x, 1.0))


_ONE_OVER_LN2 = float(1 / np.log(2.0))
_ONE_OVER_LN10 = float(1 / np.log(10.0))
_LN2 = float(np.log(2.0))
_DEGREE = float(np.pi / 180)
_TWO_OVER_SQRT_PI = float(2 / np.sqrt(np.pi))
_SQRT_2PI = float(np.sqrt(2 * np.pi))

# --------------------------------------------------------------- NumPy ufuncs

elementwise(np.add, 1, 1)
elementwise(np.subtract, 1, -1)
elementwise(np.multiply, lambda z, x, y: y, lambda z, x, y: x)
elementwise(np.divide, lambda z, x, y: 1 / y, lambda z, x, y: -z / y)
elementwise(np.negative, -1)
elementwise(np.positive, 1)
elementwise(np.power, _power_by_base, _power_by_exponent)
elementwise(np.float_power, _power_by_base, _power_by_exponent)
elementwise(np.square, lambda y, x: 2 * x)
elementwise(np.sqrt, lambda y, x: 0.5 / y)
elementwise(np.cbrt, lambda y, x: 1 / (3 * y * y))
elementwise(np.reciprocal, lambda y, x: -y * y)
elementwise(np.exp, lambda y, x: y)
elementwise(np.exp2, lambda y, x: _LN2 * y)
elementwise(np.expm1, lambda y, x: y + 1)
elementwise(np.log, lambda y, x: 1 / x)
elementwise(np.log2, lambda y, x: _ONE_OVER_LN2 / x)
elementwise(np.log10, lambda y, x: _ONE_OVER_LN10 / x)
elementwise(np.log1p, lambda y, x: 1 / (1 + x))
elementwise(np.logaddexp, lambda z, x, y: np.exp(x - z), lambda z, x, y: np.exp(y - z))
elementwise(np.logaddexp2, lambda z, x, y: np.exp2(x - z), lambda z, x, y: np.exp2(y - z))
elementwise(np.sin, lambda y, x: np.cos(x))
elementwise(np.cos, lambda y, x: -np.sin(x))
elementwise(np.tan, lambda y, x: 1 + y * y)
elementwise(np.arcsin, lambda y, x: 1 / np.sqrt(1 - x * x))
elementwise(np.arccos, lambda y, x: -1 / np.sqrt(1 - x * x))
elementwise(np.arctan, lambda y, x: 1 / (1 + x * x))
elementwise(np.arctan2, lambda z, y, x: x / (x * x + y * y), lambda z, y, x: -y / (x * x + y * y))
elementwise(np.hypot, lambda z, x, y: x / z, lambda z, x, y: y / z)
elementwise(np.sinh, lambda y, x: np.cosh(x))
elementwise(np.cosh, lambda y, x: np.sinh(x))
elementwise(np.tanh, lambda y, x: 1 - y * y)
elementwise(np.arcsinh, lambda y, x: 1 / np.sqrt(1 + x * x))
elementwise(np.arccosh, lambda y, x: 1 / np.sqrt(x * x - 1))
elementwise(np.arctanh, lambda y, x: 1 / (1 - x * x))
elementwise(np.deg2rad, lambda y, x: _DEGREE)
elementwise(np.radians, lambda y, x: _DEGREE)
elementwise(np.rad2deg, lambda y, x: 1 / _DEGREE)
elementwise(np.degrees, lambda y, x: 1 / _DEGREE)
elementwise(np.abs, _abs_slope)
elementwise(np.fabs, _abs_slope)
elementwise(np.conjugate, 1)
elementwise(np.maximum, lambda z, x, y: _heaviside(x - y), lambda z, x, y: _heaviside(y - x))
elementwise(np.minimum, lambda z, x, y: _heaviside(y - x), lambda z, x, y: _heaviside(x - y))
elementwise(
    np.fmax,
    lambda z, x, y: np.where(np.isnan(y), 1.0, np.where(np.isnan(x), 0.0, _heaviside(x - y))),
    lambda z, x, y: (
        np.where(np.isnan(x), 1.0, np.where(np.isnan(y), 0.0, _heaviside(y - x)))
        * np.logical_not(np.logical_and(np.isnan(x), np.isnan(y)))
    ),
)
elementwise(
    np.fmin,
    lambda z, x, y: np.where(np.isnan(y), 1.0, np.where(np.isnan(x), 0.0, _heaviside(y - x))),
    lambda z, x, y: (
        np.where(np.isnan(x), 1.0, np.where(np.isnan(y), 0.0, _heaviside(x - y)))
        * np.logical_not(np.logical_and(np.isnan(x), np.isnan(y)))
    ),
)
elementwise(np.copysign, lambda z, x, y: np.copysign(1.0, x) * np.copysign(1.0, y), None)
elementwise(np.fmod, 1, lambda z, x, y: -np.trunc(x / y))
elementwise(np.remainder, 1, lambda z, x, y: -np.floor(x / y))
elementwise(np.sinc, lambda y, x: _sinc_slope(x))
elementwise(
    np.clip,
    lambda y, x, low, high: np.where(np.logical_and(x >= low, x <= high), 1.0, 0.0),
    lambda y, x, low, high: np.where(x < low, 1.0, 0.0),
    lambda y, x, low, high: np.where(x > high, 1.0, 0.0),
)
elementwise(
    np.where,
    None,
    lambda z, condition, x, y: np.where(condition, 1.0, 0.0),
    lambda z, condition, x, y: np.where(condition, 0.0, 1.0),
)
# With a condition alone, np.where tells where it holds.
RULES[np.where] = replace(RULES[np.where], is_constant=lambda args: len(args) == 1)
elementwise(np.ldexp, lambda z, x, n: np.exp2(n), None)
elementwise(np.real, 1)
elementwise(np.nan_to_num, lambda y, x: np.where(np.isfinite(x), 1.0, 0.0))


def _sinc_slope(x: Any) -> Any:
    # d/dx sin(pi x)/(pi x); its series is used where the quotient cancels.
    small = np.abs(x) < 1e-3
    safe = np.where(small, 1.0, x)
    far = (np.cos(np.pi * safe) - np.sinc(safe)) / safe
    near = -(np.pi**2) * x / 3 * (1 - (np.pi * x) ** 2 / 10)
    return np.where(small, near, far)


# -------------------------------------------------------------- scipy.special

elementwise(sp.erf, lambda y, x: _TWO_OVER_SQRT_PI * np.exp(-x * x))
elementwise(sp.erfc, lambda y, x: -_TWO_OVER_SQRT_PI * np.exp(-x * x))
elementwise(sp.erfcx, lambda y, x: 2 * x * y - _TWO_OVER_SQRT_PI)
elementwise(sp.erfi, lambda y, x: _TWO_OVER_SQRT_PI * np.exp(x * x))
elementwise(sp.erfinv, lambda y, x: np.exp(y * y) / _TWO_OVER_SQRT_PI)
elementwise(sp.erfcinv, lambda y, x: -np.exp(y * y) / _TWO_OVER_SQRT_PI)
elementwise(sp.ndtr, lambda y, x: np.exp(-0.5 * x * x) / _SQRT_2PI)
elementwise(sp.log_ndtr, lambda y, x: np.exp(-0.5 * x * x - y) / _SQRT_2PI)
elementwise(sp.ndtri, lambda y, x: np.exp(0.5 * y * y) * _SQRT_2PI)
elementwise(sp.dawsn, lambda y, x: 1 - 2 * x * y)
elementwise(sp.expit, lambda y, x: y * (1 - y))
elementwise(sp.log_expit, lambda y, x: sp.expit(-x))
elementwise(sp.logit, lambda y, x: 1 / (x * (1 - x)))
elementwise(sp.gamma, lambda y, x: y * sp.digamma(x))
elementwise(sp.gammaln, lambda y, x: sp.digamma(x))
elementwise(sp.rgamma, lambda y, x: -y * sp.digamma(x))
elementwise(sp.digamma, lambda y, x: sp.polygamma(1, x))
elementwise(
    sp.beta,
    lambda z, a, b: z * (sp.digamma(a) - sp.digamma(a + b)),
    lambda z, a, b: z * (sp.digamma(b) - sp.digamma(a + b)),
)
elementwise(
    sp.betaln,
    lambda z, a, b: sp.digamma(a) - sp.digamma(a + b),
    lambda z, a, b: sp.digamma(b) - sp.digamma(a + b),
)
elementwise(sp.xlogy, lambda z, x, y: np.log(np.where(x == 0, 1.0, y)), lambda z, x, y: x / y)
elementwise(
    sp.xlog1py,
    lambda z, x, y: np.log1p(np.where(x == 0, 0.0, y)),
    lambda z, x, y: x / (1 + y),
)
elementwise(sp.entr, lambda y, x: -np.log(x) - 1)
elementwise(sp.rel_entr, lambda z, x, y: np.log(x / y) + 1, lambda z, x, y: -x / y)
elementwise(sp.kl_div, lambda z, x, y: np.log(x / y), lambda z, x, y: 1 - x / y)
elementwise(
    sp.huber,
    lambda z, delta, r: np.maximum(np.abs(r) - delta, 0.0),
    lambda z, delta, r: np.clip(r, -delta, delta),
)
elementwise(
    sp.pseudo_huber,
    lambda z, delta, r: (2 * z - np.square(r) / np.sqrt(1 + np.square(r / delta))) / delta,
    lambda z, delta, r: r / np.sqrt(1 + np.square(r / delta)),
)
elementwise(sp.exprel, lambda y, x: _exprel_slope(y, x))
elementwise(sp.boxcox, lambda z, x, p: np.power(x, p - 1), UNKNOWN)
elementwise(sp.boxcox1p, lambda z, x, p: np.power(1 + x, p - 1), UNKNOWN)
elementwise(sp.exp2, lambda y, x: _LN2 * y)
elementwise(sp.exp10, lambda y, x: y / _ONE_OVER_LN10)
elementwise(sp.cbrt, lambda y, x: 1 / (3 * y * y))
elementwise(sp.j0, lambda y, x: -sp.j1(x))
elementwise(sp.j1, lambda y, x: sp.j0(x) - sp.jv(1, x) / x)
elementwise(sp.y0, lambda y, x: -sp.y1(x))
elementwise(sp.y1, lambda y, x: sp.y0(x) - y / x)
elementwise(sp.jv, UNKNOWN, lambda z, v, x: 0.5 * (sp.jv(v - 1, x) - sp.jv(v + 1, x)))
elementwise(sp.yv, UNKNOWN, lambda z, v, x: 0.5 * (sp.yv(v - 1, x) - sp.yv(v + 1, x)))
elementwise(sp.iv, UNKNOWN, lambda z, v, x: 0.5 * (sp.iv(v - 1, x) + sp.iv(v + 1, x)))
elementwise(sp.i0, lambda y, x: sp.i1(x))
elementwise(sp.i1, lambda y, x: 0.5 * (sp.i0(x) + sp.iv(2, x)))
elementwise(sp.i0e, lambda y, x: sp.i1e(x) - np.sign(x) * y)
elementwise(sp.expn, UNKNOWN, lambda z, n, x: -sp.expn(n - 1, x))
elementwise(sp.exp1, lambda y, x: -np.exp(-x) / x)
elementwise(sp.expi, lambda y, x: np.exp(x) / x)
elementwise(sp.gammainc, UNKNOWN, lambda z, a, x: np.exp(sp.xlogy(a - 1, x) - x - sp.gammaln(a)))
elementwise(sp.gammaincc, UNKNOWN, lambda z, a, x: -np.exp(sp.xlogy(a - 1, x) - x - sp.gammaln(a)))
elementwise(
    sp.betainc,
    UNKNOWN,
    UNKNOWN,
    lambda z, a, b, x: np.exp(sp.xlogy(a - 1, x) + sp.xlog1py(b - 1, -x) - sp.betaln(a, b)),
)
elementwise(sp.ellipkm1, lambda y, p: -(sp.ellipe(1 - p) / p - y) / (2 * (1 - p)))
elementwise(sp.spence, lambda y, x: np.log(x) / (1 - x))
elementwise(sp.cosm1, lambda y, x: -np.sin(x))


def _exprel_slope(y: Any, x: Any) -> Any:
    small = np.abs(x) < 1e-3
    safe = np.where(small, 1.0, x)
    far = (np.exp(safe) - sp.exprel(safe)) / safe
    return np.where(small, 0.5 + x / 3 + x * x / 8, far)


# ------------------------------------------------------------------ constants

CONSTANT |= {
    np.sign,
    np.floor,
    np.ceil,
    np.rint,
    np.trunc,
    np.floor_divide,
    np.signbit,
    np.heaviside,
    np.spacing,
    np.isnan,
    np.isinf,
    np.isfinite,
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
}
