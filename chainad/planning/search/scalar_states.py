"""The states of a graph of scalars: a bit per neighbour, and one more if the edge is stored.

An edge of plus or minus one is not stored: products with it are free. A sum of two such edges, and
an edge of any other constant, is taken for a stored one: costs may be a little too high. Inputs and
outputs may be arrays: every element is a vertex of its own; that their Jacobians may be stored with
zeros is left out.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence

from chainad.planning.linear_graph import LinearGraph
from chainad.planning.orders import EdgeElimination, Vertex
from chainad.planning.search.state_space import State, StateSpace, bits, near_by_bits

# Inputs and outputs of more elements are left to other state spaces.
MAX_END_ELEMENTS = 1500

# Whether an edge is stored, by tail and head.
Edges = Mapping[tuple[int, int], bool]


class ScalarStates(StateSpace[int]):
    """A graph of scalars: eliminating v costs its stored edges in times its stored edges out.

    The low half of an entry has a bit for every neighbour, the high half for those that are joined
    by a stored edge. The neighbours of an end have no entry: it is not eliminated.
    """

    is_scalar = False
    is_exact = False

    def __init__(
        self, count: int, inner: Sequence[int], edges: Edges, origin: Sequence[int]
    ) -> None:
        self.widths = [1] * count
        self.inner = tuple(inner)
        self.origin = origin
        self.count = count
        self.low = (1 << count) - 1
        self.inside = sum(1 << v for v in inner)
        after, before = [0] * count, [0] * count
        for (tail, head), is_stored in edges.items():
            after[tail] |= 1 << head | is_stored << (head + count)
            before[head] |= 1 << tail | is_stored << (tail + count)
        self.start = after, before

    def cost(self, state: State[int], v: int) -> int:
        high = self.count
        return (state[0][v] >> high).bit_count() * (state[1][v] >> high).bit_count()

    def eliminate(self, state: State[int], v: int) -> int:
        after, before = state
        heads, tails = after[v], before[v]
        self._join(after, v, tails, heads)
        self._join(before, v, heads, tails)
        after[v] = before[v] = 0
        high = self.count
        return (heads >> high).bit_count() * (tails >> high).bit_count()

    def _join(self, rows: list[int], v: int, near: int, far: int) -> None:
        """Join the inner vertices of `near` to those of `far`."""
        high = self.count
        stored, far_low = near >> high, far & self.low
        far_kept = far_low << high | far_low
        kept = ~(1 << v | 1 << (v + high))
        mask = near & self.inside
        while mask:
            bit = mask & -mask
            mask ^= bit
            u = bit.bit_length() - 1
            old = rows[u]
            if stored & bit:
                rows[u] = (old | far_kept) & kept
            else:  # two edges of ones add up to something else
                rows[u] = (old | far | (old & far_low) << high) & kept

    def eliminate_edge(self, state: State[int], edge: EdgeElimination) -> int:
        v, near, rows, cols = edge.head, edge.tail, *state
        if edge.side == "front":
            v, near, rows, cols = near, v, cols, rows
        high, far = self.count, rows[v]
        is_stored = rows[near] >> (v + high) & 1
        cost = is_stored * (far >> high).bit_count()
        far_low = far & self.low
        own, bit = rows[near], 1 << near | is_stored << (near + high)
        stored = own & far_low if not is_stored else far_low
        rows[near] = (own | far | stored << high) & ~(1 << v | 1 << (v + high))
        cols[v] &= ~(1 << near | 1 << (near + high))
        gone = 0 if cols[v] else 1 << v | 1 << (v + high)
        for u in bits(far_low):
            both = rows[near] >> (u + high) & 1
            cols[u] = (cols[u] | bit | both << (near + high)) & ~gone
        if gone:
            rows[v] = 0
        return cost

    def key(self, state: State[int]) -> Hashable:
        return tuple(state[0])

    def is_settled(self, state: State[int], v: int) -> bool:
        """Return whether v has one edge on either side, or a single one of ones on one side.

        Its other edges move to the end of that one, each costs what it did before. Only two edges
        of ones must not be added up: a stored one costs more.
        """
        high, low = self.count, self.low
        heads, tails = state[0][v], state[1][v]
        for one, many in ((tails, heads), (heads, tails)):
            near, far = one & low, many & low
            if near and not near & (near - 1) and far and far == many >> high:
                return not one >> high or not far & (far - 1)
        return False

    def neighbour_cost_increase(self, state: State[int], v: int) -> int:
        after, before = state
        heads, tails = after[v], before[v]
        return self._neighbour_cost_increase(
            after, before, v, tails, heads
        ) + self._neighbour_cost_increase(before, after, v, heads, tails)

    def _neighbour_cost_increase(
        self, rows: list[int], cols: list[int], v: int, near: int, far: int
    ) -> int:
        high = self.count
        stored, far_low, far_high = near >> high, far & self.low, far >> high
        gone = ~(1 << v)
        total = 0
        mask = near & self.inside
        while mask:
            bit = mask & -mask
            mask ^= bit
            u = bit.bit_length() - 1
            width = (cols[u] >> high).bit_count()
            if width:
                row = rows[u]
                old = row >> high
                new = old | far_low if stored & bit else old | far_high | (row & far_low)
                total += width * ((new & gone).bit_count() - old.bit_count())
        return total

    def fill(self, state: State[int], v: int) -> int:
        after, before = state
        heads, tails = after[v] & self.low, before[v] & self.low
        ends = heads & ~self.inside
        made = self._missing(before, heads & self.inside, tails)
        return made + self._missing(after, tails & self.inside, ends) if ends else made

    def _missing(self, rows: list[int], near: int, far: int) -> int:
        """Return how many of `far` the vertices of `near` have no edge to."""
        total = 0
        while near:
            bit = near & -near
            near ^= bit
            total += (far & ~rows[bit.bit_length() - 1]).bit_count()
        return total

    def neighbours(self, state: State[int], v: int) -> tuple[list[int], list[int]]:
        low = self.low
        return bits(state[1][v] & low), bits(state[0][v] & low)

    def near(self, state: State[int], v: int, reach: int) -> list[int]:
        return near_by_bits(state, v, reach, self.inside)

    def edges_for_bounds(self) -> tuple[Sequence[int], dict[tuple[int, int], bool]]:
        return self.widths, self._edges(self.inner, self.start)

    def _edges(self, vertices: Iterable[int], state: State[int]) -> dict[tuple[int, int], bool]:
        """Return the edges at some vertices, and which of them are stored."""
        after, before = state
        found: dict[tuple[int, int], bool] = {}
        for v in vertices:
            heads, tails = after[v] >> self.count, before[v] >> self.count
            for w in bits(after[v] & self.low):
                found[v, w] = bool(heads >> w & 1)
            for u in bits(before[v] & self.low):
                found[u, v] = bool(tails >> u & 1)
        return found

    def subproblem(self, vertices: Sequence[int], state: State[int] | None = None) -> ScalarStates:
        edges = self._edges(vertices, state or self.start)
        everything = sorted({*vertices, *(v for edge in edges for v in edge)})
        number = {v: k for k, v in enumerate(everything)}
        return ScalarStates(
            len(everything),
            [number[v] for v in vertices],
            {(number[u], number[w]): is_stored for (u, w), is_stored in edges.items()},
            everything,
        )


def scalar_states(graph: LinearGraph) -> ScalarStates | None:
    """Return the states of a graph whose inner vertices are scalars; None if some are not."""
    inner = graph.inner
    if any(graph.size(v) != 1 for v in inner):
        return None
    inside = set(inner)
    count = len(graph.shapes)
    elements: dict[tuple[Vertex, int], int] = {}
    edges: dict[tuple[int, int], bool] = {}
    for edge in graph.edges:
        tail, head, structure = edge.tail, edge.head, edge.structure
        into, out = tail in inside, head in inside
        if structure.action is not None or structure.nonzeros > MAX_END_ELEMENTS:
            return None
        is_stored = structure.scale is None or abs(structure.scale) != 1
        if into and out:
            ends = [(tail, head)]
        elif into or out:
            rows, cols = structure.entries()
            v, far = (tail, head) if into else (head, tail)
            spots = (rows if into else cols).tolist()
            known = [elements.setdefault((far, at), count + len(elements)) for at in spots]
            ends = [(v, w) if into else (w, v) for w in known]
        else:
            continue  # never multiplied
        for pair in ends:
            edges[pair] = is_stored or pair in edges
    if len(elements) > MAX_END_ELEMENTS:
        return None
    everything = count + len(elements)
    return ScalarStates(everything, inner, edges, range(everything))
