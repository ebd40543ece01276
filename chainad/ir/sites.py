"""Places in the user's code, and the source of the functions that these are in."""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from types import CodeType


@dataclass(frozen=True, slots=True)
class FunctionSource:
    """Where the source of a function of the user's stands, and what it was when it was traced.

    Attributes
    ----------
    path, file, name : str
        What `linecache` knows its file by, what that is called in print, and the function's name.
    first, last : int
        Its lines.
    digest : str
        A hash of the text of these lines; empty if there is none, as in some interactive shells.
    """

    path: str
    file: str
    name: str
    first: int
    last: int
    digest: str = ""

    def text(self) -> list[str] | None:
        """Return the lines if they are still what they were, else None."""
        lines = _lines(self.path, self.first, self.last)
        return lines if self.digest and digest_of(lines) == self.digest else None


@dataclass(frozen=True, slots=True)
class Site:
    """A place in the user's code.

    `instruction` tells calls of one line from one another, and how often it ran; None where it is
    not the user's instruction that made one call, such as the derivative of a call.
    """

    function: FunctionSource
    line: int
    text: str = ""
    instruction: int | None = None

    @property
    def file(self) -> str:
        return self.function.file

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def source_of(code: CodeType) -> tuple[FunctionSource, list[str]]:
    """Return where the source of code stands, and its lines; none if they are not known."""
    path = code.co_filename
    first = code.co_firstlineno
    last = max(first, *_last_lines(code))
    lines = _lines(path, first, last)
    return FunctionSource(path, file_of(path), code.co_name, first, last, digest_of(lines)), lines


def file_of(path: str) -> str:
    """Return what a file is called in print: its name, or `In[3]` if it is a cell of a notebook."""
    return cell_of(path) or os.path.basename(path)


def cell_of(path: str) -> str:
    """Return what IPython and notebooks call the cell that is a file to Python, or ""."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    named: tuple[str, str] | None = shell and shell.compile.format_code_name(path)
    return named[1] if named else ""


def _last_lines(code: CodeType) -> Iterator[int]:
    """Yield on which lines the instructions of code end, and those of the functions in it."""
    yield from (last or first or 0 for first, last, _, _ in code.co_positions())
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _last_lines(constant)


def _lines(path: str, first: int, last: int) -> list[str]:
    """Return lines of a file, a cell, or what an interpreter was told; none if there are fewer."""
    linecache.checkcache(path)
    lines = [line.rstrip() for line in linecache.getlines(path)[max(0, first - 1) : last]]
    return lines if len(lines) == last - first + 1 else []


def digest_of(lines: list[str]) -> str:
    """Return a hash of a text; "" if there is none."""
    return sha256("\n".join(lines).encode(errors="replace")).hexdigest()[:16] if lines else ""
