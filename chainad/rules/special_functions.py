"""The more common functions of scipy.special: error, gamma and Bessel functions, integrals.

Where a quotient cancels or has a hole, its series takes over.
Source: NIST Digital Library of Mathematical Functions, chapters 5 to 19.
"""

from __future__ import annotations

from collections.abc import Callable
from math import factorial
from typing import Any

import numpy as np
import scipy.special as sp

from chainad.rules.base import dispatching
from chainad.rules.elementwise import DEGREE, LN2, ONE_OVER_LN10, UNKNOWN, Partial, elementwise

SQRT_2PI = float(np.sqrt(2 * np.pi))
_SQRT_PI = float(np.sqrt(np.pi))
_TWO_OVER_SQRT_PI = float(2 / np.sqrt(np.pi))


def _exprel_slope(y: Any, x: Any) -> Any:
    # d/dx (exp(x) - 1)/x; its series is used where the quotient cancels.
    small = np.abs(x) < 0.5
    safe = np.where(small, 1.0, x)
    far = (np.exp(safe) - sp.exprel(safe)) / safe
    near = np.where(small, x, 0.0)
    series = sum(near**k / (factorial(k) * (k + 2)) for k in range(13))
    return np.where(small, series, far)


def _erfcx_slope(y: Any, x: Any) -> Any:
    # 2 x y - 2/sqrt(pi) cancels far out; there the asymptotic series takes over.
    far = x > 30
    safe = np.where(far, x, 30.0)
    return np.where(
        far,
        -_odd_series(-0.5 / np.square(safe)) / (_SQRT_PI * np.square(safe)),
        2 * x * y - _TWO_OVER_SQRT_PI,
    )


def _dawsn_slope(y: Any, x: Any) -> Any:
    # 1 - 2 x y cancels far out; there the asymptotic series takes over.
    far = np.abs(x) > 30
    safe = np.where(far, x, 30.0)
    return np.where(far, -_odd_series(0.5 / np.square(safe)) / (2 * np.square(safe)), 1 - 2 * x * y)


def _odd_series(u: Any) -> Any:
    return 1 + u * (3 + u * (15 + u * (105 + u * 945)))


def _boxcox_by_exponent(x: Any, p: Any) -> Any:
    # (x**p - 1)/p is log(x) exprel(p log(x)), which has no hole at p = 0.
    log = np.log(x)
    return log * log * _exprel_slope(None, p * log)


def _expn_slope(z: Any, n: Any, x: Any) -> Any:
    # The function of order -1 is not known to SciPy; that of order 0 is exp(-x)/x.
    return np.where(np.equal(n, 0), -(1 + 1 / x) * z, -sp.expn(np.maximum(n - 1, 0), x))


def _ellipkm1_slope(y: Any, p: Any) -> Any:
    # One form has a hole at p = 1, the other loses p where it is tiny.
    tiny = p < 0.5
    safe = np.where(tiny, p, 0.5)
    near = -(sp.ellipe(1 - safe) / safe - sp.ellipkm1(safe)) / (2 * (1 - safe))
    return np.where(tiny, near, -np.pi / 8 * sp.hyp2f1(1.5, 1.5, 2, 1 - np.where(tiny, 0.5, p)))


def _ellipkinc_by_parameter(y: Any, t: Any, m: Any) -> Any:
    # By Carlson's integrals, after whole periods of the amplitude are taken off.
    periods = np.round(t / np.pi)
    s, c = np.sin(t - np.pi * periods), np.cos(t)
    rest = s * s * s / 6 * sp.elliprd(c * c, np.ones_like(c), 1 - m * s * s)
    return rest + periods * (np.pi / 4) * sp.hyp2f1(1.5, 1.5, 2, m)


def _ellipeinc_by_parameter(y: Any, t: Any, m: Any) -> Any:
    periods = np.round(t / np.pi)
    s, c = np.sin(t - np.pi * periods), np.cos(t)
    rest = -s * s * s / 6 * sp.elliprd(c * c, 1 - m * s * s, np.ones_like(c))
    return rest - periods * (np.pi / 4) * sp.hyp2f1(0.5, 1.5, 2, m)


def _spence_slope(y: Any, x: Any) -> Any:
    # log(x)/(1 - x) has a hole at 1, filled by its series.
    small = np.abs(x - 1) < 0.05
    t = np.where(small, 1 - x, 0.0)
    series = sum(t**k / (k + 1) for k in range(13))
    safe = np.where(small, 2.0, x)
    return np.where(small, -series, np.log(safe) / (1 - safe))


def beta_density(a: Any, b: Any, x: Any) -> Any:
    """Return the density of the beta distribution."""
    return np.exp(sp.xlogy(a - 1, x) + sp.xlog1py(b - 1, -x) - sp.betaln(a, b))


def gamma_density(a: Any, x: Any) -> Any:
    """Return the density of the gamma distribution of scale 1."""
    return np.exp(sp.xlogy(a - 1, x) - x - sp.gammaln(a))


def distribution(below: Any, above: Any, density: Callable[..., Any], unknown: int) -> None:
    """Add a distribution function and its complement; the density is that of its last operand."""
    rest: list[Partial] = [UNKNOWN] * unknown
    elementwise(below, *rest, lambda y, *args: density(*args))
    elementwise(above, *rest, lambda y, *args: -density(*args))


def _over_used(x: Any, y: Any) -> Any:
    """Return x / y, 0 where x is: 0 log(y) is 0, also at y = 0."""
    return x / np.where(np.equal(x, 0), 1.0, y)


def _is_second_used(z: Any, x: Any, y: Any) -> Any:
    """Return where x log(y) depends on y."""
    return np.logical_or(np.not_equal(x, 0), np.isnan(y))


@dispatching
def polygamma(n: int, x: Any) -> Any:
    """Return scipy.special.polygamma(n, x); unlike that it takes traced values."""
    return sp.polygamma(n, x)


elementwise(sp.erf, lambda y, x: _TWO_OVER_SQRT_PI * np.exp(-x * x), bound=1.0, is_odd=True)
elementwise(sp.erfc, lambda y, x: -_TWO_OVER_SQRT_PI * np.exp(-x * x))
elementwise(sp.erfcx, _erfcx_slope)
elementwise(sp.erfi, lambda y, x: _TWO_OVER_SQRT_PI * np.exp(x * x), is_odd=True)
elementwise(sp.erfinv, lambda y, x: np.exp(y * y) / _TWO_OVER_SQRT_PI, is_odd=True)
elementwise(sp.erfcinv, lambda y, x: -np.exp(y * y) / _TWO_OVER_SQRT_PI)
elementwise(sp.ndtr, lambda y, x: np.exp(-0.5 * x * x) / SQRT_2PI)
elementwise(sp.log_ndtr, lambda y, x: np.exp(-0.5 * x * x - y) / SQRT_2PI)
elementwise(sp.ndtri, lambda y, x: np.exp(0.5 * y * y) * SQRT_2PI)
elementwise(sp.dawsn, _dawsn_slope, is_odd=True)
elementwise(sp.expit, lambda y, x: y * (1 - y), bound=1.0)
elementwise(sp.log_expit, lambda y, x: sp.expit(-x))
elementwise(sp.logit, lambda y, x: 1 / (x * (1 - x)))
elementwise(sp.gamma, lambda y, x: y * sp.digamma(x))
elementwise(sp.gammaln, lambda y, x: sp.digamma(x))
elementwise(sp.rgamma, lambda y, x: -y * sp.digamma(x))
elementwise(sp.loggamma, lambda y, x: sp.digamma(x))
elementwise(sp.digamma, lambda y, x: polygamma(1, x))
elementwise(polygamma, UNKNOWN, lambda y, n, x: polygamma(n + 1, x))
elementwise(
    sp.poch,
    lambda z, x, m: z * (sp.digamma(x + m) - sp.digamma(x)),
    lambda z, x, m: z * sp.digamma(x + m),
)
elementwise(
    sp.binom,
    lambda z, n, k: z * (sp.digamma(n + 1) - sp.digamma(n - k + 1)),
    lambda z, n, k: z * (sp.digamma(n - k + 1) - sp.digamma(k + 1)),
)
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
elementwise(
    sp.xlogy,
    lambda z, x, y: np.log(y),
    lambda z, x, y: _over_used(x, y),
    uses={1: _is_second_used},
)
elementwise(
    sp.xlog1py,
    lambda z, x, y: np.log1p(y),
    lambda z, x, y: _over_used(x, 1 + y),
    uses={1: _is_second_used},
)
elementwise(sp.expm1, lambda y, x: y + 1)
elementwise(sp.log1p, lambda y, x: 1 / (1 + x))
elementwise(sp.powm1, lambda z, x, p: p * np.power(x, p - 1), lambda z, x, p: (z + 1) * np.log(x))
elementwise(sp.sindg, lambda y, x: DEGREE * sp.cosdg(x))
elementwise(sp.cosdg, lambda y, x: -DEGREE * sp.sindg(x))
elementwise(sp.tandg, lambda y, x: DEGREE * (1 + y * y))
elementwise(sp.cotdg, lambda y, x: -DEGREE * (1 + y * y))
elementwise(sp.entr, lambda y, x: -np.log(x) - 1)
elementwise(
    sp.rel_entr,
    lambda z, x, y: np.log(x / y) + 1,
    lambda z, x, y: -_over_used(x, y),
    uses={1: _is_second_used},
)
elementwise(sp.kl_div, lambda z, x, y: np.log(x / y), lambda z, x, y: 1 - _over_used(x, y))
elementwise(
    sp.huber,
    lambda z, delta, r: np.maximum(np.abs(r) - delta, 0.0),
    lambda z, delta, r: np.clip(r, -delta, delta),
    by_square=(
        None,
        lambda z, delta, r: 0.5 * np.minimum(1.0, delta / np.maximum(np.abs(r), delta)),
    ),
    uses={0: lambda z, delta, r: np.greater(np.abs(r), delta)},
)
elementwise(
    sp.pseudo_huber,
    lambda z, delta, r: (2 * z - np.square(r) / np.sqrt(1 + np.square(r / delta))) / delta,
    lambda z, delta, r: r / np.sqrt(1 + np.square(r / delta)),
    by_square=(None, lambda z, delta, r: 0.5 / np.sqrt(1 + np.square(r / delta))),
)
elementwise(sp.exprel, _exprel_slope)
elementwise(
    sp.boxcox, lambda z, x, p: np.power(x, p - 1), lambda z, x, p: _boxcox_by_exponent(x, p)
)
elementwise(
    sp.boxcox1p,
    lambda z, x, p: np.power(1 + x, p - 1),
    lambda z, x, p: _boxcox_by_exponent(1 + x, p),
)
elementwise(sp.inv_boxcox, lambda x, z, p: np.power(x, 1 - p), UNKNOWN)
elementwise(sp.inv_boxcox1p, lambda x, z, p: np.power(1 + x, 1 - p), UNKNOWN)
elementwise(sp.exp2, lambda y, x: LN2 * y)
elementwise(sp.exp10, lambda y, x: y / ONE_OVER_LN10)
elementwise(sp.cbrt, lambda y, x: 1 / (3 * y * y))
elementwise(
    sp.j0, lambda y, x: -sp.j1(x), by_square=(lambda y, x: -0.25 * (sp.j0(x) + sp.jv(2, x)),)
)
elementwise(sp.j1, lambda y, x: 0.5 * (sp.j0(x) - sp.jv(2, x)))
elementwise(sp.y0, lambda y, x: -sp.y1(x))
elementwise(sp.y1, lambda y, x: sp.y0(x) - y / x)
elementwise(sp.jv, UNKNOWN, lambda z, v, x: 0.5 * (sp.jv(v - 1, x) - sp.jv(v + 1, x)))
elementwise(sp.yv, UNKNOWN, lambda z, v, x: 0.5 * (sp.yv(v - 1, x) - sp.yv(v + 1, x)))
elementwise(sp.iv, UNKNOWN, lambda z, v, x: 0.5 * (sp.iv(v - 1, x) + sp.iv(v + 1, x)))
elementwise(sp.i0, lambda y, x: sp.i1(x), by_square=(lambda y, x: 0.25 * (sp.i0(x) - sp.iv(2, x)),))
elementwise(sp.i1, lambda y, x: 0.5 * (sp.i0(x) + sp.iv(2, x)))
elementwise(sp.i0e, lambda y, x: sp.i1e(x) - np.sign(x) * y)
elementwise(sp.i1e, lambda y, x: 0.5 * (sp.i0e(x) + sp.ive(2, x)) - np.sign(x) * y)
elementwise(
    sp.ive,
    UNKNOWN,
    lambda z, v, x: 0.5 * (sp.ive(v - 1, x) + sp.ive(v + 1, x)) - np.sign(x) * z,
)
elementwise(sp.k0, lambda y, x: -sp.k1(x))
elementwise(sp.k1, lambda y, x: -0.5 * (sp.k0(x) + sp.kv(2, x)))
elementwise(sp.k0e, lambda y, x: y - sp.k1e(x))
elementwise(sp.k1e, lambda y, x: y - 0.5 * (sp.k0e(x) + sp.kve(2, x)))
elementwise(sp.kv, UNKNOWN, lambda z, v, x: -0.5 * (sp.kv(v - 1, x) + sp.kv(v + 1, x)))
elementwise(sp.kve, UNKNOWN, lambda z, v, x: z - 0.5 * (sp.kve(v - 1, x) + sp.kve(v + 1, x)))
elementwise(sp.kn, UNKNOWN, lambda z, n, x: -0.5 * (sp.kv(n - 1, x) + sp.kv(n + 1, x)))
elementwise(sp.yn, UNKNOWN, lambda z, n, x: 0.5 * (sp.yv(n - 1, x) - sp.yv(n + 1, x)))
elementwise(sp.expn, UNKNOWN, _expn_slope)
elementwise(sp.exp1, lambda y, x: -np.exp(-x) / x)
elementwise(sp.expi, lambda y, x: np.exp(x) / x)
distribution(sp.gammainc, sp.gammaincc, gamma_density, 1)
distribution(sp.betainc, sp.betaincc, beta_density, 2)
elementwise(
    sp.gammaincinv,
    UNKNOWN,
    lambda x, a, y: np.exp(x + sp.gammaln(a) - sp.xlogy(a - 1, x)),
)
elementwise(
    sp.gammainccinv,
    UNKNOWN,
    lambda x, a, y: -np.exp(x + sp.gammaln(a) - sp.xlogy(a - 1, x)),
)
elementwise(
    sp.betaincinv,
    UNKNOWN,
    UNKNOWN,
    lambda x, a, b, y: np.exp(sp.betaln(a, b) - sp.xlogy(a - 1, x) - sp.xlog1py(b - 1, -x)),
)
elementwise(sp.hyp0f1, UNKNOWN, lambda z, v, x: sp.hyp0f1(v + 1, x) / v)
elementwise(sp.hyp1f1, UNKNOWN, UNKNOWN, lambda z, a, b, x: a / b * sp.hyp1f1(a + 1, b + 1, x))
elementwise(
    sp.hyp2f1,
    UNKNOWN,
    UNKNOWN,
    UNKNOWN,
    lambda z, a, b, c, x: a * b / c * sp.hyp2f1(a + 1, b + 1, c + 1, x),
)
elementwise(sp.ellipk, lambda y, m: np.pi / 8 * sp.hyp2f1(1.5, 1.5, 2, m))
elementwise(sp.ellipe, lambda y, m: -np.pi / 8 * sp.hyp2f1(0.5, 1.5, 2, m))
elementwise(
    sp.ellipkinc,
    lambda y, t, m: 1 / np.sqrt(1 - m * np.square(np.sin(t))),
    _ellipkinc_by_parameter,
)
elementwise(
    sp.ellipeinc,
    lambda y, t, m: np.sqrt(1 - m * np.square(np.sin(t))),
    _ellipeinc_by_parameter,
)
elementwise(sp.wrightomega, lambda y, x: y / (1 + y))
elementwise(sp.ellipkm1, _ellipkm1_slope)
elementwise(sp.spence, _spence_slope)
elementwise(sp.cosm1, lambda y, x: -np.sin(x))
