"""Linking: the program that accumulates a Jacobian goes on where the recording of f ends.

What the function, the formulas of its local Jacobians and the accumulation do is one program then,
in which nothing is computed twice, or for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from chainad.compiler.cse import ValueNumbers, eliminate_common_instructions
from chainad.compiler.recording.arguments import array_specs
from chainad.compiler.recording.factorization_reuse import reuse_factorizations
from chainad.compiler.recording.multiply_reduce import fuse_multiply_reduce
from chainad.compiler.recording.recording import Recording
from chainad.ir.calls import Call, Guard, Input
from chainad.ir.program import Instruction, Program, Runner, prune


@dataclass(frozen=True)
class LinkedProgram:
    """What a function does, and what its Jacobian does.

    `program` returns the `n_values` values of the function that are requested, then the results of
    the accumulation. Registers from `first_formula` on are those of local Jacobians, from
    `first_product` on those of the accumulation. `slots` has the register of every local Jacobian.
    """

    program: Program
    n_values: int
    first_formula: int
    first_product: int
    slots: tuple[int | None, ...]

    @property
    def values(self) -> tuple[int, ...]:
        """The registers of what the function returns."""
        return tuple(k for k in self.program.outputs[: self.n_values] if k is not None)

    @property
    def accumulation(self) -> Program:
        """The accumulation alone: all earlier registers are its inputs."""
        instructions = self.program.instructions
        own = tuple(i for i in instructions if i.output >= self.first_product)
        return Program(self.first_product, own, self.program.outputs[self.n_values :])


def link(recording: Recording, jacobian: Program | Runner, has_value: bool) -> LinkedProgram:
    """Return a recording followed by the program of its Jacobian, or by one call of what runs it.

    Such a call returns all results: it is one of these itself.
    """
    program = recording.program
    written = (i.output for i in program.instructions)
    first = 1 + max([program.n_slots - 1, *program.constants, *written])
    values = program.outputs[: recording.n_values] if has_value else ()
    if isinstance(jacobian, Program):
        linked, results = _renumbered(recording, jacobian, first)
    else:
        used = [k for k in recording.slots if k is not None]
        place = iter(range(len(used)))
        slots = [None if k is None else Input(next(place)) for k in recording.slots]
        call = Call(jacobian, (slots,), {}, (), None, False, None)
        linked, results = [Instruction(call, tuple(used), first)], (first,)
        first += 1
    instructions = (*program.instructions, *linked)
    whole = replace(program, instructions=instructions, outputs=(*values, *results))
    return _optimised(recording, whole, len(values), first)


def _renumbered(
    recording: Recording, jacobian: Program, first: int
) -> tuple[list[Instruction], tuple[int | None, ...]]:
    """Return instructions and results of an accumulation that reads the registers of its slots."""
    number = {k: register for k, register in enumerate(recording.slots) if register is not None}
    number |= {i.output: first + n for n, i in enumerate(jacobian.instructions)}
    instructions = [
        Instruction(i.op, tuple(number[k] for k in i.inputs), number[i.output])
        for i in jacobian.instructions
    ]
    return instructions, tuple(None if k is None else number[k] for k in jacobian.outputs)


def _optimised(
    recording: Recording, program: Program, n_values: int, first_product: int
) -> LinkedProgram:
    """Return a linked program in which nothing is computed twice, or for nothing."""
    arrays = {**program.constants, **array_specs(recording.arguments)}
    dtypes = {k: array.dtype for k, array in arrays.items() if hasattr(array, "dtype")}
    instructions = reuse_factorizations(program.instructions, dtypes)
    # What is returned twice is two arrays.
    kept = {*range(recording.first_formula), *program.returned}
    numbers = ValueNumbers()
    instructions = eliminate_common_instructions(instructions, kept, numbers)
    program = prune(replace(program, instructions=tuple(instructions)))
    # Where guards depend on rounding, nothing may be rounded otherwise.
    if all(i.op.kind == "shape" for i in program.instructions if isinstance(i.op, Guard)):
        fused = fuse_multiply_reduce(program.instructions, program.outputs)
        program = replace(program, instructions=tuple(fused))
    slots = tuple(None if k is None else numbers[k] for k in recording.slots)
    return LinkedProgram(program, n_values, recording.first_formula, first_product, slots)
