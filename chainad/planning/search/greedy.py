"""Greedy orders: again and again the vertex of least score.

- markowitz: its cost. On vectors this eats narrow bottlenecks first.
- greedy: its cost plus the damage, by how much it raises the costs of the neighbours.
- relative: its cost less the least it can cost in any order: what the order has spoilt.
- fill: the edges that its elimination makes, then its cost.

Sources: Markowitz 1957; Griewank & Reese 1991; Naumann 2004 (relative degree); Albrecht,
Gottschling & Naumann 2003, *Markowitz-type heuristics for computing Jacobian matrices efficiently*
(lowest Markowitz and minimal damage).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from math import inf
from typing import Any

from chainad.planning.cost_models import CostModel, multiplications
from chainad.planning.linear_graph import LinearGraph, Vertex
from chainad.planning.search.make_state import Compact, State, bits, compact

Score = Callable[[Compact[Any], State[Any], int], Any]


def markowitz(graph: LinearGraph, model: CostModel = multiplications) -> tuple[Vertex, ...]:
    """Eliminate the vertex of least cost, the first of equals."""
    return _planned(graph, model, "markowitz")


def greedy(graph: LinearGraph, model: CostModel = multiplications) -> tuple[Vertex, ...]:
    """Eliminate the vertex of least cost plus damage, the first of equals."""
    return _planned(graph, model, "greedy")


def relative(graph: LinearGraph, model: CostModel = multiplications) -> tuple[Vertex, ...]:
    """Eliminate the vertex of least cost in excess of what it costs at least, first of equals."""
    return _planned(graph, model, "relative")


def fill(graph: LinearGraph, model: CostModel = multiplications) -> tuple[Vertex, ...]:
    """Eliminate the vertex that makes the fewest edges, of equals the one of least cost."""
    return _planned(graph, model, "fill")


def _planned(graph: LinearGraph, model: CostModel, rule: str) -> tuple[Vertex, ...]:
    return tuple(order_by(compact(graph, model), rule))


def order_by(graph: Compact[Any], rule: str) -> list[int]:
    """Return the order of a rule; where products take long, as if all Jacobians were dense."""
    return greedy_order(graph.rough() if graph.is_heavy else graph, rule)


def order_within(graph: Compact[Any], rule: str, most: float) -> list[int] | None:
    """Return the order of a rule; None if costs would take more than `most` pairs of edges.

    Around vertices with very many edges the scores of a rule are dear, and its order hardly good.
    """
    return _order(graph.rough() if graph.is_heavy else graph, rule, None, most)


def greedy_order(graph: Compact[Any], rule: str, ties: Sequence[float] | None = None) -> list[int]:
    """Return the order of a rule; of vertices with equal scores the one of least `ties`."""
    order = _order(graph, rule, ties, inf)
    assert order is not None
    return order


def _order(
    graph: Compact[Any], rule: str, ties: Sequence[float] | None, most: float
) -> list[int] | None:
    end = graph.pairs + most
    score, reach = (_relative_score(graph), 1) if rule == "relative" else RULES[rule]
    state = graph.copy()
    rank = ties or range(len(state[0]))
    scores = {v: score(graph, state, v) for v in graph.inner}
    heap = [(s, rank[v], v) for v, s in scores.items()]
    heapify(heap)
    order = []
    while heap:
        s, _, v = heappop(heap)
        if scores.get(v) != s:  # a newer score is further back
            continue
        near = _near(graph, state, v, reach)
        graph.eliminate(state, v)
        del scores[v]
        order.append(v)
        if graph.pairs > end:
            return None
        for u in near & scores.keys():
            found = score(graph, state, u)
            if found != scores[u]:
                scores[u] = found
                heappush(heap, (found, rank[u], u))
    return order


def _cost(graph: Compact[Any], state: State[Any], v: int) -> int:
    return graph.cost(state, v)


def _cost_and_damage(graph: Compact[Any], state: State[Any], v: int) -> int:
    return graph.cost(state, v) + graph.damage(state, v)


def _fill(graph: Compact[Any], state: State[Any], v: int) -> tuple[bool, int, int]:
    cost = graph.cost(state, v)
    return graph.is_oversized(state, v), graph.fill(state, v), cost


def _relative_score(graph: Compact[Any]) -> Score:
    """Return the score of `relative`: the cost, less that of v between all it depends on.

    These are the inputs that v depends on, and the outputs that depend on v.
    """
    reach = [_reach(graph, side) for side in (1, 0)]
    least = [
        width * before * after for width, before, after in zip(graph.widths, *reach, strict=True)
    ]

    def score(graph: Compact[Any], state: State[Any], v: int) -> int:
        return int(graph.cost(state, v) - least[v])

    return score


def _reach(graph: Compact[Any], side: int) -> list[int]:
    """Return the widths of the inputs (side 1) or outputs (side 0) that lie beyond each vertex."""
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
    "greedy": (_cost_and_damage, 2),
    "fill": (_fill, 2),
}


def _near(graph: Compact[Any], state: State[Any], v: int, reach: int) -> set[int]:
    """Return the vertices within `reach` edges of v.

    No path leads on through an input or an output: these are never eliminated, so what a score
    reads of them does not change with their other edges.
    """
    near, ring = {v}, [v]
    for _ in range(reach):
        found: set[int] = set()
        for u in ring:
            tails, heads = graph.neighbours(state, u)
            if tails and heads:
                found.update(tails, heads)
        ring = list(found - near)
        near |= found
    return near
