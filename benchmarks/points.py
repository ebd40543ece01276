"""W5 backend by backend, at one point and at many: `python -m benchmarks.points [--check]`.

Every backend takes turns with the better of JAX's two modes (jit of vmap of the Jacobian for many
points), after all Jacobians agree. A second table tells what each scalar program consists of.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from math import exp, log
from statistics import mean, median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import scipy.special

import chainad
from benchmarks.machine import heading
from benchmarks.peers import LOADERS
from benchmarks.pin import pin
from benchmarks.table import ms, table, times
from benchmarks.timing import Runner, once, race, ratio
from benchmarks.workload import Function
from benchmarks.workloads.points import TASKS, Task
from chainad.backends.numba import generated_modules
from chainad.backends.numba import scalar as numba
from chainad.backends.numpy import vector

COUNTS = (1, 512, 100_000)
QUICK_COUNTS = (1, 20)
BACKENDS = ("numpy", "python", "numba")
TOLERANCE = 1e-9  # of the largest entry


@dataclass(frozen=True)
class Result:
    """Seconds of a call, and how many times longer JAX takes, by backend."""

    task: str
    count: int
    jax: float
    seconds: dict[str, float]
    gains: dict[str, float]


def main(arguments: Sequence[str]) -> int:
    """Check, time and print; return 1 if a Jacobian was wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.points", description=__doc__)
    parser.add_argument("--check", action="store_true", help="check at few points, time nothing")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each runner")
    options = parser.parse_args(arguments)
    jax = LOADERS["jax"]()
    print(heading("W5 by backends", ["jax"]))
    print(table(_HEAD, [_counts(task) for task in TASKS]), flush=True)
    results = []
    for task in TASKS:
        for count in QUICK_COUNTS if options.check else COUNTS:
            runners = _runners(task, count, jax)
            if not _agree(task, runners):
                return 1
            if not options.check:
                results.append(_timed(task, count, runners, options.seconds))
                print(_line(results[-1]), flush=True)
    for count in () if options.check else COUNTS:
        of = [r for r in results if r.count == count]
        head = ("points", "JAX ms", *(f"{b} ms" for b in BACKENDS), *BACKENDS)
        rows = [_row(result) for result in of]
        print(f"\n{count} points, geometric means: {_means(of)}\n{table(head, rows)}")
    return 0


def _runners(task: Task, count: int, jax: Any) -> dict[str, Runner]:
    """Return what computes the Jacobians at so many points, by name."""
    f, points = task.make(np, scipy.special.erf), task.points(count)
    theirs = task.make(jax.np, import_module("jax.scipy.special").erf)
    x = points[0] if count == 1 else points
    runners: dict[str, Runner] = {}
    for mode in ("jacfwd", "jacrev"):
        jacobian = getattr(jax.module, mode)(theirs)
        compiled = jax.module.jit(jacobian if count == 1 else jax.module.vmap(jacobian))
        runners[f"jax {mode}"] = _waiting(jax, compiled, jax.array(x))
    for backend in BACKENDS:
        if backend == "numba" and not numba.is_installed():
            continue
        if count == 1:
            ours: Function = chainad.compile(chainad.jacobian(f), 0.9 * x, backend=backend)
        elif backend == "python" and count > 1000:
            continue
        else:
            ours = chainad.jacobian(f, batch=0, backend=backend)
        runners[backend] = _called(ours, x)
    return runners


def _waiting(jax: Any, function: Callable[[Any], Any], x: Any) -> Runner:
    return lambda: jax.wait(function(x))


def _called(function: Function, x: Any) -> Runner:
    return lambda: function(x)


def _agree(task: Task, runners: dict[str, Runner]) -> bool:
    """Say which Jacobian is unlike the first one, if any is."""
    found = {name: np.asarray(runner()) for name, runner in runners.items()}
    wanted = next(iter(found.values()))
    for name, J in found.items():
        error = np.abs(J - wanted).max() / np.abs(wanted).max()
        if J.shape != wanted.shape or not error <= TOLERANCE:
            print(f"WRONG\n{task.name}, {name}: off by {error:.1e} of the largest entry")
            return False
    return True


def _timed(task: Task, count: int, runners: dict[str, Runner], seconds: float) -> Result:
    rounds = race(runners, seconds, 3)
    best = min(("jax jacfwd", "jax jacrev"), key=lambda name: median(rounds[name]))
    ours = [name for name in BACKENDS if name in rounds]
    return Result(
        task.name,
        count,
        median(rounds[best]),
        {name: median(rounds[name]) for name in ours},
        {name: ratio(rounds[best], rounds[name]) for name in ours},
    )


def _line(result: Result) -> str:
    gains = ", ".join(f"{name} {times(gain)}" for name, gain in result.gains.items())
    return f"{result.task}, {result.count} points: {gains}"


def _row(result: Result) -> tuple[str, ...]:
    seconds = [ms(result.seconds.get(b)) for b in BACKENDS]
    return result.task, ms(result.jax), *seconds, *(times(result.gains.get(b)) for b in BACKENDS)


def _means(results: Sequence[Result]) -> str:
    found = []
    for name in BACKENDS:
        gains = [r.gains[name] for r in results if name in r.gains]
        if gains:
            found.append(f"{name} {times(exp(mean(map(log, gains))))}")
    return ", ".join(found)


_HEAD = (
    "task",
    "products",
    "best known",
    "with f",
    "operations",
    "registers",
    "first call s",
    "numba s",
)


def _counts(task: Task) -> tuple[str, ...]:
    """Return what the scalar program of a Jacobian consists of, and how long it takes to make."""
    f, x = task.make(np, scipy.special.erf), task.points(2)
    jacobian = chainad.jacobian(f, batch=0, backend="numpy")
    first, _ = once(lambda: jacobian(x))
    assert jacobian._batched is not None
    (found,) = jacobian._batched.programs
    program = found.ssa
    compiling = "-"
    if numba.is_installed():
        compiling = f"{once(lambda: generated_modules.load(numba.source(program)))[0]:.2g}"
    return (
        task.name,
        str(found.products),
        str(task.best),
        str(program.multiplications),
        str(len(program.instructions)),
        str(vector.allocate_rows(program).n_rows),
        f"{first:.2g}",
        compiling,
    )


if __name__ == "__main__":
    pin()
    with TemporaryDirectory() as folder:  # nothing compiled is there yet
        os.environ["CHAINAD_CACHE"] = folder
        sys.exit(main(sys.argv[1:]))
