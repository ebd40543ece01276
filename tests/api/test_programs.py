"""Random programs over the registry: every mode, every form of the result, against differences.

`pytest --hypothesis-profile=thorough tests/test_programs.py` draws thousands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import scipy.special as sp
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import chainad
from chainad.scipy import fft, linalg, special

Array = Any
N = 6
_rng = np.random.default_rng(3)
W, V = _rng.normal(size=(N, N)) / 3, _rng.normal(size=(2, 3))
STRONG = W + 4 * np.eye(N)
SPARSE = scipy.sparse.csr_array(np.where(abs(W) > 0.3, W, 0.0))
FACTOR = np.linalg.cholesky(STRONG @ STRONG.T)
KNOTS = np.linspace(-1.0, 1.0, 5)


def table(x: Array) -> Array:
    return np.reshape(x, (2, 3))


def strong(x: Array, y: Array) -> Array:
    """A well-conditioned matrix that depends on two vectors."""
    return STRONG + 0.3 * np.outer(x, y)


def filled(x: Array, y: Array) -> Array:
    z = np.zeros(N)
    z[0] = y[1]
    for k in range(1, N):
        z[k] = 0.5 * z[k - 1] + x[k]
    return z


def through_views(x: Array, y: Array) -> Array:
    z = np.stack([x, y])
    first, back = z[0], z[1, ::-1]
    first += back
    z.T[2:4] *= 0.5
    back[1:3] = x[2:4]
    return z.sum(0)


def in_place(x: Array, y: Array) -> Array:
    z = x * 1.0
    z += y
    z[::2] *= 0.5
    z[[1, 3]] = y[[0, 0]]
    z[z > 0.8] = 0.1
    np.add.at(z, [0, 0, 2], y[:3])
    z.flat[4] = x[1]
    return z


def swapped(x: Array, y: Array) -> Array:
    z = x.copy()
    z[0], z[5] = z[5], z[0]
    z[1:3] = z[2:4]
    np.copyto(z, y, where=np.arange(N) == 4)
    return z


def branching(x: Array, y: Array) -> Array:
    return x * y if np.sum(x) > 0 else x - y


def solved(x: Array, y: Array) -> Array:
    return np.linalg.solve(strong(x, x), np.stack([x, y], 1)) @ V[0, :2]


OPERATIONS: list[Callable[[Array, Array], Array]] = [
    lambda x, y: np.sin(x) * y, lambda x, y: np.tanh(x + 0.1), lambda x, y: 0.3 * x**2,
    lambda x, y: np.exp(-np.abs(x + 3.1)), lambda x, y: x + y, lambda x, y: x * y,
    lambda x, y: x / (2 + y * y), lambda x, y: x - y, lambda x, y: 1 - x, lambda x, y: x * y[0],
    lambda x, y: np.arctan2(x, 3 + y * y), lambda x, y: np.hypot(x, y + 3),
    lambda x, y: np.logaddexp(x, y), lambda x, y: np.power(x + 3, 0.5 * y),
    lambda x, y: np.maximum(x, y), lambda x, y: np.clip(x, -0.5, 0.7), lambda x, y: np.cbrt(x + 3),
    lambda x, y: np.where(np.arange(N) % 2 == 0, x, y), lambda x, y: np.where(x > y, x * y, y),
    lambda x, y: np.roll(x, 1), lambda x, y: x[::-1], lambda x, y: x[[3, 0, 0, 5, 2, 1]],
    lambda x, y: np.concatenate([x[2:], y[:2]]), lambda x, y: np.tile(x[:2], 3),
    lambda x, y: np.pad(x[2:] - 2 * x[1:-1] + x[:-2], 1), lambda x, y: np.repeat(x[::2], 2),
    lambda x, y: np.pad(y, 1, mode="wrap")[2:] * x, lambda x, y: np.diff(x, append=y[0]),
    lambda x, y: np.gradient(x, 0.5), lambda x, y: np.convolve(x, y[:3], "same"),
    lambda x, y: np.insert(x[1:], 2, y[3]), lambda x, y: np.delete(np.append(x, y[0]), 1),
    lambda x, y: (table(x) * table(y).T.reshape(2, 3)).ravel(), lambda x, y: table(x).T.ravel(),
    lambda x, y: np.rot90(table(x)).ravel(), lambda x, y: np.stack([x, y]).T.ravel()[:N],
    lambda x, y: np.tril(np.outer(x, y)).sum(axis=0), lambda x, y: np.diag(np.outer(x, y)),
    lambda x, y: np.kron(x[:2], y[:3]), lambda x, y: np.cross(table(x), table(y)).ravel(),
    lambda x, y: W @ x, lambda x, y: x @ W, lambda x, y: x @ SPARSE.T,
    lambda x, y: np.outer(x, y) @ y, lambda x, y: np.einsum("ij,kj->ik", table(x), V).sum() * y,
    lambda x, y: np.tensordot(table(x), table(y), 2) + x, lambda x, y: np.vdot(x, y) * x,
    lambda x, y: np.sum(x) + y, lambda x, y: x - np.mean(x, keepdims=True),
    lambda x, y: x / (1 + np.linalg.norm(y)), lambda x, y: np.prod(x[:3]) + y,
    lambda x, y: np.var(x) * y, lambda x, y: np.std(x + np.arange(N)) + y,
    lambda x, y: np.max(x) * y, lambda x, y: np.median(x) + y, lambda x, y: np.quantile(x, 0.3) * y,
    lambda x, y: np.cumsum(x) * 0.2, lambda x, y: np.cumprod(x), lambda x, y: np.sort(x),
    lambda x, y: np.maximum.accumulate(x), lambda x, y: x[np.argsort(y)],
    lambda x, y: np.interp(x, KNOTS, KNOTS**2), lambda x, y: np.polyval(x[:3], y),
    lambda x, y: np.bincount([0, 1, 1, 3, 5, 5], weights=x), lambda x, y: np.unwrap(3 * x),
    lambda x, y: np.trapezoid(x) + y, lambda x, y: np.select([x < 0, x < 0.5], [x, y], x * y),
    lambda x, y: np.stack([x[0] * y[1], np.sin(x[2]), 1.0, y[0], x[5] + 1, x[1]]),
    lambda x, y: np.stack([x[k] * y[-k] for k in range(N)]), lambda x, y: sum(x) * y,
    lambda x, y: np.apply_along_axis(np.cumsum, 1, table(x)).ravel(),
    lambda x, y: np.linalg.solve(STRONG, x), solved,
    lambda x, y: np.linalg.solve(strong(x, y), y), lambda x, y: np.linalg.inv(strong(x, y)) @ x,
    lambda x, y: np.linalg.det(strong(x, y)) / 4e3 + x,
    lambda x, y: np.linalg.slogdet(strong(x, y))[1] * y,
    lambda x, y: np.linalg.cholesky(np.outer(x, x) + 2 * np.eye(N)) @ y,
    lambda x, y: np.linalg.pinv(table(x) + 2 * V).ravel(),
    lambda x, y: np.linalg.svdvals(table(x) + 3 * V)[0] * y,
    lambda x, y: np.linalg.qr(strong(x, y))[1][0],
    lambda x, y: linalg.solve_triangular(strong(x, y), x, lower=True),
    lambda x, y: linalg.cho_solve((FACTOR, True), x),
    lambda x, y: linalg.cho_solve(linalg.cho_factor(np.outer(x, x) + 2 * np.eye(N)), y),
    lambda x, y: linalg.lu_solve(linalg.lu_factor(strong(x, y)), y),
    lambda x, y: linalg.expm(np.outer(x, y) / 9) @ x, lambda x, y: linalg.toeplitz(x) @ y,
    lambda x, y: np.tile(linalg.block_diag(table(x), y[:3]) @ y, 2),
    lambda x, y: np.abs(np.fft.rfft(x)).repeat(2)[:N] * y,
    lambda x, y: np.real(np.fft.ifft(np.fft.fft(x) * np.fft.fft(y))),
    lambda x, y: np.fft.irfft(np.fft.rfft(x), N), lambda x, y: fft.dct(x, norm="ortho"),
    lambda x, y: np.imag(np.exp(1j * x) * (y + 2j)),
    lambda x, y: special.softmax(x) * y, lambda x, y: special.logsumexp(x) * y,
    lambda x, y: sp.erf(x) + y, lambda x, y: sp.gammaln(x + 4), lambda x, y: sp.expit(x * y),
    lambda x, y: sp.xlogy(x, y + 3), lambda x, y: sp.j0(x), lambda x, y: sp.ndtr(x - y),
    lambda x, y: sp.beta(x + 2, y + 3), lambda x, y: sp.airy(x)[0] * y, lambda x, y: sp.i0e(x),
    lambda x, y: special.multigammaln(x + 4, 2), lambda x, y: sp.eval_legendre(3, np.tanh(x)),
    filled, through_views, in_place, swapped, branching,
]  # fmt: skip

PROGRAMS = st.lists(
    st.tuples(st.integers(0, len(OPERATIONS) - 1), st.integers(0, 9), st.integers(0, 9)),
    min_size=5,
    max_size=60,
)


def function(program: Any) -> Callable[[Array, Array], tuple[Array, Array]]:
    """Return the program as a function of two vectors, of two results."""

    def f(a: Array, b: Array) -> tuple[Array, Array]:
        values = [a, b]
        for number, first, second in program:
            x = values[-1 - first % min(4, len(values))]
            y = values[second % len(values)]
            values.append(0.9 * np.sin(OPERATIONS[number](x, y)))
        return values[-1], values[-2] * a

    return f


def differences(f: Callable[..., Any], x: Array, h: float, directions: Array) -> Array:
    """Differences of fourth order of both results along directions: (12, how many)."""

    def value(z: Array) -> Array:
        return np.concatenate(f(z[:N], z[N:]))

    columns = []
    for d in directions:
        near, far = value(x + h * d) - value(x - h * d), value(x + 2 * h * d) - value(x - 2 * h * d)
        columns.append((8 * near - far) / (12 * h))
    return np.stack(columns, axis=-1)


def as_array(block: Any, output: str) -> Array:
    if output == "sparse":
        return block.toarray()
    if output == "operator":
        half = block.shape[1] // 2  # some columns pushed, some rows pulled
        pushed = block @ np.eye(block.shape[1])
        pulled = (block.T @ np.eye(block.shape[0])).T
        np.testing.assert_allclose(pushed, pulled, rtol=1e-8, atol=1e-8 * (1 + abs(pushed).max()))
        return np.concatenate([pushed[:, :half], pulled[:, half:]], axis=1)
    return np.asarray(block.toarray() if output == "structured" else block)


@settings(max_examples=2 * settings().max_examples)
@given(
    program=PROGRAMS,
    mode=st.sampled_from(["auto", "forward", "reverse", "greedy"]),
    output=st.sampled_from(["dense", "sparse", "structured", "operator"]),
    seed=st.integers(0, 1000),
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_random_programs_agree_with_differences(
    program: Any, mode: str, output: str, seed: int
) -> None:
    f = function(program)
    rng = np.random.default_rng(seed)
    x = rng.uniform(-0.9, 0.9, size=2 * N)
    # A wrong matrix passes along random directions with probability zero (Freivalds 1977).
    directions = rng.normal(size=(2, 2 * N)) / np.sqrt(2 * N)
    fine, coarse = (differences(f, x, h, directions) for h in (1e-4, 2e-4))
    size = 1 + abs(fine).max()
    # Where differences do not agree among themselves there is a kink, or chaos.
    assume(np.isfinite(size) and size < 1e4 and abs(fine - coarse).max() < 1e-6 * size)
    jacobian = chainad.value_and_jacobian(f, argnums=(0, 1), mode=mode, output=output)
    value, J = jacobian(x[:N], x[N:])
    for got, want in zip(value, f(x[:N], x[N:]), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)
    found = np.block([[as_array(block, output) for block in row] for row in J])
    np.testing.assert_allclose(found @ directions.T, fine, rtol=1e-5, atol=2e-6 * size)


@settings(max_examples=max(1, settings().max_examples // 4))
@given(program=PROGRAMS, mode=st.sampled_from(["auto", "reverse"]), seed=st.integers(0, 1000))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_random_programs_are_replayed_at_other_points(program: Any, mode: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.uniform(-0.9, 0.9, size=2 * N)
    traced = chainad.value_and_jacobian(function(program), argnums=(0, 1), mode=mode)
    compiled = traced.compile(x[:N], x[N:])
    for point in (x, x + rng.uniform(-0.1, 0.1, size=2 * N)):
        value, J = traced(point[:N], point[N:])
        other, again = compiled(point[:N], point[N:])
        wanted = np.block([list(row) for row in J])
        size = 1 + abs(wanted).max()
        assume(np.isfinite(size) and size < 1e4)
        np.testing.assert_allclose(other, value, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(np.block([list(row) for row in again]), wanted, atol=1e-8 * size)


@pytest.mark.parametrize("number", range(len(OPERATIONS)))
def test_every_operation_of_the_programs_is_right_alone(number: int) -> None:
    f = function([(number, 1, 1)])
    x = np.random.default_rng(number).uniform(-0.9, 0.9, size=2 * N)
    J = chainad.jacobian(f, argnums=(0, 1))(x[:N], x[N:])
    np.testing.assert_allclose(
        np.block([list(row) for row in J]), differences(f, x, 1e-4, np.eye(2 * N)), atol=1e-7
    )
