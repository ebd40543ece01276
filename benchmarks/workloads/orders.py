"""Functions whose cost is in other than matrix products: where orders of equal counts differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.workload import Array, Function

Case = tuple[Function, Array]


def spectral_burgers() -> Case:
    """Return three Runge-Kutta steps of viscous Burgers, with derivatives by FFT."""
    n = 128
    wave = 2j * np.pi * np.fft.rfftfreq(n)

    def slope(u: Any) -> Any:
        spectrum = np.fft.rfft(u)
        first, second = np.fft.irfft(wave * spectrum, n), np.fft.irfft(wave**2 * spectrum, n)
        return 0.05 * second - u * first

    def f(u: Any) -> Any:
        for _ in range(3):
            k = slope(u)
            u = u + 0.01 * slope(u + 0.005 * k)
        return u

    return f, np.sin(np.arange(n) / 5)


def rows_of_waves() -> Case:
    """Return the spectra of the rows of a nonlinear field, weighed and added up."""
    rng = np.random.default_rng(0)
    weights, mixing = rng.normal(size=17), rng.normal(size=(24, 12)) / 5

    def f(x: Any) -> Any:
        rows = np.tanh(x[:, None] * np.cos(np.arange(32)))
        power = np.abs(np.fft.rfft(rows, axis=1)) ** 2
        return np.sin(mixing @ (power @ weights))

    return f, rng.normal(size=12)


def convolutions() -> Case:
    """Return three layers of a convolution by a fixed kernel, thinned out in between."""
    rng = np.random.default_rng(0)
    kernels = [rng.normal(size=9) / 3 for _ in range(3)]

    def f(x: Any) -> Any:
        for kernel in kernels:
            x = np.tanh(np.convolve(x, kernel, mode="same"))[::2]
        return x

    return f, rng.normal(size=400)


def minimal_surface() -> Case:
    """Return the area of a surface over a grid, row by row."""
    rng = np.random.default_rng(0)

    def f(z: Any) -> Any:
        right, down = z[:-1, 1:] - z[:-1, :-1], z[1:, :-1] - z[:-1, :-1]
        return np.sum(np.sqrt(1 + right**2 + down**2), axis=1)

    return f, rng.normal(size=(40, 40))


def kalman() -> Case:
    """Return the innovations of a Kalman filter of four states by six parameters."""
    rng = np.random.default_rng(0)
    seen = rng.normal(size=12)

    def f(p: Any) -> Any:
        A = np.eye(4) * 0.9 + 0.05 * np.outer(p[:4], np.ones(4))
        Q, h = np.eye(4) * p[4] ** 2, np.array([1.0, 0.0, 0.5, 0.0])
        x, P, found = p[:4] * 0, np.eye(4), []
        for y in seen:
            x, P = A @ x, A @ P @ A.T + Q
            s = h @ P @ h + p[5] ** 2
            gain = (P @ h) / s
            found.append((y - h @ x) / np.sqrt(s))
            x, P = x + gain * (y - h @ x), P - np.outer(gain, h @ P)
        return np.stack(found)

    return f, np.array([0.1, 0.2, -0.1, 0.3, 0.5, 0.7])


def kernel_regression() -> Case:
    """Return what a kernel regression predicts, by points and length scales."""
    rng = np.random.default_rng(0)
    data, targets, at = rng.normal(size=(60, 5)), rng.normal(size=60), rng.normal(size=(25, 5))

    def f(scales: Any) -> Any:
        one, two = data / scales, at / scales
        far = np.sum(one**2, axis=1) + np.sum(two**2, axis=1)[:, None] - 2 * two @ one.T
        k = np.exp(-far)
        return (k @ targets) / np.sum(k, axis=1)

    return f, np.full(5, 2.0)


def attention() -> Case:
    """Return one head of attention that shares its weights among queries, keys and values."""
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(12, 8))

    def f(W: Any) -> Any:
        h = tokens @ W
        scores = h @ h.T / np.sqrt(8)
        e = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.tanh((e / np.sum(e, axis=1, keepdims=True)) @ h)

    return f, rng.normal(size=(8, 8)) / 3


def recurrent() -> Case:
    """Return the last state of a recurrent network by its weights, over eight steps."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(8, 6))

    def f(W: Any) -> Any:
        h = np.zeros(10)
        for x in inputs:
            h = np.tanh(W[:, :10] @ h + W[:, 10:] @ x)
        return h

    return f, rng.normal(size=(10, 16)) / 4


def images() -> Case:
    """Return the pooled features of a picture, with channels moved to and fro."""
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(9, 6)) / 3, rng.normal(size=(6, 4)) / 2

    def f(x: Any) -> Any:
        patches = [x[i : i + 14, j : j + 14] for i in range(3) for j in range(3)]
        features = np.tanh(np.stack(patches, axis=-1) @ one)
        pooled = features.reshape(7, 2, 7, 2, 6).mean(axis=(1, 3))
        return np.transpose(np.tanh(pooled @ two), (2, 0, 1)).sum(axis=(1, 2))

    return f, rng.normal(size=(16, 16))


def normalised() -> Case:
    """Return a network whose layers are normalised over a batch."""
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=s) / 4 for s in ((20, 16), (16, 16), (16, 3))]

    def f(x: Any) -> Any:
        h = np.outer(np.linspace(-1, 1, 30), x)
        for W in weights:
            h = h @ W
            h = np.tanh((h - h.mean(axis=0)) / np.sqrt(h.var(axis=0) + 0.1))
        return h.ravel()

    return f, rng.normal(size=20)


def inverse_problem() -> Case:
    """Return the misfit of a diffusion with a conductivity per cell, by a dense solve."""
    rng = np.random.default_rng(0)
    n, source = 40, rng.normal(size=40)
    slope = np.eye(n + 1, n) - np.eye(n + 1, n, -1)

    def f(k: Any) -> Any:
        matrix = slope.T @ (np.exp(k)[:, None] * slope)
        return np.tanh(np.linalg.solve(matrix, source))

    return f, rng.normal(size=n + 1) / 3


def expectation() -> Case:
    """Return the log densities of points in a mixture, by means and scales."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(80, 3))

    def f(p: Any) -> Any:
        means, scales = p[:15].reshape(5, 3), np.exp(p[15:])
        away = (points[:, None, :] - means) / scales[:, None]
        score = -0.5 * np.sum(away * away, axis=2) - 3 * p[15:]
        top = np.max(score, axis=1)
        return top + np.log(np.sum(np.exp(score - top[:, None]), axis=1))

    return f, rng.normal(size=20)


CASES: Mapping[str, Callable[[], Case]] = {
    made.__name__: made
    for made in (
        spectral_burgers,
        rows_of_waves,
        convolutions,
        minimal_surface,
        kalman,
        kernel_regression,
        attention,
        recurrent,
        images,
        normalised,
        inverse_problem,
        expectation,
    )
}
