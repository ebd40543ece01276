"""From a recorded run to the program that replays it: on scalars, by loops, or by NumPy calls."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from enum import Enum
from functools import partial
from math import inf, prod
from typing import Any, NamedTuple

import numpy as np

from chainad.api.differentiator import Differentiator
from chainad.api.fallbacks import attempt, warn_of_fault, warn_of_random_numbers, warn_of_refusal
from chainad.api.outputs import is_fitting
from chainad.api.recorded_run import PlannedRun, RecordedRun, record_planned_run, record_run
from chainad.api.targets import NUMPY
from chainad.compiler.loops.replay_loops import replay_by_loops
from chainad.compiler.recording.arguments import ContainerSpec
from chainad.compiler.recording.fused_replay import fused_replay
from chainad.compiler.recording.replay import (
    MISS,
    NOT_FINITE,
    Replay,
    RequestedOutput,
    build_replay,
    build_split_replay,
    finished_by,
)
from chainad.compiler.scalar.lower_to_scalars import LoweredScalars, lower_to_scalars
from chainad.compiler.scalar.replay_scalar import replay_by_scalars
from chainad.frontends.captures.find_captures import Capture, RandomNumbersError
from chainad.ir.calls import Guard
from chainad.ir.collector import paused_collector
from chainad.ir.notices import log
from chainad.ir.scalar_graph import NotScalarError
from chainad.ir.trees import LEAF
from chainad.planning.auto import plan_cached
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.plan import Plan
from chainad.structure.results import DenseForm

# Scalar operations that Python does in the time of one NumPy call.
SCALAR_OPS_PER_NUMPY_CALL = 12

# With values of more elements on average, a scalar program is longer than calls of NumPy for the
# value and the local Jacobians, up to five for each call of the function.
MAX_ELEMENTS_PER_CALL = 5 * SCALAR_OPS_PER_NUMPY_CALL

# The second half of an evaluation alone is quicker on scalars for a few of them only.
MAX_ELEMENTS_PER_CALL_OF_HALVES = SCALAR_OPS_PER_NUMPY_CALL

# Entries of local Jacobians per NumPy call beyond which a scalar program is never that short.
MAX_LOCAL_ENTRIES_PER_NUMPY_CALL = 10 * SCALAR_OPS_PER_NUMPY_CALL

# Beyond this, a scalar program is not written out unasked (it takes some milliseconds), and numba
# compiles loops in less time.
MAX_UNROLLED_SCALAR_OPS = 4000

# With more products of single scalars, it would take seconds to write a program out.
MAX_SCALAR_PRODUCTS = 50_000
# So many entries of local Jacobians can not lead to many more products than that.
MAX_UNCHECKED_LOCAL_ENTRIES = 2_000


# With calls whose results have more elements on average, fused loops between calls of NumPy are
# quicker than loops alone.
MAX_ELEMENTS_PER_LOOP = 2_000


class Form(Enum):
    """What a program is made of; the simplest form comes last."""

    SCALARS = "operations on scalars"
    LOOPS = "loops over scalars"
    FUSED = "fused loops between calls of NumPy"
    ARRAYS = "calls of NumPy"


class CompiledProgram(NamedTuple):
    """What replays a recorded run, its source, and what gives the plan that it follows.

    `arguments` are the positional and the named ones of the calls that it replays, `captures` what
    it reads beside them, and `guards` what it reads off values. `has_exact_zeros` says that it
    multiplies what may have some, and `is_checked` that it returns NOT_FINITE itself where that
    matters.
    """

    run: Replay
    source: str
    form: Form
    plan: Callable[[], Plan | ChunkedPlan]
    arguments: tuple[ContainerSpec, ContainerSpec]
    captures: tuple[Capture, ...]
    guards: tuple[Guard, ...]
    has_exact_zeros: bool
    is_checked: bool = False


def compile_program(
    of: Differentiator,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    avoided: Collection[Form] = (),
) -> CompiledProgram | None:
    """Run a function, and return what replays it, in none of the forms to avoid.

    It is None if the function draws random numbers, or if chainad fails to make any, which is a
    fault of its own.
    """
    backend = of.options.backend
    runs: list[PlannedRun] = []
    captures: tuple[Capture, ...] | None = None

    def planned() -> PlannedRun:
        if not runs:
            runs.append(record_planned_run(of, args, kwargs, captures))
        return runs[0]

    def by_scalars() -> CompiledProgram:
        nonlocal captures
        most = MAX_ELEMENTS_PER_CALL_OF_HALVES if of.is_split else MAX_ELEMENTS_PER_CALL
        limits = (most, MAX_UNROLLED_SCALAR_OPS) if backend == "auto" else ()
        found = record_run(of, args, kwargs, *limits)
        if isinstance(found, PlannedRun):
            runs.append(found)
            raise NotScalarError("operations on whole arrays are quicker")
        captures = found.recording.captures
        return _by_scalars(of, found)

    makers: dict[Form, Callable[[], CompiledProgram]] = {}
    only_arrays = backend == "numpy" or of.options.carries_masks or of.options.has_aux
    if not only_arrays and of.options.output == "dense":
        makers[Form.SCALARS] = by_scalars
    if not only_arrays and backend == "numba":
        makers[Form.LOOPS] = lambda: _by_loops(of, planned())
        if not of.is_split:
            makers[Form.FUSED] = lambda: _by_fused_loops(of, planned())
    makers[Form.ARRAYS] = lambda: _by_arrays(of, planned())
    refusal: NotScalarError | None = None
    for form in [form for form in makers if form not in avoided]:
        found = attempt(makers[form], lambda: of.traced(args, kwargs))
        if isinstance(found, CompiledProgram):
            if form is Form.ARRAYS and refusal is not None:
                warn_of_refusal(backend, refusal)
            return found
        if isinstance(found, RandomNumbersError):
            warn_of_random_numbers(str(found))
            return None
        log.debug("%r is not made of %s: %s", of, form.value, found)
        if not isinstance(found, NotScalarError):
            refusal = None
            warn_of_fault(f"compiling to {form.value}", found)
        elif form is not Form.FUSED:  # why there are no loops alone says more
            refusal = found
    return None


def _compiled(
    of: Differentiator,
    replay: Replay,
    source: str,
    form: Form,
    plan: Callable[[], Plan | ChunkedPlan],
    found: RecordedRun,
) -> CompiledProgram:
    """Return a program whose outputs are nested as the function returns them."""
    arrange, recording = found.arrange if of.returns_value else None, found.recording

    def arranged(args: tuple[Any, ...], kwargs: dict[str, Any], out: Any = None) -> Any:
        result = replay(args, kwargs, out)
        if result is MISS or result is NOT_FINITE or arrange is None:
            return result
        return arrange(result[0]), result[1]

    run = replay if arrange is None else arranged
    read = recording.arguments, recording.captures, recording.guards
    return CompiledProgram(run, source, form, plan, *read, found.has_exact_zeros)


@paused_collector()
def _by_arrays(of: Differentiator, found: PlannedRun) -> CompiledProgram:
    """Return a replay by calls of NumPy."""
    program = found.program
    jacobian = program.checked if found.is_checked else program.program
    build = build_split_replay if of.is_split else build_replay
    requested = replace(_requested(of, found), is_checked=found.is_checked)
    parts = found.recording, jacobian or program.run, found.local_jacobians, requested
    compiled = _compiled(of, *build(*parts), Form.ARRAYS, found.plan(), found)
    return compiled._replace(is_checked=found.is_checked)


def _by_fused_loops(of: Differentiator, found: PlannedRun) -> CompiledProgram:
    """Return a replay by fused loops between calls of NumPy; raise NotScalarError without any."""
    program = found.program.checked or found.program.program
    if program is None:
        raise NotScalarError("memory_limit= is for operations on whole arrays")
    requested = replace(_requested(of, found), is_checked=found.is_checked)
    parts = found.recording, program, found.local_jacobians, requested
    compiled = _compiled(of, *fused_replay(*parts), Form.FUSED, found.plan(), found)
    return compiled._replace(is_checked=found.is_checked)


def _requested(of: Differentiator, found: PlannedRun) -> RequestedOutput:
    buffers = _buffers(of, found)
    return RequestedOutput(
        of.returns_value, of.has_jacobian, found.is_tuple, found.assemble, buffers
    )


def _buffers(of: Differentiator, found: PlannedRun) -> Callable[..., list[Any] | None]:
    """Return what tells whether a result can be written into the user's `out` at once."""
    forms = found.program.forms
    has_value = of.has_value and not of.is_split
    if has_value or of.options.has_aux or found.nest is not LEAF:
        return _no_buffers
    (form,) = forms
    if not isinstance(form, DenseForm):
        return _no_buffers
    return partial(_fitting, form.shape, found.dtypes[0])


def _no_buffers(out: Any, *read: Any) -> None:
    """Take results as they are made; several, or other than dense ones, are copied afterwards."""


def _fitting(
    shape: tuple[int, ...], dtype: np.dtype[Any], out: Any, *read: Any
) -> list[Any] | None:
    """Return the buffer for the one result, unless it is to be refused, or holds what is read."""
    # Nothing is given for what tells whether exact zeros matter.
    return [np.asarray(out), None] if is_fitting(out, shape, dtype, read) else None


def _by_scalars(of: Differentiator, found: RecordedRun) -> CompiledProgram:
    """Return a replay by operations on scalars, if that was requested or is quicker."""
    slots = [slot for slot in found.recording.slots if slot is not None]
    calls = len(found.recording.calls) + len(slots)
    backend = of.options.backend
    most: float = inf
    if backend == "auto":
        most = min(MAX_UNROLLED_SCALAR_OPS, SCALAR_OPS_PER_NUMPY_CALL * calls)
        entries = sum(edge.structure.materialized.count for edge in found.linearized.graph.edges)
        # Writing it all out would take seconds, for nothing.
        if entries > MAX_LOCAL_ENTRIES_PER_NUMPY_CALL * calls:
            raise NotScalarError("operations on whole arrays are quicker")
    elif backend == "numba":
        most = MAX_UNROLLED_SCALAR_OPS
    program = scalar_program(of, found, most)
    if backend == "auto":
        if len(program.ssa.instructions) > SCALAR_OPS_PER_NUMPY_CALL * calls:
            raise NotScalarError("operations on whole arrays are quicker")
        backend = "python"
    results = found.is_scalar, found.nest.unflatten, found.is_tuple, of.is_split
    replay, source = replay_by_scalars(found.recording, program, backend, *results)
    plan = plan_on_scalars(found, program)
    return _compiled(of, replay, source, Form.SCALARS, plan, found)


def _by_loops(of: Differentiator, found: PlannedRun) -> CompiledProgram:
    """Return a replay by loops over scalars; raise NotScalarError if there is none."""
    program = found.program.program
    if program is None:
        raise NotScalarError("memory_limit= is for operations on whole arrays")
    if {*found.dtypes, *found.block_dtypes} != {np.dtype(float)}:
        raise NotScalarError("the entries are of several dtypes")
    calls = found.recording.calls
    if sum(prod(call.shape) for call in calls) > MAX_ELEMENTS_PER_LOOP * len(calls):
        raise NotScalarError("operations on whole arrays are quicker")
    requested = _requested(of, found)
    if of.is_split:
        requested = replace(requested, value=False)
    replay, source = replay_by_loops(found.recording, program, requested, found.is_scalar)
    if of.is_split:
        by_arrays = _by_arrays(of, found)
        replay = finished_by(replay, by_arrays.run)
        source = f"{by_arrays.source}\n{source}"
    return _compiled(of, replay, source, Form.LOOPS, found.plan(), found)


def scalar_program(of: Differentiator, found: RecordedRun, most: float = inf) -> LoweredScalars:
    """Return a recorded run as at most so many operations on scalars.

    Raises
    ------
    NotScalarError
        If there are more, or it is not made of such operations.
    """
    if of.options.memory_limit is not None:
        raise NotScalarError("memory_limit= is for operations on whole arrays")
    _check_length(of, found)
    parts = found.recording, found.linearized, found.node_values
    options = of.options
    program = lower_to_scalars(
        *parts, options.mode, of.has_value, NUMPY.build, most, options.search
    )
    if {*found.dtypes} - {program.dtype}:
        raise NotScalarError("the outputs are of several dtypes")
    return program


def _check_length(of: Differentiator, found: RecordedRun) -> None:
    """Raise NotScalarError if it would take seconds, and much memory, to write a program out."""
    graph = found.linearized.graph
    entries = sum(edge.structure.materialized.count for edge in graph.edges)
    if entries <= MAX_UNCHECKED_LOCAL_ENTRIES:
        return
    if entries <= MAX_SCALAR_PRODUCTS:
        search = of.options.search
        plans = [plan_cached(graph, mode, search=search) for mode in ("forward", "reverse")]
        if min(plan.multiplications for plan in plans) <= MAX_SCALAR_PRODUCTS:
            return
    raise NotScalarError(
        f"it takes more than {MAX_SCALAR_PRODUCTS:,} products of single scalars, and operations on"
        " whole arrays are quicker"
    )


def plan_on_scalars(found: RecordedRun, program: LoweredScalars) -> Callable[[], Plan]:
    """Return what gives the plan that a program on scalars follows; it keeps no arrays."""
    order, origins, title = program.order, found.origins, found.title
    arrays = found.linearized.graph

    def plan() -> Plan:
        graph = order.graph.with_origins(replace(arrays, origins=origins()).origin_of)
        return replace(order.plan().with_origins(graph), title=title)

    return plan
