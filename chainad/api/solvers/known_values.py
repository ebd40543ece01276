"""Values that a solver has found already, as calls with a row: what is left is a derivative."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from chainad.frontends.numpy.closure_conversion import untraced
from chainad.frontends.numpy.tape import Tape
from chainad.frontends.numpy.traced_calls import call
from chainad.frontends.numpy.tracers import Tracer, tracers_in
from chainad.ir.graph import Argument
from chainad.rules.base import RULES, Local, Locals, Rule, dispatching
from chainad.structure import Arrangement, dense, operator
from chainad.structure.linear_operators import UserOperator


class Derivative(ABC):
    """What a row says of a value that is known: its local Jacobians by the operands."""

    @abstractmethod
    def locals(self, y: Argument, *operands: Argument) -> Locals:
        """Return the local Jacobians; all formulas take y twice, then the operands."""


def known_value(name: str) -> Callable[..., Any]:
    """Make what records a call by this name: `f(derivative, value, *operands)` returns the value.

    Some operand is traced, and the value is not, by the same trace. It was computed from what the
    operands are for outer traces, so that it has the derivatives by these.
    """

    def known(derivative: Derivative, value: Any, *operands: Any) -> Any:
        return value

    known.__name__ = known.__qualname__ = name.rpartition(".")[2]
    known.__module__ = name.rpartition(".")[0]
    RULES[known] = Rule(
        lambda y, derivative, value, *operands: derivative.locals(y, *operands),
        operands=slice(1, None),
    )

    def recorded(*args: Any) -> Any:
        return call(known, args, {})

    recorded.__name__ = known.__name__
    return recorded


def matrix_free(
    y: Argument,
    x: Argument,
    push: Callable[..., Any],
    pull: Callable[..., Any],
    costs: tuple[int, int],
) -> Local:
    """Return a local Jacobian given by its action on blocks of tangents and adjoints.

    `push(tangents, value, *operands)` takes columns of shape (x.size, k), `pull(adjoints, value,
    *operands)` rows of shape (k, y.size); `costs` are multiplications for each of these.
    """
    plain = Arrangement(dense(y.shape, x.shape), ())

    def formula(out: Any, *values: Any) -> UserOperator:
        return UserOperator(y.size, x.size, np.dtype(float), push, pull, values)

    if not plain.structure.stored:  # scalars: there is nothing to map
        return Local(plain, lambda *values: np.reshape(formula(*values).materialize(), ()))
    return Local(operator(plain, *costs, 0), formula)


def innermost(values: Sequence[Any]) -> Tape | None:
    """Return the tape of the innermost trace among values; None if these are plain."""
    return max((x.tape for x in tracers_in(values)), key=lambda tape: tape.level, default=None)


def of_plain_arrays(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function of plain arrays be recorded as one call, where nobody differentiates by them.

    It runs as if no function was traced.
    """

    @dispatching
    @wraps(function)
    def called(*args: Any) -> Any:
        with untraced():
            return function(*args)

    called.is_solver = True  # type: ignore[attr-defined]
    return called


def is_differentiated(values: Sequence[Any]) -> bool:
    """Return whether there are values by which somebody differentiates."""
    tape = innermost(values)
    return tape is not None and not tape.is_recorder


def below(value: Any, tape: Tape) -> Any:
    """Return what is behind a value that is traced on a tape; others as they are."""
    return value.value if isinstance(value, Tracer) and value.tape is tape else value


def as_vector(values: Sequence[Any]) -> Any:
    """Return all entries of some arrays as one vector."""
    flat = [np.reshape(x, (-1,)) for x in values]
    if not flat:
        return np.zeros(0)
    return flat[0] if len(flat) == 1 else np.concatenate(flat)
