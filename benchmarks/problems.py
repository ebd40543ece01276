"""Problems: functions that others wrote to test optimizers, unchanged, and what becomes of each.

    python -m benchmarks.problems [SET...]

The sets are those of More & Wild (2009) and of Cartis & Roberts (2019), as optimagic has them
(`pip install "chainad[problems]"`), and SciPy's Rosenbrock functions. Every function is
differentiated at its start. Its Jacobian is right if it agrees with differences, wherever those of
several steps agree; what is refused says why. None may be wrong, or end in any other error.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import unwrap
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import optimize

import chainad
from benchmarks.table import ms, table
from chainad.testing.differences import along

Array = npt.NDArray[np.float64]

TOLERANCE = 1e-4  # of a derivative by the size of its variable
MIN_TRUSTED = 0.9  # the part of the entries on which differences must agree among themselves
MAX_DETAIL_CHARACTERS = 100
HEAD = ["problem", "n", "verdict", "first call, ms", "why"]


@dataclass(frozen=True)
class Problem:
    """A function of one vector, and where it is differentiated."""

    function: Callable[[Array], Any]
    start: Array


@dataclass(frozen=True)
class Verdict:
    """What became of a problem: "right", "refused", "wrong" or "crash", why, and how soon."""

    kind: str
    why: str
    seconds: float


def rosenbrock() -> dict[str, Problem]:
    """Return SciPy's Rosenbrock function and its derivatives."""
    functions = {
        "rosen": optimize.rosen,
        "rosen_der": optimize.rosen_der,
        "rosen_hess": optimize.rosen_hess,
        "rosen_hess_prod": lambda x: optimize.rosen_hess_prod(x, np.arange(5.0)),
    }
    start = np.array([-1.2, 1.0, 0.8, 1.1, 0.5])
    return {name: Problem(function, start) for name, function in functions.items()}


def more_wild() -> dict[str, Problem]:
    """Return the problems of More & Wild."""
    from optimagic.benchmarking.more_wild import MORE_WILD_PROBLEMS

    return {name: _problem(given) for name, given in MORE_WILD_PROBLEMS.items()}


def cartis_roberts() -> dict[str, Problem]:
    """Return the problems of Cartis & Roberts."""
    from optimagic.benchmarking.cartis_roberts import CARTIS_ROBERTS_PROBLEMS

    return {name: _problem(given) for name, given in CARTIS_ROBERTS_PROBLEMS.items()}


SETS = {f.__name__: f for f in (rosenbrock, more_wild, cartis_roberts)}


def _problem(given: dict[str, Any]) -> Problem:
    return Problem(_python(given["fun"]), np.array(given["start_x"], float))


def _python(function: Any) -> Any:
    """Return a function as it was before numba compiled it."""
    if isinstance(function, partial):
        return partial(_python(function.func), *function.args, **function.keywords)
    return unwrap(function)


def verdict(problem: Problem) -> Verdict:
    """Differentiate a function at its start, and compare with differences."""
    start = perf_counter()
    try:
        found = chainad.jacobian(problem.function)(problem.start)
    except chainad.ChainadError as refusal:
        return Verdict("refused", str(refusal), perf_counter() - start)
    except Exception as crash:  # any at all is what is looked for
        return Verdict("crash", f"{type(crash).__name__}: {crash}", perf_counter() - start)
    seconds = perf_counter() - start
    why = _fault(problem, found)
    return Verdict("wrong" if why else "right", why, seconds)


def _fault(problem: Problem, found: Array) -> str:
    """Return in which column a Jacobian differs from differences, or ""."""
    x, trusted = problem.start, 0
    value = np.asarray(problem.function(x), float)
    if found.shape != value.shape + x.shape:
        return f"its shape is {found.shape}"
    for k, column in enumerate(found.reshape(-1, x.size).T):
        unit = np.eye(x.size)[k] * (abs(x[k]) or 1.0)

        def outputs(step: float, unit: Array = unit) -> list[Array]:
            return [np.asarray(problem.function(x + step * unit), float)]

        (wanted,) = along([value], outputs)
        gap = abs(column * unit[k] - wanted.slopes) / (1 + abs(wanted.slopes))
        if (gap[wanted.is_smooth] > TOLERANCE).any():
            return f"column {k} is off by {gap[wanted.is_smooth].max():.1e}"
        trusted += np.count_nonzero(wanted.is_smooth)
    if trusted < MIN_TRUSTED * found.size:
        return f"differences agree on {trusted} of {found.size} entries only"
    return ""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.problems",
        description="Say what becomes of functions that others wrote to test optimizers.",
    )
    parser.add_argument(
        "sets", nargs="*", choices=[[], *SETS], metavar="set", help=f"of {', '.join(SETS)}"
    )
    faults = 0
    for name in parser.parse_args(arguments).sets or SETS:
        problems = SETS[name]()
        found = {key: verdict(problem) for key, problem in problems.items()}
        counts = Counter(each.kind for each in found.values())
        print(f"\n{name}: " + ", ".join(f"{count} {kind}" for kind, count in counts.items()))
        rows = [
            [key, str(problems[key].start.size), each.kind, ms(each.seconds), _short(each.why)]
            for key, each in found.items()
        ]
        print(table(HEAD, rows))
        faults += counts["wrong"] + counts["crash"]
    return 1 if faults else 0


def _short(why: str) -> str:
    return re.sub(r"^\S*/", "", why).replace("\n", " ")[:MAX_DETAIL_CHARACTERS]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
