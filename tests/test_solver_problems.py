"""Problems for solvers of SciPy are solved by our derivatives; wrong answers are told."""

import numpy as np
import pytest
from scipy import optimize

from benchmarks.derivatives import DIFFERENCES, OURS, Wanted, sources
from benchmarks.solver_problems import PROBLEMS
from benchmarks.solver_problems.problem import Problem
from benchmarks.solvers import is_slower, raced, report

# Some of them wait for threads of BLAS.
SLOW = {"neural-ode", "bundle", "gaussian-process", "rosenbrock-trust-constr"}
SLOW |= {"rosenbrock-bfgs", "rosenbrock-l-bfgs-b"}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # BDF computes with what np.empty holds
@pytest.mark.parametrize("name", [name for name in PROBLEMS if name not in SLOW])
def test_problems_are_solved_by_our_derivatives(name):
    source, problem = sources({})[OURS](), PROBLEMS[name]
    assert problem.is_solved(problem.solve(source))
    assert source.calls["f"] > 0
    assert source.calls["jac"] > 0


BOWL = Wanted(lambda library: lambda x: library.np.sum((x - 3) ** 2), is_number=True)


def _bowl(source):
    of = source.of(BOWL)
    return optimize.minimize(of.fun, np.zeros(4), jac=of.jac, method="CG").x


def test_sources_race_and_their_calls_are_counted():
    problem = Problem("a bowl", _bowl, np.full(4, 3.0), 1e-5)
    found = raced(problem, sources({}), 0)
    assert all(solves.seconds > 0 for solves in found.values())
    steps = found[OURS].calls["f"]
    assert found[OURS].calls == {"f": steps, "jac": steps}
    assert found[DIFFERENCES].calls == {"f": 5 * steps}


def test_a_wrong_answer_has_no_time():
    found = raced(Problem("a bowl", _bowl, np.zeros(4), 1e-5), sources({}), 0)
    assert {solves.seconds for solves in found.values()} == {None}
    assert not is_slower(found)
    assert "- chainad on rosenbrock-bfgs: ArithmeticError: off by 3.0e+00" in report(
        {"rosenbrock-bfgs": found}, {}
    )
