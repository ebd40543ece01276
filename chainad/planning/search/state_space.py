"""The state space of a linear graph: integers, for thousands of eliminations per second.

A state is a pair of lists: what follows every vertex, and what precedes it. Their entries are never
changed, only replaced, so that copying a state copies two lists. See `make_state_space`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from chainad.ir.cache import cached_property
from chainad.planning.bounds import least_costs
from chainad.planning.calibration import SHIPPED_TABLE
from chainad.planning.orders import EdgeElimination, Item

Entry = TypeVar("Entry")
State: TypeAlias = tuple[list[Entry], list[Entry]]

# Products that multiply anything, per inner vertex of an order that is followed.
PRODUCTS_PER_VERTEX = 2

# Of larger graphs, orders are costed as far as they may be the cheapest.
MAX_FULLY_COSTED_VERTICES = 3000
LIMIT_GROWTH = 4


class Settled(NamedTuple):
    """Eliminations that some cheapest order begins with, what they cost, and what they leave."""

    first: list[int]
    cost: int
    rest: StateSpace[Any]

    def complete(self, order: Iterable[int]) -> list[int]:
        """Return an order of the whole graph from one of the rest."""
        return [*self.first, *map(self.rest.origin.__getitem__, order)] if self.first else [*order]

    def restrict(self, order: Iterable[int]) -> list[int]:
        """Return what an order of the whole graph leaves for the rest."""
        if not self.first:
            return [*order]
        number = {self.rest.origin[v]: v for v in self.rest.inner}
        return [number[v] for v in order if v in number]


class StateSpace(ABC, Generic[Entry]):
    """A graph under elimination. Vertices are numbered from 0.

    Attributes
    ----------
    inner : tuple of int
        The vertices to eliminate, in topological order.
    origin : sequence of int
        What every vertex is called in the graph that this one is a part of.
    start : State
        The graph before any elimination.
    widths : sequence of int
        How many elements every vertex has.
    is_scalar : bool
        Whether all widths are 1 and all products cost one multiplication.
    is_exact : bool
        Whether costs are exact, not at most a little too high.
    """

    inner: tuple[int, ...]
    origin: Sequence[int]
    start: State[Entry]
    widths: Sequence[int]
    is_scalar: bool
    is_exact: bool = True

    def copy(self) -> State[Entry]:
        """Return a state that may be changed."""
        return list(self.start[0]), list(self.start[1])

    def cost_of(self, order: Iterable[Item], limit: int | None = None) -> int:
        """Return the cost of eliminating in this order; beyond the limit, any cost beyond it."""
        given = tuple(order)
        known = self.known.get(given)
        if known is not None:
            return known
        cost = self.advance(self.copy(), given, limit)
        if limit is None or cost <= limit:
            self.known[given] = cost
        return cost

    def advance(self, state: State[Entry], order: Iterable[Item], limit: int | None = None) -> int:
        """Eliminate in this order, and return the cost; stop as soon as it exceeds the limit."""
        cost = 0
        for item in order:
            cost += self.apply(state, item)
            if limit is not None and cost > limit:
                break
        return cost

    @cached_property
    def known(self) -> dict[tuple[Item, ...], int]:
        """The costs of whole orders, once computed."""
        return {}

    def costs_of(self, orders: Sequence[Sequence[int]]) -> list[int | None]:
        """Return the costs of some orders, the least one among them.

        Where there are many products, or they take long, None stands for a cost that is not the
        least: costing stops as soon as it exceeds one that is known.
        """
        if not self.has_large_index_sets:
            if len(self.inner) <= MAX_FULLY_COSTED_VERTICES:
                return [self.cost_of(order) for order in orders]
            limit = self._limit_of(orders)
            costs = [self.cost_of(order, limit) for order in orders]
            return [cost if cost <= limit else None for cost in costs]
        least: int | None = None
        found: dict[int, int] = {}
        # The order of least bound goes on, and is costed when it is at its end.
        bounds = [self.bounds(order) for order in orders]
        relaxation = self.relaxation()
        queue = [(0, relaxation.cost_of(order), k) for k, order in enumerate(orders)]
        heapify(queue)
        while queue:
            bound, guess, k = heappop(queue)
            if least is not None and bound > least:
                break
            bound = next(bounds[k], -1)
            if bound >= 0:
                heappush(queue, (bound, guess, k))
                continue
            cost = self.cost_of(orders[k], least)
            if least is None or cost <= least:
                found[k] = least = cost
        return [found.get(k) for k in range(len(orders))]

    def least_of(self, orders: Sequence[Sequence[int]]) -> int:
        """Return the least of the costs of some orders."""
        if len(self.inner) <= MAX_FULLY_COSTED_VERTICES:
            return min(map(self.cost_of, orders))
        return min(cost for cost in self.costs_of(orders) if cost is not None)

    def _limit_of(self, orders: Sequence[Sequence[int]]) -> int:
        """Return a limit that the least of some costs is within, and at most so many times less.

        All orders are costed up to a limit that grows: an order of many products is never followed
        to its end where another one has few.
        """
        limit = len(self.inner)
        while all(self.cost_of(order, limit) > limit for order in orders):
            limit *= LIMIT_GROWTH
        return limit

    def is_settled(self, state: State[Entry], v: int) -> bool:
        """Return whether eliminating v now costs no more than later, and makes no other costlier.

        It may be false where that is not known.
        """
        return False

    @cached_property
    def settled(self) -> Settled:
        """The eliminations that some cheapest order begins with."""
        state, left, first, cost = self.copy(), set(self.inner), list[int](), 0
        todo = list(self.inner[::-1])
        while todo:
            v = todo.pop()
            if v in left and self.is_settled(state, v):
                near = self.neighbours(state, v)
                cost += self.eliminate(state, v)
                left.remove(v)
                first.append(v)
                todo += [u for side in near for u in side if u in left]
        rest = [v for v in self.inner if v in left]
        return Settled(first, cost, self.subproblem(rest, state) if first else self)

    def bounds(self, order: Iterable[int]) -> Iterator[int]:
        """Yield, elimination by elimination, a cost that the order does not stay below."""
        return iter(())

    def cheapest_of(self, orders: Sequence[Sequence[int]]) -> Sequence[int]:
        """Return the cheapest of some orders, of equals the first one."""
        costs = self.costs_of(orders)
        least = min(cost for cost in costs if cost is not None)
        return orders[costs.index(least)]

    def apply(self, state: State[Entry], item: Item) -> int:
        """Eliminate a vertex or an edge, and return what that costs."""
        if isinstance(item, EdgeElimination):
            return self.eliminate_edge(state, item)
        return self.eliminate(state, item)

    @abstractmethod
    def cost(self, state: State[Entry], v: int) -> int:
        """Return what eliminating v now costs."""

    @abstractmethod
    def eliminate(self, state: State[Entry], v: int) -> int:
        """Eliminate v, and return what that costs."""

    @abstractmethod
    def eliminate_edge(self, state: State[Entry], edge: EdgeElimination) -> int:
        """Eliminate an edge that is there, and return what that costs."""

    @abstractmethod
    def key(self, state: State[Entry]) -> Hashable:
        """Return a key, equal for states with the same edges of the same structures."""

    @abstractmethod
    def neighbour_cost_increase(self, state: State[Entry], v: int) -> int:
        """Return by how much eliminating v raises the costs of its neighbours."""

    def known_neighbour_cost_increase(self, state: State[Entry], v: int) -> tuple[int, bool]:
        """Return what is known of that increase, a lower bound, and whether it is exact."""
        return self.neighbour_cost_increase(state, v), True

    @abstractmethod
    def fill(self, state: State[Entry], v: int) -> int:
        """Return how many edges eliminating v adds."""

    @abstractmethod
    def neighbours(self, state: State[Entry], v: int) -> tuple[list[int], list[int]]:
        """Return the tails of the edges into v, and the heads of those out of v."""

    def near(self, state: State[Entry], v: int, reach: int) -> Iterable[int]:
        """Return the vertices within `reach` edges of v, in no path through an input or an output.

        These are never eliminated, so what a score reads of them does not change with their other
        edges.
        """
        near, ring = {v}, [v]
        for _ in range(reach):
            found: set[int] = set()
            for u in ring:
                tails, heads = self.neighbours(state, u)
                if tails and heads:
                    found.update(tails, heads)
            ring = list(found - near)
            near |= found
        return near

    @abstractmethod
    def edges_for_bounds(self) -> tuple[Sequence[int], dict[tuple[int, int], bool]] | None:
        """Return widths and edges for `least_costs`, None if no bound on costs is known."""

    @abstractmethod
    def subproblem(
        self, vertices: Sequence[int], state: State[Entry] | None = None
    ) -> StateSpace[Any]:
        """Return the problem of eliminating some vertices only; their neighbours are its ends."""

    @cached_property
    def least_costs(self) -> dict[int, int]:
        """What every vertex costs at least in any order; 0 where no bound is known."""
        known = self.edges_for_bounds()
        if known is None:
            return dict.fromkeys(self.inner, 0)
        return least_costs(*known, self.inner)

    @property
    def least_cost(self) -> int:
        """A cost below which no order can be."""
        return sum(self.least_costs.values())

    def picoseconds_of(self, cost: int) -> int:
        """Return how long an order of this cost takes, about: every product is a call, at least."""
        products = min(cost, PRODUCTS_PER_VERTEX * len(self.inner))
        return SHIPPED_TABLE.cost("calls") * products + SHIPPED_TABLE.cost("dots") * cost

    @property
    def has_large_index_sets(self) -> bool:
        """Whether the index sets are so large that products of structures take long."""
        return False

    @property
    def penalizes_memory(self) -> bool:
        """Whether large products are costed higher than they are, to limit memory."""
        return False

    def is_oversized(self, state: State[Entry], v: int) -> bool:
        """Return whether eliminating v makes such a product; its cost must be known."""
        return False

    def relaxation(self) -> StateSpace[Any]:
        """Return a graph that is quicker to cost, where products take long, for estimates."""
        return self

    @property
    def sums_are_free(self) -> bool:
        """Whether the cost of an elimination depends on the edges of its vertex alone."""
        return True

    @property
    def overhead(self) -> int:
        """What computing products has taken so far, in eliminations that look them up."""
        return 0

    # How many pairs of edges were examined, one by one, to cost eliminations.
    pairs: int = 0


def bits(mask: int) -> list[int]:
    """Return the numbers of the bits that are set, ascending."""
    found = []
    while mask:
        low = mask & -mask
        found.append(low.bit_length() - 1)
        mask ^= low
    return found


def near_by_bits(state: State[int], v: int, reach: int, inside: int) -> list[int]:
    """Return the inner vertices within `reach` edges of v, where entries have a bit for each."""
    after, before = state
    near, ring = 0, 1 << v
    for _ in range(reach):
        found = 0
        while ring:
            bit = ring & -ring
            ring ^= bit
            u = bit.bit_length() - 1
            found |= after[u] | before[u]
        found &= inside
        ring = found & ~near
        near |= found
    return bits(near)


def around(graph: StateSpace[Entry], state: State[Entry], vertices: Iterable[int]) -> set[int]:
    """Return the neighbours of some vertices."""
    found: set[int] = set()
    for v in vertices:
        tails, heads = graph.neighbours(state, v)
        found.update(tails, heads)
    return found
