"""What there is to say of a plan: the verdict, the other orders, the steps that cost most.

Text and pages render it; values are named by the user's lines.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chainad.planning.views.diagram import passed_by_every_path
from chainad.planning.views.directions import DIRECTION_WORDS, shown_directions
from chainad.planning.views.quantities import amount, by_shape, bytes_text, ratio
from chainad.planning.views.report import optimality, result, shapes_of

if TYPE_CHECKING:
    from chainad.planning.orders import Vertex
    from chainad.planning.plan import Plan
    from chainad.planning.steps import Direction, Step

_LEAST_SHARE = 2000  # a smaller part of the multiplications would be rounded to nothing
_MANY_JACOBIANS = 30  # from here on, what repeats is counted


@dataclass(frozen=True)
class Offer:
    """What an order costs, beside that of the plan: `3,168  2.6x`.

    `mode` is "forward", "reverse" or "hybrid", if that is known.
    """

    name: str
    mode: str
    cost: int
    amount: str
    ratio: str


@dataclass(frozen=True)
class StepGroup:
    """Steps that do the same on one line of the user's code.

    Attributes
    ----------
    direction : Direction
        As a reader sees it.
    shapes, kinds : str
        Of the factors; no kinds if these are dense.
    line, text : str
        Where the value that is eliminated is from, and the user's code there.
    steps : tuple of Step
        In the order of the plan.
    share : float
        Of the multiplications of the plan.
    """

    direction: Direction
    shapes: str
    kinds: str
    line: str
    text: str
    steps: tuple[Step, ...]
    share: float

    @property
    def multiplications(self) -> int:
        """Scalar multiplications of all these steps."""
        return sum(step.multiplications for step in self.steps)

    @property
    def factors(self) -> str:
        """Shapes and kinds of the factors."""
        return f"{self.shapes}  {self.kinds}".rstrip()

    @property
    def what(self) -> str:
        """What is done, and how often: `60 x pulled back`."""
        times = f"{len(self.steps):,} x " if len(self.steps) > 1 else ""
        return times + DIRECTION_WORDS[self.direction]


# ------------------------------------------------------------------------ in words


def headline(plan: Plan) -> tuple[str, str]:
    """Return the function with its shapes, and its Jacobian with what that costs."""
    graph = plan.graph
    ends = f"{shapes_of(plan, graph.inputs)} -> {shapes_of(plan, graph.outputs)}"
    return f"{plan.title}: {ends}", f"{result(plan)}, {amount(plan.model, plan.cost)} {_unit(plan)}"


def _unit(plan: Plan) -> str:
    return "multiplications" if plan.model == "multiplications" else f"by {plan.model}"


def verdict(plan: Plan) -> str:
    """Say in a sentence or two what the plan does, and what that saves."""
    products = [s for s in plan.steps if s.via is not None and s.multiplications]
    if not products:
        return "Nothing to multiply: local Jacobians are at most moved and added."
    ways = {"forward": "Pushed forward from the input to the output", "reverse": "Pulled back from"}
    ways["reverse"] = "Pulled back from the output to the input"
    if plan.mode in ways:
        return f"{ways[plan.mode]}, one operation after the other{_saving(plan)}."
    directions = shown_directions(plan)
    passed = passed_by_every_path(plan.graph)
    joins = [s for s in products if directions[s.number] == "join" and s.via in passed]
    if joins:
        last = max(joins, key=lambda step: step.multiplications)
        assert last.via is not None
        line, text = place(plan, last.via)
        size = plan.graph.size(last.via)
        numbers = "one number" if size == 1 else f"{size:,} numbers"
        return (
            f"Cheapest place to meet: {line}{text and f' `{text}`'}, {numbers}. What is before is"
            f" pulled back, what is after is pushed forward{_saving(plan)}."
        )
    shares: Counter[Direction] = Counter()
    for step in products:
        shares[directions[step.number]] += step.multiplications
    parts = [
        f"{100 * n / plan.multiplications:.0f} % {DIRECTION_WORDS[d]}"
        for d, n in shares.most_common()
        if 200 * n >= plan.multiplications  # what is less is rounded to nothing
    ]
    return f"Neither forward nor reverse: of the cost {', '.join(parts)}{_saving(plan)}."


def _saving(plan: Plan) -> str:
    """Return what the plan saves beside the pure modes that it is not."""
    pure = {a.name: a.cost for a in plan.alternatives if a.name in ("forward", "reverse")}
    others = {name: cost for name, cost in pure.items() if name != plan.mode}
    if not others or not plan.cost:
        return ""
    least = min(others.values())
    names = (
        " or ".join(others) if len({*others.values()}) == 1 else min(others, key=others.__getitem__)
    )
    is_count = plan.model == "multiplications"
    what = f"fewer {_unit(plan)}" if is_count else f"less cost {_unit(plan)}"
    if least == plan.cost:
        return f"; {names} costs the same"
    if least < plan.cost:
        return f"; {names} takes {_percent(least, plan.cost)} % {what}"
    # A quarter more, or less than that, is said in percent: "1.0x fewer" would say nothing.
    is_close = 4 * least <= 5 * plan.cost
    saved = f"{_percent(plan.cost, least)} %" if is_close else ratio(least, plan.cost)
    return f": {saved} {what} than {names}"


def _percent(less: int, more: int) -> str:
    return f"{100 - 100 * less / more:.3g}"


def place(plan: Plan, vertex: Vertex) -> tuple[str, str]:
    """Return the user's line that a value is from, and its text; or its name."""
    origin = plan.graph.origin_of.get(vertex)
    if origin is None or origin.site is None:
        return f"the value {plan.graph.name(vertex)}", ""
    return str(origin.site), origin.site.text


# ---------------------------------------------------------------------- in figures


def offers(plan: Plan) -> list[Offer]:
    """Return this plan and the pure modes that it is not; none if there is nothing to compare."""
    pure = [a for a in plan.alternatives if a.name in ("forward", "reverse")]
    is_tie = plan.mode == "hybrid" and any(a.cost <= plan.cost for a in pure)
    name = "this plan" if is_tie else f"{plan.mode} (this plan)"
    shown = [_offer(plan, name, plan.mode, plan.cost)]
    shown += [_offer(plan, a.name, a.name, a.cost) for a in pure if a.name != plan.mode]
    return shown if plan.cost and len(shown) > 1 else []


def other_orders(plan: Plan) -> list[Offer]:
    """Return all other orders that were compared, the cheapest first."""
    known = ("forward", "reverse", plan.planner)
    others = [a for a in plan.alternatives if a.name not in known]
    return [_offer(plan, a.name, "", a.cost) for a in sorted(others, key=lambda a: a.cost)]


def _offer(plan: Plan, name: str, mode: str, cost: int) -> Offer:
    return Offer(name, mode, cost, amount(plan.model, cost), ratio(cost, plan.cost))


def least_known(plan: Plan) -> Offer | None:
    """Return what no order can cost less than, if that is less than what the plan costs."""
    if plan.bound is None or plan.bound >= plan.cost:
        return None
    return _offer(plan, "lower bound", "", plan.bound)


def dearest_steps(plan: Plan, rows: int) -> list[StepGroup]:
    """Return the steps that cost most, equal ones of the same line together."""
    groups = sorted(step_groups(plan), key=lambda group: -group.multiplications)
    least = max(1, plan.multiplications // _LEAST_SHARE)
    return [group for group in groups if group.multiplications >= least][:rows]


def step_groups(plan: Plan) -> list[StepGroup]:
    """Return all steps, equal ones of the same line together."""
    steps: dict[tuple[Direction, str, str, str, str], list[Step]] = {}
    directions = shown_directions(plan)
    for step in plan.steps:
        line, text = ("", "") if step.via is None else place(plan, step.via)
        key = (directions[step.number], *_factors(plan, step), line, text)
        steps.setdefault(key, []).append(step)
    total = max(1, plan.multiplications)
    return [
        StepGroup(*key, tuple(equal), sum(s.multiplications for s in equal) / total)
        for key, equal in steps.items()
    ]


def of_all_steps(plan: Plan, groups: list[StepGroup]) -> str:
    """Say how many of all steps these are, and of how much of the multiplications."""
    count, total = sum(len(group.steps) for group in groups), len(plan.steps)
    which = "dearest step" if count == 1 else f"{count:,} dearest"
    of = f"all {total:,} steps" if count == total else f"the {which} of {total:,}"
    part = 100 * sum(group.multiplications for group in groups) / plan.multiplications
    return f"{'the only step' if total == 1 else of}, {part:.3g} % of the multiplications"


def _factors(plan: Plan, step: Step) -> tuple[str, str]:
    """Return the shapes of the factors of a step, and their kinds unless all are dense."""
    used = [step.left] if step.direction == "materialize" else [step.left, step.right]
    factors = [plan.structures[number] for number in used]
    kinds = [factor.kind for factor in factors]
    shapes = " . ".join(by_shape(factor.matrix_shape) for factor in factors)
    return shapes, "" if {*kinds} == {"dense"} or len(kinds) == 1 else " . ".join(kinds)


def structures(plan: Plan) -> str:
    """Count the local Jacobians by their structures; of many, say which repeat."""
    kinds = Counter(edge.structure.kind for edge in plan.graph.edges)
    counts = ", ".join(f"{n:,} {kind}" for kind, n in kinds.most_common())
    n = len(plan.graph.edges)
    noun = "local Jacobian" if n == 1 else "local Jacobians"
    blocks = [f"{b.repeats} x a block of {b.length}" for b in plan.repeated_blocks]
    named = ", ".join(blocks[:2]) + (", ..." if len(blocks) > 2 else "")
    return f"{n:,} {noun}: {counts}" + (f"; {named}" if blocks and n > _MANY_JACOBIANS else "")


def peak_and_proof(plan: Plan) -> str:
    """Return the memory of all Jacobians at a time, and what is proved of the cost."""
    return f"peak {bytes_text(plan.peak.bytes)}; {optimality(plan)}"
