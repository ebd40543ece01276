"""Rerolling: programs that are equal but for positions as one program, which takes these, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from chainad.ir.memory_layouts import MemoryLayout
from chainad.ir.op import Op
from chainad.ir.operation_counts import OperationCounts
from chainad.ir.positions import Index, Integers, Lattice, Positions, as_array
from chainad.ir.program import Instruction, Program
from chainad.ir.shapes import Shape


@dataclass(frozen=True, slots=True)
class Moving:
    """Positions that are known when a program runs: a range, of which the start is given, or any.

    Attributes
    ----------
    count, step : int
        How many they are, and their distance; a step of 0 stands for positions without a formula,
        which are given one by one.
    """

    count: int
    step: int


@dataclass(frozen=True, slots=True)
class AtMoving(Op):
    """An op whose positions are its last operands, which are `moving`; those it has are none."""

    op: Op
    moving: tuple[Moving, ...]

    def infer_shape(self, inputs: Sequence[Shape | None]) -> Shape | None:
        return self.op.infer_shape(inputs[: len(inputs) - len(self.moving)])

    def cost(self, *inputs: MemoryLayout) -> OperationCounts:
        return self.op.cost(*inputs[: len(inputs) - len(self.moving)])


@dataclass(frozen=True, eq=False)
class Rerolled:
    """Programs as one, of which the last slots are for positions.

    Attributes
    ----------
    program : Program
    positions : tuple of arrays
        For each of these slots, what every program has there, along the first axis.
    """

    program: Program
    positions: tuple[Integers, ...]


def template(program: Program) -> Program:
    """Return a program without its positions: programs with equal ones can be rerolled."""
    instructions = tuple(
        replace(i, op=_with(i.op, [range(len(where)) for where in positions_of(i.op)]))
        for i in program.instructions
    )
    return replace(program, instructions=instructions)


def reroll(programs: Sequence[Program]) -> Rerolled:
    """Return programs of one template as one program."""
    first = programs[0]
    plain = template(first).instructions
    found: list[Integers] = []
    made: list[tuple[Instruction, tuple[int, ...]]] = []
    for k, instruction in enumerate(first.instructions):
        ops = [program.instructions[k].op for program in programs]
        if all(op == ops[0] for op in ops):
            made.append((instruction, ()))
            continue
        each = [*zip(*map(positions_of, ops), strict=True)]
        moving = tuple(map(_moving, each))
        slots = tuple(first.n_slots + len(found) + n for n in range(len(each)))
        found += [_given(m, where) for m, where in zip(moving, each, strict=True)]
        made.append((replace(instruction, op=AtMoving(plain[k].op, moving)), slots))

    def moved(register: int) -> int:
        return register if register < first.n_slots else register + len(found)

    instructions = tuple(
        replace(i, inputs=(*map(moved, i.inputs), *slots), output=moved(i.output))
        for i, slots in made
    )
    outputs = tuple(None if k is None else moved(k) for k in first.outputs)
    return Rerolled(Program(first.n_slots + len(found), instructions, outputs), tuple(found))


def positions_of(op: Op) -> list[Positions]:
    """Return the positions that an op has, in the order in which it states them."""
    return [where for _, each in _fields(op) for where in each]


def _fields(op: Op) -> list[tuple[str, tuple[Positions, ...]]]:
    """Return the fields of an op that are positions, one or several of them."""
    found: list[tuple[str, tuple[Positions, ...]]] = []
    for field in fields(op):  # type: ignore[arg-type]
        value = getattr(op, field.name)
        each = value if isinstance(value, tuple) else (value,)
        if each and all(isinstance(where, range | Lattice | Index) for where in each):
            found.append((field.name, each))
    return found


def _with(op: Op, positions: Sequence[Positions]) -> Op:
    given, changed = iter(positions), {}
    for name, each in _fields(op):
        own = tuple(next(given) for _ in each)
        changed[name] = own if isinstance(getattr(op, name), tuple) else own[0]
    found: Op = replace(op, **changed) if changed else op  # type: ignore[type-var]
    return found


def _moving(each: Sequence[Positions]) -> Moving:
    """Return what the positions of all programs have in common."""
    steps = {where.step for where in each if isinstance(where, range)}
    are_ranges = all(isinstance(where, range) for where in each) and len(steps) == 1
    step = steps.pop() if are_ranges else 0
    return Moving(len(each[0]), max(step, 0))


def _given(moving: Moving, each: Sequence[Positions]) -> Integers:
    if moving.step:
        return np.array([as_array(where)[0] for where in each])
    return np.stack([as_array(where) for where in each])
