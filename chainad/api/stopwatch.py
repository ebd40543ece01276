"""How long calls take: the quickest of several, since other work of the machine only adds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from time import perf_counter
from typing import Any, TypeVar

T = TypeVar("T")

# What takes less is repeated: reading the clock takes .1 us.
SHORTEST_READING = 20e-6


def timed(call: Callable[[], T], repeats: int = 1) -> tuple[float, T]:
    """Return the seconds that one of some runs of a call takes, and what the last one returned."""
    start = perf_counter()
    for _ in range(repeats):
        result = call()
    return (perf_counter() - start) / repeats, result


class Laps:
    """A clock that tells how long it is since it was read last."""

    def __init__(self) -> None:
        self._last = perf_counter()

    def lap(self) -> float:
        """Return the seconds since the last lap, or the start."""
        before, self._last = self._last, perf_counter()
        return self._last - before


def repeats_for(seconds: float) -> int:
    """Return how often a call that takes so long is repeated in one reading of the clock."""
    return ceil(SHORTEST_READING / max(seconds, 1e-9))


def in_turns(calls: Sequence[Callable[[], Any]], seconds: float) -> list[float]:
    """Return the seconds of the quickest run of each call.

    They take turns for about so many seconds, at least one each, so that all of them meet the
    machine in the same states.
    """
    end = perf_counter() + seconds
    best = [timed(call)[0] for call in calls]
    while perf_counter() < end:
        for k, call in enumerate(calls):
            best[k] = min(best[k], timed(call, repeats_for(best[k]))[0])
    return best


def quickest(call: Callable[[], Any], seconds: float) -> float:
    """Return the seconds of the quickest run of a call, in about so many seconds."""
    return in_turns([call], seconds)[0]
