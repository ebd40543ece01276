"""Loops and layers: one turn of a block that repeats is planned, and every turn follows that order.

First the vertices that a turn keeps to itself are eliminated, in all turns alike; what is left is
the graph of the values that one turn hands to the next, and that is planned by rules. A turn begins
where the values handed on are the fewest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainad.planning.cost_models import CostModel, multiplications
from chainad.planning.linear_graph import LinearGraph, Vertex
from chainad.planning.repeats import MIN_REPEATS, RepeatedBlock, repeats_in
from chainad.planning.search.articulation import path_order
from chainad.planning.search.budget import DEFAULT, Aim
from chainad.planning.search.make_state import Compact, compact
from chainad.planning.search.stages import improved, rules

# The dynamic program over a path takes the cube of its length.
LONG_PATH = 100


def repeats(
    graph: LinearGraph,
    model: CostModel = multiplications,
    aim: Aim = DEFAULT,
    by_rules: Sequence[Vertex] | None = None,
) -> tuple[Vertex, ...]:
    """Eliminate every turn of a loop alike, then what is left between the turns.

    Where no turn keeps a vertex to itself, all of the graph is left; `by_rules` is the cheapest
    order of the rules on it, if that is known.
    """
    problem = compact(graph, model)
    if problem.is_heavy:
        return tuple(_by_rules(problem, aim))
    first: list[Vertex] = []
    for block in repeats_in(graph):
        cut = _cut(graph, block)
        here = cut.iteration(cut.repeats // 2)
        own = _own(graph, {graph.inner[k] for k in here})
        if own:
            place = {graph.inner[k]: k - here.start for k in here}
            part = problem.part(own)
            order = [place[part.origin[v]] for v in _best(part, aim)]
            turns = (cut.iteration(k) for k in range(cut.repeats))
            first += [graph.inner[turn[k]] for turn in turns for k in order]
    state = problem.copy()
    for v in first:
        problem.eliminate(state, v)
    gone = set(first)
    left = problem.part([v for v in graph.inner if v not in gone], state)
    path = path_order(left) if 0 < len(left.inner) <= LONG_PATH else None
    if not first and path is None and by_rules is not None:
        return tuple(by_rules)
    return (*first, *(left.origin[v] for v in path or _by_rules(left, aim)))


def _best(problem: Compact[Any], aim: Aim) -> Sequence[int]:
    """Return the cheapest order that rules and their improvement find."""
    best: Sequence[int] = _by_rules(problem, aim)
    for _, better, _ in improved(problem, [best], aim):
        best = better
    return best


def _by_rules(problem: Compact[Any], aim: Aim) -> Sequence[int]:
    orders = [order for _, order in rules(problem, aim.level)]
    return problem.cheapest_of(orders)


def _cut(graph: LinearGraph, block: RepeatedBlock) -> RepeatedBlock:
    """Return the block begun where the fewest numbers pass from one turn to the next."""
    place = {v: k for k, v in enumerate(graph.inner)}
    # Looked at in the middle, where the turns before and behind are like all others.
    middle = block.iteration(block.repeats // 2)
    reach: dict[int, int] = {}
    for edge in graph.edges:
        if edge.tail in place and place.get(edge.head, -1) >= middle.start:
            tail = place[edge.tail]
            reach[tail] = max(reach.get(tail, 0), place[edge.head])
    passed = [0] * block.length
    for tail, last in reach.items():
        for at in range(max(tail + 1, middle.start), min(last, middle.stop - 1) + 1):
            passed[at - middle.start] += graph.size(graph.inner[tail])
    shift = min(range(block.length), key=passed.__getitem__)
    if shift and block.repeats <= MIN_REPEATS:
        return block
    return RepeatedBlock(block.start + shift, block.length, block.repeats - (shift > 0))


def _own(graph: LinearGraph, turn: set[Vertex]) -> list[Vertex]:
    """Return the vertices of a turn that are read inside it only, in topological order."""
    read_outside = {e.tail for e in graph.edges if e.tail in turn and e.head not in turn}
    return sorted(turn - read_outside)
