"""The names of NumPy, `math` and their functions that a function reads, bound to proxies meanwhile.

They are found in the code that the function may run: its own, that of the functions, classes and
modules it names, and of what is in its closure, as far as they are the user's. What belongs to the
standard library, NumPy, SciPy, chainad, or another library with arrays of its own is left alone.
"""

from __future__ import annotations

import builtins
import functools
import sys
import types
from collections.abc import Callable, MutableMapping
from typing import Any, NamedTuple

import numpy as np

from chainad.frontends.numpy.proxies import FunctionProxy, ModuleProxy, proxy_of
from chainad.ir.cache import Cache
from chainad.ir.locks import fork_safe_lock

# Libraries whose functions know no traced values, or dispatch on them.
_LIBRARIES = frozenset(
    {"numpy", "scipy", "chainad", "numba", "pandas", "xarray", "torch", "jax", "jaxlib", "builtins"}
) | (sys.stdlib_module_names - {"__main__"})
# Functions of these that are formulas, written as a user would write them.
_FORMULAS = {"rosen", "rosen_der", "rosen_hess", "rosen_hess_prod"}
_IMPORTED = frozenset({"numpy", "math", "__import__", "import_module"})

MAX_KNOWN_CODES = 4096
MAX_SEARCHED_ITEMS = 64
MAX_SEARCH_DEPTH = 4


class _Name(NamedTuple):
    """A name in a namespace: the globals of a module, or the attributes of an object."""

    namespace: MutableMapping[str, Any]
    name: str

    def get(self) -> Any:
        return self.namespace.get(self.name)

    def set(self, value: Any) -> None:
        self.namespace[self.name] = value

    def key(self) -> tuple[int, str]:
        return id(self.namespace), self.name


class _Cell(NamedTuple):
    """A variable of an enclosing function."""

    cell: types.CellType

    def get(self) -> Any:
        return self.cell.cell_contents

    def set(self, value: Any) -> None:
        self.cell.cell_contents = value

    def key(self) -> tuple[int, str]:
        return id(self.cell), ""


_Slot = _Name | _Cell


class _Search:
    """Looks for slots from a function on, in what is the user's."""

    def __init__(self, own: str) -> None:
        self.own = own  # the package that counts as the user's, since the function is there
        self.slots: dict[tuple[int, str], _Slot] = {}
        self.seen: set[int] = set()

    def add(self, slot: _Slot, names: frozenset[str], depth: int = 0) -> None:
        """Look at what is bound to a name; `names` are those that the code mentions."""
        value = slot.get()
        if isinstance(value, (ModuleProxy, FunctionProxy)) or proxy_of(value) is not None:
            self.slots[slot.key()] = slot
        else:
            self.visit(value, names, depth)

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
            if self._is_users(value.__globals__.get("__name__")) or value.__name__ in _FORMULAS:
                self._visit_function(value)
        elif isinstance(value, functools.partial):
            for item in (value.func, *value.args, *value.keywords.values()):
                self.visit(item, names, depth)
        elif isinstance(value, types.MethodType):
            self.visit(value.__func__)
            self.visit(value.__self__, names, depth)
        elif isinstance(value, type):
            self._visit_class(value)
        elif isinstance(value, (list, tuple, dict)):
            items = value.values() if isinstance(value, dict) else value
            for item, _ in zip(list(items), range(MAX_SEARCHED_ITEMS), strict=False):
                self.visit(item, names, depth + 1)
        elif "__wrapped__" in _attributes(value):
            self.visit(_attributes(value)["__wrapped__"], names, depth)
        elif self._is_users(kind.__module__):
            self._visit_class(kind)
            attributes = _attributes(value)
            for name in list(attributes):
                self.add(_Name(attributes, name), names, depth + 1)

    def _visit_function(self, function: types.FunctionType) -> None:
        names = _names_of(function.__code__)
        for name in names:
            if name in function.__globals__:
                self.add(_Name(function.__globals__, name), names)
        if any(name.split(".")[0] in _IMPORTED for name in names):
            slot = _Name(vars(builtins), "__import__")
            self.slots[slot.key()] = slot
        for cell in function.__closure__ or ():
            try:
                self.add(_Cell(cell), names)
            except ValueError:  # it is empty
                continue
        for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self.visit(default, names)
        self.visit(vars(function).get("__wrapped__"), names)

    def _visit_class(self, kind: type) -> None:
        for base in kind.__mro__:
            if (id(base) in self.seen and base is not kind) or not self._is_users(base.__module__):
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
        is_users = self._is_users(module.__name__)
        for name in names:
            value = vars(module).get(name)
            if is_users and name in vars(module):
                self.add(_Name(vars(module), name), names, depth + 1)
            elif isinstance(value, types.FunctionType) and name in _FORMULAS:
                self.visit(value)

    def _is_users(self, module: Any) -> bool:
        package = str(module or "").split(".", 1)[0]
        return package not in _LIBRARIES or package == self.own


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


def _names_of(code: types.CodeType) -> frozenset[str]:
    names = {*code.co_names}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names_of(constant)
    return frozenset(names)


def _function_of(f: Any) -> Any:
    """Return the function behind methods, partial applications and objects that can be called."""
    while not isinstance(f, types.FunctionType):
        if isinstance(f, types.MethodType):
            f = f.__func__
        elif isinstance(f, functools.partial):
            f = f.func
        else:
            return vars(type(f)).get("__call__")
    return f


def _slots_of(f: Callable[..., Any]) -> tuple[_Slot, ...]:
    function = _function_of(f)
    namespace = getattr(function, "__globals__", {})
    search = _Search(str(namespace.get("__name__")).split(".", 1)[0])
    search.visit(f)
    return tuple(search.slots.values())


class _Known(NamedTuple):
    """The slots of a code; what is known by id is kept alive."""

    slots: tuple[_Slot, ...]
    kept: Any


_known: Cache[_Known] = Cache(MAX_KNOWN_CODES)


def _known_slots(f: Callable[..., Any]) -> tuple[_Slot, ...]:
    """Return the slots of a function, those of its globals from an earlier look at its code."""
    if type(f) is not types.FunctionType or f.__closure__:
        return _slots_of(f)
    key = id(f.__code__), id(f.__globals__)
    return _known.get(key, lambda: _Known(_slots_of(f), (f.__code__, f.__globals__))).slots


class _Bound:
    """A slot that is bound to a proxy: what it was before, and how many runs need it."""

    __slots__ = ("before", "count", "proxy", "slot")

    def __init__(self, slot: _Slot, before: Any, proxy: Any) -> None:
        self.slot, self.before, self.proxy, self.count = slot, before, proxy, 0


_lock = fork_safe_lock()
_bound: dict[tuple[int, str], _Bound] = {}


class BoundNames:
    """What one run has bound, until `release`.

    An interrupt may come between any two steps: what is to be given back is noted before it is
    taken, and giving back may be begun anew.
    """

    def __init__(self) -> None:
        self._mine: dict[tuple[int, str], _Bound] = {}

    def bind(self, f: Callable[..., Any]) -> None:
        """Bind what a function reads."""
        slots = _known_slots(f)
        if not slots:
            return
        with _lock:
            for slot in slots:
                key = slot.key()
                bound = _bound.get(key)
                if bound is None:
                    value = slot.get()
                    proxy = _import if slot.key() == _IMPORT else proxy_of(value)
                    if proxy is None:
                        continue
                    bound = _bound[key] = _Bound(slot, value, proxy)
                self._mine[key] = bound
                bound.count += 1
                if bound.count == 1:
                    slot.set(bound.proxy)

    def release(self) -> None:
        """Bind everything as it was, unless another run needs it still."""
        with _lock:
            while self._mine:
                key, bound = next(iter(self._mine.items()))
                if bound.count == 1:
                    if bound.slot.get() is bound.proxy:  # else the function has bound it anew
                        bound.slot.set(bound.before)
                    _bound.pop(key, None)
                del self._mine[key]
                bound.count -= 1

    def __del__(self) -> None:
        if self._mine:  # an interrupt came before `release`
            self.release()


_IMPORT = _Name(vars(builtins), "__import__").key()
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


_import = FunctionProxy(_imported, _import_traced)
