"""Chains of programs: published optima, and every bracketing with every choice, each tried."""

import json
from functools import cache
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainad
from chainad.api.chains import plan_chain
from chainad.errors import InputError, PlanError
from chainad.planning.auto import make_plan
from chainad.planning.linear_graph import cost
from chainad.planning.plan import Plan
from chainad.structure import multiply, staged

randoms = st.randoms(use_true_random=False)
FILE = Path(__file__).parents[1] / "data/jacobian_chains.json"
CASES = [case for case in json.loads(FILE.read_text())["cases"] if case["matrix_free"]]
ONE_THREAD = [case for case in CASES if case["threads"] == 1]


def programs(case: dict) -> dict:
    """Return the arguments of `plan_chain` for a published case."""
    return {
        "tangent_costs": case["tangent_cost"],
        "adjoint_costs": case["adjoint_cost"],
        "tape_sizes": case["edges"],
        "memory_limit": case["memory"] or None,
    }


@pytest.mark.parametrize("case", ONE_THREAD, ids=[case["id"] for case in ONE_THREAD])
def test_published_chain_of_programs_is_met_exactly(case: dict) -> None:
    plan = plan_chain(case["dims"], **programs(case))
    assert plan.multiplications == case["expected"]["optimal_cost"]
    assert plan.optimality == "optimal over all bracketings of this chain"


@pytest.mark.parametrize("case", ONE_THREAD, ids=[case["id"] for case in ONE_THREAD])
def test_homogeneous_modes_have_their_published_costs(case: dict) -> None:
    expected = case["expected"]
    forward = plan_chain(case["dims"], mode="forward", **programs(case))
    assert forward.multiplications == expected["homogeneous_tangent"]
    costs = {a.name: a.multiplications for a in forward.alternatives}
    assert costs["forward"] == expected["homogeneous_tangent"]
    assert costs.get("reverse") == expected["homogeneous_adjoint"]
    assert costs["chain"] == expected["optimal_cost"]
    if expected["homogeneous_adjoint"] is None:
        needed = sum(case["edges"])
        with pytest.raises(PlanError, match=f"the least limit that would do is {needed:,}"):
            plan_chain(case["dims"], mode="reverse", **programs(case))
    else:
        reverse = plan_chain(case["dims"], mode="reverse", **programs(case))
        assert reverse.multiplications == expected["homogeneous_adjoint"]


def test_all_published_chains_of_programs_are_there() -> None:
    kinds = [case["kind"] for case in CASES]
    assert {kind: kinds.count(kind) for kind in kinds} == dict.fromkeys(
        ["matrix_free", "matrix_free_memory", "threads"], 30
    )


# ---------------------------------------------------------------- exhaustive


def cheapest(sizes: list[int], tangents: list, adjoints: list) -> int | None:
    """Return the least cost over all bracketings, and all ways to use every program."""
    q = len(sizes) - 1

    def is_program(i: int) -> bool:
        return tangents[i] is not None or adjoints[i] is not None

    def accumulate(i: int) -> int:
        if not is_program(i):
            return 0
        n, m = sizes[i], sizes[i + 1]
        offers = [n * t for t in [tangents[i]] if t is not None]
        return min(offers + [m * a for a in [adjoints[i]] if a is not None])

    @cache
    def least(i: int, j: int) -> int:
        if i == j:
            return accumulate(i)
        offers = []
        for k in range(i, j):
            offers.append(least(i, k) + least(k + 1, j) + sizes[i] * sizes[k + 1] * sizes[j + 1])
            # Whole runs at once, as the recurrence is published.
            if all(tangents[v] is not None for v in range(k + 1, j + 1)):
                offers.append(least(i, k) + sizes[i] * sum(tangents[k + 1 : j + 1]))
            if all(adjoints[v] is not None for v in range(i, k + 1)):
                offers.append(least(k + 1, j) + sizes[j + 1] * sum(adjoints[i : k + 1]))
        return min(offers)

    return least(0, q - 1)


def random_programs(rng: Random, q: int) -> tuple[list[int], list, list]:
    high = rng.choice([3, 10, 60])
    sizes = [rng.randint(1, high) for _ in range(q + 1)]
    costs = [(rng.randint(0, high * high), rng.randint(0, high * high)) for _ in range(q)]
    available = [rng.choice(["both", "both", "tangent", "adjoint", "none"]) for _ in range(q)]
    tangents = [
        t if a in ("both", "tangent") else None for (t, _), a in zip(costs, available, strict=True)
    ]
    adjoints = [
        p if a in ("both", "adjoint") else None for (_, p), a in zip(costs, available, strict=True)
    ]
    return sizes, tangents, adjoints


@pytest.mark.parametrize("seed", range(5))
def test_programs_are_planned_at_the_least_cost_of_all(seed: int) -> None:
    rng = Random(seed)
    for _ in range(60):
        sizes, tangents, adjoints = random_programs(rng, rng.randint(1, 7))
        plan = plan_chain(sizes, tangent_costs=tangents, adjoint_costs=adjoints)
        assert plan.multiplications == cheapest(sizes, tangents, adjoints)
        assert plan.multiplications == sum(step.multiplications for step in plan.steps)


@given(randoms)
def test_no_elimination_order_is_cheaper_for_programs(rng: Random) -> None:
    sizes, tangents, adjoints = random_programs(rng, 5)
    plan = plan_chain(sizes, tangent_costs=tangents, adjoint_costs=adjoints)
    for _ in range(10):
        order = rng.sample(plan.graph.inner, 4)
        other = cost(plan.graph, order).multiplications
        assert plan.multiplications <= other
        assert make_plan(plan.graph, tuple(order)).multiplications == other


def replayed(plan: Plan, numbers: list[np.ndarray]) -> np.ndarray:
    """Multiply as the steps say."""
    known = list(numbers)
    for step in plan.steps:
        explicit = step.direction == "materialize"
        known.append(known[step.left] if explicit else known[step.left] @ known[step.right])
    return known[plan.results[0][0]]


@given(randoms)
def test_steps_multiply_all_programs_in_order(rng: Random) -> None:
    sizes, tangents, adjoints = random_programs(rng, 5)
    numbers = [
        np.array([[float(rng.randint(-3, 3)) for _ in range(n)] for _ in range(m)])
        for n, m in pairwise(sizes)
    ]
    wanted = numbers[0]
    for matrix in numbers[1:]:
        wanted = matrix @ wanted
    plan = plan_chain(sizes, tangent_costs=tangents, adjoint_costs=adjoints)
    np.testing.assert_array_equal(replayed(plan, numbers), wanted)


def test_every_program_is_accumulated_pushed_or_pulled_once() -> None:
    for case in ONE_THREAD:
        plan = plan_chain(case["dims"], **programs(case))
        n = len(plan.graph.edges)
        used = [s.left for s in plan.steps if s.direction == "materialize"]
        used += [s.left for s in plan.steps if getattr(s.operation, "action", "") == "jvp"]
        used += [s.right for s in plan.steps if getattr(s.operation, "action", "") == "vjp"]
        assert sorted(used) == list(range(n))


@given(randoms)
def test_a_product_taken_apart_keeps_its_cost(rng: Random) -> None:
    sizes, tangents, adjoints = random_programs(rng, 2)
    graph = plan_chain(sizes, tangent_costs=tangents, adjoint_costs=adjoints).graph
    right, left = (edge.structure for edge in graph.edges)
    product = multiply(left, right)
    before, rest = staged(product)
    parts = [*(x for x in before if x is not None), rest]
    assert sum(x.multiplications for x in parts) == product.multiplications
    assert rest.structure == product.structure


# -------------------------------------------------------------------- memory


@given(randoms)
def test_a_limit_rules_out_the_adjoints_whose_tapes_are_larger(rng: Random) -> None:
    sizes, tangents, adjoints = random_programs(rng, 5)
    tapes, limit = [rng.randint(0, 9) for _ in adjoints], rng.randint(0, 9)
    left = [None if tape > limit else a for a, tape in zip(adjoints, tapes, strict=True)]
    arguments = {"tape_sizes": tapes, "memory_limit": limit}
    needed = [
        tape
        for t, a, tape in zip(tangents, adjoints, tapes, strict=True)
        if t is None and a is not None and tape > limit
    ]
    costs = {"tangent_costs": tangents, "adjoint_costs": adjoints}
    if needed:
        with pytest.raises(PlanError, match=f"the least limit that would do is {max(needed)}$"):
            plan_chain(sizes, **costs, **arguments)
        arguments["memory_limit"] = max(needed)
        plan_chain(sizes, **costs, **arguments)
    elif any(cost is not None for cost in (*tangents, *adjoints)):
        plan = plan_chain(sizes, **costs, **arguments)
        assert plan.multiplications == cheapest(sizes, tangents, left)


def test_more_memory_is_never_costlier() -> None:
    for case in ONE_THREAD[-20:]:
        arguments = programs(case)
        found = []
        for limit in (0, case["memory"], sum(case["edges"]), None):
            arguments["memory_limit"] = limit
            found.append(plan_chain(case["dims"], **arguments).multiplications)
        assert found == sorted(found, reverse=True)


# ------------------------------------------------------------------- refusals

REFUSED = [
    (
        {"tangent_costs": [1, 2]},
        InputError,
        "tangent_costs must have one entry per factor, 3 in all, but got 2",
    ),
    (
        {"adjoint_costs": [1, 2.5, 3]},
        InputError,
        "adjoint_costs must be non-negative integers or None, but got 2.5",
    ),
    (
        {"tangent_costs": [1, 2, 3], "memory_limit": 9},
        InputError,
        "memory_limit bounds tapes: give their sizes as tape_sizes=",
    ),
    (
        {"adjoint_costs": [1, 2, 3], "mode": "forward"},
        PlanError,
        "mode='forward' takes every program by its tangents, but tangent_costs[0] is None;"
        " use mode='auto'",
    ),
    (
        {"tangent_costs": [1, 2, None], "adjoint_costs": [4, None, 5], "mode": "reverse"},
        PlanError,
        "mode='reverse' takes every program by its adjoints, but adjoint_costs[1] is None;"
        " use mode='auto'",
    ),
    (
        {
            "tangent_costs": [1, 2, 3],
            "adjoint_costs": [1, 2, 3],
            "tape_sizes": [5, 6, 7],
            "memory_limit": 17,
            "mode": "reverse",
        },
        PlanError,
        "mode='reverse' keeps the tapes of all programs at once, 18, but memory_limit is 17;"
        " the least limit that would do is 18, or use mode='auto'",
    ),
    (
        {"adjoint_costs": [1, 2, 3], "tape_sizes": [5, 6, 7], "memory_limit": 5},
        PlanError,
        "2 programs have adjoints only, whose tapes exceed memory_limit=5; the least limit that"
        " would do is 7",
    ),
    (
        {"adjoint_costs": [1, 2, 3], "cost": "bytes"},
        PlanError,
        "tangent_costs and adjoint_costs are multiplications, so the chain is planned by"
        " cost='multiplications', but got cost='bytes'",
    ),
]


@pytest.mark.parametrize(("arguments", "error", "message"), REFUSED)
def test_programs_that_make_no_plan_are_refused(
    arguments: dict, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as found:
        plan_chain([2, 3, 4, 5], **arguments)
    assert str(found.value) == message


# ------------------------------------------------------------ traced functions


@pytest.mark.parametrize("seed", range(4))
def test_solves_in_a_traced_chain_are_planned_at_the_least_cost_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = [int(n) for n in rng.integers(1, 30, 5)]
    maps = [rng.normal(size=(m, n)) for n, m in pairwise(sizes)]
    solves = [rng.normal(size=(n, n)) + 9 * np.eye(n) for n in sizes[1:]]

    def f(x):
        for A, B in zip(maps, solves, strict=True):
            x = np.linalg.solve(B, A @ x)
        return x

    plan = chainad.plan(f, np.ones(sizes[0]))
    inner = [n for n in sizes[1:] for _ in range(2)]
    costs = [c for n in sizes[1:] for c in (None, n * n)]
    assert plan.multiplications == cheapest([sizes[0], *inner], costs, costs)


def test_plans_of_sweeps_travel() -> None:
    case = ONE_THREAD[3]
    for mode in ("auto", "forward", "reverse"):
        plan = plan_chain(case["dims"], mode=mode, **programs(case))
        again = Plan.from_json(plan.to_json())
        assert again == plan
        assert again.steps == plan.steps
    with pytest.raises(PlanError, match="sweep"):
        Plan.from_json(plan.to_json().replace('"sweep": "adjoint"', '"sweep": "sideways"'))


PRINTED = """\
  step  direction    product     shapes       structure         mults     %  bytes out
     1  materialize  P1 = J2     17x2         operator              2   4.4      272 B
     2  reverse      P2 = J3 P1  1x17 . 17x2  dense . dense        34  75.6       16 B
     3  reverse      P3 = P2 J1  1x2 . 2x6    dense . operator      9  20.0       48 B"""


def test_a_plan_with_programs_prints_what_is_done_with_each() -> None:
    plan = plan_chain([6, 2, 17, 1], tangent_costs=[9, 1, None], adjoint_costs=[9, 99, None])
    assert PRINTED in plan.details()
    assert plan.bracketing == "J = (J3 J2) J1"
    assert [origin.name for origin in plan.graph.origins] == ["program", "program", "matrix"]
