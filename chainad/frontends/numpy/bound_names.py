"""The names of NumPy, `math` and their functions that a function reads, bound to proxies meanwhile.

A function is searched for them once: a later call looks whether a search would find the same.
"""

from __future__ import annotations

import operator
import types
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any

from chainad.frontends.numpy.made_arrays import captured
from chainad.frontends.numpy.proxy_slots import ProxySlot, contents_of
from chainad.frontends.numpy.read_names import (
    COPYING,
    MAX_SEARCH_DEPTH,
    MAX_SEARCHED_ITEMS,
    WITHOUT_CODE,
    Search,
    attributes_of,
    has_proxy,
    is_users,
    mentioned_in,
)
from chainad.ir.cache import Cache
from chainad.ir.locks import fork_safe_lock

MAX_KNOWN_CODES = 512
MAX_DATA_ITEMS = 1024


class _Known:
    """The slots of a function, and what tells that they still are all; `kept` are alive by it."""

    def __init__(self, f: Any, kept: Any) -> None:
        self.kept = kept
        self.search(f)

    def search(self, f: Any) -> None:
        """Look for the slots."""
        found = Search()
        found.visit(f)
        arrays = found.arrays.values() if found.binds_arrays else ()
        self.slots = (*found.slots.values(), *arrays)
        self.binds_arrays, self.writes = found.binds_arrays, found.writes
        self.namespaces = tuple(found.namespaces.values())
        self.sizes = [*map(len, self.namespaces)]  # by which new names are noticed
        self.getters = tuple([get for get, _, _ in found.read])
        self.names = tuple([name for _, name, _ in found.read])
        self.values = tuple([value for _, _, value in found.read])

    @property
    def is_current(self) -> bool:
        """Whether a search would find the same."""
        if self.sizes != [*map(len, self.namespaces)]:
            return False
        if not self.values:
            return True
        read = map(operator.call, self.getters, self.names)
        return all(map(operator.is_, read, self.values))


_known: Cache[_Known] = Cache(MAX_KNOWN_CODES, "functions whose names were looked up")


def _known_of(f: Any) -> _Known:
    """Return what is to be bound for a function, from an earlier look at its code if possible."""
    codes = _codes_of(f)
    if codes is None:
        return _Known(f, None)
    known = _known.get(tuple(map(id, codes)), lambda: _Known(f, codes))
    if known.binds_arrays and (type(f) is not types.FunctionType or f.__closure__):
        return _Known(f, None)  # the codes do not tell which arrays it holds
    if not known.is_current:
        known.search(f)
    return known


def _codes_of(value: Any, depth: int = 0) -> tuple[Any, ...] | None:
    """Return what tells the names that a function, or another object with code behind it, reads.

    These are code, namespaces, classes, modules, and where something is held that has a proxy. None
    if that is too deep inside of each other.
    """
    kind = type(value)
    if depth > MAX_SEARCH_DEPTH:
        return None
    if kind is types.FunctionType:
        own: tuple[Any, ...] = value.__code__, value.__globals__
        cells = value.__closure__ or ()
        parts: Any = value.__defaults__ or value.__kwdefaults__ or value.__dict__ or ()
        if parts:
            parts = filter(None, (value.__defaults__, value.__kwdefaults__, value.__dict__))
            own += (value,) if any(map(has_proxy, value.__defaults__ or ())) else ()
        return _codes_in(own, parts, depth, cells) if parts or cells else own
    if kind is types.MethodType:
        return _codes_in((), (value.__func__, value.__self__), depth)
    if kind is partial:
        return _codes_in((), (value.func, *filter(None, (value.args, value.keywords))), depth)
    if isinstance(value, (list, tuple, dict)):
        items = [*islice(value.values() if isinstance(value, dict) else value, MAX_SEARCHED_ITEMS)]
        is_bound = kind is not tuple and any(map(has_proxy, items))
        return _codes_in((value,) if is_bound else (), items, depth)
    if kind is types.ModuleType or isinstance(value, type):
        return (value,)
    attributes = attributes_of(value)
    if "__wrapped__" not in attributes and not is_users(kind.__module__):
        return ()
    if _is_data(attributes):
        return (kind,)
    bound = [x for name, x in attributes.items() if has_proxy(x) for x in (attributes, name)]
    return _codes_in((kind, *bound), attributes.values(), depth)


def _codes_in(
    own: tuple[Any, ...], parts: Iterable[Any], depth: int, cells: Iterable[types.CellType] = ()
) -> tuple[Any, ...] | None:
    """Return what is `own`, and what tells the names that code in its parts and cells reads."""
    found, others = own, [*parts]
    for cell in cells:
        value = contents_of(cell)
        kind = type(value)
        if kind in _CONTAINERS:
            others.append(value)
        elif kind not in WITHOUT_CODE:
            if has_proxy(value):
                found += (cell,)
            else:
                others.append(value)
    for value in others:
        kind = type(value)
        if kind in WITHOUT_CODE or (_is_data(value) if kind in _CONTAINERS else has_proxy(value)):
            continue
        codes = _codes_of(value, depth + 1)
        if codes is None:
            return None
        found += codes
    return found


_CONTAINERS = frozenset({list, tuple, dict})
_SEQUENCES = frozenset({list, tuple})
# Types of arguments without code behind them.
DATA = WITHOUT_CODE | _CONTAINERS


def _is_data(value: Any) -> bool:
    """Return whether what is in a list, tuple or dict has no code behind it."""
    level: Any = value.values() if type(value) is dict else value
    for _ in range(MAX_SEARCH_DEPTH):
        kinds = {*map(type, level)}
        if kinds <= WITHOUT_CODE:
            return True
        if not kinds <= DATA:
            return False
        if not kinds <= _SEQUENCES:
            inside = [x for x in level if type(x) in _CONTAINERS]
            level = [x.values() if type(x) is dict else x for x in inside]
        level = [*islice(chain.from_iterable(level), MAX_DATA_ITEMS)]
    return False


_lock = fork_safe_lock()


class BoundNames:
    """What one run has bound, until `release`.

    An interrupt may come between any two steps: what is to be given back is noted before it is
    taken, and giving back may be begun anew.
    """

    __slots__ = ("_mine", "writes")

    def __init__(self) -> None:
        self._mine: tuple[ProxySlot, ...] = ()
        # Whether the code that was bound for writes into arrays.
        self.writes = False

    def bind(self, f: Any) -> None:
        """Bind what a function reads, or several."""
        known = _known_of(f)
        slots, self.writes = known.slots, known.writes
        if slots:
            with _lock:
                self._mine = slots
                for slot in slots:
                    slot.bind(id(self))

    def release(self) -> None:
        """Bind everything as it was, unless another run needs it still."""
        if self._mine:
            with _lock:
                for slot in self._mine:
                    slot.release(id(self))
                self._mine = ()

    def __del__(self) -> None:
        if self._mine:  # an interrupt came before `release`
            self.release()


def with_copies_followed(f: Callable[..., Any], args: Sequence[Any]) -> list[Any]:
    """Return arguments with arrays whose copies can be written into, if f may do so."""
    code = getattr(getattr(f, "__func__", f), "__code__", None)
    if type(code) is not types.CodeType:
        return [*args]
    mentioned = mentioned_in(code)
    if not mentioned.writes or mentioned.names.isdisjoint(COPYING):
        return [*args]
    found = map(captured, args)
    return [x if array is None else array for x, array in zip(args, found, strict=True)]
