"""Plans: data that can be compared, counted and read."""

from dataclasses import FrozenInstanceError, replace
from math import prod
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainad
from chainad.errors import PlanError
from chainad.planning.auto import make_plan
from chainad.planning.linear_graph import Edge, LinearGraph, cost
from chainad.planning.plan import Plan, follow
from chainad.structure import Product, dense, diagonal, identity
from chainad.structure.structure import Structure
from chainad.testing import (
    path_sum,
    product_entries,
    random_chain,
    random_graph,
    sum_entries,
    to_array,
)

randoms = st.randoms(use_true_random=False)


def any_plan(rng: Random) -> tuple[Plan, list[np.ndarray | None]]:
    n_inputs, n_outputs = rng.randint(1, 2), rng.randint(1, 2)
    inner = rng.randint(0, 4)
    graph, numbers = random_graph(rng, inner, n_inputs=n_inputs, n_outputs=n_outputs)
    return follow(graph, rng.sample(graph.inner, inner)), numbers


def chain_of(*structures: Structure) -> LinearGraph:
    """Return the chain of some Jacobians, the one next to x first."""
    shapes = (structures[0].col_shape, *(s.row_shape for s in structures))
    edges = tuple(Edge(k, k + 1, s) for k, s in enumerate(structures))
    return LinearGraph(shapes, (0,), (len(edges),), edges)


def test_a_plan_cannot_be_changed() -> None:
    plan = chainad.plan_chain([4, 3, 2])
    with pytest.raises(FrozenInstanceError):
        plan.order = ()  # type: ignore[misc]
    with pytest.raises(AttributeError):
        plan.steps[0].left = 7  # type: ignore[misc]


@given(randoms)
def test_equal_plans_are_equal_and_hash_alike(rng: Random) -> None:
    plan, _ = any_plan(rng)
    graph = plan.graph
    apart = LinearGraph(graph.shapes, graph.inputs, graph.outputs, tuple(graph.edges))
    again = follow(apart, list(plan.order), requested="in other words")
    assert again == plan
    assert hash(again) == hash(plan)
    assert len({plan, again}) == 1


def test_plans_differ_by_order_graph_and_itemsize() -> None:
    plan = chainad.plan_chain([5, 4, 3, 2], mode="forward")
    assert plan != chainad.plan_chain([5, 4, 3, 2], mode="reverse")
    assert plan != chainad.plan_chain([5, 4, 3, 7], mode="forward")
    assert plan != replace(plan, itemsize=4)


@given(randoms)
def test_steps_accumulate_the_sum_over_paths(rng: Random) -> None:
    plan, numbers = any_plan(rng)
    known = list(numbers)
    for step in plan.steps:
        assert step.number == len(known)
        one, two = known[step.left], known[step.right]
        if isinstance(step.operation, Product):
            known.append(product_entries(step.operation, one, two))
        else:
            known.append(sum_entries(step.operation, one, two))
    wanted = path_sum(plan.graph, numbers)
    for pieces, want in zip(plan.results, wanted, strict=True):
        got = sum((to_array(plan.structures[k], known[k]) for k in pieces), np.zeros_like(want))
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-9)


@given(randoms)
def test_structures_of_steps_have_the_shapes_of_their_ends(rng: Random) -> None:
    plan, _ = any_plan(rng)
    for step in plan.steps:
        assert step.structure.row_shape == plan.graph.shapes[step.head]
        assert step.structure.col_shape == plan.graph.shapes[step.tail]
        assert (step.via is None) == (step.direction == "sum")


@given(randoms)
def test_costs_of_steps_add_up_to_the_cost_of_the_order(rng: Random) -> None:
    plan, _ = any_plan(rng)
    total = cost(plan.graph, plan.order)
    assert (plan.multiplications, plan.additions) == (total.multiplications, total.additions)


def simulated_peak(plan: Plan) -> int:
    """Return the most entries alive at once: local Jacobians throughout, others while in use."""
    n = len(plan.graph.edges)
    made = dict.fromkeys(range(n), -1) | {step.number: k for k, step in enumerate(plan.steps)}
    over = dict(made)
    for k, step in enumerate(plan.steps):
        over[step.left] = over[step.right] = k
    for number in (k for pieces in plan.results for k in pieces):
        over[number] = len(plan.steps)
    over |= dict.fromkeys(range(n), len(plan.steps))
    counts = [s.count for s in plan.structures]
    moments = range(-1, len(plan.steps))
    return max(sum(c for j, c in enumerate(counts) if made[j] <= t <= over[j]) for t in moments)


@given(randoms)
def test_peak_is_that_of_a_simulation_besides_copies(rng: Random) -> None:
    plan, _ = any_plan(rng)
    assert simulated_peak(plan) <= plan.peak.entries
    assert plan.peak.bytes <= plan.peak.dense_bytes
    assert plan.peak.bytes == 8 * plan.peak.entries
    assert replace(plan, itemsize=4).peak.bytes == 4 * plan.peak.entries


def test_peak_of_a_bottleneck_holds_local_jacobians_two_thin_factors_and_the_result() -> None:
    plan = chainad.plan_chain([100, 10, 2, 10, 100])
    local = 100 * 10 + 10 * 2 + 2 * 10 + 10 * 100
    assert plan.peak.entries == local + 100 * 2 + 2 * 100 + 100 * 100
    assert plan.peak.dense_bytes == plan.peak.bytes == 8 * plan.peak.entries


BRACKETINGS = [
    ((5, 4), (), "J = J1"),
    ((5, 4, 3), (1,), "J = J2 J1"),
    ((5, 4, 3, 2), (1, 2), "J = J3 (J2 J1)"),
    ((5, 4, 3, 2), (2, 1), "J = (J3 J2) J1"),
    ((6, 5, 4, 3, 2), (1, 3, 2), "J = (J4 J3) (J2 J1)"),
    ((6, 5, 4, 3, 2), (2, 1, 3), "J = J4 ((J3 J2) J1)"),
    ((6, 5, 4, 3, 2), (2, 3, 1), "J = (J4 (J3 J2)) J1"),
]


@pytest.mark.parametrize(("sizes", "order", "words"), BRACKETINGS)
def test_bracketing_of_a_chain_says_the_order(
    sizes: tuple[int, ...], order: tuple[int, ...], words: str
) -> None:
    assert chainad.plan_chain(sizes, mode=order).bracketing == words


def test_bracketing_numbers_factors_along_the_chain() -> None:
    edges = (Edge(1, 2, dense((2,), (3,))), Edge(0, 1, dense((3,), (4,))))
    graph = LinearGraph(((4,), (3,), (2,)), (0,), (2,), edges)
    assert follow(graph, (1,)).bracketing == "J = J2 J1"


def test_bracketing_of_a_long_chain_needs_no_recursion() -> None:
    n = 2000
    graph = chain_of(*[diagonal((2,))] * n)
    words = follow(graph, graph.inner).bracketing
    assert words.count("(") == words.count(")") == n - 2
    assert words.startswith(f"J = J{n} (J{n - 1} (")


def test_bracketing_of_a_graph_names_the_eliminated_vertices() -> None:
    one = dense((2,), (2,))
    ends = [(0, 1), (1, 2), (0, 2), (2, 3)]
    edges = tuple(Edge(tail, head, one) for tail, head in ends)
    graph = LinearGraph(((2,),) * 4, (0,), (3,), edges)
    assert follow(graph, (2, 1)).bracketing == "eliminate v2, v1"
    pair = LinearGraph(((2,),) * 2, (0,), (1,), (Edge(0, 1, one),) * 2)
    assert follow(pair, ()).bracketing == "J = J1 + J2"


MODES = [
    ((5, 4, 3, 2), (1, 2), "forward"),
    ((5, 4, 3, 2), (2, 1), "reverse"),
    ((6, 5, 4, 3, 2), (1, 2, 3), "forward"),
    ((6, 5, 4, 3, 2), (3, 2, 1), "reverse"),
    ((6, 5, 4, 3, 2), (1, 3, 2), "hybrid"),
    ((6, 5, 4, 3, 2), (2, 1, 3), "hybrid"),
    ((5, 4), (), "forward"),
    ((5, 4, 3), (1,), "forward"),
]


@pytest.mark.parametrize(("sizes", "order", "mode"), MODES)
def test_mode_is_what_the_order_turned_out_to_be(
    sizes: tuple[int, ...], order: tuple[int, ...], mode: str
) -> None:
    assert chainad.plan_chain(sizes, mode=order).mode == mode


@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_identities_do_not_change_the_name_of_a_mode(mode: str) -> None:
    eye = identity((4,))
    graph = chain_of(eye, dense((4,), (4,)), eye, dense((3,), (4,)), dense((2,), (3,)))
    assert make_plan(graph, mode).mode == mode


def test_directions_say_which_factor_is_local() -> None:
    plan = chainad.plan_chain([6, 5, 4, 3, 2], mode=(1, 3, 2))
    assert [s.direction for s in plan.steps] == ["leaf", "leaf", "join"]
    plan = chainad.plan_chain([6, 5, 4, 3, 2], mode="forward")
    assert [s.direction for s in plan.steps] == ["leaf", "forward", "forward"]
    plan = chainad.plan_chain([6, 5, 4, 3, 2], mode="reverse")
    assert [s.direction for s in plan.steps] == ["leaf", "reverse", "reverse"]


def test_an_output_that_an_input_does_not_reach_has_no_result() -> None:
    edges = (Edge(0, 2, dense((2,), (3,))), Edge(1, 3, dense((2,), (3,))))
    graph = LinearGraph(((3,), (3,), (2,), (2,)), (0, 1), (2, 3), edges)
    assert follow(graph, ()).results == ((0,), (), (), (1,))


def test_follow_refuses_an_order_that_misses_a_vertex() -> None:
    graph, _ = random_chain(Random(0), 3)
    with pytest.raises(PlanError, match="without 2"):
        follow(graph, (1,))


def test_counts_of_a_chain_are_products_of_sizes() -> None:
    sizes = [7, 6, 5, 4]
    plan = chainad.plan_chain(sizes, mode="forward")
    assert plan.multiplications == 5 * 6 * 7 + 4 * 5 * 7
    assert plan.additions == 5 * 7 * (6 - 1) + 4 * 7 * (5 - 1)
    assert [s.count for s in plan.structures] == [42, 30, 20, 35, 28]
    assert prod(plan.structures[-1].matrix_shape) == 28


def test_arguments_are_named_as_the_function_names_them() -> None:
    def f(height: Any, layers: Any, *others: Any) -> Any:
        return height * layers["w"][0] @ layers["w"][1] + others[0]

    weights = {"w": [np.ones((2, 3)), np.ones(3)]}
    plan = chainad.plan(f, 2.0, weights, 3.0, argnums=(0, "layers", 2))
    names = [plan.graph.name(v) for v in plan.graph.inputs]
    assert names == ["height", "layers['w'][0]", "layers['w'][1]", "x2"]
    assert plan.title == "f(height, layers, x2)"


def test_no_value_has_the_name_of_an_argument() -> None:
    plan = chainad.plan(lambda y, v2: np.sin(y * v2), 2.0, 3.0, argnums=(0, 1))
    names = [plan.graph.name(v) for v in range(4)]
    assert names == ["y", "v2", "v2 (inner)", "y (result)"]
