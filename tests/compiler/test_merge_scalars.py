"""Functions written entry by entry: planned as functions of arrays, with the same derivatives."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainad

Array = np.ndarray
N = 40
C = np.random.default_rng(1).uniform(1, 2, N)


def filled(x: Array) -> Array:
    d = np.zeros_like(x)
    for i in range(1, x.size - 1):
        d[i] = x[i + 1] * x[i] - 2 * x[i] + C[i] * np.sin(x[i - 1])
    return d


def on_grid(x: Array) -> Array:
    u = x.reshape(5, -1)
    return np.stack([u[i, j] * u[i - 1, np.int64(j)] for i in range(5) for j in range(8)])


def with_parameters(x: Array) -> Array:
    return np.stack([x[0] * np.exp(-x[1] * x[i]) + x[2] for i in range(3, x.size)])


def of_norm(x: Array) -> Array:
    scale = np.sum(x * x)
    return np.stack([x[i] / scale + x[-i] for i in range(x.size)])


def read_singly(x: Array) -> Array:
    y = [np.cos(x[i]) for i in range(x.size)]
    return np.concatenate([np.stack(y), np.stack([y[3] * y[5], y[7] * y[3]])])


def in_columns(x: Array) -> Array:
    return np.stack([np.stack([x[i] ** 2, x[i] * x[i - 1]]) for i in range(x.size)])


def with_powers(x: Array) -> Array:
    return np.stack([x[i] ** k + k * x[i] for k in (1, 2, 3, 0.5) for i in range(x.size)])


def maxima(x: Array) -> Array:
    return np.stack([np.maximum(x[i], x[i - 1]) + abs(x[i] - 1) for i in range(x.size)])


FUNCTIONS = [
    filled,
    on_grid,
    with_parameters,
    of_norm,
    read_singly,
    in_columns,
    with_powers,
    maxima,
]


def dense(f: Callable[[Array], Array], x: Array) -> Array:
    """Return the Jacobian by central differences."""
    h = 1e-6
    columns = [(f(x + h * e) - f(x - h * e)) / (2 * h) for e in np.eye(x.size)]
    return np.stack(columns, -1)


@pytest.mark.parametrize("mode", ["auto", "forward", "reverse"])
@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.__name__)
def test_derivatives_are_right(f: Callable[[Array], Array], mode: Any) -> None:
    x = np.random.default_rng(0).uniform(0.5, 1.5, N)
    want = dense(f, x)
    J = chainad.jacobian(f, mode=mode)
    np.testing.assert_allclose(J(x), want, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(J.compile(x)(x), J(x), rtol=1e-12, atol=1e-14)
    sparse = chainad.jacobian(f, mode=mode, output="sparse")(x)
    np.testing.assert_allclose(sparse.toarray().reshape(want.shape), J(x), rtol=1e-12)
    operator = chainad.jacobian(f, output="operator")(x)
    v = np.linspace(-1, 1, N)
    np.testing.assert_allclose(operator @ v, (J(x) @ v).ravel(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.__name__)
def test_second_derivatives_are_right(f: Callable[[Array], Array]) -> None:
    x = np.random.default_rng(0).uniform(0.5, 1.5, N)
    v = np.random.default_rng(1).uniform(-1, 1, N)
    J = chainad.jacobian(f)
    H = chainad.jacobian(J)
    wanted = (J(x + 1e-6 * v) - J(x - 1e-6 * v)) / 2e-6
    np.testing.assert_allclose(H(x) @ v, wanted, rtol=1e-5, atol=1e-7)


def test_single_precision_stays() -> None:
    x = np.linspace(1, 2, N, dtype=np.float32)
    assert chainad.jacobian(filled)(x).dtype == np.float32


@pytest.mark.parametrize("f", [filled, on_grid, with_parameters, of_norm, maxima])
def test_few_vertices_are_left(f: Callable[[Array], Array]) -> None:
    x = np.random.default_rng(0).uniform(0.5, 1.5, N)
    assert len(chainad.plan(f, x).graph.inner) <= 12


def test_a_running_sum_stays_one_of_scalars() -> None:
    def total(x: Array) -> Any:
        return sum(x[i] * x[i - 1] for i in range(N))

    plan = chainad.plan(total, np.ones(N))
    assert {plan.graph.shapes[v] for v in plan.graph.inner} == {()}


def test_a_plan_fits_what_is_compiled() -> None:
    x = np.linspace(1, 2, N)
    J = chainad.jacobian(filled, mode=chainad.plan(filled, x, mode="reverse"))
    np.testing.assert_allclose(J.compile(x)(x), chainad.jacobian(filled)(x), rtol=1e-12)


@pytest.mark.parametrize("backend", ["python", pytest.param("numba", marks=pytest.mark.numba)])
def test_programs_of_scalars_are_as_they_were(backend: str) -> None:
    x = np.linspace(1, 2, N)
    J = chainad.jacobian(with_parameters, backend=backend)
    np.testing.assert_allclose(J.compile(x)(x), chainad.jacobian(with_parameters)(x), rtol=1e-12)


def test_entries_grow_with_the_length_not_with_its_square() -> None:
    counts = []
    for n in (100, 200):
        x = np.linspace(1, 2, n)
        plan = chainad.plan(products, x)
        counts.append(sum(structure.weight + structure.count for structure in plan.structures))
    assert counts[1] <= 2.1 * counts[0]


def products(x: Array) -> Array:
    return np.stack([x[i] * x[i - 1] for i in range(x.size)])
