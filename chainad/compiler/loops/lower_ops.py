"""Lowers programs to loops: every op of a program, on views of registers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from chainad.compiler.loops.loop_builder import LoopBuilder, Value, View, row_major
from chainad.ir import array_functions as primitives
from chainad.ir.loop_program import Function
from chainad.ir.ops import (
    Add,
    AddAt,
    AddTied,
    Broadcast,
    Concatenate,
    Copy,
    Dot,
    Full,
    MatMul,
    Multiply,
    Op,
    Place,
    Reshape,
    Row,
    Scale,
    Scatter,
    SegmentSum,
    SparseDot,
    Subtract,
    Sum,
    Take,
    Transpose,
)
from chainad.ir.positions import as_array
from chainad.ir.program import Program
from chainad.ir.scalar_graph import NotScalarError


def executed(
    builder: LoopBuilder, program: Program, slots: Mapping[int, Value]
) -> dict[int, Value]:
    """Return the values of all registers of a program, given those of its slots."""
    registers = {**slots}
    for i in program.instructions:
        registers[i.output] = _run(builder, i.op, [registers[k] for k in i.inputs])
    return registers


def _run(builder: LoopBuilder, op: Op, args: list[Value]) -> Value:
    if isinstance(op, (Full, Scale)):
        if isinstance(op, Full):
            return op.value
        if op.factor == -1:
            return builder.elementwise(np.negative, args[0])
        return builder.elementwise(np.multiply, args[0], op.factor)
    if type(op) in _FUNCTIONS:
        return builder.elementwise(_FUNCTIONS[type(op)], *args)
    if isinstance(op, MatMul):
        return builder.contract(*args)
    if isinstance(op, Dot):
        return _dot(builder, *args)
    if isinstance(op, Sum):
        return builder.sum(args[0], op.axes)
    if isinstance(op, (AddAt, AddTied, SegmentSum, SparseDot, Scatter, Concatenate)):
        return _accumulated(builder, op, [builder.dense_view(x) for x in args])
    first = builder.view(args[0])
    return View(first.register, _rearranged(op, first.addresses))


def _dot(builder: LoopBuilder, a: Value, b: Value) -> Value:
    x, y = builder.dense_view(a), builder.dense_view(b)
    left = View(x.register, x.addresses[..., None, :])
    found = builder.contract(left, View(y.register, y.addresses[..., :, None]))
    assert isinstance(found, View)
    return View(found.register, found.addresses[..., 0, 0])


_FUNCTIONS: dict[type[Op], Function] = {
    Add: np.add,
    Subtract: np.subtract,
    Multiply: np.multiply,
}


def _rearranged(op: Op, addresses: Any) -> Any:
    match op:
        case Reshape(shape):
            return addresses.reshape(shape)
        case Transpose(order):
            return addresses.transpose(order)
        case Broadcast(shape):
            return np.broadcast_to(addresses, shape)
        case Take(axis, positions):
            return np.take(addresses, as_array(positions), axis)
        case Row(index):
            return addresses[index]
        case Copy():
            return addresses
        case Place(axis, positions, size):
            return primitives.place(addresses + 1, axis, positions, size) - 1  # ABSENT elsewhere
    raise NotScalarError(f"{type(op).__name__} of an operator")


def _accumulated(
    builder: LoopBuilder,
    op: AddAt | AddTied | SegmentSum | SparseDot | Scatter | Concatenate,
    args: list[View],
) -> Value:
    """Emit an op that accumulates, or joins, entries at their addresses."""
    match op:
        case AddAt(axis, positions):
            at = np.take(row_major(args[0].shape), as_array(positions), axis)
            return builder.add_at(args[0], args[1], at)
        case AddTied(shape, ties):
            at = np.einsum(row_major(shape), [*ties], sorted({*ties}))
            spread = np.broadcast_to(args[1].addresses, at.shape)
            return builder.add_at(args[0], View(args[1].register, spread), at)
        case SegmentSum(axis, segments, size):
            shape = args[0].shape
            whole = (*shape[:axis], size, *shape[axis + 1 :])
            at = np.take(row_major(whole), as_array(segments), axis)
            return builder.add_at(builder.scatter([], whole), args[0], at)
        case SparseDot(lines, cols, size):
            values, x = args
            taken = View(x.register, x.addresses[as_array(cols)])
            terms = builder.elementwise(
                np.multiply, View(values.register, values.addresses[:, None]), taken
            )
            whole = (size, *x.shape[1:])
            at = row_major(whole)[as_array(lines)]
            return builder.add_at(builder.scatter([], whole), terms, at)
        case Scatter(positions, size, _, signs):
            found, start = builder.scatter([], (size,)), 0
            for region, own in zip(positions, signs or ((1,),) * len(positions), strict=True):
                at = as_array(region)
                for sign, term in zip(own, args[start:], strict=False):
                    flat: Value = View(term.register, term.addresses.ravel())
                    if sign < 0:
                        flat = builder.elementwise(np.negative, flat)
                    found = builder.add_at(found, flat, at)
                start += len(own)
            return found
        case Concatenate():
            bounds = np.cumsum([0, *(x.shape[0] for x in args)])
            shape = (int(bounds[-1]), *args[0].shape[1:])
            place = row_major(shape)
            parts = [(x, place[a:b]) for x, a, b in zip(args, bounds[:-1], bounds[1:], strict=True)]
            return builder.scatter(list(parts), shape)
