"""The user's lines that equations of jaxprs are from."""

from __future__ import annotations

import inspect
import linecache
import os
from functools import lru_cache
from pathlib import Path

import jax

from chainad.frontends.jax.linear_jaxpr import LocalJacobian
from chainad.ir.graph import Origin
from chainad.ir.notices import is_library_file
from chainad.ir.sites import FunctionSource, Site, digest_of, file_of

_JAX = str(Path(jax.__file__).parent) + os.sep


def origin_of(edge: LocalJacobian) -> Origin:
    """Return what a local Jacobian is called, and the user's line that its equation is from."""
    traceback = None if edge.equation is None else edge.equation.source_info.traceback
    for frame in () if traceback is None else traceback.frames:
        file = frame.file_name
        if is_library_file(file) or file.startswith((_JAX, "<frozen")):
            continue
        source, text = _source(file, frame.function_name, frame.function_start_line)
        line = frame.line_num
        shown = text[line - source.first].strip() if line <= source.last and text else ""
        return Origin(edge.name, Site(source, line, shown))
    return Origin(edge.name)


@lru_cache(maxsize=1024)
def _source(path: str, name: str, first: int) -> tuple[FunctionSource, list[str]]:
    """Return where the source of a function stands, and its lines."""
    lines = linecache.getlines(path)[first - 1 :]
    block = [line.rstrip() for line in inspect.getblock(lines)] if lines else []
    last = first + max(0, len(block) - 1)
    short = name.rpartition(".")[2]
    return FunctionSource(path, file_of(path), short, first, last, digest_of(block)), block
