"""Assembly: the last additions that make up a vector write to their positions in it themselves.

A result that is a sum of placed pieces is decomposed into its terms, down to what other
instructions read, too. Terms at the same positions make one region, which is written once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from chainad.ir.ops import Add, AddAt, Broadcast, Place, Reshape, Scale, Scatter, Subtract, Take
from chainad.ir.positions import Positions, as_array, compose
from chainad.ir.program import Instruction
from chainad.ir.program_builder import ProgramBuilder

_MAX_TERMS_OF_SUM = 64


@dataclass(frozen=True, slots=True)
class _Term:
    """A register, with a sign, that is added at some positions."""

    register: int
    sign: int
    positions: Positions


def assemble(
    builder: ProgramBuilder,
    registers: Sequence[int],
    positions: Sequence[Positions],
    size: int,
    covers: bool,
) -> int:
    """Emit a vector of `size` that holds vectors (or single elements) at their positions.

    `covers` says that every position is written exactly once.
    """
    reads = _reads(builder)
    terms = [
        found
        for register, places in zip(registers, positions, strict=True)
        for found in _terms(builder, _Term(register, 1, places), reads)
    ]
    regions: dict[Positions, list[_Term]] = {}
    for term in terms:
        regions.setdefault(term.positions, []).append(term)
    is_plain = len(regions) == len(registers) and all(
        regions.get(places, [None])[0] == _Term(register, 1, places) and len(regions[places]) == 1
        for register, places in zip(registers, positions, strict=True)
    )
    if not is_plain:
        covers = _partition(list(regions), size)
    terms_of = [_in_order(own, builder) for own in regions.values()]
    signs = tuple(tuple(term.sign for term in own) for own in terms_of)
    if all(own == (1,) for own in signs):
        signs = ()
    op = Scatter(tuple(regions), size, covers, signs)
    return builder.emit(op, *(term.register for own in terms_of for term in own))


def reassemble(builder: ProgramBuilder, register: int, size: int) -> int:
    """Return a register that holds a vector, assembled if it is a sum of placed pieces."""
    terms = _terms(builder, _Term(register, 1, range(size)), _reads(builder))
    if all(len(term.positions) == size for term in terms):
        return register
    return assemble(builder, [register], [range(size)], size, True)


def _reads(builder: ProgramBuilder) -> Counter[int]:
    return Counter(k for i in builder.instructions for k in i.inputs)


def _in_order(terms: Sequence[_Term], builder: ProgramBuilder) -> list[_Term]:
    """Put single elements first, then terms with a plus: few calls, and fewer on vectors."""

    def is_vector(term: _Term) -> bool:
        shape = builder.shapes.get(term.register)
        return shape is None or prod(shape) != 1

    return sorted(terms, key=lambda term: (is_vector(term), -term.sign))


def _partition(regions: Sequence[Positions], size: int) -> bool:
    """Return whether regions are disjoint and cover all positions."""
    if sum(map(len, regions)) != size:
        return False
    written = np.zeros(size, bool)
    for places in regions:
        written[as_array(places)] = True
    return bool(written.all())


def _terms(builder: ProgramBuilder, whole: _Term, reads: Counter[int]) -> list[_Term]:
    """Decompose a vector into the terms that it is a sum of."""
    found: list[_Term] = []
    stack = [whole]
    while stack:
        term = stack.pop()
        parts = _parts(builder, term, reads, term is whole)
        if parts is None or len(found) + len(stack) > _MAX_TERMS_OF_SUM:
            found.append(term)
        else:
            stack += reversed(parts)
    return found


def _without_sign(
    builder: ProgramBuilder, definition: Instruction, term: _Term
) -> list[_Term] | None:
    """Return the term without a change of sign that it is a view of or gathered from."""
    negated = builder.definitions.get(definition.inputs[0])
    if negated is None or negated.op != Scale(-1):
        return None
    plain = builder.emit(definition.op, negated.inputs[0])
    return [_Term(plain, -term.sign, term.positions)]


def _parts(
    builder: ProgramBuilder, term: _Term, reads: Counter[int], is_whole: bool
) -> list[_Term] | None:
    """Return the terms that add up to a register; None if it is a term itself."""
    definition = builder.definitions.get(term.register)
    if definition is None:
        return None
    op, inputs = definition.op, definition.inputs
    x = inputs[0] if inputs else -1
    if isinstance(op, Reshape):
        # Only a single element, or a vector, keeps its positions.
        shape = builder.shapes.get(x)
        if shape is not None and (all(n == 1 for n in shape) or shape == op.shape):
            return [_Term(x, term.sign, term.positions)]
        return _without_sign(builder, definition, term)
    if isinstance(op, Take):
        return _without_sign(builder, definition, term)
    if isinstance(op, Broadcast):
        shape = builder.shapes.get(x)
        is_scalar = shape is not None and all(n == 1 for n in shape)
        return [_Term(x, term.sign, term.positions)] if is_scalar else None
    if op == Scale(-1):
        return [_Term(x, -term.sign, term.positions)]
    if reads[term.register] > (0 if is_whole else 1):
        return None  # it is needed anyway
    match op:
        case Add():
            return [_Term(k, term.sign, term.positions) for k in inputs]
        case Subtract():
            return [
                _Term(x, term.sign, term.positions),
                _Term(inputs[1], -term.sign, term.positions),
            ]
        case AddAt(0, places):
            inner = _Term(inputs[1], term.sign, compose(term.positions, places))
            return [_Term(x, term.sign, term.positions), inner]
        case Place(0, places):
            return [_Term(x, term.sign, compose(term.positions, places))]
    return None
