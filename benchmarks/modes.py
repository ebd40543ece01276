"""Modes: auto beside forward and reverse, traced and compiled, on every workload.

    python -m benchmarks.modes [NAME...] [--seconds S]

No mode should be quicker than auto by more than 5%. All run in turn. Every ratio is given twice:
the median over the rounds, and that of the quickest rounds, which knows nothing of fresh pages and
of what else the machine does. A mode that does what auto does is not run, nor is one that
multiplies many times as much.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from benchmarks.pin import pin

if __name__ == "__main__":
    pin()

import chainad
from benchmarks import inside
from benchmarks.command import select
from benchmarks.machine import heading
from benchmarks.measure import MODES, TOO_LARGE
from benchmarks.table import ms, table, times
from benchmarks.timing import Rounds, Runner, race, ratio
from benchmarks.workload import Workload
from benchmarks.workloads import WORKLOADS
from chainad.planning.plan import Plan

# A mode is too dear to be the quicker one if it multiplies so many times what auto does, and so
# many more.
TIMES, MORE = 3, 10_000_000
ALLOWED = 1.05
ROUNDS = 5
HEAD = ["workload", "way", "mode", "multiplications", "auto's", "ms", "auto's", "auto / mode"]


def runners(workload: Workload) -> Iterator[tuple[str, dict[str, Runner], dict[str, Plan]]]:
    """Yield every way to call with its runners, and the plans of the modes; auto comes first."""
    x = workload.point
    known = inside.linearized(inside.trace(workload.function, x[0] if workload.batch else x))
    plans = {mode: inside.plan(known, mode) for mode in ("auto", *MODES)}
    own = plans["auto"]
    for mode in MODES:
        dear = plans[mode].multiplications > max(TIMES * own.multiplications, MORE)
        if dear or plans[mode].peak.bytes > TOO_LARGE:
            del plans[mode]
    batch = {"batch": 0} if workload.batch else {}
    made = {
        mode: chainad.jacobian(workload.function, mode=mode, output=workload.output, **batch)
        for mode in plans
    }
    others = [mode for mode in plans if plans[mode].order != own.order]
    yield "traced", {mode: partial(made[mode], x) for mode in ("auto", *others)}, plans
    if not workload.batch:
        compiled = {mode: jacobian.compile(x) for mode, jacobian in made.items()}
        # Scalar backends choose their order anew.
        source = compiled["auto"].source
        others = [mode for mode in plans if mode in others or compiled[mode].source != source]
        yield "compiled", {mode: partial(compiled[mode], x) for mode in ("auto", *others)}, plans


def rows(workload: Workload, seconds: float) -> Iterator[list[str]]:
    """Yield a row for every way and every mode that is not auto."""
    for way, racing, plans in runners(workload):
        found = race(racing, seconds, ROUNDS) if len(racing) > 1 else {}
        for mode in found:
            if mode != "auto":
                yield [workload.name, way, mode, *_row(mode, plans, found)]


def _row(mode: str, plans: Mapping[str, Plan], found: Mapping[str, Rounds]) -> list[str]:
    median, quickest = ratio(found["auto"], found[mode]), min(found["auto"]) / min(found[mode])
    return [
        f"{plans[mode].multiplications:,}",
        f"{plans['auto'].multiplications:,}",
        ms(min(found[mode])),
        ms(min(found["auto"])),
        f"{times(median)}, quickest {times(quickest)}"
        + (" SLOWER" if min(median, quickest) > ALLOWED else ""),
    ]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.modes",
        description="Time auto beside forward and reverse, in turn, on one core.",
    )
    parser.add_argument("names", nargs="*", metavar="name", help="workloads (default: all)")
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="how long to time each runner (default: 1)"
    )
    options = parser.parse_args(arguments)
    found = []
    for name in select(options.names):
        print(f"{name} ...", flush=True)
        for row in rows(WORKLOADS[name](False), options.seconds):
            print("   ", *row, flush=True)
            found.append(row)
    print(heading("Modes", []))
    print(table(HEAD, found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
