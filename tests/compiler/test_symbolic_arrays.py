"""Calls of NumPy on arrays of expressions: right on scalars, or left to NumPy with a reason."""

from typing import Any

import numpy as np
import pytest

import chainad
from chainad.compiler.scalar.symbolic_array import SymbolicArray
from chainad.errors import FallbackWarning
from chainad.ir.scalar_graph import ExpressionDAG, NotScalarError


def sum_of_some(x):
    np.sum(x, axis=-2, where=np.reshape(np.arange(np.size(x)) % 2 == 0, np.shape(x)))
    return x * 2


def branch_on_sum_of_some(x):
    return x * 2 if np.sum(x, where=[True, False]) + np.prod(x, where=[False, False]) > 1 else x


ON_SCALARS: dict[str, tuple[Any, Any]] = {
    "max with initial": (
        lambda x: x * 0.7 if np.max(np.abs(x), initial=0) > 0.6 else x, np.array([0.1, 0.7]),
    ),
    "initial is the largest": (
        lambda x: x * 0.7 if np.max(x, initial=0.9) > 0.8 else x, np.array([0.1, 0.7]),
    ),
    "max of nothing with initial": (
        lambda x: x * 0.7 if np.max(x[:0], initial=2.0) > 0.6 else x, np.array([0.1, 0.2]),
    ),
    "min along empty rows": (
        lambda x: x * 0.7 if np.min(x[:, :0], axis=1, initial=2.0)[0] > 1 else x, np.ones((2, 3)),
    ),
    "sum where": (sum_of_some, np.ones((2, 1, 3))),
    "branch on sum and product where": (branch_on_sum_of_some, np.array([0.3, 0.4])),
    "max where": (
        lambda x: x if np.max(x, where=np.array([True, False]), initial=0) > 0.5 else -x,
        np.array([0.3, 0.4]),
    ),
    "all of nothing": (lambda x: x if np.all(x < 0.5) else -x, np.zeros(0)),
    "any of nothing": (lambda x: x if np.any(x < 0.5) else -x, np.zeros(0)),
    "ldexp": (lambda x: np.ldexp(x, 2) * np.ldexp(x, [1, -3]), np.array([0.3, 0.4])),
    "no entries": (lambda x: np.diff(x, axis=-2), np.ones((2, 1, 3))),
}  # fmt: skip


def masked(x):
    v = np.floor_divide(x, x + 4.0)
    return v[v > 0.1]


LEFT_TO_NUMPY: dict[str, tuple[Any, Any, str]] = {
    "mask": (masked, np.linspace(-0.8, 1, 9).reshape(3, 3, 1), "an index depends on values"),
}  # fmt: skip


@pytest.mark.parametrize("name", ON_SCALARS)
def test_every_backend_runs(name: str) -> None:
    f, x = ON_SCALARS[name]
    close_to_traced(f, x, "auto", "python")


@pytest.mark.numba
@pytest.mark.parametrize("name", ["no entries", "all of nothing"])
def test_machine_code_of_no_entries_runs(name: str) -> None:
    f, x = ON_SCALARS[name]
    close_to_traced(f, x, "numba")


def test_floor_division_by_an_array_of_traced_numbers() -> None:
    close_to_traced(
        lambda x: x * np.floor_divide(x, np.full((2, 2), np.mean(x)).sum(axis=1) + 4.0)[0],
        np.float64(-0.9),
        "auto",
    )


def close_to_traced(f: Any, x: Any, *backends: str) -> None:
    wanted = chainad.jacobian(f)(x)
    points = np.stack([x, x])
    for backend in backends:
        compiled = chainad.compile(chainad.jacobian(f), x, backend=backend)
        np.testing.assert_allclose(compiled(x), wanted, rtol=1e-15)
        batched = chainad.jacobian(f, batch=0, backend=backend)
        np.testing.assert_allclose(batched(points), np.stack([wanted, wanted]), rtol=1e-15)


@pytest.mark.parametrize("name", LEFT_TO_NUMPY)
def test_what_is_left_to_numpy_says_why(name: str) -> None:
    f, x, reason = LEFT_TO_NUMPY[name]
    wanted = chainad.jacobian(f)(x)
    with pytest.warns(FallbackWarning, match=reason):
        found = chainad.compile(chainad.jacobian(f), x, backend="python")(x)
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(chainad.jacobian(f, batch=0)(x[None])[0], wanted)


def test_a_contraction_of_too_many_products_is_refused_before_it_is_made() -> None:
    dag = ExpressionDAG(max_nodes=2_000)

    def variables(m: int, n: int) -> SymbolicArray:
        nodes = [dag.variable(len(dag.functions) + k) for k in range(m * n)]
        return SymbolicArray(dag, np.array(nodes, object).reshape(m, n), np.dtype(float))

    x, y = variables(20, 20), variables(20, 20)
    before = len(dag.functions)
    with pytest.raises(NotScalarError, match="more than 2000 operations"):
        x @ y
    assert len(dag.functions) == before
    assert (np.eye(20) @ y).shape == (20, 20)  # 400 products of ones, 7,600 of zeros
