"""Scans as operators: the Jacobians of all steps side by side, then one small product a step.

A scan that is linear in its tangents takes a carry c, constants k, and slices x through its steps:
c' = A c + B k + E x, with results y = F c + G k + H x. These blocks are accumulated in the cheapest
order, for all steps at once; what is left for the scan is a product with A. Where it takes fewer
multiplications to push or pull through the steps as they are written, that is done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from math import prod
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from chainad.frontends.jax import jaxprs
from chainad.frontends.jax.function_operators import FunctionOperator, ScanOperator
from chainad.frontends.jax.linear_jaxpr import LinearRun, LocalJacobian, read
from chainad.structure import Arrangement, dense, operator

# Blocks of all steps together hold at most so many entries.
MAX_BLOCK_ENTRIES = 1 << 22

# From what a step does to its blocks, by result and argument, and their cost.
Blocks: TypeAlias = Callable[[LinearRun, Any], tuple[list[list[Any]], int]]


@dataclass(frozen=True)
class Sizes:
    """The sizes of a linear scan: its steps, and entries of constants, carry, slices, results."""

    steps: int
    constants: int
    carry: int
    slices: int
    results: int

    @property
    def entries(self) -> int:
        """The entries of the blocks of all steps."""
        taken = self.carry + self.constants + self.slices
        return self.steps * (self.carry + self.results) * taken

    @property
    def chain(self) -> int:
        """The multiplications of one column with all A and F."""
        return self.steps * (self.carry + self.results) * self.carry


class ScanJacobian(FunctionOperator):
    """A linear scan, with the blocks of its steps: by these, or as it is written."""

    def __init__(
        self, scan: ScanOperator, sizes: Sizes, blocks: Callable[[], Any], fixed: int, each: int
    ) -> None:
        super().__init__(scan.push, scan.pull, scan.operand, scan.result)
        self.scan, self.sizes, self.blocks = scan, sizes, blocks
        self.fixed, self.each = fixed, each
        self.calls = jaxprs.calls_in_steps(scan.equation)

    def by_blocks(self, vectors: int, cost: int, is_possible: bool) -> bool:
        """Return whether blocks take fewer multiplications for so many vectors."""
        return not is_possible or self.fixed + vectors * cost < vectors * self.each + self.calls

    def cost(self, vectors: int, cost: int, is_possible: bool) -> int:
        """Return the multiplications for each of so many vectors."""
        if self.by_blocks(vectors, cost, is_possible):
            return max(1, cost + self.fixed // vectors)
        return self.each

    @property
    def tangent(self) -> int:
        """The multiplications for a column of tangents, of as many as there can be."""
        cost = self.sizes.entries if self.sizes.slices else self.sizes.chain
        return self.cost(self.n_in, cost, self.push is not None)

    @property
    def adjoint(self) -> int:
        """The multiplications for a row of adjoints, of as many as there can be."""
        return self.cost(self.n_out, self.sizes.entries, self.pull is not None)

    def jvp(self, tangents: Any) -> Any:
        n = tangents.shape[1]
        if not self.by_blocks(n, self.sizes.entries, self.push is not None):
            return super().jvp(tangents)
        constants, carry, slices = self._operands(tangents)
        a, b, e = self._split(self.blocks())
        return self._pushed(a, b @ constants + e @ slices, carry)

    def vjp(self, adjoints: Any) -> Any:
        n = adjoints.shape[0]
        if not self.by_blocks(n, self.sizes.entries, self.pull is not None):
            return super().vjp(adjoints)
        size = self.sizes
        a, b, e = self._split(self.blocks())
        final = adjoints[:, : size.carry]
        shapes = [v.aval.shape for v in self.scan.equation.outvars[self._n_carry :]]
        given = _steps_of(adjoints[:, size.carry :].T, shapes, size.steps).swapaxes(1, 2)

        def step(adjoint: Any, blocks: Any) -> tuple[Any, Any]:
            transposed, results = blocks
            whole = jnp.concatenate([adjoint, results], axis=1)
            return whole @ transposed, whole

        is_reverse = self.scan.equation.params["reverse"]
        carry, whole = lax.scan(step, final, (a, given), reverse=not is_reverse)
        constants = jnp.einsum("tki,tij->kj", whole, b)
        return self._by_operand(constants.T, carry.T, (whole @ e).swapaxes(1, 2)).T

    def materialize(self) -> Any:
        size = self.sizes
        by_tangents = self.adjoint * self.n_out >= self.tangent * self.n_in
        if not by_tangents:
            return self.vjp(jnp.eye(self.n_out, dtype=self.dtype))
        if size.slices or not self.by_blocks(self.n_in, size.chain, self.push is not None):
            return self.jvp(jnp.eye(self.n_in, dtype=self.dtype))
        unit = jnp.eye(self.n_in, dtype=self.dtype)
        carry = self._operands(unit)[1]
        a, b, _ = self._split(self.blocks())
        n = self.n_in - size.constants
        return self._pushed(a, jnp.pad(b, ((0, 0), (0, 0), (0, n))), carry)

    def _pushed(self, a: Any, added: Any, carry: Any) -> Any:
        """Return the results of all steps, for what is added to the carry and to their results."""
        size = self.sizes

        def step(carry: Any, blocks: Any) -> tuple[Any, Any]:
            found = blocks[0] @ carry + blocks[1]
            return found[: size.carry], found[size.carry :]

        is_reverse = self.scan.equation.params["reverse"]
        carry, results = lax.scan(step, carry, (a, added), reverse=is_reverse)
        made = [carry]
        start = 0
        for var in self.scan.equation.outvars[self._n_carry :]:
            n = prod(var.aval.shape[1:])
            made.append(jnp.reshape(results[:, start : start + n], (-1, carry.shape[1])))
            start += n
        return jnp.concatenate(made)

    @property
    def _n_carry(self) -> int:
        return len(self.scan.parts[1])

    def _split(self, blocks: Any) -> tuple[Any, Any, Any]:
        """Return what carry, constants and slices are multiplied with."""
        size = self.sizes
        b, a, e = jnp.split(blocks, (size.constants, size.constants + size.carry), axis=2)
        return a, b, e

    def _operands(self, tangents: Any) -> tuple[Any, Any, Any]:
        """Return tangents of constants, of the carry, and of the slices of every step."""
        scan, size, n = self.scan, self.sizes, tangents.shape[1]
        shapes = {k: scan.shape_of(k) for k in scan.at}
        bounds = [*pairwise(accumulate(map(prod, shapes.values()), initial=0))]
        found = {k: tangents[slice(*ends)] for k, ends in zip(shapes, bounds, strict=True)}
        constants, carry, slices = scan.parts
        none = jnp.zeros((0, n), tangents.dtype)
        of_carry = [
            found[k] if k in found else jnp.zeros((prod(scan.shape_of(k)), n), tangents.dtype)
            for k in carry
        ]
        of_slices = jnp.concatenate([none, *(found[k] for k in slices if k in found)])
        return (
            jnp.concatenate([none, *(found[k] for k in constants if k in found)]),
            jnp.concatenate([none, *of_carry]),
            _steps_of(of_slices, [shapes[k] for k in slices if k in shapes], size.steps),
        )

    def _by_operand(self, constants: Any, carry: Any, slices: Any) -> Any:
        """Return adjoints in the order of the operands; `slices` of (step, entry, adjoint)."""
        scan, n = self.scan, carry.shape[1]
        made, start = [constants], 0
        for k in scan.parts[1]:
            size = prod(scan.shape_of(k))
            if k in scan.at:
                made.append(carry[start : start + size])
            start += size
        start = 0
        for k in scan.parts[2]:
            if k in scan.at:
                size = prod(scan.shape_of(k)[1:])
                made.append(jnp.reshape(slices[:, start : start + size], (-1, n)))
                start += size
        return jnp.concatenate(made)


def _steps_of(rows: Any, shapes: Sequence[tuple[int, ...]], steps: int) -> Any:
    """Return rows of arrays of these shapes, one after the other, as (step, entry, column)."""
    n, start, found = rows.shape[1], 0, []
    for shape in shapes:
        stop = start + prod(shape)
        found.append(jnp.reshape(rows[start:stop], (steps, -1, n)))
        start = stop
    return jnp.concatenate([jnp.zeros((steps, 0, n), rows.dtype), *found], axis=1)


def planned_scan(edge: LocalJacobian, scan: ScanOperator, blocks: Blocks) -> LocalJacobian:
    """Return a scan with the blocks of its steps, planned, where that may take fewer products."""
    tangents = scan.tangents
    params = scan.equation.params
    steps, body = params["length"], params["jaxpr"]
    if tangents is None or not steps:
        return edge
    constants, carry, slices = tangents
    size = Sizes(
        steps,
        sum(prod(scan.shape_of(k)) for k in constants),
        sum(prod(scan.shape_of(k)) for k in carry),
        sum(prod(scan.shape_of(k)[1:]) for k in slices),
        sum(prod(v.aval.shape[1:]) for v in scan.equation.outvars[len(carry) :]),
    )
    each = max(1, jaxprs.multiplications_of(scan.equation))
    is_needed = scan.push is None or scan.pull is None
    is_large = size.entries > MAX_BLOCK_ENTRIES
    if is_large or not (is_needed or size.chain < each):
        return edge
    given = {*constants, *carry, *slices}
    order = [*constants, *carry, *slices]
    of_steps = [k for k in scan.parts[2] if k not in given]
    cost = 0

    def of_one(*residuals: Any) -> Any:
        nonlocal cost
        args = [*scan.values]
        for k, value in zip(of_steps, residuals, strict=True):
            args[k] = value
        for k in order:
            args[k] = jax.ShapeDtypeStruct(body.in_avals[k].shape, body.in_avals[k].dtype)
        run = read(body.jaxpr, body.consts, args)
        rows, cost = blocks(run, scan.dtype)
        flat = [
            jnp.concatenate(
                [jnp.reshape(block, (prod(run.shapes[y]), -1)) for block in row], axis=1
            )
            for row, y in zip(rows, run.outputs, strict=True)
        ]
        return jnp.concatenate(flat)

    residuals = [scan.values[k] for k in of_steps]

    def of_all(*residuals: Any) -> Any:
        if residuals:
            return jax.vmap(of_one)(*residuals)
        one = of_one()
        return jnp.broadcast_to(one, (steps, *one.shape))

    closed = jax.make_jaxpr(of_all)(*residuals)

    def evaluate() -> Any:
        return jax.core.eval_jaxpr(closed.jaxpr, closed.consts, *residuals)[0]

    found = ScanJacobian(scan, size, evaluate, steps * cost, each)
    plain = Arrangement(dense(scan.result.shape, scan.operand.shape), ())
    return replace(edge, arrangement=operator(plain, found.tangent, found.adjoint), stored=found)
