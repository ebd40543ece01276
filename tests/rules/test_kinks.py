"""Kinks under smooth functions: second derivatives where a norm, a modulus or a maximum is zero."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special as sp
from numpy.linalg import norm

import chainad
from chainad.rules.elementwise import EVEN
from chainad.rules.odd_functions import OVER_OPERAND

Function = Callable[[Any], Any]

EYE = np.eye(2)
ZERO = np.zeros(2)
ONES = np.ones(2)


def rows(x: Any) -> Any:
    """Return the norms of two rows of one entry each."""
    return norm(np.reshape(x, (2, 1)), axis=1)


def filled(x: Any) -> Any:
    y = np.zeros_like(x)
    y[0] = norm(x)
    y[1] = x[0]
    return y


def spring(x: Any) -> Any:
    r = norm(x)
    return 0.5 * 3.0 * r * r


# By name: a function that is smooth at a point although what it calls is not, and its Hessian.
SMOOTH: dict[str, tuple[Function, Any, Any]] = {
    "power": (lambda x: norm(x) ** 2, ZERO, 2 * EYE),
    "float power": (lambda x: np.float_power(norm(x), 2), ZERO, 2 * EYE),
    "product": (lambda x: norm(x) * norm(x), ZERO, 2 * EYE),
    "square": (lambda x: np.square(norm(x)), ZERO, 2 * EYE),
    "fourth power": (lambda x: norm(x) ** 4, ZERO, 0 * EYE),
    "cube": (lambda x: norm(x) ** 3, ZERO, 0 * EYE),
    "power of 3.5": (lambda x: norm(x) ** 3.5, ZERO, 0 * EYE),
    "cube times itself": (lambda x: norm(x) ** 3 / norm(x + 3) * norm(x), ZERO, 0 * EYE),
    "spring": (spring, ZERO, 3 * EYE),
    "Gaussian": (lambda x: np.exp(-((norm(x) / 2) ** 2) / 2), ZERO, -EYE / 4),
    "Gaussian of a square": (lambda x: np.exp(-(norm(x) ** 2)), ZERO, -2 * EYE),
    "cos": (lambda x: np.cos(norm(x)), ZERO, -EYE),
    "sin": (lambda x: np.sin(3 * norm(x)) * norm(x), ZERO, 6 * EYE),
    "tanh": (lambda x: np.tanh(norm(x) / 2) * norm(x), ZERO, EYE),
    "arctan": (lambda x: np.arctan(norm(x) / 2) * norm(x), ZERO, EYE),
    "sinh": (lambda x: norm(x) * np.sinh(norm(x) / 2), ZERO, EYE),
    "tanh of arctan": (lambda x: np.tanh(np.arctan(norm(x))) * np.sinh(norm(x)), ZERO, 2 * EYE),
    "square of a tanh": (lambda x: np.tanh(norm(x)) ** 2, ZERO, 2 * EYE),
    "product of sines": (
        lambda x: np.sin(np.hypot(x[:1], x[1:])) @ np.hypot(x[:1], x[1:]),
        ZERO,
        2 * EYE,
    ),
    "square of a sine": (lambda x: np.sin(norm(x)) ** 2, ZERO, 2 * EYE),
    "cosh": (lambda x: np.cosh(norm(x)), ZERO, EYE),
    "sinc": (lambda x: np.sinc(norm(x)), ZERO, -(np.pi**2) / 3 * EYE),
    "i0": (lambda x: np.i0(norm(x)), ZERO, EYE / 2),
    "j0": (lambda x: sp.j0(norm(x)), ZERO, -EYE / 2),
    "huber": (lambda x: sp.huber(1.5, norm(x)), ZERO, EYE),
    "pseudo_huber": (lambda x: sp.pseudo_huber(1.5, norm(x)), ZERO, EYE),
    "even in a multiple": (lambda x: np.cos(-3 * norm(x) / 2), ZERO, -9 / 4 * EYE),
    "negative": (lambda x: (-norm(x)) ** 2, ZERO, 2 * EYE),
    "difference": (lambda x: (2 * norm(x) - norm(x)) ** 2, ZERO, 2 * EYE),
    "quotient": (lambda x: norm(x) / (1 + norm(x) ** 2) * norm(x), ZERO, 2 * EYE),
    "smooth factors": (lambda x: x[0] * norm(x) * np.exp(x[1]) * norm(x), ONES * 0, 0 * EYE),
    "root of one more": (lambda x: np.sqrt(1 + norm(x) ** 2), ZERO, EYE),
    "hypot with one": (lambda x: np.hypot(norm(x), 1.0), ZERO, EYE),
    "rows": (lambda x: np.sum(rows(x) ** 2), ZERO, 2 * EYE),
    "inner product": (lambda x: rows(x) @ rows(x), ZERO, 2 * EYE),
    "dot": (lambda x: np.dot(rows(x), 2 * rows(x)), ZERO, 4 * EYE),
    "vdot": (lambda x: np.vdot(rows(x), rows(x)), ZERO, 2 * EYE),
    "einsum": (
        lambda x: np.einsum("i,i,i", rows(x), np.array([1.0, 3.0]), rows(x)),
        ZERO,
        np.diag([2.0, 6.0]),
    ),
    "diagonal einsum": (lambda x: np.sum(np.einsum("i,i->i", rows(x), rows(x))), ZERO, 2 * EYE),
    "one entry": (lambda x: rows(x)[0] * rows(x)[0] + 3 * rows(x)[1] ** 2, ZERO, np.diag([2, 6])),
    "stack": (lambda x: np.sum(np.stack([norm(x), 2 * norm(x)]) ** 2), ZERO, 10 * EYE),
    "filled": (lambda x: np.sum(filled(x) ** 2), ZERO, np.diag([4.0, 2.0])),
    "padded": (lambda x: np.sum(np.pad(rows(x), 1) ** 2), ZERO, 2 * EYE),
    "where": (
        lambda x: np.sum(np.where(np.array([True, False]), np.abs(x), x) ** 2),
        ZERO,
        2 * EYE,
    ),
    "astype": (lambda x: norm(x).astype(float) ** 2, ZERO, 2 * EYE),
    "norm of norms": (lambda x: norm(rows(x)) ** 2, ZERO, 2 * EYE),
    "norm of moduli": (lambda x: norm(np.abs(x)) ** 2, ZERO, 2 * EYE),
    "modulus of a norm": (lambda x: np.abs(norm(x)) ** 2, ZERO, 2 * EYE),
    "Frobenius": (lambda x: norm(np.outer(x, ONES)) ** 2, ZERO, 4 * EYE),
    "vector norm": (lambda x: np.linalg.vector_norm(x) ** 2, ZERO, 2 * EYE),
    "distance": (lambda x: norm(x - ONES) ** 2, ONES, 2 * EYE),
    "hypot": (lambda x: np.hypot(x[0], x[1]) ** 2, ZERO, 2 * EYE),
    "std": (lambda x: np.std(x) ** 2, ONES, np.array([[0.5, -0.5], [-0.5, 0.5]])),
    "power spectrum": (lambda x: np.sum(np.abs(np.fft.fft(x)) ** 2), ZERO, 4 * EYE),
    "power spectrum at ones": (lambda x: np.sum(np.abs(np.fft.rfft(x)) ** 2), ONES, 4 * EYE),
    "abs": (lambda x: np.sum(np.abs(x) ** 2), ZERO, 2 * EYE),
    "fabs": (lambda x: np.sum(np.fabs(x) * np.fabs(x)), ZERO, 2 * EYE),
    "abs and others": (lambda x: np.sum(np.abs(x) * (1 + x) * np.abs(x)), ZERO, 2 * EYE),
    "abs to the third": (lambda x: np.sum(np.abs(x) ** 3), ZERO, 0 * EYE),
    "sine of abs": (lambda x: np.sum(np.sin(np.abs(x)) ** 2), ZERO, 2 * EYE),
    "abs times tanh": (lambda x: np.sum(np.abs(x) * np.tanh(3 * np.abs(x))), ZERO, 6 * EYE),
    "cosine of abs": (lambda x: np.sum(np.cos(np.abs(x))), ZERO, -EYE),
    "maximum": (lambda x: np.sum(np.maximum(x, -x) ** 2), ZERO, 2 * EYE),
    "minimum": (lambda x: np.sum(np.minimum(x, -x) ** 2), ZERO, 2 * EYE),
    "max": (lambda x: np.sum(np.max(np.stack([x, -x]), axis=0) ** 2), ZERO, 2 * EYE),
    # The mean of both sides, 2 and 0.
    "squared hinge": (lambda x: np.sum(np.maximum(x, 0) ** 2), ZERO, EYE),
    "hinge to the third": (lambda x: np.sum(np.maximum(x, 0) ** 3), ZERO, 0 * EYE),
}

# What is not smooth: nan where second derivatives nearby are unbounded or depend on the direction.
KINKED: dict[str, tuple[Function, Any]] = {
    "norm": (norm, ZERO),
    "norm of three": (lambda x: norm(x, 3), ZERO),
    "exp": (lambda x: np.exp(norm(x)), ZERO),
    "sine": (lambda x: np.sin(norm(x)), ZERO),
    "sum": (lambda x: norm(x) ** 2 + norm(x), ZERO),
    "power of 1.5": (lambda x: norm(x) ** 1.5, ZERO),
    "times x": (lambda x: norm(x) * x[0], ZERO),
    "product of others": (lambda x: norm(x) * norm(x * np.array([1.0, 2.0])), ZERO),
    "rows in reverse": (lambda x: rows(x) @ rows(x)[::-1], ZERO),
    "quadratic form": (lambda x: rows(x) @ np.ones((2, 2)) @ rows(x), ZERO),
    "padded with ones": (
        lambda x: np.prod(np.pad(rows(x), 1, constant_values=1.0)) + rows(x)[0],
        ZERO,
    ),
    "different choices": (
        lambda x: np.sum(
            np.where(np.array([True, False]), rows(x), rows(x)[::-1])
            * np.where(np.array([False, True]), rows(x), rows(x)[::-1])
        ),
        ZERO,
    ),
    "std": (np.std, ONES),
    "hypot": (lambda x: np.hypot(x[0], x[1]), ZERO),
    "modulus": (lambda x: np.sum(np.abs(np.fft.fft(x))), ZERO),
}

# Piecewise linear functions have second derivative 0 at kinks by convention.
PIECEWISE: dict[str, Function] = {
    "abs": lambda x: np.sum(np.abs(x)),
    "maximum": lambda x: np.sum(np.maximum(x, 0)),
    "minimum": lambda x: np.sum(np.minimum(x, 0)),
    "clip": lambda x: np.sum(np.clip(x, 0, 1)),
    "sort": lambda x: np.sort(x)[0],
    "max": np.max,
    "sum of moduli": lambda x: norm(x, 1),
    "largest modulus": lambda x: norm(x, np.inf),
    "other moduli": lambda x: np.abs(x[0]) * np.abs(x[1]),
}


def hessian(f: Function, mode: str = "auto", **options: Any) -> Any:
    return chainad.jacobian(chainad.jacobian(f, mode=mode), mode=mode, **options)


@pytest.mark.parametrize("mode", ["auto", "forward", "reverse"])
@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_compositions_have_their_second_derivatives(name: str, mode: str) -> None:
    f, x, wanted = SMOOTH[name]
    np.testing.assert_allclose(hessian(f, mode)(x), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", SMOOTH)
def test_what_is_compiled_at_a_kink_and_elsewhere_has_the_same_derivatives(name: str) -> None:
    f, x, wanted = SMOOTH[name]
    away = x + np.array([0.3, -0.2])
    points = {"at the kink": (x, wanted), "elsewhere": (away, hessian(f)(away))}
    for names in (points, reversed(points)):
        compiled = hessian(f).compile()
        for point, want in (points[name] for name in names):
            np.testing.assert_allclose(compiled(point), want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", SMOOTH)
def test_batches_may_lie_on_kinks(name: str) -> None:
    f, x, wanted = SMOOTH[name]
    found = hessian(f, batch=0)(np.stack([x + 0.3, x]))
    np.testing.assert_allclose(found[1], wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [*SMOOTH, *KINKED, *PIECEWISE])
def test_second_derivatives_beside_kinks_are_those_of_differences(name: str) -> None:
    f = SMOOTH[name][0] if name in SMOOTH else KINKED[name][0] if name in KINKED else None
    x = np.array([0.3, -0.2])
    gradient = chainad.jacobian(f or PIECEWISE[name])
    columns = [(gradient(x + h) - gradient(x - h)) / 2e-5 for h in 1e-5 * EYE]
    found = hessian(f or PIECEWISE[name])(x)
    np.testing.assert_allclose(found, np.stack(columns, -1), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("mode", ["auto", "forward", "reverse"])
@pytest.mark.parametrize("name", KINKED)
def test_unbounded_second_derivatives_are_nan(name: str, mode: str) -> None:
    f, x = KINKED[name]
    with np.errstate(invalid="ignore"):
        assert np.isnan(hessian(f, mode)(x)).any()
        assert np.isnan(hessian(f, mode).compile(x)(x)).any()
    assert np.isfinite(chainad.jacobian(f)(x)).all()


@pytest.mark.parametrize("name", PIECEWISE)
def test_piecewise_linear_functions_have_second_derivative_zero(name: str) -> None:
    assert not hessian(PIECEWISE[name])(ZERO).any()


def test_rows_on_a_kink_do_not_touch_others() -> None:
    x = np.array([1.0, 2.0, 0.0, 0.0])
    found = hessian(lambda x: np.sum(norm(x.reshape(2, 2), axis=1) ** 2))(x)
    np.testing.assert_allclose(found, 2 * np.eye(4), atol=1e-15)


def test_other_operands_of_even_functions_keep_their_derivatives() -> None:
    def f(p: Any) -> Any:
        return sp.pseudo_huber(p[2], norm(p[:2]))

    p = np.array([0.3, -0.2, 0.8])
    gradient = chainad.jacobian(f)
    columns = [(gradient(p + h) - gradient(p - h)) / 2e-5 for h in 1e-5 * np.eye(3)]
    np.testing.assert_allclose(hessian(f)(p), np.stack(columns, -1), rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(
        hessian(f)(np.array([0.0, 0.0, 0.8])), np.diag([1.0, 1.0, 0.0]), atol=1e-15
    )


@pytest.mark.parametrize("function", OVER_OPERAND, ids=lambda function: function.__name__)
def test_odd_functions_over_their_operand_and_their_slopes_by_its_square(function: Any) -> None:
    over_operand = OVER_OPERAND[function]
    x = np.array([1e-3, 0.01, 0.0999, 0.1001, 0.3, -0.2])
    np.testing.assert_allclose(over_operand(x), function(x) / x, rtol=2e-15)

    def of_square(u: Any) -> Any:
        return EVEN[over_operand, 0](u, x)

    def difference(g: Any) -> Any:
        h = 1e-3 * x * x
        return (8 * (g(x * x + h) - g(x * x - h)) - (g(x * x + 2 * h) - g(x * x - 2 * h))) / (
            12 * h
        )

    found = np.diag(chainad.jacobian(of_square)(x * x))
    np.testing.assert_allclose(found[1:], difference(of_square)[1:], rtol=1e-8)
    slope = np.diag(chainad.jacobian(over_operand)(x))
    np.testing.assert_allclose(slope, 2 * x * found, rtol=1e-12)


def test_fourth_derivatives_of_smooth_compositions() -> None:
    for f, straight, mixed in [
        (lambda x: norm(x) ** 4, 24, 8),
        (lambda x: (norm(x) * norm(x)) ** 2, 24, 8),
        (lambda x: np.exp(-(norm(x) ** 2) / 2), 3, 1),
        (lambda x: np.sum(np.abs(x) ** 4), 24, 0),
        (lambda x: np.tanh(norm(x)) * norm(x), -8, -8 / 3),
        (lambda x: np.arctan(norm(x)) * norm(x), -8, -8 / 3),
    ]:
        derivative: Any = f
        for _ in range(4):
            derivative = chainad.jacobian(derivative)
        found = derivative(ZERO)
        np.testing.assert_allclose(found[0, 0, 0, 0], straight)
        np.testing.assert_allclose(found[0, 0, 1, 1], mixed)


def test_first_derivatives_are_planned_as_before() -> None:
    x = np.array([0.3, -0.2])
    plan = chainad.jacobian(lambda x: norm(x) ** 2).plan(x)
    assert len(plan.graph.edges) == 2
