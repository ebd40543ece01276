"""Blocks of a linear graph that repeat: iterations of an unrolled loop, layers of a network.

A vertex is described by its shape and by the edges into it, each with its structure and with how
far back it begins, or at which input, or at which vertex that all iterations read. A stretch of the
topological order in which these descriptions have a period is a block that repeats: its iterations
are isomorphic. No two graphs are ever compared; the periods are found by doubling, as in the
construction of suffix arrays (Karp, Miller & Rosenberg 1972), in n log n steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass

from chainad.ir.periodicity import numbered, periods
from chainad.planning.linear_graph import LinearGraph
from chainad.planning.orders import Vertex
from chainad.structure.structure import Structure

# What repeats less often is no loop, and saves no planning.
MIN_REPEATS = 3


@dataclass(frozen=True, slots=True)
class RepeatedBlock:
    """`repeats` isomorphic iterations of `length` vertices each, one after the other from `start`.

    `start` is a position in the topological order of the inner vertices, `graph.inner`. The first
    iteration may read other vertices before it than later ones do: inputs instead of the last one.
    """

    start: int
    length: int
    repeats: int

    @property
    def stop(self) -> int:
        return self.start + self.length * self.repeats

    def iteration(self, k: int) -> range:
        """Return the positions of the k-th iteration."""
        first = self.start + k * self.length
        return range(first, first + self.length)


def repeats_in(graph: LinearGraph) -> tuple[RepeatedBlock, ...]:
    """Return the blocks that repeat three times or more, in topological order, none overlapping.

    Of blocks that overlap, the one that covers most is kept; of equals, that of fewest vertices.
    """
    stretches = list(_stretches(_descriptions(graph, ())))
    if invariants := _invariants(graph):
        stretches += _stretches(_descriptions(graph, invariants))
    stretches.sort(key=lambda s: (s.start - s.stop, s.length, s.start))
    kept: list[RepeatedBlock] = []
    for block in stretches:
        if all(block.stop <= other.start or other.stop <= block.start for other in kept):
            kept.append(block)
    return tuple(sorted(kept, key=lambda block: block.start))


def _invariants(graph: LinearGraph) -> set[Vertex]:
    """Return the inner vertices that all iterations of a loop may read, as they do inputs.

    They are read as often as something repeats, but nothing like them repeats itself.
    """
    into: dict[Vertex, list[Structure]] = {}
    for edge in graph.edges:
        into.setdefault(edge.head, []).append(edge.structure)
    kinds = {v: (graph.shapes[v], tuple(into.get(v, ()))) for v in graph.inner}
    count = Counter(kinds.values())
    reads = Counter(edge.tail for edge in graph.edges)
    return {v for v in kinds if reads[v] >= MIN_REPEATS > count[kinds[v]]}


def _descriptions(graph: LinearGraph, invariants: Collection[Vertex]) -> list[int]:
    """Return a number for every inner vertex; equal numbers are equal descriptions."""
    position = {v: k for k, v in enumerate(graph.inner)}
    into: list[list[Hashable]] = [[] for _ in graph.inner]
    for edge in graph.edges:
        if edge.head in position:
            at, tail = position[edge.head], position.get(edge.tail)
            back: Hashable = ("fixed", edge.tail)
            if tail is not None and edge.tail not in invariants:
                back = at - tail
            into[at].append((back, edge.structure))  # hashed by identity: equal ones are one object
    keys = ((graph.shapes[v], tuple(edges)) for v, edges in zip(graph.inner, into, strict=True))
    return numbered(keys)


def _stretches(described: Sequence[int]) -> Iterator[RepeatedBlock]:
    """Yield the blocks of all periods that show in contexts of 1, 2, 4, ... vertices."""
    for length in periods(described):
        yield from _of_period(described, length)


def _of_period(described: Sequence[int], length: int) -> Iterator[RepeatedBlock]:
    """Yield the blocks whose iterations have `length` vertices."""
    start = 0
    end = len(described) - length
    for position in range(end + 1):
        if position < end and described[position] == described[position + length]:
            continue
        repeats = (position + length - start) // length
        if repeats >= MIN_REPEATS:
            yield RepeatedBlock(start, length, repeats)
        start = position + 1
