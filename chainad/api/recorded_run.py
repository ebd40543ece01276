"""One recorded run of a function: what it did, and the formulas of its local Jacobians."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from typing import Any, TypeAlias, TypeVar

import numpy as np

from chainad.api.containers import Arrange, flatten, with_aux
from chainad.api.differentiator import Differentiator
from chainad.api.jacobian_program import JacobianProgram
from chainad.api.outputs import assembler, nesting
from chainad.api.traced_run import program_of
from chainad.compiler.linearize import Linearized, Recipe, linear_graph, values_of
from chainad.compiler.recording.arguments import ContainerSpec, fixed_objects, record_argument
from chainad.compiler.recording.capture_checks import hold
from chainad.compiler.recording.recording import Recording, finish_recording
from chainad.compiler.scalar.scalarize import MAX_SCALARS
from chainad.errors import TraceError
from chainad.frontends.captures.code_runs import CodeRuns, package_of
from chainad.frontends.captures.find_captures import (
    Capture,
    ChangedError,
    RandomNumbersError,
    find_captures,
    random_states,
)
from chainad.frontends.numpy.recorded_values import RecordedValue, box_recorded
from chainad.frontends.numpy.recorder import Recorder, concrete_value, errstate
from chainad.frontends.numpy.tape import active
from chainad.frontends.numpy.trace import Key, Run, tracing
from chainad.frontends.numpy.tracers import Tracer
from chainad.ir.graph import Origin
from chainad.ir.scalar_graph import NotScalarError
from chainad.ir.source_lines import prefix
from chainad.ir.trees import LEAF, Tree
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.linear_graph import LinearGraph
from chainad.planning.plan import Plan
from chainad.rules import kinds
from chainad.rules.base import kind_of
from chainad.rules.primitives import Primitive

# A function that seems to draw random numbers in all of them does.
MAX_RUNS = 4


@dataclass(frozen=True, kw_only=True)
class RecordedRun:
    """A run that was recorded: what it did, and what its results are.

    Attributes
    ----------
    recording, linearized
        What was called, with the formulas of the local Jacobians, and the graph of these.
    node_values : tuple of (int or None)
        The registers of the values of the calls of the function, by number.
    local_jacobians : tuple
        The stored arrays of the local Jacobians in this run, by edge.
    nest : Tree
        How the blocks of the Jacobian are arranged.
    arrange : callable or None
        Arranges the arrays that a call returns, where these are neither one nor a tuple.
    is_tuple : bool
        Whether a call returns another number of arrays than one, or one in a container.
    is_scalar : tuple of bool
        Which of these are NumPy scalars.
    dtypes, shapes
        Those of these arrays.
    block_dtypes, block_shapes
        Those of the blocks of the Jacobian.
    has_exact_zeros : bool
        Whether anything is multiplied that may have exact zeros.
    title : str
        What reports call the function.
    inputs : sequence of str
        What they call the inputs of the linear graph.
    origins : callable
        Looks up the user's lines that local Jacobians are from, for reports.
    """

    recording: Recording
    linearized: Linearized
    node_values: tuple[int | None, ...]
    local_jacobians: tuple[Any, ...]
    nest: Tree
    arrange: Arrange | None
    is_tuple: bool
    is_scalar: tuple[bool, ...]
    dtypes: tuple[np.dtype[Any], ...]
    shapes: tuple[tuple[int, ...], ...]
    block_dtypes: tuple[np.dtype[Any], ...]
    block_shapes: tuple[tuple[int, ...], ...]
    has_exact_zeros: bool
    title: str
    inputs: Sequence[str]
    origins: Callable[[], tuple[Origin, ...]]


@dataclass(frozen=True, kw_only=True)
class PlannedRun(RecordedRun):
    """A recorded run whose Jacobian is accumulated by a program on whole arrays.

    `assemble` makes the Jacobians of the results of that program. `is_checked` says that the last
    result of `program.checked` tells whether exact zeros matter, of which else the Jacobians tell.
    """

    program: JacobianProgram
    assemble: Callable[[Any], Any]
    is_checked: bool

    def plan(self) -> Callable[[], Plan | ChunkedPlan]:
        """Return what gives the plan that the program follows; it keeps no arrays."""
        graph = self.program.linearized.graph
        return partial(_reported, self.program.plan, graph, self.origins, self.inputs, self.title)


def _reported(
    plan: Plan | ChunkedPlan,
    graph: LinearGraph,
    origins: Callable[[], tuple[Origin, ...]],
    inputs: Sequence[str],
    title: str,
) -> Plan | ChunkedPlan:
    named = replace(graph, origins=origins()).with_names_of_inputs(inputs)
    return replace(plan.with_origins(named), title=title)


_Run = TypeVar("_Run", bound=RecordedRun)


def record_run(
    of: Differentiator,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    max_elements_per_call: float = inf,
    max_operations: float = inf,
) -> RecordedRun:
    """Run a function once and return what it did, for operations on scalars: nothing is planned.

    With more elements per call on average, or more operations on them, it is a planned run, for
    operations on whole arrays.

    Raises
    ------
    NotScalarError
        If there are too many scalars.
    """

    def describe(run: Run) -> _Described[Any]:
        entries = run.tape.entries
        elements = sum(int(np.size(entry.value)) for entry in entries)
        computing = (kinds.Elementwise, kinds.Contraction)
        operations = sum(
            int(np.size(entry.value))
            for entry in entries
            if isinstance(kind_of(entry.function), computing)
        )
        if elements > max_elements_per_call * len(entries) or operations > max_operations:
            return _planned(of, run)
        if elements > MAX_SCALARS:
            raise NotScalarError(f"there are more than {MAX_SCALARS} scalars")
        # Scalars stay scalars, unless an order of vertices is given: those of plans are merged.
        merges = not isinstance(of.options.mode, str)
        linearized = linear_graph(run.graph(), where=run.tape.where, merges=merges)
        recipes = linearized.recipes
        make = partial(RecordedRun, linearized=linearized, origins=_origins(linearized, run))
        return recipes, range(len(recipes)), bool(linearized.selections), make

    found: RecordedRun = _record(of, args, kwargs, describe)
    return found


def record_planned_run(
    of: Differentiator,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    captures: tuple[Capture, ...] | None = None,
) -> PlannedRun:
    """Run a function once and return what it did, and the program that accumulates its Jacobian.

    `captures` is what it reads and was found in an earlier run.
    """
    return _record(of, args, kwargs, partial(_planned, of), captures)


# The recipes of the slots of a run, which of them are used, whether they are multiplied that may
# have exact zeros, and what makes the recorded run.
_Described: TypeAlias = tuple[Sequence[Recipe], Iterable[int], bool, Callable[..., _Run]]
_Describe: TypeAlias = Callable[[Run], _Described[_Run]]


def _planned(of: Differentiator, run: Run) -> _Described[PlannedRun]:
    options, program = of.options, program_of(run, of.options)
    has_exact_zeros = program.masked is not None
    if program.masked is not None and options.carries_masks:
        program = program.masked()
    assemble = assembler(run, program.forms, options.output, options.is_single)
    recorder = run.tape.recorder
    # What another Jacobian multiplies in the function, no result of this program tells.
    is_whole = recorder is not None and not recorder.has_exact_zeros
    make = partial(
        PlannedRun,
        linearized=program.linearized,
        origins=_origins(program.linearized, run),
        program=program,
        assemble=assemble,
        is_checked=program.checked is not None and is_whole and of.has_jacobian,
    )
    return program.recipes, program.used_slots, has_exact_zeros, make


def _record(
    of: Differentiator,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    describe: _Describe[_Run],
    captures: tuple[Capture, ...] | None = None,
) -> _Run:
    """Run a function once, and return what it did; once more if anybody changes what it reads."""

    def record(argnums: Sequence[Key]) -> _Run:
        once = partial(_record_once, of, args, kwargs, describe, argnums)
        found = captures
        for _ in range(MAX_RUNS - 1):
            try:
                return once(found)
            except ChangedError as error:
                # What it reads must be what it was before the run that is replayed.
                found = error.captures
                break
            except RandomNumbersError:
                # Another thread may have drawn them, as those of dask's workers do all the time.
                if threading.active_count() == 1:
                    raise
        return once(found)

    if of.has_jacobian:
        return record(of.options.selected(of.function, args, kwargs))
    # np.array([x[0], x[1]]) is recorded of traced numbers only; others it asks for their values.
    floats = [k for k, x in enumerate(args) if type(x) is float or _is_float_array(x)]
    try:
        return record(floats)
    except (NotScalarError, RandomNumbersError):
        raise
    except Exception:  # what tracing refuses (int(x), complex results) may well be recorded
        return record(())


def _is_float_array(value: Any) -> bool:
    is_plain = type(value) is np.ndarray or isinstance(value, np.generic)
    return is_plain and value.dtype.kind == "f"


def _record_once(
    of: Differentiator,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    describe: _Describe[_Run],
    argnums: Sequence[Key],
    captures: tuple[Capture, ...] | None,
) -> _Run:
    """Run a function once, traced with respect to some arguments.

    `captures` is what it reads and was found in an earlier run.
    """
    recorder = Recorder(box_recorded, of.options.carries_masks)
    ambient, states = errstate(), random_states()
    recorder.runs = runs = CodeRuns(package_of(of.function))
    f = of.function
    arrange: Arrange | None = None

    def flow(value: Any) -> tuple[int, Any]:
        recorded = recorder.input(value)
        return recorded.number, recorded

    def watched(*boxed_args: Any, **boxed_kwargs: Any) -> Any:
        nonlocal arrange
        with runs:
            result = f(*boxed_args, **boxed_kwargs)
        if not of.has_jacobian:
            result, arrange = flatten(result, recorder)
        return result

    before = active.recorder
    try:
        active.recorder = recorder
        positional, boxed = record_argument(args, flow)
        named, boxed_kwargs = record_argument(kwargs, flow)
        assert isinstance(positional, ContainerSpec)
        assert isinstance(named, ContainerSpec)
        how = of.options
        with tracing(
            watched, boxed, argnums, boxed_kwargs,
            has_jacobian=of.has_jacobian, has_aux=how.has_aux, reader=f,
        ) as traced:  # fmt: skip
            run = traced if of.has_jacobian else traced.without_inputs()
            _check_failure(recorder)
            of.check(run)
            if captures is None:
                objects = [fixed_objects(item) for _, item in positional.items]
                named_objects = {key: fixed_objects(item) for key, item in named.items}
                captures = find_captures(f, runs, states, objects, named_objects, how.constant)
            else:
                _check_unchanged(captures)
            formulas = len(recorder.entries)
            recipes, used_slots, has_exact_zeros, make = describe(run)
            slots = _slots(recorder, run, recipes, {*used_slots})
            returned = run.values
            if how.has_aux:
                aux, arrange = with_aux(run.result, run.aux, recorder)
                returned += aux
            elif arrange is None and run.result is not LEAF and not run.result.is_flat_tuple:
                arrange = run.result.unflatten
            values = tuple(_output(recorder, value) for value in returned)
            node_values = tuple([_node_value(entry.value) for entry in run.tape.entries])
        recording = finish_recording(
            recorder,
            (positional, named),
            values,
            slots,
            ambient,
            formulas,
            captures,
        )
    finally:
        active.recorder = before  # first: an interrupt may come with the next call
        recorder.close()
    blocks = run.signature.blocks
    return make(
        recording=recording,
        node_values=node_values,
        local_jacobians=tuple(
            recorder.entries[slot].value if type(slot) is int else slot for slot in slots
        ),
        nest=nesting(run.result, run.arguments, how.is_single),
        arrange=arrange,
        is_tuple=how.has_aux or run.result is not LEAF,
        is_scalar=tuple(isinstance(_unboxed(value), np.generic) for value in returned),
        dtypes=tuple(value.dtype for value in returned),
        shapes=tuple(np.shape(value) for value in returned),
        block_dtypes=tuple(block.dtype for block in blocks),
        block_shapes=tuple((*block.rows, *block.cols) for block in blocks),
        has_exact_zeros=has_exact_zeros or recorder.has_exact_zeros,
        title=of.title(args, kwargs),
        inputs=of.names_of_inputs(args, kwargs, run),
    )


def _origins(linearized: Linearized, run: Run) -> Callable[[], tuple[Origin, ...]]:
    """Return what looks up the lines that local Jacobians are from; it keeps no arrays."""
    nodes = {node for recipe in linearized.recipes for node in recipe.nodes}
    calls = {node: run.tape.raw_origin(node) for node in nodes}
    return lambda: linearized.origins(lambda node: calls[node].origin())


def _node_value(value: Any) -> int | None:
    is_open = isinstance(value, RecordedValue) and value.tape.is_open
    return value.number if is_open else None


def _unboxed(value: Any) -> Any:
    return value.value if isinstance(value, RecordedValue) else value


def _check_unchanged(captures: tuple[Capture, ...]) -> None:
    for capture in captures:
        if not hold((capture,)):
            raise TraceError(
                f"{prefix(capture.site)}the function reads {capture.name}, and changes it at each"
                " call, which a replay would not; make it an argument and a result, say"
                f" constant={capture.name!r} if it does not matter, or call chainad.jacobian(f)"
                " instead"
            )


def _check_failure(recorder: Recorder) -> None:
    if recorder.failure is not None:
        raise TraceError(
            f"the function caught {recorder.failure!r}, which depends on values, so that it cannot"
            " be replayed; call chainad.jacobian(f) instead"
        ) from recorder.failure


def _output(recorder: Recorder, value: Any) -> int:
    if not isinstance(value, RecordedValue) or value.tape is not recorder:
        value = recorder.constant(np.asarray(concrete_value(value)))
    number: int = value.number
    return number


def _slots(
    recorder: Recorder, run: Run, recipes: Sequence[Recipe], used: set[int]
) -> tuple[Any, ...]:
    """Record the formulas of the local Jacobians in the slots that are used.

    A slot is a register, an array that is no value, or None.
    """
    slots: list[Any] = []
    with np.errstate(all="ignore"):
        for k, recipe in enumerate(recipes):
            if recipe.formula is None or k not in used:
                slots.append(None)
                continue
            values = values_of(run.tape, recipe)
            entry = run.tape.entries[recipe.first]
            if recipe.is_operator or isinstance(entry.function, Primitive):
                slots.append(recorder.opaque(recipe.formula, values)[0])
                continue
            slot = recipe.formula(*values)
            if isinstance(slot, Tracer):
                slot = slot.number if slot.tape is recorder else concrete_value(slot)
            elif not hasattr(slot, "shape"):
                slot = entry.value.dtype.type(slot)
            slots.append(slot)
    return tuple(slots)
