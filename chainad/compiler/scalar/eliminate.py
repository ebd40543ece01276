"""Elimination on single numbers: the order whose operations are fewest, once shared ones are one.

Every candidate order is followed on the symbols themselves, so its cost is not an estimate: it is
how many operations are left after common subexpressions, units and constants are gone.
Source of the method: Griewank & Walther, *Evaluating Derivatives*, 2nd ed., ch. 9 and 10.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from chainad.compiler.scalar.scalarize import ScalarGraph, Vertex
from chainad.ir.scalar_graph import (
    STRUCTURAL_ZERO,
    ExpressionDAG,
    Function,
    NodeId,
    constant,
    variable,
)

Jacobian = tuple[NodeId, ...]  # row by row; STRUCTURAL_ZERO where there is no entry
Edges = dict[Vertex, dict[Vertex, NodeId]]  # head -> tail -> node


class _Work:
    """A graph that is being eliminated."""

    def __init__(self, graph: ScalarGraph) -> None:
        self.dag = graph.dag
        self.into: Edges = {}
        self.out: dict[Vertex, set[Vertex]] = {}
        for tail, head, number in graph.edges:
            self.put(tail, head, number)
        self.ends = {*graph.inputs, *graph.outputs}
        for v in sorted(self.out.keys() | self.into.keys(), reverse=True):
            if v not in self.ends and not self.out.get(v):
                self.drop(v)
        self.inner = sorted(v for v in self.into.keys() & self.out.keys() if v not in self.ends)

    def put(self, tail: Vertex, head: Vertex, number: NodeId) -> None:
        into = self.into.setdefault(head, {})
        into[tail] = self.dag.apply(np.add, into.get(tail, STRUCTURAL_ZERO), number)
        self.out.setdefault(tail, set()).add(head)

    def drop(self, v: Vertex) -> None:
        for tail in self.into.pop(v, {}):
            self.out[tail].discard(v)
        for head in self.out.pop(v, set()):
            del self.into[head][v]

    def eliminate(self, v: Vertex) -> None:
        below = self.into.get(v, {})
        for head in sorted(self.out.get(v, ())):
            factor = self.into[head][v]
            for tail, number in below.items():
                self.put(tail, head, self.dag.apply(np.multiply, factor, number))
        self.drop(v)

    def products(self, v: Vertex) -> int:
        """Return how many products, by something other than a constant, eliminating v takes."""
        below = [self.dag.is_constant(n) for n in self.into.get(v, {}).values()]
        above = [self.dag.is_constant(self.into[h][v]) for h in self.out.get(v, ())]
        return (len(below) - sum(below)) * (len(above) - sum(above))

    def fill(self, v: Vertex) -> int:
        """Return how many edges are new when v is eliminated, less those that go."""
        tails, heads = self.into.get(v, {}).keys(), self.out.get(v, set())
        new = sum(len(tails - self.into[head].keys()) for head in heads)
        return new - len(tails) - len(heads)


def forward(work: _Work) -> Iterator[Vertex]:
    """Go from the inputs to the outputs."""
    yield from list(work.inner)


def reverse(work: _Work) -> Iterator[Vertex]:
    """Go from the outputs to the inputs."""
    yield from work.inner[::-1]


def lowest(cost: Callable[[_Work, Vertex], tuple[float, ...]]) -> Callable[..., Iterator[Vertex]]:
    """Return the rule that takes the vertex of the lowest cost, as the graph then is."""

    def rule(work: _Work) -> Iterator[Vertex]:
        left = {v: cost(work, v) for v in work.inner}
        while left:
            v = min(left, key=left.__getitem__)
            around = {*work.into.get(v, ()), *work.out.get(v, ())}
            del left[v]
            yield v
            for u in around & left.keys():
                left[u] = cost(work, u)

    return rule


def _markowitz(work: _Work, v: Vertex) -> tuple[float, ...]:
    return work.products(v), work.fill(v), v


def _late_markowitz(work: _Work, v: Vertex) -> tuple[float, ...]:
    return work.products(v), work.fill(v), -v


def _filling(work: _Work, v: Vertex) -> tuple[float, ...]:
    return work.products(v) + work.fill(v), work.products(v), -v


def _early_filling(work: _Work, v: Vertex) -> tuple[float, ...]:
    return work.products(v) + work.fill(v), work.products(v), v


def _damage(sign: int) -> Callable[[_Work, Vertex], tuple[float, ...]]:
    def cost(work: _Work, v: Vertex) -> tuple[float, ...]:
        tails, heads = work.into.get(v, {}), work.out.get(v, set())
        damage = sum(_degree(work, t) for t in tails) + sum(_degree(work, h) for h in heads)
        return work.products(v) + 0.25 * work.fill(v), damage, sign * v

    return cost


def _degree(work: _Work, v: Vertex) -> int:
    return len(work.into.get(v, ())) * len(work.out.get(v, ()))


RULES: dict[str, Callable[[_Work], Iterator[Vertex]]] = {
    "forward": forward,
    "reverse": reverse,
    "markowitz": lowest(_markowitz),
    "late markowitz": lowest(_late_markowitz),
    "filling": lowest(_filling),
    "early filling": lowest(_early_filling),
    "damage": lowest(_damage(1)),
    "late damage": lowest(_damage(-1)),
}


def accumulate(
    graph: ScalarGraph, rule: Callable[[_Work], Iterator[Vertex]]
) -> tuple[Jacobian, tuple[Vertex, ...]]:
    """Eliminate every inner vertex; return the entries of the Jacobian, and the order."""
    work, order = _Work(graph), []
    for v in rule(work):
        work.eliminate(v)
        order.append(v)
    rows = (work.into.get(head, {}) for head in graph.outputs)
    return tuple(row.get(tail, STRUCTURAL_ZERO) for row in rows for tail in graph.inputs), tuple(
        order
    )


def operations(dag: ExpressionDAG, results: Sequence[NodeId]) -> list[NodeId]:
    """Return the nodes that results depend on, constants and inputs left out, in order."""
    needed: set[NodeId] = set()
    stack = [*results]
    while stack:
        k = stack.pop()
        if k not in needed and not _is_leaf(dag, k):
            needed.add(k)
            stack.extend(dag.operands[k])
    return sorted(needed)


def _is_leaf(dag: ExpressionDAG, number: NodeId) -> bool:
    function: Function = dag.functions[number]
    return function in (variable, constant) or number in dag.values
