"""Symbolic arrays: duck arrays of scalar expressions, on which recorded calls run unchanged.

Elementwise functions make a node per entry. Functions that move, add and multiply entries run on
object arrays of expressions, by NumPy's own loops. Any other function raises NotScalarError.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from chainad.ir import array_functions as primitives
from chainad.ir.positions import as_array
from chainad.ir.scalar_graph import (
    PREDICATES,
    STRUCTURAL_ZERO,
    Expression,
    ExpressionDAG,
    Function,
    NodeId,
    NotScalarError,
    copy_scalar,
)
from chainad.rules.base import CONSTANT, RULES, available, normalize_axes
from chainad.rules.elementwise import polygamma
from chainad.rules.movement import getitem, set_items

Objects = Any  # an object array of expressions


class SymbolicArray:
    """An array of expressions; `dtype` is that of the scalars they stand for."""

    __slots__ = ("dag", "data", "dtype")

    def __init__(self, dag: ExpressionDAG, data: Objects, dtype: np.dtype[Any]) -> None:
        self.dag = dag
        self.data = data
        self.dtype = dtype

    # ------------------------------------------------------------- protocols

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if kwargs.get("out") is not None:
            raise NotScalarError("out= writes into an array")
        if method == "__call__" and not kwargs:
            ufunc = self._logical(ufunc, inputs)
            if ufunc in _PRODUCTS:
                return self._wrap(_PRODUCTS[ufunc](*map(self.objects, inputs)))
            if ufunc.signature is None and ufunc.nout == 1:
                return self._elementwise(ufunc, inputs)
        if method == "reduce" and ufunc is np.add:
            return self._wrap(_reduced(np.sum, self.objects(inputs[0]), **kwargs))
        raise NotScalarError(f"np.{ufunc.__name__} ({method})")

    def __array_function__(
        self, func: Function, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if func in _SHAPE_FUNCTIONS:
            return func(self._objects_in(args[0]), *args[1:], **kwargs)
        if func is np.where and len(args) == 1:
            raise NotScalarError("the places where a condition holds depend on values")
        if func in ELEMENTWISE and not kwargs:
            return self._elementwise(func, args)
        if func in _TRANSLATED:
            return self._wrap(_TRANSLATED[func](self.dag, *self._objects_in(args), **kwargs))
        if func in _ON_OBJECTS:
            named = {k: self._objects_in(v) for k, v in kwargs.items() if k != "dtype"}
            on_objects = _ON_OBJECTS[func]
            return self._wrap(on_objects(*self._objects_in(args), **named))
        raise NotScalarError(getattr(func, "__name__", str(func)))

    def _logical(self, ufunc: np.ufunc, inputs: tuple[Any, ...]) -> np.ufunc:
        """Return the logical function that a bitwise one of booleans is."""
        if ufunc not in _BITWISE:
            return ufunc
        kinds = [np.dtype(getattr(x, "dtype", type(x))).kind for x in inputs]
        if set(kinds) != {"b"}:
            raise NotScalarError(f"np.{ufunc.__name__} of numbers")
        return _BITWISE[ufunc]

    def _elementwise(self, function: Function, operands: tuple[Any, ...]) -> SymbolicArray:
        dag = self.dag
        arrays = np.broadcast_arrays(*map(self.objects, operands))
        found = np.empty(arrays[0].shape, object)
        flat = [a.ravel().tolist() for a in arrays]
        expressions = [
            dag.expression(dag.apply(function, *[x.node for x in group]))
            for group in zip(*flat, strict=True)
        ]
        found[...] = _filled(expressions, arrays[0].shape)
        return SymbolicArray(
            dag, found, np.dtype(bool) if function in PREDICATES else self._float(operands)
        )

    def _float(self, operands: tuple[Any, ...]) -> np.dtype[Any]:
        known = [x.dtype for x in operands if isinstance(x, SymbolicArray) and x.dtype.kind == "f"]
        return known[0] if known else self.dtype if self.dtype.kind == "f" else np.dtype(float)

    def objects(self, value: Any) -> Objects:
        """Return an operand as an object array of expressions."""
        if isinstance(value, SymbolicArray):
            return value.data
        return as_objects(self.dag, value)

    def _objects_in(self, value: Any) -> Any:
        """Replace the symbolic arrays in (nested) arguments by object arrays."""
        if isinstance(value, SymbolicArray):
            return value.data
        if isinstance(value, (list, tuple)):
            return type(value)(map(self._objects_in, value))
        if isinstance(value, dict):
            return {k: self._objects_in(x) for k, x in value.items()}
        return value

    def _wrap(self, found: Any) -> SymbolicArray:
        return symbolic_array(self.dag, found, self.dtype)

    # ------------------------------------------------------------ as an array

    @property
    def shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = self.data.shape
        return shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(self.data.size)

    @property
    def T(self) -> SymbolicArray:
        return self._wrap(self.data.T)

    @property
    def nodes(self) -> list[NodeId]:
        """The nodes of all entries, in row-major order."""
        return [x.node for x in self.data.ravel().tolist()]

    def __len__(self) -> int:
        return len(self.data)

    def __neg__(self) -> Any:
        return np.negative(self)

    def __bool__(self) -> bool:
        raise NotScalarError("a branch depends on values")

    def __getitem__(self, key: Any) -> SymbolicArray:
        return self._wrap(_items(self.data, key))

    def reshape(self, *shape: Any) -> SymbolicArray:
        return self._wrap(self.data.reshape(*shape))

    def transpose(self, *axes: Any) -> SymbolicArray:
        return self._wrap(self.data.transpose(*axes))

    def copy(self) -> SymbolicArray:
        return self

    def stopped(self) -> SymbolicArray:
        """Return the same values as nodes of their own: no functions of the inputs any more."""
        return SymbolicArray(self.dag, _each(self.dag, copy_scalar, self.data), self.dtype)

    def astype(self, dtype: Any, *args: Any, **kwargs: Any) -> SymbolicArray:
        dtype = np.dtype(dtype)
        if dtype == self.dtype:
            return self
        if self.dtype.kind != "b" or dtype.kind != "f":
            raise NotScalarError(f"a conversion from {self.dtype} to {dtype}")
        dag = self.dag
        expressions = [dag.expression(dag.as_float(k)) for k in self.nodes]
        return SymbolicArray(dag, _filled(expressions, self.shape), dtype)


def symbolic_array(dag: ExpressionDAG, found: Any, dtype: np.dtype[Any]) -> SymbolicArray:
    """Return the symbolic array of an object array, of booleans if its nodes are."""
    data = as_objects(dag, found)
    items = data.ravel().tolist()
    if items and all(dag.is_boolean(x.node) for x in items):
        dtype = np.dtype(bool)
    elif dtype.kind == "b":
        dtype = np.dtype(float)
    return SymbolicArray(dag, data, dtype)


def as_objects(dag: ExpressionDAG, value: Any) -> Objects:
    """Return numbers and expressions as an object array of expressions."""
    if isinstance(value, Expression):
        return _filled([value], ())
    array = np.asarray(value)
    if array.dtype.kind not in "fiubO":
        raise NotScalarError(f"an array of dtype {array.dtype}")
    items = [
        x if type(x) is Expression else dag.expression(dag.node(x)) for x in array.ravel().tolist()
    ]
    return _filled(items, array.shape)


def _filled(items: list[Expression], shape: tuple[int, ...]) -> Objects:
    array = np.empty(len(items), object)
    array[:] = items
    return array.reshape(shape)


def _operator(ufunc: np.ufunc, swapped: bool) -> Callable[[SymbolicArray, Any], Any]:
    # A function, since a ufunc is not bound to what it is an attribute of.
    def method(self: SymbolicArray, other: Any) -> Any:
        return ufunc(other, self) if swapped else ufunc(self, other)

    return method


for _name, _ufunc in {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.divide,
    "pow": np.power, "matmul": np.matmul,
}.items():  # fmt: skip
    setattr(SymbolicArray, f"__{_name}__", _operator(_ufunc, swapped=False))
    setattr(SymbolicArray, f"__r{_name}__", _operator(_ufunc, swapped=True))
for _name, _ufunc in {
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "eq": np.equal, "ne": np.not_equal,
}.items():  # fmt: skip
    setattr(SymbolicArray, f"__{_name}__", _operator(_ufunc, swapped=False))
SymbolicArray.__hash__ = None  # type: ignore[assignment]


# ------------------------------------------------------------------ functions

_BITWISE: dict[np.ufunc, np.ufunc] = {
    np.bitwise_and: np.logical_and,
    np.bitwise_or: np.logical_or,
    np.bitwise_xor: np.logical_xor,
    np.invert: np.logical_not,
}

# Functions of shapes alone.
_SHAPE_FUNCTIONS: set[Function] = {np.shape, np.ndim, np.size}

# Elementwise functions that are no ufuncs.
ELEMENTWISE: set[Function] = {
    np.where, np.clip, np.real, polygamma, np.isposinf, np.isneginf,
}  # fmt: skip

# Functions that NumPy runs on object arrays: they move entries, or add and multiply them.
_MOVING: set[Function] = {
    np.reshape, np.transpose, np.matrix_transpose, np.swapaxes, np.moveaxis, np.rollaxis,
    np.expand_dims, np.squeeze, np.broadcast_to, np.atleast_1d, np.atleast_2d, np.atleast_3d,
    np.diagonal, np.diag, np.diagflat, np.tile, np.repeat, np.take, np.take_along_axis, np.delete,
    np.resize, np.flip, np.fliplr, np.flipud, np.rot90, np.tril, np.triu, np.roll, np.pad,
    np.compress, np.extract, np.append, np.insert, np.stack, np.vstack, np.hstack, np.dstack,
    np.column_stack, np.concatenate, np.linalg.diagonal, np.linalg.matrix_transpose, np.ravel,
    np.lib.stride_tricks.sliding_window_view, np.copy, getitem, set_items,
}  # fmt: skip
_MULTIPLYING: set[Function] = {
    np.cumsum, np.dot, np.inner, np.outer, np.tensordot, np.einsum, np.vdot, np.kron, np.diff,
}  # fmt: skip


def _reduced(function: Function, x: Objects, *args: Any, **kwargs: Any) -> Objects:
    """Return a sum or product; NumPy wants an `initial` value for one of some objects only."""
    if "where" in kwargs:
        if np.asarray(kwargs["where"]).dtype != bool:
            raise NotScalarError(f"{function.__name__} where a condition holds")
        kwargs.setdefault("initial", 0 if function is np.sum else 1)
    return function(x, *args, **kwargs)


def _padded(x: Objects, pad_width: Any, mode: Any = "constant", **kwargs: Any) -> Objects:
    if mode not in ("constant", "edge", "reflect", "symmetric", "wrap"):
        raise NotScalarError(f"np.pad with mode={mode!r}")
    return np.pad(x, pad_width, mode, **kwargs)


def _items(x: Objects, key: Any) -> Objects:
    for part in key if isinstance(key, tuple) else (key,):
        if isinstance(part, SymbolicArray) or getattr(part, "dtype", None) == np.dtype(object):
            raise NotScalarError("an index depends on values")
    return getitem(x, key)


_ON_OBJECTS: dict[Function, Callable[..., Objects]] = {
    **{function: function for function in _MOVING | _MULTIPLYING},
    np.sum: partial(_reduced, np.sum),
    np.prod: partial(_reduced, np.prod),
    np.pad: _padded,
    getitem: _items,
}


def _sum_of_products(x: Objects, y: Objects) -> Objects:
    return np.sum(x * y, axis=-1)


_PRODUCTS: dict[Function, Callable[..., Objects]] = {
    np.matmul: np.matmul,
    np.vecdot: _sum_of_products,
    **dict.fromkeys(available(np, "matvec"), lambda a, x: np.matmul(a, x[..., None])[..., 0]),
    **dict.fromkeys(available(np, "vecmat"), lambda x, a: np.matmul(x[..., None, :], a)[..., 0, :]),
}


def _zeros(dag: ExpressionDAG, shape: tuple[int, ...]) -> Objects:
    found = np.empty(shape, object)
    found.fill(dag.expression(STRUCTURAL_ZERO))
    return found


def _place(dag: ExpressionDAG, x: Objects, axis: int, where: Any, size: int) -> Objects:
    found = _zeros(dag, (*x.shape[:axis], size, *x.shape[axis + 1 :]))
    found[(slice(None),) * axis + (primitives.indexer_of(where),)] = x
    return found


def _segment_sum(dag: ExpressionDAG, x: Objects, axis: int, segments: Any, size: int) -> Objects:
    front = np.moveaxis(x, axis, 0)
    found = _zeros(dag, (size, *front.shape[1:]))
    for k, segment in enumerate(as_array(segments)):
        found[segment] = found[segment] + front[k]
    return np.moveaxis(found, 0, axis)


def _sparse_dot(
    dag: ExpressionDAG, values: Any, rows: Any, cols: Any, size: int, x: Any
) -> Objects:
    values, x = as_objects(dag, values), as_objects(dag, x)
    found = _zeros(dag, (size, x.shape[1]))
    for value, row, col in zip(values, as_array(rows), as_array(cols), strict=True):
        found[row] = found[row] + value * x[col]
    return found


def _mean(
    dag: ExpressionDAG, x: Objects, axis: Any = None, dtype: Any = None, out: Any = None,
    keepdims: Any = False,
) -> Objects:  # fmt: skip
    total = np.asarray(np.sum(x, axis=axis, keepdims=bool(keepdims)), object)
    return total / dag.expression(dag.constant(x.size / max(total.size, 1)))


def _deviation(root: bool) -> Callable[..., Objects]:
    def deviation(
        dag: ExpressionDAG, x: Objects, axis: Any = None, dtype: Any = None, out: Any = None,
        ddof: Any = 0, keepdims: Any = False, *, correction: Any = None,
    ) -> Objects:  # fmt: skip
        centred = x - _mean(dag, x, axis, keepdims=True)
        total = np.asarray(np.sum(centred * centred, axis=axis, keepdims=bool(keepdims)), object)
        count = x.size / max(total.size, 1) - (ddof if correction is None else correction)
        found = total / dag.expression(dag.constant(count))
        return _each(dag, np.sqrt, found) if root else found

    return deviation


def _norm(
    dag: ExpressionDAG, x: Objects, ord: Any = None, axis: Any = None, keepdims: Any = False
) -> Objects:
    if not (ord is None or (ord == "fro" and x.ndim == 2) or (ord == 2 and _is_vector(x, axis))):
        raise NotScalarError(f"np.linalg.norm with ord={ord!r}")
    return _each(dag, np.sqrt, np.sum(x * x, axis=axis, keepdims=bool(keepdims)))


def _is_vector(x: Objects, axis: Any) -> bool:
    return (axis is None and x.ndim == 1) or isinstance(axis, (int, np.integer))


def _each(dag: ExpressionDAG, function: Function, x: Any) -> Objects:
    array = as_objects(dag, x)
    items = [dag.expression(dag.apply(function, e.node)) for e in array.ravel().tolist()]
    return _filled(items, array.shape)


def _extreme(function: np.ufunc, first: bool | None = None) -> Callable[..., Objects]:
    """Return a reduction; that of no entries is `first`, unless `initial` is given."""

    def extreme(
        dag: ExpressionDAG, x: Objects, axis: Any = None, out: Any = None, keepdims: Any = False,
        initial: Any = first, where: Any = True,
    ) -> Objects:  # fmt: skip
        if where is not True:
            raise NotScalarError(f"np.{function.__name__} where a condition holds")

        def larger(a: Expression, b: Expression) -> Expression:
            return dag.expression(dag.apply(function, a.node, b.node))

        pairwise: Any = np.frompyfunc(larger, 2, 1)
        axes = normalize_axes(axis, x.ndim)
        if initial is not None and any(x.shape[k] == 0 for k in axes):
            shape = tuple(1 if k in axes else n for k, n in enumerate(x.shape))
            x, initial = np.broadcast_to(as_objects(dag, initial), shape), None
        for k in axes:  # such a function is reduced along one axis at a time
            x = pairwise.reduce(x, axis=k, keepdims=True)
        if initial is not None and initial is not first:
            x = pairwise(x, as_objects(dag, initial))
        return x if keepdims else np.squeeze(x, axes)

    return extreme


_TRANSLATED: dict[Function, Callable[..., Objects]] = {
    primitives.place: _place,
    primitives.segment_sum: _segment_sum,
    primitives.sparse_dot: _sparse_dot,
    np.mean: _mean,
    np.var: _deviation(root=False),
    np.std: _deviation(root=True),
    np.linalg.norm: _norm,
    np.max: _extreme(np.maximum),
    np.min: _extreme(np.minimum),
    np.amax: _extreme(np.maximum),
    np.amin: _extreme(np.minimum),
    np.any: _extreme(np.logical_or, first=False),
    np.all: _extreme(np.logical_and, first=True),
}

# Ufuncs that have a rule: only these are known to be elementwise.
UFUNCS: set[Function] = {*_BITWISE, *(f for f in (*RULES, *CONSTANT) if isinstance(f, np.ufunc))}
