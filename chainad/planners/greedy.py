"""Greedy orders: the vertex that is cheapest now, or cheapest together with the damage it does.

Markowitz eliminates the vertex of least price; on vectors this eats narrow bottlenecks first.
Adding the damage, by how much the elimination raises the prices of the neighbours, mends that.
Source: Albrecht, Gottschling & Naumann 2003, *Markowitz-type heuristics for computing Jacobian
matrices efficiently* (LMMD).
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush

from chainad.linear import Elimination, LinearGraph, Vertex, price_of_products
from chainad.prices import PriceModel, multiplications


def markowitz(graph: LinearGraph, model: PriceModel = multiplications) -> tuple[Vertex, ...]:
    """Eliminate the vertex of least price, the first of equals."""
    return _eliminate_by(graph, Elimination.price, model, reach=1)


def greedy(graph: LinearGraph, model: PriceModel = multiplications) -> tuple[Vertex, ...]:
    """Eliminate the vertex of least price plus damage, the first of equals."""
    return _eliminate_by(graph, price_and_damage, model, reach=2)


def price_and_damage(
    elimination: Elimination, v: Vertex, model: PriceModel = multiplications
) -> int:
    """Return the price of eliminating v, plus what that adds to the prices of its neighbours."""
    meetings, new = elimination.meet(v)
    damage = sum(model.product(m.product) for m in meetings)
    after, before = elimination.after, elimination.before
    for tail, into_v in before[v].items():
        for into in before[tail].values():
            damage -= price_of_products(into_v, into, model)
            for head in after[v]:
                damage += price_of_products(new.get((tail, head), ()), into, model)
                damage -= price_of_products(after[tail].get(head, ()), into, model)
    for head, out_of_v in after[v].items():
        for out in after[head].values():
            damage -= price_of_products(out, out_of_v, model)
            for tail in before[v]:
                damage += price_of_products(out, new.get((tail, head), ()), model)
                damage -= price_of_products(out, after[tail].get(head, ()), model)
    return damage


def _eliminate_by(
    graph: LinearGraph,
    score: Callable[[Elimination, Vertex, PriceModel], int],
    model: PriceModel,
    reach: int,
) -> tuple[Vertex, ...]:
    """Eliminate the vertex of least score, again and again.

    A score depends on the edges within `reach` of its vertex: only those are computed anew.
    """
    elimination = Elimination(graph)
    scores = {v: score(elimination, v, model) for v in graph.inner}
    heap = [(s, v) for v, s in scores.items()]
    heapify(heap)
    order = []
    while heap:
        s, v = heappop(heap)
        if scores.get(v) != s:  # a newer score is further back
            continue
        near = _neighbours(elimination, v, reach)
        elimination.eliminate(v)
        del scores[v]
        order.append(v)
        for u in near & scores.keys():
            scores[u] = score(elimination, u, model)
            heappush(heap, (scores[u], u))
    return tuple(order)


def _neighbours(elimination: Elimination, v: Vertex, reach: int) -> set[Vertex]:
    """Return the vertices within `reach` edges of v.

    No path leads on through an input or an output: these are never eliminated, so what a score
    reads of them does not change with their other edges.
    """
    after, before = elimination.after, elimination.before
    near = {v}
    for _ in range(reach):
        open_ends = [u for u in near if after[u] and before[u]]
        near = near.union(*(after[u] for u in open_ends), *(before[u] for u in open_ends))
    return near
