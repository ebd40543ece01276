"""chainad.scipy.optimize: SciPy's solvers inside of functions, against closed forms."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import scipy.optimize

import chainad
from chainad.api.solvers.stationarity import cost_at
from chainad.errors import ConvergenceError, TraceError
from chainad.scipy import optimize as ours

A = np.array([1.3, 2.0])
START = np.ones(2)
SQUARE_ROOTS = (np.sqrt, lambda a: np.diag(0.5 / np.sqrt(a)), lambda a: -0.25 * a**-1.5)


def _system(x: Any, a: Any) -> Any:
    return [x[0] ** 2 - a[0], x[1] ** 2 - a[1]]


def _with_jacobian(x: Any, a: Any) -> Any:
    return x**2 - a, np.diag(2 * x)


def _distance(x: Any, a: Any) -> Any:
    return np.sum((x**2 - a) ** 2)


def _at_bound(a: Any) -> Any:
    found = ours.minimize(lambda x: np.sum((x - a) ** 2), START, bounds=[(None, 1.0), (0, 9)])
    return found.x * found.fun


def _on_line(a: Any) -> Any:
    constraint = {"type": "eq", "fun": lambda x: x[0] + x[1] - a[0]}
    slack = {"type": "ineq", "fun": lambda x: x[0] + 100.0}
    return ours.minimize(
        lambda x: np.sum((x - a) ** 2), START, constraints=[constraint, slack], tol=1e-14
    ).x


def _below_limit(a: Any) -> Any:
    limit = scipy.optimize.LinearConstraint(np.eye(2), -np.inf, [1.0, 9.0])
    return ours.minimize(
        lambda x: np.sum((x - a) ** 2), START, method="SLSQP", constraints=limit, tol=1e-14
    ).x


def _line(a: Any, **options: Any) -> Any:
    t = np.arange(4.0)
    return ours.least_squares(
        lambda p: p[0] + p[1] * t - a[0] * t**2 - a[1], START, xtol=1e-14, ftol=1e-14, **options
    )


# The solution by a, and its closed form.
CASES: dict[str, tuple[Any, Any]] = {
    "root": (lambda a: ours.root(lambda x: _system(x, a), START, tol=1e-13).x, np.sqrt),
    "root by args": (lambda a: ours.root(_system, START, args=a, tol=1e-13).x, np.sqrt),
    "root with its Jacobian": (
        lambda a: ours.root(_with_jacobian, START, args=(a,), jac=True, tol=1e-13).x,
        np.sqrt,
    ),
    "root from traced values": (lambda a: ours.root(_system, a, args=a, tol=1e-13).x, np.sqrt),
    "fsolve": (lambda a: ours.fsolve(_system, START, (a,), xtol=1e-13), np.sqrt),
    "brentq": (
        lambda a: np.stack([ours.brentq(lambda x: x * x - a[k], 0, 9) for k in range(2)]),  # noqa: B023
        np.sqrt,
    ),
    "ridder": (lambda a: ours.ridder(lambda x, b: x * x - b, 0, a[1], args=a[1]) * a, None),
    "root_scalar": (
        lambda a: ours.root_scalar(lambda x: (x**2 - a[1], 2 * x), x0=2.0, fprime=True).root * a,
        lambda a: np.sqrt(a[1]) * a,
    ),
    "newton, one number": (
        lambda a: ours.newton(lambda x: x**2 - a[0], 1.0),
        lambda a: np.sqrt(a[0]),
    ),
    "fixed_point, one number": (
        lambda a: ours.fixed_point(lambda x: (x + a[0] / x) / 2, 1.0), lambda a: np.sqrt(a[0])),
    "newton": (lambda a: ours.newton(lambda x: x**2 - a, START, lambda x: 2 * x), np.sqrt),
    "fixed_point": (
        lambda a: ours.fixed_point(lambda x: (x + a / x) / 2, START, xtol=1e-13),
        np.sqrt,
    ),
    "minimize": (lambda a: ours.minimize(_distance, START, args=a, tol=1e-13).x, np.sqrt),
    "minimize by second derivatives": (
        lambda a: ours.minimize(_distance, START, args=a, tol=1e-13, method="trust-exact").x,
        np.sqrt,
    ),
    "minimize_scalar": (
        lambda a: ours.minimize_scalar(lambda x: (x**2 - a[1]) ** 2, bounds=(0, 9), tol=1e-9).x * a,
        lambda a: np.sqrt(a[1]) * a,
    ),
    "bounds": (
        _at_bound,
        lambda a: np.stack([1 + 0 * a[0], a[1]]) * (a[0] - 1) ** 2,
    ),
    "equality": (_on_line, lambda a: np.stack([a[0] - a[1] / 2, a[1] / 2])),
    "inequality": (_below_limit, lambda a: np.stack([1 + 0 * a[0], a[1]])),
    # The least squares of t^2 at 0, ..., 3 are 3 t - 1.
    "least_squares": (lambda a: _line(a).x, lambda a: np.stack([a[1] - a[0], 3 * a[0]])),
    "cost": (lambda a: np.stack([_line(a).cost, _line(a).fun[0]]), lambda a: np.stack(
        [2 * a[0] ** 2, -a[0]])),
    "bounded least_squares": (
        lambda a: _line(a, bounds=([-9, -9], [9, 2.0])).x,
        lambda a: np.stack([3.5 * a[0] + a[1] - 3, 2 + 0 * a[0]]),
    ),
}  # fmt: skip
CASES["ridder"] = CASES["ridder"][0], CASES["root_scalar"][1]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore")
def test_solutions_are_differentiated_as_their_closed_forms(name: str) -> None:
    solve, closed = CASES[name]
    tolerance = {"rtol": 1e-6, "atol": 1e-6}
    J = chainad.value_and_jacobian(solve)
    expected = chainad.jacobian(closed)(A)
    value, found = J(A)
    np.testing.assert_allclose(value, closed(A), **tolerance)
    np.testing.assert_allclose(found, expected, **tolerance)
    if name in ("root by args", "brentq", "inequality", "bounded least_squares"):
        fast = J.compile(A)
        np.testing.assert_allclose(fast(1.1 * A)[1], chainad.jacobian(closed)(1.1 * A), **tolerance)


@pytest.mark.parametrize("name", ["root", "brentq", "minimize", "equality", "cost"])
@pytest.mark.filterwarnings("ignore")
def test_second_derivatives_of_solutions_are_those_of_closed_forms(name: str) -> None:
    solve, closed = CASES[name]
    twice = lambda f: chainad.jacobian(chainad.jacobian(f))(A)
    np.testing.assert_allclose(twice(solve), twice(closed), rtol=1e-5, atol=1e-5)


def test_bounds_may_be_traced() -> None:
    f = lambda a: ours.minimize(lambda x: np.sum(x**2), START, bounds=[(a, None), (0, None)]).x
    np.testing.assert_allclose(chainad.jacobian(f)(np.float64(0.5)), [1.0, 0.0])


@pytest.mark.parametrize("loss", ["soft_l1", "huber", "cauchy", "arctan"])
def test_robust_losses_are_those_of_scipy(loss: str) -> None:
    residuals = lambda x: np.array([x[0] - 3.0, x[0] + x[1], 5.0 * x[1]])
    theirs = scipy.optimize.least_squares(residuals, START, loss=loss, f_scale=0.7)
    parts = {"fun": residuals, "args": (), "kwargs": {}, "loss": loss, "f_scale": 0.7}
    assert float(cost_at(parts, theirs.x)) == pytest.approx(theirs.cost)


def test_robust_fits_are_differentiated() -> None:
    f = lambda a: _line(a, loss="huber", f_scale=4.0).cost
    h = 1e-4 * np.array([1.0, 0.0])
    slope = (f(A + h) - f(A - h)) / 2e-4
    assert chainad.grad(f)(A)[0] == pytest.approx(slope, rel=1e-4)


NAMES = sorted(ours.__all__)


@pytest.mark.parametrize("name", NAMES)
def test_names_and_parameters_are_those_of_scipy(name: str) -> None:
    mine = inspect.signature(getattr(ours, name)).parameters
    theirs = inspect.signature(getattr(scipy.optimize, name)).parameters
    assert {k for k in mine if k != "options"} <= {*theirs}
    for k, parameter in mine.items():
        is_empty = theirs[k].default == {} if k in theirs else False  # in older versions: none
        if k in theirs and parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            assert parameter.default == (None if is_empty else theirs[k].default), k


def test_outside_of_a_trace_they_are_scipys() -> None:
    mine, theirs = ours.root(_system, START, args=A), scipy.optimize.root(_system, START, args=A)
    assert type(mine) is type(theirs)
    np.testing.assert_array_equal(mine.x, theirs.x)
    assert ours.brentq(lambda x: x - 0.5, 0, 1, full_output=True)[1].converged
    assert ours.fsolve(_system, START, (A,), full_output=True)[2] == 1


def test_results_tell_what_scipy_told() -> None:
    def f(a: Any) -> Any:
        found = ours.root(_system, START, args=a)
        assert found.success
        assert isinstance(found, scipy.optimize.OptimizeResult)
        assert isinstance(found.message, str)
        root, told = ours.brentq(lambda x: x * x - a[0], 0, 9, full_output=True)
        assert told.converged
        assert told.root is root
        return found.x * (found.nfev + told.iterations)

    J = chainad.jacobian(f)
    np.testing.assert_allclose(J.compile()(A), J(A))


class _Model:
    def __init__(self) -> None:
        self.k, self.weights = 2.0, np.array([1.0, 4.0])

    def residual(self, x: Any, a: Any) -> Any:
        return self.weights * x**2 - self.k * a


def test_a_replay_sees_changes_of_what_equations_read() -> None:
    model = _Model()
    J = chainad.jacobian(lambda a: ours.root(model.residual, START, args=a, tol=1e-12).x)
    fast = J.compile(A)
    changes = (
        lambda: setattr(model, "k", 3.0),
        lambda: model.weights.__setitem__(0, 2.0),
        lambda: setattr(model, "weights", np.ones(2)),
    )
    for change in changes:
        change()
        np.testing.assert_allclose(fast(A), J(A), rtol=1e-10)


def test_what_is_not_followed_is_refused() -> None:
    with pytest.raises(TraceError, match=r"test_scipy_optimize.py:\d+: jac of a result is not"):
        chainad.jacobian(lambda a: _line(a).jac @ a)(A)
    for solve, other in ((ours.fsolve, "root"), (ours.newton, "root_scalar")):
        with pytest.raises(TraceError, match=rf"full_output.*chainad.scipy.optimize.{other} tells"):
            chainad.jacobian(lambda a: solve(lambda x: x - a, START, full_output=True)[0])(A)  # noqa: B023
    with pytest.raises(AttributeError, match="nonsense"):
        chainad.jacobian(lambda a: _line(a).nonsense)(A)


def test_a_solver_that_fails_is_refused_in_the_users_line() -> None:
    def f(a: Any) -> Any:
        return ours.root(lambda x: x**2 + a, START).x

    match = r"test_scipy_optimize.py:\d+: the solver has not converged.*SciPy says: The iteration"
    with pytest.raises(ConvergenceError, match=match):
        chainad.jacobian(f)(A)


def test_errors_of_scipy_are_its_own() -> None:
    with pytest.raises(ValueError, match="different signs"):
        chainad.jacobian(lambda a: ours.brentq(lambda x: x * x + a, 0, 1))(np.float64(1.0))
    with pytest.raises(ValueError, match="must return a scalar value"):
        chainad.jacobian(lambda a: ours.minimize(lambda x: x - a, START).x)(A)
