"""Splitting a graph: components that have nothing to do with one another, and safe cut vertices.

Two inner vertices without a path of inner ones between them are never adjacent: components are
planned separately at no loss. A cut vertex c, with all its blocks either before or behind it, may
be eliminated last if d(c) <= min(kin, kout), the least cuts between it and the ends: then every
order costs at least the optima of the blocks plus d(c) kin kout. Other cut vertices are not safe:
an order that splits there may cost many times more.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from chainad.planning.bounds import least_cut
from chainad.planning.chain.chain import bracketing_order
from chainad.planning.cost_models import multiplications
from chainad.planning.linear_graph import Edge, LinearGraph
from chainad.planning.search.dense_states import DenseStates
from chainad.planning.search.state_space import StateSpace
from chainad.planning.search.structured_states import StructuredStates
from chainad.structure import dense
from chainad.structure.structure import Structure


def components(graph: StateSpace[Any]) -> list[list[int]]:
    """Return the components of the inner vertices, each in topological order."""
    return _connected(_inner_neighbours(graph))


def split(graph: StateSpace[Any]) -> tuple[list[list[int]], list[int]]:
    """Return the inner vertices of the blocks between safe cut vertices, and these."""
    near = _inner_neighbours(graph)
    cuts = _safe(graph, near)
    kept = {v: [w for w in around if w not in cuts] for v, around in near.items() if v not in cuts}
    return _connected(kept), [v for v in graph.inner if v in cuts]


def _inner_neighbours(graph: StateSpace[Any]) -> dict[int, list[int]]:
    """Return the inner neighbours of every inner vertex, in topological order."""
    inside = set(graph.inner)
    near = {v: graph.neighbours(graph.start, v) for v in graph.inner}
    return {v: [w for side in sides for w in side if w in inside] for v, sides in near.items()}


def _connected(near: dict[int, list[int]]) -> list[list[int]]:
    """Return the components of an undirected graph, vertices in the order that is given."""
    group: dict[int, int] = {}
    for v in near:
        if v in group:
            continue
        stack = [v]
        group[v] = v
        while stack:
            for w in near[stack.pop()]:
                if w not in group:
                    group[w] = v
                    stack.append(w)
    found: dict[int, list[int]] = {}
    for v in near:
        found.setdefault(group[v], []).append(v)
    return list(found.values())


def _biconnected(near: dict[int, list[int]]) -> list[set[int]]:
    """Return the vertices of the biconnected components of an undirected graph.

    Source: Hopcroft & Tarjan 1973, *Efficient algorithms for graph manipulation*.
    """
    found: list[set[int]] = []
    depth: dict[int, int] = {}
    low: dict[int, int] = {}  # the least depth that a vertex reaches by one edge back
    for root, around in near.items():
        if root in depth:
            continue
        depth[root] = low[root] = 0
        path, rest = [root], [iter(around)]
        visited = [root]  # those that no component was closed with yet
        while path:
            v = path[-1]
            w = next(rest[-1], None)
            if w is None:
                path.pop()
                rest.pop()
                if not path:
                    break
                parent = path[-1]
                low[parent] = min(low[parent], low[v])
                if low[v] >= depth[parent]:
                    k = visited.index(v, depth[v])
                    found.append({parent, *visited[k:]})
                    del visited[k:]
            elif w not in depth:
                depth[w] = low[w] = len(path)
                path.append(w)
                rest.append(iter(near[w]))
                visited.append(w)
            else:
                low[v] = min(low[v], depth[w])
    return found


def _safe(graph: StateSpace[Any], near: dict[int, list[int]]) -> set[int]:
    """Return the cut vertices at which it is safe to split."""
    where: dict[int, list[set[int]]] = {}
    for block in _biconnected(near):
        for v in block:
            where.setdefault(v, []).append(block)
    sides = [graph.neighbours(graph.start, v) for v in range(len(graph.widths))]
    before, after = ({v: pair[k] for v, pair in enumerate(sides)} for k in (0, 1))
    found = set()
    for c, blocks in where.items():
        if len(blocks) < 2:
            continue
        reached = [
            (not block.isdisjoint(before[c]), not block.isdisjoint(after[c])) for block in blocks
        ]
        width = graph.widths[c]
        if all(into != out for into, out in reached) and (
            width == 1
            or (
                least_cut(graph.widths, before, before[c], width) >= width
                and least_cut(graph.widths, after, after[c], width) >= width
            )
        ):
            found.add(c)
    return found


def path_order(graph: StateSpace[Any]) -> list[int] | None:
    """Return the cheapest order of a path by the dynamic program over its segments, else None."""
    inside = set(graph.inner)
    near = {v: graph.neighbours(graph.start, v) for v in graph.inner}
    if any(len(tails) != 1 or len(heads) != 1 for tails, heads in near.values()):
        return None
    firsts = [v for v in graph.inner if near[v][0][0] not in inside]
    if len(firsts) != 1:
        return None
    path = [near[firsts[0]][0][0], firsts[0]]
    while path[-1] in near:
        path.append(near[path[-1]][1][0])
    structures = [_structure(graph, u, w) for u, w in pairwise(path)]
    if any(structure is None for structure in structures):
        return None
    edges = tuple(Edge(k, k + 1, s) for k, s in enumerate(structures) if s is not None)
    shapes = (edges[0].structure.col_shape, *(edge.structure.row_shape for edge in edges))
    model = graph.table.model if isinstance(graph, StructuredStates) else multiplications
    order = bracketing_order(LinearGraph(shapes, (0,), (len(edges),), edges), model)
    return [path[k] for k in order]


def _structure(graph: StateSpace[Any], tail: int, head: int) -> Structure | None:
    """Return the structure of an edge, None if it is in several terms or not known."""
    if isinstance(graph, DenseStates):
        return dense((graph.widths[head],), (graph.widths[tail],))
    if not isinstance(graph, StructuredStates):
        return None
    terms = graph.table.terms[graph.start[0][tail][head]]
    return terms[0] if len(terms) == 1 else None
