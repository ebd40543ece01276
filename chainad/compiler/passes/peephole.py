"""Simplifying one instruction by what made its inputs: no idle moves, signs where they cost least.

Every rewriting gives the same numbers, bit for bit, up to the sign of a zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from math import prod
from typing import Protocol

from chainad.ir.ops import (
    Add,
    AddAt,
    AddTied,
    Broadcast,
    MatMul,
    Multiply,
    Op,
    Place,
    Reshape,
    Scale,
    Subtract,
    Sum,
    Take,
    Transpose,
)
from chainad.ir.positions import Index, Positions, progressions, refine
from chainad.ir.program import Instruction
from chainad.ir.shapes import ELEMENTWISE, Shape, broadcast_shape, shape_of
from chainad.ir.strides import as_transpose

Call = tuple[Op, tuple[int, ...]]

MINUS = Scale(-1)


class Context(Protocol):
    """What is known of the registers so far."""

    @property
    def shapes(self) -> Mapping[int, Shape | None]: ...

    @property
    def definitions(self) -> Mapping[int, Instruction]: ...

    def emit(self, op: Op, *inputs: int) -> int: ...


def simplify(op: Op, inputs: tuple[int, ...], context: Context) -> int | Call:
    """Return a register that holds the result already, or a call that makes it with less work."""
    if isinstance(op, ELEMENTWISE):
        return _elementwise(op, _stripped(op, inputs, context), context)
    match op:
        case Reshape():
            return _reshape(op, inputs[0], context)
        case Transpose():
            return _transpose(op, inputs[0], context)
        case Broadcast():
            return _broadcast(op, inputs[0], context)
        case Scale(factor):
            return _scale(factor, inputs[0], context)
        case MatMul():
            a, b = (_positive(x, context) for x in inputs)
            return (op, inputs) if a is None or b is None else (op, (a, b))
        case Sum(axes) if not axes:
            return inputs[0]
        case Take(axis, where) | Place(axis, where):
            return _rearranged(op, axis, where, inputs[0], context)
        case AddAt():
            return _added(op, inputs, context)
        case AddTied():
            return _tied(op, inputs, context)
    return op, inputs


def _source(
    register: int, kind: type[Op] | tuple[type[Op], ...], context: Context
) -> Instruction | None:
    """Return the instruction that made a register, if it is of this kind, or of one of them."""
    found = context.definitions.get(register)
    return found if found is not None and isinstance(found.op, kind) else None


def _reshape(op: Reshape, x: int, context: Context) -> int | Call:
    have = context.shapes.get(x)
    shape = shape_of(op, (have,))
    if shape is None:
        return op, (x,)
    if have == shape:
        return x
    before = _source(x, Reshape, context)
    if before is not None:
        return context.emit(Reshape(shape), before.inputs[0])
    before = _source(x, Transpose, context)
    if before is not None and have is not None:
        assert isinstance(before.op, Transpose)
        moved = [k for k, n in zip(before.op.order, have, strict=True) if n != 1]
        if moved == sorted(moved):
            return context.emit(Reshape(shape), before.inputs[0])
        return _split_first(shape, x, have, before, context)
    return Reshape(shape), (x,)


def _split_first(
    shape: Shape, x: int, have: Shape, turned: Instruction, context: Context
) -> int | Call:
    """Split axes before they are turned: there, it often undoes what merged them."""
    parts = refine(have, shape)
    if parts is None or tuple(parts) == have:
        return Reshape(shape), (x,)
    assert isinstance(turned.op, Transpose)
    groups = _groups(have, parts)
    order = turned.op.order
    original = [groups[order.index(k)] for k in range(len(order))]
    start = dict(zip(range(len(order)), accumulate(map(len, original), initial=0), strict=False))
    flat = tuple(n for group in original for n in group)
    moved = tuple(start[k] + j for k in order for j in range(len(original[k])))
    y = context.emit(Reshape(flat), turned.inputs[0])
    return context.emit(Reshape(shape), context.emit(Transpose(moved), y))


def _groups(sizes: Sequence[int], parts: Sequence[int]) -> list[list[int]]:
    """Return the parts of every size, in order."""
    rest, groups = iter(parts), list[list[int]]()
    for size in sizes:
        group: list[int] = []
        while prod(group) != size:
            group.append(next(rest))
        groups.append(group)
    return groups


def _rearranged(op: Op, axis: int, where: Positions, x: int, context: Context) -> int | Call:
    """Gather or place all entries of an axis by turning axes, where that is what it comes to."""
    have = context.shapes.get(x)
    if have is None:
        return op, (x,)
    size = op.size if isinstance(op, Place) else have[axis]
    if have[axis] != size or len(where) != size:
        return op, (x,)
    if where == range(size):
        return x
    turn = as_transpose(where, size)
    if turn is None:
        return op, (x,)
    sizes, order = turn
    if isinstance(op, Take):  # away from the places, not to them
        sizes = tuple(sizes[k] for k in order)
        order = tuple(map(order.index, range(len(order))))
    before, after = tuple(range(axis)), tuple(range(axis + 1, len(have)))
    x = context.emit(Reshape((*have[:axis], *sizes, *have[axis + 1 :])), x)
    moved = tuple(axis + k for k in order)
    behind = tuple(k + len(sizes) - 1 for k in after)
    return context.emit(Reshape(have), context.emit(Transpose((*before, *moved, *behind)), x))


def _added(op: AddAt, inputs: tuple[int, ...], context: Context) -> int | Call:
    """Add along tied axes where they are, instead of merging them in a copy."""
    axis, (x, y) = op.axis, inputs
    have, other = context.shapes.get(x), context.shapes.get(y)
    merged = _source(x, Reshape, context)
    if have is None or other is None or merged is None or len(other) != len(have):
        return op, inputs
    source = merged.inputs[0]
    shape, behind = context.shapes.get(source), have[axis + 1 :]
    if shape is None or _source(source, Transpose, context) is None:
        return op, inputs
    end = len(shape) - len(behind)
    found = ties_of(op.positions, shape[axis:end]) if end > axis + 1 else None
    if found is None or shape != have[:axis] + shape[axis:end] + behind:
        return op, inputs
    sizes, own = found
    if other[axis] != prod(sizes):
        return op, inputs
    before, after = range(axis), range(axis + len(sizes), axis + len(sizes) + len(behind))
    ties = (*before, *(axis + tie for tie in own), *after)
    y = context.emit(Reshape((*other[:axis], *sizes, *other[axis + 1 :])), y)
    return context.emit(Reshape(have), context.emit(AddTied(shape, ties), source, y))


def ties_of(
    where: Positions, grid: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Return the sizes of the axes that positions walk along, and the one along each of the grid's.

    None if some axis of the grid is not walked along from end to end.

    Examples
    --------
    >>> ties_of(range(0, 16, 5), (4, 4))
    ((4,), (0, 0))
    """
    if isinstance(where, Index):
        return None
    start, steps, sizes = progressions(where)
    strides = [prod(grid[k + 1 :]) for k in range(len(grid))]
    ties: dict[int, int] = {}
    for number, (step, size) in enumerate(zip(steps, sizes, strict=True)):
        rest = step
        for k in range(len(grid)):
            if k not in ties and grid[k] == size and strides[k] <= rest:
                ties[k] = number
                rest -= strides[k]
        if rest:
            return None
    if start or len(ties) < len(grid):
        return None
    return tuple(sizes), tuple(ties[k] for k in range(len(grid)))


def _tied(op: AddTied, inputs: tuple[int, ...], context: Context) -> int | Call:
    """Add before axes are turned or merged, in the memory of what is turned."""
    x, y = inputs
    have = context.shapes.get(x)
    merged, turned = _source(x, Reshape, context), _source(x, Transpose, context)
    if have is not None and merged is not None:
        return context.emit(Reshape(have), context.emit(op, merged.inputs[0], y))
    if turned is None or have != op.shape:
        return op, inputs
    assert isinstance(turned.op, Transpose)
    order = turned.op.order
    back = [order.index(k) for k in range(len(order))]
    shape, ties = (tuple(each[k] for k in back) for each in (op.shape, op.ties))
    added = context.emit(AddTied(shape, ties), turned.inputs[0], y)
    return context.emit(Transpose(order), added)


def _transpose(op: Transpose, x: int, context: Context) -> int | Call:
    order = op.order
    if order == tuple(range(len(order))):
        return x
    before = _source(x, Transpose, context)
    if before is not None:
        assert isinstance(before.op, Transpose)
        first = before.op.order
        return context.emit(Transpose(tuple(first[k] for k in order)), before.inputs[0])
    have = context.shapes.get(x)
    if have is not None:
        moved = [k for k in order if have[k] != 1]
        if moved == sorted(moved):
            return context.emit(Reshape(tuple(have[k] for k in order)), x)
        undone = _turned_back(order, x, have, context)
        if undone is not None:
            return context.emit(Reshape(tuple(have[k] for k in order)), undone)
    return op, (x,)


def _turned_back(order: Sequence[int], x: int, have: Shape, context: Context) -> int | None:
    """Return what lies row-major as x would with its axes in `order`: they were turned before.

    None if x did not come of turning axes and then merging some.
    """
    merged = _source(x, Reshape, context)
    turned = None if merged is None else _source(merged.inputs[0], Transpose, context)
    if merged is None or turned is None:
        return None
    shape = context.shapes.get(merged.inputs[0])
    if shape is None or refine(shape, have) != list(shape):
        return None
    assert isinstance(turned.op, Transpose)
    groups = _groups(have, shape)
    start = list(accumulate(map(len, groups), initial=0))
    parts = [start[k] + j for k in order for j in range(len(groups[k]))]
    moved = [turned.op.order[k] for k in parts if shape[k] != 1]
    return turned.inputs[0] if moved == sorted(moved) else None


def _broadcast(op: Broadcast, x: int, context: Context) -> int | Call:
    have = context.shapes.get(x)
    if have == op.shape:
        return x
    before = _source(x, Broadcast, context)
    if before is not None:
        return context.emit(op, before.inputs[0])
    return op, (_short(x, op.shape, context),)


def _short(x: int, shape: Shape, context: Context) -> int:
    """Return a register that broadcasts to `shape` as x does, without the axes put in front."""
    before = _source(x, Reshape, context)
    have = context.shapes.get(x)
    if before is None or have is None:
        return x
    source = context.shapes.get(before.inputs[0])
    if source is None or prod(have) == 0:
        return x
    padded = (1,) * (len(have) - len(source)) + source
    return before.inputs[0] if padded == have and len(have) <= len(shape) else x


def _stripped(op: Op, inputs: tuple[int, ...], context: Context) -> tuple[int, ...]:
    """Let an elementwise op broadcast by itself."""
    if all(_source(x, (Broadcast, Reshape), context) is None for x in inputs):
        return inputs
    shapes = [context.shapes.get(x) for x in inputs]
    result = shape_of(op, tuple(shapes))
    if result is None:
        return inputs
    found = list(inputs)
    for k in range(2):
        other = context.shapes[found[1 - k]]
        candidate = found[k]
        while True:
            before = _source(candidate, Broadcast, context)
            shorter = before.inputs[0] if before is not None else candidate
            shorter = _short(shorter, result, context)
            shape = context.shapes.get(shorter)
            if shorter == candidate or shape is None or other is None:
                break
            if broadcast_shape(shape, other) != result:
                break
            candidate = shorter
        found[k] = candidate
    return tuple(found)


def _positive(x: int, context: Context) -> int | None:
    """Return a register that holds -x, if x was made by a change of sign; views are looked through.

    None if there is none.
    """
    views: list[Op] = []
    while x in context.definitions:
        op, inputs = context.definitions[x].op, context.definitions[x].inputs
        if op == MINUS:
            found = inputs[0]
            for view in reversed(views):
                found = context.emit(view, found)
            return found
        if not isinstance(op, (Reshape, Transpose, Broadcast)):
            return None
        views.append(op)
        x = inputs[0]
    return None


def _elementwise(op: Op, inputs: tuple[int, ...], context: Context) -> int | Call:
    """Let arrays that are seen in another shape meet in their own: then one may be written over."""
    one, two = (_source(x, Reshape, context) for x in inputs)
    if one is not None and two is not None:
        shape, (a, b) = context.shapes.get(inputs[0]), (one.inputs[0], two.inputs[0])
        own = context.shapes.get(a)
        is_alike = shape is not None and shape == context.shapes.get(inputs[1])
        if is_alike and own is not None and own == context.shapes.get(b):
            assert shape is not None
            return context.emit(Reshape(shape), context.emit(op, a, b))
    return _signed(op, inputs, context)


def _signed(op: Op, inputs: tuple[int, ...], context: Context) -> int | Call:
    """Let the signs of two operands meet, or go into the op."""
    a, b = inputs
    minus_a, minus_b = _positive(a, context), _positive(b, context)
    if minus_a is None and minus_b is None:
        return op, inputs
    match op, minus_a is not None, minus_b is not None:
        case Add(), True, True:
            assert minus_a is not None
            assert minus_b is not None
            return context.emit(MINUS, context.emit(Add(), minus_a, minus_b))
        case Add(), False, True:
            assert minus_b is not None
            return Subtract(), (a, minus_b)
        case Add(), True, False:
            assert minus_a is not None
            return Subtract(), (b, minus_a)
        case Subtract(), True, True:
            assert minus_a is not None
            assert minus_b is not None
            return Subtract(), (minus_b, minus_a)
        case Subtract(), False, True:
            assert minus_b is not None
            return context.emit(Add(), a, minus_b)
        case Multiply(), True, True:
            assert minus_a is not None
            assert minus_b is not None
            return context.emit(Multiply(), minus_a, minus_b)
        case Multiply(), True, False | True:
            assert minus_a is not None
            return _with_sign_outside(minus_a, b, inputs, context)
        case Multiply(), False, True:
            assert minus_b is not None
            return _with_sign_outside(minus_b, a, inputs, context)
    return op, inputs


def _with_sign_outside(x: int, other: int, inputs: tuple[int, ...], context: Context) -> int | Call:
    """Change the sign of a product instead of a factor's where both have as many numbers."""
    shapes = context.shapes.get(x), context.shapes.get(other)
    result = shape_of(Multiply(), shapes)
    if result is None or shapes[0] is None or prod(shapes[0]) < prod(result):
        return Multiply(), inputs
    return context.emit(MINUS, context.emit(Multiply(), x, other))


def _scale(factor: float, x: int, context: Context) -> int | Call:
    if factor == 1:
        return x
    before = context.definitions.get(x)
    if before is not None and isinstance(before.op, Scale):
        first = before.op.factor
        if -1 in (first, factor):
            return context.emit(Scale(first * factor), before.inputs[0])
    if factor == -1 and before is not None and isinstance(before.op, Subtract):
        return context.emit(Subtract(), *before.inputs[::-1])
    return Scale(factor), (x,)
