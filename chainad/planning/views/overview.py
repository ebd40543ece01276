"""What there is to say of a plan: the verdict, the other orders, the steps that cost most.

Text and pages render it; values are named by the user's lines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chainad.planning.views.directions import DIRECTION_WORDS, shown_directions
from chainad.planning.views.line_costs import paid_vertices
from chainad.planning.views.narrow_places import passed_by_every_path
from chainad.planning.views.quantities import amount, by_shape, bytes_text, listed, ratio, time_text
from chainad.planning.views.report import optimality, result, shapes_of, shown_mode

if TYPE_CHECKING:
    from chainad.ir.graph import Origin
    from chainad.planning.orders import Vertex
    from chainad.planning.plan import Plan
    from chainad.planning.repeats import RepeatedBlock
    from chainad.planning.steps import Direction, Step

_LEAST_SHARE = 2000  # a smaller part of the multiplications would be rounded to nothing
_MAX_AGAINST = 0.05  # of the multiplications, before a direction is said of both sides
_MAX_NAMES = 3  # of values that go by their names
_MAX_DEFINED = 6
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
        The shapes of the values that the factors lead through, and the kinds of the factors; none
        if these are dense.
    line, text : str
        The user's line that they are for, and the code there; else the names of values.
    values : tuple of int
        These values; none if there is a line.
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
    values: tuple[Vertex, ...]
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
    ends = f"{shapes_of(graph, graph.inputs)} -> {shapes_of(graph, graph.outputs)}"
    counted = _counted(plan)
    unit = counted or f"by {plan.model}"
    return f"{plan.title}: {ends}", f"{result(plan)}, {amount(plan.model, plan.cost)} {unit}"


def _counted(plan: Plan) -> str:
    """Return what the cost is a number of; "" if it is in other units."""
    return plan.model if plan.model in ("multiplications", "operations") else ""


def verdict(plan: Plan) -> str:
    """Say in a sentence or two what the plan does, and what that saves."""
    products = [s for s in plan.steps if s.via is not None and s.multiplications]
    if not products and plan.multiplications:
        return "No products: operators are written out, by tangents or adjoints, whichever is less."
    if not products:
        return "Nothing to multiply: local Jacobians are at most moved and added."
    ways: dict[Direction, str] = {
        "forward": "Pushed forward from the input to the output",
        "reverse": "Pulled back from the output to the input",
    }
    if plan.mode != "hybrid":
        return f"{ways[plan.mode]}, one operation after the other{_saving(plan)}."
    directions = shown_directions(plan)
    passed = passed_by_every_path(plan.graph)
    costs: Counter[Vertex] = Counter()
    for step in products:
        if directions[step.number] == "join" and step.via in passed:
            costs[step.via] += step.multiplications
    if costs:
        met = min(costs, key=lambda v: (plan.graph.size(v), -costs[v]))
        line, text = place(plan, met)
        against = sum(  # the way that what is before the place, or after it, goes mostly
            step.multiplications
            for step in products
            if (step.head <= met and directions[step.number] == "forward")
            or (step.tail >= met and directions[step.number] == "reverse")
        )
        sides = "What is before is pulled back, what is after is pushed forward"
        if against > _MAX_AGAINST * plan.multiplications:
            sides = "What is before and what is after is multiplied first"
        return (
            f"Cheapest place to meet: {line}{text and f' `{text}`'}, {_numbers(plan, met)}."
            f" {sides}{_saving(plan)}."
        )
    shares: Counter[Direction] = Counter()
    for step in plan.steps:
        shares[directions[step.number]] += step.multiplications
    percents = [(direction, 100 * n / plan.multiplications) for direction, n in shares.items()]
    main, most = max(percents, key=lambda item: item[1])
    if main in ways and most >= 99.5:
        return f"{ways[main]}, with some small products in another order{_saving(plan)}."
    parts = [
        f"{percent:.0f} % {DIRECTION_WORDS[direction]}"
        for direction, percent in sorted(percents, key=lambda item: -item[1])
        if percent >= 0.5  # what is less is rounded to nothing
    ]
    pure = [a.cost for a in plan.alternatives if a.name in ways]
    is_tie = bool(pure) and min(pure) == plan.cost
    what = "Another order, but no cheaper one" if is_tie else "Neither forward nor reverse"
    return f"{what}: of the cost {', '.join(parts)}{_saving(plan)}."


def quicker_order(plan: Plan) -> str:
    """Say that another order is clearly quicker by the model of time; "" if none is."""
    found = plan.quicker
    if found is None:
        return ""
    times = f"{time_text(found.other)} instead of {time_text(found.own)}"
    faster = f"another order is {found.ratio:.1f}x as quick ({times})"
    return f'By the model of time {faster}: plan with cost="time".'


def _numbers(plan: Plan, vertex: Vertex) -> str:
    shape, size = plan.graph.shapes[vertex], plan.graph.size(vertex)
    numbers = "one number" if size == 1 else f"{size:,} numbers"
    return f"{numbers} ({by_shape(shape)})" if len(shape) > 1 else numbers


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
    counted = _counted(plan)
    is_time = plan.model.startswith("time")
    what = (
        f"fewer {counted}" if counted else "less time" if is_time else f"less cost by {plan.model}"
    )
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
    line, text = ("", "") if origin is None else _line(origin)
    return line or f"the value {plan.graph.name(vertex)}", text


def _line(origin: Origin) -> tuple[str, str]:
    """Return the user's line, and its text; of calls on several lines that of most of them."""
    site = origin.site
    if site is None:
        return "", ""
    others = [each.site.line for each in origin.also if each.site and each.site.file == site.file]
    lines = [str(site), *map(str, sorted({*others} - {site.line}))]
    return listed(lines, _MAX_NAMES), site.text


# ---------------------------------------------------------------------- in figures


def offers(plan: Plan) -> list[Offer]:
    """Return this plan and the pure modes that it is not; none if there is nothing to compare."""
    pure = [a for a in plan.alternatives if a.name in ("forward", "reverse")]
    mode = shown_mode(plan)
    name = f"{mode} (this plan)" if mode else "this plan"
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


def most_expensive_steps(plan: Plan, rows: int, has_free: bool = False) -> list[StepGroup]:
    """Return the steps that cost most, equal ones of the same line together.

    With `has_free` there are also those of no multiplications.
    """
    groups = sorted(step_groups(plan), key=lambda group: -group.multiplications)
    least = 0 if has_free else max(1, plan.multiplications // _LEAST_SHARE)
    return [group for group in groups if group.multiplications >= least][:rows]


def step_groups(plan: Plan) -> list[StepGroup]:
    """Return all steps, equal ones of the same line together; of values without line, all."""
    steps: dict[tuple[Direction, str, str, str, str], list[Step]] = {}
    directions, paid = shown_directions(plan), paid_vertices(plan)
    for step in plan.steps:
        origin = plan.graph.origin_of.get(paid[step.number])
        at = ("", "") if origin is None else _line(origin)
        key = (directions[step.number], *_factors(plan, step), *at)
        steps.setdefault(key, []).append(step)
    total, groups = max(1, plan.multiplications), []
    for (direction, shapes, kinds, line, text), equal in steps.items():
        values = () if line else tuple(sorted({paid[step.number] for step in equal}))
        share = sum(step.multiplications for step in equal) / total
        named = line or _names(plan, values)
        groups.append(StepGroup(direction, shapes, kinds, named, text, values, tuple(equal), share))
    return groups


def _names(plan: Plan, values: Sequence[Vertex]) -> str:
    """Return the names of some values, of many the first and the last ones."""
    names = listed([*map(plan.graph.name, values)], _MAX_NAMES)
    return f"{'value' if len(values) == 1 else 'values'} {names}"


def _named(values: Sequence[Vertex]) -> Sequence[Vertex]:
    is_short = len(values) <= _MAX_NAMES
    return values if is_short else (*values[: _MAX_NAMES - 1], values[-1])


def values_without_line(plan: Plan, groups: Sequence[StepGroup]) -> str:
    """Say what the values are that go by their names in these steps; "" if there are none."""
    graph = plan.graph
    shown = sorted({v for group in groups for v in _named(group.values)})
    defined = []
    for v in shown[:_MAX_DEFINED]:
        tails = ", ".join(graph.name(edge.tail) for edge in graph.edges if edge.head == v)
        call = f"{graph.origin_of[v].name}({tails})" if graph.origins else f"from {tails}"
        defined.append(f"{graph.name(v)} = {call}, {by_shape(graph.shapes[v])}")
    more = ["..."] if len(shown) > _MAX_DEFINED else []
    return f"values: {'; '.join([*defined, *more])}" if defined else ""


def of_all_steps(plan: Plan, groups: Sequence[StepGroup]) -> str:
    """Say how many of all steps these are, and of how much of the multiplications."""
    count, total = sum(len(group.steps) for group in groups), len(plan.steps)
    which = "most expensive" if count == 1 else f"{count:,} most expensive"
    of = f"all {total:,} steps" if count == total else f"the {which} of {total:,} steps"
    said = "the only step" if total == 1 else of
    if not plan.multiplications:
        return said
    part = 100 * sum(group.multiplications for group in groups) / plan.multiplications
    return f"{said}, {part:.3g} % of the multiplications"


def _factors(plan: Plan, step: Step) -> tuple[str, str]:
    """Return the shapes that a step leads through, and the kinds of its factors unless dense."""
    used = [step.left] if step.direction == "materialize" else [step.left, step.right]
    kinds = [plan.structures[number].kind for number in used]
    values = [step.tail, *([] if step.via is None else [step.via]), step.head]
    shapes = " -> ".join(by_shape(plan.graph.shapes[v]) for v in values)
    return shapes, "" if {*kinds} == {"dense"} or len(kinds) == 1 else " . ".join(kinds)


def structures(plan: Plan) -> str:
    """Count the local Jacobians by their structures; of many, say which repeat."""
    kinds = Counter(edge.structure.kind.removeprefix("-") for edge in plan.graph.edges)
    counts = ", ".join(f"{n:,} {kind}" for kind, n in kinds.most_common())
    n = len(plan.graph.edges)
    if not n:
        return "no local Jacobian"
    noun = "local Jacobian" if n == 1 else "local Jacobians"
    blocks = [_iterations(plan, block) for block in plan.repeated_blocks]
    named = ", ".join(blocks[:2]) + (", ..." if len(blocks) > 2 else "")
    return f"{n:,} {noun}: {counts}" + (f"; {named}" if blocks and n > _MANY_JACOBIANS else "")


def _iterations(plan: Plan, block: RepeatedBlock) -> str:
    """Say how often a block repeats, and which lines of the user's it is."""
    graph = plan.graph
    heads = {graph.inner[k] for k in block.iteration(block.repeats // 2)}
    pairs = zip(graph.edges, graph.origins, strict=False)
    sites = [origin.site for edge, origin in pairs if edge.head in heads and origin.site]
    first, last = (f([site.line for site in sites], default=0) for f in (min, max))
    lines = f"line {first}" if first == last else f"lines {first} to {last}"
    of = lines if len({site.function for site in sites}) == 1 else f"{block.length} operations"
    return f"{block.repeats} iterations of {of}"


def peak_and_proof(plan: Plan) -> str:
    """Return the most memory that is taken at a time, and what is proved of the cost."""
    peak = plan.peak
    dense = f" ({bytes_text(peak.dense_bytes)} if dense)" if peak.dense_bytes > peak.bytes else ""
    return f"peak {bytes_text(peak.bytes)}{dense}; {optimality(plan)}"
