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
    inside = set(graph.inner)
    group: dict[int, int] = {}
    for v in graph.inner:
        if v in group:
            continue
        stack = [v]
        group[v] = v
        while stack:
            u = stack.pop()
            for w in (w for side in graph.neighbours(graph.start, u) for w in side):
                if w in inside and w not in group:
                    group[w] = v
                    stack.append(w)
    found: dict[int, list[int]] = {}
    for v in graph.inner:
        found.setdefault(group[v], []).append(v)
    return list(found.values())


def split(graph: StateSpace[Any]) -> tuple[list[list[int]], list[int]]:
    """Return the inner vertices of the blocks between safe cut vertices, and these."""
    import networkx as nx  # slow to load

    inside = set(graph.inner)
    pairs = [
        (v, w) for v in graph.inner for w in graph.neighbours(graph.start, v)[1] if w in inside
    ]
    cuts = _safe(graph, pairs)
    kept = nx.Graph()
    kept.add_nodes_from(v for v in graph.inner if v not in cuts)
    kept.add_edges_from((v, w) for v, w in pairs if v not in cuts and w not in cuts)
    rank = {v: k for k, v in enumerate(graph.inner)}
    blocks = [sorted(block, key=rank.__getitem__) for block in nx.connected_components(kept)]
    return blocks, sorted(cuts, key=rank.__getitem__)


def _safe(graph: StateSpace[Any], pairs: list[tuple[int, int]]) -> set[int]:
    """Return the cut vertices at which it is safe to split."""
    import networkx as nx  # slow to load

    where: dict[int, list[set[int]]] = {}
    for block in nx.biconnected_components(nx.Graph(pairs)):
        for v in block:
            where.setdefault(v, []).append(block)
    everything = range(len(graph.widths))
    near = {v: graph.neighbours(graph.start, v) for v in everything}
    before = {v: near[v][0] for v in everything}
    after = {v: near[v][1] for v in everything}
    found = set()
    for c, blocks in where.items():
        if len(blocks) < 2:
            continue
        sides = [
            (not block.isdisjoint(before[c]), not block.isdisjoint(after[c])) for block in blocks
        ]
        width = graph.widths[c]
        if all(into != out for into, out in sides) and (
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
