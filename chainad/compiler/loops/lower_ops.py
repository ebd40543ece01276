"""Lowers programs to loops: every op of a program, on views of registers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from chainad.compiler.loops.loop_builder import LoopBuilder, Value, View, row_major
from chainad.ir import array_functions as primitives
from chainad.ir import ops
from chainad.ir.loop_program import Function
from chainad.ir.op import Op
from chainad.ir.positions import as_array
from chainad.ir.program import Program
from chainad.ir.scalar_graph import NotScalarError
from chainad.ir.shapes import resized


def executed(builder: LoopBuilder, program: Program, slots: Mapping[int, Any]) -> dict[int, Any]:
    """Return the values of all registers of a program, given those of its slots.

    The slot of an operator holds a function of the name of a method, and of the block it acts on.
    """
    registers: dict[int, Any] = {**slots}
    for i in program.instructions:
        registers[i.output] = _run(builder, i.op, [registers[k] for k in i.inputs])
    return registers


def _run(builder: LoopBuilder, op: Op, args: list[Any]) -> Value:
    lower = LOWER_OP.get(type(op))
    if lower is None:
        raise NotScalarError(f"{type(op).__name__} of an operator")
    return lower(builder, op, *args)


def _elementwise(function: Function) -> Callable[..., Value]:
    return lambda builder, op, *args: builder.elementwise(function, *args)


def _rearranged(move: Callable[[Any, Any], Any]) -> Callable[..., Value]:
    """Return what lowers an op that only moves addresses; `move` takes the op and these."""

    def lower(builder: LoopBuilder, op: Op, x: Value) -> Value:
        whole = builder.view(x)
        return View(whole.register, move(op, whole.addresses))

    return lower


def _materialize(builder: LoopBuilder, op: ops.Materialize, operator: Any) -> Value:
    whole = builder.view(operator("materialize"))
    return View(whole.register, whole.addresses.reshape(op.shape))


def _dot(builder: LoopBuilder, a: Value, b: Value) -> Value:
    x, y = builder.dense_view(a), builder.dense_view(b)
    left = View(x.register, x.addresses[..., None, :])
    found = builder.contract(left, View(y.register, y.addresses[..., :, None]))
    assert isinstance(found, View)
    return View(found.register, found.addresses[..., 0, 0])


def _pair_matmul(builder: LoopBuilder, a: Value, b: Value) -> Value:
    x = builder.dense_view(a)
    found = builder.contract(View(x.register, x.addresses.transpose(1, 0, 2)), b)
    assert isinstance(found, View)
    return View(found.register, found.addresses.transpose(1, 0, 2))


def _place(op: ops.Place, addresses: Any) -> Any:
    # Zeros elsewhere are addresses of nothing: ABSENT.
    return primitives.place(addresses + 1, op.axis, op.positions, op.size) - 1


def _scale(builder: LoopBuilder, op: ops.Scale, x: Value) -> Value:
    if op.factor == -1:
        return builder.elementwise(np.negative, x)
    return builder.elementwise(np.multiply, x, op.factor)


def _add_at(builder: LoopBuilder, op: ops.AddAt, x: Value, y: Value) -> Value:
    whole, added = builder.dense_view(x), builder.dense_view(y)
    at = np.take(row_major(whole.shape), as_array(op.positions), op.axis)
    return builder.add_at(whole, added, at)


def _add_tied(builder: LoopBuilder, op: ops.AddTied, x: Value, y: Value) -> Value:
    whole, added = builder.dense_view(x), builder.dense_view(y)
    at = np.einsum(row_major(op.shape), [*op.ties], sorted({*op.ties}))
    spread = np.broadcast_to(added.addresses, at.shape)
    return builder.add_at(whole, View(added.register, spread), at)


def _segment_sum(builder: LoopBuilder, op: ops.SegmentSum, x: Value) -> Value:
    terms = builder.dense_view(x)
    shape = resized(terms.shape, op.axis, op.size)
    at = np.take(row_major(shape), as_array(op.segments), op.axis)
    return builder.add_at(builder.scatter([], shape), terms, at)


def _sparse_dot(builder: LoopBuilder, op: ops.SparseDot, data: Value, x: Value) -> Value:
    values, dense = builder.dense_view(data), builder.dense_view(x)
    taken = View(dense.register, dense.addresses[as_array(op.cols)])
    column = View(values.register, values.addresses[:, None])
    terms = builder.elementwise(np.multiply, column, taken)
    shape = (op.size, *dense.shape[1:])
    at = row_major(shape)[as_array(op.rows)]
    return builder.add_at(builder.scatter([], shape), terms, at)


def _scatter(builder: LoopBuilder, op: ops.Scatter, *args: Value) -> Value:
    terms = map(builder.dense_view, args)
    found = builder.scatter([], (op.size,))
    for region, own in zip(op.positions, op.signs_by_region, strict=True):
        at = as_array(region)
        for sign, term in zip(own, terms, strict=False):
            flat: Value = View(term.register, term.addresses.ravel())
            if sign < 0:
                flat = builder.elementwise(np.negative, flat)
            found = builder.add_at(found, flat, at)
    return found


def _concatenate(builder: LoopBuilder, op: ops.Concatenate, *args: Value) -> Value:
    pieces = [builder.dense_view(x) for x in args]
    bounds = np.cumsum([0, *(x.shape[0] for x in pieces)])
    shape = resized(pieces[0].shape, 0, int(bounds[-1]))
    place = row_major(shape)
    parts = [(x, place[a:b]) for x, a, b in zip(pieces, bounds[:-1], bounds[1:], strict=True)]
    return builder.scatter(list(parts), shape)


LOWER_OP: dict[type[Op], Callable[..., Value]] = {
    ops.Add: _elementwise(np.add),
    ops.AddAt: _add_at,
    ops.AddTied: _add_tied,
    ops.Broadcast: _rearranged(lambda op, addresses: np.broadcast_to(addresses, op.shape)),
    ops.Concatenate: _concatenate,
    ops.Copy: _rearranged(lambda op, addresses: addresses),
    ops.Dot: lambda builder, op, x, y: _dot(builder, x, y),
    ops.Full: lambda builder, op: op.value,
    ops.Jvp: lambda builder, op, operator, tangents: operator("jvp", tangents),
    ops.Materialize: _materialize,
    ops.MatMul: lambda builder, op, x, y: builder.contract(x, y),
    ops.Multiply: _elementwise(np.multiply),
    ops.PairMatMul: lambda builder, op, x, y: _pair_matmul(builder, x, y),
    ops.Place: _rearranged(_place),
    ops.Reshape: _rearranged(lambda op, addresses: addresses.reshape(op.shape)),
    ops.Row: _rearranged(lambda op, addresses: addresses[op.index]),
    ops.Scale: _scale,
    ops.Scatter: _scatter,
    ops.SegmentSum: _segment_sum,
    ops.SparseDot: _sparse_dot,
    ops.Subtract: _elementwise(np.subtract),
    ops.Sum: lambda builder, op, x: builder.sum(x, op.axes),
    ops.SymmetricMatMul: lambda builder, op, x, y: builder.contract(x, y),
    ops.Take: _rearranged(lambda op, addr: np.take(addr, as_array(op.positions), op.axis)),
    ops.Vjp: lambda builder, op, adjoints, operator: operator("vjp", adjoints),
    ops.Transpose: _rearranged(lambda op, addresses: addresses.transpose(op.order)),
}
