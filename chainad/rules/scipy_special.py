"""scipy.special beyond its ufuncs: functions that SciPy computes in Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special as sp

from chainad.ir.array_functions import is_traced
from chainad.ir.graph import Argument
from chainad.rules.base import RULES, Local, Locals, dispatching, normalize_axes, rule
from chainad.rules.elementwise import UNKNOWN, elementwise
from chainad.rules.kinds import Reduction
from chainad.rules.reduction import keep_axes
from chainad.rules.scipy_wrappers import WRAPPERS, wrapper_of
from chainad.rules.special_functions import polygamma
from chainad.rules.statistics import as_double
from chainad.structure import reduced

# ----------------------------------------------------- exponentials and their sums


@dispatching
def log_of_sum(a: Any, axis: Any = None, keepdims: Any = False) -> Any:
    """Return the logarithm of the sum of exponentials."""
    return sp.logsumexp(a, axis=axis, keepdims=keepdims)


@rule(log_of_sum, kind=Reduction(np.logaddexp))
def _log_of_sum(y: Argument, x: Argument, axis: Any = None, keepdims: Any = False) -> Locals:
    axes = normalize_axes(axis, x.ndim)
    formula = keep_axes(lambda y, x, axes: np.exp(x - y), axes, x.shape)
    return {x: Local(reduced(y.shape, x.shape, axes, None), formula)}


@wrapper_of("scipy.special")
def logsumexp(
    a: Any, axis: Any = None, b: Any = None, keepdims: bool = False, return_sign: bool = False
) -> Any:
    if return_sign:
        raise NotImplementedError("return_sign= is not differentiated")
    if b is not None:
        if np.any(np.less(b, 0)):
            raise NotImplementedError("negative weights b= are not differentiated")
        if is_traced(b):
            a = a + np.log(b)
        else:  # a weight of zero leaves its entry out
            a = np.where(np.equal(b, 0), -np.inf, a + np.log(np.where(np.equal(b, 0), 1.0, b)))
    return log_of_sum(a, axis, keepdims)


@wrapper_of("scipy.special")
def log_softmax(x: Any, axis: Any = None) -> Any:
    return x - log_of_sum(x, axis, True)


@wrapper_of("scipy.special")
def softmax(x: Any, axis: Any = None) -> Any:
    return np.exp(log_softmax(x, axis))


# ------------------------------------------------------------- gamma and zeta


@wrapper_of("scipy.special")
def multigammaln(a: Any, d: int) -> Any:
    shifts = np.arange(d) / 2
    if np.any(np.less_equal(a, 0.5 * (d - 1))):
        raise ValueError(f"condition a ({a}) > 0.5 * (d-1) ({0.5 * (d - 1)}) not met")
    constant = d * (d - 1) / 4 * np.log(np.pi)
    return constant + np.sum(sp.gammaln(a[..., None] - shifts), axis=-1)


@wrapper_of("scipy.special")
def factorial(n: Any, exact: bool = False, extend: str = "zero") -> Any:
    if exact or np.any(np.less(n, 0)):
        raise NotImplementedError("only factorial(n) of n >= 0 is differentiated")
    return sp.gamma(as_double(n) + 1)


@wrapper_of("scipy.special")
def comb(N: Any, k: Any, *, exact: bool = False, repetition: bool = False) -> Any:
    if exact or np.any(np.less(N, k)) or np.any(np.less(k, 0)):
        raise NotImplementedError("only comb(N, k) with 0 <= k <= N is differentiated")
    return sp.binom(N + k - 1 if repetition else N, k)


# SciPy calls these ufuncs from zeta(x, q).
elementwise(sp._ufuncs._zeta, UNKNOWN, lambda y, x, q: -x * sp._ufuncs._zeta(x + 1, q))

# --------------------------------------------------- spherical Bessel functions


# Every wrapper, with the function of a single order that has the row.
SPHERICAL: dict[Callable[..., Any], Callable[..., Any]] = {}


def _spherical(scipy_function: Callable[..., Any], down: float, up: float) -> Callable[..., Any]:
    """Wrap a function f of order n, of (2n + 1) f_n' = down n f_n-1 + up (n + 1) f_n+1."""

    @dispatching
    def function(n: Any, z: Any) -> Any:
        return scipy_function(n, z)

    function.__name__ = scipy_function.__name__

    def slope(y: Any, n: Any, z: Any) -> Any:
        below = function(np.maximum(np.asarray(n) - 1, 0).astype(int), z)
        above = function((np.asarray(n) + 1).astype(int), z)
        return (down * n * below + up * (n + 1) * above) / (2 * n + 1)

    elementwise(function, UNKNOWN, slope)

    def definition(n: Any, z: Any, derivative: bool = False) -> Any:
        return slope(None, n, z) if derivative else function(n, z)

    ours = wrapper_of("scipy.special", scipy_function.__name__)(definition)
    SPHERICAL[ours] = function
    return ours


spherical_jn = _spherical(sp.spherical_jn, 1.0, -1.0)
spherical_yn = _spherical(sp.spherical_yn, 1.0, -1.0)
spherical_in = _spherical(sp.spherical_in, 1.0, 1.0)
spherical_kn = _spherical(sp.spherical_kn, -1.0, -1.0)

# polygamma is a row of its own already.
polygamma.__module__ = "chainad.scipy.special"
WRAPPERS["scipy.special", "polygamma"] = "chainad.scipy.special.polygamma"
assert polygamma in RULES
