"""Functions of the user's that are the same but for the traced values that they hold."""

from __future__ import annotations

import types
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from chainad.api.verbs import compile
from chainad.errors import TraceError
from chainad.frontends.numpy.closure_conversion import ClosureConversion
from chainad.frontends.numpy.tape import active
from chainad.ir.cache import Cache
from chainad.ir.graph import freeze

MAX_INTERNED = 128
MAX_COMPARED_ENTRIES = 4096
_MAX_DEPTH = 8

Made = TypeVar("Made")

_interned: Cache[Any] = Cache(MAX_INTERNED, "solvers of functions")


class Converted:
    """What the user calls a solver with, as functions of the traced values in it.

    Attributes
    ----------
    now : ClosureConversion
        What is run at once, in which the user's own functions may count their calls.
    later : ClosureConversion
        The same for derivatives, which are evaluated when the user's code has gone on: a snapshot.
        So is what a replay runs.
    """

    def __init__(self, value: Any) -> None:
        self.later = self.now = ClosureConversion(value, is_snapshot=True)
        if active.recorder is None:
            now = ClosureConversion(value)
            if list(map(_identity, now.values)) == list(map(_identity, self.later.values)):
                self.now = now

    @property
    def values(self) -> tuple[Any, ...]:
        """The traced values."""
        return self.later.values


def _identity(x: Any) -> tuple[int, int]:
    return id(x.tape), x.number


def interned(how: Any, conversion: ClosureConversion, make: Callable[[], Made]) -> Made:
    """Return what was made before of the same functions, or make it.

    What is recorded of functions is used again, if these are made anew at each call: where their
    code is the same, and what they hold besides traced values is. `conversion` is a snapshot.
    """
    places = [_Place(k, np.shape(x)) for k, x in enumerate(conversion.values)]
    try:
        key = _key(how, 0), _key(conversion(places), 0)
    except _UnknownError:
        return make()
    found: Made = _interned.get(key, make)
    return found


class _Place(NamedTuple):
    """Stands for a traced value."""

    number: int
    shape: tuple[int, ...]


class _UnknownError(Exception):
    """Something is not known to be the same the next time."""


_PLAIN = (bool, int, float, complex, str, bytes, type(None), np.generic, _Place)


def _key(value: Any, depth: int) -> Hashable:
    """Return what is equal for things that are the same."""
    if depth > _MAX_DEPTH:
        raise _UnknownError
    if isinstance(value, _PLAIN):
        return type(value), freeze(value)
    if isinstance(value, (tuple, list)):
        return type(value), *(_key(x, depth + 1) for x in value)
    if type(value) is dict:
        return dict, *((k, _key(x, depth + 1)) for k, x in value.items())
    if type(value) is np.ndarray and value.size <= MAX_COMPARED_ENTRIES and value.dtype != object:
        return freeze(value)
    if type(value) is types.FunctionType:
        held = (value.__defaults__, value.__kwdefaults__, vars(value))
        cells = tuple(cell.cell_contents for cell in value.__closure__ or ())
        code = value.__code__
        # The name of a file is no part of what code compares.
        where = code.co_filename, _Same(value.__globals__)
        return code, where, *(_key(x, depth + 1) for x in (*held, cells))
    if isinstance(value, (type, types.ModuleType, types.BuiltinFunctionType, np.ufunc)):
        return _Same(value)
    raise _UnknownError


class _Same:
    """Something that is the same as itself alone; it is kept alive."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


class Recorded:
    """A derivative that is recorded once and replayed, or traced at each call if it must be.

    Functions that count their calls, say, are refused by `compile`.
    """

    def __init__(self, derivative: Callable[..., Any]) -> None:
        self.traced = derivative
        self.compiled: Callable[..., Any] = compile(derivative)
        self.is_traced = False

    def __call__(self, *args: Any) -> Any:
        if not self.is_traced:
            try:
                return self.compiled(*args)
            except TraceError:
                self.is_traced = True
        return self.traced(*args)
