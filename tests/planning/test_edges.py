"""Edge elimination: orders of single edges against a plain recursion over all of them."""

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainad
from chainad.backends.numpy.build import build
from chainad.compiler.lower import lower
from chainad.errors import PlanError
from chainad.planning.auto import make_plan
from chainad.planning.orders import EdgeElimination
from chainad.planning.plan import Plan

Arcs = frozenset[tuple[int, int]]


def least_over_edges(arcs: Arcs, widths: list[int], inner: list[int], limit: int) -> int:
    """The least cost over all orders of edges, by trying them all; nothing is remembered."""
    best = limit
    for v in inner:
        tails = [a for a, b in arcs if b == v]
        heads = [b for a, b in arcs if a == v]
        if not tails or not heads:
            continue
        moves = [((t, v), [(t, h) for h in heads]) for t in tails]
        moves += [((v, h), [(t, h) for t in tails]) for h in heads]
        for gone, made in moves:
            cost = sum(widths[a] * widths[v] * widths[b] for a, b in made)
            if cost < best:
                left = (arcs - {gone}) | {*made}
                best = min(best, cost + least_over_edges(left, widths, inner, best - cost))
    return 0 if not any(_leads_through(arcs, v) for v in inner) else best


def _leads_through(arcs: Arcs, v: int) -> bool:
    return any(b == v for _, b in arcs) and any(a == v for a, _ in arcs)


def least_over_vertices(arcs: Arcs, widths: list[int], inner: list[int]) -> int:
    costs = []
    for order in permutations(inner):
        left, cost = set(arcs), 0
        for v in order:
            tails, heads = [a for a, b in left if b == v], [b for a, b in left if a == v]
            cost += sum(widths[a] * widths[v] * widths[b] for a in tails for b in heads)
            left = {e for e in left if v not in e} | {(a, b) for a in tails for b in heads}
        costs.append(cost)
    return min(costs)


def planned(edges: list[tuple[int, int]], widths: list[int], **options: Any) -> Plan:
    dimensions = {v: widths[v] for edge in edges for v in edge}
    return chainad.plan_graph(edges, dimensions=dimensions, **options)


def ends_of(edges: list[tuple[int, int]]) -> tuple[set[int], set[int], list[int]]:
    """Return inputs, outputs and inner vertices."""
    tails, heads = {a for a, _ in edges}, {b for _, b in edges}
    return tails - heads, heads - tails, sorted(tails & heads)


def runs_right(plan: Plan) -> None:
    """Assert that a plan, executed, is the sum over all paths."""
    rng = np.random.default_rng(0)
    slots: list[Any] = [rng.normal(size=e.structure.stored_shape) for e in plan.graph.edges]
    full = [
        np.reshape(s, e.structure.matrix_shape)
        for s, e in zip(slots, plan.graph.edges, strict=True)
    ]
    found = build(lower(plan, [() for _ in slots]).program)(slots)
    results = iter(found)
    for k, (o, i) in enumerate((o, i) for o in plan.graph.outputs for i in plan.graph.inputs):
        if not plan.results[k]:
            continue
        reached: dict[int, Any] = {i: np.eye(plan.graph.size(i))}
        for edge, J in sorted(
            zip(plan.graph.edges, full, strict=True), key=lambda pair: pair[0].head
        ):
            if edge.tail in reached:
                reached[edge.head] = reached.get(edge.head, 0) + J @ reached[edge.tail]
        np.testing.assert_allclose(
            np.reshape(next(results), np.shape(reached[o])), reached[o], rtol=1e-10, atol=1e-12
        )


@st.composite
def small_graphs(draw: st.DrawFn) -> tuple[list[tuple[int, int]], list[int]]:
    """Up to two inputs (first), three inner vertices and two outputs (last), seven edges."""
    n_in, n_inner, n_out = draw(st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 2)))
    n = n_in + n_inner + n_out
    possible = [(a, b) for a in range(n - n_out) for b in range(max(a + 1, n_in), n)]
    edges = draw(st.lists(st.sampled_from(possible), min_size=2, max_size=7, unique=True))
    widths = draw(st.lists(st.integers(1, 8), min_size=n, max_size=n))
    return edges, widths


@given(small_graphs())
def test_no_order_of_edges_is_cheaper_than_the_plan(
    case: tuple[list[tuple[int, int]], list[int]],
) -> None:
    edges, widths = case
    plan = planned(edges, widths)
    inner = ends_of(edges)[2]
    least = least_over_edges(frozenset(edges), widths, inner, plan.multiplications + 1)
    if len(plan.graph.inner) and plan.graph.chain is None:
        assert plan.multiplications == least
        forced = make_plan(plan.graph, "edges")
        assert forced.multiplications == least
        runs_right(forced)
        assert Plan.from_json(forced.to_json()) == forced


# Edges, widths, the least cost over all orders of vertices, and over all orders of edges.
CHEAPER = [
    (
        [
            *((0, 3), (0, 5), (0, 6), (1, 2), (1, 3), (1, 5), (1, 6), (2, 3), (2, 4), (3, 4)),
            *((3, 6), (4, 5), (4, 6)),
        ],
        [31, 25, 45, 17, 22, 40, 39],
        192079,
        184429,
    ),
    (
        [(0, 2), (1, 2), (1, 3), (1, 4), (1, 5), (1, 6), (2, 3), (2, 6), (3, 5), (4, 5)],
        [23, 16, 6, 16, 13, 44, 49],
        46402,
        43714,
    ),
    (
        [
            *((0, 2), (0, 3), (0, 4), (0, 6), (1, 2), (1, 5), (1, 6), (2, 4), (2, 6), (3, 5)),
            *((3, 6), (4, 5), (4, 6)),
        ],
        [49, 43, 14, 5, 21, 30, 5],
        99960,
        93786,
    ),
]


@pytest.mark.parametrize(("edges", "widths", "by_vertices", "by_edges"), CHEAPER)
def test_a_single_edge_can_beat_all_orders_of_vertices(
    edges: list[tuple[int, int]], widths: list[int], by_vertices: int, by_edges: int
) -> None:
    assert least_over_vertices(frozenset(edges), widths, ends_of(edges)[2]) == by_vertices
    plan = planned(edges, widths)
    assert plan.multiplications == plan.bound == by_edges < by_vertices
    assert any(isinstance(item, EdgeElimination) for item in plan.order)
    assert plan.optimality == "optimal over all edge elimination orders"
    assert "edge " in plan.bracketing
    runs_right(plan)


def test_a_graph_too_large_for_all_orders_of_edges_is_refused() -> None:
    edges = [(k, k + 1) for k in range(9)] + [(k, k + 2) for k in range(8)]
    with pytest.raises(PlanError, match="at most 4 inner vertices"):
        chainad.plan_graph(edges, mode="edges")


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ([EdgeElimination(0, 2, "back")], "no such edge"),
        ([EdgeElimination(0, 1, "back")], "leaves edges"),
        ([EdgeElimination(0, 3, "back"), 1, 2], "no inner vertex"),
    ],
)
def test_orders_of_edges_that_do_not_fit_are_refused(order: Any, words: str) -> None:
    graph = planned([(0, 1), (1, 2), (1, 3), (2, 3), (0, 3)], [1, 1, 1, 1]).graph
    with pytest.raises(PlanError, match=words):
        make_plan(graph, order)
