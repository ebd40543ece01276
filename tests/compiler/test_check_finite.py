"""Where a program is looked at for nan and infinity: at little, and so that nothing is missed."""

from math import isfinite
from typing import Any

import numpy as np
import pytest

import chainad
from chainad.api.recorded_run import record_planned_run
from chainad.backends.numpy.build import build
from chainad.compiler.passes.check_finite import check_finite
from chainad.ir import ops
from chainad.ir.program import Instruction, Program


def looked_at(program: Program) -> tuple[int, ...]:
    (check,) = (i for i in program.instructions if isinstance(i.op, ops.SumOfSquares))
    return check.inputs


def product(*factors: tuple[int, ...]) -> tuple[Program, dict[int, Any]]:
    """A program that multiplies its slots, of these shapes, one after the other."""
    shapes: dict[int, Any] = dict(enumerate(factors))
    instructions, last = [], 0
    for k in range(1, len(factors)):
        output = len(factors) + k - 1
        instructions.append(Instruction(ops.Multiply(), (last, k), output))
        shapes[output] = np.broadcast_shapes(shapes[last], shapes[k])
        last = output
    return Program(len(factors), tuple(instructions), (last,)), shapes


def test_the_factors_of_an_outer_product_are_looked_at() -> None:
    program, shapes = product((300, 1), (1, 400))
    assert looked_at(check_finite(program, shapes, False)) == (0, 1)
    assert looked_at(check_finite(program, shapes, True)) == program.outputs
    program, shapes = product((3, 1), (1, 4))
    assert looked_at(check_finite(program, shapes, False)) == program.outputs  # which is one call


def test_a_product_that_may_overflow_is_looked_at_before_it_is_multiplied() -> None:
    program, shapes = product((300, 1), (300, 1), (1, 400))
    checked = check_finite(program, shapes, False)
    assert looked_at(checked) == (2, 3)
    large, one = np.full((300, 1), 1e100), np.ones((1, 400))
    assert isfinite(build(checked)([large, one[:, :1], one])[-1])
    assert not isfinite(build(checked)([large, large, one])[-1])


def test_what_an_operator_returns_is_looked_at() -> None:
    program = Program(2, (Instruction(ops.Jvp(), (0, 1), 2),), (2,))
    assert looked_at(check_finite(program, {}, False)) == (2,)


@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_what_overflows_has_no_part_where_it_is_not_used(mode: Any) -> None:
    def f(x: Any) -> Any:
        return np.sin(np.where(x < 1, x, np.sin(x) * 1e200 * np.exp(x * 0.5) * 1e200))

    x = np.zeros(2)
    J = chainad.jacobian(f, mode=mode, backend="numpy")
    np.testing.assert_array_equal(J(x), np.diag(np.cos(x)))
    np.testing.assert_array_equal(J.compile()(x), np.diag(np.cos(x)))


def test_a_gradient_of_rank_one_is_looked_at_where_it_is_made_of_vectors() -> None:
    def f(W: Any) -> Any:  # (30, 80)
        return np.sum(np.maximum(W @ np.linspace(-1.0, 1.0, 80), 0.1) ** 2)

    W = np.ones((30, 80))
    checked = record_planned_run(chainad.grad(f)._of, (W,), {}).program.checked
    assert checked is not None
    assert {*looked_at(checked)}.isdisjoint(checked.outputs)


@pytest.mark.parametrize("output", ["dense", "sparse"])
def test_functions_may_look_for_themselves(output: Any) -> None:
    def f(x: Any, y: Any) -> Any:
        return np.where(np.isfinite(y), x * y, 0)

    x, y = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    g = chainad.compile(chainad.jacobian(f, output=output), x, y)
    found = g(x, y)
    np.testing.assert_array_equal(found if output == "dense" else found.toarray(), np.diag(y))
