"""Planning where products take long, or would fill the memory: less is tried, nothing is dearer."""

from itertools import pairwise
from random import Random

import pytest

from chainad.planning.auto import PLANNERS, make_plan
from chainad.planning.cost_models import multiplications
from chainad.planning.linear_graph import Edge, LinearGraph
from chainad.planning.search import make_state as compact_graphs
from chainad.planning.search.make_state import PER_NUMBER, compact, structured
from chainad.structure import dense, diagonal
from chainad.testing import random_graph

SHAPES = [(30,), (2,), (30,), (30,), (1,)]


def narrow_chain() -> LinearGraph:
    """Return a chain through a bottleneck: across it, a product has 900 numbers."""
    sizes = [shape[0] for shape in SHAPES]
    structures = [dense((m,), (n,)) for n, m in pairwise(sizes)]
    structures[2] = diagonal((30,))
    edges = tuple(Edge(k, k + 1, structure) for k, structure in enumerate(structures))
    return LinearGraph(tuple(SHAPES), (0,), (4,), edges)


def test_with_heavy_patterns_auto_is_no_dearer_than_any_planner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compact_graphs, "BULKY", -1)
    for seed in range(30):
        rng = Random(seed)
        graph, _ = random_graph(rng, rng.randint(7, 14), n_inputs=rng.randint(1, 2))
        auto = make_plan(graph)
        for mode in sorted(PLANNERS.keys() - {"chain", "exhaustive", "edges"}):
            assert auto.multiplications <= make_plan(graph, mode).multiplications, (seed, mode)


def test_a_cost_beyond_the_limit_is_not_taken_for_the_least(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compact_graphs, "BULKY", -1)
    for seed in range(20):
        graph, _ = random_graph(Random(seed), 6)
        problem = compact(graph)
        orders = [list(graph.inner), list(graph.inner[::-1]), Random(seed).sample(graph.inner, 6)]
        exact = [problem.cost_of(order) for order in orders]
        found = problem.costs_of(orders)
        assert min(cost for cost in found if cost is not None) == min(exact)
        assert all(cost in (None, true) for cost, true in zip(found, exact, strict=True))
        assert problem.cost_of(problem.cheapest_of(orders)) == min(exact)


def test_a_product_of_more_numbers_than_there_is_room_for_is_costd_higher(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph = narrow_chain()
    plain = compact(graph)
    assert plain.cost(plain.start, 1) == 30 * 2 * 30
    monkeypatch.setattr(compact_graphs, "EXACT", 0)
    monkeypatch.setattr(compact_graphs, "ROOMY", 0)
    room = 60 + 60 + 30 + 30  # the numbers of all local Jacobians
    averse = compact(graph)
    assert not averse.is_averse
    assert averse.cost(averse.start, 1) == 30 * 2 * 30 + PER_NUMBER * (900 - room)
    assert averse.is_averse
    assert averse.is_oversized(averse.start, 1)
    assert not averse.is_oversized(averse.start, 3)


def test_costs_that_keep_memory_free_are_not_those_of_plans(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graphs = [random_graph(Random(seed), 12)[0] for seed in range(10)]
    monkeypatch.setattr(compact_graphs, "EXACT", 0)
    monkeypatch.setattr(compact_graphs, "_room", lambda graph: 0)
    for graph in graphs:
        auto = make_plan(graph)
        for name in ("forward", "reverse", "markowitz", "annealing"):
            assert auto.multiplications <= make_plan(graph, name).multiplications
        assert auto.optimality == ""


def test_bounds_of_an_order_are_never_above_its_cost() -> None:
    for seed in range(60):
        rng = Random(seed)
        graph, _ = random_graph(rng, rng.randint(4, 12), n_inputs=rng.randint(1, 2))
        problem = structured(graph, multiplications)
        order = rng.sample(graph.inner, len(graph.inner))
        bounds = list(problem.bounds(order))
        assert bounds == sorted(bounds)
        assert len(bounds) == len(order)
        assert bounds[-1] <= problem.cost_of(order), seed
