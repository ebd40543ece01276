"""Source that checks, at each call, what a function reads beside its arguments.

Each check first asks whether the very same object is there, which costs least; only where another
one is are values compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any

from chainad.backends.namespace import Namespace
from chainad.frontends.captures.contents import (
    MAX_COMPARED_BYTES,
    differs,
    entries_differ,
    has_content,
)
from chainad.frontends.captures.find_captures import Capture, Check
from chainad.frontends.captures.places import VALUES, Place, Step
from chainad.frontends.numpy.proxies import original_of, proxy_of

# Longer lists of values are compared by a call.
MAX_INLINE_ENTRIES = 8


def capture_checks(captures: Sequence[Capture], constant: Callable[[Any], str]) -> list[str]:
    """Return lines that return MISS unless everything is as it was; `constant` names an object."""
    tests = []
    known: set[str] = set()
    for capture in captures:
        start = _start(capture.place, constant)
        for test in _tests(start, _merged(capture.checks), constant):
            if test not in known:
                known.add(test)
                tests.append(test)
    if not tests:
        return []
    lines = [line for test in tests for line in (f"    if {test}:", "        return MISS")]
    # What is not there any more is not what it was.
    errors = "AttributeError, LookupError, TypeError, ValueError"
    return ["try:", *lines, f"except ({errors}):", "    return MISS"]


def hold(captures: Sequence[Capture]) -> bool:
    """Return whether everything is as it was."""
    names = Namespace(MISS=False)
    holds, _ = names.define("hold()", [*capture_checks(captures, names.constant), "return True"])
    return bool(holds())


def bits_differ(
    source: str, shape: tuple[int, ...], entries: bytes, constant: Callable[[Any], str]
) -> str:
    """Return an expression that is true unless an array has these very entries, bit by bit."""
    return f"{source}.shape != {shape} or {source}.tobytes() != {constant(entries)}"


def _start(place: Place, constant: Callable[[Any], str]) -> str:
    name = constant(place.holder)
    if place.kind == "global":
        name += f"[{place.name!r}]"
    elif place.kind == "cell":
        name += ".cell_contents"
    return name + _steps(place.path, constant)


def _steps(path: Sequence[Step], constant: Callable[[Any], str]) -> str:
    found = []
    for kind, key in path:
        if kind == "attribute":
            found.append(f".{key}")
        else:
            found.append(f"[{key!r}]" if type(key) in (int, str) else f"[{constant(key)}]")
    return "".join(found)


def _merged(checks: Sequence[Check]) -> list[Check]:
    """Return the checks, without those of the entries of long lists of values."""
    merged = {check.path for check in checks if _is_long(check)}
    return [check for check in checks if not check.path or check.path[:-1] not in merged]


def _tests(start: str, checks: Sequence[Check], constant: Callable[[Any], str]) -> Iterator[str]:
    """Yield expressions that are true if a check fails.

    Where the very same tuple is, the entries are what they were.
    """
    tuples = {
        check.path: check
        for check in checks
        if check.kind == "length" and issubclass(check.found[0], tuple)
    }
    groups: dict[tuple[Step, ...], list[str]] = {}
    tests: list[tuple[tuple[Step, ...] | None, str]] = []
    for check in checks:
        test = _test(start + _steps(check.path, constant), check, constant)
        root = check.path if check.path in tuples else None
        above = check.path
        while above and above[-1][0] == "entry" and above[:-1] in tuples:
            above = above[:-1]
            if check.kind in ("value", "identity") or root is not None:
                root = above
        if root is None:
            tests.append((None, test))
        elif root in groups:
            groups[root].append(test)
        else:
            groups[root] = [test]
            tests.append((root, test))
    for root, test in tests:
        if root is None:
            yield test
        else:
            *_, found = tuples[root].found
            source = start + _steps(root, constant)
            either = " or ".join(f"({each})" for each in groups[root])
            yield f"{source} is not {constant(found)} and ({either})"


def _is_long(check: Check) -> bool:
    if check.kind != "length":
        return False
    _, entries, _ = check.found
    return len(entries) > MAX_INLINE_ENTRIES and all(isinstance(x, VALUES) for x in entries)


def _test(source: str, check: Check, constant: Callable[[Any], str]) -> str:
    """Return an expression that is true if a check fails."""
    found = check.found
    if check.kind == "identity":
        test = f"{source} is not {constant(found)}"
        if proxy_of(found) is not None:  # while another thread traces
            test += f" and {constant(original_of)}({source}) is not {constant(found)}"
        return test
    if check.kind == "value":
        if found is None or type(found) is bool:
            return f"{source} is not {found!r}"
        name = constant(found)
        return f"{source} is not {name} and {constant(differs)}({source}, {name})"
    if check.kind == "method":
        return f"{source}.__func__ is not {constant(found)}"
    if check.kind == "missing":
        holder, _, name = source.rpartition(".")
        return f"hasattr({holder}, {name!r})"
    if check.kind == "keys":
        return f"[*{source}] != {constant(found)}"
    if check.kind == "length":
        kind, entries, _ = found
        test = f"{source}.__class__ is not {constant(kind)} or len({source}) != {len(entries)}"
        if _is_long(check):
            test += f" or {constant(entries_differ)}({source}, {constant(entries)})"
        return test
    if check.kind == "content":
        shape, dtype, entries = found
        if prod(shape) * dtype.itemsize <= MAX_COMPARED_BYTES:
            return bits_differ(source, shape, entries, constant)
    return f"not {constant(has_content)}({source}, {constant(found)})"
