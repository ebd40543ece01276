"""The source of the functions that a plan is of, with what every line costs in the margin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from textwrap import dedent
from typing import TYPE_CHECKING

from chainad.planning.views.directions import DIRECTION_ARROWS, DIRECTION_WORDS
from chainad.planning.views.line_costs import FunctionCost, LineCost, function_costs
from chainad.planning.views.terminal import cut, fitting_width

if TYPE_CHECKING:
    from chainad.planning.plan import Plan
    from chainad.planning.steps import Direction

# Directions that take less of a line's multiplications than this share are not shown.
_MIN_SHARE = 0.01
# Of so many lines in a row that cost nothing, those in the middle are left out.
_MAX_FREE_LINES = 8
_KEPT_FREE_LINES = 2


def listing(title: str, plans: Sequence[Plan], width: int | None = None) -> str:
    """Return the source of what was traced, with the multiplications of every line in all plans."""
    functions, elsewhere = function_costs(*plans)
    total = sum(plan.multiplications for plan in plans)
    found = {way for x in functions for line in x.lines.values() for way in main_directions(line)}
    legend = "  ".join(
        f"{sign} {DIRECTION_WORDS[x]}" for x, sign in DIRECTION_ARROWS.items() if x in found
    )
    parts = [[f"{title}: {total:,} multiplications, by line    {legend}".rstrip()]]
    parts += [[*_lines(each, total)] for each in functions]
    if elsewhere:
        part = f"{elsewhere:,} multiplications, {_percent(elsewhere, total)} %"
        parts.append([f"on no line of the code    {part}"])
    room = fitting_width(width)
    return "\n\n".join("\n".join(cut(line, room) for line in lines) for lines in parts)


def _lines(function: FunctionCost, total: int) -> Iterator[str]:
    """Yield the lines of a function: the whole source if it is known, else those that cost."""
    source, own = function.source, function.multiplications
    name = source.name.strip("<>")
    yield (
        f"{name}  {source.file}:{source.first}    {own:,} multiplications, {_percent(own, total)} %"
    )
    if function.text is None:
        why = "has changed since" if source.digest else "is not known"
        yield f"the source {why}; these are the lines that derivatives go through"
    runs = max(line.runs for line in function.lines.values())
    times = len(f"  {runs:,} x") if runs > 1 else 0
    most = max(line.multiplications for line in function.lines.values())
    amounts = max(len(f"{most:,}"), len("multiplications"))
    arrows = max(len(_arrows(line)) for line in function.lines.values())
    yield f"  {'line':>5}{'':{times}}  {'multiplications':>{amounts}}  {'%':>6}"
    for number, text in shown_lines(function):
        if number is None:
            yield f"  {'...':>5}"
            continue
        line = function.lines.get(number, LineCost())
        cost, is_traced = line.multiplications, number in function.lines
        repeats = f"{line.runs:,} x" if line.runs > 1 else ""
        percent = _percent(cost, total) if cost else ""
        amount = f"{cost:,}" if is_traced else ""
        yield (
            f"  {number:>5}{repeats:>{times}}  {amount:>{amounts}}  {percent:>6}"
            f"  {_arrows(line):{arrows}}  {text}"
        ).rstrip()


def shown_lines(function: FunctionCost) -> Iterator[tuple[int | None, str]]:
    """Yield the lines to be shown, by number, and None for some that are left out."""
    if function.text is None:
        yield from ((k, line.text) for k, line in sorted(function.lines.items()))
        return
    text = dedent("\n".join(function.text)).split("\n")
    numbered = list(enumerate(text, function.source.first))
    for is_free, group in groupby(numbered, lambda item: item[0] not in function.lines):
        lines = list(group)
        if is_free and len(lines) > _MAX_FREE_LINES:
            yield from lines[:_KEPT_FREE_LINES]
            yield None, ""
            yield from lines[-_KEPT_FREE_LINES:]
        else:
            yield from lines


def main_directions(line: LineCost) -> list[Direction]:
    """Return the directions of most multiplications of a line, that of most first."""
    least = _MIN_SHARE * line.multiplications
    return [way for way, cost in line.by_direction.most_common() if cost >= least]


def _arrows(line: LineCost) -> str:
    return " ".join(DIRECTION_ARROWS[way] for way in main_directions(line))


def _percent(part: int, total: int) -> str:
    return f"{100 * part / total:.1f}" if total else "0.0"
