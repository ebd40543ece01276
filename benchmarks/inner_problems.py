"""Problems whose function holds a solver: an ODE, an equilibrium, a fit, a PDE, a price equation.

Each is written once, for SciPy and for chainad's functions of the same names, at the tolerances
that are the default there, or at tight ones, whose answer is right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.integrate
import scipy.optimize
import scipy.sparse
from scipy.optimize import least_squares, minimize

Array = np.ndarray[Any, Any]
# Of SciPy, or of chainad.scipy, and whether tolerances are tight: the function.
Make = Callable[[Any, bool], Callable[[Any], Any]]


@dataclass(frozen=True)
class InnerProblem:
    """A fit, or a minimum, of a function that holds a solver.

    Attributes
    ----------
    title : str
        What is fitted, by what.
    make : callable
        See `Make`: of parameters, residuals to be fitted or a number to be made small.
    start : array
        Where the outer solver starts.
    is_number : bool
        Whether the function is a number, for `minimize`.
    """

    title: str
    make: Make
    start: Array
    is_number: bool = False

    def solve(self, f: Callable[[Any], Any], jac: Any = "2-point", **options: Any) -> Any:
        """Return what SciPy's outer solver finds, with derivatives or differences."""
        if self.is_number:
            return minimize(f, self.start, jac=jac, method="BFGS", options=options)
        return least_squares(f, self.start, jac=jac, **options)


def lotka_volterra(n_times: int = 25) -> InnerProblem:
    """Hares and lynxes: four rates and two initial populations from noisy counts."""
    times = np.linspace(0.5, 14.0, n_times)
    noise = np.random.default_rng(0).normal(size=(2, n_times))

    def make(s: Any, is_tight: bool) -> Callable[[Any], Any]:
        how = {"rtol": 1e-10, "atol": 1e-12} if is_tight else {}

        def populations(p: Any) -> Any:
            birth, predation, growth, death = np.exp(p[:4])

            def rates(t: Any, y: Any) -> Any:
                hares, lynxes = y
                return np.array(
                    [
                        birth * hares - predation * hares * lynxes,
                        growth * hares * lynxes - death * lynxes,
                    ]
                )

            return s.integrate.solve_ivp(rates, (0, 14), np.exp(p[4:]), t_eval=times, **how).y

        return populations

    truth = np.log([1.1, 0.4, 0.1, 0.4, 10.0, 5.0])
    counts = make(scipy, True)(truth) * np.exp(0.05 * noise)

    def fit(s: Any, is_tight: bool) -> Callable[[Any], Any]:
        populations = make(s, is_tight)
        return lambda p: np.ravel(np.log(populations(p)) - np.log(counts))

    return InnerProblem(
        f"Lotka-Volterra, 6 parameters, {2 * n_times} counts, solve_ivp RK45",
        fit,
        truth + np.array([0.2, -0.2, 0.2, -0.2, 0.1, -0.1]),
    )


def robertson(n_times: int = 20, end: float = 1e5) -> InnerProblem:
    """Robertson's stiff kinetics: three rates from concentrations over eight decades of time."""
    times = np.geomspace(1e-3, end, n_times)
    scale = np.array([[1.0], [3e-5], [1.0]])
    noise = np.random.default_rng(1).normal(size=(3, n_times))

    def make(s: Any, is_tight: bool) -> Callable[[Any], Any]:
        how = {"rtol": 1e-9, "atol": 1e-13} if is_tight else {"atol": [1e-6, 1e-10, 1e-6]}

        def concentrations(p: Any) -> Any:
            slow, fast, medium = np.exp(p)

            def rates(t: Any, y: Any) -> Any:
                a, b, c = y
                decay, exchange, growth = slow * a, medium * b * c, fast * b**2
                return np.array([exchange - decay, decay - exchange - growth, growth])

            start = np.array([1.0, 0.0, 0.0])
            span = 0, times[-1]
            found = s.integrate.solve_ivp(rates, span, start, "BDF", times, **how)
            return found.y / scale

        return concentrations

    truth = np.log([0.04, 3e7, 1e4])
    measured = make(scipy, True)(truth) + 0.01 * noise

    def fit(s: Any, is_tight: bool) -> Callable[[Any], Any]:
        concentrations = make(s, is_tight)
        return lambda p: np.ravel(concentrations(p) - measured)

    return InnerProblem(
        f"Robertson's kinetics, 3 rates, {3 * n_times} concentrations, solve_ivp BDF",
        fit,
        truth + np.array([0.3, -0.4, 0.3]),
    )


def market(n_products: int = 60) -> InnerProblem:
    """Prices of competing products in equilibrium, and what buyers and makers are like there."""
    rng = np.random.default_rng(2)
    qualities = rng.normal(size=(n_products, 4))
    inputs = np.abs(rng.normal(size=(n_products, 4)))
    noise = rng.normal(size=2 * n_products)

    def make(s: Any, is_tight: bool) -> Callable[[Any], Any]:
        how = {"tol": 1e-13} if is_tight else {}

        def shares(prices: Any, p: Any) -> Any:
            utility = np.exp(qualities @ p[1:5] - np.exp(p[0]) * prices)
            return utility / (1 + np.sum(utility))

        def equilibrium(p: Any) -> Any:
            costs = 1 + inputs @ np.exp(p[5:])

            def excess(prices: Any) -> Any:
                return prices - costs - 1 / (np.exp(p[0]) * (1 - shares(prices, p)))

            prices = s.optimize.root(excess, 2 * np.ones(n_products), **how).x
            return np.concatenate([prices, np.log(shares(prices, p))])

        return equilibrium

    truth = np.array([0.1, 0.5, -0.3, 0.2, 0.4, -1.0, -0.5, -1.5, -0.7])
    observed = make(scipy, True)(truth) + 0.02 * noise

    def fit(s: Any, is_tight: bool) -> Callable[[Any], Any]:
        equilibrium = make(s, is_tight)
        return lambda p: equilibrium(p) - observed

    return InnerProblem(
        f"equilibrium prices of {n_products} products, 9 parameters, root",
        fit,
        truth + 0.3 * rng.normal(size=9),
    )


def ridge(n_features: int = 20, n_samples: int = 60) -> InnerProblem:
    """Ridge regression: a penalty for each feature, such that the fit predicts other samples."""
    rng = np.random.default_rng(3)
    weights = rng.normal(size=n_features) * (np.arange(n_features) < n_features // 4)
    X, others = rng.normal(size=(2, n_samples, n_features))
    y, theirs = (x @ weights + rng.normal(size=n_samples) for x in (X, others))

    def make(s: Any, is_tight: bool) -> Callable[[Any], Any]:
        def validation(p: Any) -> Any:
            def loss(w: Any) -> Any:
                return np.sum((X @ w - y) ** 2) / 2 + np.sum(np.exp(p) * w**2) / 2

            def slope(w: Any) -> Any:
                return X.T @ (X @ w - y) + np.exp(p) * w

            if is_tight:
                w = np.linalg.solve(X.T @ X + np.diag(np.exp(p)), X.T @ y)
            else:
                w = s.optimize.minimize(loss, np.zeros(n_features), jac=slope).x
            return np.mean((others @ w - theirs) ** 2) + 1e-2 * np.mean(p**2)

        return validation

    title = f"ridge regression, {n_features} penalties, minimize in minimize"
    return InnerProblem(title, make, np.ones(n_features), is_number=True)


def conduction(n: int = 40, n_modes: int = 5) -> InnerProblem:
    """The conductivity of a plate from temperatures at some of its points."""
    grid = (np.arange(n) + 0.5) / n
    modes = np.array(
        [
            np.outer(np.cos(np.pi * j * grid), np.cos(np.pi * k * grid)).ravel()
            for j in range(n_modes)
            for k in range(n_modes)
        ]
    )
    step = scipy.sparse.diags_array([np.ones(n), -np.ones(n)], offsets=[0, -1], shape=(n + 1, n))
    one = scipy.sparse.eye_array(n)
    # From temperatures inside to their differences across all edges; it is cold outside.
    slopes = n * scipy.sparse.vstack(
        [scipy.sparse.kron(step, one), scipy.sparse.kron(one, step)], format="csr"
    )
    along = scipy.sparse.diags_array([0.5 * np.ones(n)] * 2, offsets=[0, -1], shape=(n + 1, n))
    along = along.tolil()
    along[0, 0] = along[n, n - 1] = 1.0
    means = scipy.sparse.vstack(
        [scipy.sparse.kron(along, one), scipy.sparse.kron(one, along)], format="csr"
    )
    heat = np.ones(n * n)
    sensors = np.random.default_rng(4).choice(n * n, min(60, n * n // 2), replace=False)
    noise = np.random.default_rng(5).normal(size=len(sensors))

    def make(s: Any, is_tight: bool) -> Callable[[Any], Any]:
        def temperatures(p: Any) -> Any:
            edges = s.sparse.diags_array(means @ np.exp(modes.T @ p))
            return s.sparse.linalg.spsolve((slopes.T @ edges @ slopes).tocsc(), heat)[sensors]

        return temperatures

    truth = 0.5 * np.random.default_rng(6).normal(size=n_modes**2) / np.arange(1, n_modes**2 + 1)
    exact = make(scipy, True)(truth)
    measured = exact + 0.01 * np.abs(exact).max() * noise

    def fit(s: Any, is_tight: bool) -> Callable[[Any], Any]:
        temperatures = make(s, is_tight)
        scale = 0.01 * np.abs(exact).max()
        return lambda p: np.concatenate([(temperatures(p) - measured) / scale, 2 * p])

    return InnerProblem(
        f"conductivity of a plate, {n_modes**2} parameters, {n} x {n} temperatures, spsolve",
        fit,
        np.zeros(n_modes**2),
    )


def yields(n_bonds: int = 24) -> InnerProblem:
    """A yield curve (that of Nelson and Siegel) that explains the yields of coupon bonds."""
    maturities = np.linspace(1, 30, n_bonds).round()
    coupons = 0.01 + 0.04 * np.random.default_rng(7).random(n_bonds)
    noise = np.random.default_rng(8).normal(size=n_bonds)

    def make(s: Any, is_tight: bool) -> Callable[[Any], Any]:
        how = {"xtol": 1e-14, "rtol": 1e-14} if is_tight else {}

        def rate(t: Any, p: Any) -> Any:
            decay = np.exp(-t / p[3])
            fall = (1 - decay) * p[3] / t
            return 0.01 * (p[0] + p[1] * fall + p[2] * (fall - decay))

        def curve(p: Any) -> Any:
            found = []
            for maturity, coupon in zip(maturities, coupons, strict=True):
                t = np.arange(1, maturity + 1)
                cash = coupon + (t == maturity)
                price = cash @ np.exp(-rate(t, p) * t)

                def excess(y: Any, t: Any = t, cash: Any = cash, price: Any = price) -> Any:
                    return cash @ np.exp(-y * t) - price

                found.append(s.optimize.brentq(excess, -0.5, 1.0, **how))
            return np.array(found)

        return curve

    truth = np.array([4.0, -2.0, 1.5, 2.5])
    observed = make(scipy, True)(truth) + 2e-4 * noise

    def fit(s: Any, is_tight: bool) -> Callable[[Any], Any]:
        curve = make(s, is_tight)
        return lambda p: 1e4 * (curve(p) - observed)

    return InnerProblem(
        f"yield curve, 4 parameters, {n_bonds} bonds, brentq",
        fit,
        truth + np.array([1.0, 1.0, -0.5, 0.5]),
    )


PROBLEMS: dict[str, Callable[..., InnerProblem]] = {
    "lotka-volterra": lotka_volterra,
    "robertson": robertson,
    "market": market,
    "ridge": ridge,
    "conduction": conduction,
    "yields": yields,
}
