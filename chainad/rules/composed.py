"""Functions written in terms of others: sorting, splitting, grids, differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainad.ir.positions import Integers
from chainad.rules.base import available, constant, defined
from chainad.rules.kinds import PiecewiseConstant, ShapeQuery
from chainad.rules.reduction import in_dtype, join_axes, keep_reduced


@defined(np.sort)
def _sort(
    a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None
) -> Any:
    if axis is None:
        a, axis = np.ravel(a), -1
    return np.take_along_axis(a, np.argsort(a, axis=axis, kind="stable"), axis=axis)


@defined(np.block, nested=True)
def _block(arrays: Any) -> Any:
    def depth_of(value: Any) -> int:
        return 1 + depth_of(value[0]) if isinstance(value, list) else 0

    def most(value: Any) -> int:
        return max(map(most, value)) if isinstance(value, list) else np.ndim(value)

    depth = depth_of(arrays)
    ndim = max(depth, most(arrays))

    def assemble(value: Any, level: int) -> Any:
        if not isinstance(value, list):
            return np.reshape(value, (1,) * (ndim - np.ndim(value)) + np.shape(value))
        return np.concatenate([assemble(v, level + 1) for v in value], axis=level - depth)

    return assemble(arrays, 0)


@defined(np.full_like)
def _full_like(a: Any, fill_value: Any, dtype: Any = None, **kwargs: Any) -> Any:
    ones = np.ones_like(a, dtype, **kwargs)
    if ones.dtype.kind != "f":
        raise NotImplementedError(
            f"the result is of dtype {ones.dtype}, which cuts the derivative; pass dtype=float"
        )
    return (np.broadcast_to(fill_value, np.shape(ones)) * ones).astype(ones.dtype)


@defined(np.diff)
def _diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    if n < 0:
        raise ValueError(f"order must be non-negative but got {n!r}")
    ends = [x for x in (prepend, a, append) if x is not None]
    if len(ends) > 1 and n:
        shape = [1 if k == axis % np.ndim(a) else size for k, size in enumerate(np.shape(a))]
        a = np.concatenate(
            [x if np.ndim(x) else np.broadcast_to(x, shape) for x in ends], axis=axis
        )
    for _ in range(n):
        a = np.moveaxis(a, axis, 0)
        a = np.moveaxis(a[1:] - a[:-1], 0, axis)
    return a


@defined(np.median)
def _median(
    a: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False, keepdims: Any = False
) -> Any:
    if not isinstance(axis, (int, np.integer)):
        return keep_reduced(np.median(join_axes(a, axis), axis=-1), a, axis, keepdims)
    front = np.moveaxis(np.sort(a, axis=axis), axis, 0)
    n = np.shape(front)[0]
    middle = np.mean(front[(n - 1) // 2 : n // 2 + 1], axis=0)
    # NaN is sorted to the end.
    middle = middle * np.where(np.isnan(front[-1]), np.nan, 1.0).astype(a.dtype)
    return keep_reduced(middle, a, axis, keepdims)


@defined(np.array_split)
def _array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    return _parts(ary, np.array_split(np.arange(np.shape(ary)[axis]), indices_or_sections), axis)


def _parts(x: Any, numbers: Sequence[Integers], axis: int) -> list[Any]:
    """Return views of consecutive places along an axis."""
    front = (slice(None),) * (axis % np.ndim(x))
    ends = [(part[0], part[-1] + 1) if part.size else (0, 0) for part in numbers]
    return [x[(*front, slice(start, stop))] for start, stop in ends]


@defined(np.split)
def _split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    return _parts(ary, np.split(np.arange(np.shape(ary)[axis]), indices_or_sections), axis)


@defined(np.hsplit)
def _hsplit(ary: Any, indices_or_sections: Any) -> Any:
    return np.split(ary, indices_or_sections, axis=0 if np.ndim(ary) == 1 else 1)


defined(np.vsplit)(lambda ary, indices_or_sections: np.split(ary, indices_or_sections, axis=0))
defined(np.dsplit)(lambda ary, indices_or_sections: np.split(ary, indices_or_sections, axis=2))


@defined(np.broadcast_arrays)
def _broadcast_arrays(*args: Any) -> Any:
    shape = np.broadcast_shapes(*map(np.shape, args))
    return tuple(np.broadcast_to(x, shape) for x in args)


@defined(np.ediff1d)
def _ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    parts = [to_begin, np.diff(np.ravel(ary)), to_end]
    given = [np.ravel(part) for part in parts if part is not None]
    return given[0] if len(given) == 1 else np.concatenate(given).astype(ary.dtype)


@defined(np.select, nested=True)
def _select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    result = default
    for condition, choice in zip(condlist[::-1], choicelist[::-1], strict=True):
        result = np.where(condition, choice, result)
    return result


@defined(np.linspace)
def _linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    precision = np.result_type(start, stop, 1.0)
    weights = np.linspace(0.0, 1.0, num, endpoint, dtype=precision)
    weights = np.reshape(weights, (-1, *(1,) * max(np.ndim(start), np.ndim(stop))))
    # Weights for both ends, so that these are met exactly.
    found = np.multiply(start, 1 - weights) + np.multiply(stop, weights)
    found = np.moveaxis(in_dtype(found, dtype), 0, axis)
    count = num - 1 if endpoint else num
    step = np.subtract(stop, start) / count if count else np.nan
    return (found, step) if retstep else found


defined(*available(np, "unstack"))(lambda x, *, axis=0: tuple(np.moveaxis(x, axis, 0)))


@defined(np.meshgrid)
def _meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> Any:
    function: Callable[..., Any] = np.meshgrid
    shapes = function(*(np.empty(np.size(x)) for x in xi), indexing=indexing, sparse=True)
    columns = tuple(np.reshape(x, shape.shape) for x, shape in zip(xi, shapes, strict=True))
    return columns if sparse else np.broadcast_arrays(*columns)


constant(
    np.shape,
    np.ndim,
    np.size,
    np.result_type,
    np.iscomplexobj,
    np.isrealobj,
    np.can_cast,
    np.common_type,
    np.may_share_memory,
    np.shares_memory,
    np.isscalar,
    np.triu_indices_from,
    np.tril_indices_from,
    np.diag_indices_from,
    kind=ShapeQuery(),
)
constant(np.array_repr, np.array_str, np.array2string, kind=ShapeQuery(is_text=True))
constant(np.round, np.around, np.fix, np.imag, np.isin, kind=PiecewiseConstant())
constant(np.min_scalar_type, np.unravel_index)
