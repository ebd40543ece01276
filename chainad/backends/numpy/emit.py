"""Every op as Python source: on traced values, on plain arrays, and into preallocated memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from chainad.backends.namespace import Namespace
from chainad.ir import ops
from chainad.ir.array_functions import indexer_of
from chainad.ir.calls import Call, Input, has_inputs
from chainad.ir.fused_loops import Empty, QuietCall, RunLoops
from chainad.ir.op import Op
from chainad.ir.operators import TEMPLATES
from chainad.ir.positions import Positions, join
from chainad.ir.shapes import Shape, broadcast_shape

# In longer rows, NumPy's sum is quicker than a matrix product with ones.
_MAX_MATMUL_SUM_COLUMNS = 64

# Of a smaller outer product, it is the call that takes time.
_MIN_OUTER_ELEMENTS = 4096

# Sums and products below this cannot overflow, in float32 either.
MAX_SAFE_MAGNITUDE = 1e30

# With a 0-d array of the same dtype, these give what they give with a Python number.
_DTYPE_PRESERVING = (np.add, np.subtract, np.multiply, np.divide)


class Emitter(NamedTuple):
    """How an op is written: the three fields of a row of `EMIT`.

    Attributes
    ----------
    standard : callable
        From the op, a namespace and the names of the operands to an expression of functions of the
        array API standard and of `array_functions`: it can be recorded, and runs on the arrays of
        any library whose functions the namespace has.
    new : callable, optional
        The same, where there is a quicker expression on plain arrays of NumPy, or one that makes
        the result row-major: methods and ufuncs with `order`, which tracing refuses.
    into : callable, optional
        From the op, a namespace, the name of a row-major array, the shapes of the operands (None
        where not known) and their names to lines that write the result into the array. An op that
        accumulates finds its first operand there.
    """

    standard: Callable[..., str]
    new: Callable[..., str] | None = None
    into: Callable[..., list[str]] | None = None


def emit_standard(op: Op, args: Sequence[str], names: Namespace) -> str:
    """Return an expression that can be recorded, and runs on the arrays of any library."""
    return EMIT[type(op)].standard(op, names, *args)


def emit_new(op: Op, args: Sequence[str], names: Namespace) -> str:
    """Return an expression on plain arrays; elementwise results are row-major."""
    row = EMIT[type(op)]
    return (row.new or row.standard)(op, names, *args)


def can_write_into(op: Op) -> bool:
    """Return whether the result of an op can be written into memory that is there."""
    if isinstance(op, QuietCall):
        return op.takes_out
    return EMIT[type(op)].into is not None and not (isinstance(op, ops.Take) and op.is_view)


def emit_into(
    op: Op,
    args: Sequence[str],
    to: str,
    shapes: Sequence[Shape | None],
    in_place: bool,
    names: Namespace,
) -> list[str]:
    """Return lines that write the result into the row-major array named `to`.

    `shapes` are those of the operands, None where they are not known; `in_place` says that `to` is
    the first operand.
    """
    write = EMIT[type(op)].into
    assert write is not None
    must_copy = isinstance(op, ops.Accumulate) and not in_place
    first = [f"copyto({to}, {args[0]})"] if must_copy else []
    return first + write(op, names, to, shapes, *args)


def emit_view(op: Op, array: str, shape: Shape, names: Namespace) -> str | None:
    """Return a quicker expression than `emit_new` for a view of an array of known shape, if any."""
    match op:
        case ops.Reshape(new) if (key := _unit_axes_index(shape, new)) is not None:
            return f"{array}[{names.constant(key)}]"
        case ops.Transpose((1, 0)):
            return f"{array}.T"
    return None


def view_call(op: Op) -> str:
    """Return the method call that makes a view: a transpose, or another shape."""
    if isinstance(op, ops.Transpose):
        return f".transpose({op.order})"
    assert isinstance(op, ops.Reshape)
    return f".reshape({op.shape})"


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


def emit_sum_as_matmul(
    op: Op, arg: str, to: str, shape: tuple[int, ...], dtype: np.dtype[Any], names: Namespace
) -> str | None:
    """Return a line that sums a row-major array over its last axis but one, if rows are short.

    NumPy's sum starts a loop for every row, which takes several times as long on short rows, and
    is no more accurate along this axis than BLAS.
    """
    if not isinstance(op, ops.Sum) or op.axes != (len(shape) - 2,) or len(shape) < 2:
        return None
    if dtype.kind != "f" or dtype.itemsize < 4 or not 0 < shape[-1] <= _MAX_MATMUL_SUM_COLUMNS:
        return None
    return f"matmul({names.constant(np.ones(shape[-2], dtype))}, {arg}, {to})"


def call_arguments(call: Call, operands: Sequence[str], names: Namespace) -> list[str]:
    """Return the arguments of a call as expressions, given those of its operands.

    Python numbers become 0-d arrays where that makes no difference: NumPy takes half the time.
    """
    is_float = call.dtype in (np.float64, np.float32)
    takes_arrays = call.function in _DTYPE_PRESERVING and is_float and bool(call.shape)
    return [
        names.number(arg, call.dtype)
        if takes_arrays and type(arg) in (int, float) and abs(arg) < MAX_SAFE_MAGNITUDE
        else _argument(arg, operands, names)
        for arg in call.args
    ]


def _argument(value: Any, operands: Sequence[str], names: Namespace) -> str:
    if isinstance(value, Input):
        return operands[value.position]
    if value is None or value is Ellipsis or type(value) in (bool, int, str):
        return "..." if value is Ellipsis else repr(value)
    if type(value) is float and math.isfinite(value):
        return repr(value)
    if not has_inputs(value):
        return names.constant(value)
    if isinstance(value, dict):
        named = (f"{k!r}: {_argument(x, operands, names)}" for k, x in value.items())
        return "{" + ", ".join(named) + "}"
    items = ", ".join(_argument(x, operands, names) for x in value)
    if isinstance(value, list):
        return f"[{items}]"
    return f"({items},)" if len(value) == 1 else f"({items})"


def _call(call: Call, names: Namespace, *operands: str) -> str:
    args = call_arguments(call, operands, names)
    template = TEMPLATES.get(call.function, "")
    if not call.kwargs and template.count("{") == len(args) > 0:
        base = f"({args[0]})" if args[0].startswith("-") else args[0]
        return template.format(base, *args[1:])
    args += [f"{k}={_argument(x, operands, names)}" for k, x in call.kwargs.items()]
    return f"{names.function(call.function)}({', '.join(args)})"


def _ufunc(name: str) -> Emitter:
    return Emitter(
        lambda op, names, x, y: f"{name}({x}, {y})",
        lambda op, names, x, y: f'{name}({x}, {y}, order="C")',
        lambda op, names, to, shapes, x, y: [f"{name}({x}, {y}, {to})"],
    )


def _multiply_into(
    op: ops.Multiply, names: Namespace, to: str, shapes: Sequence[Shape | None], x: str, y: str
) -> list[str]:
    """Return a line that multiplies; outer products by `einsum`, which begins a row sooner.

    Of arrays that broadcast along each other, many short rows are multiplied by one number each.
    """
    one, two = shapes
    if one is not None and two is not None and len(one) == len(two):
        made = broadcast_shape(one, two)
        if made not in (one, two, None) and prod(made) >= _MIN_OUTER_ELEMENTS:
            axes = "abcdefghijklmnopqrstuvwxyz"[: len(one)]
            return [f'np.einsum("{axes},{axes}->{axes}", {x}, {y}, out={to})']
    return [f"multiply({x}, {y}, {to})"]


def _new_scale(op: ops.Scale, names: Namespace, x: str) -> str:
    if op.factor == -1:
        return f'negative({x}, order="C")'
    return f'multiply({x}, {op.factor!r}, order="C")'


def _scale_into(
    op: ops.Scale, names: Namespace, to: str, shapes: Sequence[Shape | None], x: str
) -> list[str]:
    return [f"negative({x}, {to})" if op.factor == -1 else f"multiply({x}, {op.factor!r}, {to})"]


def _take(op: ops.Take, names: Namespace, x: str, to: str = "None") -> str:
    return f'{x}.take({names.constant(indexer_of(op.positions))}, {op.axis}, {to}, "clip")'


def _key(op: ops.Take | ops.Place | ops.AddAt, names: Namespace) -> str:
    """Return the name of what indexes the axis of an op at its positions."""
    return names.constant((slice(None),) * op.axis + (indexer_of(op.positions),))


def _place_into(op: ops.Place, names: Namespace, to: str, x: str) -> str:
    if isinstance(op.positions, range):
        return f"{to}[{_key(op, names)}] = {x}"
    return f"place_into({to}, {op.axis}, {names.constant(op.positions)}, {x})"


def _add_at_into(
    op: ops.AddAt, names: Namespace, to: str, shapes: Sequence[Shape | None], x: str, y: str
) -> list[str]:
    if isinstance(op.positions, range):  # `+=` of a slice would copy it to itself afterwards
        return [f"at = {to}[{_key(op, names)}]", f"add(at, {y}, at)"]
    return [f"add_at_into({to}, {op.axis}, {names.constant(op.positions)}, {y})"]


def _matmul_into(
    op: ops.MatMul, names: Namespace, to: str, shapes: Sequence[Shape | None], x: str, y: str
) -> list[str]:
    if all(shape is not None and 0 < len(shape) <= 2 for shape in shapes):
        return [f"{x}.dot({y}, {to})"]
    return [f"matmul({x}, {y}, {to})"]


def _scatter_into(
    op: ops.Scatter, names: Namespace, to: str, shapes: Sequence[Shape | None], *args: str
) -> list[str]:
    """Return lines that write regions at strided positions one by one, all others together."""
    regions: list[tuple[Positions, tuple[int, ...], Sequence[str]]] = []
    is_strided: list[bool] = []
    start = 0
    for where, own in zip(op.positions, op.signs_by_region, strict=True):
        end = start + len(own)
        regions.append((where, own, args[start:end]))
        is_1d = all(shape is not None and len(shape) <= 1 for shape in shapes[start:end])
        is_strided.append(isinstance(where, range) and is_1d)
        start = end
    lines: list[str] = []
    if not op.covers and all(is_strided):
        return [f"{to}.fill(0)", *_add_strided(regions, op.size, names, to)]
    rest = []
    for (where, own, terms), is_alone in zip(regions, is_strided, strict=True):
        if op.covers and is_alone:
            lines += _sum_into(own, terms, f"{to}[{names.constant(indexer_of(where))}]")
        else:
            rest.append((where, own, terms))
    if rest:
        where_, own_ = names.constant(tuple(each[0] for each in rest)), tuple(e[1] for e in rest)
        terms = tuple(x for each in rest for x in each[2])
        lines.append(f"scatter_into({to}, {where_}, {op.covers}, {own_}, {', '.join(terms)})")
    return lines


def _add_strided(
    regions: Sequence[tuple[Positions, tuple[int, ...], Sequence[str]]],
    size: int,
    names: Namespace,
    to: str,
) -> list[str]:
    """Return lines that add regions at strided positions to zeros."""
    lines: list[str] = []
    for k, (where, signs, terms) in enumerate(regions):
        target = f"{to}[{names.constant(indexer_of(where))}]"
        if not any(len(join(where, other, size)[0]) for other, _, _ in regions[:k]):
            lines += _sum_into(signs, terms, target)
            continue
        if len(terms) > 1:
            lines.append(f"{target} += {_sum(signs[:-1], terms[:-1])}")
        lines.append(f"{target} {'+' if signs[-1] == 1 else '-'}= {terms[-1]}")
    return lines


def _sum_into(signs: Sequence[int], terms: Sequence[str], to: str) -> list[str]:
    """Return lines that write a sum of signed terms into the expression `to`."""
    if len(terms) == 1:
        return [f"{to} = {terms[0]}" if signs[0] == 1 else f"negative({terms[0]}, {to})"]
    call = "add" if signs[-1] == 1 else "subtract"
    return [f"{call}({_sum(signs[:-1], terms[:-1])}, {terms[-1]}, {to})"]


def _sum(signs: Sequence[int], terms: Sequence[str]) -> str:
    """Return an expression for a sum of signed terms."""
    total = terms[0] if signs[0] == 1 else f"negative({terms[0]})"
    for sign, term in zip(signs[1:], terms[1:], strict=True):
        total = f"{'add' if sign == 1 else 'subtract'}({total}, {term})"
    return total


def _run_loops(op: RunLoops, names: Namespace, *arrays: str) -> str:
    """Return a call of machine code: it takes floats, where others take scalars or 0-d arrays."""
    kinds = [*op.loops.operands, *op.loops.results]
    args = [x if kind else f"float({x})" for x, kind in zip(arrays, kinds, strict=True)]
    return f"{names.constant(op.run)}({', '.join(args)})"


EMIT: dict[type[Op], Emitter] = {
    Call: Emitter(_call),
    Empty: Emitter(
        lambda op, names: f"empty({op.shape}, {names.constant(op.dtype)})",
        into=lambda op, names, to, shapes: [],
    ),
    RunLoops: Emitter(_run_loops),
    QuietCall: Emitter(
        lambda op, names, *args: _call(op.call, names, *args),
        into=lambda op, names, to, shapes, *args: [
            f"{names.function(op.call.function)}"
            f"({', '.join([*call_arguments(op.call, args, names), to])})"
        ],
    ),
    ops.Full: Emitter(lambda op, names: names.full(op.value, op.dtype)),
    ops.Reshape: Emitter(
        lambda op, names, x: f"np.reshape({x}, {op.shape})",
        lambda op, names, x: f"{x}.reshape({op.shape})",
        into=lambda op, names, to, shapes, x: [f"copyto({to}.reshape({shapes[0]}), {x})"],
    ),
    ops.Transpose: Emitter(
        lambda op, names, x: f"np.permute_dims({x}, {op.order})",
        lambda op, names, x: f"{x}.transpose({op.order})",
    ),
    ops.Broadcast: Emitter(lambda op, names, x: f"np.broadcast_to({x}, {op.shape})"),
    ops.Row: Emitter(
        lambda op, names, x: f"{x}[{op.index}, ...]", lambda op, names, x: f"{x}[{op.index}]"
    ),
    ops.Copy: Emitter(
        lambda op, names, x: f"copy({x})",
        lambda op, names, x: f'{x}.copy(order="C")',
        lambda op, names, to, shapes, x: [f"copyto({to}, {x})"],
    ),
    ops.Take: Emitter(
        lambda op, names, x: f"take({x}, {op.axis}, {names.indexer(op.positions)})",
        lambda op, names, x: f"{x}[{_key(op, names)}]" if op.is_view else _take(op, names, x),
        lambda op, names, to, shapes, x: [_take(op, names, x, to)],
    ),
    ops.Place: Emitter(
        lambda op, names, x: f"place({x}, {op.axis}, {names.positions(op.positions)}, {op.size})",
        into=lambda op, names, to, shapes, x: [f"{to}.fill(0)", _place_into(op, names, to, x)],
    ),
    ops.Scatter: Emitter(
        lambda op, names, *terms: (
            f"scatter({names.regions(op.positions)}, {op.size}, {op.covers},"
            f" {op.signs}, {', '.join(terms)})"
        ),
        into=_scatter_into,
    ),
    ops.Concatenate: Emitter(
        lambda op, names, *parts: f"np.concat(({', '.join(parts)},))",
        into=lambda op, names, to, shapes, *parts: [f"concatenate(({', '.join(parts)},), 0, {to})"],
    ),
    ops.Add: _ufunc("add"),
    ops.Subtract: _ufunc("subtract"),
    ops.Multiply: _ufunc("multiply")._replace(into=_multiply_into),
    ops.Scale: Emitter(
        lambda op, names, x: f"negative({x})" if op.factor == -1 else f"{x} * {op.factor!r}",
        _new_scale,
        _scale_into,
    ),
    ops.Sum: Emitter(
        lambda op, names, x: f"np.sum({x}, axis={op.axes})",
        lambda op, names, x: f"add.reduce({x}, {op.axes})",
        into=lambda op, names, to, shapes, x: [f"add.reduce({x}, {op.axes}, None, {to})"],
    ),
    ops.SegmentSum: Emitter(
        lambda op, names, x: (
            f"segment_sum({x}, {op.axis}, {names.positions(op.segments)}, {op.size})"
        )
    ),
    ops.AddAt: Emitter(
        lambda op, names, x, y: f"add_at({x}, {op.axis}, {names.positions(op.positions)}, {y})",
        into=_add_at_into,
    ),
    ops.AddTied: Emitter(
        lambda op, names, x, y: f"add_tied({x}, {op.shape}, {op.ties}, {y})",
        into=lambda op, names, to, shapes, x, y: [
            f"add_tied_into({to}, {op.shape}, {op.ties}, {y})"
        ],
    ),
    ops.MatMul: Emitter(lambda op, names, x, y: f"matmul({x}, {y})", into=_matmul_into),
    ops.SymmetricMatMul: Emitter(
        lambda op, names, x, y: f"matmul({x}, {y})",
        lambda op, names, x, y: f"symmetric_matmul({x}, {y}, {op.blocks})",
        lambda op, names, to, shapes, x, y: [f"symmetric_matmul({x}, {y}, {op.blocks}, {to})"],
    ),
    ops.PairMatMul: Emitter(
        lambda op, names, x, y: (
            f"np.permute_dims(matmul(np.permute_dims({x}, (1, 0, 2)), {y}), (1, 0, 2))"
        ),
        lambda op, names, x, y: f"pair_matmul({x}, {y})",
        lambda op, names, to, shapes, x, y: [f"pair_matmul({x}, {y}, {to})"],
    ),
    ops.Dot: Emitter(
        lambda op, names, x, y: f"vecdot({x}, {y})",
        into=lambda op, names, to, shapes, x, y: [f"vecdot({x}, {y}, {to})"],
    ),
    ops.SparseDot: Emitter(
        lambda op, names, x, y: (
            f"sparse_dot({x}, {names.positions(op.rows)}, {names.positions(op.cols)},"
            f" {op.size}, {y})"
        )
    ),
    ops.Materialize: Emitter(lambda op, names, x: f"np.reshape({x}.materialize(), {op.shape})"),
    ops.Jvp: Emitter(lambda op, names, operator, x: f"{operator}.jvp({x})"),
    ops.Vjp: Emitter(lambda op, names, x, operator: f"{operator}.vjp({x})"),
    ops.Ones: Emitter(lambda op, names, x: f"np.ones({x}.shape)"),
    ops.NonZero: Emitter(lambda op, names, x: f"np.where({x} == 0, 0.0, 1.0)"),
    ops.Masked: Emitter(lambda op, names, mask, x: f"np.where({mask} == 0, 0.0, {x})"),
    ops.MaskedMatMul: Emitter(lambda op, names, *args: f"masked_matmul({', '.join(args)})"),
    ops.MaskedJvp: Emitter(lambda op, names, *args: f"masked_jvp({', '.join(args)})"),
    ops.MaskedVjp: Emitter(lambda op, names, *args: f"masked_vjp({', '.join(args)})"),
    ops.SumOfSquares: Emitter(lambda op, names, *args: f"sum_of_squares({', '.join(args)})"),
    ops.AnyAlong: Emitter(lambda op, names, mask, x: f"any_along({mask}, {op.axis}, {x}.shape)"),
}
