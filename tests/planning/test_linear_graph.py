"""Elimination: whatever the order, the Jacobian is the sum over all paths."""

from random import Random

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainad.errors import PlanError
from chainad.planning.linear_graph import (
    Accumulation,
    Cost,
    Edge,
    Elimination,
    LinearGraph,
    Origin,
    cost,
)
from chainad.structure import dense, diagonal, identity
from chainad.testing import (
    path_sum,
    product_entries,
    random_chain,
    random_dense,
    random_graph,
    sum_entries,
    to_array,
)

randoms = st.randoms(use_true_random=False)
Numbers = list[np.ndarray | None]


def accumulated(graph: LinearGraph, numbers: Numbers, order: list[int]) -> list[np.ndarray]:
    """Eliminate with entries; return the Jacobian of every output and input in full."""
    elimination = Elimination(graph)
    known: dict[tuple[int, int], list[np.ndarray | None]] = {}

    def put(ends: tuple[int, int], accumulation: Accumulation, array: np.ndarray | None) -> None:
        terms = known.setdefault(ends, [])
        if not accumulation.sums:
            assert accumulation.index == len(terms)
            terms.append(array)
            return
        for total in accumulation.sums:
            array = sum_entries(total, terms.pop(accumulation.index), array)
        terms.insert(accumulation.index, array)

    for edge, accumulation, array in zip(
        graph.edges, elimination.accumulations, numbers, strict=True
    ):
        put((edge.tail, edge.head), accumulation, array)
    for v in order:
        elimination.eliminate(v)
        for m in elimination.products:
            left, right = known[v, m.head][m.left], known[m.tail, v][m.right]
            put((m.tail, m.head), m.accumulation, product_entries(m.product, left, right))
        assert not elimination.after[v]
        assert not elimination.before[v]
    blocks = []
    for o in graph.outputs:
        for i in graph.inputs:
            structures = elimination.after[i].get(o, ())
            assert elimination.before[o].get(i, ()) is structures
            total = np.zeros((*graph.shapes[o], *graph.shapes[i]))
            for structure, array in zip(structures, known.get((i, o), ()), strict=True):
                total = total + to_array(structure, array)
            blocks.append(total)
    return blocks


@given(randoms)
def test_elimination_in_any_order_is_the_sum_over_paths(rng: Random) -> None:
    n_inputs, n_outputs = rng.randint(1, 2), rng.randint(1, 2)
    graph, numbers = random_graph(
        rng, rng.randint(0, 5), n_inputs=n_inputs, n_outputs=n_outputs, more=1.5
    )
    wanted = path_sum(graph, numbers)
    for _ in range(2):
        order = rng.sample(graph.inner, len(graph.inner))
        for got, want in zip(accumulated(graph, numbers, order), wanted, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-9)


@given(randoms)
def test_parallel_edges_add(rng: Random) -> None:
    graph, numbers = random_graph(rng, 0, more=0)
    (edge,) = graph.edges
    twice = LinearGraph(graph.shapes, graph.inputs, graph.outputs, (edge, edge))
    (got,) = accumulated(twice, [*numbers, *numbers], [])
    np.testing.assert_array_equal(got, 2 * path_sum(graph, numbers)[0])


def test_x_times_x_has_a_derivative_of_two_x() -> None:
    x = np.array([3.0, 5.0])
    edges = (Edge(0, 1, diagonal((2,))),) * 2
    graph = LinearGraph(((2,), (2,)), (0,), (1,), edges)
    (got,) = accumulated(graph, [x, x], [])
    np.testing.assert_array_equal(got, np.diag(2 * x))
    assert cost(graph, ()) == Cost(0, 2, 0)


@given(randoms)
def test_cost_of_an_order_is_the_sum_of_its_eliminations(rng: Random) -> None:
    graph, _ = random_graph(rng, 4)
    order = rng.sample(graph.inner, 4)
    elimination = Elimination(graph)
    total = 0
    for v in order:
        before = elimination.cost(v)
        elimination.eliminate(v)
        found = sum(m.product.multiplications for m in elimination.products)
        assert found == before
        total += found
    assert cost(graph, order).multiplications == total


@given(randoms)
def test_dense_elimination_costs_what_the_book_says(rng: Random) -> None:
    graph, _ = random_graph(rng, 4, local=random_dense)
    elimination = Elimination(graph)
    for v in rng.sample(graph.inner, 4):
        heads = sum(graph.size(u) for u in elimination.after[v])
        tails = sum(graph.size(u) for u in elimination.before[v])
        wanted = heads * graph.size(v) * tails
        assert elimination.cost(v) == wanted
        elimination.eliminate(v)


def test_a_path_is_a_chain_in_order_from_input_to_output() -> None:
    for seed in range(20):
        graph, _ = random_chain(Random(seed), 5)
        assert graph.chain == graph.edges
        edges = Random(seed).sample(graph.edges, 5)
        mixed = LinearGraph(graph.shapes, graph.inputs, graph.outputs, tuple(edges))
        assert mixed.chain == graph.edges


one = dense((2,), (2,))
PATHS = [
    ("parallel edges", 2, (0,), (1,), [(0, 1), (0, 1)]),
    ("a skip", 3, (0,), (2,), [(0, 1), (1, 2), (0, 2)]),
    ("two inputs", 3, (0, 1), (2,), [(0, 2), (1, 2)]),
    ("two outputs", 3, (0,), (1, 2), [(0, 1), (0, 2)]),
    ("a dead end", 4, (0,), (3,), [(0, 1), (1, 2), (0, 3)]),
]


@pytest.mark.parametrize("case", PATHS, ids=[case[0] for case in PATHS])
def test_a_graph_is_no_chain_if_it_has(
    case: tuple[str, int, tuple[int, ...], tuple[int, ...], list[tuple[int, int]]],
) -> None:
    _, n, inputs, outputs, ends = case
    edges = tuple(Edge(tail, head, one) for tail, head in ends)
    assert LinearGraph(((2,),) * n, inputs, outputs, edges).chain is None


def test_origins_and_names_do_not_count_in_comparisons() -> None:
    graph, _ = random_chain(Random(0), 3)
    origins = tuple(Origin("tanh") for _ in graph.edges)
    named = LinearGraph(
        graph.shapes, graph.inputs, graph.outputs, graph.edges, origins, ("x", "a", "b", "y")
    )
    assert named == graph
    assert hash(named) == hash(graph)
    assert named.name(1) == "a"
    assert graph.name(1) == "v1"
    other, _ = random_chain(Random(1), 3)
    assert other != graph


ORDERS = [
    (
        (1,),
        "an elimination order must name each of the 2 inner vertices once, but got 1 vertices,"
        " without 2; chainad.plan(f, x).order is one that fits",
    ),
    (
        (1, 2, 3),
        "an elimination order must name each of the 2 inner vertices once, but got 3 vertices,"
        " with 3, which cannot be eliminated; chainad.plan(f, x).order is one that fits",
    ),
    (
        (1, 2, 2),
        "an elimination order must name each of the 2 inner vertices once, but got 3 vertices;"
        " chainad.plan(f, x).order is one that fits",
    ),
    (
        (0, 9),
        "an elimination order must name each of the 2 inner vertices once, but got 2 vertices,"
        " without 1, 2, with 0, 9, which cannot be eliminated;"
        " chainad.plan(f, x).order is one that fits",
    ),
]


@pytest.mark.parametrize(("order", "message"), ORDERS)
def test_an_order_that_does_not_fit_is_refused(order: tuple[int, ...], message: str) -> None:
    graph, _ = random_chain(Random(0), 3)
    with pytest.raises(PlanError) as error:
        graph.check_order(order)
    assert str(error.value) == message


def test_graph_goes_to_networkx_with_shapes_and_structures() -> None:
    edges = (Edge(0, 1, one), Edge(0, 1, identity((2,))))
    graph = LinearGraph(((2,), (2,)), (0,), (1,), edges, names=("x", "y")).to_networkx()
    assert isinstance(graph, nx.MultiDiGraph)
    assert dict(graph.nodes(data=True)) == {
        0: {"shape": (2,), "name": "x"},
        1: {"shape": (2,), "name": "y"},
    }
    assert [d["structure"] for *_, d in graph.edges(data=True)] == [one, identity((2,))]
