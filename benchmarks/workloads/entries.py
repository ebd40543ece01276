"""W12 and W13: functions written entry by entry, and a flow whose bands fill up."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import scipy.sparse

import chainad
from benchmarks.goals import FIRST, OVER_VECTORISED, Goal, at_most
from benchmarks.workload import VECTORISED, Function, Library, Maker, Workload
from benchmarks.workloads import entries_by_hand, experts
from benchmarks.workloads.solves import runge_kutta


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


def lorenz_limit(n: int) -> Function:
    """Return who steps all tangents along with the state; the Jacobian fills up."""

    def jacobian(x: Any) -> Any:
        state = np.empty((n + 1, n))  # a tangent is a row, the last is the state itself
        state[:n], state[n] = np.eye(n), x
        pad = np.empty((n + 1, n + 3))

        def slope(now: Any) -> Any:
            pad[:, 2:-1], pad[:, :2], pad[:, -1] = now, now[:, -2:], now[:, 0]
            after, before, two = pad[:, 3:], pad[:, 1:-2], pad[:, :-3]
            gap = after - two
            found = gap * before[n] + before * gap[n] - now
            found[n] -= gap[n] * before[n] - 8
            return found

        for _ in range(20):
            a = slope(state)
            b = slope(state + 0.005 * a)
            c = slope(state + 0.005 * b)
            d = slope(state + 0.01 * c)
            state = state + 0.01 / 6 * (a + 2 * b + 2 * c + d)
        return scipy.sparse.csr_array(state[:n].T)

    return jacobian


def at_once(np: Any) -> dict[str, Function]:
    """Return the same functions, of whole arrays, for other libraries."""

    def broyden(x: Any) -> Any:
        n, p = x.size, np.pad(x * (1 + x), (5, 1))
        return x * (2 + 5 * x**2) + 1 - sum(p[k : k + n] for k in (0, 1, 2, 3, 4, 6))

    def grid(x: Any) -> Any:
        n = round(x.size**0.5)
        p = np.pad(x.reshape(n, n), 1)
        u = p[1:-1, 1:-1]
        beside = p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:]
        return (4 * u - np.exp(u) / n**2 - beside).ravel()

    return {
        "neighbours": lambda x: np.sin(np.roll(x, 1)) * x + np.roll(x, -1) ** 2,
        "broyden_banded": broyden,
        "poisson": grid,
    }


def vectorised(library: Library, workload: Workload) -> Function:
    """Return what chainad makes of the same function of whole arrays."""
    assert workload.spell is not None
    jacobian = chainad.jacobian(workload.spell(library), output="sparse")
    compiled: Function = jacobian.compile(workload.point)
    return compiled


def lorenz_scanned(library: Library) -> Function:
    """Return the flow with a loop of the library."""
    np = library.np

    def slope(y: Any) -> Any:
        return (np.roll(y, -1) - np.roll(y, 2)) * np.roll(y, 1) - y + 8

    step = runge_kutta(slope, 0.01)
    return lambda x: library.repeat(step, x, 20)


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
    point = np.random.default_rng(1).uniform(0.2, 1.0, size=n)
    if function is lorenz_flow:
        options: Any = {"spell": lorenz_scanned, "limit": partial(lorenz_limit, n)}
    else:
        entries = getattr(entries_by_hand, function.__name__)(n)
        options = {
            "spell": lambda library: at_once(library.np)[function.__name__],
            "rivals": ("jax asdex",),
            "own": {experts.NAME: experts.coded(entries), VECTORISED: vectorised},
            "limit": partial(experts.coded_limit, entries, point),
        }
    return Workload(
        name=name,
        title=f"{function.__name__} of {n:,} unknowns",
        function=function,
        point=point,
        others=(),
        output="sparse",
        goals=goals,
        numba=True,
        **options,
    )


PROMPT = (at_most(FIRST, 500, "traced"), at_most(OVER_VECTORISED, 2))

# Size, that of a quick run, goals: half a second for every 2,000 values.
WORKLOADS: dict[str, Maker] = {
    name: partial(make, name, *rest)
    for name, rest in {
        "W12-neighbours": (neighbours, 2_000, 60, PROMPT),
        "W12-broyden": (broyden_banded, 1_000, 60, PROMPT),
        "W12-poisson": (poisson, 1_024, 49, PROMPT),
        "W13-lorenz": (lorenz_flow, 100, 40, (at_most(FIRST, 1000, "traced"),)),
    }.items()
}
