"""The recorder: every call on plain arrays while a function is compiled, and the guards on it.

A recorder lies below the tapes that differentiate. Its values stand for plain arrays: they flow as
data from call to call, whatever the function, and need no derivative. Whatever concretizes one
(`if`, `int`, an index, code outside NumPy) gets a concrete value, and leaves a guard: a replay
compares its own value with that one, and must not go on where they differ.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainad.errors import TraceError
from chainad.frontends.captures.code_runs import CodeRuns
from chainad.frontends.numpy.made_arrays import settle
from chainad.frontends.numpy.packing import pack
from chainad.frontends.numpy.tape import Entry, Tape
from chainad.frontends.numpy.tracers import Tracer, has_tracer
from chainad.ir.array_functions import is_ndarray
from chainad.ir.calls import Guard, GuardKind, Input, fill, has_inputs, map_items
from chainad.ir.graph import identity
from chainad.ir.operators import written_as
from chainad.ir.source_lines import here, raw_site
from chainad.rules.base import CONSTANT, RULES, WRITERS
from chainad.rules.kinds import ShapeQuery
from chainad.rules.movement import set_items


@dataclass(frozen=True, slots=True)
class Static:
    """An array of the user's that shaped the structure, and the entries it had then."""

    array: np.ndarray[Any, Any]
    entries: np.ndarray[Any, Any]


# Stands for an entry that was merged into a later one.
_REMOVED = Entry(identity, None, (), (), np.float64(0), None, None)


def errstate() -> tuple[str, ...]:
    """Return the state of np.errstate: what divide, over, under and invalid do."""
    return tuple(map(str, np.geterr().values()))


@written_as("{0}[{1}]")
def pick(values: Any, k: int) -> Any:
    """Return one of several results of a call."""
    return values[k]


@written_as("{0}")  # nothing writes into recorded values
def gradient_stopped(x: Any) -> Any:
    """Return a copy of x; what `stop_gradient` records."""
    return np.array(x) if isinstance(x, np.ndarray) else x


class Recorder(Tape):
    """Calls on plain arrays in their order, inputs first, and the guards between them.

    Of an entry, `template` holds arguments with an `Input` for every recorded value, and `key` the
    state of np.errstate it ran in. The entry of a guard has the guard as its `value`.
    """

    is_recorder = True

    def __init__(self, box: Callable[..., Any], carries_masks: bool = False) -> None:
        super().__init__(box)
        # Whether Jacobians made meanwhile carry masks of exact zeros, and whether some should.
        self.carries_masks, self.has_exact_zeros = carries_masks, False
        self.statics: list[Static] = []
        # Arrays that the function took from elsewhere: by entry, the array itself.
        self.references: dict[int, np.ndarray[Any, Any]] = {}
        self.failure: BaseException | None = None
        # Notes which of the user's instructions take arrays by reference.
        self.runs = CodeRuns()
        self._known: dict[int, int] = {}
        self._frozen: dict[int, np.ndarray[Any, Any]] = {}
        self._guarded: set[tuple[str, int]] = set()

    # --------------------------------------------------------------- values

    def input(self, value: Any) -> Any:
        """Return the recorded value of an argument."""
        if is_ndarray(value):
            value = value.copy()
        return self.box(value, self, self.append_input(value))

    def constant(self, array: np.ndarray[Any, Any]) -> Any:
        """Return the recorded value of an array that is no argument; it is kept by reference."""
        self.runs.take(array)
        number = self._known.get(id(array))
        if number is None or not _same(self.entries[number].value, array):
            value = self.keep(array)
            number = self.append(Entry(identity, None, (), (), value, None, None))
            self.references[number] = self._known_array(array, number)
        return self.box(self.entries[number].value, self, number)

    def _known_array(self, array: np.ndarray[Any, Any], number: int) -> np.ndarray[Any, Any]:
        # It is kept, so that no other array gets its id.
        self._known[id(array)] = number
        return array

    def flowing(self, value: Any) -> Any:
        """Return arguments with recorded values in the places of plain arrays of floats."""
        if is_ndarray(value) and value.dtype.kind in "fc":
            return self.constant(value)
        if is_ndarray(value) and value.dtype != object:
            self.runs.read()
        return map_items(self.flowing, value)

    def static(self, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return a copy of an array that shapes the structure."""
        self.runs.take(array)
        entries = array.copy(order="K")
        self.statics.append(Static(array, entries))
        self._frozen[id(entries)] = entries
        return entries

    def is_frozen(self, array: np.ndarray[Any, Any]) -> bool:
        """Return whether an array is a copy that `static` has made."""
        return id(array) in self._frozen

    def changed(self, number: int) -> bool:
        """Return whether the function wrote into an array after it had used it."""
        return not _same(self.entries[number].value, self.references[number])

    # --------------------------------------------------------------- guards

    def concretize(self, value: Tracer) -> Any:
        """Return a copy of the concrete value, guarded: each replay compares it."""
        self._guard("numbers", value.number)
        plain = value.value
        return plain.copy(order="K") if isinstance(plain, np.ndarray) else plain

    def truth(self, value: Tracer) -> bool:
        """Return whether a recorded value is true; guarded."""
        found = bool(value.value)
        self._guard("truth", value.number)
        return found

    def _guard(self, kind: GuardKind, number: int) -> None:
        if not self.is_open or (kind, number) in self._guarded:
            return
        self._guarded.add((kind, number))
        value = self.entries[number].value
        guard = Guard(kind, bool(value) if kind == "truth" else value, raw_site())
        self.append(Entry(identity, None, (number,), (value,), guard, None, None))

    # ---------------------------------------------------------------- calls

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Any) -> Any:
        """Call a function of NumPy's (or of ours that NumPy dispatches) on recorded values."""
        if not self.is_open or isinstance(CONSTANT.get(function), ShapeQuery):
            return function(*_plain(args), **_plain(kwargs))
        if function in WRITERS or kwargs.get("out") is not None or _has_callable(args):
            return function(*self.concretize_all(args), **self.concretize_all(kwargs))
        arguments = _Arguments(self)
        positional, named = arguments.to_template(args), arguments.to_template(kwargs)
        plain_args, plain_kwargs = arguments.fill(positional), arguments.fill(named)
        value = self._run(function, plain_args, plain_kwargs)
        if type(value) in (bool, int, float):  # a Python number cannot be recorded
            number = self.append(self._entry(function, (positional, named), arguments, value))
            self._guard("equal", number)
            return value
        if _is_other(value):
            return function(*self.concretize_all(args), **self.concretize_all(kwargs))
        is_shape_known = _is_shape_known(function, positional, named)
        return self._append(
            function, (positional, named), arguments, value, is_shape_known, (args, kwargs)
        )

    def merge_write(self, target: Tracer, key: Any, value: Any) -> bool:
        """Merge a write with the one that made `target`, unless something has read that."""
        old = self.entries[target.number]
        if old.function is not set_items or old.key != errstate() or not self.is_open:
            return False
        is_read = any(target.number in each.sources for each in self.entries[target.number + 1 :])
        if is_read or target.number in self.pinned:
            return False
        arguments = _Arguments(self, old.sources, old.operands)
        (start, keys, values), _ = old.template or ((), {})
        at, new = arguments.to_template(key), arguments.to_template(value)
        template = (start, (*keys, at), [*values, new])
        old.value[arguments.fill(at)] = arguments.fill(new)
        self.entries[target.number] = _REMOVED
        entry = self._entry(set_items, (template, {}), arguments, old.value)
        target.number = self.append(entry)
        return True

    def opaque(self, function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[int, Any]:
        """Record a call that runs on plain arrays as it is; return its entry and its result."""
        arguments = _Arguments(self)
        template = arguments.to_template(args)
        value = self._run(function, arguments.fill(template), {})
        entry = self._entry(function, (template, {}), arguments, value)
        return self.append(entry), value

    def _run(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        try:
            return settle(function(*args, **kwargs))  # a primitive may make arrays
        except (TypeError, IndexError):  # of shapes, not of numbers
            raise
        except Exception as error:
            # If the function catches it, what it does next depends on the values.
            self.failure = error
            raise

    def _entry(
        self, function: Callable[..., Any], template: Any, arguments: _Arguments, value: Any
    ) -> Entry:
        state = errstate()
        sources, operands = tuple(arguments.numbers), tuple(arguments.values)
        return Entry(function, template, sources, operands, value, state, raw_site())

    def _append(
        self,
        function: Callable[..., Any],
        template: Any,
        arguments: _Arguments,
        value: Any,
        is_shape_known: bool,
        made: tuple[Any, Any],
    ) -> Any:
        number = self.append(self._entry(function, template, arguments, value))
        if isinstance(value, (np.ndarray, np.generic)):
            if not is_shape_known:
                self._guard("shape", number)
            return self.box(value, self, number, (function, *made))
        items = []
        for k, item in enumerate(value):
            one = Entry(pick, ((Input(0), k), {}), (number,), (value,), item, None, None)
            place = self.append(one)
            self._guard("shape", place)
            items.append(self.box(item, self, place))
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)

    def concretize_all(self, value: Any) -> Any:
        """Return arguments with concrete values in the places of recorded ones."""
        if isinstance(value, Tracer):
            return self.concretize(value) if value.tape is self else _concrete_value(value)
        return map_items(self.concretize_all, value)


class _Arguments:
    """The arguments of a call, taken apart into recorded values and what is static.

    It may start with the values of an earlier call.
    """

    def __init__(
        self, recorder: Recorder, numbers: Sequence[int | None] = (), values: Sequence[Any] = ()
    ) -> None:
        self.recorder = recorder
        self.numbers = [*numbers]
        self.values = [*values]

    def to_template(self, value: Any) -> Any:
        """Return `value` with an `Input` in the place of every array and recorded value."""
        if isinstance(value, Tracer):
            if value.tape is self.recorder:
                return self._input(value)
            return self.to_template(_concrete_value(value))
        if isinstance(value, np.ndarray):
            if value.dtype == object and has_tracer(value):
                return self.to_template(pack(value))
            is_frozen = self.recorder.is_frozen(value)
            return value if is_frozen else self._input(self.recorder.constant(value))
        if isinstance(value, slice):
            return slice(*(_index(x) for x in (value.start, value.stop, value.step)))
        return map_items(self.to_template, value)

    def _input(self, value: Tracer) -> Input:
        self.numbers.append(value.number)
        self.values.append(value.value)
        return Input(len(self.values) - 1)

    def fill(self, template: Any) -> Any:
        """Return a template with concrete values in the places of its inputs."""
        return fill(template, self.values)


def _index(value: Any) -> Any:
    is_recorded: Any = isinstance(value, Tracer)
    return operator.index(value) if is_recorded else value


def concrete_value(value: Any) -> Any:
    """Return a value, or the concrete one behind that of an earlier recorder."""
    return _concrete_value(value) if isinstance(value, Tracer) else value


def _concrete_value(value: Tracer) -> Any:
    """Return the concrete value behind one of an earlier recorder; refuse any other."""
    if value.tape.is_open:
        raise TraceError(
            f"{here()}a compiled function uses a traced value that is not among its arguments, and"
            " the derivative would be lost; make it an argument, or call chainad.jacobian(f)"
        )
    if not value.tape.is_recorder:
        raise TraceError(
            f"{here()}a traced value was used after its function had returned; return it from the"
            " function, or keep chainad.stop_gradient(x) instead"
        )
    return value.value


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Tracer) else map_items(_plain, value)


def _has_callable(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_has_callable, value))
    return callable(value) and not isinstance(value, (type, Tracer))


def _is_other(value: Any) -> bool:
    """Return whether a result is neither an array nor several of these."""
    if isinstance(value, (list, tuple)):
        return not value or any(map(_is_other, value))
    return not isinstance(value, (np.ndarray, np.generic)) or value.dtype == object


def _is_shape_known(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Any) -> bool:
    """Return whether shape and dtype of a result follow from those of the recorded values."""
    is_ufunc = isinstance(function, np.ufunc)
    if is_ufunc or function is gradient_stopped or CONSTANT.get(function) is not None:
        return True
    rule = RULES.get(function)
    if rule is None or has_inputs(kwargs):
        return False
    places = [k for k, value in enumerate(args) if has_inputs(value)]
    return all(rule.is_operand(k, len(args)) for k in places)


def _same(one: np.ndarray[Any, Any], two: np.ndarray[Any, Any]) -> bool:
    if one is two:
        return True
    if one.shape != two.shape or one.dtype != two.dtype:
        return False
    if one.dtype == object:
        return all(a is b for a, b in zip(one.flat, two.flat, strict=True))
    return one.tobytes() == two.tobytes()


def is_shared(static: Static) -> bool:
    """Return whether anyone but a recorder holds an array, or the array that it is a view of."""
    return static.array.base is not None or _reference_count(static) > _REFERENCES_IF_UNSHARED


def _reference_count(static: Static) -> int:
    return sys.getrefcount(static.array)


# The reference count of an array that only its `Static` refers to.
_REFERENCES_IF_UNSHARED = _reference_count(Static(np.empty(0), np.empty(0)))
