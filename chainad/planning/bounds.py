"""A lower bound on the cost of every elimination order, by minimum vertex cuts.

Whenever a vertex v is eliminated, the tails of its edges cut it off from the inputs, and the heads
cut it off from the outputs. So its cost is at least d(v) times the widths of a least cut on either
side, whatever came before. Edges that store no entries are free to multiply with; on scalars,
only what enters or leaves v by an edge that stores one is counted.
Source: Griewank & Naumann 2003, *Accumulating Jacobians as chained sparse matrix products*; the cut
by augmenting paths, Ford & Fulkerson 1956.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from chainad.planning.cost_models import all_multiplications, multiplications
from chainad.planning.linear_graph import LinearGraph
from chainad.planning.orders import Vertex
from chainad.structure.structure import Structure

# Minimum cuts at more vertices, or of more entries taken apart, take longer than planning.
_MAX_CUT_VERTICES = 1500

_Neighbours = Mapping[int, Iterable[int]]


def lower_bound(graph: LinearGraph, model: str) -> int | None:
    """Return a cost below which no vertex elimination order can be; None if nothing is known.

    Known for dense Jacobians, and for scalars between inputs and outputs of any shape, in
    multiplications.
    """
    if len(graph.inner) > _MAX_CUT_VERTICES or model not in (
        multiplications.name,
        all_multiplications.name,
    ):
        return None
    found = [(e.tail, e.head, e.structure) for e in graph.edges]
    if all(s.kind == "dense" and min(s.matrix_shape) > 0 for _, _, s in found):
        widths = [graph.size(v) for v in range(len(graph.shapes))]
        edges = {(tail, head): True for tail, head, _ in found}
        return sum(least_costs(widths, edges, graph.inner).values())
    if model != multiplications.name:
        return None  # a sum of ones may vanish, and then so do its products
    scalars = scalar_edges(found, graph.inner, len(graph.shapes))
    return None if scalars is None else sum(least_costs(*scalars, graph.inner).values())


def scalar_edges(
    edges: Iterable[tuple[int, int, Structure]], inner: Iterable[int], count: int
) -> tuple[list[int], dict[tuple[int, int], bool]] | None:
    """Return the edges between scalars, and whether each stores an entry; None if that hides ties.

    The inner vertices must be scalars. The ends, of any shape, are split into their scalars,
    numbered from `count` on; an edge to them must store every entry, or have only one.
    """
    inside = set(inner)
    scalars: dict[tuple[int, int], int] = {}
    found: dict[tuple[int, int], bool] = {}
    for tail, head, structure in edges:
        kept = structure.scale is None
        is_split = structure.nonzeros <= 1 or (kept and structure.count == structure.nonzeros)
        sizes = zip((head, tail), structure.matrix_shape, strict=True)
        if structure.action is not None or not is_split or structure.nonzeros > _MAX_CUT_VERTICES:
            return None
        if any(v in inside and size != 1 for v, size in sizes):
            return None
        for row, col in zip(*structure.entries(), strict=True):
            u, w = (
                v if v in inside else scalars.setdefault((v, int(at)), count + len(scalars))
                for v, at in ((tail, col), (head, row))
            )
            found[u, w] = found.get((u, w), False) or kept
    return [1] * (count + len(scalars)), found


def least_costs(
    widths: Sequence[int], edges: Mapping[tuple[int, int], bool], inner: Iterable[Vertex]
) -> dict[Vertex, int]:
    """Return what eliminating each vertex costs at least, in any order.

    `edges` says of each whether it stores entries; those that do not are free, and then all widths
    must be 1.
    """
    before: dict[int, list[int]] = {}
    after: dict[int, list[int]] = {}
    for tail, head in edges:
        before.setdefault(head, []).append(tail)
        after.setdefault(tail, []).append(head)
    found = {}
    for v in inner:
        tails = [u for u in before.get(v, ()) if edges[u, v]]
        heads = [u for u in after.get(v, ()) if edges[v, u]]
        kin = least_cut(widths, before, tails) if heads else 0
        kout = least_cut(widths, after, heads) if kin else 0
        found[v] = widths[v] * kin * kout
    return found


def least_cut(
    widths: Sequence[int], onward: _Neighbours, first: Iterable[int], enough: int | None = None
) -> int:
    """Return the least width of a set of vertices that cuts all paths from `first` to an end.

    The ends are the vertices from which nothing leads on; they may be in the cut. The search stops
    once the cut is known to be at least `enough`.
    """
    first = list(first)
    through: dict[int, int] = {}  # the flow through every vertex
    along: dict[tuple[int, int], int] = {}  # and along every edge
    backs: dict[int, set[int]] = {}  # the edges into a vertex that carry flow
    total = 0
    while enough is None or total < enough:
        path = _augmenting(widths, onward, first, through, backs)
        if path is None:
            return total
        total += _push(widths, path, through, along, backs)
    return total


# A side of a vertex: where flow comes in, or where it leaves.
_Side = tuple[int, bool]


def _augmenting(
    widths: Sequence[int],
    onward: _Neighbours,
    first: Iterable[int],
    through: dict[int, int],
    backs: dict[int, set[int]],
) -> list[_Side] | None:
    """Return a shortest path along which more can flow, from a first vertex to an end."""
    came: dict[_Side, _Side | None] = {(u, False): None for u in first}
    queue = deque(came)
    while queue:
        side = queue.popleft()
        u, leaves = side
        found: list[_Side] = []
        if leaves:
            nexts = list(onward.get(u, ()))
            if not nexts:
                path = [side]
                while (back := came[path[-1]]) is not None:
                    path.append(back)
                return path[::-1]
            found += [(w, False) for w in nexts]
            if through.get(u, 0):
                found.append((u, False))
        else:
            if through.get(u, 0) < widths[u]:
                found.append((u, True))
            found += [(w, True) for w in backs.get(u, ())]
        for other in found:
            if other not in came:
                came[other] = side
                queue.append(other)
    return None


def _push(
    widths: Sequence[int],
    path: list[_Side],
    through: dict[int, int],
    along: dict[tuple[int, int], int],
    backs: dict[int, set[int]],
) -> int:
    """Let as much flow along the path as fits, and return it."""
    hops = list(pairwise(path))
    residuals = []
    for (u, leaves), (w, _) in hops:
        if u == w:
            residuals.append(through.get(u, 0) if leaves else widths[u] - through.get(u, 0))
        elif not leaves:  # back along an edge from w to u
            residuals.append(along[w, u])
    amount = min(residuals)
    for (u, leaves), (w, _) in hops:
        if u == w:
            through[u] = through.get(u, 0) + (-amount if leaves else amount)
        elif leaves:
            along[u, w] = along.get((u, w), 0) + amount
            backs.setdefault(w, set()).add(u)
        else:
            along[w, u] -= amount
            if not along[w, u]:
                backs[u].discard(w)
    return amount
