"""A function and what is requested of it: one call without replay, and the plan that it follows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from chainad.api.function_of import name_of
from chainad.api.jacobian_program import plan_for
from chainad.api.options import Options
from chainad.api.outputs import assembler, nesting, returned_value, write
from chainad.api.traced_run import accumulated, operators, program_of
from chainad.compiler.linearize import linear_graph
from chainad.frontends.numpy.trace import tracing
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.plan import Plan


@dataclass(frozen=True, repr=False)
class Differentiator:
    """What is differentiated and how; `has_value` says that a call returns the value, too.

    Where no argument is differentiated by, a call returns the value alone.
    """

    function: Callable[..., Any]
    options: Options
    has_value: bool

    @property
    def has_jacobian(self) -> bool:
        """Whether a call returns a Jacobian."""
        return self.options.argnums != ()

    @property
    def verb(self) -> str:
        """What makes it, among the verbs of chainad; "" of a function as it is."""
        if not self.has_jacobian:
            return ""
        return "value_and_jacobian" if self.has_value else "jacobian"

    def __repr__(self) -> str:
        how = self.options
        if not self.has_jacobian:
            return name_of(self.function)
        text = f"argnums={how.argnums}, mode={how.mode!r}, output={how.output!r}"
        return f"chainad.{self.verb}({name_of(self.function)}, {text})"

    def traced(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """Return what the function returns, and its Jacobian; None for what is not requested."""
        how = self.options
        if not self.has_jacobian:
            return self.function(*args, **kwargs), None
        with tracing(self._bound(kwargs), args, how.positions(len(args))) as run:
            value = returned_value(run) if self.has_value else None
            if how.output == "operator":
                jacobian = nesting(run.signature, how.is_single)(operators(run))
            else:
                program, results = accumulated(run, program_of(run, how))
                assemble = assembler(run.signature, program.forms, how.output, how.is_single)
                jacobian = assemble(results)
        return value, jacobian

    def plan(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Plan | ChunkedPlan:
        """Return the plan for these arguments, without multiplying any Jacobian."""
        with tracing(self._bound(kwargs), args, self.options.positions(len(args))) as run:
            linearized = linear_graph(run.graph(), run.tape.origin, run.tape.where)
            plan = plan_for(linearized.graph, self.options, run.signature.itemsize)
        return replace(plan, title=self.title(len(args)))

    def returned(self, value: Any, jacobian: Any, out: Any) -> Any:
        """Return what a call returns, the Jacobian in the buffers `out` if there are any."""
        if not self.has_jacobian:
            return value
        found = jacobian if out is None else write(jacobian, out)
        return (value, found) if self.has_value else found

    def title(self, count: int) -> str:
        """Return what reports call the function, with `count` positional arguments."""
        return self.options.title(self.function, count)

    def _bound(self, kwargs: dict[str, Any]) -> Callable[..., Any]:
        f = self.function
        return partial(f, **kwargs) if kwargs else f
