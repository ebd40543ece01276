"""Timing: all runners in turn, A B C, C A B ..., so that a slow minute is slow for everyone."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import ceil
from random import Random
from statistics import median
from time import perf_counter
from typing import Any, TypeVar

# Seconds of the wall: a process that is pinned to one core of an idle machine waits for nothing.
# (Virtual machines may account for no time of the processor at all.)
now = perf_counter

Clock = Callable[[], float]
Runner = Callable[[], Any]
Rounds = tuple[float, ...]
T = TypeVar("T")

# A sample lasts at least so long, else the caches are still full of what ran before.
SAMPLE = 0.002  # seconds
SHORTEST = 1e-7


def once(runner: Runner, clock: Clock = now) -> tuple[float, Any]:
    """Return the seconds that one call takes, and its result."""
    start = clock()
    result = runner()
    return clock() - start, result


def repeated(sample: Callable[[], T], times: int = 3, seconds: float = 0.5) -> list[T]:
    """Return what some calls return: one at least, and no more once they have taken `seconds`."""
    start = now()
    found = [sample()]
    while len(found) < times and now() - start < seconds:
        found.append(sample())
    return found


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in what takes the processor longer."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"more than {seconds:g} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def race(
    runners: Mapping[str, Runner], seconds: float, rounds: int, clock: Clock = now
) -> dict[str, Rounds]:
    """Return the seconds per call of every runner, round by round.

    A runner takes part until it has had its `seconds`; in `rounds` rounds at least, if these fit
    into four times that, and in one however slow it is. Who waits for another device needs the
    `clock` of the wall.
    """
    calls = {
        name: ceil(SAMPLE / max(once(runner)[0], SHORTEST)) for name, runner in runners.items()
    }
    found: dict[str, list[float]] = {name: [] for name in runners}
    spent = dict.fromkeys(runners, 0.0)

    def goes_on(name: str) -> bool:
        least = len(found[name]) < rounds and spent[name] < 4 * seconds
        return not found[name] or least or spent[name] < seconds

    # Whoever follows a greedy one finds cold caches and a trimmed heap: a new order each round.
    deal = Random(0)
    while racing := [name for name in runners if goes_on(name)]:
        for name in racing:
            sample = _sample(runners[name], calls[name], clock)
            spent[name] += sample
            found[name].append(sample / calls[name])
        runners = dict(deal.sample(list(runners.items()), len(runners)))
    return {name: tuple(samples) for name, samples in found.items()}


def _sample(runner: Runner, calls: int, clock: Clock) -> float:
    start = clock()
    for _ in range(calls):
        runner()
    return clock() - start


def ratio(slow: Rounds, fast: Rounds) -> float:
    """Return how many times slower `slow` was, by the medians."""
    return median(slow) / median(fast)
