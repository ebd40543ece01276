"""Reading a linear jaxpr: every equation becomes local Jacobians, elementwise ones are folded.

A tangent is a sum of values of the graph, each times a coefficient, elementwise. Additions and
multiplications with known arrays change coefficients alone, so that an elementwise chain makes one
local Jacobian. Any other equation makes a value: by its row in `rules.lax`, or as an operator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate, pairwise
from math import prod
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from chainad.frontends.jax import jaxprs
from chainad.frontends.jax.jaxprs import Equation, Jaxpr
from chainad.frontends.jax.linear_maps import (
    Apply,
    BatchedMap,
    Example,
    LinearMap,
    LinearScan,
    example_of,
    is_possible,
    transposed,
)
from chainad.ir.shapes import Shape
from chainad.rules import lax as rows
from chainad.structure import Arrangement, arrange, dense, diagonal, operator
from chainad.structure.structure import Axis

# A number, or an array of the shape of the tangent, or a scalar array.
Coefficient: TypeAlias = Any

# Equations that change nothing but the dtype, the place, or what XLA is told.
_SAME = {
    "convert_element_type", "copy", "copy_p", "reduce_precision", "optimization_barrier",
    "sharding_constraint", "pvary", "device_put", "real", "name",
}  # fmt: skip
_ADDITIONS = ("add", "add_any", "sub")
_PRODUCTS = ("mul", "div")


class ComplexTangentError(Exception):
    """A tangent inside is complex or an integer: the function is one operator."""


@dataclass(frozen=True)
class LocalJacobian:
    """An edge from value `tail` to value `head`, what is stored of it, and the equation's site."""

    tail: int
    head: int
    arrangement: Arrangement
    stored: Any
    name: str
    equation: Equation | None


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
    try:
        return _Reader().read(jaxpr, consts, args)
    except ComplexTangentError:
        return _as_one_operator(jaxpr, consts, [x.shape for x in args])


class _Reader:
    """Reads equations one after the other into a `LinearRun`."""

    def __init__(self) -> None:
        self.run = LinearRun()

    def read(self, jaxpr: Jaxpr, consts: Sequence[Any], args: Sequence[Any]) -> LinearRun:
        run, given = self.run, [*args]
        for k, arg in enumerate(args):
            if isinstance(arg, jax.ShapeDtypeStruct):
                value = run.new_value(arg.shape)
                run.inputs.append(value)
                given[k] = Tangent(arg.shape, {value: 1.0}, value)
        results = jaxprs.walk(jaxpr, consts, given, self.equation)
        for var, result in zip(jaxpr.outvars, results, strict=True):
            head = run.new_value(var.aval.shape)
            run.outputs.append(head)
            if isinstance(result, Tangent):
                self._add_terms(result, head, result.equation)
        return run

    def equation(self, eqn: Equation, values: list[Any]) -> Sequence[Any]:
        """Return the results of an equation: tangents, or arrays if no operand is one."""
        at = [k for k, value in enumerate(values) if isinstance(value, Tangent)]
        if not at:
            return jaxprs.bound(eqn, values)
        name = eqn.primitive.name
        if name in jaxprs.CALLS and name != "custom_vjp_call":
            return jaxprs.walk(*jaxprs.inner(eqn), values, self.equation)
        if name == "cond" and jaxprs.is_known(values[0]):
            branch = eqn.params["branches"][int(values[0])]
            return jaxprs.walk(branch.jaxpr, branch.consts, values[1:], self.equation)
        found = self._elementwise(eqn, values, at)
        if found is not None:
            found.equation = eqn if found.value is None else found.equation
            return [found]
        return self._by_row(eqn, values, at) or self._by_operator(eqn, values, at)

    # ------------------------------------------------------------------ coefficients

    def _elementwise(self, eqn: Equation, values: list[Any], at: list[int]) -> Tangent | None:
        """Return the result of an equation that only changes coefficients."""
        name, out = eqn.primitive.name, eqn.outvars[0].aval
        if name in _SAME:
            same: Tangent = values[0]
            return same if _is_real(eqn.invars[0].aval) else None
        if name == "neg":
            return self._times(values[0], -1.0, eqn)
        if name in (*_ADDITIONS, *_PRODUCTS):
            values = [
                self._widened(v, out.shape, eqn) if isinstance(v, Tangent) else v for v in values
            ]
        if name in _ADDITIONS:
            signs = (1, -1 if name == "sub" else 1)
            return _sum([values[k] for k in at], [signs[k] for k in at], out.shape)
        if name in _PRODUCTS and len(at) == 1:
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
        if row is None or not all(map(_is_real, (v.aval for v in eqn.outvars))):
            return None
        shapes = tuple(tuple(v.aval.shape) for v in eqn.invars)
        are_known = all(
            jaxprs.is_known(value)
            for value, var in zip(values, eqn.invars, strict=True)
            if not isinstance(value, Tangent) and not _is_real(var.aval)
        )
        found = []
        for output, var in enumerate(eqn.outvars):
            for k in at:
                ways = (partial(way, eqn, values, k) for way in (_entries, _pulled))
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

    def _by_operator(self, eqn: Equation, values: list[Any], at: list[int]) -> list[Tangent]:
        """Return the results of an equation that is known by its action.

        Several operands, or results, are one vector.
        """
        avals = [*(eqn.invars[k].aval for k in at), *(v.aval for v in eqn.outvars)]
        if not all(map(_is_real, avals)):
            raise ComplexTangentError
        ends, results = _Ends(avals[: len(at)]), _Ends(avals[len(at) :])
        cost = max(1, jaxprs.multiplications_of(eqn))
        if len(at) == 1 and eqn.primitive.name in rows.BATCHES:
            found = _map_of(eqn, values, at, ends, results)
            batched = self._by_batch(found, cost, self.place(values[at[0]], eqn), at[0], eqn)
            if batched is not None:
                return [batched]
        ends, results = ends.vector, results.vector
        found = _map_of(eqn, values, at, ends, results)
        return self._apply(
            found, cost, ends, results, [self.place(values[k], eqn) for k in at], eqn
        )

    def _by_batch(
        self, linear: LinearMap, cost: int, tail: int, k: int, eqn: Equation
    ) -> Tangent | None:
        """Return the result of an operator that is tied along the axes of a batch, if it is."""
        shapes = tuple(tuple(v.aval.shape) for v in eqn.invars)
        equation = rows.Equation(eqn.params, shapes, linear.result.shape, k)
        axes = rows.BATCHES[eqn.primitive.name](equation)
        structure = rows.batched(equation, axes).structure
        sides = [prod(structure.sizes[x] for x in side) for side in structure.sides]
        if 1 in sides or structure.scale is not None:
            return None
        order = [x for side in structure.sides for x in side]
        sizes = [structure.sizes[x] for x in order]
        found = BatchedMap(linear, axes, sizes, [order.index(x) for x in structure.stored])
        head = self.run.new_value(linear.result.shape)
        self._add_map(tail, head, Arrangement(structure, ()), found, max(1, cost // sides[0]), eqn)
        return Tangent(linear.result.shape, {head: 1.0}, head)

    def _apply(
        self,
        linear: LinearMap,
        cost: int,
        ends: _Ends,
        results: _Ends,
        tails: Sequence[int],
        eqn: Equation | None,
    ) -> list[Tangent]:
        run, tail = self.run, tails[0]
        if ends.is_vector:
            tail = run.new_value(ends.shape)
            for each, part in zip(tails, ends.parts(), strict=True):
                run.add_edge(each, tail, part, None, "concatenate", eqn)
        head = run.new_value(results.shape)
        plain = Arrangement(dense(results.shape, ends.shape), ())
        is_thin = 1 in (*ends.shape, *results.shape)
        self._add_map(tail, head, plain, linear, cost, eqn, is_thin, is_single=len(tails) == 1)
        if not results.is_vector:
            return [Tangent(results.shape, {head: 1.0}, head)]
        made = []
        for shape, part in zip(results.shapes, results.parts(is_rows=False), strict=True):
            value = run.new_value(shape)
            run.add_edge(head, value, part, None, "slice", eqn)
            made.append(Tangent(shape, {value: 1.0}, value))
        return made

    def _add_map(
        self,
        tail: int,
        head: int,
        arrangement: Arrangement,
        linear: LinearMap,
        cost: int,
        eqn: Equation | None,
        is_explicit: bool = False,
        is_single: bool = True,
    ) -> None:
        """Add an operator, given the structure of its array, or that array itself.

        It acts on a single operand, or on several as one vector.
        """
        run, name = self.run, "function" if eqn is None else eqn.primitive.name
        run.has_forward &= linear.push is not None
        run.has_reverse &= linear.pull is not None
        if is_explicit:
            self._add(tail, head, arrangement, linear.materialize(), name, eqn)
            return
        tangent, adjoint = (None if way is None else cost for way in (linear.push, linear.pull))
        is_triangular = False
        if is_single and eqn is not None and name in rows.TRIANGULAR:
            is_triangular = rows.TRIANGULAR[name](eqn.params)
        found = operator(arrangement, tangent, adjoint, is_triangular=is_triangular)
        run.add_edge(tail, head, found, linear, name, eqn)


@dataclass(frozen=True)
class _Ends:
    """Arrays that are the operand, or the result, of an operator: one, or one vector of all."""

    avals: list[Any]
    is_vector: bool = False

    @property
    def vector(self) -> _Ends:
        """The same as a vector, if they are several, or one with axes that spell no label."""
        shapes = self.shapes
        return replace(self, is_vector=len(shapes) > 1 or 1 in shapes[0] or not shapes[0])

    @property
    def shapes(self) -> list[Shape]:
        return [tuple(aval.shape) for aval in self.avals]

    @property
    def shape(self) -> Shape:
        if self.is_vector:
            return (sum(map(prod, self.shapes)),)
        return self.shapes[0]

    @property
    def example(self) -> Example:
        return example_of(self.shape, self.avals)

    @property
    def _bounds(self) -> list[tuple[int, int]]:
        return [*pairwise(accumulate(map(prod, self.shapes), initial=0))]

    def split(self, value: Any) -> list[Any]:
        """Return the arrays that a vector has."""
        if not self.is_vector:
            return [value]
        return [
            jnp.reshape(value[start:stop], aval.shape).astype(aval.dtype)
            for (start, stop), aval in zip(self._bounds, self.avals, strict=True)
        ]

    def join(self, values: Sequence[Any]) -> Any:
        """Return the vector of arrays."""
        if not self.is_vector:
            return values[0]
        return jnp.concatenate([jnp.ravel(v) for v in values])

    def parts(self, is_rows: bool = True) -> list[Arrangement]:
        """Return the structures of the arrays in the vector, which has the rows or the columns."""
        found = []
        for (start, stop), shape in zip(self._bounds, self.shapes, strict=True):
            sizes = dict(enumerate(shape))
            plain = [Axis(n, (d,)) for d, n in sizes.items()]
            joint = [Axis(self.shape[0], tuple(sizes), range(start, stop))]
            ends = (joint, plain) if is_rows else (plain, joint)
            found.append(arrange(*ends, sizes, scale=1))
        return found


def _map_of(
    eqn: Equation, values: list[Any], at: list[int], ends: _Ends, results: _Ends
) -> LinearMap:
    """Return the operator that an equation is, with the directions that there are."""
    if eqn.primitive.name in ("custom_lin", "custom_vjp_call"):
        pull = _custom_pull(eqn, values, at, ends, results)
        return LinearMap(None, pull, ends.example, results.example)

    def push(tangent: Any) -> Any:
        given = [*values]
        for k, part in zip(at, ends.split(tangent), strict=True):
            given[k] = part
        return results.join(jaxprs.bind(eqn, given))

    pull = transposed(push, ends.example)
    has_push, has_pull = is_possible(push, ends.example), is_possible(pull, results.example)
    if not (has_push or has_pull):
        raise NotImplementedError(f"{eqn.primitive.name} can be neither pushed nor pulled through")
    directions = push if has_push else None, pull if has_pull else None
    found = LinearMap(*directions, ends.example, results.example)
    return LinearScan(found, eqn, values, at) if eqn.primitive.name == "scan" else found


def _custom_pull(
    eqn: Equation, values: list[Any], at: list[int], ends: _Ends, results: _Ends
) -> Apply:
    """Return the pull of `jax.custom_vjp`, which is all there is of it."""
    params = eqn.params
    residuals = jaxprs.as_jax(values[: params["num_res"]])
    backward = getattr(params["bwd"], "call_wrapped", params["bwd"])

    def pull(adjoint: Any) -> Any:
        made = backward(*residuals, *results.split(adjoint))
        kept = [m for m, is_zero in zip(made, params["in_zeros"], strict=True) if not is_zero]
        wanted = [kept[k - len(residuals)] for k in at]
        return ends.join(
            [
                m if hasattr(m, "shape") else jnp.zeros(aval.shape, aval.dtype)
                for m, aval in zip(wanted, ends.avals, strict=True)
            ]
        )

    return pull


def _as_one_operator(jaxpr: Jaxpr, consts: Sequence[Any], shapes: Sequence[Shape]) -> LinearRun:
    """Return a run that is one operator, between real arguments and real results."""
    reader = _Reader()
    run = reader.run
    run.inputs += [run.new_value(shape) for shape in shapes]
    ends, results = (_Ends([v.aval for v in vs]).vector for vs in (jaxpr.invars, jaxpr.outvars))

    def push(tangent: Any) -> Any:
        return results.join(jax.core.eval_jaxpr(jaxpr, consts, *ends.split(tangent)))

    linear = LinearMap(push, transposed(push, ends.example), ends.example, results.example)
    cost = max(1, jaxprs.multiplications(jaxpr))
    for found in reader._apply(linear, cost, ends, results, run.inputs, None):
        head = run.new_value(found.shape)
        run.outputs.append(head)
        reader._add_terms(found, head, None)
    return run


def _entries(eqn: Equation, values: list[Any], k: int, numbers: Any) -> Any:
    """Return the result of an equation that only moves the entries of operand k."""
    params = dict(eqn.params)
    if eqn.primitive.name == "gather":
        params["fill_value"] = 0
    with jax.ensure_compile_time_eval():
        given = _without_others(eqn, values, np.int32)
        given[k] = jnp.asarray(numbers, np.int32)
        return eqn.primitive.bind(*given, **params)


def _pulled(eqn: Equation, values: list[Any], k: int, numbers: Any) -> Any:
    """Return what is pulled back to operand k of an equation that only moves and adds entries."""
    dtype = np.float32
    with jax.ensure_compile_time_eval():
        given = _without_others(eqn, values, dtype)

        def push(tangent: Any) -> Any:
            return eqn.primitive.bind(*given[:k], tangent, *given[k + 1 :], **eqn.params)

        operand = jax.ShapeDtypeStruct(eqn.invars[k].aval.shape, dtype)
        return transposed(push, operand)(jnp.asarray(numbers, dtype))


def _without_others(eqn: Equation, values: list[Any], dtype: Any) -> list[Any]:
    """Return the operands of an equation: indices as they are, zeros for real ones."""
    return [
        jnp.zeros(var.aval.shape, dtype) if _is_real(var.aval) else jnp.asarray(value)
        for value, var in zip(values, eqn.invars, strict=True)
    ]


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


def _is_real(aval: Any) -> bool:
    return bool(jnp.issubdtype(aval.dtype, jnp.floating))
