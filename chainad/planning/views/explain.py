"""A plan explained on one screen: what it saves, where it meets, and which lines it pays for.

Values are named by the user's lines. Everything there is, step by step, is in `report`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from chainad.planning.views.overview import (
    dearest_steps,
    headline,
    of_all_steps,
    offers,
    other_orders,
    peak_and_proof,
    structures,
    verdict,
)
from chainad.planning.views.terminal import cut, fitting_width, wrapped

if TYPE_CHECKING:
    from chainad.planning.plan import Plan

DEFAULT_ROWS = 8

_BLOCKS = "▁▂▃▄▅▆▇█"
_BAR_LENGTH = 30
_MAX_NAMED_ORDERS = 4


def explain(plan: Plan, rows: int = DEFAULT_ROWS, width: int | None = None) -> str:
    """Return what a plan does, and why, in at most some 20 lines and `rows` steps."""
    width = fitting_width(width)
    parts = [
        [*wrapped("    ".join(headline(plan)), width), *wrapped(verdict(plan), width)],
        [_widths(plan, width)],
        _bars(plan, width),
        _dearest(plan, rows, width),
        [*wrapped(structures(plan), width), *wrapped(peak_and_proof(plan), width)],
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def _widths(plan: Plan, width: int) -> str:
    """Return the entries of the values from the input to the output, as blocks."""
    totals = _layers(plan)
    room = width - 44
    if len(totals) > room:
        cuts = [k * len(totals) // room for k in range(room + 1)]
        shown = [min(totals[a:b]) for a, b in pairwise(cuts)]
        shown[0], shown[-1] = totals[0], totals[-1]
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


def _dearest(plan: Plan, rows: int, width: int) -> list[str]:
    """Return a line for every group of the steps that cost most."""
    groups = dearest_steps(plan, rows)
    if not groups:
        return []
    cells = [
        (f"{100 * g.share:.1f} %", f"{g.multiplications:,}", g.what, g.factors, g.line, g.text)
        for g in groups
    ]
    sizes = [max(len(row[k]) for row in cells) for k in range(4)]
    lines = [of_all_steps(plan, groups)]
    for percent, cost, what, factors, line, text in cells:
        row = (
            f"  {percent:>{sizes[0]}}  {cost:>{sizes[1]}}  {what:{sizes[2]}}"
            f"  {factors:{sizes[3]}}  {line}  {text}"
        )
        lines.append(cut(row.rstrip(), width))
    return lines
