"""The states of a graph of any Jacobians: an edge is the number of its structures in a table.

Products and sums are looked up there once they were computed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from functools import lru_cache
from math import prod
from typing import TypeAlias

from chainad.ir.cache import cached_property
from chainad.planning.bounds import scalar_edges
from chainad.planning.cost_models import CostModel, multiplications
from chainad.planning.linear_graph import Cost, Terms, accumulate, cost_of
from chainad.planning.orders import EdgeElimination, Item
from chainad.planning.search.dense_states import DenseStates
from chainad.planning.search.state_space import State, StateSpace, around
from chainad.structure import Product, StructureSum, multiply
from chainad.structure.structure import Structure

# Computing the product of two structures takes as long as this many eliminations, and more where
# there are positions.
ELIMINATIONS_PER_PRODUCT = 15
POSITIONS_PER_ELIMINATION = 150

# Elements beyond those of all that is given are penalized: writing one to memory and reading it
# takes longer than multiplying.
COST_PER_EXCESS_ELEMENT = 16

Edges: TypeAlias = dict[int, int]


# Amount in the unit of the model, additions, multiplications, and the number of what was made.
Counts: TypeAlias = tuple[int, int, int, int]


def _counted(made: Sequence[Product | StructureSum], model: CostModel, number: int) -> Counts:
    amount = sum(cost_of(each, model) for each in made)
    return amount, sum(x.additions for x in made), sum(x.multiplications for x in made), number


class StructureTable:
    """Structures by number, and what their products and sums are and cost, once computed.

    Number -1 is a product that is zero. `terms[k]` are the structures of number k; those of a
    product are not summed yet. `sums_are_free` if no sum costs anything. `overhead` is what
    computing unknown ones has taken, in eliminations. Products of more than `max_elements` elements
    cost extra: those of the pairs in `oversized`. Larger index sets than `max_positions` take long.
    """

    def __init__(self, model: CostModel, max_positions: int) -> None:
        self.model = model
        self.max_positions = max_positions
        self.terms: list[Terms] = []
        self._number: dict[Terms, int] = {}
        self.products: dict[tuple[int, int], tuple[int, int]] = {}
        self.sums: dict[tuple[int, int], tuple[int, int]] = {}
        self._product_counts: dict[tuple[int, int], Counts] = {}
        self._sum_counts: dict[tuple[int, int], Counts] = {}
        self.overhead = 0
        self.max_elements: int | None = None
        self.oversized: set[tuple[int, int]] = set()
        self.sums_are_free = False

    def number(self, terms: Terms) -> int:
        found = self._number.get(terms)
        if found is None:
            found = self._number[terms] = len(self.terms)
            self.terms.append(terms)
        return found

    def product(self, left: int, right: int) -> tuple[int, int]:
        """Return the cost and the number of the products of two edges."""
        found = self.products.get((left, right))
        if found is None:
            products = self._multiplied(left, right)
            nonzero = tuple(
                x.structure for x in products if x.structure.nonzeros and x.structure.scale != 0
            )
            self._count((*self.terms[left], *self.terms[right], *nonzero))
            cost = sum(map(self.model.product, products))
            beyond = (
                0
                if self.max_elements is None
                else sum(s.count for s in nonzero) - self.max_elements
            )
            if beyond > 0:
                self.oversized.add((left, right))
                cost += COST_PER_EXCESS_ELEMENT * beyond
            found = self.products[left, right] = cost, self.number(nonzero) if nonzero else -1
        return found

    def accumulate(self, old: int, new: int) -> tuple[int, int]:
        """Return the cost and the number of what adding `new` to an edge makes; -1: no edge."""
        found = self.sums.get((old, new))
        if found is None:
            sums, terms = self._accumulated(old, new)
            self._count((*self.terms[new], *terms))
            found = self.sums[old, new] = sum(map(self.model.sum, sums)), self.number(terms)
        return found

    def count_products(self, left: int, right: int) -> Counts:
        """Return what the products of two edges cost, and their number."""
        found = self._product_counts.get((left, right))
        if found is None:
            number = self.product(left, right)[1]
            made = self._multiplied(left, right)
            found = self._product_counts[left, right] = _counted(made, self.model, number)
        return found

    def count_sums(self, old: int, new: int) -> Counts:
        """Return what adding `new` to an edge costs, and what it makes; -1: no edge."""
        found = self._sum_counts.get((old, new))
        if found is None:
            sums, terms = self._accumulated(old, new)
            found = self._sum_counts[old, new] = _counted(sums, self.model, self.number(terms))
        return found

    def _multiplied(self, left: int, right: int) -> list[Product]:
        return [multiply(a, b) for a in self.terms[left] for b in self.terms[right]]

    def _accumulated(self, old: int, new: int) -> tuple[list[StructureSum], Terms]:
        """Return the sums that adding `new` to an edge takes, and the terms of what it makes."""
        terms: list[Structure] = [] if old < 0 else [*self.terms[old]]
        made = [accumulate(terms, structure) for structure in self.terms[new]]
        return [total for each in made for total in each.sums], tuple(terms)

    def _count(self, structures: Terms) -> None:
        self.overhead += (
            ELIMINATIONS_PER_PRODUCT
            + sum(s.weight for s in structures) // POSITIONS_PER_ELIMINATION
        )


class StructuredStates(StateSpace[Edges]):
    """A graph of any Jacobians: an edge is the number of its structures in a table."""

    def __init__(
        self,
        table: StructureTable,
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
        self._costs: dict[int, tuple[Edges, Edges, int]] = {}

    @cached_property
    def has_large_index_sets(self) -> bool:
        edges = {edge for row in self.start[0] for edge in row.values()}
        return (
            sum(s.weight for edge in edges for s in self.table.terms[edge])
            > self.table.max_positions
        )

    def relaxation(self) -> DenseStates:
        """Return the same graph with dense Jacobians."""
        edges = [(u, w) for u, row in enumerate(self.start[0]) for w in row]
        return DenseStates(self.widths, self.inner, edges, self.origin)

    def bounds(self, order: Iterable[int]) -> Iterator[int]:
        """Yield, elimination by elimination, a cost that the order does not stay below.

        Of Jacobians that are to be added, only that of the most entries is multiplied on: a sum has
        no fewer, and adding index sets is what takes long. Known for multiplications only.
        """
        if not self.table.sums_are_free:
            return
        after: list[dict[int, Structure]] = [{} for _ in self.widths]
        before: list[dict[int, Structure]] = [{} for _ in self.widths]
        for tail, edges in enumerate(self.start[0]):
            for head, edge in edges.items():
                largest = max(self.table.terms[edge], key=lambda piece: piece.nonzeros)
                after[tail][head] = before[head][tail] = largest
        doubtful: set[tuple[int, int]] = set()
        cost = 0
        for v in order:
            outs, ins = after[v], before[v]
            for tail in ins:
                del after[tail][v]
            for head in outs:
                del before[head][v]
            for head, left in outs.items():
                for tail, right in ins.items():
                    product = multiply(left, right)
                    # Repeated entries may become cheaper to multiply in a sum.
                    if product.labels is not None and not (_repeats(left) or _repeats(right)):
                        products = {*product.labels[0], *product.labels[1]}
                        cost += prod(size for label, size in product.sizes if label in products)
                    new = product.structure
                    if not new.nonzeros or new.scale == 0:
                        continue
                    old = after[tail].get(head)
                    if new.scale is not None and (old is not None or (tail, head) in doubtful):
                        if old is None or old.scale is not None:  # ones may cancel out
                            doubtful.add((tail, head))
                            after[tail].pop(head, None)
                            before[head].pop(tail, None)
                    elif old is None or old.scale is not None or new.nonzeros > old.nonzeros:
                        after[tail][head] = before[head][tail] = new
            after[v], before[v] = {}, {}
            yield cost

    def full_cost(self, order: Iterable[int]) -> Cost:
        """Return the cost of eliminating in this order as it is, with what it is made of.

        Edges that are parallel from the beginning, and operators that are left over, do not count.
        """
        after, before = ([dict(row) for row in side] for side in self.start)
        products, sums = self.table.count_products, self.table.count_sums
        amount = additions = multiplications = 0
        for v in order:
            outs, ins = after[v], before[v]
            for tail in ins:
                del after[tail][v]
            for head, left in outs.items():
                column = before[head]
                del column[v]
                for tail, right in ins.items():
                    cost, added, multiplied, made = products(left, right)
                    amount += cost
                    additions += added
                    multiplications += multiplied
                    if made < 0:
                        continue
                    row = after[tail]
                    cost, added, multiplied, made = sums(row.get(head, -1), made)
                    amount += cost
                    additions += added
                    multiplications += multiplied
                    row[head] = column[tail] = made
            after[v], before[v] = {}, {}
        return Cost(amount, additions, multiplications)

    @property
    def penalizes_memory(self) -> bool:
        return bool(self.table.oversized)

    def is_oversized(self, state: State[Edges], v: int) -> bool:
        pairs = ((out, into) for into in state[1][v].values() for out in state[0][v].values())
        return self.penalizes_memory and any(pair in self.table.oversized for pair in pairs)

    @property
    def sums_are_free(self) -> bool:
        return self.table.sums_are_free

    def picoseconds_of(self, cost: int) -> int:
        unit = self.table.model.picoseconds
        return super().picoseconds_of(cost) if unit is None else unit * cost

    @property
    def overhead(self) -> int:
        return self.table.overhead

    def cost(self, state: State[Edges], v: int) -> int:
        if not self.table.sums_are_free:
            return self._cost(state, v)
        # Then the cost depends on the edges of v alone, and these are replaced when they change.
        outs, ins = state[0][v], state[1][v]
        known = self._costs.get(v)
        if known is None or known[0] is not outs or known[1] is not ins:
            known = self._costs[v] = outs, ins, self._cost(state, v)
        return known[2]

    def _cost(self, state: State[Edges], v: int) -> int:
        after, before = state
        table = self.table
        known, cost = table.products, 0
        self.pairs += len(after[v]) * len(before[v])
        for tail, right in before[v].items():
            row = after[tail]
            for head, left in after[v].items():
                of_pair, product = known.get((left, right)) or table.product(left, right)
                cost += of_pair
                if not table.sums_are_free and product >= 0 and head in row:
                    cost += table.accumulate(row[head], product)[0]
        return cost

    def advance(self, state: State[Edges], order: Iterable[Item], limit: int | None = None) -> int:
        # An end may have an edge for every iteration of a loop: it is copied once.
        cost, own = 0, (set[int](), set[int]())
        for item in order:
            if isinstance(item, EdgeElimination):
                cost += self.eliminate_edge(state, item)
            else:
                cost += self.eliminate(state, item, own)
            if limit is not None and cost > limit:
                break
        return cost

    def eliminate(
        self, state: State[Edges], v: int, own: tuple[set[int], set[int]] | None = None
    ) -> int:
        """Eliminate a vertex, and return what that costs.

        Vertices in `own` have rows and columns that no other state has, so that these may change.
        """
        own = own or (set(), set())
        after, before = state
        outs, ins = after[v], before[v]
        table, cost = self.table, 0
        products, sums = table.products, table.sums
        for tail in ins:
            if tail not in own[0]:
                after[tail] = dict(after[tail])
                own[0].add(tail)
            del after[tail][v]
        is_end, sums_are_free = self.is_end, table.sums_are_free
        for head, left in outs.items():
            if head not in own[1]:
                before[head] = dict(before[head])
                own[1].add(head)
            column = before[head]
            del column[v]
            # An edge between two ends is never multiplied.
            is_free = sums_are_free and is_end[head]
            for tail, right in ins.items():
                of_pair, product = products.get((left, right)) or table.product(left, right)
                cost += of_pair
                if product >= 0 and not (is_free and is_end[tail]):
                    row = after[tail]
                    old = row.get(head, -1)
                    of_pair, new = sums.get((old, product)) or table.accumulate(old, product)
                    cost += of_pair
                    row[head] = column[tail] = new
        after[v], before[v] = {}, {}
        return cost

    def eliminate_edge(self, state: State[Edges], edge: EdgeElimination) -> int:
        after, before = state
        table, tail, head = self.table, edge.tail, edge.head
        if edge.side == "back":
            ends = [(tail, w, left, after[tail][head]) for w, left in after[head].items()]
        else:
            ends = [(u, head, after[tail][head], right) for u, right in before[tail].items()]
        after[tail], before[head] = dict(after[tail]), dict(before[head])
        del after[tail][head], before[head][tail]
        cost = 0
        for u, w, left, right in ends:
            of_pair, product = table.products.get((left, right)) or table.product(left, right)
            cost += of_pair
            is_free = table.sums_are_free and self.is_end[u] and self.is_end[w]
            if product >= 0 and not is_free:
                of_pair, new = table.accumulate(after[u].get(w, -1), product)
                cost += of_pair
                after[u], before[w] = after[u] | {w: new}, before[w] | {u: new}
        todo = [tail, head]
        while todo:  # products may vanish, and with them the last edge of a vertex
            v = todo.pop()
            if not self.is_end[v] and bool(after[v]) != bool(before[v]):
                todo += [*after[v], *before[v]]
                self.eliminate(state, v)
        return cost

    def key(self, state: State[Edges]) -> Hashable:
        return tuple(frozenset(row.items()) for row in state[0])

    def neighbour_cost_increase(self, state: State[Edges], v: int) -> int:
        if not self.table.sums_are_free:
            near = [*state[0][v], *state[1][v]]
            before = sum(self.cost(state, u) for u in near)
            later = list(state[0]), list(state[1])
            self.eliminate(later, v)
            return sum(self._cost(later, u) for u in near) - before
        return self._neighbour_cost_increase(state, v, is_complete=True)[0]

    def known_neighbour_cost_increase(self, state: State[Edges], v: int) -> tuple[int, bool]:
        if not self.table.sums_are_free:
            return super().known_neighbour_cost_increase(state, v)
        return self._neighbour_cost_increase(state, v, is_complete=False)

    def _neighbour_cost_increase(
        self, state: State[Edges], v: int, is_complete: bool
    ) -> tuple[int, bool]:
        """Return the increase where sums are free, and whether it is exact, not a lower bound.

        Only the products with edges that are new, changed or gone are looked up. What is not known
        yet is left out unless the increase is to be complete: a product with a new edge costs
        nothing, at least, and one with a sum no less than with what is there already.
        """
        after, before = state
        outs, ins = after[v], before[v]
        table, is_exact = self.table, True
        products, sums = table.products, table.sums
        into = {tail: before[tail].values() for tail in ins}
        out_of = {head: after[head].values() for head in outs}
        total = -sum(self._cost_of_pairs((x,), into[tail]) for tail, x in ins.items())
        total -= sum(self._cost_of_pairs(out_of[head], (x,)) for head, x in outs.items())
        for tail, right in ins.items():
            row = after[tail]
            for head, left in outs.items():
                if not into[tail] and not out_of[head]:
                    continue
                pair = products.get((left, right))
                if pair is None and is_complete:
                    pair = table.product(left, right)
                if pair is None or pair[1] < 0:
                    is_exact &= pair is not None
                    continue
                old = row.get(head, -1)
                added = sums.get((old, pair[1]))
                if added is None and is_complete:
                    added = table.accumulate(old, pair[1])
                if added is None:
                    is_exact = False
                    continue
                new = added[1]
                if new == old:
                    continue
                pairs = [((new, x), (old, x)) for x in into[tail]]
                pairs += [((x, new), (x, old)) for x in out_of[head]]
                self.pairs += len(pairs)
                for with_new, with_old in pairs:
                    pair = products.get(with_new)
                    if pair is None and is_complete:
                        pair = table.product(*with_new)
                    if pair is None:
                        is_exact = False
                    else:
                        total += pair[0] - (table.product(*with_old)[0] if old >= 0 else 0)
        return total, is_exact

    def _cost_of_pairs(self, lefts: Collection[int], rights: Collection[int]) -> int:
        """Return what the products of some edges with others cost."""
        known, table = self.table.products, self.table
        self.pairs += len(lefts) * len(rights)
        cost = 0
        for right in rights:
            for left in lefts:
                cost += (known.get((left, right)) or table.product(left, right))[0]
        return cost

    def fill(self, state: State[Edges], v: int) -> int:
        after, before = state
        return sum(head not in after[tail] for tail in before[v] for head in after[v])

    def neighbours(self, state: State[Edges], v: int) -> tuple[list[int], list[int]]:
        return list(state[1][v]), list(state[0][v])

    def edges_for_bounds(self) -> tuple[Sequence[int], dict[tuple[int, int], bool]] | None:
        if self.table.model is not multiplications:
            return None
        edges = [
            (tail, head, structure)
            for tail, row in enumerate(self.start[0])
            for head, edge in row.items()
            for structure in self.table.terms[edge]
        ]
        return scalar_edges(edges, self.inner, len(self.widths))

    def subproblem(
        self, vertices: Sequence[int], state: State[Edges] | None = None
    ) -> StructuredStates:
        after, before = state or self.start
        everything = sorted({*vertices, *around(self, (after, before), vertices)})
        number = {v: k for k, v in enumerate(everything)}
        new = [
            [{number[w]: edge for w, edge in side[v].items() if w in number} for v in everything]
            for side in (after, before)
        ]
        inner = [number[v] for v in vertices]
        widths = [self.widths[v] for v in everything]
        return StructuredStates(self.table, inner, (new[0], new[1]), everything, widths)


@lru_cache(maxsize=4096)
def _repeats(structure: Structure) -> bool:
    """Return whether entries are repeated along an axis, not along a tie."""
    spelled = Counter(x for axis in (*structure.rows, *structure.cols) for x in axis.labels)
    return any(spelled[x] == 1 for x in range(len(structure.sizes)) if x not in structure.stored)
