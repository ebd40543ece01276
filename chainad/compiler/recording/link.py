"""Linking: the program that accumulates a Jacobian goes on where the recording of f ends.

What the function, the formulas of its local Jacobians and the accumulation do is one program then,
in which nothing is computed twice, or for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from chainad.backends.numpy.allocate import ArrayType
from chainad.compiler.cse import eliminate_common_instructions
from chainad.compiler.passes.fuse_elementwise import Compile, fuse_elementwise
from chainad.compiler.recording.arguments import ArraySpec, array_specs
from chainad.compiler.recording.factorization_reuse import reuse_factorizations
from chainad.compiler.recording.multiply_reduce import fuse_multiply_reduce
from chainad.compiler.recording.recording import Recording
from chainad.compiler.stacking.stack_program import stack_isomorphic
from chainad.ir.calls import SILENT, Call, Guard, Input
from chainad.ir.program import Instruction, Program, Runner, prune
from chainad.ir.value_numbers import ValueNumbers


@dataclass(frozen=True)
class LinkedProgram:
    """What a function does, and what its Jacobian does.

    `program` returns the `n_values` values of the function that are requested, then the results of
    the accumulation, which begins after the function and the last call. The function itself is
    the first `n_function` instructions. `slots` has the register of every local Jacobian that is
    read, None for one that is not; `types` has shape and dtype of every other array.
    """

    program: Program
    n_values: int
    n_function: int
    slots: tuple[int | None, ...]
    types: Mapping[int, ArrayType]

    @property
    def values(self) -> tuple[int, ...]:
        """The registers of what the function returns."""
        return tuple(k for k in self.program.outputs[: self.n_values] if k is not None)

    @property
    def n_fixed(self) -> int:
        """How many instructions must stay as they are, since a guard may depend on them."""
        return _after_last(isinstance(i.op, Guard) for i in self.program.instructions)

    @property
    def calls(self) -> tuple[Instruction, ...]:
        """What comes before the accumulation."""
        instructions = self.program.instructions
        n_calls = _after_last(isinstance(i.op, (Call, Guard)) for i in instructions)
        return instructions[: max(self.n_function, n_calls)]

    @property
    def accumulation(self) -> Program:
        """The accumulation alone: all earlier registers are its inputs."""
        own = self.program.instructions[len(self.calls) :]
        outputs = self.program.outputs[self.n_values :]
        read = [*(k for i in own for k in i.inputs), *(k for k in outputs if k is not None)]
        n_slots = min((i.output for i in own), default=1 + max(read, default=-1))
        return Program(n_slots, own, outputs)

    def with_accumulation(self, accumulation: Program) -> LinkedProgram:
        """Return what goes on with another accumulation."""
        outputs = (*self.program.outputs[: self.n_values], *accumulation.outputs)
        instructions = (*self.calls, *accumulation.instructions)
        program = replace(self.program, instructions=instructions, outputs=outputs)
        return replace(self, program=program)

    def stacked(self, types: Mapping[int, ArrayType]) -> LinkedProgram:
        """Return the program with isomorphic instructions stacked, if that saves much.

        `types` are those of the registers of the accumulation.
        """
        types = {**types, **self.types}
        found = stack_isomorphic(self.program, types, self.n_fixed, self.n_function)
        if found is None:
            return self
        slots = tuple(None if k is None else found.registers.get(k) for k in self.slots)
        return replace(
            self,
            program=found.program,
            n_function=found.n_function,
            slots=slots,
            types=found.types,
        )

    def fused(
        self, types: Mapping[int, ArrayType], compiled: Compile
    ) -> tuple[LinkedProgram, dict[int, ArrayType]] | None:
        """Return the program with fused loops, and the types of its registers; None without any.

        `types` are those of the registers of the accumulation; see `fuse_elementwise`.
        """
        types = {**types, **self.types}
        found = fuse_elementwise(self.program, types, self.values, self.n_fixed, compiled)
        if found is None:
            return None
        program, types, number = found
        slots = tuple(None if k is None else number.get(k, k) for k in self.slots)
        n_calls = _after_last(isinstance(i.op, (Call, Guard)) for i in program.instructions)
        linked = replace(self, program=program, n_function=n_calls, slots=slots, types=types)
        return linked, types


def _after_last(found: Iterable[bool]) -> int:
    """Return the number of entries up to the last true one."""
    return max((n for n, each in enumerate(found, 1) if each), default=0)


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
        call = Call(jacobian, (slots,), {}, (), None, False, SILENT)
        linked, results = [Instruction(call, tuple(used), first)], (first,)
    instructions = (*program.instructions, *linked)
    whole = replace(program, instructions=instructions, outputs=(*values, *results))
    return _optimised(recording, whole, len(values))


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


def _optimised(recording: Recording, program: Program, n_values: int) -> LinkedProgram:
    """Return a linked program in which nothing is computed twice, or for nothing."""
    arrays = {**program.constants, **array_specs(recording.arguments)}
    types = {
        k: ArrayType(array.shape, array.dtype, False)
        for k, array in arrays.items()
        if type(array) is np.ndarray or isinstance(array, (np.generic, ArraySpec))
    }
    dtypes = {k: array.dtype for k, array in types.items()}
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
    types |= {
        i.output: ArrayType(i.op.shape, i.op.dtype, False)
        for i in program.instructions
        if isinstance(i.op, Call) and i.op.dtype is not None
    }
    n_function = sum(i.output < recording.first_formula for i in program.instructions)
    return LinkedProgram(program, n_values, n_function, slots, types)
