"""The periods of a sequence, by doubling contexts (Karp, Miller & Rosenberg 1972)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence

# More distances are noise.
_MAX_DISTANCES_PER_CONTEXT = 4


def numbered(keys: Iterable[Hashable]) -> list[int]:
    """Return a number for every key; equal numbers are equal keys."""
    seen: dict[Hashable, int] = {}
    return [seen.setdefault(key, len(seen)) for key in keys]


def periods(described: Sequence[int]) -> Iterator[int]:
    """Yield the periods, each once, that show in contexts of 1, 2, 4, ... keys."""
    tried: set[int] = set()
    names, width = list(described), 1
    while len(names) > 1:
        for length in _distances(names):
            if length not in tried:
                tried.add(length)
                yield length
        # The context of twice the width: what stands here, and what stands one width further.
        names = numbered(zip(names[:-width], names[width:], strict=True))
        width *= 2


def _distances(names: Sequence[int]) -> list[int]:
    """Return how far apart equal names stand: the most frequent distances."""
    last: dict[int, int] = {}
    found: Counter[int] = Counter()
    for place, name in enumerate(names):
        if name in last:
            found[place - last[name]] += 1
        last[name] = place
    return [length for length, _ in found.most_common(_MAX_DISTANCES_PER_CONTEXT)]
