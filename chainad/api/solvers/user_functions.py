"""Functions of the user's that are the same but for the traced values that they hold."""

from __future__ import annotations

import types
from collections.abc import Callable, Hashable
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np

from chainad.api.verbs import compile
from chainad.errors import TraceError
from chainad.frontends.numpy.closure_conversion import ClosureConversion
from chainad.frontends.numpy.tape import Tape, active
from chainad.frontends.numpy.tracers import Tracer
from chainad.ir.cache import Cache
from chainad.ir.graph import freeze

# Derivatives of right-hand sides take microseconds: to search long for their plans is not worth
# it in most solves.
EFFORT: Literal["fast"] = "fast"

MAX_INTERNED = 128
MAX_COMPARED_ENTRIES = 4096
_MAX_DEPTH = 8

Made = TypeVar("Made")

_interned: Cache[Any] = Cache(MAX_INTERNED, "solvers of functions")


class Converted:
    """What the user calls a solver with, as functions of the traced values in it.

    Attributes
    ----------
    values : tuple of Tracer
        The traced values.
    later : ClosureConversion
        For derivatives, which are evaluated when the user's code has gone on, and for replays: a
        snapshot. It may be kept, since it holds none of the values.
    now : ClosureConversion or None
        The user's own functions, which may count their calls; None if the call is recorded.
    """

    def __init__(self, value: Any) -> None:
        snapshot = ClosureConversion(value, is_snapshot=True)
        self.values, self.later = snapshot.values, _emptied(snapshot)
        self.now: ClosureConversion | None = None
        if active.recorder is None:
            own = ClosureConversion(value)
            is_same = [*map(_identity, own.values)] == [*map(_identity, self.values)]
            self.now = own if is_same else self.later

    @property
    def called(self) -> Converted | None:
        """What is to be run at once, unless it is what is kept."""
        return None if self.now is None else self


def conversion_of(kept: ClosureConversion, called: Converted | None) -> ClosureConversion:
    """Return what is run: the functions that are called now, or those that were kept."""
    return kept if called is None or called.now is None else called.now


def _identity(x: Any) -> tuple[int, int]:
    return id(x.tape), x.number


def _emptied(conversion: ClosureConversion) -> ClosureConversion:
    """Return a conversion that keeps no arrays of a trace alive."""
    tape = Tape(Tracer)
    empty = [
        Tracer(np.broadcast_to(np.float64(0), x.shape), tape, k)
        for k, x in enumerate(conversion.values)
    ]
    found = ClosureConversion(conversion(empty))
    return found if [x.number for x in found.values] == [*range(len(empty))] else conversion


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
