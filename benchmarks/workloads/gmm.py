"""W4: the log-likelihood of a Gaussian mixture with a Wishart prior, and its gradient.

Source of the objective: Srajer, Kukelova & Fitzgibbon 2018, *A benchmark of selected algorithmic
differentiation tools on some problems in computer vision and machine learning* (ADBench).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from scipy.special import multigammaln

from benchmarks.goals import GAIN, at_least
from benchmarks.workload import Array, Function, Maker, Workload, spelled
from benchmarks.workloads import by_hand

GAMMA, M = 1.0, 0  # of the prior


def objective(data: Any, place: Any, clusters: int, np: Any) -> Function:
    """Return the objective of one flat vector: weights, means and inverse covariance factors.

    The factor of a cluster is a lower triangular matrix: the logarithms of its diagonal, then the
    numbers below it, column by column. `place` says which number stands where, see `places`.
    """
    n, d = data.shape
    k = clusters

    def log_sum_exp(a: Any) -> Any:
        top = np.max(a, axis=-1, keepdims=True)
        return np.log(np.sum(np.exp(a - top), axis=-1)) + top[..., 0]

    def prior(diagonal: Any, below: Any, log_dets: Any) -> Any:
        freedom = d + M + 1
        squares = np.sum(diagonal**2) + np.sum(below**2)
        constant = freedom * d * (np.log(GAMMA) - 0.5 * np.log(2.0))
        constant = constant - float(multigammaln(0.5 * freedom, d))
        return 0.5 * GAMMA**2 * squares - M * np.sum(log_dets) - k * constant

    def f(theta: Any) -> Any:
        weights = theta[:k]
        means = theta[k : k + k * d].reshape(k, d)
        factors = theta[k + k * d :].reshape(k, -1)
        diagonal, below = np.exp(factors[:, :d]), factors[:, d:]
        log_dets = np.sum(factors[:, :d], axis=1)
        entries = np.concatenate([diagonal, below, np.zeros((k, 1))], axis=1)
        Q = entries[:, place]  # (k, d, d)
        centred = data - means[:, None, :]  # (k, n, d)
        turned = centred @ np.swapaxes(Q, 1, 2)
        distance = np.sum(turned**2, axis=2)  # (k, n)
        inner = weights + log_dets - 0.5 * distance.T
        likelihood = np.sum(log_sum_exp(inner)) - n * log_sum_exp(weights)
        return likelihood - 0.5 * n * d * np.log(2 * np.pi) + prior(diagonal, below, log_dets)

    return f


def places(d: int) -> Array:
    """Return, for every place of a d x d matrix, the number that stands there; the last is zero."""
    zero = d * (d + 1) // 2
    place = np.full((d, d), zero)
    place[np.arange(d), np.arange(d)] = np.arange(d)
    cols, rows = np.triu_indices(d, 1)  # below the diagonal, column by column
    place[rows, cols] = d + np.arange(rows.size)
    return place


def make(name: str, d: int, k: int, n: int, goal: float, is_quick: bool) -> Workload:
    """Return the objective for k clusters of n points in d dimensions, at a random point."""
    if is_quick:
        d, k, n = 4, 3, 20
    rng = np.random.default_rng(0)
    data, place = rng.normal(size=(n, d)), places(d)
    function, spell = spelled(lambda data, place, np: objective(data, place, k, np), data, place)
    size = k + k * d + k * d * (d + 1) // 2
    return Workload(
        name=name,
        title=f"gradient of a mixture: d={d}, K={k}, n={n}, {size:,} parameters",
        function=function,
        point=rng.normal(size=size) / d,
        spell=spell,
        rivals=("jax grad",),
        others=("torch grad", "autograd grad"),
        limit=partial(by_hand.mixture, data, k, GAMMA),
        oracle="central",
        numba=d < 64,
        goals=(at_least(GAIN, goal),),
    )


WORKLOADS: dict[str, Maker] = {
    "W4-gmm-20": partial(make, "W4-gmm-20", 20, 25, 1000, 1.2),
    "W4-gmm-64": partial(make, "W4-gmm-64", 64, 50, 1000, 0.85),
}
