"""Batches: the Jacobians of many points at once, from a function written for one.

The function is recorded at one point. Where it is made of operations on single numbers, all points
go through these together; a point where something else is read off values (another branch) is found
by the guards, and goes to a group of its own. What cannot be written so is replayed point by point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chainad.api.choose import LINES_PER_CALL, as_program, planned, planned_singly, warn_of_fallback
from chainad.api.compiled import CompiledFunction
from chainad.api.recorded import Differentiator, Recorded, recorded
from chainad.api.run_stacked import run_stacked
from chainad.compiler.recording.arguments import ArraySpec, ScalarSpec
from chainad.compiler.recording.expressions import Names
from chainad.compiler.recording.replay import MISS
from chainad.compiler.scalar.lower_to_scalars import LoweredScalars
from chainad.compiler.scalar.replay_batched import BatchedScalars, Outputs, Points
from chainad.compiler.scalar.replay_scalar import bind_arguments, check_supported
from chainad.compiler.scalar.scalarize import data_arguments
from chainad.compiler.vectorize import BatchedArray, NotBatchableError
from chainad.errors import InputError
from chainad.frontends.numpy.trace import as_input
from chainad.ir.locks import fork_safe_rlock
from chainad.ir.scalar_graph import NotScalarError
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.plan import Plan

Batch = int | Mapping[int, int]

# So many groups of points are kept; a function that still finds none is replayed point by point.
MANY = 32

# Of fewer operations on single numbers, no whole array is quicker.
SMALL = 300


@dataclass(frozen=True)
class Group:
    """What all points with the same branches have in common.

    `take` finds the arguments that flow, or returns MISS; `flows` are their numbers, `positions`
    tells which are positional arguments. `run` returns values and Jacobians of some points, of
    `shapes`, in an array `out` if that fits, and for which points they hold; `program` is None
    where it runs whole arrays. `plan` gives the plan that either follows.
    """

    take: Callable[[tuple[Any, ...], dict[str, Any]], Any]
    flows: tuple[int, ...]
    positions: Mapping[int, int]
    found: Recorded
    shapes: tuple[tuple[int, ...], ...]
    has_value: bool
    run: Callable[[list[Any], int, Any], Outputs]
    program: LoweredScalars | None
    plan: Callable[[], Plan | ChunkedPlan]


class ManyPoints:
    """Values and Jacobians of a function at many points: what `jacobian(f, batch=...)` calls."""

    def __init__(self, of: Differentiator, batch: Batch) -> None:
        if of.how.output != "dense":
            raise InputError(
                f"output={of.how.output!r} with batch= is not offered; the Jacobians of a batch are"
                " dense, one per point. (A function written for whole batches has"
                " output='structured'.)"
            )
        self._of = of
        self.batch = _checked_batch(batch)
        # By the number of arguments: the axes of points, and what is differentiated by.
        self._places: dict[int, tuple[dict[int, int], tuple[int, ...]]] = {}
        self._groups: tuple[Group, ...] = ()
        self._one_by_one = CompiledFunction(of)
        # How points go through: single numbers and whole arrays, whichever is quicker first.
        self._ways = [_as_arrays_if_quicker, _as_scalars, _as_arrays]
        self._lock = fork_safe_rlock()

    @property
    def programs(self) -> tuple[LoweredScalars, ...]:
        """What runs for each group of points."""
        return tuple(g.program for g in self._groups if g.program is not None)

    def both(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any = None
    ) -> tuple[Any, Any]:
        """Return what the function returns (None if it is not asked for), and its Jacobians.

        These are `out` itself if they could be written there directly.
        """
        points = self._points(args)
        count = len(next(iter(points.values())))
        if count == 0:
            return self._nowhere(args, points, kwargs)
        return self._together(args, points, kwargs, count, out)

    def plan(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Plan | ChunkedPlan | None:
        """Return the plan that the first point's group follows; None if points go one by one."""
        found = self._group(self.first(args), kwargs)
        return None if found is None else found[0].plan()

    def first(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the arguments of the first point, or of one of ones if there is none."""
        points = self._points(args)
        if len(next(iter(points.values()))):
            return _at(args, points, 0)
        return _at(args, {k: np.ones((1, *x.shape[1:]), x.dtype) for k, x in points.items()}, 0)

    def _points(self, args: tuple[Any, ...]) -> dict[int, Points]:
        """Return the arguments in the batch, by position, with the axis of points in front."""
        known = self._places.get(len(args))
        if known is None:
            differentiated = self._of.how.positions(len(args))
            known = self._axes(len(args), differentiated), differentiated
            self._places[len(args)] = known
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
        left: npt.NDArray[np.intp] | None = None  # all of them
        results: list[Points] = []
        first: Group | None = None
        for _ in range(MANY):
            found = self._group(_at(args, points, 0 if left is None else int(left[0])), kwargs)
            if found is None:
                break
            group, taken = found
            try:
                parts, holds = self._run(group, taken, points, left, count, out)
            except NotBatchableError:
                self._forget(group)
                return self._together(args, points, kwargs, count, out)
            if holds is not None and not holds[0]:
                break  # a function that reads random numbers, or counts its calls
            if first is None:
                first, results = group, parts
            elif group.shapes != first.shapes:
                raise InputError("the results of the points have different shapes")
            else:
                assert left is not None
                of = left if holds is None else left[holds]
                for whole, part in zip(results, parts, strict=True):
                    whole[of] = part if holds is None else part[holds]
            if holds is None or holds.all():
                n = len(first.found.kinds) if first.has_value else 0
                values = tuple(results[:n]) if first.found.is_tuple else results[0] if n else None
                return values, first.found.nested(results[n:])
            left = np.flatnonzero(~holds) if left is None else left[~holds]
        return self._apart(args, points, kwargs, range(count))

    def _group(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Group, Any] | None:
        """Return a group that the point `args` belongs to, and what it takes; or None."""
        with self._lock:
            for group in self._groups:
                taken = group.take(args, kwargs)
                if taken is not MISS and _holds(group, taken):
                    return group, taken
            while self._ways:
                try:
                    group = self._ways[0](self._of, args, kwargs)
                except NotScalarError as error:
                    if self._ways.pop(0) is _as_scalars:
                        warn_of_fallback(self._of.how.backend, error)
                except NotBatchableError:
                    self._ways.pop(0)
                else:
                    self._groups = (group, *self._groups[: MANY - 1])
                    return group, group.take(args, kwargs)
            return None

    def _forget(self, group: Group) -> None:
        """Go another way from now on: whole arrays turned out not to fit."""
        with self._lock:
            if group in self._groups:  # another thread may have been here
                self._ways.pop(0)
                self._groups = tuple(g for g in self._groups if g.program is not None)

    def _run(
        self,
        group: Group,
        taken: Sequence[Any],
        points: dict[int, Points],
        which: npt.NDArray[np.intp] | None,
        count: int,
        out: Any,
    ) -> Outputs:
        """Return the results of a group for some points; `out` is for all of them."""
        inputs = []
        for number, value in zip(group.flows, taken, strict=True):
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

    def _apart(
        self,
        args: tuple[Any, ...],
        points: dict[int, Points],
        kwargs: dict[str, Any],
        which: Sequence[int],
    ) -> tuple[Any, Any]:
        """Return values and Jacobians of all points, replayed one after the other."""
        pairs = [self._one_by_one.both(_at(args, points, k), kwargs) for k in which]
        values, jacobians = zip(*pairs, strict=True)
        has_value = self._of.verb == "value_and_jacobian"
        return _stacked(values) if has_value else None, _stacked(jacobians)

    def _nowhere(
        self, args: tuple[Any, ...], points: dict[int, Points], kwargs: dict[str, Any]
    ) -> tuple[Any, Any]:
        """Return arrays of no points, of the shapes that the function has at ones."""
        with np.errstate(all="ignore"):
            value, jacobian = self._apart(self.first(args), {}, kwargs, range(1))
        return _emptied(value), _emptied(jacobian)


def _as_scalars(of: Differentiator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Group:
    """Record a function at one point, as operations on single numbers."""
    found = recorded(of, args, kwargs, as_scalars=True)
    program = as_program(of, found, of.verb == "value_and_jacobian")
    if of.how.backend in ("python", "numba"):
        check_supported(program, of.how.backend)
    many = BatchedScalars(program, of.how.backend)

    def run(inputs: list[Any], count: int, out: Any) -> Outputs:
        rows = [
            x.data.reshape(count, -1)
            if isinstance(x, BatchedArray)
            else np.broadcast_to(np.reshape(x, (1, -1)), (count, np.size(x)))
            for x in inputs
        ]
        return many(rows, count, out)

    return _grouped(of, found, run, planned_singly(of, found, program), program)


def _as_arrays(of: Differentiator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Group:
    """Record a function at one point, as operations on whole arrays; try it on that point."""
    if of.how.limit is not None:
        raise NotBatchableError("memory_limit= is for one point at a time")
    found = recorded(of, args, kwargs)
    has_value = of.verb == "value_and_jacobian"
    shapes = (*found.shapes, *found.block_shapes) if has_value else found.block_shapes
    numbers = tuple(data_arguments(found.recording))

    def run(inputs: list[Any], count: int, out: Any) -> Outputs:
        return run_stacked(found, dict(zip(numbers, inputs, strict=True)), count, shapes, has_value)

    group = _grouped(of, found, run, planned(found))
    _holds_at(group, group.take(args, kwargs))
    return group


def _as_arrays_if_quicker(
    of: Differentiator, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Group:
    """Record a function as operations on whole arrays, if these are much fewer."""
    if of.how.backend in ("python", "numba"):
        raise NotBatchableError(f"backend={of.how.backend!r}")
    group = _as_scalars(of, args, kwargs)
    assert group.program is not None
    lines, calls = len(group.program.ssa.instructions), len(group.found.recording.calls)
    return group if lines < max(SMALL, LINES_PER_CALL * calls) else _as_arrays(of, args, kwargs)


def _grouped(
    of: Differentiator,
    found: Recorded,
    run: Callable[[list[Any], int, Any], Outputs],
    plan: Callable[[], Plan | ChunkedPlan],
    program: LoweredScalars | None = None,
) -> Group:
    names = Names()
    lines = bind_arguments(found.recording, names, holds_constants=program is not None)
    flows = tuple(data_arguments(found.recording))
    body = "\n    ".join([*lines, f"return ({''.join(f'v{number}, ' for number in flows)})"])
    text = f"def take(args, kwargs):\n    {body}\n"
    exec(compile(text, "<chainad batch>", "exec"), names.objects)
    positional, _ = found.recording.arguments
    positions = {
        item.number: int(k)
        for k, item in positional.items
        if isinstance(item, (ArraySpec, ScalarSpec))
    }
    has_value = of.verb == "value_and_jacobian"
    shapes = (*found.shapes, *found.block_shapes) if has_value else found.block_shapes
    take = names.objects["take"]
    return Group(take, flows, positions, found, shapes, has_value, run, program, plan)


def _holds(group: Group, taken: Sequence[Any]) -> bool:
    """Return whether a point has the branches of a group."""
    return not group.found.recording.guards or _holds_at(group, taken)


def _holds_at(group: Group, taken: Sequence[Any]) -> bool:
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
        value = as_input(args[k], k) if k in differentiated else np.asarray(args[k])
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


def _emptied(result: Any) -> Any:
    if isinstance(result, tuple):
        return tuple(_emptied(each) for each in result)
    return None if result is None else result[:0]
