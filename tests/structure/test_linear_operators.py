"""Operators: solves and sums that are pushed through, pulled back, or materialized, by count."""

from typing import Any

import numpy as np
import pytest

import chainad
from chainad.structure import linear_operators as operators
from chainad.structure.linear_operators import Inverse, Operator, RunningSum, UserOperator

rng = np.random.default_rng(0)


def differences(f, x: np.ndarray, h: float = 1e-6) -> np.ndarray:
    """Central differences, one column per entry of x."""
    columns = [(f(x + h * e) - f(x - h * e)) / (2 * h) for e in np.eye(x.size)]
    return np.stack(columns, axis=-1)


MATRIX = rng.normal(size=(4, 4)) + 4 * np.eye(4)
BATCH = rng.normal(size=(2, 3, 3)) + 4 * np.eye(3)
MAP = rng.normal(size=(3, 5))
OPERATORS = [
    Inverse(MATRIX),
    Inverse(BATCH),
    RunningSum(5, np.dtype(float)),
    UserOperator(3, 5, np.dtype(float), lambda x: MAP @ x, lambda y: y @ MAP),
    UserOperator(3, 5, np.dtype(float), lambda x: MAP @ x, None),
    UserOperator(3, 5, np.dtype(float), None, lambda y: y @ MAP),
]


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda x: type(x).__name__)
def test_jvp_and_vjp_agree_with_the_materialized_array(operator: Operator) -> None:
    array = operator.materialize()
    assert array.shape == operator.shape
    for twin in (operator, operator.copy()):
        for k in (1, 3):
            tangents = rng.normal(size=(*operator.batch, operator.n_in, k))
            adjoints = rng.normal(size=(*operator.batch, k, operator.n_out))
            np.testing.assert_allclose(twin.jvp(tangents), array @ tangents, atol=1e-12)
            np.testing.assert_allclose(twin.vjp(adjoints), adjoints @ array, atol=1e-12)


def woodbury(n: int, m: int, r: int):
    """Return W6a: a solve whose matrix and right-hand side both depend on x."""
    A = rng.normal(size=(n, n)) / np.sqrt(n) + 3 * np.eye(n)
    U, V = rng.normal(size=(n, r)), rng.normal(size=(r, n))
    C, B = rng.normal(size=(r, m)) / m, rng.normal(size=(n, m))
    return lambda x: np.linalg.solve(A + (U * np.tanh(C @ x)) @ V, B @ np.sin(x))


@pytest.mark.parametrize("mode", ["auto", "forward", "reverse", "greedy", "markowitz", "hybrid"])
def test_a_solve_in_the_middle_is_right_in_every_mode(mode: str) -> None:
    f, x = woodbury(8, 5, 3), rng.normal(size=5)
    found = chainad.jacobian(f, mode=mode)(x)
    np.testing.assert_allclose(found, differences(f, x), rtol=1e-6, atol=1e-8)


def test_a_solve_is_pushed_for_few_inputs_and_pulled_for_few_outputs() -> None:
    n = 20
    A = rng.normal(size=(n, n)) + 9 * np.eye(n)
    E, D = rng.normal(size=(n, 3)), rng.normal(size=(2, n))
    few_in = chainad.plan(lambda x: np.linalg.solve(A, E @ x), np.ones(3))
    assert few_in.multiplications == 3 * n * n  # three columns through two triangles
    few_out = chainad.plan(lambda x: D @ np.linalg.solve(A, np.sin(x)), np.ones(n))
    assert few_out.mode == "reverse"
    assert few_out.multiplications == 2 * n * n + 2 * n


def test_a_solve_alone_is_materialized_once() -> None:
    n = 6
    A = rng.normal(size=(n, n)) + 9 * np.eye(n)
    plan = chainad.plan(lambda b: np.linalg.solve(A, b), np.ones(n))
    assert [s.direction for s in plan.steps][-1] == "materialize"
    assert plan.multiplications == n**3
    assert "J2" in plan.details()
    found = chainad.jacobian(lambda b: np.linalg.solve(A, b))(np.ones(n))
    np.testing.assert_allclose(found, np.linalg.inv(A), atol=1e-14)


def test_a_narrow_value_before_a_solve_is_found() -> None:
    n = 100
    A, b = rng.normal(size=(n, n)) + 40 * np.eye(n), rng.normal(size=n)
    E, D = rng.normal(size=(5, 500)) / 500, rng.normal(size=(1000, n))
    U, V = rng.normal(size=(n, 5)), rng.normal(size=(5, n))

    def f(x):
        return np.tanh(D @ np.linalg.solve(A + (U * np.tanh(E @ x)) @ V, b))

    plan = chainad.plan(f, rng.normal(size=500))
    costs = {a.name: a.multiplications for a in plan.alternatives}
    # Five columns reach the output; 5 x 500 are multiplied last.
    assert plan.multiplications < 1.3 * (1000 * 5 * 500)
    assert 10 * plan.multiplications < min(costs["forward"], costs["reverse"])


def test_a_running_sum_multiplies_nothing() -> None:
    plan = chainad.plan(lambda x: np.cumsum(np.sin(np.cumsum(x))), np.ones(50))
    assert plan.multiplications == 50 * 50  # one diagonal, between two sums


def test_one_factorisation_serves_all_right_hand_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = np.linalg.inv

    def counted(*args):
        calls.append(args)
        return real(*args)

    factor, solve = operators._lapack("d")

    def watched(a: np.ndarray) -> Any:
        calls.append(a)
        return factor(a)

    monkeypatch.setattr(operators, "_lapack", lambda typecode: (watched, solve))
    A = rng.normal(size=(6, 6)) + 9 * np.eye(6)
    E = rng.normal(size=(6, 3))
    monkeypatch.setattr(np.linalg, "inv", counted)
    chainad.jacobian(lambda x: np.linalg.solve(A + x[0] * np.eye(6), E @ x))(np.ones(3))
    assert len(calls) == 1


def test_hessians_go_through_solves() -> None:
    f, x = woodbury(4, 3, 2), rng.normal(size=3)
    found = chainad.jacobian(chainad.jacobian(f))(x)
    J = chainad.jacobian(f)
    wanted = np.stack([(J(x + 1e-5 * e) - J(x - 1e-5 * e)) / 2e-5 for e in np.eye(3)], axis=-1)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
