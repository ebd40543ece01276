"""The report of a plan: a summary, the modes compared, a row for every step and local Jacobian."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from chainad.planning.views.directions import shown_directions
from chainad.planning.views.quantities import (
    MAX_LISTED,
    amount,
    by_shape,
    bytes_text,
    listed,
    ratio,
    times,
)
from chainad.planning.views.terminal import MAX_LINE_LENGTH, cut
from chainad.structure import Product
from chainad.structure.structure import Structure

if TYPE_CHECKING:
    from chainad.planning.alternatives import Alternative
    from chainad.planning.linear_graph import LinearGraph
    from chainad.planning.plan import Plan
    from chainad.planning.steps import Step

_MAX_ROWS = 40
_MAX_SOURCE_LENGTH = 48

# From so many vertices on, all repeats together, a repeated block has a line of its own.
_MIN_REPEATED_VERTICES = 24


def details(plan: Plan) -> str:
    """Return the report of a plan."""
    parts = [_head(plan), _modes(plan), _steps(plan), _locals(plan)]
    return "\n\n".join(part for part in parts if part)


def summary(plan: Plan) -> str:
    """Return a plan in one line: what of, how, what it costs, and beside the pure modes."""
    parts = [f"{plan.multiplications:,} multiplications"]
    pure = [other for other in plan.alternatives if other.name in ("forward", "reverse")]
    best = min(pure, key=lambda other: other.multiplications, default=None)
    if best is not None and best.multiplications > plan.multiplications > 0:
        parts.append(f"{best.multiplications / plan.multiplications:.3g}x under {best.name}")
    parts.append(bytes_text(plan.peak.bytes))
    ends = [shapes_of(plan.graph, vertices) for vertices in (plan.graph.inputs, plan.graph.outputs)]
    named = [" -> ".join(ends), *filter(None, [shown_mode(plan)])]
    return f"<Plan {plan.title} {' '.join(named)}, {', '.join(parts)}>"


def shown_mode(plan: Plan) -> str:
    """Return what a plan is called beside others: hybrid only where that is cheaper, else ""."""
    pure = [other.cost for other in plan.alternatives if other.name in ("forward", "reverse")]
    is_cheaper = all(plan.cost < cost for cost in pure)
    return plan.mode if plan.mode != "hybrid" or is_cheaper else ""


def _cost(plan: Plan) -> list[str]:
    """Return the line that says what was minimized, unless it was the multiplications."""
    if plan.model == "multiplications":
        return []
    return [f"cost        {amount(plan.model, plan.cost)} by {plan.model}"]


def _repeats(plan: Plan) -> list[str]:
    """Return a line for every block that repeats, unless it is short."""
    how = ", planned once" if plan.planner == "repeats" else ""
    return [
        f"repeats     {b.repeats} iterations of {b.length} {_vertices(b.length)}{how}"
        for b in plan.repeated_blocks
        if b.repeats * b.length >= _MIN_REPEATED_VERTICES
    ]


def _vertices(count: int) -> str:
    return "vertex" if count == 1 else "vertices"


def _head(plan: Plan) -> str:
    lines = [
        f"Plan  {plan.title}: {shapes_of(plan.graph, plan.graph.inputs)}"
        f" -> {shapes_of(plan.graph, plan.graph.outputs)}     {result(plan)}",
        f"mode        {shown_mode(plan) or 'neither forward nor reverse'}"
        + (f"  (requested: {plan.requested})" if plan.requested else ""),
        f"bracketing  {_shorten(plan.bracketing)}",
        f"operations  {plan.multiplications:,} multiplications, {plan.additions:,} additions,"
        f" peak {bytes_text(plan.peak.bytes)}",
        *_cost(plan),
        *_repeats(plan),
        f"optimality  {optimality(plan)}",
        *_cheaper_alternative(plan),
    ]
    return "\n".join(lines)


def optimality(plan: Plan) -> str:
    """Say over what the cost is optimal; if nothing is known, how far from it it may be."""
    if plan.optimality:
        return plan.optimality
    if plan.bound is None:
        return "not proved: the best of the orders compared"
    if plan.bound == plan.cost:
        return "optimal over all vertex elimination orders, by the least cuts of the graph"
    below = 100 * (plan.cost - plan.bound) / plan.cost
    return (
        "not proved; no vertex elimination order costs less than"
        f" {amount(plan.model, plan.bound)}, {below:.3g} % below this cost"
    )


def _cheaper_alternative(plan: Plan) -> list[str]:
    """Return a line if another order is known to cost less than half of this one."""
    best = min(plan.alternatives, key=lambda other: other.cost, default=None)
    if best is None or 2 * best.cost >= plan.cost:
        return []
    name = repr(best.name)
    note = f"{times(plan.cost, best.cost)} the cost of {name}" if best.cost else f"{name} is free"
    return [f"note        {note}: mode='auto' finds one that costs as little"]


def shapes_of(graph: LinearGraph, vertices: Sequence[int]) -> str:
    """Return the shapes of some values; equal ones in a row are counted, many others left out."""
    parts: list[str] = []
    for shape, run in groupby(graph.shapes[v] for v in vertices):
        n = len([*run])
        parts += [f"{n} x {shape}"] if n > 3 else [str(shape)] * n
    count = f" ({len(vertices)} arrays)" if len(parts) > MAX_LISTED else ""
    return listed(parts) + count


def result(plan: Plan) -> str:
    """Return what the Jacobian is: its shape and its structure."""
    n, m = len(plan.graph.outputs), len(plan.graph.inputs)
    if n * m > 1:
        if plan.graph.is_symmetric:
            return f"the Hessian has {n} x {m} blocks, symmetric"
        return f"J has {n} x {m} blocks"
    (terms,) = plan.results
    sizes = [prod(plan.graph.shapes[v]) for v in (*plan.graph.outputs, *plan.graph.inputs)]
    found = [plan.structures[number] for number in terms]
    kind = found[0].kind if len(found) == 1 else _sum_of(found) if found else "zero"
    if kind == "pattern":
        kind = f"sparse with {found[0].nonzeros:,} entries"
    of = "the Hessian is" if plan.graph.is_symmetric else "J is"
    symmetric = "symmetric, " if plan.graph.is_symmetric else ""
    return f"{of} {sizes[0]} x {sizes[1]}, {symmetric}{kind}"


def _sum_of(terms: Sequence[Structure]) -> str:
    """Return what a sum of structures is."""
    if all(map(_is_diagonal, terms)):
        return f"{len(terms)} diagonals"
    return f"sparse with at most {sum(term.nonzeros for term in terms):,} entries"


def _is_diagonal(structure: Structure) -> bool:
    """Return whether all entries are on one diagonal, the main one or another."""
    if structure.nonzeros > min(structure.matrix_shape):
        return False
    rows, cols = structure.nonzero_entries()
    return structure.nonzeros > 1 and bool(np.ptp(rows - cols) == 0)


def _shorten(text: str) -> str:
    """Cut the middle out of a text that is too long for one line."""
    limit = MAX_LINE_LENGTH - 12
    if len(text) <= limit:
        return text
    head = text[: limit // 2 - 3].rpartition(" ")[0]
    tail = text[-(limit // 2) + 2 :].partition(" ")[2]
    return f"{head} ... {tail}"


def _modes(plan: Plan) -> str:
    """Return the modes side by side; by another cost than the multiplications, with that first."""
    is_other = plan.model != "multiplications"
    head = ("", "multiplications", "vs this plan", "additions")
    rows = [(head[0], plan.model.partition(" ")[0], *head[1:]) if is_other else head]
    classical = [a for a in plan.alternatives if a.name in ("forward", "reverse")]
    others = [a for a in plan.alternatives if a.name not in ("forward", "reverse")]
    by = f" ({plan.planner})" if plan.planner not in ("", plan.mode) else ""
    offers: list[tuple[str, Plan | Alternative]] = [
        (f"{shown_mode(plan) or 'this plan'}  <- chosen{by}", plan),
        *((a.name, a) for a in (*classical, *others) if a.name != plan.planner),
    ]
    for name, offer in offers:
        row = (
            name,
            f"{offer.multiplications:,}",
            ratio(offer.cost, plan.cost),
            f"{offer.additions:,}",
        )
        rows.append((name, amount(plan.model, offer.cost), *row[1:]) if is_other else row)
    return _table(rows, "<" + ">" * (len(rows[0]) - 1))


def _steps(plan: Plan) -> str:
    if not plan.steps:
        return ""
    n = len(plan.graph.edges)
    total, directions = max(1, plan.multiplications), shown_directions(plan)
    rows = [("step", "direction", "product", "shapes", "structure", "mults", "%", "bytes out")]
    for step in plan.steps[:_MAX_ROWS]:
        one, two = plan.structures[step.left], plan.structures[step.right]
        sign, dot = (" + ", "+") if step.via is None else (" ", ".")
        alone = step.direction == "materialize"
        product = f"{_jacobian(step.left, n)}{sign}{_jacobian(step.right, n)}"
        rows.append(
            (
                str(step.number - n + 1),
                directions[step.number],
                f"P{step.number - n + 1} = {_jacobian(step.left, n) if alone else product}",
                by_shape(one.matrix_shape)
                + ("" if alone else f" {dot} {by_shape(two.matrix_shape)}"),
                one.kind + ("" if alone else f" {dot} {two.kind}") + _up_to_the_diagonal(step),
                f"{step.multiplications:,}",
                f"{100 * step.multiplications / total:.1f}",
                bytes_text(step.structure.count * plan.itemsize),
            )
        )
    return _table(rows, "><<<<>>>") + _more(len(plan.steps), "steps")


def _up_to_the_diagonal(step: Step) -> str:
    """Say that a product is symmetric, and made up to the diagonal only."""
    is_once = isinstance(step.operation, Product) and step.operation.blocks > 1
    return ", symmetric" if is_once else ""


def _jacobian(number: int, n: int) -> str:
    return f"J{number + 1}" if number < n else f"P{number - n + 1}"


def _locals(plan: Plan) -> str:
    graph = plan.graph
    if not graph.edges or not graph.origins:
        return ""
    rows = [("", "operation", "shape", "structure", "bytes", "line", "")]
    for k, (edge, origin) in enumerate(zip(graph.edges, graph.origins, strict=True)):
        if k == _MAX_ROWS:
            break
        line, text = (str(origin.site), origin.site.text) if origin.site else ("", "")
        text = cut(text, _MAX_SOURCE_LENGTH)
        rows.append(
            (
                f"J{k + 1}",
                origin.name,
                by_shape(edge.structure.matrix_shape),
                edge.structure.kind,
                bytes_text(edge.structure.count * plan.itemsize),
                line,
                text,
            )
        )
    return (
        "local Jacobians\n" + _table(rows, "<<<<><<") + _more(len(graph.edges), "local Jacobians")
    )


def _more(count: int, what: str) -> str:
    return f"\n  ... {count - _MAX_ROWS} more {what}" if count > _MAX_ROWS else ""


def _table(rows: Sequence[tuple[str, ...]], align: str) -> str:
    widths = [max(len(row[k]) for row in rows) for k in range(len(align))]
    return "\n".join(_lines(rows, widths, align))


def _lines(rows: Sequence[tuple[str, ...]], widths: list[int], align: str) -> Iterator[str]:
    for row in rows:
        cells = (f"{cell:{a}{w}}" for cell, a, w in zip(row, align, widths, strict=True))
        yield ("  " + "  ".join(cells)).rstrip()
