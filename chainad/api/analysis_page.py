"""What analyzing a plan has found, as an element of a page, in the style of plans."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from chainad.api.analysis_text import DEFAULT_ROWS, sentences, slowest, title
from chainad.planning.views.markup import MAX_TITLE, bar, text
from chainad.planning.views.page_style import PAGE_CLASS, STYLE
from chainad.planning.views.page_tables import step_cells
from chainad.planning.views.quantities import seconds_text

if TYPE_CHECKING:
    from chainad.api.analysis import Analysis

_MAX_SENTENCE = 400


def element(of: Analysis) -> str:
    """Return what was found as an element of a page: what notebooks show."""
    name, what = title(of)
    verdict, *others = (text(each, _MAX_SENTENCE) for each in sentences(of))
    parts = [
        STYLE,
        f'<p><span class="name">{text(name, MAX_TITLE)}</span>'
        f' <span class="about faint">{text(what, MAX_TITLE)}</span></p>'
        f'<p class="verdict">{" ".join([verdict, *others])}</p>',
        _bars("Where a traced call spends its time", _phases(of)),
    ]
    if of.modes:
        parts.append(_bars("All products and sums, as one program", _modes(of)))
    if of.rows:
        parts.append(_steps(of))
    once = ", ".join(f"{name} {seconds_text(seconds)}" for name, seconds in of.preparation)
    foot = f'<p class="foot faint">A first call takes besides: {once}</p>'
    return f'<div class="{PAGE_CLASS}">{"".join(parts)}{foot}</div>'


def _bars(said: str, rows: Iterator[str]) -> str:
    table = f'<table class="bars"><tbody>{"".join(rows)}</tbody></table>'
    return f'<p class="faint" style="margin:1.2em 0 -.8em">{said}</p>{table}'


def _phases(of: Analysis) -> Iterator[str]:
    total = sum(phase.seconds for phase in of.phases)
    top = max(phase.seconds for phase in of.phases)
    for name, seconds in of.phases:
        share = f"{100 * seconds / total:.0f} %"
        yield _row(name, "", "leaf", seconds / top, seconds_text(seconds), share)


def _modes(of: Analysis) -> Iterator[str]:
    top = max(mode.seconds for mode in of.modes)
    for mode in of.modes:
        about = f'<span class="small">estimated {seconds_text(mode.estimate)}</span>'
        measured = "~" * mode.is_expected + seconds_text(mode.seconds)
        ratio = f"{mode.seconds / of.modes[0].seconds:,.1f}x"
        yield _row(mode.name, about, mode.mode, mode.seconds / top, measured, ratio)


def _row(name: str, about: str, kind: str, length: float, *figures: str) -> str:
    cells = "".join(f'<td class="n">{figure}</td>' for figure in figures)
    track = f'<td class="track">{bar(100 * length, "%") if length else ""}</td>'
    return f'<tr class="{kind}"><td><span class="key">{name}</span> {about}</td>{track}{cells}</tr>'


def _steps(of: Analysis) -> str:
    """Return the slowest steps, as a plan shows its most expensive ones."""
    headings = ["measured", "estimated", "multiplications"]
    figures = "".join(f'<th class="n">{heading}</th>' for heading in headings)
    head = f'<th colspan="2">{len(of.rows):,} steps</th>{figures}'
    head += "<th></th><th>shapes</th><th>line</th>"
    rows = []
    for group, estimate, seconds in slowest(of, DEFAULT_ROWS):
        share = seconds / of.seconds
        counted = f"{group.multiplications:,}"
        shown = zip(headings, (seconds_text(seconds), seconds_text(estimate), counted), strict=True)
        # The headings are not seen where a page is narrow.
        figures = "".join(
            f'<td class="n" data-of="{heading}">{figure}</td>' for heading, figure in shown
        )
        rows.append(
            f'<tr><td class="n">{100 * share:.1f} %</td>'
            f"<td>{bar(5 * share, 'em', group.direction)}</td>{figures}{step_cells(group)}</tr>"
        )
    body = "".join(rows)
    return f'<table class="steps"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
