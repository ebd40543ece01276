"""The values of a plan, from input to output: bars with ribbons between them, or dots with lines.

A bar is as long as its value has entries, so that narrow places are seen; a ribbon is a local
Jacobian in the color of what happens to it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from chainad.planning.steps import Direction
from chainad.planning.views.diagram import Diagram, JacobianArc, NarrowPlace, ValueNode
from chainad.planning.views.directions import DIRECTION_COLORS
from chainad.planning.views.labels import FAINT, INK, Anchor, Horizontal, Labels
from chainad.planning.views.quantities import compact, count_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase

_BAR_INCHES = 0.17
_MAX_LAYER_INCHES = 2.0
_MAX_SOURCE_LENGTH = 56

# More inputs, or outputs, have their labels beside them, which takes some room.
_MAX_ENDS_ABOVE = 2
_LABEL_INCHES = 1.2
_BESIDE_POINTS = 9

# In a picture of more layers, bars are thinner than a pixel or two.
_MAX_LAYERS_WITH_BARS = 150

# In a picture of more layers, only the ends and narrow places have labels.
_MAX_LABELLED_LAYERS = 40

# What jumps over layers is a line of this height, in heights of the tallest bar.
_LINE = 0.05

# The largest dots of all, if they were all as large, in square points.
_DOTS_AREA = 40_000

# So many dots have labels, if they cost such a share of the multiplications.
_NAMED_DOTS = 6
_LEAST_SHARE = 0.01

_SPARSE = frozenset(
    {"diagonal", "identity", "-identity", "rearrangement", "selection", "sum", "broadcast", "zero"}
)


def draw_values(diagram: Diagram, axes: Axes, renderer: RendererBase) -> None:
    """Draw the graph of a plan into axes that have their final size."""
    axes.axis("off")
    labels = _with_limits(diagram, axes, renderer)
    if diagram.has_dots:
        _dots(diagram, axes, labels)
    else:
        _bars(diagram, axes, labels)


def caption(diagram: Diagram) -> str:
    """Return the line that says how to read the picture."""
    if diagram.has_dots:
        return (
            f"{len(diagram.nodes):,} values from left to right;"
            " the larger a dot, the more its elimination costs"
        )
    scale = "logarithmic" if diagram.is_logarithmic else "to scale"
    moves = "move is" if diagram.n_moved == 1 else "moves are"
    hidden = f"; {diagram.n_moved:,} {moves} hidden" if diagram.n_moved else ""
    return f"bars are values, {scale}; ribbons are local Jacobians, pale if sparse{hidden}"


def _with_limits(diagram: Diagram, axes: Axes, renderer: RendererBase) -> Labels:
    """Set the limits of the axes, with room for labels above and below."""
    box = axes.get_window_extent()
    depth = diagram.drawing.depth
    inches = box.width / axes.figure.dpi
    before, after = (_LABEL_INCHES * has_many for has_many in _have_many(diagram))
    wide = max(depth, (inches - before - after) / _MAX_LAYER_INCHES)
    layers_per_inch = wide / (inches - before - after)
    axes.set_xlim(
        (depth - 1 - wide) / 2 - before * layers_per_inch,
        (depth - 1 + wide) / 2 + after * layers_per_inch,
    )
    top, bottom = extents(diagram)
    above, below = margins(diagram)
    scale = (bottom - top) / (box.height / axes.figure.dpi - above - below)
    axes.set_ylim(bottom + below * scale, top - above * scale)
    return Labels(axes, renderer)


def _have_many(diagram: Diagram) -> tuple[bool, bool]:
    """Return whether the labels of the inputs, and of the outputs, stand beside their bars."""
    layers = diagram.drawing.layers
    first, last = (len(layer) > _MAX_ENDS_ABOVE for layer in (layers[0], layers[-1]))
    return first and not diagram.has_dots, last and not diagram.has_dots


def extents(diagram: Diagram) -> tuple[float, float]:
    """Return where the drawing begins and ends, downwards."""
    middles = diagram.drawing.middles
    heights = [*diagram.heights, *[0.0] * (len(middles) - len(diagram.heights))]
    places = [*zip(middles, heights, strict=True)]
    top = min(middle - height / 2 for middle, height in places)
    bottom = max(middle + height / 2 for middle, height in places)
    return top, max(bottom, top + 0.5)


def margins(diagram: Diagram) -> tuple[float, float]:
    """Return the inches above and below the drawing that labels need."""
    if diagram.has_dots:
        return 0.25, 0.25
    return 0.42, 0.62 if diagram.narrowest else 0.42


# ------------------------------------------------------------------------------- bars


@dataclass(frozen=True, slots=True)
class _Port:
    """Where a ribbon touches a bar, or a bend."""

    x: float
    top: float
    bottom: float


def _bars(diagram: Diagram, axes: Axes, labels: Labels) -> None:
    from matplotlib.patches import Rectangle

    drawing = diagram.drawing
    left, right = axes.get_xlim()
    inches = axes.get_window_extent().width / axes.figure.dpi / (right - left)
    half = min(_BAR_INCHES / inches, 0.36) / 2
    has_bars = drawing.depth <= _MAX_LAYERS_WITH_BARS
    _ribbons(diagram, axes, half if has_bars else 0.0)
    for k, node in enumerate(diagram.nodes):
        height = diagram.heights[k]
        corner = (drawing.layer_of[k] - half, drawing.middles[k] - height / 2)
        if node.iterations:
            style: dict[str, Any] = {"fc": "white", "ec": INK, "hatch": "/////", "lw": 0.8}
        else:
            style = {"fc": INK, "ec": INK, "lw": 0.5 if drawing.depth <= 40 else 0}
        if has_bars or node.iterations:
            axes.add_patch(Rectangle(corner, 2 * half, height, zorder=3, **style))
        labels.keep_free(*corner, corner[0] + 2 * half, corner[1] + height)
    if diagram.narrowest:
        _mark(diagram, diagram.narrowest, axes, labels)
    ends = [k for k, node in enumerate(diagram.nodes) if node.role != "inner" or node.iterations]
    inner = [k for k, node in enumerate(diagram.nodes) if k not in {*ends}]
    inner.sort(key=lambda k: -diagram.nodes[k].multiplications)
    if drawing.depth <= _MAX_LABELLED_LAYERS:
        for k in [*ends, *inner]:
            _label(diagram, k, labels)
    else:
        _label_ends(diagram, labels)


def _ribbons(diagram: Diagram, axes: Axes, half: float) -> None:
    """Draw all local Jacobians; those of one color and one shade are one collection."""
    from matplotlib.collections import PathCollection
    from matplotlib.path import Path

    paths: dict[tuple[Direction, bool], list[Path]] = defaultdict(list)
    for arc, ports in zip(diagram.arcs, _ports(diagram, half), strict=True):
        is_sparse = _SPARSE.issuperset(arc.kinds)
        for one, other in pairwise(ports):
            paths[arc.direction, is_sparse].append(Path(*_ribbon(one, other)))
    for (direction, is_sparse), found in paths.items():
        color = DIRECTION_COLORS[direction]
        alpha = 0.22 if is_sparse else 0.45
        axes.add_collection(
            PathCollection(found, facecolors=color, edgecolors="none", alpha=alpha, zorder=1),
            autolim=False,
        )


def _ribbon(one: _Port, other: _Port) -> tuple[list[tuple[float, float]], list[int]]:
    """Return the outline of a ribbon between two ports, as points and codes of a path."""
    from matplotlib.path import Path

    middle = (one.x + other.x) / 2
    points = [(one.x, one.top), (middle, one.top), (middle, other.top), (other.x, other.top)]
    points += [(other.x, other.bottom), (middle, other.bottom)]
    points += [(middle, one.bottom), (one.x, one.bottom), (one.x, one.top)]
    curve = [int(Path.CURVE4)] * 3
    return points, [int(Path.MOVETO), *curve, int(Path.LINETO), *curve, int(Path.CLOSEPOLY)]


def _ports(diagram: Diagram, half: float) -> list[list[_Port]]:
    """Return where every arc touches its bars and bends; the arcs at one side of a bar share it."""
    drawing = diagram.drawing
    leaving: dict[int, list[int]] = defaultdict(list)
    entering: dict[int, list[int]] = defaultdict(list)
    for k, route in enumerate(drawing.routes):
        leaving[route[0]].append(k)
        entering[route[-1]].append(k)
    ends: dict[tuple[int, bool], _Port] = {}
    for is_head, arcs_at in ((False, leaving), (True, entering)):
        for node, arcs in arcs_at.items():
            x = drawing.layer_of[node] + (-half if is_head else half)
            nearby = {k: drawing.routes[k][-2 if is_head else 1] for k in arcs}
            arcs.sort(key=lambda k, near=nearby: drawing.middles[near[k]])  # type: ignore[misc]
            shares = _shares(diagram, node, arcs)
            top = drawing.middles[node] - sum(shares) / 2
            for k, share in zip(arcs, shares, strict=True):
                ends[k, is_head] = _Port(x, top, top + share)
                top += share
    found = []
    for k, route in enumerate(drawing.routes):
        first, last = ends[k, False], ends[k, True]
        thick = min(_LINE, first.bottom - first.top, last.bottom - last.top)
        bends = [
            _Port(
                drawing.layer_of[p], drawing.middles[p] - thick / 2, drawing.middles[p] + thick / 2
            )
            for p in route[1:-1]
        ]
        found.append([first, *bends, last])
    return found


def _shares(diagram: Diagram, node: int, arcs: Sequence[int]) -> list[float]:
    """Return how much of a bar each of its arcs at one side takes: all of it, together.

    What jumps over layers is a line; the others share the rest by the size of their other end.
    """
    height = diagram.heights[node]
    layer_of = diagram.drawing.layer_of
    weights, lines = [], []
    for k in arcs:
        arc = diagram.arcs[k]
        is_long = layer_of[arc.head] - layer_of[arc.tail] > 1
        lines.append(min(_LINE, height / len(arcs)) if is_long else 0.0)
        weights.append(0.0 if is_long else diagram.heights[_other_end(arc, node)])
    rest, total = height - sum(lines), sum(weights)
    return [line or rest * weight / total for line, weight in zip(lines, weights, strict=True)]


def _other_end(arc: JacobianArc, node: int) -> int:
    return arc.head if arc.tail == node else arc.tail


def _label(diagram: Diagram, k: int, labels: Labels) -> None:
    """Write at a bar what it is: above it, or below."""
    x = diagram.drawing.layer_of[k]
    top, bottom = (diagram.drawing.middles[k] + side * diagram.heights[k] / 2 for side in (-1, 1))
    is_first, is_last = x == 0, x == diagram.drawing.depth - 1
    anchors = _above(x, top, is_first or is_last)
    anchors += [a._replace(y=bottom, up=-a.up, vertical="top") for a in anchors]
    texts = _texts(diagram.nodes[k])
    many_inputs, many_outputs = _have_many(diagram)
    if (is_first and many_inputs) or (is_last and many_outputs):
        side: Horizontal = "right" if is_first else "left"
        right = -_BESIDE_POINTS if is_first else _BESIDE_POINTS
        anchors = [Anchor(x, (top + bottom) / 2, right, 0, side, "center")]
        texts = [text.replace("\n", "  ") for text in texts]
    for text in texts:
        if labels.put(text, anchors):
            return


def _label_ends(diagram: Diagram, labels: Labels) -> None:
    """Write above the picture what is at its ends, and which iterations are one bar."""
    top, _ = extents(diagram)
    for k, node in enumerate(diagram.nodes):
        if node.role != "inner" or node.iterations:
            labels.put(_texts(node)[0], _above(diagram.drawing.layer_of[k], top, is_end=True))


def _above(x: float, y: float, is_end: bool) -> list[Anchor]:
    """Return where a label may stand above a point; at the ends, to one side of it, too."""
    sides: tuple[Horizontal, ...] = ("center", "left", "right") if is_end else ("center",)
    return [Anchor(x, y, up=3, horizontal=side) for side in sides]


def _texts(node: ValueNode) -> list[str]:
    """Return what may be written at a bar, the more telling first."""
    size = count_text(node.size)
    if node.iterations:
        return [f"{node.iterations} more\niterations", f"{node.iterations} x"]
    line = f" :{node.site.line}" if node.site else ""
    return [f"{node.name}{line}\n{size}", f"{node.name}\n{size}", size]


def _mark(diagram: Diagram, place: NarrowPlace, axes: Axes, labels: Labels) -> None:
    """Point to the narrowest place, and say which line of the user's code it is."""
    node = diagram.nodes[place.node]
    x = diagram.drawing.layer_of[place.node]
    bottom = diagram.drawing.middles[place.node] + diagram.heights[place.node] / 2
    low = extents(diagram)[1]
    color = DIRECTION_COLORS["join"] if place.is_joined else INK
    axes.annotate(
        "",
        (x, bottom),
        xytext=(x, low),
        arrowprops={"arrowstyle": "-|>", "color": color, "lw": 1.4, "shrinkA": 0},
        zorder=5,
    )
    text = f"narrowest: {place.size:,} {'entry' if place.size == 1 else 'entries'}"
    if place.equals > 2:
        text += f", as at {place.equals - 1:,} other values"
    if node.site:
        source = node.site.text
        if len(source) > _MAX_SOURCE_LENGTH:
            source = source[: _MAX_SOURCE_LENGTH - 3] + "..."
        text += f"\n{node.site}   {source}"
    below = [a._replace(up=-2, vertical="top") for a in _above(x, low, is_end=True)]
    labels.put(text, below, color=color, fontweight="bold")


# ------------------------------------------------------------------------------- dots


def _dots(diagram: Diagram, axes: Axes, labels: Labels) -> None:
    """Draw hundreds of values as dots that are as large as their elimination is costly."""
    from matplotlib.collections import PathCollection
    from matplotlib.path import Path

    drawing = diagram.drawing
    curves: dict[Direction, list[Path]] = defaultdict(list)
    for arc, route in zip(diagram.arcs, drawing.routes, strict=True):
        points = [(float(drawing.layer_of[p]), drawing.middles[p]) for p in route]
        curves[arc.direction].append(Path(*_curve(points)))
    for direction, paths in curves.items():
        color = DIRECTION_COLORS[direction]
        axes.add_collection(
            PathCollection(paths, facecolors="none", edgecolors=color, lw=0.6, alpha=0.5),
            autolim=False,
        )
    most = max(1, *(node.multiplications for node in diagram.nodes))
    order = sorted(range(len(diagram.nodes)), key=lambda k: diagram.nodes[k].multiplications)
    nodes = [diagram.nodes[k] for k in order]
    largest = min(110, _DOTS_AREA / len(nodes))
    axes.scatter(
        [drawing.layer_of[k] for k in order],
        [drawing.middles[k] for k in order],
        s=[largest * (0.06 + node.multiplications / most) for node in nodes],
        c=[INK if n.direction is None else DIRECTION_COLORS[n.direction] for n in nodes],
        edgecolors="white",
        linewidths=0.4,
        zorder=3,
    )
    named: set[str] = set()
    total = max(1, diagram.plan.multiplications)
    for k in reversed(order):
        node = diagram.nodes[k]
        if len(named) == _NAMED_DOTS or node.multiplications < _LEAST_SHARE * total:
            break
        x, y = drawing.layer_of[k], drawing.middles[k]
        radius = (1.06 * largest) ** 0.5 / 2 + 1
        line = f" :{node.site.line}" if node.site else ""
        text = f"{node.name}{line} ({compact(node.multiplications)})"
        anchors = [Anchor(x, y, up=radius), Anchor(x, y, up=-radius, vertical="top")]
        if text not in named and labels.put(text, anchors, fontsize=8):
            named.add(text)
    for name, x in (("inputs", 0), ("outputs", drawing.depth - 1)):
        below = [a._replace(up=-4, vertical="top") for a in _above(x, extents(diagram)[1], True)]
        labels.put(name, below, color=FAINT)


def _curve(points: Sequence[tuple[float, float]]) -> tuple[list[tuple[float, float]], list[int]]:
    """Return a smooth line through some points, horizontal in each, as points and codes."""
    from matplotlib.path import Path

    found, codes = [points[0]], [int(Path.MOVETO)]
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (x0 + x1) / 2
        found += [(middle, y0), (middle, y1), (x1, y1)]
        codes += [int(Path.CURVE4)] * 3
    return found, codes
