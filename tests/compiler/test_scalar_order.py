"""Elimination orders of scalar programs: those of the ordinary planners, by operations left."""

import subprocess
import sys
from collections.abc import Callable
from itertools import permutations
from random import Random
from typing import Any

import numpy as np
import pytest
from scipy.special import erf

import chainad
from benchmarks.workloads.points import TASKS, Task
from chainad.compiler.scalar import scalar_order
from chainad.errors import PlanError
from chainad.planning.linear_graph import LinearGraph, cost
from chainad.planning.registry import PLANNERS, register, unregister

# Operations of the Jacobian, a division counted as three, by the rules that the planners replaced.
RULES = {
    "roe1d": 462, "roe3d": 916, "robot": 220, "heart": 112, "propane": 86, "black_scholes": 97,
}  # fmt: skip
OPERATIONS = {**RULES, "roe1d": 411, "roe3d": 912}


def compiled_plan(f: Callable[..., Any], x: Any, **options: Any) -> chainad.Plan:
    plan = chainad.jacobian(f, backend="python", **options).compile(x).plan
    assert isinstance(plan, chainad.Plan)
    return plan


def polar(p: Any) -> Any:
    r, s = p[0] * np.cos(p[1]), np.sin(p[0] * p[1])
    return np.array([r * s, np.exp(r) - s * p[1], r / s])


P = np.array([0.7, 0.4])


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_tasks_take_no_more_operations_than_before(task: Task) -> None:
    plan = compiled_plan(task.make(np, erf), task.points(1)[0])
    assert plan.cost <= OPERATIONS[task.name] <= RULES[task.name]
    assert plan.cost == min(each.cost for each in plan.alternatives)
    assert {"forward", "reverse", plan.planner} <= {each.name for each in plan.alternatives}


def test_the_same_function_gets_the_same_program_again() -> None:
    f, x = TASKS[0].make(np, erf), TASKS[0].points(1)[0]
    sources = set()
    for _ in range(2):
        scalar_order._orders.clear()
        sources.add(chainad.jacobian(f, backend="python").compile(x).source)
    assert len(sources) == 1


def random_function(rng: Random) -> Callable[[Any], Any]:
    """Return a function of three scalars with few operations."""
    steps = [(rng.choice("*+s"), rng.random(), rng.random()) for _ in range(rng.randint(3, 6))]

    def f(x: Any) -> Any:
        values = [x[0], x[1], x[2]]
        for kind, one, two in steps:
            a, b = values[int(one * len(values))], values[int(two * len(values))]
            values.append(np.sin(a) if kind == "s" else a * b if kind == "*" else a + b)
        return np.stack(values[-2:])

    return f


@pytest.mark.parametrize("seed", range(30))
def test_no_order_of_a_small_graph_multiplies_less_than_the_best_that_is_compared(
    seed: int,
) -> None:
    """By trying them all; the order that is taken leaves no more operations than that one."""
    f, x = random_function(Random(seed)), np.array([0.3, 0.5, 0.7])
    plan = compiled_plan(f, x)
    least = min(cost(plan.graph, order).amount for order in permutations(plan.graph.inner))
    assert least == min(each.multiplications for each in plan.alternatives)
    assert plan.cost <= compiled_plan(f, x, mode="exhaustive").cost
    np.testing.assert_allclose(
        chainad.jacobian(f, backend="python").compile(x)(x), chainad.jacobian(f)(x), rtol=1e-13
    )


@pytest.mark.parametrize("mode", sorted(PLANNERS.keys() | {"auto", "hybrid"}))
def test_every_planner_orders_scalars(mode: str) -> None:
    f, x = TASKS[0].make(np, erf), TASKS[0].points(1)[0]
    if mode in ("chain", "edges", "exhaustive"):  # for paths, and for few vertices
        with pytest.raises(PlanError, match=f"mode='{mode}'"):
            compiled_plan(f, x, mode=mode)
        return
    compiled = chainad.jacobian(f, mode=mode, backend="python").compile(x)
    assert isinstance(compiled.plan, chainad.Plan)
    assert compiled.plan.requested == f"mode='{mode}', on scalars"
    assert mode in ("auto", compiled.plan.planner)
    np.testing.assert_allclose(compiled(x), chainad.jacobian(f)(x), rtol=1e-11)


def test_a_registered_planner_orders_scalars() -> None:
    @register("inside out", "from the middle", is_candidate=lambda problem: True)
    def inside_out(problem: Any) -> Any:
        inner = problem.graph.inner
        return sorted(inner, key=lambda v: abs(2 * v - min(inner) - max(inner)))

    try:
        plan = compiled_plan(polar, P, mode="inside out")
        assert plan.order == tuple(inside_out(plan))
        assert plan.planner == "inside out"
    finally:
        unregister("inside out")


def test_a_function_from_graphs_to_orders_gets_the_graph_of_scalars() -> None:
    seen: list[LinearGraph] = []

    def backwards(graph: LinearGraph) -> Any:
        seen.append(graph)
        return graph.inner[::-1]

    plan = compiled_plan(polar, P, mode=backwards)
    assert seen == [plan.graph]
    assert plan.order == plan.graph.inner[::-1]
    assert plan.requested == "planner backwards, on scalars"


def test_a_plan_on_scalars_is_followed() -> None:
    reverse = compiled_plan(polar, P, mode="reverse")
    again = compiled_plan(polar, P, mode=chainad.Plan.from_json(reverse.to_json()))
    assert again == reverse
    assert again.requested == "mode='reverse', on scalars"
    assert compiled_plan(polar, P, mode="forward") != reverse


def test_single_edges_are_eliminated_on_scalars() -> None:
    plan = compiled_plan(polar, P)
    edges = [
        chainad.EdgeElimination(edge.tail, v, "back")
        for v in plan.graph.inner[::-1]
        for edge in plan.graph.edges
        if edge.head == v
    ]
    by_edges = chainad.Plan.from_json(plan.to_json())
    compiled = chainad.jacobian(
        polar, mode=follow_edges(by_edges.graph, edges), backend="python"
    ).compile(P)
    np.testing.assert_allclose(compiled(P), chainad.jacobian(polar)(P), rtol=1e-13)


def follow_edges(graph: LinearGraph, edges: Any) -> Callable[[LinearGraph], Any]:
    def planner(given: LinearGraph) -> Any:
        assert given == graph
        return edges

    return planner


def layers(x: Any) -> Any:
    y = np.sin(x * x[::-1])
    z = y[:2] * y[1:] + x[:2]
    return np.exp(z * y[0])


@pytest.mark.parametrize("as_plan", [False, True])
def test_an_order_of_arrays_orders_their_entries(as_plan: bool) -> None:
    x = np.array([0.3, 0.5, 0.7])
    for mode in ("forward", "reverse"):
        arrays = chainad.plan(layers, x, mode=mode)
        assert isinstance(arrays, chainad.Plan)
        given = compiled_plan(layers, x, mode=arrays if as_plan else arrays.order)
        named = compiled_plan(layers, x, mode=mode)
        assert (given.multiplications, given.mode) == (named.multiplications, named.mode)
        assert given.requested == "a given order, on scalars"
    with pytest.raises(PlanError, match="inner vertices once"):
        compiled_plan(layers, x, mode=(0, 1))
    with pytest.raises(PlanError, match="made for another function"):
        compiled_plan(layers, x, mode=chainad.plan(polar, P))


def test_a_given_effort_searches_longer() -> None:
    f, x = TASKS[0].make(np, erf), TASKS[0].points(1)[0]
    plans = [compiled_plan(f, x, effort=effort) for effort in ("fast", "balanced")]
    assert plans[0].cost >= plans[1].cost
    assert plans[0].requested == "mode='auto', effort='fast', on scalars"


def test_planning_scalars_imports_no_slow_package() -> None:
    code = """
import sys
import numpy as np, chainad
from benchmarks.workloads.points import TASKS
f, x = TASKS[0].make(np, None), TASKS[0].points(1)[0]
chainad.jacobian(f, backend="python").compile(x)
print("networkx" in sys.modules)"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout.strip() == "False"
