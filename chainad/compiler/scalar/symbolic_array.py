"""Symbolic arrays: duck arrays of scalar expressions, on which recorded calls run unchanged.

Elementwise functions make a node per entry. Functions of the other kinds run on object arrays of
expressions, by NumPy's own loops. What is of no kind and has no definition raises NotScalarError.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from chainad.compiler.duck_array import Call, DuckArray
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
from chainad.rules.base import kind_of, normalize_axes
from chainad.rules.kinds import Accumulation, Conversion, Einsum, Kind, PiecewiseConstant, Reduction

Objects = Any  # an object array of expressions


class SymbolicArray(DuckArray):
    """An array of expressions; `dtype` is that of the scalars they stand for."""

    __slots__ = ("dag", "data", "dtype")

    error = NotScalarError

    def __init__(self, dag: ExpressionDAG, data: Objects, dtype: np.dtype[Any]) -> None:
        self.dag = dag
        self.data = data
        self.dtype = dtype

    @property
    def shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = self.data.shape
        return shape

    @property
    def nodes(self) -> list[NodeId]:
        """The nodes of all entries, in row-major order."""
        return [x.node for x in self.data.ravel().tolist()]

    def knows(self, function: Function, kind: Kind, has_definition: bool) -> bool:
        if isinstance(kind, Reduction):
            return kind.ufunc is not None
        return not (isinstance(kind, PiecewiseConstant | Conversion) or has_definition)

    def elementwise(self, function: Function, operands: Sequence[Any]) -> SymbolicArray:
        dag = self.dag
        arrays = np.broadcast_arrays(*map(self.objects, operands))
        flat = [a.ravel().tolist() for a in arrays]
        expressions = [
            dag.expression(dag.apply(function, *[x.node for x in group]))
            for group in zip(*flat, strict=True)
        ]
        dtype = np.dtype(bool) if function in PREDICATES else self._float(operands)
        return SymbolicArray(dag, _filled(expressions, arrays[0].shape), dtype)

    def moved(self, call: Call, operands: Sequence[Any]) -> SymbolicArray:
        return self._wrap(call([x.data for x in operands]))

    def reduced(self, function: Function, x: Any, options: dict[str, Any]) -> SymbolicArray:
        kind = kind_of(function)
        assert isinstance(kind, Reduction)
        assert kind.ufunc is not None
        options = {"axis": None, **options}
        options.pop("dtype", None)
        if "initial" in options:
            options["initial"] = self.objects(options["initial"]).item()
        if "where" in options and np.asarray(options["where"]).dtype != bool:
            raise NotScalarError(f"np.{function.__name__} where a condition holds")
        reduce = kind.ufunc.reduce if kind.ufunc in _ON_OBJECTS else _reduce(self.dag, kind.ufunc)
        if "where" in options:  # NumPy wants to know what it starts from
            options = {"initial": kind.ufunc.identity, **options}
        return self._wrap(reduce(self.objects(x), **options))

    def accumulated(self, function: Function, x: Any, axis: int) -> SymbolicArray:
        kind = kind_of(function)
        assert isinstance(kind, Accumulation)
        return self._wrap(kind.ufunc.accumulate(self.objects(x), axis))

    def contracted(
        self, key: Hashable, einsum: Callable[[], Einsum], operands: Any
    ) -> SymbolicArray:
        found, objects = einsum(), [self.objects(x) for x in operands]
        # Half of the products at least are expected to differ from each other.
        if prod(found.sizes.values()) > 2 * self.dag.max_nodes:
            self.dag.check(int(found.evaluate(list(map(_is_nonzero, objects))).sum()) // 2)
        return self._wrap(found.evaluate(objects))

    def _float(self, operands: Sequence[Any]) -> np.dtype[Any]:
        known = [x.dtype for x in operands if isinstance(x, SymbolicArray) and x.dtype.kind == "f"]
        return known[0] if known else self.dtype if self.dtype.kind == "f" else np.dtype(float)

    def objects(self, value: Any) -> Objects:
        """Return an operand as an object array of expressions."""
        return value.data if isinstance(value, SymbolicArray) else as_objects(self.dag, value)

    def _wrap(self, found: Any) -> SymbolicArray:
        return symbolic_array(self.dag, found, self.dtype)

    def stopped(self) -> SymbolicArray:
        """Return the same values as nodes of their own: no functions of the inputs any more."""
        dag = self.dag
        found = [dag.expression(dag.apply(copy_scalar, k)) for k in self.nodes]
        return SymbolicArray(dag, _filled(found, self.shape), self.dtype)

    def astype(self, dtype: Any, *args: Any, **kwargs: Any) -> SymbolicArray:
        dtype = np.dtype(dtype)
        if dtype == self.dtype:
            return self
        if self.dtype.kind != "b" or dtype.kind != "f":
            raise NotScalarError(f"a conversion from {self.dtype} to {dtype}")
        dag = self.dag
        expressions = [dag.expression(dag.as_float(k)) for k in self.nodes]
        return SymbolicArray(dag, _filled(expressions, self.shape), dtype)


def _is_nonzero(objects: Objects) -> npt.NDArray[np.float64]:
    """Return 1 for expressions that may be other than zero, 0 for zeros."""
    found = [x.dag.values.get(x.node, 1.0) != 0.0 for x in objects.ravel().tolist()]
    return np.array(found, float).reshape(objects.shape)


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


# ------------------------------------------------------------------ functions

# NumPy reduces arrays of objects by these as the operators `+` and `*`.
_ON_OBJECTS = {np.add, np.multiply}


def _reduce(dag: ExpressionDAG, ufunc: np.ufunc) -> Callable[..., Objects]:
    """Return what reduces axes of object arrays by any ufunc."""

    def both(a: Expression, b: Expression) -> Expression:
        return dag.expression(dag.apply(ufunc, a.node, b.node))

    pairwise: Any = np.frompyfunc(both, 2, 1)

    def reduce(
        x: Objects, axis: Any = None, out: Any = None, keepdims: Any = False,
        initial: Any = ufunc.identity, where: Any = True,
    ) -> Objects:  # fmt: skip
        if where is not True:
            raise NotScalarError(f"np.{ufunc.__name__} where a condition holds")
        axes = normalize_axes(axis, x.ndim)
        if initial is not None and any(x.shape[k] == 0 for k in axes):
            shape = tuple(1 if k in axes else n for k, n in enumerate(x.shape))
            x, initial = np.broadcast_to(as_objects(dag, initial), shape), None
        for k in axes:  # such a function is reduced along one axis at a time
            x = pairwise.reduce(x, axis=k, keepdims=True)
        if initial is not None and initial is not ufunc.identity:
            x = pairwise(x, as_objects(dag, initial))
        return x if keepdims else np.squeeze(x, axes)

    return reduce


def _segment_sum(x: SymbolicArray, axis: int, segments: Any, size: int) -> SymbolicArray:
    front = np.moveaxis(x.data, axis, 0)
    found = _zeros(x.dag, (size, *front.shape[1:]))
    for k, segment in enumerate(as_array(segments)):
        found[segment] = found[segment] + front[k]
    return symbolic_array(x.dag, np.moveaxis(found, 0, axis), x.dtype)


def _place(x: SymbolicArray, axis: int, where: Any, size: int) -> SymbolicArray:
    found = _zeros(x.dag, (*x.shape[:axis], size, *x.shape[axis + 1 :]))
    found[(slice(None),) * axis + (primitives.indexer_of(where),)] = x.data
    return symbolic_array(x.dag, found, x.dtype)


def _sparse_dot(values: Any, rows: Any, cols: Any, size: int, x: Any) -> SymbolicArray:
    one = values if isinstance(values, SymbolicArray) else x
    entries, array = one.objects(values), one.objects(x)
    found = _zeros(one.dag, (size, array.shape[1]))
    for value, row, col in zip(entries, as_array(rows), as_array(cols), strict=True):
        found[row] = found[row] + value * array[col]
    return symbolic_array(one.dag, found, one.dtype)


def _zeros(dag: ExpressionDAG, shape: tuple[int, ...]) -> Objects:
    found = np.empty(shape, object)
    found.fill(dag.expression(STRUCTURAL_ZERO))
    return found


# What these leave empty is a structural zero.
SymbolicArray.known = {
    primitives.place: _place,
    primitives.segment_sum: _segment_sum,
    primitives.sparse_dot: _sparse_dot,
}
