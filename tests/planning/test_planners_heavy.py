"""Planning where products take long, or would fill the memory: less is tried, at no cost."""

from itertools import pairwise
from random import Random

import pytest

from chainad.planning.auto import make_plan
from chainad.planning.cost_models import multiplications
from chainad.planning.linear_graph import Edge, LinearGraph
from chainad.planning.registry import PLANNERS
from chainad.planning.search import make_state_space
from chainad.planning.search.make_state_space import state_space, structured_states
from chainad.planning.search.structured_states import COST_PER_EXCESS_ELEMENT
from chainad.structure import dense, diagonal
from chainad.testing import random_graph

SHAPES = [(30,), (2,), (30,), (30,), (1,)]


def narrow_chain() -> LinearGraph:
    """Return a chain through a bottleneck: across it, a product has 900 elements."""
    sizes = [shape[0] for shape in SHAPES]
    structures = [dense((m,), (n,)) for n, m in pairwise(sizes)]
    structures[2] = diagonal((30,))
    edges = tuple(Edge(k, k + 1, structure) for k, structure in enumerate(structures))
    return LinearGraph(tuple(SHAPES), (0,), (4,), edges)


def test_with_large_index_sets_auto_is_no_costlier_than_any_planner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(make_state_space, "MAX_SEARCHED_POSITIONS", -1)
    for seed in range(30):
        rng = Random(seed)
        graph, _ = random_graph(rng, rng.randint(7, 14), n_inputs=rng.randint(1, 2))
        auto = make_plan(graph)
        for mode in sorted(PLANNERS.keys() - {"chain", "exhaustive", "edges"}):
            assert auto.multiplications <= make_plan(graph, mode).multiplications, (seed, mode)


def test_a_cost_beyond_the_limit_is_not_taken_for_the_least(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(make_state_space, "MAX_SEARCHED_POSITIONS", -1)
    for seed in range(20):
        graph, _ = random_graph(Random(seed), 6)
        problem = state_space(graph)
        orders = [list(graph.inner), list(graph.inner[::-1]), Random(seed).sample(graph.inner, 6)]
        exact = [problem.cost_of(order) for order in orders]
        found = problem.costs_of(orders)
        assert min(cost for cost in found if cost is not None) == min(exact)
        assert all(cost in (None, true) for cost, true in zip(found, exact, strict=True))
        assert problem.cost_of(problem.cheapest_of(orders)) == min(exact)


def test_a_product_of_too_many_elements_is_costed_higher(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph = narrow_chain()
    plain = state_space(graph)
    assert plain.cost(plain.start, 1) == 30 * 2 * 30
    monkeypatch.setattr(make_state_space, "MAX_EXACT_COST_VERTICES", 0)
    monkeypatch.setattr(make_state_space, "ALWAYS_ALLOWED_ELEMENTS", 0)
    max_elements = 60 + 60 + 30 + 30  # the elements of all local Jacobians
    penalized = state_space(graph)
    assert not penalized.penalizes_memory
    assert penalized.cost(penalized.start, 1) == 30 * 2 * 30 + COST_PER_EXCESS_ELEMENT * (
        900 - max_elements
    )
    assert penalized.penalizes_memory
    assert penalized.is_oversized(penalized.start, 1)
    assert not penalized.is_oversized(penalized.start, 3)


def test_costs_that_keep_memory_free_are_not_those_of_plans(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graphs = [random_graph(Random(seed), 12)[0] for seed in range(10)]
    monkeypatch.setattr(make_state_space, "MAX_EXACT_COST_VERTICES", 0)
    monkeypatch.setattr(make_state_space, "_max_elements", lambda graph: 0)
    for graph in graphs:
        auto = make_plan(graph)
        for name in ("forward", "reverse", "markowitz", "annealing"):
            assert auto.multiplications <= make_plan(graph, name).multiplications
        assert auto.optimality == ""


def test_bounds_of_an_order_are_never_above_its_cost() -> None:
    for seed in range(60):
        rng = Random(seed)
        graph, _ = random_graph(rng, rng.randint(4, 12), n_inputs=rng.randint(1, 2))
        problem = structured_states(graph, multiplications)
        order = rng.sample(graph.inner, len(graph.inner))
        bounds = list(problem.bounds(order))
        assert bounds == sorted(bounds)
        assert len(bounds) == len(order)
        assert bounds[-1] <= problem.cost_of(order), seed
