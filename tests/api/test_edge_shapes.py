"""Arrays without entries, empty indices, numbers where arrays are usual: as in plain NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from functions import numerical

import chainad

Function = Callable[..., Any]


def written(key: Any) -> Function:
    def f(x: Any) -> Any:
        z = x * 2.0
        z[key] = 0.0
        return z

    return f


def added_at_nothing(x: Any) -> Any:
    z = x * 2.0
    np.add.at(z, [], 1.0)
    return z


TWO = np.array([0.3, 0.7])
CASES: dict[str, tuple[Function, Any]] = {
    "reshape": (lambda x: x.reshape(0, 3) * 2, np.zeros((0, 3))),
    "reshape to other axes": (lambda x: x.reshape(3, 0, 2), np.zeros((0, 4))),
    "ravel": (lambda x: x.ravel(), np.zeros((0, 3))),
    "identity": (lambda x: x, np.zeros(0)),
    "transpose": (lambda x: x.T * 1.5, np.zeros((2, 0))),
    "sum": (np.sum, np.zeros((0, 2))),
    "sum of nothing": (lambda x: np.sum(x[:0]) + x, TWO),
    "prod of nothing": (lambda x: np.prod(x[:0]) * x, TWO),
    "norm of nothing": (lambda x: np.linalg.norm(x[:0]) + x, TWO),
    "matmul over nothing": (lambda x: x @ np.zeros((0, 3)), np.zeros((2, 0))),
    "matmul of nothing": (lambda x: np.zeros((0, 2)) @ x, TWO),
    "einsum": (lambda x: np.einsum("ij,jk->ik", x, np.ones((0, 2))), np.zeros((3, 0))),
    "solve": (lambda x: np.linalg.solve(np.eye(0), x), np.zeros(0)),
    "stack": (lambda x: np.stack([x, x]), np.zeros(0)),
    "concatenate": (lambda x: np.concatenate([x, np.zeros(0)]), TWO),
    "cumsum": (np.cumsum, np.zeros(0)),
    "sort": (np.sort, np.zeros(0)),
    "fft": (lambda x: np.abs(np.fft.fft(x, axis=0)), np.zeros((2, 0))),
    "get at nothing": (lambda x: x[[]], TWO),
    "take nothing": (lambda x: np.take(x, np.zeros(0, int)), TWO),
    "delete nothing": (lambda x: np.delete(x, []), TWO),
    "insert nothing": (lambda x: np.insert(x, [], []), TWO),
    "mesh of nothing": (lambda x: x[np.ix_([], [0])], np.ones((2, 2))),
    "write at nothing": (written([]), TWO),
    "write at no mask": (written(np.zeros(2, bool)), TWO),
    "write at an empty slice": (written(slice(1, 1)), TWO),
    "write at nothing of two axes": (written(([], slice(None))), np.ones((2, 2))),
    "add at nothing": (added_at_nothing, TWO),
    "piecewise of a number": (
        lambda x: np.piecewise(x, [x > 0], [lambda v: v * v, 0.0]), np.float64(3.0),
    ),
    "the rest of piecewise": (
        lambda x: np.piecewise(x, [x > 5, x < 0], [np.sin, np.cos, np.square]), np.array(3.0),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_edge_shapes_are_those_of_numpy(name: str) -> None:
    f, x = CASES[name]
    plain = np.asarray(f(x))
    wanted = numerical(f, np.asarray(x))
    for mode in ("auto", "forward", "reverse"):
        J = chainad.jacobian(f, mode=mode)(x)
        assert J.shape == plain.shape + np.shape(x)
        np.testing.assert_allclose(J, wanted, rtol=1e-9, atol=1e-9)
    compiled = chainad.compile(chainad.jacobian(f), x)
    np.testing.assert_array_equal(compiled(x), J)
    for output in ("sparse", "structured", "operator"):
        other = chainad.jacobian(f, output=output)(x)
        full = other @ np.eye(np.size(x)) if output == "operator" else other.toarray()
        np.testing.assert_allclose(np.reshape(full, J.shape), J, rtol=1e-12, atol=1e-12)
    batched = chainad.jacobian(f, batch=0)(np.stack([x, x]))
    np.testing.assert_allclose(batched, np.stack([J, J]), rtol=1e-12, atol=1e-12)


@pytest.mark.numba
@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore::chainad.errors.FallbackWarning")
def test_edge_shapes_are_those_of_numpy_in_machine_code(name: str) -> None:
    f, x = CASES[name]
    wanted = chainad.jacobian(f)(x)
    np.testing.assert_allclose(
        chainad.compile(chainad.jacobian(f), x, backend="numba")(x), wanted, rtol=1e-12, atol=1e-12
    )


def test_second_derivatives_of_eigenvalues_are_right_for_six_rows() -> None:
    A = np.diag(np.arange(1.0, 7.0)) + 0.1
    H = chainad.jacobian(chainad.jacobian(np.linalg.eigvalsh))(A)
    assert H.shape == (6,) * 5
    step = np.zeros((6, 6))
    step[0, 0] = 1e-5
    slope = chainad.jacobian(np.linalg.eigvalsh)
    np.testing.assert_allclose(
        H[..., 0, 0], (slope(A + step) - slope(A - step)) / 2e-5, rtol=1e-6, atol=1e-8
    )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: chainad.plan_chain(5), "sequence of sizes.*but got 5"),
        (lambda: chainad.plan_chain("34"), "sequence of sizes.*but got '34'"),
        (lambda: chainad.plan_graph([("a", None)]), "None"),
        (lambda: chainad.plan_graph([(None, "a")]), "None"),
        (lambda: chainad.plan_graph(None), "pairs"),
    ],
)
def test_what_is_no_chain_or_graph_is_refused(call: Function, words: str) -> None:
    with pytest.raises(chainad.InputError, match=words):
        call()


def test_more_workers_than_steps_change_nothing() -> None:
    plan = chainad.plan_chain([3, 4, 5, 6])
    assert plan.schedule(10**12).makespan == plan.schedule(2).makespan
