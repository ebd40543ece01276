"""The plan of a scalar program: its elimination order on the graph of scalars.

The program does what the plan says, and less: common subexpressions are computed once, and sums and
products of constants not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from chainad.compiler.scalar.scalarize import ScalarGraph
from chainad.ir.scalar_graph import STRUCTURAL_ZERO, ExpressionDAG, NodeId
from chainad.planning.linear_graph import Edge, LinearGraph, cost
from chainad.planning.orders import Vertex
from chainad.planning.plan import Alternative, Plan, follow
from chainad.structure import arrange, dense
from chainad.structure.structure import Structure


def scalar_plan(graph: ScalarGraph, orders: Sequence[tuple[str, Sequence[Vertex]]]) -> Plan:
    """Return the plan of the first order, with the others as alternatives."""
    chosen, order = orders[0]
    linear, number = _linear(graph, order)
    costs = {name: cost(linear, [number[v] for v in each]) for name, each in orders}
    plan = follow(linear, [number[v] for v in order])
    alternatives = [
        Alternative(name, offer.multiplications, offer.additions, offer.amount)
        for name, offer in sorted(costs.items(), key=lambda item: item[1])
    ]
    return replace(plan, alternatives=tuple(alternatives), planner=chosen)


def _linear(graph: ScalarGraph, order: Sequence[Vertex]) -> tuple[LinearGraph, dict[Vertex, int]]:
    """Return the graph with a structure on every edge, and its vertices by those of `graph`."""
    number = {v: k for k, v in enumerate(sorted({*graph.inputs, *graph.outputs, *order}))}
    edges = [
        Edge(number[tail], number[head], _structure(graph.dag, local))
        for tail, head, local in graph.edges
        if tail in number and head in number and local != STRUCTURAL_ZERO
    ]
    names = {number[v]: f"x[{k}]" for k, v in enumerate(graph.inputs)}
    names |= {number[v]: f"y[{k}]" for k, v in enumerate(graph.outputs)}
    linear = LinearGraph(
        ((),) * len(number),
        tuple(number[v] for v in graph.inputs),
        tuple(number[v] for v in graph.outputs),
        tuple(edges),
        names=tuple(names.get(k, f"v{k}") for k in range(len(number))),
    )
    return linear, number


def _structure(dag: ExpressionDAG, local: NodeId) -> Structure:
    """Return the structure of a local derivative: a constant, or a scalar."""
    if dag.is_constant(local):
        return arrange([], [], {}, scale=dag.values[local]).structure
    return dense((), ())
