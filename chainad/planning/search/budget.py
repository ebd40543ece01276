"""How long a search may go on: so many eliminations, or seconds, or until the user interrupts it.

Named efforts count eliminations, never time, so that the same seed gives the same plan.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Literal

from chainad.errors import PlanError, unknown

# Up to so many inner vertices, the search takes no heed of how much there is to gain.
SMALL = 200

# Eliminations that annealing may take before its first gain.
FIRST_GAIN = 3000

# Seconds that a search is silent.
QUIET = 2.0

Effort = Literal["fast", "balanced", "thorough"] | float


@dataclass(frozen=True)
class Level:
    """What an effort allows.

    Attributes
    ----------
    inner : int
        Inner vertices up to which the cheapest order is found, however long that takes.
    exact, sets : int
        Inner vertices up to which a search that proves its result is tried, and the sets of
        vertices it may look at.
    windows, anneals : int
        Eliminations tried in windows, and by annealing.
    each : int
        Eliminations of either kind per inner vertex, at most.
    rules, most : int
        Inner vertices up to which all rules are tried, and up to which orders are improved.
    pairs : int
        Pairs of edges per inner vertex that a rule may look at; beyond that it is left out.
    worth : int
        Multiplications of the cheapest order so far for which one elimination is tried on graphs of
        more than `SMALL` inner vertices: then a search takes no longer than running the plan.
    patience : float
        How long annealing goes on without gain: so many times what the last but one gain took.
    """

    inner: int
    exact: int
    sets: int
    windows: int
    anneals: int
    each: int
    rules: int
    most: int
    pairs: int
    worth: int
    patience: float


LEVELS: dict[str, Level] = {
    "fast": Level(
        inner=6,
        exact=20,
        sets=100,
        windows=1_000,
        anneals=0,
        each=100,
        rules=100,
        most=60,
        pairs=150,
        worth=100_000,
        patience=2.5,
    ),
    "balanced": Level(
        inner=9,
        exact=40,
        sets=600,
        windows=12_000,
        anneals=12_000,
        each=250,
        rules=3_000,
        most=3_000,
        pairs=600,
        worth=100_000,
        patience=2.5,
    ),
    "thorough": Level(
        inner=18,
        exact=150,
        sets=20_000,
        windows=800_000,
        anneals=800_000,
        each=50_000,
        rules=50_000,
        most=50_000,
        pairs=100_000,
        worth=0,
        patience=inf,
    ),
}


def check_effort(effort: Effort) -> Effort:
    """Return an effort as it is.

    Raises
    ------
    PlanError
        If it is neither a known name nor a positive number of seconds.
    """
    if isinstance(effort, str) and effort in LEVELS:
        return effort
    is_number = isinstance(effort, (int, float)) and not isinstance(effort, bool)
    if is_number and 0 < float(effort) < float("inf"):
        return effort
    raise PlanError(unknown("effort", effort, [*LEVELS], "a positive number of seconds"))


@dataclass(frozen=True)
class Aim:
    """How hard to search: an effort, or seconds; the same seed gives the same plan."""

    effort: Effort = "balanced"
    seed: int = 0

    @property
    def level(self) -> Level:
        return LEVELS[self.effort if isinstance(self.effort, str) else "thorough"]


DEFAULT = Aim()


def aim_of(effort: Effort, seed: int = 0) -> Aim:
    """Return an aim whose effort and seed are checked.

    Raises
    ------
    PlanError
        If the effort is unknown, or the seed is no integer.
    """
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise PlanError(f"seed must be an integer, but got {seed!r}")
    return Aim(check_effort(effort), seed)


class Progress:
    """Says on the terminal how a long search goes; silent for two seconds, and in files."""

    def __init__(self) -> None:
        self.start = monotonic()
        self.has_spoken = False

    def show(self, text: str) -> None:
        """Write one line over the last one."""
        seconds = monotonic() - self.start
        if seconds > QUIET and sys.stderr.isatty():
            line = f"\rchainad: {text}, {seconds:.0f} s; Ctrl-C takes the best so far"
            print(f"{line:<79}", end="", file=sys.stderr, flush=True)
            self.has_spoken = True

    def close(self) -> None:
        """End the line, if there is one."""
        if self.has_spoken:
            print(file=sys.stderr)


class Pace:
    """Counts what a search does, and says when to stop.

    Attributes
    ----------
    allowance : int, optional
        So many eliminations, and what `work` grows by.
    deadline : float, optional
        A time of `time.monotonic`.
    patience : float
        How many times as long as for the last gain to wait for the next one.
    """

    def __init__(
        self,
        allowance: int | None = None,
        deadline: float | None = None,
        work: Callable[[], int] = lambda: 0,
        patience: float = inf,
    ) -> None:
        self.allowance = allowance
        self.deadline = deadline
        self.work = work
        self.spent = -work()
        self.patience = patience
        self.until: float = inf if patience == inf else FIRST_GAIN

    def go_on(self, eliminations: int) -> bool:
        """Return whether there is room for so many more eliminations, and count them."""
        self.spent += eliminations
        if self.taken > min(self.until, inf if self.allowance is None else self.allowance):
            return False
        return self.deadline is None or monotonic() < self.deadline

    @property
    def taken(self) -> int:
        """What the search has taken so far, in eliminations."""
        return self.spent + self.work()

    def gain(self) -> None:
        """Note that something was gained: the search may go on for longer."""
        if self.patience < inf:
            self.until = FIRST_GAIN + self.patience * self.taken
