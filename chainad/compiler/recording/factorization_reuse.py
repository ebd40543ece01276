"""Factorisation reuse: solves and the operators of their Jacobians factorise a matrix once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chainad.compiler.recording.recording import RecordedCall
from chainad.frontends.numpy.recorder import Ref
from chainad.rules.linear_algebra import InverseFormula
from chainad.structure.linear_operators import Operator


@dataclass(frozen=True)
class FactorizedSolve:
    """Replaces `np.linalg.solve` by a product with the inverse as an operator, value `number`.

    That operator is the value `known`, if there is one already.
    """

    number: int
    inverse: Callable[[Any], Operator]
    known: int | None

    def __call__(self, a: Any, b: Any) -> Any:
        return self.inverse(a).jvp(b)


def reuse_factorizations(
    calls: Sequence[RecordedCall], dtypes: Mapping[int, np.dtype[Any]]
) -> list[RecordedCall]:
    """Return calls in which a matrix that is solved with and inverted is factorised once.

    `dtypes` are those of the values that are not results of calls.
    """
    known = {call.number: call for call in calls}
    dtypes = {**dtypes, **{n: call.dtype for n, call in known.items() if call.dtype is not None}}
    pairs: dict[int, RecordedCall] = {}
    for call in calls:
        solve = _solve_of(call, known, dtypes)
        if solve is not None:
            pairs.setdefault(solve.number, call)
    inverses: dict[int, int] = {}
    shared: dict[int, RecordedCall] = {}
    for number, call in sorted(pairs.items()):  # in the order in which the solutions are needed
        matrix, formula = call.args[1].number, _formula(call)
        function = FactorizedSolve(call.number, formula.inverse, inverses.get(matrix))
        inverses.setdefault(matrix, call.number)
        shared[number] = replace(known[number], function=function)
    dropped = {call.number for call in pairs.values()}
    return [
        shared.get(call.number) or _of_matrix_alone(call)
        for call in calls
        if call.number not in dropped
    ]


def required_reads(call: RecordedCall) -> tuple[int, ...]:
    """Return the values that a call depends on; the operator of a solve needs no solution."""
    return _of_matrix_alone(call).reads


def _of_matrix_alone(call: RecordedCall) -> RecordedCall:
    """Return a call that makes the operator of a solve as one of the matrix alone."""
    formula = _formula(call)
    if not isinstance(formula, InverseFormula):
        return call
    return replace(call, function=formula.of_matrix, args=call.args[1:2])


def _formula(call: RecordedCall) -> Any:
    return getattr(call.function, "__wrapped__", call.function)


def _solve_of(
    call: RecordedCall, known: Mapping[int, RecordedCall], dtypes: Mapping[int, np.dtype[Any]]
) -> RecordedCall | None:
    """Return the solve whose operator a call makes, if one factorisation gives the same result."""
    formula = _formula(call)
    if not isinstance(formula, InverseFormula) or len(formula.shape) != 2:
        return None
    y, a, b = call.args
    solve = known.get(y.number) if isinstance(y, Ref) else None
    if solve is None or solve.function is not np.linalg.solve or solve.kwargs:
        return None
    operands = {dtypes.get(x.number) if isinstance(x, Ref) else None for x in (a, b)}
    return solve if solve.args == (a, b) and operands == {solve.dtype} else None
