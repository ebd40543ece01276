"""Why a compiled function is recorded anew: what is not as it was when it was recorded before."""

from __future__ import annotations

from collections.abc import Sequence
from reprlib import repr as short_repr

from chainad.api.choose_backend import CompiledProgram
from chainad.compiler.recording.arguments import arguments_as_text
from chainad.compiler.recording.capture_checks import hold
from chainad.ir.calls import Guard
from chainad.ir.source_lines import RawSite, site_of


def why_recorded(program: CompiledProgram, known: Sequence[CompiledProgram]) -> str:
    """Return why a program was recorded, though there are others, the one used last first."""
    call = arguments_as_text(*program.arguments)
    same = [each for each in known if arguments_as_text(*each.arguments) == call]
    if not same:
        return f"the arguments were {arguments_as_text(*known[0].arguments)}"
    (last, *_) = same
    for capture in last.captures:
        if not hold((capture,)):
            return f"{capture.name} has changed{_at(capture.site)}"
    for old, new in zip(last.guards, program.guards, strict=False):
        if (old.kind, old.site, repr(old.found)) != (new.kind, new.site, repr(new.found)):
            return _difference(old, new)
    return "an index or an array from elsewhere has other entries, or another way was gone"


def _difference(old: Guard, new: Guard) -> str:
    if (old.kind, old.site) != (new.kind, new.site):
        return f"the function goes another way{_at(new.site)}"
    if old.kind == "truth":
        return f"a condition was {old.found} and is {new.found}{_at(new.site)}"
    if old.kind == "shape":
        return f"a shape was {old.found.shape} and is {new.found.shape}{_at(new.site)}"
    return f"what is read was {short_repr(old.found)} and is {short_repr(new.found)}{_at(new.site)}"


def _at(raw: RawSite | None) -> str:
    site = site_of(raw)
    return "" if site is None else f", at {site}: {site.text}" if site.text else f", at {site}"
