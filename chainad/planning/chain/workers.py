"""Chains on several workers: the bracketing that ends early, not the one that multiplies least.

    time(i..j, t) = min over k of  max(time(i..k, s), time(k+1..j, t - s)) + cost   side by side
                                   time(i..k, t) + time(k+1..j, t) + cost           one by one

for segments of a chain on t workers. It is exact for one worker and for as many as there are
factors; in between workers do not change sides early, which scheduling the steps mends in part.
Source: Naumann 2024, *Matrix-free Jacobian chaining*, for programs; the recurrence is that for
chains of matrices on several processors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chainad.planning.chain.vectorized_dp import Segments

# There is one table of segments per number of workers.
MAX_DIVIDED_FACTORS = 60


@dataclass(frozen=True)
class Division:
    """An order of the inner vertices, and the factors to materialize before anything else."""

    order: tuple[int, ...]
    materialized: tuple[int, ...]


def divide(segments: Segments, workers: int) -> list[Division]:
    """Return the bracketings that end earliest on 1, 2, ..., `workers` workers, each by itself."""
    table = _Table(segments, workers)
    return list(dict.fromkeys(table.division(t) for t in range(1, workers + 1)))


class _Table:
    """The least time of every segment of a chain on every number of workers."""

    def __init__(self, segments: Segments, workers: int) -> None:
        self.segments, self.workers, q = segments, workers, segments.q
        shape = (workers + 1, q, q)
        self.time: npt.NDArray[Any] = np.zeros(shape, object)
        self.choice: dict[tuple[int, int, int], tuple[str, int, int]] = {}
        for i in range(q):
            self.time[:, i, i] = int(segments.least[1, i])
        for length in range(2, q + 1):
            for i in range(q - length + 1):
                j = i + length - 1
                costs = segments.costs(i, j)
                swept = segments.sweeps(i, j)
                for t in range(1, workers + 1):
                    self._fill(i, j, t, costs, swept)

    def _fill(self, i: int, j: int, t: int, costs: list[int], swept: dict[str, int]) -> None:
        time = self.time
        offers: list[tuple[int, tuple[str, int, int]]] = []
        for k in range(i, j):
            cost = costs[k - i]
            one_by_one = time[t, i, k] + time[t, k + 1, j] + cost
            offers.append((one_by_one, ("product", k, 0)))
            for s in range(1, t):
                side_by_side = max(time[s, i, k], time[t - s, k + 1, j]) + cost
                offers.append((side_by_side, ("product", k, s)))
        if "jvp" in swept:
            offers.append((time[t, i, j - 1] + swept["jvp"], ("jvp", j - 1, 0)))
        if "vjp" in swept:
            offers.append((time[t, i + 1, j] + swept["vjp"], ("vjp", i, 0)))
        time[t, i, j], self.choice[t, i, j] = min(offers, key=lambda offer: offer[0])

    def division(self, workers: int) -> Division:
        """Read the order and the materialized factors off the table."""
        order: list[int] = []
        materialized: list[int] = []
        stack = [(workers, 0, self.segments.q - 1)]
        while stack:
            t, i, j = stack.pop()
            if i == j:
                materialized.append(i)
                continue
            how, k, s = self.choice[t, i, j]
            order.append(k + 1)
            if how != "vjp":
                stack.append((s or t, i, k))
            if how != "jvp":
                stack.append((t - s, k + 1, j))
        return Division(tuple(order[::-1]), tuple(sorted(materialized)))
