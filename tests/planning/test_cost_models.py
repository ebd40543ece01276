"""Cost models: laws that every one keeps, and what the two that count multiplications say."""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainad
from chainad.compiler import program_time
from chainad.compiler.program_time import ProgramTime, times_of_steps
from chainad.errors import PlanError, unknown
from chainad.planning.auto import CLEAR_TIME_RATIO, make_plan
from chainad.planning.calibration import SHIPPED_TABLE
from chainad.planning.cost_models import (
    COSTS,
    CostModel,
    all_multiplications,
    by_time,
    model_of,
    multiplications,
)
from chainad.planning.linear_graph import Edge, LinearGraph, cost
from chainad.planning.plan import cost_of_step, full_cost
from chainad.structure import dense, diagonal, identity, multiply
from chainad.testing import random_graph

randoms = st.randoms(use_true_random=False)
PRODUCTS = CostModel("products", "products", lambda product: 1, lambda sum: 0, lambda op: 1)


@pytest.mark.parametrize("name", sorted(COSTS))
def test_cost_of_a_plan_is_the_cost_of_its_order(name: str) -> None:
    model = model_of(name)
    for seed in range(30):
        rng = Random(seed)
        graph, _ = random_graph(rng, 4)
        plan = make_plan(graph, rng.sample(graph.inner, 4), model=model)
        assert (plan.model, plan.cost) == (
            model.name,
            full_cost(graph, plan.order, model).amount,
        )
        assert type(plan.cost) is int
        assert plan.cost >= 0


@pytest.mark.parametrize("name", sorted(COSTS))
def test_auto_is_never_costlier_than_forward_or_reverse_by_any_cost(name: str) -> None:
    model = model_of(name)
    for seed in range(30):
        graph, _ = random_graph(Random(seed), 5)
        auto = make_plan(graph, model=model)
        for mode in ("forward", "reverse"):
            assert auto.cost <= make_plan(graph, mode, model=model).cost


@given(randoms)
def test_counting_unit_products_too_is_never_less(rng: Random) -> None:
    graph, _ = random_graph(rng, 4)
    order = rng.sample(graph.inner, 4)
    assert cost(graph, order, multiplications) <= cost(graph, order, all_multiplications)


@given(randoms)
def test_eliminating_a_scalar_costs_indegree_times_outdegree(rng: Random) -> None:
    one = [identity(()), dense((), ())]
    tails, heads = rng.randint(1, 5), rng.randint(1, 5)
    v = tails
    edges = [Edge(tail, v, rng.choice(one)) for tail in range(tails)]
    edges += [Edge(v, v + 1 + head, rng.choice(one)) for head in range(heads)]
    n = tails + 1 + heads
    graph = LinearGraph(((),) * n, tuple(range(tails)), tuple(range(v + 1, n)), tuple(edges))
    assert cost(graph, (v,), all_multiplications).amount == tails * heads


FULL = [
    (identity((5,)), dense((5,), (3,)), 15),
    (dense((3,), (5,)), identity((5,)), 15),
    (identity((5,)), diagonal((5,)), 5),
    (identity((5,)), identity((5,)), 5),
    (dense((2,), (5,)), dense((5,), (3,)), 30),
    (dense((2,), (5,)), diagonal((5,)), 10),
]


@pytest.mark.parametrize(("left", "right", "count"), FULL)
def test_a_unit_factor_is_multiplied_like_any_other(left, right, count: int) -> None:
    assert all_multiplications.product(multiply(left, right)) == count


def test_a_model_of_ones_own_is_a_cost() -> None:
    def f(x: np.ndarray) -> np.ndarray:
        return np.tanh(np.sin(np.cos(x)))

    x = np.ones(4)
    plan = chainad.plan(f, x, cost=PRODUCTS)
    assert (plan.model, plan.cost, plan.multiplications) == ("products", 2, 8)
    wanted = chainad.jacobian(f)(x)
    np.testing.assert_allclose(chainad.jacobian(f, cost=PRODUCTS)(x), wanted, rtol=1e-14)


REFUSED = [
    ("cents", unknown("cost", "cents", sorted(COSTS))),
    ("Bytes", unknown("cost", "Bytes", sorted(COSTS))),
    (3, "cost must be a name or a chainad.planning.cost_models.CostModel, but got int"),
]


@pytest.mark.parametrize(("given", "message"), REFUSED)
def test_a_cost_that_is_none_is_refused(given: object, message: str) -> None:
    with pytest.raises(PlanError) as error:
        chainad.plan(np.sin, np.ones(3), cost=given)  # type: ignore[arg-type]
    assert str(error.value) == message


def kernel_regression(scales: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(0)
    data, targets, at = rng.normal(size=(60, 5)), rng.normal(size=60), rng.normal(size=(25, 5))
    one, two = data / scales, at / scales
    far = np.sum(one**2, axis=1) + np.sum(two**2, axis=1)[:, None] - 2 * two @ one.T
    return np.tanh(np.exp(-far) @ targets / np.sum(np.exp(-far), axis=1))


def test_a_plan_says_by_how_much_another_order_is_quicker() -> None:
    x = np.full(5, 2.0)
    plan, timed = (
        chainad.plan(kernel_regression, x),
        chainad.plan(kernel_regression, x, cost="time"),
    )
    found = plan.quicker
    assert found is not None
    assert found.other == timed.cost
    assert found.ratio >= CLEAR_TIME_RATIO
    said = f"another order is {found.ratio:.1f}x as quick"
    assert said in plan.explain(width=200)
    assert said in plan.to_html()
    assert timed.quicker is None
    assert "as quick" not in timed.explain(width=200)


def test_a_plan_does_not_say_what_is_hardly_quicker() -> None:
    assert chainad.plan(np.tanh, np.ones(30)).quicker is None
    assert chainad.plan(kernel_regression, np.full(5, 2.0), mode="forward").quicker is None


def test_times_of_steps_add_up_to_nearly_the_time_of_the_program() -> None:
    plan = chainad.plan_chain([200, 30, 200, 30])
    by_steps = times_of_steps(plan, [()] * 3, "dense", SHIPPED_TABLE)
    whole = ProgramTime(SHIPPED_TABLE, ())(plan)
    assert len(by_steps) == len(plan.steps)
    assert sum(by_steps) == whole


@pytest.mark.parametrize("limit", [0, 400])
def test_long_plans_are_timed_step_by_step(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_time, "MAX_LOWERED_STEPS", limit)
    plan = chainad.plan_chain([200, 30, 200, 30])
    by_steps = sum(cost_of_step(plan, step, by_time(SHIPPED_TABLE)) for step in plan.steps)
    assert ProgramTime(SHIPPED_TABLE, ())(plan) == by_steps
