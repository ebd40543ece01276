"""The places that a function reads, each once, and what objects there consist of."""

from __future__ import annotations

import types
from collections.abc import Iterable
from typing import Any

import numpy as np
import scipy.sparse

from chainad.errors import TraceError
from chainad.frontends.captures.abstract_values import Items
from chainad.frontends.captures.code_runs import CodeRuns, owner_of
from chainad.frontends.captures.places import VALUES, Place, Step, file_of, is_plain_object, parts
from chainad.frontends.numpy.proxies import original_of
from chainad.ir.source_lines import prefix

# More objects inside of one that is passed on as a whole are not looked at.
MAX_PARTS = 10_000


class PlaceTable:
    """The places found so far.

    Attributes
    ----------
    runs, constant
        The code that ran, and what the user says never changes.
    places : dict
        Where something is read.
    written : set
        Starts and paths of where something is written.
    at : tuple or None
        The instruction that is interpreted.
    is_counting : bool
        Whether that loads a number only to store it again.
    """

    def __init__(self, runs: CodeRuns, constant: frozenset[str] = frozenset()) -> None:
        self.runs = runs
        self.constant = constant
        self.places: dict[Any, Place] = {}
        self.written: set[tuple[Any, tuple[Step, ...]]] = set()
        self.at: tuple[types.CodeType, int] | None = None
        self.is_counting = False

    def place(
        self, kind: Any, holder: Any, name: str, path: tuple[Step, ...], value: Any,
        has_parts: bool = False,
    ) -> Place:  # fmt: skip
        start = start_of(kind, holder, name)
        key = (start, tuple((k, _key(x)) for k, x in path), has_parts)
        place = self.places.get(key)
        if place is None:
            value = original_of(value)  # while another thread traces
            is_cell = kind == "cell" and not path  # known before any instruction reads it
            site = None if is_cell else self.at
            place = Place(kind, holder, name, path, value, site, has_parts)
            self.places[key] = place
        if kind != "cell" or path or has_parts:
            self.watch(place)
        return place

    def watch(self, place: Place) -> None:
        """Note that what is at a place is read, if that is one thing."""
        is_one = place.has_parts or parts(place.value, self.is_users_class) is None
        place.site = place.site or self.at
        is_counter = self.is_counting and isinstance(place.value, VALUES)
        place.is_watched |= is_one and not is_counter

    def below(self, place: Place, step: Step, value: Any) -> Place:
        """Return the place one step further."""
        return self.place(place.kind, place.holder, place.name, (*place.path, step), value)

    def parts_of(self, place: Place) -> Items:
        """Return the item of all that is inside at a place."""
        if place.has_parts:
            return frozenset({place})
        whole = place.kind, place.holder, place.name, place.path, place.value
        return frozenset({self.place(*whole, has_parts=True)})

    def fixed(self, value: Any, name: str = "") -> Items:
        """Return the item of an object that cannot be another one."""
        named = name or getattr(value, "__name__", type(value).__name__)
        return frozenset({self.place("object", value, named, (), value)})

    def write(self, place: Place, step: Step | None = None) -> None:
        """Note that something is written into a place, or after one more step."""
        path = place.path if step is None else (*place.path, step)
        self.written.add((start_of(place.kind, place.holder, place.name), path))

    def is_written(self, place: Place) -> bool:
        """Return whether the function writes into a place, what it is in, or what is in it."""
        start = start_of(place.kind, place.holder, place.name)
        return any(
            written == start and all(a == b for a, b in zip(path, place.path, strict=False))
            for written, path in self.written
        )

    @property
    def is_executed(self) -> bool:
        """Whether the instruction that is interpreted was executed, or may have been unseen."""
        return self.at is None or self.runs.was_executed((id(self.at[0]), self.at[1]))

    def changes_what_it_reads(self) -> bool:
        """Return whether a place that is read is written, too."""
        return any(
            place.is_watched
            and (place.is_read or not isinstance(place.value, np.ndarray))
            and not self.is_constant(place)
            and self.is_written(place)
            for place in self.places.values()
        )

    def objects(self, place: Place) -> list[Any]:
        """Return what is at a place, and all of its parts."""
        found, seen, queue = [], set(), [place.value]
        while queue:
            value = queue.pop()
            if id(value) in seen:
                continue
            seen.add(id(value))
            found.append(value)
            if len(found) > MAX_PARTS:
                if self.is_constant(place):
                    break
                self.refuse(
                    f"{place} holds more than {MAX_PARTS:,} objects, too many to be compared at"
                    " each call",
                    str(place),
                    place.site,
                )
            queue += [part for _, part in parts(value, self.is_users_class) or ()]
        return found

    def owners_of(self, place: Place) -> frozenset[int]:
        """Return the ids of the arrays that own the memory of those at a place."""
        if place.owners is None:
            objects = self.objects(place)
            sparse = [x for x in objects if scipy.sparse.issparse(x)]
            # The positions of entries are compared in any case.
            pattern = {id(x) for each in sparse for x in vars(each).values() if x is not each.data}
            arrays = [x for x in objects if isinstance(x, np.ndarray) and id(x) not in pattern]
            place.owners = frozenset(id(owner_of(x)) for x in arrays)
        return place.owners

    def is_users_class(self, kind: type) -> bool:
        """Return whether a class is the user's own."""
        file = file_of(kind)
        return file is not None and self.runs.is_users_file(file)

    def is_users_object(self, value: Any) -> bool:
        """Return whether an object is of a class of the user's own."""
        return is_plain_object(value) and self.is_users_class(type(value))

    def is_library(self, module: types.ModuleType) -> bool:
        """Return whether a module is not the user's own."""
        file = getattr(module, "__file__", None)
        if file is None:
            return module.__name__ != "__main__"
        return not self.runs.is_users_file(file)

    def is_constant(self, place: Place) -> bool:
        """Return whether the user has named a place, or what it is in, as constant."""
        text = place.name
        names = {text}
        for kind, key in place.path:
            text += f".{key}" if kind == "attribute" else f"[{key!r}]"
            names.add(text)
        return bool(names & self.constant)

    def refuse(self, what: str, name: str, site: Any = None) -> None:
        """Raise a TraceError for what cannot be checked."""
        if self.is_executed and name not in self.constant:
            raise TraceError(
                f"{prefix(site or self.at)}{what}; say constant={name!r} if it never changes, make"
                " it an argument, or call chainad.jacobian(f) instead"
            )


def start_of(kind: str, holder: Any, name: str) -> tuple[str, int, str]:
    """Return what tells apart where places start."""
    return kind, id(holder), name if kind == "global" else ""


def _key(key: Any) -> Any:
    return (type(key), key)


def is_one_of(value: Any, known: Iterable[Any]) -> bool:
    """Return whether a value is, by identity, among some objects."""
    return any(value is each for each in known)
