"""Outer products of a batch are written by `einsum`, with the very same numbers."""

import numpy as np
import pytest
from preallocated import Preallocated

from chainad.ir import ops
from chainad.ir.program import Instruction, Program

SHAPES = [((90, 7, 1), (90, 1, 8)), ((1, 9, 3, 40), (5, 1, 3, 40)), ((9, 1), (1, 600))]


@pytest.mark.parametrize(("one", "two"), SHAPES)
def test_outer_products_are_those_of_multiply(one: tuple[int, ...], two: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape) for shape in (one, two)]
    program = Program(2, (Instruction(ops.Multiply(), (0, 1), 2),), (2,))
    found = Preallocated(program, arrays)
    np.testing.assert_array_equal(found(arrays)[0], arrays[0] * arrays[1])
    assert any("einsum" in line for line in found.text.lines)
