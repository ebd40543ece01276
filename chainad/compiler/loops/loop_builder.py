"""Builds loop programs: array functions on views of registers become operations.

A view is an array of addresses: where in its register every entry is. Functions that only move
entries run on the addresses themselves, and emit no operation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, TypeAlias

import numpy as np

from chainad.ir.loop_program import (
    Addresses,
    Function,
    LoopOperation,
    LoopProgram,
    MatrixKernel,
    Nest,
    Register,
    nest,
)
from chainad.ir.scalar_graph import NotScalarError, copy_scalar
from chainad.ir.value_numbers import ValueNumbers

# Larger nests are left to NumPy and BLAS.
_MAX_NEST_ITERATIONS = 1 << 18

# LAPACK is quicker with larger matrices.
_MAX_MATRIX_ORDER = 40

# The address of an entry that is a structural zero.
ABSENT = -1


@dataclass(frozen=True, eq=False)
class View:
    """An array of elements of one register, by their addresses there."""

    register: Register
    addresses: Addresses

    @property
    def shape(self) -> tuple[int, ...]:
        return self.addresses.shape


Value: TypeAlias = View | float | bool


class LoopBuilder:
    """Emits operations, equal ones once (common-subexpression elimination)."""

    def __init__(self) -> None:
        self.inputs: list[int] = []
        self.operations: list[LoopOperation] = []
        self._numbers = ValueNumbers()

    def input(self, shape: Sequence[int]) -> View:
        """Return a new input, its elements in row-major order."""
        self.inputs.append(prod(shape))
        return View(-len(self.inputs), row_major(shape))

    def program(self, results: Sequence[Value]) -> LoopProgram:
        """Return what was emitted; the results are returned in row-major order."""
        copies = [self._assembled([(x, row_major(np.shape(_addresses(x))))], np.size(_addresses(x)))
                  for x in results]  # fmt: skip
        return _without_dead_code(
            LoopProgram(tuple(self.inputs), tuple(self.operations), tuple(copies))
        )

    # ----------------------------------------------------------------- functions

    def elementwise(self, function: Function, *operands: Value) -> Value:
        """Return an elementwise function of some values, which broadcast."""
        shape = np.broadcast_shapes(*(np.shape(_addresses(x)) for x in operands))
        return self._filled(function, shape, row_major(shape), shape, operands)

    def contract(self, left: Value, right: Value) -> Value:
        """Return the matrix product over the last two axes, earlier ones broadcast."""
        a, b = self.dense_view(left), self.dense_view(right)
        row, column = len(a.shape) == 1, len(b.shape) == 1
        x = a.addresses[None, :] if row else a.addresses
        y = b.addresses[:, None] if column else b.addresses
        if x.shape[-1] != y.shape[-2]:
            raise NotScalarError("shapes that do not fit")
        one, two = x[..., :, None, :], np.swapaxes(y, -1, -2)[..., None, :, :]
        sizes = np.broadcast_shapes(one.shape, two.shape)
        out = row_major(sizes[:-1])
        found = self._filled(
            np.multiply, sizes, out[..., None], out.shape,
            (View(a.register, one), View(b.register, two)),
        )  # fmt: skip
        assert isinstance(found, View)
        addresses = found.addresses
        addresses = addresses[..., 0, :] if row else addresses
        return View(found.register, addresses[..., 0] if column else addresses)

    def sum(self, x: Value, axes: Sequence[int], keepdims: bool = False) -> Value:
        """Return the sum over some axes."""
        addresses = self.dense_view(x).addresses
        shape = tuple(1 if k in axes else n for k, n in enumerate(addresses.shape))
        found = self._filled(copy_scalar, addresses.shape, row_major(shape), shape, (x,))
        assert isinstance(found, View)
        return found if keepdims else View(found.register, np.squeeze(found.addresses, tuple(axes)))

    def add_at(self, x: Value, y: Value, at: Addresses) -> Value:
        """Return x with y added at the row-major addresses `at`, which may repeat."""
        a, b = self.dense_view(x), self.dense_view(y)
        whole = row_major(a.shape)
        return self._written(
            [
                (copy_scalar, whole, a, False),
                (copy_scalar, at, View(b.register, b.addresses), True),
            ],
            a.shape,
        )

    # ------------------------------------------------------------ small matrices

    def lu(self, a: Value) -> View:
        """Return the factors of matrices, followed by pivots and by the signs of permutations."""
        view = self._matrices(a)
        *batch, n, _ = view.shape
        count = prod(batch)
        size = count * (n * n + n + 1)
        return self._factorized("lu", view, row_major(view.shape), size, n)

    def cholesky(self, a: Value) -> Value:
        """Return the lower factors of matrices, by their lower halves."""
        view = self._matrices(a)
        n = view.shape[-1]
        half = np.tril_indices(n)
        lower = View(view.register, view.addresses[(..., *half)])
        to = row_major(view.shape)[(..., *half)]
        found = self._factorized("cholesky", lower, to, view.addresses.size, n)
        return View(found.register, row_major(view.shape))

    def solve(self, a: Value, b: Value) -> Value:
        """Return the solutions of linear systems; b has columns as its last axis."""
        view = self._matrices(a)
        is_transposed = _is_transposed(view)
        factors = self.lu(View(view.register, _swapped(view)) if is_transposed else view)
        name = "lu_solve_transposed" if is_transposed else "lu_solve"
        return self._solved(name, view.shape, factors, b)

    def solve_triangular(self, a: Value, b: Value, lower: bool) -> Value:
        """Return the solutions of triangular systems, whose other half is zero."""
        view = self._matrices(a)
        factors = self.view(self.scatter([(view, row_major(view.shape))], view.shape))
        return self._solved("solve_lower" if lower else "solve_upper", view.shape, factors, b)

    def _matrices(self, a: Value) -> View:
        view = self.dense_view(a)
        if view.shape[-1] > _MAX_MATRIX_ORDER:
            raise NotScalarError("operations on whole arrays are quicker")
        _check_size(view.shape)
        return view

    def _factorized(self, name: str, a: View, to: Addresses, size: int, n: int) -> View:
        reads = [(0, a.addresses)]
        kernel = MatrixKernel(name, (size // (n * (n + 1) + 1 if name == "lu" else n * n), n))
        steps = (nest(copy_scalar, to.shape, to, reads), kernel)
        found = self._emit(LoopOperation(steps, (a.register,), size, to.size < size), (size,))
        assert isinstance(found, View)
        return found

    def _solved(self, name: str, shape: Sequence[int], factors: View, b: Value) -> Value:
        view = self.dense_view(b)
        count = prod(shape[:-2])
        batch = np.broadcast_shapes(tuple(shape[:-2]), view.shape[:-2])
        right = np.broadcast_to(view.addresses, (*batch, *view.shape[-2:]))
        if count == 1:  # all right-hand sides are columns of one matrix
            right = np.moveaxis(right, -2, 0)
        elif count != prod(batch):
            raise NotScalarError("some matrices for a batch of right-hand sides")
        to = row_major(right.shape)
        _check_size(right.shape)
        inputs = tuple(dict.fromkeys((view.register, factors.register)))
        sizes = (count, shape[-1], right.size // (count * shape[-1]))
        kernel = MatrixKernel(name, sizes, inputs.index(factors.register))
        steps = (nest(copy_scalar, to.shape, to, [(inputs.index(view.register), right)]), kernel)
        found = self._emit(LoopOperation(steps, inputs, to.size), to.shape)
        assert isinstance(found, View)
        return View(found.register, np.moveaxis(to, 0, -2) if count == 1 else to)

    def scatter(self, parts: Sequence[tuple[Value, Addresses]], shape: tuple[int, ...]) -> Value:
        """Return an array of some shape with values at their addresses, and zeros elsewhere."""
        return self._emit(self._assembled(parts, prod(shape)), shape)

    def dense_view(self, x: Value) -> View:
        """Return a value as a view without structural zeros."""
        found = self.view(x)
        if found.addresses.size and found.addresses.min() == ABSENT:
            return self.view(self.scatter([(found, row_major(found.shape))], found.shape))
        return found

    def view(self, x: Value) -> View:
        """Return a value as a view, which may have structural zeros."""
        if isinstance(x, View):
            return x
        found = self._emit(LoopOperation((nest(copy_scalar, (), row_major(()), [x]),), (), 1), ())
        assert isinstance(found, View)
        return found

    # ------------------------------------------------------------------- writing

    def _filled(
        self,
        function: Function,
        sizes: tuple[int, ...],
        out: Addresses,
        shape: tuple[int, ...],
        operands: Sequence[Value],
    ) -> Value:
        """Return a register that one nest over `sizes` fills, as an array of `shape`."""
        known = [self.dense_view(x) if isinstance(x, View) else x for x in operands]
        inputs = tuple(dict.fromkeys(x.register for x in known if isinstance(x, View)))
        reads = [
            (inputs.index(x.register), x.addresses) if isinstance(x, View) else x for x in known
        ]
        _check_size(sizes)
        return self._emit(
            LoopOperation((nest(function, sizes, out, reads),), inputs, prod(shape)), shape
        )

    def _written(
        self, parts: Sequence[tuple[Function, Addresses, View, bool]], shape: tuple[int, ...]
    ) -> Value:
        inputs = tuple(dict.fromkeys(x.register for _, _, x, _ in parts))
        nests = []
        for function, at, x, adds in parts:
            sizes = np.broadcast_shapes(at.shape, x.addresses.shape)
            _check_size(sizes)
            reads = [(inputs.index(x.register), x.addresses)]
            nests.append(nest(function, sizes, at, reads, adds))
        return self._emit(LoopOperation(tuple(nests), inputs, prod(shape)), shape)

    def _assembled(self, parts: Sequence[tuple[Value, Addresses]], size: int) -> LoopOperation:
        """Return the operation that writes values to their addresses in a vector of zeros."""
        inputs: list[Register] = []
        nests: list[Nest] = []
        n_written = 0
        for value, targets in parts:
            n_written += targets.size
            if not isinstance(value, View):
                nests.append(nest(copy_scalar, targets.shape, targets, [value]))
                continue
            addresses = np.broadcast_to(value.addresses, targets.shape)
            present = addresses != ABSENT
            n_written -= int(present.size - present.sum())
            if not present.any():
                continue
            box = _bounding_box(present)
            key: Any = box if present[box].all() else present
            _check_size(targets[key].shape)
            if value.register not in inputs:
                inputs.append(value.register)
            reads = [(inputs.index(value.register), addresses[key])]
            nests.append(nest(copy_scalar, targets[key].shape, targets[key], reads))
        return LoopOperation(tuple(nests), tuple(inputs), size, n_written < size)

    def _emit(self, operation: LoopOperation, shape: tuple[int, ...]) -> Value:
        register = self._numbers.first(operation, len(self.operations))
        if register == len(self.operations):
            self.operations.append(operation)
        return View(register, row_major(shape))


def _without_dead_code(program: LoopProgram) -> LoopProgram:
    """Return a program without dead operations."""
    operations = program.operations
    needed = {x for result in program.results for x in result.inputs}
    for register in range(len(operations) - 1, -1, -1):
        if register in needed:
            needed.update(operations[register].inputs)
    kept = sorted(k for k in needed if k >= 0)
    number = {k: n for n, k in enumerate(kept)}

    def renumbered(operation: LoopOperation) -> LoopOperation:
        return replace(operation, inputs=tuple(number.get(k, k) for k in operation.inputs))

    return LoopProgram(
        program.inputs,
        tuple(renumbered(operations[k]) for k in kept),
        tuple(map(renumbered, program.results)),
    )


def row_major(shape: Sequence[int]) -> Addresses:
    """Return the addresses of an array in row-major order."""
    return np.arange(prod(shape)).reshape(shape)


def _swapped(view: View) -> Addresses:
    return np.swapaxes(view.addresses, -1, -2)


def _is_transposed(view: View) -> bool:
    """Return whether matrices are stored by columns: then the factors are those of their rows."""
    first, after = view.addresses[..., :1, 1:], view.addresses[..., 1:, :1]
    return bool(first.size) and bool(first.flat[0] > after.flat[0])


def _bounding_box(present: Any) -> tuple[slice, ...]:
    """Return the bounding box of the true entries."""
    found = []
    for axis in range(present.ndim):
        others = tuple(k for k in range(present.ndim) if k != axis)
        own = np.flatnonzero(present.any(axis=others))
        found.append(slice(int(own[0]), int(own[-1]) + 1))
    return tuple(found)


def _addresses(x: Value) -> Any:
    return x.addresses if isinstance(x, View) else x


def _check_size(sizes: Sequence[int]) -> None:
    if prod(sizes) > _MAX_NEST_ITERATIONS:
        raise NotScalarError("operations on whole arrays are quicker")
    if not prod(sizes):
        raise NotScalarError("an array is empty")
