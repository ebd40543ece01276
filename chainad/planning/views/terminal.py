"""Text that fits into a terminal."""

from __future__ import annotations

import shutil
from textwrap import wrap

MAX_LINE_LENGTH = 100

_MIN_WIDTH = 60


def fitting_width(width: int | None) -> int:
    """Return how long lines may be: as given, or as the terminal has them; not too short."""
    if width is None:
        width = min(shutil.get_terminal_size((MAX_LINE_LENGTH, 24)).columns, MAX_LINE_LENGTH)
    return max(width, _MIN_WIDTH)


def wrapped(text: str, width: int) -> list[str]:
    """Return a text in lines that fit."""
    return wrap(text, width, break_on_hyphens=False)


def cut(line: str, width: int) -> str:
    """Return a line, cut if it is too long."""
    return line if len(line) <= width else line[: max(0, width - 3)] + "..."[:width]
