"""Text and tables for pages, no longer than there is room for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path

from chainad.planning.views.terminal import cut

MAX_TITLE = 100  # characters


def text(said: str, most: int) -> str:
    """Return text for a page, at most so many characters of it."""
    return escape(cut(said, most), quote=False)


def within(rows: Iterable[str], most_bytes: int, what: str) -> Iterator[str]:
    """Yield as many rows of a table as there is room for, then one that says what is left out."""
    left_out = 0
    for row in rows:
        most_bytes -= len(row.encode())
        if most_bytes >= 0:
            yield row
        else:
            left_out += 1
    if left_out:
        said = f"{left_out:,} more {what} are left out here"
        yield f'<tr><td class="faint" colspan="9">{said}</td></tr>'


def folded(summary: str, content: str, is_open: bool = False) -> str:
    """Return what is shown when its summary is clicked, or from the start."""
    return f"<details{' open' * is_open}><summary>{summary}</summary>{content}</details>"


def bar(size: float, unit: str, kind: str = "") -> str:
    """Return a bar of some length, in the color of a direction or of its row."""
    return f'<span class="{f"bar {kind}".strip()}" style="width:{size:.2f}{unit}"></span>'


def saved(page: str, path: str | os.PathLike[str] | None) -> str:
    """Return a page, which is written to a file if there is a path to one."""
    if path is not None:
        Path(path).write_text(page, encoding="utf-8")
    return page


def document(title: str, element: str) -> str:
    """Return an element as a whole page."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title, MAX_TITLE)}</title><style>body{{margin:0}}"
        "@media (prefers-color-scheme:dark){body{background:#121212}}</style></head>\n"
        f"<body>{element}</body></html>\n"
    )
