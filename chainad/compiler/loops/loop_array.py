"""Loop arrays: duck arrays of views of registers, on which recorded calls run unchanged."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from chainad.backends.scalar_expressions import loop_template
from chainad.compiler.duck_array import Call, DuckArray
from chainad.compiler.einsum_program import einsum_program
from chainad.compiler.loops.loop_builder import ABSENT, LoopBuilder, Value, View, row_major
from chainad.compiler.loops.lower_ops import executed
from chainad.ir import array_functions as primitives
from chainad.ir.loop_program import Function
from chainad.ir.scalar_graph import PREDICATES, NotScalarError
from chainad.rules.base import kind_of, normalize_axes
from chainad.rules.kinds import Contraction, Einsum, Elementwise, Kind, Reduction, ShapeQuery
from chainad.rules.movement import sources_of

# More constants that a call inserts are not written one by one.
_MAX_CONSTANTS = 16


class LoopArray(DuckArray):
    """An array of elements of one register, or a number."""

    __slots__ = ("builder", "dtype", "value")

    error = NotScalarError

    def __init__(self, builder: LoopBuilder, value: Value, dtype: Any = np.float64) -> None:
        self.builder = builder
        self.value = value
        self.dtype = np.dtype(dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape if isinstance(self.value, View) else ()

    @property
    def view(self) -> View:
        return self.builder.view(self.value)

    def knows(self, function: Function, kind: Kind, has_definition: bool) -> bool:
        if isinstance(kind, Elementwise):
            return loop_template(function) is not None
        if isinstance(kind, Reduction):
            return kind.ufunc is not None
        return isinstance(kind, Contraction | ShapeQuery)

    def elementwise(self, function: Function, operands: Sequence[Any]) -> LoopArray:
        if function is np.power and np.ndim(operands[1]) == 0 and _is_two(operands[1]):
            function, operands = np.multiply, (operands[0], operands[0])  # as NumPy does
        values = [_value(self.builder, x) for x in operands]
        found = self.builder.elementwise(function, *values)
        return LoopArray(self.builder, found, bool if function in PREDICATES else np.float64)

    def moved(self, call: Call, operands: Sequence[Any]) -> LoopArray:
        builder, views = self.builder, [x.view for x in operands]
        sources, constants = sources_of(call, [x.shape for x in views])
        starts = np.cumsum([0, *(x.addresses.size for x in views)]).tolist()
        parts: list[tuple[Value, Any]] = []
        targets = row_major(sources.shape)
        inserted = np.unique(constants[(sources < 0) & (constants != 0)])
        dtype = np.result_type(float if inserted.size else bool, *(x.dtype for x in operands))
        if len(views) == 1 and not inserted.size:
            addresses = np.append(views[0].addresses.ravel(), ABSENT)[sources]
            return LoopArray(builder, View(views[0].register, addresses), dtype)
        if inserted.size > _MAX_CONSTANTS:
            raise NotScalarError("it inserts many constants")
        for view, start, stop in zip(views, starts[:-1], starts[1:], strict=True):
            own = (sources >= start) & (sources < stop)
            at = view.addresses.ravel()[sources[own] - start]
            parts.append((View(view.register, at), targets[own]))
        parts += [
            (float(value), targets[(sources < 0) & (constants == value)]) for value in inserted
        ]
        return LoopArray(builder, builder.scatter(parts, sources.shape), dtype)

    def reduced(self, function: Function, x: Any, options: dict[str, Any]) -> LoopArray:
        axes = normalize_axes(options.pop("axis", None), np.ndim(x))
        keepdims = bool(options.pop("keepdims", False))
        if options:
            raise NotScalarError(f"np.{function.__name__} with {', '.join(options)}")
        kind = kind_of(function)
        assert isinstance(kind, Reduction)
        if kind.ufunc is np.add:
            return LoopArray(self.builder, self.builder.sum(x.value, axes, keepdims))
        if kind.ufunc is None or loop_template(kind.ufunc) is None:
            raise NotScalarError(f"np.{function.__name__}")
        if not all(x.shape[k] for k in axes):
            raise NotScalarError("an array is empty")
        for axis in axes:
            x = _halved(x, kind.ufunc, axis)
        found: LoopArray = x if keepdims else np.squeeze(x, axes)
        return found

    def contracted(self, key: Hashable, einsum: Callable[[], Einsum], operands: Any) -> LoopArray:
        written, terms, views = einsum(), [], []
        for x, (_, labels) in zip(operands, written.operands, strict=True):
            view = self.builder.dense_view(_value(self.builder, x))
            at = tuple(k for k, a in enumerate(labels) if a is None)
            views.append(View(view.register, np.squeeze(view.addresses, at)))
            terms.append(tuple(a for a in labels if a is not None))
        result = tuple(a for a in written.result if a is not None)
        program = einsum_program(tuple(terms), tuple(x.shape for x in views), result)
        if program is None:
            raise NotScalarError("an einsum of a diagonal")
        registers = executed(self.builder, program, dict(enumerate(views)))
        (output,) = program.outputs
        assert output is not None
        return LoopArray(self.builder, registers[output])

    def astype(self, dtype: Any) -> LoopArray:
        if np.dtype(dtype) not in (np.float64, self.dtype):
            raise NotScalarError(f"a conversion to {dtype}")
        return LoopArray(self.builder, self.value, dtype)  # True is 1.0


def _halved(x: Any, ufunc: Any, axis: int) -> Any:
    """Return x reduced along one axis, which is kept: halves are combined until one is left."""
    front = (slice(None),) * axis
    while x.shape[axis] > 1:
        half = x.shape[axis] // 2
        both = ufunc(x[(*front, slice(half))], x[(*front, slice(half, 2 * half))])
        rest = x[(*front, slice(2 * half, None))]
        x = np.concatenate([both, rest], axis) if rest.shape[axis] else both
    return x


def _is_two(x: Any) -> bool:
    value = x.value if isinstance(x, LoopArray) else x
    return not isinstance(value, View) and bool(value == 2)


def _value(builder: LoopBuilder, x: Any) -> Value:
    """Return an operand as a view, or as a number."""
    if isinstance(x, LoopArray):
        return x.value
    if isinstance(x, (bool, int, float, np.floating, np.integer, np.bool_)):
        return float(x)
    if isinstance(x, np.ndarray) and x.shape == () and x.dtype.kind in "fiub":
        return float(x)
    if isinstance(x, np.ndarray) and x.dtype.kind in "fiub":
        place, written = row_major(x.shape), np.unique(x).astype(float)
        if written.size <= _MAX_CONSTANTS:
            return builder.scatter([(float(n), place[x == n]) for n in written if n], x.shape)
    raise NotScalarError(f"an operand of type {type(x).__name__}")


def _place(x: LoopArray, axis: int, where: Any, size: int) -> LoopArray:
    view = x.view
    addresses = primitives.place(view.addresses + 1, axis, where, size) - 1  # ABSENT elsewhere
    return LoopArray(x.builder, View(view.register, addresses), x.dtype)


LoopArray.known = {primitives.place: _place}
