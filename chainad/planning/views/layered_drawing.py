"""Drawing an acyclic graph in layers: in which one every node stands, and at what height.

Arcs lead from left to right; one that passes several layers bends in each of them, between what
stands there. Layers are sorted by the barycentres of their neighbours; then every node moves as
near to its neighbours as the others leave room for. Everything is linear in nodes, arcs and bends,
but for sorting.
Source: Sugiyama, Tagawa & Toda 1981, *Methods for visual understanding of hierarchical system
structures*; the room by pooling adjacent violators, Ayer et al. 1955.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

# Arcs with more bends, all together, run straight.
MAX_BENDS = 1000

_SORTING_SWEEPS = 16
_MOVING_SWEEPS = 24

_Neighbours = list[list[int]]


@dataclass(frozen=True)
class LayeredDrawing:
    """Where the nodes of an acyclic graph stand, and how its arcs run.

    Bends are numbered after the nodes; both are called points.

    Attributes
    ----------
    layers : tuple of tuples of int
        The points of every layer, from top to bottom.
    layer_of : tuple of int
        The layer of every point.
    middles : tuple of float
        The height at which the middle of every point stands, downwards; bends have no extent.
    routes : tuple of tuples of int
        The points of every arc, from its tail to its head.
    """

    layers: tuple[tuple[int, ...], ...]
    layer_of: tuple[int, ...]
    middles: tuple[float, ...]
    routes: tuple[tuple[int, ...], ...]

    @property
    def depth(self) -> int:
        """How many layers there are."""
        return len(self.layers)


def draw_in_layers(
    arcs: Sequence[tuple[int, int]],
    heights: Sequence[float],
    gap: float,
    first: Sequence[int],
    last: Sequence[int],
) -> LayeredDrawing:
    """Return a drawing of the graph with these arcs, of nodes with these heights.

    `gap` is left free between two points of a layer. The nodes `first` stand in the first layer,
    `last` in the last one, if no arc leads into them, or out of them. The first of `first` stands
    above the last of them.
    """
    order, layer_of = _layered(arcs, len(heights), first, last)
    routes = _routed(arcs, layer_of)
    n_points = len(layer_of)
    before: _Neighbours = [[] for _ in range(n_points)]
    after: _Neighbours = [[] for _ in range(n_points)]
    for route in routes:
        for one, other in pairwise(route):
            after[one].append(other)
            before[other].append(one)
    layers: list[list[int]] = [[] for _ in range(1 + max(layer_of, default=-1))]
    for point in (*order, *range(len(heights), n_points)):
        layers[layer_of[point]].append(point)
    _sort(layers, before, after)
    extents = [*heights, *[0.0] * (n_points - len(heights))]
    middles = _settled(layers, before, after, extents, gap)
    if first and middles[first[0]] > middles[first[-1]]:
        layers, middles = [layer[::-1] for layer in layers], [-middle for middle in middles]
    return LayeredDrawing(
        tuple(map(tuple, layers)), tuple(layer_of), tuple(middles), tuple(map(tuple, routes))
    )


def _layered(
    arcs: Sequence[tuple[int, int]], n_nodes: int, first: Sequence[int], last: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Return the nodes in topological order, and the layer of each: as late as its use allows."""
    before: _Neighbours = [[] for _ in range(n_nodes)]
    after: _Neighbours = [[] for _ in range(n_nodes)]
    for tail, head in arcs:
        after[tail].append(head)
        before[head].append(tail)
    missing = [len(tails) for tails in before]
    ready = [node for node in range(n_nodes) if not missing[node]]
    order: list[int] = []
    while ready:
        order.append(ready.pop())
        for head in after[order[-1]]:
            missing[head] -= 1
            if not missing[head]:
                ready.append(head)
    layer_of = [0] * n_nodes
    for node in order:
        layer_of[node] = max((layer_of[tail] + 1 for tail in before[node]), default=0)
    deepest = max(layer_of, default=0) or int(not {*last} <= {*first})
    for node in last:
        if not after[node]:
            layer_of[node] = deepest
    pinned = {*first}
    for node in reversed(order):
        if after[node] and node not in pinned:
            layer_of[node] = min(layer_of[head] for head in after[node]) - 1
    return order, layer_of


def _routed(arcs: Sequence[tuple[int, int]], layer_of: list[int]) -> list[list[int]]:
    """Return the points of every arc; the layers of new bends are appended to `layer_of`."""
    n_bends = sum(layer_of[head] - layer_of[tail] - 1 for tail, head in arcs)
    if n_bends > MAX_BENDS:
        return [[tail, head] for tail, head in arcs]
    routes = []
    for tail, head in arcs:
        passed = range(layer_of[tail] + 1, layer_of[head])
        bends = range(len(layer_of), len(layer_of) + len(passed))
        layer_of += passed
        routes.append([tail, *bends, head])
    return routes


def _sort(layers: list[list[int]], before: _Neighbours, after: _Neighbours) -> None:
    """Sort every layer so that few arcs cross: by barycentres, from left to right and back."""
    row = [0.0] * len(before)

    def place(layer: list[int]) -> None:
        for k, point in enumerate(layer):
            row[point] = k - (len(layer) - 1) / 2

    for layer in layers:
        place(layer)
    for sweep in range(_SORTING_SWEEPS):
        near = after if sweep % 2 else before
        for layer in reversed(layers) if sweep % 2 else layers:
            layer.sort(key=_mean_of(row, near))
            place(layer)


def _mean_of(values: list[float], near: _Neighbours) -> Callable[[int], float]:
    """Return what gives the mean value of a point's neighbours, or its own if it has none."""

    def mean(point: int) -> float:
        around = near[point]
        return sum(values[k] for k in around) / len(around) if around else values[point]

    return mean


def _settled(
    layers: list[list[int]],
    before: _Neighbours,
    after: _Neighbours,
    heights: Sequence[float],
    gap: float,
) -> list[float]:
    """Return the heights at which all points stand, as near to their neighbours as there is room.

    Every layer is moved towards the one it is read after, then towards the one that reads it, ...,
    at last towards both.
    """
    middles = [0.0] * len(before)
    around = [[*tails, *heads] for tails, heads in zip(before, after, strict=True)]
    for sweep in range(_MOVING_SWEEPS):
        is_last = sweep >= _MOVING_SWEEPS - 4
        near = around if is_last or not sweep else after if sweep % 2 else before
        for layer in reversed(layers) if sweep % 2 else layers:
            wanted = [*map(_mean_of(middles, near), layer)]
            distances = [gap + (heights[one] + heights[two]) / 2 for one, two in pairwise(layer)]
            for point, middle in zip(layer, _apart(wanted, distances), strict=True):
                middles[point] = middle
    return middles


def _apart(wanted: Sequence[float], distances: Sequence[float]) -> list[float]:
    """Return places as near to those wanted as these distances between neighbours allow.

    The sum of squares of the differences is least: less the distances, the places must ascend, and
    those that do not are pooled.
    """
    offsets = [0.0]
    for distance in distances:
        offsets.append(offsets[-1] + distance)
    pools: list[tuple[float, int]] = []  # the sum of what is wanted, and of how many
    for place, offset in zip(wanted, offsets, strict=False):
        total, count = place - offset, 1
        while pools and pools[-1][0] * count >= total * pools[-1][1]:
            total, count = total + pools[-1][0], count + pools[-1][1]
            pools.pop()
        pools.append((total, count))
    pooled = [total / count for total, count in pools for _ in range(count)]
    return [place + offset for place, offset in zip(pooled, offsets, strict=False)]
