"""Reading a linear jaxpr: every equation becomes local Jacobians, elementwise ones are folded.

A tangent is a sum of values of the graph, each times a coefficient, elementwise. Additions and
multiplications with known arrays change coefficients alone, so that an elementwise chain makes one
local Jacobian. Any other equation makes a value: by its row in `rules.lax`, or as an operator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from chainad.frontends.jax import jaxprs
from chainad.frontends.jax.axis_flow import depending_results
from chainad.frontends.jax.complex_regions import is_real, with_regions
from chainad.frontends.jax.entry_movements import entries_from, entries_to
from chainad.frontends.jax.equation_operators import EquationOperator, JointArray, operator_of
from chainad.frontends.jax.equation_sites import site_of
from chainad.frontends.jax.jaxprs import Equation, Jaxpr
from chainad.ir.graph import Origin
from chainad.ir.shapes import Shape
from chainad.rules import lax as rows
from chainad.structure import Arrangement, diagonal, operator

# A number, or an array of the shape of the tangent, or a scalar array.
Coefficient: TypeAlias = Any


@dataclass(frozen=True)
class LocalJacobian:
    """An edge from value `tail` to value `head`, what is stored of it, and its equation."""

    tail: int
    head: int
    arrangement: Arrangement
    stored: Any
    name: str
    equation: Equation | None

    @property
    def origin(self) -> Origin:
        """What it is called, and the user's line that its equation is from."""
        return Origin(self.name, None if self.equation is None else site_of(self.equation))


@dataclass
class Tangent:
    """A tangent: a sum of values times coefficients; `value` once it is one itself.

    `equation` is the last one that changed the coefficients.
    """

    shape: Shape
    terms: Mapping[int, Coefficient]
    value: int | None = None
    equation: Equation | None = None


@dataclass
class LinearRun:
    """What a linear jaxpr does: the shapes of the values, and the local Jacobians between them.

    `has_forward` and `has_reverse` tell whether all of it has tangents, and adjoints.
    """

    shapes: list[Shape] = field(default_factory=list)
    edges: list[LocalJacobian] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    has_forward: bool = True
    has_reverse: bool = True

    def new_value(self, shape: Shape) -> int:
        self.shapes.append(shape)
        return len(self.shapes) - 1

    def add_edge(
        self,
        tail: int,
        head: int,
        arrangement: Arrangement,
        stored: Any = None,
        name: str = "",
        equation: Equation | None = None,
    ) -> None:
        if arrangement.structure.scale != 0:
            self.edges.append(LocalJacobian(tail, head, arrangement, stored, name, equation))


def read(jaxpr: Jaxpr, consts: Sequence[Any], args: Sequence[Any]) -> LinearRun:
    """Return what a jaxpr does that is linear in the arguments of which only specs are given."""
    return _Reader().read(jaxpr, consts, args)


class _Reader:
    """Reads equations one after the other into a `LinearRun`."""

    def __init__(self) -> None:
        self.run = LinearRun()
        # The call of a function of JAX in which equations are.
        self.caller: Equation | None = None

    def read(self, jaxpr: Jaxpr, consts: Sequence[Any], args: Sequence[Any]) -> LinearRun:
        run, given = self.run, [*args]
        for k, arg in enumerate(args):
            if isinstance(arg, jax.ShapeDtypeStruct):
                value = run.new_value(arg.shape)
                run.inputs.append(value)
                given[k] = Tangent(arg.shape, {value: 1.0}, value)
        results = self._walk(jaxpr, consts, given)
        for var, result in zip(jaxpr.outvars, results, strict=True):
            head = run.new_value(var.aval.shape)
            run.outputs.append(head)
            if isinstance(result, Tangent):
                self._add_terms(result, head, result.equation)
        return run

    def _walk(self, jaxpr: Jaxpr, consts: Sequence[Any], values: Sequence[Any]) -> list[Any]:
        """Return the results of a jaxpr; complex tangents are inside of operators."""
        are_tangents = [isinstance(value, Tangent) for value in values]
        return jaxprs.walk(with_regions(jaxpr, are_tangents), consts, values, self._equation)

    def _call(self, eqn: Equation, values: Sequence[Any]) -> list[Any]:
        """Return the results of an equation that calls others."""
        outer, self.caller = self.caller, jaxprs.caller_of(eqn, self.caller)
        try:
            return self._walk(*jaxprs.inner(eqn), values)
        finally:
            self.caller = outer

    def _equation(self, eqn: Equation, values: list[Any]) -> Sequence[Any]:
        """Return the results of an equation: tangents, or arrays if no operand is one."""
        at = [k for k, value in enumerate(values) if isinstance(value, Tangent)]
        eqn, name = jaxprs.called_by(self.caller, eqn), eqn.primitive.name
        if not at:
            return jaxprs.bound(eqn, values)
        if name in jaxprs.SAME:
            return values
        if name in jaxprs.CALLS and name not in ("custom_vjp_call", "complex_region"):
            return self._call(eqn, values)
        if name == "cond" and jaxprs.is_known(values[0]):
            branch = eqn.params["branches"][int(values[0])]
            return self._walk(branch.jaxpr, branch.consts, values[1:])
        found = self._elementwise(eqn, values, at)
        if found is not None:
            found.equation = eqn if found.value is None else found.equation
            return [found]
        return self._by_row(eqn, values, at) or self._by_operator(eqn, values, at)

    # ------------------------------------------------------------------ coefficients

    def _elementwise(self, eqn: Equation, values: list[Any], at: list[int]) -> Tangent | None:
        """Return the result of an equation that only changes coefficients."""
        name, out = eqn.primitive.name, eqn.outvars[0].aval
        if name == "neg":
            return self._times(values[0], -1.0, eqn)
        if name in (*jaxprs.ADDITIONS, *jaxprs.PRODUCTS):
            values = [
                self._widened(v, out.shape, eqn) if isinstance(v, Tangent) else v for v in values
            ]
        if name in jaxprs.ADDITIONS:
            signs = (1, -1 if name == "sub" else 1)
            return _sum([values[k] for k in at], [signs[k] for k in at], out.shape)
        if name in jaxprs.PRODUCTS and len(at) == 1:
            other = values[1 - at[0]]
            return self._times(values[at[0]], _number(other), eqn, is_divided=name == "div")
        if name == "select_n" and 0 not in at:
            chosen = [self._chosen(values[k], values[0] == k - 1, eqn) for k in at]
            return _sum(chosen, [1] * len(chosen), out.shape)
        return None

    def _times(
        self, tangent: Tangent, factor: Coefficient, eqn: Equation, is_divided: bool = False
    ) -> Tangent:
        if len(tangent.terms) > 1 and not isinstance(factor, float):
            self.place(tangent, eqn)  # one product, not one for every term
        terms = {v: (c / factor if is_divided else c * factor) for v, c in tangent.terms.items()}
        return Tangent(tangent.shape, terms)

    def _chosen(self, tangent: Tangent, mask: Any, eqn: Equation) -> Tangent:
        """Return a tangent where a mask is true, 0 elsewhere, where a coefficient may be nan."""
        if len(tangent.terms) > 1:
            self.place(tangent, eqn)
        terms = {}
        for v, c in tangent.terms.items():
            dtype = eqn.outvars[0].aval.dtype
            terms[v] = jnp.where(mask, jnp.asarray(c, dtype), jnp.zeros((), dtype))
        return Tangent(tangent.shape, terms)

    def _widened(self, tangent: Tangent, shape: Shape, eqn: Equation) -> Tangent:
        """Return an operand as its elementwise equation broadcasts it."""
        if tangent.shape == shape:
            return tangent
        tail, head = self.place(tangent, eqn), self.run.new_value(shape)
        self.run.add_edge(tail, head, rows.widened(tangent.shape, shape), None, "broadcast", eqn)
        return Tangent(shape, {head: 1.0}, head)

    def place(self, tangent: Tangent, eqn: Equation | None) -> int:
        """Return the value that a tangent is, made now if it was none."""
        if tangent.value is None:
            (first, coefficient), *others = tangent.terms.items()
            if not others and isinstance(coefficient, float) and coefficient == 1:
                tangent.value = first
            else:
                tangent.value = self.run.new_value(tangent.shape)
                self._add_terms(tangent, tangent.value, tangent.equation or eqn)
                tangent.terms = {tangent.value: 1.0}
        return tangent.value

    def _add_terms(self, tangent: Tangent, head: int, eqn: Equation | None) -> None:
        name = "result" if eqn is None else eqn.primitive.name
        for tail, coefficient in tangent.terms.items():
            shape, stored = tangent.shape, None
            if isinstance(coefficient, float):
                arrangement = rows.scaled(shape, coefficient)
            elif jnp.ndim(coefficient) == 0 and prod(shape) > 1:
                arrangement, stored = rows.scaled(shape), coefficient
            else:
                arrangement = Arrangement(diagonal(shape), ())
                stored = jnp.broadcast_to(coefficient, shape)
            self._add(tail, head, arrangement, stored, name, eqn)

    def _add(
        self,
        tail: int,
        head: int,
        arrangement: Arrangement,
        stored: Any,
        name: str,
        eqn: Equation | None,
    ) -> None:
        structure = arrangement.structure
        if structure.scale is not None:
            stored = None
        elif structure.action is None and not arrangement.ops:
            stored = jnp.reshape(stored, structure.stored_shape)
        self.run.add_edge(tail, head, arrangement, stored, name, eqn)

    # ------------------------------------------------------------------ values

    def _by_row(self, eqn: Equation, values: list[Any], at: list[int]) -> list[Tangent] | None:
        """Return the result of an equation that has a row; None if it has none for these."""
        row = rows.ROWS.get(eqn.primitive.name)
        if row is None:
            return None
        shapes = tuple(tuple(v.aval.shape) for v in eqn.invars)
        are_known = all(
            jaxprs.is_known(value)
            for value, var in zip(values, eqn.invars, strict=True)
            if not isinstance(value, Tangent) and not is_real(var.aval)
        )
        found = []
        for output, var in enumerate(eqn.outvars):
            for k in at:
                ways = (partial(way, eqn, values, k) for way in (entries_from, entries_to))
                entries, pulled = ways if are_known else (None, None)
                result = tuple(var.aval.shape)
                equation = rows.Equation(eqn.params, shapes, result, k, output, entries, pulled)
                local = row(equation)
                if local is None:
                    return None
                found.append((output, k, *local))
        tails = {k: self.place(values[k], eqn) for k in at}
        heads = [self.run.new_value(tuple(v.aval.shape)) for v in eqn.outvars]
        for output, k, arrangement, stored in found:
            value = None if stored is None else values[stored]
            self._add(tails[k], heads[output], arrangement, value, eqn.primitive.name, eqn)
        return [Tangent(self.run.shapes[head], {head: 1.0}, head) for head in heads]

    def _by_operator(self, eqn: Equation, values: list[Any], at: list[int]) -> list[Any]:
        """Return the results of an equation that is known by its action."""
        outputs = depending_results(eqn, at)
        known = [
            jnp.zeros(var.aval.shape, var.aval.dtype) if k in at else value
            for k, (var, value) in enumerate(zip(eqn.invars, values, strict=True))
        ]
        # A loop may compute other things, too.
        is_whole = len(outputs) == len(eqn.outvars)
        made = [None] * len(outputs) if is_whole else jaxprs.bound(eqn, known)
        # What moves entries of several operands is a sum of what moves those of each.
        is_sum = eqn.primitive.name in rows.INDEPENDENT_AXES
        groups = [[k] for k in at] if is_sum else [at]
        if not outputs:
            return made
        operators = [operator_of(eqn, known, group, outputs) for group in groups]
        tails = [
            self._joined([self.place(values[k], eqn) for k in group], each.operands, eqn)
            for each, group in zip(operators, groups, strict=True)
        ]
        results = operators[0].results
        joint = self.run.new_value(results.shape)
        for each, tail in zip(operators, tails, strict=True):
            self._add_operator(each, tail, joint, eqn)
        heads = [joint]
        if len(outputs) > 1:
            heads = [self.run.new_value(shape) for shape in results.shapes]
            for head, part in zip(heads, results.parts(is_rows=False), strict=True):
                self.run.add_edge(joint, head, part, None, "slice", eqn)
        for output, head in zip(outputs, heads, strict=True):
            made[output] = Tangent(self.run.shapes[head], {head: 1.0}, head)
        return made

    def _joined(self, tails: Sequence[int], operands: JointArray, eqn: Equation) -> int:
        """Return the value that has those of several operands."""
        if len(tails) == 1:
            return tails[0]
        joint = self.run.new_value(operands.shape)
        for tail, part in zip(tails, operands.parts(), strict=True):
            self.run.add_edge(tail, joint, part, None, "concatenate", eqn)
        return joint

    def _add_operator(self, found: EquationOperator, tail: int, head: int, eqn: Equation) -> None:
        """Add an equation as an operator, or as its array."""
        run, linear, name = self.run, found.operator, eqn.primitive.name
        run.has_forward &= linear.push is not None
        run.has_reverse &= linear.pull is not None
        if found.is_thin:
            self._add(tail, head, found.arrangement, linear.materialize(), name, eqn)
            return
        cost = max(1, jaxprs.multiplications_of(eqn) // max(1, found.items))
        tangent, adjoint = (None if way is None else cost for way in (linear.push, linear.pull))
        is_triangular = name in rows.TRIANGULAR and rows.TRIANGULAR[name](eqn.params)
        action = operator(found.arrangement, tangent, adjoint, is_triangular=is_triangular)
        run.add_edge(tail, head, action, linear, name, eqn)


def _number(value: Any) -> Coefficient:
    """Return a known number, or an array of equal known ones, as a float; others as they are."""
    if not jaxprs.is_known(value) or np.iscomplexobj(value):
        return value
    if np.ndim(value) == 0:
        return float(value)
    if isinstance(value, np.ndarray) and value.size and (value == value.flat[0]).all():
        return float(value.flat[0])
    return value


def _sum(tangents: Sequence[Tangent], signs: Sequence[int], shape: Shape) -> Tangent:
    terms: dict[int, Coefficient] = {}
    for tangent, sign in zip(tangents, signs, strict=True):
        for v, c in tangent.terms.items():
            signed = c if sign == 1 else -c
            terms[v] = terms[v] + signed if v in terms else signed
    return Tangent(shape, terms)
