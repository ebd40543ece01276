"""Lowers recordings to scalars: value and Jacobian of a function as one SSA program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np

from chainad.compiler.linearize import Linearized
from chainad.compiler.recording.recording import Recording
from chainad.compiler.scalar.eliminate import RULES, Jacobian, accumulate, operations
from chainad.compiler.scalar.scalar_plan import scalar_plan
from chainad.compiler.scalar.scalarize import (
    DataArgument,
    ScalarGraph,
    data_arguments,
    scalar_graph,
)
from chainad.ir.scalar_graph import ExpressionDAG, NodeId, NotScalarError
from chainad.ir.scalar_program import ScalarProgram, to_scalar_program
from chainad.planning.orders import Vertex
from chainad.planning.plan import Plan

_DIVISION_COST = 3  # in other operations

# In larger graphs only forward and reverse are tried: greedy rules take too long.
_MAX_GREEDY_EDGES = 2000


@dataclass(frozen=True)
class LoweredScalars:
    """A scalar program, and what its inputs and outputs are.

    The inputs are the `arguments`, in order. The outputs are the values of the function (if
    `has_value`), then the Jacobian blocks of every output by every argument, outputs first, of the
    shapes `shapes`; then, if `has_guard`, whether every guard holds. `products` is how many
    multiplications of variable factors the elimination takes.

    `graph` is what was eliminated, `orders` are the orders that were tried, by rule, the first one
    that of the program.
    """

    ssa: ScalarProgram
    arguments: Mapping[int, DataArgument]
    dtype: np.dtype[Any]
    shapes: tuple[tuple[int, ...], ...]
    has_value: bool
    has_guard: bool
    products: int
    graph: ScalarGraph
    orders: tuple[tuple[str, tuple[Vertex, ...]], ...]

    def plan(self) -> Plan:
        """Return the order of the elimination as a plan."""
        return scalar_plan(self.graph, self.orders)


def lower_to_scalars(
    recording: Recording,
    linearized: Linearized,
    nodes: Sequence[Any],
    mode: Any,
    wants_value: bool,
    max_operations: float = inf,
) -> LoweredScalars:
    """Lower value and Jacobian of a recording to one SSA program of scalars.

    Raises
    ------
    NotScalarError
        If that cannot be done, or takes more than `max_operations` before any elimination, or if
        `mode` is an order of whole arrays.
    """
    graph = scalar_graph(recording, linearized, nodes, max_operations)
    first = len(graph.dag.functions)  # of the nodes that elimination makes
    jacobian, orders = _cheapest(graph, mode, wants_value)
    linear = linearized.graph
    row_shapes = [linear.shapes[v] for v in linear.outputs]
    col_shapes = [linear.shapes[v] for v in linear.inputs]
    outputs: list[Sequence[NodeId]] = [*graph.values] if wants_value else []
    outputs += _blocks(jacobian, [_size(s) for s in row_shapes], [_size(s) for s in col_shapes])
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
        ssa, arguments, dtype, tuple(shapes), wants_value, has_guard, products, graph, orders
    )


def _cheapest(
    graph: ScalarGraph, mode: Any, wants_value: bool
) -> tuple[Jacobian, tuple[tuple[str, tuple[Vertex, ...]], ...]]:
    """Return the entries of the Jacobian, by the order that leaves the fewest operations.

    That order comes first among those that were tried.
    """
    if mode not in ("auto", "forward", "reverse"):
        raise NotScalarError(f"mode={mode!r} orders whole arrays")
    names = list(RULES) if mode == "auto" else [mode]
    if len(names) > 1 and len(graph.edges) > _MAX_GREEDY_EDGES:
        names = ["forward", "reverse"]
    always = [k for output in graph.values for k in output] if wants_value else []
    found = {name: accumulate(graph, RULES[name]) for name in names}

    def cost(name: str) -> int:
        return _cost(graph.dag, operations(graph.dag, [*found[name][0], *always]))

    best = min(names, key=cost)
    tried = sorted(names, key=lambda name: name != best)
    return found[best][0], tuple((name, found[name][1]) for name in tried)


def _products(dag: ExpressionDAG, jacobian: Jacobian, first: NodeId) -> int:
    return sum(
        dag.functions[k] is np.multiply and not any(map(dag.is_constant, dag.operands[k]))
        for k in operations(dag, jacobian)
        if k >= first
    )


def _cost(dag: ExpressionDAG, nodes: Sequence[NodeId]) -> int:
    return sum(_DIVISION_COST if dag.functions[k] is np.divide else 1 for k in nodes)


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
