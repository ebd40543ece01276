"""Cost models: laws that every one keeps, and what the two that count multiplications say."""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainad
from chainad.errors import PlanError, unknown
from chainad.planning.auto import make_plan
from chainad.planning.cost_models import (
    COSTS,
    CostModel,
    all_multiplications,
    model_of,
    multiplications,
)
from chainad.planning.linear_graph import Edge, LinearGraph, cost
from chainad.planning.plan import full_cost
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
