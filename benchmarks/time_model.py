"""The model of time against the clock: plans of many orders, step by step and as a whole.

    python -m benchmarks.time_model [NAME...] [--seconds S] [--plans N]

For every function: the rank correlation of predicted and measured times over some plans, the worst
step of two of them, and what the plans by time and by multiplications lose to the best of all.
Plans take turns, in seconds of the processor, and the quickest of many rounds counts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from benchmarks.pin import pin

if __name__ == "__main__":
    pin()

import numpy as np

from benchmarks.inside import linearized, trace
from benchmarks.machine import heading
from benchmarks.table import ms, table, times
from benchmarks.timing import Rounds, race
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.orders import CASES, Case
from chainad.api.analyze import sections_alone
from chainad.api.targets import NUMPY
from chainad.compiler.linearize import Linearized, evaluate
from chainad.compiler.lower import lower
from chainad.compiler.program_time import times_of_steps
from chainad.ir.program import Runner
from chainad.planning.auto import make_plan
from chainad.planning.calibration import known
from chainad.planning.cost_models import CostModel, model_of, multiplications
from chainad.planning.plan import Plan, follow
from chainad.planning.registry import PLANNERS, Order, Problem
from chainad.structure import Ops

NAMES = (
    "W1a", "W1f", "W2-20", "W2s", "W3-burgers-1e4", "W3-brusselator-2e4", "W4-gmm-20", "W4-bundle",
    "W5-roe3d-1", "W6a-50-20", "W6a-200-50", "W6b", "W7a", "W7b", "W7c", "W8-factors", *CASES,
)  # fmt: skip
ROUNDS = 9
STEP_ROUNDS = 3
SECONDS_PER_STEP = 5e-4
# What takes longer than the quickest by so much, by any account, is not run.
MAX_TIMES = 30
MAX_BYTES = 1 << 30
# Of steps, those that make up less of a plan are not compared: so short a time is mostly noise.
LEAST_SHARE, LEAST_SECONDS = 0.02, 2e-6
HEAD = [
    "function", "plans", "rank correlation", "worst step", "what it is", "best ms", "by time",
    "by multiplications",
]  # fmt: skip


@dataclass(frozen=True)
class TimedPlans:
    """What was measured of the plans of a function, in seconds; the first two are the planned."""

    name: str
    plans: tuple[Plan, ...]
    predicted: tuple[float, ...]
    measured: tuple[float, ...]
    steps: tuple[tuple[str, float, float], ...]

    @property
    def correlation(self) -> float:
        """The rank correlation of predicted and measured times."""
        return rank_correlation(self.predicted, self.measured)

    @property
    def worst_step(self) -> tuple[float, str]:
        """By how much the model is wrong about a step at worst, as a ratio, and about which."""
        ratios = [(max(a / b, b / a), f"{what} {ms(a)}, took {ms(b)}") for what, a, b in self.steps]
        return max(ratios, default=(1.0, ""))

    def loss(self, number: int) -> float:
        """Return how many times longer than the quickest plan one takes."""
        return self.measured[number] / min(self.measured)


def rank_correlation(one: Sequence[float], two: Sequence[float]) -> float:
    """Return Spearman's coefficient; equal values have the mean of their ranks."""
    ranks = [_ranks(np.asarray(values)) for values in (one, two)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return 1.0
    return float(np.corrcoef(*ranks)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    return np.array([np.sum(values < v) + np.sum(values == v) / 2 for v in values])


def case(name: str) -> Case:
    """Return a function and its point."""
    if name in CASES:
        return CASES[name]()
    workload = WORKLOADS[name](False)
    return workload.function, workload.point[0] if workload.batch else workload.point


def plans_of(graph: Linearized, count: int, model: CostModel) -> list[Plan]:
    """Return plans of distinct orders: by time, by multiplications, of planners, at random."""
    linear = graph.graph
    first = [make_plan(linear, model=model), make_plan(linear, model=multiplications)]
    found, seen = list(first), {plan.order for plan in first}
    least = max(1, first[0].cost)
    rng = Random(0)
    for order in _orders(graph, first, rng):
        if len(found) >= count:
            break
        if order in seen:
            continue
        seen.add(order)
        plan = follow(linear, order, model=model)
        if plan.cost < MAX_TIMES * least and plan.peak.bytes < MAX_BYTES:
            found.append(plan)
    return found


def _orders(graph: Linearized, first: Sequence[Plan], rng: Random) -> Iterator[Order]:
    linear = graph.graph
    problem = Problem(linear)
    for name in ("forward", "reverse", "greedy", "markowitz", "relative", "fill"):
        yield PLANNERS[name].order(problem)
    inner = list(linear.inner)
    for _ in range(40):
        near = [v for v in first[rng.randrange(2)].order if isinstance(v, int)]
        if sorted(near) != sorted(inner):
            near = inner
        for _ in range(rng.choice([1, 1, 2, 4, len(inner) // 3 + 1])):
            near.insert(rng.randrange(len(near)), near.pop(rng.randrange(len(near))))
        yield tuple(near)
        yield tuple(rng.sample(inner, len(inner)))


def measure(name: str, seconds: float, count: int) -> TimedPlans:
    """Return what the plans of a function are predicted to take, and took."""
    f, x = case(name)
    model = model_of("time")
    run = trace(f, x)
    graph = linearized(run)
    arrangements = [recipe.ops for recipe in graph.recipes]
    output = WORKLOADS[name](True).output if name in WORKLOADS else "dense"
    output = output if output in ("dense", "sparse") else "structured"
    plans = plans_of(graph, count, model)
    runners: dict[str, Runner] = {}
    with np.errstate(all="ignore"):
        slots = evaluate(run.tape, graph.recipes)
        for k, plan in enumerate(plans):
            program = lower(plan, arrangements, output, NUMPY.passes).program
            runners[str(k)] = partial(NUMPY.build(program), slots)
        for runner in runners.values():
            for _ in range(3):
                runner()
        found: dict[str, Rounds] = race(runners, seconds, ROUNDS)
        steps = []
        for plan in plans[:2]:
            steps += _steps(plan, arrangements, slots, output, seconds)
    measured = tuple(min(found[str(k)]) for k in range(len(plans)))
    predicted = tuple(follow(plan.graph, plan.order, model=model).cost / 1e12 for plan in plans)
    return TimedPlans(name, tuple(plans), predicted, measured, tuple(steps))


def _steps(
    plan: Plan, arrangements: Sequence[Ops], slots: Sequence[Any], output: str, seconds: float
) -> Iterator[tuple[str, float, float]]:
    """Yield what each step is, what it is predicted to take, and what it took alone."""
    each = max(seconds / STEP_ROUNDS, SECONDS_PER_STEP * len(plan.steps))
    rounds = [
        sections_alone(plan, slots, arrangements, output, (), each)[1:-1]
        for _ in range(STEP_ROUNDS)
    ]
    took = [*map(min, zip(*rounds, strict=True))]
    least = max(LEAST_SECONDS, LEAST_SHARE * sum(took))
    predicted = times_of_steps(plan, arrangements, output, known())
    for step, picoseconds, alone in zip(plan.steps, predicted, took, strict=True):
        expected = max(picoseconds, 1) / 1e12
        if max(alone, expected) > least and alone:
            yield f"{step.number}: {step.structure}", expected, alone


def row(found: TimedPlans) -> list[str]:
    ratio, what = found.worst_step
    return [
        found.name,
        str(len(found.plans)),
        f"{found.correlation:.2f}",
        times(ratio),
        what,
        ms(min(found.measured)),
        times(found.loss(0)),
        times(found.loss(1)),
    ]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.time_model",
        description="Compare the model of time with the clock, on one core.",
    )
    parser.add_argument("names", nargs="*", metavar="name", help="functions (default: all)")
    parser.add_argument(
        "--seconds", type=float, default=0.3, help="how long to time each plan (default: 0.3)"
    )
    parser.add_argument("--plans", type=int, default=12, help="of a function (default: 12)")
    options = parser.parse_args(arguments)
    rows = []
    for name in options.names or NAMES:
        print(f"{name} ...", flush=True)
        rows.append(row(measure(name, options.seconds, options.plans)))
        print("   ", *rows[-1], flush=True)
    print(heading("The model of time", []))
    print(table(HEAD, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
