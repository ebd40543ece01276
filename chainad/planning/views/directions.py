"""The direction in which every step of a plan works, as a reader sees it: words and colors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainad.planning.views.narrow_places import places_to_meet

if TYPE_CHECKING:
    from chainad.planning.plan import Plan
    from chainad.planning.steps import Direction, Step

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


_PURE = ("forward", "reverse")


def shown_directions(plan: Plan) -> dict[int, Direction]:
    """Return the direction of every step as a reader sees it.

    A product of two local Jacobians, a sum, and what only scales by a diagonal, go the way of the
    most expensive product that they go into. Two local Jacobians whose product goes into no other
    one go the way of the plan. A hybrid plan joins at a narrow value even if what is before it, or
    after it, is one local Jacobian.
    """
    return _directions(plan)[0]


def directions_of_edges(plan: Plan) -> dict[int, tuple[int, Direction]]:
    """Return the cost and direction of the most expensive step that each local Jacobian goes into.

    It goes into the step that reads it, and into those that read what that one makes, up to where
    both sides are joined: the left one was pushed forward, the right one pulled back.
    """
    uses = _directions(plan)[1]
    found = {k: uses[k] for k in range(len(plan.graph.edges)) if k in uses}
    if plan.mode == "hybrid":
        return found
    # What is free may be taken any way.
    return {k: (n, plan.mode if not n and w in _PURE else w) for k, (n, w) in found.items()}


def _directions(plan: Plan) -> tuple[dict[int, Direction], dict[int, tuple[int, Direction]]]:
    """Return the directions of the steps, and the most expensive use of every Jacobian."""
    places = places_to_meet(plan)
    last: Direction = "join" if plan.mode == "hybrid" else plan.mode
    inputs, outputs = plan.graph.inputs, plan.graph.outputs
    shown: dict[int, Direction] = {}
    uses: dict[int, tuple[int, Direction]] = {}
    for step in reversed(plan.steps):
        use = uses.get(step.number)
        is_met = step.via in places and step.tail in inputs and step.head in outputs
        way = "join" if is_met else _shown_direction(plan, step, use, last)
        shown[step.number] = way
        sides: tuple[tuple[int, Direction], ...] = ((step.left, "forward"), (step.right, "reverse"))
        for number, side in sides:
            goes_into = [uses[number]] if number in uses else []
            if way == "join":
                goes_into.append((0, side))
            else:
                goes_into += [(step.multiplications, way), *([use] if use else [])]
            uses[number] = max(goes_into, key=lambda each: each[0])
    return shown, uses


def _shown_direction(
    plan: Plan, step: Step, use: tuple[int, Direction] | None, last: Direction
) -> Direction:
    """Return the direction of a step, by the most expensive one that its result goes into."""
    own = step.direction
    if own in ("leaf", "sum"):
        if use is None or use[1] == "sum":
            return last if own == "leaf" else own
        return use[1]
    if own in _PURE and use and use[1] in _PURE and use[0] > step.multiplications:
        scales = "diagonal" in (plan.structures[step.left].kind, plan.structures[step.right].kind)
        return use[1] if scales else own
    return own
