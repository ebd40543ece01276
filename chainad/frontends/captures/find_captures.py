"""What a recorded function reads beside its arguments, and what it must be for a replay to hold."""

from __future__ import annotations

import random
import types
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import scipy.sparse

from chainad.frontends.captures.code_runs import CodeRuns
from chainad.frontends.captures.contents import content
from chainad.frontends.captures.interpreter import read_code
from chainad.frontends.captures.places import MISSING, VALUES, Place, Step, parts
from chainad.frontends.captures.reader import Reader
from chainad.frontends.numpy.tracers import Tracer
from chainad.ir.source_lines import RawSite

How: TypeAlias = Literal["by reference", "by value", "by content", "by identity only"]
CheckKind: TypeAlias = Literal[
    "value", "identity", "content", "converted content", "method", "length", "keys", "missing"
]


@dataclass(frozen=True, slots=True)
class Check:
    """What must hold below a place, after some more steps: `found` is what is there."""

    path: tuple[Step, ...]
    kind: CheckKind
    found: Any


@dataclass(frozen=True, slots=True)
class Capture:
    """Something that a function reads beside its arguments, and how changes of it are noticed."""

    place: Place
    how: tuple[How, ...]
    checks: tuple[Check, ...]

    @property
    def name(self) -> str:
        """What the user calls it."""
        return str(self.place)

    @property
    def site(self) -> RawSite | None:
        """Where it is read first."""
        return self.place.site

    @property
    def is_shown(self) -> bool:
        """Whether it is worth a line: modules, classes and functions are not."""
        known = (types.ModuleType, type, types.FunctionType, types.BuiltinFunctionType)
        value = self.place.value
        if isinstance(value, (*known, types.MethodType)):
            return False
        return not (callable(value) and self.how == ("by identity only",))


class RandomNumbersError(Exception):
    """A function draws random numbers, or takes the next of an iterator from elsewhere."""


class ChangedError(Exception):
    """A run has changed what it reads; `captures` is what that is after the run."""

    def __init__(self, captures: tuple[Capture, ...]) -> None:
        super().__init__()
        self.captures = captures


def random_states() -> dict[str, Any]:
    """Return the states of the random numbers that everybody shares, by what draws them."""
    return {"random": random.getstate(), "np.random": _frozen(np.random.get_state(legacy=False))}


def _frozen(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: _frozen(value) for key, value in state.items()}
    return state.tobytes() if isinstance(state, np.ndarray) else state


def find_captures(
    f: Callable[..., Any],
    runs: CodeRuns,
    before: Mapping[str, Any],
    args: Sequence[Sequence[Any]],
    kwargs: Mapping[str, Sequence[Any]],
    constant: frozenset[str],
) -> tuple[Capture, ...]:
    """Return what a function has read in a run.

    Parameters
    ----------
    f, runs
        The function, and the code that ran.
    before : mapping
        The random states before the run.
    args, kwargs
        The objects inside of each argument that are no data.
    constant : frozenset of str
        What the user says never changes.

    Raises
    ------
    TraceError
        If something cannot be checked at each call.
    RandomNumbersError
        If the function draws random numbers.
    ChangedError
        If the run may have changed what it reads.
    """
    reader = Reader(runs, constant)
    read_code(reader, f, args, kwargs)
    draws = [name for name, state in random_states().items() if state != before[name]]
    draws += reader.draws
    for name in draws:
        if name not in constant:
            raise RandomNumbersError(name)
    captures = []
    for place in list(reader.places.values()):
        if place.is_watched and not reader.is_constant(place):
            checks = tuple(_checks(place, reader))
            if checks:
                captures.append(Capture(place, _how(checks), checks))
    if reader.changes_what_it_reads():
        raise ChangedError(tuple(captures))
    return tuple(captures)


def _how(checks: Sequence[Check]) -> tuple[How, ...]:
    """Return how changes are noticed; several ways where there are several things."""
    known = {check.path for check in checks if check.kind in ("content", "converted content")}
    found: list[How] = ["by content"] if known else []
    for check in checks:
        if check.path in known:
            continue
        if check.kind == "identity":
            is_array = isinstance(check.found, np.ndarray)
            how: How = "by reference" if is_array else "by identity only"
            is_inside_watched = any(
                other.path[: len(check.path)] == check.path
                for other in checks
                if other is not check
            )
            if not is_array and is_inside_watched:
                continue
        elif check.kind in ("length", "keys"):
            if any(other.path[:-1] == check.path and other.path for other in checks):
                continue
            how = "by value"
        else:
            how = "by value"
        if how not in found:
            found.append(how)
    return tuple(found)


def _checks(place: Place, reader: Reader) -> list[Check]:
    """Return what must hold at a place, and below if it is meant as a whole."""
    found: list[Check] = []
    seen: set[int] = set()

    is_written = reader.is_written(place)

    def add(path: tuple[Step, ...], value: Any) -> None:
        is_fixed = not path and place.kind == "object" and not place.path
        if isinstance(value, types.MethodType):
            found.append(Check(path, "method", value.__func__))
            if place.has_parts or place.is_read:
                add((*path, ("attribute", "__self__")), value.__self__)
            return
        inside = parts(value, reader.is_users_class)
        if inside is None:
            # What the function itself makes anew at each call is another array each time.
            is_same = is_written and isinstance(value, np.ndarray) and place.is_read
            found.extend(_of_leaf(path, value, place.is_read, is_fixed or is_same))
            return
        if id(value) in seen:
            return
        seen.add(id(value))
        if isinstance(value, dict):
            found.append(Check(path, "keys", list(value)))
        elif isinstance(value, (list, tuple)):
            found.append(Check(path, "length", (type(value), tuple(value), value)))
        elif not is_fixed:
            found.append(Check(path, "identity", value))
        if hasattr(value, "__dict__") and not scipy.sparse.issparse(value):
            names = (*path, ("attribute", "__dict__"))
            found.append(Check(names, "keys", list(vars(value))))
        for step, part in inside:
            is_pattern = scipy.sparse.issparse(value) and step[1] != "data"
            if is_pattern and isinstance(part, np.ndarray):
                found.extend(_of_leaf((*path, step), part, True, False))
            else:
                add((*path, step), part)

    add((), place.value)
    return found


def _of_leaf(path: tuple[Step, ...], value: Any, is_read: bool, is_fixed: bool) -> list[Check]:
    if value is MISSING:
        return [Check(path, "missing", None)]
    if isinstance(value, Tracer):  # made by this very run
        return []
    if isinstance(value, VALUES):
        return [] if is_fixed else [Check(path, "value", value)]
    found = [] if is_fixed else [Check(path, "identity", value)]
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            found.append(Check(path, "converted content", content(value)))
        elif is_read:
            found.append(Check(path, "content", content(value)))
    elif isinstance(value, (set, frozenset, deque)) or _is_convertible(value):
        found.append(Check(path, "converted content", content(value)))
    return found


def _is_convertible(value: Any) -> bool:
    """Return whether an object of another library holds an array."""
    if not hasattr(type(value), "__array__") or isinstance(value, np.ndarray):
        return False
    try:
        return np.asarray(value).dtype != object
    except Exception:  # whatever that library raises
        return False
