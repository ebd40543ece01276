"""Peephole optimisation: an instruction is simplified by the instructions that define its inputs.

No-ops go, axes are not moved back and forth, signs are changed where that costs least. Every
rewriting gives the same result, bit for bit, up to the sign of a zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from math import prod
from typing import TYPE_CHECKING

from chainad.ir import ops
from chainad.ir.op import Op
from chainad.ir.positions import Index, Positions, progressions, refine
from chainad.ir.program import Instruction
from chainad.ir.shapes import Shape, broadcast_shape
from chainad.ir.strides import as_transpose

if TYPE_CHECKING:
    from chainad.ir.program_builder import ProgramBuilder

_Call = tuple[Op, tuple[int, ...]]

_NEGATE = ops.Scale(-1)


def simplify(op: Op, inputs: tuple[int, ...], builder: ProgramBuilder) -> int | _Call:
    """Return a register that holds the result already, or the least expensive call."""
    rule = _RULES.get(type(op))
    return (op, inputs) if rule is None else rule(op, inputs, builder)


def _defined_by(
    register: int, kind: type[Op] | tuple[type[Op], ...], builder: ProgramBuilder
) -> Instruction | None:
    """Return the instruction that defines a register, if its op is of this kind."""
    found = builder.definitions.get(register)
    return found if found is not None and isinstance(found.op, kind) else None


def _reshape(op: ops.Reshape, inputs: tuple[int, ...], builder: ProgramBuilder) -> int | _Call:
    (x,) = inputs
    have = builder.shapes.get(x)
    shape = op.infer_shape((have,))
    if shape is None:
        return op, (x,)
    if have == shape:
        return x
    before = _defined_by(x, ops.Reshape, builder)
    if before is not None:
        return builder.emit(ops.Reshape(shape), before.inputs[0])
    before = _defined_by(x, ops.Transpose, builder)
    if before is not None and have is not None:
        assert isinstance(before.op, ops.Transpose)
        moved = [k for k, n in zip(before.op.order, have, strict=True) if n != 1]
        if moved == sorted(moved):
            return builder.emit(ops.Reshape(shape), before.inputs[0])
        return _split_before_transpose(shape, x, have, before, builder)
    return ops.Reshape(shape), (x,)


def _split_before_transpose(
    shape: Shape, x: int, have: Shape, transposed: Instruction, builder: ProgramBuilder
) -> int | _Call:
    """Split axes before they are transposed: there, this often undoes what merged them."""
    parts = refine(have, shape)
    if parts is None or tuple(parts) == have:
        return ops.Reshape(shape), (x,)
    assert isinstance(transposed.op, ops.Transpose)
    groups = _groups(have, parts)
    order = transposed.op.order
    original = [groups[order.index(k)] for k in range(len(order))]
    start = dict(zip(range(len(order)), accumulate(map(len, original), initial=0), strict=False))
    flat = tuple(n for group in original for n in group)
    moved = tuple(start[k] + j for k in order for j in range(len(original[k])))
    y = builder.emit(ops.Reshape(flat), transposed.inputs[0])
    return builder.emit(ops.Reshape(shape), builder.emit(ops.Transpose(moved), y))


def _groups(sizes: Sequence[int], parts: Sequence[int]) -> list[list[int]]:
    """Return the parts of every size, in order."""
    rest, groups = iter(parts), list[list[int]]()
    for size in sizes:
        group: list[int] = []
        while prod(group) != size:
            group.append(next(rest))
        groups.append(group)
    return groups


def _permuted(
    op: ops.Take | ops.Place, inputs: tuple[int, ...], builder: ProgramBuilder
) -> int | _Call:
    """Gather or place all entries of an axis by a transpose, if they are permuted like that."""
    (x,), axis, where = inputs, op.axis, op.positions
    have = builder.shapes.get(x)
    if have is None:
        return op, (x,)
    size = op.size if isinstance(op, ops.Place) else have[axis]
    if have[axis] != size or len(where) != size:
        return op, (x,)
    if where == range(size):
        return x
    permutation = as_transpose(where, size)
    if permutation is None:
        return op, (x,)
    sizes, order = permutation
    if isinstance(op, ops.Take):  # the inverse permutation
        sizes = tuple(sizes[k] for k in order)
        order = tuple(map(order.index, range(len(order))))
    before, after = tuple(range(axis)), tuple(range(axis + 1, len(have)))
    x = builder.emit(ops.Reshape((*have[:axis], *sizes, *have[axis + 1 :])), x)
    moved = tuple(axis + k for k in order)
    after_axis = tuple(k + len(sizes) - 1 for k in after)
    return builder.emit(
        ops.Reshape(have), builder.emit(ops.Transpose((*before, *moved, *after_axis)), x)
    )


def _add_at(op: ops.AddAt, inputs: tuple[int, ...], builder: ProgramBuilder) -> int | _Call:
    """Add along tied axes in place, instead of merging them in a copy."""
    axis, (x, y) = op.axis, inputs
    have, other = builder.shapes.get(x), builder.shapes.get(y)
    merged = _defined_by(x, ops.Reshape, builder)
    if have is None or other is None or merged is None or len(other) != len(have):
        return op, inputs
    source = merged.inputs[0]
    shape, after_axis = builder.shapes.get(source), have[axis + 1 :]
    if shape is None or _defined_by(source, ops.Transpose, builder) is None:
        return op, inputs
    end = len(shape) - len(after_axis)
    found = ties_of(op.positions, shape[axis:end]) if end > axis + 1 else None
    if found is None or shape != have[:axis] + shape[axis:end] + after_axis:
        return op, inputs
    sizes, own = found
    if other[axis] != prod(sizes):
        return op, inputs
    before, after = range(axis), range(axis + len(sizes), axis + len(sizes) + len(after_axis))
    ties = (*before, *(axis + tie for tie in own), *after)
    y = builder.emit(ops.Reshape((*other[:axis], *sizes, *other[axis + 1 :])), y)
    return builder.emit(ops.Reshape(have), builder.emit(ops.AddTied(shape, ties), source, y))


def ties_of(
    where: Positions, grid: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Return the sizes of the axes that positions iterate over, and for each axis of a grid which.

    None unless every axis of the grid is iterated over from end to end.

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


def _add_tied(op: ops.AddTied, inputs: tuple[int, ...], builder: ProgramBuilder) -> int | _Call:
    """Add before axes are transposed or merged, in the memory of what is transposed."""
    x, y = inputs
    have = builder.shapes.get(x)
    merged, transposed = (
        _defined_by(x, ops.Reshape, builder),
        _defined_by(x, ops.Transpose, builder),
    )
    if have is not None and merged is not None:
        return builder.emit(ops.Reshape(have), builder.emit(op, merged.inputs[0], y))
    if transposed is None or have != op.shape:
        return op, inputs
    assert isinstance(transposed.op, ops.Transpose)
    order = transposed.op.order
    back = [order.index(k) for k in range(len(order))]
    shape, ties = (tuple(each[k] for k in back) for each in (op.shape, op.ties))
    added = builder.emit(ops.AddTied(shape, ties), transposed.inputs[0], y)
    return builder.emit(ops.Transpose(order), added)


def _transpose(op: ops.Transpose, inputs: tuple[int, ...], builder: ProgramBuilder) -> int | _Call:
    (x,), order = inputs, op.order
    if order == tuple(range(len(order))):
        return x
    before = _defined_by(x, ops.Transpose, builder)
    if before is not None:
        assert isinstance(before.op, ops.Transpose)
        first = before.op.order
        return builder.emit(ops.Transpose(tuple(first[k] for k in order)), before.inputs[0])
    have = builder.shapes.get(x)
    if have is not None:
        moved = [k for k in order if have[k] != 1]
        if moved == sorted(moved):
            return builder.emit(ops.Reshape(tuple(have[k] for k in order)), x)
        undone = _transposed_back(order, x, have, builder)
        if undone is not None:
            return builder.emit(ops.Reshape(tuple(have[k] for k in order)), undone)
    return op, (x,)


def _transposed_back(
    order: Sequence[int], x: int, have: Shape, builder: ProgramBuilder
) -> int | None:
    """Return a register whose row-major entries are those of x with its axes in `order`.

    None unless x was made by transposing axes back and then merging some.
    """
    merged = _defined_by(x, ops.Reshape, builder)
    transposed = None if merged is None else _defined_by(merged.inputs[0], ops.Transpose, builder)
    if merged is None or transposed is None:
        return None
    shape = builder.shapes.get(merged.inputs[0])
    if shape is None or refine(shape, have) != list(shape):
        return None
    assert isinstance(transposed.op, ops.Transpose)
    groups = _groups(have, shape)
    start = list(accumulate(map(len, groups), initial=0))
    parts = [start[k] + j for k in order for j in range(len(groups[k]))]
    moved = [transposed.op.order[k] for k in parts if shape[k] != 1]
    return transposed.inputs[0] if moved == sorted(moved) else None


def _broadcast(op: ops.Broadcast, inputs: tuple[int, ...], builder: ProgramBuilder) -> int | _Call:
    (x,) = inputs
    have = builder.shapes.get(x)
    if have == op.shape:
        return x
    before = _defined_by(x, ops.Broadcast, builder)
    if before is not None:
        return builder.emit(op, before.inputs[0])
    return op, (_without_leading_axes(x, op.shape, builder),)


def _without_leading_axes(x: int, shape: Shape, builder: ProgramBuilder) -> int:
    """Return a register that broadcasts to `shape` as x does, without leading axes of size 1."""
    before = _defined_by(x, ops.Reshape, builder)
    have = builder.shapes.get(x)
    if before is None or have is None:
        return x
    source = builder.shapes.get(before.inputs[0])
    if source is None or prod(have) == 0:
        return x
    padded = (1,) * (len(have) - len(source)) + source
    return before.inputs[0] if padded == have and len(have) <= len(shape) else x


def _without_broadcasts(
    op: Op, inputs: tuple[int, ...], builder: ProgramBuilder
) -> tuple[int, ...]:
    """Let an elementwise op broadcast its operands itself."""
    if all(_defined_by(x, (ops.Broadcast, ops.Reshape), builder) is None for x in inputs):
        return inputs
    shapes = [builder.shapes.get(x) for x in inputs]
    result = op.infer_shape(shapes)
    if result is None:
        return inputs
    found = list(inputs)
    for k in range(2):
        other = builder.shapes[found[1 - k]]
        candidate = found[k]
        while True:
            before = _defined_by(candidate, ops.Broadcast, builder)
            shorter = before.inputs[0] if before is not None else candidate
            shorter = _without_leading_axes(shorter, result, builder)
            shape = builder.shapes.get(shorter)
            if shorter == candidate or shape is None or other is None:
                break
            if broadcast_shape(shape, other) != result:
                break
            candidate = shorter
        found[k] = candidate
    return tuple(found)


def _negated(x: int, builder: ProgramBuilder) -> int | None:
    """Return a register that holds -x, if x is a view of what was made by a change of sign."""
    views: list[Op] = []
    while x in builder.definitions:
        op, inputs = builder.definitions[x].op, builder.definitions[x].inputs
        if op == _NEGATE:
            found = inputs[0]
            for view in reversed(views):
                found = builder.emit(view, found)
            return found
        if not isinstance(op, (ops.Reshape, ops.Transpose, ops.Broadcast)):
            return None
        views.append(op)
        x = inputs[0]
    return None


def _elementwise(op: Op, inputs: tuple[int, ...], builder: ProgramBuilder) -> int | _Call:
    """Combine reshaped arrays in their own shape: then the memory of one can be reused."""
    inputs = _without_broadcasts(op, inputs, builder)
    one, two = (_defined_by(x, ops.Reshape, builder) for x in inputs)
    if one is not None and two is not None:
        shape, (a, b) = builder.shapes.get(inputs[0]), (one.inputs[0], two.inputs[0])
        own = builder.shapes.get(a)
        have_one_shape = shape is not None and shape == builder.shapes.get(inputs[1])
        if have_one_shape and own is not None and own == builder.shapes.get(b):
            assert shape is not None
            return builder.emit(ops.Reshape(shape), builder.emit(op, a, b))
    return _signed(op, inputs, builder)


def _signed(op: Op, inputs: tuple[int, ...], builder: ProgramBuilder) -> int | _Call:
    """Cancel the signs of two operands, or absorb one into the op."""
    a, b = inputs
    match op, _negated(a, builder), _negated(b, builder):
        case _, None, None:
            return op, inputs
        case ops.Add(), int(x), int(y):
            return builder.emit(_NEGATE, builder.emit(ops.Add(), x, y))
        case ops.Add(), None, int(y):
            return ops.Subtract(), (a, y)
        case ops.Add(), int(x), None:
            return ops.Subtract(), (b, x)
        case ops.Subtract(), int(x), int(y):
            return ops.Subtract(), (y, x)
        case ops.Subtract(), None, int(y):
            return builder.emit(ops.Add(), a, y)
        case ops.Multiply(), int(x), int(y):
            return builder.emit(ops.Multiply(), x, y)
        case ops.Multiply(), int(x), None:
            return _with_sign_after(x, b, inputs, builder)
        case ops.Multiply(), None, int(y):
            return _with_sign_after(y, a, inputs, builder)
    return op, inputs


def _with_sign_after(
    x: int, other: int, inputs: tuple[int, ...], builder: ProgramBuilder
) -> int | _Call:
    """Change the sign of a product instead of a factor's if both have as many elements."""
    shapes = builder.shapes.get(x), builder.shapes.get(other)
    result = ops.Multiply().infer_shape(shapes)
    if result is None or shapes[0] is None or prod(shapes[0]) < prod(result):
        return ops.Multiply(), inputs
    return builder.emit(_NEGATE, builder.emit(ops.Multiply(), x, other))


def _matmul(op: ops.MatMul, inputs: tuple[int, ...], builder: ProgramBuilder) -> int | _Call:
    """Cancel the signs of two factors."""
    a, b = (_negated(x, builder) for x in inputs)
    return (op, inputs) if a is None or b is None else (op, (a, b))


def _sum(op: ops.Sum, inputs: tuple[int, ...], builder: ProgramBuilder) -> int | _Call:
    return (op, inputs) if op.axes else inputs[0]


def _scale(op: ops.Scale, inputs: tuple[int, ...], builder: ProgramBuilder) -> int | _Call:
    (x,), factor = inputs, op.factor
    if factor == 1:
        return x
    before = builder.definitions.get(x)
    if before is not None and isinstance(before.op, ops.Scale):
        first = before.op.factor
        if -1 in (first, factor):
            return builder.emit(ops.Scale(first * factor), before.inputs[0])
    if factor == -1 and before is not None and isinstance(before.op, ops.Subtract):
        return builder.emit(ops.Subtract(), *before.inputs[::-1])
    return ops.Scale(factor), (x,)


_RULES: dict[type[Op], Callable[..., int | _Call]] = {
    ops.Add: _elementwise,
    ops.AddAt: _add_at,
    ops.AddTied: _add_tied,
    ops.Broadcast: _broadcast,
    ops.MatMul: _matmul,
    ops.Multiply: _elementwise,
    ops.Place: _permuted,
    ops.Reshape: _reshape,
    ops.Scale: _scale,
    ops.Subtract: _elementwise,
    ops.Sum: _sum,
    ops.Take: _permuted,
    ops.Transpose: _transpose,
}
