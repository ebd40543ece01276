"""Batches in chunks: some points after the other, here or by an executor, into one array each."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainad.api.outputs import checked_buffers, is_same_memory
from chainad.errors import InputError
from chainad.ir import trees

# What a chunk takes at least, in scalar operations: some milliseconds, many times what it takes to
# send it to another process.
MIN_OPERATIONS_PER_CHUNK = 20_000_000

# So many that a worker that is slower than others holds up the end but little.
CHUNKS_PER_WORKER = 4

# What is sent back at once.
MAX_BYTES_PER_CHUNK = 1 << 26


def size_of_chunks(count: int, workers: int, operations: int, nbytes: int) -> int:
    """Return how many points a chunk should have, of `count`.

    `operations` and `nbytes`, of results, are those of one point. That depends on no clock: with
    other chunks, results may be rounded in another way.
    """
    even = -(-count // (CHUNKS_PER_WORKER * workers))
    least = -(-MIN_OPERATIONS_PER_CHUNK // max(operations, 1))
    most = max(1, MAX_BYTES_PER_CHUNK // max(nbytes, 1))
    return min(max(even, least), most, count)


class CollectedPoints:
    """The values and Jacobians of all points, in arrays that those of chunks are written into.

    Parameters
    ----------
    first : tuple
        Both, of one point: arrays with the points in front, and whatever else the function returns,
        which must be the same at all points.
    count : int
        How many points there are.
    out : array or container of arrays, or None
        Where the Jacobians are to be.
    read : sequence of arrays
        What is read meanwhile, so that no `out` that may share its memory is written.

    Raises
    ------
    InputError
        If `out` does not fit.
    """

    def __init__(self, first: tuple[Any, Any], count: int, out: Any, read: list[Any]) -> None:
        self._first, self._tree = trees.flatten(first)
        jacobians, _ = trees.flatten(first[1])
        buffers: list[Any] = [None] * len(jacobians)
        if out is not None:
            # For its shapes and dtypes alone.
            wanted = trees.map_leaves(lambda x: np.broadcast_to(x, (count, *x.shape[1:])), first[1])
            given = checked_buffers(wanted, out)
            if not any(np.may_share_memory(x, y) for x in given for y in read):
                buffers = given
        values = [None] * (len(self._first) - len(jacobians))
        self._wholes = [
            _of_points(leaf, count) if buffer is None else buffer
            for leaf, buffer in zip(self._first, [*values, *buffers], strict=True)
        ]
        self._is_single = len(jacobians) == 1

    def place_of(self, part: slice) -> Any:
        """Return where the Jacobians of a chunk may be written directly; None if nowhere."""
        return self._wholes[-1][part] if self._is_single else None

    def accept(self, part: slice, found: tuple[Any, Any]) -> None:
        """Write the values and Jacobians of a chunk, unless they have been written."""
        leaves, tree = trees.flatten(found)
        if tree != self._tree:
            raise InputError("the results of the points are arranged in different ways")
        for whole, first, leaf in zip(self._wholes, self._first, leaves, strict=True):
            if not isinstance(first, np.ndarray):
                if leaf != first:
                    raise InputError(
                        f"the results of the points differ: {first!r} at the first, not at all"
                    )
                continue
            if (leaf.shape[1:], leaf.dtype) != (first.shape[1:], first.dtype):
                raise InputError("the results of the points have different shapes")
            if not is_same_memory(leaf, whole[part]):
                whole[part] = leaf

    def result(self) -> tuple[Any, Any]:
        """Return the values and the Jacobians of all points."""
        values, jacobians = self._tree.unflatten(self._wholes)
        return values, jacobians


def _of_points(leaf: Any, count: int) -> Any:
    """Return an array of many points for one of one point; what else is returned as it is."""
    if not isinstance(leaf, np.ndarray):
        return leaf
    return np.empty((count, *leaf.shape[1:]), leaf.dtype)
