"""Every SciPy function that takes a derivative, with ours traced and compiled, against none."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy import integrate, optimize

import chainad

Function = Callable[..., Any]
MATRIX = np.array([[3.0, 1.0, 0.5], [1.0, 4.0, 1.0], [0.5, 1.0, 5.0]])
TIMES = np.linspace(0.0, 1.0, 40)
DATA = 2.0 * np.exp(-3.0 * TIMES)
START = np.array([1.0, 0.5, -0.5])


def traced(f: Function, **how: Any) -> Function:
    return chainad.jacobian(f, **how)


def compiled(f: Function, **how: Any) -> Function:
    return chainad.jacobian(f, **how).compile()


both = pytest.mark.parametrize("jac", [traced, compiled])


def objective(x: Any) -> Any:
    """Strictly convex, so that every method ends at the same place."""
    return np.log(np.sum(np.exp(MATRIX @ x))) + 0.5 * x @ x - x[0]


def system(x: Any) -> Any:
    return MATRIX @ x + np.sin(x) - np.array([1.0, 2.0, 3.0])


def model(t: Any, a: Any, b: Any) -> Any:
    return a * np.exp(-b * t)


def residuals(p: Any) -> Any:
    return model(TIMES, p[0], p[1]) - DATA


def robertson(t: Any, y: Any) -> Any:
    a, b = -0.04 * y[0] + 1e4 * y[1] * y[2], 3e7 * y[1] ** 2
    return np.array([a, -a - b, b])


MINIMUM = optimize.minimize(objective, START, method="BFGS", options={"gtol": 1e-6}).x
ROOT = optimize.root(system, START).x


# ------------------------------------------------------------------------------ minimize


GRADIENT = ["CG", "BFGS", "L-BFGS-B", "TNC", "SLSQP", "trust-constr"]
HESSIAN = ["Newton-CG", "dogleg", "trust-ncg", "trust-krylov", "trust-exact", "trust-constr"]
PRODUCT = ["Newton-CG", "trust-ncg", "trust-krylov", "trust-constr"]


@both
@pytest.mark.parametrize("method", GRADIENT)
def test_minimize_by_gradients(method: str, jac: Function) -> None:
    found = optimize.minimize(objective, START, method=method, jac=jac(objective), tol=1e-8)
    np.testing.assert_allclose(found.x, MINIMUM, atol=1e-4)


@both
@pytest.mark.parametrize("method", HESSIAN)
def test_minimize_by_hessians(method: str, jac: Function) -> None:
    gradient = chainad.jacobian(objective)
    found = optimize.minimize(
        objective, START, method=method, jac=jac(objective), hess=jac(gradient), tol=1e-8
    )
    np.testing.assert_allclose(found.x, MINIMUM, atol=1e-4)


@both
@pytest.mark.parametrize("method", PRODUCT)
def test_minimize_by_hessian_products(method: str, jac: Function) -> None:
    slope = jac(lambda x, p: chainad.jacobian(objective)(x) @ p)
    found = optimize.minimize(
        objective, START, method=method, jac=jac(objective), hessp=slope, tol=1e-8
    )
    np.testing.assert_allclose(found.x, MINIMUM, atol=1e-4)


@pytest.mark.parametrize("method", ["BFGS", "L-BFGS-B", "SLSQP"])
@pytest.mark.parametrize("is_compiled", [False, True])
def test_minimize_takes_value_and_gradient_at_once(method: str, is_compiled: bool) -> None:
    f = chainad.value_and_jacobian(objective)
    found = optimize.minimize(f.compile() if is_compiled else f, START, method=method, jac=True)
    np.testing.assert_allclose(found.x, MINIMUM, atol=1e-3)


@both
@pytest.mark.parametrize("method", ["SLSQP", "trust-constr"])
def test_constraints_by_jacobians(method: str, jac: Function) -> None:
    def circle(x: Any) -> Any:
        return np.array([np.sum(x * x), x[0] * x[1]])

    def solve(**how: Any) -> Any:
        constraint = optimize.NonlinearConstraint(circle, [0.2, -1.0], [0.25, 1.0], **how)
        return optimize.minimize(objective, START, method=method, constraints=constraint, tol=1e-8)

    np.testing.assert_allclose(solve(jac=jac(circle)).x, solve().x, atol=1e-3)
    if method == "trust-constr":

        def hess(x: Any, v: Any) -> Any:
            return chainad.jacobian(lambda x: v @ chainad.jacobian(circle)(x))(x)

        np.testing.assert_allclose(solve(jac=jac(circle), hess=hess).x, solve().x, atol=1e-3)


# ------------------------------------------------------- systems, least squares, one number


@both
@pytest.mark.parametrize("method", ["hybr", "lm"])
@pytest.mark.parametrize("start", [START, [1, 1, 1], (1.0, 0.5, 2.0)])
def test_root(method: str, start: Any, jac: Function) -> None:
    found = optimize.root(system, start, jac=jac(system), method=method)
    np.testing.assert_allclose(found.x, ROOT, atol=1e-6)


@both
def test_fsolve_and_leastsq(jac: Function) -> None:
    found = optimize.fsolve(system, START, fprime=jac(system))
    np.testing.assert_allclose(found, ROOT, atol=1e-6)
    found = optimize.leastsq(residuals, [1.0, 1.0], Dfun=jac(residuals))[0]
    np.testing.assert_allclose(found, [2.0, 3.0], atol=1e-6)


@both
@pytest.mark.parametrize("method", ["trf", "dogbox", "lm"])
def test_least_squares(method: str, jac: Function) -> None:
    found = optimize.least_squares(residuals, [1, 1], jac=jac(residuals), method=method)
    np.testing.assert_allclose(found.x, [2.0, 3.0], atol=1e-6)


@pytest.mark.parametrize("output", ["sparse", "operator"])
def test_least_squares_by_lsmr(output: str) -> None:
    jac = chainad.jacobian(residuals, output=output)
    found = optimize.least_squares(residuals, [1.0, 1.0], jac=jac, tr_solver="lsmr")
    np.testing.assert_allclose(found.x, [2.0, 3.0], atol=1e-6)


@both
@pytest.mark.parametrize("method", ["lm", "trf", "dogbox"])
def test_curve_fit(method: str, jac: Function) -> None:
    slopes = jac(model, argnums=(1, 2))
    found, _ = optimize.curve_fit(
        model, TIMES, DATA, [1, 1], method=method, jac=lambda *at: np.stack(slopes(*at), -1)
    )
    np.testing.assert_allclose(found, [2.0, 3.0], atol=1e-6)


@both
@pytest.mark.parametrize("method", ["newton", "halley"])
@pytest.mark.parametrize("start", [1, 1.0, np.float64(1.0)])
def test_root_scalar(method: str, start: Any, jac: Function) -> None:
    def cubic(x: Any) -> Any:
        return x**3 - 2 * x - 5

    first = jac(cubic)
    second = {"fprime2": jac(chainad.jacobian(cubic))} if method == "halley" else {}
    found = optimize.root_scalar(cubic, x0=start, fprime=first, method=method, **second)
    wanted = optimize.brentq(cubic, 1, 4)
    np.testing.assert_allclose(found.root, wanted, atol=1e-9)
    np.testing.assert_allclose(optimize.newton(cubic, start, fprime=first, **second), wanted)


# -------------------------------------------------------------------- differential equations


@both
@pytest.mark.parametrize("method", ["Radau", "BDF", "LSODA"])
def test_solve_ivp(method: str, jac: Function) -> None:
    solve = partial(integrate.solve_ivp, robertson, (0, 0.3), [1, 0, 0], rtol=1e-7, atol=1e-10)
    found = solve(method=method, jac=jac(robertson, argnums=1))
    np.testing.assert_allclose(found.y[:, -1], solve(method="Radau").y[:, -1], rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("method", ["Radau", "BDF"])
def test_solve_ivp_by_sparse_jacobians(method: str) -> None:
    solve = partial(integrate.solve_ivp, robertson, (0, 0.3), [1.0, 0, 0], rtol=1e-7, atol=1e-10)
    found = solve(method=method, jac=chainad.jacobian(robertson, argnums=1, output="sparse"))
    np.testing.assert_allclose(found.y[:, -1], solve(method="Radau").y[:, -1], rtol=1e-4, atol=1e-8)


@both
def test_odeint(jac: Function) -> None:
    def solve(**how: Any) -> Any:
        return integrate.odeint(
            robertson, [1, 0, 0], [0.0, 0.3], tfirst=True, rtol=1e-8, atol=1e-11, **how
        )[-1]

    np.testing.assert_allclose(solve(Dfun=jac(robertson, argnums=1)), solve(), rtol=1e-5, atol=1e-9)


@both
@pytest.mark.parametrize("name", ["vode", "lsoda"])
def test_ode(name: str, jac: Function) -> None:
    def solve(slopes: Function | None) -> Any:
        how = {"method": "bdf", "nsteps": 20000} if name == "vode" else {}
        solver = integrate.ode(robertson, slopes).set_integrator(name, rtol=1e-8, atol=1e-11, **how)
        return solver.set_initial_value([1.0, 0.0, 0.0], 0.0).integrate(0.3)

    np.testing.assert_allclose(solve(jac(robertson, argnums=1)), solve(None), rtol=1e-5, atol=1e-9)


@both
def test_solve_bvp(jac: Function) -> None:
    def bratu(x: Any, y: Any) -> Any:
        return np.stack([y[1], -np.exp(y[0])])

    def ends(a: Any, b: Any) -> Any:
        return np.stack([a[0], b[0]])

    by_point = jac(lambda y: bratu(0.0, y), batch=0) if jac is traced else None
    slope = by_point or (lambda Y: np.stack([jac(lambda y: bratu(0.0, y))(y) for y in Y]))
    x, y = np.linspace(0, 1, 9), np.zeros((2, 9))
    solve = partial(integrate.solve_bvp, bratu, ends, x, y, tol=1e-8)
    found = solve(
        fun_jac=lambda x, y: np.moveaxis(slope(np.ascontiguousarray(y.T)), 0, -1),
        bc_jac=jac(ends, argnums=(0, 1)),
    )
    assert found.success
    np.testing.assert_allclose(found.sol(0.5), solve().sol(0.5), atol=1e-6)
