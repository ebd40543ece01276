"""Stacking in recordings: isomorphic formulas are evaluated once, and the results stay."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from functions import FUNCTIONS, HESSIANS, agree, points, reference

import chainad
from chainad.compiler.stacking import isomorphic, stack_program


@pytest.fixture
def eager() -> Iterator[None]:
    """Stack whatever can be stacked."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (isomorphic, stack_program):
            patch.setattr(module, "MIN_STACK_ROWS", 2)
            patch.setattr(module, "MIN_MERGED_CALLS", 2)
        patch.setattr(stack_program, "MAX_RELATIVE_COST", float("inf"))
        yield


def loop(n_steps: int):
    K = np.random.default_rng(0).normal(size=(6, 6)) / 3

    def f(x):
        for _ in range(n_steps):
            x = np.tanh(K @ x) * np.sin(x) + x / 2
        return x

    return f


X = np.linspace(0.2, 1.1, 6)


def before_products(compiled) -> str:
    """Return the source of a function and of its local Jacobians."""
    source: str = compiled.source.partition("# products")[0]
    return source


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.usefixtures("eager")
def test_replays_agree_with_traces_however_much_is_stacked(name: str) -> None:
    f, x = FUNCTIONS[name]
    compiled = chainad.value_and_jacobian(f, backend="numpy").compile(x)
    for point, value, J in reference(name)[:3]:
        agree(compiled(point), (value, J))


@pytest.mark.parametrize("name", HESSIANS)
@pytest.mark.usefixtures("eager")
def test_hessians_agree_however_much_is_stacked(name: str) -> None:
    f, x = HESSIANS[name]
    traced = chainad.jacobian(chainad.jacobian(f), backend="numpy")
    compiled = traced.compile(x)
    for point in points(x, 2):
        agree(compiled(point), traced(point))


def test_formulas_of_100_iterations_are_evaluated_at_once() -> None:
    compiled = chainad.jacobian(loop(100), backend="numpy").compile(X)
    lines = before_products(compiled).splitlines()
    function = sum("dot(" in line for line in lines)
    assert function == 100
    assert sum("= cos(" in line for line in lines) == 1
    assert sum("= n1 - " in line for line in lines) == 1
    agree(compiled(X + 0.1), chainad.jacobian(loop(100), backend="numpy")(X + 0.1))


def test_vectors_of_all_lengths_are_evaluated_at_once() -> None:
    rng = np.random.default_rng(0)
    layers = [rng.normal(size=(n, m)) / 3 for m, n in pairwise([6, 3, 5, 1, 4, 2, 6, 3, 5, 2, 7])]

    def f(x):
        for W in layers:
            x = np.tanh(W @ x)
        return x

    traced = chainad.jacobian(f, backend="numpy")
    compiled = traced.compile(X)
    source = before_products(compiled)
    assert source.count(" - ") == 1
    assert source.count("concat(") == 1
    for point in points(X, 3):
        agree(compiled(point), traced(point))


def test_few_iterations_are_replayed_as_they_are() -> None:
    compiled = chainad.jacobian(loop(5), backend="numpy").compile(X)
    assert "concat(" not in before_products(compiled)


def test_warnings_are_as_quiet_as_before() -> None:
    def f(x):
        total = x
        for k in range(10):
            total = total + np.sqrt(x * (k + 1.0)) + np.log1p(x)
        return total

    compiled = chainad.jacobian(f, backend="numpy").compile(np.ones(3))
    x = np.array([0.0, 1.0, 4.0])
    found = compiled(x)  # an infinite slope warns of nothing
    agree(found, chainad.jacobian(f, backend="numpy")(x))


def test_a_guard_between_iterations_still_misses() -> None:
    def f(x):
        for _ in range(12):
            x = np.tanh(x) if x[0] > 0 else np.sin(x) * 2
        return x

    compiled = chainad.jacobian(f, backend="numpy").compile(np.ones(3))
    for x in (np.ones(3), -np.ones(3)):
        agree(compiled(x), chainad.jacobian(f, backend="numpy")(x))
    assert compiled.programs == 2


def by_entries(x):
    n = x.size
    return np.array([np.sin(x[i - 1]) * x[i] + x[(i + 1) % n] ** 2 for i in range(n)])


def by_rows(x):
    u = x.reshape(-1, 10)
    result = np.zeros_like(u)
    for i in range(u.shape[0]):
        for j in range(1, 10):
            result[i, j] = np.exp(u[i, j]) * u[i, j - 1] - 0.5 / u[i, j]
    return result


@pytest.mark.parametrize("f", [by_entries, by_rows])
def test_a_function_written_by_entries_makes_few_calls(f) -> None:
    traced = chainad.value_and_jacobian(f, output="sparse", backend="numpy")
    x, y = np.linspace(0.2, 1.1, 100), np.linspace(1.3, 0.7, 100)
    compiled = traced.compile(x)
    assert len(compiled.source.splitlines()) < 60
    (value, J), (wanted, of_trace) = compiled(y), traced(y)
    agree((value, J.toarray()), (wanted, of_trace.toarray()))


def test_square_roots_of_infinite_entries_are_those_of_scalars() -> None:
    def f(x):
        return np.array([x[i] ** 0.5 for i in range(40)])

    compiled = chainad.compile(f, np.ones(40), backend="numpy")
    x = np.full(40, -np.inf)
    assert np.array_equal(compiled(x), f(x))


def test_what_values_decide_is_decided_before_anything_is_stacked() -> None:
    def f(x):
        return np.array([x[i] * x[i - 1] if x[i] > 0 else np.sin(x[i]) for i in range(40)])

    compiled = chainad.jacobian(f, backend="numpy").compile(np.ones(40))
    for x in (np.linspace(0.5, 1, 40), np.linspace(-1, 1, 40)):
        agree(compiled(x), chainad.jacobian(f, backend="numpy")(x))
    assert compiled.programs == 2
