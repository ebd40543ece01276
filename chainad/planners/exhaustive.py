"""The cheapest vertex elimination order, by dynamic programming over sets of eliminated vertices.

The graph that is left after a set of eliminations does not depend on their order, so the cheapest
way to each set follows from those to the sets with one vertex less: 2^n sets instead of n! orders.
Source: Bentert et al. 2025, arXiv:2506.17521.
"""

from __future__ import annotations

from chainad.errors import PlanError
from chainad.linear import Elimination, LinearGraph, Vertex
from chainad.prices import PriceModel, multiplications

MOST = 8
PROOF = "optimal over all vertex elimination orders"


def exhaustive(graph: LinearGraph, model: PriceModel = multiplications) -> tuple[Vertex, ...]:
    """Return a cheapest order.

    Raises
    ------
    PlanError
        If there are more than 8 inner vertices.
    """
    if len(graph.inner) > MOST:
        raise PlanError(
            f"mode='exhaustive' tries every set of vertices and takes at most {MOST} inner ones,"
            f" but this graph has {len(graph.inner)}; use mode='auto'"
        )
    layer: dict[frozenset[Vertex], tuple[int, tuple[Vertex, ...], Elimination]]
    layer = {frozenset(): (0, (), Elimination(graph))}
    for _ in graph.inner:
        following: dict[frozenset[Vertex], tuple[int, tuple[Vertex, ...], Elimination]] = {}
        best: dict[frozenset[Vertex], tuple[int, frozenset[Vertex], Vertex]] = {}
        for done, (cost, _, elimination) in layer.items():
            for v in graph.inner:
                if v in done:
                    continue
                offer = (cost + elimination.price(v, model), done, v)
                wider = done | {v}
                if wider not in best or offer[0] < best[wider][0]:
                    best[wider] = offer
        for wider, (cost, done, v) in best.items():
            elimination = layer[done][2].copy()
            elimination.eliminate(v)
            following[wider] = (cost, (*layer[done][1], v), elimination)
        layer = following
    ((_, order, _),) = layer.values()
    return order
