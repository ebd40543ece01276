"""Optimal bracketing of a chain, by dynamic programming over its segments.

The structure of a segment does not depend on how it is bracketed, hence

    cost(i..j) = min over k of  cost(i..k) + cost(k+1..j) + price(S(k+1..j), S(i..k))

with S the structure of a segment

is exact over all bracketings (Godbole 1973 for matrices; Griewank & Naumann 2003 for Jacobians).
Diagonals stay factors of their own, so that they are applied where the array is smallest.
Factors are counted from x to y: factor i maps vertex i to vertex i + 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from chainad.algebra import multiply
from chainad.errors import PlanError
from chainad.linear import LinearGraph, Price, Vertex
from chainad.plan import price_in_full
from chainad.planners.polygon import order_of_polygon
from chainad.prices import PriceModel, multiplications
from chainad.structure import Structure

PROOF = "optimal over all bracketings of this chain"

# Longer chains of dense matrices are bracketed without a table of all segments.
MANY_FACTORS = 64


@dataclass(frozen=True)
class Brackets:
    """For every segment of a chain its cost and where it is split last.

    `cost[i][j]` is the price of the product of factors i to j; `split[i][j]` the last factor of
    its right part.
    """

    cost: Sequence[Sequence[int]]
    split: Sequence[Sequence[int]]

    def order(self, root: int | None = None) -> list[int]:
        """Return the inner vertices in the order of their elimination.

        Vertex k + 1 lies between factors k and k + 1; `root` is the last split, if not the best.
        """
        order: list[int] = []
        stack = [(0, len(self.cost) - 1, root)]
        while stack:
            i, j, k = stack.pop()
            if i == j:
                continue
            k = int(self.split[i][j]) if k is None else k
            order.append(k + 1)
            stack += [(i, k, None), (k + 1, j, None)]
        return order[::-1]


def chain(graph: LinearGraph, model: PriceModel = multiplications) -> tuple[Vertex, ...]:
    """Return the order of a cheapest bracketing.

    Raises
    ------
    PlanError
        If the graph is not a path from one input to one output.
    """
    free, boundaries, structures = factors_of(graph, model)
    is_long = len(structures) > MANY_FACTORS and model is multiplications
    if is_long and all(s.is_dense for s in structures):
        order = order_of_polygon(_sizes(structures))
    else:
        order = bracket_structures(structures, model).order()
    return (*free, *(boundaries[k - 1] for k in order))


def brackets_of(
    graph: LinearGraph, model: PriceModel = multiplications
) -> tuple[list[Vertex], list[Vertex], Brackets]:
    """Return vertices that are free to eliminate first, those left between factors, and the table.

    The table has an entry for every segment: for long chains see `chain`.
    """
    free, boundaries, structures = factors_of(graph, model)
    return free, boundaries, bracket_structures(structures, model)


def factors_of(
    graph: LinearGraph, model: PriceModel = multiplications
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
        factors = [e for e in factors if not e.structure.is_identity] or factors[:1]
    boundaries = [edge.tail for edge in factors[1:]]
    kept = set(boundaries)
    free = [v for v in graph.inner if v not in kept]
    return free, boundaries, [edge.structure for edge in factors]


def price_of_order(
    graph: LinearGraph, order: Sequence[Vertex], model: PriceModel = multiplications
) -> Price:
    """Return `price_in_full` of these; of dense matrices by their sizes, without algebra."""
    edges = graph.chain
    is_dense = edges is not None and all(edge.structure.is_dense for edge in edges)
    if edges is None or not is_dense or model is not multiplications:
        return price_in_full(graph, order, model)
    path = [edges[0].tail, *(edge.head for edge in edges)]
    size = dict(zip(path, _sizes([edge.structure for edge in edges]), strict=True))
    if not all(size.values()):
        return price_in_full(graph, order, model)
    before, after = dict(pairwise(reversed(path))), dict(pairwise(path))
    products = additions = 0
    for v in order:
        tail, head = before[v], after[v]
        entries = size[tail] * size[head]
        products += entries * size[v]
        additions += entries * (size[v] - 1)
        before[head], after[tail] = tail, head
    return Price(products, additions, products)


def _sizes(structures: Sequence[Structure]) -> list[int]:
    """Return the sizes of the vertices from x to y."""
    return [structures[0].matrix_shape[1], *(s.matrix_shape[0] for s in structures)]


def bracket_structures(
    structures: Sequence[Structure], model: PriceModel = multiplications
) -> Brackets:
    """Fill the table for a chain of structures, factor 0 being the one next to x."""
    if model is multiplications and all(s.is_matrix for s in structures):
        return bracket_matrices(_sizes(structures), [s.kind == "diagonal" for s in structures])
    return _bracket_any(structures, model)


def bracket_matrices(sizes: Sequence[int], diagonal: Sequence[bool] | None = None) -> Brackets:
    """Fill the table for matrices given by their sizes, all segments of one length at a time.

    Factor i has shape (sizes[i + 1], sizes[i]); `diagonal[i]` says that it keeps a diagonal only.
    """
    q = len(sizes) - 1
    is_diagonal = np.asarray(diagonal if diagonal is not None else [False] * q, dtype=bool)
    fits = q * max(sizes, default=1) ** 3 < 2**62
    n = np.array(sizes, dtype=np.int64 if fits else object)  # object: Python integers
    cost = np.zeros((q, q), n.dtype)
    split = np.zeros((q, q), np.int64)
    dense_before = np.concatenate([[0], np.cumsum(~is_diagonal)])
    for length in range(2, q + 1):
        i = np.arange(q - length + 1)[:, None]
        k = i + np.arange(length - 1)[None, :]
        j = i + length - 1
        rows = _unless_diagonal(n[j + 1], dense_before[j + 1] - dense_before[k + 1])
        cols = _unless_diagonal(n[i], dense_before[k + 1] - dense_before[i])
        total = cost[i, k] + cost[k + 1, j] + rows * n[k + 1] * cols
        best = np.argmin(total, axis=1)
        cost[i[:, 0], j[:, 0]] = total[i[:, 0], best]
        split[i[:, 0], j[:, 0]] = i[:, 0] + best
    return Brackets(cost.tolist(), split.tolist())


def _unless_diagonal(
    size: npt.NDArray[np.int64], dense_factors: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return the sizes, or 1 where a segment has no dense factor and so keeps a diagonal only."""
    return np.where(dense_factors > 0, size, np.ones_like(size))


def _bracket_any(structures: Sequence[Structure], model: PriceModel) -> Brackets:
    q = len(structures)
    segment = {(i, i): s for i, s in enumerate(structures)}
    cost = [[0] * q for _ in range(q)]
    split = [[0] * q for _ in range(q)]
    for length in range(2, q + 1):
        for i in range(q - length + 1):
            j = i + length - 1
            segment[i, j] = multiply(structures[j], segment[i, j - 1]).structure
            prices = (
                (
                    cost[i][k]
                    + cost[k + 1][j]
                    + model.product(multiply(segment[k + 1, j], segment[i, k])),
                    k,
                )
                for k in range(i, j)
            )
            cost[i][j], split[i][j] = min(prices)
    return Brackets(cost, split)
