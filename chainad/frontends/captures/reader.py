"""What attributes, entries and calls give, by where the objects come from."""

from __future__ import annotations

import builtins
import inspect
import types
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse

from chainad.frontends.captures.abstract_values import (
    NOTHING,
    Constant,
    Instance,
    Items,
    Method,
    Routine,
    Super,
)
from chainad.frontends.captures.code_runs import Instruction
from chainad.frontends.captures.function_table import GENERATORS, FunctionTable, is_chainads
from chainad.frontends.captures.instructions import PASSIVE, QUERIES, VIEW_METHODS, WRITERS
from chainad.frontends.captures.place_table import is_one_of
from chainad.frontends.captures.places import (
    MISSING,
    VALUES,
    Place,
    attribute_of,
    is_plain_object,
    parts,
)
from chainad.frontends.numpy.tracers import Tracer
from chainad.rules.base import VIEWS, kind_of
from chainad.rules.kinds import ShapeQuery

_UNSEEDED = (np.random.default_rng, *GENERATORS)
_ITERATORS = (zip, enumerate, reversed, iter, next, list, tuple, sorted, dict)
_READS_NAMES = (builtins.globals, builtins.eval, builtins.exec)


class Reader(FunctionTable):
    """Finds the places that code reads, and what is read there."""

    def attribute(self, items: Items, name: str, at: Instruction) -> Items:
        found = NOTHING
        for item in items:
            if isinstance(item, Place):
                found |= self._attribute_at(item, name, at)
            elif isinstance(item, Instance):
                for kind in item.place.value.__mro__:
                    if name in vars(kind):
                        found |= self._of_instance(item, name, vars(kind)[name])
                        break
            elif isinstance(item, Super):
                for kind in type(item.place.value).__mro__:
                    function = kind.__dict__.get(name)
                    if isinstance(function, types.FunctionType):
                        found |= self.bound(function, frozenset({item.place}))
        return found

    def _attribute_at(self, place: Place, name: str, at: Instruction) -> Items:
        value = place.value
        if isinstance(value, Tracer):
            return NOTHING
        if isinstance(value, GENERATORS):
            self.draw(str(place), value)
            return NOTHING
        if place.has_parts:
            found: Items = frozenset({place})
            for inside in self.objects(place):
                if self.is_users_object(inside):
                    found |= self._of_class(*attribute_of(inside, name), frozenset({place}))
                elif isinstance(inside, (np.ndarray, list, tuple, dict)):
                    found |= {Method(place, name)}
                elif isinstance(inside, GENERATORS):
                    self.draw(str(place), inside)
            return found
        if isinstance(value, types.ModuleType):
            if name not in vars(value):
                return self.fixed(getattr(value, name), name) if hasattr(value, name) else NOTHING
            if self.is_library(value):
                return self.fixed(vars(value)[name], f"{place}.{name}")
            return frozenset({self.below(place, ("attribute", name), vars(value)[name])})
        if isinstance(value, type):
            for kind in value.__mro__:
                if name in kind.__dict__:
                    return frozenset({self.below(place, ("attribute", name), getattr(value, name))})
            return NOTHING
        if isinstance(value, (np.ndarray, np.generic)) or scipy.sparse.issparse(value):
            if name in ("T", "real", "imag") and isinstance(value, np.ndarray):
                return frozenset({place})
            if name in QUERIES:
                return NOTHING
            if scipy.sparse.issparse(value) and name in vars(value):
                return frozenset({self.below(place, ("attribute", name), vars(value)[name])})
            return frozenset({Method(place, name)})
        if isinstance(value, (list, tuple, dict, set, frozenset)) and hasattr(type(value), name):
            if isinstance(value, tuple) and name in getattr(value, "_fields", ()):
                k = value._fields.index(name)  # type: ignore[attr-defined]
                return frozenset({self.below(place, ("entry", k), value[k])})
            return frozenset({Method(place, name)})
        if isinstance(value, VALUES) or not (
            is_plain_object(value) or isinstance(value, types.FunctionType)
        ):
            return NOTHING
        kind_of, found_there = attribute_of(value, name)
        if kind_of == "value":
            if isinstance(found_there, types.BuiltinFunctionType) and not self.is_users_class(
                type(value)
            ):
                self.take((frozenset({place}),), at)
                return NOTHING
            return frozenset({self.below(place, ("attribute", name), found_there)})
        if kind_of == "function" and self.is_users_class(type(value)):
            self.below(place, ("attribute", name), getattr(value, name)).is_watched = True
        if not self.is_users_class(type(value)) and kind_of != "value":
            self.take((frozenset({place}),), at)
            return NOTHING
        return self._of_class(kind_of, found_there, frozenset({place}))

    def _of_instance(self, item: Instance, name: str, value: Any) -> Items:
        """Return what is found in the class of an object that the function makes."""
        this = frozenset({item})
        if isinstance(value, property):
            return self.enter(self.bound(value.fget, this), (), {})
        if isinstance(value, types.FunctionType):
            return self.bound(value, this)
        if isinstance(value, classmethod):
            return self.bound(value.__func__, frozenset({item.place}))
        value = value.__func__ if isinstance(value, staticmethod) else value
        return frozenset({self.below(item.place, ("attribute", name), value)})

    def _of_class(self, kind: str, found: Any, this: Items) -> Items:
        """Return what is found in the class of an object."""
        if kind == "function":
            return self.bound(found, this)
        if kind == "class method":
            return frozenset().union(
                *(self.bound(found, self.fixed(type(x.value), "cls")) for x in this)
            )
        if kind == "property" or (kind == "unknown" and isinstance(found, types.FunctionType)):
            return self.enter(self.bound(found, this), (), {})
        return NOTHING

    def entry(self, items: Items, index: Items, at: Instruction) -> Items:
        """Return what a subscript gives."""
        known = [x.value for x in index if isinstance(x, Constant)]
        self.take((index,), at)
        found = NOTHING
        for item in items:
            if not isinstance(item, Place):
                continue
            value = item.value
            if isinstance(value, Tracer):
                continue
            if isinstance(value, np.ndarray):
                # A view, whose own uses count, or an entry of it, which none takes.
                if not self.runs.always_takes(at, self.owners_of(item), 1):
                    found |= {item}
            elif item.has_parts:
                found |= {item} | self._dunder(item, "__getitem__", (index,))
            elif isinstance(value, (list, tuple, dict)):
                if len(known) == len(index) == 1:
                    try:
                        part = value[known[0]]
                    except (LookupError, TypeError):
                        found |= self.parts_of(item)
                        continue
                    if isinstance(known[0], (int, str, float, tuple, bool)):
                        found |= {self.below(item, ("entry", known[0]), part)}
                        continue
                found |= self.parts_of(item)
            elif not isinstance(value, VALUES):
                if self.is_users_object(value):
                    found |= self._dunder(item, "__getitem__", (index,)) or {item}
                else:
                    self.take((frozenset({item}),), at)
                    found |= {item}
        return found

    def _dunder(self, place: Place, name: str, args: Sequence[Items]) -> Items:
        found = NOTHING
        for value in self.objects(place) if place.has_parts else [place.value]:
            if self.is_users_object(value):
                kind, function = attribute_of(value, name)
                if kind == "function":
                    found |= self.enter(self.bound(function, frozenset({place})), args, {})
        return found

    def elements(self, items: Items, at: Instruction, count: int = -1) -> list[Items]:
        """Return what an iteration gives: `count` results, or one for all."""
        found = [NOTHING] * max(count, 1)
        for item in items:
            if not isinstance(item, Place):
                continue
            value = item.value
            if isinstance(value, np.ndarray) or item.has_parts:
                every: Items = frozenset({item})
            elif isinstance(value, (list, tuple)) and len(value) == count:
                own = [self.below(item, ("entry", k), x) for k, x in enumerate(value)]
                found = [a | {b} for a, b in zip(found, own, strict=True)]
                self.parts_of(item)
                continue
            elif isinstance(value, (list, tuple, dict)):
                every = self.parts_of(item)
            elif isinstance(value, (*VALUES, Tracer)):
                continue
            else:
                every = self._dunder(item, "__iter__", ())
                self.take((frozenset({item}),), at)
            found = [each | every for each in found]
        return found

    def call(
        self, callees: Items, args: list[Items], named: dict[str, Items], at: Instruction
    ) -> Items:
        """Return what a call gives."""
        operands = [*args, *named.values()]
        if not any(isinstance(x, (Place, Routine, Method)) for x in callees):
            self.take(operands, at)
            return NOTHING
        found = NOTHING
        used: list[Items] = []
        for callee in callees:
            if isinstance(callee, Routine):
                found |= self.enter(frozenset({callee}), args, named)
            elif isinstance(callee, Method):
                found |= self._call_method(callee, operands, at, used)
            elif isinstance(callee, Place):
                found |= self._call_place(callee, args, named, at, used)
        if used:
            self.take(used, at)
        return found

    def _call_method(
        self, method: Method, operands: list[Items], at: Instruction, used: list[Items]
    ) -> Items:
        place, own = method.place, frozenset({method.place})
        value = place.value
        if method.name in WRITERS and not isinstance(value, np.ndarray):
            self.write(place)
            used += operands
            return NOTHING
        if isinstance(value, np.ndarray):
            if method.name in VIEW_METHODS:
                return own
            if method.name in ("fill", "sort", "put", "itemset", "partition", "resize"):
                self.write(place)
        elif method.name in ("get", "items", "values", "copy", "__getitem__"):
            self.take(operands, at)
            return self.parts_of(place)
        used += [own, *operands]
        return own if place.has_parts else NOTHING

    def _call_place(
        self, place: Place, args: list[Items], named: dict[str, Items], at: Instruction,
        used: list[Items],
    ) -> Items:  # fmt: skip
        operands = [*args, *named.values()]
        value = place.value
        if place.has_parts:
            routines: Items = frozenset().union(
                *(self.routines_of(x, place) for x in self.objects(place) if callable(x))
            )
            used += operands
            used.append(frozenset({place}))
            return self.enter(routines, args, named)
        if is_one_of(value, PASSIVE) or _asks_for_shapes(value):
            for items in operands:
                self.elements(items, at)
            return NOTHING
        if value is next:
            for item in args[0]:
                if self._is_opaque(item):
                    self.draw(f"next({item})", item.value)
        if is_one_of(value, _ITERATORS):
            found = [self.elements(items, at)[0] for items in operands]
            return frozenset().union(*found) if found else NOTHING
        if value is super:
            first = self.at[0].co_varnames[:1] if self.at else ()
            own = self.codes[id(self.at[0])] if self.at else None
            items = args[1] if len(args) > 1 else (own.name(first[0]) if own and first else NOTHING)
            return frozenset(Super(x) for x in items if isinstance(x, Place))
        if is_one_of(value, _READS_NAMES) or (value is builtins.vars and not args):
            name = value.__name__
            self.refuse(f"{name}() reads names that are not known before", name)
            return NOTHING
        if is_one_of(value, (getattr, hasattr)) and len(args) >= 2:
            names = [x.value for x in args[1] if isinstance(x, Constant)]
            if len(names) == len(args[1]) == 1:
                self._note_missing(args[0], names[0])
                return self.attribute(args[0], names[0], at) | frozenset().union(*args[2:])
            for item in args[0]:
                if isinstance(item, Place) and not item.has_parts:
                    self._computed_name(item)
            return frozenset().union(
                *(self.parts_of(x) for x in args[0] if isinstance(x, Place))
            ) | frozenset().union(*args[2:])
        is_unseeded = all(x == frozenset({Constant(None)}) for x in operands)
        if is_one_of(value, _UNSEEDED) and is_unseeded:
            self.draw(str(place), value)
        if is_one_of(value, VIEWS) and operands:
            used += operands[1:]
            found_in = [self.owners_of(x) for x in operands[0] if isinstance(x, Place)]
            is_traced = self.runs.always_takes(at, frozenset().union(*found_in), 1)
            return NOTHING if is_traced else operands[0]
        routines = self.routines_of(value, place)
        if routines:
            found_there = self.enter(routines, args, named)
            if isinstance(value, type):
                used += operands
                return frozenset({Instance(place)})
            if is_chainads(value):
                used += [*operands, routines]
            return found_there
        used += operands
        is_users = isinstance(value, type) and self.is_users_class(value)
        return frozenset({Instance(place)}) if is_users else NOTHING

    def _note_missing(self, items: Items, name: str) -> None:
        for place in items:
            if not isinstance(place, Place) or hasattr(type(place.value), "__getattr__"):
                continue
            if inspect.getattr_static(place.value, name, MISSING) is MISSING:
                self.below(place, ("attribute", name), MISSING)

    def _is_opaque(self, item: Any) -> bool:
        if not isinstance(item, Place) or item.has_parts or isinstance(item.value, np.ndarray):
            return False
        return not parts(item.value, self.is_users_class)

    def _computed_name(self, place: Place) -> None:
        value = place.value
        is_module = isinstance(value, types.ModuleType) and not self.is_library(value)
        is_class = isinstance(value, type) and self.is_users_class(value)
        if is_module or is_class:
            self.refuse(f"getattr({place}, ...) computes the name of what it reads", str(place))


def _asks_for_shapes(function: Any) -> bool:
    """Return whether the row of a function says that it reads no entries."""
    hash_of: Any = type(function).__hash__
    kind = kind_of(function) if hash_of is object.__hash__ else None
    return isinstance(kind, ShapeQuery) and not kind.is_text
