"""The rarer ufuncs of scipy.special: distributions, orthogonal polynomials, integrals, and pairs.

Where only some operands have a derivative in closed form, the others must be constant.
Source: NIST Digital Library of Mathematical Functions, chapters 6 to 19.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special as sp

from chainad.rules.base import REFUSED, available, constant, defined, dispatching
from chainad.rules.elementwise import UNKNOWN, Partial, elementwise
from chainad.rules.kinds import Elementwise
from chainad.rules.special_functions import SQRT_2PI, beta_density, distribution, gamma_density


def _whole(n: Any) -> Any:
    """Return an order as the integers that some ufuncs insist on."""
    return np.asarray(n).astype(int)


# -------------------------------------------------------------- distributions


def _student_density(v: Any, t: Any) -> Any:
    log = sp.gammaln((v + 1) / 2) - sp.gammaln(v / 2) - 0.5 * np.log(v * np.pi)
    return np.exp(log - (v + 1) / 2 * np.log1p(t * t / v))


def _f_density(m: Any, n: Any, x: Any) -> Any:
    scaled = m * x / (m * x + n)
    return beta_density(m / 2, n / 2, scaled) * m * n / np.square(m * x + n)


def _inverse(function: Any, density: Callable[..., Any], sign: float, unknown: int) -> None:
    """Add the inverse of a distribution function by its last operand."""
    rest: list[Partial] = [UNKNOWN] * unknown
    elementwise(function, *rest, lambda y, *args: sign / density(*args[:-1], y))


def _chi_density(v: Any, x: Any) -> Any:
    return 0.5 * gamma_density(v / 2, x / 2)


def _binomial_density(k: Any, n: Any, p: Any) -> Any:
    return -beta_density(np.floor(k) + 1, n - np.floor(k), p)


def _negative_binomial_density(k: Any, n: Any, p: Any) -> Any:
    return beta_density(n, np.floor(k) + 1, p)


def _poisson_density(k: Any, m: Any) -> Any:
    return -gamma_density(np.floor(k) + 1, m)


distribution(sp.chdtr, sp.chdtrc, _chi_density, 1)
_inverse(sp.chdtri, _chi_density, -1.0, 1)
distribution(sp.fdtr, sp.fdtrc, _f_density, 2)
_inverse(sp.fdtri, _f_density, 1.0, 2)
distribution(sp.bdtr, sp.bdtrc, _binomial_density, 2)
_inverse(sp.bdtri, _binomial_density, 1.0, 2)
distribution(sp.nbdtr, sp.nbdtrc, _negative_binomial_density, 2)
_inverse(sp.nbdtri, _negative_binomial_density, 1.0, 2)
distribution(sp.pdtr, sp.pdtrc, _poisson_density, 1)
_inverse(sp.pdtri, _poisson_density, 1.0, 1)
_inverse(sp.betainccinv, beta_density, -1.0, 2)
elementwise(sp.stdtr, UNKNOWN, lambda y, v, t: _student_density(v, t))
_inverse(sp.stdtrit, _student_density, 1.0, 1)
elementwise(
    sp.gdtr,
    lambda y, a, b, x: x * gamma_density(b, a * x),
    UNKNOWN,
    lambda y, a, b, x: a * gamma_density(b, a * x),
)
elementwise(
    sp.gdtrc,
    lambda y, a, b, x: -x * gamma_density(b, a * x),
    UNKNOWN,
    lambda y, a, b, x: -a * gamma_density(b, a * x),
)
elementwise(
    sp.gdtrix,
    lambda x, a, b, p: -x / a,
    UNKNOWN,
    lambda x, a, b, p: 1 / (a * gamma_density(b, a * x)),
)
elementwise(sp.ndtri_exp, lambda x, y: np.exp(y + 0.5 * x * x) * SQRT_2PI)
elementwise(sp.kolmogorov, lambda y, x: sp._ufuncs._kolmogp(x))
elementwise(sp.kolmogi, lambda x, y: 1 / sp._ufuncs._kolmogp(x))
elementwise(sp.smirnov, UNKNOWN, lambda y, n, x: sp._ufuncs._smirnovp(_whole(n), x))
elementwise(sp.smirnovi, UNKNOWN, lambda x, n, y: 1 / sp._ufuncs._smirnovp(_whole(n), x))


def _tukey_slope(y: Any, x: Any, lam: Any) -> Any:
    inside = np.logical_and(y > 0, y < 1)
    safe = np.where(inside, y, 0.5)
    slope = 1 / (np.power(safe, lam - 1) + np.power(1 - safe, lam - 1))
    return np.where(inside, slope, 0.0)


elementwise(sp.tklmbda, _tukey_slope, UNKNOWN)
elementwise(
    sp.owens_t,
    lambda y, h, a: -np.exp(-0.5 * h * h) * sp.erf(a * h / np.sqrt(2.0)) / (2 * SQRT_2PI),
    lambda y, h, a: np.exp(-0.5 * h * h * (1 + a * a)) / (2 * np.pi * (1 + a * a)),
)


def _voigt(x: Any, sigma: Any, gamma: Any) -> tuple[Any, Any, Any]:
    """Return z, the slope of Faddeeva's function there, and what it is divided by."""
    z = (x + 1j * gamma) / (sigma * np.sqrt(2.0))
    return z, 2j / np.sqrt(np.pi) - 2 * z * sp.wofz(z), sigma * SQRT_2PI


def _voigt_by(factor: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def slope(y: Any, x: Any, sigma: Any, gamma: Any) -> Any:
        z, dw, scale = _voigt(x, sigma, gamma)
        return np.real(dw * factor(z, sigma)) / scale

    return slope


elementwise(
    sp.voigt_profile,
    _voigt_by(lambda z, sigma: 1 / (sigma * np.sqrt(2.0))),
    lambda y, *args: _voigt_by(lambda z, sigma: -z / sigma)(y, *args) - y / args[1],
    _voigt_by(lambda z, sigma: 1j / (sigma * np.sqrt(2.0))),
)


defined(sp.nrdtrimn)(lambda p, std, x: x - std * sp.ndtri(p))
defined(sp.nrdtrisd)(lambda mn, p, x: (x - mn) / sp.ndtri(p))


# ------------------------------------------------------ orthogonal polynomials


def _jacobi_slope(y: Any, n: Any, a: Any, b: Any, x: Any) -> Any:
    # A constant polynomial has no polynomial of one degree less.
    return _lower(n, (n + a + b + 1) / 2 * sp.eval_jacobi(_less(n), a + 1, b + 1, x))


def _less(n: Any) -> Any:
    return np.where(np.equal(n, 0), 1.0, np.subtract(n, 1.0))


def _lower(n: Any, slope: Any) -> Any:
    return np.where(np.equal(n, 0), 0.0, slope)


def _ultraspherical(n: Any, a: Any, x: Any) -> Any:
    return _lower(n, 2 * a * sp.eval_gegenbauer(_less(n), a + 1, x))


elementwise(sp.eval_jacobi, UNKNOWN, UNKNOWN, UNKNOWN, _jacobi_slope)
elementwise(sp.eval_legendre, UNKNOWN, lambda y, n, x: _jacobi_slope(y, n, 0.0, 0.0, x))
elementwise(
    sp.eval_sh_legendre, UNKNOWN, lambda y, n, x: 2 * _jacobi_slope(y, n, 0.0, 0.0, 2 * x - 1)
)
elementwise(
    sp.eval_sh_jacobi,
    UNKNOWN,
    UNKNOWN,
    UNKNOWN,
    lambda y, n, p, q, x: (
        2 * _jacobi_slope(y, n, p - q, q - 1, 2 * x - 1) / sp.binom(2 * n + p - 1, n)
    ),
)
elementwise(
    sp.eval_gegenbauer, UNKNOWN, UNKNOWN, lambda y, n, a, x: _ultraspherical(n, np.asarray(a), x)
)
elementwise(sp.eval_chebyt, UNKNOWN, lambda y, n, x: n * sp.eval_chebyu(_less(n), x))
elementwise(sp.eval_chebyu, UNKNOWN, lambda y, n, x: _ultraspherical(n, 1.0, x))
elementwise(sp.eval_chebyc, UNKNOWN, lambda y, n, x: n * sp.eval_chebyu(_less(n), x / 2))
elementwise(sp.eval_chebys, UNKNOWN, lambda y, n, x: _ultraspherical(n, 1.0, x / 2) / 2)
elementwise(sp.eval_sh_chebyt, UNKNOWN, lambda y, n, x: 2 * n * sp.eval_chebyu(_less(n), 2 * x - 1))
elementwise(sp.eval_sh_chebyu, UNKNOWN, lambda y, n, x: 2 * _ultraspherical(n, 1.0, 2 * x - 1))
elementwise(sp.eval_hermite, UNKNOWN, lambda y, n, x: 2 * n * sp.eval_hermite(_whole(_less(n)), x))
elementwise(
    sp.eval_hermitenorm, UNKNOWN, lambda y, n, x: n * sp.eval_hermitenorm(_whole(_less(n)), x)
)
elementwise(
    sp.eval_laguerre,
    UNKNOWN,
    lambda y, n, x: _lower(n, -sp.eval_genlaguerre(_less(n), 1.0, x)),
)
elementwise(
    sp.eval_genlaguerre,
    UNKNOWN,
    UNKNOWN,
    lambda y, n, a, x: _lower(n, -sp.eval_genlaguerre(_less(n), a + 1, x)),
)
elementwise(
    sp.lpmv,
    UNKNOWN,
    UNKNOWN,
    lambda y, m, v, x: (v * x * y - (v + m) * sp.lpmv(m, v - 1, x)) / (x * x - 1),
)

# ------------------------------------------------- Bessel, Struve, hypergeometric


def _struve_term(v: Any, x: Any) -> Any:
    return np.power(x / 2, v) / (np.sqrt(np.pi) * sp.gamma(v + 1.5))


elementwise(sp.jve, UNKNOWN, lambda y, v, x: 0.5 * (sp.jve(v - 1, x) - sp.jve(v + 1, x)))
elementwise(sp.yve, UNKNOWN, lambda y, v, x: 0.5 * (sp.yve(v - 1, x) - sp.yve(v + 1, x)))
elementwise(
    sp.struve,
    UNKNOWN,
    lambda y, v, x: 0.5 * (sp.struve(v - 1, x) - sp.struve(v + 1, x) + _struve_term(v, x)),
)
elementwise(
    sp.modstruve,
    UNKNOWN,
    lambda y, v, x: 0.5 * (sp.modstruve(v - 1, x) + sp.modstruve(v + 1, x) + _struve_term(v, x)),
)
elementwise(sp.itstruve0, lambda y, x: sp.struve(0, x))
elementwise(sp.itmodstruve0, lambda y, x: sp.modstruve(0, x))
elementwise(sp.it2struve0, lambda y, x: -sp.struve(0, x) / x)
elementwise(sp.ber, lambda y, x: sp.berp(x))
elementwise(sp.bei, lambda y, x: sp.beip(x))
elementwise(sp.ker, lambda y, x: sp.kerp(x))
elementwise(sp.kei, lambda y, x: sp.keip(x))
# By their differential equation, x^2 w'' + x w' = i x^2 w.
elementwise(sp.berp, lambda y, x: -sp.bei(x) - y / x)
elementwise(sp.beip, lambda y, x: sp.ber(x) - y / x)
elementwise(sp.kerp, lambda y, x: -sp.kei(x) - y / x)
elementwise(sp.keip, lambda y, x: sp.ker(x) - y / x)
elementwise(sp.hyperu, UNKNOWN, UNKNOWN, lambda y, a, b, x: -a * sp.hyperu(a + 1, b + 1, x))
elementwise(sp.wright_bessel, UNKNOWN, UNKNOWN, lambda y, a, b, x: sp.wright_bessel(a, a + b, x))
for log_wright_bessel in available(sp, "log_wright_bessel"):
    elementwise(
        log_wright_bessel,
        UNKNOWN,
        UNKNOWN,
        lambda y, a, b, x: np.exp(sp.log_wright_bessel(a, a + b, x) - y),
    )

# ---------------------------------------------------------- elliptic integrals

elementwise(
    sp.elliprc,
    lambda w, x, y: -sp.elliprd(y, y, x) / 6,
    lambda w, x, y: -sp.elliprd(x, y, y) / 3,
)
elementwise(
    sp.elliprf,
    lambda w, x, y, z: -sp.elliprd(y, z, x) / 6,
    lambda w, x, y, z: -sp.elliprd(x, z, y) / 6,
    lambda w, x, y, z: -sp.elliprd(x, y, z) / 6,
)


def _carlson_g(x: Any, y: Any, z: Any) -> Any:
    return (sp.elliprf(x, y, z) - x * sp.elliprd(y, z, x) / 3) / 4


elementwise(
    sp.elliprg,
    lambda w, x, y, z: _carlson_g(x, y, z),
    lambda w, x, y, z: _carlson_g(y, z, x),
    lambda w, x, y, z: _carlson_g(z, x, y),
)


@defined(sp.agm)
def _agm(a: Any, b: Any) -> Any:
    total = np.add(a, b)
    return np.pi / 4 * total / sp.ellipk(np.square(np.subtract(a, b) / total))


defined(sp.radian)(lambda d, m, s: np.deg2rad(d + np.divide(m, 60.0) + np.divide(s, 3600.0)))


# --------------------------------------------------- functions of several results


def _several(function: Any, *slopes: Callable[..., Any], operands: int = 1) -> None:
    """Add a ufunc of several results, with the slope of each by its first operand.

    A slope is a function of all results and the operands.
    """

    def part(k: int) -> Callable[..., Any]:
        @dispatching
        def result(*args: Any) -> Any:
            return function(*args)[k]

        result.__name__ = f"{function.__name__}[{k}]"

        def slope(y: Any, *args: Any) -> Any:
            return slopes[k](function(*args), *args)

        elementwise(result, slope, *[UNKNOWN] * (operands - 1))
        PARTS.setdefault(function, []).append(result)
        return result

    parts = [part(k) for k in range(len(slopes))]
    defined(function)(lambda *args: tuple(each(*args) for each in parts))


# The functions of one result each that a function of several is made of.
PARTS: dict[Callable[..., Any], list[Callable[..., Any]]] = {}

_several(
    sp.airy,
    lambda w, x: w[1],
    lambda w, x: x * w[0],
    lambda w, x: w[3],
    lambda w, x: x * w[2],
)
_several(
    sp.ellipj,
    lambda w, u, m: w[1] * w[2],
    lambda w, u, m: -w[0] * w[2],
    lambda w, u, m: -m * w[0] * w[1],
    lambda w, u, m: w[2],
    operands=2,
)
_several(
    sp.fresnel,
    lambda w, x: np.sin(np.pi / 2 * x * x),
    lambda w, x: np.cos(np.pi / 2 * x * x),
)
_several(sp.sici, lambda w, x: np.sinc(x / np.pi), lambda w, x: np.cos(x) / x)
_several(sp.shichi, lambda w, x: np.sinh(x) / x, lambda w, x: np.cosh(x) / x)
_several(sp.itj0y0, lambda w, x: sp.j0(x), lambda w, x: sp.y0(x))
_several(sp.iti0k0, lambda w, x: sp.i0(x), lambda w, x: sp.k0(x))
_several(sp.it2j0y0, lambda w, x: (1 - sp.j0(x)) / x, lambda w, x: -sp.y0(x) / x)
_several(sp.it2i0k0, lambda w, x: (sp.i0(x) - 1) / x, lambda w, x: -sp.k0(x) / x)
_several(
    sp.itairy,
    lambda w, x: sp.airy(x)[0],
    lambda w, x: sp.airy(x)[2],
    lambda w, x: sp.airy(-x)[0],
    lambda w, x: sp.airy(-x)[2],
)

# ---------------------------------------------------------- constant, or refused

constant(sp.gammasgn, sp.round, kind=Elementwise())

_NO_FORM = "has no derivative in closed form; make it a chainad.primitive with one by differences"
_COMPLEX = "has complex results, which this has no rule for; use its real relatives (jv, yv, ...)"
REFUSED |= {
    getattr(sp, name): f"scipy.special.{name} {why}"
    for why, names in {
        _NO_FORM: """bdtrik bdtrin besselpoly btdtria btdtrib chdtriv chndtr chndtridf chndtrinc
            chndtrix elliprd elliprj fdtridfd gdtria gdtrib mathieu_a mathieu_b mathieu_cem
            mathieu_modcem1 mathieu_modcem2 mathieu_modsem1 mathieu_modsem2 mathieu_sem nbdtrik
            nbdtrin ncfdtr ncfdtri ncfdtridfd ncfdtridfn ncfdtrinc nctdtr nctdtridf nctdtrinc
            nctdtrit obl_ang1 obl_ang1_cv obl_cv obl_rad1 obl_rad1_cv obl_rad2 obl_rad2_cv pbdv
            pbvv pbwa pdtrik pro_ang1 pro_ang1_cv pro_cv pro_rad1 pro_rad1_cv pro_rad2 pro_rad2_cv
            stdtridf zetac""",
        _COMPLEX: """airye hankel1 hankel1e hankel2 hankel2e kelvin modfresnelm modfresnelp wofz""",
    }.items()
    for name in names.split()
}
