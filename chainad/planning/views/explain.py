"""A plan explained on one screen: what it saves, where it meets, and which lines it pays for.

Values are named by the user's lines. Everything there is, step by step, is in `report`.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from textwrap import wrap
from typing import TYPE_CHECKING

from chainad.planning.views.directions import shown_directions
from chainad.planning.views.quantities import amount, by_shape, bytes_text, ratio
from chainad.planning.views.report import MAX_LINE_LENGTH, optimality, result, shapes_of

if TYPE_CHECKING:
    from chainad.planning.orders import Vertex
    from chainad.planning.plan import Plan
    from chainad.planning.steps import Direction, Step

DEFAULT_ROWS = 8

_BLOCKS = "▁▂▃▄▅▆▇█"
_BAR_LENGTH = 30
_MAX_NAMED_ORDERS = 4
_LEAST_SHARE = 2000  # a smaller part of the multiplications would be rounded to nothing
_MIN_WIDTH = 60
_WORDS: dict[Direction, str] = {
    "forward": "pushed forward",
    "reverse": "pulled back",
    "join": "joined",
    "leaf": "multiplied",
    "sum": "added",
    "materialize": "written out",
}


def explain(plan: Plan, rows: int = DEFAULT_ROWS, width: int | None = None) -> str:
    """Return what a plan does, and why, in at most some 20 lines and `rows` steps."""
    if width is None:
        width = min(shutil.get_terminal_size((MAX_LINE_LENGTH, 24)).columns, MAX_LINE_LENGTH)
    width = max(width, _MIN_WIDTH)
    parts = [
        [*_wrapped(_title(plan), width), *_wrapped(_verdict(plan), width)],
        [_widths(plan, width)],
        _bars(plan, width),
        _dearest(plan, rows, width),
        _rest(plan, width),
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


# ------------------------------------------------------------------------ in words


def _title(plan: Plan) -> str:
    graph = plan.graph
    ends = f"{shapes_of(plan, graph.inputs)} -> {shapes_of(plan, graph.outputs)}"
    return f"{plan.title}: {ends}    {result(plan)}, {amount(plan.model, plan.cost)} {_unit(plan)}"


def _unit(plan: Plan) -> str:
    return "multiplications" if plan.model == "multiplications" else f"by {plan.model}"


def _verdict(plan: Plan) -> str:
    """Say in a sentence or two what the plan does, and what that saves."""
    products = [s for s in plan.steps if s.via is not None and s.multiplications]
    if not products:
        return "Nothing to multiply: local Jacobians are at most moved and added."
    ways = {"forward": "Pushed forward from the input to the output", "reverse": "Pulled back from"}
    ways["reverse"] = "Pulled back from the output to the input"
    if plan.mode in ways:
        return f"{ways[plan.mode]}, one operation after the other{_saving(plan)}."
    directions = shown_directions(plan)
    joins = [s for s in products if directions[s.number] == "join" and _is_passed(plan, s.via)]
    if joins:
        last = max(joins, key=lambda step: step.multiplications)
        assert last.via is not None
        line, text = _place(plan, last.via)
        size = plan.graph.size(last.via)
        numbers = "one number" if size == 1 else f"{size:,} numbers"
        return (
            f"Cheapest place to meet: {line}{text and f' `{text}`'}, {numbers}. What is before is"
            f" pulled back, what is after is pushed forward{_saving(plan)}."
        )
    shares: Counter[Direction] = Counter()
    for step in products:
        shares[directions[step.number]] += step.multiplications
    parts = [f"{100 * n / plan.multiplications:.0f} % {_WORDS[d]}" for d, n in shares.most_common()]
    return f"Neither forward nor reverse: of the cost {', '.join(parts)}{_saving(plan)}."


def _is_passed(plan: Plan, vertex: Vertex | None) -> bool:
    """Return whether every path from an input to an output goes through a vertex."""
    graph = plan.graph
    edges = sorted(graph.edges, key=lambda edge: edge.tail)
    into = [int(v in graph.inputs) for v in range(len(graph.shapes))]
    beyond = [int(v in graph.outputs) for v in range(len(graph.shapes))]
    for edge in edges:
        into[edge.head] += into[edge.tail]
    for edge in reversed(edges):
        beyond[edge.tail] += beyond[edge.head]
    return vertex is not None and into[vertex] * beyond[vertex] == sum(
        beyond[v] for v in graph.inputs
    )


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
    what = _unit(plan) if plan.model == "multiplications" else f"cost {_unit(plan)}"
    if least == plan.cost:
        return f"; {names} costs the same"
    if least < plan.cost:
        return f"; {names} takes {_percent(least, plan.cost)} % less {what}"
    return f": {ratio(least, plan.cost)} fewer {what} than {names}"


def _percent(less: int, more: int) -> str:
    return f"{100 - 100 * less / more:.3g}"


def _place(plan: Plan, vertex: Vertex) -> tuple[str, str]:
    """Return the user's line that a value is from, and its text; or its name."""
    graph = plan.graph
    for edge, origin in zip(graph.edges, graph.origins, strict=False):
        if edge.head == vertex and origin.site is not None:
            return str(origin.site), origin.site.text
    return f"the value {graph.name(vertex)}", ""


# ------------------------------------------------------------------- in characters


def _widths(plan: Plan, width: int) -> str:
    """Return the entries of the values from the input to the output, as blocks."""
    totals = _layers(plan)
    room = width - 44
    if len(totals) > room:
        cuts = [k * len(totals) // room for k in range(room + 1)]
        shown = [min(totals[a:b]) for a, b in pairwise(cuts)]
    else:
        shown = totals
    top, repeat = max(*shown, 1), max(1, min(6, room // len(shown)))
    blocks = "".join(_BLOCKS[min(7, 8 * n // top)] * repeat for n in shown)
    return f"widths  {blocks}  {totals[0]:,} .. {min(totals):,} .. {totals[-1]:,}"


def _layers(plan: Plan) -> list[int]:
    """Return the entries of the values, layer by layer, those that only move others left out."""
    graph = plan.graph
    layer = dict.fromkeys(range(len(graph.shapes)), 0)
    for edge in sorted(graph.edges, key=lambda edge: edge.tail):
        layer[edge.head] = max(layer[edge.head], layer[edge.tail] + 1)
    last = max(layer.values(), default=0)
    totals = [0] * (last + 1)
    for v, k in layer.items():
        totals[0 if v in graph.inputs else last if v in graph.outputs else k] += graph.size(v)
    return [n for n in totals if n] or [0]


def _bars(plan: Plan, width: int) -> list[str]:
    """Return a bar for this plan and one for each pure mode; the other orders in a line."""
    pure = [a for a in plan.alternatives if a.name in ("forward", "reverse")]
    is_tie = plan.mode == "hybrid" and any(a.cost <= plan.cost for a in pure)
    offers = [("this plan" if is_tie else f"{plan.mode} (this plan)", plan.cost)]
    offers += [(a.name, a.cost) for a in pure if a.name != plan.mode]
    if not plan.cost or len(offers) == 1:
        return []
    top = max(cost for _, cost in offers)
    amounts = [amount(plan.model, cost) for _, cost in offers]
    right = max(map(len, amounts))
    longest = max(1, min(_BAR_LENGTH, width - right - 36))
    lines = [
        f"  {name:20}  {text:>{right}}  {ratio(cost, plan.cost):>8}  "
        + "█" * max(1, (2 * longest * cost + top) // (2 * top))
        for (name, cost), text in zip(offers, amounts, strict=True)
    ]
    known = ("forward", "reverse", plan.planner)
    others = sorted((a for a in plan.alternatives if a.name not in known), key=lambda a: a.cost)
    if others:
        named = [f"{a.name} {ratio(a.cost, plan.cost)}" for a in others[:_MAX_NAMED_ORDERS]]
        more = [f"{len(others) - len(named)} more"] if len(others) > len(named) else []
        lines.append(_cut(f"  other orders          {', '.join([*named, *more])}", width))
    return lines


# --------------------------------------------------------------------------- steps


def _dearest(plan: Plan, rows: int, width: int) -> list[str]:
    """Return the steps that cost most, equal ones of the same line together."""
    groups: dict[tuple[str, str, str], list[Step]] = {}
    directions = shown_directions(plan)
    for step in plan.steps:
        if step.multiplications:
            way = _WORDS[directions[step.number]]
            groups.setdefault((way, _factors(plan, step), _step_place(plan, step)), []).append(step)
    if not groups:
        return []
    costs = {key: sum(s.multiplications for s in steps) for key, steps in groups.items()}
    dearest = sorted(
        (k for k in groups if costs[k] * _LEAST_SHARE >= plan.multiplications),
        key=lambda k: -costs[k],
    )[:rows]
    if not dearest:
        return []
    share = 100 * sum(costs[key] for key in dearest) / plan.multiplications
    count = sum(len(groups[key]) for key in dearest)
    cells = []
    for key in dearest:
        way, factors, place = key
        times = f"{len(groups[key])} x " if len(groups[key]) > 1 else ""
        percent = f"{100 * costs[key] / plan.multiplications:.1f} %"
        cells.append((percent, f"{costs[key]:,}", times + way, factors, place))
    sizes = [max(len(row[k]) for row in cells) for k in range(4)]
    lines = [f"{_of_all(count, len(plan.steps))}, {share:.3g} % of the multiplications"]
    for percent, cost, way, factors, place in cells:
        line = (
            f"  {percent:>{sizes[0]}}  {cost:>{sizes[1]}}  {way:{sizes[2]}}"
            f"  {factors:{sizes[3]}}  {place}"
        )
        lines.append(_cut(line.rstrip(), width))
    return lines


def _of_all(count: int, total: int) -> str:
    if total == 1:
        return "the only step"
    which = "dearest step" if count == 1 else f"{count:,} dearest"
    return f"all {total:,} steps" if count == total else f"the {which} of {total:,}"


def _factors(plan: Plan, step: Step) -> str:
    one, two = plan.structures[step.left], plan.structures[step.right]
    if step.direction == "materialize":
        return by_shape(one.matrix_shape)
    kinds = "" if one.kind == two.kind == "dense" else f"  {one.kind} . {two.kind}"
    return f"{by_shape(one.matrix_shape)} . {by_shape(two.matrix_shape)}{kinds}"


def _step_place(plan: Plan, step: Step) -> str:
    """Return the user's line of the value that a product eliminates."""
    return "" if step.via is None else "  ".join(_place(plan, step.via)).rstrip()


def _rest(plan: Plan, width: int) -> list[str]:
    kinds = Counter(edge.structure.kind for edge in plan.graph.edges)
    counts = ", ".join(f"{n} {kind}" for kind, n in kinds.most_common())
    n = len(plan.graph.edges)
    noun = "local Jacobian" if n == 1 else "local Jacobians"
    blocks = [f"{b.repeats} x a block of {b.length}" for b in plan.repeated_blocks]
    repeats = f"; {_listed(blocks)}" if blocks and n > _BAR_LENGTH else ""
    return [
        *_wrapped(f"{n} {noun}: {counts}{repeats}", width),
        *_wrapped(f"peak {bytes_text(plan.peak.bytes)}; {optimality(plan)}", width),
    ]


def _listed(items: Sequence[str]) -> str:
    return ", ".join(items[:2]) + (", ..." if len(items) > 2 else "")


def _wrapped(text: str, width: int) -> list[str]:
    return wrap(text, width, break_on_hyphens=False)


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 3] + "..."
