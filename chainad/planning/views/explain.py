"""A plan explained on one screen: what it saves, where it meets, and which lines it pays for.

Values are named by the user's lines. Everything there is, step by step, is in `report`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from chainad.planning.views.overview import (
    StepGroup,
    headline,
    most_expensive_steps,
    of_all_steps,
    offers,
    other_orders,
    peak_and_proof,
    quicker_order,
    structures,
    values_without_line,
    verdict,
)
from chainad.planning.views.terminal import cut, fitting_width, wrapped

if TYPE_CHECKING:
    from chainad.planning.plan import Plan

_DEFAULT_ROWS = 8

_BLOCKS = "▁▂▃▄▅▆▇█"
_BAR_LENGTH = 30
_MAX_NAMED_ORDERS = 4
_MIN_WIDTHS_LENGTH = 40
_MIN_CODE_LENGTH = 20  # what is shorter says less than the kinds of the factors


def explain(plan: Plan, rows: int | None = None, width: int | None = None) -> str:
    """Return what a plan does, and why, in at most 30 lines, unless more steps are requested."""
    width = fitting_width(width)
    groups = most_expensive_steps(plan, _DEFAULT_ROWS if rows is None else rows, rows is not None)
    head = "    ".join(headline(plan))
    titles = [head] if len(head) <= width else headline(plan)
    last = [values_without_line(plan, groups), structures(plan), peak_and_proof(plan)]
    parts = [
        _wrapped([*titles, verdict(plan), quicker_order(plan)], width),
        [_widths(plan, width)],
        _bars(plan, width),
        _steps(plan, groups, width),
        _wrapped(last, width),
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def _wrapped(texts: Iterable[str], width: int) -> list[str]:
    return [line for text in texts for line in wrapped(text, width)]


def _widths(plan: Plan, width: int) -> str:
    """Return the entries of the values from the input to the output, as blocks."""
    totals = _layers(plan)
    first, least, last = totals[0], min(totals), totals[-1]
    narrowest = f", {least:,} at the narrowest" if least < min(first, last) else ""
    ends = f"{first:,} numbers in{narrowest}, {last:,} out"
    if width - len(ends) < _MIN_WIDTHS_LENGTH:
        ends = f"{first:,} .. {least:,} .. {last:,}"
    room = max(2, width - 10 - len(ends))
    if len(totals) > room:
        cuts = [k * len(totals) // room for k in range(room + 1)]
        shown = [min(totals[a:b]) for a, b in pairwise(cuts)]
        shown[0], shown[-1] = totals[0], totals[-1]
    else:
        shown = totals
    top, repeat = max(*shown, 1), max(1, min(6, room // len(shown)))
    blocks = "".join(_BLOCKS[min(7, 8 * n // top)] * repeat for n in shown)
    return f"widths  {blocks}  {ends}"


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
    shown = offers(plan)
    if not shown:
        return []
    top = max(offer.cost for offer in shown)
    right = max(len(offer.amount) for offer in shown)
    longest = max(1, min(_BAR_LENGTH, width - right - 36))
    lines = [
        f"  {offer.name:20}  {offer.amount:>{right}}  {offer.ratio:>8}  "
        + "█" * max(1, (2 * longest * offer.cost + top) // (2 * top))
        for offer in shown
    ]
    if others := other_orders(plan):
        named = [f"{other.name} {other.ratio}" for other in others[:_MAX_NAMED_ORDERS]]
        more = [f"{len(others) - len(named)} more"] if len(others) > len(named) else []
        lines.append(cut(f"  other orders          {', '.join([*named, *more])}", width))
    return lines


def _steps(plan: Plan, groups: Sequence[StepGroup], width: int) -> list[str]:
    """Return a line for every group of steps: what they cost, where, and the code there.

    Shapes, code and kinds of factors are shown as far as there is room.
    """
    if not groups:
        return []
    cells = [
        ("", f"{100 * g.share:.1f} %", f"{g.multiplications:,}", g.what, g.shapes, g.line)
        for g in groups
    ]
    rows = _aligned(cells, "<>><<<")
    longest = max(len(group.text) for group in groups)
    if width - len(rows[0]) - 2 < min(longest, _MIN_CODE_LENGTH // 2):
        rows = _aligned([(*row[:4], row[5]) for row in cells], "<>><<")
    kinds = [" . ".join(k for k in g.kinds.split(" . ") if k != "dense") for g in groups]
    room = width - len(rows[0]) - 2
    beside_kinds = room - 2 - max(map(len, kinds))
    length = beside_kinds if beside_kinds >= _MIN_CODE_LENGTH else max(0, room)
    codes = _aligned([(cut(g.text, length),) for g in groups], "<")
    lines = wrapped(of_all_steps(plan, groups), width)
    for row, code, kind in zip(rows, codes, kinds, strict=True):
        whole = _joined(row, code, kind)
        lines.append(cut((whole if len(whole) <= width else _joined(row, code)).rstrip(), width))
    return lines


def _aligned(rows: Sequence[tuple[str, ...]], align: str) -> list[str]:
    sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        _joined(*(f"{cell:{a}{n}}" for cell, a, n in zip(row, align, sizes, strict=True)))
        for row in rows
    ]


def _joined(*cells: str) -> str:
    return "  ".join(cells)
