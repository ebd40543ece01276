"""A plan as a page: what there is to say of it, with a picture, in HTML that needs no script.

It is shorter than `MAX_BYTES` for any plan: what comes last gets what the rest leaves, and says
what it left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from chainad.planning.views.directions import DIRECTION_WORDS
from chainad.planning.views.explain_blocks import about_blocks, first_block, headline_of_blocks
from chainad.planning.views.markup import MAX_TITLE, folded, text, within
from chainad.planning.views.overview import (
    StepGroup,
    headline,
    most_expensive_steps,
    of_all_steps,
    peak_and_proof,
    quicker_order,
    structures,
    values_without_line,
    verdict,
)
from chainad.planning.views.page_style import PAGE_CLASS, STYLE
from chainad.planning.views.page_tables import compared_orders, listing_rows, step_rows, steps_table
from chainad.planning.views.ribbons import MAX_NAMED_LAYERS, Note, Ribbons, ribbons_of

if TYPE_CHECKING:
    from chainad.planning.chunked import ChunkedPlan
    from chainad.planning.plan import Plan

MAX_BYTES = 40_000

_N_MOST_EXPENSIVE = 8
_MAX_MOST_EXPENSIVE_BYTES = 6_000
_MAX_LISTING_BYTES = 9_000
_MAX_OTHERS_BYTES = 6_000
_MAX_SENTENCES = 400
_MAX_CUTS = 5


def element(plan: Plan, above: str = "") -> str:
    """Return a plan as an element of a page, below what stands above it: what notebooks show."""
    every = most_expensive_steps(plan, len(plan.steps))
    groups, others = every[:_N_MOST_EXPENSIVE], every[_N_MOST_EXPENSIVE:]
    foot = _foot(plan, groups)
    parts = [STYLE, above, *_head(plan), *_picture(plan), compared_orders(plan)]
    parts += _most_expensive(plan, groups)
    room = MAX_BYTES - 1_000 - len("".join([*parts, foot]).encode())
    parts += _listing(plan, min(room, _MAX_LISTING_BYTES))
    room = MAX_BYTES - 1_000 - len("".join([*parts, foot]).encode())
    parts += _other_steps(others, min(room, _MAX_OTHERS_BYTES))
    return f'<div class="{PAGE_CLASS}">{"".join(parts)}{foot}</div>'


def element_of_blocks(plan: ChunkedPlan) -> str:
    """Return a plan in blocks as an element of a page: what all take, then the first one."""
    sentences = about_blocks(plan)
    shown = sentences[:_MAX_CUTS]
    if left_out := len(sentences) - len(shown):
        shown.append(f"{left_out:,} more are left out here")
    about = "<br>".join(text(said, _MAX_SENTENCES) for said in shown)
    head = _title(*headline_of_blocks(plan))
    return element(first_block(plan), f'{head}<p class="verdict">{about}</p>')


def _title(name: str, what: str) -> str:
    return (
        f'<p><span class="name">{text(name.replace("->", "→"), MAX_TITLE)}</span>'
        f' <span class="about faint">{text(what, MAX_TITLE)}</span></p>'
    )


def _head(plan: Plan) -> Iterator[str]:
    yield _title(*headline(plan))
    yield f'<p class="verdict">{_quoting(verdict(plan))}</p>'
    if quicker := quicker_order(plan):
        yield f'<p class="verdict">{_quoting(quicker)}</p>'


def _quoting(said: str) -> str:
    """Return a sentence; between its first and its last backtick is the user's code."""
    before, _, rest = said.partition("`")
    code, _, after = rest.rpartition("`")
    quoted = f"<code>{text(code, MAX_TITLE)}</code>" if rest else ""
    return text(before, _MAX_SENTENCES) + quoted + text(after, _MAX_SENTENCES)


# ----------------------------------------------------------------------------- picture


def _picture(plan: Plan) -> Iterator[str]:
    picture = ribbons_of(plan, verdict(plan))
    # Of a local Jacobian: it is multiplied by none.
    words = DIRECTION_WORDS | {"leaf": "not multiplied"}
    keys = (f'<span class="key {way}">{words[way]}</span>' for way in picture.directions)
    yield f'<p class="faint">{picture.caption}</p><p>{"".join(keys)}</p>{picture.svg}'
    yield _labels(picture)
    yield from map(_note, picture.notes)


def _labels(picture: Ribbons) -> str:
    """Return what stands below the layers, or below the first and the last one."""
    cells = "".join(
        f'<span><b>{size}</b> <span class="of">{text(of, 30)}</span></span>'
        for size, of in picture.labels
    )
    many = " many" if len(picture.labels) > MAX_NAMED_LAYERS else ""
    return f'<div class="{f"columns{many}" if len(picture.labels) > 2 else "ends"}">{cells}</div>'


def _note(note: Note) -> str:
    """Return what is said of a place, below it and a little to its left or right."""
    percent = 100 * note.at
    if percent < 35:
        style = f"padding-left:{percent:.1f}%;margin-left:-.4em"
    elif percent > 65:
        style = f"padding-right:{100 - percent:.1f}%;margin-right:-.4em;text-align:right"
    else:  # as much room at the right as at the left
        side = "right" if percent < 50 else "left"
        style = f"padding-{side}:{abs(100 - 2 * percent):.1f}%;text-align:center"
    said = f"<b>{text(note.said, MAX_TITLE)}</b>"
    if note.line:
        said += f' <span class="place">{text(note.line, MAX_TITLE)}</span>'
        said += f"<code>{text(note.code, 60)}</code>"
    return f'<div class="note" style="{style}"><span aria-hidden="true">▲</span><br>{said}</div>'


# ------------------------------------------------------------------------------ tables


def _most_expensive(plan: Plan, groups: Sequence[StepGroup]) -> Iterator[str]:
    if groups:
        said = of_all_steps(plan, groups)
        table = steps_table(within(step_rows(groups), _MAX_MOST_EXPENSIVE_BYTES, "kinds of steps"))
        yield folded(f"{said[0].upper()}{said[1:]}", table, is_open=True)


def _other_steps(others: Sequence[StepGroup], room: int) -> Iterator[str]:
    if others and room > 1_000:
        count = sum(len(group.steps) for group in others)
        percent = 100 * sum(group.share for group in others)
        table = steps_table(within(step_rows(others), room, "kinds of steps"))
        yield folded(f"The next {count:,}, {percent:.3g} % of the multiplications", table)


def _listing(plan: Plan, room: int) -> Iterator[str]:
    rows = within(listing_rows(plan), room, "lines")
    if table := "".join(rows):
        head = '<th class="n">line</th><th class="n">multiplications</th><th></th><th></th>'
        table = f'<table class="lines"><thead><tr>{head}</tr></thead><tbody>{table}</tbody></table>'
        yield folded("The source, with the multiplications of every line", table)


def _foot(plan: Plan, groups: Sequence[StepGroup]) -> str:
    said = filter(None, [values_without_line(plan, groups), structures(plan), peak_and_proof(plan)])
    return f'<p class="foot faint">{"<br>".join(text(x, _MAX_SENTENCES) for x in said)}</p>'
