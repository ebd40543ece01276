"""plan_graph: published elimination problems, executed plans, and graphs that are refused."""

import json
import tracemalloc
from collections.abc import Iterable
from itertools import permutations
from pathlib import Path
from random import Random
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainad
from chainad.backends.numpy.build import build
from chainad.compiler.lower import lower
from chainad.errors import InputError, PlanError
from chainad.planning.plan import Plan
from chainad.planning.registry import ModeName
from chainad.planning.search.structured_states import StructuredStates

randoms = st.randoms(use_true_random=False)
DATA = Path(__file__).parents[1] / "data"
TASKS = json.loads((DATA / "elimination_graphs.json").read_text())["graphs"]
SMALL = json.loads((DATA / "elimination_small.json").read_text())["multiplication_only"]
# The most that vertex elimination may cost: what a minute of annealing found.
MOST = {"RoeFlux_1d": 295, "RobotArm_6DOF": 221, "HumanHeartDipole": 148, "PropaneCombustion": 88}


def task(name: str, **how) -> Plan:
    given = TASKS[name]
    ends = {"inputs": given["inputs"], "outputs": given["outputs"]}
    return chainad.plan_graph(given["edges"], **ends, cost="all_multiplications", **how)


# ------------------------------------------------------------------ published


@pytest.mark.parametrize("name", sorted(TASKS))
@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_classical_costs_of_a_published_task_are_met(name: str, mode: str) -> None:
    assert task(name, mode=mode).cost == TASKS[name]["multiplications"][mode]


@pytest.mark.parametrize("name", ["HumanHeartDipole", "PropaneCombustion"])
def test_a_published_task_is_solved_and_proved_at_once(name: str) -> None:
    plan = task(name)
    assert plan.cost == MOST[name]
    assert plan.optimality == "optimal over all vertex elimination orders"


def test_the_arm_is_solved_at_once_and_its_least_cuts_prove_it() -> None:
    plan = task("RobotArm_6DOF")
    assert plan.cost == plan.bound == MOST["RobotArm_6DOF"]
    assert plan.gap == 0
    assert "by the least cuts of the graph" in plan.details()


@pytest.mark.parametrize("name", ["RoeFlux_1d", "RobotArm_6DOF"])
def test_a_published_task_is_cheaper_than_the_published_figure(name: str) -> None:
    assert task(name).cost < TASKS[name]["multiplications"]["published_alphagrad"]


@pytest.mark.parametrize("case", SMALL, ids=[case["id"] for case in SMALL])
def test_every_listed_optimum_is_met(case: dict) -> None:
    edges, sizes = case["edges"], case["dims"]
    is_long = case["id"] == "fft8_butterfly"  # proving this one takes seconds
    effort = "balanced" if is_long else "thorough"
    plan = chainad.plan_graph(edges, dimensions=sizes, effort=effort)
    assert plan.cost == case["vertex_elim_optimum"]
    assert is_long or plan.optimality == "optimal over all vertex elimination orders"
    order = case["vertex_elim_order"]
    assert chainad.plan_graph(edges, dimensions=sizes, mode=order).cost == plan.cost


@pytest.mark.parametrize("case", SMALL, ids=[case["id"] for case in SMALL])
def test_the_default_effort_is_within_a_hundredth_of_every_optimum(case: dict) -> None:
    plan = chainad.plan_graph(case["edges"], dimensions=case["dims"])
    assert plan.cost <= 1.01 * case["vertex_elim_optimum"]


# -------------------------------------------------------------------- random


def random_edges(rng: Random, n: int, most: int = 1) -> tuple[list, dict]:
    """Return the edges of a random graph of n letters, and dimensions."""
    letters = [chr(ord("a") + k) for k in range(n)]
    pairs = [(u, w) for k, u in enumerate(letters) for w in letters[k + 1 :]]
    edges = rng.sample(pairs, min(len(pairs), rng.randint(n - 1, 2 * n)))
    used = {v for edge in edges for v in edge}
    return edges, {v: rng.randint(1, most) for v in sorted(used)}


def cost_of_elimination(edges: list, sizes: dict, order: tuple) -> int:
    """Return what the book says: d(v) times the widths before and behind, edge by edge."""
    left, total = set(edges), 0
    for v in order:
        tails = [u for u, w in left if w == v]
        heads = [w for u, w in left if u == v]
        total += sizes[v] * sum(map(sizes.get, tails)) * sum(map(sizes.get, heads))
        left |= {(u, w) for u in tails for w in heads}
        left = {(u, w) for u, w in left if v not in (u, w)}
    return total


@given(randoms)
def test_the_plan_is_the_cheapest_of_all_orders(rng: Random) -> None:
    edges, sizes = random_edges(rng, rng.randint(2, 7), rng.choice([1, 4]))
    plan = chainad.plan_graph(edges, dimensions=sizes, mode="exhaustive")
    tails, heads = {u for u, _ in edges}, {w for _, w in edges}
    best = min(cost_of_elimination(edges, sizes, o) for o in permutations(tails & heads))
    assert plan.cost == best
    # Eliminating single edges may be cheaper still.
    assert chainad.plan_graph(edges, dimensions=sizes).cost <= best


@given(randoms)
def test_running_the_plan_gives_the_sum_over_all_paths(rng: Random) -> None:
    edges, sizes = random_edges(rng, rng.randint(2, 7), 3)
    edges += rng.sample(edges, min(2, len(edges)))  # parallel edges add
    inputs = [v for v in sizes if all(w != v for _, w in edges)]
    outputs = rng.sample(sorted(sizes), rng.randint(1, 3) if len(sizes) > 2 else 1)
    plan = chainad.plan_graph(edges, inputs=inputs, outputs=outputs, dimensions=sizes)
    numbers = np.random.default_rng(0)
    slots = [
        None if edge.structure.scale is not None else numbers.normal(size=edge.structure.count)
        for edge in plan.graph.edges
    ]
    shaped = [
        None if slot is None else slot.reshape(edge.structure.stored_shape)
        for edge, slot in zip(plan.graph.edges, slots, strict=True)
    ]
    lowered = lower(plan, [()] * len(slots))
    arrays = iter(build(lowered.program)(shaped))
    names = plan.graph.names
    for o in outputs:
        for i, form in zip(inputs, lowered.forms[outputs.index(o) * len(inputs) :], strict=False):
            seen = {i: np.eye(sizes[i])}
            for v in sorted(sizes):  # letters are in topological order
                for edge, slot in zip(plan.graph.edges, slots, strict=True):
                    tail, head = names[edge.tail], names[edge.head]
                    if head == v and tail in seen and slot is not None:
                        local = slot.reshape(sizes[head], sizes[tail])
                        seen[v] = seen.get(v, 0) + local @ seen[tail]
            if form is None:
                assert o not in seen
            else:
                got = form.assemble([next(arrays) for _ in range(form.width)], np.dtype(float))
                np.testing.assert_allclose(got, seen[o], rtol=1e-10, atol=1e-12)


# ------------------------------------------------------------------- arguments


DIAMOND = [("x", "a"), ("a", "b"), ("a", "c"), ("b", "y"), ("c", "y")]


def test_a_networkx_graph_is_taken_as_its_edges_are() -> None:
    wanted = chainad.plan_graph(DIAMOND)
    assert chainad.plan_graph(nx.DiGraph(DIAMOND)) == wanted
    assert chainad.plan_graph(nx.MultiDiGraph(DIAMOND)) == wanted


def test_parallel_edges_add() -> None:
    plan = chainad.plan_graph([("x", "y"), ("x", "y")])
    assert (plan.multiplications, plan.additions) == (0, 1)


def test_one_dimension_is_that_of_all_vertices() -> None:
    assert chainad.plan_graph([("x", "a"), ("a", "y")], dimensions=3).multiplications == 27


def test_what_lies_between_no_input_and_output_plays_no_part() -> None:
    more = [*DIAMOND, ("z", "c"), ("a", "d")]
    plan = chainad.plan_graph(more, inputs=["x"], outputs=["y"])
    assert plan.cost == chainad.plan_graph(DIAMOND).cost
    assert "z" not in plan.graph.names
    assert "d" not in plan.graph.names


def test_an_output_that_leads_on_is_eliminated_and_kept() -> None:
    edges = [("x", "a"), ("a", "b"), ("b", "y")]
    plan = chainad.plan_graph(edges, outputs=["b", "y"])
    assert plan.multiplications == 2
    assert plan.graph.names == ("x", "a", "b", "b (result)", "y")
    assert len(plan.results) == 2


def test_the_print_out_has_the_names_of_the_user() -> None:
    text = chainad.plan_graph([("x", "a"), ("x", "b"), ("a", "y"), ("b", "y")]).details()
    assert text.startswith("Plan  graph: (1,) -> (1,)     J is 1 x 1, dense")
    assert "eliminate a, b" in text


def test_the_same_seed_gives_the_same_plan() -> None:
    one, two = (task("RoeFlux_1d", seed=3) for _ in range(2))
    assert one.order == two.order


REFUSED = [
    ({"graph": [("a", "b"), ("b", "a")]}, "graph has a cycle, 'a' -> 'b' -> 'a'"),
    ({"graph": []}, "graph has no vertices"),
    ({"graph": nx.Graph([(1, 2)])}, "graph must be directed"),
    ({"graph": 7}, "graph must be a networkx.DiGraph or pairs (tail, head), but got int"),
    ({"graph": [("a", "b", "c")]}, "an edge must be a pair (tail, head), but got ('a', 'b', 'c')"),
    ({"graph": [("a", ["b"])]}, "a vertex must be hashable, but got ['b']"),
    ({"inputs": ["q"]}, "inputs names 'q', which has no edge; the vertices are 'x', 'a'"),
    ({"outputs": ["y", "y"]}, "outputs names 'y' twice"),
    ({"outputs": []}, "outputs must name at least one vertex"),
    ({"inputs": "x"}, "inputs must be a sequence of vertices, but got 'x'"),
    ({"inputs": ["a"]}, "input 'a' has an edge into it"),
    ({"dimensions": {"q": 1}}, "dimensions names 'q', which has no edge"),
    ({"dimensions": {"x": 0}}, "the dimension of 'x' must be a positive integer, but got 0"),
    ({"dimensions": 2.5}, "the dimension of 'x' must be a positive integer, but got 2.5"),
    ({"mode": ["a", "q"]}, "the order names 'q', which lies on no path"),
]


@pytest.mark.parametrize(("given", "message"), REFUSED)
def test_a_graph_that_is_none_is_refused(given: dict, message: str) -> None:
    with pytest.raises(InputError) as error:
        chainad.plan_graph(**{"graph": DIAMOND, **given})
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"effort": "slow"},
            "choose 'fast', 'balanced', 'thorough' or a positive number of seconds",
        ),
        ({"effort": 0}, "effort=0 is unknown; choose 'fast', 'balanced', 'thorough' or a positive"),
        ({"seed": "x"}, "seed must be an integer, but got 'x'"),
        ({"mode": ["a"]}, "an elimination order must name each of the 3 inner vertices once"),
    ],
)
def test_a_search_that_is_none_is_refused(given: dict, message: str) -> None:
    with pytest.raises(PlanError) as error:
        chainad.plan_graph(DIAMOND, **given)
    assert message in str(error.value)


LARGE = 1000


@pytest.fixture
def large_graph(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Return a graph of one input and a hundred outputs, for which reverse mode is quadratic.

    It is beyond all limits of small graphs.
    """
    for limit in ("state_space.MAX_FULLY_COSTED", "make_state_space.MAX_BITSET"):
        monkeypatch.setattr(f"chainad.planning.search.{limit}_VERTICES", LARGE // 2)
    monkeypatch.setattr("chainad.planning.candidates.MAX_FULLY_COSTED_VERTICES", LARGE // 2)
    rng = Random(0)
    return [(u, v) for v in range(1, LARGE) for u in {rng.randrange(max(0, v - 20), v), v // 2}]


@pytest.mark.parametrize("mode", ["auto", "forward"])
def test_planning_takes_no_more_products_than_a_few_plans_have(
    monkeypatch: pytest.MonkeyPatch, large_graph: list[tuple[int, int]], mode: ModeName
) -> None:
    pairs = 0
    eliminate, full_cost = StructuredStates.eliminate, StructuredStates.full_cost

    def counted(states: StructuredStates, state: Any, v: int, *own: Any) -> int:
        nonlocal pairs
        pairs += len(state[0][v]) * len(state[1][v])
        return eliminate(states, state, v, *own)

    def counted_cost(states: StructuredStates, order: Iterable[int]) -> Any:
        nonlocal pairs
        cost = full_cost(states, order)
        pairs += cost.multiplications
        return cost

    monkeypatch.setattr(StructuredStates, "eliminate", counted)
    monkeypatch.setattr(StructuredStates, "full_cost", counted_cost)
    plan = chainad.plan_graph(large_graph, mode=mode, effort="fast")
    assert (pairs > 0) == (mode == "auto")  # what is requested is compared when somebody looks
    # Of what costs many times as much, it is only known that it does.
    assert [offer.name for offer in plan.alternatives] == ["forward"]
    assert 0 < pairs < 20 * plan.multiplications < 40 * LARGE


def test_planning_takes_little_memory_for_each_vertex(large_graph: list[tuple[int, int]]) -> None:
    tracemalloc.start()
    chainad.plan_graph(large_graph, effort="fast")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4000 * LARGE
