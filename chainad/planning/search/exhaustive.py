"""The cheapest vertex elimination order, by dynamic programming over sets of eliminated vertices.

The graph that is left after a set of eliminations does not depend on their order, so the cheapest
way to each set follows from those to the sets with one vertex less: 2^n sets instead of n! orders.
A set is left out if what it has cost, and what the others cost at least, is no less than a cost
that is known already.
Source: Bentert et al. 2025, arXiv:2506.17521.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chainad.planning.registry import Proof
from chainad.planning.search.budget import SearchBudget
from chainad.planning.search.state_space import State, StateSpace

PROOF = Proof(0, "optimal over all vertex elimination orders")


@dataclass(frozen=True, slots=True)
class _Prefix:
    """The cheapest order of a set: its cost, the last vertex, and the prefix before it."""

    cost: int
    last: int
    before: _Prefix | None
    state: State[Any]


def cheapest(
    graph: StateSpace[Any], known: Sequence[int], budget: SearchBudget | None = None
) -> list[int] | None:
    """Return a cheapest order, `known` if there is none below its cost.

    Returns None if that would take longer than the budget allows.
    """
    limit = graph.cost_of(known)
    least = graph.least_costs
    rest = sum(least.values())
    if rest == limit:
        return list(known)
    layer = {0: _Prefix(0, -1, None, graph.copy())}
    rests = {0: rest}
    for _ in graph.inner:
        offers: dict[int, tuple[int, int, int]] = {}
        for done, prefix in layer.items():
            for v in _to_try(graph, prefix.state, done):
                wider = done | 1 << v
                cost = prefix.cost + graph.cost(prefix.state, v)
                left = rests[done] - least[v]
                if cost + left >= limit:
                    continue
                if wider not in offers and budget is not None and not budget.spend(1):
                    return None
                if wider not in offers or cost < offers[wider][0]:
                    offers[wider] = cost, v, done
                    rests[wider] = left
        layer = {wider: _extended(graph, layer[done], v) for wider, (_, v, done) in offers.items()}
    if not layer:
        return list(known)
    (prefix,) = layer.values()
    order = []
    while prefix.before is not None:
        order.append(prefix.last)
        prefix = prefix.before
    return order[::-1]


def _extended(graph: StateSpace[Any], prefix: _Prefix, v: int) -> _Prefix:
    state = list(prefix.state[0]), list(prefix.state[1])
    cost = prefix.cost + graph.eliminate(state, v)
    return _Prefix(cost, v, prefix, state)


def _to_try(graph: StateSpace[Any], state: State[Any], done: int) -> Sequence[int]:
    """Return the vertices to eliminate next: all, or one that is never better left for later.

    A scalar between one tail and one head costs one multiplication whenever it is eliminated, and
    with it gone the others cost no more.
    """
    rest = [v for v in graph.inner if not done >> v & 1]
    if graph.is_scalar:
        for v in rest:
            if graph.cost(state, v) == 1:
                return (v,)
    return rest
