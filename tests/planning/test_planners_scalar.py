"""Graphs of scalars as bits, and the 1-D fast paths of the algebra, against the general way."""

from random import Random

import pytest

from chainad.ir.positions import positions
from chainad.planning.auto import make_plan
from chainad.planning.candidates import full_costs
from chainad.planning.cost_models import all_multiplications, multiplications
from chainad.planning.linear_graph import Edge, LinearGraph, cost
from chainad.planning.orders import EdgeElimination
from chainad.planning.search.make_state_space import state_space, structured_states
from chainad.planning.search.scalar_states import ScalarStates, scalar_states
from chainad.structure import dense, identity
from chainad.structure.product import _by_labels, _multiply
from chainad.structure.structure import Axis, Structure
from chainad.structure.sum import _add_1d, _add_by_labels, _places_1d
from chainad.testing import random_graph

NUMBER, ONE = dense((), ()), identity(())
SIZE = 9


def graph_of_scalars(rng: Random, n: int, ones: float) -> LinearGraph:
    """Return a graph of scalars; an edge is +1 with this probability."""
    pairs = {(rng.randrange(max(0, v - 6), v), v) for v in range(2, n) for _ in range(2)}
    edges = [Edge(u, v, ONE if rng.random() < ones else NUMBER) for u, v in sorted(pairs)]
    heads = {edge.tail for edge in edges}
    outputs = tuple(v for v in range(n) if v not in heads)
    return LinearGraph(((),) * n, (0, 1), outputs, tuple(edges))


def strip(rng: Random, of_rows: bool) -> Structure:
    """Return a row or a column with entries at some places, ones or numbers."""
    count = rng.randint(1, SIZE)
    where = positions(sorted(rng.sample(range(SIZE), count)))
    labels = (0,) if count > 1 else ()
    sizes = (count,) if count > 1 else ()
    axis = (Axis(SIZE, labels, None if where == range(SIZE) else where),)
    scale = rng.choice([None, None, 1, -1, 3.0])
    stored = labels if scale is None and rng.random() < 0.7 else ()
    return (
        Structure(axis, (), stored, sizes, scale)
        if of_rows
        else Structure((), axis, stored, sizes, scale)
    )


@pytest.mark.parametrize("seed", range(30))
def test_scalars_without_ones_are_costed_as_their_structures_are(seed: int) -> None:
    rng = Random(seed)
    graph = graph_of_scalars(rng, 26, 0.0)
    bits, exact = scalar_states(graph), structured_states(graph, multiplications)
    assert bits is not None
    order = rng.sample(graph.inner, len(graph.inner))
    assert bits.cost_of(order) == exact.cost_of(order)
    state, other = bits.copy(), exact.copy()
    for v in order[:10]:
        for u in set(graph.inner) - set(order[: order.index(v)]):
            assert bits.cost(state, u) == exact.cost(other, u)
            assert bits.neighbour_cost_increase(state, u) == exact.neighbour_cost_increase(other, u)
        bits.eliminate(state, v)
        exact.eliminate(other, v)


@pytest.mark.parametrize("seed", range(30))
def test_scalars_with_ones_are_never_costed_too_low(seed: int) -> None:
    rng = Random(seed)
    graph = graph_of_scalars(rng, 30, 0.5)
    problem = state_space(graph)
    assert isinstance(problem, ScalarStates)
    exact = structured_states(graph, multiplications)
    order = rng.sample(graph.inner, len(graph.inner))
    assert problem.cost_of(order) >= exact.cost_of(order)


@pytest.mark.parametrize("seed", range(20))
def test_eliminating_all_edges_into_a_scalar_eliminates_it(seed: int) -> None:
    rng = Random(seed)
    problem = scalar_states(graph_of_scalars(rng, 24, 0.5))
    assert problem is not None
    state = problem.copy()
    for v in rng.sample(problem.inner, len(problem.inner)):
        whole = list(state[0]), list(state[1])
        cost = problem.eliminate(whole, v)
        tails = problem.neighbours(state, v)[0]
        edges = [EdgeElimination(u, v, "back") for u in tails]
        assert sum(problem.eliminate_edge(state, edge) for edge in edges) == cost
        for u in problem.inner:
            assert [side[u] for side in state] == [side[u] for side in whole]


@pytest.mark.parametrize("seed", range(20))
def test_a_part_of_scalars_is_costed_as_the_whole_is(seed: int) -> None:
    rng = Random(seed)
    problem = scalar_states(graph_of_scalars(rng, 40, 0.5))
    assert problem is not None
    order = rng.sample(problem.inner, len(problem.inner))
    state = problem.copy()
    for v in order[:10]:
        problem.eliminate(state, v)
    rest = problem.subproblem(order[10:20], state)
    number = {v: k for k, v in enumerate(rest.origin)}
    own = rest.copy()
    for v in order[10:20]:
        assert rest.eliminate(own, number[v]) == problem.eliminate(state, v)


@pytest.mark.parametrize("seed", range(40))
def test_a_product_with_a_number_is_what_the_labels_say(seed: int) -> None:
    rng = Random(seed)
    for number in (NUMBER, Structure((), (), (), (), 2.0)):
        column, row = strip(rng, True), strip(rng, False)
        assert _multiply(number, row) == _by_labels(number, row)
        assert _multiply(column, number) == _by_labels(column, number)
        assert _multiply(number, NUMBER) == _by_labels(number, NUMBER)


@pytest.mark.parametrize("seed", range(40))
def test_a_sum_of_strips_is_what_the_labels_say(seed: int) -> None:
    rng = Random(seed)
    of_rows = rng.random() < 0.5
    one, two = strip(rng, of_rows), strip(rng, of_rows)
    assert _places_1d(one) is not None
    if one.rows != two.rows or one.cols != two.cols:
        assert _add_1d(one, two) == _add_by_labels(one, two)


@pytest.mark.parametrize("seed", range(4))
def test_auto_is_no_costlier_than_any_rule_on_large_inexpensive_graphs(seed: int) -> None:
    graph = graph_of_scalars(Random(seed), 260, 0.3)
    auto = make_plan(graph, "auto").multiplications
    for rule in ("forward", "reverse", "markowitz", "greedy", "relative", "fill"):
        assert auto <= make_plan(graph, rule).multiplications


def test_every_element_of_an_end_is_a_vertex() -> None:
    pick = [Structure((), (Axis(2, (), range(k, k + 1)),), (), (), 1) for k in range(2)]
    edges = [Edge(0, 1, pick[0]), Edge(0, 2, pick[1]), Edge(1, 3, NUMBER), Edge(2, 3, NUMBER)]
    edges.append(Edge(3, 4, NUMBER))
    graph = LinearGraph(((2,), (), (), (), ()), (0,), (4,), tuple(edges))
    problem = scalar_states(graph)
    assert problem is not None
    # The sum of two positions is a row of two entries.
    assert (
        problem.cost_of([1, 2, 3])
        == structured_states(graph, multiplications).cost_of([1, 2, 3])
        == 2
    )


@pytest.mark.parametrize("seed", range(30))
def test_costs_that_are_looked_up_are_those_of_the_eliminations(seed: int) -> None:
    rng = Random(seed)
    graph, _ = random_graph(rng, 8)
    orders = {str(k): tuple(rng.sample(graph.inner, len(graph.inner))) for k in range(3)}
    for model in (multiplications, all_multiplications):
        found = full_costs(graph, structured_states(graph, model), orders, model)
        assert found == {name: cost(graph, order, model) for name, order in orders.items()}
