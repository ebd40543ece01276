"""Problems whose function holds a solver are solved by our derivatives, which are right."""

import numpy as np
import pytest
import scipy
from scipy.optimize._numdiff import approx_derivative

import chainad
from benchmarks.inner_problems import (
    InnerProblem,
    conduction,
    lotka_volterra,
    market,
    ridge,
    robertson,
    yields,
)
from benchmarks.inner_solvers import DIFFERENCES, OURS, counting, raced, report, with_derivatives

SMALL = {
    "lotka-volterra": lambda: lotka_volterra(5),
    "robertson": lambda: robertson(4, 1.0),
    "market": lambda: market(4),
    "ridge": lambda: ridge(3, 10),
    "conduction": lambda: conduction(6, 2),
    "yields": lambda: yields(8),
}


# Of derivatives and answers, where the tolerances of solvers are those by default.
LOOSE = {"lotka-volterra": 0.05, "robertson": 0.01}


@pytest.mark.parametrize("name", SMALL)
def test_derivatives_through_inner_solvers_are_those_of_differences(name: str) -> None:
    problem: InnerProblem = SMALL[name]()
    expected = approx_derivative(problem.make(scipy, True), problem.start, method="3-point")
    J = chainad.jacobian(problem.make(chainad.scipy, name not in LOOSE))(problem.start)
    error = LOOSE.get(name, 1e-6) * np.abs(expected).max()
    np.testing.assert_allclose(J, expected, rtol=0, atol=error)


@pytest.mark.parametrize("name", [name for name in SMALL if name != "robertson"])
def test_fits_through_inner_solvers_are_found(name: str) -> None:
    problem: InnerProblem = SMALL[name]()
    found = with_derivatives(problem)()
    assert found.success
    expected = problem.solve(problem.make(scipy, True), "3-point").x
    np.testing.assert_allclose(found.x, expected, rtol=0, atol=LOOSE.get(name, 1e-4))


def test_what_inner_solvers_do_is_counted_and_told() -> None:
    found = raced(market(3), rounds=1)
    ours, theirs = found[OURS], found[DIFFERENCES]
    assert ours.counts["solves"] == ours.result.nfev  # a value and its derivatives share one
    assert theirs.counts["solves"] == theirs.result.nfev + 9 * theirs.result.njev
    assert "equilibrium prices" in report({"market": found})
    with counting() as counts:
        scipy.optimize.brentq(lambda x: x - 1, 0, 3)
    assert counts["solves"] == 1
    assert counts["evaluations"] > 2
