"""Better orders by windows: any few consecutive eliminations are put into their cheapest order.

The graph after a window does not depend on the order inside, so no cost outside changes, and the
cost of the whole order can only fall.
"""

from __future__ import annotations

from typing import Any

from chainad.planning.search.budget import SearchBudget
from chainad.planning.search.state_space import State, StateSpace

WINDOW_ELIMINATIONS = 6

# States of larger graphs are cut down to the neighbourhood of a window first.
MAX_WHOLE_STATE_VERTICES = 200


def by_windows(graph: StateSpace[Any], order: list[int], budget: SearchBudget) -> None:
    """Improve an order in place until no window of `WINDOW_ELIMINATIONS` can be improved.

    The budget may stop it earlier; the cost of the order never rises.
    """
    width = WINDOW_ELIMINATIONS
    stale = [True] * len(order)  # whether the window that starts here is to be looked at
    while any(stale):
        state = graph.copy()
        for p in range(len(order)):
            if stale[p]:
                groups = _groups(graph, state, order[p : p + width])
                if not budget.spend(sum(1 << len(group) for group in groups)):
                    return
                stale[p] = False
                if _improve(graph, state, order, p, groups):
                    for k in range(max(0, p - width + 1), min(len(order), p + width)):
                        stale[k] = k != p
            graph.eliminate(state, order[p])


def _improve(
    graph: StateSpace[Any], state: State[Any], order: list[int], p: int, groups: list[list[int]]
) -> bool:
    """Put every group of eliminations from p on into its cheapest order; tell if that changed."""
    is_better = False
    made: list[int] = []
    for group in groups:
        found = _cheapest_of_group(graph, state, group) if len(group) > 1 else None
        is_better |= found is not None
        made += found or group
    if is_better:
        order[p : p + len(made)] = made
    return is_better


def _cheapest_of_group(
    graph: StateSpace[Any], state: State[Any], group: list[int]
) -> list[int] | None:
    if len(state[0]) <= MAX_WHOLE_STATE_VERTICES:
        return _cheapest(graph, state, group)
    small = graph.subproblem(sorted(group), state)
    number = {v: k for k, v in enumerate(small.origin)}
    found = _cheapest(small, small.start, [number[v] for v in group])
    return None if found is None else [small.origin[v] for v in found]


def _groups(graph: StateSpace[Any], state: State[Any], window: list[int]) -> list[list[int]]:
    """Group the eliminations of a window that are joined by edges among them.

    Others are never adjacent, so that each group has its own cheapest order; but where sums cost
    something, they share the edges between their neighbours, so that all of them are one group.
    """
    inside = {v: k for k, v in enumerate(window)}
    group_of = list(range(len(window)))
    for k, v in enumerate(window):
        for near in graph.neighbours(state, v):
            for u in near:
                if u in inside and group_of[inside[u]] != group_of[k]:
                    old, new = group_of[inside[u]], group_of[k]
                    group_of = [new if g == old else g for g in group_of]
    if not graph.sums_are_free and len(set(group_of)) < len(window):
        return [window]
    return [[v for k, v in enumerate(window) if group_of[k] == g] for g in dict.fromkeys(group_of)]


def _cheapest(graph: StateSpace[Any], state: State[Any], window: list[int]) -> list[int] | None:
    """Return the cheapest order of a few eliminations; None if the given one is."""
    n = len(window)
    costs: list[int | None] = [None] * (1 << n)
    lasts = [0] * (1 << n)
    states: list[State[Any] | None] = [None] * (1 << n)
    costs[0], states[0] = 0, state
    for done in range((1 << n) - 1):
        cost, here = costs[done], states[done]
        states[done] = None
        if cost is None or here is None:
            continue
        for k in range(n):
            wider = done | 1 << k
            if wider == done:
                continue
            offer = cost + graph.cost(here, window[k])
            known = costs[wider]
            if known is None or offer < known:
                costs[wider], lasts[wider] = offer, k
                if known is None and wider != len(costs) - 1:
                    later = list(here[0]), list(here[1])
                    graph.eliminate(later, window[k])
                    states[wider] = later
    given = 0
    now = list(state[0]), list(state[1])
    for v in window:
        given += graph.eliminate(now, v)
    best = costs[-1]
    assert best is not None
    if best >= given:
        return None
    order, done = [], len(costs) - 1
    while done:
        order.append(window[lasts[done]])
        done ^= 1 << lasts[done]
    return order[::-1]
