"""W12 and W13: functions written entry by entry, and a flow whose bands fill up."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from benchmarks.goals import FIRST, Goal, at_most
from benchmarks.workload import Function, Maker, Workload


def neighbours(x: Any) -> Any:
    """Return an expression of every entry and the two beside it."""
    n = x.size
    return np.stack([np.sin(x[i - 1]) * x[i] + x[(i + 1) % n] ** 2 for i in range(n)])


def broyden_banded(x: Any) -> Any:
    """Return the residuals of Broyden's banded function."""
    n = x.size
    result = np.zeros_like(x)
    for i in range(n):
        total = 0.0
        for j in range(max(0, i - 5), min(n, i + 2)):
            if j != i:
                total = total + x[j] * (1 + x[j])
        result[i] = x[i] * (2 + 5 * x[i] ** 2) + 1 - total
    return result


def poisson(x: Any) -> Any:
    """Return the residuals of a nonlinear Poisson equation on a square grid."""
    n = round(x.size**0.5)
    u = x.reshape(n, n)
    result = np.zeros_like(u)
    for i in range(n):
        for j in range(n):
            total = 4 * u[i, j] - np.exp(u[i, j]) / n**2
            for k, m in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
                if 0 <= k < n and 0 <= m < n:
                    total = total - u[k, m]
            result[i, j] = total
    return result.ravel()


def lorenz_flow(x: Any) -> Any:
    """Return the state of the Lorenz-96 equations after 20 steps of Runge and Kutta's method."""

    def slope(y: Any) -> Any:
        return (np.roll(y, -1) - np.roll(y, 2)) * np.roll(y, 1) - y + 8

    h = 0.01
    for _ in range(20):
        a = slope(x)
        b = slope(x + h / 2 * a)
        c = slope(x + h / 2 * b)
        d = slope(x + h * c)
        x = x + h / 6 * (a + 2 * b + 2 * c + d)
    return x


def make(
    name: str,
    function: Function,
    size: int,
    quick_size: int,
    goals: tuple[Goal, ...],
    is_quick: bool,
) -> Workload:
    """Return the function at a random point of that size."""
    n = quick_size if is_quick else size
    return Workload(
        name=name,
        title=f"{function.__name__} of {n:,} unknowns",
        function=function,
        point=np.random.default_rng(1).uniform(0.2, 1.0, size=n),
        output="sparse",
        goals=goals,
    )


# Size, that of a quick run, goals: half a second for every 2,000 values.
WORKLOADS: dict[str, Maker] = {
    name: partial(make, name, *rest)
    for name, rest in {
        "W12-neighbours": (neighbours, 2_000, 60, (at_most(FIRST, 500),)),
        "W12-broyden": (broyden_banded, 1_000, 60, (at_most(FIRST, 500),)),
        "W12-poisson": (poisson, 1_024, 49, (at_most(FIRST, 500),)),
        "W13-lorenz": (lorenz_flow, 100, 40, (at_most(FIRST, 1000),)),
    }.items()
}
