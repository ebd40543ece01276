"""Plans by mode; `auto` costs every candidate and keeps the cheapest.

Hence `auto` is never costlier than any fixed mode, and can say so in print.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from operator import gt
from typing import TypeAlias

from chainad.errors import PlanError, unknown
from chainad.ir.cache import Cache
from chainad.ir.collector import paused_collector
from chainad.planning.alternatives import Alternative, Alternatives, QuickerOrder
from chainad.planning.candidates import (
    CLASSICAL,
    MAX_PIVOT_VERTICES,
    candidates,
    compared_costs,
    contenders,
    costs_of,
    hybrids,
    name_of_best,
)
from chainad.planning.cost_models import CostModel, CostName, model_of, multiplications
from chainad.planning.linear_graph import Cost, LinearGraph, may_keep_separate_terms
from chainad.planning.orders import Item
from chainad.planning.plan import Plan, cost_of_steps, follow
from chainad.planning.planners import PLANNERS
from chainad.planning.registry import CHOICES, ModeName, Order, PlannerName, Problem, modes
from chainad.planning.search.budget import DEFAULT_SEARCH, SearchOptions, interrupted
from chainad.planning.search.make_state_space import has_large_index_sets
from chainad.structure import forget

Mode: TypeAlias = (
    ModeName | PlannerName | Callable[[LinearGraph], Sequence[Item]] | Plan | Sequence[Item]
)

# Another order is clearly quicker if the plan takes so many times longer, and so much.
CLEAR_TIME_RATIO = 1.3
CLEAR_PICOSECONDS = 10_000_000

# The caches of the algebra are emptied after plans with larger index sets: 8 MB of integers.
MAX_CACHED_POSITIONS = 1_000_000


def make_plan(
    graph: LinearGraph,
    mode: Mode = "auto",
    itemsize: int = 8,
    model: CostModel = multiplications,
    search: SearchOptions = DEFAULT_SEARCH,
) -> Plan:
    """Plan the accumulation of the Jacobian of a linear graph.

    Parameters
    ----------
    graph : LinearGraph
    mode : str, function, Plan or sequence of int
        One of `registry.modes()`, a function from graphs to orders, a plan for an equal graph, or
        an order.
    itemsize : int
        Bytes per element.
    model : CostModel
        What is to be made small.
    search : SearchOptions
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
    problem = Problem(graph, model, search.within(len(graph.inner)))
    orders = orders_of(problem, mode)
    requested = request_of(mode, search)
    if not (isinstance(mode, str) and mode in CHOICES):
        ((planner, order),) = orders.items()
        return finish(problem, order, requested, planner, itemsize, {})
    near = contenders(problem, orders)
    costs = costs_of(problem, near) if len(near) > 1 else {}
    is_small = len(graph.inner) <= MAX_PIVOT_VERTICES
    others = {k: order for k, order in orders.items() if is_small or k in CLASSICAL or k in near}
    mixed = hybrid_order(problem, orders) if mode == "hybrid" else None
    if mixed is not None:
        return finish(problem, mixed, requested, "hybrid", itemsize, costs, others)
    best = _cheapest(graph, near, costs) if costs else next(iter(near))
    return finish(problem, orders[best], requested, best, itemsize, costs, others)


def orders_of(problem: Problem, mode: Mode) -> dict[str, Order]:
    """Return the orders that a mode chooses from, by planner: one, unless it is in `CHOICES`.

    Raises
    ------
    PlanError
        If the mode is unknown, or does not fit the graph.
    """
    graph = problem.graph
    check_mode(mode)
    if isinstance(mode, Plan):
        check_fits(mode.graph, graph)
        return {mode.planner or "plan": mode.order}
    if isinstance(mode, str):
        if mode in PLANNERS:
            return {mode: PLANNERS[mode].order(problem)}
        return _candidates(problem)
    if callable(mode):
        return {_name(mode): graph.check_order(tuple(mode(graph)))}
    return {"order": graph.check_order(mode)}


def _candidates(problem: Problem) -> dict[str, Order]:
    """Return all candidates, or those until the user interrupts a search that may be long."""
    found: dict[str, Order] = {}
    try:
        for name, order in candidates(problem):
            found[name] = order
    except KeyboardInterrupt:
        if not (found and problem.search.takes_interrupts):
            raise
        costs = costs_of(problem, found)
        interrupted(min(cost.amount for cost in costs.values()))
    for model in problem.model.others:
        other = replace(problem, model=model)
        orders = contenders(other, _candidates(other))
        best = _cheapest(problem.graph, orders, costs_of(other, orders))
        found[name_of_best(model)] = orders[best]
    return found


def request_of(mode: Mode, search: SearchOptions) -> str:
    """Return what a plan says was requested."""
    if isinstance(mode, Plan):
        return mode.requested
    if isinstance(mode, str):
        return f"mode={mode!r}" + (
            ""
            if replace(search, expected_calls=inf) == DEFAULT_SEARCH
            else f", effort={search.effort!r}"
        )
    return f"planner {_name(mode)}" if callable(mode) else "a given order"


def _name(planner: Callable[..., object]) -> str:
    return getattr(planner, "__name__", type(planner).__name__)


def hybrid_order(problem: Problem, orders: dict[str, Order]) -> Order | None:
    """Return the cheapest order that turns out neither forward nor reverse, if there is any."""
    for offers in (orders.values(), hybrids(problem)):
        plans = (follow(problem.graph, x, model=problem.model) for x in dict.fromkeys(offers))
        mixed = [plan for plan in plans if plan.mode == "hybrid"]
        if mixed:
            return min(mixed, key=lambda plan: (plan.cost, plan.additions)).order
    return None


def check_mode(mode: Mode | str) -> Mode:
    """Return a mode as it is; raise PlanError if it can fit no graph."""
    if isinstance(mode, str):
        if mode not in modes():
            raise PlanError(unknown("mode", mode, sorted(modes())))
        return PlannerName(mode)
    if not (isinstance(mode, (Plan, Sequence)) or callable(mode)):
        raise PlanError(
            "mode must be a name, a Plan, an elimination order or a planner,"
            f" but got {type(mode).__name__}"
        )
    return mode


_plans: Cache[Plan] = Cache(256, "plans")


def plan_cached(
    graph: LinearGraph,
    mode: Mode,
    itemsize: int = 8,
    cost: CostName | CostModel = multiplications,
    search: SearchOptions = DEFAULT_SEARCH,
) -> Plan:
    """Return `make_plan` of these, from the cache if an equal graph was planned."""
    key, model = mode_key(mode), model_of(cost, itemsize)

    def make() -> Plan:
        with paused_collector():
            return make_plan(graph, mode, itemsize, model, search)

    if key is None:
        return make()
    made = _plans.get((graph, key, itemsize, model, search.key), make)
    return made.with_origins(graph)


def mode_key(mode: Mode) -> Hashable:
    """Return what a mode is cached under; None for a function, which may answer differently."""
    if isinstance(mode, Plan):
        return mode
    if isinstance(mode, str):  # with the planners that answer: these may be registered anew
        return mode, *PLANNERS.values()
    return None if callable(mode) else tuple(mode)


def _cheapest(graph: LinearGraph, orders: dict[str, Order], costs: dict[str, Cost]) -> str:
    """Return the name of the cheapest order; of equals, that of the fewest steps that compute.

    If these are equal, too, that of the least peak is taken; then few rows times a large matrix are
    preferred to a large one times few columns, which takes BLAS 5 to 10% longer; then the first.
    """
    least = min(costs.values())
    tied = [name for name in costs if costs[name] == least]
    if len(tied) == 1 or len(graph.inner) > MAX_PIVOT_VERTICES:
        return tied[0]

    def rank(name: str) -> tuple[int, int, int]:
        plan = follow(graph, orders[name])
        calls = sum(bool(step.multiplications or step.additions) for step in plan.steps)
        tall = [s for s in plan.steps if s.structure.is_dense and gt(*s.structure.matrix_shape)]
        return calls, plan.peak.entries, sum(step.multiplications for step in tall)

    return min(tied, key=rank)


def finish(
    problem: Problem,
    order: Order,
    requested: str,
    planner: str,
    itemsize: int,
    costs: dict[str, Cost],
    others: dict[str, Order] | None = None,
) -> Plan:
    """Follow the order, and add what it is compared with as alternatives.

    These are the classical modes, and, of a plan that was chosen, `others`; if it was requested, a
    good one. What is not in `costs` is costed when somebody looks, unless something may be proved
    by it.
    """
    graph, model = problem.graph, problem.model
    plan = follow(graph, order, requested=requested, itemsize=itemsize, model=model)
    known = dict(costs)
    if others and planner in others:
        known.setdefault(planner, Cost(plan.cost, plan.additions, plan.multiplications))
    compared = CLASSICAL if costs or others else (*CLASSICAL, *_reference(problem))
    missing = [name for name in dict.fromkeys((*compared, *(others or ()))) if name not in known]
    proving = [name for name in missing if name in PLANNERS and PLANNERS[name].proof]
    if proving and not others:
        known |= compared_costs(problem, order, proving)
    # Searches minimize a stand-in for a cost of whole plans, so nothing is proved of that.
    proof = "" if model.overall else _proof(problem, plan.cost, planner, known)
    if sum(structure.weight for structure in plan.structures) > MAX_CACHED_POSITIONS:
        forget()
    given = {name: others[name] for name in missing if others and name in others}
    asked = [name for name in missing if name not in given and name not in known]
    # Without the states, which may be large, and without what is told of this search alone.
    later = replace(problem, search=problem.search.key)
    alternatives = partial(_alternatives, later, order, known, given, asked)
    offers = Alternatives(alternatives)
    if others and model is multiplications:
        offers = Alternatives(alternatives, partial(_quicker, later, order, others, itemsize))
    return replace(plan, alternatives=offers, planner=planner, optimality=proof)


def _quicker(
    problem: Problem, order: Order, others: dict[str, Order], itemsize: int
) -> QuickerOrder | None:
    """Return by how much another order is quicker by the model of time, if that is clear.

    Small graphs are searched for it; of large ones the candidates are compared.
    """
    graph, model = problem.graph, model_of("time", itemsize)
    if has_large_index_sets(graph):
        return None
    own = follow(graph, order, model=model).cost
    if len(graph.inner) <= MAX_PIVOT_VERTICES:
        least = plan_cached(graph, "auto", itemsize, model, problem.search).cost
    else:
        timed = replace(problem, model=model)
        least = min(cost.amount for cost in costs_of(timed, contenders(timed, others)).values())
    is_clear = own >= CLEAR_TIME_RATIO * least and own - least >= CLEAR_PICOSECONDS
    return QuickerOrder(own, least) if is_clear else None


def _alternatives(
    problem: Problem,
    order: Order,
    known: dict[str, Cost],
    given: dict[str, Order],
    asked: Sequence[str],
) -> list[Alternative]:
    """Return what other orders cost, the cheapest first: those given, and of the planners asked."""
    costs = known | (costs_of(problem, given) if given else {})
    costs |= compared_costs(problem, order, asked) if asked else {}
    return [
        Alternative(name, offer.multiplications, offer.additions, offer.amount)
        for name, offer in sorted(costs.items(), key=lambda item: item[1])
    ]


def _reference(problem: Problem) -> tuple[str, ...]:
    """Return the planner that a mode is compared with; none if that would take long."""
    if len(problem.graph.inner) > MAX_PIVOT_VERTICES or problem.model.overall is not None:
        return ()
    return ("greedy",) if problem.graph.chain is None else ("chain",)


def _proof(problem: Problem, cost: int, planner: str, known: dict[str, Cost]) -> str:
    """Return what is proved of a plan's cost: it equals that of a planner that is exact.

    Positions may make the structure of a product or a sum depend on the order, and so may pieces
    that are kept as separate terms; then nothing is. Planners count no savings by symmetry.
    """
    if may_keep_separate_terms(problem.graph) or problem.graph.may_save_by_symmetry:
        return ""
    exact = [
        candidate.proof(problem)
        for name, candidate in PLANNERS.items()
        if candidate.proof and (name == planner or (name in known and known[name].amount == cost))
    ]
    proofs = [proof for proof in exact if proof is not None]
    return max(proofs).text if proofs else ""


def check_fits(planned: LinearGraph, graph: LinearGraph) -> None:
    """Raise PlanError with the first difference if the graph of a plan is another one."""
    if replace(planned, is_symmetric=graph.is_symmetric) != graph:
        raise PlanError(
            f"the plan was made for another function: {_difference(planned, graph)};"
            " make one for this function with chainad.plan(f, x)"
        )
    if planned.is_symmetric and not graph.is_symmetric:
        raise PlanError(
            "the plan was made for a Hessian, whose entries it computes once, but this Jacobian may"
            " not be symmetric; make a plan for this function with chainad.plan(f, x)"
        )


def _difference(one: LinearGraph, two: LinearGraph) -> str:
    """Return where two graphs first differ: arguments, then edges in order, then how many."""
    for ends in ("inputs", "outputs"):
        shapes = [[graph.shapes[v] for v in getattr(graph, ends)] for graph in (one, two)]
        if shapes[0] != shapes[1]:
            return f"its {ends} have the shapes {_list(shapes[0])}, here {_list(shapes[1])}"
    for k, (a, b) in enumerate(zip(one.edges, two.edges, strict=False)):
        if a != b:
            return f"its local Jacobian J{k + 1} is {_edge(one, k)}, here it is {_edge(two, k)}"
    counts = [
        f"{len(g.inner)} inner vertices and {len(g.edges)} local Jacobians" for g in (one, two)
    ]
    if counts[0] != counts[1]:
        longer, k = max((one, two), key=lambda g: len(g.edges)), min(len(one.edges), len(two.edges))
        first = (
            f"; the first one more is J{k + 1}, {_edge(longer, k)}" if k < len(longer.edges) else ""
        )
        return f"it has {counts[0]}, this function {counts[1]}{first}"
    return "its vertices are numbered in another way"


def _list(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join(map(str, shapes)) or "none"


def _edge(graph: LinearGraph, k: int) -> str:
    """Return what an edge is: its sizes, structure, ends, operation and the user's line."""
    edge = graph.edges[k]
    rows, cols = edge.structure.matrix_shape
    text = f"{rows}x{cols} {edge.structure} from {graph.name(edge.tail)} to {graph.name(edge.head)}"
    if not graph.origins:
        return text
    origin = graph.origins[k]
    return f"{text} ({origin.name}" + (f", {origin.site})" if origin.site else ")")
