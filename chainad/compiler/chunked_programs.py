"""Chunked programs: one for every chunk of a plan, which writes its block into the result."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainad.compiler.lower import Lowered, lower
from chainad.compiler.target import Target
from chainad.ir.array_functions import indexer_of, is_ndarray, place
from chainad.ir.program import Runner
from chainad.ir.progress import Meter, ProgressOption
from chainad.planning.chunked import Chunk, ChunkedPlan
from chainad.structure import Ops
from chainad.structure.results import DenseForm


@dataclass(frozen=True, eq=False)
class ChunkedPrograms:
    """The programs of a chunked plan; called with the slots of the whole graph, it runs them.

    Blocks are written into preallocated arrays, so that only one block is alive alongside these.

    Attributes
    ----------
    plan : ChunkedPlan
    programs : tuple
        Every part of the plan, what it is lowered to, what runs that, and the slots of the whole
        graph that this takes.
    forms : tuple of DenseForm or None
        The form of every result, outputs first; None stands for a zero one.
    """

    plan: ChunkedPlan
    programs: tuple[tuple[Chunk, Lowered, Runner, tuple[int | None, ...]], ...]
    forms: tuple[DenseForm | None, ...]

    @property
    def used_slots(self) -> tuple[int, ...]:
        """The slots that are read."""
        read = {
            slots[k] for _, lowered, _, slots in self.programs for k in lowered.program.used_slots
        }
        return tuple(sorted(k for k in read if k is not None))

    def __call__(
        self,
        slots: Sequence[Any],
        out: Sequence[Any] | None = None,
        progress: ProgressOption = False,
    ) -> tuple[Any, ...]:
        """Return the dense results that are not zero, written into the arrays `out` if given."""
        buffers = iter(out or ())
        results = [
            None if form is None else _ChunkedResult(form.shape, next(buffers, None))
            for form in self.forms
        ]
        with Meter(progress, "blocks", len(self.programs)) as meter:
            for chunk, lowered, runner, taken in self.programs:
                arrays = iter(runner([None if k is None else slots[k] for k in taken]))
                for k, form in enumerate(lowered.forms):
                    number = _result_of(self.plan, chunk, k)
                    result = results[number]
                    if result is None:
                        continue
                    axis = _axis(self.plan, chunk, number)
                    if form is None:
                        result.clear(axis, chunk)
                    else:
                        result.write(axis, chunk, next(arrays))
                meter.advance(1)
        return tuple(result.array for result in results if result is not None)


class _ChunkedResult:
    """One result while its blocks are computed, in an array that may be given."""

    def __init__(self, shape: tuple[int, ...], array: Any) -> None:
        self.shape = shape
        self.array = array

    def write(self, axis: int | None, chunk: Chunk, block: Any) -> None:
        """Write a block at its positions along `axis`, or, if that is None, take it as a whole."""
        where = range(chunk.start, chunk.stop)
        if is_ndarray(block) or isinstance(block, np.generic):
            if self.array is None:
                self.array = np.zeros(self.shape, block.dtype)
            if is_ndarray(self.array):
                self.array[_key(axis, where)] = block
                return
        # Traced, for a Jacobian that is differentiated again: there is no writing in place.
        placed = block if axis is None else place(block, axis, where, self.shape[axis])
        self.array = placed if self.array is None else self.array + placed

    def clear(self, axis: int | None, chunk: Chunk) -> None:
        """Write a block of zeros into an array that was given."""
        if is_ndarray(self.array):
            self.array[_key(axis, range(chunk.start, chunk.stop))] = 0


def _key(axis: int | None, where: range) -> tuple[Any, ...]:
    return () if axis is None else (slice(None),) * axis + (indexer_of(where),)


def compile_chunks(
    plan: ChunkedPlan,
    arrangements: Sequence[Ops],
    target: Target,
    selections: Container[int] | None = None,
) -> ChunkedPrograms:
    """Return the programs of a chunked plan; `arrangements` are those of its local Jacobians.

    With `selections`, they carry masks of exact zeros, as in `lower`.
    """
    programs: list[tuple[Chunk, Lowered, Runner, tuple[int | None, ...]]] = []
    shapes = plan.graph.shapes
    ends = [(o, i) for o in plan.graph.outputs for i in plan.graph.inputs]
    forms: list[DenseForm | None] = [None] * len(ends)
    for chunk in plan.chunks:
        slots: tuple[int | None, ...] = (*chunk.slots, None)
        own = [() if k is None else arrangements[k] for k in slots]
        of_chunk = None
        if selections is not None:
            of_chunk = {n for n, k in enumerate(slots) if k is not None and k in selections}
            slots += tuple(None if k is None else k + len(arrangements) for k in slots)
        lowered = lower(chunk.plan, own, "dense", target.passes, of_chunk)
        programs.append((chunk, lowered, target.build(lowered.program), slots))
        for k, form in enumerate(lowered.forms):
            if form is not None:
                number = _result_of(plan, chunk, k)
                output, given = ends[number]
                forms[number] = DenseForm((*shapes[output], *shapes[given]))
    return ChunkedPrograms(plan, tuple(programs), tuple(forms))


def _result_of(plan: ChunkedPlan, chunk: Chunk, number: int) -> int:
    """Return which result of the whole plan the `number`-th result of a part belongs to."""
    n = len(plan.graph.inputs)
    return number * n + chunk.end if plan.side == "columns" else chunk.end * n + number


def _axis(plan: ChunkedPlan, chunk: Chunk, result: int) -> int | None:
    """Return the axis of a result along which its blocks lie; None if it is one block."""
    graph = plan.graph
    output, given = divmod(result, len(graph.inputs))
    ends = graph.shapes[graph.outputs[output]], graph.shapes[graph.inputs[given]]
    if plan.side == "columns":
        return len(ends[0]) + chunk.axis if ends[1] else None
    return chunk.axis if ends[0] else None
