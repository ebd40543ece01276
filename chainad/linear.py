"""The linear graph: local Jacobians on edges, and the elimination of its inner vertices.

Eliminating vertex v multiplies every edge out of v with every edge into v, and adds the products to
the edges that jump over v. When no inner vertex is left, the edges are the Jacobian.
Forward mode eliminates in topological order, reverse mode in the opposite one.
Source: Griewank & Walther, *Evaluating Derivatives*, 2nd ed., ch. 9.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import networkx as nx

from chainad.algebra import Product, Total, add, multiply
from chainad.errors import PlanError
from chainad.graph import Site
from chainad.structure import Structure

Vertex = int


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a local Jacobian is from: the name of the operation, and the user's line."""

    name: str
    site: Site | None = None


@dataclass(frozen=True, slots=True)
class Edge:
    """The local Jacobian of `head` with respect to `tail`."""

    tail: Vertex
    head: Vertex
    structure: Structure


@dataclass(frozen=True)
class LinearGraph:
    """Vertices in topological order, and a structure on every edge.

    `shapes` are the shapes of the vertices' values. Inputs have no edge into them, outputs none
    out of them. Parallel edges are allowed: they add up. The numbers of edge k are slot k.
    `origins` (one per edge) and `names` (one per vertex) serve print-outs only, and do not
    count in comparisons.
    """

    shapes: tuple[tuple[int, ...], ...]
    inputs: tuple[Vertex, ...]
    outputs: tuple[Vertex, ...]
    edges: tuple[Edge, ...]
    origins: tuple[Origin, ...] = field(compare=False, default=())
    names: tuple[str, ...] = field(compare=False, default=())

    @cached_property
    def inner(self) -> tuple[Vertex, ...]:
        """The vertices to eliminate, in topological order."""
        ends = {*self.inputs, *self.outputs}
        return tuple(v for v in range(len(self.shapes)) if v not in ends)

    @cached_property
    def _hash(self) -> int:
        return hash((self.shapes, self.inputs, self.outputs, self.edges))

    def __hash__(self) -> int:
        return self._hash

    def size(self, v: Vertex) -> int:
        """Return how many numbers the value of v has."""
        size = 1
        for n in self.shapes[v]:
            size *= n
        return size

    def name(self, v: Vertex) -> str:
        return self.names[v] if self.names else f"v{v}"

    @cached_property
    def chain(self) -> tuple[Edge, ...] | None:
        """The edges from x to y if the graph is a path, else None."""
        if len(self.inputs) != 1 or len(self.outputs) != 1:
            return None
        by_tail = {edge.tail: edge for edge in self.edges}
        if len(by_tail) != len(self.edges) or len(self.edges) != len(self.inner) + 1:
            return None
        edges, v = [], self.inputs[0]
        while v in by_tail:
            edges.append(by_tail[v])
            v = by_tail[v].head
        return tuple(edges) if len(edges) == len(self.edges) else None

    def check_order(self, order: Sequence[Vertex]) -> tuple[Vertex, ...]:
        """Return `order` as a tuple if it names every inner vertex once; raise PlanError if not."""
        order = tuple(order)
        missing = sorted(set(self.inner) - set(order))
        unknown = sorted(set(order) - set(self.inner))
        if missing or unknown or len(order) != len(self.inner):
            raise PlanError(
                f"an elimination order must name each of the {len(self.inner)} inner vertices once,"
                f" but got {len(order)} vertices"
                + (f", without {_list(missing)}" if missing else "")
                + (f", with {_list(unknown)}, which cannot be eliminated" if unknown else "")
                + "; chainad.plan(f, x).order is one that fits"
            )
        return order

    def to_networkx(self) -> nx.MultiDiGraph:
        """Return the graph with attributes `shape` on nodes and `structure` on edges."""
        graph = nx.MultiDiGraph()
        for v, shape in enumerate(self.shapes):
            graph.add_node(v, shape=shape, name=self.name(v))
        for edge in self.edges:
            graph.add_edge(edge.tail, edge.head, structure=edge.structure)
        return graph


def _list(vertices: Sequence[Vertex]) -> str:
    shown = ", ".join(map(str, vertices[:6]))
    return shown + (", ..." if len(vertices) > 6 else "")


@dataclass(frozen=True, slots=True)
class Meeting:
    """One product of an elimination, the edge it falls on, and the sum with what was there."""

    tail: Vertex
    head: Vertex
    product: Product
    total: Total | None


class Elimination:
    """A linear graph while its vertices are being eliminated.

    `after[v]` and `before[v]` hold the structures of the edges out of v and into v.
    """

    def __init__(self, graph: LinearGraph) -> None:
        self.after: list[dict[Vertex, Structure]] = [{} for _ in graph.shapes]
        self.before: list[dict[Vertex, Structure]] = [{} for _ in graph.shapes]
        self.merged: list[tuple[Edge, Total]] = []
        for edge in graph.edges:
            old = self.after[edge.tail].get(edge.head)
            new = edge.structure
            if old is not None:
                total = add(old, edge.structure)
                self.merged.append((edge, total))
                new = total.structure
            self._set(edge.tail, edge.head, new)

    def _set(self, tail: Vertex, head: Vertex, structure: Structure) -> None:
        self.after[tail][head] = structure
        self.before[head][tail] = structure

    def copy(self) -> Elimination:
        twin = object.__new__(Elimination)
        twin.after = [dict(edges) for edges in self.after]
        twin.before = [dict(edges) for edges in self.before]
        twin.merged = self.merged
        return twin

    def price(self, v: Vertex) -> int:
        """Return the multiplications of eliminating v now."""
        return sum(
            multiply(out, into).multiplications
            for out in self.after[v].values()
            for into in self.before[v].values()
        )

    def meetings(self, v: Vertex) -> Iterator[Meeting]:
        """Yield the products and sums of eliminating v now, without changing anything."""
        for head, out in self.after[v].items():
            for tail, into in self.before[v].items():
                product = multiply(out, into)
                old = self.after[tail].get(head)
                total = None if old is None else add(old, product.structure)
                yield Meeting(tail, head, product, total)

    def eliminate(self, v: Vertex) -> list[Meeting]:
        """Eliminate v; return what that took."""
        meetings = list(self.meetings(v))
        for tail in self.before[v]:
            del self.after[tail][v]
        for head in self.after[v]:
            del self.before[head][v]
        self.before[v] = {}
        self.after[v] = {}
        for m in meetings:
            structure = m.product.structure if m.total is None else m.total.structure
            self._set(m.tail, m.head, structure)
        return meetings


@dataclass(frozen=True, order=True, slots=True)
class Price:
    """What an order costs; prices compare by multiplications, then additions."""

    multiplications: int
    additions: int


def price(graph: LinearGraph, order: Sequence[Vertex]) -> Price:
    """Return the price of eliminating in this order."""
    elimination = Elimination(graph)
    multiplications = 0
    additions = sum(total.additions for _, total in elimination.merged)
    for v in order:
        for m in elimination.eliminate(v):
            multiplications += m.product.multiplications
            additions += m.product.additions + (m.total.additions if m.total else 0)
    return Price(multiplications, additions)
