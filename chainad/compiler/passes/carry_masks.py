"""Exact zeros: a program in which every array that has some is accompanied by a mask of them.

An exact zero is one of a selection: what a local Jacobian has where a value is not used, or what a
structure does not store. Times anything, nan and infinity included, it is an exact zero; a sum is
one where all terms are. So the mask of a result comes of those of the operands by the same ops,
signs left out, and the products leave out what is masked.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import replace
from typing import TypeAlias

from chainad.ir import ops
from chainad.ir.op import Op
from chainad.ir.program import Program
from chainad.ir.program_builder import ProgramBuilder

# A register, and that of its mask: None where it has no exact zeros.
Masked: TypeAlias = tuple[int, int | None]

_PRODUCTS = (
    ops.Multiply, ops.MatMul, ops.PairMatMul, ops.Dot, ops.SparseDot, ops.Application,
)  # fmt: skip
# What stores, beside the entries of the operands, zeros that no entry of a structure stands for.
_FILLS = (ops.Place, ops.SegmentSum, ops.Scatter)


def multiplies_exact_zeros(program: Program, selections: Container[int]) -> bool:
    """Return whether anything is multiplied that may have exact zeros.

    `selections` are the slots that have some.
    """
    found = {k for k in program.used_slots if k in selections}
    for i in program.instructions:
        has_some = not found.isdisjoint(i.inputs)
        if has_some and isinstance(i.op, _PRODUCTS):
            return True
        if has_some or isinstance(i.op, _FILLS):
            found.add(i.output)
    return False


def carry_masks(
    program: Program, builder: ProgramBuilder, selections: Container[int]
) -> tuple[Program, ProgramBuilder]:
    """Return the program with masks.

    It takes as many slots again: the masks of all slots, those of `selections` only being read.
    """
    n = program.n_slots
    made = ProgramBuilder(2 * n)
    registers: dict[int, Masked] = {}
    for k in range(n):
        made.shapes[k] = made.shapes[n + k] = builder.shapes.get(k)
        registers[k] = k, n + k if k in selections else None
    for i in program.instructions:
        emit = _EMIT.get(type(i.op), _movement)
        found = registers[i.output] = emit(made, i.op, *(registers[k] for k in i.inputs))
        for register in found:  # a mask has the shape of what it masks
            if register is not None and made.shapes.get(register) is None:
                made.shapes[register] = builder.shapes.get(i.output)
    outputs = tuple(None if k is None else registers[k][0] for k in program.outputs)
    instructions = tuple(made.instructions)
    return replace(program, n_slots=2 * n, instructions=instructions, outputs=outputs), made


def _movement(builder: ProgramBuilder, op: Op, *operands: Masked) -> Masked:
    """Emit an op that moves entries, or makes them of nothing."""
    found = builder.emit(op, *(x for x, _ in operands))
    if all(mask is None for _, mask in operands):
        return found, None
    return found, builder.emit(op, *(_mask(builder, x) for x in operands))


def _mask(builder: ProgramBuilder, operand: Masked) -> int:
    """Return the mask of an operand, one of ones where it has no exact zeros."""
    register, mask = operand
    return builder.emit(ops.Ones(), register) if mask is None else mask


def _copy(builder: ProgramBuilder, op: Op, x: Masked) -> Masked:
    return builder.emit(op, x[0]), x[1]


def _fill(builder: ProgramBuilder, op: Op, *operands: Masked) -> Masked:
    """Emit an op that fills up with zeros."""
    found = builder.emit(op, *(x for x, _ in operands))
    if isinstance(op, ops.Scatter):  # a difference has the exact zeros of a sum
        op = replace(op, signs=tuple((1,) * len(signs) for signs in op.signs))
    total = builder.emit(op, *(_mask(builder, x) for x in operands))
    return found, total if isinstance(op, ops.Place) else builder.emit(ops.NonZero(), total)


def _sum(builder: ProgramBuilder, op: Op, *operands: Masked) -> Masked:
    """Emit a sum of entries, or of arrays: an exact zero where all terms are."""
    found = builder.emit(op, *(x for x, _ in operands))
    if operands[0][1] is None or (isinstance(op, _BROADCAST) and operands[1][1] is None):
        return found, None
    like = ops.Add() if isinstance(op, ops.Subtract) else op
    total = builder.emit(like, *(_mask(builder, x) for x in operands))
    return found, builder.emit(ops.NonZero(), total)


_BROADCAST = (ops.Add, ops.Subtract)


def _multiply(builder: ProgramBuilder, op: Op, x: Masked, y: Masked) -> Masked:
    product = builder.emit(ops.Multiply(), x[0], y[0])
    if x[1] is None and y[1] is None:
        return product, None
    mask = builder.emit(ops.Multiply(), _mask(builder, x), _mask(builder, y))
    return builder.emit(ops.Masked(), mask, product), mask


def _dot(builder: ProgramBuilder, op: Op, x: Masked, y: Masked) -> Masked:
    if x[1] is None and y[1] is None:
        return builder.emit(op, x[0], y[0]), None
    terms = _multiply(builder, op, x, y)
    shape = builder.shapes[terms[0]]
    assert shape is not None
    return _sum(builder, ops.Sum((len(shape) - 1,)), terms)


def _matmul(builder: ProgramBuilder, op: Op, x: Masked, y: Masked) -> Masked:
    if x[1] is None and y[1] is None:
        return builder.emit(op, x[0], y[0]), None
    masks = _mask(builder, x), _mask(builder, y)
    product = builder.emit(ops.MaskedMatMul(), x[0], y[0], *masks)
    return product, builder.emit(ops.NonZero(), builder.emit(ops.MatMul(), *masks))


def _pair_matmul(builder: ProgramBuilder, op: Op, x: Masked, y: Masked) -> Masked:
    if x[1] is None and y[1] is None:
        return builder.emit(op, x[0], y[0]), None
    turned = ops.Transpose((1, 0, 2))
    product = _matmul(builder, ops.MatMul(), _movement(builder, turned, x), y)
    return _movement(builder, turned, product)


def _sparse_dot(builder: ProgramBuilder, op: ops.SparseDot, values: Masked, x: Masked) -> Masked:
    if values[1] is None and x[1] is None:
        return builder.emit(op, values[0], x[0]), None
    column = _movement(builder, ops.Reshape((len(op.rows), 1)), values)
    terms = _multiply(builder, op, column, _movement(builder, ops.Take(0, op.cols), x))
    return _fill(builder, ops.SegmentSum(0, op.rows, op.size), terms)


def _jvp(builder: ProgramBuilder, op: Op, operator: Masked, tangents: Masked) -> Masked:
    x, mask = tangents
    if mask is None:
        return builder.emit(op, operator[0], x), None
    found = builder.emit(ops.MaskedJvp(), operator[0], x, mask)
    return found, builder.emit(ops.AnyAlong(-2), mask, found)


def _vjp(builder: ProgramBuilder, op: Op, adjoints: Masked, operator: Masked) -> Masked:
    x, mask = adjoints
    if mask is None:
        return builder.emit(op, x, operator[0]), None
    found = builder.emit(ops.MaskedVjp(), x, operator[0], mask)
    return found, builder.emit(ops.AnyAlong(-1), mask, found)


_EMIT: dict[type[Op], Callable[..., Masked]] = {
    ops.Copy: _copy,
    ops.Scale: _copy,
    ops.Place: _fill,
    ops.Scatter: _fill,
    ops.SegmentSum: _fill,
    ops.Add: _sum,
    ops.Subtract: _sum,
    ops.Sum: _sum,
    ops.AddAt: _sum,
    ops.AddTied: _sum,
    ops.Multiply: _multiply,
    ops.Dot: _dot,
    ops.MatMul: _matmul,
    ops.SymmetricMatMul: _matmul,
    ops.PairMatMul: _pair_matmul,
    ops.SparseDot: _sparse_dot,
    ops.Jvp: _jvp,
    ops.Vjp: _vjp,
}
