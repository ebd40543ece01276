"""Every op as Python source: on traced values, on plain arrays, and into preallocated memory.

`emit_traceable` writes functions that can be recorded; `emit_new` and `emit_into` write what is
quickest on plain arrays and makes row-major results: methods and ufuncs with `out`, which tracing
refuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainad.ir.array_functions import (
    add_at,
    add_tied,
    add_tied_into,
    indexer_of,
    place,
    scatter,
    scatter_into,
    segment_sum,
    sparse_dot,
)
from chainad.ir.ops import (
    Add,
    AddAt,
    AddTied,
    Broadcast,
    Concatenate,
    Copy,
    Dot,
    Full,
    Jvp,
    Materialize,
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
    Vjp,
)
from chainad.ir.positions import Positions

# In longer rows, NumPy's sum is quicker than a matrix product with ones.
_MAX_MATMUL_SUM_COLUMNS = 64

_UFUNCS: dict[type[Op], str] = {Add: "add", Subtract: "subtract", Multiply: "multiply"}


class Namespace:
    """The objects that generated source names."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.objects: dict[str, Any] = {
            "np": np,
            "add": np.add,
            "subtract": np.subtract,
            "multiply": np.multiply,
            "negative": np.negative,
            "matmul": np.matmul,
            "vecdot": np.vecdot,
            "concatenate": np.concatenate,
            "copyto": np.copyto,
            "add_at": add_at,
            "add_tied": add_tied,
            "add_tied_into": add_tied_into,
            "place": place,
            "scatter": scatter,
            "scatter_into": scatter_into,
            "segment_sum": segment_sum,
            "sparse_dot": sparse_dot,
        }

    def constant(self, value: Any) -> str:
        """Return the name of a new object."""
        name = f"{self.prefix}c{len(self.objects)}"
        self.objects[name] = value
        return name

    def key(self, axis: int, positions: Any) -> str:
        """Return the name of what indexes one axis at positions."""
        return self.constant((slice(None),) * axis + (indexer_of(positions),))


def emit_traceable(op: Op, args: Sequence[str], names: Namespace) -> str:
    """Return an expression that can be recorded."""
    match op:
        case Full(value):
            return names.constant(np.float64(value))
        case Reshape(shape):
            return f"{args[0]}.reshape({shape})"
        case Transpose(order):
            return f"{args[0]}.transpose({order})"
        case Broadcast(shape):
            return f"np.broadcast_to({args[0]}, {shape})"
        case Take(axis, positions):
            return f"{args[0]}[{names.key(axis, positions)}]"
        case Place(axis, positions, size):
            return f"place({args[0]}, {axis}, {names.constant(positions)}, {size})"
        case SegmentSum(axis, segments, size):
            return f"segment_sum({args[0]}, {axis}, {names.constant(segments)}, {size})"
        case Sum(axes):
            return f"np.sum({args[0]}, axis={axes})"
        case Scale(factor):
            return f"negative({args[0]})" if factor == -1 else f"{args[0]} * {factor!r}"
        case Copy():
            return f"np.copy({args[0]})"
        case Add() | Subtract() | Multiply():
            return f"{_UFUNCS[type(op)]}({args[0]}, {args[1]})"
        case AddAt(axis, positions):
            return f"add_at({args[0]}, {axis}, {names.constant(positions)}, {args[1]})"
        case AddTied(shape, ties):
            return f"add_tied({args[0]}, {shape}, {ties}, {args[1]})"
        case MatMul():
            return f"matmul({args[0]}, {args[1]})"
        case SparseDot(rows, cols, size):
            where = f"{names.constant(rows)}, {names.constant(cols)}, {size}"
            return f"sparse_dot({args[0]}, {where}, {args[1]})"
        case Scatter(positions, size, covers, signs):
            where = names.constant(positions)
            return f"scatter({where}, {size}, {covers}, {signs}, {', '.join(args)})"
        case Materialize(shape):
            return f"{args[0]}.materialize().reshape({shape})"
        case Jvp():
            return f"{args[0]}.jvp({args[1]})"
        case Vjp():
            return f"{args[1]}.vjp({args[0]})"
        case Dot():
            return f"vecdot({args[0]}, {args[1]})"
        case Concatenate():
            return f"concatenate(({', '.join(args)},))"
        case Row(index):
            return f"{args[0]}[{index}]"
    raise AssertionError(op)


def emit_new(op: Op, args: Sequence[str], names: Namespace) -> str:
    """Return an expression on plain arrays; elementwise results are row-major."""
    match op:
        case Add() | Subtract() | Multiply():
            return f'{_UFUNCS[type(op)]}({args[0]}, {args[1]}, order="C")'
        case Scale(factor) if factor == -1:
            return f'negative({args[0]}, order="C")'
        case Scale(factor):
            return f'multiply({args[0]}, {factor!r}, order="C")'
        case Take(axis, positions) if not isinstance(positions, range):
            return f'{args[0]}.take({names.constant(indexer_of(positions))}, {axis}, None, "clip")'
        case Copy():
            return f'{args[0]}.copy(order="C")'
    return emit_traceable(op, args, names)


def emit_view(op: Op, array: str, shape: tuple[int, ...], names: Namespace) -> str | None:
    """Return a quicker expression than `emit_new` for a view of an array of known shape, if any."""
    match op:
        case Reshape(new) if (key := _unit_axes_index(shape, new)) is not None:
            return f"{array}[{names.constant(key)}]"
        case Transpose((1, 0)):
            return f"{array}.T"
    return None


def _unit_axes_index(old: tuple[int, ...], new: tuple[int, ...]) -> tuple[Any, ...] | None:
    """Return what to index by to get another shape, if only axes of size 1 come or go."""
    if [n for n in old if n != 1] != [n for n in new if n != 1]:
        return None
    old_key: list[Any] = [0 if n == 1 else slice(None) for n in old]
    key: list[Any] = []
    for n in new:
        if n == 1:
            key.append(None)
            continue
        while old_key[0] == 0:
            key.append(old_key.pop(0))
        key.append(old_key.pop(0))
    return (*key, *old_key, ...)


def emit_into(
    op: Op,
    args: Sequence[str],
    to: str,
    shapes: Sequence[tuple[int, ...] | None],
    in_place: bool,
    names: Namespace,
) -> list[str]:
    """Return lines that write the result into the row-major array named `to`.

    `shapes` are those of the operands, None where they are not known; `in_place` says that `to` is
    the first operand. Empty if the op cannot write into memory.
    """
    match op:
        case Add() | Subtract() | Multiply():
            return [f"{_UFUNCS[type(op)]}({args[0]}, {args[1]}, {to})"]
        case Scale(factor):
            if factor == -1:
                return [f"negative({args[0]}, {to})"]
            return [f"multiply({args[0]}, {factor!r}, {to})"]
        case MatMul():
            return [
                f"{args[0]}.dot({args[1]}, {to})"
                if all(shape is not None and 0 < len(shape) <= 2 for shape in shapes)
                else f"matmul({', '.join(args)}, {to})"
            ]
        case Dot():
            return [f"vecdot({args[0]}, {args[1]}, {to})"]
        case Concatenate():
            return [f"concatenate(({', '.join(args)},), 0, {to})"]
        case Sum(axes):
            return [f"add.reduce({args[0]}, {axes}, None, {to})"]
        case Copy():
            return [f"copyto({to}, {args[0]})"]
        case Take(axis, positions) if not isinstance(positions, range):
            return [
                f'{args[0]}.take({names.constant(indexer_of(positions))}, {axis}, {to}, "clip")'
            ]
        case Place(axis, positions):
            return [f"{to}.fill(0)", f"{to}[{names.key(axis, positions)}] = {args[0]}"]
        case AddAt(axis, positions):
            first = [] if in_place else [f"copyto({to}, {args[0]})"]
            return [*first, f"{to}[{names.key(axis, positions)}] += {args[1]}"]
        case AddTied(shape, ties):
            first = [] if in_place else [f"copyto({to}, {args[0]})"]
            return [*first, f"add_tied_into({to}, {shape}, {ties}, {args[1]})"]
        case Scatter():
            return _emit_scatter(op, args, to, shapes, names)
    return []


def emit_sum_as_matmul(
    op: Op, arg: str, to: str, shape: tuple[int, ...], dtype: np.dtype[Any], names: Namespace
) -> str | None:
    """Return a line that sums a row-major array over its last axis but one, if rows are short.

    NumPy's sum starts a loop for every row, which takes several times as long on short rows, and
    is no more accurate along this axis than BLAS.
    """
    if not isinstance(op, Sum) or op.axes != (len(shape) - 2,) or len(shape) < 2:
        return None
    if dtype.kind != "f" or dtype.itemsize < 4 or not 0 < shape[-1] <= _MAX_MATMUL_SUM_COLUMNS:
        return None
    return f"matmul({names.constant(np.ones(shape[-2], dtype))}, {arg}, {to})"


def _emit_scatter(
    op: Scatter,
    args: Sequence[str],
    to: str,
    shapes: Sequence[tuple[int, ...] | None],
    names: Namespace,
) -> list[str]:
    """Return lines that write regions at strided positions one by one, all others together."""
    lines: list[str] = []
    rest: list[tuple[Positions, tuple[int, ...], Sequence[str]]] = []
    signs = op.signs or ((1,),) * len(op.positions)
    start = 0
    for where, own in zip(op.positions, signs, strict=True):
        end = start + len(own)
        terms, is_1d = (
            args[start:end],
            all(s is not None and len(s) <= 1 for s in shapes[start:end]),
        )
        start = end
        if op.covers and isinstance(where, range) and is_1d:
            lines += _emit_sum(own, terms, f"{to}[{names.constant(indexer_of(where))}]")
        else:
            rest.append((where, own, terms))
    if rest:
        where_, own_ = names.constant(tuple(each[0] for each in rest)), tuple(e[1] for e in rest)
        terms = [x for each in rest for x in each[2]]
        lines.append(f"scatter_into({to}, {where_}, {op.covers}, {own_}, {', '.join(terms)})")
    return lines


def _emit_sum(signs: Sequence[int], terms: Sequence[str], to: str) -> list[str]:
    """Return lines that write a sum of signed terms into the expression `to`."""
    total = terms[0]
    if len(terms) == 1:
        return [f"{to} = {total}" if signs[0] == 1 else f"negative({total}, {to})"]
    if signs[0] == -1:
        total = f"negative({total})"
    calls = ["add" if sign == 1 else "subtract" for sign in signs[1:]]
    for call, term in zip(calls[:-1], terms[1:-1], strict=True):
        total = f"{call}({total}, {term})"
    return [f"{calls[-1]}({total}, {terms[-1]}, {to})"]
