"""Lowers recordings and programs to loops: every call and every op, on views of registers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from chainad.backends.scalar_expressions import loop_template
from chainad.compiler.loops.loop_builder import ABSENT, LoopBuilder, Value, View, row_major
from chainad.compiler.recording.recording import Recording
from chainad.compiler.scalar.scalarize import data_arguments
from chainad.compiler.scalar.symbolic_array import ELEMENTWISE, UFUNCS
from chainad.frontends.numpy.recorder import gradient_stopped
from chainad.ir import array_functions as primitives
from chainad.ir.calls import Call, Input, fill
from chainad.ir.loop_program import Function, LoopProgram
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

# More take numba too long to compile.
_MAX_OPERATIONS = 40_000


def lower_to_loops(
    recording: Recording, program: Program, wants_value: bool
) -> tuple[LoopProgram, list[tuple[int, ...]]]:
    """Return a recording and its program as loops, and the shapes of the results.

    The inputs are the arguments that flow, then the captured arrays of the recording. The results
    are the values of the function (if asked for), then those of the program that are not None.

    Raises
    ------
    NotScalarError
        If something has no form as a loop, or is too large to be worth it.
    """
    if any(guard.kind != "shape" for guard in recording.guards):
        raise NotScalarError("a branch depends on values")
    if len(recording.calls) + len(program.instructions) > _MAX_OPERATIONS:
        raise NotScalarError(f"it takes more than {_MAX_OPERATIONS} operations")
    builder = LoopBuilder()
    values: dict[int, Any] = {}
    for number, flow in data_arguments(recording).items():
        _check_dtype(flow.dtype)
        values[number] = builder.input(flow.shape)
    for number, array in recording.program.constants.items():
        if number in recording.references:
            _check_dtype(array.dtype)
            values[number] = builder.input(array.shape)
        else:
            values[number] = _number(array)
    for i in recording.program.instructions:
        if isinstance(i.op, Call):
            values[i.output] = _called(builder, i.op, [values[k] for k in i.inputs])
    registers = _executed(builder, program, recording.slots, values)
    results: list[Value] = []
    if wants_value:
        results += [values[k] for k in recording.values]
    results += [registers[k] for k in program.outputs if k is not None]
    return builder.program(results), [np.shape(_addresses(x)) for x in results]


def _check_dtype(dtype: Any) -> None:
    if dtype != np.float64:
        raise NotScalarError(f"the arrays are {dtype}")


def _addresses(value: Value) -> Any:
    return value.addresses if isinstance(value, View) else value


# ---------------------------------------------------------------------- calls


def _called(builder: LoopBuilder, call: Call, inputs: Sequence[Any]) -> Any:
    function, name = call.function, call.name
    if call.dtype is None or call.dtype.kind not in "fb":
        raise NotScalarError(f"np.{name} makes {call.dtype}")
    if call.dtype.kind == "f":
        _check_dtype(call.dtype)
    found: Value
    if function in _LOWERED:
        args, kwargs = fill(call.args, inputs), fill(call.kwargs, inputs)
        found = _LOWERED[function](builder, *args, **kwargs)
    elif loop_template(function) is not None and (function in UFUNCS or function in ELEMENTWISE):
        if call.kwargs:
            raise NotScalarError(f"np.{name} with keywords")
        found = builder.elementwise(function, *map(_number, fill(call.args, inputs)))
    elif function in _MOVING:
        found = _moved(builder, call, inputs)
    else:
        raise NotScalarError(f"np.{name}")
    if np.shape(_addresses(found)) != call.shape:
        raise NotScalarError(f"the shape of np.{name} depends on values")
    return found


def _number(value: Any) -> Value:
    """Return an operand as a view, or as a number."""
    if isinstance(value, View):
        return value
    if isinstance(value, (bool, int, float, np.floating, np.integer, np.bool_)):
        return float(value)
    if isinstance(value, np.ndarray) and value.shape == () and value.dtype.kind in "fiub":
        return float(value)
    raise NotScalarError(f"an operand of type {type(value).__name__}")


def _moved(builder: LoopBuilder, call: Call, inputs: Sequence[Any]) -> Value:
    """Run a function that only moves entries on their addresses."""
    moved = [call.args[place] for place in _MOVING[call.function] if place < len(call.args)]
    positions = [k for arg in moved for k in _positions(arg, call)]
    if len(positions) != len(inputs) or not positions:
        raise NotScalarError(f"an index of np.{call.name} depends on values")
    views = {id(x): builder.view(x) for x in inputs}
    # Addresses start from 1, so that zeros that a function inserts are no addresses.
    sizes = (int(x.addresses.max(initial=0)) + 1 for x in views.values())
    bounds = [*pairwise(accumulate(sizes, initial=1))]
    shifted = {
        k: np.where(x.addresses == ABSENT, 0, x.addresses + start)
        for (k, x), (start, _) in zip(views.items(), bounds, strict=True)
    }
    addresses: Any = np.asarray(call(*(shifted[id(x)] for x in inputs)))
    if len(views) == 1:
        (whole,) = views.values()
        return View(whole.register, np.where(addresses == 0, ABSENT, addresses - 1))
    parts: list[tuple[Value, Any]] = []
    targets = row_major(addresses.shape)
    for part, (start, stop) in zip(views.values(), bounds, strict=True):
        own = (addresses >= start) & (addresses < stop)
        parts.append((View(part.register, addresses[own] - start), targets[own]))
    return builder.scatter(parts, addresses.shape)


def _positions(arg: Any, call: Call) -> list[int]:
    """Return the positions of the inputs of an argument that holds nothing else."""
    if isinstance(arg, (list, tuple)):
        return [k for item in arg for k in _positions(item, call)]
    if not isinstance(arg, Input):
        raise NotScalarError(f"np.{call.name} of constants")
    return [arg.position]


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
    x, y = builder.dense_view(a), builder.dense_view(b)
    left = View(x.register, x.addresses[..., None, :])
    found = builder.contract(left, View(y.register, y.addresses[..., :, None]))
    assert isinstance(found, View)
    return View(found.register, found.addresses[..., 0, 0])


def _outer(builder: LoopBuilder, a: Value, b: Value) -> Value:
    x, y = builder.dense_view(a), builder.dense_view(b)
    left = View(x.register, x.addresses.reshape(-1, 1))
    return builder.elementwise(np.multiply, left, View(y.register, y.addresses.ravel()))


def _clip(builder: LoopBuilder, x: Value, low: Any, high: Any) -> Value:
    found = builder.elementwise(np.maximum, x, _number(low))
    return builder.elementwise(np.minimum, found, _number(high))


def _power(builder: LoopBuilder, x: Value, p: Any) -> Value:
    exponent = _number(p)
    if exponent == 2:  # as NumPy does
        return builder.elementwise(np.multiply, x, x)
    return builder.elementwise(np.power, x, exponent)


_LOWERED: dict[Function, Callable[..., Value]] = {
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

# Functions that move entries, with the positions of the arguments whose entries these are.
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
    builder: LoopBuilder, program: Program, slots: Sequence[int | None], values: Mapping[int, Any]
) -> dict[int, Value]:
    """Return the values of all registers of a program."""
    linked = ((k, slots[k]) for k in program.used_slots)
    registers: dict[int, Value] = {k: values[slot] for k, slot in linked if slot is not None}
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
        return _accumulated(builder, op, [builder.dense_view(x) for x in args])
    first = builder.view(args[0])
    return View(first.register, _rearranged(op, first.addresses))


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
