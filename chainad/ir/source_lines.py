"""Finding the line of the user's code that is running."""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import replace
from dis import opname
from types import CodeType, FrameType
from typing import NamedTuple

from chainad.ir.cache import Cache
from chainad.ir.graph import Origin
from chainad.ir.notices import ARRAY_LIBRARIES, is_library_file
from chainad.ir.sites import FunctionSource, Site, cell_of, source_of

# Code, and the place of the running instruction in it: to look its line up would take time that
# grows with the length of the code.
RawSite = tuple[CodeType, int]


def raw_site(depth: int = 1) -> RawSite | None:
    """Return the place in the innermost frame outside chainad, NumPy and SciPy.

    The `depth` innermost frames are known to be of chainad.
    """
    frame: FrameType | None = sys._getframe(depth)
    while frame is not None:
        code = frame.f_code
        if not is_library_file(code.co_filename):
            return code, frame.f_lasti
        frame = frame.f_back
    return None


def instead_of_other_arrays() -> str:
    """Return what to do where a library with arrays of its own met a traced value, or ""."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and is_library_file(frame.f_code.co_filename):
        for folder, (name, conversion) in ARRAY_LIBRARIES.items():
            if frame.f_code.co_filename.startswith(folder):
                return (
                    f"{name} works on plain numbers, and the derivative would be lost; convert its"
                    f" object to a NumPy array first, with {conversion}"
                )
        frame = frame.f_back
    return ""


def site_of(raw: RawSite | None) -> Site | None:
    """Return the site with the function that it is in, and the text of the line."""
    if raw is None:
        return None
    code, place = raw
    known = _listed(code)
    line = known.line(place)
    text = known.text[line - known.source.first].strip() if known.text else ""
    return Site(known.source, line, text, None if place in known.unpacking else place)


class _ListedCode(NamedTuple):
    """Code, its source, and on which line its instructions are.

    `starts` are those instructions, ascending, from which on `lines` are the lines. It holds the
    code, so that no other one gets its id meanwhile. Those of `unpacking` take all entries of a
    value one by one.
    """

    code: CodeType
    source: FunctionSource
    text: list[str]
    starts: list[int]
    lines: list[int]
    unpacking: frozenset[int]

    def line(self, place: int) -> int:
        return self.lines[bisect_right(self.starts, place) - 1]


# Code is known by its id: it compares equal if it says the same, in whatever file, and to hash it
# takes time that grows with its length.
_listed_codes: Cache[_ListedCode] = Cache(256, "lines of functions")


def _listed(code: CodeType) -> _ListedCode:
    return _listed_codes.get(id(code), lambda: _list(code))


def _list(code: CodeType) -> _ListedCode:
    places = [*code.co_lines()]
    lines = [line or code.co_firstlineno for _, _, line in places]
    starts = [start for start, _, _ in places]
    unpacking = frozenset(
        2 * k for k, number in enumerate(code.co_code[::2]) if opname[number] in _UNPACKING
    )
    return _ListedCode(code, *source_of(code), starts, lines, unpacking)


_UNPACKING = {"UNPACK_SEQUENCE", "UNPACK_EX"}


class RawOrigin(NamedTuple):
    """What a call is called, and its place in the user's code.

    `is_of_another` says that the place is that of another call, whose line this one belongs to.
    """

    name: str
    site: RawSite | None
    is_of_another: bool

    def origin(self) -> Origin:
        """Return the origin with the user's line."""
        site = site_of(self.site)
        if site is not None and self.is_of_another:
            site = replace(site, instruction=None)
        return Origin(self.name, site)


def here() -> str:
    """Return the user's file and line as the beginning of a message."""
    return prefix(raw_site())


def line_of(error: BaseException) -> tuple[str, bool]:
    """Return the user's file and line that an error came from, and whether a library raised it."""
    raw, is_inside, trace = None, False, error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        is_inside = is_library_file(code.co_filename)
        if not is_inside:
            raw = code, trace.tb_lasti
        trace = trace.tb_next
    return prefix(raw), is_inside


def is_called_by_sparse() -> bool:
    """Return whether a method is called by a product of scipy.sparse."""
    code = sys._getframe(2).f_code
    return code.co_name in _SPARSE_PRODUCTS and "sparse" in code.co_filename


# What asks whether the other operand is an array, in products of scipy.sparse.
_SPARSE_PRODUCTS = {"_matmul_dispatch", "_mul_dispatch", "isdense", "isscalarlike"}


def scipy_calls() -> list[tuple[str, str]]:
    """Return module and name of SciPy's functions between here and the user, outermost first."""
    return scipy_calls_in(frames_from(sys._getframe(1)))


def frames_from(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield a frame and those that called it."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def scipy_calls_in(frames: Iterable[FrameType]) -> list[tuple[str, str]]:
    """Return module and name of SciPy's functions in frames, innermost first, up to the user's."""
    found: list[tuple[str, str]] = []
    for frame in frames:
        if not is_library_file(frame.f_code.co_filename):
            break
        # A decorator of SciPy's holds the function that the user called in one of its variables.
        inside = [frame.f_locals.get(name) for name in ("fun", "func", "f")]
        names = [getattr(x, "__name__", "") for x in inside if callable(x)]
        modules = [str(getattr(x, "__module__", "")) for x in inside if callable(x)]
        modules.append(str(frame.f_globals.get("__name__", "")))
        for module, name in zip(modules, [*names, frame.f_code.co_name], strict=True):
            if module.startswith("scipy.") and not module.startswith("scipy._"):
                found.append((".".join(module.split(".")[:2]), name))
    return found[::-1]


def prefix(raw: RawSite | None) -> str:
    """Return a place as the beginning of a message."""
    if raw is None:
        return ""
    code, place = raw
    return f"{cell_of(code.co_filename) or code.co_filename}:{_listed(code).line(place)}: "
