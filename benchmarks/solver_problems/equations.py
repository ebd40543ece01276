"""Equations: a stiff PDE, a boundary value problem, a chemical equilibrium."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
from scipy import integrate, optimize

from benchmarks.derivatives import Function, Source, Wanted
from benchmarks.solver_problems.problem import Problem
from benchmarks.workload import Library

CELLS = 200


def _brusselator(library: Library) -> Function:
    np_ = library.np
    diffusion = (CELLS + 1) ** 2 / 50

    def spread(u: Any, at_ends: float) -> Any:
        end = np_.full(1, at_ends)
        p = np_.concatenate([end, u, end])
        return diffusion * (p[2:] - 2 * u + p[:-2])

    def slope(t: float, y: Any) -> Any:
        u, v = y[:CELLS], y[CELLS:]
        reaction = u * u * v
        return np_.concatenate(
            [1 + reaction - 4 * u + spread(u, 1.0), 3 * u - reaction + spread(v, 3.0)]
        )

    return slope


def _brusselator_pattern() -> scipy.sparse.csr_array:
    offsets = (-CELLS, -1, 0, 1, CELLS)
    ones = [np.ones(2 * CELLS - abs(k)) for k in offsets]
    return scipy.sparse.csr_array(scipy.sparse.diags_array(ones, offsets=offsets))


BRUSSELATOR = Wanted(_brusselator, argnums=1, pattern=_brusselator_pattern())


def brusselator(method: str) -> Problem:
    """Return the Brusselator in one dimension (Hairer & Wanner, IV.10), from 0 to 10."""

    def solve(source: Source) -> Any:
        of = source.of(BRUSSELATOR)
        x = np.arange(1, CELLS + 1) / (CELLS + 1)
        start = np.concatenate([1 + np.sin(2 * np.pi * x), np.full(CELLS, 3.0)])
        given = {"jac": of.jac} if callable(of.jac) else {"jac_sparsity": BRUSSELATOR.pattern}
        found = integrate.solve_ivp(
            of.fun, (0, 10), start, method=method, rtol=1e-5, atol=1e-7, **given
        )
        return found.y[[CELLS // 2, CELLS + CELLS // 2], -1]

    return Problem(
        f"Brusselator, {2 * CELLS} variables, sparse, {method}", solve, (0.429867, 3.688250), 1e-3
    )


def _bratu(library: Library) -> Function:
    np_ = library.np
    return lambda x, y: np_.stack([y[1], -2 * np_.exp(y[0])])


BRATU = Wanted(_bratu, argnums=1)


def bratu() -> Problem:
    """Return Bratu's problem, u'' + 2 exp(u) = 0 between zeros, whose answer is known."""

    def solve(source: Source) -> Any:
        of = source.of(BRATU)
        x = np.linspace(0, 1, 400)
        found = integrate.solve_bvp(
            of.fun,
            lambda a, b: np.array([a[0], b[0]]),
            x,
            np.zeros((2, x.size)),
            fun_jac=of.fun_jac,
            tol=1e-7,
            max_nodes=20_000,
        )
        return found.sol(np.linspace(0, 1, 11))[0]

    c = optimize.brentq(lambda c: c - 2 * np.cosh(c / 4), 0, 5)
    x = np.linspace(0, 1, 11)
    answer = -2 * np.log(np.cosh((x - 0.5) * c / 2) / np.cosh(c / 4))
    return Problem("Bratu, solve_bvp, 400 nodes", solve, answer, 1e-6)


MIXTURES = np.linspace(10, 3, 15)  # of air and propane


def _equilibrium(library: Library) -> Function:
    np_ = library.np
    root = 40**0.5
    R5, R6, R7, R8 = 0.193, 0.002597 / root, 0.003448 / root, 0.00001799 / 40
    R9, R10 = 0.0002155 / root, 0.00003846 / 40

    def balance(x: Any, R: float) -> Any:
        a, b, c, d, e = x[0], x[1], x[2], x[3], x[4]
        shared = b * c**2 + R7 * b * c + R9 * b * d + R8 * b
        return np_.stack(
            [
                a * b + a - 3 * e,
                2 * a * b + a + 2 * R10 * b**2 + shared - R * e,
                2 * b * c**2 + R7 * b * c + 2 * R5 * c**2 + R6 * c - 8 * e,
                R9 * b * d + 2 * d**2 - 4 * R * e,
                a * b + a + R10 * b**2 + shared + R5 * c**2 + R6 * c + d**2 - 1,
            ]
        )

    return balance


EQUILIBRIUM = Wanted(_equilibrium)


def equilibrium() -> Problem:
    """Return propane burnt in air (Meintjes & Morgan 1990), from the usual to richer mixtures."""

    def solve(source: Source) -> Any:
        of = source.of(EQUILIBRIUM)
        x, found = np.array([0.003, 30.0, 0.06, 0.8, 0.04]), []
        for R in MIXTURES:
            x = optimize.root(of.fun, x, args=(R,), jac=of.jac if callable(of.jac) else None).x
            found.append(x)
        return found[0]

    answer = (0.0031141, 34.5979, 0.0650418, 0.859378, 0.0369519)
    return Problem(f"chemical equilibrium, {MIXTURES.size} mixtures, root", solve, answer, 1e-3)
