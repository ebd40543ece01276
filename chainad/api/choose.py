"""From a recorded run to what replays it: single numbers, loops, or calls of NumPy."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any, NamedTuple

import numpy as np

from chainad.api.recorded import Differentiator, Recorded, recorded
from chainad.backends.numpy.buffers import PreallocatedProgram
from chainad.backends.numpy.build import Runner
from chainad.backends.numpy.hoist import HoistedProgram, multiplications_in
from chainad.compiler.loops.replay_loops import replay_by_loops
from chainad.compiler.passes.constant_hoisting import hoist_constants
from chainad.compiler.recording.recording import Recording
from chainad.compiler.recording.replay import Replay, RequestedOutput, build_replay
from chainad.compiler.scalar.lower_to_scalars import LoweredScalars, lower_to_scalars
from chainad.compiler.scalar.replay_scalar import replay_by_scalars
from chainad.compiler.stacking.stack_program import stack_isomorphic
from chainad.errors import FallbackWarning
from chainad.frontends.numpy.recorder import Ref
from chainad.ir.program import Program
from chainad.ir.scalar_graph import NotScalarError
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.plan import Plan
from chainad.structure.results import DenseForm, ResultForm

# Scalar operations that Python does in the time of one NumPy call.
LINES_PER_CALL = 12

# Numbers in local Jacobians per NumPy call beyond which no scalar program is that short.
HOPELESS = 10 * LINES_PER_CALL

# Scalar operations up to which a scalar program is built unasked: it takes some milliseconds.
LONGEST = 4000

# Products of constant arrays are kept from call to call if they take more multiplications than it
# takes time to see, by comparing all numbers, that the arrays are still the same.
TO_COMPARE = 50_000

PER_NUMBER = 16


class Replayed(NamedTuple):
    """What replays a recorded run, its source, and the plan that it follows."""

    run: Replay
    source: str
    plan: Callable[[], Plan | ChunkedPlan]


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
        wanted = RequestedOutput(
            wants_value, found.is_tuple, _ignoring(prepared.run), blocks, _no_buffers
        )
    else:
        run_into = _runner(prepared.program, found.recording)
        buffers = _no_buffers if wants_value else _buffers(of, found, prepared.forms)
        wanted = RequestedOutput(wants_value, found.is_tuple, run_into, blocks, buffers)
    return Replayed(*build_replay(found.recording, wanted), planned(found))


def planned(found: Recorded) -> Callable[[], Plan | ChunkedPlan]:
    """Return what gives the plan that a run on arrays follows."""
    assert found.prepared is not None
    plan = found.prepared.plan
    return lambda: replace(plan, title=found.title)


def planned_singly(
    of: Differentiator, found: Recorded, program: LoweredScalars
) -> Callable[[], Plan | ChunkedPlan]:
    """Return what gives the plan that a program on single numbers follows."""
    requested = f"mode={of.how.mode!r}, on single numbers"
    return lambda: replace(program.plan(), title=found.title, requested=requested)


def _runner(program: Program, recording: Recording) -> Callable[[Sequence[Any], Any], Any]:
    """Return what runs a program: apart from the rest, what follows from constants alone."""
    same = _same(recording.slots)
    watched = _watched(recording)
    fixed = {k: slot for k, slot in enumerate(recording.slots) if _is_number(slot)}
    known: list[Any] = [_constant(slot, recording) for slot in recording.slots]
    parts = hoist_constants(program, [k for k, value in enumerate(known) if value is not None])
    read = sum(int(np.size(known[k])) for k in parts.hoisted.used_slots)
    if multiplications_in(parts.hoisted, known) <= TO_COMPARE + PER_NUMBER * read:
        return PreallocatedProgram(
            program, partial(stack_isomorphic, same_slots=same), fixed, watched
        ).call_unchecked
    same += range(len(same), parts.residual.n_slots)
    per_call = PreallocatedProgram(
        parts.residual, partial(stack_isomorphic, same_slots=same), fixed, watched
    )
    return HoistedProgram(parts.hoisted, per_call.call_unchecked)


def _watched(recording: Recording) -> list[int]:
    """Return one slot for every array that may lie in memory that a user can name."""
    # What a ufunc returns is nobody's but the call's.
    made = {step.number for step in recording.calls if isinstance(step.function, np.ufunc)}
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
    of: Differentiator, found: Recorded, forms: Sequence[ResultForm | None]
) -> Callable[[Any], list[Any] | None]:
    """Return what tells whether a result can be written into the user's `out` at once."""
    if len(forms) != 1 or not of.how.is_single or found.is_tuple:
        return _no_buffers
    (form,) = forms
    if not isinstance(form, DenseForm):
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
    calls = len(found.recording.calls) + len(slots)
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
    ssa, backend = program.ssa, of.how.backend
    if backend == "auto":
        if len(ssa.instructions) > LINES_PER_CALL * calls:
            raise NotScalarError("operations on whole arrays are quicker")
        backend = "python"
    how = backend, found.scalars, found.nested, found.is_tuple
    return Replayed(
        *replay_by_scalars(found.recording, program, *how), planned_singly(of, found, program)
    )


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
    wanted = RequestedOutput(wants_value, found.is_tuple, _ignoring(prepared.run), blocks, buffers)
    return Replayed(
        *replay_by_loops(found.recording, prepared.program, wanted, found.scalars), planned(found)
    )


def as_program(
    of: Differentiator, found: Recorded, wants_value: bool, most: float = inf
) -> LoweredScalars:
    """Return a recorded run as operations on single numbers; raise NotScalarError if it is not."""
    if of.how.limit is not None:
        raise NotScalarError("memory_limit= is for operations on whole arrays")
    dtypes = set(found.kinds)
    parts = found.recording, found.linearized, found.nodes
    program = lower_to_scalars(*parts, of.how.mode, wants_value, most)
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
