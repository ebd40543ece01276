"""Better orders by simulated annealing: take one elimination out, put it back elsewhere.

Only the eliminations between the two places are costed anew: the graph behind them is unchanged.
Source: Kirkpatrick, Gelatt & Vecchi 1983, *Optimization by simulated annealing*; for elimination
orders, Naumann & Gottschling 2003.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log
from random import Random
from typing import Any

from chainad.planning.search.budget import Pace
from chainad.planning.search.make_state import Compact, State

# The stretch of an order that is annealed at once.
STRETCH = 160

# Temperatures, in mean costs of an elimination. Short coolings begin where long ones are halfway.
HOT, WARM, COLD = 0.35, 0.12, 0.02
SHORT = 200  # moves per elimination


def anneal(graph: Compact[Any], order: list[int], pace: Pace, rounds: int, rng: Random) -> None:
    """Improve an order in place; it never gets dearer.

    `rounds` is the number of moves tried; long orders are annealed stretch by stretch. The pace may
    stop it earlier.
    """
    starts = range(0, max(1, len(order) - STRETCH // 2), STRETCH // 2)
    state = graph.copy()
    done = 0
    for start in starts:
        while done < start:
            graph.eliminate(state, order[done])
            done += 1
        stretch = _Stretch(graph, (list(state[0]), list(state[1])), order[start : start + STRETCH])
        for better in stretch.cool(rounds // len(starts), pace, rng):
            order[start : start + STRETCH] = better
        if not pace.go_on(0):
            return


class _Stretch:
    """Consecutive eliminations, with the state and the cost of each."""

    def __init__(self, graph: Compact[Any], state: State[Any], order: list[int]) -> None:
        self.graph = graph
        self.order = order
        self.states = [state] * len(order)
        self.costs = [0] * len(order)
        self.place: dict[int, int] = {}
        self._recost(0, len(order))

    def _recost(self, start: int, stop: int) -> None:
        state = self.states[start] if start < len(self.states) else self.graph.start
        for p in range(start, stop):
            self.states[p] = state
            state = list(state[0]), list(state[1])
            self.costs[p] = self.graph.eliminate(state, self.order[p])
            self.place[self.order[p]] = p

    def cool(self, rounds: int, pace: Pace, rng: Random) -> Iterator[list[int]]:
        """Yield better and better orders."""
        n = len(self.order)
        total = best = sum(self.costs)
        if n < 2 or not total:
            return
        first = HOT if rounds > SHORT * n else WARM
        hot, cold = first * total / n, COLD * total / n
        for k in range(rounds):
            temperature = hot * (cold / hot) ** (k / rounds)
            source = rng.randrange(n)
            target = self._target(source, rng)
            if target == source:
                continue
            low, high = min(source, target), max(source, target)
            if not pace.go_on(high - low):
                return
            change = self._move(source, target, -temperature * log(1 - rng.random()))
            if change is not None:
                total += change
                if total < best:
                    best = total
                    pace.gain()
                    yield list(self.order)

    def _target(self, source: int, rng: Random) -> int:
        """Return where to put an elimination: right before or behind that of a neighbour."""
        v = self.order[source]
        p = source if rng.random() < 0.5 else rng.randrange(source + 1)
        tails, heads = self.graph.neighbours(self.states[p], v)
        near = [self.place[u] for u in (*tails, *heads) if u in self.place]
        if not near:
            return rng.randrange(len(self.order))
        return rng.choice(near)

    def _move(self, source: int, target: int, most: float) -> int | None:
        """Move an elimination if the cost rises by no more than `most`; return by how much."""
        low, high = min(source, target), max(source, target)
        order = self.order
        v = order[source]
        if source < target:
            moved = [*order[low + 1 : high + 1], v]
        else:
            moved = [v, *order[low:high]]
        old = sum(self.costs[low : high + 1])
        start = self.states[low]
        state = list(start[0]), list(start[1])
        new, limit, eliminate = 0, old + most, self.graph.eliminate
        for u in moved:
            new += eliminate(state, u)
            if new > limit:
                return None
        order[low : high + 1] = moved
        self._recost(low, high + 1)
        return new - old
