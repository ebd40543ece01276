"""What `jacobian` and `value_and_jacobian` return, and how any function is compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast, overload

import numpy as np

from chainad.api.analysis import Analysis
from chainad.api.batches import BatchedDifferentiator
from chainad.api.compiled import CompiledFunction
from chainad.api.differentiator import Derivative, Differentiator
from chainad.api.function_of import (
    F_co,
    FunctionOf,
    P,
    R_co,
    V_co,
    check_callable,
    name_of,
    parameter_names,
)
from chainad.api.options import EVALUATION, Options, check_has_parts, with_compilation
from chainad.api.points import Batch
from chainad.compiler.scalar.replay_scalar import Backend
from chainad.errors import InputError, TraceError
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.plan import Plan


class JacobianFunction(FunctionOf[P, V_co, R_co, F_co]):
    """The Jacobian of a function, as a function; made by `jacobian`."""

    _has_value = False
    _is_holomorphic = False
    _derivative: ClassVar[Derivative] = "jacobian"

    def __init__(self, f: Callable[..., Any], options: Options, batch: Batch | None = None) -> None:
        check_callable(f)
        if isinstance(f, np.vectorize):
            raise TraceError(
                f"np.vectorize calls {name_of(f)} on plain numbers, whose derivatives are lost;"
                " differentiate the function itself, with batch=0 for many points, or stack its"
                " results: np.stack([g(each) for each in x])"
            )
        self._of = one = Differentiator(
            self._differentiated(f, options), options, self._has_value, self._derivative
        )
        check_has_parts(options, batch)
        self._batched = None if batch is None else BatchedDifferentiator(one, batch)
        super().__init__(f, one.verb, options.output == "dense", f"mode={options.mode!r}")

    def _differentiated(self, f: Callable[..., Any], options: Options) -> Callable[..., Any]:
        """Return the function whose Jacobian this is."""
        return f

    @property
    def _parts(self) -> tuple[Any, ...]:
        one, batched = self._of, self._batched
        return one.wrapped, one.options, None if batched is None else batched.batch

    def __repr__(self) -> str:
        return repr(self._of if self._batched is None else self._batched)

    def _call(self, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        one = self._of
        if self._batched is None:
            return one.returned(*one.traced(args, kwargs, out), out)
        return one.returned(*self._batched.value_and_jacobians(args, kwargs, out, self), out)

    if not TYPE_CHECKING:  # which is overloaded in FunctionOf
        __call__ = _call

    def compile(self, *args: Any, **kwargs: Any) -> CompiledFunction[P, V_co, R_co, F_co]:
        """Return a function that replays what a call does, without tracing; see `chainad.compile`.

        Arguments, if there are any, are called with at once.
        """
        compiled: CompiledFunction[P, V_co, R_co, F_co] = cast(Any, compiled_function(self))
        if args or kwargs:
            compiled(*args, **kwargs)
        return compiled

    def plan(self, *args: P.args, **kwargs: P.kwargs) -> Plan | ChunkedPlan:
        """Return the plan for these arguments, without multiplying any Jacobian.

        It ends with the whole Jacobian; output="structured" leaves out a last product of thin
        factors. With `batch=` it is the plan at the first point, on scalars if these run so.
        """
        planner = self._of if self._batched is None else self._batched
        return planner.plan(args, kwargs)

    @overload
    def explain(self, *args: P.args, **kwargs: P.kwargs) -> Plan | ChunkedPlan: ...

    @overload
    def explain(
        self, *args: Any, analyze: Literal[True], seconds: float = 2.0, **kwargs: Any
    ) -> Analysis: ...

    def explain(
        self, *args: Any, analyze: Any = False, seconds: Any = 2.0, **kwargs: Any
    ) -> Plan | ChunkedPlan | Analysis:
        """Return the plan for these arguments; with `analyze=True`, how long its steps take.

        See `CompiledFunction.explain`.
        """
        if not analyze:
            return self.plan(*args, **kwargs)
        if self._batched is not None:
            raise InputError(
                "all points of a batch go through each operation together; analyze one point by the"
                " same function without batch="
            )
        return self.compile().explain(*args, analyze=True, seconds=seconds, **kwargs)


class ValueAndJacobianFunction(JacobianFunction[P, V_co, R_co, F_co]):
    """A function and its Jacobian, as one function; made by `value_and_jacobian`."""

    _has_value = True


class GradientFunction(JacobianFunction[P, V_co, R_co, F_co]):
    """The gradient of a function that returns a number; made by `grad`."""

    _derivative = "grad"


class ValueAndGradientFunction(GradientFunction[P, V_co, R_co, F_co]):
    """A function that returns a number, and its gradient; made by `value_and_grad`."""

    _has_value = True


class HessianFunction(JacobianFunction[P, V_co, R_co, F_co]):
    """The Jacobian of the Jacobian of a function; made by `hessian`."""

    _derivative = "hessian"

    def __init__(self, f: Callable[..., Any], options: Options, batch: Batch | None = None) -> None:
        super().__init__(f, replace(options, is_hessian=True), batch)

    def _differentiated(self, f: Callable[..., Any], options: Options) -> Callable[..., Any]:
        inner = replace(
            options, mode="auto", output="dense", memory_limit=None, is_hessian=False,
            chunk_size=None, executor=None,
        )  # fmt: skip
        return JacobianFunction(f, inner)


def compiled_function(
    f: Callable[..., Any],
    backend: Backend | None = None,
    constant: str | Sequence[str] = (),
    background: bool = False,
) -> CompiledFunction:
    """Return a function, or what chainad made of one, compiled; with its own backend if None.

    Raises
    ------
    InputError
        If `f` is no function, or has `batch=`, or the backend is unknown, or `constant` no names,
        or `background` is for another backend than "numba".
    """
    check_callable(f)
    f = _without_partial(f)
    if isinstance(f, JacobianFunction) and f._batched is not None:
        raise InputError(
            "a function with batch= is compiled already, at its first call; call it as it is"
        )
    if isinstance(f, JacobianFunction) and f._is_holomorphic:
        raise InputError("a Jacobian with holomorphic=True is compiled by its method, J.compile()")
    if isinstance(f, (JacobianFunction, CompiledFunction)):
        of = f._of
    else:
        of = Differentiator(f, EVALUATION, has_value=True)
    options = with_compilation(of.options, backend, constant, background=background)
    if isinstance(f, CompiledFunction) and options == of.options:
        return f
    return CompiledFunction(replace(of, options=options))


def _without_partial(f: Callable[..., Any]) -> Callable[..., Any]:
    """Return the Jacobian of a partial in place of a partial Jacobian, such as a method."""
    if not (isinstance(f, partial) and isinstance(f.func, JacobianFunction)) or f.func._batched:
        return f
    of, given = f.func._of, len(f.args)
    how = of.options
    argnums = how.argnums if isinstance(how.argnums, tuple) else (how.argnums,)
    names = parameter_names(of.function)[:given]
    if any(
        k in f.keywords or k in names if isinstance(k, str) else 0 <= k < given for k in argnums
    ):
        return f  # by an argument that is given
    left = tuple(k if isinstance(k, str) or k < 0 else k - given for k in argnums)
    options = replace(how, argnums=left[0] if how.is_single else left)
    return type(f.func)(partial(f.func.__wrapped__, *f.args, **f.keywords), options)
