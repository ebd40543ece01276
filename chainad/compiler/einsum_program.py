"""Contractions as programs: an einsum of any number of arrays, two at a time."""

from __future__ import annotations

from functools import lru_cache

from chainad.ir.ops import Sum
from chainad.ir.program import Program
from chainad.ir.program_builder import ProgramBuilder
from chainad.structure.contract import contract

Labels = tuple[int, ...]


@lru_cache(maxsize=1024)
def einsum_program(
    terms: tuple[Labels, ...], shapes: tuple[tuple[int, ...], ...], result: Labels
) -> Program | None:
    """Return the program of a contraction of arrays of some shapes, a label for every axis.

    Returns None if an array has a label twice: its diagonal is not what a product takes.
    """
    if any(len({*term}) < len(term) for term in terms):
        return None
    size = {
        a: n for term, s in zip(terms, shapes, strict=True) for a, n in zip(term, s, strict=True)
    }
    builder = ProgramBuilder(len(terms))
    builder.shapes |= dict(enumerate(shapes))
    register, have = _summed(builder, 0, terms[0], {*result}.union(*terms[1:]))
    for k, term in enumerate(terms[1:], 1):
        later = {*result}.union(*terms[k + 1 :])
        other, new = _summed(builder, k, term, {*have, *later})
        register, have = _summed(builder, register, have, {*new, *later})
        out = tuple(a for a in dict.fromkeys((*have, *new)) if a in later)
        if k == len(terms) - 1:
            out = result
        register = contract(builder, (have, new, out), size, register, other)
        have = out
    register = builder.transpose_to(register, have, result)
    return Program(len(terms), tuple(builder.instructions), (register,))


def _summed(
    builder: ProgramBuilder, register: int, labels: Labels, needed: set[int]
) -> tuple[int, Labels]:
    """Return an array summed over the labels that nothing else has, and the labels left."""
    axes = tuple(k for k, a in enumerate(labels) if a not in needed)
    if not axes:
        return register, labels
    return builder.emit(Sum(axes), register), tuple(a for a in labels if a in needed)
