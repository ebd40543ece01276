"""Measuring one workload: check everything, then time everything."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from statistics import median
from typing import Any

import numpy as np

import chainad
from benchmarks import goals, inside
from benchmarks.check import agree_as_matrices, agree_with_function
from benchmarks.goals import Figures, Goal
from benchmarks.inside import CachedCall, FirstCall, cached_call, first_call, forget
from benchmarks.memory import peak, size
from benchmarks.peers import PEERS, library_of
from benchmarks.timing import Rounds, Runner, once, race, ratio
from benchmarks.workload import Library, OwnPeer, Workload

MODES = ("forward", "reverse")
# A mode that multiplies more than this, or keeps more bytes, is costed but not run.
TOO_DEAR = 20_000_000_000
TOO_LARGE = 4_000_000_000


@dataclass(frozen=True)
class Effort:
    """How long to time: `seconds` for each runner, and at least so many `rounds`.

    `only_rivals` leaves out the peers that no goal speaks of.
    """

    seconds: float
    rounds: int
    only_rivals: bool = False


@dataclass(frozen=True)
class Memory:
    """Bytes: the result, the peaks of calls that return it, and that of the limit.

    What a compiled function keeps for the next call counts as its own.
    """

    result: int
    peak: int
    compiled: int | None
    limit: int | None

    @property
    def figures(self) -> Figures:
        """The peaks over that of the limit."""
        if not self.limit:
            return Figures(None)
        compiled = None if self.compiled is None else self.compiled / self.limit
        return Figures(self.peak / self.limit, compiled)


@dataclass(frozen=True)
class Measurement:
    """What was found of one workload; times in seconds.

    `counts` are the multiplications of forward, reverse and auto. `rounds` and `first_calls` go by
    runner: "chainad", "compiled", "forward", "reverse" (where they differ from auto), "f", "limit"
    and the peers. `failed` says of a peer why it takes no part.
    """

    workload: Workload
    counts: Mapping[str, int]
    rounds: Mapping[str, Rounds]
    first_calls: Mapping[str, float]
    cached: CachedCall
    first: FirstCall
    memory: Memory
    failed: Mapping[str, str]

    @property
    def seconds(self) -> dict[str, float]:
        """The median time of a call, by runner."""
        return {name: median(rounds) for name, rounds in self.rounds.items()}

    @property
    def rival(self) -> str | None:
        """The fastest of the peers that the goals speak of."""
        present = [name for name in self.workload.rivals if name in self.rounds]
        return min(present, key=self.seconds.__getitem__, default=None)

    @property
    def figures(self) -> dict[str, Figures]:
        """Everything that goals speak of."""
        ours = ("chainad", "compiled", "numba")
        limit = self.seconds.get("limit")
        over_modes = [self.ratio("chainad", mode) for mode in MODES if mode in self.rounds]
        first = self.first
        return {
            goals.GAIN: Figures(*(self.ratio(self.rival, name) for name in ours)),
            goals.OVER_F: Figures(*(self.ratio(name, "f") for name in ours)),
            goals.OVER_LIMIT: Figures(*(self.ratio(name, "limit") for name in ours)),
            goals.EXCESS: Figures(*(_excess(self.seconds.get(name), limit) for name in ours)),
            goals.PEAK: self.memory.figures,
            # A mode that is not raced is what auto chose, or too dear to run: not better.
            goals.OVER_MODE: Figures(max([1.0, *(r for r in over_modes if r is not None)])),
            goals.PLAN: Figures(1e3 * first.plan),
            goals.PREPARE: Figures(1e3 * (first.linearize + first.plan + first.lower)),
            goals.FIRST: Figures(1e3 * self.first_calls["chainad"]),
            goals.FIRST_GAIN: Figures(self._first_gain()),
        }

    @property
    def verdicts(self) -> list[tuple[Goal, str]]:
        """Every goal with "met", "met compiled", "missed" or "-"."""
        figures = self.figures
        return [(g, g.verdict(figures)) for g in (*self.workload.goals, *goals.COMMON)]

    def ratio(self, slow: str | None, fast: str) -> float | None:
        """Return how many times slower one runner is than another."""
        if slow is None or slow not in self.rounds or fast not in self.rounds:
            return None
        return ratio(self.rounds[slow], self.rounds[fast])

    def _first_gain(self) -> float | None:
        theirs = [self.first_calls[k] for k in self.workload.rivals if k in self.first_calls]
        return min(theirs) / self.first_calls["chainad"] if theirs else None


def _excess(ours: float | None, limit: float | None) -> float | None:
    return None if ours is None or limit is None else 1e6 * (ours - limit)


def measure(workload: Workload, libraries: Mapping[str, Library], effort: Effort) -> Measurement:
    """Check and time one workload.

    Raises
    ------
    MismatchError
        If any two Jacobians differ.
    """
    first_calls = {"chainad": _first_call(workload, effort)}
    runners, wanted = checked(workload)
    failed: dict[str, str] = {}
    for name, make in _peers(workload, libraries, effort.only_rivals):
        library = libraries[library_of(name)]
        try:
            first_calls[name], (runner, found) = once(partial(_started, make, library, workload))
        except Exception as error:  # whatever a peer cannot do, the others run
            failed[name] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            continue
        agree_as_matrices(workload, name, found, wanted)
        runners[name] = runner
    f, output = workload.function, workload.output
    x = workload.point[0] if workload.batch else workload.point  # counts and stages of one point
    plan = inside.plan(inside.linearized(inside.trace(f, x)), "auto")
    counts = {offer.name: offer.multiplications for offer in plan.alternatives}
    return Measurement(
        workload,
        counts | {"auto": plan.multiplications},
        race(runners, effort.seconds, effort.rounds),
        first_calls,
        cached_call(f, x, output, effort.seconds / 2, effort.rounds),
        first_call(f, x, output, effort.seconds / 2, effort.rounds),
        _memory(workload, runners["chainad"], wanted),
        failed,
    )


def checked(workload: Workload) -> tuple[dict[str, Runner], Any]:
    """Return our own runners, all of which agree with the function, and the Jacobian."""
    f, x = workload.function, workload.point
    jacobian = _jacobian(workload)
    wanted = jacobian(x)
    agree_with_function(workload, wanted)
    runners: dict[str, Runner] = {"chainad": partial(jacobian, x)}
    if workload.into:
        runners["chainad"] = partial(jacobian, x, out=np.empty_like(wanted))
    if workload.numba and find_spec("numba") is not None:
        runners["numba"] = _by_numba(workload)
    if not workload.batch:
        if isinstance(wanted, np.ndarray) and wanted.shape != np.shape(f(x)) + x.shape:
            raise AssertionError(f"{workload.name}: the Jacobian has shape {wanted.shape}")
        runners |= {"f": partial(f, x)} | _compiled(workload) | dict(_modes(workload))
    if workload.limit is not None:
        runners["limit"] = partial(workload.limit(), x)
    for name in runners.keys() - {"f"}:
        agree_as_matrices(workload, name, runners[name](), wanted)
    return runners, wanted


def _jacobian(workload: Workload, **options: Any) -> Any:
    if workload.batch:
        options["batch"] = 0
    return chainad.jacobian(workload.function, output=workload.output, **options)


def _by_numba(workload: Workload) -> Runner:
    """Return the call that numba compiled; falling back to something else is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jacobian = _jacobian(workload, backend="numba")
        compiled = jacobian if workload.batch else jacobian.compile(0.9 * workload.point)
        compiled(workload.point)
    return partial(compiled, workload.point)


def _compiled(workload: Workload) -> dict[str, Runner]:
    """Return the call that traces no more."""
    x = workload.point
    # Recorded elsewhere: what is replayed here must be right here, too.
    compiled = _jacobian(workload).compile(0.9 * x)
    if workload.into:
        return {"compiled": partial(compiled, x, out=np.empty_like(compiled(x)))}
    return {"compiled": partial(compiled, x)}


def _modes(workload: Workload) -> Iterator[tuple[str, Runner]]:
    """Yield the fixed modes that do something else than auto, and that can be run."""
    f, x = workload.function, workload.point
    known = inside.linearized(inside.trace(f, x))
    chosen = inside.plan(known, "auto")
    for mode in MODES:
        plan = inside.plan(known, mode)
        dear = plan.multiplications > TOO_DEAR or plan.peak.bytes > TOO_LARGE
        if plan.order != chosen.order and not dear:
            yield mode, partial(chainad.jacobian(f, mode=mode, output=workload.output), x)


def _peers(
    workload: Workload, libraries: Mapping[str, Library], only_rivals: bool
) -> Iterator[tuple[str, OwnPeer]]:
    """Yield the peers of a workload whose library is there."""
    known = {**PEERS, **workload.own}
    names = workload.rivals if only_rivals else (*workload.rivals, *workload.others)
    for name in names if workload.spell else ():
        if library_of(name) in libraries:
            yield name, known[name]


def _started(make: OwnPeer, library: Library, workload: Workload) -> tuple[Runner, Any]:
    runner = make(library, workload)
    return runner, runner()


def _first_call(workload: Workload, effort: Effort) -> float:
    """Return the median time of a call that finds all caches empty."""

    def first() -> float:
        forget()
        jacobian = _jacobian(workload)
        return once(partial(jacobian, workload.point))[0]

    return median(first() for _ in range(effort.rounds))


def _memory(workload: Workload, runner: Runner, wanted: Any) -> Memory:
    limit = workload.limit
    # The scratch arrays of the limit are made with it, and count.
    theirs = peak(lambda: limit()(workload.point)) if limit is not None else None
    for _ in range(2):  # the second call may still make what all later ones use
        runner()
    # Its first call was made while it was compiled; the second one makes the memory that it keeps.
    compiled = _compiled(workload).get("compiled") if not workload.batch else None
    return Memory(size(wanted), peak(runner), None if compiled is None else peak(compiled), theirs)
