"""The accumulation of a linked program as lines of Python, in preallocated memory.

A first run shows the type of every register. From that, products of constant arrays are hoisted,
isomorphic instructions are stacked, and memory is allocated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from chainad.backends.namespace import Namespace
from chainad.backends.numpy.allocate import ArrayType
from chainad.backends.numpy.buffers import ProgramSource, source_with_buffers
from chainad.backends.numpy.build import observe
from chainad.backends.numpy.hoist import HoistedProgram
from chainad.compiler.passes.constant_hoisting import hoist_constants
from chainad.compiler.passes.fuse_elementwise import Compile
from chainad.compiler.recording.constant_factors import scale_smaller_factors
from chainad.compiler.recording.link import LinkedProgram
from chainad.ir.calls import Call
from chainad.ir.ops import MatMul
from chainad.ir.program import Program

# Products of constant arrays are kept from call to call if they take more multiplications than it
# takes time to see, by comparing all entries, that the arrays are still the same.
MIN_HOISTED_MULTIPLICATIONS = 50_000
MULTIPLICATIONS_PER_COMPARED_ENTRY = 16


@dataclass(frozen=True)
class Accumulation:
    """The lines of an accumulation, which read registers as `v` and their number, and `out`.

    Attributes
    ----------
    source : ProgramSource
    hoisted : HoistedProgram or None
        What returns the arrays of some registers, if there are any.
    registers : range
        Those registers.
    read : tuple of int
        The registers that are read and may lie in memory that a user can name.
    """

    source: ProgramSource
    hoisted: HoistedProgram | None
    registers: range
    read: tuple[int, ...]

    @property
    def constant_lines(self) -> list[str]:
        """The lines that get what depends on constant arrays alone, before the others."""
        if self.hoisted is None:
            return []
        return [f"[{', '.join(f'v{k}' for k in self.registers)}] = hoisted()"]

    @property
    def lines(self) -> list[str]:
        """The lines, with those that get memory and give it back."""
        if not self.source.allocation.buffers:
            return [*self.source.lines]
        return [
            "try:",
            "    memory = free.pop()  # each call has its own memory",
            "except IndexError:",
            "    memory = allocate()",
            *self.source.lines,
            "free.append(memory)",
        ]


def preallocated(
    linked: LinkedProgram,
    slots: Sequence[Any],
    names: Namespace,
    compiled: Compile | None = None,
) -> tuple[LinkedProgram, Accumulation]:
    """Return a linked program with isomorphic instructions stacked, and its accumulation.

    `slots` are the local Jacobians of a first run. The lines are right for registers of the same
    shapes and dtypes. With `compiled`, elementwise operations are fused into nests.
    """
    program, constants = linked.accumulation, linked.program.constants
    given = {**_known(linked, slots), **constants}
    types, _ = observe(program, given)
    parts, hoisted, registers = hoist_constants(program, constants), None, range(0)
    compared = sum(int(np.size(constants[k])) for k in parts.hoisted.used_slots)
    least = MIN_HOISTED_MULTIPLICATIONS + MULTIPLICATIONS_PER_COMPARED_ENTRY * compared
    if multiplications_in(parts.hoisted, types) > least:
        linked = linked.with_accumulation(parts.residual)
        hoisted = HoistedProgram(parts.hoisted, constants)
        registers = range(program.n_slots, parts.residual.n_slots)
        constants = {**constants, **dict(zip(registers, hoisted(), strict=True))}
        program = parts.residual
        types, _ = observe(program, given | constants)
    stacked = linked.stacked(types)
    if stacked is not linked:
        linked, program = stacked, stacked.accumulation
        # Of what is stacked, the first run shows the types only.
        given = {
            k: np.zeros(linked.types[k].shape, linked.types[k].dtype)
            for k in program.used_slots
            if k in linked.types
        }
        types, _ = observe(program, {**given, **_known(linked, slots), **constants})
    if compiled is not None:
        fused = linked.fused(types, compiled)
        if fused is not None:
            linked, types = fused
            program = linked.accumulation
    linked, program, types = scale_smaller_factors(linked, program, types)
    program.check()
    fixed = {k: x for k, x in linked.program.constants.items() if isinstance(x, np.generic)}
    source = source_with_buffers(
        program, types, [f"v{k}" for k in range(program.n_slots)], names, fixed
    )
    names.objects |= {"hoisted": hoisted, "free": [], "allocate": source.allocate}
    return linked, Accumulation(source, hoisted, registers, _aliasable(linked, program, registers))


def _known(linked: LinkedProgram, slots: Sequence[Any]) -> dict[int, Any]:
    """Return the local Jacobians of a first run by their registers."""
    return {k: slot for k, slot in zip(linked.slots, slots, strict=True) if k is not None}


def multiplications_in(program: Program, types: Mapping[int, ArrayType]) -> int:
    """Return the scalar multiplications in the matrix products of a program."""
    return sum(
        prod(types[i.output].shape) * types[i.inputs[0]].shape[-1]
        for i in program.instructions
        if isinstance(i.op, MatMul)
    )


def _aliasable(linked: LinkedProgram, program: Program, hoisted: Sequence[int]) -> tuple[int, ...]:
    # What a ufunc returns is nobody's but the call's, nor is what is stacked, or a view of these.
    own = {*hoisted}
    for i in linked.calls:
        is_new = isinstance(i.op.function, np.ufunc) if isinstance(i.op, Call) else not i.op.is_view
        if is_new or (not isinstance(i.op, Call) and i.inputs[0] in own):
            own.add(i.output)
    return tuple(k for k in program.used_slots if k not in own)
