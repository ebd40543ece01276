"""Derivatives of initial value problems: evaluations and errors, and memory by the number of steps.

`python -m benchmarks.sensitivities [--check]`. Finite differences are those of SciPy's solvers,
through the solver at several tolerances, since their error is that of the steps it chooses; what is
right are differences of second order at tight tolerances. Times are of the processor.
"""

from __future__ import annotations

import argparse
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import process_time
from typing import Any
from unittest.mock import patch

import numpy as np
from scipy.integrate import solve_ivp as plain_solve_ivp
from scipy.integrate._ivp.base import OdeSolver
from scipy.optimize._numdiff import approx_derivative

import chainad
from benchmarks.machine import heading
from benchmarks.table import ms, table
from chainad.api.solvers import adjoint_equation
from chainad.scipy.integrate import solve_ivp

Array = np.ndarray[Any, Any]

RATES = np.array([1.5, 1.0, 0.7, 0.9])
TIMES = np.linspace(0.5, 10, 20)
STEPS = (100, 400, 1600, 6400)
STATES = 1000
ROUNDS = 3


def states(rates: Any, solve: Callable[..., Any], rtol: float, method: str = "RK45") -> Any:
    """Return the states of Lotka and Volterra's equations at 20 times."""

    def rhs(t: Any, y: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
        return [a * y[0] - b * y[0] * y[1], c * y[0] * y[1] - d * y[1]]

    options = {"t_eval": TIMES, "rtol": rtol, "atol": 1e-3 * rtol, "method": method}
    return solve(rhs, (0, 10), [1.0, 0.5], args=tuple(rates), **options).y.ravel()


@contextmanager
def counting() -> Iterator[list[Any]]:
    """Collect the solvers of SciPy that are made."""
    solvers: list[Any] = []
    begin = OdeSolver.__init__

    def noted(self: Any, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        solvers.append(self)

    with patch.object(OdeSolver, "__init__", noted):
        yield solvers


def errors(tolerances: tuple[float, ...]) -> str:
    """Return the table of evaluations, times and errors."""
    right = approx_derivative(
        states, RATES, "3-point", 1e-5, args=(plain_solve_ivp, 1e-11, "DOP853")
    )
    sources: dict[str, Callable[[float], Callable[[Array], Array]]] = {
        "differences": lambda rtol: (
            lambda p: approx_derivative(states, p, "2-point", args=(plain_solve_ivp, rtol))
        ),
        "chainad": lambda rtol: chainad.jacobian(lambda p: states(p, solve_ivp, rtol)),
    }
    rows = []
    for name, source in sources.items():
        for rtol in tolerances:
            derivative = source(rtol)
            derivative(RATES)
            with counting() as solvers:
                found = derivative(RATES)
            evaluations = sum(each.nfev for each in solvers)
            error = np.abs(found - right).max() / np.abs(right).max()
            taken = min(_seconds(derivative) for _ in range(ROUNDS))
            rows.append([name, f"{rtol:.0e}", f"{evaluations:,}", ms(taken), f"{error:.0e}"])
    return table(["derivative", "rtol", "evaluations", "ms", "error"], rows)


def _seconds(derivative: Callable[[Array], Array]) -> float:
    start = process_time()
    derivative(RATES)
    return process_time() - start


def memory(n: int, steps: tuple[int, ...]) -> str:
    """Return the table of the peak memory of a gradient by n parameters of n states."""

    def total(k: Any, count: int) -> Any:
        found = solve_ivp(lambda t, y: -k * y, (0, 1), np.ones(n), t_eval=[1.0], max_step=1 / count)
        return found.y.sum()

    gradient = chainad.grad(total)
    gradient(np.ones(n), 10)
    rows = []
    for count in steps:
        peaks = []
        for most in (2**60, adjoint_equation.MAX_SEGMENT_BYTES):
            with patch.object(adjoint_equation, "MAX_SEGMENT_BYTES", most):
                tracemalloc.start()
                gradient(np.ones(n), count)
                peaks.append(tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()
        rows.append([f"{count:,}", *(f"{peak / 2**20:.1f}" for peak in peaks)])
    return table(["steps", "MiB, all states", "MiB, checkpoints"], rows)


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="small, for correctness only")
    is_quick = parser.parse_args().quick
    print(heading("Derivatives of initial value problems"))
    print("\n## Lotka-Volterra, 4 parameters, 20 times, RK45\n")
    print(errors((1e-3, 1e-5) if is_quick else (1e-3, 1e-5, 1e-7, 1e-9)))
    n, steps = (50, (100,)) if is_quick else (STATES, STEPS)
    print(f"\n## Peak memory of the adjoint, {n:,} states\n")
    print(memory(n, steps))


if __name__ == "__main__":
    main()
