"""Least squares: Osborne 2, Broyden's equations, bundle adjustment, peaks in a spectrum."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import scipy.sparse
from scipy import optimize

from benchmarks.derivatives import DIFFERENCES, NUMPY, Function, Source, Wanted
from benchmarks.solver_problems.problem import Problem
from benchmarks.workload import Array, Library

# More, Garbow & Hillstrom 1981, *Testing unconstrained optimization software*, problem 19.
OSBORNE_DATA = np.fromstring(
    """1.366 1.191 1.112 1.013 .991 .885 .831 .847 .786 .725 .746 .679 .608 .655 .616 .606 .602 .626
    .651 .724 .649 .649 .694 .644 .624 .661 .612 .558 .533 .495 .5 .423 .395 .375 .372 .391 .396
    .405 .428 .429 .523 .562 .607 .653 .672 .708 .633 .668 .645 .632 .591 .559 .597 .625 .739 .71
    .729 .72 .636 .581 .428 .292 .162 .098 .054""",
    sep=" ",
)
OSBORNE_START = np.array([1.3, 0.65, 0.65, 0.7, 0.6, 3, 5, 7, 2, 4.5, 5.5])


def _osborne(library: Library) -> Function:
    np_ = library.np
    y, t = library.array(OSBORNE_DATA), library.array(np.arange(65) / 10)

    def residuals(x: Any) -> Any:
        peaks = x[0] * np_.exp(-x[4] * t)
        for k in range(1, 4):
            peaks = peaks + x[k] * np_.exp(-x[k + 4] * (t - x[k + 7]) ** 2)
        return y - peaks

    return residuals


OSBORNE = Wanted(_osborne)


def osborne(method: str) -> Problem:
    """Return Osborne's second function: an exponential and three peaks, fitted to 65 data."""

    def solve(source: Source) -> Any:
        of = source.of(OSBORNE)
        return 2 * optimize.least_squares(of.fun, OSBORNE_START, jac=of.jac, method=method).cost

    return Problem(f"Osborne 2, 11 parameters, {method}", solve, 4.01377e-2, 1e-6)


BROYDEN_SIZE = 3000


def _broyden(library: Library) -> Function:
    np_ = library.np

    def residuals(x: Any) -> Any:
        p = np_.concatenate([np_.zeros(1), x, np_.zeros(1)])
        return (3 - 2 * x) * x - p[:-2] - 2 * p[2:] + 1

    return residuals


def _banded(size: int, *offsets: int) -> scipy.sparse.csr_array:
    ones = [np.ones(size - abs(k)) for k in offsets]
    return scipy.sparse.csr_array(scipy.sparse.diags_array(ones, offsets=offsets))


BROYDEN = Wanted(_broyden, pattern=_banded(BROYDEN_SIZE, -1, 0, 1))


def broyden(method: str) -> Problem:
    """Return Broyden's tridiagonal equations."""

    def solve(source: Source) -> Any:
        of = source.of(BROYDEN)
        found = optimize.least_squares(
            of.fun, -np.ones(BROYDEN_SIZE), jac=of.jac, method=method, **_sparsity(of.jac, BROYDEN)
        )
        return found.fun

    title = f"Broyden tridiagonal, {BROYDEN_SIZE:,} variables, sparse, {method}"
    return Problem(title, solve, np.zeros(BROYDEN_SIZE), 1e-5)


def _sparsity(jac: Any, wanted: Wanted) -> dict[str, Any]:
    """Return what differences must be told."""
    return {} if callable(jac) else {"jac_sparsity": wanted.pattern}


CAMERAS, POINTS, VIEWS = 10, 400, 3


@cache
def _scene() -> tuple[Array, Array, Array, Array]:
    """Return which camera sees which point, both by number, where, and a start."""
    rng = np.random.default_rng(0)
    camera = np.concatenate([rng.permutation(CAMERAS)[:VIEWS] for _ in range(POINTS)])
    point = np.repeat(np.arange(POINTS), VIEWS)
    near = np.array([0, 0, -10.0, 500, 0, 0])
    spread = np.array([0.1, 0.1, 0.1, 1, 1, 1, 0, 0, 0])
    cameras = np.r_[np.zeros(3), near] + spread * rng.normal(size=(CAMERAS, 9))
    points = rng.normal(size=(POINTS, 3))
    seen = _projected(np, points[point], cameras[camera]) + 0.2 * rng.normal(size=(camera.size, 2))
    cameras = cameras * (1 + 0.01 * rng.normal(size=cameras.shape))
    points = points + 0.05 * rng.normal(size=points.shape)
    return camera, point, seen, np.concatenate([cameras.ravel(), points.ravel()])


def _projected(np_: Any, points: Any, cameras: Any) -> Any:
    """Return where cameras see points: rotation by Rodrigues' formula, and radial distortion."""
    r = cameras[:, :3]
    angle = np_.sqrt(np_.sum(r * r, axis=1))[:, None]
    v = r / angle
    along = np_.sum(points * v, axis=1)[:, None]
    cosine = np_.cos(angle)
    turned = cosine * points + np_.sin(angle) * np_.cross(v, points) + along * (1 - cosine) * v
    moved = turned + cameras[:, 3:6]
    flat = -moved[:, :2] / moved[:, 2:3]
    n = np_.sum(flat * flat, axis=1)
    return flat * ((1 + cameras[:, 7] * n + cameras[:, 8] * n**2) * cameras[:, 6])[:, None]


def _bundle(library: Library) -> Function:
    camera, point, seen, _ = _scene()
    observed = library.array(seen)

    def residuals(x: Any) -> Any:
        cameras = x[: CAMERAS * 9].reshape(CAMERAS, 9)
        points = x[CAMERAS * 9 :].reshape(POINTS, 3)
        found = _projected(library.np, points[point], cameras[camera])
        return (found - observed).ravel()

    return residuals


def _bundle_pattern() -> scipy.sparse.csr_array:
    camera, point, _, start = _scene()
    rows = np.arange(2 * camera.size)
    pattern = scipy.sparse.lil_array((rows.size, start.size))
    for k in range(9):
        pattern[rows, np.repeat(9 * camera + k, 2)] = 1
    for k in range(3):
        pattern[rows, np.repeat(9 * CAMERAS + 3 * point + k, 2)] = 1
    return scipy.sparse.csr_array(pattern)


BUNDLE = Wanted(_bundle, pattern=_bundle_pattern())


def bundle(method: str) -> Problem:
    """Return bundle adjustment, as in SciPy's cookbook."""

    def solve(source: Source) -> Any:
        of = source.of(BUNDLE)
        how = {"method": method, "x_scale": "jac", "ftol": 1e-4, "max_nfev": 40}
        start = _scene()[-1]
        return optimize.least_squares(
            of.fun, start, jac=of.jac, **how, **_sparsity(of.jac, BUNDLE)
        ).cost

    title = f"bundle adjustment, {CAMERAS} cameras, {POINTS} points, sparse, {method}"
    return Problem(title, solve, 21.377, 1e-2)


PEAKS = 6


def _peaks(library: Library) -> Function:
    np_ = library.np

    def model(t: Any, *p: Any) -> Any:
        y = p[0] + p[1] * t
        for k in range(PEAKS):
            y = y + p[2 + 3 * k] * np_.exp(-(((t - p[3 + 3 * k]) / p[4 + 3 * k]) ** 2))
        return y

    return model


SPECTRUM = Wanted(_peaks)
SPECTRUM_PARAMETERS = np.concatenate(
    [[0.1, 0.02], *([1 + 0.1 * k, 1 + 1.5 * k, 0.4] for k in range(PEAKS))]
)


def spectrum(method: str) -> Problem:
    """Return six peaks on a slope, fitted to 4,000 data."""

    def solve(source: Source) -> Any:
        rng = np.random.default_rng(0)
        t = np.linspace(0, 10, 4000)
        data = _peaks(NUMPY)(t, *SPECTRUM_PARAMETERS) + 0.01 * rng.normal(size=t.size)
        start = SPECTRUM_PARAMETERS + 0.04 * rng.normal(size=SPECTRUM_PARAMETERS.size)
        of = source.of(SPECTRUM)
        # For "lm", the difference is what `leastsq` does itself.
        jac = None if method == "lm" and of.params_jac == DIFFERENCES else of.params_jac
        return optimize.curve_fit(of.fun, t, data, start, jac=jac, method=method)[0]

    return Problem(
        f"six peaks, 20 parameters, 4,000 data, curve_fit {method}",
        solve,
        SPECTRUM_PARAMETERS,
        1e-2,
    )
