"""Inside one call of chainad: its stages one after the other, with a clock between.

The only file here that knows the inside of chainad.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from time import perf_counter
from typing import Any

from chainad.backends.numpy import build
from chainad.cache import Cache
from chainad.evaluate import evaluate
from chainad.linearize import linearize
from chainad.lower import lower
from chainad.planners.auto import make_plan
from chainad.tracing.trace import tracing

Seconds = float
Function = Callable[[Any], Any]


@dataclass(frozen=True)
class CachedCall:
    """Where the time of a call goes whose program is known, in seconds."""

    trace: Seconds
    key: Seconds
    evaluate: Seconds
    execute: Seconds

    @property
    def total(self) -> Seconds:
        return self.trace + self.key + self.evaluate + self.execute


@dataclass(frozen=True)
class FirstCall:
    """Where the time goes before a first call can execute, in seconds; all caches are empty."""

    trace: Seconds
    linearize: Seconds
    plan: Seconds
    lower: Seconds

    @property
    def total(self) -> Seconds:
        return self.trace + self.linearize + self.plan + self.lower


def cached_call(f: Function, x: Any, output: str, seconds: Seconds, rounds: int) -> CachedCall:
    """Return the medians over as many calls as fit into `seconds`."""
    with tracing(f, (x,), (0,)) as run:
        linearized = linearize(run.graph(), where=run.tape.where)
        plan = make_plan(linearized.graph, "auto", 8)
        lowered = lower(plan, [recipe.kernels for recipe in linearized.recipes], output)
        execute = build(lowered.program)

    def clock() -> list[Seconds]:
        times = [perf_counter()]
        with tracing(f, (x,), (0,)) as run:
            times.append(perf_counter())
            hash(run.key)
            times.append(perf_counter())
            slots = evaluate(run.tape, linearized.recipes)
            times.append(perf_counter())
            execute(slots)
            times.append(perf_counter())
        return times

    return CachedCall(*_medians(clock, seconds, rounds))


def first_call(f: Function, x: Any, output: str, seconds: Seconds, rounds: int) -> FirstCall:
    """Return the medians over as many first calls as fit into `seconds`."""

    def clock() -> list[Seconds]:
        forget()
        times = [perf_counter()]
        with tracing(f, (x,), (0,)) as run:
            times.append(perf_counter())
            linearized = linearize(run.graph(), where=run.tape.where)
            times.append(perf_counter())
            plan = make_plan(linearized.graph, "auto", 8)
            times.append(perf_counter())
            build(lower(plan, [recipe.kernels for recipe in linearized.recipes], output).program)
            times.append(perf_counter())
        return times

    return FirstCall(*_medians(clock, seconds, rounds))


def forget() -> None:
    """Empty every cache of chainad, whatever its name."""
    for name, module in list(sys.modules.items()):
        if name.split(".", maxsplit=1)[0] == "chainad":
            for value in vars(module).values():
                if isinstance(value, Cache):
                    value.clear()
                elif callable(getattr(value, "cache_clear", None)):
                    value.cache_clear()


def _medians(
    clock: Callable[[], Sequence[Seconds]], seconds: Seconds, rounds: int
) -> list[Seconds]:
    found = []
    start = perf_counter()
    while len(found) < rounds or perf_counter() - start < seconds:
        found.append([b - a for a, b in pairwise(clock())])
    return [median(column) for column in zip(*found, strict=True)]
