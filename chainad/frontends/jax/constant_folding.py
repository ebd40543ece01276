"""Equations of numbers that are known while f is traced, in NumPy: XLA would compile each of them.

What has no row here is computed by JAX.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from chainad.ir.shapes import Shape

Row: TypeAlias = Callable[..., Any]

# Elementwise equations whose results are rounded as by XLA.
_ELEMENTWISE: dict[str, Row] = {
    "abs": np.abs,
    "add": np.add,
    "ceil": np.ceil,
    "eq": np.equal,
    "floor": np.floor,
    "ge": np.greater_equal,
    "gt": np.greater,
    "le": np.less_equal,
    "lt": np.less,
    "max": np.maximum,
    "min": np.minimum,
    "mul": np.multiply,
    "ne": np.not_equal,
    "neg": np.negative,
    "sign": np.sign,
    "sqrt": np.sqrt,
    "sub": np.subtract,
}


def _broadcast(x: Any, shape: Shape, broadcast_dimensions: Sequence[int], **_: Any) -> Any:
    aligned = [1] * len(shape)
    for axis, n in zip(broadcast_dimensions, x.shape, strict=True):
        aligned[axis] = n
    return np.broadcast_to(x.reshape(aligned), shape)


def _reshape(x: Any, new_sizes: Shape, dimensions: Sequence[int] | None, **_: Any) -> Any:
    return (x if dimensions is None else x.transpose(dimensions)).reshape(new_sizes)


def _slice(x: Any, start_indices: Any, limit_indices: Any, strides: Any) -> Any:
    steps = strides or (1,) * x.ndim
    return x[tuple(map(slice, start_indices, limit_indices, steps))]


def _iota(shape: Shape, dimension: int, **_: Any) -> Any:
    aligned = [n if axis == dimension else 1 for axis, n in enumerate(shape)]
    return np.broadcast_to(np.arange(shape[dimension]).reshape(aligned), shape)


_ROWS: dict[str, Row] = {
    "broadcast_in_dim": _broadcast,
    "concatenate": lambda *xs, dimension: np.concatenate(xs, dimension),
    "convert_element_type": lambda x, **_: x,
    "iota": _iota,
    "reshape": _reshape,
    "rev": lambda x, dimensions: np.flip(x, axis=dimensions),
    "select_n": lambda which, *cases: np.choose(np.asarray(which, np.intp), cases),
    "slice": _slice,
    "squeeze": lambda x, dimensions: np.squeeze(x, tuple(dimensions)),
    "transpose": lambda x, permutation: x.transpose(permutation),
}


def folded(name: str, values: Sequence[Any], params: Any, aval: Any) -> Any | None:
    """Return the result of an equation of known values; None if it has no row.

    `aval` is of the result.
    """
    dtypes = [aval.dtype, *(value.dtype for value in values if hasattr(value, "dtype"))]
    if not all(isinstance(dtype, np.dtype) for dtype in dtypes):  # keys of random numbers
        return None
    given = [np.asarray(value) for value in values]
    if name in _ELEMENTWISE:
        with np.errstate(all="ignore"):
            found = _ELEMENTWISE[name](*given)
    elif name in _ROWS:
        found = _ROWS[name](*given, **params)
    else:
        return None
    return np.asarray(found).astype(aval.dtype)
