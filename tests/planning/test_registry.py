"""The registry of planners: every mode has a name and a description."""

from collections.abc import Iterator, Sequence
from random import Random
from typing import get_args

import numpy as np
import pytest

import chainad
from chainad.errors import PlanError
from chainad.planning.auto import make_plan
from chainad.planning.cost_models import COSTS, CostName
from chainad.planning.orders import Vertex
from chainad.planning.registry import PLANNERS, ModeName, Problem, modes, register, unregister
from chainad.testing import random_dense, random_graph


def inside_out(problem: Problem) -> Sequence[Vertex]:
    """Eliminate from the middle."""
    inner = problem.graph.inner
    return sorted(inner, key=lambda v: (abs(2 * v - min(inner) - max(inner)), v))


@pytest.fixture
def registered() -> Iterator[None]:
    register("inside out", "eliminates from the middle", is_candidate=lambda problem: True)(
        inside_out
    )
    yield
    unregister("inside out")


@pytest.mark.usefixtures("registered")
def test_a_registered_planner_is_a_mode_of_its_name() -> None:
    assert modes()["inside out"] == "eliminates from the middle"
    plan = chainad.plan_chain([5, 4, 3, 2, 3], mode="inside out")
    assert plan.order == (2, 1, 3)
    assert (plan.planner, plan.requested) == ("inside out", "mode='inside out'")
    x = np.linspace(0.1, 1.0, 4)
    J = chainad.jacobian(lambda x: np.sin(np.exp(x) * np.sum(x)), mode="inside out")(x)
    np.testing.assert_allclose(J, chainad.jacobian(lambda x: np.sin(np.exp(x) * np.sum(x)))(x))


@pytest.mark.usefixtures("registered")
def test_auto_compares_a_registered_planner_that_is_a_candidate() -> None:
    chain = chainad.plan_chain([5, 4, 3, 2, 3])
    assert "inside out" in {other.name for other in chain.alternatives}
    for seed in range(10):
        graph, _ = random_graph(Random(seed), 8)
        auto = make_plan(graph)
        assert auto.cost <= make_plan(graph, "inside out").cost
        assert "inside out" in {other.name for other in auto.alternatives}


def test_auto_leaves_out_a_planner_that_is_no_candidate() -> None:
    register("inside out", "eliminates from the middle")(inside_out)
    try:
        plan = chainad.plan_chain([5, 4, 3, 2, 3])
        assert "inside out" not in {other.name for other in plan.alternatives}
    finally:
        unregister("inside out")


def test_no_plan_of_an_unregistered_planner_is_kept() -> None:
    sizes = [5, 4, 3, 2, 3]
    for order in ((1, 2, 3), (3, 2, 1)):
        register("fixed", "one order", is_candidate=lambda problem: True)(
            lambda problem, order=order: order
        )
        try:
            assert chainad.plan_chain(sizes, mode="fixed").order == order
            assert "fixed" in {other.name for other in chainad.plan_chain(sizes).alternatives}
        finally:
            unregister("fixed")
    assert "fixed" not in {other.name for other in chainad.plan_chain(sizes).alternatives}


def test_the_order_of_a_registered_planner_is_checked() -> None:
    register("empty", "eliminates nothing")(lambda problem: ())
    try:
        with pytest.raises(PlanError, match="must name each of the 3 inner vertices once"):
            chainad.plan_chain([5, 4, 3, 2, 3], mode="empty")
    finally:
        unregister("empty")


def test_a_mode_has_one_planner() -> None:
    for name in ("auto", "greedy"):
        with pytest.raises(PlanError, match=f"there is a mode '{name}' already"):
            register(name, "another one")
    with pytest.raises(PlanError, match="there is no planner 'greedi' to unregister"):
        unregister("greedi")


def test_an_unknown_mode_names_the_nearest_one() -> None:
    with pytest.raises(PlanError, match="mode='markovitz' is unknown; did you mean 'markowitz'"):
        chainad.plan_chain([5, 4, 3], mode="markovitz")


def test_every_planner_takes_the_same_problem() -> None:
    graph, _ = random_graph(Random(1), 4, local=random_dense)
    problem = Problem(graph)
    for name in sorted(PLANNERS.keys() - {"chain"}):
        order = PLANNERS[name].order(problem)
        assert order == make_plan(graph, name).order, name


def test_type_checkers_know_every_mode_and_cost() -> None:
    assert {*get_args(ModeName)} == {*modes()}
    assert {*get_args(CostName)} == {*COSTS}
