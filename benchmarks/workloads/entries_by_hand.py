"""The entries of W3's and W12's sparse Jacobians, derived by hand: for NumPy and for JAX.

Each returns the columns of every row, in order, and what makes their values in a library. A column
outside of the matrix is no entry.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.workload import Function
from benchmarks.workloads.experts import Entries


def _near(n: int, *offsets: int) -> Any:
    return np.arange(n)[:, None] + np.array(offsets)


def burgers(n: int) -> Entries:
    h, nu = 1 / (n + 1), 0.05

    def make(np: Any) -> Function:
        def values(u: Any) -> Any:
            p = np.pad(u, 1)
            middle = (p[:-2] - p[2:]) / (2 * h) - 2 * nu / h**2
            return np.stack([u / (2 * h) + nu / h**2, middle, nu / h**2 - u / (2 * h)], 1)

        return values

    return _near(n, -1, 0, 1), make


def brusselator(n: int) -> Entries:
    m = n // 2
    c = 0.02 * (m + 1) ** 2
    near = _near(m, -1, 0, 1)
    of_u = np.where((near >= 0) & (near < m), near, -1)
    of_v = np.where(of_u >= 0, of_u + m, -1)
    own = np.arange(m)[:, None]
    columns = np.block([[of_u, own + m], [own, of_v]])

    def make(np: Any) -> Function:
        beside = np.full(m, c)

        def values(z: Any) -> Any:
            u, v = z[:m], z[m:]
            uv, uu = 2 * u * v, u * u
            by_u = np.stack([beside, uv - 4 - 2 * c, beside, uu], 1)
            by_v = np.stack([3 - uv, beside, -uu - 2 * c, beside], 1)
            return np.concatenate([by_u, by_v])

        return values

    return columns, make


def gray_scott(n: int) -> Entries:
    m = n // 2
    side = round(m**0.5)
    i, j = np.divmod(np.arange(m), side)
    columns = np.stack(
        [
            (i - 1) % side * side + j, i * side + (j - 1) % side, i * side + j,
            i * side + (j + 1) % side, (i + 1) % side * side + j,
        ], 1,
    )  # fmt: skip
    own = np.arange(m)[:, None]

    def make(np: Any) -> Function:
        one, two = np.full(m, 0.16), np.full(m, 0.08)

        def values(z: Any) -> Any:
            u, v = z[:m], z[m:]
            uv, vv = 2 * u * v, v * v
            by_u = np.stack([one, one, -0.68 - vv, one, one, -uv], 1)
            by_v = np.stack([vv, two, two, uv - 0.42, two, two], 1)
            return np.concatenate([by_u, by_v])

        return values

    return np.block([[columns, own + m], [own, columns + m]]), make


def neighbours(n: int) -> Entries:
    def make(np: Any) -> Function:
        def values(x: Any) -> Any:
            before = np.roll(x, 1)
            return np.stack([np.cos(before) * x, np.sin(before), 2 * np.roll(x, -1)], 1)

        return values

    return _near(n, -1, 0, 1) % n, make


def broyden_banded(n: int) -> Entries:
    def make(np: Any) -> Function:
        def values(x: Any) -> Any:
            p = np.pad(-1 - 2 * x, (5, 1))
            bands = [p[k : k + n] for k in range(7)]
            bands[5] = 2 + 15 * x * x
            return np.stack(bands, 1)

        return values

    return _near(n, *range(-5, 2)), make


def poisson(n: int) -> Entries:
    side = round(n**0.5)
    columns = _near(n, -side, -1, 0, 1, side)
    columns[::side, 1] = -1
    columns[side - 1 :: side, 3] = -1

    def make(np: Any) -> Function:
        beside = np.full(n, -1.0)

        def values(u: Any) -> Any:
            return np.stack([beside, beside, 4 - np.exp(u) / side**2, beside, beside], 1)

        return values

    return columns, make
