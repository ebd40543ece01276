"""Data movement: functions whose result holds entries of the operands, and constants.

No row needs a formula. The structure of a view (transpose, slice, flip) follows from its strides;
any other function is run once on entry numbers, and its result says where each entry went.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from chainad.ir.array_functions import place, segment_sum, sparse_dot
from chainad.ir.graph import Argument
from chainad.ir.operators import written_as
from chainad.ir.positions import Integers, Positions, as_array
from chainad.ir.shapes import resized
from chainad.rules.base import (
    VIEWS,
    Local,
    Locals,
    arguments_in,
    defined,
    dispatching,
    normalize_axes,
    rule,
)
from chainad.rules.kinds import Conversion, Holomorphic, Movement
from chainad.structure import Arrangement, arrange, identity, reshaped, selection, strided
from chainad.structure.structure import Axis


def movement(
    *functions: Callable[..., Any],
    operands: tuple[int, ...] = (0,),
    nested: bool = False,
    makes_views: bool = False,
) -> None:
    """Register functions that only move, repeat, drop or pad entries of their `operands`."""
    if makes_views:
        VIEWS.update(functions)
    for function in functions:
        rule(function, operands=operands, nested=nested, kind=Movement())(
            locals_of(function, operands)
        )


def locals_of(function: Callable[..., Any], places: tuple[int, ...]) -> Callable[..., Locals]:
    """Return the rule of a function that moves entries, read off its result on entry numbers."""

    def locals_(y: Argument, *args: Any, **kwargs: Any) -> Locals:
        operands = arguments_in([value for k, value in enumerate(args) if k in places])
        if len(operands) != len(arguments_in(args)):
            raise NotImplementedError("an index, shape or condition must not be an array of floats")
        if len(operands) == 1:
            view = _view(function, args, kwargs, operands[0], y)
            if view is not None:
                return {operands[0]: Local(view, None)}
        source = entry_numbers(function, args, kwargs, operands)
        assert source.shape == y.shape, (function, source.shape, y.shape)
        starts = np.cumsum([1, *(x.size for x in operands)])[:-1]
        return {
            x: Local(selection(source - start, x.shape), None)
            for x, start in zip(operands, starts, strict=True)
            if x.traced
        }

    return locals_


def entry_numbers(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    operands: list[Argument],
) -> Integers:
    """Call a function with the entries of all operands numbered from one, constants as zeros."""
    numbers: dict[int, Integers] = {}
    start = 1
    for x in operands:
        if x.traced:
            numbers[x.number] = np.arange(start, start + x.size).reshape(x.shape)
        else:
            numbers[x.number] = np.zeros(x.shape, np.int64)
        start += x.size
    # Entry numbers stay integers, whatever dtype the result should have.
    options = {k: v for k, v in kwargs.items() if k not in ("dtype", "casting")}
    return np.asarray(_call_with(function, args, options, numbers))


def sources_of(
    call: Callable[[Sequence[Any]], Any], shapes: Sequence[tuple[int, ...]]
) -> tuple[Integers, npt.NDArray[Any]]:
    """Return where the entries come from in a call that moves those of arrays of some shapes.

    `sources` has their numbers, those of all arrays one after the other; -1 where the second array
    has a constant of the call.
    """
    total = sum(prod(shape) for shape in shapes)
    # What moves with the numbers of the entries is an entry.
    first, second = (np.asarray(call(_numbered(shapes, start))) for start in (0.0, float(total)))
    with np.errstate(invalid="ignore"):  # of infinite constants
        is_entry = (second - first == total) & (total > 0)
    return np.where(is_entry, first, -1).astype(np.intp), np.where(is_entry, 0.0, first)


def _numbered(shapes: Sequence[tuple[int, ...]], start: float) -> list[npt.NDArray[Any]]:
    found = []
    for shape in shapes:
        found.append(np.arange(start, start + prod(shape)).reshape(shape))
        start += prod(shape)
    return found


def _call_with(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    arrays: dict[int, Any],
) -> Any:
    def fill(value: Any) -> Any:
        if isinstance(value, Argument):
            return arrays.get(value.number)
        if isinstance(value, (list, tuple)):
            return type(value)(map(fill, value))
        return value

    return function(*map(fill, args), **{k: fill(v) for k, v in kwargs.items()})


def _view(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    x: Argument,
    y: Argument,
) -> Arrangement | None:
    """Return the structure of a call that makes a view of x, as its strides tell; else None."""
    if x.size == 0 or y.size == 0 or not x.traced:
        return None
    whole = np.empty(x.shape, np.int8)  # one byte per entry, so that addresses are entry numbers
    view = _call_with(function, args, kwargs, {x.number: whole})
    if not isinstance(view, np.ndarray) or not np.may_share_memory(view, whole):
        return None
    address = view.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
    return strided(address, view.strides, view.shape, x.shape)


@written_as("{0}[{1}]")
def getitem(x: Any, key: Any) -> Any:
    """Return x[key]; what indexing a traced array records."""
    return x[key]


def flat_index(key: Any, shape: tuple[int, ...]) -> int | None:
    """Return which entry of an array of a shape x[key] is, where the key is of integers alone."""
    index = key if isinstance(key, tuple) else (key,)
    if len(index) != len(shape) or not all(map(_is_integer, index)):
        return None
    flat = 0
    for i, n in zip(index, shape, strict=True):
        flat = flat * n + (int(i) + n if i < 0 else int(i))
    return flat


def _is_integer(index: Any) -> bool:
    if isinstance(index, np.ndarray | np.integer):
        return index.ndim == 0 and index.dtype.kind in "iu"
    return type(index) is int


@dispatching
def set_items(x: Any, keys: tuple[Any, ...], values: Sequence[Any]) -> Any:
    """Return a copy of x after x[key] = value, one after the other; what a write records."""
    # Symbols in the place of numbers are objects; x may be a constant nevertheless.
    arrays = [np.asarray(value) for value in values]
    has_symbols = any(value.dtype.char == "O" for value in arrays)
    result = np.array(x, dtype=object if has_symbols else None)
    for key, value in zip(keys, arrays, strict=True):
        result[key] = value[()]
    return result


@written_as("{0}.astype({1})")
def astype(x: Any, dtype: Any) -> Any:
    """Return x.astype(dtype); what that method records."""
    return x.astype(dtype)


@rule(np.reshape, kind=Movement())
def _reshape(
    y: Argument, x: Argument, shape: Any = None, order: str = "C", *, copy: Any = None
) -> Locals:
    _check_order(order)
    found = reshaped(x.shape, y.shape) if order == "C" else None
    if found is None:
        numbers = np.reshape(
            np.arange(x.size).reshape(x.shape), y.shape, "F" if order == "F" else "C"
        )
        found = selection(numbers, x.shape)
    return {x: Local(found, None)}


@defined(np.ravel)
def _ravel(a: Any, order: str = "C") -> Any:
    _check_order(order)
    function: Callable[..., Any] = np.reshape
    flags = getattr(a, "flags", None)
    if flags is not None and not (flags.c_contiguous if order == "C" else flags.f_contiguous):
        a = np.copy(a)  # only of a contiguous array is the result a view
    return function(a, -1, order=order)


def _check_order(order: str) -> None:
    if order not in ("C", "F"):
        raise NotImplementedError(
            f"order={order!r} depends on how the array lies in memory; use 'C' or 'F'"
        )


defined(np.astype)(lambda x, dtype, /, *, copy=True, device=None: x.astype(dtype))


@rule(astype, kind=Conversion())
@rule(np.copy, kind=Movement())
def _copy(y: Argument, x: Argument, *args: Any, **kwargs: Any) -> Locals:
    if y.dtype.kind not in "fc":
        raise NotImplementedError(
            f"a conversion to {y.dtype} cuts the derivative;"
            " say so with chainad.stop_gradient(x), or use np.floor, np.round and the like"
        )
    return {x: Local(Arrangement(identity(y.shape), ()), None)}


@defined(np.real_if_close)
def _real_if_close(a: Any, tol: float = 100) -> Any:
    if np.iscomplexobj(a):
        raise NotImplementedError("whether the result is complex depends on values; say z.real")
    return a


@rule(segment_sum, kind=Holomorphic())
def _segment_sum(y: Argument, x: Argument, axis: int, segments: Positions, size: int) -> Locals:
    cols = [Axis(n, (k,)) for k, n in enumerate(x.shape)]
    rows = [Axis(n, (k,), segments if k == axis else None) for k, n in enumerate(y.shape)]
    return {x: Local(arrange(rows, cols, dict(enumerate(x.shape)), scale=1), None)}


@rule(sparse_dot, operands=(0, 4), kind=Holomorphic())
def _sparse_dot(
    y: Argument, values: Argument, rows: Positions, cols: Positions, size: int, x: Argument
) -> Locals:
    # Label 0 runs through the entries of the matrix, label 1 through the columns of x.
    out = [Axis(size, (0,), rows), Axis(x.shape[1], (1,))]
    sizes = {0: len(rows), 1: x.shape[1]}
    found: dict[Argument, Local | tuple[Local, ...] | None] = {}
    if values.traced:
        inner = [Axis(len(rows), (0,))]
        arrangement = arrange(out, inner, sizes, (0, 1))
        found[values] = Local(arrangement, lambda y, values, x: x[as_array(cols)])
    if x.traced:
        inner = [Axis(x.shape[0], (0,), cols), Axis(x.shape[1], (1,))]
        found[x] = Local(arrange(out, inner, sizes, (0,)), lambda y, values, x: values)
    return found


movement(
    np.transpose,
    np.matrix_transpose,
    np.swapaxes,
    np.moveaxis,
    np.rollaxis,
    np.expand_dims,
    np.squeeze,
    np.broadcast_to,
    np.atleast_1d,
    np.atleast_2d,
    np.atleast_3d,
    np.diagonal,
    np.diag,
    np.flip,
    np.fliplr,
    np.flipud,
    np.rot90,
    np.linalg.diagonal,
    np.linalg.matrix_transpose,
    np.lib.stride_tricks.sliding_window_view,
    makes_views=True,
)
VIEWS |= {np.reshape, np.ravel, np.asarray, np.asanyarray, np.ascontiguousarray}
movement(
    getitem,
    place,
    np.diagflat,
    np.tile,
    np.repeat,
    np.take,
    np.take_along_axis,
    np.delete,
    np.resize,
    np.tril,
    np.triu,
)
movement(np.compress, np.extract, operands=(1,))
movement(np.append, operands=(0, 1))
movement(set_items, operands=(0, 2), nested=True)
movement(np.insert, operands=(0, 2))
movement(
    np.stack,
    np.vstack,
    np.hstack,
    np.dstack,
    np.column_stack,
    nested=True,
)


# -------------------------------------------------------- joining and rolling


@rule(np.concatenate, nested=True, kind=Movement())
def _concatenate(
    y: Argument, arrays: Any, axis: Any = 0, dtype: Any = None, casting: Any = None
) -> Locals:
    if axis is None or isinstance(arrays, Argument):
        return locals_of(np.concatenate, (0,))(y, arrays, axis)
    at = normalize_axes(axis, y.ndim)[0]
    found: dict[Argument, Local | tuple[Local, ...] | None] = {}
    start = 0
    for x in arrays:
        n = x.shape[at]
        if x.traced:
            rows = [Axis(m, (k,)) for k, m in enumerate(y.shape)]
            rows[at] = Axis(y.shape[at], (at,), range(start, start + n))
            found[x] = piece(rows, [Axis(m, (k,)) for k, m in enumerate(x.shape)], x.shape)
        start += n
    return found


@rule(np.roll, kind=Movement())
def _roll(y: Argument, x: Argument, shift: Any, axis: Any = None) -> Locals:
    if axis is None or np.ndim(shift) or np.ndim(axis) or x.size == 0:
        return locals_of(np.roll, (0,))(y, x, shift, axis)
    at = normalize_axes(axis, x.ndim)[0]
    n = x.shape[at]
    ahead = int(shift) % n
    found = []
    # What is shifted out at the end comes in again in front.
    for start, count, to in ((0, n - ahead, ahead), (n - ahead, ahead, 0)):
        rows, cols = ([Axis(m, (k,)) for k, m in enumerate(x.shape)] for _ in range(2))
        rows[at] = Axis(n, (at,), range(to, to + count))
        cols[at] = Axis(n, (at,), range(start, start + count))
        if count:
            found.append(piece(rows, cols, resized(x.shape, at, count)))
    return {x: tuple(found)}


def piece(rows: Sequence[Axis], cols: Sequence[Axis], sizes: Sequence[int]) -> Local:
    """Return the local Jacobian that selects entries, in axes with labels of some sizes."""
    return Local(arrange(rows, cols, dict(enumerate(sizes)), scale=1), None)
