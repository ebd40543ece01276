"""Vertex elimination on scalars, by rules whose cost is counted on the expressions themselves.

Every candidate order is carried out symbolically, so its cost is not an estimate: it is how many
operations are left after common-subexpression elimination and constant folding.
Griewank & Walther, *Evaluating Derivatives*, 2nd ed., ch. 9 and 10.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from chainad.compiler.scalar.scalarize import ScalarGraph
from chainad.ir.scalar_graph import (
    STRUCTURAL_ZERO,
    ExpressionDAG,
    Function,
    NodeId,
    constant,
    variable,
)
from chainad.planning.orders import Vertex

Jacobian = tuple[NodeId, ...]  # row-major; STRUCTURAL_ZERO where there is no entry
Edges = dict[Vertex, dict[Vertex, NodeId]]  # head -> tail -> node


class _EliminationState:
    """A graph under elimination."""

    def __init__(self, graph: ScalarGraph) -> None:
        self.dag = graph.dag
        self.into: Edges = {}
        self.out: dict[Vertex, set[Vertex]] = {}
        for tail, head, number in graph.edges:
            self.accumulate_edge(tail, head, number)
        self.terminals = {*graph.inputs, *graph.outputs}
        for v in sorted(self.out.keys() | self.into.keys(), reverse=True):
            if v not in self.terminals and not self.out.get(v):
                self.remove(v)
        self.inner = sorted(
            v for v in self.into.keys() & self.out.keys() if v not in self.terminals
        )

    def accumulate_edge(self, tail: Vertex, head: Vertex, number: NodeId) -> None:
        into = self.into.setdefault(head, {})
        into[tail] = self.dag.apply(np.add, into.get(tail, STRUCTURAL_ZERO), number)
        self.out.setdefault(tail, set()).add(head)

    def remove(self, v: Vertex) -> None:
        for tail in self.into.pop(v, {}):
            self.out[tail].discard(v)
        for head in self.out.pop(v, set()):
            del self.into[head][v]

    def eliminate(self, v: Vertex) -> None:
        predecessors = self.into.get(v, {})
        for head in sorted(self.out.get(v, ())):
            factor = self.into[head][v]
            for tail, number in predecessors.items():
                self.accumulate_edge(tail, head, self.dag.apply(np.multiply, factor, number))
        self.remove(v)

    def products(self, v: Vertex) -> int:
        """Return how many products of variable factors the elimination of v takes."""
        incoming = [self.dag.is_constant(n) for n in self.into.get(v, {}).values()]
        outgoing = [self.dag.is_constant(self.into[h][v]) for h in self.out.get(v, ())]
        return (len(incoming) - sum(incoming)) * (len(outgoing) - sum(outgoing))

    def fill(self, v: Vertex) -> int:
        """Return how many edges the elimination of v adds (its fill-in), less those it removes."""
        tails, heads = self.into.get(v, {}).keys(), self.out.get(v, set())
        new = sum(len(tails - self.into[head].keys()) for head in heads)
        return new - len(tails) - len(heads)


def forward(state: _EliminationState) -> Iterator[Vertex]:
    """Eliminate from the inputs to the outputs."""
    yield from list(state.inner)


def reverse(state: _EliminationState) -> Iterator[Vertex]:
    """Eliminate from the outputs to the inputs."""
    yield from state.inner[::-1]


def greedy(
    cost: Callable[[_EliminationState, Vertex], tuple[float, ...]],
) -> Callable[..., Iterator[Vertex]]:
    """Return the greedy rule that takes the vertex of the lowest cost in the current graph."""

    def rule(state: _EliminationState) -> Iterator[Vertex]:
        cost_of = {v: cost(state, v) for v in state.inner}
        while cost_of:
            v = min(cost_of, key=cost_of.__getitem__)
            neighbours = {*state.into.get(v, ()), *state.out.get(v, ())}
            del cost_of[v]
            yield v
            for u in neighbours & cost_of.keys():
                cost_of[u] = cost(state, u)

    return rule


def _markowitz(state: _EliminationState, v: Vertex) -> tuple[float, ...]:
    return state.products(v), state.fill(v), v


def _late_markowitz(state: _EliminationState, v: Vertex) -> tuple[float, ...]:
    return state.products(v), state.fill(v), -v


def _filling(state: _EliminationState, v: Vertex) -> tuple[float, ...]:
    return state.products(v) + state.fill(v), state.products(v), -v


def _early_filling(state: _EliminationState, v: Vertex) -> tuple[float, ...]:
    return state.products(v) + state.fill(v), state.products(v), v


def _damage(sign: int) -> Callable[[_EliminationState, Vertex], tuple[float, ...]]:
    def cost(state: _EliminationState, v: Vertex) -> tuple[float, ...]:
        tails, heads = state.into.get(v, {}), state.out.get(v, set())
        damage = sum(_degree(state, t) for t in tails) + sum(_degree(state, h) for h in heads)
        return state.products(v) + 0.25 * state.fill(v), damage, sign * v

    return cost


def _degree(state: _EliminationState, v: Vertex) -> int:
    return len(state.into.get(v, ())) * len(state.out.get(v, ()))


RULES: dict[str, Callable[[_EliminationState], Iterator[Vertex]]] = {
    "forward": forward,
    "reverse": reverse,
    "markowitz": greedy(_markowitz),
    "late markowitz": greedy(_late_markowitz),
    "filling": greedy(_filling),
    "early filling": greedy(_early_filling),
    "damage": greedy(_damage(1)),
    "late damage": greedy(_damage(-1)),
}


def accumulate(
    graph: ScalarGraph, rule: Callable[[_EliminationState], Iterator[Vertex]]
) -> tuple[Jacobian, tuple[Vertex, ...]]:
    """Eliminate every inner vertex; return the entries of the Jacobian, and the order."""
    state, order = _EliminationState(graph), []
    for v in rule(state):
        state.eliminate(v)
        order.append(v)
    rows = (state.into.get(head, {}) for head in graph.outputs)
    return tuple(row.get(tail, STRUCTURAL_ZERO) for row in rows for tail in graph.inputs), tuple(
        order
    )


def operations(dag: ExpressionDAG, results: Sequence[NodeId]) -> list[NodeId]:
    """Return the nodes that results depend on, without constants and inputs, in order."""
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
