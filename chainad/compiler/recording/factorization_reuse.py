"""Solves share their factorisation with the operators of their local Jacobians."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chainad.compiler.recording.recording import Step
from chainad.frontends.numpy.recorder import Ref
from chainad.rules.linear_algebra import InverseFormula
from chainad.structure.linear_operators import Operator


@dataclass(frozen=True)
class FactorizedSolve:
    """What calls instead of `np.linalg.solve`: the value `number` is the inverse, factorised.

    That is the value `known`, if there is one.
    """

    number: int
    inverse: Callable[[Any], Operator]
    known: int | None

    def __call__(self, a: Any, b: Any) -> Any:
        return self.inverse(a).jvp(b)


def reuse_factorizations(steps: Sequence[Step], dtypes: Mapping[int, np.dtype[Any]]) -> list[Step]:
    """Return steps in which a matrix that is solved with and inverted is factorised once.

    `dtypes` are those of the values that are no steps.
    """
    known = {step.number: step for step in steps}
    dtypes = {**dtypes, **{n: step.dtype for n, step in known.items() if step.dtype is not None}}
    pairs: dict[int, Step] = {}
    for step in steps:
        solve = _solve_of(step, known, dtypes)
        if solve is not None:
            pairs.setdefault(solve.number, step)
    inverses: dict[int, int] = {}
    shared: dict[int, Step] = {}
    for number, step in sorted(pairs.items()):  # in the order in which the solutions are needed
        matrix, formula = step.args[1].number, _formula(step)
        function = FactorizedSolve(step.number, formula.inverse, inverses.get(matrix))
        inverses.setdefault(matrix, step.number)
        shared[number] = replace(known[number], function=function)
    dropped = {step.number for step in pairs.values()}
    return [shared.get(step.number) or _alone(step) for step in steps if step.number not in dropped]


def needs(step: Step) -> tuple[int, ...]:
    """Return the values that a call really needs: an operator of a solve not its solution."""
    return _alone(step).reads


def _alone(step: Step) -> Step:
    """Return a call that makes the operator of a solve as one of the matrix alone."""
    formula = _formula(step)
    if not isinstance(formula, InverseFormula):
        return step
    return replace(step, function=formula.of_matrix, args=step.args[1:2])


def _formula(step: Step) -> Any:
    return getattr(step.function, "__wrapped__", step.function)


def _solve_of(
    step: Step, known: Mapping[int, Step], dtypes: Mapping[int, np.dtype[Any]]
) -> Step | None:
    """Return the solve whose operator a step makes, if one factorisation gives the same numbers."""
    formula = _formula(step)
    if not isinstance(formula, InverseFormula) or len(formula.shape) != 2:
        return None
    y, a, b = step.args
    solve = known.get(y.number) if isinstance(y, Ref) else None
    if solve is None or solve.function is not np.linalg.solve or solve.kwargs:
        return None
    operands = {dtypes.get(x.number) if isinstance(x, Ref) else None for x in (a, b)}
    return solve if solve.args == (a, b) and operands == {solve.dtype} else None
