"""Linear algebra beyond first derivatives: Hessians of batches and of singular matrices."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainad

rng = np.random.default_rng(0)
BATCH = rng.normal(size=(2, 3, 3)) + 3 * np.eye(3)


def differences(f: Callable[..., Any], x: np.ndarray, h: float = 1e-5) -> np.ndarray:
    """Central differences of f, of shape f(x).shape + x.shape."""
    units = np.eye(x.size).reshape(-1, *x.shape)
    columns = np.stack([(f(x + h * e) - f(x - h * e)) / (2 * h) for e in units], axis=-1)
    return columns.reshape(*columns.shape[:-1], *x.shape)


def by_minors(a: Any) -> Any:
    """The determinant in sums and products alone, by its first row."""
    if len(a) == 1:
        return a[0, 0]
    others = [[k for k in range(len(a)) if k != j] for j in range(len(a))]
    return sum((-1) ** j * a[0, j] * by_minors(a[1:][:, rest]) for j, rest in enumerate(others))


@pytest.mark.parametrize(
    "f",
    [
        np.linalg.pinv,
        np.linalg.det,
        np.linalg.inv,
        np.linalg.svdvals,
        lambda x: np.linalg.svdvals(x[:, :2]),
        lambda x: np.linalg.cholesky(x @ np.matrix_transpose(x) + np.eye(3)),
        lambda x: np.linalg.eigh(x + np.matrix_transpose(x))[1],
    ],
    ids=["pinv", "det", "inv", "svdvals", "svdvals of wide", "cholesky", "eigh"],
)
def test_hessians_of_batches_agree_with_differences(f: Callable[..., Any]) -> None:
    J = chainad.jacobian(f)
    np.testing.assert_allclose(chainad.jacobian(J)(BATCH), differences(J, BATCH), atol=1e-6)


def singular(rank: int, n: int = 3, noise: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng([rank, n])
    product = rng.normal(size=(n, rank)) @ rng.normal(size=(rank, n))
    return np.asarray(product + noise * rng.normal(size=(n, n)))


@pytest.mark.parametrize(
    "a",
    [*(singular(rank) for rank in range(4)), *(singular(2, 3, e) for e in (1e-14, 1e-11, 1e-8))],
)
def test_determinants_have_hessians_near_and_at_singular_matrices(a: np.ndarray) -> None:
    found = chainad.jacobian(chainad.jacobian(np.linalg.det))(a)
    wanted = chainad.jacobian(chainad.jacobian(by_minors))(a)
    np.testing.assert_allclose(found, wanted, atol=1e-13)


def test_second_derivatives_of_determinants_take_products_of_matrices() -> None:
    n = 30
    a, weights = rng.normal(size=(2, n, n)) / np.sqrt(n)

    def f(a: Any) -> Any:
        return np.sum(weights * chainad.jacobian(np.linalg.det)(a))

    plan = chainad.plan(f, a)
    assert plan.multiplications < 5 * n**3
    assert plan.peak.bytes < 100 * n**2


def test_third_derivatives_of_determinants_are_right_or_refused() -> None:
    def third(f: Callable[..., Any]) -> Callable[..., Any]:
        return chainad.jacobian(chainad.jacobian(chainad.jacobian(f)))

    a = BATCH[0]
    np.testing.assert_allclose(third(np.linalg.det)(a), third(by_minors)(a), atol=1e-12)
    for a in (singular(2), singular(2, 3, 1e-9), np.zeros((3, 3))):
        with pytest.raises(np.linalg.LinAlgError, match="condition number is above 1e5"):
            third(np.linalg.det)(a)


def test_jacobians_of_nothing_but_an_operator_are_differentiated_again() -> None:
    a, b = BATCH[0], np.array([1.0, -2.0, 0.5])
    J = chainad.jacobian(lambda s, x: -np.linalg.solve(s * a, x), argnums=1)
    found = chainad.jacobian(lambda s: J(s, b))(np.float64(2.0))
    np.testing.assert_allclose(found, np.linalg.inv(a) / 4, rtol=1e-12)
