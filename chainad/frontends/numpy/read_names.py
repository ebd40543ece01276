"""The names that a function reads, and what of NumPy, `math` and their functions they are bound to.

They are found in the code that the function may run: its own, that of the functions, classes and
modules it names, and of what is in its closure, as far as they are the user's. What belongs to the
standard library, NumPy, SciPy, chainad, or another library with arrays of its own is left alone.
"""

from __future__ import annotations

import builtins
import dis
import sys
import types
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from chainad.frontends.numpy.made_arrays import captured
from chainad.frontends.numpy.proxies import FunctionProxy, original_of, proxy_of
from chainad.frontends.numpy.proxy_slots import ProxySlot, contents_of
from chainad.ir.array_functions import is_ndarray
from chainad.ir.cache import Cache

# Libraries whose functions know no traced values, or dispatch on them.
_ARRAY_LIBRARIES = {"numpy", "scipy", "numba", "pandas", "xarray", "torch", "jax", "jaxlib"}
# What asserts something in a test mentions pytest.
_WITHOUT_ARRAYS = (sys.stdlib_module_names - {"__main__"}) | {"builtins", "pytest", "_pytest"}
_LIBRARIES = frozenset({"chainad", *_ARRAY_LIBRARIES, *_WITHOUT_ARRAYS})
# Functions of these that are formulas, written as a user would write them.
_FORMULAS = {"rosen", "rosen_der", "rosen_hess", "rosen_hess_prod"}
# What these formulas call, and functions that are there to be differentiated.
_LIKE_USERS = ("scipy._lib.", "chainad.testing.")
_IMPORTED = frozenset({"numpy", "scipy", "math", "__import__", "import_module"})

MAX_KNOWN_SLOTS = 8192
MAX_SEARCHED_ITEMS = 64
MAX_SEARCH_DEPTH = 4


class Search:
    """Looks for slots from a function on, in what is the user's.

    Arrays are bound only where some code copies arrays, and some writes into arrays. `namespaces`
    are those of functions and modules, and `read` is what code was found there, how and by what
    name: the slots are others once these are.
    """

    def __init__(self) -> None:
        self.slots: dict[Any, ProxySlot] = {}
        self.arrays: dict[Any, ProxySlot] = {}
        self.seen: set[int] = set()
        self.writes = self.copies = False
        self.namespaces: dict[int, dict[str, Any]] = {}
        self.read: list[tuple[Callable[[str], Any], str, Any]] = []

    @property
    def binds_arrays(self) -> bool:
        """Whether arrays are bound, too."""
        return self.writes and self.copies

    def add(self, where: Any, name: Any, value: Any, names: frozenset[str], depth: int = 0) -> None:
        """Look at what is bound to a name; `names` are those that the code mentions."""
        if is_ndarray(value):
            self.take(self.arrays, where, name, captured)
        else:
            self.add_code(where, name, value, names, depth)

    def add_code(
        self, where: Any, name: Any, value: Any, names: frozenset[str], depth: int = 0
    ) -> None:
        """Look at what is bound to a name, unless that is an array."""
        if has_proxy(value):
            self.take(self.slots, where, name, proxy_of)
        else:
            if type(value) in _CODE and id(where) in self.namespaces:
                self.read.append((where.get, name, value))
            self.visit(value, names, depth)

    def take(self, slots: Any, where: Any, name: Any, instead: Callable[[Any], Any]) -> None:
        """Note what is to be bound."""
        key = id(where), name, id(instead)
        slots[key] = _slots.get(key, lambda: ProxySlot(where, name, instead))

    def visit(self, value: Any, names: frozenset[str] = frozenset(), depth: int = 0) -> None:
        """Look at what code is behind an object."""
        kind = type(value)
        if kind in WITHOUT_CODE or depth > MAX_SEARCH_DEPTH:
            return
        if kind is types.ModuleType:
            self._visit_module(value, names, depth)
            return
        if id(value) in self.seen:
            return
        self.seen.add(id(value))
        if kind is types.FunctionType:
            if is_users(value.__globals__.get("__name__")) or value.__name__ in _FORMULAS:
                self._visit_function(value)
        elif isinstance(value, partial):
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
        elif kind is list:
            for k, item in enumerate(value[:MAX_SEARCHED_ITEMS]):
                self.add_code(value, k, item, names, depth + 1)
        elif isinstance(value, (list, tuple, dict)):
            items = value.values() if isinstance(value, dict) else value
            for item, _ in zip(list(items), range(MAX_SEARCHED_ITEMS), strict=False):
                self.visit(item, names, depth + 1)
        elif "__wrapped__" in attributes_of(value):
            self.visit(attributes_of(value)["__wrapped__"], names, depth)
        elif is_users(kind.__module__):
            self._visit_class(kind)
            attributes = attributes_of(value)
            for name in list(attributes):
                self.add(attributes, name, attributes[name], names, depth + 1)

    def _visit_function(self, function: types.FunctionType) -> None:
        names, writes, copies = mentioned_in(function.__code__)
        self.writes, self.copies = self.writes or writes, self.copies or copies
        namespace = function.__globals__
        self.namespaces[id(namespace)] = namespace
        for name in names:
            if name in namespace:
                self.add(namespace, name, namespace[name], names)
        if any(name.split(".")[0] in _IMPORTED for name in names):
            self.take(self.slots, vars(builtins), "__import__", _import_proxy)
        for cell in function.__closure__ or ():
            self.add(cell, "", contents_of(cell), names)
        for position, default in enumerate(function.__defaults__ or ()):
            self.add_code(function, position, default, names)
        named = function.__kwdefaults__ or {}
        for name in list(named):
            self.add_code(named, name, named[name], names)
        self.visit(vars(function).get("__wrapped__"), names)

    def _visit_class(self, kind: type) -> None:
        for base in kind.__mro__:
            if (id(base) in self.seen and base is not kind) or not is_users(base.__module__):
                continue
            self.seen.add(id(base))
            for name, value in list(vars(base).items()):
                if isinstance(value, staticmethod) and has_proxy(value.__func__):
                    self.take(self.slots, base, name, _static_proxy)
                elif isinstance(value, (classmethod, staticmethod)):
                    self.visit(value.__func__)
                elif isinstance(value, property):
                    self.visit(value.fget)
                elif type(value) in _HOLDERS or has_proxy(value):
                    self.add_code(base, name, value, frozenset())
                else:
                    self.visit(attributes_of(value).get("func"))  # of cached properties

    def _visit_module(self, module: types.ModuleType, names: frozenset[str], depth: int) -> None:
        is_own = is_users(module.__name__)
        if is_own:
            self.namespaces[id(vars(module))] = vars(module)
        for name in names:
            value = vars(module).get(name)
            if is_own and name in vars(module):
                self.add(vars(module), name, value, names, depth + 1)
            elif isinstance(value, types.FunctionType) and name in _FORMULAS:
                self.visit(value)


def is_users(module: Any) -> bool:
    """Return whether the functions of a module, given by its name, are the user's."""
    name = str(module or "")
    return name.split(".", 1)[0] not in _LIBRARIES or name.startswith(_LIKE_USERS)


# What in a class may hold code, beside what descriptors do.
_HOLDERS = frozenset({types.FunctionType, list, tuple, dict})
_CODE = frozenset({types.FunctionType, types.ModuleType, type, type(None)})
WITHOUT_CODE = frozenset(
    {
        int,
        float,
        bool,
        str,
        bytes,
        type(None),
        complex,
        np.ndarray,
        slice,
        range,
        np.random.Generator,
    }
    | {*np.sctypeDict.values()}
)


def has_proxy(value: Any) -> bool:
    """Return whether a name that is bound to a value is bound to a proxy instead."""
    is_module = type(value) is types.ModuleType
    return proxy_of(value if is_module else original_of(value)) is not None


def _static_proxy(value: Any) -> Any:
    """Return the proxy of a static method that is not the user's."""
    return staticmethod(proxy_of(value.__func__)) if isinstance(value, staticmethod) else None


def attributes_of(value: Any) -> dict[str, Any]:
    """Return the attributes of an object, without asking its class for any."""
    try:
        found: dict[str, Any] = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return found


class Mentioned(NamedTuple):
    """The names in some code, and whether it writes into arrays, and copies others than x."""

    names: frozenset[str]
    writes: bool
    copies: bool


@lru_cache(maxsize=1024)
def mentioned_in(code: types.CodeType) -> Mentioned:
    """Return what is in some code, and in that of the functions inside."""
    names, copies = {*code.co_names}, False
    instructions = zip(code.co_code[::2], code.co_code[1::2], strict=True)
    writes = any(
        op in _STORES or (op == _BINARY_OP and argument >= _FIRST_IN_PLACE)
        for op, argument in instructions
    )
    if not names.isdisjoint(COPYING):
        before, parameters = None, code.co_varnames[: code.co_argcount]
        for each in dis.get_instructions(code):
            if each.argval in COPYING and each.opname in ("LOAD_ATTR", "LOAD_METHOD"):
                copies = copies or before not in parameters
            before = each.argval
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner = mentioned_in(constant)
            names |= inner.names
            writes, copies = writes or inner.writes, copies or inner.copies
    return Mentioned(frozenset(names), writes, copies)


_STORES = {dis.opmap[name] for name in ("STORE_SUBSCR", "STORE_SLICE") if name in dis.opmap}
_BINARY_OP, _FIRST_IN_PLACE = dis.opmap["BINARY_OP"], 13  # z += x
COPYING = frozenset({"copy", "astype", "flatten"})


# Every slot is one, whoever has found it. `Cache` forgets those that were used longest ago; one
# that is bound is kept by who has bound it.
_slots: Cache[ProxySlot] = Cache(MAX_KNOWN_SLOTS, "places of names")


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
