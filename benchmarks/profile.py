"""Where planning and tracing spend their time, against size: `python -m benchmarks.profile`.

Two families of functions: random operations on numbers, and steps on small arrays. Every stage is
timed with empty caches, per operation of the function; a stage that would take longer than
`--limit` seconds, judged by its growth so far, is left out from there on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from typing import Any

import numpy as np

from benchmarks import inside
from benchmarks.command import save
from benchmarks.machine import heading
from benchmarks.pin import pin
from benchmarks.table import table
from benchmarks.timing import now, once
from benchmarks.workload import Function
from benchmarks.workloads.scalar import N_INPUTS, program, run

COUNTS = (100, 300, 1000, 3000, 10_000, 20_000)
PLANNERS = ("forward", "reverse", "greedy", "markowitz", "auto")
REPEATS = 5  # of what takes less than a second in all
WIDTH = 16


def scalars(n: int) -> tuple[Function, Any]:
    """Return n random operations on numbers."""
    return run(program(n)), np.random.default_rng(1).normal(size=N_INPUTS)


def arrays(n: int) -> tuple[Function, Any]:
    """Return a loop of n operations on vectors of 16 numbers; one in four is a matrix product."""
    R = np.random.default_rng(0).normal(size=(WIDTH, WIDTH)) / WIDTH

    def f(x: Any) -> Any:
        y = x
        for _ in range(n // 4):
            y = x + 0.5 * np.tanh(R @ y)
        return y

    return f, np.random.default_rng(1).normal(size=WIDTH)


FAMILIES: dict[str, Callable[[int], tuple[Function, Any]]] = {
    "Operations on numbers": scalars,
    "Operations on vectors of 16 numbers": arrays,
}
STAGES = ("f", "trace", "key", "linearize", *(f"plan: {name}" for name in PLANNERS), "lower")


class Clock:
    """Times stages, and knows which would take too long at the next size."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.last: dict[str, tuple[int, float]] = {}

    def allows(self, stage: str, n: int) -> bool:
        """Return whether a stage is expected to be done within the limit: it may be quadratic."""
        size, seconds = self.last.get(stage, (n, 0.0))
        return seconds * (n / size) ** 2 <= self.limit

    def time(self, stage: str, n: int, make: Callable[[], Any]) -> tuple[float, Any]:
        """Return the least seconds of some runs with empty caches, and the result."""
        best, start, found = float("inf"), now(), None
        for _ in range(REPEATS):
            inside.forget()
            seconds, found = once(make)
            best = min(best, seconds)
            if now() - start > 1:
                break
        self.last[stage] = n, best
        return best, found


def stages(f: Function, x: Any, n: int, clock: Clock) -> dict[str, float]:
    """Return the seconds of every stage that is allowed."""
    found: dict[str, float] = {}
    found["f"], _ = clock.time("f", n, partial(f, x))
    found["trace"], traced = clock.time("trace", n, partial(inside.trace, f, x))
    found["key"], _ = clock.time("key", n, lambda: hash(traced.key))
    found["linearize"], linearized = clock.time("linearize", n, partial(inside.linearized, traced))
    plan = None
    for name in PLANNERS:
        stage = f"plan: {name}"
        if clock.allows(stage, n):
            found[stage], plan = clock.time(stage, n, partial(inside.plan, linearized, name))
    if plan is not None and clock.allows("lower", n):
        lower = partial(inside.lowered, linearized, plan, "dense")
        found["lower"], _ = clock.time("lower", n, lower)
    return found


def row(n: int, found: dict[str, float]) -> list[str]:
    """Return a line of the table: microseconds per operation, and the sum with auto in ms."""
    each = [f"{1e6 * found[stage] / n:.3g}" if stage in found else "-" for stage in STAGES]
    needed = ("trace", "linearize", "plan: auto", "lower")
    whole = sum(found[s] for s in needed) if found.keys() >= {*needed} else None
    return [f"{n:,}", *each, "-" if whole is None else f"{1e3 * whole:,.4g}"]


def main(arguments: Sequence[str]) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("counts", nargs="*", type=int, default=COUNTS, metavar="count")
    parser.add_argument("--limit", type=float, default=20.0, help="seconds (default: 20)")
    parser.add_argument("--save", action="store_true", help="write results/DATE-profile.md too")
    options = parser.parse_args(arguments)
    text = [heading("Tracing and planning, microseconds per operation")]
    for title, family in FAMILIES.items():
        clock = Clock(options.limit)
        rows = []
        for n in options.counts:
            rows.append(row(n, stages(*family(n), n, clock)))
            print(title, *rows[-1], flush=True)
        head = ["operations", *STAGES, "first call before it runs (ms)"]
        text.append(f"## {title}\n\n{table(head, rows)}\n")
    print("\n".join(["", *text]))
    if options.save:
        print(f"saved in {save(f'{date.today()}-profile', chr(10).join(text))}")
    return 0


if __name__ == "__main__":
    pin()
    sys.exit(main(sys.argv[1:]))
