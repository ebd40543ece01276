"""Optimal bracketing of thousands of dense matrices, as the cheapest triangulation of a polygon.

The sizes n[0], ..., n[q] of a chain are weights on the corners of a polygon: factor i is its side
from corner i to corner i + 1, the product itself the side from q to 0. A bracketing cuts the
polygon into triangles (i, k, j), each at the cost n[i] n[k] n[j]. The only cuts that can pay are
the at most q - 2 *potential arcs*, those with all corners below heavier than both ends; they form
a tree, and one sweep over it, children first, decides which of them stay. Between two arcs that
stay lies a fan around the lightest corner.

Sources: Hu & Shing 1982 and 1984, *Computation of matrix chain products*, parts I and II, in
O(q log q); Schwartz & Weiss 2019, *Revisiting "Computation of matrix chain products"*, who mend a
gap in the proof.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import accumulate, pairwise


@dataclass(slots=True)
class _Arc:
    """A potential arc from corner `start` to corner `end`, and the cost of the part below it.

    `saving / width` is the weight of the corner outside at which the arc and those `tied` to it
    begin to pay (the supporting weight of Hu & Shing): a fan around a lighter corner is better.
    """

    start: int
    end: int
    low: int  # the weight of its lighter end
    product: int
    width: int
    cost: int = 0
    tied: list[_Arc] = field(default_factory=list)

    def __lt__(self, other: _Arc) -> bool:
        """Return whether this arc gives way first: a heap has it on top."""
        return self.cost * other.width > other.cost * self.width

    def contains(self, other: _Arc) -> bool:
        return self.start <= other.start and other.end <= self.end


def hu_shing(sizes: Sequence[int]) -> list[int]:
    """Return the inner corners 1 to q - 1 of a chain in the order of their elimination.

    Parameters
    ----------
    sizes : sequence of int
        At least two sizes, n[0] to n[q]; factor i has shape (n[i + 1], n[i]).
    """
    middle = {(i, j): k for i, k, j in triangles(sizes)}
    order: list[int] = []
    stack = [(0, len(sizes) - 1)]
    while stack:
        i, j = stack.pop()
        if j - i > 1:
            k = middle[i, j]
            order.append(k)
            stack += [(i, k), (k, j)]
    return order[::-1]


def triangles(sizes: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Yield the triangles of a cheapest triangulation, the corners of each in ascending order."""
    n = len(sizes)
    first = min(range(n), key=sizes.__getitem__)
    weights = [*sizes[first:], *sizes[:first], sizes[first]]
    # A corner of weight 0 makes everything free; arcs compare by ratios, which need positive ones.
    arcs = _kept_arcs(weights) if weights[0] else []
    for corners, around in _faces(weights, arcs):
        for one, two in pairwise(corners):
            if around not in (one, two):
                i, k, j = sorted((c + first) % n for c in (around, one, two))
                yield i, k, j


def _kept_arcs(weights: Sequence[int]) -> list[_Arc]:
    """Return the arcs of a cheapest triangulation, each after those below it."""
    before = [0, *accumulate(a * b for a, b in pairwise(weights))]
    at: list[list[_Arc]] = [[] for _ in weights]  # the arcs that stay so far, by corner
    heaps: list[tuple[_Arc, list[_Arc]]] = []  # the arcs with none around them, and what stays
    for start, end in _potential_arcs(weights):
        product = weights[start] * weights[end]
        low = min(weights[start], weights[end])
        arc = _Arc(start, end, low, product, before[end] - before[start] - product)
        heap: list[_Arc] = []
        while heaps and arc.contains(heaps[-1][0]):
            below, other = heaps.pop()
            arc.width -= before[below.end] - before[below.start] - below.product
            heap, other = (heap, other) if len(heap) >= len(other) else (other, heap)
            for kept in other:
                heappush(heap, kept)
        _settle(arc, heap, at, weights)
        heappush(heap, arc)
        at[start].append(arc)
        at[end].append(arc)
        heaps.append((arc, heap))
    # Around all of them lies the fan of the lightest corner; arcs give way to it as to any other.
    rest = [arc for _, heap in heaps for arc in heap if arc.cost < weights[0] * arc.width]
    found = []
    while rest:
        arc = rest.pop()
        found.append(arc)
        rest += arc.tied
    return found


def _potential_arcs(weights: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the arcs away from corner 0 below which all corners are heavier, inner ones first."""
    stack: list[int] = []
    for corner in range(len(weights) - 1):
        while len(stack) > 1 and weights[stack[-1]] > weights[corner]:
            stack.pop()
            if stack[-1] != 0:
                yield stack[-1], corner
        stack.append(corner)


def _settle(arc: _Arc, heap: list[_Arc], at: list[list[_Arc]], weights: Sequence[int]) -> None:
    """Decide which arcs below a new one give way to the fan under it, and which depend on it."""

    def remove() -> _Arc:
        gone = heappop(heap)
        at[gone.start].pop()
        at[gone.end].pop()
        arc.width += gone.width
        return gone

    while heap and heap[0].cost >= arc.low * heap[0].width:
        remove()
    arc.cost = arc.low * (arc.width + arc.product - _side(arc, at, weights))
    while heap and not arc < heap[0]:
        gone = remove()
        arc.cost += gone.cost
        arc.tied.append(gone)


def _side(arc: _Arc, at: list[list[_Arc]], weights: Sequence[int]) -> int:
    """Return the product of the weights along the side, or arc, where the fan below begins."""
    corner, step = (arc.start, 1) if weights[arc.start] == arc.low else (arc.end, -1)
    if at[corner] and arc.contains(at[corner][-1]):
        return at[corner][-1].product
    return weights[corner] * weights[corner + step]


def _faces(weights: Sequence[int], arcs: Sequence[_Arc]) -> Iterator[tuple[list[int], int]]:
    """Yield the parts into which arcs cut the polygon: the corners, and the one to fan around.

    The last corner of `weights` is corner 0 again.
    """
    end = len(weights) - 1
    open_faces: list[tuple[int, int, list[int]]] = [(0, end, [0])]

    def close() -> tuple[list[int], int]:
        start, stop, corners = open_faces.pop()
        corners += range(corners[-1] + 1, stop + 1)
        if (start, stop) == (0, end):
            return corners[:-1], 0
        return corners, start if weights[start] <= weights[stop] else stop

    for arc in sorted(arcs, key=lambda a: (a.start, -a.end)):
        while open_faces[-1][1] < arc.end:
            yield close()
        corners = open_faces[-1][2]
        corners += range(corners[-1] + 1, arc.start + 1)
        corners.append(arc.end)
        open_faces.append((arc.start, arc.end, [arc.start]))
    while open_faces:
        yield close()
