"""The values of a plan from input to output as an inline SVG: as wide as they have entries.

The picture is stretched to the width that there is, so no text stands in it: labels and notes are
HTML below it, at the same places.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING

from chainad.planning.views.diagram import Diagram, JacobianArc, ValueNode, diagram_of
from chainad.planning.views.directions import DIRECTION_WORDS
from chainad.planning.views.overview import place

if TYPE_CHECKING:
    from chainad.planning.plan import Plan
    from chainad.planning.steps import Direction

MAX_PICTURE_BYTES = 14_000

_MAX_DRAWN_ARCS = 150
_MAX_COLUMNS = 100  # of neighbouring layers that are added up
_MAX_LABELLED_LAYERS = 9
MAX_NAMED_LAYERS = 6  # where a page is narrow
_MAX_TEXT = 100  # characters of what is said of a value

_WIDTH = 1000  # in the units of the picture, which are stretched
_PATH_HEIGHT = 72  # pixels: of the largest value, where there is room
_MAX_HEIGHT = 220
_MIN_BAR = 1.5
_MARGIN = 4

_Directions = set["Direction"]


@dataclass(frozen=True)
class Note:
    """What is said of a place in the picture, `at` a fraction of its width from the left."""

    at: float
    said: str
    line: str = ""
    code: str = ""


@dataclass(frozen=True)
class Ribbons:
    """A picture, and what is said around it.

    Attributes
    ----------
    svg, caption : str
        The picture, and what it shows.
    directions : tuple of Direction
        Those that it has colors for.
    labels : tuple of (str, str)
        Entries and names of every layer, or, if there are too many, of the first and the last one.
    notes : tuple of Note
        The narrow place and what iterations are folded, from left to right.
    """

    svg: str
    caption: str
    directions: tuple[Direction, ...]
    labels: tuple[tuple[str, str], ...]
    notes: tuple[Note, ...]


def ribbons_of(plan: Plan, description: str) -> Ribbons:
    """Return the picture of a plan, with a description for those who do not see it."""
    diagram = diagram_of(plan)
    ways = [partial(_drawn, diagram, has_titles) for has_titles in (True, False)]
    if diagram.has_dots or len(diagram.arcs) > _MAX_DRAWN_ARCS:
        ways = []
    for draw in (*ways, partial(_added_up, diagram)):
        height, shapes, directions = draw()
        if len(shapes.encode()) <= MAX_PICTURE_BYTES:
            break
    is_whole = bool(ways) and draw in ways
    svg = (
        f'<svg viewBox="0 0 {_WIDTH} {height}" style="height:{height}px" preserveAspectRatio="none"'
        f' role="img"><title>Values from input to output</title><desc>{escape(description)}</desc>'
        f"{shapes}</svg>"
    )
    return Ribbons(
        svg,
        _caption(diagram, is_whole),
        tuple(way for way in DIRECTION_WORDS if way in directions),
        _labels(diagram),
        tuple(sorted(_notes(diagram, is_whole), key=lambda note: note.at)),
    )


def _caption(diagram: Diagram, is_whole: bool) -> str:
    depth = diagram.drawing.depth
    said = "Values from input to output, as wide as they have entries"
    if not is_whole:
        said = f"Values from input to output, in {depth:,} layers, as wide as these have entries"
    elif diagram.is_logarithmic:
        said += " (log scale)"
    if not is_whole and depth > _MAX_COLUMNS:
        said += "; of neighbouring layers the narrowest is shown"
    if diagram.n_moved:
        are = "one that only moves entries is" if diagram.n_moved == 1 else ""
        said += f"; {are or f'{diagram.n_moved:,} that only move entries are'} left out"
    return said


# ---------------------------------------------------------------------------- in words


def _labels(diagram: Diagram) -> tuple[tuple[str, str], ...]:
    graph = diagram.plan.graph
    layers = [
        [diagram.nodes[k] for k in layer if k < len(diagram.nodes)]
        for layer in diagram.drawing.layers
    ]
    if len(layers) > _MAX_LABELLED_LAYERS:
        return tuple(
            (f"{sum(map(graph.size, ends)):,}", name if len(ends) == 1 else f"{name}s")
            for ends, name in ((graph.inputs, "input"), (graph.outputs, "output"))
        )
    return tuple(
        (f"{sum(node.size for node in nodes):,}", ", ".join(dict.fromkeys(map(_name, nodes))))
        for nodes in layers
    )


def _notes(diagram: Diagram, is_whole: bool) -> Iterator[Note]:
    narrow = diagram.narrowest
    if narrow is not None:
        said = "narrowest: one entry" if narrow.size == 1 else f"narrowest: {narrow.size:,} entries"
        if narrow.equals > 2:
            said += f", one of {narrow.equals:,} such values"
        yield Note(_at(diagram, narrow.node), said, *place(diagram.plan, narrow.vertex))
    for k, node in enumerate(diagram.nodes):
        if node.iterations and is_whole and diagram.drawing.depth > MAX_NAMED_LAYERS:
            what = "one operation" if node.operations == 1 else f"{node.operations:,} operations"
            yield Note(_at(diagram, k), f"{_name(node)} of {what}")


def _at(diagram: Diagram, point: int) -> float:
    return (diagram.drawing.layer_of[point] + 0.5) / diagram.drawing.depth


def _name(node: ValueNode) -> str:
    if not node.iterations:
        return node.name
    return f"{node.iterations:,} more iterations" if node.iterations > 1 else "one more iteration"


# ------------------------------------------------------------------- values and ribbons


def _drawn(diagram: Diagram, has_titles: bool) -> tuple[int, str, _Directions]:
    """Return the height of the picture, its shapes, and the directions in it."""
    middles, heights = diagram.drawing.middles, diagram.heights
    top = min(*middles, *(middles[k] - h / 2 for k, h in enumerate(heights)))
    extent = max(*middles, *(middles[k] + h / 2 for k, h in enumerate(heights))) - top
    scale = min(_PATH_HEIGHT, _MAX_HEIGHT / max(1, extent))
    places = _Places(diagram, top, scale)
    shapes = [
        _shape(
            f"thin {arc.direction}"
            if len(diagram.drawing.routes[k]) > 2
            else f"arc {arc.direction}",
            _ribbon(places, diagram.drawing.routes[k]),
            _about_arc(diagram, arc) if has_titles else "",
        )
        for k, arc in enumerate(diagram.arcs)
    ]
    bars = [
        ("folded" if node.iterations else "", places.bar(k), _about_node(node))
        for k, node in enumerate(diagram.nodes)
    ]
    if has_titles:
        shapes += [_shape(*bar) for bar in bars]
    else:
        for kind in ("", "folded"):
            shapes.append(_shape(kind, "".join(bar for of, bar, _ in bars if of == kind), ""))
    height = round(extent * scale) + 2 * _MARGIN
    return height, "".join(shapes), {arc.direction for arc in diagram.arcs}


def _shape(kind: str, outline: str, said: str) -> str:
    of = f' class="{kind}"' if kind else ""
    title = f"><title>{escape(said[:_MAX_TEXT])}</title></path>" if said else "/>"
    return f'<path{of} d="{outline}"{title}' if outline else ""


def _about_arc(diagram: Diagram, arc: JacobianArc) -> str:
    tail, head = diagram.nodes[arc.tail], diagram.nodes[arc.head]
    way = f", {DIRECTION_WORDS[arc.direction]}" if arc.direction != "leaf" else ""
    return f"{_name(tail)} to {_name(head)}: {', '.join(arc.kinds)}{way}"


def _about_node(node: ValueNode) -> str:
    what = f"{_name(node)}: {' x '.join(f'{n:,}' for n in node.shape) or 'one entry'}"
    return what if node.site is None else f"{what}, {node.site} {node.site.text}"


@dataclass(frozen=True)
class _Places:
    """Where the points of a diagram are in the picture."""

    diagram: Diagram
    top: float
    scale: float

    def x(self, point: int) -> float:
        return _WIDTH * _at(self.diagram, point)

    def y(self, point: int) -> float:
        return _MARGIN + (self.diagram.drawing.middles[point] - self.top) * self.scale

    def half(self, point: int) -> float:
        return max(_MIN_BAR, self.diagram.heights[point] * self.scale) / 2

    def bar(self, node: int) -> str:
        y, half = self.y(node), self.half(node)
        return f"M{self.x(node):.0f} {y - half:.1f}V{y + half:.1f}"


def _ribbon(places: _Places, route: Sequence[int]) -> str:
    """Return what leads from one value to the next, as wide as these; past others, a line."""
    ends = [(places.x(point), places.y(point)) for point in route]
    if len(route) > 2:
        curves = "".join(_curve(*one, *two) for one, two in pairwise(ends))
        return f"M{ends[0][0]:.0f} {ends[0][1]:.1f}{curves}"
    (x, y), (u, v) = ends
    a, b = map(places.half, route)
    return (
        f"M{x:.0f} {y - a:.1f}{_curve(x, y - a, u, v - b)}V{v + b:.1f}{_curve(u, v + b, x, y + a)}Z"
    )


def _curve(x: float, y: float, u: float, v: float) -> str:
    middle = (x + u) / 2
    return f"C{middle:.0f} {y:.1f} {middle:.0f} {v:.1f} {u:.0f} {v:.1f}"


# ------------------------------------------------------------------------- many values


def _added_up(diagram: Diagram) -> tuple[int, str, _Directions]:
    """Return the values of every layer on one another, by their directions.

    Of neighbouring layers that share a column the narrowest is shown; the first and the last one
    are.
    """
    depth = diagram.drawing.depth
    layers: list[Counter[Direction]] = [Counter() for _ in range(depth)]
    towards = {arc.head: arc.direction for arc in diagram.arcs}
    towards |= {arc.tail: arc.direction for arc in diagram.arcs}
    for k, node in enumerate(diagram.nodes):
        direction = node.direction or towards.get(k, "leaf")
        layers[diagram.drawing.layer_of[k]][direction] += node.size
    n = min(depth, _MAX_COLUMNS)
    cuts = [k * depth // n for k in range(n + 1)]
    columns = [min(layers[one:two], key=Counter.total) for one, two in pairwise(cuts)]
    columns[0], columns[-1] = layers[0], layers[-1]
    most = max(1, *(column.total() for column in columns))
    heights = [max(_MIN_BAR, _PATH_HEIGHT * column.total() / most) for column in columns]
    scales = [h / max(1, column.total()) for h, column in zip(heights, columns, strict=True)]
    tops = [_PATH_HEIGHT / 2 + _MARGIN - height / 2 for height in heights]
    shapes = []
    ways = [way for way in DIRECTION_WORDS if any(column[way] for column in columns)]
    for way in ways:
        sizes = [scale * column[way] for scale, column in zip(scales, columns, strict=True)]
        bottoms = [top + size for top, size in zip(tops, sizes, strict=True)]
        shapes.append(_shape(f"arc {way}", _between(tops, bottoms), ""))
        tops = bottoms
    return _PATH_HEIGHT + 2 * _MARGIN, "".join(shapes), {*ways}


def _between(tops: Sequence[float], bottoms: Sequence[float]) -> str:
    """Return the outline of what is between two heights in every column."""
    n = len(tops)
    there = "".join(f"V{y:.1f}H{_WIDTH * (k + 1) / n:.0f}" for k, y in enumerate(tops))
    back = "".join(f"V{bottoms[k]:.1f}H{_WIDTH * k / n:.0f}" for k in reversed(range(n)))
    return f"M0 {bottoms[0]:.1f}{there}{back}Z"
