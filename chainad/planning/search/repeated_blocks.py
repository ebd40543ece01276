"""Loops and layers: one iteration of a repeated block is planned, and all follow its order.

First the vertices that are read in their own iteration alone are eliminated, in all iterations
alike; what is left is the graph of the values that one iteration passes to the next, and that is
planned by rules. An iteration begins where the fewest values are passed on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from chainad.planning.linear_graph import LinearGraph
from chainad.planning.orders import Vertex
from chainad.planning.registry import Problem
from chainad.planning.repeats import MIN_REPEATS, RepeatedBlock, repeats_in
from chainad.planning.search.articulation import path_order
from chainad.planning.search.budget import SearchOptions
from chainad.planning.search.stages import improved, rules
from chainad.planning.search.state_space import StateSpace

# The dynamic program over a path takes the cube of its length.
MAX_PATH_VERTICES = 100


def by_iterations(problem: Problem, known: Sequence[Vertex] | None = None) -> tuple[Vertex, ...]:
    """Return the order of all iterations alike, and then of what is left between them.

    Where no iteration has a vertex of its own, all of the graph is left; `known` is the cheapest
    order of the rules on it, if that is known.
    """
    graph, states, search = problem.graph, problem.states, problem.search
    if states.has_large_index_sets:
        return tuple(by_rules(states, search))
    first: list[Vertex] = []
    for block in (cut(graph, block) for block in repeats_in(graph)):
        here = block.iteration(block.repeats // 2)
        read_outside = passed_on(graph, block)
        own = [graph.inner[k] for k in here if k - here.start not in read_outside]
        if own:
            position = {graph.inner[k]: k - here.start for k in here}
            part = states.subproblem(own)
            order = [position[part.origin[v]] for v in best_of(part, for_all(block, search))]
            iterations = (block.iteration(k) for k in range(block.repeats))
            first += [graph.inner[iteration[k]] for iteration in iterations for k in order]
    state = states.copy()
    for v in first:
        states.eliminate(state, v)
    gone = set(first)
    left = states.subproblem([v for v in graph.inner if v not in gone], state)
    path = path_order(left) if 0 < len(left.inner) <= MAX_PATH_VERTICES else None
    if not first and path is None and known is not None:
        return tuple(known)
    return (*first, *(left.origin[v] for v in path or by_rules(left, search)))


def for_all(block: RepeatedBlock, search: SearchOptions) -> SearchOptions:
    """Return the search for an order of one iteration: what that saves, all of them do."""
    return replace(search, expected_calls=search.expected_calls * block.repeats)


def best_of(states: StateSpace[Any], search: SearchOptions) -> Sequence[int]:
    """Return the cheapest order that rules and their improvement find."""
    best: Sequence[int] = by_rules(states, search)
    for _, better, _ in improved(states, [best], search):
        best = better
    return best


def by_rules(states: StateSpace[Any], search: SearchOptions) -> Sequence[int]:
    """Return the cheapest order of the rules."""
    orders = [order for _, order in rules(states, search)]
    return states.cheapest_of(orders)


def cut(graph: LinearGraph, block: RepeatedBlock) -> RepeatedBlock:
    """Return the block begun where the fewest elements pass from one iteration to the next."""
    position = {v: k for k, v in enumerate(graph.inner)}
    # Looked at in the middle, where the iterations before and after are like all others.
    middle = block.iteration(block.repeats // 2)
    reach: dict[int, int] = {}
    for edge in graph.edges:
        if edge.tail in position and position.get(edge.head, -1) >= middle.start:
            tail = position[edge.tail]
            reach[tail] = max(reach.get(tail, 0), position[edge.head])
    passed = [0] * block.length
    for tail, last in reach.items():
        for at in range(max(tail + 1, middle.start), min(last, middle.stop - 1) + 1):
            passed[at - middle.start] += graph.size(graph.inner[tail])
    shift = min(range(block.length), key=passed.__getitem__)
    if shift and block.repeats <= MIN_REPEATS:
        return block
    return RepeatedBlock(block.start + shift, block.length, block.repeats - (shift > 0))


def passed_on(graph: LinearGraph, block: RepeatedBlock) -> frozenset[int]:
    """Return the places in an iteration of what is read outside of it."""
    iteration = block.iteration(block.repeats // 2)
    place = {graph.inner[k]: k - iteration.start for k in iteration}
    return frozenset(place[e.tail] for e in graph.edges if e.tail in place and e.head not in place)
