"""Measuring one workload: check everything, then time everything, in turn."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from itertools import cycle
from statistics import median
from typing import Any

import numpy as np

import chainad
from benchmarks import goals, inside
from benchmarks.check import TOLERANCE, agree_as_matrices, agree_with_function
from benchmarks.goals import Figures, Goal
from benchmarks.inside import FirstCall, first_call, forget
from benchmarks.memory import peak, size
from benchmarks.peers import PEERS, Jitted, library_of
from benchmarks.timing import Rounds, Runner, limited, once, race, ratio, repeated
from benchmarks.workload import VECTORISED, Function, Library, Workload
from chainad.errors import FallbackWarning

MODES = ("forward", "reverse")
# A mode that multiplies more than this, or keeps more bytes, is costed but not run.
TOO_DEAR = 20_000_000_000
TOO_LARGE = 4_000_000_000
ROUNDS = 3
POINTS = 4  # that calls take turns with
PATIENCE = 30  # seconds for one first call, beyond which it has failed
OURS = ("traced", "compiled", "numba")
TOLERANCES = {"numpy differences": 1e-3}


@dataclass(frozen=True)
class Memory:
    """Bytes: the result, and the peaks of calls that return it.

    What a compiled function keeps for the next call counts as its own. `first` is the peak of the
    first call of all, `jax` that of the leanest of its ways, by XLA's own account.
    """

    result: int
    first: int
    traced: int
    compiled: int | None
    jax: int | None
    limit: int | None

    @property
    def figures(self) -> Figures:
        """The peaks over that of the limit."""
        if not self.limit:
            return Figures(None)
        compiled = None if self.compiled is None else self.compiled / self.limit
        return Figures(self.traced / self.limit, compiled)


@dataclass(frozen=True)
class Measurement:
    """What was found of one workload; times in seconds.

    `rounds` and `first_calls` go by runner: "traced", "compiled", "numba", "f", "limit" and the
    peers; "numba from disk" is what a later process would wait for. `failed` says why a runner
    takes no part.
    """

    workload: Workload
    rounds: Mapping[str, Rounds]
    first_calls: Mapping[str, float]
    stages: FirstCall
    memory: Memory
    failed: Mapping[str, str]

    @property
    def seconds(self) -> dict[str, float]:
        """The median time of a call, by runner."""
        return {name: median(rounds) for name, rounds in self.rounds.items()}

    @property
    def rival(self) -> str | None:
        """The fastest of the peers that the goals speak of."""
        return self._fastest(self.workload.rivals)

    @property
    def expert(self) -> str | None:
        """The fastest of all that is done in JAX, by hand or not."""
        return self._fastest([name for name in self.rounds if library_of(name) == "jax"])

    @property
    def ours(self) -> str:
        """The fastest of our own calls that trace no more, where there are such."""
        return self._fastest(("compiled", "numba")) or "traced"

    @property
    def figures(self) -> dict[str, Figures]:
        """Everything that goals speak of."""
        limit = self.seconds.get("limit")
        stages = self.stages
        return {
            goals.GAIN: Figures(*(self.ratio(self.rival, name) for name in OURS)),
            goals.AGAINST_EXPERT: Figures(*(self.ratio(self.expert, name) for name in OURS)),
            goals.OVER_F: Figures(*(self.ratio(name, "f") for name in OURS)),
            goals.OVER_LIMIT: Figures(*(self.ratio(name, "limit") for name in OURS)),
            goals.EXCESS: Figures(*(_excess(self.seconds.get(name), limit) for name in OURS)),
            goals.PEAK: self.memory.figures,
            goals.FIRST_PEAK: Figures(self.memory.first / 1e6),
            goals.PLAN: Figures(1e3 * stages.plan),
            goals.PREPARE: Figures(1e3 * (stages.linearize + stages.plan + stages.lower)),
            goals.OVER_TRACE: Figures(stages.total / stages.trace),
            goals.FIRST: Figures(
                *(1e3 * t if (t := self.first_calls.get(name)) else None for name in OURS)
            ),
            goals.FROM_DISK: Figures(
                None, None, 1e3 * t if (t := self.first_calls.get("numba from disk")) else None
            ),
            goals.FIRST_GAIN: Figures(self._first_gain()),
            goals.OVER_VECTORISED: Figures(*(self.ratio(name, VECTORISED) for name in OURS)),
        }

    @property
    def verdicts(self) -> list[tuple[Goal, str]]:
        """Every goal with "met", "met compiled", "missed" or "-"."""
        figures = self.figures
        return [(g, g.verdict(figures)) for g in (*self.workload.goals, *goals.COMMON)]

    def ratio(self, slow: str | None, fast: str | None) -> float | None:
        """Return how many times slower one runner is than another."""
        if slow not in self.rounds or fast not in self.rounds:
            return None
        return ratio(self.rounds[slow], self.rounds[fast])

    def jax_first_call(self) -> float | None:
        """Return the quickest first call of a rival."""
        calls = self.first_calls
        return min((calls[k] for k in self.workload.rivals if k in calls), default=None)

    def _first_gain(self) -> float | None:
        theirs = self.jax_first_call()
        return theirs / self.first_calls["traced"] if theirs else None

    def _fastest(self, names: Any) -> str | None:
        present = [name for name in names if name in self.rounds]
        return min(present, key=self.seconds.__getitem__, default=None)


def _excess(ours: float | None, limit: float | None) -> float | None:
    return None if ours is None or limit is None else 1e6 * (ours - limit)


@dataclass
class Found:
    """What takes part, as functions of NumPy's arrays or, for peers, of their own."""

    functions: dict[str, Function] = field(default_factory=dict)
    first_calls: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, make: Callable[[], Function], x: Any) -> Any:
        """Add what `make` returns, and return its first result; None if it fails."""

        def start() -> tuple[Function, Any]:
            function = make()
            return function, function(x)

        try:
            with limited(PATIENCE):
                seconds, (function, result) = once(start)
        except Exception as error:  # whatever it cannot do, the others run
            self.failed[name] = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            for thread in threading.enumerate():  # what still compiles would be in others' times
                if thread is not threading.main_thread() and not thread.daemon:
                    thread.join()
            return None
        self.functions[name], self.first_calls[name] = function, seconds
        return result


def measure(
    workload: Workload,
    libraries: Mapping[str, Library],
    seconds: float,
    others: Sequence[str] = (),
) -> Measurement:
    """Check and time one workload: each runner for some seconds, and at least three rounds.

    `others` are the peers that take part besides those that goals speak of.

    Raises
    ------
    MismatchError
        If any two Jacobians differ.
    """
    x = workload.point
    points = [x * (1 + 1e-3 * k / POINTS) for k in range(POINTS)]
    one = x[0] if workload.batch else x  # stages are those of one point
    stages = first_call(workload.function, one, workload.output)
    first_peak = peak(_forgetful(partial(_jacobian(workload), x)))
    found, wanted = checked(workload)
    first = _forgetful(partial(_jacobian(workload), x))
    found.first_calls["traced"] = median(repeated(lambda: once(first)[0]))
    runners = {name: _fresh(f, points) for name, f in found.functions.items()}
    peaks = {name: _peak(runner) for name, runner in runners.items() if name in ("traced", "limit")}
    if "compiled" in runners:
        peaks["compiled"] = _peak(_fresh(_compiled(workload), points))
    theirs = []
    for name in add_peers(workload, found, libraries, wanted, others):
        arrays = [libraries[library_of(name)].array(point) for point in points]
        function = found.functions[name]
        runners[name] = _fresh(function, arrays)
        if isinstance(function, Jitted):
            theirs.append(function.peak(arrays[0]))
    return Measurement(
        workload,
        race(runners, seconds, ROUNDS),
        found.first_calls,
        stages,
        Memory(
            size(wanted), first_peak, peaks["traced"], peaks.get("compiled"),
            min(theirs, default=None), peaks.get("limit"),
        ),
        found.failed,
    )  # fmt: skip


def checked(workload: Workload, with_modes: bool = False) -> tuple[Found, Any]:
    """Return our own functions, all of which agree with the function, and the Jacobian."""
    x = workload.point
    found = Found()
    with limited(PATIENCE):
        wanted = _jacobian(workload)(x)
    agree_with_function(workload, wanted)
    found.functions["traced"] = _traced(workload, wanted)
    if not workload.batch:
        if (
            isinstance(wanted, np.ndarray)
            and wanted.shape != np.shape(workload.function(x)) + x.shape
        ):
            raise AssertionError(f"{workload.name}: the Jacobian has shape {wanted.shape}")
        forget()
        found.add("compiled", partial(_compiled, workload), x)
        found.functions["f"] = workload.function
    if workload.numba and find_spec("numba") is not None:
        forget()
        found.add("numba", partial(_by_numba, workload), x)
        if "numba" in found.functions:
            forget()
            seconds, _ = once(lambda: _by_numba(workload)(x))
            found.first_calls["numba from disk"] = seconds
    if workload.limit is not None:
        found.functions["limit"] = workload.limit()
    if with_modes:
        found.functions |= dict(_modes(workload))
    for name in found.functions.keys() - {"f"}:
        agree_as_matrices(workload, name, found.functions[name](x), wanted)
    return found, wanted


def _fresh(function: Function, points: list[Any]) -> Runner:
    """Return a runner that takes another point each time."""
    turns = cycle(points)
    return lambda: function(next(turns))


def _forgetful(runner: Runner) -> Runner:
    """Return a runner that finds all caches empty."""

    def run() -> Any:
        forget()
        with limited(PATIENCE):
            return runner()

    return run


def _peak(runner: Runner) -> int:
    for _ in range(2):  # the second call may still make what all later ones use
        runner()
    return peak(runner)


def _jacobian(workload: Workload, **options: Any) -> Any:
    if workload.batch:
        options["batch"] = 0
    return chainad.jacobian(workload.function, output=workload.output, **options)


def _traced(workload: Workload, wanted: Any) -> Function:
    jacobian: Function = _jacobian(workload)
    return partial(jacobian, out=np.empty_like(wanted)) if workload.into else jacobian


def _compiled(workload: Workload) -> Function:
    """Return the function that traces no more."""
    # Recorded elsewhere: what is replayed at the point must be right there, too.
    elsewhere = 0.9 * workload.point
    compiled: Function = _jacobian(workload).compile(elsewhere)
    if workload.into:
        return partial(compiled, out=np.empty_like(compiled(elsewhere)))
    return compiled


def _by_numba(workload: Workload) -> Function:
    """Return the function that numba compiled; falling back to something else is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", FallbackWarning)
        jacobian = _jacobian(workload, backend="numba")
        compiled: Function = jacobian if workload.batch else jacobian.compile(0.9 * workload.point)
        compiled(workload.point)
    return compiled


def _modes(workload: Workload) -> Iterator[tuple[str, Function]]:
    """Yield the fixed modes that do something else than auto, and that can be run."""
    if workload.batch:
        return
    known = inside.linearized(inside.trace(workload.function, workload.point))
    chosen = inside.plan(known, "auto")
    for mode in MODES:
        plan = inside.plan(known, mode)
        dear = plan.multiplications > TOO_DEAR or plan.peak.bytes > TOO_LARGE
        if plan.order != chosen.order and not dear:
            yield mode, _jacobian(workload, mode=mode)


def add_peers(
    workload: Workload,
    found: Found,
    libraries: Mapping[str, Library],
    wanted: Any,
    others: Sequence[str] = (),
) -> list[str]:
    """Add the peers whose library is there; return the names of those that work.

    Raises
    ------
    MismatchError
        If their Jacobian is another one.
    """
    known = {**PEERS, **workload.own}
    names = []
    for name in dict.fromkeys((*workload.rivals, *workload.own, *others)):
        library = libraries.get(library_of(name))
        if library is None:
            continue
        x = library.array(workload.point)
        result = found.add(name, partial(known[name], library, workload), x)
        if name in found.functions:
            agree_as_matrices(workload, name, result, wanted, TOLERANCES.get(name, TOLERANCE))
            names.append(name)
    return names
