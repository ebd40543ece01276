"""Functions of everyday work, none of which chainad was tuned for: their geometric mean is shown.

They are written as their users would write them; other libraries run the same text, with a loop of
their own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import scipy.special

from benchmarks.workload import JAX, Array, Function, Library, Maker, Scan, Workload, scan
from benchmarks.workloads.solves import runge_kutta
from benchmarks.workloads.tasks import ERF

GROUP = "everyday"
GRAD = ("jax grad",)


def kdv(np: Any, scan: Scan, erf: Any) -> Function:
    """Korteweg and de Vries' equation by Fourier modes: steps with an integrating factor."""

    def f(u: Any) -> Any:
        n, dt = u.shape[0], 1e-4
        k = np.fft.rfftfreq(n, 1 / n)
        half = np.exp(0.5j * dt * k**3)

        def slope(hat: Any) -> Any:
            return -3j * k * np.fft.rfft(np.fft.irfft(hat, n) ** 2)

        hat = np.fft.rfft(u)
        for _ in range(3):
            k1 = dt * slope(hat)
            k2 = dt * slope(half * (hat + k1 / 2))
            k3 = dt * slope(half * hat + k2 / 2)
            k4 = dt * slope(half**2 * hat + half * k3)
            hat = half**2 * hat + (half**2 * k1 + 2 * half * (k2 + k3) + k4) / 6
        return np.fft.irfft(hat, n)

    return f


def surface(np: Any, scan: Scan, erf: Any) -> Function:
    """The area of a surface over a square grid."""

    def f(u: Any) -> Any:
        h = 1 / (u.shape[0] - 1)
        by_x = (u[1:, 1:] - u[:-1, 1:] + u[1:, :-1] - u[:-1, :-1]) / (2 * h)
        by_y = (u[1:, 1:] - u[1:, :-1] + u[:-1, 1:] - u[:-1, :-1]) / (2 * h)
        return h**2 * np.sum(np.sqrt(1 + by_x**2 + by_y**2))

    return f


def markov(seen: Array, np: Any, scan: Scan, erf: Any) -> Function:
    """The likelihood of a hidden Markov model by the forward algorithm."""

    def normalised(a: Any) -> Any:
        e = np.exp(a - np.max(a, axis=-1, keepdims=True))
        return e / np.sum(e, axis=-1, keepdims=True)

    def f(theta: Any) -> Any:  # (states, states + kinds)
        n = theta.shape[0]
        change, emit = normalised(theta[:, :n]), normalised(theta[:, n:])

        def step(carry: Any, likely: Any) -> Any:
            alpha, total = carry
            alpha = (alpha @ change) * likely
            size = np.sum(alpha)
            return (alpha / size, total + np.log(size)), None

        return -scan(step, (np.ones(n) / n, 0.0), emit[:, seen].T)[0][1]

    return f


def spline(knots: Array, t: Array, y: Array, np: Any, scan: Scan, erf: Any) -> Function:
    """The residuals of a natural cubic spline by its values at the knots."""
    place = np.clip(np.searchsorted(knots, t) - 1, 0, len(knots) - 2)
    h = np.diff(knots)
    matrix = np.diag(2 * (h[1:] + h[:-1])) + np.diag(h[1:-1], 1) + np.diag(h[1:-1], -1)
    b = (t - knots[place]) / h[place]
    a = 1 - b

    def f(v: Any) -> Any:
        slopes = np.diff(v) / h
        inner = np.linalg.solve(matrix, 6 * np.diff(slopes))
        m = np.concatenate([np.zeros(1), inner, np.zeros(1)])
        bend = (a**3 - a) * m[place] + (b**3 - b) * m[place + 1]
        return a * v[place] + b * v[place + 1] + bend * h[place] ** 2 / 6 - y

    return f


def training(X: Array, label: Array, np: Any, scan: Scan, erf: Any) -> Function:
    """The loss of a softmax regression after 30 steps with momentum, by its hyperparameters."""
    m, held = X.shape[0] // 2, np.arange(X.shape[0] // 2)
    kinds = np.eye(3)[label]

    def f(theta: Any) -> Any:
        rate, momentum, penalty = np.exp(theta[0]), 1 / (1 + np.exp(-theta[1])), np.exp(theta[2])

        def probabilities(z: Any) -> Any:
            e = np.exp(z)
            return e / np.sum(e, axis=1, keepdims=True)

        def step(carry: Any, _: Any) -> Any:
            W, v = carry
            gradient = X[:m].T @ (probabilities(X[:m] @ W) - kinds[:m]) / m + penalty * W
            v = momentum * v - rate * gradient
            return (W + v, v), None

        zero = np.zeros((X.shape[1], 3))
        W = scan(step, (zero, zero), np.zeros(30))[0][0]
        return -np.mean(np.log(probabilities(X[m:] @ W)[held, label[m:]]))

    return f


def epidemic(np: Any, scan: Scan, erf: Any) -> Function:
    """The infected of a SEIR model every tenth day, by its four parameters."""

    def f(theta: Any) -> Any:
        beta, sigma, gamma, start = (theta[k] for k in range(4))

        def slope(y: Any) -> Any:
            s, e, i = y[0], y[1], y[2]
            new = beta * s * i
            return np.stack([-new, new - sigma * e, sigma * e - gamma * i])

        step = runge_kutta(slope, 0.5)

        def kept(y: Any, _: Any) -> Any:
            y = step(y)
            return y, y[2]

        return scan(kept, np.stack([1 - start, 0 * start, start]), np.zeros(200))[1][19::20]

    return f


def image(target: Array, np: Any, scan: Scan, erf: Any) -> Function:
    """How far a blurred image is off, with a penalty on its edges."""

    def f(u: Any) -> Any:
        rows = u[:-2] + 2 * u[1:-1] + u[2:]
        blurred = (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 16
        edges = np.sqrt(np.diff(u, axis=0)[:, 1:] ** 2 + np.diff(u, axis=1)[1:] ** 2 + 1e-4)
        return np.sum((blurred - target) ** 2) + 0.1 * np.sum(edges)

    return f


def growth(t: Array, y: Array, np: Any, scan: Scan, erf: Any) -> Function:
    """The residuals of logistic growth by its three parameters."""

    def f(p: Any) -> Any:
        K, r, y0 = p[0], p[1], p[2]
        return K / (1 + (K / y0 - 1) * np.exp(-r * t)) - y

    return f


def portfolio(covariance: Array, np: Any, scan: Scan, erf: Any) -> Function:
    """What every asset contributes to the risk, by the scores of a softmax."""

    def f(x: Any) -> Any:
        e = np.exp(x - np.max(x))
        w = e / np.sum(e)
        marginal = covariance @ w
        return w * marginal / np.sqrt(w @ marginal)

    return f


def bodies(mass: Array, np: Any, scan: Scan, erf: Any) -> Function:
    """The forces among bodies, by their places."""

    def f(x: Any) -> Any:
        q = x.reshape(-1, 3)
        d = q[None, :, :] - q[:, None, :]
        r2 = np.sum(d**2, axis=-1) + 0.01
        return np.sum((mass[:, None] * mass * r2**-1.5)[:, :, None] * d, axis=1).ravel()

    return f


def ridge(X: Array, y: Array, np: Any, scan: Scan, erf: Any) -> Function:
    """The errors of a kernel ridge regression on held-out data, by lengths and penalty."""
    m = X.shape[0] // 2

    def f(theta: Any) -> Any:
        Z = X * np.exp(theta[:-1])
        norms = np.sum(Z**2, axis=1)
        K = np.exp(-0.5 * (norms[:, None] + norms - 2 * Z @ Z.T))
        weights = np.linalg.solve(K[:m, :m] + np.exp(theta[-1]) * np.eye(m), y[:m])
        return K[m:, :m] @ weights - y[m:]

    return f


def implied(strike: Array, np: Any, scan: Scan, erf: Any) -> Function:
    """Implied volatilities of options by their prices: six steps of Newton for all of them."""

    def f(price: Any) -> Any:
        sigma = 0.3 + 0 * price
        for _ in range(6):
            d1 = -np.log(strike) / sigma + sigma / 2
            d2 = d1 - sigma
            value = 0.5 * (1 + erf(d1 / np.sqrt(2))) - strike * 0.5 * (1 + erf(d2 / np.sqrt(2)))
            vega = np.exp(-0.5 * d1**2) / np.sqrt(2 * np.pi)
            sigma = sigma - (value - price) / vega
        return sigma

    return f


def arm(np: Any, scan: Scan, erf: Any) -> Function:
    """The joints of a planar arm by its angles."""

    def f(angles: Any) -> Any:
        total = np.cumsum(angles)
        return np.concatenate([np.cumsum(np.cos(total)), np.cumsum(np.sin(total))])

    return f


def diffusion(start: Array, np: Any, scan: Scan, erf: Any) -> Function:
    """Crank and Nicolson's steps of diffusion, by the coefficients of its conductivity."""
    n = start.shape[0]
    t = np.linspace(0, 1, n + 1)
    basis = np.stack([np.cos(np.pi * k * t) for k in range(5)])

    def f(c: Any) -> Any:
        k = np.exp(c @ basis)
        A = np.diag(k[:-1] + k[1:]) - np.diag(k[1:-1], 1) - np.diag(k[1:-1], -1)
        left, right = np.eye(n) + 0.1 * A, np.eye(n) - 0.1 * A
        return scan(lambda u, _: (np.linalg.solve(left, right @ u), None), start, np.zeros(20))[0]

    return f


def _data(name: str, n: int) -> tuple[list[Array], Array]:
    """Return the arrays of a problem and the point, of about a size."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Array:
        return rng.normal(size=shape)

    grid = np.linspace(0, 2 * np.pi, n, endpoint=False)
    match name:
        case "kdv":
            return [], np.cos(grid) + 0.5
        case "surface":
            return [], 0.1 * normal(n, n)
        case "markov":
            return [rng.integers(0, 6, n)], normal(5, 11)
        case "spline":
            t = np.sort(rng.uniform(0, 1, 10 * n))
            return [np.linspace(0, 1, n), t, np.sin(9 * t)], normal(n)
        case "training":
            return [normal(2 * n, 10), rng.integers(0, 3, 2 * n)], np.array([-1.0, 1.0, -4.0])
        case "epidemic":
            return [], np.array([0.6, 0.3, 0.2, 0.01])
        case "image":
            return [normal(n - 2, n - 2)], normal(n, n)
        case "growth":
            t = np.linspace(0, 5, n)
            return [t, np.exp(t) / 20], np.array([10.0, 1.2, 0.5])
        case "portfolio":
            A = normal(n, n)
            return [A @ A.T / n], normal(n)
        case "bodies":
            return [rng.uniform(0.5, 2, n)], normal(3 * n)
        case "ridge":
            X = normal(2 * n, 3)
            return [X, np.sin(X @ np.ones(3))], np.array([-0.5, 0.1, 0.2, -2.0])
        case "implied":
            strike = np.linspace(0.9, 1.1, n)
            return [strike], np.maximum(1 - strike, 0) + 0.1
        case "arm":
            return [], 0.3 * normal(n)
        case _:
            return [np.exp(-grid)], 0.1 * normal(5)


# What it is, the size, that of a quick run, and what of JAX takes part.
PROBLEMS: dict[str, tuple[Callable[..., Function], str, int, int, tuple[str, ...]]] = {
    "kdv": (kdv, "KdV equation by rfft, {n} unknowns, 3 steps", 128, 16, JAX),
    "surface": (surface, "area of a surface, {n} x {n}", 100, 8, GRAD),
    "markov": (markov, "hidden Markov model, {n} observations", 50, 6, GRAD),
    "spline": (spline, "cubic spline, {n} knots, {n}0 residuals", 30, 6, JAX),
    "training": (training, "30 steps of training, by 3 hyperparameters", 100, 10, JAX),
    "epidemic": (epidemic, "SEIR, 200 RK4 steps, 4 > 10", 10, 10, JAX),
    "image": (image, "blur of an image, {n} x {n}", 128, 8, GRAD),
    "growth": (growth, "logistic growth, 3 > {n}", 200, 10, JAX),
    "portfolio": (portfolio, "risk of {n} assets", 100, 8, JAX),
    "bodies": (bodies, "forces among {n} bodies", 60, 5, JAX),
    "ridge": (ridge, "kernel ridge regression, 4 > {n}", 100, 8, JAX),
    "implied": (implied, "{n} implied volatilities", 1000, 10, JAX),
    "arm": (arm, "arm of {n} links", 50, 6, JAX),
    "diffusion": (diffusion, "Crank-Nicolson, {n} cells, 20 steps, by 5", 50, 8, JAX),
}


def make(name: str, is_quick: bool) -> Workload:
    """Return a problem at its point."""
    function, title, size, small, rivals = PROBLEMS[name]
    n = small if is_quick else size
    arrays, point = _data(name, n)

    def spell(library: Library) -> Function:
        erf = import_module(ERF[library.name]).erf
        return function(*map(library.array, arrays), library.np, library.scan, erf)

    return Workload(
        name=f"E-{name}",
        title=title.format(n=n),
        function=function(*arrays, np, scan, scipy.special.erf),
        point=point,
        spell=spell,
        rivals=rivals,
        others=(),
        oracle="central",
        group=GROUP,
        numba=True,
    )


WORKLOADS: dict[str, Maker] = {f"E-{name}": partial(make, name) for name in PROBLEMS}
