"""The functions of the user's that ran: what their names may come from, and what calls pass on."""

from __future__ import annotations

import gc
import random
import types
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse

from chainad.frontends.captures.abstract_values import (
    NOTHING,
    NULL,
    CodeNames,
    Instance,
    Items,
    Routine,
    is_of_place,
)
from chainad.frontends.captures.code_runs import CodeRuns, Instruction
from chainad.frontends.captures.place_table import PlaceTable
from chainad.frontends.captures.places import VALUES, Place, attribute_of, is_plain_object, parts
from chainad.frontends.numpy.tracers import Tracer

GENERATORS = (np.random.Generator, np.random.RandomState, np.random.BitGenerator, random.Random)


class FunctionTable(PlaceTable):
    """The places and the functions found so far.

    Attributes
    ----------
    codes : dict
        The code objects that ran, by id.
    draws : dict
        What draws random numbers, by name.
    uses : dict
        The operands of instructions that do more than to pass them on.
    """

    def __init__(self, runs: CodeRuns, constant: frozenset[str] = frozenset()) -> None:
        super().__init__(runs, constant)
        self.codes: dict[int, CodeNames] = {}
        self.draws: dict[str, Any] = {}
        self.uses: dict[Instruction, tuple[Items, ...]] = {}
        self._callers_of_unknown: dict[int, set[int]] = {}
        # Whether code may run elsewhere (in other threads, before it was compiled), unseen.
        self._is_all_assumed = False

    def routines_of(self, value: Any, place: Place | None = None) -> Items:
        """Return the functions of the user's that a call of an object runs."""
        if isinstance(value, types.FunctionType):
            if self.register(value):
                return frozenset({Routine(value.__code__)})
            self._register_wrapped(value)
            return NOTHING
        if isinstance(value, types.MethodType):
            this = self.fixed(value.__self__, "self")
            return frozenset(
                Routine(x.code, (this, *x.first)) for x in self.routines_of(value.__func__)
            )
        if type(value).__module__ == "functools" and hasattr(value, "func"):  # partial
            given = [self.fixed(x, f"args[{k}]") for k, x in enumerate(value.args)]
            named = {name: self.fixed(x, name) for name, x in value.keywords.items()}
            found = frozenset(
                Routine(x.code, (*x.first, *given)) for x in self.routines_of(value.func)
            )
            if found:
                self.enter(found, (), named)
            else:
                self.take((*given, *named.values()), None)
            return found
        if isinstance(value, type):
            this = frozenset() if place is None else frozenset({Instance(place)})
            made = [getattr(value, name, None) for name in ("__init__", "__post_init__")]
            return frozenset().union(
                *(self.bound(x, this) for x in made if isinstance(x, types.FunctionType))
            )
        wrapped = getattr(value, "__wrapped__", None)
        if wrapped is not None and is_chainads(value):
            self._assume_all()
            return self.routines_of(wrapped)
        call = attribute_of(value, "__call__") if is_plain_object(value) else ("", None)
        if call[0] == "function":
            this = frozenset({place}) if place is not None else self.fixed(value, "self")
            return self.bound(call[1], this)
        return self.routines_of(wrapped) if isinstance(wrapped, types.FunctionType) else NOTHING

    def _register_wrapped(self, wrapper: types.FunctionType) -> None:
        """Note that a function ran which a library's wrapper calls, with whatever arguments."""
        wrapped = getattr(wrapper, "__wrapped__", None)
        if isinstance(wrapped, types.FunctionType) and self.register(wrapped):
            self.codes[id(wrapped.__code__)].is_callback = True

    def bound(self, function: Any, this: Items) -> Items:
        """Return a function as a method of what is found in `this`."""
        return frozenset(Routine(x.code, (this, *x.first)) for x in self.routines_of(function))

    def _assume_all(self) -> None:
        """Take all functions that can be reached for functions that ran, as code may elsewhere."""
        if not self._is_all_assumed:
            self._is_all_assumed = True
            for each in self.codes.values():
                each.is_stale = True

    def register(self, function: types.FunctionType) -> bool:
        """Return whether a function ran; if so, what its closure and its defaults hold is known."""
        code = function.__code__
        if not self.ran(code, function.__globals__):
            return False
        found = self.names_of(code, function.__globals__)
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:
                continue
            self.add(found, name, frozenset({self.place("cell", cell, name, (), value)}))
        defaults = function.__defaults__ or ()
        given = dict(
            zip(code.co_varnames[: code.co_argcount][-len(defaults) :], defaults, strict=False)
        )
        if not defaults:
            given = {}
        for name, value in {**given, **(function.__kwdefaults__ or {})}.items():
            self.add(found, name, self.fixed(value, name))
        return True

    def ran(self, code: types.CodeType, namespace: dict[str, Any]) -> bool:
        """Return whether code ran, or may have run unseen."""
        if id(code) in self.runs.codes:
            return True
        return self._is_all_assumed and self.runs.is_users(code, namespace)

    def names_of(self, code: types.CodeType, namespace: dict[str, Any]) -> CodeNames:
        """Return what is known of code that ran."""
        found = self.codes.get(id(code))
        if found is None:
            callers = self._callers_of_unknown.pop(id(code), set())
            found = self.codes[id(code)] = CodeNames(code, namespace, callers=callers)
            self.runs.join_prefixes(code)
            self.call_again(found)
        return found

    def stale_codes(self) -> list[CodeNames]:
        """Return the code objects that are to be interpreted again."""
        return [each for each in self.codes.values() if each.is_stale]

    def call_again(self, found: CodeNames) -> None:
        """Note that a function may return more than its callers have been given."""
        for caller in found.callers:
            self.codes[caller].is_stale = True

    def add(self, found: CodeNames, name: str, items: Items) -> None:
        """Add to what a name may be."""
        items = items - NULL
        known = found.names.get(name, NOTHING)
        if not items <= known:
            found.names[name] = known | items
            found.is_stale |= name in found.read

    def find_others(self) -> None:
        """Look for functions that ran, but were reached in a way that is not followed."""
        missing = [code for key, code in self.runs.codes.items() if key not in self.codes]
        if not missing:
            return
        ids = {id(code) for code in missing}
        for value in gc.get_referrers(*missing):
            if isinstance(value, types.FunctionType) and id(value.__code__) in ids:
                self.register(value)
                self.codes[id(value.__code__)].is_callback = True
        # Operators and the like: they may be methods of any object that was passed on.
        for place in list(self.places.values()):
            for value in self.objects(place):
                if self.is_users_object(value):
                    self._bind_methods(frozenset({place, *self.parts_of(place)}), type(value), ids)
                elif isinstance(value, type) and self.is_users_class(value):
                    self._bind_methods(frozenset({Instance(place)}), value, ids)

    def _bind_methods(self, this: Items, kind: type, ids: Collection[int]) -> None:
        for each in kind.__mro__:
            for found in vars(each).values():
                function = found.fget if isinstance(found, property) else found
                if isinstance(function, types.FunctionType) and id(function.__code__) in ids:
                    self.enter(self.bound(function, this), (), {})

    def enter(self, routines: Items, args: Sequence[Items], named: Mapping[str, Items]) -> Items:
        """Pass arguments to functions; return what they return."""
        result = NOTHING
        for routine in routines:
            found = self.codes.get(id(routine.code))
            if self.at is not None:
                unknown = self._callers_of_unknown
                callers = found.callers if found else unknown.setdefault(id(routine.code), set())
                callers.add(id(self.at[0]))
            if found is None:
                continue
            code = routine.code
            given = [*routine.first, *args]
            count = code.co_argcount
            positional = code.co_varnames[:count]
            names = code.co_varnames[: count + code.co_kwonlyargcount]
            rest = code.co_varnames[len(names) :]
            for k, items in enumerate(given):
                if k < count:
                    self.add(found, positional[k], items)
                elif code.co_flags & 4:
                    self.add(found, rest[0], items)
            for name, items in named.items():
                if name in names:
                    self.add(found, name, items)
                elif name == "*":  # any of them
                    for each in (
                        *names,
                        *rest[: bool(code.co_flags & 4) + bool(code.co_flags & 8)],
                    ):
                        self.add(found, each, items)
                elif code.co_flags & 8:
                    self.add(found, rest[bool(code.co_flags & 4)], items)
            result |= found.returned
        return result

    def take(self, slots: Sequence[Items], at: Instruction | None) -> None:
        """Note that an instruction does more with its operands than to pass them on."""
        if at is not None and not self.runs.was_executed(at):
            return
        for item in frozenset().union(*slots):
            if isinstance(item, Routine):
                found = self.codes.get(id(item.code))
                if found is None:
                    self._assume_all()  # it does not run here, but perhaps in another thread
                else:
                    found.is_callback = True
                    self.enter(frozenset({item}), (), {})  # a method, by the object it is of
        for slot in slots:
            at_places = (x if isinstance(x, Place) else x.place for x in slot if is_of_place(x))
            # Values are compared whatever is done with them.
            places = [x for x in at_places if not isinstance(x.value, (Tracer, *VALUES))]
            for place in places:
                self.escape(place)
                if at is None:
                    place.is_watched = place.is_read = True
            if places and at is not None:
                self.uses[at] = (*self.uses.get(at, ()), frozenset(places))

    def escape(self, place: Place) -> None:
        """Follow an object that is passed to code that is not looked at."""
        value = place.value
        if isinstance(value, types.ModuleType) and not self.is_library(value):
            self.refuse(f"the module {place} is used as an object, and anything may be read there",
                        str(place))  # fmt: skip
        if isinstance(value, GENERATORS):
            self.draw(str(place), value)
        if callable(value) and not isinstance(value, type):
            if isinstance(value, (types.FunctionType, types.MethodType)):
                self._assume(value)
            self.take((self.routines_of(value, place),), None)
        elif place.has_parts or parts(value, self.is_users_class):
            for inside in self.objects(place):
                if isinstance(inside, (types.FunctionType, types.MethodType)):
                    self._assume(inside)
                    self.take((self.routines_of(inside),), None)

    def _assume(self, value: types.FunctionType | types.MethodType) -> None:
        """Assume that a function of the user's which is passed on runs unseen, if it did not."""
        function: Any = getattr(value, "__func__", value)
        if not isinstance(function, types.FunctionType) or id(function.__code__) in self.codes:
            return
        if self.runs.is_users_code(function.__code__, function.__globals__):
            self._assume_all()

    def draw(self, name: str, value: Any) -> None:
        """Note that random numbers are drawn."""
        if self.is_executed:
            self.draws[name] = value

    def judge(self) -> None:
        """Say of every place whether it is read other than by recorded calls."""
        for at, slots in self.uses.items():
            owners: set[int] = set()
            operands = 0
            for slot in slots:
                found = [self.owners_of(x) for x in slot if isinstance(x, Place)]
                inside: set[int] = set().union(*found)
                owners |= inside
                is_one = all(
                    x.has_parts or isinstance(x.value, np.ndarray) or scipy.sparse.issparse(x.value)
                    for x in slot
                )
                operands += min(1, len(inside)) if is_one else len(inside)
            is_direct = operands and self.runs.always_takes(at, frozenset(owners), operands)
            for slot in slots:
                for place in slot:
                    place.is_watched = True
                    place.is_read |= not is_direct


def is_chainads(value: Any) -> bool:
    """Return whether an object is of a class of chainad's."""
    return type(value).__module__.startswith("chainad.")
