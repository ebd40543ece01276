"""Results: the instructions that return a Jacobian as requested: dense, sparse or structured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from chainad.compiler.assemble import assemble, reassemble
from chainad.ir.ops import Reshape, Take
from chainad.ir.positions import Integers, Positions, positions
from chainad.ir.program_builder import ProgramBuilder
from chainad.planning.plan import Plan
from chainad.planning.sparsity import may_be_nonzero
from chainad.structure import Layout, arrange, flat_places, lay_out, to_dense, to_vector
from chainad.structure.results import DenseForm, ResultForm, SparseForm, StructuredForm
from chainad.structure.structure import Structure

Registers = Sequence[int | None]
# A Jacobian as a result has it: its structure, and the register of what it stores.
Term = tuple[Structure, int | None]


@dataclass(frozen=True)
class Result:
    """A result of a plan: the Jacobians that add up to it, by number, or to its transpose.

    `registers` are those of all Jacobians of the plan.
    """

    plan: Plan
    numbers: Sequence[int]
    registers: Registers
    is_transposed: bool

    def term(self, builder: ProgramBuilder, number: int) -> Term:
        """Return a Jacobian as it is part of the result."""
        own, register = self.plan.structures[number], self.registers[number]
        if not self.is_transposed:
            return own, register
        found = arrange(own.cols, own.rows, dict(enumerate(own.sizes)), own.stored, own.scale)
        return found.structure, builder.apply(found.ops, register)

    def terms(self, builder: ProgramBuilder) -> tuple[list[Structure], list[int | None]]:
        """Return the structures and the registers of what adds up to the result."""
        found = [self.term(builder, number) for number in self.numbers]
        return [structure for structure, _ in found], [register for _, register in found]


Emitted = tuple[ResultForm, list[int | None]]


def _dense(builder: ProgramBuilder, result: Result) -> Emitted:
    terms, registers = result.terms(builder)
    shape = (*terms[0].row_shape, *terms[0].col_shape)
    if len(terms) == 1:
        register = builder.apply_stored(to_dense(terms[0]), registers[0])
    else:
        positions = tuple(flat_places(term) for term in terms)
        register = _scattered(builder, terms, registers, positions, prod(shape))
        register = builder.emit(Reshape(shape), register)
    return DenseForm(shape), [builder.unaliased(register)]


def _sparse(builder: ProgramBuilder, result: Result) -> Emitted:
    terms, registers = result.terms(builder)
    layout = lay_out(terms)
    size = layout.indices.size
    reached = _reached(result, layout)
    if layout.places == (range(size),) and terms[0].scale is None:
        register = builder.apply_stored(to_vector(terms[0]), registers[0])
        register = reassemble(builder, register, size)
    else:
        register = _scattered(builder, terms, registers, layout.places, size, layout.covers)
    if reached.size < size:
        layout = layout.restricted(reached)
        register = builder.emit(Take(0, positions(reached)), register)
    return SparseForm(layout), [builder.unaliased(register)]


def _reached(result: Result, layout: Layout) -> Integers:
    """Return which entries of a layout any path leads to, where a plan may store others, too."""
    every, plan, number = np.arange(layout.indices.size), result.plan, result.numbers[0]
    if not plan.may_store_zeros:
        return every
    n = len(plan.graph.edges)
    ends = plan.graph.edges[number] if number < n else plan.steps[number - n]
    entries = layout.entries[::-1] if result.is_transposed else layout.entries
    return every[may_be_nonzero(plan.graph, ends.tail, ends.head, *entries)]


def _structured(builder: ProgramBuilder, result: Result) -> Emitted:
    terms = [term for number in result.numbers for term in _small_terms(result.plan, number)]
    alone = {term[0] for term in terms if len(term) == 1}
    if alone & result.plan.mirrored and len(alone) < len(terms):
        terms = [(number,) for number in result.numbers]
    return _terms(builder, result, [x[::-1] for x in terms] if result.is_transposed else terms)


def _multiplied(builder: ProgramBuilder, result: Result) -> Emitted:
    """Return a structured result that leaves no product to be made."""
    return _terms(builder, result, [(number,) for number in result.numbers])


def _terms(builder: ProgramBuilder, result: Result, terms: Sequence[tuple[int, ...]]) -> Emitted:
    """Return a sum of products of structures, as it is."""
    found: list[int | None] = []
    structures: list[tuple[Structure, ...]] = []
    for term in terms:
        factors = [result.term(builder, number) for number in term]
        structures.append(tuple(structure for structure, _ in factors))
        found += [None if k is None else builder.unaliased(k) for _, k in factors]
    first, last = structures[0][0], structures[0][-1]
    shape = (*first.row_shape, *last.col_shape)
    return StructuredForm(tuple(structures), shape, len(first.row_shape)), found


EMIT_RESULT: dict[str, Callable[[ProgramBuilder, Result], Emitted]] = {
    "dense": _dense,
    "sparse": _sparse,
    "structured": _structured,
    "multiplied": _multiplied,
}


def _small_terms(plan: Plan, number: int) -> list[tuple[int, ...]]:
    """Return terms that add up to a Jacobian, each the factors of a product, that store the least.

    With ties, a product is what a user thinks in: blocks, one per sample. One without ties is left
    as its factors if these are thin.
    """
    n = len(plan.graph.edges)
    if number < n:
        return [(number,)]
    step, counts = plan.steps[number - n], [each.count for each in plan.structures]
    if step.direction == "sum":
        found = [*_small_terms(plan, step.left), *_small_terms(plan, step.right)]
    elif step.via is None or step.structure.is_tied:
        return [(number,)]
    else:
        found = [(step.left, step.right)]
    factors = [k for term in found for k in term]
    # An operator keeps no array that could be a factor.
    is_stored = all(plan.structures[k].action is None for k in factors)
    is_thin = sum(counts[k] for k in factors) < counts[number]
    return found if is_stored and is_thin else [(number,)]


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
