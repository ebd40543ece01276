"""One run of a function, recorded: what it did, and the formulas of its local Jacobians."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from chainad.api.options import Options
from chainad.api.outputs import assembler, dtype_of, nesting, pairs
from chainad.api.prepared import Prepared, prepare
from chainad.compiler.linearize import Linearized, linear_graph
from chainad.compiler.recording.arguments import (
    ArraySpec,
    ContainerSpec,
    ScalarSpec,
    record_argument,
)
from chainad.compiler.recording.recording import Recording, finish_recording
from chainad.compiler.scalar.scalarize import MAX_SCALARS
from chainad.errors import TraceError
from chainad.frontends.numpy.recorded_values import RecordedValue, box_recorded
from chainad.frontends.numpy.recorder import Recorder, Ref, concrete_value, errstate
from chainad.frontends.numpy.tape import active
from chainad.frontends.numpy.trace import Run, tracing
from chainad.frontends.numpy.traced_calls import Tracer
from chainad.ir.scalar_graph import NotScalarError
from chainad.rules.base import RULES

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


def recorded(
    of: Differentiator, args: tuple[Any, ...], kwargs: dict[str, Any], as_scalars: bool = False
) -> Recorded:
    """Run a function once, and return what it did.

    With `as_scalars` nothing is planned, and what is too large for single numbers is refused by
    NotScalarError.
    """
    recorder = Recorder(box_recorded)
    ambient = errstate()

    def flow(value: Any) -> tuple[int, Any]:
        recorded = recorder.input(value)
        return recorded.number, recorded

    with _recording(recorder):
        positional, boxed = record_argument(args, flow)
        named, boxed_kwargs = record_argument(kwargs, flow)
        assert isinstance(positional, ContainerSpec)
        assert isinstance(named, ContainerSpec)
        places = of.how.positions(len(args))
        assert all(isinstance(positional.items[k][1], (ArraySpec, ScalarSpec)) for k in places)
        f = of.f
        with tracing(lambda *a: f(*a, **boxed_kwargs), boxed, places) as run:
            _check_failure(recorder)
            formulas = len(recorder.entries)
            prepared = None if as_scalars else prepare(run, of.how)
            linearized = _linearized(run) if prepared is None else prepared.linearized
            used = None if prepared is None else {*prepared.used_slots}
            slots = _slots(recorder, run, linearized, used)
            values = tuple(_value(recorder, value) for value in run.values)
            blocks = (
                None
                if prepared is None
                else assembler(run, prepared.forms, of.how.output, of.how.is_single)
            )
            nodes = tuple([_node(entry.value) for entry in run.tape.entries])
        found = finish_recording(recorder, (positional, named), values, slots, ambient, formulas)
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


@contextmanager
def _recording(recorder: Recorder) -> Iterator[None]:
    before = getattr(active, "recorder", None)
    active.recorder = recorder
    try:
        yield
    finally:
        active.recorder = before
        recorder.close()


def _linearized(run: Run) -> Linearized:
    if sum(int(np.size(entry.value)) for entry in run.tape.entries) > MAX_SCALARS:
        raise NotScalarError(f"there are more than {MAX_SCALARS} numbers")
    return linear_graph(run.graph(), where=run.tape.where)


def _node(value: Any) -> Any:
    is_open = isinstance(value, RecordedValue) and value.tape.is_open
    return Ref(value.number) if is_open else concrete_value(value)


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, RecordedValue) else value


def _check_failure(recorder: Recorder) -> None:
    if recorder.failure is not None:
        raise TraceError(
            f"the function caught {recorder.failure!r}, which depends on numbers, so that it cannot"
            " be replayed; call chainad.jacobian(f) instead"
        ) from recorder.failure


def _value(recorder: Recorder, value: Any) -> Ref:
    if not isinstance(value, RecordedValue) or value.tape is not recorder:
        value = recorder.constant(np.asarray(concrete_value(value)))
    return Ref(value.number)


def _slots(
    recorder: Recorder, run: Run, linearized: Linearized, used: set[int] | None
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
                slots.append(Ref(recorder.opaque(recipe.formula, values)[0]))
                continue
            slot = recipe.formula(*values)
            if isinstance(slot, Tracer):
                slot = Ref(slot.number) if slot.tape is recorder else concrete_value(slot)
            elif not hasattr(slot, "shape"):
                slot = entry.value.dtype.type(slot)
            slots.append(slot)
    return tuple(slots)


def _is_open(entry: Any, values: Sequence[Any]) -> bool:
    """Return whether a formula is made of NumPy calls that mean the same one by one."""
    is_real = all(getattr(x, "dtype", np.dtype(float)).kind != "c" for x in values)
    return is_real and getattr(RULES[entry.function].locals, "__module__", "") in _OPEN
