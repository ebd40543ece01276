"""Solvers inside of functions: fits through ODEs, equilibria, minima, PDEs and price equations.

    python -m benchmarks.inner_solvers [NAME...] [--check] [--save]

Each problem is solved by SciPy's outer solver, once with differences through the inner solver, as
SciPy takes them by default, and once with derivatives of chainad. The inner solvers run at their
default tolerances. What they do is counted where SciPy's own functions are called, by whomever.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import wraps
from inspect import signature
from typing import Any

from benchmarks.pin import pin

if __name__ == "__main__" and "--check" not in sys.argv:
    pin()

import numpy as np
import scipy.integrate
import scipy.optimize
import scipy.sparse.linalg
from scipy.optimize import OptimizeResult
from scipy.optimize._numdiff import approx_derivative

import chainad
from benchmarks.command import save
from benchmarks.inner_problems import PROBLEMS, InnerProblem
from benchmarks.inside import forget
from benchmarks.machine import heading
from benchmarks.table import ms, table, times
from benchmarks.timing import once

ROUNDS = 3
# An answer may be off by so much: the tolerance of `solve_ivp` is 1e-3 by default.
MAX_ERROR = 0.05
DIFFERENCES, OURS = "differences", "chainad"

# Where SciPy's inner solvers are found, and which of them are called with a function to evaluate.
_SOLVERS = {
    "solve_ivp": (scipy.integrate, True),
    "root": (scipy.optimize, True),
    "minimize": (scipy.optimize, True),
    "brentq": (scipy.optimize, True),
    "spsolve": (scipy.sparse.linalg, False),
    "splu": (scipy.sparse.linalg, False),
}


@contextmanager
def counting() -> Iterator[Counter[str]]:
    """Count the solves of SciPy's inner solvers, and the evaluations of what they solve."""
    counts: Counter[str] = Counter()

    def counted(solver: Callable[..., Any], evaluates: bool) -> Callable[..., Any]:
        def evaluating(fun: Callable[..., Any]) -> Callable[..., Any]:
            def evaluate(*args: Any, **kwargs: Any) -> Any:
                counts["evaluations"] += 1
                return fun(*args, **kwargs)

            return evaluate

        @wraps(solver)
        def call(*args: Any, **kwargs: Any) -> Any:
            counts["solves"] += 1
            if evaluates:
                bound = signature(solver).bind(*args, **kwargs)
                first = next(iter(bound.arguments))
                bound.arguments[first] = evaluating(bound.arguments[first])
                args, kwargs = bound.args, bound.kwargs
            return solver(*args, **kwargs)

        return call

    kept = {name: getattr(home, name) for name, (home, _) in _SOLVERS.items()}
    try:
        for name, (home, evaluates) in _SOLVERS.items():
            setattr(home, name, counted(kept[name], evaluates))
        yield counts
    finally:
        for name, (home, _) in _SOLVERS.items():
            setattr(home, name, kept[name])


@dataclass
class Solves:
    """The solves of a problem: seconds of the first and later ones, and what was counted."""

    first: float
    again: float
    result: OptimizeResult
    counts: Counter[str]
    error_of_answer: float
    error_of_jacobian: float


def with_differences(problem: InnerProblem) -> Callable[[], OptimizeResult]:
    """Return what solves a problem with differences through the inner solver."""
    f = problem.make(scipy, False)
    return lambda: problem.solve(f)


def with_derivatives(problem: InnerProblem, is_tight: bool = False) -> Callable[[], OptimizeResult]:
    """Return what solves a problem with derivatives of chainad."""
    f = chainad.for_scipy(problem.make(chainad.scipy, is_tight))
    return lambda: problem.solve(f, f.jac)


def jacobian_by(name: str, problem: InnerProblem, is_tight: bool = False) -> Any:
    """Return the Jacobian where a problem starts."""
    if name == OURS:
        return chainad.jacobian(problem.make(chainad.scipy, is_tight))(problem.start)
    method = "3-point" if is_tight else "2-point"
    return approx_derivative(problem.make(scipy, is_tight), problem.start, method=method)


def answer(problem: InnerProblem) -> Any:
    """Return the answer with tight tolerances, by differences of second order."""
    f = problem.make(scipy, True)
    tight = {"gtol": 1e-9} if problem.is_number else {"xtol": 1e-11, "ftol": 1e-11, "gtol": 1e-11}
    return problem.solve(f, "3-point", **tight).x


MAKERS = {DIFFERENCES: with_differences, OURS: with_derivatives}


def raced(problem: InnerProblem, rounds: int = ROUNDS) -> dict[str, Solves]:
    """Return the solves with differences and with derivatives, in turn."""
    right, exact = answer(problem), jacobian_by(DIFFERENCES, problem, is_tight=True)
    found: dict[str, Solves] = {}
    for _ in range(rounds):
        for name, make in MAKERS.items():
            forget()
            solve = make(problem)
            first, result = once(solve)
            again = once(solve)[0]
            if name in found:
                found[name].first = min(found[name].first, first)
                found[name].again = min(found[name].again, again)
                continue
            with counting() as counts:
                solve()
            jacobian = jacobian_by(name, problem)
            found[name] = Solves(
                first,
                again,
                result,
                counts,
                np.max(np.abs(result.x - right)),
                np.max(np.abs(jacobian - exact)) / np.max(np.abs(exact)),
            )
    return found


def report(found: dict[str, dict[str, Solves]]) -> str:
    """Return the tables."""
    work, seconds, errors = [], [], []
    for name, solves in found.items():
        title, both = PROBLEMS[name]().title, (solves[DIFFERENCES], solves[OURS])
        theirs, ours = both
        kind = "evaluations" if theirs.counts["evaluations"] else "solves"
        counts = [f"{x.counts[k]:,}" for k in ("solves", "evaluations") for x in both]
        work.append([title, *counts, times(theirs.counts[kind] / ours.counts[kind])])
        gains = theirs.first / ours.first, theirs.again / ours.again
        seconds.append(
            [title, *map(ms, (theirs.first, ours.first, ours.again)), *map(times, gains)]
        )
        off = [f"{e:.1e}" for x in both for e in (x.error_of_jacobian, x.error_of_answer)]
        ends = [f"{x.result.nfev:,}{'' if x.result.success else ', no end'}" for x in both]
        errors.append([title, off[0], off[2], off[1], off[3], *ends])

    def of_both(*heads: str) -> list[str]:
        return [f"{head}, {name}" for head in heads for name in (DIFFERENCES, OURS)]

    return "\n".join(
        [
            heading("Solvers inside of functions", []),
            EXPLAINED,
            "## What the inner solvers do in one fit\n",
            table(["problem", *of_both("solves", "evaluations"), "fewer"], work),
            "\n## Time (ms)\n",
            table(["problem", DIFFERENCES, OURS, f"{OURS}, again", "gain", "gain, again"], seconds),
            "\n## Errors\n",
            table(["problem", *of_both("Jacobian", "answer", "outer steps")], errors),
        ]
    )


EXPLAINED = """\
Processor time, both in turn in one process, least of three. The first fit with derivatives includes
tracing, planning and compiling; "again" is the same fit with what the first has made.
Solves are calls of SciPy's inner solver, those along which derivatives are integrated included;
evaluations are calls of what it solves: right-hand sides, residuals, losses. For `spsolve`, solves
are factorizations. The error of the Jacobian is at the start, relative to its largest entry, and
that of the answer the largest of a parameter; what is right has tight tolerances throughout, and
differences of second order.
"""


def main(arguments: Sequence[str]) -> int:
    """Solve the problems that are named, or all; return 1 if an answer of chainad was wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inner_solvers")
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(PROBLEMS)}")
    parser.add_argument("--check", action="store_true", help="only check chainad's answers")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/ too")
    options = parser.parse_args(arguments)
    found = {}
    for name in options.names or PROBLEMS:
        print(f"{name} ...", flush=True)
        problem = PROBLEMS[name]()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of solvers that do not get on
            if not options.check:
                found[name] = raced(problem)
                continue
            error = np.max(np.abs(with_derivatives(problem)().x - answer(problem)))
        if not error <= MAX_ERROR:
            print(f"WRONG: off by {error:.1e}")
            return 1
    if options.check:
        return 0
    text = report(found)
    print(f"\n{text}")
    if options.save:
        save(f"{date.today()}-inner-solvers", text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
