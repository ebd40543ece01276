"""Solvers: whole solves by SciPy, with derivatives from differences, autograd, JAX and chainad.

    python -m benchmarks.solvers [NAME...] [--check] [--save] [--seconds S]

Every solve is timed from the function on, with empty caches: tracing, planning and compiling count,
importing does not. All sources take turns, and the least time of each is reported, as is that of
solving again with what the first solve has made. Every answer is checked; an answer that is wrong
with derivatives of chainad ends the run.
"""

from __future__ import annotations

import argparse
import gc
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from random import Random
from typing import Any

from benchmarks.pin import pin

if __name__ == "__main__" and "--check" not in sys.argv:
    pin()

from benchmarks.command import save
from benchmarks.derivatives import DIFFERENCES, OURS, Source, sources
from benchmarks.inside import forget
from benchmarks.machine import heading
from benchmarks.peers import load
from benchmarks.solver_problems import PROBLEMS
from benchmarks.solver_problems.problem import Problem
from benchmarks.table import ms, table, times
from benchmarks.timing import once

ROUNDS = 3
# So long must a solve take, in seconds, that differences may not be quicker.
WORTH_A_DERIVATIVE = 0.02


@dataclass
class Solves:
    """The solves of a problem by one source: seconds, calls, and why it has no answer."""

    first: list[float] = field(default_factory=list)
    again: list[float] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    failure: str = ""

    @property
    def seconds(self) -> float | None:
        """The least time of a first solve, if its answer is right."""
        return None if self.failure else min(self.first)


def solved(problem: Problem, make: Callable[[], Source]) -> tuple[float, Source]:
    """Return the seconds that the first solve takes, with empty caches, and what it has made.

    Raises
    ------
    ArithmeticError
        If the answer is wrong.
    """
    forget()
    gc.collect()
    source = make()
    seconds, answer = once(lambda: problem.solve(source))
    _check(problem, answer)
    return seconds, source


def _check(problem: Problem, answer: Any) -> None:
    if not problem.is_solved(answer):
        raise ArithmeticError(f"off by {problem.error(answer):.1e}")


def raced(
    problem: Problem, makers: Mapping[str, Callable[[], Source]], seconds: float
) -> dict[str, Solves]:
    """Return the solves by all sources, in turn; each takes part until it has had its seconds."""
    found = {name: Solves() for name in makers}
    deal = Random(0)
    for _ in range(ROUNDS):
        for name in deal.sample(list(makers), len(makers)):
            solves = found[name]
            if solves.failure or sum(solves.first) > seconds:
                continue
            try:
                first, source = solved(problem, makers[name])
            except Exception as error:  # whatever one source cannot do, the others run
                solves.failure = f"{type(error).__name__}: {str(error).splitlines()[0]}"
                continue
            solves.calls = Counter(source.calls)
            solves.first.append(first)
            if first <= seconds:
                solves.again.append(once(lambda source=source: problem.solve(source))[0])
    return found


def _gain(found: Mapping[str, Solves]) -> float | None:
    """Return how many times as long as with derivatives of chainad a solve takes without."""
    theirs, ours = found[DIFFERENCES].seconds, found[OURS].seconds
    return None if theirs is None or ours is None else theirs / ours


def is_slower(found: Mapping[str, Solves]) -> bool:
    """Return whether differences are quicker, where a solve takes long enough to matter."""
    gain, theirs = _gain(found), found[DIFFERENCES].seconds
    return gain is not None and gain < 1 and theirs >= WORTH_A_DERIVATIVE


def _calls(solves: Solves) -> str:
    """Return the calls of f, of first and of second derivatives."""
    counts = [solves.calls[kind] for kind in ("f", "jac", "hess")]
    while counts[1:] and not counts[-1]:
        counts.pop()
    return "-" if solves.failure else " + ".join(f"{count:,}" for count in counts)


def report(found: Mapping[str, Mapping[str, Solves]], failed: Mapping[str, str]) -> str:
    """Return the tables; `failed` are the libraries that could not be imported, with the reason."""
    names = list(next(iter(found.values())))
    gain = f"{DIFFERENCES} / {OURS}"
    first, again, calls = [], [], []
    for problem, solves in found.items():
        verdict = times(_gain(solves)) + (" SLOWER" if is_slower(solves) else "")
        each = [solves[name] for name in names]
        first.append([PROBLEMS[problem].title, *(ms(one.seconds) for one in each), verdict])
        rest = [None if one.failure else min(one.again, default=None) for one in each]
        again.append([problem, *map(ms, rest)])
        calls.append([problem, *map(_calls, each)])
    left_out = [
        f"- {name}: {reason}" for name, reason in failed.items() if name in ("jax", "autograd")
    ]
    left_out += [
        f"- {name} on {problem}: {one.failure}"
        for problem, solves in found.items()
        for name, one in solves.items()
        if one.failure
    ]
    return "\n".join(
        [
            heading("Solvers", [name for name in names if name in ("jax", "autograd")]),
            EXPLAINED,
            "## The first solve (ms): tracing, planning, compiling, solving\n",
            table(["problem", *names, gain], first),
            "\n## The same solve again (ms)\n",
            table(["problem", *names], again),
            "\n## Calls of f + first derivatives + second derivatives in one solve\n",
            table(["problem", *names], calls),
            "\n## No answer\n",
            *(left_out or ["None."]),
        ]
    )


EXPLAINED = """\
Processor time, all sources in turn in one process: the least of three solves, or of fewer where
these take long, and then none again. Differences are given the sparsity pattern where the Jacobian
is sparse, and gradients by hand where the solver asks for the Hessian, and step these; autograd and
JAX are given the pattern, too, and compress. JAX is compiled.
A solve whose answer is wrong has no time.
"""


def select(wanted: Sequence[str]) -> list[str]:
    """Return the problems that are named, or whose names begin so; all if none is wanted."""
    return [name for name in PROBLEMS if not wanted or name.startswith(tuple(wanted))]


def main(arguments: Sequence[str]) -> int:
    """Solve the problems; return 1 if an answer with derivatives of chainad was wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.solvers",
        description="Solve problems by SciPy, with derivatives from several sources.",
        epilog=f"Problems: {', '.join(PROBLEMS)}.",
    )
    parser.add_argument("names", nargs="*", metavar="name", help="problems (default: all)")
    parser.add_argument("--check", action="store_true", help="only check chainad's answers")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/ too")
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="how long to time each source (default: 5)"
    )
    options = parser.parse_args(arguments)
    libraries, failed = ({}, {}) if options.check else load()
    makers = sources(libraries)
    if options.check:
        makers = {OURS: makers[OURS]}
    found: dict[str, dict[str, Solves]] = {}
    for name in select(options.names):
        print(f"{name} ...", end=" ", flush=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of solvers that do not get on
            found[name] = raced(PROBLEMS[name], makers, 0 if options.check else options.seconds)
        if found[name][OURS].failure:
            print(f"WRONG\n{found[name][OURS].failure}")
            return 1
        print("solved; " + ", ".join(f"{k} {ms(one.seconds)}" for k, one in found[name].items()))
        if options.save:  # at once: a long run may be cut short
            save(f"{date.today()}-solvers", report(found, failed))
    if found and not options.check:
        print(f"\n{report(found, failed)}")
    return 0 if found else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
