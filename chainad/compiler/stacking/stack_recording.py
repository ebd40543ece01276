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

from chainad.backends.namespace import Namespace
from chainad.backends.numpy.emit import call_arguments
from chainad.compiler.stacking.isomorphic import (
    MIN_STACK_ROWS,
    is_small,
    isomorphic_groups,
    levels,
)
from chainad.ir.calls import Call, Guard, Input
from chainad.ir.program import Instruction
from chainad.rules.base import kind_of
from chainad.rules.kinds import Elementwise


@dataclass(frozen=True)
class StackedCalls:
    """Calls that are done as one, on their operands one after another."""

    call: Call
    shapes: tuple[tuple[int, ...], ...]
    instructions: tuple[Instruction, ...]

    @property
    def registers(self) -> tuple[int, ...]:
        """The registers of the results."""
        return tuple(i.output for i in self.instructions)

    def lines(
        self, number: int, names: Namespace, stacks: dict[tuple[int, ...], str], read: set[int]
    ) -> list[str]:
        """Return the lines of the batched call, and of those of its results that are read.

        `stacks` has the names of stacks by their registers; this one's is added.
        """
        lines, args = [], []
        operands = [f"v{k}" for k in self.instructions[0].inputs]
        have_one_shape = len({*self.shapes}) == 1
        shape = f".reshape({(len(self.shapes), *self.call.shape)})" if have_one_shape else ""
        for k, text in enumerate(call_arguments(self.call, operands, names)):
            arg = self.call.args[k]
            if not isinstance(arg, Input):
                args.append(text)
                continue
            column = tuple(i.inputs[arg.position] for i in self.instructions)
            if column not in stacks:
                stacks[column] = name = f"s{number}_{k}"
                joined = f"{names.function(np.concatenate)}(({', '.join(f'v{n}' for n in column)}))"
                lines.append(f"{name} = {joined}{shape}")
            args.append(stacks[column])
        name = stacks[self.registers] = f"s{number}"
        lines.append(f"{name} = {names.function(self.call.function)}({', '.join(args)})")
        if not read.isdisjoint(self.registers):
            rows = ", ".join(f"v{k}" for k in self.registers)
            lines += [f"{rows} = {name}"] if have_one_shape else self._slices(name, read)
        return lines

    def _slices(self, name: str, read: set[int]) -> list[str]:
        """Return the lines that slice vectors out of their concatenation."""
        ends = accumulate((shape[0] for shape in self.shapes), initial=0)
        return [
            f"v{k} = {name}[{start}:{stop}]"
            for k, (start, stop) in zip(self.registers, pairwise(ends), strict=True)
            if k in read
        ]


def stack_formulas(
    instructions: Sequence[Instruction], start: int
) -> tuple[list[StackedCalls], list[Instruction]]:
    """Return the stacks of formulas, from register `start` on, and the instructions left."""
    if any(isinstance(i.op, Guard) and i.output > start for i in instructions):
        return [], [*instructions]
    calls = {i.output: i.op for i in instructions if isinstance(i.op, Call)}
    keys: dict[int, tuple[Any, ...]] = {}
    for i in instructions:
        key = None if i.output < start else _key(i, calls)
        if key is not None and all(k < start or k in keys for k in i.inputs):
            keys[i.output] = key
    formulas = {i.output: i for i in instructions if i.output in keys}
    level = levels((k, i.inputs) for k, i in formulas.items())
    stacked: set[int] = set()
    found: list[StackedCalls] = []

    def stack(able: list[Instruction]) -> None:
        of = [calls[i.output] for i in able]
        found.append(StackedCalls(of[0], tuple(call.shape for call in of), tuple(able)))

    for groups in isomorphic_groups(((k, keys[k], i) for k, i in formulas.items()), level):
        vectors: dict[Any, list[Instruction]] = {}
        for (shape, *others), group in groups.items():
            able = [i for i in group if all(k < start or k in stacked for k in i.inputs)]
            if len(able) >= MIN_STACK_ROWS:
                stack(able)
            elif len(shape) == 1:
                vectors.setdefault(tuple(others), []).extend(able)
        for able in vectors.values():
            if len(able) >= MIN_STACK_ROWS:
                stack(sorted(able, key=lambda i: i.output))
        stacked |= {k for each in found for k in each.registers}
    return found, [i for i in instructions if i.output not in stacked]


def read_outside(
    stacks: Sequence[StackedCalls], rest: Sequence[Instruction], outputs: Sequence[int | None]
) -> set[int]:
    """Return the registers that are read one by one, by results, other calls or other stacks."""
    own = {each.registers for each in stacks}
    read = {k for k in outputs if k is not None} | {k for i in rest for k in i.inputs}
    for each in stacks:
        for column in zip(*(i.inputs for i in each.instructions), strict=True):
            if column not in own:
                read |= {*column}
    return read


def _key(i: Instruction, calls: Mapping[int, Call]) -> tuple[Any, ...] | None:
    """Return what isomorphic calls have in common, shape first; None if one cannot be stacked."""
    call = calls.get(i.output)
    if call is None or call.kwargs or not i.inputs:
        return None
    if not isinstance(kind_of(call.function), Elementwise):
        return None
    if call.dtype is None or call.is_scalar or not call.shape or not is_small(call.shape):
        return None
    args: list[Any] = []
    for arg in call.args:
        if type(arg) in (int, float):
            args.append((type(arg), repr(arg)))
            continue
        made = calls.get(i.inputs[arg.position]) if isinstance(arg, Input) else None
        if made is None or made.is_scalar or made.shape != call.shape or made.dtype is None:
            return None
        args.append(made.dtype)
    return call.shape, call.function, tuple(args), call.dtype, call.errstate
