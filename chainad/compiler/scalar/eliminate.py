"""Vertex elimination on scalars: an order is carried out on the expressions themselves.

So what an order costs is not an estimate: it is how many operations are left after common-
subexpression elimination and constant folding.
Griewank & Walther, *Evaluating Derivatives*, 2nd ed., ch. 9 and 10.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from chainad.compiler.scalar.scalarize import ScalarGraph
from chainad.ir.scalar_graph import STRUCTURAL_ZERO, ExpressionDAG, NodeId, variable
from chainad.planning.elimination_graph import EliminationGraph
from chainad.planning.orders import Item, Vertex

Jacobian = tuple[NodeId, ...]  # row-major; STRUCTURAL_ZERO where there is no entry

_DIVISION_COST = 3  # in other operations


class _ScalarElimination(EliminationGraph[NodeId]):
    """A graph of scalars under elimination; an edge carries the node of its derivative."""

    def __init__(self, graph: ScalarGraph) -> None:
        super().__init__(graph.linear.inner)
        self.dag = graph.dag
        for edge, local in zip(graph.linear.edges, graph.locals, strict=True):
            known = self.after[edge.tail].get(edge.head, STRUCTURAL_ZERO)
            total = self.dag.as_float(self.dag.apply(np.add, known, local))
            self.set_edge(edge.tail, edge.head, total)

    def multiply_add(
        self, tail: Vertex, head: Vertex, left: NodeId, right: NodeId, old: NodeId | None
    ) -> NodeId:
        dag, constants = self.dag, self.dag.values
        if left in constants and right in constants:
            product = dag.apply(np.multiply, left, right)
        else:
            product = dag.multiply(left, right)
        if old is None:
            return product
        if old in constants and product in constants:
            return dag.apply(np.add, old, product)
        return dag.add(old, product)


def accumulate(graph: ScalarGraph, order: Iterable[Item]) -> Jacobian:
    """Eliminate every inner vertex in this order; return the entries of the Jacobian."""
    elimination = _ScalarElimination(graph)
    for item in order:
        elimination.eliminate(item)
    rows = (elimination.before[head] for head in graph.linear.outputs)
    return tuple(row.get(tail, STRUCTURAL_ZERO) for row in rows for tail in graph.linear.inputs)


def operations(dag: ExpressionDAG, results: Sequence[NodeId]) -> set[NodeId]:
    """Return the nodes that results depend on, without constants and inputs."""
    functions, operands, constants = dag.functions, dag.operands, dag.values
    needed: set[NodeId] = set()
    stack = [*results]
    while stack:
        k = stack.pop()
        if k not in needed and k not in constants and functions[k] is not variable:
            needed.add(k)
            stack.extend(operands[k])
    return needed


def cost_of_results(dag: ExpressionDAG, results: Sequence[NodeId]) -> int:
    """Return how many operations some results take, a division counted as several."""
    needed = operations(dag, results)
    divisions = sum(dag.functions[k] is np.divide for k in needed)
    return len(needed) + (_DIVISION_COST - 1) * divisions
