"""Text that fits into a terminal, and its colors there."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from chainad.planning.views.directions import DIRECTION_COLORS, DIRECTION_WORDS

if TYPE_CHECKING:
    from rich.text import Text

MAX_LINE_LENGTH = 100

_MIN_WIDTH = 60


class Explained:
    """What is printed as it explains itself, and by consoles of rich in colors."""

    def explain(self, *, width: int | None = None) -> str:
        raise NotImplementedError

    def __str__(self) -> str:
        return self.explain()

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        yield colored(self.explain(width=fitting_width(None, options.max_width)))


def fitting_width(width: int | None, available: int | None = None) -> int:
    """Return how long lines may be: as given, or as there is room; not too long or short.

    By default the terminal says how much room there is.
    """
    if width is None:
        room = available or shutil.get_terminal_size((MAX_LINE_LENGTH, 24)).columns
        width = min(room, MAX_LINE_LENGTH)
    return max(width, _MIN_WIDTH)


def wrapped(text: str, width: int) -> list[str]:
    """Return a text in lines that fit."""
    return wrap(text, width, break_on_hyphens=False)


def cut(line: str, width: int) -> str:
    """Return a line, cut if it is too long."""
    return line if len(line) <= width else line[: max(0, width - 3)] + "..."[:width]


def show(text: str) -> None:
    """Print the text of a plan, in colors where there is rich and somebody looks on."""
    if sys.stdout.isatty() and find_spec("rich") is not None:
        from rich.console import Console  # slow to load

        Console(soft_wrap=True).print(colored(text))
    else:
        print(text)


def colored(text: str) -> Text:
    """Return the text of a plan as rich shows it: directions, and bars, in their colors."""
    from rich.text import Text  # slow to load; only rich asks for it

    found = Text(text, no_wrap=True)
    for pattern, style in _styles():
        for match in re.finditer(pattern, text, re.MULTILINE):
            found.stylize(style, *match.span(match.lastindex or 0))
    return found


def _styles() -> Iterator[tuple[str, str]]:
    """Yield what is found in a text, or the group in it, and its style."""
    yield r"\A.*", "bold"
    yield r"`([^`]+)`", "italic"
    yield r"^(?:  other orders|peak|values:|\d[\d,]* local Jac).*", "dim"
    for name, color in (
        ("forward", DIRECTION_COLORS["forward"]),
        ("reverse", DIRECTION_COLORS["reverse"]),
        ("(?:hybrid|this plan)", DIRECTION_COLORS["join"]),
    ):
        yield rf"^  {name} .*?(█+)$", color
    for direction, words in DIRECTION_WORDS.items():
        yield rf"\b{words}\b", DIRECTION_COLORS[direction]
