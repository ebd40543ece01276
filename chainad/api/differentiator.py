"""A function and what is requested of it: one call without replay, and the plan that it follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeAlias

from chainad.api.function_of import FunctionOf, name_of
from chainad.api.jacobian_program import plan_for
from chainad.api.options import Options
from chainad.api.outputs import (
    assembler,
    buffers_in,
    is_on_disk,
    nesting,
    reserve,
    returned_value,
    write,
)
from chainad.api.traced_run import accumulated, operators, program_of
from chainad.compiler.linearize import linear_graph
from chainad.compiler.recording.replay import SecondHalf
from chainad.errors import InputError
from chainad.frontends.numpy.tape import reported
from chainad.frontends.numpy.trace import Run, tracing
from chainad.ir import trees
from chainad.ir.trees import LEAF
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.plan import Plan
from chainad.structure.results import pattern

Derivative: TypeAlias = Literal["jacobian", "grad", "hessian"]


@dataclass(frozen=True, repr=False)
class Differentiator:
    """What is differentiated and how; `has_value` says that a call returns the value, too.

    Where no argument is differentiated by, a call returns the value alone. `derivative` says what
    the Jacobian is: "jacobian", "grad" (the function must return a number), or "hessian" (the
    function is a Jacobian itself). With `is_split`, a `SecondHalf` is in the place of the Jacobian.
    """

    function: Callable[..., Any]
    options: Options
    has_value: bool
    derivative: Derivative = "jacobian"
    is_split: bool = False

    @property
    def has_jacobian(self) -> bool:
        """Whether a call returns a Jacobian."""
        return self.options.argnums != ()

    @property
    def returns_value(self) -> bool:
        """Whether a call returns something that is no Jacobian."""
        return self.has_value or self.options.has_aux

    @property
    def verb(self) -> str:
        """What makes it, among the verbs of chainad; "" of a function as it is."""
        if not self.has_jacobian:
            return ""
        is_pair = self.has_value and not self.is_split
        return f"value_and_{self.derivative}" if is_pair else self.derivative

    @property
    def wrapped(self) -> Callable[..., Any]:
        """The function that the user gave."""
        f = self.function
        return f.__wrapped__ if isinstance(f, FunctionOf) and self.derivative == "hessian" else f

    def __repr__(self) -> str:
        how = self.options
        if not self.has_jacobian:
            return name_of(self.function)
        text = f"argnums={how.argnums!r}, mode={how.mode!r}, output={how.output!r}"
        return f"chainad.{self.verb}({name_of(self.wrapped)}, {text})"

    def traced(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any = None
    ) -> tuple[Any, Any]:
        """Return what the function returns, and its Jacobian; None for what is not requested.

        The Jacobian is written into `out` if that is given and can be done directly.
        """
        how = self.options
        if not self.has_jacobian:
            return self.function(*args, **kwargs), None
        if is_on_disk(out):
            how = replace(how, is_on_disk=True)
            trees.map_leaves(reserve, out)
        with self.tracing(args, kwargs) as run:
            self.check(run)
            value = returned_value(run) if self.has_value else None
            if how.has_aux:
                value = value, run.aux
            if how.output == "operator":
                tree = nesting(run.result, run.arguments, how.is_single)
                return value, tree.unflatten(operators(run))
            program, buffers = program_of(run, how), None
            if out is not None and how.output == "dense":
                tree = nesting(run.result, run.arguments, how.is_single)
                blocks = run.signature.blocks
                buffers = partial(buffers_in, out, tree, program.forms, blocks)
            program, results = accumulated(run, program, buffers)
            assemble = assembler(run, program.forms, how.output, how.is_single)
            jacobian = assemble(results)
        return value, SecondHalf.of(jacobian) if self.is_split else jacobian

    def plan(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Plan | ChunkedPlan:
        """Return the plan for these arguments, without multiplying any Jacobian."""
        how = self.options
        with reported(), self.tracing(args, kwargs) as run:
            self.check(run)
            linearized = linear_graph(
                run.graph(), run.tape.origin, run.tape.where, is_hessian=how.is_hessian
            )
            names = self.names_of_inputs(args, kwargs, run)
            graph = linearized.graph.with_names_of_inputs(names)
            plan = plan_for(graph, how, run.signature.itemsize)
        return replace(plan, title=self.title(args, kwargs))

    def sparsity(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return where the Jacobian may have entries, without evaluating any local Jacobian."""
        how = self.options
        with self.tracing(args, kwargs) as run:
            forms = program_of(run, how).forms
            blocks = run.signature.blocks
            tree = nesting(run.result, run.arguments, how.is_single)
        return tree.unflatten([pattern(form, *b) for form, b in zip(forms, blocks, strict=True)])

    def check(self, run: Run) -> None:
        """Refuse a function that does not return a number, if its gradient is requested."""
        if self.derivative == "grad" and (
            run.result is not LEAF or run.signature.outputs[0][0] != ()
        ):
            shapes = _of_shapes([shape for shape, _ in run.signature.outputs])
            got = shapes if run.result.type is None else f"a {run.result.type.__name__} of {shapes}"
            raise InputError(
                f"{self.verb} is for functions that return a number, but {name_of(self.function)}"
                f" returned {got}; use chainad.{self.verb.replace('grad', 'jacobian')}"
            )

    def returned(self, value: Any, jacobian: Any, out: Any) -> Any:
        """Return what a call returns, the Jacobian in the buffers `out` if there are any."""
        if not self.has_jacobian:
            return value
        found = jacobian if out is None else write(jacobian, out)
        if self.has_value:
            return value, found
        return (found, value[1]) if self.options.has_aux else found

    def title(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """Return what reports call the function of such a call."""
        title = self.options.title(self.wrapped, args, kwargs)
        return f"Hessian of {title}" if self.derivative == "hessian" else title

    def names_of_inputs(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], run: Run
    ) -> list[str]:
        """Return what reports call the arrays of the arguments: `w["bias"]`."""
        trees = zip(self.options.names(self.wrapped, args, kwargs), run.arguments, strict=True)
        return [tree.place(k, name) for name, tree in trees for k in range(tree.num_leaves)]

    def tracing(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tracing:
        """Return what traces a call: `with of.tracing(args, kwargs) as run`."""
        selected = self.options.selected(self.function, args, kwargs)
        return tracing(self.function, args, selected, kwargs, has_aux=self.options.has_aux)


def _of_shapes(shapes: Sequence[tuple[int, ...]]) -> str:
    if len(shapes) == 1:
        return f"an array of shape {shapes[0]}"
    return f"{len(shapes)} arrays, of the shapes {', '.join(map(str, shapes))}"
