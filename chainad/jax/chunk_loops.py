"""Plans in blocks for XLA: blocks that are alike are the steps of one loop, compiled once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from chainad.backends.array_api import ARRAY_FUNCTIONS, ArrayLibrary, LibraryNamespace, index_add_at
from chainad.backends.bound_program import BoundProgram
from chainad.backends.numpy.build import bound_op
from chainad.backends.numpy.emit import emit_standard
from chainad.compiler.chunked_programs import ChunkedPrograms, axis_of, compile_chunks, result_of
from chainad.compiler.rerolled_programs import AtMoving, Moving, reroll, template
from chainad.compiler.target import Target
from chainad.ir.op import Op
from chainad.ir.positions import Integers, Positions
from chainad.ir.program import Program, Runner
from chainad.ir.shapes import resized
from chainad.jax.xla_emission import XlaLibrary
from chainad.planning.chunked import ChunkedPlan
from chainad.structure import Ops


@dataclass(frozen=True)
class Span:
    """Positions from `start` on, which is traced, in steps."""

    start: Any
    count: int
    step: int

    @property
    def extent(self) -> int:
        """How many places there are from the first to the last one."""
        return (self.count - 1) * self.step + 1

    @property
    def index(self) -> Any:
        return self.start + self.step * jnp.arange(self.count)


class LoopLibrary(ArrayLibrary):
    """JAX as an array library where positions are traced: vectors, or spans."""

    @property
    def functions(self) -> dict[str, Callable[..., Any]]:
        plain = {name: partial(_without_spans, own) for name, own in ARRAY_FUNCTIONS.items()}
        return {**plain, "take": _take, "place": _place, "add_at": _add_at}


def _without_spans(function: Callable[..., Any], library: ArrayLibrary, *args: Any) -> Any:
    given = [[_index(x) for x in arg] if isinstance(arg, list) else _index(arg) for arg in args]
    return function(library, *given)


def _index(value: Any) -> Any:
    return value.index if isinstance(value, Span) else value


def _take(library: ArrayLibrary, x: Any, axis: int, where: Any) -> Any:
    if not isinstance(where, Span):
        return x.at[(slice(None),) * axis + (where,)].get(mode="promise_in_bounds")
    taken = lax.dynamic_slice_in_dim(x, where.start, where.extent, axis)
    return lax.slice_in_dim(taken, 0, None, where.step, axis)


def _place(library: ArrayLibrary, x: Any, axis: int, where: Any, size: int) -> Any:
    if not isinstance(where, Span):
        return ARRAY_FUNCTIONS["place"](library, x, axis, where, size)
    padding = [(0, 0, where.step - 1 if k == axis else 0) for k in range(x.ndim)]
    spread = lax.pad(x, jnp.zeros((), x.dtype), padding)
    zeros = jnp.zeros(resized(x.shape, axis, size), x.dtype)
    return lax.dynamic_update_slice_in_dim(zeros, spread, where.start, axis)


def _add_at(library: ArrayLibrary, x: Any, axis: int, where: Any, y: Any) -> Any:
    if not isinstance(where, Span) or where.step > 1:
        return ARRAY_FUNCTIONS["add_at"](library, x, axis, _index(where), y)
    before = lax.dynamic_slice_in_dim(x, where.start, where.count, axis)
    return lax.dynamic_update_slice_in_dim(x, before + y, where.start, axis)


class _LoopNamespace(LibraryNamespace):
    """Names of an op whose positions are operands of these names, in their order."""

    def __init__(self, library: ArrayLibrary, moving: Sequence[Moving], args: Sequence[str]):
        super().__init__(library)
        self.objects["Span"] = Span
        self._moving = iter(
            f"Span({arg}, {each.count}, {each.step})" if each.step else arg
            for each, arg in zip(moving, args, strict=True)
        )

    def positions(self, where: Positions) -> str:
        return next(self._moving)

    indexer = positions

    def regions(self, where: tuple[Positions, ...]) -> str:
        return f"[{', '.join(self.positions(each) for each in where)}]"


def _bind(fixed: ArrayLibrary, moved: ArrayLibrary, op: Op, count: int) -> Callable[..., Any]:
    """Return an op as a function of its operands."""
    if not isinstance(op, AtMoving):
        return bound_op(op, count, emit_standard, partial(LibraryNamespace, fixed))
    args = [f"r{k}" for k in range(count)]
    split = count - len(op.moving)
    names = _LoopNamespace(moved, op.moving, args[split:])
    text = emit_standard(op.op, args[:split], names)
    made: Callable[..., Any] = names.evaluate(f"lambda {', '.join(args)}: {text}")
    return made


@dataclass(frozen=True, eq=False)
class _Loop:
    """Blocks that are alike: what runs one, and its positions in each.

    `parts` are result and axis of every array that it returns; `starts` are where blocks begin.
    """

    run: Runner
    slots: tuple[int | None, ...]
    parts: tuple[tuple[int, int | None], ...]
    starts: Integers
    positions: tuple[Integers, ...]

    def __call__(self, slots: Sequence[Any], results: list[Any]) -> list[Any]:
        """Return the results with these blocks written into them."""
        taken = [None if k is None else slots[k] for k in self.slots]

        def step(results: list[Any], given: tuple[Any, ...]) -> tuple[list[Any], None]:
            start, *positions = given
            arrays = self.run([*taken, *positions])
            written = [*results]
            for (number, axis), array in zip(self.parts, arrays, strict=True):
                into = written[number]
                block = array.astype(into.dtype)
                if axis is not None:
                    block = lax.dynamic_update_slice_in_dim(into, block, start, axis)
                written[number] = block
            return written, None

        if len(self.starts) == 1:
            return step(results, (int(self.starts[0]),))[0]
        found, _ = lax.scan(step, results, (self.starts, *self.positions))
        return list(found)


class ChunkLoops:
    """The programs of a chunked plan: from the slots of the whole graph to dense results.

    Blocks are written into their results one after the other, so that one is alive at a time.
    """

    def __init__(self, plan: ChunkedPlan, arrangements: Sequence[Ops], dtype: Any) -> None:
        library = XlaLibrary(jnp, index_add_at, dtype)
        self._bind = partial(_bind, library, LoopLibrary(jnp, index_add_at, dtype))
        self._dtype = dtype
        chunked = compile_chunks(plan, arrangements, Target(self._built))
        self.forms = chunked.forms
        alike: dict[tuple[Any, ...], list[int]] = {}
        for number in range(len(plan.chunks)):
            alike.setdefault(self._kind(chunked, number), []).append(number)
        self._loops = [self._loop(chunked, numbers) for numbers in alike.values()]

    def _built(self, program: Program) -> Runner:
        return BoundProgram(program, self._bind)

    def _kind(self, chunked: ChunkedPrograms, number: int) -> tuple[Any, ...]:
        """Return what blocks have in common that are the steps of one loop."""
        block = chunked.programs[number]
        forms = tuple(form is None for form in block.lowered.forms)
        return block.chunk.end, block.slots, forms, template(block.lowered.program)

    def _loop(self, chunked: ChunkedPrograms, numbers: Sequence[int]) -> _Loop:
        own = [chunked.programs[k] for k in numbers]
        chunk, lowered, run = own[0].chunk, own[0].lowered, own[0].run
        positions: tuple[Integers, ...] = ()
        if len(own) > 1:
            rerolled = reroll([each.lowered.program for each in own])
            run, positions = self._built(rerolled.program), rerolled.positions
        ends = [result_of(chunked.plan, chunk, k) for k in range(len(lowered.forms))]
        parts = tuple(
            (end, axis_of(chunked.plan, chunk, end))
            for end, form in zip(ends, lowered.forms, strict=True)
            if form is not None
        )
        starts = np.array([each.chunk.start for each in own])
        return _Loop(run, own[0].slots, parts, starts, positions)

    def __call__(self, slots: Sequence[Any]) -> list[Any]:
        """Return every result that is not zero."""
        results = [
            None if form is None else jnp.zeros(form.shape, self._dtype) for form in self.forms
        ]
        for loop in self._loops:
            results = loop(slots, results)
        return [result for result in results if result is not None]
