"""Programs on the arrays of any library that follows the array API standard.

The standard has all that ops need but one function: adding to entries of an axis. A library states
that, and the rest is read from its namespace; what it makes can be traced by it (`jax.jit`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import numpy as np

from chainad.backends.bound_program import BoundProgram
from chainad.ir import ops
from chainad.ir.positions import Positions, as_array
from chainad.ir.program import Program, Runner
from chainad.ir.shapes import Shape, resized

IndexAdd: TypeAlias = Callable[[Any, int, Any, Any], Any]
Function: TypeAlias = Callable[..., Any]


@dataclass(frozen=True)
class ArrayLibrary:
    """An array library.

    Attributes
    ----------
    xp : namespace
        The functions of the array API standard: `numpy`, `jax.numpy`, `array_api_strict`, or what
        `array_api_compat` makes of others.
    index_add : callable
        From an array, an axis, positions along it that may repeat (a vector of integers), and an
        array of as many entries along this axis, to a new array with these entries added.
    dtype : dtype, optional
        Of the numbers that a program itself brings; by default the namespace's `float64`.
    """

    xp: Any
    index_add: IndexAdd
    dtype: Any = None

    def index(self, where: Positions) -> Any:
        """Return positions as a vector of the library."""
        return self.xp.asarray(as_array(where), copy=True)  # it may be read-only

    def add_to_zeros(self, shape: Shape, axis: int, index: Any, y: Any) -> Any:
        """Return zeros with entries added along an axis."""
        return self.index_add(self.xp.zeros(shape, dtype=y.dtype), axis, index, y)


def index_add_in_place(x: Any, axis: int, index: Any, y: Any) -> Any:
    """Add to entries of a copy of a NumPy array."""
    found = np.array(x, dtype=np.result_type(x, y))
    np.add.at(found, (slice(None),) * axis + (index,), y)
    return found


def index_add_by_method(x: Any, axis: int, index: Any, y: Any) -> Any:
    """Add to entries of an array of PyTorch."""
    return x.index_add(axis, index, y)


def index_add_at(x: Any, axis: int, index: Any, y: Any) -> Any:
    """Add to entries of an array of JAX."""
    return x.at[(slice(None),) * axis + (index,)].add(y)


def build_for(program: Program, library: ArrayLibrary) -> Runner:
    """Return a function from slots to results, all of them arrays of a library.

    Examples
    --------
    >>> import numpy as np
    >>> from chainad.ir.program import Instruction
    >>> program = Program(2, (Instruction(ops.MatMul(), (0, 1), 2),), (2,))
    >>> run = build_for(program, ArrayLibrary(np, index_add_in_place))
    >>> run([np.eye(2), np.array([3.0, 4.0])])
    (array([3., 4.]),)
    """
    program.check()
    return BoundProgram(program, lambda op, _: BIND[type(op)](library, op))


def _full(library: ArrayLibrary, op: ops.Full) -> Function:
    xp = library.xp
    dtype = xp.float64 if library.dtype is None else library.dtype
    return lambda: xp.asarray(op.value, dtype=dtype)


def _take(library: ArrayLibrary, op: ops.Take) -> Function:
    where = op.positions
    if isinstance(where, range) and where.step > 0:  # which every library takes as a slice
        key = (slice(None),) * op.axis + (slice(where.start, where.stop, where.step), ...)
        return lambda x: x[key]
    index = library.index(where)
    return lambda x: library.xp.take(x, index, axis=op.axis)


def _added_to_zeros(
    library: ArrayLibrary, op: ops.Place | ops.SegmentSum, where: Positions
) -> Function:
    index = library.index(where)

    def run(x: Any) -> Any:
        return library.add_to_zeros(resized(x.shape, op.axis, op.size), op.axis, index, x)

    return run


def _add_at(library: ArrayLibrary, op: ops.AddAt) -> Function:
    index, count = library.index(op.positions), len(op.positions)

    def run(x: Any, y: Any) -> Any:
        spread = library.xp.broadcast_to(y, resized(x.shape, op.axis, count))
        return library.index_add(x, op.axis, index, spread)

    return run


def _add_tied(library: ArrayLibrary, op: ops.AddTied) -> Function:
    entries = np.arange(prod(op.shape)).reshape(op.shape)
    tied = np.einsum(entries, [*op.ties], sorted({*op.ties}))
    xp, index, sizes = library.xp, library.xp.asarray(tied.ravel()), tied.shape

    def run(x: Any, y: Any) -> Any:
        flat = xp.reshape(xp.broadcast_to(y, sizes), (-1,))
        return xp.reshape(library.index_add(xp.reshape(x, (-1,)), 0, index, flat), x.shape)

    return run


def _scatter(library: ArrayLibrary, op: ops.Scatter) -> Function:
    xp, indices = library.xp, [library.index(where) for where in op.positions]
    sizes = [len(where) for where in op.positions]

    def run(*terms: Any) -> Any:
        given = iter(terms)
        values = []
        for size, signs in zip(sizes, op.signs_by_region, strict=True):
            total = None
            for sign in signs:
                term = xp.broadcast_to(xp.reshape(next(given), (-1,)), (size,))
                term = term if sign > 0 else xp.negative(term)
                total = term if total is None else xp.add(total, term)
            values.append(total)
        return library.add_to_zeros((op.size,), 0, xp.concat(indices), xp.concat(values))

    return run


def _sparse_dot(library: ArrayLibrary, op: ops.SparseDot) -> Function:
    xp, rows, cols = library.xp, library.index(op.rows), library.index(op.cols)

    def run(values: Any, x: Any) -> Any:
        terms = xp.multiply(xp.expand_dims(values, axis=-1), xp.take(x, cols, axis=0))
        return library.add_to_zeros((op.size, x.shape[1]), 0, rows, terms)

    return run


def _scale(library: ArrayLibrary, op: ops.Scale) -> Function:
    return library.xp.negative if op.factor == -1 else lambda x: x * op.factor


BIND: dict[type[ops.Op], Callable[..., Function]] = {
    ops.Add: lambda library, op: library.xp.add,
    ops.AddAt: _add_at,
    ops.AddTied: _add_tied,
    ops.Broadcast: lambda library, op: lambda x: library.xp.broadcast_to(x, op.shape),
    ops.Concatenate: lambda library, op: lambda *parts: library.xp.concat(parts, axis=0),
    ops.Copy: lambda library, op: lambda x: library.xp.asarray(x, copy=True),
    ops.Dot: lambda library, op: library.xp.vecdot,
    ops.Full: _full,
    ops.Jvp: lambda library, op: lambda operator, x: operator.jvp(x),
    ops.MatMul: lambda library, op: library.xp.matmul,
    ops.Materialize: lambda library, op: (
        lambda x: library.xp.reshape(library.xp.asarray(x.materialize()), op.shape)
    ),
    ops.Multiply: lambda library, op: library.xp.multiply,
    ops.Place: lambda library, op: _added_to_zeros(library, op, op.positions),
    ops.Reshape: lambda library, op: lambda x: library.xp.reshape(x, op.shape),
    ops.Row: lambda library, op: lambda x: x[op.index, ...],
    ops.Scale: _scale,
    ops.Scatter: _scatter,
    ops.SegmentSum: lambda library, op: _added_to_zeros(library, op, op.segments),
    ops.SparseDot: _sparse_dot,
    ops.Subtract: lambda library, op: library.xp.subtract,
    ops.Sum: lambda library, op: lambda x: library.xp.sum(x, axis=op.axes),
    ops.Take: _take,
    ops.Transpose: lambda library, op: lambda x: library.xp.permute_dims(x, op.order),
    ops.Vjp: lambda library, op: lambda x, operator: operator.vjp(x),
}
