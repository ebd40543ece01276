"""Batched arrays: duck arrays with a hidden batch axis, on which recorded calls run unchanged.

A batched array has the shape of one point; the axis of points in front is hidden. Functions whose
kind says what they are on every point run on all points at once; any other function raises
NotBatchableError, and the points are computed one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chainad.backends.numpy.build import build
from chainad.compiler.duck_array import Call, DuckArray
from chainad.compiler.einsum_program import einsum_program
from chainad.errors import ChainadError
from chainad.ir import array_functions as primitives
from chainad.ir import exact_zeros
from chainad.ir.cache import Cache
from chainad.rules.base import kind_of, normalize_axes
from chainad.rules.elementwise import LOGICAL
from chainad.rules.kinds import Accumulation, Einsum, Kind, PiecewiseConstant
from chainad.rules.movement import getitem, sources_of

Points = npt.NDArray[Any]
Function = Callable[..., Any]

# The label of the axis of points.
_POINTS = -1


class NotBatchableError(ChainadError):
    """A call has no batched form."""


class BatchedArray(DuckArray):
    """One array per point, all of one shape and dtype."""

    __slots__ = ("data",)

    error = NotBatchableError

    def __init__(self, data: Points) -> None:
        self.data = data

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape[1:]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.data.dtype

    def knows(self, function: Function, kind: Kind, has_definition: bool) -> bool:
        return not isinstance(kind, PiecewiseConstant)

    def elementwise(self, function: Function, operands: Sequence[Any]) -> BatchedArray:
        return BatchedArray(function(*_aligned(operands)))

    def moved(self, call: Call, operands: Sequence[Any]) -> BatchedArray:
        count = len(operands[0].data)
        one = [x.data[0] if count else np.zeros(x.shape, x.dtype) for x in operands]
        found = np.asarray(call(one))
        if count and len(one) == 1:
            data = operands[0].data
            if not np.may_share_memory(found, one[0]) and not data.flags.c_contiguous:
                data = np.ascontiguousarray(data)  # as a reshape does
                found = np.asarray(call([data[0]]))
            if np.may_share_memory(found, data):
                return BatchedArray(_at_all_points(found, data))
        sources, constants = sources_of(call, [x.shape for x in operands])
        rows = [x.data.reshape(count, x.size) for x in operands]
        flat = rows[0] if len(rows) == 1 else np.concatenate(rows, 1)
        if sources.size == flat.shape[1] and np.array_equal(
            sources.ravel(), np.arange(sources.size)
        ):
            moved = flat.reshape(count, *sources.shape)
        else:
            moved = flat[:, sources] if flat.size else np.zeros((count, *sources.shape))
        is_constant = sources < 0
        if is_constant.any():
            moved = np.where(is_constant, constants, moved)
        return BatchedArray(moved.astype(found.dtype, copy=False))

    def reduced(self, function: Function, x: Any, options: dict[str, Any]) -> BatchedArray:
        data = _data(x)
        rest = {k: v for k, v in options.items() if k != "axis"}
        if any(isinstance(v, (np.ndarray, DuckArray)) for v in rest.values()):
            raise NotBatchableError(f"np.{function.__name__} where a condition holds")
        axes = tuple(k + 1 for k in normalize_axes(options.get("axis"), x.ndim))
        return BatchedArray(np.asarray(function(data, axis=axes, **rest)))

    def accumulated(self, function: Function, x: Any, axis: int) -> BatchedArray:
        kind = kind_of(function)
        assert isinstance(kind, Accumulation)
        return BatchedArray(kind.ufunc.accumulate(_data(x), axis + 1))

    def contracted(
        self, key: Hashable, einsum: Callable[[], Einsum], operands: Any
    ) -> BatchedArray:
        arrays = [x.data if isinstance(x, BatchedArray) else x for x in operands]
        is_batched = tuple([isinstance(x, BatchedArray) for x in operands])
        count = len(self.data)
        run = _contractions.get(
            (key, is_batched, count), lambda: _contraction(einsum(), is_batched, count)
        )
        return BatchedArray(run(arrays))

    def astype(self, dtype: Any) -> BatchedArray:
        return BatchedArray(self.data.astype(dtype))


def _at_all_points(view: Points, data: Points) -> Points:
    """Return the views of all points, of which one shows the memory of the first."""
    shape, strides = (len(data), *view.shape), (data.strides[0], *view.strides)
    if not data.flags.c_contiguous:
        return np.lib.stride_tricks.as_strided(view, shape, strides)
    start = view.__array_interface__["data"][0] - data.__array_interface__["data"][0]
    return np.ndarray(shape, data.dtype, data, start, strides)


_contractions: Cache[Callable[[Sequence[Points]], Points]] = Cache(256, "contractions of stacks")


def _contraction(
    einsum: Einsum, is_batched: Sequence[bool], count: int
) -> Callable[[Sequence[Points]], Points]:
    """Return what contracts arrays, those of every point where they are batched."""
    # A batched operand comes first, so that its points are the rows of a product.
    order = sorted(range(len(is_batched)), key=lambda k: not is_batched[k])
    terms, shapes = [], []
    for k in order:
        _, labels = einsum.operands[k]
        term = [a for a in labels if a is not None]
        terms.append((_POINTS, *term) if is_batched[k] else tuple(term))
        shape = [einsum.sizes[a] for a in term]
        shapes.append((count, *shape) if is_batched[k] else tuple(shape))
    result = (_POINTS, *(a for a in einsum.result if a is not None))
    program = einsum_program(tuple(terms), tuple(shapes), result)
    if program is None:
        raise NotBatchableError("an einsum of a diagonal")
    run = build(program)

    def contracted(arrays: Sequence[Points]) -> Points:
        found: Points = run([arrays[k].reshape(s) for k, s in zip(order, shapes, strict=True)])[0]
        return found

    return contracted


def _aligned(operands: Sequence[Any]) -> list[Any]:
    """Return operands whose point axes are aligned, with the batch axis in front of them."""
    ndims = [x.data.ndim - 1 if isinstance(x, BatchedArray) else np.ndim(x) for x in operands]
    most, found = max(ndims), []
    for x, ndim in zip(operands, ndims, strict=True):
        data = x.data if isinstance(x, BatchedArray) else x
        if isinstance(x, BatchedArray) and ndim < most:
            data = data.reshape(data.shape[0], *(1,) * (most - ndim), *data.shape[1:])
        found.append(data)
    return found


def _data(x: Any) -> Points:
    if not isinstance(x, BatchedArray):
        raise NotBatchableError("only another argument is batched")
    return x.data


def _joined(function: Function) -> Callable[..., BatchedArray]:
    """Return what joins arrays in one call, without looking where their entries go."""

    def join(arrays: Any, axis: int = 0) -> BatchedArray:
        count = next(len(x.data) for x in arrays if isinstance(x, BatchedArray))
        ndim = max(np.ndim(x) for x in arrays) + (function is np.stack)
        data = [
            x.data if isinstance(x, BatchedArray) else np.broadcast_to(x, (count, *np.shape(x)))
            for x in arrays
        ]
        return BatchedArray(function(data, axis=axis % ndim + 1))

    return join


def _item(x: BatchedArray, key: Any) -> BatchedArray:
    """Return an item of every point in one call, where its axes stay where they are."""
    keys = key if isinstance(key, tuple) else (key,)
    n_arrays = sum(not isinstance(k, (int, np.integer, slice, type(None), type(...))) for k in keys)
    # With several arrays, or integers besides one, NumPy may put their axes in front.
    if n_arrays and (n_arrays > 1 or any(isinstance(k, (int, np.integer)) for k in keys)):
        return x.moved(lambda arrays: arrays[0][key], [x])
    return BatchedArray(x.data[(slice(None), *keys)])


def _masked_matmul(a: Any, b: Any, mask_a: Any, mask_b: Any) -> Any:
    """Return a product with exact zeros at every point: vectors are matrices meanwhile."""
    shape = np.broadcast_shapes(np.shape(a)[:-2], np.shape(b)[:-2])
    if np.ndim(a) == 1:
        a, mask_a = (np.reshape(x, (1, -1)) for x in (a, mask_a))
    else:
        shape += np.shape(a)[-2:-1]
    if np.ndim(b) == 1:
        b, mask_b = (np.reshape(x, (-1, 1)) for x in (b, mask_b))
    else:
        shape += np.shape(b)[-1:]
    found = BatchedArray(exact_zeros.masked_matmul(*_aligned((a, b, mask_a, mask_b))))
    return np.reshape(found, shape)


def _bitwise(ufunc: np.ufunc) -> Callable[..., BatchedArray]:
    return lambda *operands: BatchedArray(ufunc(*_aligned(operands)))


BatchedArray.known = {
    **{ufunc: _bitwise(ufunc) for ufunc in LOGICAL if isinstance(ufunc, np.ufunc)},
    getitem: _item,
    np.concatenate: _joined(np.concatenate),
    np.stack: _joined(np.stack),
    primitives.place: lambda x, axis, where, size: BatchedArray(
        primitives.place(_data(x), axis + 1, where, size)
    ),
    exact_zeros.masked_matmul: _masked_matmul,
    primitives.segment_sum: lambda x, axis, segments, size: BatchedArray(
        primitives.segment_sum(_data(x), axis + 1, segments, size)
    ),
}
