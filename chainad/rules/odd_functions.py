"""Odd functions over their operand: f(x) / x is even in x, and smooth in its square.

So f(n) n is a smooth function of n**2, whatever kink n has at 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import comb, factorial, pi, sqrt
from typing import Any

import numpy as np
import scipy.special as sp

from chainad.rules.base import RULES, dispatching
from chainad.rules.elementwise import elementwise

TERMS = 10
# Below this modulus, so many terms of the series are exact.
_SMALL = 0.1
# An operand at which all of these functions are defined.
_SAFE = 0.5


def _tangent_series() -> list[float]:
    """Return the coefficients of tan(x) / x by the square of x: tan' is 1 + tan**2."""
    found = [1.0]
    for k in range(1, TERMS):
        found.append(sum(found[i] * found[k - 1 - i] for i in range(k)) / (2 * k + 1))
    return found


_ORDERS = range(TERMS)
_OVER_FACTORIALS = [1 / factorial(2 * k + 1) for k in _ORDERS]
_OVER_ODD = [1 / (2 * k + 1) for k in _ORDERS]
_OF_ARCSINE = [comb(2 * k, k) / (4**k * (2 * k + 1)) for k in _ORDERS]
_OF_ERF = [2 / (sqrt(pi) * factorial(k) * (2 * k + 1)) for k in _ORDERS]
_OF_TANGENT = _tangent_series()


def _alternating(series: Sequence[float]) -> list[float]:
    return [c if k % 2 == 0 else -c for k, c in enumerate(series)]


_SERIES: dict[Callable[..., Any], Sequence[float]] = {
    np.sin: _alternating(_OVER_FACTORIALS),
    np.sinh: _OVER_FACTORIALS,
    np.tan: _OF_TANGENT,
    np.tanh: _alternating(_OF_TANGENT),
    np.arcsin: _OF_ARCSINE,
    np.arcsinh: _alternating(_OF_ARCSINE),
    np.arctan: _alternating(_OVER_ODD),
    np.arctanh: _OVER_ODD,
    sp.erf: _alternating(_OF_ERF),
    sp.erfi: _OF_ERF,
}


def _partials_of(function: Callable[..., Any]) -> Any:
    return RULES[function].partials


def _over_operand(function: Callable[..., Any], series: Sequence[float]) -> Callable[..., Any]:
    (slope,) = _partials_of(function)

    def split(x: Any) -> tuple[Any, Any, Any]:
        """Return where x is small, x elsewhere, and its square where it is small."""
        small = np.abs(x) < _SMALL
        return small, np.where(small, _SAFE, x), np.where(small, x * x, 0.0)

    def polynomial(coefficients: Sequence[float], square: Any) -> Any:
        return sum(c * square**k for k, c in enumerate(coefficients))

    @dispatching
    def over_operand(x: Any) -> Any:
        small, safe, square = split(x)
        return np.where(small, polynomial(series, square), function(safe) / safe)

    def by_square(y: Any, x: Any) -> Any:
        small, safe, square = split(x)
        value = function(safe)
        far = (slope(value, safe) - value / safe) / (2 * safe * safe)
        return np.where(small, polynomial([k * series[k] for k in _ORDERS[1:]], square), far)

    over_operand.__name__ = f"{function.__name__}_over_operand"
    elementwise(over_operand, lambda y, x: 2 * x * by_square(y, x), by_square=(by_square,))
    return over_operand


# By an odd function f: f(x) / x.
OVER_OPERAND = {function: _over_operand(function, series) for function, series in _SERIES.items()}
