"""The classical modes, and greedy rules: again and again the vertex of least score.

- markowitz: its cost. On vectors this removes narrow bottlenecks first.
- greedy: its cost, and by how much its elimination raises the costs of its neighbours.
- relative: its cost less the least it can cost in any order: what the order has added.
- fill: the edges that its elimination adds, then its cost.

Sources: Markowitz 1957; Griewank & Reese 1991; Naumann 2004 (relative degree); Albrecht,
Gottschling & Naumann 2003, *Markowitz-type heuristics for computing Jacobian matrices efficiently*
(lowest Markowitz, and minimal damage, which is `greedy`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from math import inf
from typing import Any

from chainad.planning.linear_graph import LinearGraph
from chainad.planning.orders import Vertex
from chainad.planning.registry import Problem, register
from chainad.planning.search.state_space import State, StateSpace, bits

Score = Callable[[StateSpace[Any], State[Any], int], Any]


@register("forward", "topological order: tangents are pushed from the inputs to the outputs")
def forward(problem: Problem) -> tuple[Vertex, ...]:
    """Eliminate in topological order."""
    return problem.graph.inner


@register("reverse", "the opposite order: adjoints are pulled from the outputs to the inputs")
def reverse(problem: Problem) -> tuple[Vertex, ...]:
    """Eliminate in reverse topological order."""
    return problem.graph.inner[::-1]


def around(graph: LinearGraph) -> Iterator[tuple[Vertex, ...]]:
    """Yield the hybrids that start at one vertex: back to the inputs, on to the outputs, join.

    Griewank & Walther, ch. 9, call this cross-country elimination with one pivot kept for last.
    """
    for k, middle in enumerate(graph.inner):
        yield (*graph.inner[:k][::-1], *graph.inner[k + 1 :], middle)


@register("markowitz", "next the vertex of least cost")
def markowitz(problem: Problem) -> tuple[Vertex, ...]:
    """Eliminate the vertex of least cost, the first of equals."""
    return tuple(order_by(problem.states, "markowitz"))


@register("greedy", "next the vertex of least cost, plus what it adds to the costs of others")
def greedy(problem: Problem) -> tuple[Vertex, ...]:
    """Eliminate the vertex of least cost plus increase of its neighbours', the first of equals."""
    return tuple(order_by(problem.states, "greedy"))


@register("relative", "next the vertex that exceeds its least cost in any order by least")
def relative(problem: Problem) -> tuple[Vertex, ...]:
    """Eliminate the vertex of least cost in excess of what it costs at least, first of equals."""
    return tuple(order_by(problem.states, "relative"))


@register("fill", "next the vertex that adds the fewest edges")
def fill(problem: Problem) -> tuple[Vertex, ...]:
    """Eliminate the vertex that adds the fewest edges, of equals the one of least cost."""
    return tuple(order_by(problem.states, "fill"))


def order_by(graph: StateSpace[Any], rule: str) -> list[int]:
    """Return the order of a rule; with large index sets, that of the relaxation."""
    return greedy_order(graph.relaxation() if graph.has_large_index_sets else graph, rule)


def order_within(graph: StateSpace[Any], rule: str, max_pairs: float) -> list[int] | None:
    """Return the order of a rule; None if scores take more than `max_pairs` pairs of edges.

    Around vertices of high degree scores take long, and the order of a rule is rarely good.
    """
    return _order(graph.relaxation() if graph.has_large_index_sets else graph, rule, max_pairs)


def greedy_order(graph: StateSpace[Any], rule: str) -> list[int]:
    """Return the order of a rule; of vertices with equal scores the first."""
    order = _order(graph, rule, inf)
    assert order is not None
    return order


def _order(graph: StateSpace[Any], rule: str, max_pairs: float) -> list[int] | None:
    """Eliminate what is settled, then by the rule; the graph is told what that costs."""
    settled = graph.settled
    rest, cost = settled.rest, settled.cost
    end = rest.pairs + max_pairs
    score, reach = (_relative_score(rest), 1) if rule == "relative" else RULES[rule]
    # Where scores take long, what is known of them stands for them until it is the least.
    bound = _known_cost_and_increase if rule == "greedy" else lambda *at: (score(*at), True)
    state = rest.copy()
    scores = {v: bound(rest, state, v) for v in rest.inner}
    heap = [(s, v, is_exact) for v, (s, is_exact) in scores.items()]
    heapify(heap)
    order = []
    while heap:
        s, v, is_exact = heappop(heap)
        if scores.get(v) != (s, is_exact):  # a newer score is further back
            continue
        if not is_exact:
            s = score(rest, state, v)
            scores[v] = s, True
            heappush(heap, (s, v, True))
            continue
        near = rest.near(state, v, reach)
        cost += rest.eliminate(state, v)
        del scores[v]
        order.append(v)
        if rest.pairs > end:
            return None
        for u in near:
            if u in scores:
                changed = bound(rest, state, u)
                if changed != scores[u]:
                    scores[u] = changed
                    heappush(heap, (changed[0], u, changed[1]))
    found = settled.complete(order)
    graph.known[tuple(found)] = cost
    return found


def _cost(graph: StateSpace[Any], state: State[Any], v: int) -> int:
    return graph.cost(state, v)


def _cost_and_increase(graph: StateSpace[Any], state: State[Any], v: int) -> int:
    return graph.cost(state, v) + graph.neighbour_cost_increase(state, v)


def _known_cost_and_increase(graph: StateSpace[Any], state: State[Any], v: int) -> tuple[int, bool]:
    increase, is_exact = graph.known_neighbour_cost_increase(state, v)
    return graph.cost(state, v) + increase, is_exact


def _fill(graph: StateSpace[Any], state: State[Any], v: int) -> tuple[bool, int, int]:
    cost = graph.cost(state, v)
    return graph.is_oversized(state, v), graph.fill(state, v), cost


def _relative_score(graph: StateSpace[Any]) -> Score:
    """Return the score of `relative`: the cost, less that of v between all it depends on.

    These are the inputs that v depends on, and the outputs that depend on v.
    """
    reach = [_reach(graph, side) for side in (1, 0)]
    least = [
        width * before * after for width, before, after in zip(graph.widths, *reach, strict=True)
    ]

    def score(graph: StateSpace[Any], state: State[Any], v: int) -> int:
        return int(graph.cost(state, v) - least[v])

    return score


def _reach(graph: StateSpace[Any], side: int) -> list[int]:
    """Return the width of all inputs (side 1) or outputs (side 0) connected with each vertex."""
    seen = [0] * len(graph.widths)
    order = graph.inner if side else graph.inner[::-1]
    ends = [v for v in range(len(graph.widths)) if not graph.neighbours(graph.start, v)[1 - side]]
    for k, v in enumerate(ends):
        seen[v] = 1 << k
    for v in order:
        for u in graph.neighbours(graph.start, v)[1 - side]:
            seen[v] |= seen[u]
    weights = {0: 0}
    for mask in {*seen} - {0}:
        weights[mask] = sum(graph.widths[ends[k]] for k in bits(mask))
    return [weights[mask] for mask in seen]


# Every rule, and within how many edges of its vertex a score reads.
RULES: dict[str, tuple[Score, int]] = {
    "markowitz": (_cost, 1),
    "greedy": (_cost_and_increase, 2),
    "fill": (_fill, 2),
}
