"""Jacobians as functions: what `jacobian` and `value_and_jacobian` return."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from chainad.api.batched import Batch, ManyPoints
from chainad.api.compiled import CompiledFunction
from chainad.api.options import Options, name_of
from chainad.api.outputs import assembler, itemsize_of, nest, write
from chainad.api.prepared import operators, plan_for, prepare
from chainad.compiler.linearize import evaluate, linear_graph
from chainad.errors import InputError
from chainad.frontends.numpy.trace import tracing
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.plan import Plan


class JacobianFunction:
    """The Jacobian of a function, as a function; made by `jacobian`."""

    verb = "jacobian"

    def __init__(self, f: Callable[..., Any], how: Options, batch: Batch | None = None) -> None:
        if not callable(f):
            raise InputError(f"f must be a function, but got {type(f).__name__}")
        self.f = f
        self.how = how
        self.many = None if batch is None else ManyPoints(self, batch)
        self.__doc__ = f"The Jacobian of {name_of(f)}, mode={how.mode!r}."

    def __repr__(self) -> str:
        how = self.how
        text = f"argnums={how.argnums}, mode={how.mode!r}, output={how.output!r}"
        if self.many is not None:
            text += f", batch={self.many.batch}"
        return f"chainad.{self.verb}({name_of(self.f)}, {text})"

    def __call__(self, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        if self.many is not None:
            return self.hand_out(*self.many.both(args, kwargs, out), out)
        return self.hand_out(*self.traced(args, kwargs), out)

    def hand_out(self, value: Any, jacobian: Any, out: Any) -> Any:
        """Return what a call returns, the Jacobian in the buffers `out` if there are any."""
        return jacobian if out is None else write(jacobian, out)

    def traced(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """Return what the function returns, and its Jacobian."""
        how = self.how
        with tracing(_bound(self.f, kwargs), args, how.positions(len(args))) as run:
            if how.output == "operator":
                jacobian = nest(run, operators(run), how.is_single)
            else:
                prepared = prepare(run, how)
                blocks = assembler(run, prepared.forms, how.output, how.is_single)
                slots = evaluate(run.tape, prepared.linearized.recipes)
                run.tape.forget()
                jacobian = blocks(prepared.run(slots))
        return run.values if run.is_tuple else run.values[0], jacobian

    def compile(self, *args: Any, **kwargs: Any) -> CompiledFunction:
        """Return a function that replays what a call does, without tracing; see `chainad.compile`.

        Arguments, if there are any, are called with at once.
        """
        if self.many is not None:
            raise InputError(
                "a function with batch= is compiled already, at its first call; call it as it is"
            )
        compiled = CompiledFunction(self)
        if args or kwargs:
            compiled(*args, **kwargs)
        return compiled

    def plan(self, *args: Any, **kwargs: Any) -> Plan | ChunkedPlan:
        """Return the plan for these arguments, without multiplying any Jacobian.

        With `batch=` it is the plan at the first point, on single numbers if these run so.
        """
        argnums = self.how.positions(len(args))
        if self.many is not None:
            found = self.many.plan(args, kwargs)
            if found is not None:
                return found
            args = self.many.first(args)
        with tracing(_bound(self.f, kwargs), args, argnums) as run:
            linearized = linear_graph(run.graph(), run.tape.origin, run.tape.where)
            plan = plan_for(linearized.graph, self.how, itemsize_of(run))
        return replace(plan, title=self.how.title(self.f, len(args)))


class ValueAndJacobianFunction(JacobianFunction):
    """A function and its Jacobian, as one function; made by `value_and_jacobian`."""

    verb = "value_and_jacobian"

    def hand_out(self, value: Any, jacobian: Any, out: Any) -> tuple[Any, Any]:
        return value, super().hand_out(value, jacobian, out)


def _bound(f: Callable[..., Any], kwargs: dict[str, Any]) -> Callable[..., Any]:
    return (lambda *args: f(*args, **kwargs)) if kwargs else f
