"""Fused loops: elementwise operations on large arrays as nests, between calls of NumPy."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from functions import FUNCTIONS
from loops_as_python import run_loops_as_python

import chainad
from chainad.errors import FallbackWarning

Function = Callable[..., Any]
rng = np.random.default_rng(3)


@pytest.fixture(autouse=True)
def small_and_as_python(monkeypatch: Any, request: Any) -> None:
    """Fuse operations on small arrays, too, and run nests as the Python that they are."""
    for name in ("MAX_ELEMENTS_PER_LOOP", "MAX_UNROLLED_SCALAR_OPS"):
        monkeypatch.setattr(f"chainad.api.choose_backend.{name}", 0)
    for name in ("MIN_FUSED_ELEMENTS", "MIN_SHORT_ROW_ELEMENTS"):
        monkeypatch.setattr(f"chainad.compiler.passes.fuse_elementwise.{name}", 1)
    if "numba" not in request.keywords:
        run_loops_as_python(monkeypatch)


def fused(f: Function, x: Any, **how: Any) -> Any:
    """Return a compiled function; that something else runs it is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return chainad.value_and_jacobian(f, backend="numba", **how).compile(x)


def losses(W: Any) -> Any:
    scores = X @ W
    top = np.max(scores, axis=1, keepdims=True)
    return np.log(np.sum(np.exp(scores - top), axis=1)) + top[:, 0] - scores[:, 0]


def surface(u: Any) -> Any:
    u = u.reshape(5, 6)
    dx, dy = u[1:, :-1] - u[:-1, :-1], u[:-1, 1:] - u[:-1, :-1]
    return np.sum(np.sqrt(1 + dx * dx + dy * dy))


def recomputed(x: Any) -> Any:
    return np.sum((x - 1.0) * np.tanh(x[::-1]) + (x + 2.0) * np.sin(x[::-1]))


X = rng.normal(size=(7, 4))
WRITTEN = {
    "losses": (losses, rng.normal(size=(4, 3))),
    "surface": (surface, rng.normal(size=30)),
    "backwards": (lambda x: x[::-1] * x[1] - x.reshape(2, 3).T.ravel() / x, rng.normal(size=6)),
    "sums": (lambda x: np.sum(np.outer(x, x) * x - x, -1, keepdims=True), rng.normal(size=19)),
    "recomputed": (recomputed, rng.uniform(1, 2, (6, 1))),
    "selections": (lambda x: np.where(x > 0.1, x * x, -x) + np.maximum(x, 0.2), rng.normal(size=6)),
}
TABLE = (
    "attention", "batch_through_network", "burgers_by_roll", "covariance", "gmm_log_likelihood",
    "gravity", "in_place", "laplace_in_two_dimensions", "layer_norm", "logistic_regression",
    "masks", "matrix_to_matrix", "moving_average", "norms", "pairwise_distances", "reshapes",
    "sizes_of_one", "softmax_rows", "special_functions", "standardized",
)  # fmt: skip


@pytest.mark.parametrize("name", [*WRITTEN, *TABLE])
def test_fused_loops_compute_what_numpy_does(name: str) -> None:
    f, x = (WRITTEN | FUNCTIONS)[name]
    verb = chainad.value_and_jacobian
    with warnings.catch_warnings():
        # Where there is nothing to fuse; that something fails is told in other words.
        warnings.filterwarnings("ignore", "backend='numba' cannot run", FallbackWarning)
        ours = verb(f, backend="numba").compile(x)
    for point in (x, x * 1.01):
        (value, J), (wanted, wanted_J) = ours(point), verb(f)(point)
        assert type(value) is type(wanted)
        assert (J.shape, J.dtype) == (wanted_J.shape, wanted_J.dtype)
        size = max(1.0, np.abs(wanted_J).max(initial=0))
        np.testing.assert_allclose(value, wanted, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(J, wanted_J, rtol=1e-10, atol=1e-11 * size)


@pytest.mark.parametrize("name", WRITTEN)
def test_operations_on_arrays_of_one_shape_are_one_nest(name: str) -> None:
    ours = fused(*WRITTEN[name])
    assert "def loops0(" in ours.source
    assert "fused loops between calls of NumPy" in str(ours)


def test_results_are_not_overwritten_by_later_calls() -> None:
    f, x = WRITTEN["losses"]
    ours = fused(f, x)
    first = ours(x)
    kept = [array.copy() for array in first]
    second = ours(x + 1)
    for array, copy in zip(first, kept, strict=True):
        np.testing.assert_array_equal(array, copy)
    assert not np.array_equal(first[1], second[1])


def test_nests_read_and_write_arrays_of_any_layout() -> None:
    def f(x: Any) -> Any:
        return np.sum((A - x) * (A * x), axis=1)

    A = rng.normal(size=(3, 4)).T
    x = rng.normal(size=(4, 3))
    ours, wanted = fused(f, x), chainad.jacobian(f)(x)
    out = np.empty((*wanted.shape[:-1], 6))[..., ::2]
    assert ours(x, out=out)[1] is out
    np.testing.assert_allclose(out, wanted, rtol=1e-12)
    A.flags.writeable = False
    np.testing.assert_allclose(ours(np.asfortranarray(x))[1], wanted, rtol=1e-12)


def test_nan_and_infinity_come_out_as_numpy_has_them() -> None:
    f, x = WRITTEN["selections"]
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 0.2])
    with np.errstate(all="ignore"):
        for mine, wanted in zip(fused(f, x)(x), chainad.value_and_jacobian(f)(x), strict=True):
            np.testing.assert_array_equal(mine, wanted)


@pytest.mark.numba
def test_machine_code_of_nests_agrees_with_numpy(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("CHAINAD_CACHE", str(tmp_path))
    f, x = WRITTEN["sums"]
    for mine, wanted in zip(fused(f, x)(x), chainad.value_and_jacobian(f)(x), strict=True):
        np.testing.assert_allclose(mine, wanted, rtol=1e-12, atol=1e-14)
