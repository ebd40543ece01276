"""Inside one call of chainad: its stages one after the other, with a clock between.

The only file here that knows the inside of chainad.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from statistics import median
from typing import Any

from benchmarks.timing import now, repeated
from chainad.api.targets import NUMPY
from chainad.backends.numba import generated_modules
from chainad.compiler.linearize import Linearized, linear_graph
from chainad.compiler.lower import lower
from chainad.frontends.numpy.trace import Run, tracing
from chainad.ir.cache import Cache
from chainad.ir.program import Runner
from chainad.planning.auto import make_plan
from chainad.planning.plan import Plan

Seconds = float
Function = Callable[[Any], Any]


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


def trace(f: Function, x: Any) -> Run:
    """Return a traced run of f."""
    with tracing(f, (x,), (0,)) as run:
        return run


def linearized(run: Run) -> Linearized:
    """Return the linear graph of a run, and how its numbers are made."""
    return linear_graph(run.graph(), where=run.tape.where)


def plan(linearized: Linearized, mode: str) -> Plan:
    """Return the plan of a mode."""
    return make_plan(linearized.graph, mode)


def lowered(linearized: Linearized, plan: Plan, output: str) -> Runner:
    """Return what executes a plan."""
    arrangements = [recipe.ops for recipe in linearized.recipes]
    return NUMPY.build(lower(plan, arrangements, output, NUMPY.passes).program)


def first_call(f: Function, x: Any, output: str) -> FirstCall:
    """Return the medians over some first calls."""

    def clock() -> list[Seconds]:
        forget()
        times = [now()]
        run = trace(f, x)
        times.append(now())
        known = linearized(run)
        times.append(now())
        made = plan(known, "auto")
        times.append(now())
        lowered(known, made, output)
        times.append(now())
        return times

    stages = repeated(lambda: [b - a for a, b in pairwise(clock())])
    return FirstCall(*(median(column) for column in zip(*stages, strict=True)))


def forget() -> None:
    """Empty every cache of chainad, whatever its name, but not its folder."""
    with generated_modules._lock:
        generated_modules._recent.clear()
        generated_modules._loaded.clear()
    for clear in _caches(len(sys.modules)):
        clear()


@lru_cache(maxsize=1)
def _caches(count: int) -> list[Callable[[], None]]:
    """Return what empties the caches of all modules of chainad, of so many that are loaded."""
    found: dict[int, Callable[[], None]] = {}
    for name, module in list(sys.modules.items()):
        if name.split(".", maxsplit=1)[0] == "chainad":
            for value in vars(module).values():
                if isinstance(value, Cache):
                    found[id(value)] = value.clear
                elif callable(getattr(value, "cache_clear", None)):
                    found[id(value)] = value.cache_clear
    return list(found.values())
