"""All segments of a chain with strands, costed length by length with whole arrays.

Row d, column i of a table stands for the segment of d factors from factor i on. What lies to the
right of a split behind it has l - d factors, from factor i + d on: a skewed view of a table puts
these at the same place, so that all splits of all segments of one length are costed at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from chainad.planning.chain.label_sizes import Cross, Strand
from chainad.structure.structure import Structure

Numbers = npt.NDArray[Any]  # int64, or Python integers where 64 bits may not do
Flags = npt.NDArray[np.bool_]

# So many splits at a time are costed in arrays that stay in the processor's cache.
BLOCK = 1 << 17

# The last splits of all segments are kept for so many factors.
FEW = 256


class Inner(NamedTuple):
    """Strands through every vertex, as a table of those that begin inside, and who end inside.

    `sizes[d, i]` is the size of the strand through vertex i + d if it begins behind vertex i, else
    1; `ends[e, v]` says whether the one through vertex v has ended e factors later; None: all have.
    """

    sizes: Numbers
    ends: Flags | None


class Ones(NamedTuple):
    """Strands along which no factor keeps numbers, and that are added up: equal terms.

    `added` says, as `Inner` does, of the strands through every vertex whether they begin inside,
    and whether they have ended; `scaled` of which segments of all ones they make a multiple.
    """

    added: list[tuple[Flags, Flags]]
    scaled: Flags


class Segments:
    """The least cost of every segment of a chain.

    Parameters
    ----------
    structures : sequence of Structure
        The factors, from x to y; operators are costed by their actions.
    crosses : sequence of Cross
        `strands_of(structures)`.
    """

    def __init__(self, structures: Sequence[Structure], crosses: Sequence[Cross]) -> None:
        self.q = q = len(structures)
        self.crosses = crosses
        materialize = [s.cost_to_materialize for s in structures]
        keeps = np.cumsum([0, *(s.scale is None for s in structures)])
        self.keeps = _by_length(keeps, lambda one, two: two > one)
        self.all_keep = bool(keeps[-1] == q)
        self.dtype: Any = float  # to see how large the numbers are
        with np.errstate(over="ignore"):
            counts = self._counts()
        most = float(counts.max())
        self.dtype = np.int64 if self._fits(structures, sum(materialize), most) else object
        is_exact = self.dtype is np.int64 and most < 2.0**53
        self.counts = counts.astype(np.int64) if is_exact else self._counts()
        self.ones = self._ones()
        self.inner = self._inner()
        self.least = self._table(0)
        self.least[1, :q] = materialize
        self.swept = self._swept(structures)
        # To keep the last splits takes as long as the costs: of long chains few are ever asked.
        few = q <= FEW and not self.swept
        self.splits = np.zeros((q + 1, q + 1), np.int64) if few else None
        for length in range(2, q + 1):
            self._fill(length)

    @property
    def cost(self) -> int:
        """The least cost of the whole chain."""
        return int(self.least[self.q, 0])

    @cached_property
    def _splits(self) -> dict[tuple[int, int], int]:
        return {}

    def split(self, i: int, j: int) -> int:
        """Return the last factor of the right part of segment i..j where it is split last."""
        if self.splits is not None:
            return i + int(self.splits[j - i + 1, i])
        if (i, j) not in self._splits:
            offers = self.offers(i, j)
            self._splits[i, j] = i + min(range(j - i), key=offers.__getitem__)
        return self._splits[i, j]

    def offers(self, i: int, j: int) -> list[int]:
        """Return the cost of segment i..j for every last split, behind factor i, i + 1, ..."""
        offers: list[int] = self._products(j - i + 1, i, i + 1)[:, 0].tolist()
        for way, swept in self.sweeps(i, j).items():
            place, rest = (j - i - 1, (i, j - 1)) if way == "jvp" else (0, (i + 1, j))
            length = rest[1] - rest[0] + 1
            offers[place] = min(offers[place], int(self.least[length, rest[0]]) + swept)
        return offers

    def costs(self, i: int, j: int) -> list[int]:
        """Return the cost of the last product alone, for every split of segment i..j."""
        length = j - i + 1
        rest = [
            int(self.least[d, i]) + int(self.least[length - d, i + d]) for d in range(1, length)
        ]
        totals: list[int] = self._products(length, i, i + 1)[:, 0].tolist()
        return [total - below for total, below in zip(totals, rest, strict=True)]

    def sweeps(self, i: int, j: int) -> dict[str, int]:
        """Return the cost of the JVPs of factor j, and of the VJPs of i, where they fit."""
        length = j - i + 1
        ways = zip(("jvp", "vjp"), self.swept, strict=False)
        return {
            way: int(table[length, i]) for way, (_, table, allowed) in ways if allowed[length, i]
        }

    def _fill(self, length: int) -> None:
        n = self.q - length + 1
        best = self.least[length, :n]
        width = max(1, BLOCK // length)
        for first in range(0, n, width):
            stop = min(n, first + width)
            offers = self._products(length, first, stop)
            offers.min(axis=0, out=best[first:stop])
            if self.splits is not None:
                self.splits[length, first:stop] = offers.argmin(axis=0)
        for at, table, allowed in self.swept:
            swept = self.least[length - 1, at : at + n] + table[length, :n]
            np.minimum(best, swept, out=best, where=allowed[length, :n])

    def _products(self, length: int, first: int, stop: int) -> Numbers:
        """Return the costs of all splits of the segments that begin at first, ..., stop - 1."""

        def left(table: Numbers) -> Numbers:
            return table[1:length, first:stop]

        def right(table: Numbers) -> Numbers:
            return _skewed(table, length, first, stop)

        total = left(self.least) + right(self.least)
        cost = self.counts[length, first:stop]
        for sizes, ends in self.inner:
            cost = cost * (left(sizes) if ends is None else np.where(right(ends), left(sizes), 1))
        if not self.all_keep:
            cost = cost * (left(self.keeps) & right(self.keeps))
        total += cost
        if self.ones is not None:
            # Equal terms add up to so many times one of them.
            scaled = left(self.ones.scaled) | right(self.ones.scaled)
            for begins, ends in self.ones.added:
                scaled |= left(begins) & right(ends)
            kept = self.keeps[length, first:stop]
            total += np.where(scaled & kept, self.counts[length, first:stop], 0)
        return total

    def _fits(self, structures: Sequence[Structure], materialize: int, most: float) -> bool:
        """Return whether no cost exceeds 64 bits; `most` are the most numbers of a segment."""
        widest = max(
            prod(x.size for x in cross if _is_inner(x, v, self.q))
            for v, cross in enumerate(self.crosses)
        )
        actions = [s.action for s in structures if s.action is not None]
        dearest = max((max(a.tangent or 0, a.adjoint or 0) for a in actions), default=1)
        sizes = [x.size for cross in self.crosses for x in cross]
        if max(materialize, widest, dearest, *sizes) >= 2**62:
            return False
        return materialize + 2 * self.q * most * widest * max(1, dearest) < 2.0**62

    def _table(self, value: Any) -> Numbers:
        return np.full((self.q + 1, self.q + 1), value, self.dtype)

    def _counts(self) -> Numbers:
        """Return how many numbers every segment keeps; 1 for all ones."""
        counts = self._table(1)
        vertices = np.arange(self.q + 1)
        selected = {id(x): x for c in self.crosses for x in c if x.alive is not None}
        for strand in selected.values():
            self._count_alive(counts, strand)
        whole = [[x for x in c if x.alive is None] for c in self.crosses]
        ahead = [_grouped((_next(x, v), x) for x in c) for v, c in enumerate(whole)]
        behind = [
            _grouped((x.start, x) for x in c if _previous(x, v) is not None)
            for v, c in enumerate(whole)
        ]
        for at, sizes in _ranks(ahead, self.q, self.dtype):
            for length in range(1, self.q + 1):
                n = self.q - length + 1
                kept = at[:n] < vertices[:n] + length
                counts[length, :n] *= np.where(kept, sizes[:n], 1)
        for at, sizes in _ranks(behind, -1, self.dtype):
            for length in range(1, self.q + 1):
                n = self.q - length + 1
                counts[length, :n] *= np.where(at[length:] > vertices[:n], sizes[length:], 1)
        return counts

    def _count_alive(self, counts: Numbers, strand: Strand) -> None:
        """Multiply the counts of all segments by what survives of a strand with selections."""
        assert strand.alive is not None
        first, last = strand.first, min(strand.stop, self.q - 1)
        for i in range(strand.start, min(strand.stop, self.q - 1) + 1):
            if (kept := _next(strand, i)) is not None:
                j = np.arange(kept, self.q)
                counts[j - i + 1, i] *= strand.alive[i - first, np.minimum(j, last) - first]
        enters = np.arange(strand.start)  # segments inside which it begins
        for end in range(first, min(strand.stop, self.q)):
            if _previous(strand, end + 1) is not None:
                counts[end - enters + 1, enters] *= int(strand.alive[0, end - first])

    def _inner(self) -> list[Inner]:
        """Return the strands that factors on both sides of a vertex keep."""
        groups = [
            _grouped(((x.start, x.stop), x) for x in c if _is_inner(x, v, self.q))
            for v, c in enumerate(self.crosses)
        ]
        found = []
        listed = [[*group.items()] for group in groups]
        for rank in range(max(map(len, groups))):
            mine = [g[rank] if rank < len(g) else ((v, v), 1) for v, g in enumerate(listed)]
            starts, stops = (np.array([at[k] for at, _ in mine]) for k in (0, 1))
            values = np.array([size for _, size in mine], self.dtype)
            sizes, ends = self._table(1), np.ones((self.q + 1, self.q + 1), bool)
            for d in range(1, self.q + 1):
                n = self.q + 1 - d
                sizes[d, :n] = np.where(starts[d:] > np.arange(n), values[d:], 1)
                ends[d] = stops < np.arange(self.q + 1) + d
            found.append(Inner(sizes, None if (stops <= np.arange(self.q + 1)).all() else ends))
        return found

    def _ones(self) -> Ones | None:
        """Return the strands that are added up without numbers; None if there are none."""
        found = {id(x): x for c in self.crosses for x in c if is_bare(x, self.q)}
        if not found:
            return None
        added = []
        scaled = np.zeros(self.keeps.shape, bool)
        vertices = np.arange(self.q + 1)
        length, start = np.indices(self.keeps.shape)
        for strand in found.values():
            through = (strand.start <= vertices) & (vertices <= strand.stop)
            inside = (start < strand.start) & (start + length > strand.stop)
            scaled |= inside & ~self.keeps
            begins = through[np.minimum(start + length, self.q)] & (start < strand.start)
            ends = through[start] & (start + length > strand.stop)
            added.append((begins, ends))
        return Ones(added, scaled)

    def _swept(self, structures: Sequence[Structure]) -> list[tuple[int, Numbers, Flags]]:
        """Return what the JVPs of the last factor, and the VJPs of the first one, cost.

        Each table comes with where its other factor begins, counted from the segment's first one,
        and with where it may be used: all that the operator maps must be added up, and be kept by
        the other factor.
        """
        operators = [(k, s.action) for k, s in enumerate(structures) if s.action is not None]
        if not operators:
            return []
        jvps, vjps = (self._table(0), self._table(0)), (self._table(0), self._table(0))
        for k, action in operators:
            own = {id(x): x for c in self.crosses[k : k + 2] for x in c if k in x.stored}
            mapped = prod(x.size for x in own.values() if x.start > k or x.stop <= k)
            if action.tangent is not None and k > 0:
                i = np.arange(k)
                at = (k - i + 1, i)
                fits = self.keeps[k - i, i]
                for x in own.values():
                    if x.start <= k:
                        kept = _previous(x, k)
                        fits = fits & (i <= (-1 if kept is None else kept))
                        fits = fits & ((x.stop > k) | (x.start > i))
                met = self.counts[at] * self._met(k, i, k)
                jvps[0][at], jvps[1][at] = met // mapped * action.tangent, fits
            if action.adjoint is not None and k < self.q - 1:
                j = np.arange(k + 1, self.q)
                at = (j - k + 1, np.full(j.size, k))
                fits = self.keeps[j - k, k + 1]
                for x in own.values():
                    if x.stop > k:
                        kept = _next(x, k + 1)
                        fits = fits & (j >= (self.q if kept is None else kept))
                        fits = fits & ((x.start <= k) | (x.stop <= j))
                met = self.counts[at] * self._met(k + 1, k, j)
                vjps[0][at], vjps[1][at] = met // mapped * action.adjoint, fits
        return [(0, jvps[0], jvps[1] > 0), (1, vjps[0], vjps[1] > 0)]

    def _met(self, v: int, i: Any, j: Any) -> Numbers:
        """Return the product of the inner sizes at vertex v, for segments i..j."""
        met = np.ones(np.broadcast(i, j).shape, self.dtype)
        for x in self.crosses[v]:
            if _is_inner(x, v, self.q):
                met *= np.where((x.start > i) & (x.stop <= j), x.size, 1)
        return met


def _next(strand: Strand, v: int) -> int | None:
    """Return the first factor behind vertex v that keeps numbers along a strand."""
    return min((k for k in strand.stored if k >= v), default=None)


def _previous(strand: Strand, v: int) -> int | None:
    """Return the last factor before vertex v that keeps numbers along a strand."""
    return max((k for k in strand.stored if k < v), default=None)


def is_bare(strand: Strand, q: int) -> bool:
    """Return whether a strand is added up although no factor keeps numbers along it."""
    return strand.start > 0 and strand.stop < q and not strand.stored and strand.size > 1


def _is_inner(strand: Strand, v: int, q: int) -> bool:
    """Return whether a strand through v is ever added up there, with numbers on both sides."""
    ends = strand.start > 0 and strand.stop < q
    return ends and _next(strand, v) is not None and _previous(strand, v) is not None


def _grouped(strands: Iterable[tuple[Any, Strand]]) -> dict[Any, int]:
    """Return the product of the sizes of all strands with the same key; None is left out."""
    groups: dict[Any, int] = {}
    for key, strand in strands:
        if key is not None:
            groups[key] = groups.get(key, 1) * strand.size
    return groups


def _ranks(
    groups: Sequence[dict[int, int]], missing: int, dtype: Any
) -> Iterator[tuple[Numbers, Numbers]]:
    """Yield keys and sizes of the first group of every vertex, of the second, and so on."""
    listed = [[*group.items()] for group in groups]
    for rank in range(max(map(len, groups))):
        rows = [g[rank] if rank < len(g) else (missing, 1) for g in listed]
        yield np.array([key for key, _ in rows]), np.array([size for _, size in rows], dtype)


def _by_length(ends: Numbers, compare: Callable[[Numbers, Numbers], Flags]) -> Flags:
    """Return a table of what compares the values at the two ends of every segment."""
    table = np.zeros((ends.size, ends.size), bool)
    for length in range(1, ends.size):
        table[length, : ends.size - length] = compare(ends[:-length], ends[length:])
    return table


def _skewed(table: Numbers, length: int, first: int, stop: int) -> Numbers:
    """Return the view whose row d - 1, column i is row `length - d`, column i + d of a table."""
    down, along = table.strides
    shape, strides = (length - 1, stop - first), (along - down, along)
    if table.dtype == object:
        return as_strided(table[length - 1 :, first + 1 :], shape, strides, writeable=False)
    # The same view, made in a tenth of the time.
    offset = (length - 1) * down + (first + 1) * along
    return np.ndarray(shape, table.dtype, table, offset, strides)
