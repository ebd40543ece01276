"""The compressed sparse rows of a Jacobian that is a sum of structures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from chainad.ir.positions import Integers, Positions, positions
from chainad.structure.structure import Structure


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the entries of a sparse matrix of `shape` go: sorted rows, no place twice.

    `places[k]` tells where in `data` the entries of the k-th structure lie, in label order;
    `covers` says that every place is that of one entry.
    """

    shape: tuple[int, int]
    indices: npt.NDArray[np.integer]
    indptr: npt.NDArray[np.integer]
    places: tuple[Positions, ...]
    covers: bool

    @property
    def entries(self) -> tuple[Integers, Integers]:
        """Row and column of every entry."""
        rows = np.repeat(np.arange(self.shape[0]), np.diff(self.indptr))
        return rows, self.indices.astype(np.int64)

    def restricted(self, kept: Integers) -> Layout:
        """Return the layout of some of the entries, given by ascending numbers."""
        before = np.searchsorted(kept, self.indptr).astype(self.indptr.dtype)
        return Layout(self.shape, self.indices[kept], before, (range(kept.size),), True)


def lay_out(structures: Sequence[Structure]) -> Layout:
    """Return the layout of the sum of `structures`, which have the same shape."""
    shape = structures[0].matrix_shape
    entries = [structure.entries() for structure in structures]
    indices, indptr, places = _of_diagonals(shape[0], entries) or _by_sorting(shape, entries)
    small = max(indices.size, *shape) < 2**31
    dtype: type[np.integer] = np.int32 if small else np.int64
    covers = indices.size == sum(place.size for place in places)
    kept = tuple(map(positions, places))
    return Layout(shape, indices.astype(dtype), indptr.astype(dtype), kept, covers)


Entries: TypeAlias = Sequence[tuple[Integers, Integers]]
# The columns of all entries, where the rows begin, and where every term's entries lie.
_Places: TypeAlias = tuple[Integers, Integers, list[Integers]]


def _of_diagonals(n_rows: int, entries: Entries) -> _Places | None:
    """Lay out terms that each lie on one diagonal and never overlap; None if they do not.

    Diagonals cross every row in the same order, so that nothing needs to be sorted.
    """
    offsets = []
    for rows, cols in entries:
        offset = cols - rows
        if offset.size == 0 or np.any(offset != offset[0]):
            return None
        offsets.append(int(offset[0]))
    order = sorted(range(len(entries)), key=offsets.__getitem__)
    count = np.zeros(n_rows, np.int64)
    last = np.full(n_rows, min(offsets) - 1)
    rank: dict[int, Integers] = {}
    for k in order:
        rows = entries[k][0]
        if len(set(offsets)) < len(offsets):
            if np.any(last[rows] == offsets[k]):
                return None
            last[rows] = offsets[k]
        rank[k] = count[rows]
        count[rows] += 1
    indptr = np.concatenate([[0], np.cumsum(count)])
    indices = np.empty(int(indptr[-1]), np.int64)
    places = [indptr[rows] + rank[k] for k, (rows, _) in enumerate(entries)]
    for place, (_, cols) in zip(places, entries, strict=True):
        indices[place] = cols
    return indices, indptr, places


def _by_sorting(shape: tuple[int, int], entries: Entries) -> _Places:
    """Lay out any terms."""
    keys = np.concatenate([rows * shape[1] + cols for rows, cols in entries])
    # A stable sort merges what is sorted in parts.
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    is_new = np.concatenate([[True], ordered[1:] != ordered[:-1]])[: keys.size]
    place = np.empty(keys.size, np.int64)
    place[order] = np.cumsum(is_new) - 1
    rows, cols = np.divmod(ordered[is_new], max(1, shape[1]))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=shape[0]))])
    ends = np.cumsum([rows.size for rows, _ in entries])[:-1]
    return cols, indptr, np.split(place, ends)
