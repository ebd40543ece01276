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
from chainad.compiler.recording.recording import RecordedCall, Recording, refs_in
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

    calls: tuple[RecordedCall, ...]

    def lines(
        self, number: int, names: Names, stacks: dict[tuple[int, ...], str], read: set[int]
    ) -> list[str]:
        """Return the lines of the batched call, and of those of its results that are read.

        `stacks` has the names of stacks by the numbers of their values; this one's is added.
        """
        first, lines, args = self.calls[0], [], []
        have_one_shape = len({call.shape for call in self.calls}) == 1
        shape = f".reshape({(len(self.calls), *first.shape)})" if have_one_shape else ""
        for k, (arg, text) in enumerate(zip(first.args, arguments(first, names), strict=True)):
            if not isinstance(arg, Ref):
                args.append(text)
                continue
            column = tuple(call.args[k].number for call in self.calls)
            if column not in stacks:
                stacks[column] = name = f"s{number}_{k}"
                joined = f"{names.function(np.concatenate)}(({', '.join(f'v{n}' for n in column)}))"
                lines.append(f"{name} = {joined}{shape}")
            args.append(stacks[column])
        name = stacks[tuple(call.number for call in self.calls)] = f"s{number}"
        lines.append(f"{name} = {names.function(first.function)}({', '.join(args)})")
        if any(call.number in read for call in self.calls):
            rows = ", ".join(f"v{call.number}" for call in self.calls)
            lines += [f"{rows} = {name}"] if have_one_shape else self._slices(name, read)
        return lines

    def _slices(self, name: str, read: set[int]) -> list[str]:
        """Return the lines that slice vectors out of their concatenation."""
        ends = accumulate((call.shape[0] for call in self.calls), initial=0)
        return [
            f"v{call.number} = {name}[{start}:{stop}]"
            for call, (start, stop) in zip(self.calls, pairwise(ends), strict=True)
            if call.number in read
        ]


def stack_formulas(
    recording: Recording, kept: Sequence[RecordedCall]
) -> tuple[list[StackedCalls], list[RecordedCall]]:
    """Return the stacks of the formulas among some calls, and the calls that are left."""
    known = {call.number: call for call in kept}
    start = recording.first_formula
    if any(guard.position > start for guard in recording.guards):
        return [], list(kept)
    keys: dict[int, tuple[Any, ...]] = {}
    for call in kept:
        key = None if call.number < start else _key(call, known)
        if key is not None and all(k < start or k in keys for k in call.reads):
            keys[call.number] = key
    level = levels((k, known[k].reads) for k in keys)
    stacked: set[int] = set()
    found: list[StackedCalls] = []
    for groups in isomorphic_groups(((k, key, known[k]) for k, key in keys.items()), level):
        vectors: dict[Any, list[RecordedCall]] = {}
        for (shape, *others), group in groups.items():
            able = [s for s in group if all(k < start or k in stacked for k in s.reads)]
            if len(able) >= MIN_STACK_ROWS:
                found.append(StackedCalls(tuple(able)))
            elif len(shape) == 1:
                vectors.setdefault(tuple(others), []).extend(able)
        for able in vectors.values():
            if len(able) >= MIN_STACK_ROWS:
                found.append(StackedCalls(tuple(sorted(able, key=lambda call: call.number))))
        stacked |= {call.number for stack in found for call in stack.calls}
    return found, [call for call in kept if call.number not in stacked]


def read_outside(
    stacks: Sequence[StackedCalls], rest: Sequence[RecordedCall], results: Sequence[Any]
) -> set[int]:
    """Return the values that are read one by one, by results, other calls or other stacks."""
    own = {tuple(call.number for call in stack.calls) for stack in stacks}
    read = {*refs_in(list(results)), *(k for call in rest for k in call.reads)}
    for stack in stacks:
        for column in zip(*(call.reads for call in stack.calls), strict=True):
            if column not in own:
                read |= {*column}
    return read


def _key(call: RecordedCall, known: Mapping[int, RecordedCall]) -> tuple[Any, ...] | None:
    """Return what isomorphic calls have in common, shape first; None if one cannot be stacked."""
    function = call.function
    if not isinstance(function, np.ufunc) or function.signature is not None or call.kwargs:
        return None
    if call.dtype is None or call.is_scalar or not call.shape:
        return None
    if function.nout != 1 or len(call.args) != function.nin or not call.reads:
        return None
    if not is_small(call.shape):
        return None
    args: list[Any] = []
    for arg in call.args:
        if type(arg) in (int, float):
            args.append((type(arg), repr(arg)))
            continue
        made = known.get(arg.number) if isinstance(arg, Ref) else None
        if made is None or made.is_scalar or made.shape != call.shape or made.dtype is None:
            return None
        args.append(made.dtype)
    return call.shape, function, tuple(args), call.dtype, call.errstate
