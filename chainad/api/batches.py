"""Batches: the Jacobians of many points at once, from a function written for one.

The function is recorded at one point. Where it is made of operations on scalars, all points go
through these together; a point where something else is read off values (another branch) is found by
the guards, and goes to a group of its own. What cannot be written so is replayed point by point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from chainad.api.choose_backend import plan_on_scalars, scalar_program
from chainad.api.compiled import CompiledFunction
from chainad.api.differentiator import Differentiator
from chainad.api.fallbacks import REFUSALS, attempt, warn_of_fault, warn_of_refusal
from chainad.api.recorded_run import PlannedRun, RecordedRun, record_planned_run, record_run
from chainad.api.run_batched import run_batched
from chainad.backends.namespace import Namespace
from chainad.compiler.recording.arguments import ArraySpec, ScalarSpec
from chainad.compiler.recording.replay import MISS, bind_arguments
from chainad.compiler.scalar.lower_to_scalars import LoweredScalars
from chainad.compiler.scalar.replay_batched import BatchedScalars, Outputs, Points
from chainad.compiler.scalar.replay_scalar import check_supported
from chainad.compiler.scalar.scalarize import data_arguments
from chainad.compiler.vectorize import BatchedArray, NotBatchableError
from chainad.errors import InputError
from chainad.frontends.captures.find_captures import RandomNumbersError
from chainad.frontends.numpy.trace import argument_name, as_input
from chainad.ir import exact_zeros
from chainad.ir.locks import fork_safe_lock
from chainad.ir.scalar_graph import NotScalarError
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.plan import Plan

Batch = int | Mapping[int, int]

# A function that has these and still finds no group for a point is replayed point by point.
MAX_GROUPS = 32

# Where there are fewer operations on scalars, whole arrays are never quicker.
MIN_SCALAR_OPS_FOR_ARRAYS = 300
# So many operations on scalars, each on all points, take as long as a call on stacks of arrays:
# measured on the functions of tests/functions.py.
SCALAR_OPS_PER_STACKED_CALL = 35


@dataclass(frozen=True)
class PointGroup:
    """What all points with the same branches have in common.

    Attributes
    ----------
    take : callable
        Finds the arguments that vary from call to call, or returns MISS.
    inputs : tuple of int
        The numbers of these arguments in the recording.
    positions : mapping
        Which of them are positional arguments.
    recorded : RecordedRun
    shapes : tuple
        Those of the results at one point: values, if these are returned, and Jacobians.
    run : callable
        Returns the results of some points, in an array `out` if that fits, and for which points
        they hold.
    plan : callable
        Returns the plan that `run` follows.
    """

    take: Callable[[tuple[Any, ...], dict[str, Any]], Any]
    inputs: tuple[int, ...]
    positions: Mapping[int, int]
    recorded: RecordedRun
    shapes: tuple[tuple[int, ...], ...]
    run: Callable[[list[Any], int, Any], Outputs]
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
        self._of = of
        self.batch = _checked_batch(batch)
        # By the number of arguments: the axes of points, and what is differentiated by.
        self._axes_by_count: dict[int, tuple[dict[int, int], tuple[int, ...]]] = {}
        self._groups: tuple[PointGroup, ...] = ()
        self._one_by_one = CompiledFunction(of)
        # How points go through: scalars and whole arrays, whichever is quicker first.
        self._strategies = [_as_arrays_if_quicker, _as_scalars, _as_arrays]
        if of.options.carries_masks:
            self._strategies = [_as_arrays]
        # By the number of arguments: what carries masks of exact zeros.
        self._masked: dict[int, BatchedDifferentiator] = {}
        self._lock = fork_safe_lock()

    def __repr__(self) -> str:
        return f"{repr(self._of)[:-1]}, batch={self.batch})"

    @property
    def programs(self) -> tuple[LoweredScalars, ...]:
        """The scalar program of each group of points that has one."""
        return tuple(g.program for g in self._groups if isinstance(g, ScalarGroup))

    def value_and_jacobians(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any = None
    ) -> tuple[Any, Any]:
        """Return what the function returns (None if not requested), and its Jacobians.

        These are `out` itself if they could be written there directly.
        """
        points = self._points(args)
        count = len(next(iter(points.values())))
        if count == 0:
            return self._at_no_points(args, points, kwargs)
        return self._together(args, points, kwargs, count, out)

    def _with_exact_zeros(
        self, blocks: Sequence[Points], args: tuple[Any, ...], points: dict[int, Points],
        kwargs: dict[str, Any],
    ) -> None:  # fmt: skip
        """Compute the Jacobians that are not finite once more, with masks of exact zeros."""
        if exact_zeros.is_finite(blocks):
            return
        is_finite = [np.isfinite(block.reshape(len(block), -1)).all(axis=1) for block in blocks]
        which = np.flatnonzero(~np.logical_and.reduce(is_finite))
        if not which.size:
            return
        masked = self._masked.get(len(args))
        if masked is None:
            options = replace(self._of.options, carries_masks=True)
            of = replace(self._of, options=options, has_value=False)
            masked = BatchedDifferentiator(of, dict.fromkeys(points, 0))
            self._masked[len(args)] = masked
        chosen = [points[k][which] if k in points else x for k, x in enumerate(args)]
        _, found = masked.value_and_jacobians(tuple(chosen), kwargs)
        for block, part in zip(blocks, _leaves(found), strict=True):
            block[which] = part

    def plan(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Plan | ChunkedPlan:
        """Return the plan that the first point's group follows, or that of one point by itself."""
        first = self._first(args)
        found = self._group(first, kwargs)
        return self._of.plan(first, kwargs) if found is None else found[0].plan()

    def _first(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the arguments of the first point, or of one of ones if there is none."""
        points = self._points(args)
        if len(next(iter(points.values()))):
            return _at(args, points, 0)
        return _at(args, {k: np.ones((1, *x.shape[1:]), x.dtype) for k, x in points.items()}, 0)

    def _points(self, args: tuple[Any, ...]) -> dict[int, Points]:
        """Return the arguments in the batch, by position, with the axis of points in front."""
        known = self._axes_by_count.get(len(args))
        if known is None:
            differentiated = self._of.options.positions(self._of.function, len(args))
            known = self._axes(len(args), differentiated), differentiated
            self._axes_by_count[len(args)] = known
        return _points(args, *known)

    def _axes(self, count: int, differentiated: Sequence[int]) -> dict[int, int]:
        """Return the axis of points by the position of the argument."""
        if isinstance(self.batch, int):
            return dict.fromkeys(differentiated, self.batch)
        axes = {}
        for k, axis in self.batch.items():
            if not -count <= k < count:
                raise InputError(
                    f"batch={self.batch} names positional argument {k}, but only {count} were given"
                )
            axes[k % count] = axis
        missing = sorted({*differentiated} - {*axes})
        if missing:
            raise InputError(
                f"batch={self.batch} must name the differentiated arguments, but lacks {missing};"
                " what all points share is not differentiated by"
            )
        return axes

    # ----------------------------------------------------------- all together

    def _together(
        self,
        args: tuple[Any, ...],
        points: dict[int, Points],
        kwargs: dict[str, Any],
        count: int,
        out: Any,
    ) -> tuple[Any, Any]:
        """Return values and Jacobians of all points, group by group."""
        remaining: npt.NDArray[np.intp] | None = None  # all of them
        results: list[Points] = []
        groups: list[PointGroup] = []
        has_exact_zeros = False
        for _ in range(MAX_GROUPS):
            first = 0 if remaining is None else int(remaining[0])
            found = self._group(_at(args, points, first), kwargs)
            if found is None:
                break
            group, taken = found
            run = partial(self._run, group, taken, points, remaining, count, out)
            made = attempt(run)
            if isinstance(made, Exception):
                self._give_up(group, made)
                return self._together(args, points, kwargs, count, out)
            parts, holds = made
            if holds is not None and not holds[0]:
                break  # a function that reads random numbers, or counts its calls
            groups.append(group)
            has_exact_zeros |= group.recorded.has_exact_zeros
            if remaining is None:
                results = parts
            elif group.shapes != groups[0].shapes:
                raise InputError("the results of the points have different shapes")
            else:
                of = remaining if holds is None else remaining[holds]
                for whole, part in zip(results, parts, strict=True):
                    whole[of] = part if holds is None else part[holds]
            if holds is None or holds.all():
                recorded = groups[0].recorded
                n = len(recorded.dtypes) if self._of.has_value else 0
                if has_exact_zeros and not self._of.options.carries_masks:
                    self._with_exact_zeros(results[n:], args, points, kwargs)
                values = tuple(results[:n]) if recorded.is_tuple else results[0] if n else None
                return values, recorded.nest.unflatten(results[n:])
            remaining = np.flatnonzero(~holds) if remaining is None else remaining[~holds]
        return self._one_after_the_other(args, points, kwargs, range(count))

    def _group(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[PointGroup, Any] | None:
        """Return a group that the point `args` belongs to, and what it takes; or None."""
        with self._lock:
            for group in self._groups:
                taken = group.take(args, kwargs)
                if taken is not MISS and _holds(group, taken):
                    return group, taken
            refusal: NotScalarError | None = None
            while self._strategies:
                strategy = self._strategies[0]
                made = attempt(
                    partial(_taken_by, strategy, self._of, args, kwargs),
                    lambda: self._of.traced(args, kwargs),
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
        points: dict[int, Points],
        which: npt.NDArray[np.intp] | None,
        count: int,
        out: Any,
    ) -> Outputs:
        """Return the results of a group for some points; `out` is for all of them."""
        inputs = []
        for number, value in zip(group.inputs, taken, strict=True):
            position = group.positions.get(number)
            if position not in points:
                inputs.append(value)
            else:
                everything = points[position]
                inputs.append(BatchedArray(everything if which is None else everything[which]))
        return (
            group.run(inputs, count, out) if which is None else group.run(inputs, len(which), None)
        )

    # ------------------------------------------------------------ one by one

    def _one_after_the_other(
        self,
        args: tuple[Any, ...],
        points: dict[int, Points],
        kwargs: dict[str, Any],
        which: Sequence[int],
    ) -> tuple[Any, Any]:
        """Return values and Jacobians of all points, replayed one after the other."""
        found = [self._one_by_one(*_at(args, points, k), **kwargs) for k in which]
        if not self._of.has_value:
            return None, _stacked(found)
        values, jacobians = zip(*found, strict=True)
        return _stacked(values), _stacked(jacobians)

    def _at_no_points(
        self, args: tuple[Any, ...], points: dict[int, Points], kwargs: dict[str, Any]
    ) -> tuple[Any, Any]:
        """Return arrays of no points, of the shapes that the function has at ones."""
        with np.errstate(all="ignore"):
            value, jacobian = self._one_after_the_other(self._first(args), {}, kwargs, range(1))
        return _emptied(value), _emptied(jacobian)


def _taken_by(
    strategy: Callable[..., PointGroup],
    of: Differentiator,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[PointGroup, Any]:
    """Return the group that a strategy makes for a point, and what it takes."""
    group = strategy(of, args, kwargs)
    return group, group.take(args, kwargs)


def _as_scalars(of: Differentiator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ScalarGroup:
    """Record a function at one point, as operations on scalars."""
    found = replace(record_run(of, args, kwargs), local_jacobians=())
    program = scalar_program(of, found)
    if of.options.backend in ("python", "numba"):
        check_supported(program, of.options.backend)
    run_scalars = BatchedScalars(program, of.options.backend)

    def run(inputs: list[Any], count: int, out: Any) -> Outputs:
        rows = [
            x.data.reshape(count, -1)
            if isinstance(x, BatchedArray)
            else np.broadcast_to(np.reshape(x, (1, -1)), (count, np.size(x)))
            for x in inputs
        ]
        return run_scalars(rows, count, out)

    plan = plan_on_scalars(found, program)
    return ScalarGroup(
        *_arguments(found, holds_constants=True), found, _shapes(of, found), run, plan, program
    )


def _as_arrays(of: Differentiator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> PointGroup:
    """Record a function at one point, as operations on whole arrays; try it on that point."""
    if of.options.memory_limit is not None:
        raise NotBatchableError("memory_limit= is for one point at a time")
    found = replace(record_planned_run(of, args, kwargs), local_jacobians=())
    shapes = _shapes(of, found)
    take, numbers, positions = _arguments(found, holds_constants=False)

    def run(inputs: list[Any], count: int, out: Any) -> Outputs:
        by_number = dict(zip(numbers, inputs, strict=True))
        return run_batched(found, by_number, count, shapes, of.has_value)

    group = PointGroup(take, numbers, positions, found, shapes, run, found.plan())
    _holds_at(group, group.take(args, kwargs))
    return group


def _as_arrays_if_quicker(
    of: Differentiator, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> PointGroup:
    """Record a function as operations on whole arrays, if these are much fewer."""
    if of.options.backend in ("python", "numba"):
        raise NotBatchableError(f"backend={of.options.backend!r}")
    group = _as_scalars(of, args, kwargs)
    lines, calls = len(group.program.ssa.instructions), len(group.recorded.recording.calls)
    if lines < max(MIN_SCALAR_OPS_FOR_ARRAYS, SCALAR_OPS_PER_STACKED_CALL * calls):
        return group
    arrays = _as_arrays(of, args, kwargs)
    assert isinstance(arrays.recorded, PlannedRun)
    program = arrays.recorded.program.program
    calls += 0 if program is None else len(program.instructions)
    return group if lines < SCALAR_OPS_PER_STACKED_CALL * calls else arrays


def _arguments(
    found: RecordedRun, holds_constants: bool
) -> tuple[Callable[..., Any], tuple[int, ...], Mapping[int, int]]:
    """Return what takes the arguments that vary, their numbers, and which are positional."""
    names = Namespace()
    lines = bind_arguments(found.recording, names, holds_constants)
    numbers = tuple(data_arguments(found.recording))
    lines.append(f"return ({''.join(f'v{number}, ' for number in numbers)})")
    take, _ = names.define("take(args, kwargs)", lines)
    positional, _ = found.recording.arguments
    positions = {
        item.number: int(k)
        for k, item in positional.items
        if isinstance(item, (ArraySpec, ScalarSpec))
    }
    return take, numbers, positions


def _shapes(of: Differentiator, found: RecordedRun) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of the results at one point."""
    return (*found.shapes, *found.block_shapes) if of.has_value else found.block_shapes


def _holds(group: PointGroup, taken: Sequence[Any]) -> bool:
    """Return whether a point has the branches of a group."""
    return not group.recorded.recording.guards or _holds_at(group, taken)


def _holds_at(group: PointGroup, taken: Sequence[Any]) -> bool:
    """Run a group on one point; return whether its guards hold there."""
    _, holds = group.run([BatchedArray(np.asarray(x)[None]) for x in taken], 1, None)
    return holds is None or bool(holds[0])


# -------------------------------------------------------------------- helpers


def _checked_batch(batch: Any) -> Batch:
    if _is_int(batch):
        return int(batch)
    is_mapping = isinstance(batch, Mapping) and batch
    if is_mapping and all(_is_int(k) and _is_int(axis) for k, axis in batch.items()):
        return {int(k): int(axis) for k, axis in batch.items()}
    raise InputError(
        "batch must be the axis of points of the differentiated arguments (an int), or a mapping"
        f" from positions of arguments to axes, but got {batch!r}"
    )


def _is_int(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _points(
    args: tuple[Any, ...], axes: Mapping[int, int], differentiated: Sequence[int]
) -> dict[int, Points]:
    """Return the arguments in the batch, by position, with the axis of points in front."""
    found: dict[int, Points] = {}
    for k, axis in axes.items():
        value = args[k]
        if k in differentiated:
            value = as_input(value, partial(argument_name, k))
        array = np.asarray(value)
        if not -array.ndim <= axis < array.ndim:
            raise InputError(
                f"batch={axis} asks for axis {axis} of argument {k}, but its shape is {array.shape}"
            )
        if axis % array.ndim:
            array = np.moveaxis(array, axis, 0)
        found[k] = array if array.flags.c_contiguous else np.ascontiguousarray(array)
    if len(found) > 1 and len({len(array) for array in found.values()}) > 1:
        counts = ", ".join(f"{len(array)} in argument {k}" for k, array in found.items())
        raise InputError(
            f"the arguments of a batch must have one number of points, but got {counts}"
        )
    return found


def _at(args: tuple[Any, ...], points: Mapping[int, Points], k: int) -> tuple[Any, ...]:
    """Return the arguments of one point."""
    return tuple([points[p][k] if p in points else value for p, value in enumerate(args)])


def _stacked(results: Sequence[Any]) -> Any:
    """Stack the results of all points, which may be nested in tuples."""
    if isinstance(results[0], tuple):
        return tuple(_stacked(each) for each in zip(*results, strict=True))
    shapes = {np.shape(x) for x in results}
    if len(shapes) > 1:
        raise InputError(
            "the results of the points have different shapes:"
            f" {', '.join(map(str, sorted(shapes)))}"
        )
    return np.stack(results)


def _leaves(result: Any) -> list[Any]:
    """Return the arrays of a nested result."""
    if isinstance(result, tuple):
        return [x for part in result for x in _leaves(part)]
    return [result]


def _emptied(result: Any) -> Any:
    if isinstance(result, tuple):
        return tuple(_emptied(each) for each in result)
    return None if result is None else result[:0]
