"""Optimal bracketing of a chain: which vertices to eliminate in which order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import pairwise
from math import prod

from chainad.errors import PlanError
from chainad.planning.chain.hu_shing import hu_shing
from chainad.planning.chain.interval_dp import bracket_structures, can_tabulate
from chainad.planning.cost_models import CostModel, multiplications
from chainad.planning.linear_graph import Cost, LinearGraph
from chainad.planning.orders import Item, Vertex, only_vertices
from chainad.planning.plan import full_cost
from chainad.planning.registry import Problem, Proof, register
from chainad.structure import multiply
from chainad.structure.structure import Structure

PROOF = Proof(1, "optimal over all bracketings of this chain")

# Up to here every product is computed by the algebra; longer chains of dense matrices are bracketed
# by Hu & Shing, without a table of all segments.
MAX_ALGEBRA_FACTORS = 100

# A table of all segments is filled in seconds; those of the pieces of longer chains take less.
MAX_TABLE_FACTORS = 1500
MAX_PIECE_FACTORS = 300

MAX_HYBRID_ROOTS = 16


def _proof(problem: Problem) -> Proof | None:
    return PROOF if is_exact(problem.graph, problem.model) else None


@register(
    "chain", "optimal bracketing of a chain, by dynamic programming over structures", proof=_proof
)
def chain(problem: Problem) -> tuple[Vertex, ...]:
    """Return the order of a cheapest bracketing.

    Raises
    ------
    PlanError
        If the graph is not a path from one input to one output.
    """
    return bracketing_order(problem.graph, problem.model)


def bracketing_order(graph: LinearGraph, model: CostModel = multiplications) -> tuple[Vertex, ...]:
    """Return the order of a cheapest bracketing of a path."""
    free, boundaries, structures = factors_of(graph, model)
    found: Sequence[int]
    if _is_uniform(structures, model):
        found = range(1, len(structures))
    elif len(structures) <= MAX_ALGEBRA_FACTORS or not _is_dense(structures):
        found = _bracketed(structures, model)
    else:
        found = hu_shing(_sizes(structures))
    return (*free, *(boundaries[k - 1] for k in found))


def is_exact(graph: LinearGraph, model: CostModel = multiplications) -> bool:
    """Return whether `chain` compares all bracketings of a graph."""
    if graph.chain is None:
        return False
    _, _, structures = factors_of(graph, model)
    if len(structures) <= MAX_ALGEBRA_FACTORS or _is_uniform(structures, model):
        return True
    if _is_dense(structures):
        return model is multiplications
    return len(structures) <= MAX_TABLE_FACTORS and can_tabulate(structures, model)


def hybrid_orders(
    graph: LinearGraph, model: CostModel = multiplications
) -> Iterator[tuple[Vertex, ...]]:
    """Yield cheapest orders with one vertex or another kept for last, the cheapest ones first."""
    free, boundaries, structures = factors_of(graph, model)
    if len(structures) <= MAX_ALGEBRA_FACTORS or (
        len(structures) <= MAX_TABLE_FACTORS and can_tabulate(structures, model)
    ):
        brackets = bracket_structures(structures, model)
        for k in sorted(range(len(boundaries)), key=brackets.rooted)[:MAX_HYBRID_ROOTS]:
            yield (*free, *(boundaries[v - 1] for v in brackets.order(root=k)))


def _bracketed(structures: Sequence[Structure], model: CostModel) -> list[int]:
    """Return the inner vertices of a chain in a cheapest order, of a very long one in a good one.

    Very long chains are cut into pieces, where they are narrow; then the products of these are put
    into order.
    """
    most = piece = MAX_ALGEBRA_FACTORS
    if len(structures) > most and can_tabulate(structures, model):
        most, piece = MAX_TABLE_FACTORS, MAX_PIECE_FACTORS
    if len(structures) <= most:
        return bracket_structures(structures, model).order()
    order: list[int] = []
    cuts = _narrow_cuts(_sizes(structures), piece)
    products: list[Structure] = []
    for start, stop in pairwise(cuts):
        factors = structures[start:stop]
        order += [start + k for k in bracket_structures(factors, model).order()]
        products.append(reduce(lambda right, left: multiply(left, right).structure, factors))
    return order + [cuts[k] for k in _bracketed(products, model)]


def _narrow_cuts(sizes: Sequence[int], most: int) -> list[int]:
    """Return where to cut a chain into pieces of at most so many factors, at narrow vertices."""
    cuts = [0]
    while (rest := len(sizes) - 1 - cuts[-1]) > most:
        window = range(cuts[-1] + most // 2, cuts[-1] + min(most, rest - 1) + 1)
        cuts.append(min(window, key=sizes.__getitem__))
    return [*cuts, len(sizes) - 1]


def factors_of(
    graph: LinearGraph, model: CostModel = multiplications
) -> tuple[list[Vertex], list[Vertex], list[Structure]]:
    """Return vertices that are free to eliminate first, those left between factors, and these.

    Multiplications with an identity are free and change nothing: these are taken out beforehand.
    """
    if graph.chain is None:
        raise PlanError(
            "mode='chain' needs a path from one input to one output, but this graph branches;"
            " use mode='auto'"
        )
    factors = list(graph.chain)
    if model is multiplications:
        # A change of sign materializes an operator, hence is not free beside one.
        signs = (1,) if any(e.structure.action for e in factors) else (1, -1)
        kept = (e for e in factors if e.structure.scale not in signs or not e.structure.is_identity)
        factors = list(kept) or factors[:1]
    boundaries = [edge.tail for edge in factors[1:]]
    between = set(boundaries)
    free = [v for v in graph.inner if v not in between]
    return free, boundaries, [edge.structure for edge in factors]


def cost_of_order(
    graph: LinearGraph, order: Sequence[Item], model: CostModel = multiplications
) -> Cost:
    """Return `full_cost` of these; of a chain of matrices by their sizes, without algebra."""
    edges = graph.chain
    vertices = only_vertices(order)
    is_symmetric = graph.may_save_by_symmetry
    if edges is None or vertices is None or model is not multiplications or is_symmetric:
        return full_cost(graph, order, model)
    structures = [edge.structure for edge in edges]
    kinds = [*map(_kind, structures)]
    sizes = _sizes(structures)
    if None in kinds or 0 in sizes:
        return full_cost(graph, order, model)
    path = [edges[0].tail, *(edge.head for edge in edges)]
    size = dict(zip(path, sizes, strict=True))
    before, after = dict(pairwise(reversed(path))), dict(pairwise(path))
    behind = dict(zip(path, kinds, strict=False))  # the kind of what leads on from a vertex
    products = additions = 0
    for v in vertices:
        tail, head = before[v], after[v]
        right, left = behind[tail], behind[v]
        assert left is not None
        assert right is not None
        if left and right:  # a product with an identity is free
            rows, cols = (size[head] if left == DENSE else 1), (size[tail] if right == DENSE else 1)
            products += rows * size[v] * cols
            if left == right == DENSE:
                additions += rows * cols * (size[v] - 1)
        before[head], after[tail] = tail, head
        behind[tail] = max(left, right)
    return Cost(products, additions, products)


IDENTITY, DIAGONAL, DENSE = range(3)


def _kind(structure: Structure) -> int | None:
    """Return which kind of matrix this is, None for all that is none of the three."""
    if structure.is_dense:
        return DENSE
    if structure.is_matrix:
        return DIAGONAL
    return IDENTITY if structure.is_identity else None


def _is_uniform(structures: Sequence[Structure], model: CostModel) -> bool:
    """Return whether no bracketing costs less than forward mode.

    So it is where all vertices have one size n, and no diagonals follow on each other: then every
    scaling costs n^2 in any bracketing, and every product of two matrices n^3.
    """
    kinds = [*map(_kind, structures)]
    return (
        model is multiplications
        and {*kinds} <= {DENSE, DIAGONAL}
        and len({*_sizes(structures)}) == 1
        and all(pair != (DIAGONAL, DIAGONAL) for pair in pairwise(kinds))
    )


def _is_dense(structures: Sequence[Structure]) -> bool:
    return all(structure.is_dense for structure in structures)


def _sizes(structures: Sequence[Structure]) -> list[int]:
    """Return the sizes of the vertices from x to y."""
    ends = (structures[0].cols, *(structure.rows for structure in structures))
    return [axes[0].size if len(axes) == 1 else prod(a.size for a in axes) for axes in ends]
