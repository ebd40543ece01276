"""Problems whose function holds a solver are solved by our derivatives, which are right."""

import numpy as np
import pytest
import scipy
from scipy.optimize._numdiff import approx_derivative

import chainad
from benchmarks.inner_problems import InnerProblem, conduction
from benchmarks.inner_solvers import DIFFERENCES, OURS, counting, raced, report, with_derivatives

SMALL = {"conduction": lambda: conduction(6, 2)}


@pytest.mark.parametrize("name", SMALL)
def test_derivatives_through_inner_solvers_are_those_of_differences(name: str) -> None:
    problem: InnerProblem = SMALL[name]()
    f = problem.make(scipy, True)
    expected = approx_derivative(f, problem.start, method="3-point")
    for run in (
        chainad.value_and_jacobian(problem.make(chainad.scipy, True)),
        chainad.value_and_jacobian(problem.make(chainad.scipy, True)).compile(problem.start - 0.1),
    ):
        value, J = run(problem.start)
        np.testing.assert_allclose(value, f(problem.start), rtol=1e-9)
        np.testing.assert_allclose(J, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("name", SMALL)
def test_fits_through_inner_solvers_are_found(name: str) -> None:
    problem: InnerProblem = SMALL[name]()
    found = with_derivatives(problem)()
    assert found.success
    expected = problem.solve(problem.make(scipy, True), "3-point")
    np.testing.assert_allclose(found.x, expected.x, atol=1e-4)


def test_what_inner_solvers_do_is_counted_and_told() -> None:
    found = raced(conduction(4, 2))
    assert found[OURS].counts["solves"] < found[DIFFERENCES].counts["solves"] / 2
    assert "of a plate" in report({"conduction": found})
    with counting() as counts:
        scipy.optimize.brentq(lambda x: x - 1, 0, 3)
    assert counts["solves"] == 1
    assert counts["evaluations"] > 2
