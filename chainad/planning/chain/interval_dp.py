"""The cheapest bracketing of a chain, by dynamic programming over its segments.

The structure of a segment does not depend on how it is bracketed, hence

    cost(i..j) = min over k of  cost(i..k) + cost(k+1..j) + cost(S(k+1..j), S(i..k))

with S the structure of a segment, is exact over all bracketings (Godbole 1973 for matrices;
Griewank & Naumann 2003 for Jacobians). An operator costs what materializes it, unless it is
applied by JVPs or VJPs to the other segment as it is,

    cost(i..j) = cost(i..j-1) + the JVPs of operator j,  or  cost(i+1..j) + the VJPs of i

(Naumann 2020, *Optimization of generalized Jacobian chain products without memory constraints*).
Diagonals stay factors of their own, so that they are applied where the array is smallest.
Factors are counted from x to y: factor i maps vertex i to vertex i + 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chainad.planning.chain.live_ranges import Crossing, kept_whole, live_ranges_of
from chainad.planning.chain.vectorized_dp import Segments, is_bare
from chainad.planning.cost_models import CostModel, multiplications
from chainad.structure import multiply
from chainad.structure.structure import Structure

Split = Callable[[int, int], int]


@dataclass(frozen=True)
class Brackets:
    """The cost of a chain of `count` factors, and where each of its segments is split last.

    `split(i, j)` is the last factor of the right part of segment i..j, and `rooted(k)` the cost of
    the chain if it is split last behind factor k.
    """

    count: int
    cost: int
    split: Split
    rooted: Callable[[int], int]

    def order(self, root: int | None = None) -> list[int]:
        """Return the inner vertices in the order of their elimination.

        Vertex k + 1 lies between factors k and k + 1; `root` is the last split, if not the best.
        """
        order: list[int] = []
        stack = [(0, self.count - 1, root)]
        while stack:
            i, j, k = stack.pop()
            if i == j:
                continue
            k = self.split(i, j) if k is None else k
            order.append(k + 1)
            stack += [(i, k, None), (k + 1, j, None)]
        return order[::-1]


def bracket_structures(
    structures: Sequence[Structure], model: CostModel = multiplications
) -> Brackets:
    """Find the cheapest bracketing of a chain of structures, factor 0 being the one next to x."""
    segments = segments_of(structures) if model is multiplications else None
    if segments is not None:
        whole = segments.offers(0, segments.q - 1)
        return Brackets(segments.q, segments.cost, segments.split, whole.__getitem__)
    return bracket_by_algebra(structures, model)


def segments_of(structures: Sequence[Structure]) -> Segments | None:
    """Return the table of all segments, in multiplications; None if labels are not enough."""
    crosses = _crosses(structures, multiplications)
    return None if crosses is None else Segments(structures, crosses)


def can_tabulate(structures: Sequence[Structure], model: CostModel = multiplications) -> bool:
    """Return whether labels tell all costs at once, so that no product has to be computed."""
    return _crosses(structures, model) is not None


def _crosses(structures: Sequence[Structure], model: CostModel) -> list[Crossing] | None:
    if model is not multiplications:
        return None
    crosses = live_ranges_of([structure.materialized for structure in structures])
    return crosses if crosses and _are_applied_whole(structures, crosses) else None


def _are_applied_whole(structures: Sequence[Structure], crosses: Sequence[Crossing]) -> bool:
    """Return whether operators are applied to arrays along their own labels alone.

    Not to an identity, which leaves an operator what it is, nor to equal terms; all other products
    make an array.
    """
    operators = [i for i, s in enumerate(structures) if s.action is not None]
    if operators and any(s.is_identity for s in structures):
        return False
    if operators and any(is_bare(x, len(structures)) for cross in crosses for x in cross):
        return False
    return all(kept_whole(structures[i], crosses[i], crosses[i + 1]) for i in operators)


def bracket_by_algebra(
    structures: Sequence[Structure], model: CostModel = multiplications
) -> Brackets:
    """Find the cheapest bracketing, computing the structure and cost of every product."""
    q = len(structures)
    segment = {(i, i): s for i, s in enumerate(structures)}
    cost = [[0] * q for _ in range(q)]
    split = [[0] * q for _ in range(q)]

    def rooted(i: int, k: int, j: int) -> int:
        product = multiply(segment[k + 1, j], segment[i, k])
        return cost[i][k] + cost[k + 1][j] + model.product(product)

    for length in range(2, q + 1):
        for i in range(q - length + 1):
            j = i + length - 1
            segment[i, j] = multiply(structures[j], segment[i, j - 1]).structure
            cost[i][j], split[i][j] = min((rooted(i, k, j), k) for k in range(i, j))
    alone = model.materialize(structures[0]) if q == 1 and structures[0].action else 0
    return Brackets(q, cost[0][-1] + alone, lambda i, j: split[i][j], lambda k: rooted(0, k, q - 1))
