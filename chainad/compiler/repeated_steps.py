"""Loops of steps: a few iterations of a plan are lowered, and all others are copies of the last.

Iterations are isomorphic if they take the same operations on Jacobians whose numbers advance by the
same stride: made in the loop, one iteration after the other, or before it. Once what three
iterations in a row emit is isomorphic, too, the next ones emit the same, with registers that have
advanced: nothing is simplified anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from chainad.ir.periodicity import numbered, periods, runs
from chainad.ir.positions import Integers
from chainad.ir.program import Instruction
from chainad.ir.program_builder import ProgramBuilder
from chainad.planning.plan import Plan
from chainad.planning.repeats import RepeatedBlock, disjoint

# Fewer steps are lowered before their loops are found.
MIN_STEPS = 1000

# Iterations of a loop that are lowered; the last three of them must be isomorphic.
LOWERED_ITERATIONS = 4

# An instruction is simplified by what defines its operands, down to this depth at most.
DEPTH = 4

Registers: TypeAlias = list[int | None]


def loops_of_steps(plan: Plan) -> tuple[RepeatedBlock, ...]:
    """Return the loops among the steps of a long plan, in order; positions are those of steps."""
    n, count = len(plan.graph.edges), len(plan.steps)
    if count < MIN_STEPS:
        return ()
    distinct = {id(s.operation): s.operation for s in plan.steps}  # most are one object
    number = dict(zip(distinct, numbered(distinct.values()), strict=True))
    operations = [number[id(s.operation)] for s in plan.steps]
    reads = np.array([[s.left, s.right] for s in plan.steps], np.int64).T
    kinds = np.array(operations, np.int64)
    for read in reads:
        kinds = 2 * kinds + (read < n)
    found = [
        RepeatedBlock(start, length, repeats)
        for length in periods(kinds)
        for start, stop in runs(_advancing(kinds, reads, length), length)
        if (repeats := (stop - start) // length + 1) > 2 * LOWERED_ITERATIONS
    ]
    return tuple(block for block in disjoint(found) if _reads_in_order(block, reads - n))


def _advancing(kinds: Integers, reads: Integers, length: int) -> Integers:
    """Return for every step a number of what it does, and how far this advances in an iteration.

    Where another step is one iteration later, it is the number of no other step.
    """
    advance = reads[:, length:] - reads[:, :-length]
    keys = kinds[:-length]
    for by in advance:
        keys = np.unique(keys * (np.ptp(by) + 1) + by - by.min(), return_inverse=True)[1]
    is_other = kinds[length:] != kinds[:-length]
    return np.where(is_other, len(keys) + np.arange(len(keys)), keys)


def _reads_in_order(block: RepeatedBlock, reads: Integers) -> bool:
    """Return whether a loop reads what it makes one iteration after the other, if at all."""
    own = reads[:, block.start : block.stop].reshape(2, block.repeats, block.length)
    is_before = (own < block.start)[:, 1:].all(axis=1)
    is_in_order = own[:, 2] - own[:, 1] == block.length
    return bool((is_before | is_in_order).all())


def reads_alike(
    plan: Plan, block: RepeatedBlock, builder: ProgramBuilder, registers: Registers
) -> bool:
    """Return whether what a loop reads of before it is made alike for all of its iterations."""
    steps = plan.steps[block.start + block.length : block.stop]
    before = len(plan.graph.edges) + block.start
    for place in range(block.length):
        alike = steps[place :: block.length]
        for read in ([s.left for s in alike], [s.right for s in alike]):
            if max(read[0], read[-1]) < before and not _are_alike(
                builder, [registers[k] for k in read], DEPTH
            ):
                return False
    return True


def _are_alike(builder: ProgramBuilder, registers: Sequence[int | None], depth: int) -> bool:
    """Return whether registers advance by one stride, and are defined alike, down to some depth."""
    known = [r for r in registers if r is not None]
    if not known:
        return True
    if len(known) < len(registers) or len(set(np.diff(np.array(known)).tolist())) > 1:
        return False
    if known[0] == known[-1] or depth == 0:
        return True
    made = [builder.definitions.get(r) for r in known]
    first = made[0]
    if first is None:
        return all(x is None for x in made)
    if any(x is None or x.op != first.op or len(x.inputs) != len(first.inputs) for x in made):
        return False
    columns = zip(*(x.inputs for x in made if x is not None), strict=True)
    return all(_are_alike(builder, column, depth - 1) for column in columns)


def lower_loop(
    block: RepeatedBlock,
    builder: ProgramBuilder,
    registers: Registers,
    ends: list[int],
    lower_step: Callable[[int], None],
) -> int:
    """Lower a loop of steps as far as its iterations emit the same; return the first step left.

    `lower_step` emits a step, and appends its register to `registers` and the next one to `ends`.
    """
    marks = [len(builder.instructions)]
    for k in range(LOWERED_ITERATIONS):
        for position in block.iteration(k):
            lower_step(position)
        marks.append(len(builder.instructions))
    iterations = [builder.instructions[a:b] for a, b in pairwise(marks[1:])]
    stop, length = block.iteration(LOWERED_ITERATIONS - 1).stop, block.length
    strides = _strides(iterations)
    results = _advance([registers[len(registers) - k * length :][:length] for k in (3, 2, 1)])
    if strides is None or results is None:
        return stop
    last, own_ends, emitted = registers[-length:], ends[-length:], iterations[-1]
    copied = [
        (i.op, [*zip(i.inputs, by, strict=True)], builder.shapes[i.output])
        for i, by in zip(emitted, strides, strict=True)
    ]
    for k in range(1, block.repeats - LOWERED_ITERATIONS + 1):
        for op, inputs, shape in copied:
            builder.append_unchanged(op, tuple([r + k * by for r, by in inputs]), shape)
        registers += [r if r is None else r + k * by for r, by in zip(last, results, strict=True)]
        ends += [end + k * len(emitted) for end in own_ends]
    return block.stop


def _strides(iterations: Sequence[Sequence[Instruction]]) -> list[tuple[int, ...]] | None:
    """Return how the inputs of instructions advance from iteration to iteration, if all do."""
    size = len(iterations[-1])
    if any(len(each) != size for each in iterations):
        return None
    strides = []
    for alike in zip(*iterations, strict=True):
        by = _advance([(*i.inputs, i.output) for i in alike])
        if by is None or by[-1] != size or any(i.op != alike[0].op for i in alike):
            return None
        strides.append(tuple(by[:-1]))
    return strides


def _advance(iterations: Sequence[Sequence[int | None]]) -> list[int] | None:
    """Return by how much registers advance from iteration to iteration; None if not always."""
    strides: list[int] = []
    for registers in zip(*iterations, strict=True):
        known = [r for r in registers if r is not None]
        if known and len(known) < len(registers):
            return None
        by = {two - one for one, two in pairwise(known)} or {0}
        if len(by) > 1:
            return None
        strides += by
    return strides
