"""Stacking in recordings: isomorphic formulas of local Jacobians are evaluated once, on a stack.

Only elementwise functions of small arrays of one dtype are taken, all of one shape or all vectors,
if what they read is known before any formula is evaluated, or stacked itself. They come first;
the others follow in their order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from chainad.compiler.recording.expressions import Names, arguments
from chainad.compiler.recording.recording import Recording, Step, refs_in
from chainad.compiler.stacking.isomorphic import (
    MIN_STACK_ROWS,
    is_small,
    isomorphic_groups,
    levels,
)
from chainad.frontends.numpy.recorder import Ref


@dataclass(frozen=True)
class StackedCalls:
    """Calls that are done as one, on their operands one after another."""

    steps: tuple[Step, ...]

    def lines(
        self, number: int, names: Names, stacks: dict[tuple[int, ...], str], read: set[int]
    ) -> list[str]:
        """Return the lines of the call, and of those of its results that are read.

        `stacks` tells the names of stacks by the numbers of their values; it is told this one's.
        """
        first, lines, args = self.steps[0], [], []
        is_even = len({step.shape for step in self.steps}) == 1
        shape = f".reshape({(len(self.steps), *first.shape)})" if is_even else ""
        for k, (arg, text) in enumerate(zip(first.args, arguments(first, names), strict=True)):
            if not isinstance(arg, Ref):
                args.append(text)
                continue
            column = tuple(step.args[k].number for step in self.steps)
            if column not in stacks:
                stacks[column] = name = f"s{number}_{k}"
                joined = f"{names.function(np.concatenate)}(({', '.join(f'v{n}' for n in column)}))"
                lines.append(f"{name} = {joined}{shape}")
            args.append(stacks[column])
        name = stacks[tuple(step.number for step in self.steps)] = f"s{number}"
        lines.append(f"{name} = {names.function(first.function)}({', '.join(args)})")
        if any(step.number in read for step in self.steps):
            rows = ", ".join(f"v{step.number}" for step in self.steps)
            lines += [f"{rows} = {name}"] if is_even else self._pieces(name, read)
        return lines

    def _pieces(self, name: str, read: set[int]) -> list[str]:
        """Return the lines that cut vectors out of a longer one."""
        ends = accumulate((step.shape[0] for step in self.steps), initial=0)
        return [
            f"v{step.number} = {name}[{start}:{stop}]"
            for step, (start, stop) in zip(self.steps, pairwise(ends), strict=True)
            if step.number in read
        ]


def stack_formulas(
    recording: Recording, kept: Sequence[Step]
) -> tuple[list[StackedCalls], list[Step]]:
    """Return the stacks of the formulas among some calls, and the calls that are left."""
    known = {step.number: step for step in kept}
    start = recording.formulas
    if any(guard.position > start for guard in recording.guards):
        return [], list(kept)
    keys: dict[int, tuple[Any, ...]] = {}
    for step in kept:
        key = None if step.number < start else _key(step, known)
        if key is not None and all(k < start or k in keys for k in step.reads):
            keys[step.number] = key
    level = levels((k, known[k].reads) for k in keys)
    stacked: set[int] = set()
    found: list[StackedCalls] = []
    for groups in isomorphic_groups(((k, key, known[k]) for k, key in keys.items()), level):
        vectors: dict[Any, list[Step]] = {}
        for (shape, *others), group in groups.items():
            able = [s for s in group if all(k < start or k in stacked for k in s.reads)]
            if len(able) >= MIN_STACK_ROWS:
                found.append(StackedCalls(tuple(able)))
            elif len(shape) == 1:
                vectors.setdefault(tuple(others), []).extend(able)
        for able in vectors.values():
            if len(able) >= MIN_STACK_ROWS:
                found.append(StackedCalls(tuple(sorted(able, key=lambda step: step.number))))
        stacked |= {step.number for stack in found for step in stack.steps}
    return found, [step for step in kept if step.number not in stacked]


def read_outside(
    stacks: Sequence[StackedCalls], rest: Sequence[Step], results: Sequence[Any]
) -> set[int]:
    """Return the values that are read one by one, by results, other calls or other stacks."""
    own = {tuple(step.number for step in stack.steps) for stack in stacks}
    read = {*refs_in(list(results)), *(k for step in rest for k in step.reads)}
    for stack in stacks:
        for column in zip(*(step.reads for step in stack.steps), strict=True):
            if column not in own:
                read |= {*column}
    return read


def _key(step: Step, known: Mapping[int, Step]) -> tuple[Any, ...] | None:
    """Return what isomorphic calls have in common, their shape first, if it can be stacked."""
    function = step.function
    if not isinstance(function, np.ufunc) or function.signature is not None or step.kwargs:
        return None
    if step.dtype is None or step.is_scalar or not step.shape:
        return None
    if function.nout != 1 or len(step.args) != function.nin or not step.reads:
        return None
    if not is_small(step.shape):
        return None
    args: list[Any] = []
    for arg in step.args:
        if type(arg) in (int, float):
            args.append((type(arg), repr(arg)))
            continue
        made = known.get(arg.number) if isinstance(arg, Ref) else None
        if made is None or made.is_scalar or made.shape != step.shape or made.dtype is None:
            return None
        args.append(made.dtype)
    return step.shape, function, tuple(args), step.dtype, step.state
