"""Batches: the Jacobians of many points at once, from a function written for one.

The function is recorded at one point. Where it is made of operations on scalars, all points go
through these together; a point where something else is read off values (another branch) is found by
the guards, and goes to a group of its own. What cannot be written so is replayed point by point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from chainad.api.choose_backend import plan_on_scalars, scalar_program
from chainad.api.chunks_of_points import CollectedPoints, size_of_chunks
from chainad.api.compiled import CompiledFunction
from chainad.api.differentiator import Differentiator
from chainad.api.fallbacks import REFUSALS, attempt, warn_of_fault, warn_of_refusal
from chainad.api.function_of import FunctionOf
from chainad.api.points import (
    Batch,
    Place,
    PointArguments,
    Stack,
    checked_batch,
    emptied,
    point_arguments,
    stacked,
)
from chainad.api.recorded_run import PlannedRun, RecordedRun, record_planned_run, record_run
from chainad.api.run_batched import run_batched
from chainad.backends.namespace import Namespace
from chainad.compiler.recording.arguments import leaf_numbers
from chainad.compiler.recording.replay import MISS, bind_arguments
from chainad.compiler.scalar.lower_to_scalars import LoweredScalars
from chainad.compiler.scalar.replay_batched import BatchedScalars, Outputs
from chainad.compiler.scalar.replay_scalar import check_supported
from chainad.compiler.scalar.scalarize import data_arguments
from chainad.compiler.vectorize import BatchedArray, NotBatchableError
from chainad.errors import InputError
from chainad.frontends.captures.find_captures import RandomNumbersError
from chainad.frontends.numpy.trace import Key
from chainad.ir import exact_zeros, trees
from chainad.ir.executors import Local, Replica, Task, run_tasks, workers_of
from chainad.ir.locks import fork_safe_lock
from chainad.ir.notices import log
from chainad.ir.progress import UNTOLD, Meter
from chainad.ir.scalar_graph import NotScalarError
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.plan import Plan

# The positional and the named arguments of one point.
Call: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]

# A function that has these and still finds no group for a point is replayed point by point.
MAX_GROUPS = 32

# Where there are fewer operations on scalars, whole arrays are never quicker.
MIN_SCALAR_OPS_FOR_ARRAYS = 300
# So many operations on scalars, each on all points, take as long as a call on stacks of arrays:
# measured on the functions of tests/functions.py.
SCALAR_OPS_PER_STACKED_CALL = 35
# What replaying one point by itself takes besides its arithmetic, in scalar operations.
OPERATIONS_PER_REPLAY = 100_000


@dataclass(frozen=True)
class PointGroup:
    """What all points with the same branches have in common.

    Attributes
    ----------
    take : callable
        Finds the arguments that vary from call to call, or returns MISS.
    inputs : tuple of int
        The numbers of these arguments in the recording.
    places : mapping
        Which of them vary from point to point: where these are in the arguments, by number.
    recorded : RecordedRun
    shapes : tuple
        Those of the results at one point: values, if these are returned, and Jacobians.
    run : callable
        Returns the results of some points, in an array `out` if that fits, and for which points
        they hold; it tells a meter of the points.
    plan : callable
        Returns the plan that `run` follows.
    """

    take: Callable[[tuple[Any, ...], dict[str, Any]], Any]
    inputs: tuple[int, ...]
    places: Mapping[int, Place]
    recorded: RecordedRun
    shapes: tuple[tuple[int, ...], ...]
    run: Callable[[list[Any], int, Any, Meter], Outputs]
    plan: Callable[[], Plan | ChunkedPlan]


@dataclass(frozen=True)
class ScalarGroup(PointGroup):
    """A group whose points go through a program on scalars; others run on whole arrays."""

    program: LoweredScalars


class BatchedDifferentiator:
    """Values and Jacobians of a function at many points: what `jacobian(f, batch=...)` calls."""

    def __init__(self, of: Differentiator, batch: Batch) -> None:
        if of.options.output != "dense":
            raise InputError(
                f"output={of.options.output!r} with batch= is not offered; the Jacobians of a batch"
                " are dense, one per point. (A function written for whole batches has"
                " output='structured'.)"
            )
        how = of.options
        self._executor, self._chunk_size = how.executor, how.chunk_size
        # Nobody waits for an executor in one of its own tasks.
        of = replace(of, options=replace(how, executor=None, chunk_size=None))
        self._of = of
        self.batch = checked_batch(batch)
        self._groups: tuple[PointGroup, ...] = ()
        self._one_by_one: CompiledFunction = CompiledFunction(of)
        # How points go through: scalars and whole arrays, whichever is quicker first.
        self._strategies = [_as_arrays_if_quicker, _as_scalars, _as_arrays]
        if of.options.carries_masks or of.options.has_aux:
            self._strategies = [_as_arrays]
        # By the arguments that have points: what carries masks of exact zeros.
        self._masked: dict[tuple[Key, ...], BatchedDifferentiator] = {}
        self._lock = fork_safe_lock()

    def __repr__(self) -> str:
        return f"{repr(self._of)[:-1]}, batch={self.batch})"

    @property
    def programs(self) -> tuple[LoweredScalars, ...]:
        """The scalar program of each group of points that has one."""
        return tuple(g.program for g in self._groups if isinstance(g, ScalarGroup))

    def value_and_jacobians(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        out: Any = None,
        function: FunctionOf | None = None,
    ) -> tuple[Any, Any]:
        """Return what the function returns (None if not requested), and its Jacobians.

        These are `out` itself if they could be written there directly. `function` is what an
        executor sends to other processes: a function of points whose `_batched` this is.
        """
        points = self._points(args, kwargs)
        with Meter(self._of.options.progress, "points", points.count) as meter:
            if not points.count:
                return self._at_no_points(points, meter)
            if self._executor is None and self._chunk_size is None:
                return self._together(points, out, meter)
            return self._in_chunks(Replica(function), points, out, meter)

    def _in_chunks(
        self, function: Replica[Any], points: PointArguments, out: Any, meter: Meter
    ) -> tuple[Any, Any]:
        """Return values and Jacobians of all points, a chunk at a time."""
        # It is recorded here, where what is refused is in the line of the user.
        first = self._together(points.part(slice(1)), None, UNTOLD)
        stacks = list(points.stacks.values())
        found = CollectedPoints(first, points.count, out, stacks)
        size = self._chunk_size
        if size is None:
            assert self._executor is not None
            workers = workers_of(self._executor)
            nbytes = sum(x.nbytes for x in trees.flatten(first)[0] if isinstance(x, np.ndarray))
            size = size_of_chunks(points.count, workers, self._operations(points), nbytes)
        if size >= points.count:
            return self._together(points, out, meter)
        parts = [slice(k, min(k + size, points.count)) for k in range(0, points.count, size)]
        tasks = [
            Task(part, _at_points, (function, points.part(part), Local(found.place_of(part))))
            for part in parts
        ]

        run_tasks(self._executor, tasks, found.accept, meter)
        return found.result()

    def _operations(self, points: PointArguments) -> int:
        """Return about how many scalar operations a point takes."""
        for group in self._groups:
            if isinstance(group, ScalarGroup):
                return len(group.program.ssa.instructions)
            calls, plan = group.recorded.recording.calls, group.plan()
            return sum(prod(call.shape) for call in calls) + plan.multiplications
        of_plan = self._of.plan(*points.first()).multiplications if self._of.has_jacobian else 0
        return OPERATIONS_PER_REPLAY + of_plan

    def _points(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> PointArguments:
        return point_arguments(self._of.wrapped, self._of.options, self.batch, args, kwargs)

    def _with_exact_zeros(self, blocks: Sequence[Stack], points: PointArguments) -> None:
        """Compute the Jacobians that are not finite once more, with masks of exact zeros."""
        if exact_zeros.is_finite(blocks):
            return
        is_finite = [np.isfinite(block.reshape(len(block), -1)).all(axis=1) for block in blocks]
        which = np.flatnonzero(~np.logical_and.reduce(is_finite))
        if not which.size:
            return
        varying = tuple(points.trees)
        masked = self._masked.get(varying)
        if masked is None:
            how = self._of.options
            search = replace(how.search, progress=False)  # these points are told of already
            options = replace(how, carries_masks=True, search=search)
            of = replace(self._of, options=options, has_value=False)
            masked = self._masked[varying] = BatchedDifferentiator(of, dict.fromkeys(varying, 0))
        _, found = masked.value_and_jacobians(*points.chosen(which))
        for block, part in zip(blocks, trees.flatten(found)[0], strict=True):
            block[which] = part

    def plan(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Plan | ChunkedPlan:
        """Return the plan that the first point's group follows, or that of one point by itself."""
        points = self._points(args, kwargs)
        found = self._group(points, points.first())
        return self._of.plan(*points.first()) if found is None else found[0].plan()

    # ----------------------------------------------------------- all together

    def _together(self, points: PointArguments, out: Any, meter: Meter) -> tuple[Any, Any]:
        """Return values and Jacobians of all points, group by group."""
        remaining: npt.NDArray[np.intp] | None = None  # all of them
        results: list[Stack] = []
        groups: list[PointGroup] = []
        has_exact_zeros = False
        for _ in range(MAX_GROUPS):
            first = 0 if remaining is None else int(remaining[0])
            found = self._group(points, points.at(first))
            if found is None:
                break
            group, taken = found
            run = partial(self._run, group, taken, points, remaining, out, meter)
            made = attempt(run)
            if isinstance(made, Exception):
                self._give_up(group, made)
                meter.extend(meter.done)
                return self._together(points, out, meter)
            parts, holds = made
            if holds is not None and not holds[0]:
                break  # a function that reads random numbers, or counts its calls
            is_plain = self._of.has_jacobian and not self._of.options.has_aux
            if groups and not is_plain and group.recorded.arrange is not None:
                break  # what is returned may hold something else than arrays
            groups.append(group)
            has_exact_zeros |= group.recorded.has_exact_zeros
            if remaining is None:
                results = parts
            elif (group.shapes, group.recorded.nest) != (groups[0].shapes, groups[0].recorded.nest):
                raise InputError("the results of the points have different shapes")
            else:
                of = remaining if holds is None else remaining[holds]
                for whole, part in zip(results, parts, strict=True):
                    whole[of] = part if holds is None else part[holds]
            if holds is None or holds.all():
                recorded = groups[0].recorded
                n = len(recorded.dtypes) if self._of.returns_value else 0
                if has_exact_zeros and not self._of.options.carries_masks:
                    self._with_exact_zeros(results[n:], points)
                values: Any = None
                if self._of.returns_value:
                    values = tuple(results[:n]) if recorded.is_tuple else results[0]
                    values = values if recorded.arrange is None else recorded.arrange(values)
                return values, recorded.nest.unflatten(results[n:])
            remaining = np.flatnonzero(~holds) if remaining is None else remaining[~holds]
            meter.extend(len(remaining))
        log.info("%r: %d points run one after the other", self, points.count)
        meter.extend(meter.done + points.count - meter.total)
        return self._one_after_the_other([points.at(k) for k in range(points.count)], meter)

    def _group(self, points: PointArguments, at: Call) -> tuple[PointGroup, Any] | None:
        """Return a group that the point `at` belongs to, and what it takes; or None."""
        with self._lock:
            for group in self._groups:
                taken = group.take(*at)
                if taken is not MISS and _holds(group, taken):
                    return group, taken
            refusal: NotScalarError | None = None
            while self._strategies:
                strategy = self._strategies[0]
                made = attempt(
                    partial(_taken_by, strategy, self._of, points.places(), at),
                    lambda: self._of.traced(*at),
                )
                if not isinstance(made, Exception):
                    if refusal is not None:  # else the points one by one tell why
                        warn_of_refusal(self._of.options.backend, refusal)
                    self._groups = (made[0], *self._groups[: MAX_GROUPS - 1])
                    return made
                if isinstance(made, RandomNumbersError):  # what runs the points one by one tells
                    self._strategies.clear()
                elif isinstance(made, REFUSALS):
                    self._strategies.pop(0)
                    if isinstance(made, NotScalarError) and strategy is _as_scalars:
                        refusal = made
                else:
                    # What the first strategy may have failed at is the second one.
                    self._strategies = [s for s in self._strategies[1:] if s is _as_arrays]
                    warn_of_fault("compiling for many points", made)
            return None

    def _give_up(self, group: PointGroup, why: Exception) -> None:
        """Take another strategy from now on: whole arrays do not fit, or running a group failed."""
        with self._lock:
            if isinstance(why, REFUSALS):
                if group in self._groups:  # another thread may have been here
                    self._strategies.pop(0)
                    self._groups = tuple(g for g in self._groups if isinstance(g, ScalarGroup))
                return
            others = [_as_arrays] if isinstance(group, ScalarGroup) else []
            self._strategies = [s for s in self._strategies if s in others]
            self._groups = ()
        warn_of_fault("running many points at once", why)

    def _run(
        self,
        group: PointGroup,
        taken: Sequence[Any],
        points: PointArguments,
        which: npt.NDArray[np.intp] | None,
        out: Any,
        meter: Meter,
    ) -> Outputs:
        """Return the results of a group for some points; `out` is for all of them."""
        inputs = []
        for number, value in zip(group.inputs, taken, strict=True):
            stack = points.stacks.get(group.places[number]) if number in group.places else None
            if stack is None:
                inputs.append(value)
            else:
                inputs.append(BatchedArray(stack if which is None else stack[which]))
        if which is None:
            return group.run(inputs, points.count, out, meter)
        return group.run(inputs, len(which), None, meter)

    # ------------------------------------------------------------ one by one

    def _one_after_the_other(self, calls: Sequence[Call], meter: Meter) -> tuple[Any, Any]:
        """Return values and Jacobians of all points, replayed one after the other."""
        found = []
        for call in calls:
            found.append(self._one_by_one._value_and_jacobian(*call))
            meter.advance(1)
        values, jacobians = zip(*found, strict=True)
        return stacked(values) if self._of.returns_value else None, stacked(jacobians)

    def _at_no_points(self, points: PointArguments, meter: Meter) -> tuple[Any, Any]:
        """Return arrays of no points, of the shapes that the function has at ones."""
        with np.errstate(all="ignore"):
            value, jacobian = self._one_after_the_other([points.first()], meter)
        return emptied(value), emptied(jacobian)


def _at_points(function: Replica[Any], points: PointArguments, out: Local[Any]) -> tuple[Any, Any]:
    """Return values and Jacobians of some points: what a task of an executor does."""
    found: tuple[Any, Any] = function.value._batched._together(points, out.value, UNTOLD)
    return found


def _taken_by(
    strategy: Callable[..., PointGroup], of: Differentiator, places: Call, at: Call
) -> tuple[PointGroup, Any]:
    """Return the group that a strategy makes for a point, and what it takes."""
    group = strategy(of, places, at)
    return group, group.take(*at)


def _as_scalars(of: Differentiator, places: Call, at: Call) -> ScalarGroup:
    """Record a function at one point, as operations on scalars."""
    return _on_scalars(of, places, record_run(of, *at))


def _on_scalars(of: Differentiator, places: Call, found: RecordedRun) -> ScalarGroup:
    found = replace(found, local_jacobians=())
    program = scalar_program(of, found)
    if of.options.backend in ("python", "numba"):
        check_supported(program, of.options.backend)
    run_scalars = BatchedScalars(program, of.options.backend)

    def run(inputs: list[Any], count: int, out: Any, meter: Meter) -> Outputs:
        rows = [
            x.data.reshape(count, -1)
            if isinstance(x, BatchedArray)
            else np.broadcast_to(np.reshape(x, (1, -1)), (count, np.size(x)))
            for x in inputs
        ]
        return run_scalars(rows, count, meter, out)

    plan = plan_on_scalars(found, program)
    taken = _arguments(found, places, holds_constants=True)
    return ScalarGroup(*taken, found, _shapes(of, found), run, plan, program)


def _as_arrays(of: Differentiator, places: Call, at: Call) -> PointGroup:
    """Record a function at one point, as operations on whole arrays; try it on that point."""
    if of.options.memory_limit is not None:
        raise NotBatchableError("memory_limit= is for one point at a time")
    found = replace(record_planned_run(of, *at), local_jacobians=())
    shapes = _shapes(of, found)
    take, numbers, varying = _arguments(found, places, holds_constants=False)

    def run(inputs: list[Any], count: int, out: Any, meter: Meter) -> Outputs:
        by_number = dict(zip(numbers, inputs, strict=True))
        return run_batched(found, by_number, count, shapes, of.returns_value, meter)

    group = PointGroup(take, numbers, varying, found, shapes, run, found.plan())
    _holds_at(group, group.take(*at))
    return group


def _as_arrays_if_quicker(of: Differentiator, places: Call, at: Call) -> PointGroup:
    """Record a function as operations on whole arrays, if these are much fewer."""
    if of.options.backend in ("python", "numba"):
        raise NotBatchableError(f"backend={of.options.backend!r}")
    recorded = record_run(of, *at)
    calls = len(recorded.recording.calls)
    least = max(MIN_SCALAR_OPS_FOR_ARRAYS, SCALAR_OPS_PER_STACKED_CALL * calls)
    # There are no fewer operations on scalars than entries: nothing else need be written out.
    entries = sum(edge.structure.count for edge in recorded.linearized.graph.edges)
    arrays = _as_arrays(of, places, at) if entries >= least else None
    if arrays is not None and entries >= SCALAR_OPS_PER_STACKED_CALL * _calls_of(arrays):
        return arrays
    group = _on_scalars(of, places, recorded)
    operations = len(group.program.ssa.instructions)
    if operations < least:
        return group
    arrays = arrays or _as_arrays(of, places, at)
    return group if operations < SCALAR_OPS_PER_STACKED_CALL * _calls_of(arrays) else arrays


def _calls_of(group: PointGroup) -> int:
    """Return how many calls of NumPy a group on whole arrays takes."""
    assert isinstance(group.recorded, PlannedRun)
    program = group.recorded.program.program
    return len(group.recorded.recording.calls) + (len(program.instructions) if program else 0)


def _arguments(
    found: RecordedRun, places: Call, holds_constants: bool
) -> tuple[Callable[..., Any], tuple[int, ...], Mapping[int, Place]]:
    """Return what takes the arguments of a call, their numbers, and the places of what varies."""
    names = Namespace()
    lines = bind_arguments(found.recording, names, holds_constants)
    numbers = tuple(data_arguments(found.recording))
    lines.append(f"return ({''.join(f'v{number}, ' for number in numbers)})")
    take, _ = names.define("take(args, kwargs)", lines)
    specs = found.recording.arguments
    pairs = [
        pair for spec, part in zip(specs, places, strict=True) for pair in leaf_numbers(spec, part)
    ]
    return take, numbers, {number: place for number, place in pairs if place is not None}


def _shapes(of: Differentiator, found: RecordedRun) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of the results at one point."""
    return (*found.shapes, *found.block_shapes) if of.returns_value else found.block_shapes


def _holds(group: PointGroup, taken: Sequence[Any]) -> bool:
    """Return whether a point has the branches of a group."""
    return not group.recorded.recording.guards or _holds_at(group, taken)


def _holds_at(group: PointGroup, taken: Sequence[Any]) -> bool:
    """Run a group on one point; return whether its guards hold there."""
    _, holds = group.run([BatchedArray(np.asarray(x)[None]) for x in taken], 1, None, UNTOLD)
    return holds is None or bool(holds[0])
