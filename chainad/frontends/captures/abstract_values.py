"""What the abstract interpreter computes with: where a value may come from, or what a call runs."""

from __future__ import annotations

import types
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from chainad.frontends.captures.places import Place


@dataclass(frozen=True)
class Routine:
    """A function, perhaps one that `f` makes, with the first arguments that it is bound to."""

    code: types.CodeType
    first: tuple[frozenset[Any], ...] = ()


@dataclass(frozen=True)
class Method:
    """A method of a container or of an array."""

    place: Place
    name: str


@dataclass(frozen=True)
class Instance:
    """An object that the function makes, of the class at a place."""

    place: Place


@dataclass(frozen=True)
class Super:
    """What `super()` gives for an object."""

    place: Place


@dataclass(frozen=True)
class Constant:
    """A constant of the code; two are the same by identity."""

    value: Any

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constant) and self.value is other.value


Items: TypeAlias = frozenset[Any]
NOTHING: Items = frozenset()
NULL: Items = frozenset({"null"})


@dataclass(eq=False)
class CodeNames:
    """A code object that ran: where its names, and what it returns, may come from.

    It is to be interpreted again where a name that was read, or what a function that it calls
    returns, may come from more places than before.
    """

    code: types.CodeType
    globals: dict[str, Any]
    names: dict[str, Items] = field(default_factory=dict)
    returned: Items = NOTHING
    # Whether anyone else than the user's own code takes what it returns.
    is_callback: bool = False
    is_stale: bool = True
    read: set[str] = field(default_factory=set)
    callers: set[int] = field(default_factory=set)  # by id

    def name(self, name: str) -> Items:
        """Read a name."""
        self.read.add(name)
        return self.names.get(name, NOTHING)


def is_of_place(item: Any) -> bool:
    """Return whether something is at a place, or a method of what is there."""
    return isinstance(item, (Place, Method, Super))
