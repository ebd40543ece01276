"""The functions of the user's that ran: what their names may come from, and what calls pass on."""

from __future__ import annotations

import gc
import random
import types
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse

from chainad.frontends.captures.abstract_values import (
    NOTHING,
    CodeNames,
    Items,
    Routine,
    is_of_place,
)
from chainad.frontends.captures.code_runs import CodeRuns, Instruction
from chainad.frontends.captures.place_table import PlaceTable
from chainad.frontends.captures.places import (
    Place,
    attribute_of,
    is_plain_object,
    parts,
)

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
        # Whether code that is replayed may run, so that what runs does not tell all.
        self._has_replays = False

    def routines_of(self, value: Any, place: Place | None = None) -> Items:
        """Return the functions of the user's that a call of an object runs."""
        if isinstance(value, types.FunctionType):
            return frozenset({Routine(value.__code__)}) if self.register(value) else NOTHING
        if isinstance(value, types.MethodType):
            this = self.fixed(value.__self__, "self")
            return frozenset(
                Routine(x.code, x.this or this) for x in self.routines_of(value.__func__)
            )
        if type(value).__module__ == "functools" and hasattr(value, "func"):  # partial
            for inside in (*value.args, *value.keywords.values()):
                self.pass_on((self.fixed(inside, "an argument of partial"),))
            return self.routines_of(value.func)
        if isinstance(value, type):
            made = [value.__dict__.get(name) for name in ("__init__", "__new__", "__post_init__")]
            return frozenset().union(
                *(self.bound(x, NOTHING) for x in made if isinstance(x, types.FunctionType))
            )
        wrapped = getattr(value, "__wrapped__", None)
        if wrapped is not None and is_chainads(value):
            self.is_new |= not self._has_replays
            self._has_replays = True
            return self.routines_of(wrapped)
        call = attribute_of(value, "__call__") if is_plain_object(value) else ("", None)
        if call[0] == "function":
            this = frozenset({place}) if place is not None else self.fixed(value, "self")
            return self.bound(call[1], this)
        return self.routines_of(wrapped) if isinstance(wrapped, types.FunctionType) else NOTHING

    def bound(self, function: Any, this: Items) -> Items:
        return frozenset(Routine(x.code, this) for x in self.routines_of(function))

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
        if id(code) in self.runs.codes:
            return True
        return self._has_replays and self.runs.is_users(code, namespace)

    def names_of(self, code: types.CodeType, namespace: dict[str, Any]) -> CodeNames:
        found = self.codes.get(id(code))
        if found is None:
            found = self.codes[id(code)] = CodeNames(code, namespace)
            self.is_new = True
        return found

    def add(self, found: CodeNames, name: str, items: Items) -> None:
        items = frozenset(x for x in items if not isinstance(x, str))
        known = found.names.get(name, NOTHING)
        if not items <= known:
            found.names[name] = known | items
            self.is_new = True

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

    def enter(self, routines: Items, args: Sequence[Items], named: Mapping[str, Items]) -> Items:
        """Pass arguments to functions; return what they return."""
        result = NOTHING
        for routine in routines:
            found = self.codes.get(id(routine.code))
            if found is None:
                continue
            code = routine.code
            given = list(args) if routine.this is None else [routine.this, *args]
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
        for item in frozenset().union(*slots):
            if isinstance(item, Routine):
                found = self.codes.get(id(item.code))
                if found is not None and not found.is_callback:
                    found.is_callback, self.is_new = True, True
        places = tuple(
            frozenset(x if isinstance(x, Place) else x.place for x in slot if is_of_place(x))
            for slot in slots
        )
        for slot in places:
            for place in slot:
                self.escape(place)
        places = tuple(slot for slot in places if slot)
        if not places:
            return
        if at is None:
            for slot in places:
                for place in slot:
                    place.is_watched = place.is_read = True
        else:
            self.uses[at] = places

    def escape(self, place: Place) -> None:
        """Follow an object that is passed to code that is not looked at."""
        value = place.value
        if isinstance(value, types.ModuleType) and not self.is_library(value):
            self.refuse(f"the module {place} is used as an object, and anything may be read there",
                        str(place))  # fmt: skip
        if isinstance(value, GENERATORS):
            self.draws[str(place)] = value
        if callable(value) and not isinstance(value, type):
            for routine in self.routines_of(value, place):
                self.take((frozenset({routine}),), None)
        elif place.has_parts or parts(value, self.is_users_class):
            for inside in self.objects(place):
                if isinstance(inside, (types.FunctionType, types.MethodType)):
                    self.take((self.routines_of(inside),), None)

    def pass_on(self, slots: Sequence[Items]) -> None:
        self.take(slots, None)

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
