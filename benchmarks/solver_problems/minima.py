"""Minima: Rosenbrock's function, electrons on a sphere, likelihoods, a neural ODE."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import optimize

from benchmarks.derivatives import Function, Source, Wanted
from benchmarks.solver_problems.problem import Problem
from benchmarks.workload import Array, Library


def _rosenbrock(library: Library) -> Function:
    np_ = library.np
    return lambda x: np_.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


ROSENBROCK = Wanted(_rosenbrock, is_number=True)
ROSENBROCK_OF_SECOND_ORDER = Wanted(_rosenbrock, is_number=True, gradient=optimize.rosen_der)


def rosenbrock(method: str, is_of_second_order: bool = False) -> Problem:
    """Return Rosenbrock's function of 100 variables, from the usual start."""

    def solve(source: Source) -> Any:
        of = source.of(ROSENBROCK_OF_SECOND_ORDER if is_of_second_order else ROSENBROCK)
        second = {"hess": of.hess} if is_of_second_order else {}
        start = np.tile([-1.2, 1.0], 50)
        options = {"maxiter": 2000} | ({"maxfun": 10**6} if method == "L-BFGS-B" else {})
        found = optimize.minimize(
            of.fun, start, jac=of.jac, method=method, options=options, **second
        )
        return optimize.rosen_der(found.x)

    title = f"Rosenbrock, 100 variables, {method}"
    return Problem(title, solve, np.zeros(100), 0.2)  # curvatures are up to 1,000


ELECTRONS = 20
FIRST, SECOND = np.triu_indices(ELECTRONS, 1)


def _energy(library: Library) -> Function:
    np_ = library.np

    def energy(x: Any) -> Any:
        p = x.reshape(ELECTRONS, 3)
        gaps = p[FIRST] - p[SECOND]
        return np_.sum(1 / np_.sqrt(np_.sum(gaps * gaps, axis=1)))

    return energy


def _sphere(library: Library) -> Function:
    def excess(x: Any) -> Any:
        p = x.reshape(ELECTRONS, 3)
        return library.np.sum(p * p, axis=1) - 1

    return excess


ENERGY, SPHERE = Wanted(_energy, is_number=True), Wanted(_sphere)


def electrons(method: str) -> Problem:
    """Return electrons on a sphere, Thomson's problem, as in COPS (Dolan, More & Munson 2004)."""

    def solve(source: Source) -> Any:
        p = np.random.default_rng(0).normal(size=(ELECTRONS, 3))
        start = (p / np.linalg.norm(p, axis=1)[:, None]).ravel()
        of, on = source.of(ENERGY), source.of(SPHERE)
        if method == "SLSQP":
            jac = on.jac if callable(on.jac) else None  # None: the scheme of the function
            constraint = {"type": "eq", "fun": on.fun, "jac": jac}
            return optimize.minimize(
                of.fun, start, jac=of.jac, method=method, constraints=constraint
            ).fun
        constraints = optimize.NonlinearConstraint(on.fun, 0, 0, jac=on.jac, hess=on.hess)
        return optimize.minimize(
            of.fun, start, jac=of.jac, hess=of.hess, method=method, constraints=constraints
        ).fun

    return Problem(f"{ELECTRONS} electrons on a sphere, {method}", solve, 150.881568, 1e-3)


def _likelihood(library: Library) -> Function:
    np_ = library.np
    rng = np.random.default_rng(0)
    points = rng.normal(size=(120, 8))
    y = library.array(np.sin(points[:, 0]) + 0.1 * rng.normal(size=120))
    squares = library.array((points[:, None, :] - points) ** 2)

    def negative_logarithm(x: Any) -> Any:
        distances = np_.sum(squares * np_.exp(-2 * x[:8]), axis=2)
        covariance = np_.exp(x[8] - distances / 2) + np_.exp(x[9]) * np_.eye(120)
        factor = np_.linalg.cholesky(covariance)
        white = np_.linalg.solve(factor, y)
        return np_.sum(white * white) / 2 + np_.sum(np_.log(np_.diag(factor)))

    return negative_logarithm


LIKELIHOOD = Wanted(_likelihood, is_number=True)


def gaussian_process() -> Problem:
    """Return the likelihood of a Gaussian process, by its Cholesky factor."""

    def solve(source: Source) -> Any:
        of = source.of(LIKELIHOOD)
        return optimize.minimize(of.fun, np.zeros(10), jac=of.jac, method="L-BFGS-B").fun

    title = "Gaussian process, 120 points, 8 length scales, cholesky, L-BFGS-B"
    return Problem(title, solve, -199.184614, 1e-3)


HIDDEN, STEPS, TIME_STEP = 10, 40, 0.1
SPIRAL_START = np.array([2.0, 0.0])


def _spiral() -> Array:
    """Return points of a spiral, dy/dt = A @ y, by steps that are finer."""
    A, fine = np.array([[-0.1, 2.0], [-2.0, -0.1]]), 10
    y, found = SPIRAL_START, []
    for _ in range(STEPS):
        for _ in range(fine):
            y = _runge_kutta(lambda y: A @ y, y, TIME_STEP / fine)
        found.append(y)
    return np.array(found)


def _runge_kutta(slope: Function, y: Any, h: float) -> Any:
    a = slope(y)
    b = slope(y + h / 2 * a)
    c = slope(y + h / 2 * b)
    d = slope(y + h * c)
    return y + h / 6 * (a + 2 * b + 2 * c + d)


def _misfit(library: Library) -> Function:
    np_ = library.np
    wanted, start = library.array(_spiral()), library.array(SPIRAL_START)

    def misfit(x: Any) -> Any:
        W, b = x[: 2 * HIDDEN].reshape(HIDDEN, 2), x[2 * HIDDEN : 3 * HIDDEN]
        V = x[3 * HIDDEN :].reshape(2, HIDDEN)

        def slope(y: Any) -> Any:
            return V @ np_.tanh(W @ y + b)

        y, found = start, []
        for _ in range(STEPS):
            y = _runge_kutta(slope, y, TIME_STEP)
            found.append(y)
        gap = np_.stack(found) - wanted
        return np_.mean(gap * gap)

    return misfit


NEURAL_ODE = Wanted(_misfit, is_number=True)


def neural_ode() -> Problem:
    """Return a neural ODE (Chen et al. 2018) of 50 parameters, by a loop of Runge and Kutta."""

    def solve(source: Source) -> Any:
        of = source.of(NEURAL_ODE)
        start = 0.3 * np.random.default_rng(0).normal(size=5 * HIDDEN)
        return optimize.minimize(
            of.fun, start, jac=of.jac, method="L-BFGS-B", options={"maxiter": 60}
        ).fun

    title = f"neural ODE, 50 parameters, {STEPS} steps of Runge-Kutta, L-BFGS-B"
    return Problem(title, solve, 0.0, 1e-2)


SAMPLES, FEATURES, RIDGE = 500, 100, 1e-2


def _samples() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(SAMPLES, FEATURES))
    y = np.sign(X @ rng.normal(size=FEATURES) + rng.normal(size=SAMPLES))
    return X, y


def _logistic(library: Library) -> Function:
    np_ = library.np
    X, y = map(library.array, _samples())
    return lambda w: np_.mean(np_.logaddexp(0, -y * (X @ w))) + RIDGE / 2 * np_.sum(w * w)


def _logistic_gradient(w: Any) -> Any:
    X, y = _samples()
    return -(y / (1 + np.exp(y * (X @ w)))) @ X / SAMPLES + RIDGE * w


LOGISTIC = Wanted(_logistic, is_number=True, gradient=_logistic_gradient)


def logistic(method: str) -> Problem:
    """Return logistic regression by a method that takes the Hessian."""

    def solve(source: Source) -> Any:
        of = source.of(LOGISTIC)
        found = optimize.minimize(
            of.fun, np.zeros(FEATURES), jac=of.jac, hess=of.hess, method=method
        )
        return _logistic_gradient(found.x)

    title = f"logistic regression, {SAMPLES} x {FEATURES}, {method}"
    return Problem(title, solve, np.zeros(FEATURES), 1e-4)
