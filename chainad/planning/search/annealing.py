"""Better orders by simulated annealing: take one elimination out, put it back elsewhere.

Only the eliminations between the two positions are costed anew: the graph behind them is unchanged.
Source: Kirkpatrick, Gelatt & Vecchi 1983, *Optimization by simulated annealing*; for elimination
orders, Naumann & Gottschling 2003.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log
from random import Random
from typing import Any

from chainad.planning.search.budget import SearchBudget
from chainad.planning.search.state_space import State, StateSpace

# Longer orders are annealed section by section.
SECTION_ELIMINATIONS = 160

# Temperatures, in mean costs of an elimination. Short annealing begins where long is halfway.
START_TEMPERATURE, SHORT_START_TEMPERATURE, END_TEMPERATURE = 0.35, 0.12, 0.02
SHORT_MOVES_PER_ELIMINATION = 200


def anneal(
    graph: StateSpace[Any], order: list[int], budget: SearchBudget, moves: int, rng: Random
) -> None:
    """Improve an order in place; its cost never rises.

    `moves` is how many are tried; long orders are annealed section by section. The budget
    may stop it earlier.
    """
    starts = range(0, max(1, len(order) - SECTION_ELIMINATIONS // 2), SECTION_ELIMINATIONS // 2)
    state = graph.copy()
    done = 0
    for start in starts:
        while done < start:
            graph.eliminate(state, order[done])
            done += 1
        section = _Section(
            graph,
            (list(state[0]), list(state[1])),
            order[start : start + SECTION_ELIMINATIONS],
        )
        for better in section.cool(moves // len(starts), budget, rng):
            order[start : start + SECTION_ELIMINATIONS] = better
        if not budget.spend(0):
            return


class _Section:
    """Consecutive eliminations, with the state and the cost of each."""

    def __init__(self, graph: StateSpace[Any], state: State[Any], order: list[int]) -> None:
        self.graph = graph
        self.order = order
        self.states: list[State[Any]] = []
        self.costs: list[int] = []
        self.position = {v: p for p, v in enumerate(order)}
        for v in order:
            self.states.append(state)
            state = list(state[0]), list(state[1])
            self.costs.append(graph.eliminate(state, v))

    def cool(self, moves: int, budget: SearchBudget, rng: Random) -> Iterator[list[int]]:
        """Yield better and better orders."""
        n = len(self.order)
        total = best = sum(self.costs)
        if n < 2 or not total:
            return
        first = (
            START_TEMPERATURE
            if moves > SHORT_MOVES_PER_ELIMINATION * n
            else SHORT_START_TEMPERATURE
        )
        hot, cold = first * total / n, END_TEMPERATURE * total / n
        for k in range(moves):
            temperature = hot * (cold / hot) ** (k / moves)
            source = rng.randrange(n)
            target = self._target(source, rng)
            if target == source:
                continue
            low, high = min(source, target), max(source, target)
            if not budget.spend(high - low):
                return
            change = self._move(source, target, -temperature * log(1 - rng.random()))
            if change is not None:
                total += change
                if total < best:
                    best = total
                    budget.gain()
                    yield list(self.order)

    def _target(self, source: int, rng: Random) -> int:
        """Return where to put an elimination: right before or behind that of a neighbour."""
        v = self.order[source]
        p = source if rng.random() < 0.5 else rng.randrange(source + 1)
        tails, heads = self.graph.neighbours(self.states[p], v)
        near = [self.position[u] for u in (*tails, *heads) if u in self.position]
        if not near:
            return rng.randrange(len(self.order))
        return rng.choice(near)

    def _move(self, source: int, target: int, limit: float) -> int | None:
        """Move an elimination if the cost rises by no more than `limit`; return by how much."""
        low, high = min(source, target), max(source, target)
        order = self.order
        v = order[source]
        if source < target:
            moved = [*order[low + 1 : high + 1], v]
        else:
            moved = [v, *order[low:high]]
        old = sum(self.costs[low : high + 1])
        state = self.states[low]
        new, highest, eliminate = 0, old + limit, self.graph.eliminate
        states, costs = [], []
        for u in moved:
            states.append(state)
            state = list(state[0]), list(state[1])
            cost = eliminate(state, u)
            costs.append(cost)
            new += cost
            if new > highest:
                return None
        order[low : high + 1] = moved
        self.states[low : high + 1] = states
        self.costs[low : high + 1] = costs
        self.position.update(zip(moved, range(low, high + 1), strict=True))
        return new - old
