"""Evaluations in two halves: the value now, the Jacobian at the same point if it is wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainad.api.differentiator import Differentiator
from chainad.api.fallbacks import INTENDED, is_fault, warn_of_fault
from chainad.api.function_of import name_of
from chainad.api.outputs import write
from chainad.compiler.recording.replay import NOT_FINITE, Replay, SecondHalf, finished_otherwise
from chainad.errors import InputError
from chainad.frontends.captures.contents import is_same
from chainad.ir import trees


class Evaluation:
    """An evaluation that was begun: call it for the Jacobian at its point.

    It may be called often, by any thread, and each time returns arrays of the caller's own. The
    keyword `out` is that of `jacobian`.
    """

    __slots__ = ("_args", "_kwargs", "_of", "_second")

    def __init__(
        self, of: Differentiator, args: tuple[Any, ...], kwargs: dict[str, Any], second: SecondHalf
    ) -> None:
        self._of, self._args, self._kwargs, self._second = of, args, kwargs, second

    def __repr__(self) -> str:
        return f"<an evaluation of {self._of!r} that was begun>"

    def __call__(self, out: Any = None) -> Any:
        failure = None
        try:
            jacobian = self._second.finish(out)
        except INTENDED:
            raise
        except Exception as error:
            failure = error
        if failure is not None:  # not while it is handled: what tracing raises has no context
            jacobian = self._instead_of(failure)
        return jacobian if out is None else write(jacobian, out)

    @property
    def is_worth_keeping(self) -> bool:
        """Whether it takes longer to begin than to compare what the function reads."""
        return self._second.is_replayed and self._second.is_worth_keeping

    def holds(self) -> bool:
        """Return whether all that the function read beside its arguments is what it was.

        It is false of a function that is traced at each call, since that cannot be told.
        """
        return self._second.holds()

    def is_at(self, args: tuple[Any, ...]) -> bool:
        """Return whether a call with these arguments, none by name, would be at the same point."""
        here = self._args
        return len(here) == len(args) and not self._kwargs and all(map(is_same, here, args))

    def _instead_of(self, failure: Exception) -> Any:
        """Return what tracing does where the second half has raised."""
        check_not_overtaken(self._of, self._second)
        _, second = self._of.traced(self._args, self._kwargs)
        if is_fault(failure):
            warn_of_fault("finishing an evaluation", failure)
        return second.finish()


def check_not_overtaken(of: Differentiator, second: SecondHalf) -> None:
    """Raise InputError if a Jacobian can no longer be made by evaluating anew."""
    if not second.holds():
        raise InputError(
            f"what {name_of(of.function)} reads beside its arguments has changed since this"
            " evaluation was begun, and its Jacobian, which is not finite, depends on that; begin"
            " another one"
        )


def with_exact_zeros(
    of: Differentiator,
    begin: Replay,
    is_exact: Callable[[Any], bool],
    masked: Callable[..., tuple[Any, SecondHalf]],
) -> Replay:
    """Return a replay whose Jacobians that are not exact are made with masks of exact zeros.

    `masked` begins the same evaluation with masks.
    """

    def finish(second: SecondHalf, args: Any, kwargs: Any, out: Any) -> Any:
        jacobian = second.finish(out)
        if jacobian is not NOT_FINITE and is_exact(jacobian):
            return jacobian
        check_not_overtaken(of, second)
        return masked(args, kwargs)[1].finish(out)

    return finished_otherwise(begin, finish)


def owned(value: Any) -> Any:
    """Return arguments whose arrays are nobody else's."""
    if type(value) is tuple and all(type(item) is np.ndarray for item in value):
        return tuple([item.copy(order="K") for item in value])  # the usual ones
    return trees.map_leaves(_owned_leaf, value)


def _owned_leaf(value: Any) -> Any:
    return value.copy(order="K") if type(value) is np.ndarray else value
