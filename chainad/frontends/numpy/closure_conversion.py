"""Closure conversion: what a function reads from its closure becomes an argument.

A function that a traced function hands on, to a solver for example, may hold traced values: in its
closure, its globals and defaults, in attributes and containers. It is converted to a function of
these, which is run on any others: on plain numbers by the solver, on those of another trace by who
differentiates. The conversion copies what holds such values, and leaves the user's own as it is.
"""

from __future__ import annotations

import copy
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from chainad.errors import TraceError
from chainad.frontends.numpy.made_arrays import MadeArray, settle
from chainad.frontends.numpy.proxy_slots import contents_of
from chainad.frontends.numpy.read_names import WITHOUT_CODE, attributes_of, is_users, mentioned_in
from chainad.frontends.numpy.tape import active
from chainad.frontends.numpy.tracers import Tracer, has_tracer
from chainad.ir.array_functions import is_ndarray
from chainad.ir.source_lines import here

# Modules of libraries whose objects hold functions and arrays of the user's in their attributes.
_HOLDERS = (
    "chainad.api.", "scipy.optimize.", "scipy.integrate.", "argparse", "collections", "functools",
    "types",
)  # fmt: skip
_CONTAINERS = (list, tuple, dict, set, frozenset)
_MUTABLE = frozenset({list, dict, set, np.ndarray, types.CellType})
_LEAVES = (WITHOUT_CODE | {types.ModuleType, type}) - {np.ndarray}

# An object, and what it holds, to be replaced one by one.
_Parts: TypeAlias = list[Any]


class ClosureConversion:
    """An object as a function of the traced values that it holds, wherever these are.

    `conversion(values)` is the object with `values` in the place of `conversion.values`: functions
    with other closures, tuples and lists with other items. They may be plain, or traced by any
    trace. What holds none is the same object. A conversion that `is_snapshot` copies whatever the
    user's code may change later, so that it can be used once that has gone on; what is read from
    globals is left as it is.

    Parameters
    ----------
    value : Any
        A function, or a container of functions and whatever else they are called with.
    is_snapshot : bool

    Attributes
    ----------
    values : tuple of Tracer
        The traced values, each once: of all traces that are open, and what is recorded.

    Examples
    --------
    >>> import numpy as np
    >>> import chainad
    >>> def f(a):
    ...     residual = lambda x: x**2 - a
    ...     conversion = ClosureConversion(residual)
    ...     plain = conversion([np.float64(9.0)])  # x**2 - 9
    ...     return residual(3.0) + float(plain(3.0)), len(conversion.values)
    >>> J = chainad.jacobian(f, has_aux=True)
    >>> J(np.float64(4.0))
    (array(-1.), 1)
    """

    values: tuple[Tracer, ...]

    def __init__(self, value: Any, is_snapshot: bool = False) -> None:
        self._is_snapshot = is_snapshot
        self._search_in(value)
        if is_snapshot:
            # It outlives the trace, whose values are not kept for it.
            values = self.values
            held = self([_Hole(k) for k in range(len(values))])
            self._is_snapshot = False
            self._search_in(held)
            self.values = values

    # ---------------------------------------------------------------- search

    def _search_in(self, value: Any) -> None:
        self.value = value
        self._number: dict[tuple[int, int], int] = {}
        # By object: the number of the traced value that it is.
        self._leaves: dict[int, int] = {}
        self._parts: dict[int, tuple[Any, _Parts]] = {}
        found: list[Tracer] = []
        self._search(found)
        self.values = tuple(found)
        self._copied = self._holders()

    def _search(self, found: list[Tracer]) -> None:
        """Look at everything that can be reached; note what it holds."""
        stack = [self.value]
        while stack:
            value = stack.pop()
            if type(value) in _LEAVES or id(value) in self._parts:
                continue
            settled = settle(value) if type(value) is MadeArray else value
            if type(value) is _Hole:
                self._leaves[id(value)] = value.number
            if isinstance(settled, Tracer):
                key = id(settled.tape), settled.number
                if key not in self._number:
                    self._number[key] = len(found)
                    found.append(settled.snapshot())
                self._leaves[id(value)] = self._number[key]
            parts = [] if isinstance(settled, Tracer) else _parts_of(value)
            self._parts[id(value)] = value, parts  # it is held, so that its id stays its own
            stack += parts

    def _holders(self) -> set[int]:
        """Return what is copied: what holds a traced value, if only through others."""
        holders: dict[int, list[int]] = {}
        for number, (_, parts) in self._parts.items():
            for part in parts:
                holders.setdefault(id(part), []).append(number)
        copied = {
            number
            for number, (value, _) in self._parts.items()
            if number in self._leaves or type(value) is MadeArray
        }
        if self._is_snapshot:
            copied |= self._local()
        stack = [*copied]
        while stack:
            for number in holders.get(stack.pop(), ()):
                if number not in copied:
                    copied.add(number)
                    stack.append(number)
        return copied

    def _local(self) -> set[int]:
        """Return what may change, and is found without a look at globals."""
        found: set[int] = set()
        seen: set[int] = set()
        stack = [self.value]
        while stack:
            value = stack.pop()
            if id(value) in seen or id(value) not in self._parts:
                continue
            seen.add(id(value))
            kind = type(value)
            is_function = kind is types.FunctionType
            if kind in _MUTABLE or (not is_function and _attributes(value)):
                found.add(id(value))
            stack += _parts_of_function(value) if is_function else self._parts[id(value)][1]
        return found

    def without_values(self) -> ClosureConversion:
        """Return the conversion alone; of a snapshot, it keeps no traced value."""
        found = copy.copy(self)
        found.values = ()
        return found

    # ----------------------------------------------------------------- copies

    def __call__(self, values: Sequence[Any]) -> Any:
        """Return the object with other values in the place of the traced ones."""
        return _Copies(self, values).of(self.value)


class _Hole:
    """Stands for a traced value in a snapshot."""

    def __init__(self, number: int) -> None:
        self.number = number


class _Copies:
    """The copies of one call of a conversion; what is held twice is copied once."""

    def __init__(self, conversion: ClosureConversion, values: Sequence[Any]) -> None:
        self.conversion, self.values = conversion, values
        self.made: dict[int, Any] = {}

    def of(self, value: Any) -> Any:
        """Return the copy of a value; the value itself if it holds nothing that is replaced."""
        number = id(value)
        if number not in self.conversion._copied:
            return value
        if number in self.conversion._leaves:
            return self.values[self.conversion._leaves[number]]
        if number not in self.made:
            found = self._copy(value)
            self.made.setdefault(number, found)
        return self.made[number]

    def _copy(self, value: Any) -> Any:
        kind = type(value)
        if kind is MadeArray:
            return settle(value)
        if kind is types.FunctionType:
            return self._copy_of_function(value)
        if kind is types.CellType:
            cell = self.made[id(value)] = types.CellType()
            cell.cell_contents = self.of(value.cell_contents)
            return cell
        if kind is types.MethodType:
            return types.MethodType(self.of(value.__func__), self.of(value.__self__))
        if kind is partial:
            args, named = self.of(value.args), self.of(value.keywords)
            return partial(self.of(value.func), *args, **named)
        if isinstance(value, (tuple, frozenset, set)):
            items = [self.of(x) for x in value]
            return kind(*items) if hasattr(kind, "_fields") else kind(items)
        if is_ndarray(value):
            array = np.array(value)
            if array.dtype == object:
                for k, x in enumerate(value.flat):
                    array.flat[k] = self.of(x)
            return array
        found = self.made[id(value)] = copy.copy(value)
        if isinstance(value, list):
            found[:] = [self.of(x) for x in value]
        elif isinstance(value, dict):
            for key, x in value.items():
                found[key] = self.of(x)
        own = _attributes(found)
        for name, x in _attributes(value).items():
            if id(x) in self.conversion._copied:
                own[name] = self.of(x)
        return found

    def _copy_of_function(self, value: types.FunctionType) -> Any:
        read = _globals_of(value).items()
        copied = {name: x for name, x in read if id(x) in self.conversion._copied}
        names = value.__globals__
        found = self.made[id(value)] = types.FunctionType(
            value.__code__,
            {**names, **dict.fromkeys(copied)} if copied else names,
            value.__name__,
            None,
            tuple(map(self.of, value.__closure__)) if value.__closure__ else None,
        )
        for name, x in copied.items():
            found.__globals__[name] = self.of(x)
        found.__defaults__ = self.of(value.__defaults__)
        found.__kwdefaults__ = self.of(value.__kwdefaults__)
        found.__qualname__, found.__module__ = value.__qualname__, value.__module__
        for name, x in vars(value).items():
            vars(found)[name] = self.of(x)
        return found


def _parts_of(value: Any) -> _Parts:
    """Return what an object holds that may hold traced values."""
    kind = type(value)
    if kind is types.FunctionType:
        return [*_parts_of_function(value), *_globals_of(value).values()]
    if kind is types.CellType:
        return [contents_of(value)]
    if kind is types.MethodType:
        return [value.__func__, value.__self__]
    if kind is partial:
        return [value.func, value.args, value.keywords]
    if isinstance(value, _CONTAINERS):
        items: Any = value.values() if isinstance(value, dict) else value
        is_plain = {*map(type, items)} <= _LEAVES
        return [] if is_plain else [*items]
    if is_ndarray(value):
        return [*value.flat] if value.dtype == object else []
    return [*_attributes(value).values()]


def _parts_of_function(function: types.FunctionType) -> _Parts:
    """Return what a function holds, without its globals."""
    held = function.__defaults__, function.__kwdefaults__, *(function.__closure__ or ())
    return [*held, *vars(function).values()]


def _globals_of(function: types.FunctionType) -> dict[str, Any]:
    """Return the globals of a function that its code mentions."""
    names = function.__globals__
    is_own = is_users(names.get("__name__"))
    mentioned = mentioned_in(function.__code__).names if is_own else ()
    return {name: names[name] for name in mentioned if name in names}


def _attributes(value: Any) -> dict[str, Any]:
    """Return the attributes of an object, as far as they are searched."""
    module = type(value).__module__
    is_searched = is_users(module) or module.startswith(_HOLDERS)
    return attributes_of(value) if is_searched and not isinstance(value, type) else {}


@contextmanager
def untraced() -> Iterator[None]:
    """Run code on plain numbers as if no function was traced."""
    before = active.tape, active.recorder, active.is_reported
    active.tape, active.recorder, active.is_reported = None, None, False
    try:
        yield
    finally:
        active.tape, active.recorder, active.is_reported = before


def check_untraced(result: Any, what: str) -> None:
    """Raise TraceError if what a converted function returned for plain numbers is traced."""
    if has_tracer(settle(result)):
        raise TraceError(
            f"{here()}{what} reads a traced value where it cannot be replaced: an attribute of a"
            " class or module, or an object of another library; pass it by args=, or make it a"
            " variable of the function around"
        )
