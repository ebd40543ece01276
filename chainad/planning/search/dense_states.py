"""A graph of dense Jacobians as integers: a bit per neighbour says everything."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

from chainad.planning.orders import EdgeElimination
from chainad.planning.search.state_space import State, StateSpace, around, bits, near_by_bits


class DenseStates(StateSpace[int]):
    """A graph of dense Jacobians: eliminating v costs d(v) times the widths before and behind."""

    def __init__(
        self,
        widths: Sequence[int],
        inner: Sequence[int],
        edges: Iterable[tuple[int, int]],
        origin: Sequence[int],
    ) -> None:
        self.widths = widths
        self.inner = tuple(inner)
        self.origin = origin
        self.inside = sum(1 << v for v in self.inner)
        after, before = [0] * len(widths), [0] * len(widths)
        for tail, head in edges:
            after[tail] |= 1 << head
            before[head] |= 1 << tail
        self.start = after, before
        self.is_scalar = all(width == 1 for width in widths)
        self._weights: dict[int, int] = {0: 0}

    def weight(self, mask: int) -> int:
        """Return the sum of the widths of some vertices."""
        if self.is_scalar:
            return mask.bit_count()
        found = self._weights.get(mask)
        if found is None:
            found = self._weights[mask] = sum(map(self.widths.__getitem__, bits(mask)))
        return found

    def cost(self, state: State[int], v: int) -> int:
        if self.is_scalar:
            return state[0][v].bit_count() * state[1][v].bit_count()
        return self.widths[v] * self.weight(state[0][v]) * self.weight(state[1][v])

    def is_settled(self, state: State[int], v: int) -> bool:
        """Return whether v is a scalar with one edge on either side."""
        return self.is_scalar and state[0][v].bit_count() == state[1][v].bit_count() == 1

    def additions_of(self, order: Iterable[int]) -> int:
        """Return the additions of eliminating in this order, parallel edges not counted."""
        state = self.copy()
        after, before = state
        total = 0
        for v in order:
            heads, tails = after[v], before[v]
            if self.widths[v] > 1:
                total += self.weight(heads) * self.weight(tails) * (self.widths[v] - 1)
            for u in bits(tails):
                both = after[u] & heads
                if both:
                    total += self.widths[u] * self.weight(both)
            self.eliminate(state, v)
        return total

    def eliminate(self, state: State[int], v: int) -> int:
        after, before = state
        heads, tails = after[v], before[v]
        if self.is_scalar:
            cost = heads.bit_count() * tails.bit_count()
        else:
            cost = self.widths[v] * self.weight(heads) * self.weight(tails)
        bit = 1 << v
        mask = tails
        while mask:
            low = mask & -mask
            mask ^= low
            u = low.bit_length() - 1
            after[u] = (after[u] | heads) ^ bit
        mask = heads
        while mask:
            low = mask & -mask
            mask ^= low
            u = low.bit_length() - 1
            before[u] = (before[u] | tails) ^ bit
        after[v] = before[v] = 0
        return cost

    def eliminate_edge(self, state: State[int], edge: EdgeElimination) -> int:
        v, near, rows, cols = edge.head, edge.tail, *state
        if edge.side == "front":
            v, near, rows, cols = near, v, cols, rows
        far, bit = rows[v], 1 << near
        rows[near] = (rows[near] | far) & ~(1 << v)
        cols[v] ^= bit
        # Without an edge into it, what leads out of v plays no part.
        gone = 0 if cols[v] else 1 << v
        for u in bits(far):
            cols[u] = (cols[u] | bit) & ~gone
        if gone:
            rows[v] = 0
        return self.widths[v] * self.widths[near] * self.weight(far)

    def key(self, state: State[int]) -> Hashable:
        return tuple(state[0])

    def neighbour_cost_increase(self, state: State[int], v: int) -> int:
        after, before = state
        heads, tails, bit = after[v], before[v], 1 << v
        total = 0
        for u in bits(tails):
            old = after[u]
            more = self.weight((old | heads) ^ bit) - self.weight(old)
            total += self.widths[u] * self.weight(before[u]) * more
        for u in bits(heads):
            old = before[u]
            more = self.weight((old | tails) ^ bit) - self.weight(old)
            total += self.widths[u] * self.weight(after[u]) * more
        return total

    def fill(self, state: State[int], v: int) -> int:
        after, before = state
        heads = after[v]
        return sum((heads & ~after[u]).bit_count() for u in bits(before[v]))

    def neighbours(self, state: State[int], v: int) -> tuple[list[int], list[int]]:
        return bits(state[1][v]), bits(state[0][v])

    def near(self, state: State[int], v: int, reach: int) -> list[int]:
        return near_by_bits(state, v, reach, self.inside)

    def edges_for_bounds(self) -> tuple[Sequence[int], dict[tuple[int, int], bool]]:
        edges = {(u, w): True for u, mask in enumerate(self.start[0]) for w in bits(mask)}
        return self.widths, edges

    def subproblem(self, vertices: Sequence[int], state: State[int] | None = None) -> DenseStates:
        after, before = state or self.start
        everything = sorted({*vertices, *around(self, (after, before), vertices)})
        number = {v: k for k, v in enumerate(everything)}
        inside = set(vertices)
        edges = [
            (number[u], number[w])
            for u in everything
            for w in bits(after[u])
            if w in number and (u in inside or w in inside)
        ]
        return DenseStates(
            [self.widths[v] for v in everything],
            [number[v] for v in vertices],
            edges,
            everything,
        )
