"""Solvers inside of functions: by the implicit-function theorem, against differences."""

from __future__ import annotations

import gc
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.optimize
from scipy.linalg import LinAlgWarning

import chainad
from chainad.errors import ConvergenceError, InputError
from chainad.frontends.numpy.tape import Tape

rng = np.random.default_rng(0)
W = rng.normal(size=(4, 4))
T = np.array([1.0, 2.0, 3.0, 1.5])


def differences(f: Any, x: Any, h: float = 1e-5) -> Any:
    """Central differences through the solver, with one step of Richardson's."""

    def once(h: float) -> Any:
        steps = np.eye(len(x)) * h
        return np.stack([(f(x + s) - f(x - s)) / (2 * h) for s in steps], -1)

    return (4 * once(h / 2) - once(h)) / 3


def solved(theta: Any) -> Any:
    """Return the root of a system whose matrix and right-hand side depend on theta."""
    A = W + 5 * np.diag(theta)

    def residual(x: Any) -> Any:
        return A @ x + 0.1 * x**3 - theta**2

    def solver() -> Any:
        return scipy.optimize.fsolve(residual, np.ones(4), xtol=1e-12)

    return chainad.implicit(solver, residual)() * theta[0]


@pytest.mark.parametrize("mode", ["auto", "forward", "reverse"])
def test_closures_of_solver_and_residual_are_differentiated(mode: Any) -> None:
    value, J = chainad.value_and_jacobian(solved, mode=mode)(T)
    np.testing.assert_array_equal(value, solved(T))  # to the last bit
    np.testing.assert_allclose(J, differences(solved, T), atol=1e-8)


def test_second_derivatives_need_no_other_formula() -> None:
    H = chainad.hessian(lambda t: np.sum(solved(t) ** 2))
    expected = differences(chainad.grad(lambda t: np.sum(solved(t) ** 2)), T)
    np.testing.assert_allclose(H(T), expected, atol=1e-8)
    np.testing.assert_allclose(H.compile()(T), expected, atol=1e-8)


def test_third_derivatives_of_a_root() -> None:
    cube_root = chainad.implicit(np.cbrt, lambda x, a: x**3 - a)
    third = chainad.jacobian(chainad.hessian(cube_root))(8.0)
    assert float(third) == pytest.approx(10 / 27 * 8 ** (-8 / 3))


calls: list[float] = []


def test_a_replay_solves_anew() -> None:
    def solver(a: Any) -> Any:
        calls.append(float(a))
        return np.sqrt(a)

    root = chainad.implicit(solver, lambda x, a: x * x - a)
    for f in (chainad.value_and_jacobian(root).compile(), chainad.compile(root)):
        f(np.float64(4.0))
        calls.clear()
        found = f(np.float64(9.0))
        assert calls == [9.0]
        assert np.ravel(found)[0] == 3.0
    fast = chainad.jacobian(root).compile()
    assert [float(fast(np.float64(a))) for a in (1.0, 4.0, 16.0)] == [0.5, 0.25, 0.125]
    assert len(fast._programs) == 1


def test_what_a_residual_reads_in_a_loop_is_kept_for_replays() -> None:
    def f(a: Any) -> Any:
        total, settings = 0.0, SimpleNamespace(n=0)
        for k in (1, 4, 9):
            settings.n = k
            root = chainad.implicit(
                lambda: np.sqrt(k * a),  # noqa: B023
                lambda x: x * x - settings.n * a,
            )
            total = total + root()
        return total

    J = chainad.jacobian(f)
    assert float(J(np.float64(1.0))) == pytest.approx(3.0)
    fast = J.compile(np.float64(1.0))
    assert float(fast(np.float64(4.0))) == pytest.approx(1.5)


def test_points_in_batches_are_those_one_by_one() -> None:
    points = np.stack([T, 1.1 * T, 1.3 * T])
    J = chainad.jacobian(solved, batch=0)(points)
    np.testing.assert_allclose(J, [chainad.jacobian(solved)(t) for t in points], rtol=1e-12)
    np.testing.assert_allclose(chainad.vmap(solved)(points), [*map(solved, points)], rtol=1e-14)


def test_theta_may_be_containers() -> None:
    def residual(x: Any, theta: Any) -> Any:
        return x - theta["b"] - theta["w"][0] * np.sin(x)

    def solver(theta: Any) -> Any:
        return scipy.optimize.fsolve(residual, np.zeros(2), (theta,), xtol=1e-12)

    theta = {"b": np.array([0.3, 1.0]), "w": [0.2]}
    found = chainad.jacobian(chainad.implicit(solver, residual))(theta)
    x = solver(theta)
    slope = 1 / (1 - 0.2 * np.cos(x))
    np.testing.assert_allclose(found["b"], np.diag(slope), atol=1e-12)
    np.testing.assert_allclose(found["w"][:, 0], slope * np.sin(x), atol=1e-12)


def test_a_plan_pulls_through_the_solve_what_is_narrow_behind_it() -> None:
    def f(theta: Any) -> Any:
        A = 6 * np.eye(40) + rng.normal(size=(40, 40)) / 10
        solve = chainad.implicit(lambda: np.linalg.solve(A, theta), lambda x: A @ x - theta)
        return np.sum(solve() ** 2)

    plan = chainad.plan(f, np.ones(40))
    assert plan.multiplications < 40 * 40 + 200  # one adjoint, not the inverse


def test_outside_of_a_trace_it_is_the_solver() -> None:
    root = chainad.implicit(lambda a: "whatever it returns", lambda x, a: x - a)
    assert root(1.0) == "whatever it returns"
    assert repr(chainad.implicit(np.cbrt, np.sin)) == "chainad.implicit(cbrt, sin)"


def test_what_has_not_converged_is_refused_with_both_numbers() -> None:
    root = chainad.implicit(lambda a: 1.9, lambda x, a: x * x - a)
    match = r"test_implicit.py:\d+: the solver has not converged.* is 0.39, and may be 0.011;"
    f = lambda a: root(a)
    for J in (chainad.jacobian(f), chainad.jacobian(f).compile()):
        with pytest.raises(ConvergenceError, match=match):
            J(np.float64(4.0))


def test_what_is_no_solution_is_refused_where_the_residual_is_level() -> None:
    root = chainad.implicit(lambda a: 0.0, lambda x, a: x * x + a)
    with pytest.raises(ConvergenceError, match=r" is 4, and may be 0;"):
        chainad.jacobian(root)(np.float64(4.0))


@pytest.mark.filterwarnings("ignore:divide by zero")
def test_a_jacobian_of_the_residual_that_is_not_finite_is_said_to_be_so() -> None:
    root = chainad.implicit(lambda a: 0.0, lambda x, a: np.sqrt(x) - a)
    with pytest.raises(ConvergenceError, match=r"test_implicit.py:\d+: .* is not finite"):
        chainad.jacobian(lambda a: root(a))(np.float64(0.0))


def test_a_replay_that_does_not_converge_is_refused() -> None:
    root = chainad.implicit(lambda a: np.sqrt(min(a, 4.0)), lambda x, a: x * x - a)
    fast = chainad.jacobian(lambda a: root(a)).compile(np.float64(3.0))
    with pytest.raises(ConvergenceError, match=r"test_implicit.py:\d+"):
        fast(np.float64(9.0))


@pytest.mark.parametrize("n", [1, 3])
def test_a_singular_jacobian_gives_nan_and_one_warning(n: int) -> None:
    root = chainad.implicit(lambda a: np.zeros(n), lambda x, a: x * x[0] - a * np.ones(n))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        J = chainad.jacobian(root)(np.float64(0.0))
    assert np.isnan(J).all()
    (only,) = caught
    assert only.category is LinAlgWarning
    assert "singular at the solution" in str(only.message)
    assert only.filename == __file__


def test_badly_scaled_equations_are_not_singular() -> None:
    scale = np.array([1e-9, 1.0, 1e9])
    root = chainad.implicit(lambda a: a * scale, lambda x, a: (x / scale - a) * scale**2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        J = chainad.jacobian(root)(np.float64(2.0))
        H = chainad.hessian(lambda a: root(a**2))(np.float64(2.0))
    np.testing.assert_allclose(J, scale)
    np.testing.assert_allclose(H, 2 * scale)


WRONG: dict[str, tuple[Any, Any, str]] = {
    "shape": (lambda a: np.ones(2), lambda x, a: np.sum(x) - a, r"shape of the solution, \(2,\)"),
    "integers": (lambda a: np.ones(2), lambda x, a: x > a, "array of real floats, but got"),
    "complex": (lambda a: 1j, lambda x, a: x - a, "returned an array of dtype complex128"),
    "pair": (lambda a: (a, 1), lambda x, a: x - a, "but returned a tuple; return its part"),
    "solver of text": (lambda a: "x", lambda x, a: x, "solver must return real floats"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_input_is_refused_in_the_users_line(kind: str) -> None:
    solver, residual, message = WRONG[kind]
    root = chainad.implicit(solver, residual)
    with pytest.raises(InputError, match=rf"test_implicit.py:\d+: .*{message}"):
        chainad.jacobian(lambda a: root(a))(np.float64(1.0))


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(InputError, match="residual must be a function, but got int"):
        chainad.implicit(np.sin, 3)  # type: ignore[arg-type]


def bratu(theta: Any) -> Any:
    """Return the solution of a discretized equation, whose Jacobian is tridiagonal."""
    n = np.size(theta)

    def residual(u: Any) -> Any:
        p = np.concatenate([[0.0], u, [0.0]])
        return p[2:] - 2 * u + p[:-2] + theta * np.exp(u) / n**2

    def newton() -> Any:
        u = np.zeros(n)
        for _ in range(6):
            dense = -2 * np.eye(n) + np.eye(n, k=1) + np.eye(n, k=-1)
            u = u - np.linalg.solve(dense + np.diag(theta * np.exp(u) / n**2), residual(u))
        return u

    return chainad.implicit(newton, residual)()


def test_sparse_equations_are_factorized_sparsely() -> None:
    theta = np.linspace(1.0, 2.0, 40)
    gradient = chainad.grad(lambda t: bratu(t) @ np.ones(40))
    plan = chainad.plan(lambda t: bratu(t) @ np.ones(40), theta)
    assert plan.multiplications < 10 * 40
    shift = np.linspace(1.0, 0.0, 40)
    along = lambda s: np.sum(bratu(theta + s * shift))
    for found in (gradient(theta), gradient.compile(1.1 * theta)(theta)):
        assert found @ shift == pytest.approx(differences_of_number(along), rel=1e-7)
    twice = chainad.hessian(along)
    assert float(twice(0.0)) == pytest.approx(
        differences_of_number(lambda s: chainad.grad(along)(float(s))), rel=1e-6
    )


def differences_of_number(f: Any) -> float:
    return float(differences(lambda s: f(s[0]), np.zeros(1), 1e-2)[0])


def test_a_singular_sparse_jacobian_gives_nan_and_a_warning() -> None:
    root = chainad.implicit(lambda a: np.zeros(40), lambda x, a: x * x - a)
    with pytest.warns(UserWarning, match="singular"):
        J = chainad.jacobian(root)(np.float64(0.0))
    assert np.isnan(J).all()


solves: list[Any] = []


def linear_solver(A: Any, b: Any) -> Any:
    solves.append(A)
    return np.linalg.solve(A @ np.eye(4), b)


@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_a_linear_solver_of_ones_own_takes_the_place_of_a_factorization(mode: Any) -> None:
    solves.clear()

    def f(theta: Any, linear_solver: Any = linear_solver) -> Any:
        A = W + 5 * np.diag(theta)
        solver = lambda: np.linalg.solve(A, theta)
        solve = chainad.implicit(solver, lambda x: A @ x - theta, linear_solver=linear_solver)
        return np.sum(solve() ** 2)

    J = chainad.grad(f, mode=mode)
    expected = chainad.grad(lambda t: f(t, None))(T)
    np.testing.assert_allclose(J(T), expected, rtol=1e-10)
    assert len(solves) == (5 if mode == "forward" else 2)  # one of them for the check
    np.testing.assert_allclose(J.compile(1.1 * T)(T), expected, rtol=1e-10)
    if mode == "reverse":
        twice = chainad.hessian(lambda t: f(t, None))(T)
        np.testing.assert_allclose(chainad.hessian(f)(T), twice, rtol=1e-9)


def test_a_linear_solver_that_fails_is_refused() -> None:
    root = chainad.implicit(np.sqrt, lambda x, a: x * x - a, linear_solver=lambda A, b: 0 * b)
    with pytest.raises(ConvergenceError, match=r"test_implicit.py:\d+: the linear solver has not"):
        chainad.jacobian(lambda a: root(a))(T)


def test_what_has_not_converged_is_refused_where_a_linear_solver_is_given() -> None:
    root = chainad.implicit(lambda a: a, lambda x, a: x * x - a, linear_solver=linear_solver)
    with pytest.raises(ConvergenceError, match=r"test_implicit.py:\d+: .* Newton's method would"):
        chainad.jacobian(lambda a: root(a))(T)


def test_compiled_solvers_keep_no_trace() -> None:
    def tapes() -> set[int]:
        gc.collect()
        return {id(x) for x in gc.get_objects() if issubclass(type(x), Tape) and x.entries}

    before = tapes()
    fast = chainad.jacobian(solved).compile(T)
    assert tapes() <= before
    assert fast.programs == 1
