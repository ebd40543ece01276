"""Factorisations as operators: right however they are applied, in few calls and little memory."""

from __future__ import annotations

import inspect
import itertools
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainad
import chainad.scipy.linalg as sl
from chainad.rules.decompositions import MAX_UNBLOCKED_ROWS

rng = np.random.default_rng(11)
N = 4
SQUARE = rng.normal(size=(N, N)) + np.diag([3.0, 5.0, 8.0, 12.0])
TALL = rng.normal(size=(5, 3))
SYMMETRIC = SQUARE @ SQUARE.T / 9 + np.eye(N)


CASES: dict[str, tuple[Callable[[Any], Any], np.ndarray]] = {
    "cholesky": (np.linalg.cholesky, SYMMETRIC),
    "cholesky, upper": (lambda x: np.linalg.cholesky(x, upper=True), SYMMETRIC),
    "cholesky, diagonal": (lambda x: np.log(np.diag(np.linalg.cholesky(x))), SYMMETRIC),
    "eigh": (lambda x: (np.linalg.eigh(x)[1][:, 1:] * np.linalg.eigh(x)[0][1:]), SYMMETRIC),
    "eigh, values": (lambda x: np.linalg.eigh(x)[0], SYMMETRIC),
    "eigvalsh": (lambda x: np.linalg.eigvalsh(x, "U")[-1], SYMMETRIC),
    "svd": (lambda x: np.concatenate([y.ravel() for y in np.linalg.svd(x)]), SQUARE),
    "svd, tall": (lambda x: np.linalg.svd(x, full_matrices=False)[0][:, 0], TALL),
    "svd, wide": (lambda x: np.linalg.svd(x, full_matrices=False)[0][0], TALL.T),
    "svd, right": (lambda x: np.linalg.svd(x, full_matrices=False)[2][1], TALL.T),
    "svdvals": (np.linalg.svdvals, TALL),
    "qr": (lambda x: np.concatenate(np.linalg.qr(x)), SQUARE),
    "qr, tall": (lambda x: np.linalg.qr(x)[0], TALL),
    "qr, wide": (lambda x: np.linalg.qr(x)[1], TALL.T),
    "qr, complete": (lambda x: np.linalg.qr(x, "complete")[1], SQUARE),
    "eig": (lambda x: np.concatenate([y.ravel() for y in np.linalg.eig(x)]), SQUARE),
    "pinv": (np.linalg.pinv, TALL),
    "pinv, wide": (np.linalg.pinv, TALL.T),
    "lstsq": (lambda x: np.linalg.lstsq(x, x[:, 0] ** 2)[0], TALL),
    "lstsq, wide": (lambda x: np.linalg.lstsq(x, x[:, :2] ** 2)[0], TALL.T),
    "lstsq, residuals": (lambda x: np.linalg.lstsq(x, x[:, 0] ** 2)[1], TALL),
    "expm": (lambda x: sl.expm(x / 9), SQUARE),
    "sqrtm": (sl.sqrtm, SQUARE),
    "logm": (sl.logm, SQUARE),
    "lu": (lambda x: sl.lu_factor(x[::-1])[0], SQUARE),
    "sylvester": (lambda x: sl.solve_sylvester(x, x.T @ x, x**2), SQUARE),
}  # fmt: skip


def differences(f: Callable[..., Any], x: np.ndarray, h: float = 1e-6) -> np.ndarray:
    """Central differences of f, of shape f(x).shape + x.shape."""
    units = np.eye(x.size).reshape(-1, *x.shape)
    columns = np.stack([(f(x + h * e) - f(x - h * e)) / (2 * h) for e in units], axis=-1)
    return columns.reshape(*columns.shape[:-1], *x.shape)


@pytest.mark.parametrize("name", CASES)
def test_every_mode_and_output_agrees_with_differences(name: str) -> None:
    f, x = CASES[name]
    wanted = differences(lambda x: np.asarray(f(x)), x)
    for mode, output in itertools.product(
        ("auto", "forward", "reverse"), ("dense", "sparse", "operator")
    ):
        J = chainad.jacobian(f, mode=mode, output=output)(x)
        found = {"dense": lambda J: J, "sparse": lambda J: J.toarray()}.get(
            output, lambda J: J @ np.eye(x.size)
        )(J)
        np.testing.assert_allclose(np.reshape(found, wanted.shape), wanted, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", CASES)
def test_one_number_is_differentiated_twice(name: str) -> None:
    f, x = CASES[name]

    def number(x: Any) -> Any:
        y = f(x)
        return np.sum(np.sin(y) * (1 + np.arange(np.size(y)).reshape(np.shape(y))))

    for mode in ("forward", "reverse"):
        J = chainad.jacobian(number, mode=mode)
        wanted = differences(J, x, 1e-5)
        H = chainad.jacobian(J)(x)
        np.testing.assert_allclose(H, wanted, rtol=1e-5, atol=1e-5 * (1 + abs(wanted).max()))


@pytest.mark.filterwarnings("ignore::chainad.errors.FallbackWarning")
@pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=pytest.mark.numba)])
@pytest.mark.parametrize("name", CASES)
def test_compiled_functions_and_batches_agree_with_traced_ones(name: str, backend: str) -> None:
    f, x = CASES[name]
    J = chainad.jacobian(f)
    compiled = chainad.jacobian(f, backend=backend).compile()
    points = np.stack([x, 1.01 * x, x + 0.01 * x.T if x.shape[0] == x.shape[1] else 0.99 * x])
    wanted = np.stack([J(point) for point in points])
    for point, want in zip(points, wanted, strict=True):
        np.testing.assert_allclose(compiled(point), want, rtol=1e-12, atol=1e-12)
    batched = chainad.jacobian(f, batch=0, backend=backend)
    np.testing.assert_allclose(batched(points), wanted, rtol=1e-12, atol=1e-12)


def gaussian_process(n: int) -> Callable[[Any], Any]:
    """Return the log marginal likelihood of a Gaussian process by five kernel parameters."""
    rng = np.random.default_rng(n)
    points, y = rng.normal(size=(n, 3)), rng.normal(size=n)
    squares = [(points[:, k, None] - points[:, k]) ** 2 for k in range(3)]

    def f(t: Any) -> Any:
        distance = sum(squares[k] * np.exp(-2 * t[k]) for k in range(3))
        kernel = np.exp(t[3]) * np.exp(-0.5 * distance) + (np.exp(t[4]) + 1e-6) * np.eye(n)
        factor = np.linalg.cholesky(kernel)
        half = sl.solve_triangular(factor, y, lower=True)
        return 0.5 * half @ half + np.sum(np.log(np.diag(factor)))

    return f


PARAMETERS = np.array([0.1, 0.2, 0.3, 0.1, -1.0])


def test_the_gradient_of_a_gaussian_process_takes_memory_of_a_few_matrices() -> None:
    n = 300  # the Jacobian of its Cholesky factor would take 65 GB
    f = gaussian_process(n)
    J = chainad.jacobian(f)
    tracemalloc.start()
    found = J(PARAMETERS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_allclose(found, differences(f, PARAMETERS), rtol=1e-6)
    assert peak < 60 * n * n * 8
    plan = chainad.plan(f, PARAMETERS)
    assert plan.mode == "reverse"
    assert plan.peak.bytes < 40 * n * n * 8


@pytest.mark.parametrize("upper", [False, True])
def test_a_large_cholesky_factor_is_pulled_back_block_by_block(upper: bool) -> None:
    n = 3 * MAX_UNBLOCKED_ROWS + 5
    A, W = (rng.normal(size=(n, n)) for _ in range(2))
    x, direction = A @ A.T / n + np.eye(n), np.triu(A) if upper else np.tril(A)

    def f(x: Any) -> Any:
        return np.sum(W * np.linalg.cholesky(x, upper=upper) ** 2)

    found = chainad.jacobian(f, mode="reverse")(x)
    wanted = chainad.jacobian(lambda t: f(x + t * direction), mode="forward")(np.zeros(()))
    np.testing.assert_allclose(np.sum(found * direction), wanted, rtol=1e-9)
    assert not np.any(np.tril(found, -1) if upper else np.triu(found, 1))


def test_a_wide_function_of_a_factor_takes_five_tangents_pushed_forward() -> None:
    n = 12
    points = np.random.default_rng(n).normal(size=(n, 3))
    squares = [(points[:, k, None] - points[:, k]) ** 2 for k in range(3)]

    def f(t: Any) -> Any:
        distance = sum(squares[k] * np.exp(-2 * t[k]) for k in range(3))
        kernel = np.exp(t[3]) * np.exp(-0.5 * distance) + (np.exp(t[4]) + 1e-6) * np.eye(n)
        return np.linalg.cholesky(kernel)

    plan = chainad.plan(f, PARAMETERS)
    applied = [s for s in plan.steps if plan.structures[s.left].action is not None]
    assert {s.direction for s in applied} == {"forward"}
    assert sum(s.multiplications for s in applied) == 5 * 3 * n**3


# Functions of numpy.linalg that run for a value with its gradient, one number through all parts.
GRADIENTS: dict[str, tuple[Callable[[Any], Any], np.ndarray, dict[str, int]]] = {
    "cholesky": (np.linalg.cholesky, SYMMETRIC, {"cholesky": 1}),
    "eigh": (lambda x: np.multiply(*np.linalg.eigh(x)), SYMMETRIC, {"eigh": 1}),
    "svd": (lambda x: sum(y @ y.T for y in np.linalg.svd(x)), SQUARE, {"svd": 1}),
    "qr": (lambda x: sum(np.linalg.qr(x)), SQUARE, {"qr": 1}),
    "pinv": (np.linalg.pinv, TALL, {"pinv": 1, "svd": 1}),
    "lstsq": (lambda x: np.linalg.lstsq(x, np.ones(5))[0], TALL, {"svd": 1}),
    "sqrtm": (sl.sqrtm, SQUARE, {}),
}


@pytest.mark.parametrize("name", GRADIENTS)
@pytest.mark.parametrize("is_compiled", [False, True])
def test_a_gradient_factorises_once(name: str, is_compiled: bool) -> None:
    f, x, wanted = GRADIENTS[name]
    J = chainad.jacobian(lambda x: np.sum(np.sin(f(x))))
    if is_compiled:
        J = J.compile()
        J(x)
    counts: Counter[str] = Counter()
    file = inspect.getfile(inspect.unwrap(np.linalg.cholesky))

    def count(frame: Any, event: str, arg: Any) -> None:
        if event == "call" and frame.f_code.co_filename == file:
            counts[frame.f_code.co_name] += 1

    sys.setprofile(count)
    try:
        J(x)
    finally:
        sys.setprofile(None)
    factorizations = {"cholesky", "eigh", "eigvalsh", "svd", "svdvals", "qr", "pinv", "matrix_rank"}
    assert {k: n for k, n in counts.items() if k in factorizations} == wanted
