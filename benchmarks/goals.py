"""Goals: a bound on a figure of a measurement, and whether it was met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from statistics import fmean

# The figures that goals speak of.
GAIN = "rival / chainad"
AGAINST_EXPERT = "expert / chainad"
OVER_F = "J / f"
OVER_LIMIT = "chainad / limit"
EXCESS = "over the limit (us)"
PEAK = "peak / limit's"
FIRST_PEAK = "peak of the first call (MB)"
PLAN = "plan (ms)"
PREPARE = "pattern + plan + lower (ms)"
OVER_TRACE = "trace + plan + lower / trace"
FIRST = "first call (ms)"
FROM_DISK = "first call from disk (ms)"
OVER_VECTORISED = "chainad / of whole arrays"
FIRST_GAIN = "rival's first call / chainad's"

WAYS = ("traced", "compiled", "numba")


@dataclass(frozen=True)
class Figures:
    """A figure of every way to call: traced, compiled, by numba; None where there is none."""

    traced: float | None
    compiled: float | None = None
    numba: float | None = None

    @property
    def known(self) -> dict[str, float]:
        """The figures that there are, by way."""
        found = {"traced": self.traced, "compiled": self.compiled, "numba": self.numba}
        return {way: value for way, value in found.items() if value is not None}


@dataclass(frozen=True)
class Goal:
    """`figure` is to be at least, or at most, `bound`; by one of `ways`."""

    figure: str
    bound: float
    is_least: bool
    ways: tuple[str, ...] = WAYS

    def __str__(self) -> str:
        return f"{'>=' if self.is_least else '<='} {self.bound:g}"

    def verdict(self, found: Mapping[str, Figures]) -> str:
        """Return "met", "met WAY" if an earlier way does not meet it, "missed", or "-"."""
        known = found.get(self.figure, Figures(None)).known
        tried = [way for way in self.ways if way in known]
        met = [way for way in tried if self._is_met(known[way])]
        if not tried:
            return "-"
        if not met:
            return "missed"
        return "met" if met[0] == tried[0] else f"met {met[0]}"

    def _is_met(self, value: float) -> bool:
        return value >= self.bound if self.is_least else value <= self.bound


def at_least(figure: str, bound: float, *ways: str) -> Goal:
    """Return the goal that a figure is no smaller than `bound`, by any of `ways`."""
    return Goal(figure, bound, True, ways or WAYS)


def at_most(figure: str, bound: float, *ways: str) -> Goal:
    """Return the goal that a figure is no larger than `bound`, by any of `ways`."""
    return Goal(figure, bound, False, ways or WAYS)


# For the geometric mean over all workloads of a group.
OF_GROUPS = {
    "W5, 1 point": (at_least(GAIN, 1.7, "compiled"), at_least(GAIN, 15, "numba")),
    "W5, 512 points": (at_least(GAIN, 0.9, "traced"), at_least(GAIN, 5, "numba")),
    "W5, 100,000 points": (at_least(GAIN, 2.2, "traced"), at_least(GAIN, 5, "numba")),
}


def geometric_mean(ratios: Sequence[float | None]) -> float | None:
    """Return the geometric mean of those that there are; None if there are none."""
    known = [ratio for ratio in ratios if ratio is not None]
    return exp(fmean(map(log, known))) if known else None


# For every workload.
COMMON = (
    at_most(OVER_TRACE, 4),
    at_least(FIRST_GAIN, 20),
    at_most(FIRST, 3000, "numba"),
    at_most(FROM_DISK, 300),
)
