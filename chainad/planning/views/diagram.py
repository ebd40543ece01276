"""What every picture shows of a plan: its values, its local Jacobians, and where they are narrow.

A diagram is data: nodes, arcs and places, in units of the tallest node. Whoever draws it decides
about pixels. Three things make large graphs readable: values that only move the entries of another
one stand for it, later iterations of a repeated block are one node, and beyond `MAX_NODES` nodes
the values are dots. Its construction takes about linear time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import log10
from typing import TYPE_CHECKING, Literal

from chainad.ir.sites import Site
from chainad.planning.linear_graph import LinearGraph
from chainad.planning.orders import Vertex, via
from chainad.planning.steps import Direction
from chainad.planning.views.assigned_names import assigned_name
from chainad.planning.views.directions import directions_of_edges, shown_directions
from chainad.planning.views.layered_drawing import LayeredDrawing, draw_in_layers
from chainad.planning.views.narrow_places import passed_by_every_path

if TYPE_CHECKING:
    from chainad.planning.plan import Plan

Role = Literal["input", "inner", "output"]

# With more values, later iterations of repeated blocks are one node.
MAX_NODES = 60

# Fewer values are all shown, even those that only move others.
_MIN_VERTICES_TO_HIDE = 12

# A repeated block of fewer vertices, all iterations together, takes little room.
_MIN_FOLDED_VERTICES = 12

# Iterations that change their direction more often are one node nevertheless.
_MAX_FOLDS_PER_BLOCK = 3

# If the largest value has so many times the entries of the smallest, heights are logarithmic.
_MAX_LINEAR_RATIO = 1000

# Between two nodes of a layer, in heights of the tallest node.
_GAP = 0.34

_MOVES = frozenset({"rearrangement", "identity"})


@dataclass(frozen=True, slots=True)
class ValueNode:
    """A value, or what later iterations of a repeated block compute, as one node of a diagram.

    Attributes
    ----------
    vertices : tuple of int
        What the node stands for: the value that it is named after first, then those that only move
        its entries; of iterations, all their vertices.
    role : str
        "input", "inner" or "output".
    shape, size : tuple of int, int
        Of the value; of iterations, those of their largest value.
    operation : str
        What computes the value; empty for inputs.
    name : str
        What the user calls the value, as far as that is clear; else the operation.
    site : Site or None
        The user's line.
    multiplications : int
        Of the elimination of the vertices.
    direction : str or None
        What most of these do; None if nothing is eliminated.
    rank : int or None
        When the first of the vertices is eliminated.
    iterations, operations : int
        How many iterations the node stands for, and how many operations each has; otherwise zero.
    """

    vertices: tuple[Vertex, ...]
    role: Role
    shape: tuple[int, ...]
    size: int
    operation: str
    name: str
    site: Site | None = None
    multiplications: int = 0
    direction: Direction | None = None
    rank: int | None = None
    iterations: int = 0
    operations: int = 0


@dataclass(frozen=True, slots=True)
class JacobianArc:
    """The local Jacobians between two nodes of a diagram.

    Attributes
    ----------
    tail, head : int
        The nodes.
    edges : tuple of int
        The local Jacobians, by number.
    kinds : tuple of str
        The kinds of their structures, each once.
    direction : str
        That of the step that multiplies one of them at the highest cost.
    """

    tail: int
    head: int
    edges: tuple[int, ...]
    kinds: tuple[str, ...]
    direction: Direction


@dataclass(frozen=True, slots=True)
class NarrowPlace:
    """A value that everything passes, of the fewest entries.

    Attributes
    ----------
    node : int
        The node that shows it.
    vertex : int
        The value: of the narrowest ones the one where the plan joins, else the first.
    size : int
        Its entries.
    equals : int
        How many values that everything passes have as few entries, this one included.
    is_joined : bool
        Whether the plan joins there what is before with what is after.
    """

    node: int
    vertex: Vertex
    size: int
    equals: int
    is_joined: bool


@dataclass(frozen=True)
class Diagram:
    """A plan as nodes and arcs that have their places.

    Attributes
    ----------
    plan : Plan
        What is shown.
    nodes, arcs : tuples of ValueNode and JacobianArc
        The graph, less than all of it where it is large.
    heights : tuple of float
        Of the nodes: 1 is the largest value; zero where values are dots.
    is_logarithmic : bool
        Whether heights are logarithms of sizes.
    has_dots : bool
        Whether values are dots, since there are too many of them.
    drawing : LayeredDrawing
        Where everything stands.
    narrowest : NarrowPlace or None
        Where it is narrow, if it is.
    """

    plan: Plan
    nodes: tuple[ValueNode, ...]
    arcs: tuple[JacobianArc, ...]
    heights: tuple[float, ...]
    is_logarithmic: bool
    has_dots: bool
    drawing: LayeredDrawing
    narrowest: NarrowPlace | None

    @property
    def n_moved(self) -> int:
        """How many values are not shown since they only move the entries of others."""
        return sum(len(node.vertices) - 1 for node in self.nodes if not node.iterations)

    @property
    def is_path(self) -> bool:
        """Whether every layer holds one node."""
        return all(len(layer) == 1 for layer in self.drawing.layers)


def diagram_of(plan: Plan, max_nodes: int = MAX_NODES) -> Diagram:
    """Return what a picture shows of a plan.

    With more than `max_nodes` values, later iterations of repeated blocks are one node.
    """
    groups = _groups(plan, max_nodes)
    nodes = tuple(_nodes(plan, groups))
    group_of = {v: k for k, group in enumerate(groups) for v in group.vertices}
    arcs = _arcs(plan, group_of)
    ends = [(arc.tail, arc.head) for arc in arcs]
    is_path = {tail for tail, _ in ends} == {*range(len(nodes) - 1)} and len(ends) < len(nodes)
    has_dots = len(nodes) > max_nodes and not is_path
    sizes = [node.size for node in nodes]
    is_logarithmic = not has_dots and max(sizes) > _MAX_LINEAR_RATIO * max(1, min(sizes))
    heights = [0.0 if has_dots else _height(n, max(sizes), is_logarithmic) for n in sizes]
    first, last = (
        [k for k, node in enumerate(nodes) if node.role == role] for role in ("input", "output")
    )
    drawing = draw_in_layers(ends, heights, _GAP, first, last)
    narrowest = _narrowest(plan, group_of)
    return Diagram(plan, nodes, arcs, tuple(heights), is_logarithmic, has_dots, drawing, narrowest)


def _height(size: int, largest: int, is_logarithmic: bool) -> float:
    if is_logarithmic:
        return (0.06 + log10(max(1, size)) / log10(largest)) / 1.06
    return max(0.02, size / max(1, largest))


# --------------------------------------------------------------------- what is one node


@dataclass(frozen=True, slots=True)
class _Group:
    """Vertices that are one node."""

    vertices: tuple[Vertex, ...]
    iterations: int = 0
    operations: int = 0


def _groups(plan: Plan, max_nodes: int) -> list[_Group]:
    """Return the vertices of all nodes, in topological order."""
    graph = plan.graph
    moves = _moves(graph)
    is_large = len(graph.shapes) - len(moves) > max_nodes
    folds = {group.vertices[0]: group for group in _folds(plan)} if is_large else {}
    shown_by = {v: first for first, group in folds.items() for v in group.vertices}
    members: dict[Vertex, list[Vertex]] = {}
    for v in range(len(graph.shapes)):
        if v not in shown_by:
            shown_by[v] = shown_by[moves[v]] if v in moves else v
        members.setdefault(shown_by[v], []).append(v)
    return [
        _Group(tuple(vertices), fold.iterations, fold.operations)
        if (fold := folds.get(first))
        else _Group(tuple(vertices))
        for first, vertices in members.items()
    ]


def _moves(graph: LinearGraph) -> dict[Vertex, Vertex]:
    """Return the values that only move the entries of another one, and that one."""
    if len(graph.shapes) <= _MIN_VERTICES_TO_HIDE:
        return {}
    reads = Counter(edge.tail for edge in graph.edges)
    into = Counter(edge.head for edge in graph.edges)
    inputs, outputs = {*graph.inputs}, {*graph.outputs}
    return {
        edge.head: edge.tail
        for edge in graph.edges
        if edge.structure.kind in _MOVES
        and into[edge.head] == 1
        and (edge.head not in outputs or (reads[edge.tail] == 1 and edge.tail not in inputs))
    }


def _folds(plan: Plan) -> Iterator[_Group]:
    """Yield all iterations of repeated blocks but the first, those of one direction together."""
    inner = plan.graph.inner
    ways = _directions_of_vertices(plan)
    for block in plan.repeated_blocks:
        if block.length * block.repeats < _MIN_FOLDED_VERTICES:
            continue
        iterations = [[inner[p] for p in block.iteration(k)] for k in range(1, block.repeats)]
        runs = [[*run] for _, run in groupby(iterations, lambda vs: _most_common(vs, ways))]
        if len(runs) > _MAX_FOLDS_PER_BLOCK:
            runs = [iterations]
        for run in runs:
            if len(run) == 1:  # its operations say more
                continue
            yield _Group(tuple(v for vs in run for v in vs), len(run), block.length)


def _directions_of_vertices(plan: Plan) -> dict[Vertex, Counter[Direction]]:
    """Return the multiplications of every vertex's elimination by their direction."""
    shown = shown_directions(plan)
    found: dict[Vertex, Counter[Direction]] = {}
    for step in plan.steps:
        if step.via is not None:
            ways = found.setdefault(step.via, Counter())
            ways[shown[step.number]] += step.multiplications
    return found


def _most_common(
    vertices: Sequence[Vertex], ways: dict[Vertex, Counter[Direction]]
) -> Direction | None:
    """Return the direction of most multiplications of the vertices' eliminations."""
    total: Counter[Direction] = Counter()
    for v in vertices:
        total.update(ways.get(v, ()))
    return max(total, key=total.__getitem__, default=None)


# ------------------------------------------------------------------------ nodes and arcs


def _nodes(plan: Plan, groups: Sequence[_Group]) -> Iterator[ValueNode]:
    graph = plan.graph
    ways = _directions_of_vertices(plan)
    rank: dict[Vertex, int] = {}
    for k, item in enumerate(plan.order):
        rank.setdefault(via(item), k)
    inputs, outputs = {*graph.inputs}, {*graph.outputs}
    reads = Counter(edge.tail for edge in graph.edges)
    for group in groups:
        first = group.vertices[0]
        if group.iterations:
            first = max(group.vertices, key=graph.size)
        is_output = not outputs.isdisjoint(group.vertices)
        origin = graph.origin_of.get(first)
        yield ValueNode(
            group.vertices,
            "input" if first in inputs else "output" if is_output else "inner",
            graph.shapes[first],
            graph.size(first),
            origin.name.removeprefix("np.") if origin else "",
            _name(graph, group.vertices, reads),
            origin.site if origin else None,
            sum(sum(ways[v].values()) for v in group.vertices if v in ways),
            _most_common(group.vertices, ways),
            min((rank[v] for v in group.vertices if v in rank), default=None),
            group.iterations,
            group.operations,
        )


def _name(graph: LinearGraph, vertices: Sequence[Vertex], reads: Counter[Vertex]) -> str:
    """Return what the user calls a value that others may move on; else its operation."""
    first, last = vertices[0], vertices[-1]
    origin = graph.origin_of.get(first)
    if origin is None or origin.site is None:
        return graph.name(first)  # in a program, a name of the user's or a number
    name = assigned_name(origin.site.text, origin.name)
    if not name and all(reads[v] == 1 for v in vertices[:-1]):
        moved = graph.origin_of[last]
        name = assigned_name(moved.site.text, moved.name) if moved.site else ""
    return name or origin.name.removeprefix("np.")


def _arcs(plan: Plan, group_of: dict[Vertex, int]) -> tuple[JacobianArc, ...]:
    ways = directions_of_edges(plan)
    between: dict[tuple[int, int], list[int]] = {}
    for k, edge in enumerate(plan.graph.edges):
        tail, head = group_of[edge.tail], group_of[edge.head]
        if tail != head:
            between.setdefault((tail, head), []).append(k)
    found = []
    for (tail, head), edges in between.items():
        kinds = dict.fromkeys(plan.graph.edges[k].structure.kind for k in edges)
        _, way = max((ways.get(k, (-1, "leaf")) for k in edges), key=lambda use: use[0])
        found.append(JacobianArc(tail, head, tuple(edges), tuple(kinds), way))
    return tuple(found)


# ------------------------------------------------------------------------ narrow places


def _narrowest(plan: Plan, group_of: dict[Vertex, int]) -> NarrowPlace | None:
    """Return the place that everything passes with the fewest entries.

    None if an end has less than twice as many, and the plan does not join there.
    """
    graph = plan.graph
    passed = passed_by_every_path(graph)
    ends = [sum(map(graph.size, vertices)) for vertices in (graph.inputs, graph.outputs)]
    size = min(map(graph.size, passed), default=0)
    equals = [v for v in passed if graph.size(v) == size]
    ways = _directions_of_vertices(plan)
    joined = {v: ways[v]["join"] if v in ways else 0 for v in equals}
    vertex = max(equals, key=joined.__getitem__, default=None)
    if vertex is None or (2 * size > min(ends) and not joined[vertex]):
        return None
    return NarrowPlace(group_of[vertex], vertex, size, len(equals), joined[vertex] > 0)
