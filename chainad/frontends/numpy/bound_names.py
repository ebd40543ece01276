"""The names of NumPy, `math` and their functions that a function reads, bound to proxies meanwhile.

They are found in the code that the function may run: its own, that of the functions, classes and
modules it names, and of what is in its closure, as far as they are the user's. What belongs to the
standard library, NumPy, SciPy, chainad, or another library with arrays of its own is left alone.
"""

from __future__ import annotations

import builtins
import dis
import functools
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainad.frontends.numpy.made_arrays import captured
from chainad.frontends.numpy.proxies import FunctionProxy, original_of, proxy_of
from chainad.ir.cache import Cache
from chainad.ir.locks import fork_safe_lock

# Libraries whose functions know no traced values, or dispatch on them.
_LIBRARIES = frozenset(
    {"numpy", "scipy", "chainad", "numba", "pandas", "xarray", "torch", "jax", "jaxlib", "builtins"}
) | (sys.stdlib_module_names - {"__main__"})
# Functions of these that are formulas, written as a user would write them.
_FORMULAS = {"rosen", "rosen_der", "rosen_hess", "rosen_hess_prod"}
# What these formulas call, and functions that are there to be differentiated.
_LIKE_USERS = ("scipy._lib.", "chainad.testing.")
_IMPORTED = frozenset({"numpy", "math", "__import__", "import_module"})

MAX_KNOWN_CODES = 512
MAX_KNOWN_SLOTS = 8192
MAX_SEARCHED_ITEMS = 64
MAX_SEARCH_DEPTH = 4


class _Slot:
    """What is bound to a proxy: a name in a namespace, or the contents of a cell.

    While it is bound, `before` is what it was bound to, and `users` are the runs that need it.
    """

    __slots__ = ("before", "instead", "name", "proxy", "users", "where")

    def __init__(self, where: Any, name: str, instead: Callable[[Any], Any]) -> None:
        self.where, self.name, self.instead = where, name, instead
        self.users: set[int] = set()
        self.before: Any = None
        self.proxy: Any = None

    def get(self) -> Any:
        is_cell = type(self.where) is types.CellType
        return _contents(self.where) if is_cell else self.where.get(self.name)

    def set(self, value: Any) -> None:
        if type(self.where) is types.CellType:
            self.where.cell_contents = value
        else:
            self.where[self.name] = value

    def bind(self, user: int) -> None:
        """Bind it for a run."""
        if not self.users:
            value = self.get()
            if value is not self.before:
                proxy = self.instead(value)
                if proxy is None:  # it has been bound to something else since it was found
                    return
                self.before, self.proxy = value, proxy
        self.users.add(user)
        if len(self.users) == 1:
            self.set(self.proxy)

    def release(self, user: int) -> None:
        """Bind it as before, unless another run needs it still."""
        self.users.discard(user)
        if not self.users and self.proxy is not None and self.get() is self.proxy:
            self.set(self.before)


class _Search:
    """Looks for slots from a function on, in what is the user's.

    Arrays are bound only where some code copies arrays, and some writes into arrays.
    """

    def __init__(self) -> None:
        self.slots: dict[Any, _Slot] = {}
        self.arrays: dict[Any, _Slot] = {}
        self.seen: set[int] = set()
        self.writes = self.copies = False

    def found(self) -> tuple[_Slot, ...]:
        """Return what is to be bound."""
        arrays = self.arrays if self.writes and self.copies else {}
        return (*self.slots.values(), *arrays.values())

    def add(self, where: Any, name: str, value: Any, names: frozenset[str], depth: int = 0) -> None:
        """Look at what is bound to a name; `names` are those that the code mentions."""
        if isinstance(value, np.ndarray):
            self.take(self.arrays, where, name, captured)
        elif proxy_of(original_of(value)) is not None:
            self.take(self.slots, where, name, proxy_of)
        else:
            self.visit(value, names, depth)

    def take(self, slots: Any, where: Any, name: str, instead: Callable[[Any], Any]) -> None:
        """Note what is to be bound."""
        key = id(where), name, id(instead)
        slots[key] = _slots.get(key, lambda: _Slot(where, name, instead))

    def visit(self, value: Any, names: frozenset[str] = frozenset(), depth: int = 0) -> None:
        """Look at what code is behind an object."""
        kind = type(value)
        if kind in _WITHOUT_CODE or depth > MAX_SEARCH_DEPTH:
            return
        if kind is types.ModuleType:
            self._visit_module(value, names, depth)
            return
        if id(value) in self.seen:
            return
        self.seen.add(id(value))
        if kind is types.FunctionType:
            if _is_users(value.__globals__.get("__name__")) or value.__name__ in _FORMULAS:
                self._visit_function(value)
        elif isinstance(value, functools.partial):
            for item in (value.func, *value.args, *value.keywords.values()):
                self.visit(item, names, depth)
        elif isinstance(value, types.MethodType):
            self.visit(value.__func__)
            self.visit(value.__self__, names, depth)
        elif isinstance(value, type):
            self._visit_class(value)
        elif kind is dict:
            for key, _ in zip(list(value), range(MAX_SEARCHED_ITEMS), strict=False):
                self.add(value, key, value[key], names, depth + 1)
        elif isinstance(value, (list, tuple, dict)):
            items = value.values() if isinstance(value, dict) else value
            for item, _ in zip(list(items), range(MAX_SEARCHED_ITEMS), strict=False):
                self.visit(item, names, depth + 1)
        elif "__wrapped__" in _attributes(value):
            self.visit(_attributes(value)["__wrapped__"], names, depth)
        elif _is_users(kind.__module__):
            self._visit_class(kind)
            attributes = _attributes(value)
            for name in list(attributes):
                self.add(attributes, name, attributes[name], names, depth + 1)

    def _visit_function(self, function: types.FunctionType) -> None:
        names, writes, copies = _mentioned_in(function.__code__)
        self.writes, self.copies = self.writes or writes, self.copies or copies
        for name in names:
            if name in function.__globals__:
                self.add(function.__globals__, name, function.__globals__[name], names)
        if any(name.split(".")[0] in _IMPORTED for name in names):
            self.take(self.slots, vars(builtins), "__import__", _import_proxy)
        for cell in function.__closure__ or ():
            self.add(cell, "", _contents(cell), names)
        for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self.visit(default, names)
        self.visit(vars(function).get("__wrapped__"), names)

    def _visit_class(self, kind: type) -> None:
        for base in kind.__mro__:
            if (id(base) in self.seen and base is not kind) or not _is_users(base.__module__):
                continue
            self.seen.add(id(base))
            for value in list(vars(base).values()):
                if isinstance(value, (classmethod, staticmethod)):
                    self.visit(value.__func__)
                elif isinstance(value, property):
                    self.visit(value.fget)
                elif isinstance(value, types.FunctionType):
                    self.visit(value)
                else:
                    self.visit(_attributes(value).get("func"))  # of cached properties

    def _visit_module(self, module: types.ModuleType, names: frozenset[str], depth: int) -> None:
        is_users = _is_users(module.__name__)
        for name in names:
            value = vars(module).get(name)
            if is_users and name in vars(module):
                self.add(vars(module), name, value, names, depth + 1)
            elif isinstance(value, types.FunctionType) and name in _FORMULAS:
                self.visit(value)


def _is_users(module: Any) -> bool:
    """Return whether the functions of a module, given by its name, are the user's."""
    name = str(module or "")
    return name.split(".", 1)[0] not in _LIBRARIES or name.startswith(_LIKE_USERS)


_WITHOUT_CODE = frozenset(
    {int, float, bool, str, bytes, type(None), complex, np.ndarray, np.float64, slice, range}
)


def _attributes(value: Any) -> dict[str, Any]:
    """Return the attributes of an object, without asking its class for any."""
    try:
        found: dict[str, Any] = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return found


def _contents(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is empty
        return None


class _Mentioned(NamedTuple):
    """The names in some code, and whether it writes into arrays, and copies others than x."""

    names: frozenset[str]
    writes: bool
    copies: bool


@functools.lru_cache(maxsize=1024)
def _mentioned_in(code: types.CodeType) -> _Mentioned:
    names, copies = {*code.co_names}, False
    instructions = zip(code.co_code[::2], code.co_code[1::2], strict=True)
    writes = any(
        op in _STORES or (op == _BINARY_OP and argument >= _FIRST_IN_PLACE)
        for op, argument in instructions
    )
    if not names.isdisjoint(_COPYING):
        before, parameters = None, code.co_varnames[: code.co_argcount]
        for each in dis.get_instructions(code):
            if each.argval in _COPYING and each.opname in ("LOAD_ATTR", "LOAD_METHOD"):
                copies = copies or before not in parameters
            before = each.argval
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner = _mentioned_in(constant)
            names |= inner.names
            writes, copies = writes or inner.writes, copies or inner.copies
    return _Mentioned(frozenset(names), writes, copies)


_STORES = {dis.opmap[name] for name in ("STORE_SUBSCR", "STORE_SLICE") if name in dis.opmap}
_BINARY_OP, _FIRST_IN_PLACE = dis.opmap["BINARY_OP"], 13  # z += x
_COPYING = frozenset({"copy", "astype", "flatten"})


class _Known(NamedTuple):
    """The slots that were found; what is known by its id is kept alive."""

    slots: tuple[_Slot, ...]
    kept: Any


# Every slot is one, whoever has found it. `Cache` forgets those that were used longest ago; one
# that is bound is kept by who has bound it.
_slots: Cache[_Slot] = Cache(MAX_KNOWN_SLOTS)
_known: Cache[_Known] = Cache(MAX_KNOWN_CODES)


def _found(start: Any) -> tuple[_Slot, ...]:
    search = _Search()
    search.visit(start)
    return search.found()


def _slots_of(f: Any) -> tuple[_Slot, ...]:
    """Return the slots of a function, from an earlier look at its code if possible."""
    kind = type(f)
    if kind is functools.partial and not f.args and not f.keywords:
        return _slots_of(f.func)
    codes = _codes_of(f) if kind is types.FunctionType else None
    if codes is None:
        return _found(f)
    key = tuple(map(id, codes))
    return _known.get(key, lambda: _Known(_found(f), codes)).slots


def _codes_of(f: types.FunctionType, depth: int = 0) -> tuple[Any, ...] | None:
    """Return what tells the names a function reads: code, namespaces, and cells, its closure's too.

    None if the closure holds something else that may have code behind it.
    """
    found: tuple[Any, ...] = (f.__code__, f.__globals__)
    for cell in f.__closure__ or ():
        value = _contents(cell)
        is_copied = type(value) is np.ndarray and _mentioned_in(f.__code__).copies
        if is_copied or proxy_of(original_of(value)) is not None:
            found += (cell,)
        elif type(value) is types.ModuleType:
            found += (value,)
        elif type(value) is types.FunctionType:
            codes = _codes_of(value, depth + 1) if depth < MAX_SEARCH_DEPTH else None
            if codes is None:
                return None
            found += codes
        elif not _is_data(value):
            return None
    return found


def _is_data(value: Any, depth: int = 0) -> bool:
    """Return whether a value has no code behind it: numbers, text, arrays, and some of these."""
    if type(value) in (list, tuple) and depth < MAX_SEARCH_DEPTH:
        if len(value) > MAX_SEARCHED_ITEMS:
            return False
        return all(_is_data(item, depth + 1) for item in value)
    return type(value) in _WITHOUT_CODE


_lock = fork_safe_lock()


class BoundNames:
    """What one run has bound, until `release`.

    An interrupt may come between any two steps: what is to be given back is noted before it is
    taken, and giving back may be begun anew.
    """

    def __init__(self) -> None:
        self._mine: tuple[_Slot, ...] = ()

    def bind(self, f: Callable[..., Any]) -> None:
        """Bind what a function reads."""
        slots = _slots_of(f)
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


_imported = builtins.__import__


def _import_traced(
    name: str, globals_: Any = None, locals_: Any = None, fromlist: Any = (), level: int = 0
) -> Any:
    module = _imported(name, globals_, locals_, fromlist, level)
    # A module's own names outlive the run; in a function they do not.
    user = (globals_ or sys._getframe(2).f_globals).get("__name__", "")
    if locals_ is not None or str(user).split(".", 1)[0] in _LIBRARIES:
        return module
    return proxy_of(module) or module


_IMPORT = FunctionProxy(_imported, _import_traced)


def _import_proxy(value: Any) -> Any:
    """Return what `__import__` is bound to, unless someone else has bound it."""
    return _IMPORT if value is _imported else None


def with_copies_followed(f: Callable[..., Any], args: Sequence[Any]) -> list[Any]:
    """Return arguments with arrays whose copies can be written into, if f may do so."""
    code = getattr(getattr(f, "__func__", f), "__code__", None)
    if type(code) is not types.CodeType:
        return [*args]
    mentioned = _mentioned_in(code)
    if not mentioned.writes or mentioned.names.isdisjoint(_COPYING):
        return [*args]
    found = map(captured, args)
    return [x if array is None else array for x, array in zip(args, found, strict=True)]
