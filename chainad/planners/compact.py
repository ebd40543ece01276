"""A linear graph as integers: what planners search on, thousands of eliminations per second.

A state is a pair of lists: what follows every vertex, and what precedes it. Their entries are never
changed, only replaced, so that copying a state copies two lists. Two kinds of graph have a state:

- `Dense`: every Jacobian keeps all its numbers, so that a bit per neighbour says everything;
- `Structured`: every edge is the number of its structures; products and sums are looked up.

Both price by an additive model, products and sums alike.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, Generic, TypeAlias, TypeVar

from chainad.algebra import multiply
from chainad.bounds import scalar_edges
from chainad.linear import LinearGraph, Pieces, Vertex, land
from chainad.orders import EdgeElimination, Item
from chainad.prices import PriceModel, all_multiplications, multiplications
from chainad.structure import Structure

Entry = TypeVar("Entry")
State: TypeAlias = tuple[list[Entry], list[Entry]]

# Integers of more bits than this are slower than sets.
MOST_BITS = 4096

# Computing the product of two structures takes as long as so many eliminations, and one more for
# every so many positions.
MISS = 15
PER_ELIMINATION = 150

# Products of patterns with more positions than this take too long to be tried by the hundred.
BULKY = 20_000

# A Jacobian of more numbers than all that is given, and than so many, is priced higher by so much
# for every number beyond: writing a number to memory and reading it takes longer than multiplying.
ROOMY = 1_000_000
PER_NUMBER = 16
# Graphs of no more inner vertices may be solved exactly, hence by prices as they are.
EXACT = 18


class Compact(ABC, Generic[Entry]):
    """A graph under elimination. Vertices are numbered from 0; `names` are those outside.

    Attributes
    ----------
    inner : tuple of int
        The vertices to eliminate, in topological order.
    origin : sequence of int
        What every vertex is called in the graph that this one is a part of.
    start : State
        The graph before any elimination.
    widths : sequence of int
        How many numbers every vertex has.
    is_scalar : bool
        Whether all widths are 1 and all products cost one multiplication.
    """

    inner: tuple[int, ...]
    origin: Sequence[int]
    start: State[Entry]
    widths: Sequence[int]
    is_scalar: bool

    def copy(self) -> State[Entry]:
        """Return a state that may be changed."""
        return list(self.start[0]), list(self.start[1])

    def price_of(self, order: Iterable[Item], limit: int | None = None) -> int:
        """Return the price of eliminating in this order; beyond the limit, any price beyond it."""
        state, price = self.copy(), 0
        for item in order:
            price += self.take(state, item)
            if limit is not None and price > limit:
                break
        return price

    def prices_of(self, orders: Sequence[Sequence[int]]) -> list[int | None]:
        """Return the prices of some orders, the least one among them.

        Where products take long, None stands for a price that is not the least: pricing stops
        as soon as it exceeds one that is known.
        """
        if not self.is_heavy:
            return [self.price_of(order) for order in orders]
        rough, least = self.rough(), None
        found: dict[int, int] = {}
        for k in sorted(range(len(orders)), key=lambda k: rough.price_of(orders[k])):
            price = self.price_of(orders[k], least)
            if least is None or price <= least:
                found[k] = least = price
        return [found.get(k) for k in range(len(orders))]

    def cheapest_of(self, orders: Sequence[Sequence[int]]) -> Sequence[int]:
        """Return the cheapest of some orders, of equals the first one."""
        prices = self.prices_of(orders)
        least = min(price for price in prices if price is not None)
        return orders[prices.index(least)]

    def take(self, state: State[Entry], item: Item) -> int:
        """Eliminate a vertex or an edge, and return what that costs."""
        if isinstance(item, EdgeElimination):
            return self.eliminate_edge(state, item)
        return self.eliminate(state, item)

    @abstractmethod
    def price(self, state: State[Entry], v: int) -> int:
        """Return what eliminating v now costs."""

    @abstractmethod
    def eliminate(self, state: State[Entry], v: int) -> int:
        """Eliminate v, and return what that costs."""

    @abstractmethod
    def eliminate_edge(self, state: State[Entry], edge: EdgeElimination) -> int:
        """Eliminate an edge that is there, and return what that costs."""

    @abstractmethod
    def key(self, state: State[Entry]) -> Hashable:
        """Return what two states share if the same edges are left with the same structures."""

    @abstractmethod
    def damage(self, state: State[Entry], v: int) -> int:
        """Return by how much eliminating v raises the prices of its neighbours."""

    @abstractmethod
    def fill(self, state: State[Entry], v: int) -> int:
        """Return how many edges eliminating v makes that are not there yet."""

    @abstractmethod
    def neighbours(self, state: State[Entry], v: int) -> tuple[list[int], list[int]]:
        """Return the tails of the edges into v, and the heads of those out of v."""

    @abstractmethod
    def known_edges(self) -> tuple[Sequence[int], dict[tuple[int, int], bool]] | None:
        """Return widths and edges for `least_prices`, None if no bound on prices is known."""

    @abstractmethod
    def part(self, vertices: Sequence[int], state: State[Entry] | None = None) -> Compact[Any]:
        """Return the problem of eliminating some vertices only; their neighbours are its ends."""

    @property
    def is_heavy(self) -> bool:
        """Whether the patterns have so many positions that products of them take long."""
        return False

    @property
    def is_averse(self) -> bool:
        """Whether some products are priced higher than they are, lest they fill the memory."""
        return False

    def is_oversized(self, state: State[Entry], v: int) -> bool:
        """Return whether eliminating v makes such a product; its price must be known."""
        return False

    def rough(self) -> Dense:
        """Return the same graph with dense Jacobians: a guess, where products take long."""
        tails = enumerate(self.copy()[0])
        edges = [(u, w) for u, _ in tails for w in self.neighbours(self.start, u)[1]]
        return Dense(self.widths, self.inner, edges, self.origin)

    @property
    def sums_are_free(self) -> bool:
        """Whether the price of an elimination depends on the edges of its vertex alone."""
        return True

    @property
    def work(self) -> int:
        """What computing products has taken so far, in eliminations that look products up."""
        return 0

    # How many pairs of edges were looked at, one by one, to price eliminations.
    pairs: int = 0


def bits(mask: int) -> Iterator[int]:
    """Yield the numbers of the bits that are set, ascending."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


class Dense(Compact[int]):
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

    def price(self, state: State[int], v: int) -> int:
        if self.is_scalar:
            return state[0][v].bit_count() * state[1][v].bit_count()
        return self.widths[v] * self.weight(state[0][v]) * self.weight(state[1][v])

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
            price = heads.bit_count() * tails.bit_count()
        else:
            price = self.widths[v] * self.weight(heads) * self.weight(tails)
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
        return price

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

    def damage(self, state: State[int], v: int) -> int:
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
        return list(bits(state[1][v])), list(bits(state[0][v]))

    def known_edges(self) -> tuple[Sequence[int], dict[tuple[int, int], bool]]:
        edges = {(u, w): True for u, mask in enumerate(self.start[0]) for w in bits(mask)}
        return self.widths, edges

    def part(self, vertices: Sequence[int], state: State[int] | None = None) -> Dense:
        after, before = state or self.start
        everything = sorted({*vertices, *_around(self, (after, before), vertices)})
        number = {v: k for k, v in enumerate(everything)}
        inside = set(vertices)
        edges = [
            (number[u], number[w])
            for u in everything
            for w in bits(after[u])
            if w in number and (u in inside or w in inside)
        ]
        return Dense(
            [self.widths[v] for v in everything],
            [number[v] for v in vertices],
            edges,
            everything,
        )


Edges: TypeAlias = dict[int, int]


class _Table:
    """Structures by number, and what their products and sums are and cost, once computed.

    Number -1 is a product that is zero. `pieces[k]` are the structures of number k; those of a
    product are not added up yet. `sums_are_free` if no sum costs anything. `work` is what computing
    unknown ones has taken, in eliminations. Products of more numbers than `room` cost extra:
    those of the pairs in `oversized`.
    """

    def __init__(self, model: PriceModel) -> None:
        self.model = model
        self.pieces: list[Pieces] = []
        self._number: dict[Pieces, int] = {}
        self.met: dict[tuple[int, int], tuple[int, int]] = {}
        self.landed: dict[tuple[int, int], tuple[int, int]] = {}
        self.work = 0
        self.room: int | None = None
        self.oversized: set[tuple[int, int]] = set()
        self.sums_are_free = False

    def number(self, pieces: Pieces) -> int:
        found = self._number.get(pieces)
        if found is None:
            found = self._number[pieces] = len(self.pieces)
            self.pieces.append(pieces)
        return found

    def meet(self, left: int, right: int) -> tuple[int, int]:
        """Return the price and the number of the products of two edges."""
        found = self.met.get((left, right))
        if found is None:
            products = [multiply(a, b) for a in self.pieces[left] for b in self.pieces[right]]
            kept = tuple(
                x.structure for x in products if x.structure.nonzeros and x.structure.scale != 0
            )
            self._count((*self.pieces[left], *self.pieces[right], *kept))
            price = sum(map(self.model.product, products))
            beyond = 0 if self.room is None else sum(s.count for s in kept) - self.room
            if beyond > 0:
                self.oversized.add((left, right))
                price += PER_NUMBER * beyond
            found = self.met[left, right] = price, self.number(kept) if kept else -1
        return found

    def land(self, old: int, new: int) -> tuple[int, int]:
        """Return the price and the number of what adding `new` to an edge makes; -1: no edge."""
        found = self.landed.get((old, new))
        if found is None:
            pieces: list[Structure] = [] if old < 0 else [*self.pieces[old]]
            totals = [land(pieces, structure).total for structure in self.pieces[new]]
            self._count((*self.pieces[new], *pieces))
            price = sum(self.model.total(total) for total in totals if total is not None)
            found = self.landed[old, new] = price, self.number(tuple(pieces))
        return found

    def _count(self, structures: Pieces) -> None:
        self.work += MISS + sum(s.weight for s in structures) // PER_ELIMINATION


class Structured(Compact[Edges]):
    """A graph of any Jacobians: an edge is the number of its structures in a table."""

    def __init__(
        self,
        table: _Table,
        inner: Sequence[int],
        state: State[Edges],
        origin: Sequence[int],
        widths: Sequence[int],
    ) -> None:
        self.widths = widths
        self.is_scalar = False
        self.table = table
        self.inner = tuple(inner)
        self.start = state
        self.origin = origin
        inside = set(inner)
        self.is_end = [v not in inside for v in range(len(widths))]
        self._prices: dict[int, tuple[Edges, Edges, int]] = {}

    @cached_property
    def is_heavy(self) -> bool:
        edges = {edge for row in self.start[0] for edge in row.values()}
        return sum(s.weight for edge in edges for s in self.table.pieces[edge]) > BULKY

    @property
    def is_averse(self) -> bool:
        return bool(self.table.oversized)

    def is_oversized(self, state: State[Edges], v: int) -> bool:
        pairs = ((out, into) for into in state[1][v].values() for out in state[0][v].values())
        return self.is_averse and any(pair in self.table.oversized for pair in pairs)

    @property
    def sums_are_free(self) -> bool:
        return self.table.sums_are_free

    @property
    def work(self) -> int:
        return self.table.work

    def price(self, state: State[Edges], v: int) -> int:
        if not self.table.sums_are_free:
            return self._price(state, v)
        # Then the price depends on the edges of v alone, and these are replaced when they change.
        outs, ins = state[0][v], state[1][v]
        known = self._prices.get(v)
        if known is None or known[0] is not outs or known[1] is not ins:
            known = self._prices[v] = outs, ins, self._price(state, v)
        return known[2]

    def _price(self, state: State[Edges], v: int) -> int:
        after, before = state
        table = self.table
        known, price = table.met, 0
        self.pairs += len(after[v]) * len(before[v])
        for tail, right in before[v].items():
            row = after[tail]
            for head, left in after[v].items():
                cost, product = known.get((left, right)) or table.meet(left, right)
                price += cost
                if not table.sums_are_free and product >= 0 and head in row:
                    price += table.land(row[head], product)[0]
        return price

    def eliminate(self, state: State[Edges], v: int) -> int:
        after, before = state
        outs, ins = after[v], before[v]
        table, price = self.table, 0
        met, landed = table.met, table.landed
        for tail in ins:
            row = after[tail] = dict(after[tail])
            del row[v]
        is_end, sums_are_free = self.is_end, table.sums_are_free
        for head, left in outs.items():
            column = before[head] = dict(before[head])
            del column[v]
            # What lies between two ends is never multiplied.
            lands_free = sums_are_free and is_end[head]
            for tail, right in ins.items():
                cost, product = met.get((left, right)) or table.meet(left, right)
                price += cost
                if product >= 0 and not (lands_free and is_end[tail]):
                    row = after[tail]
                    old = row.get(head, -1)
                    cost, new = landed.get((old, product)) or table.land(old, product)
                    price += cost
                    row[head] = column[tail] = new
        after[v], before[v] = {}, {}
        return price

    def eliminate_edge(self, state: State[Edges], edge: EdgeElimination) -> int:
        after, before = state
        table, tail, head = self.table, edge.tail, edge.head
        if edge.side == "back":
            ends = [(tail, w, left, after[tail][head]) for w, left in after[head].items()]
        else:
            ends = [(u, head, after[tail][head], right) for u, right in before[tail].items()]
        after[tail], before[head] = dict(after[tail]), dict(before[head])
        del after[tail][head], before[head][tail]
        price = 0
        for u, w, left, right in ends:
            cost, product = table.met.get((left, right)) or table.meet(left, right)
            price += cost
            lands_free = table.sums_are_free and self.is_end[u] and self.is_end[w]
            if product >= 0 and not lands_free:
                cost, new = table.land(after[u].get(w, -1), product)
                price += cost
                after[u], before[w] = after[u] | {w: new}, before[w] | {u: new}
        todo = [tail, head]
        while todo:  # products may vanish, and with them the last edge of a vertex
            v = todo.pop()
            if not self.is_end[v] and bool(after[v]) != bool(before[v]):
                todo += [*after[v], *before[v]]
                self.eliminate(state, v)
        return price

    def key(self, state: State[Edges]) -> Hashable:
        return tuple(frozenset(row.items()) for row in state[0])

    def damage(self, state: State[Edges], v: int) -> int:
        near = [*state[0][v], *state[1][v]]
        before = sum(self.price(state, u) for u in near)
        later = list(state[0]), list(state[1])
        self.eliminate(later, v)
        return sum(self._price(later, u) for u in near) - before

    def fill(self, state: State[Edges], v: int) -> int:
        after, before = state
        return sum(head not in after[tail] for tail in before[v] for head in after[v])

    def neighbours(self, state: State[Edges], v: int) -> tuple[list[int], list[int]]:
        return list(state[1][v]), list(state[0][v])

    def known_edges(self) -> tuple[Sequence[int], dict[tuple[int, int], bool]] | None:
        if self.table.model is not multiplications:
            return None
        edges = [
            (tail, head, structure)
            for tail, row in enumerate(self.start[0])
            for head, edge in row.items()
            for structure in self.table.pieces[edge]
        ]
        return scalar_edges(edges, self.inner, len(self.widths))

    def part(self, vertices: Sequence[int], state: State[Edges] | None = None) -> Structured:
        after, before = state or self.start
        everything = sorted({*vertices, *_around(self, (after, before), vertices)})
        number = {v: k for k, v in enumerate(everything)}
        new = [
            [{number[w]: edge for w, edge in side[v].items() if w in number} for v in everything]
            for side in (after, before)
        ]
        inner = [number[v] for v in vertices]
        widths = [self.widths[v] for v in everything]
        return Structured(self.table, inner, (new[0], new[1]), everything, widths)


def _around(graph: Compact[Entry], state: State[Entry], vertices: Iterable[int]) -> set[int]:
    found: set[int] = set()
    for v in vertices:
        tails, heads = graph.neighbours(state, v)
        found.update(tails, heads)
    return found


def compact(graph: LinearGraph, model: PriceModel = multiplications) -> Compact[Any]:
    """Return a linear graph as integers."""
    everything = range(len(graph.shapes))
    widths = [graph.size(v) for v in everything]
    counts_dense = model in (multiplications, all_multiplications)
    if counts_dense and len(graph.shapes) <= MOST_BITS and _is_dense(graph):
        return Dense(widths, graph.inner, ((e.tail, e.head) for e in graph.edges), everything)
    table = _Table(model)
    pieces: dict[tuple[Vertex, Vertex], list[Structure]] = {}
    for edge in graph.edges:
        land(pieces.setdefault((edge.tail, edge.head), []), edge.structure)
    after: list[Edges] = [{} for _ in everything]
    before: list[Edges] = [{} for _ in everything]
    table.sums_are_free = counts_dense and all(e.structure.action is None for e in graph.edges)
    if model is multiplications and len(graph.inner) > EXACT:
        table.room = _room(graph)
    for (tail, head), found in pieces.items():
        after[tail][head] = before[head][tail] = table.number(tuple(found))
    return Structured(table, graph.inner, (after, before), everything, widths)


def is_heavy(graph: LinearGraph) -> bool:
    """Return whether the patterns have so many positions that products of them take long."""
    return sum(structure.weight for structure in {e.structure for e in graph.edges}) > BULKY


def _room(graph: LinearGraph) -> int:
    """Return how many numbers a product may have: those of all local Jacobians or of the result."""
    given = sum(edge.structure.count for edge in graph.edges)
    rows, cols = (sum(map(graph.size, ends)) for ends in (graph.outputs, graph.inputs))
    return max(given, rows * cols, ROOMY)


def _is_dense(graph: LinearGraph) -> bool:
    structures = {edge.structure for edge in graph.edges}
    return all(s.kind == "dense" and min(s.matrix_shape) > 0 for s in structures)
