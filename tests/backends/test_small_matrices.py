"""Linear algebra inside loops: as NumPy computes it, and refuses it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from loops_as_python import run_loops_as_python

import chainad
from chainad.scipy import linalg

rng = np.random.default_rng(0)
A, B = rng.normal(size=(3, 3)), rng.normal(size=(4, 3, 3))
S = A @ A.T + np.eye(3)

CASES: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "solve": (lambda a: np.linalg.solve(a, a[0] ** 2), A),
    "solve_by_columns": (lambda a: np.linalg.solve(a.T, a[:, :2] * a[0, 0]), A),
    "solve_many": (lambda a: np.linalg.solve(a, a[..., :1] ** 2), B),
    "solve_one_for_many": (lambda a: np.linalg.solve(a[0], a[:, :, :2]), B),
    "inv": (np.linalg.inv, B),
    "det": (np.linalg.det, B),
    "det_of_two": (lambda a: np.linalg.det(a[:, :2, :2]), B),
    "slogdet": (lambda a: np.stack(np.linalg.slogdet(a * a[0, 0])), A),
    "cholesky": (np.linalg.cholesky, S),
    "cholesky_upper": (lambda a: np.linalg.cholesky(a, upper=True), S),
    "triangular": (lambda a: linalg.solve_triangular(a, a[0] ** 2, lower=True), A),
    "triangular_transposed": (lambda a: linalg.solve_triangular(a, a[:, :2] ** 2, trans=1), A),
    "positive": (lambda a: linalg.cho_solve(linalg.cho_factor(a), a[0] ** 2), S),
}


def compiled(f: Callable[[Any], Any], x: Any, mode: Any = "auto") -> Any:
    return chainad.value_and_jacobian(f, mode=mode, backend="numba").compile(x)


@pytest.mark.parametrize("mode", ["forward", "reverse"])
@pytest.mark.parametrize("name", CASES)
def test_loops_solve_and_factorize_as_numpy_does(
    name: str, mode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_loops_as_python(monkeypatch)
    f, x = CASES[name]
    ours = compiled(f, x, mode)
    assert "def nest0" in ours.source
    for point in (x, 1.5 * x):
        wanted = chainad.value_and_jacobian(f, mode=mode)(point)
        for found, expected in zip(ours(point), wanted, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)


def test_one_factorization_serves_all_that_read_a_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    run_loops_as_python(monkeypatch)

    def f(a: Any) -> Any:
        return np.linalg.solve(a, a[0]) @ np.linalg.solve(a.T, a[1]) + np.linalg.slogdet(a)[1]

    source = compiled(f, A).source
    (kernel,) = (x for x in source.split("def ") if "pivots[j] = pivot" in x)
    assert source.count(kernel.partition("(")[0] + "(") == 2  # its definition, and one call


@pytest.mark.numba
def test_captured_arrays_are_read_where_they_are(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("CHAINAD_CACHE", str(tmp_path))
    monkeypatch.setattr("chainad.api.choose_backend.MAX_UNROLLED_SCALAR_OPS", 0)
    rows, columns = A.copy(), np.asfortranarray(B[0])
    ours = compiled(lambda x: np.tanh(rows @ np.sin(columns @ x)), A[0])
    for array in (rows, columns):
        np.multiply(array, 1.5, out=array)
        wanted = chainad.jacobian(lambda x: np.tanh(rows @ np.sin(columns @ x)))(A[0])
        np.testing.assert_allclose(ours(A[0])[1], wanted, rtol=1e-12)


def steps(a: Any) -> Any:
    x = a[0]
    for _ in range(6):
        x = x - 0.1 * np.linalg.solve(a, np.sin(x))
    return x


@pytest.mark.numba
def test_machine_code_refuses_what_numpy_refuses(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("CHAINAD_CACHE", str(tmp_path))
    ours = compiled(steps, A)
    assert "for t in range(" in ours.source
    for found, wanted in zip(ours(A), chainad.value_and_jacobian(steps)(A), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
    with pytest.raises(np.linalg.LinAlgError, match="Singular matrix"):
        ours(np.ones((3, 3)))
    np.testing.assert_allclose(ours(A)[0], steps(A), rtol=1e-12)  # it has not stayed so
    factor = compiled(np.linalg.cholesky, S)
    with pytest.raises(np.linalg.LinAlgError, match="Matrix is not positive definite"):
        factor(-S)
