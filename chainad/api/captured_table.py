"""The table of what a compiled function reads beside its arguments, how it is checked, where."""

from __future__ import annotations

from collections.abc import Iterable
from reprlib import repr as short_repr
from typing import Any

import numpy as np

from chainad.frontends.captures.find_captures import Capture, How
from chainad.ir.source_lines import site_of
from chainad.planning.views.terminal import MAX_LINE_LENGTH, cut

_WORDS: dict[How, str] = {
    "by reference": "seen by reference",
    "by value": "guarded by value",
    "by content": "guarded by content",
    "by identity only": "by identity only",
}


def captured_table(
    captures: Iterable[Capture], constant: Iterable[str], holds_entries: bool
) -> str:
    """Return the table; with `holds_entries` a program has entries of arrays as constants."""
    rows: dict[str, tuple[str, str, str]] = {}
    for capture in captures:
        if not capture.is_shown:
            continue
        hows = list(capture.how)
        if holds_entries:
            hows = ["by content" if how == "by reference" else how for how in hows]
        words = ", ".join(dict.fromkeys(_WORDS[how] for how in hows))
        if capture.name in rows and rows[capture.name][1] != words:
            words = f"{rows[capture.name][1]}, {words}"
        rows[capture.name] = (_described(capture.place.value), words, _where(capture))
    for name in constant:
        rows[name] = ("", "named in constant=", "")
    if not rows:
        return "captured    nothing but functions and modules"
    table = [(name, *rest) for name, rest in sorted(rows.items())]
    widths = [max(len(row[k]) for row in table) for k in range(3)]
    lines = ["captured"]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append(cut("  " + "  ".join([*cells, row[3]]).rstrip(), MAX_LINE_LENGTH))
    return "\n".join(lines)


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    if isinstance(value, (list, tuple, dict, set, frozenset)):
        return f"{type(value).__name__} of {len(value)}"
    if isinstance(value, (bool, int, float, complex, str, bytes, type(None))):
        return short_repr(value)
    return type(value).__name__


def _where(capture: Capture) -> str:
    site = site_of(capture.site)
    return "" if site is None else f"{site.file}:{site.line}  {site.text}"
