"""Better orders by windows: any few consecutive eliminations are put into their cheapest order.

The graph after a window does not depend on the order inside, so no price outside changes, and the
price of the whole order can only fall.
"""

from __future__ import annotations

from typing import Any

from chainad.planners.compact import Compact, State
from chainad.planners.pace import Pace

WIDTH = 6

# States of larger graphs are cut down to the neighbourhood of a window first.
LARGE = 200


def by_windows(graph: Compact[Any], order: list[int], pace: Pace, width: int = WIDTH) -> None:
    """Improve an order in place until no window of `width` eliminations can be improved.

    The pace may stop it earlier; the order never gets dearer.
    """
    stale = [True] * len(order)  # whether the window that starts here is to be looked at
    while any(stale):
        state = graph.copy()
        for p in range(len(order)):
            if stale[p]:
                if not pace.go_on(1 << min(width, len(order) - p)):
                    return
                stale[p] = False
                if _improve(graph, state, order, p, width):
                    for k in range(max(0, p - width + 1), min(len(order), p + width)):
                        stale[k] = k != p
            graph.eliminate(state, order[p])


def _improve(graph: Compact[Any], state: State[Any], order: list[int], p: int, width: int) -> bool:
    """Put the eliminations from p on into their cheapest order; return whether that changed."""
    window = order[p : p + width]
    if not _any_meet(graph, state, window):
        return False
    if len(state[0]) > LARGE:
        small = graph.part(sorted(window), state)
        number = {v: k for k, v in enumerate(small.origin)}
        found = _cheapest(small, small.start, [number[v] for v in window])
        found = None if found is None else [small.origin[v] for v in found]
    else:
        found = _cheapest(graph, state, window)
    if found is None:
        return False
    order[p : p + width] = found
    return True


def _any_meet(graph: Compact[Any], state: State[Any], window: list[int]) -> bool:
    """Return whether the order of a window can matter: whether any two of it have an edge."""
    inside = set(window)
    for v in window:
        tails, heads = graph.neighbours(state, v)
        if not inside.isdisjoint(tails) or not inside.isdisjoint(heads):
            return True
    return False


def _cheapest(graph: Compact[Any], state: State[Any], window: list[int]) -> list[int] | None:
    """Return the cheapest order of a few eliminations; None if the given one is."""
    n = len(window)
    prices: list[int | None] = [None] * (1 << n)
    lasts = [0] * (1 << n)
    states: list[State[Any] | None] = [None] * (1 << n)
    prices[0], states[0] = 0, state
    for done in range((1 << n) - 1):
        price, here = prices[done], states[done]
        states[done] = None
        if price is None or here is None:
            continue
        for k in range(n):
            wider = done | 1 << k
            if wider == done:
                continue
            offer = price + graph.price(here, window[k])
            known = prices[wider]
            if known is None or offer < known:
                prices[wider], lasts[wider] = offer, k
                if known is None and wider != len(prices) - 1:
                    later = list(here[0]), list(here[1])
                    graph.eliminate(later, window[k])
                    states[wider] = later
    given = 0
    now = list(state[0]), list(state[1])
    for v in window:
        given += graph.eliminate(now, v)
    best = prices[-1]
    assert best is not None
    if best >= given:
        return None
    order, done = [], len(prices) - 1
    while done:
        order.append(window[lasts[done]])
        done ^= 1 << lasts[done]
    return order[::-1]
