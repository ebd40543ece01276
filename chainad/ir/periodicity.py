"""The periods of a sequence, by doubling contexts (Karp, Miller & Rosenberg 1972)."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence

import numpy as np

from chainad.ir.positions import Integers

# More distances are noise.
_MAX_DISTANCES_PER_CONTEXT = 4


def numbered(keys: Iterable[Hashable]) -> list[int]:
    """Return a number for every key; equal numbers are equal keys."""
    seen: dict[Hashable, int] = {}
    return [seen.setdefault(key, len(seen)) for key in keys]


def periods(described: Sequence[int] | Integers) -> Iterator[int]:
    """Yield the periods, each once, that show in contexts of 1, 2, 4, ... keys.

    Keys are integers from 0 on.
    """
    tried: set[int] = set()
    names, width = np.asarray(described, np.int64), 1
    while len(names) > 1:
        distances = _distances(names)
        if not distances:  # longer contexts are distinct, too
            return
        for length in distances:
            if length not in tried:
                tried.add(length)
                yield length
        # The context of twice the width: what stands here, and what stands one width further.
        pairs = names[:-width] * (names.max() + 1) + names[width:]
        names = np.unique(pairs, return_inverse=True)[1]
        width *= 2


def runs(described: Integers, length: int) -> Iterator[tuple[int, int]]:
    """Yield the longest ranges, each as (start, stop), in which keys repeat at this distance."""
    differs = np.flatnonzero(described[:-length] != described[length:])
    starts = [0, *(differs + 1).tolist()]
    stops = [*(differs + length).tolist(), len(described)]
    yield from zip(starts, stops, strict=True)


def _distances(names: Integers) -> list[int]:
    """Return how far apart equal names stand: the most frequent distances, of equals the least."""
    places = np.argsort(names, kind="stable")
    is_same = names[places[1:]] == names[places[:-1]]
    counts = np.bincount((places[1:] - places[:-1])[is_same])
    frequent = np.argsort(-counts, kind="stable")[:_MAX_DISTANCES_PER_CONTEXT]
    return [length for length in frequent.tolist() if counts[length]]
