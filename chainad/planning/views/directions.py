"""The direction in which every step of a plan works, as a reader sees it: words and colors."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chainad.planning.plan import Plan
    from chainad.planning.steps import Direction

DIRECTION_WORDS: dict[Direction, str] = {
    "forward": "pushed forward",
    "reverse": "pulled back",
    "join": "joined",
    "leaf": "multiplied",
    "sum": "added",
    "materialize": "written out",
}
DIRECTION_ARROWS: dict[Direction, str] = {
    "forward": "->",
    "reverse": "<-",
    "join": "><",
    "leaf": "..",
    "sum": "++",
    "materialize": "[]",
}

# Told apart by the color-blind, too: Okabe & Ito 2008, *Color universal design*.
DIRECTION_COLORS: dict[Direction, str] = {
    "forward": "#0072B2",
    "reverse": "#D55E00",
    "join": "#009E73",
    "leaf": "#8A8A8A",
    "sum": "#BDBDBD",
    "materialize": "#CC79A7",
}

# The same, lighter, on black.
DARK_DIRECTION_COLORS: dict[Direction, str] = {
    "forward": "#56A8DC",
    "reverse": "#F0884A",
    "join": "#35C79B",
    "leaf": "#9A9A9A",
    "sum": "#6E6E6E",
    "materialize": "#E09CC0",
}


def shown_directions(plan: Plan) -> dict[int, Direction]:
    """Return the direction of every step as a reader sees it.

    A product of two local Jacobians, or a sum, goes the way in which it is used. Of what is joined,
    the right factor was pulled back, the left one pushed forward. A product that is used no more
    goes the way of the plan.
    """
    shown: dict[int, Direction] = {step.number: step.direction for step in plan.steps}
    for step in reversed(plan.steps):
        way = shown[step.number]
        for used, side in ((step.left, "forward"), (step.right, "reverse")):
            if way != "sum" and shown.get(used) in ("leaf", "sum"):
                shown[used] = side if way == "join" else way  # type: ignore[assignment]
    final = {number for numbers in plan.results for number in numbers}
    last: Direction = "join" if plan.mode == "hybrid" else plan.mode
    return {k: last if k in final and way == "leaf" else way for k, way in shown.items()}
