"""scipy.stats for traced values: densities, their logarithms, and tails of the normal one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any

import numpy as np
import scipy  # loads scipy.stats when it is first used
import scipy.special as sp

from chainad.rules.base import DEFINED, static
from chainad.rules.scipy_linalg import solve_triangular
from chainad.rules.scipy_wrappers import WRAPPERS, wrapper_of
from chainad.rules.statistics import as_double, at_least_double

_LOG_2PI = float(np.log(2 * np.pi))

# Of every distribution: its density at z = (x - loc) / scale, as a logarithm, by its shapes; the
# ends of its support; and a place inside.
_DENSITIES: dict[str, tuple[Callable[..., Any], float, float, float]] = {
    "norm": (lambda z: -0.5 * np.square(z) - 0.5 * _LOG_2PI, -np.inf, np.inf, 0.0),
    "t": (
        lambda z, df: (
            sp.gammaln((df + 1) / 2)
            - sp.gammaln(df / 2)
            - 0.5 * np.log(np.pi * df)
            - (df + 1) / 2 * np.log1p(np.square(z) / df)
        ),
        -np.inf,
        np.inf,
        0.0,
    ),
    "gamma": (lambda z, a: sp.xlogy(a - 1, z) - z - sp.gammaln(a), 0.0, np.inf, 1.0),
    "beta": (
        lambda z, a, b: sp.xlogy(a - 1, z) + sp.xlog1py(b - 1, -z) - sp.betaln(a, b),
        0.0,
        1.0,
        0.5,
    ),
    "expon": (lambda z: -z, 0.0, np.inf, 1.0),
    "laplace": (lambda z: -np.abs(z) - np.log(2.0), -np.inf, np.inf, 0.0),
    "cauchy": (lambda z: -np.log1p(np.square(z)) - np.log(np.pi), -np.inf, np.inf, 0.0),
    "logistic": (lambda z: -z - 2 * np.logaddexp(0.0, -z), -np.inf, np.inf, 0.0),
    "uniform": (np.zeros_like, 0.0, 1.0, 0.5),
    "halfnorm": (lambda z: -0.5 * np.square(z) + 0.5 * np.log(2 / np.pi), 0.0, np.inf, 1.0),
    "chi2": (
        lambda z, df: sp.xlogy(df / 2 - 1, z) - z / 2 - sp.gammaln(df / 2) - df / 2 * np.log(2.0),
        0.0,
        np.inf,
        1.0,
    ),
    "lognorm": (
        lambda z, s: -0.5 * np.square(np.log(z) / s) - np.log(s) - np.log(z) - 0.5 * _LOG_2PI,
        np.nextafter(0.0, 1.0),
        np.inf,
        1.0,
    ),
    "invgamma": (
        lambda z, a: -(a + 1) * np.log(z) - 1 / z - sp.gammaln(a),
        np.nextafter(0.0, 1.0),
        np.inf,
        1.0,
    ),
    "weibull_min": (
        lambda z, c: np.log(c) + sp.xlogy(c - 1, z) - np.power(z, c),
        0.0,
        np.inf,
        1.0,
    ),
}


class Distribution:
    """A distribution of SciPy's, of which some methods take traced values; all else is SciPy's."""

    def __init__(self, name: str, methods: dict[str, Callable[..., Any]]) -> None:
        self._name, self._methods = name, methods
        traced = ", ".join(methods)
        self.__doc__ = (
            f"scipy.stats.{name}, of which {traced} take traced values; all else is SciPy's."
        )
        vars(self).update(methods)

    def __getattr__(self, name: str) -> Any:
        return getattr(getattr(scipy.stats, self._name), name)

    def __reduce__(self) -> str:
        return self._name  # what this module calls it

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the distribution with its shapes, location and scale fixed."""
        return Frozen(self, args, kwargs)


class Frozen:
    """A distribution with fixed shapes, location and scale."""

    def __init__(self, of: Distribution, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._of, self._args, self._kwargs = of, args, kwargs

    def __getattr__(self, name: str) -> Any:
        if name not in self._of._methods:
            return getattr(getattr(scipy.stats, self._of._name)(*self._args, **self._kwargs), name)
        method = self._of._methods[name]
        return lambda x: method(x, *self._args, **self._kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return Frozen, (self._of, self._args, self._kwargs)


def _distribution(
    name: str,
    log: str,
    plain: str,
    definition: Callable[..., Any],
    tails: Mapping[str, Callable[..., Any]] | None = None,
) -> Distribution:
    """Make a distribution from the logarithm of its density, the names of both, and its tails."""

    def density(*args: Any, **kwargs: Any) -> Any:
        return np.exp(definition(*args, **kwargs))

    methods = {
        log: wrapper_of("scipy.stats", f"{name}.{log}")(definition),
        plain: wrapper_of("scipy.stats", f"{name}.{plain}")(density),
    }
    for each in methods:
        WRAPPERS["scipy.stats", each] = "a distribution of chainad.scipy.stats"
    for each, tail in ({} if tails is None else tails).items():
        methods[each] = wrapper_of("scipy.stats", f"{name}.{each}")(tail)
    _distributions[name] = Distribution(name, methods)
    return _distributions[name]


_distributions: dict[str, Distribution] = {}


def distribution_of(value: Any) -> Any:
    """Return what a distribution of SciPy's, or its method, is for traced values, or None."""
    if isinstance(value, MethodType):
        return getattr(distribution_of(value.__self__), value.__name__, None)
    if not type(value).__module__.startswith("scipy.stats."):
        return None
    many = scipy.stats.multivariate_normal
    if type(value) is type(many):
        return multivariate_normal
    if isinstance(getattr(value, "_dist", None), type(many)):
        return multivariate_normal(value.mean, value.cov) if hasattr(value, "mean") else None
    of = getattr(value, "dist", value)
    found = _distributions.get(getattr(of, "name", ""))
    if found is None or type(of) is not type(getattr(scipy.stats, of.name)):
        return None
    return found if of is value else found(*value.args, **value.kwds)


def _continuous(name: str, tails: Mapping[str, Callable[..., Any]] | None = None) -> Distribution:
    log_density, low, high, inside = _DENSITIES[name]

    def definition(x: Any, *args: Any, **named: Any) -> Any:
        shapes = getattr(scipy.stats, name).numargs
        given = list(args[:shapes])
        given += [named.pop(each.strip()) for each in _shape_names(name)[len(given) :]]
        given = [at_least_double(each) for each in given]
        loc, scale = _location(*args[shapes:], **named)
        z = at_least_double(np.subtract(x, loc) / scale)
        if np.isfinite(low):
            is_outside = np.logical_or(z < low, z > high)
            z = np.where(is_outside, inside, z)
        found = log_density(z, *given) - np.log(at_least_double(scale))
        if np.isfinite(low):
            found = np.where(is_outside, -np.inf, found)
        for shape in given:
            found = np.where(np.greater(shape, 0), found, np.nan)
        return found

    return _distribution(name, "logpdf", "pdf", definition, tails)


def _shape_names(name: str) -> list[str]:
    names = getattr(scipy.stats, name).shapes
    return names.split(",") if names else []


def _location(loc: Any = 0.0, scale: Any = 1.0) -> tuple[Any, Any]:
    return loc, scale


def _normal_tail(function: Callable[..., Any], sign: float) -> Callable[..., Any]:
    def definition(x: Any, *args: Any, **named: Any) -> Any:
        loc, scale = _location(*args, **named)
        found = function(sign * at_least_double(np.subtract(x, loc) / scale))
        return np.where(np.greater(scale, 0), found, np.nan)

    return definition


_NORMAL_TAILS = {
    "cdf": _normal_tail(sp.ndtr, 1.0),
    "logcdf": _normal_tail(sp.log_ndtr, 1.0),
    "sf": _normal_tail(sp.ndtr, -1.0),
    "logsf": _normal_tail(sp.log_ndtr, -1.0),
}

norm = _continuous("norm", _NORMAL_TAILS)
t, gamma, beta = map(_continuous, ("t", "gamma", "beta"))
expon, laplace, cauchy = map(_continuous, ("expon", "laplace", "cauchy"))
logistic, uniform, halfnorm, chi2 = map(_continuous, ("logistic", "uniform", "halfnorm", "chi2"))
lognorm, invgamma, weibull_min = map(_continuous, ("lognorm", "invgamma", "weibull_min"))


def _poisson(k: Any, mu: Any, loc: Any = 0) -> Any:
    k, mu = static(np.subtract(k, loc)), as_double(mu)
    is_inside = np.logical_and(np.equal(k, np.floor(k)), k >= 0)
    found = sp.xlogy(k, mu) - sp.gammaln(np.where(is_inside, k, 0.0) + 1) - mu
    is_valid = np.logical_and(np.equal(k, k), mu >= 0)
    return np.where(is_valid, np.where(is_inside, found, -np.inf), np.nan)


def _binomial(k: Any, n: Any, p: Any, loc: Any = 0) -> Any:
    k, n, p = static(np.subtract(k, loc)), static(n), as_double(p)
    is_inside = np.logical_and(np.equal(k, np.floor(k)), np.logical_and(k >= 0, k <= n))
    count = np.where(is_inside, k, 0.0)
    ways = sp.gammaln(n + 1.0) - sp.gammaln(count + 1) - sp.gammaln(n - count + 1)
    found = ways + sp.xlogy(count, p) + sp.xlog1py(n - count, -p)
    is_valid = np.logical_and(np.equal(k, k), np.logical_and(p >= 0, p <= 1))
    return np.where(is_valid, np.where(is_inside, found, -np.inf), np.nan)


binom = _distribution("binom", "logpmf", "pmf", _binomial)
poisson = _distribution("poisson", "logpmf", "pmf", _poisson)


def _multivariate_normal(x: Any, mean: Any = None, cov: Any = 1.0, **options: Any) -> Any:
    if options:
        raise NotImplementedError(f"{', '.join(options)} is not differentiated")
    n = np.shape(mean)[-1] if np.ndim(mean) else np.shape(cov)[-1] if np.ndim(cov) else 1
    mean = np.zeros(n) if mean is None else mean
    x = np.reshape(x, (*np.shape(x), 1)) if n == 1 and np.shape(x)[-1:] != (1,) else x
    matrix = cov if np.ndim(cov) == 2 else np.diag(np.broadcast_to(cov, (n,)))
    factor = np.linalg.cholesky(as_double(matrix))
    deviations = np.reshape(as_double(np.subtract(x, mean)), (-1, n))
    scaled = DEFINED[solve_triangular](factor, np.transpose(deviations), lower=True)
    log_det = np.sum(np.log(np.diagonal(factor)))
    found = -0.5 * (np.sum(np.square(scaled), axis=0) + n * _LOG_2PI) - log_det
    return np.reshape(found, np.shape(x)[:-1])


multivariate_normal = _distribution("multivariate_normal", "logpdf", "pdf", _multivariate_normal)
