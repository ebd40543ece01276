"""Measuring one workload: check everything, then time everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import chainad
from benchmarks.check import agree, agree_with_complex_step
from benchmarks.inside import CachedCall, FirstCall, cached_call, first_call, forget
from benchmarks.peers import Library, Peer
from benchmarks.timing import Rounds, Runner, once, race, ratio
from benchmarks.workload import Array, Workload


@dataclass(frozen=True)
class Effort:
    """How long to time: `seconds` for each runner, and at least so many `rounds`."""

    seconds: float
    rounds: int


@dataclass(frozen=True)
class Measurement:
    """What was found of one workload; times in seconds.

    `multiplications` are those of forward, reverse and auto; `rounds` and `first_calls` go by
    runner ("chainad", "limit" and the peers).
    """

    workload: Workload
    multiplications: Mapping[str, int]
    rounds: Mapping[str, Rounds]
    first_calls: Mapping[str, float]
    cached: CachedCall
    first: FirstCall

    @property
    def seconds(self) -> dict[str, float]:
        """The median time of a call, by runner."""
        return {name: median(rounds) for name, rounds in self.rounds.items()}

    @property
    def rival(self) -> str | None:
        """The fastest of the peers that the goal speaks of."""
        present = [name for name in self.workload.rivals if name in self.rounds]
        return min(present, key=self.seconds.__getitem__, default=None)

    @property
    def gain(self) -> float | None:
        """How many times slower the rival is than chainad."""
        return self._ratio(self.rival, "chainad")

    @property
    def possible_gain(self) -> float | None:
        """How many times slower the rival is than the hand-written limit."""
        return self._ratio(self.rival, "limit")

    @property
    def distance(self) -> float | None:
        """How many times slower chainad is than the hand-written limit."""
        return self._ratio("chainad", "limit")

    @property
    def first_gain(self) -> float | None:
        """How many times longer the quickest first call of a rival takes than chainad's."""
        theirs = [self.first_calls[k] for k in self.workload.rivals if k in self.first_calls]
        return min(theirs) / self.first_calls["chainad"] if theirs else None

    def _ratio(self, slow: str | None, fast: str) -> float | None:
        if slow not in self.rounds or fast not in self.rounds:
            return None
        return ratio(self.rounds[slow], self.rounds[fast])


def measure(
    workload: Workload, peers: Sequence[Peer], libraries: Mapping[str, Library], effort: Effort
) -> Measurement:
    """Check and time one workload.

    Raises
    ------
    MismatchError
        If any two Jacobians differ.
    """
    f, x = workload.function, workload.point
    wanted = checked_jacobian(workload)
    runners: dict[str, Runner] = {"chainad": partial(chainad.jacobian(f), x)}
    first_calls = {"chainad": _first_call(workload, effort)}
    if workload.limit is not None:
        agree(workload, "limit", workload.limit(x), wanted)
        runners["limit"] = partial(workload.limit, x)
    for peer in peers:
        if peer.library in workload.spellings:
            runner = _runner(workload, peer, libraries[peer.library])
            first_calls[peer.name], found = once(runner)
            agree(workload, peer.name, found, wanted)
            runners[peer.name] = runner
    plan = chainad.plan(f, x)
    counts = {offer.name: offer.multiplications for offer in plan.alternatives}
    return Measurement(
        workload,
        counts | {"auto": plan.multiplications},
        race(runners, effort.seconds, effort.rounds),
        first_calls,
        cached_call(f, x, effort.seconds / 2, effort.rounds),
        first_call(f, x, effort.seconds / 2, effort.rounds),
    )


def checked_jacobian(workload: Workload) -> Array:
    """Return the Jacobian, the same in all modes and along complex steps."""
    f, x = workload.function, workload.point
    wanted = chainad.jacobian(f)(x)
    for mode in ("forward", "reverse"):
        agree(workload, f"mode={mode!r}", chainad.jacobian(f, mode=mode)(x), wanted)
    agree_with_complex_step(workload, wanted)
    return wanted


def _first_call(workload: Workload, effort: Effort) -> float:
    """Return the median time of a call that finds all caches empty."""

    def first() -> float:
        forget()
        return once(partial(chainad.jacobian(workload.function), workload.point))[0]

    return median(first() for _ in range(effort.rounds))


def _runner(workload: Workload, peer: Peer, library: Library) -> Runner:
    jacobian = peer.jacobian(library.module, workload.spellings[library.name](library))
    x = library.array(workload.point)

    def run() -> Any:
        return library.wait(jacobian(x))

    return run
