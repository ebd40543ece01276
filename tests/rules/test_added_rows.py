"""One row is all that a function needs: its kind says what every part of chainad makes of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from loops_as_python import run_loops_as_python

import chainad
from chainad.api import batches
from chainad.api.recorded_run import record_planned_run
from chainad.ir.calls import Guard
from chainad.rules.base import CONSTANT, REDUCTIONS, RULES, dispatching
from chainad.rules.contraction import contraction
from chainad.rules.elementwise import elementwise
from chainad.rules.kinds import Einsum
from chainad.rules.movement import movement
from chainad.rules.reduction import reduction
from chainad.testing import coverage

Function = Callable[..., Any]
rng = np.random.default_rng(0)
X = rng.uniform(0.2, 0.9, size=(3, 4))
A = rng.uniform(0.2, 0.9, size=(3, 2))


@dispatching
def softplus(x: Any) -> Any:
    return np.log1p(np.exp(x))


@dispatching
def every_other(x: Any) -> Any:
    return x[..., ::2]


@dispatching
def sum_of_squares(x: Any, axis: Any = None, keepdims: Any = False) -> Any:
    return np.sum(x * x, axis=axis, keepdims=keepdims)


@dispatching
def gram(a: Any, b: Any) -> Any:
    return np.transpose(a) @ b


# By kind: the function, its row, and a use of it.
CASES: dict[str, tuple[Function, Callable[[], Any], Callable[[Function, Any], Any]]] = {
    "elementwise": (
        softplus,
        lambda: elementwise(
            softplus, lambda y, x: 1 - np.exp(-y), definition=lambda x: np.log1p(np.exp(x))
        ),
        lambda f, x: f(2 * x) * np.sin(x),
    ),
    "movement": (
        every_other,
        lambda: movement(every_other),
        lambda f, x: np.sin(f(x * x)) * f(x),
    ),
    "reduction": (
        sum_of_squares,
        lambda: reduction(sum_of_squares, definition=sum_of_squares.__wrapped__)(  # type: ignore[attr-defined]
            lambda y, x, axes: 2 * x
        ),
        lambda f, x: f(np.sin(x), axis=1) + f(x, keepdims=True)[0],
    ),
    "contraction": (
        gram,
        lambda: contraction(gram)(lambda a, b: Einsum(((a, (0, 1)), (b, (0, 2))), (1, 2))),
        lambda f, x: f(np.sin(x), A) + f(x, x)[:, :2],
    ),
}


@pytest.fixture(params=CASES)
def case(request: Any) -> Iterator[tuple[str, Function, Function, Function]]:
    """The kind, the function, a use of it, and the same use of what it is in NumPy's functions."""
    tables = (RULES, CONSTANT, REDUCTIONS)
    before = [dict(table) for table in tables]
    function, add, use = CASES[request.param]
    add()
    plain = function.__wrapped__  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield request.param, function, lambda x: use(function, x), lambda x: use(plain, x)
    for table, rows in zip(tables, before, strict=True):
        table.clear()  # type: ignore[attr-defined]
        table.update(rows)  # type: ignore[attr-defined]


def test_it_is_traced_and_planned(case: Any) -> None:
    _, function, f, plain = case
    wanted = chainad.jacobian(plain)(X)
    for mode in ("auto", "forward", "reverse"):
        np.testing.assert_allclose(chainad.jacobian(f, mode=mode)(X), wanted, rtol=1e-12)
    second = chainad.jacobian(chainad.jacobian(f))(X)
    np.testing.assert_allclose(second, chainad.jacobian(chainad.jacobian(plain))(X), atol=1e-12)
    assert any(o.name.endswith(function.__name__) for o in chainad.plan(f, X).graph.origins)


def test_its_shape_is_known_where_it_is_recorded(case: Any) -> None:
    *_, f, _ = case
    recording = record_planned_run(chainad.jacobian(f)._of, (X,), {}).recording
    assert not any(isinstance(i.op, Guard) for i in recording.program.instructions)


@pytest.mark.parametrize("backend", ["numpy", "python"])
def test_it_is_compiled(case: Any, backend: str) -> None:
    *_, f, plain = case
    compiled = chainad.jacobian(f, backend=backend).compile(X)
    for x in (X, X + 0.1):
        np.testing.assert_allclose(compiled(x), chainad.jacobian(plain)(x), rtol=1e-12)


@pytest.mark.numba
def test_it_is_compiled_to_machine_code(case: Any) -> None:
    *_, f, plain = case
    compiled = chainad.jacobian(f, backend="numba").compile(X)
    np.testing.assert_allclose(compiled(X + 0.1), chainad.jacobian(plain)(X + 0.1), rtol=1e-12)


def test_it_is_compiled_to_loops(case: Any, monkeypatch: Any) -> None:
    """Run as the Python that loops are written in; never on scalars one by one."""
    run_loops_as_python(monkeypatch)
    *_, f, plain = case
    compiled = chainad.jacobian(f, backend="numba").compile(X)
    np.testing.assert_allclose(compiled(X + 0.1), chainad.jacobian(plain)(X + 0.1), rtol=1e-12)


@pytest.mark.parametrize("by_arrays", [True, False])
def test_it_is_batched(case: Any, by_arrays: bool, monkeypatch: Any) -> None:
    calls = []
    run = batches.run_batched
    monkeypatch.setattr(batches, "run_batched", lambda *a: calls.append(a) or run(*a))
    for name in ("MIN_SCALAR_OPS_FOR_ARRAYS", "SCALAR_OPS_PER_STACKED_CALL"):
        monkeypatch.setattr(batches, name, 0 if by_arrays else 10**9)
    *_, f, plain = case
    points = np.stack([X, X + 0.1, X * 0.5])
    found = chainad.jacobian(f, batch=0, backend="numpy")(points)
    wanted = np.stack([chainad.jacobian(plain)(x) for x in points])
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-15)
    assert bool(calls) is by_arrays


def test_it_takes_complex_numbers_if_its_kind_is_holomorphic(case: Any) -> None:
    kind, *_, f, plain = case
    if kind in ("movement", "contraction"):
        J = chainad.jacobian(lambda x: f(x * (1 + 2j)).imag)
        wanted = chainad.jacobian(lambda x: plain(x * (1 + 2j)).imag)(X)
        np.testing.assert_allclose(J(X), wanted, rtol=1e-12)


def test_it_is_in_the_table(case: Any) -> None:
    kind, function, *_ = case
    assert coverage.status(function) == "differentiated"
    assert coverage.kind(function) == kind
    module = ModuleType("mine")
    vars(module)[function.__name__] = function
    row = f"| `{function.__name__}` | derivative ({kind}) | the same |"
    assert row in coverage.table({"mine": module}).splitlines()


def test_functions_of_one_name_are_told_apart_in_batches() -> None:
    """The row's function has the name of another that the same program calls."""

    @dispatching
    def exp(x: Any) -> Any:
        return np.exp(-x)

    try:
        elementwise(exp, lambda y, x: -y)
        f = lambda x: exp(x) * np.exp(2 * x)
        found = chainad.jacobian(f, batch=0, backend="numpy")(X)
    finally:
        RULES.pop(exp, None)
    np.testing.assert_allclose(found, [np.diag(np.exp(x)) for x in X], rtol=1e-12)
