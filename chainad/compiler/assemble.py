"""Assembling: what adds up to a vector is written to its place by the last addition itself.

A result that is a sum of placed pieces is taken apart into its terms, down to what something else
reads too. Terms that go to the same places make one region, which is written once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from chainad.compiler.passes.program_builder import ProgramBuilder
from chainad.ir.ops import Add, AddAt, Broadcast, Place, Reshape, Scale, Scatter, Subtract, Take
from chainad.ir.positions import Positions, as_array, compose
from chainad.ir.program import Instruction

# A sum of more pieces than this is left as it is.
MANY = 64


@dataclass(frozen=True, slots=True)
class Term:
    """A register, with a sign, that goes to some places."""

    register: int
    sign: int
    where: Positions


def assemble(
    builder: ProgramBuilder,
    registers: Sequence[int],
    where: Sequence[Positions],
    size: int,
    covers: bool,
) -> int:
    """Emit vectors (or single numbers) put at their places of a vector of `size`.

    `covers` says that no two entries meet and every place is taken.
    """
    reads = _reads(builder)
    terms = [
        found
        for register, places in zip(registers, where, strict=True)
        for found in _terms(builder, Term(register, 1, places), reads)
    ]
    regions: dict[Positions, list[Term]] = {}
    for term in terms:
        regions.setdefault(term.where, []).append(term)
    is_plain = len(regions) == len(registers) and all(
        regions.get(places, [None])[0] == Term(register, 1, places) and len(regions[places]) == 1
        for register, places in zip(registers, where, strict=True)
    )
    if not is_plain:
        covers = _fills(list(regions), size)
    each = [_in_order(own, builder) for own in regions.values()]
    signs = tuple(tuple(term.sign for term in own) for own in each)
    if all(own == (1,) for own in signs):
        signs = ()
    op = Scatter(tuple(regions), size, covers, signs)
    return builder.emit(op, *(term.register for own in each for term in own))


def reassemble(builder: ProgramBuilder, register: int, size: int) -> int:
    """Return a register with the numbers of a vector, assembled if it is a sum of placed pieces."""
    terms = _terms(builder, Term(register, 1, range(size)), _reads(builder))
    if all(len(term.where) == size for term in terms):
        return register
    return assemble(builder, [register], [range(size)], size, True)


def _reads(builder: ProgramBuilder) -> Counter[int]:
    return Counter(k for i in builder.instructions for k in i.inputs)


def _in_order(terms: Sequence[Term], builder: ProgramBuilder) -> list[Term]:
    """Put single numbers first, then terms with a plus: few calls, and fewer on vectors."""

    def is_vector(term: Term) -> bool:
        shape = builder.shapes.get(term.register)
        return shape is None or prod(shape) != 1

    return sorted(terms, key=lambda term: (is_vector(term), -term.sign))


def _fills(regions: Sequence[Positions], size: int) -> bool:
    """Return whether regions meet nowhere, and take every place."""
    if sum(map(len, regions)) != size:
        return False
    taken = np.zeros(size, bool)
    for places in regions:
        taken[as_array(places)] = True
    return bool(taken.all())


def _terms(builder: ProgramBuilder, whole: Term, reads: Counter[int]) -> list[Term]:
    """Take a vector apart into the terms that it is a sum of."""
    found: list[Term] = []
    stack = [whole]
    while stack:
        term = stack.pop()
        parts = _parts(builder, term, reads, term is whole)
        if parts is None or len(found) + len(stack) > MANY:
            found.append(term)
        else:
            stack += reversed(parts)
    return found


def _opposite(builder: ProgramBuilder, made: Instruction, term: Term) -> list[Term] | None:
    """Return the term without the change of sign that it is a view or a part of."""
    opposite = builder.definitions.get(made.inputs[0])
    if opposite is None or opposite.op != Scale(-1):
        return None
    turned = builder.emit(made.op, opposite.inputs[0])
    return [Term(turned, -term.sign, term.where)]


def _parts(
    builder: ProgramBuilder, term: Term, reads: Counter[int], is_whole: bool
) -> list[Term] | None:
    """Return the terms that a register adds up from; None if it is to be taken as it is."""
    made = builder.definitions.get(term.register)
    if made is None:
        return None
    op, inputs = made.op, made.inputs
    x = inputs[0] if inputs else -1
    if isinstance(op, Reshape):
        # Only what is one number, or a vector, keeps its places.
        shape = builder.shapes.get(x)
        if shape is not None and (all(n == 1 for n in shape) or shape == op.shape):
            return [Term(x, term.sign, term.where)]
        return _opposite(builder, made, term)
    if isinstance(op, Take):
        return _opposite(builder, made, term)
    if isinstance(op, Broadcast):
        shape = builder.shapes.get(x)
        is_number = shape is not None and all(n == 1 for n in shape)
        return [Term(x, term.sign, term.where)] if is_number else None
    if op == Scale(-1):
        return [Term(x, -term.sign, term.where)]
    if reads[term.register] > (0 if is_whole else 1):
        return None  # it is needed anyway
    match op:
        case Add():
            return [Term(k, term.sign, term.where) for k in inputs]
        case Subtract():
            return [Term(x, term.sign, term.where), Term(inputs[1], -term.sign, term.where)]
        case AddAt(0, places):
            inner = Term(inputs[1], term.sign, compose(term.where, places))
            return [Term(x, term.sign, term.where), inner]
        case Place(0, places):
            return [Term(x, term.sign, compose(term.where, places))]
    return None
