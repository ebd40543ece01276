"""Edge elimination: single edges in the order wherever that beats eliminating whole vertices.

Exact where small: the cheapest path through the graphs that eliminations of edges can leave, found
best first (Hart, Nilsson & Raphael 1968). The cost that remains is bounded by the least cuts, as
for vertices: take flows to v and from v on paths that are otherwise disjoint. Every pair of such
paths is shortened by eliminations until one of its products jumps over v, and no product serves
more pairs than the widths of its ends allow. So v takes d(v) times both cuts in any order of edges.
Source: Naumann 2004, *Optimal accumulation of Jacobian matrices by elimination methods on the dual
computational graph*.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count, groupby
from typing import Any

from chainad.errors import PlanError
from chainad.planning.elimination_graph import EdgePattern
from chainad.planning.linear_graph import LinearGraph
from chainad.planning.orders import EdgeElimination, Item
from chainad.planning.registry import Problem, Proof, register
from chainad.planning.search.dense_states import DenseStates
from chainad.planning.search.exhaustive import cheapest
from chainad.planning.search.state_space import State, StateSpace

PROOF = Proof(2, "optimal over all edge elimination orders")

# Searching all orders of edges takes .2 s with five inner vertices.
MAX_EDGE_ORDER_VERTICES = 4


@register(
    "edges",
    "optimal over all orders of single edges, for small graphs",
    proof=lambda problem: PROOF,
)
def edges(problem: Problem) -> tuple[Item, ...]:
    """Return a cheapest order, of vertices if single edges make none cheaper.

    Raises
    ------
    PlanError
        If a Jacobian is not dense, or there are more than 4 inner vertices.
    """
    graph, states = problem.graph, problem.states
    if not is_searched(graph, states):
        raise PlanError(
            "mode='edges' tries every order of edges and takes dense Jacobians and at most"
            f" {MAX_EDGE_ORDER_VERTICES} inner vertices, but this graph has {len(graph.inner)}; use"
            " mode='auto'"
        )
    best = cheapest(states, list(graph.inner))
    assert best is not None
    return with_edges(graph, states, best) or tuple(best)


def is_searched(graph: LinearGraph, states: StateSpace[Any]) -> bool:
    """Return whether a graph is small and dense enough to search all its orders of edges."""
    return len(graph.inner) <= MAX_EDGE_ORDER_VERTICES and isinstance(states, DenseStates)


def with_edges(
    graph: LinearGraph, states: StateSpace[Any], best: Sequence[int]
) -> tuple[Item, ...] | None:
    """Return the cheapest order of edges if it is below one of vertices."""
    found = cheapest_edges(states, states.cost_of(best))
    return None if found is None else complete(graph, found)


@dataclass(frozen=True, slots=True)
class _EdgePath:
    """The cheapest path to a state: its cost, what every vertex took, the last edge, the others."""

    cost: int
    paid: dict[int, int]
    last: EdgeElimination | None
    before: _EdgePath | None
    state: State[Any]


def cheapest_edges(graph: StateSpace[Any], limit: int) -> list[Item] | None:
    """Return the cheapest order of edges below a cost, if there is any."""
    least = graph.least_costs
    start, dead = _without_dead(graph)
    number = count()
    queue = [(sum(least.values()), next(number), _EdgePath(0, {}, None, None, start))]
    best: dict[Hashable, int] = {graph.key(start): 0}
    while queue:
        bound, _, path = heappop(queue)
        if bound >= limit:
            break
        if path.cost > best[graph.key(path.state)]:
            continue
        moves = list(_moves(graph, path.state))
        if not moves:
            return [*dead, *_in_vertices(graph, start, path)]
        for edge in moves:
            state = list(path.state[0]), list(path.state[1])
            of_edge = graph.eliminate_edge(state, edge)
            cost, v, key = path.cost + of_edge, edge.via, graph.key(state)
            so_far = path.paid.get(v, 0)
            more = max(least[v], so_far + of_edge) - max(least[v], so_far)
            if bound + more < limit and cost < best.get(key, limit):
                best[key] = cost
                paid = path.paid | {v: so_far + of_edge}
                heappush(
                    queue, (bound + more, next(number), _EdgePath(cost, paid, edge, path, state))
                )
    return None


def _without_dead(graph: StateSpace[Any]) -> tuple[State[Any], list[int]]:
    """Return the start without vertices that nothing leads through, and these, one by one."""
    state, dead = graph.copy(), list[int]()
    while found := [v for v in graph.inner if v not in dead and _is_dead(graph, state, v)]:
        for v in found:
            graph.eliminate(state, v)
        dead += found
    return state, dead


def _is_dead(graph: StateSpace[Any], state: State[Any], v: int) -> bool:
    tails, heads = graph.neighbours(state, v)
    return not tails or not heads


def _moves(graph: StateSpace[Any], state: State[Any]) -> Iterator[EdgeElimination]:
    """Yield every edge that can be eliminated, from both sides."""
    for v in graph.inner:
        tails, heads = graph.neighbours(state, v)
        for tail in tails:
            yield EdgeElimination(tail, v, "back")
        for head in heads:
            yield EdgeElimination(v, head, "front")


def _in_vertices(graph: StateSpace[Any], start: State[Any], path: _EdgePath) -> list[Item]:
    """Return the edges of a path; those that make up a vertex, one after the other, as that."""
    edges: list[EdgeElimination] = []
    at: _EdgePath | None = path
    while at is not None and at.last is not None:
        edges.append(at.last)
        at = at.before
    order: list[Item] = []
    state = list(start[0]), list(start[1])
    for (v, _), run in groupby(reversed(edges), lambda edge: (edge.via, edge.side)):
        items = list(run)
        for edge in items:
            graph.eliminate_edge(state, edge)
        order += [v] if _is_dead(graph, state, v) else items
    return order


def complete(graph: LinearGraph, order: Sequence[Item]) -> tuple[Item, ...]:
    """Return an order with those vertices at its end that it leaves out since products vanish.

    That costs nothing, and the order fits graphs of other structures between the same vertices.
    """
    pattern = EdgePattern(((e.tail, e.head) for e in graph.edges), graph.inner)
    for item in order:
        pattern.eliminate(item)
    return (*order, *pattern.remaining())
