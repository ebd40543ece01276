"""The helpers for tests: the check of derivatives finds what is wrong."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainad
from chainad.testing import check, check_jacobian

A = np.arange(6.0).reshape(2, 3)
X = np.array([0.1, -0.2, 0.3])


def test_check_accepts_right_jacobians() -> None:
    check_jacobian(lambda x: np.tanh(A @ x), X)
    check_jacobian(lambda x, y: (x * y, np.sum(x)), np.ones(2), np.full(2, 3.0), argnums=(0, 1))
    check_jacobian(lambda x, y: x - y, np.ones(2), np.ones(2), argnums=1)
    check_jacobian(lambda x, y: x - y, np.ones(2), y=np.ones(2), argnums="y")
    check_jacobian(np.sin, 0.5)
    check_jacobian(lambda x: np.zeros(0), X)


def energy(w: Any, x: Any) -> Any:
    return np.sum(np.tanh(w["W"] @ x) ** 2) + w["b"] ** 3


W = {"W": A, "b": 0.5}
DERIVATIVES: dict[str, Callable[..., Any]] = {
    "jacobian": chainad.jacobian(energy, (0, "x")),
    "sparse": chainad.jacobian(energy, output="sparse"),
    "structured": chainad.jacobian(energy, output="structured"),
    "operator": chainad.jacobian(energy, output="operator"),
    "value_and_jacobian": chainad.value_and_jacobian(energy),
    "grad": chainad.grad(energy),
    "compiled": chainad.value_and_grad(energy, (0, 1)).compile(),
    "has_aux": chainad.grad(lambda w, x: (energy(w, x), "text"), has_aux=True),
    "hessian": chainad.hessian(energy),
    "compiled hessian": chainad.hessian(energy, (0, 1)).compile(),
}


@pytest.mark.parametrize("name", DERIVATIVES)
def test_check_takes_what_every_verb_returns(name: str) -> None:
    report = check_jacobian(DERIVATIVES[name], W, X)
    assert report.passed
    assert report.uncertain == 0
    is_second = "hessian" in name
    assert report.method == ("differences at two steps" if is_second else "the complex step")
    assert report.worst.compared >= 7
    assert report.worst.error < (1e-8 if is_second else 1e-14)


def test_check_says_where_a_jacobian_is_wrong() -> None:
    def f(x: np.ndarray) -> np.ndarray:
        return x * chainad.stop_gradient(x)

    with pytest.raises(AssertionError) as error:
        check_jacobian(f, np.array([1.0, 3.0]), modes=["reverse"])
    assert str(error.value) == (
        "compared with the complex step\n"
        "mode='reverse': d(output 0)/d(argument 0) differs in 2 of 4 entries, most at (1, 1): got"
        " 3, wanted 6"
    )


def test_check_looks_at_every_output_and_argument() -> None:
    def f(x: Any, y: Any) -> Any:
        return {"a": x + y["b"], "c": [x * chainad.stop_gradient(y["b"]) + y["b"]]}

    with pytest.raises(AssertionError) as error:
        check_jacobian(f, np.ones(2), {"b": np.full(2, 2.0)}, argnums=(0, 1))
    assert "d(the result['c'][0])/d(argument 1['b']) differs in 2 of 16 entries" in str(error.value)


def test_check_looks_in_random_directions_where_there_are_many() -> None:
    many = np.linspace(-1.0, 1.0, 2 * check.MAX_CHECKED_COLUMNS)
    report = check_jacobian(lambda x: np.sin(x) * x[0], many)
    assert report.comparisons[0].compared == many.size * check.RANDOM_DIRECTIONS
    with pytest.raises(AssertionError, match=r"d\(output 0\)/d\(a random direction\) differs"):
        check_jacobian(lambda x: np.sin(x) * chainad.stop_gradient(x[7]), many)


def test_differences_are_taken_where_the_complex_step_fails() -> None:
    for f in (np.abs, lambda x: np.sqrt(x * np.conj(x)).real, lambda x: np.hypot(x, 1.0)):
        assert check_jacobian(f, X).method == "differences at two steps"
    # Close to a kink they say nothing.
    report = check_jacobian(lambda x: np.abs(x - 2e-4), np.array([0.0, 1.0]))
    assert (report.uncertain, report.comparisons[0].compared) == (1, 3)
    with pytest.raises(AssertionError, match="nothing can be compared"):
        check_jacobian(lambda x: np.abs(x - 2e-4), 0.0)


def test_check_refuses_another_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    returns(monkeypatch, np.ones((2, 1)))
    with pytest.raises(AssertionError, match=r"has shape \(2, 1\), but must have \(2, 2\)"):
        check_jacobian(np.sin, np.ones(2))


def test_check_finds_nan_in_place_of_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    returns(monkeypatch, np.array([[np.cos(1.0), 0.0], [0.0, np.nan]]))
    with pytest.raises(AssertionError, match=r"in 1 of 4 entries, most at \(1, 1\): got nan"):
        check_jacobian(np.sin, np.ones(2))


def returns(monkeypatch: pytest.MonkeyPatch, found: np.ndarray) -> None:
    """Let every Jacobian be this one."""
    monkeypatch.setattr(chainad.JacobianFunction, "__call__", lambda self, *args, **how: found)
