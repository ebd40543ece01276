"""W3: residuals of discretised differential equations, whose Jacobian is a sparse band."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from benchmarks.goals import GAIN, OVER_F, PEAK, PREPARE, Goal, at_least, at_most
from benchmarks.workload import Function, Maker, Workload, spelled
from benchmarks.workloads import by_hand, entries_by_hand, experts


def burgers(np: Any) -> Function:
    """Return Burgers' equation in 1-D, with zero boundaries."""

    def f(u: Any) -> Any:
        h, nu = 1 / (u.size + 1), 0.05
        zero = np.zeros(1)
        p = np.concatenate([zero, u, zero])
        return -u * (p[2:] - p[:-2]) / (2 * h) + nu * (p[2:] - 2 * u + p[:-2]) / h**2

    return f


def brusselator(np: Any) -> Function:
    """Return the Brusselator in 1-D: two fields, one after the other."""

    def laplacian(w: Any, bound: float) -> Any:
        end = np.full(1, bound)
        p = np.concatenate([end, w, end])
        return p[2:] - 2 * w + p[:-2]

    def f(z: Any) -> Any:
        m = z.size // 2
        u, v = z[:m], z[m:]
        h, diffusion = 1 / (m + 1), 0.02
        r = u * u * v
        fu = 1 + r - 4 * u + diffusion * laplacian(u, 1.0) / h**2
        fv = 3 * u - r + diffusion * laplacian(v, 3.0) / h**2
        return np.concatenate([fu, fv])

    return f


def gray_scott(np: Any) -> Function:
    """Return the Gray-Scott reaction on a periodic square: two fields, one after the other."""

    def laplacian(a: Any) -> Any:
        up_down = np.roll(a, 1, 0) + np.roll(a, -1, 0)
        return up_down + np.roll(a, 1, 1) + np.roll(a, -1, 1) - 4 * a

    def f(z: Any) -> Any:
        n = z.size // 2
        side = round(n**0.5)
        u, v = z[:n].reshape(side, side), z[n:].reshape(side, side)
        r = u * v * v
        feed, kill = 0.04, 0.06
        fu = 0.16 * laplacian(u) - r + feed * (1 - u)
        fv = 0.08 * laplacian(v) + r - (feed + kill) * v
        return np.concatenate([fu.ravel(), fv.ravel()])

    return f


def make(
    name: str,
    function: Any,
    size: int,
    quick_size: int,
    rivals: tuple[str, ...],
    goals: tuple[Goal, ...],
    is_quick: bool,
) -> Workload:
    """Return the residual at a random point of that size."""
    n = quick_size if is_quick else size
    f, spell = spelled(function)
    point = np.random.default_rng(1).uniform(0.2, 1.0, size=n)
    entries = getattr(entries_by_hand, function.__name__)(n)
    return Workload(
        name=name,
        title=f"{function.__name__} of {n:,} unknowns",
        function=f,
        point=point,
        spell=spell,
        rivals=rivals,
        others=(),
        output="sparse",
        own={experts.NAME: experts.coded(entries)},
        limit=partial(by_hand.burgers, n)
        if function is burgers
        else partial(experts.coded_limit, entries, point),
        goals=(*goals, at_most(OVER_F, 1.6), at_most(PEAK, 1.5)),
    )


ASDEX = ("jax asdex",)
PREPARED = at_most(PREPARE, 100)

# Size, that of a quick run, rivals, goals. No goal beside asdex's is set for a million unknowns,
# where its colouring takes minutes.
WORKLOADS: dict[str, Maker] = {
    name: partial(make, name, *rest)
    for name, rest in {
        "W3-burgers-1e4": (burgers, 10_000, 100, ASDEX, (at_least(GAIN, 1.7),)),
        "W3-burgers-1e5": (burgers, 100_000, 1000, ASDEX, (at_least(GAIN, 1.15),)),
        "W3-burgers-1e6": (burgers, 1_000_000, 10_000, (), ()),
        "W3-brusselator-2e4": (brusselator, 20_000, 200, ASDEX, ()),
        "W3-brusselator-2e5": (
            brusselator, 200_000, 2000, ASDEX, (at_least(GAIN, 1.9), PREPARED),
        ),
        "W3-gray-scott": (gray_scott, 180_000, 512, ASDEX, (at_least(GAIN, 3),)),
    }.items()
}  # fmt: skip
