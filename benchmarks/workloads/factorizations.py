"""W9: one number through factorisations, and the likelihood of a Gaussian process."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

import chainad.scipy.linalg
from benchmarks.goals import OVER_F, at_most
from benchmarks.workload import JAX, Array, Function, Library, Maker, Workload
from benchmarks.workloads import experts
from benchmarks.workloads import factorizations_by_hand as by_hand

QUICK = 12
# Where other libraries have SciPy's functions of matrices.
LINALG = {"jax": "jax.scipy.linalg", "autograd": "autograd.scipy.linalg"}


def weighed(one: Any, two: Any) -> Any:
    """Return numbers that do not depend on the signs of vectors, from two factors."""
    return one**2 * two**2


# Arrays of numbers that do not depend on the signs of vectors, from a matrix.
NUMBERS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "cholesky": lambda np, linalg, a: np.linalg.cholesky(a @ a.T),
    "qr": lambda np, linalg, a: weighed(*np.linalg.qr(a)),
    "eigh": lambda np, linalg, a: weighed(*np.linalg.eigh((a + a.T) / 9)),
    "svd": lambda np, linalg, a: weighed(*np.linalg.svd(a)[:2]),
    "pinv": lambda np, linalg, a: np.linalg.pinv(a),
    "lstsq": lambda np, linalg, a: np.linalg.lstsq(a, a[:, 0] ** 2)[0],
    "expm": lambda np, linalg, a: linalg.expm(a / 9),
    "sqrtm": lambda np, linalg, a: linalg.sqrtm(a),
}
WITHOUT_RIVAL = {"sqrtm"}  # JAX does not differentiate it


def number(name: str, n: int, np: Any, linalg: Any) -> Function:
    """Return one number through a factorisation of an n x n matrix, given as a vector."""

    def f(x: Any) -> Any:
        return np.sum(np.sin(NUMBERS[name](np, linalg, np.reshape(x, (n, n)))))

    return f


def likelihood(squares: Any, y: Any, is_wide: bool, np: Any, linalg: Any) -> Function:
    """Return the log marginal likelihood of a Gaussian process by five kernel parameters.

    If it is wide, the Cholesky factor of its kernel matrix.
    """

    def f(t: Any) -> Any:
        distance = sum(squares[k] * np.exp(-2 * t[k]) for k in range(3))
        noise = (np.exp(t[4]) + 1e-6) * np.eye(len(y))
        factor = np.linalg.cholesky(np.exp(t[3]) * np.exp(-0.5 * distance) + noise)
        if is_wide:
            return factor
        half = linalg.solve_triangular(factor, y, lower=True)
        found = linalg.solve_triangular(factor.T, half, lower=False)
        return 0.5 * y @ found + np.sum(np.log(np.diag(factor)))

    return f


def _workload(
    name: str, title: str, make: Callable[[Any, Any], Function], point: Array, **options: Any
) -> Workload:
    def spell(library: Library) -> Function:
        return make(library.np, import_module(LINALG[library.name]))

    return Workload(
        name=name,
        title=title,
        function=make(np, chainad.scipy.linalg),
        point=point,
        spell=spell,
        others=(),
        oracle="central",
        **options,
    )


def one_number(name: str, is_quick: bool) -> Workload:
    """Return the gradient of one number through a factorisation."""
    n = QUICK if is_quick else 40
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(n, n)) / np.sqrt(n) + np.diag(np.linspace(3, 6, n))
    return _workload(
        f"W9-{name}",
        f"one number through {name}, n={n}",
        partial(number, name, n),
        matrix.ravel(),
        rivals=() if name in WITHOUT_RIVAL else JAX,
        limit=partial(by_hand.number, name, n),
        goals=(at_most(OVER_F, 8),),
    )


def gaussian_process(name: str, n: int, is_wide: bool, is_quick: bool) -> Workload:
    """Return the gradient of a likelihood, or the Jacobian of a Cholesky factor."""
    rng = np.random.default_rng(0)
    n = QUICK if is_quick else n
    points, y = rng.normal(size=(n, 3)), rng.normal(size=n)
    squares = np.stack([(points[:, k, None] - points[:, k]) ** 2 for k in range(3)])
    derived = by_hand.factor if is_wide else by_hand.likelihood
    return _workload(
        name,
        f"Gaussian process, n={n}" + ", Cholesky factor" * is_wide,
        partial(likelihood, squares, y, is_wide),
        np.array([0.1, 0.2, 0.3, 0.1, -1.0]),
        own={experts.NAME: experts.written(derived, squares, y)},
        limit=partial(derived, squares, y, np),
        goals=() if is_wide else (at_most(OVER_F, 4),),
    )


WORKLOADS: dict[str, Maker] = {
    "W9-gp-60": partial(gaussian_process, "W9-gp-60", 60, False),
    "W9-gp-200": partial(gaussian_process, "W9-gp-200", 200, False),
    "W9-gp-factor": partial(gaussian_process, "W9-gp-factor", 60, True),
    **{f"W9-{name}": partial(one_number, name) for name in NUMBERS},
}
