"""Batched arrays: duck arrays with a hidden batch axis, on which recorded calls run unchanged.

A batched array has the shape of one point; the axis of points in front is hidden. Functions that
are known to act on every point separately run on all points at once; any other function raises
NotBatchableError, and the points are computed one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from chainad.errors import ChainadError
from chainad.ir import array_functions as primitives
from chainad.rules.base import CONSTANT, RULES, normalize_axes
from chainad.rules.movement import astype, getitem

Points = npt.NDArray[Any]
Function = Callable[..., Any]


class NotBatchableError(ChainadError):
    """A call has no batched form."""


class BatchedArray:
    """One array per point, all of one shape and dtype."""

    __slots__ = ("data",)

    def __init__(self, data: Points) -> None:
        self.data = data

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method == "reduce" and ufunc is np.add:
            return np.sum(*inputs, **kwargs)
        if method != "__call__" or kwargs:
            raise NotBatchableError(f"np.{ufunc.__name__} ({method})")
        if ufunc in _PRODUCTS:
            return BatchedArray(_PRODUCTS[ufunc](*inputs))
        if ufunc.signature is not None or ufunc.nout != 1 or ufunc not in _UFUNCS:
            raise NotBatchableError(f"np.{ufunc.__name__}")
        return BatchedArray(ufunc(*_aligned(inputs)))

    def __array_function__(
        self, func: Function, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if func in _SHAPE_FUNCTIONS:
            return func(np.broadcast_to(0, self.shape), *args[1:], **kwargs)
        if func in _ELEMENTWISE and not kwargs:
            return BatchedArray(func(*_aligned(args)))
        if func in _BATCHED:
            return BatchedArray(_BATCHED[func](*args, **kwargs))
        raise NotBatchableError(getattr(func, "__name__", str(func)))

    # ------------------------------------------------------------ as an array

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape[1:]

    @property
    def ndim(self) -> int:
        return self.data.ndim - 1

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=int))

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.data.dtype

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise NotBatchableError("the values of one point are needed")

    def __len__(self) -> int:
        return self.shape[0]

    def __neg__(self) -> Any:
        return np.negative(self)

    def __bool__(self) -> bool:
        raise NotBatchableError("a branch depends on values")

    def __getitem__(self, key: Any) -> BatchedArray:
        return BatchedArray(_getitem(self, key))

    def reshape(self, *shape: Any) -> BatchedArray:
        return BatchedArray(_reshape(self, shape[0] if len(shape) == 1 else shape))

    def transpose(self, *axes: Any) -> BatchedArray:
        return BatchedArray(_transpose(self, axes[0] if len(axes) == 1 else axes or None))

    def copy(self) -> BatchedArray:
        return self

    def astype(self, dtype: Any) -> BatchedArray:
        return BatchedArray(self.data.astype(dtype))


def _aligned(operands: tuple[Any, ...]) -> list[Any]:
    """Return operands whose point axes are aligned, with the batch axis in front of them."""
    ndim = max(np.ndim(x) for x in operands)
    found = []
    for x in operands:
        if isinstance(x, BatchedArray):
            data = x.data
            found.append(data.reshape(data.shape[0], *(1,) * (ndim - x.ndim), *x.shape))
        else:
            found.append(x)
    return found


def _operator(ufunc: np.ufunc, swapped: bool) -> Callable[[BatchedArray, Any], Any]:
    # A function, since a ufunc is not bound to what it is an attribute of.
    def method(self: BatchedArray, other: Any) -> Any:
        return ufunc(other, self) if swapped else ufunc(self, other)

    return method


for _name, _ufunc in {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.divide,
    "pow": np.power, "matmul": np.matmul, "and": np.bitwise_and, "or": np.bitwise_or,
}.items():  # fmt: skip
    setattr(BatchedArray, f"__{_name}__", _operator(_ufunc, swapped=False))
    setattr(BatchedArray, f"__r{_name}__", _operator(_ufunc, swapped=True))
for _name, _ufunc in {
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "eq": np.equal, "ne": np.not_equal,
}.items():  # fmt: skip
    setattr(BatchedArray, f"__{_name}__", _operator(_ufunc, swapped=False))
BatchedArray.__hash__ = None  # type: ignore[assignment]


# ------------------------------------------------------------------ functions


def _matmul(a: Any, b: Any) -> Points:
    """Return products per point; that of a constant matrix and vectors is one product for all."""
    product: Points
    if not isinstance(a, BatchedArray) and np.ndim(a) == 2 and b.ndim == 1:
        product = np.matmul(b.data, np.transpose(a))
        return product
    if not isinstance(b, BatchedArray) and np.ndim(b) == 2 and a.ndim in (1, 2):
        product = np.matmul(a.data.reshape(-1, a.shape[-1]), b)
        return product.reshape(*a.data.shape[:-1], np.shape(b)[1])
    row, column = np.ndim(a) == 1, np.ndim(b) == 1
    left = _expanded(a, -2) if row else a
    right = _expanded(b, -1) if column else b
    product = np.matmul(*_aligned((left, right)))
    if row:
        product = product[..., 0, :]
    return product[..., 0] if column else product


def _expanded(x: Any, axis: int) -> Any:
    """Return a vector as a matrix of one row or column."""
    data = x.data if isinstance(x, BatchedArray) else np.asarray(x)
    expanded = np.expand_dims(data, axis)
    return BatchedArray(expanded) if isinstance(x, BatchedArray) else expanded


def _vecdot(a: Any, b: Any) -> Points:
    found: Points = np.vecdot(*_aligned((a, b)))
    return found


_PRODUCTS: dict[Function, Callable[..., Points]] = {np.matmul: _matmul, np.vecdot: _vecdot}


def _data(x: Any) -> Points:
    if not isinstance(x, BatchedArray):
        raise NotBatchableError("only another argument is batched")
    return x.data


def _reduced(function: Function) -> Callable[..., Points]:
    def reduce(
        x: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False
    ) -> Points:
        if dtype is not None or out is not None:
            raise NotBatchableError("dtype= or out=")
        data = _data(x)
        axes = tuple(k + 1 for k in normalize_axes(axis, x.ndim))
        found: Points = function(data, axis=axes, keepdims=bool(keepdims))
        return found

    return reduce


def _extreme(function: Function) -> Callable[..., Points]:
    reduce = _reduced(function)
    return lambda x, axis=None, out=None, keepdims=False: reduce(x, axis, None, out, keepdims)


def _reshape(x: Any, shape: Any = None, order: str = "C") -> Points:
    if order != "C":
        raise NotBatchableError("an order other than C")
    data = _data(x)
    wanted = np.reshape(np.broadcast_to(0, x.shape), shape).shape
    return data.reshape(data.shape[0], *wanted)


def _transpose(x: Any, axes: Any = None) -> Points:
    order = range(x.ndim)[::-1] if axes is None else normalize_axes(axes, x.ndim)
    return _data(x).transpose(0, *(k + 1 for k in order))


def _getitem(x: Any, key: Any) -> Points:
    keys = key if isinstance(key, tuple) else (key,)
    if any(isinstance(k, BatchedArray) for k in keys):
        raise NotBatchableError("an index depends on values")
    plain = (int, np.integer, slice, type(None), type(...))
    is_array = [not isinstance(k, plain) for k in keys]
    # With several arrays, or integers besides one, NumPy may put their axes in front.
    has_no_integer = not any(isinstance(k, (int, np.integer)) for k in keys)
    if any(is_array) and not (sum(is_array) == 1 and has_no_integer):
        raise NotBatchableError("an index of several arrays")
    return _data(x)[(slice(None), *keys)]


def _moved(x: Any, source: Any, destination: Any) -> Points:
    sources, targets = normalize_axes(source, x.ndim), normalize_axes(destination, x.ndim)
    return np.moveaxis(_data(x), [k + 1 for k in sources], [k + 1 for k in targets])


def _broadcast_to(x: Any, shape: Any) -> Points:
    sizes = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    data = _data(x)
    expanded = data.reshape(data.shape[0], *(1,) * (len(sizes) - x.ndim), *x.shape)
    return np.broadcast_to(expanded, (data.shape[0], *sizes))


def _joined(function: Function) -> Callable[..., Points]:
    def join(arrays: Any, axis: int = 0) -> Points:
        count = next(len(x.data) for x in arrays if isinstance(x, BatchedArray))
        ndim = max(np.ndim(x) for x in arrays) + (function is np.stack)
        data = [
            x.data if isinstance(x, BatchedArray) else np.broadcast_to(x, (count, *np.shape(x)))
            for x in arrays
        ]
        found: Points = function(data, axis=axis % ndim + 1)
        return found

    return join


def _along(function: Function) -> Callable[..., Points]:
    """Return a function of an array and of axes, shifted past the batch axis."""

    def run(x: Any, axis: Any = None) -> Points:
        axes = tuple(k + 1 for k in normalize_axes(axis, x.ndim))
        found: Points = function(_data(x), axis=axes)
        return found

    return run


def _swapaxes(x: Any, one: int, other: int) -> Points:
    return np.swapaxes(_data(x), one % x.ndim + 1, other % x.ndim + 1)


def _roll(x: Any, shift: Any, axis: Any = None) -> Points:
    if axis is None or np.ndim(axis):
        raise NotBatchableError("np.roll without an axis")
    return np.roll(_data(x), shift, axis % x.ndim + 1)


def _place(x: Any, axis: int, where: Any, size: int) -> Points:
    return primitives.place(_data(x), axis + 1, where, size)


def _segment_sum(x: Any, axis: int, segments: Any, size: int) -> Points:
    return primitives.segment_sum(_data(x), axis + 1, segments, size)


# Ufuncs that have a rule: only these are known to be elementwise.
_UFUNCS: set[Function] = {f for f in (*RULES, *CONSTANT) if isinstance(f, np.ufunc)}
_UFUNCS |= {np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert}
_SHAPE_FUNCTIONS: set[Function] = {np.shape, np.ndim, np.size}
_ELEMENTWISE: set[Function] = {np.where, np.clip, np.real, np.sinc, np.i0}
_BATCHED: dict[Function, Callable[..., Points]] = {
    np.sum: _reduced(np.sum),
    np.mean: _reduced(np.mean),
    np.max: _extreme(np.max),
    np.min: _extreme(np.min),
    np.reshape: _reshape,
    np.transpose: _transpose,
    np.moveaxis: _moved,
    np.broadcast_to: _broadcast_to,
    np.concatenate: _joined(np.concatenate),
    np.stack: _joined(np.stack),
    np.roll: _roll,
    np.flip: _along(np.flip),
    np.swapaxes: _swapaxes,
    np.copy: _data,
    getitem: _getitem,
    astype: lambda x, dtype: _data(x).astype(dtype),
    primitives.place: _place,
    primitives.segment_sum: _segment_sum,
}
