"""Chunked programs: one for every chunk of a plan, which writes its block into the result."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from chainad.compiler.lower import Lowered, lower
from chainad.compiler.target import Target
from chainad.ir.array_functions import is_ndarray, is_traced, place
from chainad.ir.cache import cached_property
from chainad.ir.exact_zeros import is_finite
from chainad.ir.executors import Replica, Task, run_tasks
from chainad.ir.pickling import fields_alone
from chainad.ir.program import Runner
from chainad.ir.progress import Meter, ProgressOption
from chainad.planning.chunked import Chunk, ChunkedPlan
from chainad.structure import Ops
from chainad.structure.results import DenseForm


class Part(NamedTuple):
    """What a block is of one result: the indices `where` of `axis`, or, if that is None, all of it.

    `array` is None where it is zero.
    """

    result: int
    axis: int | None
    where: range | None
    array: Any

    @property
    def key(self) -> tuple[slice, ...]:
        """Where the part lies in the result."""
        if self.axis is None or self.where is None:
            return ()
        return (*(slice(None),) * self.axis, slice(self.where.start, self.where.stop))


@dataclass(frozen=True, eq=False)
class BlockProgram:
    """The program of one block, pickled as what it is made from.

    Attributes
    ----------
    chunk : Chunk
    arrangements : sequence of Ops
        Those of its local Jacobians.
    slots : tuple of (int or None)
        What it takes of the slots of the whole graph.
    target : Target
    selections : frozenset of int, optional
        Of its local Jacobians, those that may have exact zeros, if it carries masks of these.
    """

    chunk: Chunk
    arrangements: tuple[Ops, ...]
    slots: tuple[int | None, ...]
    target: Target
    selections: frozenset[int] | None

    __getstate__ = fields_alone

    @cached_property
    def lowered(self) -> Lowered:
        """What it is lowered to."""
        passes = self.target.passes
        return lower(self.chunk.plan, self.arrangements, "dense", passes, self.selections)

    @cached_property
    def run(self) -> Runner:
        """What runs it, on what it takes."""
        return self.target.build(self.lowered.program)

    def taken(self, slots: Sequence[Any]) -> list[Any]:
        """Return what the block takes of the slots of the whole graph."""
        read = {*self.lowered.program.used_slots}
        return [None if k is None or n not in read else slots[k] for n, k in enumerate(self.slots)]


def _run_block(program: Replica[BlockProgram], taken: Sequence[Any]) -> tuple[Any, ...]:
    with np.errstate(all="ignore"):
        return program.value.run(taken)


@dataclass(frozen=True, eq=False)
class ChunkedPrograms:
    """The programs of a chunked plan; called with the slots of the whole graph, it runs them.

    Blocks are written into preallocated arrays, so that only one block is alive alongside these.

    Attributes
    ----------
    plan : ChunkedPlan
    programs : tuple of BlockProgram
    forms : tuple of DenseForm or None
        The form of every result, outputs first; None stands for a zero one.
    progress : bool or callable
        What is told how many blocks are made.
    executor : Executor or None
        What makes them.
    """

    plan: ChunkedPlan
    programs: tuple[BlockProgram, ...]
    forms: tuple[DenseForm | None, ...]
    progress: ProgressOption = False
    executor: Executor | None = None

    @property
    def used_slots(self) -> tuple[int, ...]:
        """The slots that are read."""
        read = {each.slots[k] for each in self.programs for k in each.lowered.program.used_slots}
        return tuple(sorted(k for k in read if k is not None))

    def places(self, number: int) -> Iterator[Part]:
        """Yield where one block, given by its number, lies in the results that it is of."""
        program = self.programs[number]
        chunk = program.chunk
        for k in range(len(program.lowered.forms)):
            result = result_of(self.plan, chunk, k)
            axis = axis_of(self.plan, chunk, result)
            yield Part(result, axis, None if axis is None else range(chunk.start, chunk.stop), None)

    def block(self, number: int, slots: Sequence[Any]) -> Iterator[Part]:
        """Yield what one block has of these results."""
        program = self.programs[number]
        return self._parts(number, program.run(program.taken(slots)))

    def _parts(self, number: int, results: Sequence[Any]) -> Iterator[Part]:
        arrays = iter(results)
        for part, form in zip(
            self.places(number), self.programs[number].lowered.forms, strict=True
        ):
            yield part if form is None else part._replace(array=next(arrays))

    def __call__(
        self,
        slots: Sequence[Any],
        out: Sequence[Any] | None = None,
        masked: Callable[[int], Iterable[Part]] | None = None,
    ) -> tuple[Any, ...]:
        """Return the dense results that are not zero, written into the arrays `out` if given.

        `masked` returns a block by its number with masks of exact zeros, if it is not finite.
        """
        buffers = iter(out or ())
        results = [
            None if form is None else _ChunkedResult(form.shape, next(buffers, None))
            for form in self.forms
        ]
        # What is traced is traced in this thread.
        executor = None if any(map(is_traced, slots)) else self.executor
        tasks = [
            Task(slice(number, number + 1), _run_block, (Replica(program), program.taken(slots)))
            for number, program in enumerate(self.programs)
        ]
        with Meter(self.progress, "blocks", len(self.programs)) as meter:

            def accept(which: slice, found: tuple[Any, ...]) -> None:
                number = which.start
                for part in exact(self._parts(number, found), number, masked):
                    result = results[part.result]
                    if result is not None:
                        result.write(part)

            run_tasks(executor, tasks, accept, meter, self.plan.at_once)
        return tuple(result.array for result in results if result is not None)


def exact(
    parts: Iterable[Part], number: int, masked: Callable[[int], Iterable[Part]] | None
) -> Iterable[Part]:
    """Return the parts of a block, or what `masked` makes of it if they are not finite."""
    if masked is None:
        return parts
    parts = [*parts]
    arrays = [part.array for part in parts]
    return parts if any(map(is_traced, arrays)) or is_finite(arrays) else masked(number)


class _ChunkedResult:
    """One result while its blocks are computed, in an array that may be given."""

    def __init__(self, shape: tuple[int, ...], array: Any) -> None:
        self.shape = shape
        self.array = array

    def write(self, part: Part) -> None:
        """Write a part at its positions; zeros are those of an array that is new."""
        _, axis, where, block = part
        if block is None:
            if is_ndarray(self.array):
                self.array[part.key] = 0
            return
        if is_ndarray(block) or isinstance(block, np.generic):
            if self.array is None:
                self.array = np.zeros(self.shape, block.dtype)
            if is_ndarray(self.array):
                self.array[part.key] = block
                return
        # Traced, for a Jacobian that is differentiated again: there is no writing in place.
        placed = block
        if axis is not None and where is not None:
            placed = place(block, axis, where, self.shape[axis])
        self.array = placed if self.array is None else self.array + placed


def compile_chunks(
    plan: ChunkedPlan,
    arrangements: Sequence[Ops],
    target: Target,
    selections: Container[int] | None = None,
) -> ChunkedPrograms:
    """Return the programs of a chunked plan; `arrangements` are those of its local Jacobians.

    With `selections`, they carry masks of exact zeros, as in `lower`.
    """
    programs: list[BlockProgram] = []
    shapes = plan.graph.shapes
    ends = [(o, i) for o in plan.graph.outputs for i in plan.graph.inputs]
    forms: list[DenseForm | None] = [None] * len(ends)
    for chunk in plan.chunks:
        slots: tuple[int | None, ...] = (*chunk.slots, None)
        own = tuple([() if k is None else arrangements[k] for k in slots])
        of_chunk = None
        if selections is not None:
            of_chunk = frozenset(
                n for n, k in enumerate(slots) if k is not None and k in selections
            )
            slots += tuple(None if k is None else k + len(arrangements) for k in slots)
        program = BlockProgram(chunk, own, slots, target, of_chunk)
        programs.append(program)
        for k, form in enumerate(program.lowered.forms):
            if form is not None:
                number = result_of(plan, chunk, k)
                output, given = ends[number]
                forms[number] = DenseForm((*shapes[output], *shapes[given]))
    return ChunkedPrograms(plan, tuple(programs), tuple(forms))


def result_of(plan: ChunkedPlan, chunk: Chunk, number: int) -> int:
    """Return which result of the whole plan the `number`-th result of a part belongs to."""
    n = len(plan.graph.inputs)
    return number * n + chunk.end if plan.side == "columns" else chunk.end * n + number


def axis_of(plan: ChunkedPlan, chunk: Chunk, result: int) -> int | None:
    """Return the axis of a result along which its blocks lie; None if it is one block."""
    graph = plan.graph
    output, given = divmod(result, len(graph.inputs))
    ends = graph.shapes[graph.outputs[output]], graph.shapes[graph.inputs[given]]
    if plan.side == "columns":
        return len(ends[0]) + chunk.axis if ends[1] else None
    return chunk.axis if ends[0] else None
