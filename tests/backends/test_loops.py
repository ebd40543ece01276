"""Loops: array programs as loop nests, rerolled, against NumPy and against plain Python."""

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
from chainad.backends.numba import generated_modules
from chainad.backends.numba.loop_memory import allocate_loop_memory
from chainad.backends.numba.loops import module_source
from chainad.backends.numba.reroll import RerolledLoops
from chainad.compiler.loops.loop_builder import LoopBuilder, View
from chainad.errors import FallbackWarning
from chainad.ir.loop_program import LoopProgram

Function = Callable[..., Any]
rng = np.random.default_rng(3)

# Functions of the table that have no form as loops, and a word of the reason given.
REFUSED = {
    "einsum_with_diagonals": "einsum",
    "roe3d": "int64",
    "logistic_regression": "bool",
    "dirichlet": "xlogy",
    "special_functions": "j0",
    "cumsum": "cumsum",
    "sorting": "branch",
    "masks": "branch",
    "a_branch_by_value": "branch",
}


@pytest.fixture(autouse=True)
def as_python(monkeypatch: Any, request: Any) -> None:
    """Run loops as the Python that they are written in, and never as scalars."""
    if "numba" in request.keywords:
        return
    run_loops_as_python(monkeypatch)


def compiled(f: Function, *args: Any, verb: Any = chainad.jacobian, **how: Any) -> Any:
    """Return a compiled function; that something else runs it is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return verb(f, backend="numba", **how).compile(*args)


def euler(n_steps: int, n: int = 3) -> tuple[Function, Any]:
    """Return a nonlinear equation, stepped, by its parameters and its start."""
    A = rng.normal(size=(n, n))

    def f(theta: Any) -> Any:
        y, a = theta[:n], theta[n:]
        for _ in range(n_steps):
            y = y + 0.1 * (np.tanh(A @ y) * a - 0.5 * y)
        return y

    return f, rng.normal(size=2 * n)


def two_steps(x: Any) -> Any:
    before, now = x, np.sin(x)
    for _ in range(12):
        before, now = now, now + 0.1 * (1.5 * np.cos(now) - 0.5 * before)
    return now


def trajectory(x: Any) -> Any:
    found, y = [], x
    for _ in range(9):
        y = np.sin(y) * x
        found.append(y)
    return np.stack(found)


def the_first_again(x: Any) -> Any:
    first = y = np.sin(x)
    total = x
    for _ in range(9):
        y = np.cos(y) * first
        total = total + y * y
    return total


def two_loops(x: Any) -> Any:
    kept, y = [], x
    for _ in range(8):
        y = np.tanh(y + 0.1 * x)
        kept.append(y)
    for z in kept[::-1]:
        y = y * np.cos(z)
    return y


def an_early_iteration(x: Any) -> Any:
    kept, y = [], x
    for _ in range(8):
        y = np.tanh(y) + x
        kept.append(y)
    return y * kept[2] + kept[-2] + kept[0]


def long_memory(x: Any) -> Any:
    kept = [x, np.sin(x), np.cos(x), np.tanh(x), x * x, 2 * x]
    for _ in range(14):
        kept.append(np.sin(kept[-6]) * kept[-1])
    return kept[-1]


STEPPED: dict[str, tuple[Function, Any]] = {
    "euler": euler(11),
    **{
        f.__name__: (f, rng.uniform(0.3, 0.9, 3))
        for f in (
            two_steps, trajectory, the_first_again, two_loops, an_early_iteration, long_memory,
        )
    },
}  # fmt: skip


def agrees(f: Function, x: Any, **how: Any) -> Any:
    """Assert that loops compute what NumPy does, here and elsewhere; return what is compiled."""
    ours = compiled(f, x, verb=chainad.value_and_jacobian, **how)
    for point in (x, x * 1.01):
        value, J = ours(point)
        wanted, wanted_J = chainad.value_and_jacobian(f, **how)(point)
        assert type(value) is type(wanted)
        assert (J.shape, J.dtype) == (wanted_J.shape, wanted_J.dtype)
        size = max(1.0, np.abs(wanted_J).max(initial=0))
        np.testing.assert_allclose(value, wanted, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(J, wanted_J, rtol=1e-10, atol=1e-11 * size)
    return ours


@pytest.mark.parametrize("name", sorted(FUNCTIONS.keys() - REFUSED.keys()))
def test_loops_compute_what_numpy_does(name: str) -> None:
    agrees(*FUNCTIONS[name])


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_form_as_loops_is_said_and_left_to_numpy(name: str) -> None:
    f, x = FUNCTIONS[name]
    with pytest.warns(FallbackWarning, match=REFUSED[name]):
        ours = chainad.compile(chainad.jacobian(f), x, backend="numba")
    np.testing.assert_allclose(ours(x), chainad.jacobian(f)(x), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("mode", ["auto", "forward", "reverse"])
@pytest.mark.parametrize("name", STEPPED)
def test_stepped_functions_are_right_when_rerolled(name: str, mode: str) -> None:
    ours = agrees(*STEPPED[name], mode=mode)
    assert "for t in range(" in ours.source


def steps_of(n_steps: int) -> str:
    f, x = euler(n_steps)
    source: str = compiled(f, x, mode="reverse").source
    return source


def test_a_longer_loop_takes_no_more_lines() -> None:
    short, long = steps_of(10), steps_of(40)
    assert short.count("\n") == long.count("\n")
    assert short.count("for t in range(") >= 2  # the steps, and the sweep back through them


def test_without_loops_every_step_would_take_lines(monkeypatch: Any) -> None:
    monkeypatch.setattr("chainad.backends.numba.reroll.MIN_ITERATIONS", 1000)
    short, long = steps_of(10), steps_of(40)
    assert long.count("\n") > 2 * short.count("\n")


def _chain(n_steps: int) -> LoopProgram:
    builder = LoopBuilder()
    x: Any = builder.input((5,))
    for _ in range(n_steps):
        x = builder.elementwise(np.sin, builder.elementwise(np.add, x, 1.0))
    return builder.program([x])


def test_what_only_the_next_iteration_reads_takes_no_memory_per_iteration() -> None:
    sizes = [
        allocate_loop_memory(p, RerolledLoops(p.operations)).size for p in map(_chain, (20, 200))
    ]
    assert sizes[0] == sizes[1] <= 6 * 5


def test_equal_operations_are_one_but_zeros_of_either_sign_are_not() -> None:
    builder = LoopBuilder()
    x = builder.input((2,))
    one, two = (builder.elementwise(np.add, x, z) for z in (0.0, 0.0))
    other = builder.elementwise(np.add, x, -0.0)
    assert isinstance(one, View)
    assert isinstance(two, View)
    assert isinstance(other, View)
    assert one.register == two.register != other.register
    text, size = module_source(builder.program([one, other]))
    y, z = np.empty(2), np.empty(2)
    generated_modules.load(text)(np.array([-0.0, 1.0]), [], np.empty(size), y, z)
    assert np.signbit(y).tolist() == [False, False]
    assert np.signbit(z).tolist() == [True, False]


def test_dead_operations_are_removed() -> None:
    builder = LoopBuilder()
    x = builder.input((2,))
    builder.elementwise(np.exp, x)
    assert len(builder.program([builder.elementwise(np.sin, x)]).operations) == 1


def test_captured_arrays_are_read_at_every_call() -> None:
    A, b = rng.normal(size=(3, 3)), rng.normal(size=(3, 6))[:, ::2].T

    def f(x: Any) -> Any:
        return np.tanh(A @ x) @ b

    x = np.ones(3)
    ours = compiled(f, x)
    for array in (A, b.base):
        np.multiply(array, 2, out=array)
        np.testing.assert_allclose(ours(x), chainad.jacobian(f)(x), rtol=1e-12)


def test_out_is_written_even_where_it_is_the_argument() -> None:
    f, x = STEPPED["two_steps"]
    g = lambda X: f(X[0]) * X
    X = np.stack([x, x + 0.1, x - 0.1])
    wanted = chainad.jacobian(g)(X)
    ours = compiled(g, X)
    out = np.empty_like(wanted)
    assert ours(X, out=out) is out
    np.testing.assert_allclose(out, wanted, rtol=1e-12)
    out[0, 0] = X
    np.testing.assert_allclose(ours(out[0, 0], out=out), wanted, rtol=1e-12)
    strided = np.empty((*wanted.shape[:-1], 6))[..., ::2]
    assert ours(X, out=strided) is strided
    np.testing.assert_allclose(strided, wanted, rtol=1e-12)


def test_several_arguments_and_outputs() -> None:
    def f(a: Any, X: Any) -> Any:
        return np.sum(a * X), np.sin(X) @ X[0]

    args = np.float64(1.5), rng.normal(size=(3, 3))
    both = compiled(f, *args, verb=chainad.value_and_jacobian, argnums=(0, 1))
    values, blocks = both(*args)
    wanted, wanted_blocks = chainad.value_and_jacobian(f, argnums=(0, 1))(*args)
    for one, two in zip(values, wanted, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-12)
    for row, wanted_row in zip(blocks, wanted_blocks, strict=True):
        for one, two in zip(row, wanted_row, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-14)


def stencil(u: Any) -> Any:
    p = np.concatenate([np.zeros(1), u, np.zeros(1)])
    return -u * (p[2:] - p[:-2]) + 0.05 * (p[2:] - 2 * u + p[:-2])


def test_sparse_and_structured_results_come_from_loops_too() -> None:
    u = rng.normal(size=12)
    wanted = chainad.jacobian(stencil)(u)
    sparse = compiled(stencil, u, output="sparse")(u)
    np.testing.assert_allclose(sparse.toarray(), wanted, rtol=1e-12)
    found = compiled(stencil, u, output="structured")(u)
    np.testing.assert_allclose(found.toarray(), wanted, rtol=1e-12, atol=1e-14)


def test_what_numpy_does_in_less_time_is_left_to_it() -> None:
    W = rng.normal(size=(200, 200))
    with pytest.warns(FallbackWarning, match="whole arrays are quicker"):
        chainad.compile(
            chainad.jacobian(lambda x: np.tanh(W @ np.tanh(W @ x))), np.ones(200), backend="numba"
        )


def test_what_would_take_a_compiler_too_long_is_left_to_numpy(monkeypatch: Any) -> None:
    f, x = STEPPED["euler"]
    for limit in ("MAX_NEST_CALLS", "MAX_NEST_KINDS"):
        with monkeypatch.context() as patch:
            patch.setattr(f"chainad.backends.numba.loops.{limit}", 5)
            with pytest.warns(FallbackWarning, match="more than 5"):
                chainad.compile(chainad.jacobian(f), x, backend="numba")


@pytest.mark.numba
def test_machine_code_of_loops_agrees_with_numpy(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("CHAINAD_CACHE", str(tmp_path))
    monkeypatch.setattr("chainad.api.choose_backend.MAX_UNROLLED_SCALAR_OPS", 0)
    f, x = STEPPED["euler"]
    ours = agrees(f, x)
    assert "for t in range(" in ours.source
    x.flags.writeable = False
    np.testing.assert_array_equal(ours(x)[1], ours(x.copy())[1])
    x.flags.writeable = True
