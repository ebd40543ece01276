"""Operators that are given by functions of JAX: the slots of local Jacobians hold them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from chainad.frontends.jax.jaxprs import Equation, depending, varying_axes
from chainad.ir.shapes import Shape
from chainad.structure.linear_operators import Operator

Apply: TypeAlias = Callable[[Any], Any]
# What has a shape and a dtype: `jax.ShapeDtypeStruct`, or an array.
Example: TypeAlias = Any


class FunctionOperator(Operator):
    """A linear function of one array, by its action on tangents, on adjoints, or on both.

    `push` takes an array of the type of the operand to one of that of the result; `pull` the other
    way. A direction that is not there is None.
    """

    is_pure = False
    batch = ()

    def __init__(
        self,
        push: Apply | None,
        pull: Apply | None,
        operand: Example,
        result: Example,
    ) -> None:
        assert push is not None or pull is not None
        self.push, self.pull, self.operand, self.result = push, pull, operand, result
        self.n_in, self.n_out, self.dtype = prod(operand.shape), prod(result.shape), result.dtype

    def jvp(self, tangents: Any) -> Any:
        assert self.push is not None
        return _mapped(self.push, self.operand, 1)(tangents)

    def vjp(self, adjoints: Any) -> Any:
        assert self.pull is not None
        return _mapped(self.pull, self.result, 0)(adjoints)

    def materialize(self) -> Any:
        if self.pull is None or (self.push is not None and self.n_in <= self.n_out):
            return self.jvp(jnp.eye(self.n_in, dtype=self.operand.dtype))
        return self.vjp(jnp.eye(self.n_out, dtype=self.result.dtype))


class BatchedOperator(FunctionOperator):
    """A linear map that is independent along axes of its operand, and as many of its result.

    `order` says where the axes of the array that it stands for come from: from those of the batch,
    of the rest of the result, and of the rest of the operand.
    """

    def __init__(
        self,
        linear: FunctionOperator,
        axes: tuple[Sequence[int], Sequence[int]],
        sizes: Sequence[int],
        order: Sequence[int],
    ) -> None:
        super().__init__(linear.push, linear.pull, linear.operand, linear.result)
        self.axes, self.sizes, self.order = axes, sizes, order
        self.items = prod(linear.operand.shape[d] for d in axes[0])
        self.n_in, self.n_out = self.n_in // self.items, self.n_out // self.items

    def jvp(self, tangents: Any) -> Any:
        assert self.push is not None
        return self._apply(self.push, self.operand.shape, self.result.shape, self.axes, 2, tangents)

    def vjp(self, adjoints: Any) -> Any:
        assert self.pull is not None
        axes = self.axes[::-1]
        return self._apply(self.pull, self.result.shape, self.operand.shape, axes, 1, adjoints)

    def materialize(self) -> Any:
        def unit(n: int) -> Any:
            return jnp.broadcast_to(jnp.eye(n, dtype=self.dtype), (self.items, n, n))

        if self.pull is None or (self.push is not None and self.n_in <= self.n_out):
            found = self.jvp(unit(self.n_in))
        else:
            found = self.vjp(unit(self.n_out))
        return jnp.transpose(jnp.reshape(found, self.sizes), self.order)

    def _apply(
        self,
        apply: Apply,
        shape: Shape,
        result: Shape,
        axes: tuple[Sequence[int], Sequence[int]],
        mapped: int,
        vectors: Any,
    ) -> Any:
        """Return what becomes of vectors of every item of the batch."""
        taken, made = (
            [*own, *_others(own, s)] for own, s in zip(axes, (shape, result), strict=True)
        )

        def of_one(vector: Any) -> Any:
            whole = jnp.reshape(vector, [shape[d] for d in taken])
            found = apply(jnp.transpose(whole, np.argsort(taken)))
            return jnp.reshape(jnp.transpose(found, made), (self.items, -1))

        blocks = jnp.reshape(vectors, (self.items, *vectors.shape[-2:]))
        return jax.vmap(of_one, mapped, mapped)(blocks)


def _others(axes: Sequence[int], shape: Shape) -> list[int]:
    return [d for d in range(len(shape)) if d not in axes]


class ScanOperator(FunctionOperator):
    """A scan that is linear in operands `at` of its `values`, by its steps as they are written."""

    def __init__(
        self, linear: FunctionOperator, equation: Equation, values: Sequence[Any], at: Sequence[int]
    ) -> None:
        super().__init__(linear.push, linear.pull, linear.operand, linear.result)
        self.equation, self.values, self.at = equation, values, at

    def shape_of(self, k: int) -> Shape:
        """Return the shape of an operand."""
        shape: Shape = tuple(self.equation.invars[k].aval.shape)
        return shape

    @property
    def parts(self) -> tuple[range, range, range]:
        """Which operands are constants, the carry, and arrays of which a step takes a slice."""
        constants, carry = (self.equation.params[f"num_{x}"] for x in ("consts", "carry"))
        ends = (0, constants, constants + carry, len(self.values))
        first, second, third = (range(*pair) for pair in pairwise(ends))
        return first, second, third

    @property
    def tangents(self) -> tuple[list[int], list[int], list[int]] | None:
        """Those of each part that a step has tangents of; None if a part of the carry has none."""
        constants, carry, slices = self.parts
        body = self.equation.params["jaxpr"].jaxpr
        given = {*self.at, *carry}
        results = depending(body, [k in given for k in range(len(self.values))])
        if not all(results):
            return None
        return [k for k in constants if k in given], [*carry], [k for k in slices if k in given]


def _mapped(apply: Apply, given: Example, axis: int) -> Apply:
    """Return a map of vectors, along an axis of a matrix, by a function of arrays of a type."""

    def each(vector: Any) -> Any:
        return jnp.ravel(apply(_as_type(jnp.reshape(vector, given.shape), given)))

    mapped: Apply = jax.vmap(each, axis, axis)
    return mapped


def _as_type(array: Any, wanted: Example) -> Any:
    """Return an array with a dtype, and varying over the axes of a mesh as wanted."""
    return _varying(array.astype(wanted.dtype), varying_axes(wanted))


def example_of(shape: Shape, avals: Sequence[Any]) -> Example:
    """Return an example of arrays that hold those of these types: abstract, if it can be."""
    dtype = jnp.result_type(*(aval.dtype for aval in avals))
    axes = frozenset[str]().union(*map(varying_axes, avals))
    # Inside `jax.shard_map`, JAX takes no abstract values that vary.
    return _varying(jnp.zeros(shape, dtype), axes) if axes else jax.ShapeDtypeStruct(shape, dtype)


def _varying(array: Any, axes: frozenset[str]) -> Any:
    """Return an array that varies over axes of a mesh."""
    missing = axes - varying_axes(jax.typeof(array))
    return jax.lax.pcast(array, tuple(missing), to="varying") if missing else array


def transposed(push: Apply, operand: Example) -> Apply:
    """Return the transpose of a linear function."""

    def pull(adjoint: Any) -> Any:
        (found,) = jax.linear_transpose(push, operand)(adjoint)
        return found

    return pull


def is_possible(apply: Apply, given: Example) -> bool:
    """Return whether a function can be applied to many arrays at once, by an abstract trial."""
    try:
        jax.eval_shape(jax.vmap(apply), example_of((2, *given.shape), [given]))
    except Exception:
        return False
    return True
