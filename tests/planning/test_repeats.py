"""Blocks that repeat: found where they are, planned once, and never costlier than by the rules."""

from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainad
from chainad.planning.auto import make_plan
from chainad.planning.cost_models import model_of
from chainad.planning.linear_graph import Edge, LinearGraph, cost
from chainad.planning.registry import Problem
from chainad.planning.repeats import RepeatedBlock, repeats_in
from chainad.planning.search.long_loops import repeats
from chainad.structure import dense

randoms = st.randoms(use_true_random=False)
rng = np.random.default_rng(0)
DOWN, UP = rng.normal(size=(4, 30)) / 5, rng.normal(size=(30, 4)) / 5


def loop(iterations: int) -> Any:
    def f(x: np.ndarray, p: np.ndarray) -> np.ndarray:
        h = DOWN @ np.tile(x, 3)
        for _ in range(iterations):
            h = h + 0.1 * DOWN @ np.tanh(UP @ h) * p
        return np.tile(h, 5)

    return f


X, P = np.linspace(0.0, 1.0, 10), np.linspace(1.0, 2.0, 4)


def of_iterations(
    rng: Random, length: int, iterations: int, before: int, behind: int
) -> LinearGraph:
    """Return a graph of isomorphic random iterations, with other vertices before and behind."""
    n = before + length * iterations + behind
    reads = [
        sorted(rng.sample(range(1, length + 1), rng.randint(1, min(length, 3))))
        for _ in range(length)
    ]
    sizes = [rng.randint(2, 5) for _ in range(length)]
    # No vertex outside has a size that occurs in an iteration.
    shapes = [(9,)] * (1 + before)
    shapes += [(sizes[k % length],) for k in range(length * iterations)] + [(11,)] * behind + [(1,)]
    edges = []
    for v in range(1, n + 2):
        k = v - 1 - before
        in_iteration = 0 <= k < length * iterations
        for back in reads[k % length] if in_iteration else [1]:
            tail = max(0, v - back)
            edges.append(Edge(tail, v, dense(shapes[v], shapes[tail])))
    read = {edge.tail for edge in edges}
    for v in range(n + 1):
        if v not in read:
            edges.append(Edge(v, n + 1, dense(shapes[n + 1], shapes[v])))
    return LinearGraph(tuple(shapes), (0,), (n + 1,), tuple(edges))


@given(randoms, st.integers(1, 7), st.integers(4, 9), st.integers(0, 4), st.integers(0, 4))
def test_a_block_that_repeats_is_found(
    rng: Random, length: int, iterations: int, before: int, behind: int
) -> None:
    graph = of_iterations(rng, length, iterations, before, behind)
    # The first iteration reads what lies before it, and may so differ from all others.
    wanted = set(range(before + length, before + length * iterations))
    covered = {k for block in repeats_in(graph) for k in range(block.start, block.stop)}
    assert len(wanted - covered) < 2 * length


@given(randoms)
def test_iterations_of_a_block_are_isomorphic(rng: Random) -> None:
    graph = of_iterations(rng, rng.randint(1, 6), rng.randint(3, 8), rng.randint(0, 3), 2)
    into: dict[int, list[tuple[int, object]]] = {v: [] for v in range(len(graph.shapes))}
    for edge in graph.edges:
        into[edge.head].append((edge.tail, edge.structure))
    for block in repeats_in(graph):
        for k in range(1, block.repeats - 1):
            for one, two in zip(block.iteration(k), block.iteration(k + 1), strict=True):
                v, w = graph.inner[one], graph.inner[two]
                assert graph.shapes[v] == graph.shapes[w]
                back = [[(u - tail, s) for tail, s in into[u]] for u in (v, w)]
                assert back[0] == back[1]


def test_blocks_do_not_overlap() -> None:
    plan = chainad.plan(lambda x: loop(8)(loop(5)(x, P)[:10] * x, P), X)
    stops = [0]
    for block in plan.repeated_blocks:
        assert block.start >= stops[-1]
        assert block.repeats >= 3
        stops.append(block.stop)
    assert [block.repeats for block in plan.repeated_blocks] == [7, 4] or len(
        plan.repeated_blocks
    ) >= 2


def test_the_iterations_of_a_loop_are_found() -> None:
    plan = chainad.plan(loop(50), X, P, argnums=(0, 1))
    (block,) = plan.repeated_blocks
    assert block.repeats in (49, 50)
    assert block.length * 50 <= len(plan.graph.inner) <= block.length * 50 + 10


def test_random_graphs_have_none() -> None:
    shapes = [(n,) for n in range(2, 30)]
    edges = [Edge(k, k + 1, dense(shapes[k + 1], shapes[k])) for k in range(len(shapes) - 1)]
    graph = LinearGraph(tuple(shapes), (0,), (len(shapes) - 1,), tuple(edges))
    assert repeats_in(graph) == ()
    assert make_plan(graph, "repeats").cost == make_plan(graph, "auto").cost


@given(randoms)
def test_planning_once_gives_an_order_of_all_inner_vertices(rng: Random) -> None:
    graph = of_iterations(rng, rng.randint(1, 6), rng.randint(4, 8), rng.randint(0, 3), 2)
    if repeats_in(graph):
        order = repeats(Problem(graph))
        assert sorted(order) == sorted(graph.inner)
        if graph.chain is None:
            best = make_plan(graph, "auto").cost
            assert best <= min(cost(graph, o).amount for o in (order, graph.inner))


@pytest.mark.parametrize("name", ["multiplications", "bytes"])
def test_a_loop_over_a_narrow_state_is_cheaper_iteration_by_iteration(name: str) -> None:
    graph = chainad.plan(loop(40), X, P).graph
    model = model_of(name)
    once = cost(graph, repeats(Problem(graph, model)), model)
    assert once < min(cost(graph, order, model) for order in (graph.inner, graph.inner[::-1]))


def test_a_plan_by_blocks_gives_the_jacobian() -> None:
    f = loop(20)
    wanted = chainad.jacobian(f, mode="reverse")(X, P)
    np.testing.assert_allclose(chainad.jacobian(f, mode="repeats")(X, P), wanted, rtol=1e-10)


def test_the_report_says_what_repeats() -> None:
    plan = chainad.plan(loop(40), X, P, mode="repeats")
    (block,) = plan.repeated_blocks
    line = f"repeats     {block.repeats} iterations of {block.length} vertices"
    assert f"\n{line}, planned once\n" in plan.details()
    assert f"\n{line}\n" in chainad.plan(loop(40), X, P, mode="forward").details()


def test_iterations_of_a_block_are_places_in_order() -> None:
    block = RepeatedBlock(3, 2, 4)
    assert [*block.iteration(0), *block.iteration(1)] == [3, 4, 5, 6]
    assert block.stop == block.iteration(3).stop == 11


def test_what_all_iterations_read_does_not_hide_the_loop() -> None:
    drive = rng.normal(size=(4, 7))

    def f(p: np.ndarray) -> np.ndarray:
        force = drive @ p  # hoisted out of the loop
        h = np.tanh(force)
        for _ in range(20):
            h = h + 0.1 * np.sin(h) * force
        return h

    (block,) = chainad.plan(f, np.ones(7)).repeated_blocks
    assert block.repeats in (19, 20)
    assert block.length == 4


def test_what_all_iterations_read_may_be_like_what_they_compute() -> None:
    def f(x: np.ndarray) -> np.ndarray:
        drive = np.tanh(x)
        h = drive * x
        for _ in range(20):
            h = np.tanh(h) + drive
        return h

    (block,) = chainad.plan(f, np.ones(7)).repeated_blocks
    assert block.repeats in (19, 20)
    assert block.length == 2


def two_bodies(steps: int) -> Any:
    """Return a leapfrog flow, with all positions on the way among the results."""

    def force(q: np.ndarray) -> np.ndarray:
        d = q[:2] - q[2:]
        pull = d / (np.sum(d**2) + 0.1) ** 1.5
        return np.concatenate([-pull, pull])

    def f(z: np.ndarray) -> np.ndarray:
        q, v = z[:4], z[4:]
        path = []
        for _ in range(steps):
            v = v + 0.05 * force(q)
            q = q + 0.1 * v
            path.append(q)
        return np.concatenate(path)

    return f


def test_an_iteration_of_a_long_loop_is_searched_and_all_cost_the_same() -> None:
    plans = {k: chainad.plan(two_bodies(k), np.linspace(0.1, 0.9, 8)) for k in (30, 31, 50)}
    assert {plan.planner for plan in plans.values()} == {"repeats"}
    costs = {k: plan.cost for k, plan in plans.items()}
    assert costs[50] - costs[30] == 20 * (costs[31] - costs[30])
    assert costs[50] < min(x.cost for x in plans[50].alternatives if x.name != "repeats")


def test_a_plan_of_a_long_loop_gives_the_jacobian() -> None:
    x = np.linspace(0.1, 0.9, 8)
    wanted = chainad.jacobian(two_bodies(30), mode="forward")(x)
    np.testing.assert_allclose(chainad.jacobian(two_bodies(30))(x), wanted, rtol=1e-10)


def test_iterations_may_read_slices_that_advance_with_them() -> None:
    def f(u: np.ndarray) -> np.ndarray:
        h = np.ones(4)
        for k in range(20):
            h = h + np.sin(h) * u[2 * k : 2 * k + 4]
        return h

    (block,) = chainad.plan(f, np.ones(44)).repeated_blocks
    assert (block.length, block.repeats) == (4, 18)  # all but the first and the last one


def test_a_branch_in_one_iteration_leaves_the_iterations_before_and_after() -> None:
    def f(x: np.ndarray) -> np.ndarray:
        h = x * x
        for k in range(60):
            h = h + np.tanh(h)
            if k == 25:
                h = h * np.cos(h)
        return h

    blocks = chainad.plan(f, np.ones(3)).repeated_blocks
    assert sum(block.repeats for block in blocks if block.length == 2) >= 56
