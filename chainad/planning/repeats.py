"""Blocks of a linear graph that repeat: iterations of an unrolled loop, layers of a network.

A vertex is described by its shape and by the edges into it, each with its structure and with how
far back it begins, or at which input, or at which vertex that all iterations read. A stretch of the
topological order in which these descriptions have a period is a block that repeats: its iterations
are isomorphic. No two graphs are ever compared; the periods are found by doubling, as in the
construction of suffix arrays (Karp, Miller & Rosenberg 1972), in n log n steps.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from chainad.ir.cache import Cache
from chainad.ir.periodicity import numbered, periods, runs
from chainad.ir.positions import Integers
from chainad.planning.linear_graph import LinearGraph
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
    Found once for equal graphs.
    """
    return _known.get(graph, lambda: _repeats_in(graph))


_known: Cache[tuple[RepeatedBlock, ...]] = Cache(8, "")


def _repeats_in(graph: LinearGraph) -> tuple[RepeatedBlock, ...]:
    kept: tuple[RepeatedBlock, ...] = ()
    found: list[RepeatedBlock] = []
    for moves in (False, True):
        described = _Described(graph, moves)
        found += stretches(described.keys(()))
        for by_distance in (False, True):
            if invariants := described.invariants(by_distance):
                found += stretches(described.keys(invariants))
            kept = disjoint(found)
            if 2 * sum(block.length * block.repeats for block in kept) > len(graph.inner):
                return kept
    return kept


def disjoint(blocks: Iterable[RepeatedBlock]) -> tuple[RepeatedBlock, ...]:
    """Return blocks in order, those left out that overlap a longer one, or one of more repeats."""
    kept: list[RepeatedBlock] = []
    for block in sorted(blocks, key=lambda s: (s.start - s.stop, s.length, s.start)):
        if all(block.stop <= other.start or other.stop <= block.start for other in kept):
            kept.append(block)
    return tuple(sorted(kept, key=lambda block: block.start))


class _Described:
    """The inner vertices of a graph, each with its shape and the edges into it, as integers.

    If structures may move, those that differ in their positions alone are one: of slices that
    advance with the iterations.
    """

    def __init__(self, graph: LinearGraph, moves: bool) -> None:
        inner, edges = graph.inner, graph.edges
        position = np.full(len(graph.shapes), -1)
        position[[*inner]] = np.arange(len(inner))
        tails = np.array([edge.tail for edge in edges], np.int64)
        heads = position[[edge.head for edge in edges]]
        distinct = {id(edge.structure): edge.structure for edge in edges}
        keys = map(_without_positions, distinct.values()) if moves else distinct
        number = dict(zip(distinct, numbered(keys), strict=True))
        structures = [number[id(edge.structure)] for edge in edges]
        order = np.argsort(heads, kind="stable")
        self._order = order[np.searchsorted(heads[order], 0) :]  # of the edges into inner vertices
        self._heads, self._tails = heads[self._order], tails[self._order]
        self._from = position[self._tails]
        self._structures = np.array(structures, np.int64)[self._order]
        self._shapes = numbered(graph.shapes[v] for v in inner)
        bounds = np.searchsorted(self._heads, np.arange(len(inner) + 1)).tolist()
        self._bounds = [*pairwise(bounds)]
        self._reads = np.bincount(tails, minlength=len(graph.shapes))[[*inner]]

    def keys(self, invariants: Collection[int]) -> Integers:
        """Return a number for every inner vertex; equal numbers are equal descriptions."""
        # Where an edge begins is how far back, or the negative of an input or an invariant.
        back = self._heads - self._from
        is_fixed = self._from < 0
        if invariants:
            is_fixed |= np.isin(self._from, [*invariants])
        back = np.where(is_fixed, -1 - self._tails, back)
        return self._numbered(np.stack([back, self._structures], axis=1))

    def invariants(self, by_distance: bool) -> tuple[int, ...]:
        """Return the positions of the vertices that all iterations of a loop may read.

        They are read as often as something repeats, but nothing that repeats is like them; if
        `by_distance`, nothing that is read as often, over as long a distance.
        """
        numbers = self._numbered(self._structures[:, None])
        if by_distance:
            last = np.arange(len(numbers))
            is_inner = self._from >= 0
            np.maximum.at(last, self._from[is_inner], self._heads[is_inner])
            read = np.stack([numbers, self._reads, last - np.arange(len(numbers))], axis=1)
            numbers = np.unique(read, axis=0, return_inverse=True)[1].ravel()
        is_rare = np.bincount(numbers)[numbers] < MIN_REPEATS
        return tuple(np.flatnonzero(is_rare & (self._reads >= MIN_REPEATS)).tolist())

    def _numbered(self, of_edges: Integers) -> Integers:
        """Return a number for every vertex: its shape, and what is said of the edges into it."""
        found = zip(self._shapes, self._bounds, strict=True)
        keys = [(shape, of_edges[start:stop].tobytes()) for shape, (start, stop) in found]
        return np.array(numbered(keys), np.int64)


def _without_positions(structure: Structure) -> Hashable:
    """Return what structures have in common that differ in their positions alone."""
    if not structure.has_positions:
        return structure
    sides = (structure.rows, structure.cols)
    axes = tuple(tuple((axis.size, axis.labels) for axis in side) for side in sides)
    return axes, structure.stored, structure.sizes, structure.scale, structure.action


def stretches(described: Integers) -> Iterator[RepeatedBlock]:
    """Yield the blocks of all periods that show in contexts of 1, 2, 4, ... vertices."""
    for length in periods(described):
        for start, stop in runs(described, length):
            repeats = (stop - start) // length
            if repeats >= MIN_REPEATS:
                yield RepeatedBlock(start, length, repeats)
