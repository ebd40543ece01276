"""Places: where a function finds what is not among its arguments, and what is there.

A place starts at a global, a closure cell or an object, and goes on by attributes and by entries,
as the function's own expressions do.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import scipy.sparse

from chainad.ir.source_lines import RawSite

Step: TypeAlias = tuple[Literal["attribute", "entry"], Any]

# Of these no part can change: they are equal, or other ones.
VALUES = (bool, int, float, complex, str, bytes, type(None), range, np.generic)
_CONTAINERS = (list, tuple, dict)


class _Missing:
    """Stands for an attribute that is asked for and is not there."""

    def __repr__(self) -> str:
        return "missing"


MISSING = _Missing()
_SPARSE_ARRAYS = ("data", "indices", "indptr", "row", "col", "offsets")


@dataclass(eq=False, slots=True)
class Place:
    """Where a function finds something beside its arguments.

    Attributes
    ----------
    kind, holder, name
        It starts at the global `name` of the module with the dict `holder`, at the closure cell
        `holder`, or at the object `holder`; `name` is what the user calls it.
    path : tuple of Step
        What it goes on by.
    value : object
        What is there.
    site : RawSite or None
        Where it is read first.
    has_parts : bool
        Whether anything inside of it is meant, too, at any depth.
    is_watched : bool
        Whether it is read as a whole, so that it must be what it is.
    is_read : bool
        Whether entries of arrays there may be read other than by recorded calls on them.
    """

    kind: Literal["global", "cell", "object"]
    holder: Any
    name: str
    path: tuple[Step, ...]
    value: Any
    site: RawSite | None
    has_parts: bool = False
    is_watched: bool = False
    is_read: bool = False
    owners: frozenset[int] | None = None

    def __str__(self) -> str:
        steps = [f".{key}" if kind == "attribute" else f"[{key!r}]" for kind, key in self.path]
        return f"{self.name}{''.join(steps)}"


def parts(value: Any, is_users: Callable[[type], bool]) -> list[tuple[Step, Any]] | None:
    """Return what an object consists of, by step; None if it has no parts that are looked at."""
    if isinstance(value, (*VALUES, np.ndarray)):
        return None
    if isinstance(value, _CONTAINERS):
        own = value.items() if isinstance(value, dict) else enumerate(value)
        entries: list[tuple[Step, Any]] = [(("entry", key), item) for key, item in own]
        known = getattr(value, "__dict__", {})  # of a class of the user's
        return [*entries, *((("attribute", name), item) for name, item in known.items())]
    if scipy.sparse.issparse(value):
        names: Any = [name for name in _SPARSE_ARRAYS if name in vars(value)]
    elif isinstance(value, types.MethodType):
        names = ["__self__"]
    elif type(value).__module__ == "functools" and hasattr(value, "func"):
        names = ["func", "args", "keywords"]
    elif is_plain_object(value) and (is_users(type(value)) or type(value) in _PLAIN_TYPES):
        names = [*getattr(value, "__dict__", ()), *_slots_of(value)]
    else:
        return None
    return [(("attribute", name), getattr(value, name)) for name in names]


_PLAIN_TYPES = (types.SimpleNamespace,)


def is_plain_object(value: Any) -> bool:
    """Return whether an object is neither a function, a class, a module nor an enumeration."""
    known = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType)
    return not isinstance(value, known) and not hasattr(type(value), "__members__")


def _slots_of(value: Any) -> Iterator[str]:
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                yield name


def attribute_of(value: Any, name: str) -> tuple[str, Any]:
    """Return how an object has an attribute, without running anything of the user's, and what.

    "value", "function" (of a method), "property" (the function that computes it) or "unknown".
    """
    own = getattr(value, "__dict__", None)
    for kind in type(value).__mro__:
        if name in kind.__dict__:
            found = kind.__dict__[name]
            break
    else:
        if isinstance(own, dict) and name in own:
            return "value", own[name]
        return "unknown", getattr(type(value), "__getattr__", None)
    if isinstance(found, property):
        return "property", found.fget
    if isinstance(own, dict) and name in own:
        return "value", own[name]
    if isinstance(found, types.FunctionType):
        return "function", found
    if isinstance(found, staticmethod):
        return "value", found.__func__
    if isinstance(found, classmethod):
        return "class method", found.__func__
    if hasattr(found, "func") and hasattr(found, "attrname"):  # functools.cached_property
        return "property", found.func
    if hasattr(found, "__get__"):
        try:
            return "value", getattr(value, name)  # a slot, or a descriptor in C
        except AttributeError:
            return "unknown", None
    return "value", found


def file_of(kind: type) -> str | None:
    """Return the file of the module of a class; None if it has none, as in a session."""
    module = sys.modules.get(kind.__module__)
    return getattr(module, "__file__", None) or ("" if kind.__module__ != "builtins" else None)
