"""How long a search may go on: a number of eliminations or seconds, or until it is interrupted.

Named efforts count eliminations, never time, so that the same seed gives the same plan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf, log2
from time import monotonic
from typing import Literal

from chainad.errors import PlanError, unknown
from chainad.ir.cache import keep_nothing
from chainad.ir.notices import warn_of_fallback
from chainad.ir.progress import Meter, ProgressOption, checked_progress

# How often a plan is expected to be run, and that of a compiled function.
EXPECTED_CALLS, COMPILED_CALLS = 100, 1000

# What looking one elimination up takes, about.
PICOSECONDS_PER_ELIMINATION = 3_500_000

# What annealing may take.
MAX_ELIMINATIONS_BEFORE_GAIN = 8000

# What planning takes per inner vertex, at least, with the searches of an effort; of long loops.
BALANCED_SECONDS_PER_VERTEX = 2e-3
THOROUGH_SECONDS_PER_VERTEX = 8e-3

# What looking at a set of vertices takes at most, where all sets of a small graph are looked at.
SECONDS_PER_SET = 1e-3

Effort = Literal["fast", "balanced", "thorough"] | float


@dataclass(frozen=True)
class EffortLevel:
    """What an effort allows.

    Attributes
    ----------
    max_exhaustive_vertices : int
        Inner vertices up to which the cheapest order is found, without a look at the clock.
    max_proof_vertices, max_proof_sets : int
        Inner vertices up to which a search that proves its result is tried, and the sets of
        vertices it may look at.
    window_eliminations, annealing_eliminations : int
        Eliminations tried in windows, and by annealing.
    eliminations_per_vertex : int
        Eliminations of either kind per inner vertex, at most.
    max_rule_vertices, max_improved_vertices : int
        Inner vertices up to which all rules are tried, and up to which orders are improved.
    rule_pairs_per_vertex : int
        Pairs of edges per inner vertex that a rule may look at; beyond that it is left out.
    saved_share : float
        What a search saves of the time of an order, at most: so long may it take, in all calls that
        are expected.
    patience : float
        How long annealing goes on without gain, as a multiple of what the last but one gain took.
    """

    max_exhaustive_vertices: int
    max_proof_vertices: int
    max_proof_sets: int
    window_eliminations: int
    annealing_eliminations: int
    eliminations_per_vertex: int
    max_rule_vertices: int
    max_improved_vertices: int
    rule_pairs_per_vertex: int
    saved_share: float
    patience: float


LEVELS: dict[str, EffortLevel] = {
    "fast": EffortLevel(
        max_exhaustive_vertices=6,
        max_proof_vertices=20,
        max_proof_sets=100,
        window_eliminations=1_000,
        annealing_eliminations=0,
        eliminations_per_vertex=100,
        max_rule_vertices=100,
        max_improved_vertices=60,
        rule_pairs_per_vertex=150,
        saved_share=0.2,
        patience=2.5,
    ),
    "balanced": EffortLevel(
        max_exhaustive_vertices=9,
        max_proof_vertices=40,
        max_proof_sets=600,
        window_eliminations=12_000,
        annealing_eliminations=12_000,
        eliminations_per_vertex=400,
        max_rule_vertices=3_000,
        max_improved_vertices=3_000,
        rule_pairs_per_vertex=600,
        saved_share=0.2,
        patience=2.5,
    ),
    "thorough": EffortLevel(
        max_exhaustive_vertices=18,
        max_proof_vertices=150,
        max_proof_sets=20_000,
        window_eliminations=800_000,
        annealing_eliminations=800_000,
        eliminations_per_vertex=50_000,
        max_rule_vertices=50_000,
        max_improved_vertices=50_000,
        rule_pairs_per_vertex=100_000,
        saved_share=inf,
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
class SearchOptions:
    """How hard to search: an effort, or seconds; the same seed gives the same plan.

    Where the effort is "fast" or "balanced", `expected_calls` bounds what is tried by what that can
    save if the plan is run so often. `progress` is told how far the search is. `is_lowered` says
    that less effort is made than was asked for.
    """

    effort: Effort = "balanced"
    seed: int = 0
    expected_calls: float = inf
    progress: ProgressOption = field(default=False, compare=False)
    is_lowered: bool = field(default=False, compare=False)

    @property
    def key(self) -> SearchOptions:
        """What plans are cached under: without the function, which would stay alive."""
        return replace(self, progress=False) if self.progress is not False else self

    @property
    def takes_interrupts(self) -> bool:
        """Whether an interrupt ends the search alone: of one that the user expects to be long."""
        is_quick = self.effort in ("fast", "balanced") and not self.is_lowered
        return self.progress is not False or not is_quick

    @property
    def level(self) -> EffortLevel:
        """What the effort allows; seconds allow as many sets of vertices as they do for."""
        if isinstance(self.effort, str):
            return LEVELS[self.effort]
        thorough, least = LEVELS["thorough"], LEVELS["fast"].max_exhaustive_vertices
        possible = int(log2(max(self.effort / SECONDS_PER_SET, 1)))
        vertices = min(max(possible, least), thorough.max_exhaustive_vertices)
        return replace(thorough, max_exhaustive_vertices=vertices)

    def allowance(self, picoseconds: int) -> float:
        """Return how many eliminations it is worth to try where an order takes so long per call.

        By predicted costs and not by a clock, so that equal graphs get equal plans.
        """
        saved = self.expected_calls * self.level.saved_share
        return saved * picoseconds / PICOSECONDS_PER_ELIMINATION if picoseconds else 0

    def within(self, vertices: int) -> SearchOptions:
        """Return the options for a graph of so many inner vertices.

        A number of seconds that would not do for the searches of a thorough effort becomes a lower
        effort, so that it is a bound, save for what every plan takes: the quick rules.
        """
        if isinstance(self.effort, str) or self.effort >= THOROUGH_SECONDS_PER_VERTEX * vertices:
            return self
        is_enough = self.effort >= BALANCED_SECONDS_PER_VERTEX * vertices
        effort: Effort = "balanced" if is_enough else "fast"
        return replace(self, effort=effort, expected_calls=inf, is_lowered=True)


DEFAULT_SEARCH = SearchOptions()


def search_options(
    effort: Effort,
    seed: int = 0,
    progress: ProgressOption = False,
    expected_calls: float = EXPECTED_CALLS,
) -> SearchOptions:
    """Return a search whose effort, seed and progress are checked.

    Raises
    ------
    PlanError
        If the effort is unknown, or the seed is no integer.
    InputError
        If the progress is neither a bool nor a function.
    """
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise PlanError(f"seed must be an integer, but got {seed!r}")
    return SearchOptions(check_effort(effort), seed, expected_calls, checked_progress(progress))


def interrupted(cost: int) -> None:
    """Tell that a search was interrupted, and what the cheapest order so far costs."""
    keep_nothing()  # another plan for the same function is searched for anew
    warn_of_fallback(
        f"the search for a cheap order was interrupted: the cheapest so far, at a cost of {cost:,},"
        " is taken this time, and the next plan is searched for anew (a compiled function keeps"
        " what it has)"
    )


class SearchBudget:
    """Counts what a search does, and says when to stop.

    Attributes
    ----------
    allowance : int, optional
        A number of eliminations; what `overhead` grows by counts, too.
    deadline : float, optional
        A time of `time.monotonic`.
    patience : float
        How long to wait for the next gain, as a multiple of the time until the last one.
    meter : Meter
        What is told of it: of eliminations, or of seconds if there is a deadline.
    """

    def __init__(
        self,
        meter: Meter,
        allowance: int | None = None,
        deadline: float | None = None,
        overhead: Callable[[], int] = lambda: 0,
        patience: float = inf,
    ) -> None:
        self.meter = meter
        self.allowance = allowance
        self.deadline = deadline
        self.overhead = overhead
        self.spent = -overhead()
        self._told: float = 0 if deadline is None else monotonic()
        self.patience = patience
        self.until: float = inf if patience == inf else MAX_ELIMINATIONS_BEFORE_GAIN

    def spend(self, eliminations: int) -> bool:
        """Count some more eliminations; return whether the budget allows them."""
        self.spent += eliminations
        taken = self.taken
        now = taken if self.deadline is None else monotonic()
        self.meter.advance(now - self._told)
        self._told = now
        if taken > min(self.until, inf if self.allowance is None else self.allowance):
            return False
        return self.deadline is None or now < self.deadline

    @property
    def taken(self) -> int:
        """What the search has taken so far, in eliminations."""
        return self.spent + self.overhead()

    def gain(self) -> None:
        """Note that something was gained: the search may go on for longer."""
        if self.patience < inf:
            self.until = MAX_ELIMINATIONS_BEFORE_GAIN + self.patience * self.taken
