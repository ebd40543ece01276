"""From a recording and a program to loops: every call and every op, on arrays of addresses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from chainad.backends.scalar_expressions import loop_template
from chainad.compiler.loops.loop_builder import NOTHING, LoopBuilder, Value, View, rows
from chainad.compiler.recording.recording import Recording, Step, refs_in
from chainad.compiler.scalar.scalarize import filled, flowing
from chainad.compiler.scalar.symbolic_array import ELEMENTWISE, UFUNCS
from chainad.frontends.numpy.recorder import Ref, gradient_stopped
from chainad.ir import array_functions as primitives
from chainad.ir.loop_program import ArrayProgram, Function
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
from chainad.rules.base import normalize_axes
from chainad.rules.movement import getitem

# So many operations are written out at most: more take a compiler too long.
MANY = 40_000


def array_program(
    recording: Recording, program: Program, wants_value: bool
) -> tuple[ArrayProgram, list[tuple[int, ...]]]:
    """Return a recording and its program as loops, and the shapes of the results.

    The inputs are the arguments that flow, then the constants of the recording. The results are
    the values of the function (if asked for), then those of the program that are not None.

    Raises
    ------
    NotScalarError
        If something has no form as a loop, or is too large to be worth it.
    """
    if any(guard.kind != "shape" for guard in recording.guards):
        raise NotScalarError("a branch depends on the numbers")
    if len(recording.steps) + len(program.instructions) > MANY:
        raise NotScalarError(f"it takes more than {MANY} operations")
    builder = LoopBuilder()
    values: dict[int, Any] = {}
    for number, flow in flowing(recording).items():
        _check_dtype(flow.dtype)
        values[number] = builder.input(flow.shape)
    for number, array in recording.constants.items():
        _check_dtype(array.dtype)
        values[number] = builder.input(array.shape)
    for step in recording.steps:
        values[step.number] = _called(builder, step, values)
    registers = _executed(builder, program, recording.slots, values)
    results: list[Value] = []
    if wants_value:
        results += [values[ref.number] for ref in recording.values]
    results += [registers[k] for k in program.outputs if k is not None]
    return builder.program(results), [np.shape(_addresses(x)) for x in results]


def _check_dtype(dtype: Any) -> None:
    if dtype != np.float64:
        raise NotScalarError(f"the numbers are {dtype}")


def _addresses(value: Value) -> Any:
    return value.where if isinstance(value, View) else value


# ---------------------------------------------------------------------- calls


def _called(builder: LoopBuilder, step: Step, values: Mapping[int, Any]) -> Any:
    function, name = step.function, getattr(step.function, "__name__", str(step.function))
    if step.dtype is None or step.dtype.kind not in "fb":
        raise NotScalarError(f"np.{name} makes {step.dtype}")
    if step.dtype.kind == "f":
        _check_dtype(step.dtype)
    known = {k: values[k] for k in step.reads}
    found: Value
    if function in _OWN:
        found = _OWN[function](builder, *_given(step.args, known), **_given(step.kwargs, known))
    elif loop_template(function) is not None and (function in UFUNCS or function in ELEMENTWISE):
        if step.kwargs:
            raise NotScalarError(f"np.{name} with keywords")
        found = builder.elementwise(function, *map(_number, _given(step.args, known)))
    elif function in _MOVING:
        found = _moved(builder, step, known)
    else:
        raise NotScalarError(f"np.{name}")
    if np.shape(_addresses(found)) != step.shape:
        raise NotScalarError(f"the shape of np.{name} depends on numbers")
    return found


def _given(value: Any, values: Mapping[int, Any]) -> Any:
    return filled(value, values)


def _number(value: Any) -> Value:
    """Return an operand that is cells or a plain number."""
    if isinstance(value, View):
        return value
    if isinstance(value, (bool, int, float, np.floating, np.integer, np.bool_)):
        return float(value)
    if isinstance(value, np.ndarray) and value.shape == () and value.dtype.kind in "fiub":
        return float(value)
    raise NotScalarError(f"an operand of type {type(value).__name__}")


def _moved(builder: LoopBuilder, step: Step, known: Mapping[int, Any]) -> Value:
    """Run a function that only moves entries on their addresses."""
    places = _MOVING[step.function]
    operands = [k for place in places if place < len(step.args) for k in refs_in(step.args[place])]
    if len(operands) != len(step.reads) or len(operands) == 0:
        raise NotScalarError(f"an index of np.{step.function.__name__} depends on numbers")
    for place in places:
        if place < len(step.args) and not _is_all_refs(step.args[place]):
            raise NotScalarError(f"np.{step.function.__name__} of plain numbers")
    cells = {k: builder.as_cells(known[k]) for k in operands}
    # One is added, so that zeros that a function puts in between are told from numbers.
    start, starts = 1, dict[int, int]()
    for k in dict.fromkeys(operands):
        starts[k] = start
        start += int(cells[k].where.max(initial=0)) + 1
    shifted = {k: np.where(x.where == NOTHING, 0, x.where + starts[k]) for k, x in cells.items()}
    where: Any = np.asarray(step.function(*filled(step.args, shifted), **filled(step.kwargs, {})))
    if len(cells) == 1:
        ((only, whole),) = cells.items()
        return View(whole.register, np.where(where == 0, NOTHING, where - starts[only]))
    parts: list[tuple[Value, Any]] = []
    whole_place = rows(where.shape)
    for k, part in cells.items():
        last = starts[k] + int(part.where.max(initial=0))
        own = (where >= starts[k]) & (where <= last)
        parts.append((View(part.register, where[own] - starts[k]), whole_place[own]))
    return builder.joined(parts, where.shape)


def _is_all_refs(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_all_refs, value))
    return isinstance(value, Ref)


def _sum(
    builder: LoopBuilder, x: Value, axis: Any = None, dtype: Any = None, out: Any = None,
    keepdims: Any = False,
) -> Value:  # fmt: skip
    if dtype is not None or out is not None:
        raise NotScalarError("np.sum with dtype= or out=")
    axes = normalize_axes(axis, np.ndim(_addresses(x)))
    return builder.sum(x, axes, bool(keepdims))


def _mean(
    builder: LoopBuilder, x: Value, axis: Any = None, dtype: Any = None, out: Any = None,
    keepdims: Any = False,
) -> Value:  # fmt: skip
    total = _sum(builder, x, axis, dtype, out, keepdims)
    count = np.size(_addresses(x)) / max(np.size(_addresses(total)), 1)
    return builder.elementwise(np.divide, total, count)


def _dot(builder: LoopBuilder, a: Value, b: Value) -> Value:
    if not 1 <= np.ndim(_addresses(a)) <= 2 or not 1 <= np.ndim(_addresses(b)) <= 2:
        raise NotScalarError("np.dot of other than vectors and matrices")
    return builder.contract(a, b)


def _vecdot(builder: LoopBuilder, a: Value, b: Value) -> Value:
    x, y = builder.cells(a), builder.cells(b)
    left = View(x.register, x.where[..., None, :])
    found = builder.contract(left, View(y.register, y.where[..., :, None]))
    assert isinstance(found, View)
    return View(found.register, found.where[..., 0, 0])


def _outer(builder: LoopBuilder, a: Value, b: Value) -> Value:
    x, y = builder.cells(a), builder.cells(b)
    left = View(x.register, x.where.reshape(-1, 1))
    return builder.elementwise(np.multiply, left, View(y.register, y.where.ravel()))


def _clip(builder: LoopBuilder, x: Value, low: Any, high: Any) -> Value:
    found = builder.elementwise(np.maximum, x, _number(low))
    return builder.elementwise(np.minimum, found, _number(high))


def _power(builder: LoopBuilder, x: Value, p: Any) -> Value:
    exponent = _number(p)
    if exponent == 2:  # as NumPy does
        return builder.elementwise(np.multiply, x, x)
    return builder.elementwise(np.power, x, exponent)


_OWN: dict[Function, Callable[..., Value]] = {
    np.matmul: lambda builder, a, b: builder.contract(a, b),
    np.dot: _dot,
    np.vecdot: _vecdot,
    np.outer: _outer,
    np.sum: _sum,
    np.mean: _mean,
    np.clip: _clip,
    np.power: _power,
    gradient_stopped: lambda builder, x: x,
}

# Functions that move entries, with the places of the arguments whose entries these are.
_MOVING: dict[Function, tuple[int, ...]] = {
    **dict.fromkeys(
        [
            getitem, np.reshape, np.transpose, np.matrix_transpose, np.swapaxes, np.moveaxis,
            np.rollaxis, np.expand_dims, np.squeeze, np.broadcast_to, np.atleast_1d,
            np.atleast_2d, np.atleast_3d, np.diagonal, np.diag, np.diagflat, np.tile, np.repeat,
            np.take, np.flip, np.fliplr, np.flipud, np.rot90, np.tril, np.triu, np.roll,
            np.stack, np.vstack, np.hstack, np.dstack, np.column_stack, np.concatenate,
            np.ravel, np.copy, primitives.place,
        ],
        (0,),
    ),
}  # fmt: skip


# -------------------------------------------------------------------- ops


def _executed(
    builder: LoopBuilder, program: Program, slots: Sequence[Any], values: Mapping[int, Any]
) -> dict[int, Value]:
    """Return the values of all registers of a program."""
    registers: dict[int, Value] = {}
    for k in program.used_slots:
        slot = slots[k]
        registers[k] = values[slot.number] if isinstance(slot, Ref) else _number(slot)
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
    if isinstance(op, (MatMul, Dot)):
        return (_vecdot if isinstance(op, Dot) else LoopBuilder.contract)(builder, *args)
    if isinstance(op, Sum):
        return builder.sum(args[0], op.axes)
    if isinstance(op, (AddAt, AddTied, SegmentSum, SparseDot, Scatter, Concatenate)):
        return _gathered(builder, op, [builder.cells(x) for x in args])
    first = builder.as_cells(args[0])
    return View(first.register, _rearranged(op, first.where))


_FUNCTIONS: dict[type[Op], Function] = {
    Add: np.add,
    Subtract: np.subtract,
    Multiply: np.multiply,
}


def _rearranged(op: Op, where: Any) -> Any:
    match op:
        case Reshape(shape):
            return where.reshape(shape)
        case Transpose(order):
            return where.transpose(order)
        case Broadcast(shape):
            return np.broadcast_to(where, shape)
        case Take(axis, positions):
            return np.take(where, as_array(positions), axis)
        case Row(index):
            return where[index]
        case Copy():
            return where
        case Place(axis, positions, size):
            return primitives.place(where + 1, axis, positions, size) - 1  # NOTHING elsewhere
    raise NotScalarError(f"{type(op).__name__} of an operator")


def _gathered(
    builder: LoopBuilder,
    op: AddAt | AddTied | SegmentSum | SparseDot | Scatter | Concatenate,
    args: list[View],
) -> Value:
    """Return what adds up, or joins, entries at their places."""
    match op:
        case AddAt(axis, positions):
            at = np.take(rows(args[0].shape), as_array(positions), axis)
            return builder.add_at(args[0], args[1], at)
        case AddTied(shape, ties):
            at = np.einsum(rows(shape), [*ties], sorted({*ties}))
            spread = np.broadcast_to(args[1].where, at.shape)
            return builder.add_at(args[0], View(args[1].register, spread), at)
        case SegmentSum(axis, segments, size):
            shape = args[0].shape
            whole = (*shape[:axis], size, *shape[axis + 1 :])
            at = np.take(rows(whole), as_array(segments), axis)
            return builder.add_at(builder.joined([], whole), args[0], at)
        case SparseDot(lines, cols, size):
            values, x = args
            taken = View(x.register, x.where[as_array(cols)])
            terms = builder.elementwise(
                np.multiply, View(values.register, values.where[:, None]), taken
            )
            whole = (size, *x.shape[1:])
            at = rows(whole)[as_array(lines)]
            return builder.add_at(builder.joined([], whole), terms, at)
        case Scatter(positions, size, _, signs):
            found, start = builder.joined([], (size,)), 0
            for where, own in zip(positions, signs or ((1,),) * len(positions), strict=True):
                at = as_array(where)
                for sign, term in zip(own, args[start:], strict=False):
                    flat: Value = View(term.register, term.where.ravel())
                    if sign < 0:
                        flat = builder.elementwise(np.negative, flat)
                    found = builder.add_at(found, flat, at)
                start += len(own)
            return found
        case Concatenate():
            joined = np.cumsum([0, *(x.shape[0] for x in args)])
            shape = (int(joined[-1]), *args[0].shape[1:])
            place = rows(shape)
            parts = [(x, place[a:b]) for x, a, b in zip(args, joined[:-1], joined[1:], strict=True)]
            return builder.joined(list(parts), shape)
