"""The tables of a page: orders compared, steps that cost most, the source with its costs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from chainad.planning.views.line_costs import FunctionCost, LineCost, function_costs
from chainad.planning.views.listing import main_directions, shown_lines
from chainad.planning.views.markup import bar, text
from chainad.planning.views.overview import Offer, StepGroup, least_known, offers, other_orders

if TYPE_CHECKING:
    from chainad.planning.plan import Plan
    from chainad.planning.steps import Direction

_MAX_ORDERS = 12
_MAX_NAME = 60  # characters
_MAX_CODE = 80
_MAX_FIGURE = 30
_MAX_UNBROKEN = 24


# -------------------------------------------------------------------- orders compared


def compared_orders(plan: Plan) -> str:
    """Return bars of this plan, the pure modes and the bound; the other orders in a line."""
    shown = offers(plan)
    if not shown:
        return ""
    top = max(offer.cost for offer in shown)
    rows = [_offer(offer, offer.mode, top) for offer in shown]
    if least := least_known(plan):
        rows.append(_offer(least, "bound", top))
    table = f'<table class="bars"><tbody>{"".join(rows)}</tbody></table>'
    others = other_orders(plan)
    if not others:
        return table
    named = ", ".join(f"{text(o.name, _MAX_NAME)} {o.ratio}" for o in others[:_MAX_ORDERS])
    more = f", and {len(others) - _MAX_ORDERS:,} more" if len(others) > _MAX_ORDERS else ""
    return f'{table}<p class="faint">Other orders: {named}{more}</p>'


def _offer(offer: Offer, kind: str, top: int) -> str:
    return (
        f'<tr class="{kind}"><td>{text(offer.name, _MAX_NAME)}</td>'
        f'<td class="track">{bar(100 * offer.cost / top, "%")}</td>'
        f'<td class="n">{text(offer.amount, _MAX_FIGURE)}</td><td class="n">{offer.ratio}</td></tr>'
    )


# ------------------------------------------------------------------------------ steps


def steps_table(rows: Iterable[str]) -> str:
    """Return a table of steps."""
    head = '<th colspan="2"></th><th class="n">multiplications</th>'
    head += "<th></th><th>shapes</th><th>line</th>"
    body = "".join(rows)
    return f'<table class="steps"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def step_rows(groups: Sequence[StepGroup]) -> Iterator[str]:
    """Yield the rows of a table of steps."""
    for group in groups:
        yield (
            f'<tr><td class="n">{100 * group.share:.1f} %</td>'
            f"<td>{bar(5 * group.share, 'em', group.direction)}</td>"
            f'<td class="n">{text(f"{group.multiplications:,}", _MAX_FIGURE)}</td>'
            f"{step_cells(group)}</tr>"
        )


def step_cells(group: StepGroup) -> str:
    """Return the cells that say what steps do, on which factors, and on which line."""
    shapes = text(group.shapes.replace("->", "→"), _MAX_NAME)
    kind = "shapes short" if len(shapes) <= _MAX_UNBROKEN else "shapes"
    return (
        f'<td><span class="key {group.direction}">{group.what}</span></td>'
        f'<td class="{kind}">{shapes} <span class="small">{group.kinds}</span></td>'
        f'<td class="code"><span class="small">{text(group.line, _MAX_NAME)}</span> '
        f"<code>{text(group.text, _MAX_CODE)}</code></td>"
    )


# ----------------------------------------------------------------------------- source


def listing_rows(plan: Plan) -> Iterator[str]:
    """Yield the rows of a table of the source: of every function its name, then its lines."""
    functions, _ = function_costs(plan)
    for function in functions:
        source = function.source
        name = text(f"{source.name.strip('<>')}  {source.file}:{source.first}", _MAX_NAME)
        yield f'<tr><td colspan="4" class="faint whole">{name}{_why(function)}</td></tr>'
        for number, line in shown_lines(function):
            if number is None:
                yield '<tr><td class="n">...</td></tr>'
            else:
                yield _line(number, line, function.lines.get(number), plan.multiplications)


def _why(function: FunctionCost) -> str:
    if function.text is not None:
        return ""
    why = "has changed since" if function.source.digest else "is not known"
    return f": the source {why}; these are the lines that derivatives go through"


def _line(number: int, line: str, cost: LineCost | None, total: int) -> str:
    margin = '<td class="n"></td><td class="share"></td>'
    if cost is not None:
        ways: list[Direction] = main_directions(cost)
        percent = 5 * cost.multiplications / max(1, total)
        shown = bar(percent, "em", ways[0]) if cost.multiplications else ""
        margin = f'<td class="n">{cost.multiplications:,}</td><td class="share">{shown}</td>'
    code = line.lstrip(" ")
    indent = " " * ((len(line) - len(code)) // 2)  # a page may be narrow
    code = f"<code>{text(indent + code, _MAX_CODE)}</code>"
    return f'<tr><td class="n faint">{number}</td>{margin}<td class="code">{code}</td></tr>'
