"""The builder: array functions on cells, which are arrays of addresses, become operations.

A cell array says for each of its entries where in a register the number is. Functions that only
move entries run on the addresses themselves, and leave no operation behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, TypeAlias

import numpy as np

from chainad.ir.loop_program import (
    Addresses,
    ArrayProgram,
    Function,
    Nest,
    Operation,
    Register,
    nest,
)
from chainad.ir.scalar_graph import NotScalarError, same

# What takes longer than this many numbers in one nest is left to NumPy and BLAS.
LARGEST = 1 << 18

# The address of an entry that is zero by structure.
NOTHING = -1


@dataclass(frozen=True, eq=False)
class View:
    """An array of numbers of one register, by their addresses there."""

    register: Register
    where: Addresses

    @property
    def shape(self) -> tuple[int, ...]:
        return self.where.shape


Value: TypeAlias = View | float | bool


class LoopBuilder:
    """Writes operations; what is done twice to the same numbers is done once."""

    def __init__(self) -> None:
        self.inputs: list[int] = []
        self.operations: list[Operation] = []
        self._known: dict[Operation, Register] = {}

    def input(self, shape: Sequence[int]) -> View:
        """Return a new input, its numbers in row-major order."""
        self.inputs.append(prod(shape))
        return View(-len(self.inputs), rows(shape))

    def program(self, results: Sequence[Value]) -> ArrayProgram:
        """Return what was written; the results go out in row-major order."""
        copies = [self._assembled([(x, rows(np.shape(_where(x))))], np.size(_where(x)))
                  for x in results]  # fmt: skip
        return pruned(ArrayProgram(tuple(self.inputs), tuple(self.operations), tuple(copies)))

    # ----------------------------------------------------------------- functions

    def elementwise(self, function: Function, *operands: Value) -> Value:
        """Return a function of every entry of some values, which broadcast."""
        shape = np.broadcast_shapes(*(np.shape(_where(x)) for x in operands))
        return self._filled(function, shape, rows(shape), shape, operands)

    def contract(self, left: Value, right: Value) -> Value:
        """Return the matrix product over the last two axes, earlier ones broadcast."""
        a, b = self.cells(left), self.cells(right)
        row, column = len(a.shape) == 1, len(b.shape) == 1
        x = a.where[None, :] if row else a.where
        y = b.where[:, None] if column else b.where
        if x.shape[-1] != y.shape[-2]:
            raise NotScalarError("shapes that do not fit")
        one, two = x[..., :, None, :], np.swapaxes(y, -1, -2)[..., None, :, :]
        sizes = np.broadcast_shapes(one.shape, two.shape)
        out = rows(sizes[:-1])
        found = self._filled(
            np.multiply, sizes, out[..., None], out.shape,
            (View(a.register, one), View(b.register, two)),
        )  # fmt: skip
        assert isinstance(found, View)
        where = found.where
        where = where[..., 0, :] if row else where
        return View(found.register, where[..., 0] if column else where)

    def sum(self, x: Value, axes: Sequence[int], keepdims: bool = False) -> Value:
        """Return the entries of some axes added up."""
        where = self.cells(x).where
        shape = tuple(1 if k in axes else n for k, n in enumerate(where.shape))
        found = self._filled(same, where.shape, rows(shape), shape, (x,))
        assert isinstance(found, View)
        return found if keepdims else View(found.register, np.squeeze(found.where, tuple(axes)))

    def add_at(self, x: Value, y: Value, at: Addresses) -> Value:
        """Return x with y added where `at` says, by row-major number; places may repeat."""
        a, b = self.cells(x), self.cells(y)
        whole = rows(a.shape)
        return self._written(
            [(same, whole, a, False), (same, at, View(b.register, b.where), True)], a.shape
        )

    def joined(self, parts: Sequence[tuple[Value, Addresses]], shape: tuple[int, ...]) -> Value:
        """Return an array of some shape with values at their places, and zeros elsewhere."""
        return self._emit(self._assembled(parts, prod(shape)), shape)

    def cells(self, x: Value) -> View:
        """Return a value as numbers of a register without structural zeros."""
        found = self.as_cells(x)
        if found.where.size and found.where.min() == NOTHING:
            return self.as_cells(self.joined([(found, rows(found.shape))], found.shape))
        return found

    def as_cells(self, x: Value) -> View:
        """Return a value as numbers of a register; some may be zero by structure."""
        if isinstance(x, View):
            return x
        found = self._emit(Operation((nest(same, (), rows(()), [x]),), (), 1), ())
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
        known = [self.cells(x) if isinstance(x, View) else x for x in operands]
        inputs = tuple(dict.fromkeys(x.register for x in known if isinstance(x, View)))
        reads = [(inputs.index(x.register), x.where) if isinstance(x, View) else x for x in known]
        _check(sizes)
        return self._emit(
            Operation((nest(function, sizes, out, reads),), inputs, prod(shape)), shape
        )

    def _written(
        self, parts: Sequence[tuple[Function, Addresses, View, bool]], shape: tuple[int, ...]
    ) -> Value:
        inputs = tuple(dict.fromkeys(x.register for _, _, x, _ in parts))
        nests = []
        for function, at, x, adds in parts:
            sizes = np.broadcast_shapes(at.shape, x.where.shape)
            _check(sizes)
            reads = [(inputs.index(x.register), x.where)]
            nests.append(nest(function, sizes, at, reads, adds))
        return self._emit(Operation(tuple(nests), inputs, prod(shape)), shape)

    def _assembled(self, parts: Sequence[tuple[Value, Addresses]], size: int) -> Operation:
        """Return what writes values to their places in a vector of zeros."""
        inputs: list[Register] = []
        nests: list[Nest] = []
        taken = 0
        for value, places in parts:
            taken += places.size
            if not isinstance(value, View):
                nests.append(nest(same, places.shape, places, [value]))
                continue
            where = np.broadcast_to(value.where, places.shape)
            there = where != NOTHING
            taken -= int(there.size - there.sum())
            if not there.any():
                continue
            box = _box(there)
            key: Any = box if there[box].all() else there
            _check(places[key].shape)
            if value.register not in inputs:
                inputs.append(value.register)
            reads = [(inputs.index(value.register), where[key])]
            nests.append(nest(same, places[key].shape, places[key], reads))
        return Operation(tuple(nests), tuple(inputs), size, taken < size)

    def _emit(self, operation: Operation, shape: tuple[int, ...]) -> Value:
        register = self._known.get(operation)
        if register is None:
            register = self._known[operation] = len(self.operations)
            self.operations.append(operation)
        return View(register, rows(shape))


def pruned(program: ArrayProgram) -> ArrayProgram:
    """Return a program without the operations that no result needs."""
    operations = program.operations
    needed = {x for result in program.results for x in result.inputs}
    for register in range(len(operations) - 1, -1, -1):
        if register in needed:
            needed.update(operations[register].inputs)
    kept = sorted(k for k in needed if k >= 0)
    number = {k: n for n, k in enumerate(kept)}

    def moved(operation: Operation) -> Operation:
        return replace(operation, inputs=tuple(number.get(k, k) for k in operation.inputs))

    return ArrayProgram(
        program.inputs,
        tuple(moved(operations[k]) for k in kept),
        tuple(map(moved, program.results)),
    )


def rows(shape: Sequence[int]) -> Addresses:
    """Return the addresses of an array in row-major order."""
    return np.arange(prod(shape)).reshape(shape)


def _box(there: Any) -> tuple[slice, ...]:
    """Return the smallest box around the places that are true."""
    found = []
    for axis in range(there.ndim):
        others = tuple(k for k in range(there.ndim) if k != axis)
        own = np.flatnonzero(there.any(axis=others))
        found.append(slice(int(own[0]), int(own[-1]) + 1))
    return tuple(found)


def _where(x: Value) -> Any:
    return x.where if isinstance(x, View) else x


def _check(sizes: Sequence[int]) -> None:
    if prod(sizes) > LARGEST:
        raise NotScalarError("operations on whole arrays are quicker")
    if not prod(sizes):
        raise NotScalarError("an array is empty")
