"""Results: the instructions that return a Jacobian as requested: dense, sparse or structured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np

from chainad.compiler.assemble import assemble, reassemble
from chainad.compiler.passes.program_builder import ProgramBuilder
from chainad.ir.ops import Reshape, Take
from chainad.ir.positions import Integers, Positions, positions
from chainad.planning.plan import Plan
from chainad.planning.sparsity import may_be_nonzero
from chainad.structure import Layout, flat_places, lay_out, to_dense, to_vector
from chainad.structure.results import DenseForm, ResultForm, SparseForm, StructuredForm
from chainad.structure.structure import Structure

Registers = Sequence[int | None]


def _dense(
    builder: ProgramBuilder, plan: Plan, numbers: Sequence[int], registers: Registers
) -> tuple[ResultForm, list[int | None]]:
    terms = [plan.structures[k] for k in numbers]
    shape = (*terms[0].row_shape, *terms[0].col_shape)
    if len(terms) == 1:
        register = builder.apply_stored(to_dense(terms[0]), registers[numbers[0]])
    else:
        positions = tuple(flat_places(term) for term in terms)
        register = _scattered(
            builder, terms, [registers[k] for k in numbers], positions, prod(shape)
        )
        register = builder.emit(Reshape(shape), register)
    return DenseForm(shape), [builder.unaliased(register)]


def _sparse(
    builder: ProgramBuilder, plan: Plan, numbers: Sequence[int], registers: Registers
) -> tuple[ResultForm, list[int | None]]:
    terms = [plan.structures[k] for k in numbers]
    layout = lay_out(terms)
    size = layout.indices.size
    reached = _reached(plan, numbers[0], layout)
    if layout.places == (range(size),) and terms[0].scale is None:
        register = builder.apply_stored(to_vector(terms[0]), registers[numbers[0]])
        register = reassemble(builder, register, size)
    else:
        of_terms = [registers[k] for k in numbers]
        register = _scattered(builder, terms, of_terms, layout.places, size, layout.covers)
    if reached.size < size:
        layout = layout.restricted(reached)
        register = builder.emit(Take(0, positions(reached)), register)
    return SparseForm(layout), [builder.unaliased(register)]


def _reached(plan: Plan, number: int, layout: Layout) -> Integers:
    """Return which entries of a layout any path leads to, where a plan may store others, too."""
    every = np.arange(layout.indices.size)
    if not plan.may_store_zeros:
        return every
    n = len(plan.graph.edges)
    ends = plan.graph.edges[number] if number < n else plan.steps[number - n]
    found = may_be_nonzero(plan.graph, ends.tail, ends.head, *layout.entries)
    return every[found]


def _structured(
    builder: ProgramBuilder, plan: Plan, numbers: Sequence[int], registers: Registers
) -> tuple[ResultForm, list[int | None]]:
    return _terms(builder, plan, [_factors(plan, k) for k in numbers], registers)


def _multiplied(
    builder: ProgramBuilder, plan: Plan, numbers: Sequence[int], registers: Registers
) -> tuple[ResultForm, list[int | None]]:
    """Return a structured result that leaves no product to be made."""
    return _terms(builder, plan, [(k,) for k in numbers], registers)


def _terms(
    builder: ProgramBuilder, plan: Plan, terms: Sequence[tuple[int, ...]], registers: Registers
) -> tuple[ResultForm, list[int | None]]:
    """Return a sum of products of structures, as it is."""
    found: list[int | None] = []
    for number in (k for term in terms for k in term):
        register = registers[number]
        found.append(None if register is None else builder.unaliased(register))
    structures = tuple(tuple(plan.structures[k] for k in term) for term in terms)
    first, last = structures[0][0], structures[0][-1]
    shape = (*first.row_shape, *last.col_shape)
    return StructuredForm(structures, shape, len(first.row_shape)), found


EMIT_RESULT: dict[
    str,
    Callable[[ProgramBuilder, Plan, Sequence[int], Registers], tuple[ResultForm, list[int | None]]],
] = {"dense": _dense, "sparse": _sparse, "structured": _structured, "multiplied": _multiplied}


def _factors(plan: Plan, number: int) -> tuple[int, ...]:
    """Return the Jacobians whose product is the given one: two if they are thin dense ones."""
    n = len(plan.graph.edges)
    if number < n:
        return (number,)
    step = plan.steps[number - n]
    factors = [plan.structures[k] for k in (step.left, step.right)]
    are_thin = step.structure.count > sum(factor.count for factor in factors)
    # With ties, the product is what a user thinks in: blocks, one per sample.
    if step.via is None or not are_thin or any(f.kind != "dense" for f in factors):
        return (number,)
    return (step.left, step.right)


def _scattered(
    builder: ProgramBuilder,
    terms: Sequence[Structure],
    registers: Registers,
    positions: tuple[Positions, ...],
    size: int,
    covers: bool = False,
) -> int:
    """Emit the entries of several structures as one vector."""
    vectors = [
        builder.apply_stored(to_vector(term), register)
        for term, register in zip(terms, registers, strict=True)
    ]
    return assemble(builder, vectors, positions, size, covers)
