"""The functions that `jacobian` and `value_and_jacobian` return."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainad.api.batches import Batch, BatchedDifferentiator
from chainad.api.compiled import CompiledFunction
from chainad.api.differentiator import Differentiator
from chainad.api.function_of import FunctionOf, name_of
from chainad.api.options import Options
from chainad.errors import InputError, TraceError
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.plan import Plan


class JacobianFunction(FunctionOf):
    """The Jacobian of a function, as a function; made by `jacobian`."""

    _has_value = False

    def __init__(self, f: Callable[..., Any], options: Options, batch: Batch | None = None) -> None:
        if not callable(f):
            raise InputError(f"f must be a function, but got {type(f).__name__}")
        if isinstance(f, np.vectorize):
            raise TraceError(
                f"np.vectorize calls {name_of(f)} on plain numbers, whose derivatives are lost;"
                " differentiate the function itself, with batch=0 for many points, or stack its"
                " results: np.stack([g(each) for each in x])"
            )
        self._differentiator = Differentiator(f, options, self._has_value)
        self._batched = (
            None if batch is None else BatchedDifferentiator(self._differentiator, batch)
        )
        one = self._differentiator
        super().__init__(f, one.verb, options.output == "dense", f"mode={options.mode!r}")

    @property
    def _parts(self) -> tuple[Any, ...]:
        one, batched = self._differentiator, self._batched
        return one.function, one.options, None if batched is None else batched.batch

    def __repr__(self) -> str:
        return repr(self._differentiator if self._batched is None else self._batched)

    def __call__(self, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        one = self._differentiator
        if self._batched is None:
            return one.returned(*one.traced(args, kwargs), out)
        return one.returned(*self._batched.value_and_jacobians(args, kwargs, out), out)

    def compile(self, *args: Any, **kwargs: Any) -> CompiledFunction:
        """Return a function that replays what a call does, without tracing; see `chainad.compile`.

        Arguments, if there are any, are called with at once.
        """
        if self._batched is not None:
            raise InputError(
                "a function with batch= is compiled already, at its first call; call it as it is"
            )
        compiled = CompiledFunction(self._differentiator)
        if args or kwargs:
            compiled(*args, **kwargs)
        return compiled

    def plan(self, *args: Any, **kwargs: Any) -> Plan | ChunkedPlan:
        """Return the plan for these arguments, without multiplying any Jacobian.

        With `batch=` it is the plan at the first point, on scalars if these run so.
        """
        planner = self._differentiator if self._batched is None else self._batched
        return planner.plan(args, kwargs)


class ValueAndJacobianFunction(JacobianFunction):
    """A function and its Jacobian, as one function; made by `value_and_jacobian`."""

    _has_value = True
