"""Fused loops: elementwise operations on arrays of one shape as one nest, one pass over memory.

At every place of the nest, elements of the operands are read, some functions are computed, and
what is needed elsewhere is written, or added up along the last axis. Views of operands are formulas
of the counters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from chainad.ir.calls import Call
from chainad.ir.memory_layouts import MemoryLayout
from chainad.ir.op import Op
from chainad.ir.operation_counts import OperationCounts
from chainad.ir.shapes import Shape


@dataclass(frozen=True, slots=True)
class Place:
    """Where one axis of an operand is read: at `start + step * counter`, or at `start` alone."""

    start: int
    step: int = 0
    counter: int = 0


@dataclass(frozen=True, slots=True)
class Load:
    """An element of an operand."""

    operand: int
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Number:
    """A constant, in hexadecimal, so that 0.0 is not -0.0 and nan is nan."""

    exact: str


@dataclass(frozen=True, slots=True)
class Apply:
    """A function of earlier nodes."""

    function: Callable[..., Any]
    nodes: tuple[int, ...]


Node: TypeAlias = Load | Number | Apply


@dataclass(frozen=True, slots=True)
class Written:
    """A result: a node, at every place of the nest, or its sum along the last axis.

    With `keeps_axis` that axis of the result has size 1.
    """

    node: int
    dtype: np.dtype[Any]
    is_sum: bool = False
    keeps_axis: bool = False


@dataclass(frozen=True)
class FusedLoops:
    """A nest over counters of these sizes.

    `operands` has the shape and the dtype of every operand, None for a number.
    """

    sizes: tuple[int, ...]
    operands: tuple[tuple[Shape, np.dtype[Any]] | None, ...]
    nodes: tuple[Node, ...]
    results: tuple[Written, ...]


@dataclass(frozen=True, slots=True, eq=False)
class RunLoops(Op):
    """A run of fused loops, on the operands, then on the arrays that it writes into."""

    loops: FusedLoops
    run: Callable[..., Any]

    def infer_shape(self, inputs: Any) -> Shape | None:
        return None


@dataclass(frozen=True, slots=True, eq=False)
class QuietCall(Op):
    """A call that warns of no floating-point errors, as fused loops do not: it may be anywhere."""

    call: Call

    @property
    def takes_out(self) -> bool:
        """Whether the result can be written into memory that is there."""
        is_ufunc = isinstance(self.call.function, np.ufunc) or self.call.function is np.dot
        return is_ufunc and not self.call.kwargs

    def infer_shape(self, inputs: Any) -> Shape | None:
        return self.call.shape


@dataclass(frozen=True, slots=True, eq=False)
class Empty(Op):
    """A new array, to be written into."""

    shape: Shape
    dtype: np.dtype[Any]

    def infer_shape(self, inputs: Any) -> Shape | None:
        return self.shape

    def cost(self, *inputs: MemoryLayout) -> OperationCounts:
        return OperationCounts()
