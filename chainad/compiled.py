"""Compiled functions: a Jacobian that is recorded once and replayed without tracing."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from threading import Lock
from typing import Any, NamedTuple, Protocol

import numpy as np

from chainad.backends.folded import Folded, multiplications_in
from chainad.backends.numpy import Runner
from chainad.backends.reuse import Reusing
from chainad.blocks import assembler, dtype_of, nesting, pairs
from chainad.chunked import ChunkedPlan
from chainad.errors import FallbackWarning, TraceError
from chainad.linearize import Linearized, linearize
from chainad.loops.replay import looped
from chainad.lowering.constants import split
from chainad.lowering.stacking import stacked
from chainad.options import Options
from chainad.plan import Plan
from chainad.prepared import Prepared, prepare
from chainad.program import Program
from chainad.replay.arguments import Array, Number, Several, take_apart
from chainad.replay.recording import Recording, finish
from chainad.replay.source import MISS, Replay, Wanted, build
from chainad.results import Dense, Form
from chainad.rules.base import RULES
from chainad.scalars.graph import MANY as LARGEST
from chainad.scalars.program import ScalarProgram, scalar_program
from chainad.scalars.replay import single
from chainad.scalars.table import NotScalarError
from chainad.tracing.record import Tracer, tracers_in
from chainad.tracing.recorded import Recorded as RecordedValue
from chainad.tracing.recorded import box_recorded
from chainad.tracing.script import Ref, Script, errstate, plain_of
from chainad.tracing.tape import recording
from chainad.tracing.trace import Run, as_input, tracing

# So many programs are kept; a function that still finds no fitting one is traced at each call.
MANY = 32

# So many are written as operations on single numbers: these hold the numbers of arrays from
# elsewhere and cost more to make, so a function that keeps changing is better off with NumPy.
FEW = 4

# Scalar operations that Python does in the time of one NumPy call.
LINES_PER_CALL = 12

# Numbers in local Jacobians per NumPy call beyond which no straight line is that short.
HOPELESS = 10 * LINES_PER_CALL

# Scalar operations up to which a straight line is written out unasked: it takes some milliseconds.
LONGEST = 4000

# Products of constant arrays are kept from call to call if they take more multiplications than it
# takes time to see, by comparing all numbers, that the arrays are still the same.
TO_COMPARE = 50_000
PER_NUMBER = 16

# Formulas of these rules are NumPy calls that may be recorded one by one; others run as they are.
_ROOMS = ("elementwise", "contraction", "movement", "reduction")
_OPEN = {f"chainad.rules.{room}" for room in _ROOMS}


class Differentiator(Protocol):
    """What is compiled: a `JacobianFunction`."""

    f: Callable[..., Any]
    verb: str
    how: Options

    def traced(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]: ...

    def hand_out(self, value: Any, jacobian: Any, out: Any, /) -> Any: ...


class Replayed(NamedTuple):
    """What replays a recorded run, its source, and the plan that it follows."""

    run: Replay
    source: str
    plan: Callable[[], Plan | ChunkedPlan]


class CompiledFunction:
    """A Jacobian that is replayed without tracing; made by `compile`."""

    def __init__(self, of: Differentiator) -> None:
        self._of = of
        self._replays: tuple[Replayed, ...] = ()
        self._lock = Lock()
        self._misses = 0
        self._gives_value = of.verb == "value_and_jacobian"

    def __repr__(self) -> str:
        return f"{self._of!r}.compile()"

    def __call__(self, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        replays = self._replays
        if out is None and replays and not self._misses:
            # The usual call, in as few steps as there can be: most of these take microseconds.
            try:
                found = replays[0][0](args, kwargs)
            except Exception:
                found = self._of.traced(args, kwargs)
            if found is not MISS:
                return found if self._gives_value else found[1]
        return self._of.hand_out(*self.both(args, kwargs, out), out)

    def both(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any = None
    ) -> tuple[Any, Any]:
        """Return what the function returns (None if it is not asked for), and its Jacobian.

        That is `out` itself if it could be written there directly.
        """
        # A function that goes another way each time is not looked up any more, but traced.
        found = MISS if self._misses > MANY else self._find(args, kwargs, out)
        value, jacobian = self._miss(args, kwargs) if found is MISS else found
        return value, jacobian

    @property
    def source(self) -> str:
        """The source of the program that was used last."""
        return self._replays[0].source if self._replays else ""

    @property
    def plan(self) -> Plan | ChunkedPlan | None:
        """The plan of the program that was used last; None if there is no program yet.

        Of a program on single numbers it is a plan on the graph of these: the program does what it
        says, but makes products that several entries have in common once.
        """
        return self._replays[0].plan() if self._replays else None

    @property
    def programs(self) -> int:
        """How many programs were recorded: one for each shape and each branch met so far."""
        return len(self._replays)

    def recompile(self) -> None:
        """Forget what was recorded; the next call records anew."""
        with self._lock:
            self._replays, self._misses = (), 0

    def _find(self, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any = None) -> Any:
        replays = self._replays
        for k, replayed in enumerate(replays):
            try:
                found = replayed.run(args, kwargs, out)
            except Exception:
                # It is the function's own, in its own line: let that raise it, or do otherwise.
                return self._of.traced(args, kwargs)
            if found is not MISS:
                self._misses = 0
                if k:
                    self._prefer(replayed)
                return found
        return MISS

    def _prefer(self, replayed: Replayed) -> None:
        with self._lock:
            others = (each for each in self._replays if each is not replayed)
            self._replays = (replayed, *others)

    def _miss(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._misses > MANY or any(True for _ in tracers_in((args, kwargs))):
            return self._of.traced(args, kwargs)
        checked = self._checked(args)
        if any(a is not b for a, b in zip(checked, args, strict=True)):
            found = self._find(checked, kwargs)
            if found is not MISS:
                return found
        if len(self._replays) >= MANY:
            self._misses += 1
            return self._of.traced(args, kwargs)
        replayed = record(self._of, checked, kwargs, len(self._replays) < FEW)
        with self._lock:
            self._replays = (replayed, *self._replays)
        found = replayed.run(checked, kwargs)
        # A function that reads random numbers or counts its calls may find no program of its own.
        return self._of.traced(args, kwargs) if found is MISS else found

    def _checked(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the arguments, those to differentiate by as plain arrays of floats."""
        checked = list(args)
        for k in self._of.how.positions(len(args)):
            value = as_input(args[k], k)
            is_plain = type(value) is np.ndarray or isinstance(value, np.generic)
            checked[k] = value if is_plain else np.asarray(value)
        return tuple(checked)


@contextmanager
def _recording(script: Script) -> Iterator[None]:
    before = getattr(recording, "script", None)
    recording.script = script
    try:
        yield
    finally:
        recording.script = before
        script.close()


@dataclass(frozen=True)
class Recorded:
    """A run that was recorded: what it did, and what to make of the results.

    `nodes` are the values of the calls of the function, by number; `prepared` is the program on the
    numbers of the local Jacobians, and `blocks` makes the Jacobians of its results (None where
    single numbers are to do that); `nested` arranges Jacobians; `scalars` tells which outputs are
    NumPy scalars, `kinds` and `shapes` are those of all outputs, and of all blocks; `title` is what
    reports call the function.
    """

    recording: Recording
    linearized: Linearized
    prepared: Prepared | None
    blocks: Callable[[Any], Any] | None
    nodes: tuple[Any, ...]
    nested: Callable[[Sequence[Any]], Any]
    is_tuple: bool
    scalars: tuple[bool, ...]
    kinds: tuple[np.dtype[Any], ...]
    block_kinds: tuple[np.dtype[Any], ...]
    shapes: tuple[tuple[int, ...], ...]
    block_shapes: tuple[tuple[int, ...], ...]
    title: str


def record(
    of: Differentiator, args: tuple[Any, ...], kwargs: dict[str, Any], may_be_scalars: bool = True
) -> Replayed:
    """Run a function, and return what replays it."""
    wants_value = of.verb == "value_and_jacobian"
    by_machine = may_be_scalars and of.how.backend == "numba"
    if may_be_scalars and of.how.backend != "numpy" and of.how.output == "dense":
        try:
            return _as_scalars(of, recorded(of, args, kwargs, as_scalars=True), wants_value)
        except NotScalarError as error:
            if not by_machine:
                warn_of_fallback(of.how.backend, error)
    found = recorded(of, args, kwargs)
    if by_machine:
        try:
            return _as_loops(of, found, wants_value)
        except NotScalarError as error:
            warn_of_fallback(of.how.backend, error)
    prepared, blocks = found.prepared, found.blocks
    assert prepared is not None
    assert blocks is not None
    if prepared.program is None:
        wanted = Wanted(wants_value, found.is_tuple, _ignoring(prepared.run), blocks, _no_buffers)
    else:
        run_into = _runner(prepared.program, found.recording)
        buffers = _no_buffers if wants_value else _buffers(of, found, prepared.forms)
        wanted = Wanted(wants_value, found.is_tuple, run_into, blocks, buffers)
    return Replayed(*build(found.recording, wanted), planned(found))


def planned(found: Recorded) -> Callable[[], Plan | ChunkedPlan]:
    """Return what gives the plan that a run on arrays follows."""
    assert found.prepared is not None
    plan = found.prepared.plan
    return lambda: replace(plan, title=found.title)


def planned_singly(
    of: Differentiator, found: Recorded, program: ScalarProgram
) -> Callable[[], Plan | ChunkedPlan]:
    """Return what gives the plan that a program on single numbers follows."""
    asked = f"mode={of.how.mode!r}, on single numbers"
    return lambda: replace(program.plan(), title=found.title, asked=asked)


def _runner(program: Program, recording: Recording) -> Callable[[Sequence[Any], Any], Any]:
    """Return what runs a program: apart from the rest, what follows from constants alone."""
    same = _same(recording.slots)
    watched = _watched(recording)
    fixed = {k: slot for k, slot in enumerate(recording.slots) if _is_number(slot)}
    known: list[Any] = [_constant(slot, recording) for slot in recording.slots]
    parts = split(program, [k for k, value in enumerate(known) if value is not None])
    read = sum(int(np.size(known[k])) for k in parts.once.used_slots)
    if multiplications_in(parts.once, known) <= TO_COMPARE + PER_NUMBER * read:
        return Reusing(program, partial(stacked, same=same), fixed, watched).trusting
    same += range(len(same), parts.per_call.n_slots)
    per_call = Reusing(parts.per_call, partial(stacked, same=same), fixed, watched)
    return Folded(parts.once, per_call.trusting)


def _watched(recording: Recording) -> list[int]:
    """Return one slot for every array that may lie in memory that a user can name."""
    # What a ufunc returns is nobody's but the call's.
    made = {step.number for step in recording.steps if isinstance(step.function, np.ufunc)}
    found: dict[Any, int] = {}
    for k, slot in enumerate(recording.slots):
        if slot is not None and not (isinstance(slot, Ref) and slot.number in made):
            found.setdefault(_identity(slot), k)
    return [*found.values()]


def _constant(slot: Any, recording: Recording) -> Any:
    """Return the array of a slot if it is the same one at every call, else None."""
    return recording.constants.get(slot.number) if isinstance(slot, Ref) else slot


def _same(slots: Sequence[Any]) -> list[int]:
    """Return, for every slot, the first one that always holds the very same array."""
    first: dict[Any, int] = {}
    return [first.setdefault(_identity(slot), k) for k, slot in enumerate(slots)]


def _is_number(slot: Any) -> bool:
    """Return whether a slot is a number from the source.

    Arrays of the user's that hold one are recorded values.
    """
    return isinstance(slot, (np.generic, np.ndarray)) and slot.shape == ()


def _identity(slot: Any) -> Any:
    if isinstance(slot, Ref):
        return slot.number
    if _is_number(slot):
        return slot.dtype, slot.tobytes()
    return "object", id(slot)


def _ignoring(run: Runner) -> Callable[[Sequence[Any], Any], Any]:
    return lambda slots, out: run(slots)


def _buffers(
    of: Differentiator, found: Recorded, forms: Sequence[Form | None]
) -> Callable[[Any], list[Any] | None]:
    """Return what tells whether a result can be written into the user's `out` at once."""
    if len(forms) != 1 or not of.how.is_single or found.is_tuple:
        return _no_buffers
    (form,) = forms
    if not isinstance(form, Dense):
        return _no_buffers
    return partial(_fitting, form.shape, found.kinds[0])


def _no_buffers(out: Any) -> None:
    """Take results as they are made; several, or other than dense ones, are copied afterwards."""


def _fitting(shape: tuple[int, ...], dtype: np.dtype[Any], out: Any) -> list[Any] | None:
    """Return the buffer for the one result, unless it does not fit and is to be refused."""
    is_array = type(out) is np.ndarray and out.flags.writeable
    return [out] if is_array and (out.shape, out.dtype) == (shape, dtype) else None


def _as_scalars(of: Differentiator, found: Recorded, wants_value: bool) -> Replayed:
    """Return a replay on single numbers, if that is what was asked for, or quicker."""
    slots = [slot for slot in found.recording.slots if slot is not None]
    calls = len(found.recording.steps) + len(slots)
    most = inf
    if of.how.backend == "auto":
        most = min(LONGEST, LINES_PER_CALL * calls)
        graph = found.linearized.graph
        local = sum(edge.structure.count for edge in graph.edges)
        if local > HOPELESS * calls:  # writing it all out would take seconds, for nothing
            raise NotScalarError("operations on whole arrays are quicker")
    elif of.how.backend == "numba":  # beyond this, loops take a compiler less time
        most = LONGEST
    program = as_program(of, found, wants_value, most)
    straight, backend = program.straight, of.how.backend
    if backend == "auto":
        if len(straight.lines) > LINES_PER_CALL * calls:
            raise NotScalarError("operations on whole arrays are quicker")
        backend = "python"
    how = backend, found.scalars, found.nested, found.is_tuple
    return Replayed(*single(found.recording, program, *how), planned_singly(of, found, program))


def _as_loops(of: Differentiator, found: Recorded, wants_value: bool) -> Replayed:
    """Return a replay by loops over numbers; raise NotScalarError if that is no good."""
    prepared, blocks = found.prepared, found.blocks
    assert prepared is not None
    assert blocks is not None
    if prepared.program is None:
        raise NotScalarError("memory_limit= is for operations on whole arrays")
    if {*found.kinds, *found.block_kinds} != {np.dtype(float)}:
        raise NotScalarError("the numbers are of several dtypes")
    buffers = _no_buffers if wants_value else _buffers(of, found, prepared.forms)
    wanted = Wanted(wants_value, found.is_tuple, _ignoring(prepared.run), blocks, buffers)
    return Replayed(
        *looped(found.recording, prepared.program, wanted, found.scalars), planned(found)
    )


def as_program(
    of: Differentiator, found: Recorded, wants_value: bool, most: float = inf
) -> ScalarProgram:
    """Return a recorded run as operations on single numbers; raise NotScalarError if it is not."""
    if of.how.limit is not None:
        raise NotScalarError("memory_limit= is for operations on whole arrays")
    dtypes = set(found.kinds)
    parts = found.recording, found.linearized, found.nodes
    program = scalar_program(*parts, of.how.mode, wants_value, most)
    if dtypes - {program.dtype}:
        raise NotScalarError("the outputs are of several dtypes")
    return program


def warn_of_fallback(backend: str, error: NotScalarError) -> None:
    """Say that a backend that was asked for cannot do it, so that NumPy does."""
    if backend != "auto":
        warnings.warn(
            f"backend={backend!r} cannot run this function: {error}; NumPy runs it instead",
            FallbackWarning,
            stacklevel=5,
        )


def recorded(
    of: Differentiator, args: tuple[Any, ...], kwargs: dict[str, Any], as_scalars: bool = False
) -> Recorded:
    """Run a function once, and return what it did.

    With `as_scalars` nothing is planned, and what is too large for single numbers is refused by
    NotScalarError.
    """
    script = Script(box_recorded)
    ambient = errstate()

    def flow(value: Any) -> tuple[int, Any]:
        recorded = script.input(value)
        return recorded.number, recorded

    with _recording(script):
        positional, boxed = take_apart(args, flow)
        named, boxed_kwargs = take_apart(kwargs, flow)
        assert isinstance(positional, Several)
        assert isinstance(named, Several)
        places = of.how.positions(len(args))
        assert all(isinstance(positional.items[k][1], (Array, Number)) for k in places)
        f = of.f
        with tracing(lambda *a: f(*a, **boxed_kwargs), boxed, places) as run:
            _check_failure(script)
            formulas = len(script.entries)
            prepared = None if as_scalars else prepare(run, of.how)
            linearized = _linearized(run) if prepared is None else prepared.linearized
            used = None if prepared is None else {*prepared.used_slots}
            slots = _slots(script, run, linearized, used)
            values = tuple(_value(script, value) for value in run.values)
            blocks = (
                None
                if prepared is None
                else assembler(run, prepared.forms, of.how.output, of.how.is_single)
            )
            nodes = tuple([_node(entry.value) for entry in run.tape.entries])
        found = finish(script, (positional, named), values, slots, ambient, formulas)
    return Recorded(
        found,
        linearized,
        prepared,
        blocks,
        nodes,
        nesting(run, of.how.is_single),
        run.is_tuple,
        tuple(isinstance(_plain(value), np.generic) for value in run.values),
        tuple(value.dtype for value in run.values),
        tuple(dtype_of(run, o, i) for o, i in pairs(run)),
        tuple(np.shape(value) for value in run.values),
        tuple((*np.shape(run.values[o]), *np.shape(run.input(i))) for o, i in pairs(run)),
        of.how.title(of.f, len(args)),
    )


def _linearized(run: Run) -> Linearized:
    if sum(int(np.size(entry.value)) for entry in run.tape.entries) > LARGEST:
        raise NotScalarError(f"there are more than {LARGEST} numbers")
    return linearize(run.graph(), where=run.tape.where)


def _node(value: Any) -> Any:
    is_open = isinstance(value, RecordedValue) and value.tape.is_open
    return Ref(value.number) if is_open else plain_of(value)


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, RecordedValue) else value


def _check_failure(script: Script) -> None:
    if script.failure is not None:
        raise TraceError(
            f"the function caught {script.failure!r}, which depends on numbers, so that it cannot"
            " be replayed; call chainad.jacobian(f) instead"
        ) from script.failure


def _value(script: Script, value: Any) -> Ref:
    if not isinstance(value, RecordedValue) or value.tape is not script:
        value = script.constant(np.asarray(plain_of(value)))
    return Ref(value.number)


def _slots(
    script: Script, run: Run, linearized: Linearized, used: set[int] | None
) -> tuple[Any, ...]:
    """Record the formulas of the local Jacobians that are needed; None stands for all."""
    slots: list[Any] = []
    with np.errstate(all="ignore"):
        for k, recipe in enumerate(linearized.recipes):
            if recipe.formula is None or (used is not None and k not in used):
                slots.append(None)
                continue
            entry = run.tape.entries[recipe.node]
            values = (entry.value, *entry.operands)
            if linearized.graph.edges[k].structure.action or not _is_open(entry, values):
                slots.append(Ref(script.opaque(recipe.formula, values)[0]))
                continue
            slot = recipe.formula(*values)
            if isinstance(slot, Tracer):
                slot = Ref(slot.number) if slot.tape is script else plain_of(slot)
            elif not hasattr(slot, "shape"):
                slot = entry.value.dtype.type(slot)
            slots.append(slot)
    return tuple(slots)


def _is_open(entry: Any, values: Sequence[Any]) -> bool:
    """Return whether a formula is made of NumPy calls that mean the same one by one."""
    is_real = all(getattr(x, "dtype", np.dtype(float)).kind != "c" for x in values)
    return is_real and getattr(RULES[entry.function].locals, "__module__", "") in _OPEN
