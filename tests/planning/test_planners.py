"""Planners against exhaustive search, published chains, and one another."""

import json
import pickle
from dataclasses import replace
from functools import cache
from itertools import pairwise, permutations
from math import inf
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chainad
from chainad.errors import InputError, PlanError, unknown
from chainad.ir.positions import positions
from chainad.planning.auto import make_plan
from chainad.planning.bounds import lower_bound
from chainad.planning.candidates import candidates, costs_of
from chainad.planning.chain.chain import bracketing_order, cost_of_order
from chainad.planning.chain.interval_dp import bracket_structures
from chainad.planning.cost_models import model_of, multiplications
from chainad.planning.linear_graph import Edge, Elimination, LinearGraph, cost
from chainad.planning.orders import Vertex
from chainad.planning.plan import Plan
from chainad.planning.registry import PLANNERS, PlannerName, Problem, modes
from chainad.planning.search.articulation import components, split
from chainad.planning.search.budget import Effort, SearchOptions
from chainad.planning.search.edges import is_searched
from chainad.planning.search.exhaustive import cheapest
from chainad.planning.search.make_state_space import state_space
from chainad.planning.search.scalar_states import ScalarStates
from chainad.planning.search.stages import exhaustive
from chainad.structure import arrange, dense, diagonal, identity, multiply
from chainad.structure.structure import Axis, Structure
from chainad.testing import LOCAL_KINDS, random_chain, random_dense, random_graph, random_structure

randoms = st.randoms(use_true_random=False)
CASES = [
    case
    for case in json.loads((Path(__file__).parents[1] / "data/jacobian_chains.json").read_text())[
        "cases"
    ]
    if case["kind"] == "dense_bracketing"
]
NO_POSITIONS = [kind for kind in LOCAL_KINDS if kind not in ("slice", "gather", "pad")]


def chain_of(*structures: Structure) -> LinearGraph:
    """Return the chain of some Jacobians, the one next to x first."""
    shapes = (structures[0].col_shape, *(s.row_shape for s in structures))
    edges = tuple(Edge(k, k + 1, s) for k, s in enumerate(structures))
    return LinearGraph(shapes, (0,), (len(edges),), edges)


def dense_chain(*sizes: int) -> LinearGraph:
    """Return a chain of dense matrices; factor k maps R^sizes[k] to R^sizes[k + 1]."""
    return chain_of(*(dense((m,), (n,)) for n, m in pairwise(sizes)))


def cheapest_bracketing(factors: tuple[Structure, ...]) -> int:
    """Return the least cost over all bracketings, each tried; factor 0 is next to x."""

    @cache
    def ways(i: int, j: int) -> frozenset[tuple[Structure, int]]:
        """Return the structures that factors i to j multiply to, each with its least cost."""
        if i == j:
            return frozenset({(factors[i], 0)})
        found: dict[Structure, int] = {}
        for k in range(i, j):
            for left, one in ways(k + 1, j):
                for right, two in ways(i, k):
                    product = multiply(left, right)
                    cost = one + two + product.multiplications
                    found[product.structure] = min(cost, found.get(product.structure, cost))
        return frozenset(found.items())

    return min(cost for _, cost in ways(0, len(factors) - 1))


def cheapest_order(graph: LinearGraph) -> int:
    """Return the least cost over all elimination orders, each tried."""
    return min(cost(graph, order).multiplications for order in permutations(graph.inner))


# --------------------------------------------------------------------- chains


@given(randoms)
def test_chain_is_optimal_over_all_bracketings(rng: Random) -> None:
    graph, _ = random_chain(rng, rng.randint(1, 7), NO_POSITIONS)
    plan = make_plan(graph, "chain")
    assert plan.multiplications == cheapest_bracketing(tuple(e.structure for e in graph.edges))


@given(randoms)
def test_chain_of_typical_kinds_is_optimal_over_all_bracketings(rng: Random) -> None:
    graph, _ = random_chain(rng, rng.randint(1, 6))
    plan = make_plan(graph, "chain")
    assert plan.multiplications == cheapest_bracketing(tuple(e.structure for e in graph.edges))


@given(randoms)
def test_chain_is_optimal_over_all_elimination_orders(rng: Random) -> None:
    graph, _ = random_chain(rng, rng.randint(1, 5), NO_POSITIONS)
    assert cost(graph, bracketing_order(graph)).multiplications == cheapest_order(graph)


@given(st.lists(st.integers(1, 40), min_size=2, max_size=9), st.integers(0, 2**9 - 1))
def test_matrices_are_bracketed_like_any_structures(sizes: list[int], diagonals: int) -> None:
    factors = [dense((m,), (n,)) for n, m in pairwise(sizes)]
    for k, size in reversed(list(enumerate(sizes))):
        if diagonals >> k & 1:
            factors.insert(k, diagonal((size,)))
    table = bracket_structures(factors)
    assert table.cost == cheapest_bracketing(tuple(factors))


@given(st.lists(st.integers(1, 10**7), min_size=2, max_size=7))
def test_cost_in_the_table_is_the_cost_of_the_plan(sizes: list[int]) -> None:
    plan = chainad.plan_chain(sizes)
    assert plan.multiplications == bracket_structures([e.structure for e in plan.graph.edges]).cost
    assert type(plan.multiplications) is int


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_published_chain_is_met_exactly(case: dict) -> None:
    plan = chainad.plan_chain(case["dims"])
    assert plan.multiplications == case["expected"]["optimal_cost"]
    assert plan.optimality == "optimal over all bracketings of this chain"


def test_all_thirty_published_chains_are_there() -> None:
    assert len(CASES) == 30


@given(*[st.integers(1, 1000)] * 4)
def test_costs_of_the_classical_modes_of_three_factors(x: int, a: int, b: int, y: int) -> None:
    assert chainad.plan_chain([x, a, b, y], mode="forward").multiplications == x * b * (a + y)
    assert chainad.plan_chain([x, a, b, y], mode="reverse").multiplications == y * a * (b + x)
    best = min(x * b * (a + y), y * a * (b + x))
    assert chainad.plan_chain([x, a, b, y]).multiplications == best


def test_costs_do_not_overflow() -> None:
    n = 10**7
    for mode in ("auto", "forward", "reverse"):
        plan = chainad.plan_chain([n] * 6, mode=mode)
        assert plan.multiplications == 4 * n**3
        assert type(plan.multiplications) is int
    assert chainad.plan_chain([n, 1, n, 1, n]).multiplications == n + n * n + n


def test_a_bottleneck_is_split_at_its_narrow_value() -> None:
    plan = chainad.plan_chain([1000, 300, 20, 300, 1000])
    assert plan.multiplications == 32_000_000
    assert plan.bracketing == "J = (J4 J3) (J2 J1)"
    assert plan.mode == "hybrid"


def test_identities_are_taken_out_of_a_chain_first() -> None:
    eye = identity((3,))
    graph = chain_of(eye, dense((3,), (3,)), eye, dense((2,), (3,)), identity((2,)))
    assert make_plan(graph, "chain").multiplications == 18
    assert make_plan(chain_of(eye, eye), "chain").multiplications == 0


def test_a_chain_of_fifty_layers_is_planned() -> None:
    rng = Random(3)
    sizes = [rng.randint(5, 500) for _ in range(51)]
    plan = chainad.plan_chain(sizes)
    for mode in ("forward", "reverse"):
        assert plan.multiplications < chainad.plan_chain(sizes, mode=mode).multiplications
    assert sorted(plan.order) == list(range(1, 50))


# --------------------------------------------------------------------- graphs


@given(randoms)
def test_exhaustive_is_optimal_over_all_orders(rng: Random) -> None:
    graph, _ = random_graph(rng, rng.randint(0, 5), local=random_dense)
    assert cost(graph, exhaustive(Problem(graph))).multiplications == cheapest_order(graph)


@settings(max_examples=15)
@given(randoms)
def test_auto_is_never_costlier_than_any_other_mode(rng: Random) -> None:
    if rng.random() < 0.3:
        graph, _ = random_chain(rng, rng.randint(1, 7))
    else:
        graph, _ = random_graph(rng, rng.randint(0, 6), n_inputs=rng.randint(1, 2))
    auto = make_plan(graph)
    for mode in sorted(modes()):
        if mode == "chain" and graph.chain is None:
            continue
        if mode == "edges" and not is_searched(graph, state_space(graph, multiplications)):
            continue
        other = make_plan(graph, mode)
        cheaper = (auto.multiplications, auto.additions) <= (
            other.multiplications,
            other.additions,
        )
        assert cheaper, mode


@settings(max_examples=10)
@given(randoms)
def test_auto_is_never_costlier_than_the_classical_modes_on_large_graphs(rng: Random) -> None:
    graph, _ = random_graph(rng, 20)
    auto = make_plan(graph)
    assert auto.multiplications <= make_plan(graph, "forward").multiplications
    assert auto.multiplications <= make_plan(graph, "reverse").multiplications


@pytest.mark.parametrize("name", sorted({*PLANNERS} - {"edges"}))
def test_every_planner_names_every_inner_vertex_once(name: str) -> None:
    for seed in range(20):
        rng = Random(seed)
        graph, _ = random_chain(rng, 5) if name == "chain" else random_graph(rng, 5)
        order = PLANNERS[name].planner(Problem(graph))
        assert sorted(order) == sorted(graph.inner)


@pytest.mark.parametrize("mode", sorted(modes()))
def test_every_mode_gives_the_same_plan_twice(mode: str) -> None:
    for seed in range(10):
        graph, _ = random_chain(Random(seed), 5)
        if mode == "edges":
            graph, _ = random_graph(Random(seed), 3, local=random_dense)
        assert make_plan(graph, mode) == make_plan(graph, mode)
        assert make_plan(graph, mode).order == make_plan(graph, mode).order


@pytest.mark.parametrize("mode", sorted(modes()))
def test_every_mode_plans_a_single_edge(mode: str) -> None:
    plan = make_plan(chain_of(dense((2,), (3,))), mode)
    assert (plan.order, plan.multiplications) == ((), 0)


def test_a_forced_mode_that_costs_more_than_twice_the_best_is_said_in_print() -> None:
    costly = make_plan(dense_chain(100, 90, 2, 90, 100), "forward").details()
    assert (
        "note        16.7x the cost of 'chain': mode='auto' finds one that costs as little"
        in costly
    )
    assert "note" not in make_plan(dense_chain(100, 90, 2, 90, 100)).details()


def test_a_cost_that_is_not_proved_is_held_against_a_bound() -> None:
    plan = make_plan(dense_chain(100, 90, 2, 90, 100), "markowitz")
    assert (plan.optimality, plan.bound) == ("", 52_200)
    assert plan.gap == (plan.cost - 52_200) / plan.cost
    assert (
        "optimality  not proved; no vertex elimination order costs less than 52,200"
        in plan.details()
    )


@given(randoms)
def test_no_order_costs_less_than_the_bound(rng: Random) -> None:
    graph, _ = random_graph(rng, 4, n_inputs=2, local=random_dense)
    for order in permutations(graph.inner):
        plan = make_plan(graph, order)
        assert plan.bound is not None
        assert plan.bound <= plan.cost


@given(randoms)
def test_no_order_of_scalars_costs_less_than_the_bound(rng: Random) -> None:
    kinds = [dense((), ()), *(arrange([], [], {}, scale=c).structure for c in (1, -1, 2))]
    edges, n = [], rng.randint(1, 5)
    for v in range(1, n + 1):
        edges += [Edge(u, v, rng.choice(kinds)) for u in range(1, v) if rng.random() < 0.6]
        edges.append(Edge(0, v, dense((), (3,))))
        edges.append(Edge(v, n + 1, dense((2,), ())))
    shapes = ((3,), *[()] * n, (2,))
    graph = LinearGraph(shapes, (0,), (n + 1,), tuple(edges))
    bound = lower_bound(graph, "multiplications")
    assert bound is not None
    assert bound <= cheapest_order(graph)


@pytest.mark.parametrize("effort", ["fast", "balanced"])
def test_the_same_seed_gives_the_same_order(effort: Effort) -> None:
    graph, _ = random_graph(Random(1), 30, local=random_dense, more=1.5)
    one, two = (make_plan(graph, search=SearchOptions(effort, 5)) for _ in range(2))
    assert one.order == two.order


@pytest.mark.parametrize("name", ["window", "annealing", "blocks"])
def test_no_stage_of_the_search_makes_an_order_costlier(name: str) -> None:
    for seed in range(5):
        graph, _ = random_graph(Random(seed), 25, local=random_dense, more=1.5)
        rules = [make_plan(graph, rule).cost for rule in ("forward", "reverse", "greedy")]
        staged = make_plan(graph, name).cost
        assert staged <= min(rules)
        assert make_plan(graph).cost <= staged


@pytest.mark.parametrize("name", ["multiplications", "all_multiplications", "bytes", "time"])
@pytest.mark.parametrize("seed", range(8))
def test_costs_that_are_looked_up_are_those_of_the_algebra(name: Any, seed: int) -> None:
    rng, model = Random(seed), model_of(name, 8)
    graph, _ = random_graph(rng, rng.randint(3, 9), n_inputs=2, more=1.5)
    problem = Problem(graph, model)
    orders = dict(candidates(problem))
    wanted = {found: cost_of_order(graph, order, model) for found, order in orders.items()}
    assert costs_of(problem, orders) == wanted


@pytest.mark.parametrize("seed", range(40))
def test_settled_eliminations_begin_a_cheapest_order(seed: int) -> None:
    rng, inner = Random(seed), range(2, 8)
    edges = {(rng.randrange(v), v): rng.random() < 0.5 for v in inner}
    edges |= {(v, rng.randrange(max(v + 1, 8), 10)): rng.random() < 0.5 for v in inner}
    edges |= {(0, 2): True, (1, 7): False, (2, 8): True, (7, 9): False}
    graph = ScalarStates(10, inner, edges, range(10))
    settled = graph.settled
    rest = cheapest(settled.rest, settled.rest.inner)
    best = cheapest(graph, graph.inner)
    assert rest is not None
    assert best is not None
    assert graph.cost_of(settled.complete(rest)) == graph.cost_of(best)
    assert settled.cost + settled.rest.cost_of(rest) == graph.cost_of(best)


def test_what_a_search_may_take_follows_from_what_it_can_save() -> None:
    search = SearchOptions(expected_calls=100)
    assert search.allowance(2_000_000) == 2 * search.allowance(1_000_000) > 0
    assert replace(search, expected_calls=1000).allowance(10) == 10 * search.allowance(10)
    assert SearchOptions("thorough", expected_calls=1).allowance(1) == inf
    graph, _ = random_graph(Random(1), 30, local=random_dense, more=1.5)
    costs = [make_plan(graph, search=replace(search, expected_calls=n)).cost for n in (0, 10**9)]
    assert costs[1] <= costs[0] <= make_plan(graph, "greedy").cost


@given(randoms)
def test_components_and_blocks_leave_no_vertex_out(rng: Random) -> None:
    graph, _ = random_graph(rng, rng.randint(1, 12), n_inputs=2, more=0.3, local=random_dense)
    problem = state_space(graph)
    groups = components(problem)
    assert sorted(v for group in groups for v in group) == sorted(problem.inner)
    for group in groups:
        blocks, cuts = split(problem.subproblem(group))
        assert len(cuts) + sum(map(len, blocks)) == len(group)


@given(randoms)
def test_integers_cost_an_order_as_the_algebra_does(rng: Random) -> None:
    graph, _ = random_graph(rng, 4, local=rng.choice([random_dense, random_structure]))
    order = rng.sample(graph.inner, 4)
    assert state_space(graph).cost_of(order) == cost(graph, order).amount


@settings(max_examples=20)
@given(randoms)
def test_dense_costs_from_integers_are_those_of_the_algebra(rng: Random) -> None:
    graph, _ = random_graph(rng, 45, n_inputs=2, local=random_dense)
    for other in make_plan(graph, search=SearchOptions("fast")).alternatives:
        if other.name in ("forward", "reverse"):
            order = graph.inner if other.name == "forward" else graph.inner[::-1]
            found = cost(graph, order)
            assert (other.multiplications, other.additions) == (
                found.multiplications,
                found.additions,
            )


def test_forward_and_reverse_are_the_two_topological_orders() -> None:
    for seed in range(10):
        graph, _ = random_graph(Random(seed), 6)
        assert make_plan(graph, "forward").order == graph.inner
        assert make_plan(graph, "reverse").order == graph.inner[::-1]


def test_markowitz_eats_a_narrow_bottleneck_first() -> None:
    order = make_plan(dense_chain(100, 90, 2, 90, 100), "markowitz").order
    assert order[0] == 2


def test_greedy_keeps_a_narrow_bottleneck_for_last() -> None:
    plan = make_plan(dense_chain(100, 90, 2, 90, 100), "greedy")
    assert plan.order[-1] == 2
    assert plan.multiplications == make_plan(dense_chain(100, 90, 2, 90, 100)).multiplications


@given(randoms)
def test_greedy_scores_a_vertex_by_its_cost_and_how_it_raises_that_of_its_neighbours(
    rng: Random,
) -> None:
    graph, _ = random_graph(rng, 4)
    before, after = Elimination(graph), Elimination(graph)
    v = rng.choice(graph.inner)
    after.eliminate(v)
    others = [u for u in range(len(graph.shapes)) if u != v]
    increase = sum(after.cost(u) - before.cost(u) for u in others)
    problem = state_space(graph)
    known, is_exact = problem.known_neighbour_cost_increase(problem.copy(), v)
    assert known == increase if is_exact else known <= increase
    assert problem.neighbour_cost_increase(problem.copy(), v) == increase
    assert problem.known_neighbour_cost_increase(problem.copy(), v) == (increase, True)


@settings(max_examples=15)
@given(randoms)
def test_alternatives_are_costed_as_their_modes_are(rng: Random) -> None:
    graph, _ = random_graph(rng, 4)
    plan = make_plan(graph)
    for other in plan.alternatives:
        if other.name in modes():
            found = make_plan(graph, other.name)
            assert other.multiplications == found.multiplications
            assert other.additions == found.additions
    names = {other.name for other in plan.alternatives}
    assert {"forward", "reverse"} <= names


def test_alternatives_are_costed_when_somebody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, _ = random_graph(Random(3), 50, local=random_dense)
    plan = make_plan(graph)
    costed: list[str] = []

    def spied(problem: Problem, orders: dict[str, Any]) -> Any:
        costed.extend(orders)
        return costs_of(problem, orders)

    monkeypatch.setattr("chainad.planning.auto.costs_of", spied)
    copy = pickle.loads(pickle.dumps(plan))
    assert {*costed} == {"forward", "reverse"}
    assert copy == plan
    assert copy.alternatives == (*plan.alternatives,)
    assert plan.cost == min(other.cost for other in plan.alternatives)
    assert chainad.Plan.from_json(plan.to_json()).alternatives == copy.alternatives


def test_nothing_is_proved_of_a_fixed_mode_that_is_not_optimal() -> None:
    assert chainad.plan_chain([100, 50, 2, 60, 100], mode="forward").optimality == ""
    assert chainad.plan_chain([100, 50, 2, 60, 100], mode="markowitz").optimality == ""


def test_a_small_graph_is_proved_optimal_over_all_orders() -> None:
    edges = [Edge(tail, head, dense((3,), (3,))) for tail, head in [(0, 1), (1, 2), (0, 2)]]
    edges.append(Edge(2, 3, dense((3,), (3,))))
    graph = LinearGraph(((3,),) * 4, (0,), (3,), tuple(edges))
    assert make_plan(graph).optimality == "optimal over all vertex elimination orders"


def test_of_equals_auto_takes_few_rows_times_large_matrices() -> None:
    graph = dense_chain(5, 90, 90, 5)  # forward and reverse cost the same
    plan = make_plan(graph)
    assert plan.order == graph.inner[::-1]
    assert plan.cost == make_plan(graph, "forward").cost
    assert all(rows <= cols for rows, cols in (s.structure.matrix_shape for s in plan.steps))


# ---------------------------------------------------------------------- modes


def test_a_planner_function_is_a_mode() -> None:
    graph = dense_chain(5, 4, 3, 2)

    def backwards(given: LinearGraph) -> list[Vertex]:
        assert given is graph
        return list(given.inner)[::-1]

    plan = make_plan(graph, backwards)
    assert plan.order == (2, 1)
    assert (plan.planner, plan.requested) == ("backwards", "planner backwards")


@pytest.mark.parametrize("order", [(2, 1), [2, 1]])
def test_an_order_is_a_mode(order: tuple[int, ...] | list[int]) -> None:
    plan = make_plan(dense_chain(5, 4, 3, 2), order)
    assert plan.order == (2, 1)
    assert plan.requested == "a given order"


def test_a_plan_is_a_mode() -> None:
    plan = make_plan(dense_chain(5, 4, 3, 2), "reverse")
    assert make_plan(dense_chain(5, 4, 3, 2), plan) == plan
    assert make_plan(dense_chain(5, 4, 3, 2), plan, itemsize=4).itemsize == 4


REFUSED = [
    ("fast", unknown("mode", "fast", sorted(modes()))),
    (3, "mode must be a name, a Plan, an elimination order or a planner, but got int"),
    (None, "mode must be a name, a Plan, an elimination order or a planner, but got NoneType"),
    (
        (1,),
        "an elimination order must name each of the 2 inner vertices once, but got 1 vertices,"
        " without 2; chainad.plan(f, x).order is one that fits",
    ),
    (
        lambda graph: (1, 1, 2),
        "an elimination order must name each of the 2 inner vertices once, but got 3 vertices;"
        " chainad.plan(f, x).order is one that fits",
    ),
]


@pytest.mark.parametrize(("mode", "message"), REFUSED)
def test_a_mode_that_does_not_fit_is_refused(mode: object, message: str) -> None:
    with pytest.raises(PlanError) as error:
        make_plan(dense_chain(5, 4, 3, 2), mode)  # type: ignore[arg-type]
    assert str(error.value) == message


def test_a_plan_for_another_number_of_vertices_is_refused() -> None:
    plan = make_plan(dense_chain(5, 4, 3))
    with pytest.raises(PlanError) as error:
        make_plan(dense_chain(5, 4, 3, 2), plan)
    assert str(error.value) == (
        "the plan was made for another function: its outputs have the shapes (3,), here (2,); make"
        " one for this function with chainad.plan(f, x)"
    )


def test_a_plan_for_other_structures_is_refused() -> None:
    plan = make_plan(dense_chain(5, 4, 3))
    with pytest.raises(PlanError) as error:
        make_plan(dense_chain(5, 6, 3), plan)
    assert str(error.value) == (
        "the plan was made for another function: its local Jacobian J1 is 4x5 dense [i | j] stored"
        " i j from v0 to v1, here it is 6x5 dense [i | j] stored i j from v0 to v1; make one for"
        " this function with chainad.plan(f, x)"
    )


def test_chain_refuses_a_graph_that_branches() -> None:
    one = dense((2,), (2,))
    graph = LinearGraph(((2,), (2,)), (0,), (1,), (Edge(0, 1, one), Edge(0, 1, one)))
    with pytest.raises(PlanError) as error:
        make_plan(graph, "chain")
    assert str(error.value) == (
        "mode='chain' needs a path from one input to one output, but this graph branches;"
        " use mode='auto'"
    )


def test_exhaustive_refuses_a_graph_that_is_too_large() -> None:
    with pytest.raises(PlanError) as error:
        make_plan(dense_chain(*[2] * 12), "exhaustive")
    assert str(error.value) == (
        "mode='exhaustive' tries every set of vertices and takes at most 9 inner ones at"
        " effort='balanced', but this graph has 10; use mode='auto'"
    )


DIMENSIONS = [
    ([3], "dimensions must hold at least two sizes, but got 1"),
    ([3, -1], "dimensions must be non-negative integers, but got -1"),
    ([3, 2.5], "dimensions must be non-negative integers, but got 2.5"),
    ([3, True], "dimensions must be non-negative integers, but got True"),
]


@pytest.mark.parametrize(("sizes", "message"), DIMENSIONS)
def test_dimensions_that_make_no_chain_are_refused(sizes: list, message: str) -> None:
    with pytest.raises(InputError) as error:
        chainad.plan_chain(sizes)
    assert str(error.value) == message


def test_hybrid_is_neither_forward_nor_reverse_where_it_can_be() -> None:
    plan = chainad.plan_chain([2, 3, 4, 5, 6], mode="hybrid")
    assert plan.mode == "hybrid"
    assert isinstance(plan, Plan)


def test_large_patterns_are_not_kept_in_the_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    axis = Axis(9, (0,), positions([0, 3, 4, 8]))
    gather = arrange([Axis(4, (0,))], [axis], {0: 4}, scale=1).structure
    graph = chain_of(diagonal((9,)), gather)
    make_plan(graph)
    assert multiply.cache_info().currsize > 0
    monkeypatch.setattr("chainad.planning.auto.MAX_CACHED_POSITIONS", 3)
    plan = make_plan(graph)
    assert multiply.cache_info().currsize == 0
    assert plan == make_plan(graph)


@pytest.mark.parametrize(
    ("seconds", "vertices", "effort"),
    [
        (0.05, 1500, "fast"),
        (5, 1500, "balanced"),
        (60, 1500, 60),
        (0.5, 20, 0.5),
        (1e-4, 1, "fast"),
    ],
)
def test_seconds_that_do_not_do_become_a_lower_effort(
    seconds: float, vertices: int, effort: Effort
) -> None:
    assert SearchOptions(seconds).within(vertices).effort == effort
    assert SearchOptions("thorough").within(vertices).effort == "thorough"


@pytest.mark.parametrize(
    ("seconds", "vertices"), [(1e-4, 6), (0.05, 6), (0.15, 7), (1, 9), (60, 15), (1e4, 18)]
)
def test_no_more_sets_of_vertices_are_looked_at_than_seconds_do_for(
    seconds: float, vertices: int
) -> None:
    assert SearchOptions(seconds).level.max_exhaustive_vertices == vertices
    assert 2**vertices <= max(64, seconds * 1000)


def test_beyond_these_sets_a_search_in_seconds_keeps_an_eye_on_the_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    budgets = []

    def spied(graph: Any, known: Any, budget: Any = None) -> Any:
        budgets.append(budget)
        return cheapest(graph, known, budget)

    monkeypatch.setattr("chainad.planning.search.stages.cheapest", spied)
    edges = [(f"v{i}", f"v{j}") for j in range(15) for i in range(max(0, j - 3), j)]
    chainad.plan_graph(edges, effort=0.15)
    assert budgets
    assert all(budget.deadline is not None for budget in budgets)


def test_a_bounded_search_says_what_was_requested() -> None:
    plan = chainad.plan_graph([("x", "a"), ("a", "y"), ("x", "y")], effort=1e-4)
    assert "effort=0.0001" in plan.details()


def test_of_orders_that_cost_the_same_the_one_of_fewer_calls_is_taken() -> None:
    def f(x: np.ndarray) -> np.ndarray:
        y = np.sin(x)
        return y * np.cos(y) + np.tanh(y)

    plan = chainad.plan(f, np.ones(7))
    equal = [a for a in plan.alternatives if (a.cost, a.additions) == (plan.cost, plan.additions)]
    others = [make_plan(plan.graph, mode=PlannerName(a.name)) for a in equal if a.name in PLANNERS]

    def calls(plan: Plan) -> int:
        return sum(bool(step.multiplications or step.additions) for step in plan.steps)

    assert others
    assert all(calls(plan) <= calls(other) for other in others)
