"""W10 and W11: loops written as loops, and a spectral step; JAX runs the same steps by `lax.scan`.

Filter, network, populations, bodies and stiff kinetics are written as one step and a loop over it;
the Jacobian is by the parameters, the weights or the initial state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks.goals import (
    AGAINST_EXPERT,
    FIRST,
    FIRST_PEAK,
    GAIN,
    OVER_F,
    OVER_LIMIT,
    Goal,
    at_least,
    at_most,
)
from benchmarks.workload import Array, Function, Library, Maker, Scan, Workload, scan
from benchmarks.workloads import loops_by_hand as by_hand
from benchmarks.workloads.solves import runge_kutta

DT = 0.1  # of the filter
SEEN = np.eye(2, 4)  # the filter sees positions, not velocities


def kalman(observations: Any, np: Any, scan: Scan) -> Function:
    """Return the likelihood of an oscillator in a plane, by the parameters of its filter."""

    def f(theta: Any) -> Any:
        stiffness, damping, q1, q2, r1, r2 = (theta[k] for k in range(6))
        a, b = -stiffness * DT, 1 - damping * DT
        F = np.array([[1, 0, DT, 0], [0, 1, 0, DT], [a, 0, b, 0], [0, a, 0, b]])
        Q = np.array([[q1, 0, 0, 0], [0, q1, 0, 0], [0, 0, q2, 0], [0, 0, 0, q2]])
        R = np.array([[r1, 0], [0, r2]])

        def step(carry: Any, z: Any) -> Any:
            x, P, total = carry
            x, P = F @ x, F @ P @ F.T + Q
            e, S = z - SEEN @ x, SEEN @ P @ SEEN.T + R
            gain = np.linalg.solve(S, SEEN @ P).T
            total = total + 0.5 * (e @ np.linalg.solve(S, e) + np.linalg.slogdet(S)[1])
            return (x + gain @ e, P - gain @ SEEN @ P, total), None

        return scan(step, (np.zeros(4), np.eye(4), 0.0), observations)[0][2]

    return f


def lstm(inputs: Any, targets: Any, out: Any, np: Any, scan: Scan) -> Function:
    """Return the loss of a recurrent network by all its weights, (4 hidden, hidden + inputs + 1).

    The last column is the shift.
    """
    n = out.shape[1]

    def sigmoid(a: Any) -> Any:
        return 1 / (1 + np.exp(-a))

    def f(W: Any) -> Any:
        def step(carry: Any, pair: Any) -> Any:
            h, c, loss = carry
            x, target = pair
            z = W @ np.concatenate([h, x, np.ones(1)])
            c = sigmoid(z[:n]) * c + sigmoid(z[n : 2 * n]) * np.tanh(z[3 * n :])
            h = sigmoid(z[2 * n : 3 * n]) * np.tanh(c)
            return (h, c, loss + np.sum((out @ h - target) ** 2)), None

        return scan(step, (np.zeros(n), np.zeros(n), 0.0), (inputs, targets))[0][2]

    return f


def lotka_volterra(n_steps: int, np: Any, scan: Scan) -> Function:
    """Return two populations at all times, by four rates and where they start."""

    def f(theta: Any) -> Any:
        a, b, c, d = (theta[k] for k in range(4))

        def slope(y: Any) -> Any:
            return np.stack([a * y[0] - b * y[0] * y[1], c * y[0] * y[1] - d * y[1]])

        step = runge_kutta(slope, 0.05)

        def kept(y: Any, _: Any) -> Any:
            y = step(y)
            return y, y

        path = scan(kept, theta[4:], np.zeros(n_steps))[1]
        return np.concatenate([theta[4:], path.ravel()])

    return f


def leapfrog(masses: Any, n_steps: int, np: Any, scan: Scan) -> Function:
    """Return positions and velocities of bodies in a plane, by those at the start."""
    n = masses.shape[0]

    def acceleration(q: Any) -> Any:
        d = q[None] - q[:, None]  # from each to each
        r2 = np.sum(d * d, axis=-1) + np.eye(n)
        return np.sum((masses / r2**1.5)[..., None] * d, axis=1)

    def f(x: Any) -> Any:
        def step(carry: Any, _: Any) -> Any:
            q, v = carry
            v = v + 0.005 * acceleration(q)
            q = q + 0.01 * v
            return (q, v + 0.005 * acceleration(q)), None

        start = x[: 2 * n].reshape(n, 2), x[2 * n :].reshape(n, 2)
        q, v = scan(step, start, np.zeros(n_steps))[0]
        return np.concatenate([q.ravel(), v.ravel()])

    return f


def implicit_euler(n_steps: int, np: Any, scan: Scan) -> Function:
    """Return the end of a stiff reaction by its rates and its start, four Newton steps a time."""

    def f(x: Any) -> Any:
        k1, k2, k3 = (x[k] for k in range(3))
        h = 0.05

        def step(y: Any, _: Any) -> Any:
            z = y
            for _ in range(4):
                a, b, c = k1 * z[0], k2 * z[1] * z[2], k3 * z[1] ** 2
                residual = z - y - h * np.stack([b - a, a - b - c, c])
                p, q, r = k2 * z[2], k2 * z[1], 2 * k3 * z[1]
                slope = np.array([[-k1, p, q], [k1, -p - r, -q], [0, r, 0]])
                z = z - np.linalg.solve(np.eye(3) - h * slope, residual)
            return z, None

        return scan(step, x[3:], np.zeros(n_steps))[0]

    return f


def euler(A: Any, n_steps: int, np: Any, scan: Scan) -> Function:
    """Return the end of many small steps, by the start."""

    def f(x: Any) -> Any:
        return scan(lambda y, _: (y + 1e-3 * np.tanh(A @ y), None), x, np.zeros(n_steps))[0]

    return f


def spectral(n_steps: int, np: Any, scan: Scan) -> Function:
    """Return the viscous Burgers equation after some steps, its derivatives by Fourier modes."""

    def f(u: Any) -> Any:
        n = u.shape[0]
        k = np.arange(n // 2 + 1)

        def slope(u: Any) -> Any:
            return np.fft.irfft(-0.05 * k**2 * np.fft.rfft(u) - 0.5j * k * np.fft.rfft(u * u), n)

        step = runge_kutta(slope, 1e-3)
        for _ in range(n_steps):
            u = step(u)
        return u

    return f


def _made(
    name: str,
    title: str,
    make: Callable[[Any, Scan], Function],
    point: Array,
    limit: Callable[[], Function] | None = None,
    goals: Sequence[Goal] = (),
    **options: Any,
) -> Workload:
    def spell(library: Library) -> Function:
        return make(library.np, library.scan)

    return Workload(
        name=name,
        title=title,
        function=make(np, scan),
        point=point,
        spell=spell,
        limit=limit,
        goals=tuple(goals),
        **options,
    )


def _goals(n_inputs: int) -> tuple[Goal, ...]:
    """Return the goals of a loop: never slower than finite differences, for instance."""
    return (
        at_least(AGAINST_EXPERT, 0.35, "compiled"), at_least(AGAINST_EXPERT, 1, "numba"),
        at_most(OVER_F, n_inputs + 1), at_most(FIRST, 500, "traced"),
        at_most(FIRST, 1000, "compiled"),
    )  # fmt: skip


def _kalman(is_quick: bool) -> Workload:
    n = 5 if is_quick else 60
    rng = np.random.default_rng(0)
    z = np.cumsum(rng.normal(size=(n, 2)), axis=0) * 0.3
    return _made(
        "W10-kalman", f"Kalman filter, {n} steps of 4 states, by 6 parameters",
        partial(kalman, z), np.array([1.0, 0.2, 0.1, 0.2, 0.5, 0.6]),
        partial(by_hand.kalman, z), _goals(6), numba=True, rivals=("jax grad", "jax jacfwd"),
        oracle="central",
    )  # fmt: skip


def _lstm(is_quick: bool) -> Workload:
    n = 3 if is_quick else 20
    rng = np.random.default_rng(0)
    data = rng.normal(size=(n, 3)), rng.normal(size=(n, 2)), rng.normal(size=(2, 8))
    return _made(
        "W10-lstm", f"LSTM, {n} steps, hidden 8, loss by 384 weights",
        partial(lstm, *data), 0.3 * rng.normal(size=(32, 12)),
        partial(by_hand.lstm, *data), _goals(384), numba=True, rivals=("jax grad",),
    )  # fmt: skip


def _lotka_volterra(is_quick: bool) -> Workload:
    n = 10 if is_quick else 100
    return _made(
        "W10-lotka", f"Lotka-Volterra, {n} RK4 steps, 6 > {2 * n + 2}",
        partial(lotka_volterra, n), np.array([1.1, 0.4, 0.1, 0.4, 10.0, 5.0]),
        partial(by_hand.lotka_volterra, n), _goals(6), numba=True,
    )  # fmt: skip


def _leapfrog(is_quick: bool) -> Workload:
    n = 5 if is_quick else 50
    masses = np.array([1.0, 0.8, 0.5])
    start = np.array([0.0, 0.0, 1.0, 0.0, 0.0, 1.2, 0.1, -0.2, 0.2, 0.9, -0.8, 0.1])
    return _made(
        "W10-leapfrog", f"three bodies, {n} leapfrog steps, 12 > 12",
        partial(leapfrog, masses, n), start,
        partial(by_hand.leapfrog, masses, n), _goals(12), numba=True,
    )  # fmt: skip


def _implicit(is_quick: bool) -> Workload:
    n = 3 if is_quick else 20
    return _made(
        "W10-implicit", f"implicit Euler, {n} steps of 4 Newton steps, 6 > 3",
        partial(implicit_euler, n), np.array([0.4, 10.0, 30.0, 1.0, 0.1, 0.2]),
        partial(by_hand.implicit_euler, n), _goals(6), numba=True,
    )  # fmt: skip


def _euler(is_quick: bool) -> Workload:
    n = 100 if is_quick else 10_000
    A = np.random.default_rng(0).normal(size=(10, 10)) / 3
    return _made(
        "W10-euler", f"{n:,} Euler steps of 10 states",
        partial(euler, A, n), np.linspace(0.5, 1.5, 10),
        partial(by_hand.euler, A, n),
        (at_most(FIRST, 2000, "traced"), at_most(FIRST_PEAK, 300)), numba=True,
    )  # fmt: skip


def _spectral(is_quick: bool) -> Workload:
    n = 32 if is_quick else 256
    return _made(
        "W11", f"viscous Burgers by rfft, n={n}, 3 RK4 steps",
        partial(spectral, 3), np.sin(2 * np.pi * np.arange(n) / n) + 0.5,
        partial(by_hand.spectral, 3), (at_least(GAIN, 0.8), at_most(OVER_LIMIT, 1.3)),
        oracle="central",
    )  # fmt: skip


WORKLOADS: dict[str, Maker] = {
    "W10-kalman": _kalman,
    "W10-lstm": _lstm,
    "W10-lotka": _lotka_volterra,
    "W10-leapfrog": _leapfrog,
    "W10-implicit": _implicit,
    "W10-euler": _euler,
    "W11": _spectral,
}
