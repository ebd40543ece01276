"""Programs on what structured Jacobians store: the dense array, and products with vectors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from chainad.ir.ops import Add
from chainad.ir.program import Program
from chainad.ir.program_builder import ProgramBuilder
from chainad.structure import dense, multiply, to_dense
from chainad.structure.contract import emit_product
from chainad.structure.structure import Structure

Terms = tuple[tuple[Structure, ...], ...]


@lru_cache(maxsize=256)
def dense_program(terms: Terms) -> Program:
    """Return the program of a sum of products of structures, as a full array.

    Its slots are the stored arrays of all factors, one after the other.
    """
    count = sum(map(len, terms))
    slots = iter(range(count))
    return _program(count, [[(s, next(slots)) for s in term] for term in terms])


@lru_cache(maxsize=256)
def product_program(terms: Terms, columns: tuple[int, ...]) -> Program:
    """Return the program of a sum of products of structures times an array, from the right.

    The array has the axes of the columns of the last factors, then `columns`; it is in the last
    slot.
    """
    count = sum(map(len, terms))
    slots = iter(range(count))
    right = dense(terms[0][-1].col_shape, columns), count
    return _program(count + 1, [[*((s, next(slots)) for s in term), right] for term in terms])


def _program(n_slots: int, terms: Sequence[Sequence[tuple[Structure, int]]]) -> Program:
    """Return the program of a sum of products of structures, each of which is in a slot."""
    builder = ProgramBuilder(n_slots)
    total: int | None = None
    for term in terms:
        for structure, slot in term:
            builder.shapes[slot] = structure.stored_shape
        *others, (structure, slot) = term
        register = None if structure.scale is not None else slot
        for left, own in reversed(others):
            product = multiply(left, structure)
            register = emit_product(
                builder, product, None if left.scale is not None else own, register
            )
            structure = product.structure
        full = builder.apply_stored(to_dense(structure), register)
        total = full if total is None else builder.emit(Add(), total, full)
    assert total is not None
    result = builder.unaliased(total)
    return Program(n_slots, tuple(builder.instructions), (result,))
