"""The linear graph: local Jacobians on edges, and the elimination of its inner vertices.

Eliminating vertex v multiplies every edge out of v with every edge into v, and adds the products to
the edges that jump over v. When no inner vertex is left, the edges are the Jacobian.
Forward mode eliminates in topological order, reverse mode in the opposite one.
Source: Griewank & Walther, *Evaluating Derivatives*, 2nd ed., ch. 9.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from chainad.errors import PlanError
from chainad.ir.cache import cached_property
from chainad.ir.graph import Origin
from chainad.ir.pickling import fields_alone
from chainad.planning.cost_models import CostModel
from chainad.planning.cost_models import multiplications as by_multiplications
from chainad.planning.elimination_graph import EliminationGraph, check_mixed
from chainad.planning.orders import Item, Vertex, only_vertices
from chainad.structure import (
    MIN_FILL_INVERSE,
    MIN_SEPARATE_ENTRIES,
    MIN_SYMMETRIC_ROWS,
    Product,
    StructureSum,
    add,
    add_to_dense,
    keep_separate,
    multiply,
)
from chainad.structure.structure import Structure

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True, slots=True)
class Edge:
    """The local Jacobian of `head` with respect to `tail`."""

    tail: Vertex
    head: Vertex
    structure: Structure


End = TypeVar("End", bound=Hashable)


def on_paths(
    edges: Sequence[tuple[End, End]], inputs: Iterable[End], outputs: Iterable[End]
) -> list[int]:
    """Return which edges (tail, head) are on a path from an input to an output.

    Every edge into a vertex comes before those out of it.
    """
    reached, useful = {*inputs}, {*outputs}
    for tail, head in edges:
        if tail in reached:
            reached.add(head)
    found = []
    for k in range(len(edges) - 1, -1, -1):
        tail, head = edges[k]
        if head in useful:
            useful.add(tail)
            if tail in reached:
                found.append(k)
    return found[::-1]


@dataclass(frozen=True)
class LinearGraph:
    """Vertices in topological order, and a structure on every edge.

    `shapes` are the shapes of the vertices' values. Inputs have no edge into them, outputs none
    out of them. Parallel edges are allowed: they add up. The entries of edge k are slot k.
    `origins` (one per edge) and `names` (one per vertex) are for reports only, and do
    not count in comparisons. `is_symmetric` says that the outputs are the gradient of one number by
    the inputs, so that the Jacobian is a Hessian.
    """

    shapes: tuple[tuple[int, ...], ...]
    inputs: tuple[Vertex, ...]
    outputs: tuple[Vertex, ...]
    edges: tuple[Edge, ...]
    origins: tuple[Origin, ...] = field(compare=False, default=())
    names: tuple[str, ...] = field(compare=False, default=())
    is_symmetric: bool = False

    __getstate__ = fields_alone

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

    @cached_property
    def may_save_by_symmetry(self) -> bool:
        """Whether a plan may multiply less because the Jacobian is symmetric."""
        is_large = any(self.size(v) >= MIN_SYMMETRIC_ROWS for v in self.inputs)
        return self.is_symmetric and (is_large or len(self.inputs) > 1)

    def size(self, v: Vertex) -> int:
        """Return how many entries the value of v has."""
        size = 1
        for n in self.shapes[v]:
            size *= n
        return size

    def name(self, v: Vertex) -> str:
        return self.names[v] if self.names else f"v{v}"

    def with_names_of_inputs(self, names: Sequence[str]) -> LinearGraph:
        """Return the same graph, with names of inputs that no other vertex has."""
        named = [
            name if name not in names else f"{name} ({'result' if v in self.outputs else 'inner'})"
            for v, name in enumerate(self.names)
        ]
        for v, name in zip(self.inputs, names, strict=True):
            named[v] = name
        return replace(self, names=tuple(named))

    @cached_property
    def origin_of(self) -> dict[Vertex, Origin]:
        """Where the values are from, as far as is known."""
        edges = [*zip(self.edges, self.origins, strict=False)]
        return {edge.head: origin for edge, origin in reversed(edges)}  # of the first edge

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

    def check_order(self, given: Sequence[Item]) -> tuple[Item, ...]:
        """Return an order as a tuple if it leaves no inner vertex; raise PlanError if not.

        One of vertices alone names each of them once; with single edges among them, those vertices
        that lose their edges before need no mention.
        """
        order = only_vertices(given)
        if order is None:
            check_mixed(((e.tail, e.head) for e in self.edges), self.inner, tuple(given))
            return tuple(given)
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
        import networkx as nx  # slow to load

        graph = nx.MultiDiGraph()
        for v, shape in enumerate(self.shapes):
            graph.add_node(v, shape=shape, name=self.name(v))
        for edge in self.edges:
            graph.add_edge(edge.tail, edge.head, structure=edge.structure)
        return graph


def _list(vertices: Sequence[Vertex]) -> str:
    shown = ", ".join(map(str, vertices[:6]))
    return shown + (", ..." if len(vertices) > 6 else "")


# The Jacobian between two vertices, as terms that add up to it: kept separate where their sum would
# store every entry (the diagonals of a stencil, blocks tied in different ways).
Terms = tuple[Structure, ...]

# Beyond, one materialized sum costs less to handle.
MAX_TERMS_PER_EDGE = 32

# Fewer terms are not many products.
MIN_TERMS_TO_FILL = 4


@dataclass(frozen=True, slots=True)
class Accumulation:
    """How a Jacobian is accumulated on its edge: added to a term, or to all, or as a new term.

    `sums` add it to the term `index`, to what that makes the next term, and so on; these become one
    term. Without any it is appended.
    """

    index: int
    sums: tuple[StructureSum, ...] = ()


# How most Jacobians are: the edge is new (fill-in).
NEW_EDGE = Accumulation(0)


def accumulate(terms: list[Structure], new: Structure) -> Accumulation:
    """Add a Jacobian to one of the terms of its edge, or append it; say which.

    Many terms become a dense one when they fill up.
    """
    if not terms:
        terms.append(new)
        return NEW_EDGE
    if len(terms) + 1 >= MIN_TERMS_TO_FILL and _fill_up([*terms, new]):
        sums, total = [], new
        for old in terms:
            sums.append(add_to_dense(old, total))
            total = sums[-1].structure
        terms[:] = [total]
        return Accumulation(0, tuple(sums))
    index = next((k for k, old in enumerate(terms) if not keep_separate(old, new)), None)
    if index is None and len(terms) < MAX_TERMS_PER_EDGE:
        terms.append(new)
        return Accumulation(len(terms) - 1)
    if index is None:
        index = min(range(len(terms)), key=lambda k: terms[k].nonzeros)
    one = add(terms[index], new)
    terms[index] = one.structure
    return Accumulation(index, (one,))


def _fill_up(terms: Sequence[Structure]) -> bool:
    """Return whether terms, some of them placed, hold a third of the entries there are."""
    rows, cols = terms[0].matrix_shape
    is_placed = any(term.has_positions for term in terms)
    return (
        is_placed
        and all(term.action is None for term in terms)
        and MIN_FILL_INVERSE * sum(term.nonzeros for term in terms) >= rows * cols
    )


def may_keep_separate_terms(graph: LinearGraph) -> bool:
    """Return whether elimination may leave several terms on some edge.

    If not, what an edge becomes does not depend on the order in which products are accumulated.
    Where no axis is tied but to one alone on its side, all sums keep the ties that there are.
    """
    if graph.chain is not None:
        return any(edge.structure.has_positions for edge in graph.edges)
    sizes = [graph.size(v) for v in range(len(graph.shapes))]
    return any(
        structure.has_positions
        or (
            structure.is_tied
            and max(structure.n_labels) > 1
            and max(sizes) ** 2 >= MIN_SEPARATE_ENTRIES
        )
        for structure in {edge.structure for edge in graph.edges}
    )


class VertexProduct(NamedTuple):
    """One product of an elimination at v: term `left` out of v with term `right` into v.

    The product is accumulated on the edge from `tail` to `head`.
    """

    tail: Vertex
    head: Vertex
    left: int
    right: int
    product: Product
    accumulation: Accumulation


class Elimination(EliminationGraph[Terms]):
    """A linear graph while its vertices are being eliminated.

    Edges carry their terms. `accumulations` says how each edge of the graph was accumulated,
    `products` what the last elimination took.
    """

    def __init__(self, graph: LinearGraph) -> None:
        super().__init__(graph.inner)
        self.accumulations: list[Accumulation] = []
        self.products: list[VertexProduct] = []
        for edge in graph.edges:
            terms = [*self.after[edge.tail].get(edge.head, ())]
            self.accumulations.append(accumulate(terms, edge.structure))
            self.set_edge(edge.tail, edge.head, tuple(terms))

    def results(self, graph: LinearGraph) -> Iterator[Structure]:
        """Yield the terms between inputs and outputs."""
        for start in graph.inputs:
            for end in graph.outputs:
                yield from self.after[start].get(end, ())

    def cost(self, v: Vertex, model: CostModel = by_multiplications) -> int:
        """Return what the products of eliminating v now cost."""
        return sum(
            model.product(multiply(left, right))
            for out in self.after[v].values()
            for into in self.before[v].values()
            for left in out
            for right in into
        )

    def eliminate(self, item: Item) -> None:
        self.products = []
        super().eliminate(item)

    def multiply_add(
        self, tail: Vertex, head: Vertex, left: Terms, right: Terms, old: Terms | None
    ) -> Terms | None:
        terms = [*old] if old else []
        for i, out in enumerate(left):
            for j, into in enumerate(right):
                product = multiply(out, into)
                made = product.structure
                if made.nonzeros and made.scale != 0:
                    if terms:
                        accumulation = accumulate(terms, made)
                    else:
                        accumulation, terms = NEW_EDGE, [made]
                    self.products.append(VertexProduct(tail, head, i, j, product, accumulation))
        return tuple(terms) or None


@dataclass(frozen=True, order=True, slots=True)
class Cost:
    """What an order costs: the amount in the unit of a cost model, then what it is made of.

    Costs compare by amount, then additions.
    """

    amount: int
    additions: int
    multiplications: int


def cost(graph: LinearGraph, order: Sequence[Item], model: CostModel = by_multiplications) -> Cost:
    """Return the cost of eliminating in this order."""
    elimination = Elimination(graph)
    operations: list[Product | StructureSum] = [
        total for accumulation in elimination.accumulations for total in accumulation.sums
    ]
    for item in order:
        elimination.eliminate(item)
        for m in elimination.products:
            operations.append(m.product)
            operations += m.accumulation.sums
    operators = [x for x in elimination.results(graph) if x.action is not None]
    return Cost(
        sum(cost_of(x, model) for x in operations) + sum(map(model.materialize, operators)),
        sum(x.additions for x in operations),
        sum(x.multiplications for x in operations) + sum(x.cost_to_materialize for x in operators),
    )


def cost_of(operation: Product | StructureSum, model: CostModel) -> int:
    """Return what one product or sum costs."""
    return model.product(operation) if isinstance(operation, Product) else model.sum(operation)
