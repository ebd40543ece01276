"""Lowers recordings to scalars: value and Jacobian of a function as one SSA program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np

from chainad.compiler.linearize import Linearized
from chainad.compiler.recording.recording import Recording
from chainad.compiler.scalar.eliminate import Jacobian, operations
from chainad.compiler.scalar.scalar_order import ScalarOrder, scalar_order
from chainad.compiler.scalar.scalarize import DataArgument, data_arguments, scalar_graph
from chainad.ir.program import Build
from chainad.ir.scalar_graph import ExpressionDAG, NodeId
from chainad.ir.scalar_program import ScalarProgram, to_scalar_program
from chainad.planning.auto import Mode
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.search.budget import DEFAULT_SEARCH, SearchOptions


@dataclass(frozen=True)
class LoweredScalars:
    """A scalar program, and what its inputs and outputs are.

    The inputs are the `arguments`, in order. The outputs are the values of the function (if
    `has_value`), then the Jacobian blocks of every output by every argument, outputs first, of the
    shapes `shapes`; then, if `has_guard`, whether every guard holds. `products` is how many
    multiplications of variable factors the elimination takes, and `order` is its order.
    """

    ssa: ScalarProgram
    arguments: Mapping[int, DataArgument]
    dtype: np.dtype[Any]
    shapes: tuple[tuple[int, ...], ...]
    has_value: bool
    has_guard: bool
    products: int
    order: ScalarOrder


def lower_to_scalars(
    recording: Recording,
    linearized: Linearized,
    nodes: Sequence[Any],
    mode: Mode | ChunkedPlan,
    wants_value: bool,
    build: Build,
    max_operations: float = inf,
    search: SearchOptions = DEFAULT_SEARCH,
) -> LoweredScalars:
    """Lower value and Jacobian of a recording to one SSA program of scalars.

    Raises
    ------
    NotScalarError
        If that cannot be done, or takes more than `max_operations` before any elimination, or if
        `mode` is an order of whole arrays alone.
    PlanError
        If `mode` is unknown, or does not fit.
    """
    graph = scalar_graph(recording, linearized, nodes, build, max_operations)
    first = len(graph.dag.functions)  # of the nodes that elimination makes
    values: list[Sequence[NodeId]] = [*graph.values] if wants_value else []
    always = [k for output in values for k in output]
    order = scalar_order(graph, linearized.graph, mode, search, always)
    jacobian, linear = order.jacobian, linearized.graph
    row_shapes = [linear.shapes[v] for v in linear.outputs]
    col_shapes = [linear.shapes[v] for v in linear.inputs]
    blocks = _blocks(jacobian, [_size(s) for s in row_shapes], [_size(s) for s in col_shapes])
    outputs = [*values, *blocks]
    shapes = [*row_shapes] if wants_value else []
    shapes += [(*rows, *cols) for rows in row_shapes for cols in col_shapes]
    has_guard = graph.guard != graph.dag.constant(True)
    if has_guard:
        outputs.append([graph.guard])
    arguments = data_arguments(recording)
    ssa = to_scalar_program(graph.dag, graph.variables, outputs)
    dtype = next(iter(arguments.values())).dtype
    products = _products(graph.dag, jacobian, first)
    return LoweredScalars(
        ssa, arguments, dtype, tuple(shapes), wants_value, has_guard, products, order
    )


def _products(dag: ExpressionDAG, jacobian: Jacobian, first: NodeId) -> int:
    return sum(
        dag.functions[k] is np.multiply and not any(map(dag.is_constant, dag.operands[k]))
        for k in operations(dag, jacobian)
        if k >= first
    )


def _blocks(
    jacobian: Jacobian, rows: Sequence[int], cols: Sequence[int]
) -> list[tuple[NodeId, ...]]:
    """Cut a row-major Jacobian into the blocks of every output and argument."""
    width = sum(cols)
    found = []
    first = 0
    for n_rows in rows:
        start = 0
        for n_cols in cols:
            at = [(first + r) * width + start for r in range(n_rows)]
            found.append(tuple(k for a in at for k in jacobian[a : a + n_cols]))
            start += n_cols
        first += n_rows
    return found


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=int))
