"""Sums of placed arrays: what stands at some places of zeros is added there, not as a whole.

A sum with an array that is zero but for some places of one axis reads and writes these places
alone, if the other term can be overwritten; the zeros are never written.
"""

from __future__ import annotations

from math import prod

from chainad.ir.ops import Add, AddAt, Place
from chainad.ir.program import Instruction, Program
from chainad.ir.program_builder import ProgramBuilder

# Smaller sums are as quick as calls are, and may be stacked.
MIN_SUM_ELEMENTS = 1024


def add_at_places(program: Program, builder: ProgramBuilder) -> tuple[Program, ProgramBuilder]:
    """Return the program with placed terms of sums added to the other terms.

    `builder` is the one that built the program: it knows the shapes. What is returned has its own.
    """
    found = {i.output: at for i in program.instructions if (at := _added_at(i, builder))}
    if not found:
        return program, builder
    made = ProgramBuilder(program.n_slots)
    made.shapes |= {k: builder.shapes.get(k) for k in range(program.n_slots)}
    register = {k: k for k in range(program.n_slots)}
    for i in program.instructions:
        op, inputs = found.get(i.output, (i.op, i.inputs))
        own = tuple(register[k] for k in inputs)
        register[i.output] = made.append_unchanged(op, own, builder.shapes.get(i.output))
    outputs = tuple(None if k is None else register[k] for k in program.outputs)
    return Program(program.n_slots, tuple(made.instructions), outputs), made


def _added_at(i: Instruction, builder: ProgramBuilder) -> tuple[AddAt, tuple[int, int]] | None:
    """Return the op and the operands that do what a sum with a placed term does, if it is one."""
    if not isinstance(i.op, Add):
        return None
    shape = builder.shapes.get(i.output)
    if shape is None or any(builder.shapes.get(x) != shape for x in i.inputs):
        return None
    if prod(shape) < MIN_SUM_ELEMENTS:
        return None
    found = []
    for x, other in zip(i.inputs, reversed(i.inputs), strict=True):
        placed = builder.definitions.get(x)
        if placed is None or not isinstance(placed.op, Place):
            continue
        (inner,) = placed.inputs
        size = prod(builder.shapes.get(inner) or shape)
        found.append((size, AddAt(placed.op.axis, placed.op.positions), (other, inner)))
    if not found:
        return None
    # Of two placed terms, the zeros around the larger one are written.
    _, op, inputs = min(found, key=lambda each: each[0])
    return op, inputs
