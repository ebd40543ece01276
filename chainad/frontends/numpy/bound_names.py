"""The names of NumPy, `math` and their functions that a function reads, bound to proxies meanwhile.

They are found in the code that the function may run: its own, that of the functions, classes and
modules it names, and of what is in its closure, as far as they are the user's. What belongs to the
standard library, NumPy, SciPy, chainad, or another library with arrays of its own is left alone.
"""

from __future__ import annotations

import builtins
import dis
import functools
import operator
import sys
import types
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice
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
MAX_DATA_ITEMS = 1024
MAX_SEARCH_DEPTH = 4


class _Contents:
    """A cell as a namespace of one name."""

    __slots__ = ("_cell",)

    def __init__(self, cell: types.CellType) -> None:
        self._cell = cell

    def get(self, name: str) -> Any:
        try:
            return self._cell.cell_contents
        except ValueError:  # it is empty
            return None

    def __setitem__(self, name: str, value: Any) -> None:
        self._cell.cell_contents = value


class _Slot:
    """What is bound to a proxy: a name in a namespace, or the contents of a cell.

    While it is bound, `before` is what it was bound to, and `users` are the runs that need it.
    """

    __slots__ = ("before", "instead", "name", "namespace", "proxy", "users")

    def __init__(self, where: Any, name: str, instead: Callable[[Any], Any]) -> None:
        self.namespace = _Contents(where) if type(where) is types.CellType else where
        self.name, self.instead = name, instead
        self.users: set[int] = set()
        self.before: Any = None
        self.proxy: Any = None

    def bind(self, user: int) -> None:
        """Bind it for a run."""
        users, namespace, name = self.users, self.namespace, self.name
        if users:
            users.add(user)
            return
        value = namespace.get(name)
        if value is not self.before:
            proxy = self.instead(value)
            if proxy is None:  # it has been bound to something else since it was found
                return
            self.before, self.proxy = value, proxy
        users.add(user)
        namespace[name] = self.proxy

    def release(self, user: int) -> None:
        """Bind it as before, unless another run needs it still."""
        self.users.discard(user)
        if not self.users and self.namespace.get(self.name) is self.proxy is not None:
            self.namespace[self.name] = self.before


class _Search:
    """Looks for slots from a function on, in what is the user's.

    Arrays are bound only where some code copies arrays, and some writes into arrays. `namespaces`
    are those of functions and modules, and `read` is what code was found there, how and by what
    name: the slots are others once these are.
    """

    def __init__(self) -> None:
        self.slots: dict[Any, _Slot] = {}
        self.arrays: dict[Any, _Slot] = {}
        self.seen: set[int] = set()
        self.writes = self.copies = False
        self.namespaces: dict[int, dict[str, Any]] = {}
        self.read: list[tuple[Callable[[str], Any], str, Any]] = []

    @property
    def binds_arrays(self) -> bool:
        """Whether arrays are bound, too."""
        return self.writes and self.copies

    def add(self, where: Any, name: str, value: Any, names: frozenset[str], depth: int = 0) -> None:
        """Look at what is bound to a name; `names` are those that the code mentions."""
        if isinstance(value, np.ndarray):
            self.take(self.arrays, where, name, captured)
        elif _has_proxy(value):
            self.take(self.slots, where, name, proxy_of)
        else:
            if type(value) in _CODE and id(where) in self.namespaces:
                self.read.append((where.get, name, value))
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
        namespace = function.__globals__
        self.namespaces[id(namespace)] = namespace
        for name in names:
            if name in namespace:
                self.add(namespace, name, namespace[name], names)
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
        if is_users:
            self.namespaces[id(vars(module))] = vars(module)
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


_CODE = frozenset({types.FunctionType, types.ModuleType, type, type(None)})
_WITHOUT_CODE = frozenset(
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


def _has_proxy(value: Any) -> bool:
    is_module = type(value) is types.ModuleType
    return proxy_of(value if is_module else original_of(value)) is not None


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


class _Known:
    """The slots of a function, and what tells that they still are all; `kept` are alive by it."""

    def __init__(self, f: Any, kept: Any) -> None:
        self.kept = kept
        self.search(f)

    def search(self, f: Any) -> None:
        """Look for the slots."""
        found = _Search()
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


# Every slot is one, whoever has found it. `Cache` forgets those that were used longest ago; one
# that is bound is kept by who has bound it.
_slots: Cache[_Slot] = Cache(MAX_KNOWN_SLOTS)
_known: Cache[_Known] = Cache(MAX_KNOWN_CODES)


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
        own, cells = (value.__code__, value.__globals__), value.__closure__ or ()
        parts: Any = value.__defaults__ or value.__kwdefaults__ or value.__dict__ or ()
        if parts:
            parts = filter(None, (value.__defaults__, value.__kwdefaults__, value.__dict__))
        return _codes_in(own, parts, depth, cells) if parts or cells else own
    if kind is types.MethodType:
        return _codes_in((), (value.__func__, value.__self__), depth)
    if kind is functools.partial:
        return _codes_in((), (value.func, *filter(None, (value.args, value.keywords))), depth)
    if isinstance(value, (list, tuple, dict)):
        items = value.values() if isinstance(value, dict) else value
        return _codes_in((), islice(items, MAX_SEARCHED_ITEMS), depth)
    if kind is types.ModuleType or isinstance(value, type):
        return (value,)
    attributes = _attributes(value)
    if "__wrapped__" not in attributes and not _is_users(kind.__module__):
        return ()
    if _is_data(attributes):
        return (kind,)
    bound = [x for name, x in attributes.items() if _has_proxy(x) for x in (attributes, name)]
    return _codes_in((kind, *bound), attributes.values(), depth)


def _codes_in(
    own: tuple[Any, ...], parts: Iterable[Any], depth: int, cells: Iterable[types.CellType] = ()
) -> tuple[Any, ...] | None:
    """Return what is `own`, and what tells the names that code in its parts and cells reads."""
    found, others = own, [*parts]
    for cell in cells:
        value = _contents(cell)
        kind = type(value)
        if kind in _CONTAINERS:
            others.append(value)
        elif kind not in _WITHOUT_CODE:
            if _has_proxy(value):
                found += (cell,)
            else:
                others.append(value)
    for value in others:
        kind = type(value)
        if kind in _WITHOUT_CODE or (_is_data(value) if kind in _CONTAINERS else _has_proxy(value)):
            continue
        codes = _codes_of(value, depth + 1)
        if codes is None:
            return None
        found += codes
    return found


_CONTAINERS = frozenset({list, tuple, dict})
_SEQUENCES = frozenset({list, tuple})
_DATA = _WITHOUT_CODE | _CONTAINERS


def _is_data(value: Any) -> bool:
    """Return whether what is in a list, tuple or dict has no code behind it."""
    level: Any = value.values() if type(value) is dict else value
    for _ in range(MAX_SEARCH_DEPTH):
        kinds = {*map(type, level)}
        if kinds <= _WITHOUT_CODE:
            return True
        if not kinds <= _DATA:
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
        self._mine: tuple[_Slot, ...] = ()
        # Whether the code that was bound for writes into arrays.
        self.writes = False

    def bind(self, f: Callable[..., Any]) -> None:
        """Bind what a function reads."""
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
