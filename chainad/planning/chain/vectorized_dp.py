"""All segments of a chain with live ranges, costed length by length with whole arrays.

Row d, column i of a table stands for the segment of d factors from factor i on. The segment to the
right of a split behind it has l - d factors, from factor i + d on: a skewed view of a table puts
these at the same position, so that all splits of all segments of one length are costed at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from chainad.ir.cache import cached_property
from chainad.planning.chain.live_ranges import Crossing, LiveRange
from chainad.structure.structure import Structure

Entries = npt.NDArray[Any]  # int64, or Python integers where 64 bits may not do
Flags = npt.NDArray[np.bool_]

# Splits costed at a time, in arrays that stay in the processor's cache.
BLOCK_SPLITS = 1 << 17

# Of longer chains the last splits are computed when they are requested.
MAX_STORED_SPLIT_FACTORS = 256


class Inner(NamedTuple):
    """Live ranges through every vertex: which of them begin and end inside a segment.

    `sizes[d, i]` is the size of the live range through vertex i + d if it begins behind vertex i,
    else 1; `ends[e, v]` says whether the one through vertex v has ended e factors later; None: all
    have.
    """

    sizes: Entries
    ends: Flags | None


class Ones(NamedTuple):
    """Live ranges that no factor stores, and that are summed: equal terms.

    `added` says, as `Inner` does, of the live ranges through every vertex whether they begin
    inside, and whether they have ended; `scaled` of which segments of all ones they make a
    multiple.
    """

    added: list[tuple[Flags, Flags]]
    scaled: Flags


class Segments:
    """The least cost of every segment of a chain.

    Parameters
    ----------
    structures : sequence of Structure
        The factors, from x to y; operators are costed by their actions.
    crosses : sequence of Crossing
        `live_ranges_of(structures)`.
    """

    def __init__(self, structures: Sequence[Structure], crosses: Sequence[Crossing]) -> None:
        self.q = q = len(structures)
        self.crosses = crosses
        materialize = [s.cost_to_materialize for s in structures]
        has_entries = np.cumsum([0, *(s.scale is None for s in structures)])
        self.has_entries = _by_length(has_entries, lambda one, two: two > one)
        self.all_have_entries = bool(has_entries[-1] == q)
        self.dtype: Any = float  # to see how large the counts are
        with np.errstate(over="ignore"):
            counts = self._counts()
        max_count = float(counts.max())
        self.dtype = np.int64 if self._fits(structures, sum(materialize), max_count) else object
        is_exact = self.dtype is np.int64 and max_count < 2.0**53
        self.counts = counts.astype(np.int64) if is_exact else self._counts()
        self.ones = self._ones()
        self.inner = self._inner()
        self.least = self._table(0)
        self.least[1, :q] = materialize
        self.swept = self._swept(structures)
        keeps_splits = q <= MAX_STORED_SPLIT_FACTORS and not self.swept
        self.splits = np.zeros((q + 1, q + 1), np.int64) if keeps_splits else None
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
            position, rest = (j - i - 1, (i, j - 1)) if way == "jvp" else (0, (i + 1, j))
            length = rest[1] - rest[0] + 1
            offers[position] = min(offers[position], int(self.least[length, rest[0]]) + swept)
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
        width = max(1, BLOCK_SPLITS // length)
        for first in range(0, n, width):
            stop = min(n, first + width)
            offers = self._products(length, first, stop)
            offers.min(axis=0, out=best[first:stop])
            if self.splits is not None:
                self.splits[length, first:stop] = offers.argmin(axis=0)
        for at, table, allowed in self.swept:
            swept = self.least[length - 1, at : at + n] + table[length, :n]
            np.minimum(best, swept, out=best, where=allowed[length, :n])

    def _products(self, length: int, first: int, stop: int) -> Entries:
        """Return the costs of all splits of the segments that begin at first, ..., stop - 1."""

        def left(table: Entries) -> Entries:
            return table[1:length, first:stop]

        def right(table: Entries) -> Entries:
            return _skewed(table, length, first, stop)

        total = left(self.least) + right(self.least)
        cost = self.counts[length, first:stop]
        for sizes, ends in self.inner:
            cost = cost * (left(sizes) if ends is None else np.where(right(ends), left(sizes), 1))
        if not self.all_have_entries:
            cost = cost * (left(self.has_entries) & right(self.has_entries))
        total += cost
        if self.ones is not None:
            # Equal terms add up to a multiple of one of them.
            scaled = left(self.ones.scaled) | right(self.ones.scaled)
            for begins, ends in self.ones.added:
                scaled |= left(begins) & right(ends)
            kept = self.has_entries[length, first:stop]
            total += np.where(scaled & kept, self.counts[length, first:stop], 0)
        return total

    def _fits(self, structures: Sequence[Structure], materialize: int, max_count: float) -> bool:
        """Return whether no cost exceeds 64 bits; `max_count` bounds the entries of a segment."""
        widest = max(
            prod(x.size for x in cross if _is_inner(x, v, self.q))
            for v, cross in enumerate(self.crosses)
        )
        actions = [s.action for s in structures if s.action is not None]
        most_expensive = max((max(a.tangent or 0, a.adjoint or 0) for a in actions), default=1)
        sizes = [x.size for cross in self.crosses for x in cross]
        if max(materialize, widest, most_expensive, *sizes) >= 2**62:
            return False
        return materialize + 2 * self.q * max_count * widest * max(1, most_expensive) < 2.0**62

    def _table(self, value: Any) -> Entries:
        return np.full((self.q + 1, self.q + 1), value, self.dtype)

    def _counts(self) -> Entries:
        """Return how many entries every segment stores; 1 for all ones."""
        counts = self._table(1)
        vertices = np.arange(self.q + 1)
        selected = {id(x): x for c in self.crosses for x in c if x.surviving is not None}
        for live_range in selected.values():
            self._count_surviving(counts, live_range)
        whole = [[x for x in c if x.surviving is None] for c in self.crosses]
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

    def _count_surviving(self, counts: Entries, live_range: LiveRange) -> None:
        """Multiply the counts of all segments by what survives of a live range with selections."""
        assert live_range.surviving is not None
        first, last = live_range.first, min(live_range.stop, self.q - 1)
        for i in range(live_range.start, min(live_range.stop, self.q - 1) + 1):
            if (kept := _next(live_range, i)) is not None:
                j = np.arange(kept, self.q)
                counts[j - i + 1, i] *= live_range.surviving[i - first, np.minimum(j, last) - first]
        enters = np.arange(live_range.start)  # segments inside which it begins
        for end in range(first, min(live_range.stop, self.q)):
            if _previous(live_range, end + 1) is not None:
                counts[end - enters + 1, enters] *= int(live_range.surviving[0, end - first])

    def _inner(self) -> list[Inner]:
        """Return the live ranges that factors on both sides of a vertex store."""
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
        """Return the live ranges that are summed without entries; None if there are none."""
        found = {id(x): x for c in self.crosses for x in c if is_bare(x, self.q)}
        if not found:
            return None
        added = []
        scaled = np.zeros(self.has_entries.shape, bool)
        vertices = np.arange(self.q + 1)
        length, start = np.indices(self.has_entries.shape)
        for live_range in found.values():
            through = (live_range.start <= vertices) & (vertices <= live_range.stop)
            inside = (start < live_range.start) & (start + length > live_range.stop)
            scaled |= inside & ~self.has_entries
            begins = through[np.minimum(start + length, self.q)] & (start < live_range.start)
            ends = through[start] & (start + length > live_range.stop)
            added.append((begins, ends))
        return Ones(added, scaled)

    def _swept(self, structures: Sequence[Structure]) -> list[tuple[int, Entries, Flags]]:
        """Return what the JVPs of the last factor, and the VJPs of the first one, cost.

        Each table comes with where its other factor begins, counted from the segment's first one,
        and with where it may be used: all that the operator maps must be summed, and be stored by
        the other factor, or be fewer entries once that is spread out than the unit matrix has.
        """
        operators = [(k, s.action) for k, s in enumerate(structures) if s.action is not None]
        if not operators:
            return []
        is_array = [s.action is None for s in structures]
        jvps, vjps = (self._table(0), self._table(0)), (self._table(0), self._table(0))
        for k, action in operators:
            own = {id(x): x for c in self.crosses[k : k + 2] for x in c if k in x.stored}
            made = prod(x.size for x in own.values() if x.start > k)
            taken = prod(x.size for x in own.values() if x.stop <= k)
            if action.tangent is not None and k > 0:
                i = np.arange(k)
                at = (k - i + 1, i)
                fits = self.has_entries[k - i, i]
                for x in own.values():
                    if x.start <= k:
                        kept = _previous(x, k)
                        fits = fits & (i <= (-1 if kept is None else kept))
                        fits = fits & ((x.stop > k) | (x.start > i))
                inner = self.counts[at] * self._inner_size(k, i, k)
                spread = self.counts[at] // made
                is_less = (spread < prod(structures[k].col_shape)) & ((i < k - 1) | is_array[k - 1])
                found = np.where(fits, inner // (made * taken), spread)
                jvps[0][at], jvps[1][at] = found * action.tangent, fits | is_less
            if action.adjoint is not None and k < self.q - 1:
                j = np.arange(k + 1, self.q)
                at = (j - k + 1, np.full(j.size, k))
                fits = self.has_entries[j - k, k + 1]
                for x in own.values():
                    if x.stop > k:
                        kept = _next(x, k + 1)
                        fits = fits & (j >= (self.q if kept is None else kept))
                        fits = fits & ((x.start <= k) | (x.stop <= j))
                inner = self.counts[at] * self._inner_size(k + 1, k, j)
                spread = self.counts[at] // taken
                is_less = (spread < prod(structures[k].row_shape)) & ((j > k + 1) | is_array[k + 1])
                found = np.where(fits, inner // (made * taken), spread)
                vjps[0][at], vjps[1][at] = found * action.adjoint, fits | is_less
        return [(0, jvps[0], jvps[1] > 0), (1, vjps[0], vjps[1] > 0)]

    def _inner_size(self, v: int, i: Any, j: Any) -> Entries:
        """Return the product of the inner sizes at vertex v, for segments i..j."""
        inner = np.ones(np.broadcast(i, j).shape, self.dtype)
        for x in self.crosses[v]:
            if _is_inner(x, v, self.q):
                inner *= np.where((x.start > i) & (x.stop <= j), x.size, 1)
        return inner


def _next(live_range: LiveRange, v: int) -> int | None:
    """Return the first factor behind vertex v that stores a live range."""
    return min((k for k in live_range.stored if k >= v), default=None)


def _previous(live_range: LiveRange, v: int) -> int | None:
    """Return the last factor before vertex v that stores a live range."""
    return max((k for k in live_range.stored if k < v), default=None)


def is_bare(live_range: LiveRange, q: int) -> bool:
    """Return whether a live range is summed although no factor stores it."""
    return (
        live_range.start > 0
        and live_range.stop < q
        and not live_range.stored
        and live_range.size > 1
    )


def _is_inner(live_range: LiveRange, v: int, q: int) -> bool:
    """Return whether a live range through v is ever summed there, stored on both sides."""
    ends = live_range.start > 0 and live_range.stop < q
    return ends and _next(live_range, v) is not None and _previous(live_range, v) is not None


def _grouped(live_ranges: Iterable[tuple[Any, LiveRange]]) -> dict[Any, int]:
    """Return the product of the sizes of all live ranges with the same key; None is left out."""
    groups: dict[Any, int] = {}
    for key, live_range in live_ranges:
        if key is not None:
            groups[key] = groups.get(key, 1) * live_range.size
    return groups


def _ranks(
    groups: Sequence[dict[int, int]], missing: int, dtype: Any
) -> Iterator[tuple[Entries, Entries]]:
    """Yield keys and sizes of the first group of every vertex, of the second, and so on."""
    listed = [[*group.items()] for group in groups]
    for rank in range(max(map(len, groups))):
        rows = [g[rank] if rank < len(g) else (missing, 1) for g in listed]
        yield np.array([key for key, _ in rows]), np.array([size for _, size in rows], dtype)


def _by_length(ends: Entries, compare: Callable[[Entries, Entries], Flags]) -> Flags:
    """Return a table of what compares the values at the two ends of every segment."""
    table = np.zeros((ends.size, ends.size), bool)
    for length in range(1, ends.size):
        table[length, : ends.size - length] = compare(ends[:-length], ends[length:])
    return table


def _skewed(table: Entries, length: int, first: int, stop: int) -> Entries:
    """Return the view whose row d - 1, column i is row `length - d`, column i + d of a table."""
    down, along = table.strides
    shape, strides = (length - 1, stop - first), (along - down, along)
    if table.dtype == object:
        return as_strided(table[length - 1 :, first + 1 :], shape, strides, writeable=False)
    # The same view, made in a tenth of the time.
    offset = (length - 1) * down + (first + 1) * along
    return np.ndarray(shape, table.dtype, table, offset, strides)
