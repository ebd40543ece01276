"""A plan as one picture: what it does, where it is narrow, what its products cost, and the others.

Drawn by matplotlib, without pyplot and its global state.
"""

from __future__ import annotations

import io
import os
from functools import partial
from importlib.util import find_spec
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from chainad.errors import MissingExtraError
from chainad.planning.steps import Direction
from chainad.planning.views.diagram import Diagram, diagram_of
from chainad.planning.views.directions import DIRECTION_COLORS, DIRECTION_WORDS, shown_directions
from chainad.planning.views.draw_steps import draw_steps
from chainad.planning.views.draw_values import caption, draw_values, extents, margins
from chainad.planning.views.labels import FAINT, INK
from chainad.planning.views.overview import (
    Offer,
    headline,
    offers,
    other_orders,
    peak_and_proof,
    verdict,
)
from chainad.planning.views.quantities import amount, compact
from chainad.planning.views.terminal import cut

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from chainad.planning.plan import Plan

# In inches.
_WIDTH = 11.0
_MARGIN = 0.55
_VALUES_MARGIN = 0.15
_MIN_VALUES_HEIGHT, _MAX_VALUES_HEIGHT = 1.2, 3.6
_STEPS_LEFT, _STEPS_WIDTH, _STEPS_HEIGHT = 0.65, 6.0, 2.3
_ORDERS_LEFT, _ORDERS_WIDTH = 8.05, 2.6

_DOTS_PER_INCH = 110
_CHARACTERS, CHARACTERS_OF_TITLE, _CHARACTERS_OF_CAPTION = 125, 84, 92
_MAX_VERDICT_LINES = 3
_MAX_OTHER_ORDERS = 2
_PURE: tuple[Direction, ...] = ("forward", "reverse")


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of some inches, which notebooks show.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise MissingExtraError(
            'pictures need matplotlib, which is not installed; pip install "chainad[plot]"'
        )
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width, height), _DOTS_PER_INCH, facecolor="white")
    figure.set_layout_engine("none")
    FigureCanvasAgg(figure)
    # Notebooks know how to show figures only once pyplot is imported.
    vars(figure)["_repr_png_"] = partial(_png, figure)
    return figure


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def draw(plan: Plan, path: str | os.PathLike[str] | None = None) -> Figure:
    """Return a picture of a plan; write it to `path`, if given."""
    diagram = diagram_of(plan)
    top, bottom = extents(diagram)
    values = min(max(bottom - top, _MIN_VALUES_HEIGHT), _MAX_VALUES_HEIGHT) + sum(margins(diagram))
    lines = wrap(verdict(plan), _CHARACTERS, break_on_hyphens=False)[:_MAX_VERDICT_LINES]
    notes = wrap(caption(diagram), _CHARACTERS_OF_CAPTION)
    verdict_at, caption_at = 0.45, 0.55 + 0.2 * len(lines)
    values_at = caption_at + 0.1 + 0.16 * len(notes) + values
    steps_at = values_at + 0.4 + _STEPS_HEIGHT if plan.multiplications else values_at
    height = steps_at + 0.75
    figure = new_figure(_WIDTH, height)
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]

    def axes_at(left: float, down: float, wide: float, tall: float) -> Axes:
        axes = figure.add_axes((left / _WIDTH, 1 - down / height, wide / _WIDTH, tall / height))
        # Whatever style the user prefers: the picture stands on white.
        axes.set_facecolor("none")
        axes.grid(False)
        axes.tick_params(colors=INK)
        axes.spines[:].set_color(INK)
        return axes

    def write(down: float, text: str, **style: Any) -> None:
        look: dict[str, Any] = {"va": "top", "fontsize": 8.5, "color": FAINT} | style
        figure.text(_MARGIN / _WIDTH, 1 - down / height, text, parse_math=False, **look)

    title, _ = headline(plan)
    write(0.15, cut(title, CHARACTERS_OF_TITLE), fontsize=12, fontweight="bold", color=INK)
    write(verdict_at, "\n".join(lines), fontsize=9.5, color=INK, linespacing=1.3)
    write(caption_at, "\n".join(notes))
    _legend(diagram, figure, 1 - (caption_at - 0.08) / height)
    width = _WIDTH - 2 * _VALUES_MARGIN
    draw_values(diagram, axes_at(_VALUES_MARGIN, values_at, width, values), renderer)
    if plan.multiplications:
        draw_steps(plan, axes_at(_STEPS_LEFT, steps_at, _STEPS_WIDTH, _STEPS_HEIGHT), renderer)
        _orders(plan, axes_at(_ORDERS_LEFT, steps_at, _ORDERS_WIDTH, _STEPS_HEIGHT))
    write(height - 0.3, cut(peak_and_proof(plan), _CHARACTERS))
    if path is not None:
        figure.savefig(path)
    return figure


def _legend(diagram: Diagram, figure: Figure, up: float) -> None:
    """Say what the colors mean that occur."""
    from matplotlib.patches import Patch

    plan = diagram.plan
    shown = shown_directions(plan)
    paid = {shown[step.number] for step in plan.steps if step.multiplications}
    used = paid | {arc.direction for arc in diagram.arcs}
    words = DIRECTION_WORDS if "leaf" in paid else DIRECTION_WORDS | {"leaf": "not multiplied"}
    handles = [
        Patch(facecolor=color, label=words[way])
        for way, color in DIRECTION_COLORS.items()
        if way in used
    ]
    figure.legend(
        handles=handles,
        loc="upper right",
        bbox_to_anchor=(1 - 0.3 / _WIDTH, up),
        ncols=max(1, len(handles)),
        fontsize=8.5,
        labelcolor=INK,
        frameon=False,
        handlelength=1,
        columnspacing=1.2,
    )


def _orders(plan: Plan, axes: Axes) -> None:
    """Draw what this plan costs, beside the pure modes, the best other orders, and the bound."""
    rows = [*offers(plan), *other_orders(plan)[:_MAX_OTHER_ORDERS]]
    if not rows:
        rows = [Offer("this plan", plan.mode, plan.cost, amount(plan.model, plan.cost), "")]
    most = max(1, *(row.cost for row in rows))
    parts = [row.cost / most for row in rows]  # costs may be more than floats can tell
    colors = [INK, *map(_color, rows[1:])]
    axes.barh(range(len(rows)), parts, height=0.6, color=colors)
    for k, row in enumerate(rows):
        times = f"  {row.ratio}" if k and row.ratio != "1.0x" else ""
        text = f" {_amount(plan, row.cost)}{times}"
        axes.text(parts[k], k, text, va="center", fontsize=8.5, color=INK)
    axes.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=8.5)
    axes.set_xlim(0, 1.65)
    axes.set_ylim(len(rows) - 0.4, -0.9)
    axes.set_xticks([])
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.tick_params(length=0)
    if plan.bound is not None and 0 < plan.bound < plan.cost:
        axes.axvline(plan.bound / most, color=FAINT, lw=0.9, ls=":")
        axes.annotate(
            "no order costs less",
            (plan.bound / most, -0.9),
            xytext=(3, -1),
            textcoords="offset points",
            va="top",
            fontsize=7.5,
            color=FAINT,
        )
    axes.set_title(plan.model, fontsize=8.5, color=FAINT, loc="left")


def _color(row: Offer) -> str:
    for way in _PURE:
        if row.mode == way:
            return DIRECTION_COLORS[way]
    return DIRECTION_COLORS["leaf"]


def _amount(plan: Plan, cost: int) -> str:
    return compact(cost) if plan.model == "multiplications" else amount(plan.model, cost)
