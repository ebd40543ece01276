"""The compressed sparse rows of a Jacobian that is a sum of structures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from chainad.pattern import Positions, positions
from chainad.structure import Structure


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the numbers of a sparse matrix of `shape` go: sorted rows, no place twice.

    `places[k]` tells where in `data` the entries of the k-th structure lie, in label order;
    `covers` says that every place is that of one entry.
    """

    shape: tuple[int, int]
    indices: npt.NDArray[np.integer]
    indptr: npt.NDArray[np.integer]
    places: tuple[Positions, ...]
    covers: bool


def lay_out(structures: Sequence[Structure]) -> Layout:
    """Return the layout of the sum of `structures`, which have the same shape."""
    shape = structures[0].matrix_shape
    entries = [structure.entries() for structure in structures]
    keys = np.concatenate([rows * shape[1] + cols for rows, cols in entries])
    # A stable sort merges what is sorted in parts, as the diagonals of a stencil are.
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    is_new = np.concatenate([[True], ordered[1:] != ordered[:-1]])[: keys.size]
    place = np.empty(keys.size, np.int64)
    place[order] = np.cumsum(is_new) - 1
    found = ordered[is_new]
    rows, cols = np.divmod(found, max(1, shape[1]))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=shape[0]))])
    small = max(found.size, *shape) < 2**31
    dtype: type[np.integer] = np.int32 if small else np.int64
    ends = np.cumsum([0, *(structure.nonzeros for structure in structures)])
    parts = tuple(positions(place[a:b]) for a, b in pairwise(ends))
    return Layout(shape, cols.astype(dtype), indptr.astype(dtype), parts, found.size == keys.size)
