"""odeint and quad of chainad.scipy.integrate: SciPy's own values, and their derivatives."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.integrate

import chainad
from chainad import TraceError
from chainad.scipy import integrate

X = np.array([1.0, 0.5, 0.8, 0.3, 1.0])
P = np.array([0.8, 1.1, 0.3])


def differences(f: Any, x: Any, step: float = 1e-5) -> Any:
    steps = step * np.eye(len(x))
    return np.stack([(f(x + h) - f(x - h)) / (2 * step) for h in steps], -1)


def reaction(y: Any, t: Any, k: Any, c: Any) -> Any:
    return [-k * y[0], k * y[0] - c * y[1] ** 2]


def by_args(x: Any, of: Any = integrate) -> Any:
    # The time 1.0 is asked for twice.
    times = [0.1 * x[4], 0.5, 1.0, 1.0, 2.0 * x[4]]
    return of.odeint(reaction, x[:2], times, args=(x[2], x[3]))


def by_closure(x: Any, of: Any = integrate) -> Any:
    return of.odeint(lambda t, y: reaction(y, t, x[2], x[3]), [x[0], 1.0], [0.0, 1.0], tfirst=True)


@pytest.mark.parametrize("mode", ["forward", "reverse"])
@pytest.mark.parametrize("f", [by_args, by_closure])
def test_odeint_has_derivatives(f: Callable[..., Any], mode: Any) -> None:
    found = chainad.jacobian(f, mode=mode)(X)
    expected = differences(lambda x: f(x, scipy.integrate), X)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_odeint_compiled() -> None:
    compiled = chainad.compile(chainad.jacobian(by_closure))
    for x in (X, 1.1 * X):
        np.testing.assert_allclose(compiled(x), chainad.jacobian(by_closure)(x), atol=1e-7)
    assert compiled.programs == 1


@pytest.mark.slow
def test_odeint_has_second_derivatives() -> None:
    def loss(x: Any) -> Any:
        return np.sum(by_closure(x) ** 2)

    expected = differences(chainad.grad(loss), X, 1e-4)
    np.testing.assert_allclose(chainad.hessian(loss)(X), expected, atol=1e-5)


def gaussian(x: Any, a: Any, b: Any) -> Any:
    return np.exp(-a * x * x) * np.cos(b * x)


INTEGRALS: dict[str, Callable[..., Any]] = {
    "to infinity": lambda p, of=integrate: of.quad(gaussian, p[2], np.inf, args=(p[0], p[1]))[0],
    "both limits": lambda p, of=integrate: of.quad(
        lambda x: gaussian(x, p[0], p[1]), p[2] ** 2, 2 * p[0]
    )[0],
    "singular": lambda p, of=integrate: of.quad(lambda x, a: x ** (a - 1), 0, 1, args=p[0])[0],
    "weighted": lambda p, of=integrate: of.quad(
        lambda x: p[0] * np.cos(p[1] * x), 0, 2, weight="alg", wvar=(-0.5, 0)
    )[0],
}


@pytest.mark.parametrize("name", INTEGRALS)
def test_integrals_are_differentiated_under_the_sign(name: str) -> None:
    f = INTEGRALS[name]
    value, found = chainad.value_and_grad(f)(P)
    assert value == f(P, scipy.integrate)
    expected = differences(lambda p: f(p, scipy.integrate), P)
    np.testing.assert_allclose(found, expected, atol=1e-7)
    second = differences(chainad.grad(f), P)
    np.testing.assert_allclose(chainad.hessian(f)(P), second, atol=1e-6)
    compiled = chainad.grad(f).compile(P)
    np.testing.assert_allclose(compiled(1.1 * P), chainad.grad(f)(1.1 * P), atol=1e-12)


def test_without_traced_values_they_are_the_functions_of_scipy() -> None:
    for name in ("to infinity", "weighted"):
        assert INTEGRALS[name](P) == INTEGRALS[name](P, scipy.integrate)
    np.testing.assert_array_equal(by_args(X), by_args(X, scipy.integrate))
    args = gaussian, 0, 1, (1.0, 2.0)
    assert len(integrate.quad(*args, full_output=1)) == 3


def test_an_integral_of_many_parameters_evaluates_all_derivatives_at_once() -> None:
    calls = 0

    def integrand(x: Any, w: Any) -> Any:
        nonlocal calls
        calls += 1
        return np.sin(np.sum(w * np.cos(np.arange(20.0) * x)))

    gradient = chainad.grad(lambda w: integrate.quad(integrand, 0, 1, args=(w,))[0])
    gradient(np.ones(20) / 20)
    assert 0 < calls < 200


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "odeint": (
        lambda x: integrate.odeint(reaction, x[:2], [0, 1], (1.0, 2.0), full_output=True),
        "odeint: full_output=True",
    ),
    "quad": (lambda x: integrate.quad(gaussian, 0, 1, (x[0], 1.0), 1)[0], "quad: full_output"),
    "weight": (
        lambda x: integrate.quad(np.cos, 0, x[0], weight="cos", wvar=2.0)[0],
        "weight into the integrand",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_there_is_refused_in_the_line_of_the_user(name: str) -> None:
    f, words = REFUSED[name]
    with pytest.raises(TraceError, match=rf"test_integrate\.py:\d+: .*{words}"):
        chainad.jacobian(f)(X)
