"""Compiled functions: replays that agree with tracing, and notice whatever may have changed."""

from __future__ import annotations

import re
import threading
import tracemalloc
import warnings
from collections import namedtuple
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from functions import FUNCTIONS, HESSIANS, Function, agree, points
from hypothesis import given, settings
from hypothesis import strategies as st

import chainad
from chainad import InputError, TraceError
from chainad.errors import FallbackWarning

X = np.array([0.3, 1.2, -0.5, 0.7])


def follows(
    f: Function, changes: list[Callable[[], None]], programs: int, x: Any = X
) -> chainad.CompiledFunction:
    """The compiled function sees every change of what f closes over."""
    traced = chainad.jacobian(f)
    compiled = chainad.compile(chainad.jacobian(f), x, backend="numpy")
    scalar = chainad.compile(chainad.jacobian(f), x)
    agree(compiled(x), traced(x))
    for change in changes:
        change()
        agree(compiled(x), traced(x))
        agree(compiled(1.1 * x), traced(1.1 * x))
        agree(scalar(x), traced(x))
    assert compiled.programs == programs
    return compiled


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_compiled_function_agrees_with_the_traced_one_at_every_point(name: str) -> None:
    f, x = FUNCTIONS[name]
    traced = chainad.value_and_jacobian(f)
    compiled = traced.compile(x)
    for point in points(x, 4):
        agree(compiled(point), traced(point))


SMOOTH = ["mlp", "attention", "roe1d", "heart", "robot", "runge_kutta", "log_softmax", "in_place"]


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_functions_are_recorded_once(name: str) -> None:
    f, x = FUNCTIONS[name]
    compiled = chainad.compile(chainad.jacobian(f))
    for point in points(x, 4):
        compiled(point)
    assert compiled.programs == 1


@pytest.mark.parametrize("name", HESSIANS)
def test_hessians_are_compiled(name: str) -> None:
    f, x = HESSIANS[name]
    traced = chainad.jacobian(chainad.jacobian(f))
    compiled = traced.compile(x)
    for point in points(x, 2):
        agree(compiled(point), traced(point))


@pytest.mark.parametrize("output", ["dense", "sparse", "structured"])
def test_every_form_of_a_result_is_compiled(output: str) -> None:
    def f(x):
        return x[1:] * x[:-1], np.sum(x) * np.ones(2), np.ones(3)

    traced = chainad.jacobian(f, output=output)
    compiled = traced.compile(X)
    for point in points(X, 2):
        for found, wanted in zip(compiled(point), traced(point), strict=True):
            assert type(found) is type(wanted)
            dense = [J if output == "dense" else J.toarray() for J in (found, wanted)]
            np.testing.assert_allclose(*dense, rtol=1e-12)


def test_the_verbs_compile_what_they_are_told() -> None:
    def f(x, y):
        return x * y, np.sin(x)

    for mode in ("auto", "forward", "reverse"):
        traced = chainad.value_and_jacobian(f, argnums=(1, 0), mode=mode)
        agree(traced.compile(X, X[::-1].copy())(X, 2 * X), traced(X, 2 * X))
    found = chainad.compile(chainad.jacobian(f, argnums=1, mode="reverse"), X, X)(2 * X, X)
    agree(found, chainad.jacobian(f, argnums=1)(2 * X, X))
    with pytest.raises(InputError, match=r"'operator' is not compiled; call chainad\.jacobian"):
        chainad.compile(chainad.jacobian(f, output="operator"), X, X)


def test_the_source_is_a_straight_line_of_what_is_needed() -> None:
    compiled = chainad.compile(
        chainad.jacobian(lambda x: np.tanh(x * 2.0) + np.exp(3.0)), X, backend="numpy"
    )
    assert compiled.source == (
        "def replay(args, kwargs, out=None):\n"
        "    if len(args) != 1:\n"
        "        return MISS\n"
        "    v0 = args[0]\n"
        "    if type(v0) is not ndarray or v0.shape != (4,)"
        " or (v0.dtype is not c1 and v0.dtype != c1) or not v0.flags.c_contiguous:\n"
        "        return MISS\n"
        "    if kwargs:\n"
        "        return MISS\n"
        "    try:\n"
        "        if c3['np'] is not c4 and c5(c3['np']) is not c4:\n"
        "            return MISS\n"
        "    except (AttributeError, LookupError, TypeError, ValueError):\n"
        "        return MISS\n"
        "    v1 = v0 * n2\n"
        "    v2 = tanh(v1)\n"
        "    # local Jacobians\n"
        "    v4 = v2 * v2\n"
        "    v5 = n1 - v4\n"
        "    # products\n"
        "    if out is not None:\n"
        "        out = buffers(out, v6)\n"
        "    try:\n"
        "        memory = free.pop()  # each call has its own memory\n"
        "    except IndexError:\n"
        "        memory = allocate()\n"
        "    b7, = memory\n"
        "    o0 = out[0] if out else None\n"
        "    if o0 is None: o0 = empty((4, 4), c1)\n"
        "    r8 = o0.reshape((16,))\n"
        "    multiply(v5, c0, b7)\n"
        "    r8.fill(0)\n"
        "    r8[c2] = b7\n"
        "    r9 = r8.reshape((4, 4))\n"
        "    free.append(memory)\n"
        "    return None, blocks([o0])\n"
    )


# --------------------------------------------------------------------- plans

MATRIX = np.random.default_rng(5).normal(size=(6, 6)) + 4 * np.eye(6)
RIGHT = np.random.default_rng(6).normal(size=(6, 3))


def test_the_plan_of_a_compiled_function_is_the_plan_of_the_function() -> None:
    def f(x: Any) -> Any:
        return RIGHT.T @ np.tanh(MATRIX[:, :4] @ x)

    compiled = chainad.jacobian(f, mode="reverse", backend="numpy").compile()
    assert compiled.plan is None
    compiled(X)
    assert compiled.plan == chainad.plan(f, X, mode="reverse")
    assert str(compiled.plan).startswith("f(x): (4,) -> (3,)")


def test_the_plan_of_a_program_on_single_numbers_shows_its_own_order() -> None:
    def f(p: Any) -> Any:
        return np.array([p[0] * np.cos(p[1]), p[0] * np.sin(p[1]), 2.0 * p[0] * p[1]])

    compiled = chainad.compile(chainad.jacobian(f), np.ones(2), backend="python")
    plan = compiled.plan
    assert isinstance(plan, chainad.Plan)
    assert plan.requested == "mode='auto', on scalars"
    assert plan.title == "f(p)"
    assert len(plan.graph.inputs) == 2
    assert len(plan.graph.outputs) == 3
    # r cos', r sin' and 2 * p[1]; 2 * p[0] is a value, and the other factors are 1.
    assert plan.multiplications == 3
    assert plan.model == "operations"
    assert plan.cost == min(each.cost for each in plan.alternatives)
    forward = chainad.compile(
        chainad.jacobian(f, mode="forward"), np.ones(2), backend="python"
    ).plan
    assert forward is not None
    assert {each.name for each in forward.alternatives} == {"forward", "reverse"}
    assert (forward.planner, forward.mode) == ("forward", "forward")


# ------------------------------------------------------------ shared formulas


def test_formulas_use_what_the_function_has_computed() -> None:
    def f(x: Any) -> Any:
        return np.sin(x) * np.cos(x)

    compiled = chainad.jacobian(f, backend="numpy").compile(X)
    assert compiled.source.count("sin(") == 1
    assert compiled.source.count("cos(") == 1
    for point in points(X, 3):
        agree(compiled(point), chainad.jacobian(f)(point))


def test_values_that_are_computed_twice_are_two_arrays() -> None:
    def f(x: Any) -> Any:
        return np.cos(x), np.cos(x), np.sin(x)

    (one, two, _), J = chainad.value_and_jacobian(f, backend="numpy").compile(X)(X)
    assert not np.shares_memory(one, two)
    one[:] = 9.0
    for kept in J:  # the slope of a sine is a cosine, too, but nobody else's
        assert not np.shares_memory(one, kept)
    agree(J[2], np.diag(np.cos(X)))


# ---------------------------------------------------------------------- sums

FACTOR = np.random.default_rng(7).normal(size=(3, 4))


def rows_of(x: Any) -> Any:
    return np.sin(FACTOR * x)


def read_twice(y: Any) -> Any:
    return np.sum(np.exp(y)) * np.sum(y, axis=1)


# The function, and whether the products are added up by one call.
SUMS: dict[str, tuple[Function, bool]] = {
    "square": (lambda x: np.exp(np.sum(rows_of(x) ** 2, axis=1)), True),
    "method": (lambda x: np.exp((rows_of(x) * np.cos(FACTOR * x)).sum(-1)), True),
    "square as such": (lambda x: np.exp(np.sum(np.square(rows_of(x)), -1)), True),
    "float32": (lambda x: np.exp(np.sum(rows_of(x.astype(np.float32)) ** 2, axis=1)), True),
    "other axis": (lambda x: np.exp(np.sum(rows_of(x) ** 2, axis=0)), False),
    "kept axis": (lambda x: np.exp(np.sum(rows_of(x) ** 2, axis=1, keepdims=True)), False),
    "cube": (lambda x: np.exp(np.sum(rows_of(x) ** 3, axis=1)), False),
    "read twice": (lambda x: read_twice(rows_of(x) ** 2), False),
    "broadcast": (lambda x: np.exp(np.sum(rows_of(x) * np.cos(x), axis=1)), False),
    "guard": (
        lambda x: np.exp(np.sum(rows_of(x) ** 2, axis=1)) * (2.0 if x[0] > -9 else 1.0),
        False,
    ),
    "vector": (lambda x: np.exp(np.sum(np.sin(x) ** 2, axis=0)) * x, False),
}


@pytest.mark.parametrize("name", SUMS)
def test_products_that_are_added_up_are_not_written_down(name: str) -> None:
    f, is_fused = SUMS[name]
    traced = chainad.value_and_jacobian(f, backend="numpy")
    x = X.astype(np.float32) if name == "float32" else X
    compiled = traced.compile(x)
    of_value = compiled.source.split("# local Jacobians")[0]
    assert ("vecdot" in of_value) == is_fused
    for point in points(x, 3):
        if name == "float32":
            for found, wanted in zip(compiled(point), traced(point), strict=True):
                assert found.dtype == wanted.dtype
                np.testing.assert_allclose(found, wanted, rtol=1e-5)
        else:
            agree(compiled(point), traced(point))


def test_an_overflow_in_a_sum_is_told_as_before() -> None:
    def f(x: Any) -> Any:
        return np.sum((FACTOR * x) ** 2, axis=1) * x[0]

    traced = chainad.jacobian(f, backend="numpy")
    compiled = traced.compile(X)
    assert "vecdot" in compiled.source
    for function in (traced, compiled):
        with np.errstate(over="raise"), pytest.raises(FloatingPointError):
            function(X * 1e200)


# -------------------------------------------------------------------- solves


def with_one_matrix(A: Any, x: Any) -> Any:
    return np.linalg.solve(A, x) + np.linalg.solve(A, x * x)


SOLVES = {
    "both": lambda x: np.linalg.solve(MATRIX * x, x),
    "right-hand side": lambda x: np.linalg.solve(MATRIX, RIGHT @ x[:3]),
    "matrix": lambda x: np.linalg.solve(MATRIX * x, RIGHT),
    "twice": lambda x: np.linalg.solve(MATRIX * x, np.linalg.solve(MATRIX * x, x)),
    "one matrix": lambda x: with_one_matrix(MATRIX * x, x),
    "float32": lambda x: np.linalg.solve((MATRIX * x).astype(np.float32), x),
    "batch": lambda x: np.linalg.solve(np.stack([MATRIX * x, MATRIX + x]), RIGHT),
    "empty": lambda x: np.linalg.solve(MATRIX * x, RIGHT[:, :0]),
    "one": lambda x: np.linalg.solve(x[:1, None], x[1:2]),
}


@pytest.mark.parametrize("verb", [chainad.jacobian, chainad.value_and_jacobian])
@pytest.mark.parametrize("name", SOLVES)
def test_solves_are_replayed(name: str, verb: Any) -> None:
    traced = verb(SOLVES[name], backend="numpy")
    x = np.linspace(0.5, 1.5, 6)
    compiled = traced.compile(x)
    for point in points(x, 3):
        agree(compiled(point), traced(point))


def test_a_matrix_is_factorised_once_for_the_solution_and_the_derivatives() -> None:
    def before_products(name: str) -> str:
        compiled = chainad.jacobian(SOLVES[name], backend="numpy").compile(np.ones(6))
        source: str = compiled.source.partition("# products")[0]
        return source

    source = before_products("both")
    assert "solve" not in source
    assert source.count(".jvp(") == 1
    source = before_products("one matrix")
    assert source.count(".jvp(") == 2
    assert len(re.findall(r" = c\d+\(v\d+\)\n", source)) == 1
    # The solution is not needed: the factors serve the derivatives alone.
    source = before_products("right-hand side")
    assert "jvp" not in source
    assert "solve" not in source


def test_a_singular_matrix_raises_what_numpy_raises() -> None:
    compiled = chainad.jacobian(SOLVES["both"], backend="numpy").compile(np.ones(6))
    x = np.array([1.0, 1.0, 0.0, 1.0, 1.0, 1.0])
    with pytest.raises(np.linalg.LinAlgError, match="Singular matrix"):
        SOLVES["both"](x)
    with pytest.raises(np.linalg.LinAlgError, match="Singular matrix"):
        compiled(x)


# ------------------------------------------------------------------ closures


@pytest.mark.counts_instructions
def test_closed_over_arrays_are_captured_by_reference() -> None:
    W, small = np.arange(16.0).reshape(4, 4) / 7, np.array([1, 2, 3, 100], np.int8)
    mask = np.array([True, False, True, True])
    S = scipy.sparse.csr_array(W)

    def double() -> None:
        W[:] *= 2

    def one_entry() -> None:
        W[0, 0] = 5
        S.data[:] *= 1.5

    def others() -> None:
        small[:] = [100, 5, 6, 100]
        mask[:] = ~mask

    changes = [double, one_entry, others]
    follows(lambda x: np.tanh(W @ x), changes, 1)
    follows(lambda x: W[1] * x + W[:, 2] * x + W.T @ x, changes, 1)
    follows(lambda x: x * small * small + np.where(mask, x, x**2) + x * mask, changes, 1)
    follows(lambda x: x @ S + x @ S.T, changes, 1)
    follows(lambda x: (x * 2, W)[0], changes, 1)


@pytest.mark.counts_instructions
def test_large_arrays_are_captured_by_reference_and_stay_writeable() -> None:
    W = np.ones((100, 100))

    def change() -> None:
        W[:] = 3

    follows(lambda x: W[:4, :4] @ x, [change], 1)
    assert W.flags.writeable


def test_what_is_computed_from_closed_over_arrays_alone_is_computed_anew() -> None:
    w = np.ones(4)
    compiled = chainad.compile(
        chainad.jacobian(lambda x: x * np.sqrt(w) + x * w), X, backend="numpy"
    )
    w[:] = 4
    np.testing.assert_array_equal(compiled(X), 6 * np.eye(4))


def test_closed_over_indices_are_guarded() -> None:
    index, mask = np.array([0, 2, 2]), np.array([True, False, True, True])
    many = np.arange(5000) % 4

    def change() -> None:
        index[:] = [1, 1, 3]
        mask[:] = [False, True, True, True]
        many[:] = 0

    def write(x):
        y = x * 1.0
        y[index] = x[:3] ** 2
        return y

    def back() -> None:
        index[:] = [0, 2, 2]
        mask[:] = [True, False, True, True]
        many[:] = np.arange(5000) % 4

    for f in (
        lambda x: x[index] ** 2,
        lambda x: np.take(x, index),
        lambda x: x[mask] * 2.0,
        lambda x: x * np.sum(x[many]),
        lambda x: x[index[1:]],
        write,
    ):
        follows(f, [change, back], 2)


def test_indices_made_by_the_function_are_not_guarded() -> None:
    compiled = chainad.compile(
        chainad.jacobian(lambda x: x[np.arange(3)] ** 2 + x[[0, 1, 2]]), X, backend="numpy"
    )
    assert "tobytes" not in compiled.source


def test_scratch_memory_that_is_used_twice_counts_as_it_was() -> None:
    buffer = np.zeros(4)

    def closed_over(x):
        buffer[:] = 2.0
        y = x * buffer
        buffer[:] = 3.0
        return y * buffer

    def own(x):
        scratch = np.full(4, 2.0)
        y = x * scratch
        scratch[:] = 3.0
        return y * scratch

    for f in (closed_over, own):
        follows(f, [], 1)


def test_clear_forgets_what_was_recorded() -> None:
    state = {"w": np.ones(4)}
    compiled = chainad.compile(chainad.jacobian(lambda x: state["w"] * x), X)
    state["w"] = np.full(4, 2.0)
    compiled.clear()
    assert (compiled.programs, compiled.source) == (0, "")
    np.testing.assert_array_equal(compiled(X), 2 * np.eye(4))


# ----------------------------------------------------------------- arguments


def test_new_shapes_and_dtypes_are_recorded_anew() -> None:
    def f(x):
        return np.sin(x) * x

    compiled, traced = chainad.compile(chainad.jacobian(f)), chainad.jacobian(f)
    inputs = [
        X,
        X.astype(np.float32),
        X.reshape(2, 2),
        np.asfortranarray(np.outer(X, X)),
        np.outer(X, X),
        np.outer(X, X)[::2, ::2],
        X[:3],
        np.float64(0.3),
        0.3,
        np.array(0.3),
        [0.1, 0.2],
        X.astype(">f8"),
        X.astype(">f8"),
        np.zeros(0),
        np.zeros((0, 2)),
    ]
    for _ in range(2):
        for x in inputs:
            agree(compiled(x), traced(x))
    assert compiled.programs == 13  # 0.3 is an np.float64, and arrays of swapped bytes are alike


def test_layout_decides_what_is_a_view() -> None:
    def f(x):
        y = x.T.reshape(-1)
        z = y * 2.0
        z[0] = 1.0
        return z.ravel() + x.ravel()

    compiled, traced = chainad.compile(chainad.jacobian(f)), chainad.jacobian(f)
    M = np.arange(6.0).reshape(2, 3)
    for x in (M, np.asfortranarray(M), M[::-1], np.ones((3, 4))[::2, ::2]):
        agree(compiled(x), traced(x))


def test_other_arguments_flow_as_data_or_are_compared() -> None:
    Pair = namedtuple("Pair", "a b")

    def f(x, data, n, scale=1.0, *, name="power", more=None):
        y = x**n * data * scale if name == "power" else x + data
        return y * more["w"][0] + more["pair"].b if more else y

    compiled, traced = chainad.compile(chainad.jacobian(f)), chainad.jacobian(f)
    for args, kwargs, programs in [
        ((X, X, 2), {}, 1),
        ((X, 2 * X, 2), {}, 1),
        ((X, 2 * X, 3), {}, 2),
        ((X, 2 * X, 3.0), {}, 3),
        ((X, 2 * X, 3), {"scale": 2.0}, 4),
        ((X, 2 * X, 3, 2.0), {}, 5),
        ((X, 2 * X, 3), {"scale": -0.0}, 5),
        ((X, 2 * X, 3), {"scale": 0.0}, 5),
        ((X, 2 * X, 3), {"name": "sum"}, 6),
        ((X, np.float64(3), 2), {}, 7),
        ((X, np.float64(4), 2), {}, 7),
        ((X, np.arange(4), 2), {}, 8),
        ((X, np.arange(4) + 1, 2), {}, 8),
        ((X, X, 2), {"more": {"w": [X], "pair": Pair(1, X)}}, 9),
        ((X, X, 2), {"more": {"w": [2 * X], "pair": Pair(1, 3 * X)}}, 9),
        ((X, X, 2), {"more": {"w": [2 * X], "pair": Pair(2, 3 * X)}}, 10),
        ((X, X, 2), {"scale": np.nan}, 11),
        ((X, X, 2), {"scale": 3.5}, 11),
    ]:
        agree(compiled(*args, **kwargs), traced(*args, **kwargs))
        assert compiled.programs == programs, (args, kwargs)


def test_branches_on_other_arguments_are_guarded() -> None:
    def f(x, data):
        return x * 2 if data[0] > 0 else x * data

    compiled, traced = chainad.compile(chainad.jacobian(f)), chainad.jacobian(f)
    for data in (X, -X, 2 * X, -3 * X):
        agree(compiled(X, data), traced(X, data))
    assert compiled.programs == 2
    with pytest.raises(TraceError, match="writes into an argument"):
        chainad.compile(chainad.jacobian(lambda x, data: x * data.__imul__(2.0)), X, X.copy())


def test_bad_arguments_are_refused_as_by_the_traced_function() -> None:
    compiled = chainad.compile(chainad.jacobian(lambda x: x * 2.0), X)
    for bad in (np.array([True]), 2**60, "text", None, np.array([1j])):
        with pytest.raises(InputError, match="argument 0 must be"):
            compiled(bad)
    with pytest.raises(InputError, match="only 0 were given"):
        compiled()
    with pytest.raises(TypeError, match="positional argument"):
        compiled(X, X)
    assert compiled.programs == 1


@pytest.mark.parametrize("f", [np.copy, lambda x: x, lambda x: x.reshape(2, 2), lambda x: x * W4])
def test_results_own_their_memory(f: Function) -> None:
    compiled = chainad.value_and_jacobian(f).compile(X)
    x = X.copy()
    value, J = compiled(x)
    for array in (value, J):
        assert not np.shares_memory(array, x)
        assert not np.shares_memory(array, W4)
        assert array.flags.writeable
    again = compiled(x)
    value += 1
    J += 1
    agree(compiled(x), again)


W4 = np.ones(4)


def test_the_jacobian_is_written_into_buffers() -> None:
    compiled = chainad.value_and_jacobian(np.square).compile(X)
    buffer = np.empty((4, 4))
    value, J = compiled(X, out=buffer)
    assert J is buffer
    agree((value, J), chainad.value_and_jacobian(np.square)(X))
    with pytest.raises(InputError, match="out must be an array"):
        compiled(X, out=np.empty(4))


# ------------------------------------------------------------------- soundness


def test_a_compiled_function_may_be_differentiated_and_nested() -> None:
    inner = chainad.compile(chainad.jacobian(lambda y: np.sum(np.where(y > 0, y**3, y))))
    agree(chainad.jacobian(inner)(X), np.diag(np.where(X > 0, 6 * X, 0)))
    outer = chainad.compile(chainad.jacobian(lambda x: inner(x) @ x + inner(2 * x)[0]))
    traced = chainad.jacobian(
        lambda x: chainad.jacobian(inner._of.function)(x) @ x + 12 * x[0] ** 2
    )
    for x in (X, -X, X + 1):
        if x[0] > 0:
            agree(outer(x), traced(x))


def test_traced_values_closed_over_are_refused() -> None:
    def f(x):
        return chainad.compile(chainad.jacobian(lambda y: x * y))(np.ones(4)) @ x

    with pytest.raises(TraceError, match="not among its arguments"):
        chainad.jacobian(f)(X)


def test_a_caught_error_of_numbers_is_refused_and_others_pass() -> None:
    def caught(x):
        try:
            return np.linalg.inv(np.outer(x, x) * 0.0) @ x
        except np.linalg.LinAlgError:
            return x

    with pytest.raises(TraceError, match=r"caught LinAlgError.*call chainad\.jacobian"):
        chainad.compile(chainad.jacobian(caught), X)

    def late(x):
        A = np.outer(x, x) + np.eye(4)
        try:
            return np.linalg.cholesky(A)[0]
        except np.linalg.LinAlgError:
            return x

    compiled, traced = chainad.compile(chainad.jacobian(late), X), chainad.jacobian(late)
    for x in (X, np.full(4, np.nan)):
        agree(compiled(x), traced(x))
    with pytest.raises(np.linalg.LinAlgError):
        chainad.compile(chainad.jacobian(lambda x: np.linalg.inv(np.outer(x, x) * 0.0) @ x), X)


def test_formulas_warn_of_nothing_and_the_function_warns_as_it_does() -> None:
    compiled = chainad.compile(chainad.jacobian(lambda x: np.sqrt(x) * 1e200), X**2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isinf(compiled(np.zeros(4))).any()
    with pytest.warns(RuntimeWarning, match="invalid value encountered in sqrt"):
        chainad.value_and_jacobian(np.sqrt, backend="numpy").compile(X**2)(-np.ones(4))


@pytest.mark.filterwarnings("ignore:.*has recorded 32 programs")
def test_functions_that_never_go_the_same_way_are_traced() -> None:
    runs = []

    def f(x):
        runs.append(1)
        return x * float(chainad.stop_gradient(x[0]))

    compiled, traced = chainad.compile(chainad.jacobian(f)), chainad.jacobian(f)
    for k in range(90):
        agree(compiled(X + k), traced(X + k))
    assert compiled.programs == 32
    assert len(runs) == 2 * 90
    compiled.clear()
    agree(compiled(X), traced(X))
    assert compiled.programs == 1


def test_random_functions_do_not_fail() -> None:
    rng = np.random.default_rng(0)

    def f(x):
        return x * 2 if rng.uniform() * np.sum(x * x) > 1 else x * 2.0

    for _ in range(9):
        compiled = chainad.compile(chainad.jacobian(f))
        with pytest.warns(FallbackWarning, match="draws by rng, and a replay would repeat"):
            np.testing.assert_array_equal(compiled(X), 2 * np.eye(4))
        np.testing.assert_array_equal(compiled(X), 2 * np.eye(4))


def test_values_kept_from_a_recording_are_plain_afterwards() -> None:
    kept = []

    def f(x):
        kept.append(chainad.stop_gradient(x))
        kept.append(x > 0)
        return x * x

    chainad.compile(chainad.jacobian(f), X, backend="numpy")
    stopped, mask = kept[:2]
    assert np.sum(stopped) == np.sum(X)
    assert mask.tolist() == (X > 0).tolist()
    for g in (lambda x: x * stopped * mask, lambda x: np.where(mask, x, 0.0) * X):
        agree(chainad.jacobian(g)(X), np.diag(X * (X > 0)))
        agree(chainad.compile(chainad.jacobian(g), X, backend="numpy")(X), np.diag(X * (X > 0)))
    with pytest.raises(TraceError, match=r"write into np\.array\(x\)"):
        stopped[0] = 1.0


def test_two_threads_may_call_one_compiled_function() -> None:
    def f(x):
        return np.tanh(x * x) if x[0] > 0 else np.sin(x)

    compiled = chainad.compile(chainad.jacobian(f))
    wrong = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(200):
            x = rng.normal(size=5)
            slope = 2 * x * (1 - np.tanh(x * x) ** 2) if x[0] > 0 else np.cos(x)
            if not np.allclose(compiled(x), np.diag(slope), rtol=1e-12):
                wrong.append(x)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# ------------------------------------------------------------- random programs


def filled(x: Any, a: float) -> Any:
    z = np.zeros_like(x)
    for k, value in enumerate(x):
        z[k] = value * a if value > 0 else value**2
    z[z > 1] = 0.5
    return z


STEPS: list[Function] = [
    lambda x, a: np.sin(x) * a,
    lambda x, a: np.where(x > a, x, a * x),
    lambda x, a: x * (x > a) + a,
    lambda x, a: x[::-1] + a * x,
    lambda x, a: x * x[int(np.argmax(x))] / 3,
    lambda x, a: x + 1 if np.sum(x) > a else x * 2 - a,
    lambda x, a: np.sort(x) * a + np.abs(x),
    lambda x, a: np.maximum(x, a) - np.floor(x),
    lambda x, a: x * chainad.stop_gradient(x[0]) / 2,
    lambda x, a: np.concatenate([x[x > a], x[~(x > a)]]) * 0.7,
    filled,
]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(STEPS) - 1), st.floats(-1, 1)), min_size=1, max_size=5),
    st.lists(st.integers(0, 10**6), min_size=2, max_size=4),
)
def test_random_programs_agree_at_random_points(program: Any, seeds: list[int]) -> None:
    def f(x):
        for k, a in program:
            x = STEPS[k](x, a)
        return x

    traced = chainad.value_and_jacobian(f)
    compiled = traced.compile()
    for seed in (*seeds, *seeds[::-1]):
        x = np.random.default_rng(seed).normal(size=4)
        agree(compiled(x), traced(x))


def peak_of(call: Callable[[], Any]) -> int:
    """Return the most bytes that a call holds at a time."""
    call()
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_what_was_traced_is_let_go_before_anything_is_multiplied() -> None:
    n, steps, rows = 200, 8, 6
    rng = np.random.default_rng(5)
    A, b, W = rng.normal(size=(n, n)), rng.normal(size=n), rng.normal(size=(rows * n, n))

    def f(x: Any) -> Any:
        for _ in range(steps):
            x = np.sum(A + np.outer(x, b), axis=1) / n
        return W @ x

    # Every step makes two matrices that its local Jacobian does not need.
    x = np.ones(n)
    traced = peak_of(lambda: chainad.jacobian(f)(x)) / A.nbytes
    replayed = peak_of(partial(chainad.compile(chainad.jacobian(f), x), x)) / A.nbytes
    assert 2 * steps < traced < 2 * steps + rows
    assert rows < replayed < rows + 4


def test_matrices_of_a_few_kilobytes_are_let_go_when_nothing_needs_them() -> None:
    A = np.eye(40)

    def f(x: Any) -> Any:
        for _ in range(10):
            x = np.sum(np.outer(x, x) + A, axis=1) / 40
        return x

    x = np.full(40, 0.01)
    assert peak_of(partial(chainad.compile(chainad.jacobian(f), x), x)) < 8 * A.nbytes


def test_a_function_of_long_arrays_runs_once_to_be_compiled():
    runs = []

    def f(x):
        runs.append(x.shape)
        return np.sin(x) * np.exp(x)

    x = np.linspace(0, 1, 200)
    J = chainad.compile(chainad.jacobian(f))
    np.testing.assert_allclose(np.diag(J(x)), np.exp(x) * (np.sin(x) + np.cos(x)))
    assert len(runs) == 1
    J(x[:2])  # short ones may be scalars, which is seen later
    assert J.programs == 2
