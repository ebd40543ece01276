"""The user's lines that equations of jaxprs are from."""

from __future__ import annotations

import inspect
import linecache
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax

from chainad.ir.notices import is_library_file
from chainad.ir.sites import FunctionSource, Site, digest_of, file_of

_JAX = str(Path(jax.__file__).parent) + os.sep


def is_of_library(source: str) -> bool:
    """Return whether a function is not the user's: `source` is "cumsum at jax/_src/lax.py:12"."""
    return _is_library_file(source.rpartition(" at ")[2].rpartition(":")[0])


def site_of(equation: Any) -> Site | None:
    """Return the user's line that an equation is from; None if it is from none."""
    traceback = equation.source_info.traceback
    for frame in () if traceback is None else traceback.frames:
        if _is_library_file(frame.file_name):
            continue
        source, text = _source(frame.file_name, frame.function_name, frame.function_start_line)
        line = frame.line_num
        shown = text[line - source.first].strip() if line <= source.last and text else ""
        return Site(source, line, shown)
    return None


def _is_library_file(file: str) -> bool:
    return is_library_file(file) or file.startswith((_JAX, "<frozen"))


@lru_cache(maxsize=1024)
def _source(path: str, name: str, first: int) -> tuple[FunctionSource, list[str]]:
    """Return where the source of a function stands, and its lines."""
    lines = linecache.getlines(path)[first - 1 :]
    block = [line.rstrip() for line in inspect.getblock(lines)] if lines else []
    last = first + max(0, len(block) - 1)
    short = name.rpartition(".")[2]
    return FunctionSource(path, file_of(path), short, first, last, digest_of(block)), block
