"""The floor above all planners: cost every candidate, keep the cheapest.

Hence `auto` is never dearer than any fixed mode, and can say so in print.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from operator import gt
from typing import Any

from chainad.errors import PlanError, unknown
from chainad.ir.cache import Cache
from chainad.planning.chain import chain as chains
from chainad.planning.chain.chain import chain, cost_of_order, hybrid_orders
from chainad.planning.cost_models import CostModel, all_multiplications, model_of, multiplications
from chainad.planning.fit import check_fits
from chainad.planning.linear_graph import Cost, Elimination, LinearGraph, may_keep_separate_terms
from chainad.planning.modes import around, forward, reverse
from chainad.planning.orders import Item, Vertex, only_vertices
from chainad.planning.plan import Alternative, Plan, cost_of_steps, follow
from chainad.planning.repeats import repeats_in
from chainad.planning.search import edges as singles
from chainad.planning.search import exhaustive as sets
from chainad.planning.search.budget import DEFAULT, Aim
from chainad.planning.search.edges import edges, is_searched, with_edges
from chainad.planning.search.exhaustive import cheapest
from chainad.planning.search.greedy import fill, greedy, markowitz, relative
from chainad.planning.search.make_state import (
    Compact,
    Dense,
    Structured,
    compact,
    is_heavy,
    structured,
)
from chainad.planning.search.repeats import repeats
from chainad.planning.search.stages import (
    annealing,
    blocks,
    exhaustive,
    improved,
    is_worthwhile,
    rules,
    window,
)
from chainad.structure import forget

Order = tuple[Item, ...]
Planner = Callable[[LinearGraph], Sequence[Item]]
Mode = str | Planner | Plan | Sequence[Item]

# Planners that search take an aim, too: how hard to.
SEARCHES: dict[str, Callable[[LinearGraph, CostModel, Aim], Order]] = {
    "exhaustive": exhaustive,
    "blocks": blocks,
    "window": window,
    "annealing": annealing,
    "repeats": repeats,
    "edges": edges,
}
PLANNERS: dict[str, Callable[..., Order]] = {
    "forward": forward,
    "reverse": reverse,
    "chain": chain,
    "markowitz": markowitz,
    "greedy": greedy,
    "relative": relative,
    "fill": fill,
    **SEARCHES,
}
MODES = ("auto", "hybrid", *PLANNERS)
# Beyond so many inner vertices, costing a pivot at every one of them takes longer than it saves.
MANY = 40

# Planning one turn of a loop takes so many times less time than planning all.
BY_TURNS = 1000

CLASSICAL = ("forward", "reverse")

# Patterns of more positions than this are not kept in the caches of the algebra: 8 MB of integers.
HEAVY = 1_000_000


def make_plan(
    graph: LinearGraph,
    mode: Mode = "auto",
    itemsize: int = 8,
    model: CostModel = multiplications,
    aim: Aim = DEFAULT,
) -> Plan:
    """Plan the accumulation of the Jacobian of a linear graph.

    Parameters
    ----------
    graph : LinearGraph
    mode : str, planner, Plan or sequence of int
        "auto", "hybrid" (the best plan that is neither forward nor reverse), the name of a planner,
        a function from graphs to orders, a plan for an equal graph, or an order.
    itemsize : int
        Bytes per number.
    model : CostModel
        What is to be made small.
    aim : Aim
        How hard to search.

    Raises
    ------
    PlanError
        If the mode is unknown, or does not fit the graph.
    """
    if isinstance(mode, Plan):
        check_fits(mode.graph, graph)
        given = replace(mode.with_origins(graph), itemsize=itemsize)
        return replace(given, model=model.name, cost=cost_of_steps(given, model))
    check_mode(mode)
    if isinstance(mode, str):
        return _by_name(graph, mode, itemsize, model, aim)
    if callable(mode):
        name = getattr(mode, "__name__", type(mode).__name__)
        return _finish(graph, tuple(mode(graph)), f"planner {name}", name, itemsize, model, {})
    return _finish(graph, graph.check_order(mode), "a given order", "order", itemsize, model, {})


def check_mode(mode: Mode) -> Mode:
    """Return a mode as it is; raise PlanError if it can fit no graph."""
    if isinstance(mode, str):
        if mode not in MODES:
            raise PlanError(unknown("mode", mode, sorted(MODES)))
    elif not (isinstance(mode, (Plan, Sequence)) or callable(mode)):
        raise PlanError(
            "mode must be a name, a Plan, an elimination order or a planner,"
            f" but got {type(mode).__name__}"
        )
    return mode


# Costs that are not exact are off by less than this, as far as was seen.
SLACK = 1.05

_plans: Cache[Plan] = Cache(256)


def plan_cached(
    graph: LinearGraph,
    mode: Mode,
    itemsize: int = 8,
    cost: str | CostModel = multiplications,
    aim: Aim = DEFAULT,
) -> Plan:
    """Return `make_plan` of these, from the cache if an equal graph was planned."""
    key, model = mode_key(mode), model_of(cost, itemsize)
    if key is None:
        return make_plan(graph, mode, itemsize, model, aim)
    made = _plans.get(
        (graph, key, itemsize, model, aim), lambda: make_plan(graph, mode, itemsize, model, aim)
    )
    return made.with_origins(graph)


def mode_key(mode: Mode) -> Hashable:
    """Return what a mode is cached under; None for a planner, which may answer differently."""
    if isinstance(mode, (str, Plan)):
        return mode
    return None if callable(mode) else tuple(mode)


def _by_name(graph: LinearGraph, mode: str, itemsize: int, model: CostModel, aim: Aim) -> Plan:
    requested = f"mode={mode!r}" + ("" if aim == DEFAULT else f", effort={aim.effort!r}")
    if mode in PLANNERS:
        order = planned(graph, mode, model, aim)
        return _finish(graph, order, requested, mode, itemsize, model, {})
    problem = None if graph.chain is not None else compact(graph, model)
    orders = dict(candidates(graph, model, aim, problem))
    costs = _costd(graph, orders, model, problem)
    if mode == "hybrid":
        offers = dict.fromkeys(hybrids(graph, orders, model))
        plans = [follow(graph, order, model=model) for order in offers]
        mixed = [plan for plan in plans if plan.mode == "hybrid"]
        if mixed:
            found = min(mixed, key=lambda plan: (plan.cost, plan.additions))
            return _finish(graph, found.order, requested, "hybrid", itemsize, model, costs)
    best = _cheapest(graph, orders, costs)
    return _finish(graph, orders[best], requested, best, itemsize, model, costs)


def planned(graph: LinearGraph, name: str, model: CostModel, aim: Aim) -> Order:
    """Return the order of a planner of the table."""
    if name in SEARCHES:
        return SEARCHES[name](graph, model, aim)
    return PLANNERS[name](graph, model)


def _costd(
    graph: LinearGraph, orders: dict[str, Order], model: CostModel, problem: Compact[Any] | None
) -> dict[str, Cost]:
    """Return the costs of orders; on large graphs only of the classical and the cheapest ones."""
    names = list(orders)
    if len(graph.inner) > MANY and model.overall is None and problem is not None:
        amounts = {name: problem.cost_of(order) for name, order in orders.items()}
        most = min(amounts.values()) * (1 if problem.is_exact else SLACK)
        names = [
            name
            for name in orders
            if name in CLASSICAL or amounts[name] <= most or problem.is_averse
        ]
        if isinstance(problem, Dense):
            return {name: _cost(graph, problem, orders[name], amounts[name]) for name in names}
        if all(edge.structure.action is None for edge in graph.edges):
            table = problem if isinstance(problem, Structured) else structured(graph, model)
            return _full_costs(graph, table, {name: orders[name] for name in names}, model)
    return {name: cost_of_order(graph, orders[name], model) for name in names}


def _full_costs(
    graph: LinearGraph, table: Structured, orders: dict[str, Order], model: CostModel
) -> dict[str, Cost]:
    """Return the costs of orders of a graph without operators; products are looked up."""
    merged = [edge.sum for edge in Elimination(graph).accumulations if edge.sum is not None]
    amount = sum(map(model.sum, merged))
    additions = sum(total.additions for total in merged)
    found = {}
    for name, order in orders.items():
        vertices = only_vertices(order)
        if vertices is None:
            found[name] = cost_of_order(graph, order, model)
        else:
            cost = table.full_cost(vertices)
            found[name] = replace(
                cost, amount=cost.amount + amount, additions=cost.additions + additions
            )
    return found


def _cost(graph: LinearGraph, problem: Dense, order: Order, amount: int) -> Cost:
    """Return the cost of an order of dense Jacobians, from integers alone if it is of vertices."""
    vertices = only_vertices(order)
    if vertices is None:
        return cost_of_order(graph, order, multiplications)
    size = graph.size
    parallel = Counter((edge.tail, edge.head) for edge in graph.edges)
    merged = sum((n - 1) * size(u) * size(w) for (u, w), n in parallel.items() if n > 1)
    return Cost(amount, problem.additions_of(vertices) + merged, amount)


def _cheapest(graph: LinearGraph, orders: dict[str, Order], costs: dict[str, Cost]) -> str:
    """Return the name of the cheapest order; of equals, that of the least peak.

    If these are equal, too, few rows times a large matrix are preferred to a large one times few
    columns, which takes BLAS 5 to 10% longer; then the first one is.
    """
    least = min(costs.values())
    tied = [name for name in costs if costs[name] == least]
    if len(tied) == 1 or len(graph.inner) > MANY:
        return tied[0]

    def rank(name: str) -> tuple[int, int]:
        plan = follow(graph, orders[name])
        tall = [s for s in plan.steps if s.structure.is_dense and gt(*s.structure.matrix_shape)]
        return plan.peak.entries, sum(step.multiplications for step in tall)

    return min(tied, key=rank)


def candidates(
    graph: LinearGraph,
    model: CostModel,
    aim: Aim = DEFAULT,
    problem: Compact[Any] | None = None,
) -> Iterator[tuple[str, Order]]:
    """Yield the orders that auto compares, by the name of their planner, the plain ones first.

    The order of every planner in the table is among them; of equal orders, the first one is.
    `problem` is the graph as integers, if that is known.
    """
    if graph.chain is not None:
        yield "forward", forward(graph)
        yield "reverse", reverse(graph)
        yield "chain", chain(graph, model)
        return
    problem = problem or compact(graph, model)
    found: dict[tuple[Vertex, ...], str] = {}
    offers = list(rules(problem, aim.level))
    amounts = problem.costs_of([order for _, order in offers])
    for (name, made), amount in zip(offers, amounts, strict=True):
        order = tuple(made)
        if amount is not None and (found.setdefault(order, name) == name or name == "reverse"):
            yield name, order
    starts: list[Sequence[int]] = [list(order) for order in found]
    if len(graph.inner) <= aim.level.inner:
        best = cheapest(problem, min(starts, key=problem.cost_of))
        assert best is not None
        found.setdefault(tuple(best), "exhaustive")
        yield "exhaustive", tuple(best)
    # From the same beginnings as the planners of the table, so as to find their orders.
    for stage, improvement in _improved(graph, problem, starts, model, aim):
        if found.setdefault(improvement, stage) == stage:
            yield stage, improvement
    is_tried = is_worthwhile(problem, starts, aim.level, BY_TURNS)
    if aim.effort != "fast" and not problem.is_heavy and is_tried and repeats_in(graph):
        turns = repeats(graph, model, aim, problem.cheapest_of(starts))
        if found.setdefault(turns, "repeats") == "repeats":
            yield "repeats", turns
            if problem.cost_of(turns) < min(map(problem.cost_of, [*found][:-1])):
                for stage, improvement in _improved(graph, problem, [turns], model, aim):
                    if found.setdefault(improvement, stage) == stage:
                        yield f"repeats, {stage}", improvement
    if aim.effort != "fast" and is_searched(graph, problem):
        mixed = with_edges(graph, problem, problem.cheapest_of(starts))
        if mixed is not None:
            yield "edges", mixed
    few = len(graph.inner) <= MANY and not problem.is_heavy
    pivots = list(around(graph)) if few else []
    if pivots:
        yield "one pivot", _least(graph, problem, pivots, model)


def _improved(
    graph: LinearGraph,
    problem: Compact[Any],
    starts: Sequence[Sequence[int]],
    model: CostModel,
    aim: Aim,
) -> Iterator[tuple[str, tuple[Vertex, ...]]]:
    """Yield the orders that the stages of the search find, by the name of the stage."""
    for stage, order, is_proved in improved(problem, starts, aim):
        # Components share the edges between their ends: sums there must cost nothing.
        is_best = (
            is_proved and not problem.is_averse and model in (multiplications, all_multiplications)
        )
        is_long = len(graph.inner) > aim.level.inner
        yield "exhaustive" if is_best and is_long else stage, tuple(order)


def _least(
    graph: LinearGraph, problem: Compact[Any], orders: Sequence[Order], model: CostModel
) -> Order:
    """Return the cheapest order, of equals the one with the fewest additions."""
    amounts = [problem.cost_of(order) for order in orders]
    tied = [o for o, amount in zip(orders, amounts, strict=True) if amount == min(amounts)]
    if len(tied) == 1 or model.overall is not None:
        return tied[0]
    return min(tied, key=lambda order: cost_of_order(graph, order, model))


def hybrids(graph: LinearGraph, orders: dict[str, Order], model: CostModel) -> Iterator[Order]:
    """Yield orders that may turn out neither forward nor reverse."""
    yield from orders.values()
    if graph.chain is not None:
        yield from hybrid_orders(graph, model)
    elif len(graph.inner) <= MANY:
        yield from around(graph)


def _finish(
    graph: LinearGraph,
    order: Order,
    requested: str,
    planner: str,
    itemsize: int,
    model: CostModel,
    costs: dict[str, Cost],
) -> Plan:
    """Follow the order, and set the classical modes beside it for comparison.

    Beside an order that was asked for stands a good one, too.
    """
    known = dict(costs)
    beside = CLASSICAL if costs else (*CLASSICAL, *_reference(graph, model))
    for name in () if is_heavy(graph) else beside:
        if name not in known:
            known[name] = cost_of_order(graph, planned(graph, name, model, DEFAULT), model)
    plan = follow(graph, order, requested=requested, itemsize=itemsize, model=model)
    offers = tuple(
        Alternative(name, offer.multiplications, offer.additions, offer.amount)
        for name, offer in sorted(known.items(), key=lambda item: item[1])
    )
    # A cost of whole plans is only stood in for while planners search.
    proof = "" if model.overall else _proof(plan, planner, known, model)
    if sum(structure.weight for structure in plan.structures) > HEAVY:
        forget()
    return replace(plan, alternatives=offers, planner=planner, optimality=proof)


def _reference(graph: LinearGraph, model: CostModel) -> tuple[str, ...]:
    """Return the planner that a mode is held against; none if that would take long."""
    if len(graph.inner) > MANY or model.overall is not None:
        return ()
    if graph.chain is not None:
        return ("chain",)
    return ("greedy",)


def _proof(plan: Plan, planner: str, known: dict[str, Cost], model: CostModel) -> str:
    """Return what is proved of a plan's cost: it equals that of a planner that is exact.

    Positions may make the structure of a product or a sum depend on the order, and so may pieces
    that are kept side by side; then nothing is.
    """
    if may_keep_separate_terms(plan.graph):
        return ""
    proofs = (("edges", singles.PROOF), ("chain", chains.PROOF), ("exhaustive", sets.PROOF))
    for name, proof in proofs:
        is_best = name in known and known[name].amount == plan.cost
        if planner == name or is_best:
            is_exact = name != "chain" or chains.is_exact(plan.graph, model)
            return proof if is_exact else ""
    return ""
