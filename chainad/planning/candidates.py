"""The orders that `auto` compares, and what they cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from math import inf

from chainad.planning.chain.chain import cost_of_order, hybrid_orders
from chainad.planning.cost_models import CostModel, all_multiplications, multiplications
from chainad.planning.linear_graph import Cost, Elimination, LinearGraph
from chainad.planning.orders import Vertex, only_vertices
from chainad.planning.plan import full_cost
from chainad.planning.registry import PLANNERS, ModeName, Order, Problem
from chainad.planning.repeats import repeats_in
from chainad.planning.search.dense_states import DenseStates
from chainad.planning.search.edges import is_searched, with_edges
from chainad.planning.search.greedy import around
from chainad.planning.search.long_loops import by_sweeps, loops_to_sweep
from chainad.planning.search.make_state_space import has_large_index_sets, structured_states
from chainad.planning.search.repeated_blocks import by_iterations
from chainad.planning.search.stages import improved, proved, rules
from chainad.planning.search.state_space import LIMIT_GROWTH, MAX_FULLY_COSTED_VERTICES
from chainad.planning.search.structured_states import StructuredStates

# With more inner vertices, costing a pivot at every one of them takes longer than it saves.
MAX_PIVOT_VERTICES = 40

# What planning one iteration of a loop and what is left between all of them takes, per vertex.
ITERATION_ELIMINATIONS_PER_VERTEX = 4

# Costs that are not exact are at most this many times too high, as far as was seen.
INEXACT_COST_RATIO = 1.05

CLASSICAL: tuple[ModeName, ...] = ("forward", "reverse")


def candidates(problem: Problem) -> Iterator[tuple[str, Order]]:
    """Yield the orders that auto compares, by the name of their planner, the plain ones first.

    The orders of all planners that come with chainad are among them, where they do not take too
    long, and those of others that are candidates by their own account.
    """
    if problem.graph.chain is not None:
        yield from ((name, PLANNERS[name].order(problem)) for name in (*CLASSICAL, "chain"))
    else:
        yield from _searched(problem)
    for known in [*PLANNERS.values()]:
        if known.is_candidate is not None and known.is_candidate(problem):
            yield known.name, known.order(problem)


def _searched(problem: Problem) -> Iterator[tuple[str, Order]]:
    """Yield the orders of the rules and of the searches that start from these.

    Of equal orders, the first one is yielded.
    """
    graph, states, level = problem.graph, problem.states, problem.search.level
    if problem.search.effort in ("fast", "balanced") and (loops := loops_to_sweep(problem)):
        orders = graph.inner, graph.inner[::-1], by_sweeps(problem, loops)
        amounts = states.costs_of(orders)
        named = zip((*CLASSICAL, "repeats"), orders, amounts, strict=True)
        yield from ((name, order) for name, order, amount in named if amount is not None)
        return
    found: dict[tuple[Vertex, ...], str] = {}
    offers = list(rules(states, problem.search))
    amounts = states.costs_of([order for _, order in offers])
    for (name, made), amount in zip(offers, amounts, strict=True):
        order = tuple(made)
        if amount is not None and (found.setdefault(order, name) == name or name == "reverse"):
            yield name, order
    starts: list[Sequence[int]] = [list(order) for order in found]
    worth = problem.search.allowance(states.picoseconds_of(states.least_of(starts)))
    if len(states.settled.rest.inner) <= level.max_exhaustive_vertices:
        best = proved(states, min(starts, key=states.cost_of), problem.search)
        found.setdefault(tuple(best), "exhaustive")
        yield "exhaustive", tuple(best)
    # From the same beginnings as the registered planners, so as to find their orders.
    for stage, improvement in _improved(problem, starts):
        if found.setdefault(improvement, stage) == stage:
            yield stage, improvement
    is_fast = problem.search.effort == "fast"
    is_tried = worth >= ITERATION_ELIMINATIONS_PER_VERTEX * len(graph.inner)
    if not is_fast and not states.has_large_index_sets and is_tried and repeats_in(graph):
        repeated = by_iterations(problem, states.cheapest_of(starts))
        if found.setdefault(repeated, "repeats") == "repeats":
            yield "repeats", repeated
            if states.cost_of(repeated) < states.least_of([*found][:-1]):
                for stage, improvement in _improved(problem, [repeated]):
                    if found.setdefault(improvement, stage) == stage:
                        yield f"repeats, {stage}", improvement
    if not is_fast and is_searched(graph, states):
        mixed = with_edges(graph, states, states.cheapest_of(starts))
        if mixed is not None:
            yield "edges", mixed
    is_small = len(graph.inner) <= MAX_PIVOT_VERTICES and not states.has_large_index_sets
    pivots = list(around(graph)) if is_small and worth >= len(graph.inner) ** 2 else []
    if pivots:
        yield "one pivot", _least(problem, pivots)


def _improved(
    problem: Problem, starts: Sequence[Sequence[int]]
) -> Iterator[tuple[str, tuple[Vertex, ...]]]:
    """Yield the orders that the stages of the search find, by the name of the stage."""
    for stage, order, is_proved in improved(problem.states, starts, problem.search):
        # Components share the edges between their ends: sums there must cost nothing.
        is_best = (
            is_proved
            and not problem.states.penalizes_memory
            and problem.model in (multiplications, all_multiplications)
        )
        is_long = len(problem.graph.inner) > problem.search.level.max_exhaustive_vertices
        yield "exhaustive" if is_best and is_long else stage, tuple(order)


def _least(problem: Problem, orders: Sequence[Order]) -> Order:
    """Return the cheapest order, of equals the one with the fewest additions."""
    amounts = [problem.states.cost_of(order) for order in orders]
    tied = [o for o, amount in zip(orders, amounts, strict=True) if amount == min(amounts)]
    if len(tied) == 1 or problem.model.overall is not None:
        return tied[0]
    return min(tied, key=lambda order: cost_of_order(problem.graph, order, problem.model))


def hybrids(problem: Problem) -> Iterator[Order]:
    """Yield orders that may turn out neither forward nor reverse, beside the candidates."""
    if problem.graph.chain is not None:
        yield from hybrid_orders(problem.graph, problem.model)
    elif len(problem.graph.inner) <= MAX_PIVOT_VERTICES:
        yield from around(problem.graph)


def contenders(problem: Problem, orders: dict[str, Order]) -> dict[str, Order]:
    """Return the orders that may turn out the cheapest, as far as states know."""
    graph, model = problem.graph, problem.model
    if model.overall is not None:
        return _near_by_steps(problem, orders)
    if len(orders) == 1 or graph.chain is not None:
        return orders
    states = problem.states
    is_known = len(graph.inner) > MAX_PIVOT_VERTICES or not _is_beyond_states(graph)
    if states.penalizes_memory or not is_known:
        return orders
    amounts = {name: states.cost_of(order) for name, order in orders.items()}
    limit = min(amounts.values()) * (1 if states.is_exact else INEXACT_COST_RATIO)
    return {name: order for name, order in orders.items() if amounts[name] <= limit}


def _near_by_steps(problem: Problem, orders: dict[str, Order]) -> dict[str, Order]:
    """Return the orders that are to be compared as a whole: by steps, they cost little more.

    Forward, reverse and those that are the cheapest by another model are among them in any case.
    """
    model = problem.model
    if model.overall_ratio == inf:
        return orders
    by_steps = replace(model, overall=None, others=())
    distinct = dict.fromkeys(orders.values())
    amounts = {x: cost_of_order(problem.graph, x, by_steps).amount for x in distinct}
    limit = model.overall_ratio * min(amounts.values())
    always = {*CLASSICAL, *map(name_of_best, model.others)}
    return {k: order for k, order in orders.items() if k in always or amounts[order] <= limit}


def _is_beyond_states(graph: LinearGraph) -> bool:
    """Return whether states do not know enough: of what symmetry saves, and of operators."""
    return graph.may_save_by_symmetry or any(e.structure.action is not None for e in graph.edges)


def name_of_best(model: CostModel) -> str:
    """Return what a candidate is called that is the cheapest by another model."""
    return f"fewest {model.name}"


def costs_of(problem: Problem, orders: dict[str, Order]) -> dict[str, Cost]:
    """Return the costs of orders, in full."""
    graph, model = problem.graph, problem.model
    if model.overall is not None:
        distinct = dict.fromkeys(orders.values())
        known = {order: full_cost(graph, order, model) for order in distinct}
        return {name: known[order] for name, order in orders.items()}
    if graph.chain is None:
        states = problem.states
        if not _is_beyond_states(graph):
            if isinstance(states, DenseStates):
                return {name: _dense_cost(graph, states, each) for name, each in orders.items()}
            if not isinstance(states, StructuredStates):
                states = structured_states(graph, model)
            return full_costs(graph, states, orders, model)
    return {name: cost_of_order(graph, order, model) for name, order in orders.items()}


def compared_costs(problem: Problem, order: Order, names: Iterable[str]) -> dict[str, Cost]:
    """Return what the orders of some planners cost, to be compared with that of a plan.

    On large graphs, and where products take long, those are left out that cost many times as much.
    """
    graph, states = problem.graph, problem.states
    if has_large_index_sets(graph):
        return {}
    orders = {name: PLANNERS[name].order(problem) for name in names}
    if orders and graph.chain is None and len(graph.inner) > MAX_FULLY_COSTED_VERTICES:
        limit = LIMIT_GROWTH * max(states.cost_of(order), len(graph.inner))
        orders = {k: each for k, each in orders.items() if states.cost_of(each, limit) <= limit}
    return costs_of(problem, orders) if orders else {}


def full_costs(
    graph: LinearGraph, states: StructuredStates, orders: dict[str, Order], model: CostModel
) -> dict[str, Cost]:
    """Return the costs of orders of a graph without operators; products are looked up."""
    merged = [total for edge in Elimination(graph).accumulations for total in edge.sums]
    amount = sum(map(model.sum, merged))
    additions = sum(total.additions for total in merged)
    found = {}
    for name, order in orders.items():
        vertices = only_vertices(order)
        if vertices is None:
            found[name] = cost_of_order(graph, order, model)
        else:
            cost = states.full_cost(vertices)
            found[name] = replace(
                cost, amount=cost.amount + amount, additions=cost.additions + additions
            )
    return found


def _dense_cost(graph: LinearGraph, states: DenseStates, order: Order) -> Cost:
    """Return the cost of an order of dense Jacobians, from integers alone if it is of vertices."""
    vertices = only_vertices(order)
    if vertices is None:
        return cost_of_order(graph, order, multiplications)
    size = graph.size
    parallel = Counter((edge.tail, edge.head) for edge in graph.edges)
    merged = sum((n - 1) * size(u) * size(w) for (u, w), n in parallel.items() if n > 1)
    amount = states.cost_of(vertices)
    return Cost(amount, states.additions_of(vertices) + merged, amount)
