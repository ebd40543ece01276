"""Sums with arrays that are placed in zeros: made at their places, with the same results."""

import numpy as np
import pytest

from chainad.backends.numpy.build import build
from chainad.compiler.passes import placed_sums
from chainad.compiler.passes.placed_sums import add_at_places
from chainad.ir import ops
from chainad.ir.program import Instruction, Program, prune
from chainad.ir.program_builder import ProgramBuilder

rng = np.random.default_rng(0)


@pytest.mark.parametrize("is_placed", [(True, True), (True, False), (False, True), (False, False)])
def test_a_sum_reads_the_places_of_a_placed_term_alone(is_placed: tuple[bool, bool]) -> None:
    builder = ProgramBuilder(2)
    where, count = (range(3), range(2, 4)), 512
    arrays, terms = [], []
    for k, (at, placed) in enumerate(zip(where, is_placed, strict=True)):
        builder.shapes[k] = (count, len(at) if placed else 4)
        arrays.append(rng.normal(size=builder.shapes[k]))
        terms.append(builder.emit(ops.Place(1, at, 4), k) if placed else k)
    total = builder.emit(ops.Add(), *terms)
    program = Program(2, tuple(builder.instructions), (total,))
    found = prune(add_at_places(program, builder)[0])
    np.testing.assert_array_equal(build(found)(arrays)[0], build(program)(arrays)[0])
    kinds = [type(i.op) for i in found.instructions]
    assert kinds == [ops.Place] * all(is_placed) + [ops.AddAt if any(is_placed) else ops.Add]


def test_small_sums_and_sums_that_broadcast_stay() -> None:
    for size in (1, placed_sums.MIN_SUM_ELEMENTS // 4):
        builder = ProgramBuilder(2)
        builder.shapes |= {0: (size, 1), 1: (size, 1 if size > 1 else 3)}
        total = builder.emit(ops.Add(), builder.emit(ops.Place(1, range(1, 2), 3), 0), 1)
        program = Program(2, (*builder.instructions, Instruction(ops.Copy(), (total,), 99)), (99,))
        assert add_at_places(program, builder)[0] is program
