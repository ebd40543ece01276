"""Factorisation reuse: solves and the operators of their Jacobians factorise a matrix once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from chainad.ir.calls import Call, Input
from chainad.ir.operators import written_as
from chainad.ir.program import Instruction
from chainad.rules.linear_algebra import InverseFormula
from chainad.structure.linear_operators import Operator


@written_as("{0}.jvp({1})")
def apply_operator(operator: Operator, b: Any) -> Any:
    """Return an operator times an array: what a solve becomes once there is the inverse."""
    return operator.jvp(b)


def reuse_factorizations(
    instructions: Sequence[Instruction], dtypes: Mapping[int, np.dtype[Any]]
) -> list[Instruction]:
    """Return instructions in which a matrix that is solved with and inverted is factorised once.

    The inverse is an operator, made where the solution is needed, which is a product with it.
    Every other operator of a solve is made of the matrix alone, not of the solution. `dtypes` are
    those of the registers that no instruction writes.
    """
    calls = {i.output: (i.op, i) for i in instructions if isinstance(i.op, Call)}
    dtypes = {**dtypes, **{k: op.dtype for k, (op, _) in calls.items() if op.dtype is not None}}
    inverse_of: dict[int, Instruction] = {}
    for op, i in calls.values():
        formula = _formula(op)
        if formula is not None and len(formula.shape) == 2:
            y, *operands = i.inputs
            solve, of = calls.get(y, (None, i))
            if solve is not None and _solves_alone(solve, of, operands, dtypes):
                inverse = replace(
                    op, function=formula.inverse, args=(Input(0),), errstate=solve.errstate
                )
                inverse_of.setdefault(y, Instruction(inverse, of.inputs[:1], i.output))
    moved = {i.output for i in inverse_of.values()}
    found: list[Instruction] = []
    for i in instructions:
        if i.output in inverse_of:
            found += [inverse_of[i.output], _product(i, inverse_of[i.output].output)]
        elif i.output not in moved:
            found.append(_of_matrix_alone(i))
    return found


def _formula(call: Call) -> InverseFormula | None:
    """Return the formula of a solve's operator, of a solution, a matrix and a right-hand side."""
    formula = getattr(call.function, "__wrapped__", call.function)
    is_of_registers = call.positions == (0, 1, 2)
    return formula if isinstance(formula, InverseFormula) and is_of_registers else None


def _solves_alone(
    solve: Call, of: Instruction, operands: list[int], dtypes: Mapping[int, np.dtype[Any]]
) -> bool:
    """Return whether a call solves with these registers, as its inverse times the other would."""
    if solve.function is not np.linalg.solve or solve.positions != (0, 1) or solve.kwargs:
        return False
    return of.inputs == tuple(operands) and {dtypes.get(k) for k in operands} == {solve.dtype}


def _product(i: Instruction, operator: int) -> Instruction:
    """Return a solve as a product with the inverse."""
    assert isinstance(i.op, Call)
    return Instruction(replace(i.op, function=apply_operator), (operator, i.inputs[1]), i.output)


def _of_matrix_alone(i: Instruction) -> Instruction:
    """Return an instruction; the operator of a solve is made without the solution."""
    if not isinstance(i.op, Call) or (formula := _formula(i.op)) is None:
        return i
    of_matrix = replace(i.op, function=formula.of_matrix, args=(Input(0),))
    return Instruction(of_matrix, i.inputs[1:2], i.output)
