"""Whole functions in all modes against differences or the complex step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from functions import (
    ANALYTIC,
    FUNCTIONS,
    HESSIANS,
    Function,
    complex_step,
    normal,
    numerical,
    reference,
    roe3d,
)
from scipy.optimize import least_squares

import chainad

MODES = ["auto", "forward", "reverse", "hybrid", "greedy", "markowitz"]


def check_all_modes(f: Function, x: Any, expected: Any) -> None:
    plain = np.asarray(f(x))
    for mode in MODES:
        value, J = chainad.value_and_jacobian(f, mode=mode)(x)
        np.testing.assert_allclose(value, plain, rtol=1e-12, atol=1e-13)
        assert J.shape == plain.shape + x.shape, mode
        assert J.dtype == np.float64
        atol = 1e-8 * max(1, abs(expected).max(initial=0))
        np.testing.assert_allclose(J, expected, rtol=1e-7, atol=atol, err_msg=mode)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_all_modes_agree_with_an_independent_derivative(name: str) -> None:
    f, x = FUNCTIONS[name]
    check_all_modes(f, x, complex_step(f, x) if name in ANALYTIC else numerical(f, x))


def test_there_are_many_functions() -> None:
    assert len(FUNCTIONS) >= 70
    assert set(FUNCTIONS) >= ANALYTIC


@pytest.mark.parametrize("name", FUNCTIONS)
def test_auto_is_never_dearer_than_another_mode(name: str) -> None:
    f, x = FUNCTIONS[name]
    auto = chainad.plan(f, x)
    for mode in MODES[1:]:
        other = chainad.plan(f, x, mode=mode)
        assert auto.multiplications <= other.multiplications, mode


@pytest.mark.parametrize("name", ["mlp", "attention", "roe1d", "gmm_log_likelihood", "in_place"])
def test_float32_stays_float32(name: str) -> None:
    f, x = FUNCTIONS[name]
    narrow = x.astype(np.float32)
    value, J = chainad.value_and_jacobian(f)(narrow)
    assert value.dtype == J.dtype == np.asarray(f(narrow)).dtype
    np.testing.assert_allclose(J, chainad.jacobian(f)(x), rtol=5e-3, atol=5e-4)


# ------------------------------------------------------- arguments and outputs


@pytest.mark.parametrize("mode", MODES)
def test_sine_of_a_product_has_four_vertices_and_three_edges(mode: str) -> None:
    x, y = np.float64(0.5), np.float64(0.8)

    def f(x, y):
        return np.sin(x * y)

    plan = chainad.plan(f, x, y, argnums=(0, 1), mode=mode)
    assert len(plan.graph.shapes) == 4
    assert len(plan.graph.edges) == 3
    by_x, by_y = chainad.jacobian(f, argnums=(0, 1), mode=mode)(x, y)
    assert by_x.shape == by_y.shape == ()
    np.testing.assert_allclose([by_x, by_y], [y * np.cos(x * y), x * np.cos(x * y)], rtol=1e-15)


@pytest.mark.parametrize("mode", MODES)
def test_several_arguments_and_several_outputs(mode: str) -> None:
    W, b, x = normal(3, 4), normal(3), normal(4)

    def f(W, b, x, scale=1.0):
        h = np.tanh(W @ x + b) * scale
        return h, np.sum(h), W.T

    args = (W, b, x)
    found = chainad.jacobian(f, argnums=(0, 1, 2), mode=mode)(*args, scale=2.0)
    assert isinstance(found, tuple)
    assert [len(row) for row in found] == [3, 3, 3]
    for o in range(3):
        for k in range(3):

            def g(z, o=o, k=k):
                return f(*args[:k], z, *args[k + 1 :], scale=2.0)[o]

            np.testing.assert_allclose(found[o][k], numerical(g, args[k]), atol=1e-9)
    assert not found[2][1].any()
    alone = chainad.jacobian(f, argnums=-1, mode=mode)(*args, scale=2.0)
    np.testing.assert_allclose(alone[0], found[0][2])
    swapped = chainad.jacobian(f, argnums=(2, 0), mode=mode)(*args, scale=2.0)
    np.testing.assert_allclose(swapped[0][0], found[0][2], atol=1e-15)
    np.testing.assert_allclose(swapped[0][1], found[0][0], atol=1e-15)


def test_roe3d_by_its_six_arguments() -> None:
    args = [np.array(a) for a in ([1.0], [0.4, 0.3, 0.2], [2.0], [1.3], [0.6, 0.5, 0.4], [2.6])]
    for mode in MODES:
        found = chainad.jacobian(roe3d, argnums=range(6), mode=mode)(*args)
        for o in range(3):
            for k in range(6):

                def g(z, o=o, k=k):
                    return roe3d(*args[:k], z, *args[k + 1 :])[o]

                np.testing.assert_allclose(found[o][k], complex_step(g, args[k]), atol=1e-12)


def test_a_list_is_an_array_and_a_tuple_is_several_outputs() -> None:
    x = np.array([0.5, 2.0])
    J = chainad.jacobian(lambda x: [x[0] * x[1], 2.0, x[1]])(x)
    np.testing.assert_array_equal(J, [[2, 0.5], [0, 0], [0, 1]])
    several = chainad.jacobian(lambda x: (x[0] * x[1], 2.0, [x[1], x[0]]))(x)
    assert [j.shape for j in several] == [(2,), (2,), (2, 2)]
    (single,) = chainad.jacobian(lambda x: (x,))(x)
    np.testing.assert_array_equal(single, np.eye(2))
    value, J = chainad.value_and_jacobian(lambda x: [x[0], 1.0])(x)
    np.testing.assert_array_equal(value, [0.5, 1])
    assert chainad.jacobian(lambda x: [])(x).shape == (0, 2)
    assert chainad.jacobian(lambda x: ())(x) == ()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_outputs_that_do_not_depend_on_the_input_have_exactly_zero_jacobians(
    mode: str, dtype: Any
) -> None:
    x = np.ones((2, 3), dtype)
    constant = np.ones((4, 1), dtype)
    for f, shape in [
        (lambda x: constant, (4, 1)),
        (lambda x: 3.0, ()),
        (lambda x: 3, ()),
        (np.sign, (2, 3)),
        (lambda x: chainad.stop_gradient(x) ** 2, (2, 3)),
        (np.zeros_like, (2, 3)),
        (lambda x: [1.0, 2.0], (2,)),
        (lambda x: x[:0], (0, 3)),
    ]:
        J = chainad.jacobian(f, mode=mode)(x)
        assert J.shape == (*shape, 2, 3)
        assert not J.any()
        result = np.asarray(f(x)).dtype
        assert J.dtype == (result if result.kind == "f" else np.float64)
    both = chainad.jacobian(lambda x, y: (x * 2, y), argnums=(0, 1), mode=mode)(x, constant)
    assert both[0][1].shape == (2, 3, 4, 1)
    assert not both[0][1].any()
    assert not both[1][0].any()
    # Terms that cancel leave zeros of the right shape too.
    assert not chainad.jacobian(lambda x: x - x, mode=mode)(x).any()
    assert not chainad.jacobian(lambda x: x * 0.0, mode=mode)(x).any()


@pytest.mark.parametrize("mode", MODES)
def test_arrays_of_size_zero(mode: str) -> None:
    for f, x in [
        (lambda x: x * 2, np.zeros(0)),
        (lambda x: np.sum(x) + 1, np.zeros(0)),
        (lambda x: np.sin(x) @ np.ones((0, 3)), np.zeros(0)),
        (lambda x: np.ones((4, 0)) @ x, np.zeros(0)),
        (lambda x: np.sum(np.exp(x), axis=0), np.zeros((0, 3))),
        (lambda x: np.tanh(x).T, np.zeros((0, 3))),
        (lambda x: np.concatenate([x, np.ones(2)]), np.zeros(0)),
        (lambda x: x.reshape(3, 0) * np.ones((3, 0)), np.zeros((0, 3))),
        (lambda x: x[1:] * x[:-1], np.ones(1)),
        (lambda x: np.prod(x[:0]) * x, np.ones(2)),
    ]:
        J = chainad.jacobian(f, mode=mode)(x)
        expected = numerical(f, x)
        assert J.shape == expected.shape
        np.testing.assert_allclose(J, expected, atol=1e-9)


def test_value_and_jacobian_come_from_one_run() -> None:
    calls = []

    def f(x):
        calls.append(1)
        return np.sin(x)

    value, J = chainad.value_and_jacobian(f)(np.ones(2))
    assert len(calls) == 1
    assert type(value) is np.ndarray
    np.testing.assert_array_equal(value, np.sin(np.ones(2)))
    np.testing.assert_array_equal(J, np.diag(np.cos(np.ones(2))))


def test_a_second_call_gives_the_same_numbers() -> None:
    for name, (f, x) in FUNCTIONS.items():
        np.testing.assert_array_equal(chainad.jacobian(f)(x), reference(name)[0][2])


# -------------------------------------------------------------------- Hessians


@pytest.mark.parametrize("name", HESSIANS)
@pytest.mark.parametrize("mode", ["auto", "forward", "reverse"])
def test_the_jacobian_of_a_jacobian_is_the_hessian(name: str, mode: str) -> None:
    f, x = HESSIANS[name]
    gradient = chainad.jacobian(f, mode=mode)
    H = chainad.jacobian(gradient, mode=mode)(x)
    assert H.shape == x.shape * 2
    np.testing.assert_allclose(H, numerical(gradient, x), rtol=1e-6, atol=1e-7)
    flat = H.reshape(x.size, x.size)
    np.testing.assert_allclose(flat, flat.T, atol=1e-8)


def test_hessians_of_float32_are_float32() -> None:
    x = np.array([0.3, 0.7, 1.1], np.float32)
    for f in (
        lambda x: np.sum(x**3),
        lambda x: np.sum(np.cumsum(x) ** 2),
        lambda x: np.sum(np.maximum(x, 0.5) ** 2),
        lambda x: np.sum(np.where(x > 0.5, x, x * x) * np.float32(3)),
        lambda x: np.linalg.norm(x) * np.prod(x),
    ):
        H = chainad.jacobian(chainad.jacobian(f))(x)
        assert H.dtype == np.float32
        exact = chainad.jacobian(chainad.jacobian(f))(x.astype(float))
        np.testing.assert_allclose(H, exact, rtol=1e-5, atol=1e-6)


def test_third_derivatives() -> None:
    x = np.array([0.3, 0.7])

    def f(x):
        return np.sin(x[0] * x[1]) * x[1] ** 2

    second = chainad.jacobian(chainad.jacobian(f))
    np.testing.assert_allclose(chainad.jacobian(second)(x), numerical(second, x), atol=1e-8)


def test_a_jacobian_inside_a_function() -> None:
    def f(x):
        J = chainad.jacobian(lambda y: np.sin(y) * x[0])(x)
        return J @ x

    def by_hand(x):
        return np.cos(x) * x[0] * x

    x = np.array([0.4, 0.8, 1.3])
    np.testing.assert_allclose(chainad.jacobian(f)(x), numerical(by_hand, x), atol=1e-9)


# -------------------------------------------------------------------- in use


def test_least_squares_takes_the_jacobian() -> None:
    t = np.linspace(0, 2, 20)
    data = 2.5 * np.exp(-1.3 * t) + 0.5

    def residuals(p):
        return p[0] * np.exp(-p[1] * t) + p[2] - data

    found = least_squares(residuals, np.ones(3), jac=chainad.jacobian(residuals))
    assert found.success
    np.testing.assert_allclose(found.x, [2.5, 1.3, 0.5], rtol=1e-6)
