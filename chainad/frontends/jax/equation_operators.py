"""Equations without a row as operators: their operands, and their results, as one array each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import prod
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from chainad.errors import TraceError
from chainad.frontends.jax import jaxprs
from chainad.frontends.jax.axis_flow import (
    Flow,
    batch_of,
    flows_of,
    itself,
    through,
    transposed_flow,
)
from chainad.frontends.jax.equation_sites import site_of
from chainad.frontends.jax.function_operators import (
    Apply,
    BatchedOperator,
    Example,
    FunctionOperator,
    ScanOperator,
    example_of,
    is_possible,
    transposed,
)
from chainad.frontends.jax.jaxprs import Equation
from chainad.ir.shapes import Shape
from chainad.rules import lax as rows
from chainad.structure import Arrangement, arrange
from chainad.structure.structure import Axis

# From arrays to arrays, of which a list each is given and returned.
Lists: TypeAlias = Callable[[Sequence[Any]], list[Any]]


@dataclass(frozen=True)
class JointArray:
    """Arrays that are the operand, or the result, of an operator: one, or several in one array.

    Every array has its axes of the batch; of several, the others are one axis, the last.
    """

    avals: Sequence[Any]
    batches: Sequence[tuple[int, ...]]

    @property
    def shapes(self) -> list[Shape]:
        return [tuple(aval.shape) for aval in self.avals]

    @property
    def batch(self) -> tuple[int, ...]:
        """The axes of the batch."""
        return self.batches[0] if len(self.avals) == 1 else tuple(range(len(self.batches[0])))

    @property
    def _sizes(self) -> Shape:
        """The sizes of the batch."""
        return tuple(self.shapes[0][d] for d in self.batches[0])

    @property
    def shape(self) -> Shape:
        return self.shapes[0] if len(self.avals) == 1 else (*self._sizes, self._bounds[-1][1])

    @property
    def example(self) -> Example:
        return example_of(self.shape, self.avals)

    @property
    def _bounds(self) -> list[tuple[int, int]]:
        """Where each array starts and stops along the last axis."""
        items = max(1, prod(self._sizes))
        return [*pairwise(accumulate((prod(s) // items for s in self.shapes), initial=0))]

    def split(self, value: Any) -> list[Any]:
        """Return the arrays that are in one."""
        if len(self.avals) == 1:
            return [value]
        found = []
        for (start, stop), aval, order in zip(self._bounds, self.avals, self._orders, strict=True):
            part = jnp.reshape(value[..., start:stop], [aval.shape[d] for d in order])
            back = sorted(range(len(order)), key=order.__getitem__)
            found.append(jnp.transpose(part, back).astype(aval.dtype))
        return found

    def join(self, values: Sequence[Any]) -> Any:
        """Return arrays in one."""
        if len(values) == 1:
            return values[0]
        ordered = map(jnp.transpose, values, self._orders)
        return jnp.concatenate([jnp.reshape(v, (*self._sizes, -1)) for v in ordered], axis=-1)

    @property
    def _orders(self) -> list[list[int]]:
        """The axes of every array, those of the batch first."""
        return [
            [*batch, *(d for d in range(len(shape)) if d not in batch)]
            for shape, batch in zip(self.shapes, self.batches, strict=True)
        ]

    def parts(self, is_rows: bool = True) -> list[Arrangement]:
        """Return the structures of the arrays in one, which has the rows or the columns."""
        found = []
        for (start, stop), shape, order in zip(
            self._bounds, self.shapes, self._orders, strict=True
        ):
            plain = [Axis(n, (d,)) for d, n in enumerate(shape)]
            n = len(self._sizes)
            last = Axis(self.shape[-1], tuple(order[n:]), range(start, stop))
            joint = [*(plain[d] for d in order[:n]), last]
            ends = (joint, plain) if is_rows else (plain, joint)
            found.append(arrange(*ends, dict(enumerate(shape)), scale=1))
        return found


@dataclass(frozen=True)
class EquationOperator:
    """An equation as an operator between two arrays, with the structure of its array.

    `items` are the samples that are independent of each other; `is_thin` says that the array takes
    one product of each.
    """

    operator: FunctionOperator
    arrangement: Arrangement
    operands: JointArray
    results: JointArray
    items: int
    is_thin: bool


def operator_of(
    eqn: Equation, values: Sequence[Any], at: Sequence[int], outputs: Sequence[int]
) -> EquationOperator:
    """Return an equation as an operator from operands `at` to results `outputs`.

    It has the directions there are.
    """
    given = [eqn.invars[k].aval for k in at]
    made = [eqn.outvars[output].aval for output in outputs]
    if eqn.primitive.name in ("custom_lin", "custom_vjp_call"):
        pull, flows = _custom_pull(eqn, values, at)
        push = None
    else:
        push, pull, flows = _push(eqn, values, at, outputs), None, flows_of(eqn, at)
        flows = [flows[output] for output in outputs]
    batches = batch_of(at, flows, tuple(made[0].shape))
    operands, results = JointArray(given, batches[0]), JointArray(made, batches[1])
    linear = _with_directions(eqn, push, pull, operands, results)
    pairs = [*zip(operands.batch, results.batch, strict=True)]
    structure = rows.batched(operands.shape, results.shape, pairs)
    items, n_out, n_in = (prod(structure.sizes[x] for x in side) for side in structure.sides)
    if items > 1:
        order = [x for side in structure.sides for x in side]
        sizes = [structure.sizes[x] for x in order]
        stored = [order.index(x) for x in structure.stored]
        linear = BatchedOperator(linear, (operands.batch, results.batch), sizes, stored)
    elif eqn.primitive.name == "scan" and len(outputs) == len(eqn.outvars):
        linear = ScanOperator(linear, eqn, values, at)
    return EquationOperator(
        linear, Arrangement(structure, ()), operands, results, items, min(n_out, n_in) <= 1
    )


def _with_directions(
    eqn: Equation,
    push: Lists | None,
    pull: Lists | None,
    operands: JointArray,
    results: JointArray,
) -> FunctionOperator:
    """Return an operator with the directions that JAX has of it, by abstract trials.

    A pull that is not given is the transpose of the push.
    """
    forward = backward = None
    if push is not None:
        forward = _joint(push, operands, results)
        backward = transposed(forward, operands.example)
    if pull is not None:
        backward = _joint(pull, results, operands)
    has_push = forward is not None and is_possible(forward, operands.example)
    has_pull = backward is not None and is_possible(backward, results.example)
    if not (has_push or has_pull):
        site = site_of(eqn)
        where = "" if site is None else f"{site}: `{site.text}`: "
        raise TraceError(
            f"{where}JAX has neither JVPs nor VJPs of the `{eqn.primitive.name}` here. A while loop"
            " has only JVPs, and a function with jax.custom_vjp only VJPs: use lax.scan for the"
            " loop, or jax.custom_jvp for the function"
        )
    return FunctionOperator(
        forward if has_push else None,
        backward if has_pull else None,
        operands.example,
        results.example,
    )


def _joint(function: Lists, operands: JointArray, results: JointArray) -> Apply:
    """Return a function of lists of arrays as one of arrays that these are in."""
    return lambda array: results.join(function(operands.split(array)))


def _push(eqn: Equation, values: Sequence[Any], at: Sequence[int], outputs: Sequence[int]) -> Lists:
    def push(tangents: Sequence[Any]) -> list[Any]:
        given = [*values]
        for k, tangent in zip(at, tangents, strict=True):
            given[k] = tangent
        made = jaxprs.bind(eqn, given)
        return [made[output] for output in outputs]

    return push


def _custom_pull(
    eqn: Equation, values: Sequence[Any], at: Sequence[int]
) -> tuple[Lists, list[Flow]]:
    """Return the pull of `jax.custom_vjp`, which is all there is of it, and how axes flow."""
    params = eqn.params
    residuals = jaxprs.as_jax(values[: params["num_res"]])
    backward = getattr(params["bwd"], "call_wrapped", params["bwd"])

    def pull(adjoints: Sequence[Any]) -> list[Any]:
        made = backward(*residuals, *adjoints)
        kept = [m for m, is_zero in zip(made, params["in_zeros"], strict=True) if not is_zero]
        return [
            found if hasattr(found, "shape") else jnp.zeros(aval.shape, aval.dtype)
            for found, aval in ((kept[k - len(residuals)], eqn.invars[k].aval) for k in at)
        ]

    results = [var.aval for var in eqn.outvars]
    adjoints = [example_of(tuple(aval.shape), [aval]) for aval in results]
    jaxpr = jax.make_jaxpr(pull)(adjoints).jaxpr
    given = [itself(o, aval) for o, aval in enumerate(results)]
    flows = transposed_flow(through(jaxpr, given), [len(aval.shape) for aval in results])
    return pull, [{at[j]: axes for j, axes in flow.items()} for flow in flows]
