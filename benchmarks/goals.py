"""Goals: a bound on a figure of a measurement, and whether it was met."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# The figures that goals speak of.
GAIN = "rival / chainad"
OVER_F = "J / f"
OVER_LIMIT = "chainad / limit"
EXCESS = "over the limit (us)"
PEAK = "peak / limit's"
OVER_MODE = "auto / better of forward, reverse"
PLAN = "plan (ms)"
PREPARE = "pattern + plan + lower (ms)"
FIRST = "first call (ms)"
FIRST_GAIN = "rival's first call / chainad's"

WAYS = ("traced", "compiled")


@dataclass(frozen=True)
class Figures:
    """One figure, of the call that traces and of the compiled one; None where there is none."""

    traced: float | None
    compiled: float | None = None


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
        """Return "met", or "met compiled" if only that call meets it, "missed", or "-"."""
        pair = found.get(self.figure, Figures(None))
        known = [(way, getattr(pair, way)) for way in self.ways]
        known = [(way, value) for way, value in known if value is not None]
        met = [way for way, value in known if self._is_met(value)]
        if not known:
            return "-"
        if not met:
            return "missed"
        return "met" if "traced" in met else "met compiled"

    def _is_met(self, value: float) -> bool:
        return value >= self.bound if self.is_least else value <= self.bound


def at_least(figure: str, bound: float, *ways: str) -> Goal:
    """Return the goal that a figure is no smaller than `bound`, by any of `ways`."""
    return Goal(figure, bound, True, ways or WAYS)


def at_most(figure: str, bound: float, *ways: str) -> Goal:
    """Return the goal that a figure is no larger than `bound`, by any of `ways`."""
    return Goal(figure, bound, False, ways or WAYS)


# For every workload.
COMMON = (at_most(OVER_MODE, 1.05), at_least(FIRST_GAIN, 20))
