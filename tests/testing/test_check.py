"""The helpers for tests: the check of a Jacobian finds what is wrong, the examples run."""

import numpy as np
import pytest

import chainad
from chainad.testing import check, check_jacobian


def test_check_accepts_right_jacobians() -> None:
    A = np.arange(6.0).reshape(2, 3)
    check_jacobian(lambda x: np.tanh(A @ x), np.array([0.1, -0.2, 0.3]))
    check_jacobian(lambda x, y: (x * y, np.sum(x)), np.ones(2), np.full(2, 3.0), argnums=(0, 1))
    check_jacobian(lambda x, y: x - y, np.ones(2), np.ones(2), argnums=1)
    check_jacobian(lambda x, y: x - y, np.ones(2), np.ones(2), argnums=-1)
    check_jacobian(np.sin, 0.5)


def test_check_says_where_a_jacobian_is_wrong() -> None:
    def f(x: np.ndarray) -> np.ndarray:
        return x * chainad.stop_gradient(x)

    with pytest.raises(AssertionError) as error:
        check_jacobian(f, np.array([1.0, 3.0]), modes=["reverse"])
    assert str(error.value) == (
        "mode='reverse': d(output 0)/d(argument 0) differs from central differences in 2 of 4"
        " entries, most at (1, 1): got 3, wanted 6"
    )


def test_check_looks_at_every_output_and_argument() -> None:
    def f(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return x + y, x * chainad.stop_gradient(y) + y

    with pytest.raises(AssertionError, match=r"d\(output 1\)/d\(argument 1\) differs"):
        check_jacobian(f, np.ones(2), np.full(2, 2.0), argnums=(0, 1))


def test_check_refuses_another_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "jacobian", lambda *args, **options: lambda x: np.ones((2, 1)))
    with pytest.raises(AssertionError, match=r"has shape \(2, 1\), but must have \(2, 2\)"):
        check_jacobian(np.sin, np.ones(2))


def test_check_finds_nan_in_place_of_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        check, "jacobian", lambda *args, **options: lambda x: np.full((2, 2), np.nan)
    )
    with pytest.raises(AssertionError, match="in 4 of 4 entries"):
        check_jacobian(np.sin, np.ones(2))
