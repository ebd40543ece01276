"""Modules and functions as names of a traced function show them: acting in its thread only.

A proxy of a module has the very attributes of the module, in whatever thread, except that makers
of arrays, and functions of SciPy that need plain arrays, are others in a thread that traces.
Nothing of NumPy or SciPy is changed.
"""

from __future__ import annotations

import importlib
import math
import sys
import types
from typing import Any

import numpy as np
import scipy

from chainad.frontends.numpy.fast_path import recorded_binary, recorded_unary
from chainad.frontends.numpy.makers import MAKERS, SCIPYS_NUMPY, Vectorized
from chainad.frontends.numpy.tape import active
from chainad.frontends.numpy.tracers import Tracer
from chainad.rules.base import RULES
from chainad.rules.scipy_interpolate import interpolant_of
from chainad.rules.scipy_stats import distribution_of


class _Proxy:
    """Something that looks like its original."""

    _original: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

    def __repr__(self) -> str:
        return repr(self._original)

    def __eq__(self, other: object) -> bool:
        return other is self or other is self._original

    def __hash__(self) -> int:
        return hash(self._original)


class ModuleProxy(_Proxy):
    """A module; its class has a property for every attribute that is another while tracing."""

    __class__ = types.ModuleType  # type: ignore[assignment]

    def __dir__(self) -> list[str]:
        return dir(self._original)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return importlib.import_module, (self._original.__name__,)


class FunctionProxy(_Proxy):
    """A function; another one is called in a thread that traces."""

    def __init__(self, function: Any, instead: Any) -> None:
        self._original, self._instead = function, instead

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._original)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return (self._original if active.tape is None else self._instead)(*args, **kwargs)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        is_bound = instance is not None and hasattr(type(self._original), "__get__")
        return types.MethodType(self, instance) if is_bound else self

    def __getitem__(self, key: Any) -> Any:  # np.r_
        return (self._original if active.tape is None else self._instead)[key]

    def __instancecheck__(self, instance: Any) -> bool:
        return isinstance(instance, self._original)

    def __subclasscheck__(self, kind: type) -> bool:
        return issubclass(kind, self._original)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _itself, (self._original,)


class UfuncProxy(FunctionProxy):
    """A ufunc; its usual calls are recorded at once."""

    def __init__(self, ufunc: np.ufunc, instead: Any) -> None:
        super().__init__(ufunc, instead)
        rule = RULES.get(ufunc)
        self._usual_count = ufunc.nin if rule is not None and rule.is_plain else None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        count = len(args)
        if count == self._usual_count and not kwargs:
            done = None
            if count == 2:
                done = recorded_binary(self._original, *args)
            elif count == 1 and isinstance(args[0], Tracer):
                done = recorded_unary(self._original, args[0])
            if done is not None:
                return done
        return (self._original if active.tape is None else self._instead)(*args, **kwargs)


def _itself(function: Any) -> Any:
    return function


def _attribute(module: types.ModuleType, name: str, function: Any, instead: Any) -> property:
    namespace = vars(module)

    def get(self: Any) -> Any:
        found = namespace[name]
        return instead if active.tape is not None and found is function else found

    def set_(self: Any, value: Any) -> None:
        setattr(module, name, value)

    return property(get, set_, lambda self: delattr(module, name))


def _submodule(module: types.ModuleType, name: str) -> property:
    def get(self: Any) -> Any:
        found = getattr(module, name)  # SciPy loads it now
        return found if active.tape is None else proxy_of(found)

    return property(get)


_MODULES = (math, np.linalg, np.fft, np.polynomial.polynomial, np.polynomial, SCIPYS_NUMPY, np)
_proxies: dict[int, Any] = {}
_REPLACED = {*map(type, MAKERS)}

# By the names of modules of SciPy: what has functions of theirs that take traced values.
_like_scipy: dict[str, types.ModuleType] = {}
# What these modules have, by identity, and what is there instead; of those that are loaded.
_of_scipy: dict[int, tuple[Any, Any]] = {}
_unloaded: set[str] = set()


def replace_functions_of_scipy(home: str, ours: types.ModuleType) -> None:
    """Have names of a module of SciPy be those of another one in functions that are traced."""
    _like_scipy[home] = ours
    _unloaded.add(home)


def _instead_of_scipy(value: Any) -> Any:
    for home in filter(sys.modules.__contains__, tuple(_unloaded)):
        theirs, ours = vars(sys.modules[home]), _like_scipy[home]
        for name in theirs.keys() & {*ours.__all__}:
            if type(theirs[name]) is not types.ModuleType:
                _of_scipy[id(theirs[name])] = theirs[name], getattr(ours, name)
        _unloaded.discard(home)
    return _of_scipy[id(value)][1] if id(value) in _of_scipy else None


def _make_proxy(module: types.ModuleType) -> Any:
    names = {name: (x, proxy_of(x, False)) for name, x in vars(module).items()}
    changed = {
        name: _attribute(module, name, x, instead)
        for name, (x, instead) in names.items()
        if instead is not None
    }
    for home in _like_scipy:
        parent, _, name = home.rpartition(".")
        if parent == module.__name__:
            changed[name] = _submodule(module, name)
    proxy = type("module", (ModuleProxy,), {**changed, "_original": module})()
    proxy.__dict__ = vars(module)
    return proxy


def proxy_of(value: Any, is_global: bool = True) -> Any:
    """Return the proxy of what a name is bound to; None if it has none.

    Where it is no global, it is found in a thread that traces only; ufuncs have methods there, and
    classes have instances, too.
    """
    kind = type(value)
    if kind is types.ModuleType:
        if id(value) not in _proxies and (value is scipy or value.__name__ in _like_scipy):
            _proxies[id(value)] = _make_proxy(value)
        return _proxies.get(id(value))
    if kind is np.vectorize:
        return Vectorized(value)
    if kind.__module__.startswith("scipy.interpolate."):
        return interpolant_of(value)
    if kind is types.MethodType or kind.__module__.startswith("scipy.stats."):
        return distribution_of(value)
    instead = MAKERS.get(value) if kind in _REPLACED else None  # others may have no hash
    if instead is None:
        instead = _instead_of_scipy(value)
    is_ufunc = isinstance(value, np.ufunc)
    if instead is None or not (is_global or is_ufunc or isinstance(value, type)):
        return instead
    if id(value) not in _proxies:
        _proxies[id(value)] = (UfuncProxy if is_ufunc else FunctionProxy)(value, instead)
    return _proxies[id(value)]


def original_of(value: Any) -> Any:
    """Return what a name was bound to before it was bound to a proxy."""
    return value._original if issubclass(type(value), _Proxy) else value


def replacement_of(f: Any) -> Any:
    """Return what is called instead of a function while tracing, or the function itself."""
    return f if type(f) is types.FunctionType else proxy_of(f, False) or f


for _module in _MODULES:
    _proxies[id(_module)] = _make_proxy(_module)
