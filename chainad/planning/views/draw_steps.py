"""The products of a plan: the bracketing of a chain, or what every product costs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from chainad.planning.linear_graph import Edge
from chainad.planning.steps import Direction, Step
from chainad.planning.views.directions import DIRECTION_COLORS, shown_directions
from chainad.planning.views.labels import FAINT, INK, Anchor, Labels
from chainad.planning.views.line_costs import paid_vertices
from chainad.planning.views.overview import place
from chainad.planning.views.quantities import by_shape, compact

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase

    from chainad.planning.plan import Plan

# A bracketing of more factors is drawn as the spans that grow, not as a tree.
_MAX_TREE_FACTORS = 12

# More products are drawn as a curve, and still more as sums of neighbors.
_MAX_BARS = 100
_MAX_BINS = 300

# Fewer bars are no wider.
_MIN_BARS = 8

# What costs a smaller share has no label.
_LEAST_SHARE = 0.02
_NAMED_PRODUCTS = 5


def draw_steps(plan: Plan, axes: Axes, renderer: RendererBase) -> None:
    """Draw the products of a plan into axes that have their final size."""
    chain = plan.graph.chain
    if chain is not None and len(chain) <= _MAX_TREE_FACTORS:
        _tree(plan, chain, axes, renderer)
    elif chain is not None:
        _spans(plan, chain, axes)
    else:
        _products(plan, axes, renderer)


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, fontsize=8.5, color=FAINT, loc="left")


def _share(plan: Plan, step: Step) -> float:
    return step.multiplications / max(1, plan.multiplications)


def _factors(plan: Plan, step: Step) -> str:
    one, two = plan.structures[step.left], plan.structures[step.right]
    if step.direction == "materialize":
        return by_shape(one.matrix_shape)
    return f"{by_shape(one.matrix_shape)} . {by_shape(two.matrix_shape)}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 else "< 1 %"


# ------------------------------------------------------------------------- bracketing


def _tree(plan: Plan, chain: tuple[Edge, ...], axes: Axes, renderer: RendererBase) -> None:
    """Draw the factors in the order of the function, and above them the products of two."""
    numbers = {edge.tail: k for k, edge in enumerate(plan.graph.edges)}
    leaves = [numbers[edge.tail] for edge in chain]
    x = {number: float(column) for column, number in enumerate(leaves)}
    y = dict.fromkeys(leaves, 0.0)
    shown = shown_directions(plan)
    for step in plan.steps:
        x[step.number] = (x[step.left] + x[step.right]) / 2
        y[step.number] = max(y[step.left], y[step.right]) + 1
    top = max(y.values())
    axes.axis("off")
    axes.set_xlim(-0.6, len(leaves) - 0.4)
    axes.set_ylim(-0.3 * top - 0.2, 1.12 * top + 0.2)
    labels = Labels(axes, renderer)
    for step in plan.steps:
        color = DIRECTION_COLORS[shown[step.number]]
        width = 1 + 4 * _share(plan, step) ** 0.5
        for used in (step.left, step.right):
            labels.keep_free(x[used] - 0.03, y[used], x[used] + 0.03, y[step.number])
            axes.plot(
                [x[used], x[used], x[step.number]],
                [y[used], y[step.number], y[step.number]],
                color=color,
                lw=width,
                solid_capstyle="round",
                solid_joinstyle="round",
                zorder=1,
            )
    axes.scatter(
        [x[s.number] for s in plan.steps],
        [y[s.number] for s in plan.steps],
        s=[_area(plan, s) for s in plan.steps],
        c=[DIRECTION_COLORS[shown[s.number]] for s in plan.steps],
        edgecolors="white",
        zorder=3,
    )
    for step in plan.steps:
        labels.keep_dot_free(x[step.number], y[step.number], _area(plan, step))
    axes.scatter(range(len(leaves)), [0.0] * len(leaves), s=40, marker="s", c=INK, zorder=3)
    for number in leaves:
        origins = plan.graph.origins
        name = origins[number].name.removeprefix("np.") if origins else f"J{number + 1}"
        shape = by_shape(plan.structures[number].matrix_shape)
        below = Anchor(x[number], 0, up=-7, vertical="top")
        _put_one_of(labels, [f"{name}\n{shape}", name, shape], [below])
    for step in sorted(plan.steps, key=lambda step: -step.multiplications):
        if _share(plan, step) >= _LEAST_SHARE:
            radius = _area(plan, step) ** 0.5 / 2 + 2
            above = Anchor(x[step.number], y[step.number], up=radius)
            below = above._replace(up=-radius, vertical="top")
            right = above._replace(right=radius, up=3, horizontal="left")
            left = right._replace(right=-radius, horizontal="right")
            lower = right._replace(up=-3, vertical="top")
            beside = [right, left, lower]
            if step is not plan.steps[-1]:  # above that one is the title
                beside.insert(0, above)
            _put_one_of(labels, _texts(plan, step), [below, *beside])
    _title(axes, "the bracketing: factors in the order of the function, products above them")


def _area(plan: Plan, step: Step) -> float:
    """Return how large the dot of a product is, in square points."""
    return 25 + 600 * _share(plan, step)


def _texts(plan: Plan, step: Step) -> list[str]:
    """Return what may be written at a product, the more telling first."""
    factors, percent = _factors(plan, step), _percent(_share(plan, step))
    in_two = factors.replace(" . ", " .\n")
    return [f"{factors}\n{percent}", f"{in_two}\n{percent}", percent]


def _put_one_of(labels: Labels, texts: Sequence[str], anchors: Sequence[Anchor]) -> None:
    for text in texts:
        if labels.put(text, anchors, fontsize=8):
            return


def _spans(plan: Plan, chain: tuple[Edge, ...], axes: Axes) -> None:
    """Draw every product as the stretch of the chain that it covers, one above the other."""
    from matplotlib.collections import PolyCollection

    place = {edge.tail: k for k, edge in enumerate(chain)}
    place[chain[-1].head] = len(chain)
    shown = shown_directions(plan)
    steps = [step for step in plan.steps if step.direction != "materialize"]
    boxes: dict[Direction, list[list[tuple[float, float]]]] = defaultdict(list)
    for row, step in enumerate(steps):
        first, last = place[step.tail], place[step.head]
        corners = [(first, row), (last, row), (last, row + 1), (first, row + 1)]
        boxes[shown[step.number]].append([(float(a), float(b)) for a, b in corners])
    for direction, found in boxes.items():
        color = DIRECTION_COLORS[direction]
        edge = "white" if len(steps) <= 60 else "none"
        axes.add_collection(PolyCollection(found, facecolors=color, edgecolors=edge, lw=0.4))
    axes.set_xlim(0, len(chain))
    axes.set_ylim(0, len(steps))
    axes.set_xlabel(f"{len(chain):,} operations, from input to output", fontsize=8, color=INK)
    axes.set_ylabel(f"{len(steps):,} products", fontsize=8, color=INK)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda count, _: f"{count:,.0f}")
    axes.tick_params(labelsize=7.5)
    axes.spines[["top", "right"]].set_visible(False)
    _title(axes, "what every product covers, the first at the bottom")


# ----------------------------------------------------------------------------- costs


def _products(plan: Plan, axes: Axes, renderer: RendererBase) -> None:
    """Draw what every product costs, in the order of the plan."""
    from matplotlib.ticker import MaxNLocator

    steps = [step for step in plan.steps if step.multiplications]
    shown = shown_directions(plan)
    axes.tick_params(labelsize=7.5)
    axes.yaxis.set_major_formatter(lambda count, _: compact(count))
    axes.spines[["top", "right"]].set_visible(False)
    said = "one product" if len(steps) == 1 else f"{len(steps):,} products, in order"
    axes.set_xlabel(said, fontsize=8, color=INK)
    if len(steps) > _MAX_BARS:
        _many_products(plan, steps, axes)
        return
    _title(axes, "multiplications of every product")
    costs = [float(step.multiplications) for step in steps]
    colors = [DIRECTION_COLORS[shown[step.number]] for step in steps]
    axes.bar(range(1, len(steps) + 1), costs, width=0.9, color=colors)
    middle, half = (len(steps) + 1) / 2, max(len(steps), _MIN_BARS) / 2 + 0.2
    axes.set_xlim(middle - half, middle + half)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(steps) <= _MIN_BARS:
        axes.set_xticks(range(1, len(steps) + 1))
    axes.set_ylim(0, 1.3 * max(costs))
    labels = Labels(axes, renderer)
    for k, cost in enumerate(costs, start=1):
        labels.keep_free(k - 0.5, 0, k + 0.5, cost)
    named: set[str] = set()
    paid = paid_vertices(plan)
    for k in sorted(range(len(steps)), key=lambda k: -costs[k]):
        share = _share(plan, steps[k])
        if share < _LEAST_SHARE or len(named) == _NAMED_PRODUCTS:
            break
        factors = _factors(plan, steps[k])
        line = f", {place(plan, paid[steps[k].number])[0]}"
        anchors = [
            Anchor(k + 1, costs[k], up=2, horizontal=side) for side in ("center", "left", "right")
        ]
        text = f"{factors}\n{_percent(share)}{line}"
        if text not in named and labels.put(text, anchors, fontsize=8):
            named.add(text)


def _many_products(plan: Plan, steps: Sequence[Step], axes: Axes) -> None:
    """Draw the costs of many products, or of neighbors together, stacked by direction."""
    shown = shown_directions(plan)
    width = -(-len(steps) // _MAX_BINS)
    n_bins = -(-len(steps) // width)
    sums: dict[Direction, list[float]] = {
        way: [0.0] * n_bins
        for way in DIRECTION_COLORS
        if any(shown[step.number] == way for step in steps)
    }
    for k, step in enumerate(steps):
        sums[shown[step.number]][k // width] += step.multiplications
    edges = [*range(0, len(steps), width), len(steps)]
    bottom = [0.0] * n_bins
    for way, heights in sums.items():
        top = [below + height for below, height in zip(bottom, heights, strict=True)]
        axes.stairs(top, edges, baseline=bottom, fill=True, color=DIRECTION_COLORS[way], lw=0)
        bottom = top
    axes.set_xlim(0, len(steps))
    axes.set_ylim(0, 1.08 * max(bottom))
    axes.xaxis.set_major_formatter(lambda count, _: f"{count:,.0f}")
    what = "product" if width == 1 else f"{width} products, together"
    _title(axes, f"multiplications of every {what}")
