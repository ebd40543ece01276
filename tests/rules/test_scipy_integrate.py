"""Integrals of samples under SciPy's names: its values, and their derivatives."""

from typing import Any

import numpy as np
import pytest
import scipy.integrate

import chainad
from chainad.scipy import integrate

rng = np.random.default_rng(3)
RULES = ["trapezoid", "cumulative_trapezoid", "simpson", "cumulative_simpson"]


def differences(f: Any, x: Any, step: float = 1e-6) -> Any:
    steps = (step * np.eye(x.size)).reshape(-1, *x.shape)
    found = np.stack([(f(x + h) - f(x - h)) / (2 * step) for h in steps], -1)
    return found.reshape(*found.shape[:-1], *x.shape)


@pytest.mark.parametrize("count", [pytest.param(2, marks=pytest.mark.slow), 4, 5])
@pytest.mark.parametrize("rule", RULES)
def test_integrals_of_samples_are_those_of_scipy(rule: str, count: int) -> None:
    y, x = rng.normal(size=(count, 2)), np.cumsum(rng.uniform(0.5, 1, count))
    every: list[dict[str, Any]] = [{"dx": 0.3}, {"x": np.outer(x, [1.0, 2.0])}]
    if rule.startswith("cumulative"):
        every.append({"x": x, "initial": 0})
    ours, theirs = getattr(integrate, rule), getattr(scipy.integrate, rule)
    for options in every:
        value, found = chainad.value_and_jacobian(
            lambda y, options=options: ours(y, axis=0, **options)
        )(y)
        np.testing.assert_allclose(value, theirs(y, axis=0, **options), rtol=1e-13)
        expected = differences(lambda y, options=options: theirs(y, axis=0, **options), y)
        np.testing.assert_allclose(found, expected, atol=1e-7)
    found = chainad.jacobian(lambda x: ours(y, x=x, axis=0))(x)
    np.testing.assert_allclose(found, differences(lambda x: theirs(y, x=x, axis=0), x), atol=1e-6)


def test_romberg_and_gauss() -> None:
    y = rng.normal(size=9)
    value, found = chainad.value_and_jacobian(lambda y: integrate.romb(y, dx=0.2))(y)
    np.testing.assert_allclose(value, scipy.integrate.romb(y, dx=0.2))
    np.testing.assert_allclose(
        found, differences(lambda y: scipy.integrate.romb(y, dx=0.2), y), atol=1e-8
    )

    def area(p: Any, of: Any = integrate) -> Any:
        return of.fixed_quad(lambda x, a: p[1] * np.exp(-a * x), p[0], 1.0, args=(p[0],), n=7)[0]

    p = np.array([0.3, 1.2])
    expected = differences(lambda p: area(p, scipy.integrate), p)
    np.testing.assert_allclose(chainad.grad(area)(p), expected, atol=1e-8)
