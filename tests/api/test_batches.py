"""Batches: many points at once are what one point after the other gives."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import optree
import pytest
from functions import FUNCTIONS

import chainad
from chainad.api import batches
from chainad.api.batches import _as_arrays
from chainad.compiler.vectorize import BatchedArray, NotBatchableError
from chainad.errors import FallbackWarning, InputError, TraceError
from chainad.ir.progress import UNTOLD

Function = Callable[..., Any]


def around(x: Any, count: int, seed: int = 5) -> Any:
    """Return points around x, x first."""
    rng = np.random.default_rng(seed)
    noise = rng.uniform(-1, 1, size=(max(count - 1, 0), *x.shape))
    return np.concatenate([x[None], x * (1 + 0.1 * noise)])[:count]


def one_by_one(f: Function, X: Any) -> tuple[Any, Any]:
    pairs = [chainad.value_and_jacobian(f)(x) for x in X]
    return np.stack([v for v, _ in pairs]), np.stack([J for _, J in pairs])


def close(found: Any, wanted: Any) -> None:
    assert found.shape == wanted.shape
    assert found.dtype == wanted.dtype
    size = np.abs(wanted[np.isfinite(wanted)]).max(initial=1.0)
    tolerance = 1e-10 if wanted.dtype == np.float64 else 1e-4
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * size)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_batch_is_a_loop_over_its_points(name: str) -> None:
    f, x = FUNCTIONS[name]
    X = around(x, 12)
    value, J = chainad.value_and_jacobian(f, batch=0)(X)
    wanted, wanted_J = one_by_one(f, X)
    close(value, wanted)
    close(J, wanted_J)
    close(chainad.jacobian(f, batch=0)(X), wanted_J)


def filled(x: Any) -> Any:
    y = np.zeros((2, 4))
    y[0, 1:] = x
    y[1, ::2] += x[0] * y[0, ::2]
    return y


def filled_entry_by_entry(x: Any) -> Any:
    y = np.empty(3)
    for i in range(3):
        y[i] = x[i] * x[i - 1]
    return y


ARRAYS_MADE: dict[str, Function] = {
    "filled": filled,
    "filled entry by entry": filled_entry_by_entry,
    "list of both": lambda x: np.array([[x[0], 1.0], [0.0, x[1] * x[2]]]) @ x[:2],
    "list of lists": lambda x: np.asarray([x, [1.0, 2.0, 3.0]]).T @ np.array([x[0], 2.0]),
    "joined": lambda x: np.r_[x, 1.0, np.ones(2) * x[1]],
    "full": lambda x: np.full((2, 3), x[0]) * x + np.eye(3)[:2],
    "in a product": lambda x: filled(x) * np.array([0.0, 1.0, x[1], 2.0]),
}


@pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=pytest.mark.numba)])
@pytest.mark.parametrize("name", ARRAYS_MADE)
def test_arrays_that_a_function_makes_have_a_batch(name: str, backend: str) -> None:
    f, X = ARRAYS_MADE[name], around(np.array([0.3, -1.2, 0.8]), 5)
    value, J = chainad.value_and_jacobian(f, batch=0, backend=backend)(X)
    wanted, wanted_J = one_by_one(f, X)
    close(value, wanted)
    close(J, wanted_J)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 1000])
@pytest.mark.parametrize("name", ["roe1d", "heart", "mlp through one number", "sorting"])
def test_any_number_of_points_will_do(name: str, count: int) -> None:
    f, x = FUNCTIONS[name]
    X = around(x, count)
    value, J = chainad.value_and_jacobian(f, batch=0)(X)
    m = np.shape(f(x))
    assert value.shape == (count, *m)
    assert J.shape == (count, *m, *x.shape)
    for k in {0, count // 2, count - 1} & {*range(count)}:
        close(J[k], chainad.jacobian(f)(X[k]))


@pytest.mark.parametrize("backend", ["numpy", "python"])
def test_points_that_take_other_branches_are_right(backend: str) -> None:
    def f(x):
        if x[0] > x[1]:
            return np.stack([x[0] ** 2, x[1]])
        if np.sum(x) > 1:
            return np.stack([np.sin(x[0]), x[0] * x[1]])
        return -x

    X = np.random.default_rng(0).normal(size=(60, 2))
    batch = chainad.value_and_jacobian(f, batch=0, backend=backend)
    for _ in range(2):
        value, J = batch(X)
        wanted, wanted_J = one_by_one(f, X)
        close(value, wanted)
        close(J, wanted_J)
    assert batch._batched is not None
    assert len(batch._batched.programs) == 3


@pytest.mark.filterwarnings("ignore:.*has recorded 32 programs")
def test_a_function_of_many_branches_goes_point_by_point() -> None:
    def f(x):
        return x * float(chainad.stop_gradient(x)[0])

    X = np.random.default_rng(0).normal(size=(50, 2))
    close(chainad.jacobian(f, batch=0)(X), one_by_one(f, X)[1])


def test_what_is_chosen_by_conditions_needs_no_groups() -> None:
    def f(x):
        y = np.where((x > 0) & (x < 1), x * x, np.abs(x))
        return y * np.maximum(x, 0.3) + np.clip(x, -0.5, 0.5) * np.sign(x)

    X = np.random.default_rng(0).normal(size=(40, 3))
    batch = chainad.jacobian(f, batch=0)
    close(batch(X), one_by_one(f, X)[1])
    assert batch._batched is not None
    assert len(batch._batched.programs) == 1


@pytest.mark.parametrize("backend", ["numpy", "python"])
def test_nan_and_infinity_are_what_they_are_at_a_single_point(backend: str) -> None:
    def f(x):
        a, b = x
        return np.stack([np.sqrt(a) * b, a / b, np.log(b) + np.exp(a), np.sin(a) * b**2])

    special = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e308, 800.0]
    X = np.array([(a, b) for a in special for b in special])
    with np.errstate(all="ignore"):
        value, J = chainad.value_and_jacobian(f, batch=0, backend=backend)(X)
        wanted, wanted_J = one_by_one(f, X)
    np.testing.assert_array_equal(np.isnan(value), np.isnan(wanted))
    np.testing.assert_allclose(value, wanted, rtol=1e-14)
    np.testing.assert_array_equal(np.isnan(J), np.isnan(wanted_J))
    np.testing.assert_allclose(J, wanted_J, rtol=1e-14)


@pytest.mark.parametrize("name", ["roe1d", "heart", "special_functions", "mlp"])
def test_float32_stays_float32(name: str) -> None:
    f, x = FUNCTIONS[name]
    X = around(x, 20).astype(np.float32)
    value, J = chainad.value_and_jacobian(f, batch=0)(X)
    wanted, wanted_J = one_by_one(f, X)
    close(value, wanted)
    close(J, wanted_J)


def test_several_arguments_and_several_outputs() -> None:
    W = np.random.default_rng(1).normal(size=(3, 2))

    def f(x, y, W, scale=1.0):
        return np.sin(W @ x) * y, np.sum(x) * scale

    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(9, 2)), rng.normal(size=9)
    found = chainad.jacobian(f, argnums=(0, 1), batch=0)(X, Y, W, scale=2.0)
    one = chainad.jacobian(f, argnums=(0, 1))
    for k in range(9):
        wanted = one(X[k], Y[k], W, scale=2.0)
        for row, wanted_row in zip(found, wanted, strict=True):
            for block, wanted_block in zip(row, wanted_row, strict=True):
                close(block[k], wanted_block)
    by_x = chainad.jacobian(f, batch={0: 1, 1: 0})(X.T, Y, W)
    for k in range(9):
        close(by_x[0][k], chainad.jacobian(f)(X[k], Y[k], W)[0])
    shared = chainad.jacobian(f, argnums=1, batch={1: 0})(X[0], Y, W)
    for k in range(9):
        close(shared[0][k], chainad.jacobian(f, argnums=1)(X[0], Y[k], W)[0])


def test_arrays_from_elsewhere_are_seen_after_they_change() -> None:
    c = np.array([1.0, 2.0])
    batch = chainad.jacobian(lambda x: c * x, batch=0)
    X = np.ones((3, 2))
    np.testing.assert_array_equal(batch(X)[2], np.diag([1.0, 2.0]))
    c[1] = 5.0
    np.testing.assert_array_equal(batch(X)[2], np.diag([1.0, 5.0]))


def test_other_arguments_may_change_from_call_to_call() -> None:
    batch = chainad.jacobian(lambda x, a, name="sin": a * getattr(np, name)(x), batch=0)
    X = np.linspace(0, 1, 6).reshape(3, 2)
    np.testing.assert_allclose(batch(X, 2.0)[1], np.diag(2 * np.cos(X[1])))
    np.testing.assert_allclose(batch(X, 3.0)[1], np.diag(3 * np.cos(X[1])))
    np.testing.assert_allclose(batch(X, 3.0, name="cos")[1], np.diag(-3 * np.sin(X[1])))


def test_a_stopped_gradient_stays_stopped_in_a_batch() -> None:
    def f(x):
        return x * x + x * chainad.stop_gradient(x) + chainad.stop_gradient(x) ** 2

    X = np.random.default_rng(0).normal(size=(5, 2))
    for backend in ("numpy", "python"):
        J = chainad.jacobian(f, batch=0, backend=backend)(X)
        np.testing.assert_allclose(J, [np.diag(3 * x) for x in X])


def test_out_is_filled_and_returned() -> None:
    f, x = FUNCTIONS["heart"]
    X = around(x, 10)
    out = np.empty((10, 8, 8))
    assert chainad.jacobian(f, batch=0)(X, out=out) is out
    np.testing.assert_array_equal(out, chainad.jacobian(f, batch=0)(X))


def test_a_mode_is_kept_or_replayed_point_by_point() -> None:
    f, x = FUNCTIONS["roe1d"]
    X = around(x, 10)
    wanted = one_by_one(f, X)[1]
    for mode in ("forward", "reverse", "greedy"):
        close(chainad.jacobian(f, mode=mode, batch=0)(X), wanted)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: chainad.jacobian(np.sin, batch=1.5), "batch must be the axis"),
        (lambda: chainad.jacobian(np.sin, batch=True), "batch must be the axis"),
        (lambda: chainad.jacobian(np.sin, batch={}), "batch must be the axis"),
        (lambda: chainad.jacobian(np.sin, batch=2)(np.ones((2, 2))), "asks for axis 2"),
        (lambda: chainad.jacobian(np.sin, batch=0)(1.0), "its shape is ()"),
        (lambda: chainad.jacobian(np.sin, batch={1: 0})(np.ones(2)), "only 1 were given"),
        (
            lambda: chainad.jacobian(np.add, (0, 1), batch=0)(np.ones(2), np.ones(3)),
            "one number of points",
        ),
        (lambda: chainad.jacobian(np.sin, batch=0)(np.ones(2, bool)), "array of real floats"),
        (lambda: chainad.jacobian(np.sin, batch=0, output="sparse"), "is not offered"),
        (lambda: chainad.jacobian(np.sin, backend="fortran"), "choose 'auto', "),
        (
            lambda: chainad.jacobian(lambda x: x[x > 0], batch=0)(np.array([[1.0], [-1.0]])),
            "different shapes",
        ),
    ],
)
def test_bad_batches_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError) as found:
        make()
    assert message in str(found.value)


def test_a_backend_that_cannot_run_a_function_says_so_and_numpy_runs_it() -> None:
    f, x = FUNCTIONS["sorting"]
    X = around(x, 4)
    batch = chainad.jacobian(f, batch=0, backend="python")
    with pytest.warns(FallbackWarning, match="backend='python' cannot run this function") as told:
        J = batch(X)
    assert len(told) == 1
    close(J, one_by_one(f, X)[1])


@pytest.mark.parametrize(
    "backend", ["auto", "python", pytest.param("numba", marks=pytest.mark.numba)]
)
@pytest.mark.filterwarnings("ignore::chainad.errors.FallbackWarning")
def test_wide_functions_are_never_written_out_on_scalars(backend: str) -> None:
    A, B = np.random.default_rng(0).normal(size=(2, 300, 300))
    J = chainad.jacobian(lambda x: A @ np.tanh(B @ x), batch=0, backend=backend)
    x = np.linspace(-1, 1, 300)
    expected = A * (1 - np.tanh(B @ x) ** 2) @ B
    np.testing.assert_allclose(J(x[None])[0], expected, rtol=1e-9, atol=1e-9)
    assert J.plan(x[None]).multiplications == 300**2 * 301


def test_errors_of_the_function_pass_through() -> None:
    def f(x):
        if x[0] > 0:
            raise KeyError("mine")
        return x

    with pytest.raises(KeyError, match="mine"):
        chainad.jacobian(f, batch=0)(np.array([[-1.0], [1.0]]))


def test_whole_arrays_of_many_points_agree_with_one_point_or_are_refused() -> None:
    stacked = set()
    for name, (f, x) in FUNCTIONS.items():
        of = chainad.value_and_jacobian(f)
        X = around(x, 5)
        try:
            group = _as_arrays(of._of, (((0, 0),), {}), ((X[0],), {}))
            (value, J), holds = group.run([BatchedArray(X)], 5, None, UNTOLD)
        except NotBatchableError:
            continue
        stacked.add(name)
        assert holds[0]
        wanted, wanted_J = one_by_one(f, X)
        close(value[holds], wanted[holds])
        close(J[holds], wanted_J[holds])
    assert len(stacked) >= 50
    assert {"mlp", "residual", "attention", "roe3d", "softmax_rows"} <= stacked


@pytest.mark.parametrize("shapes", [((3,), (3, 4)), ((2, 3), (3,)), ((3,), (3,)), ((2, 3), (3, 4))])
@pytest.mark.parametrize("which", ["left", "right", "both"])
def test_products_of_stacks_are_products_of_points(shapes: Any, which: str) -> None:
    rng = np.random.default_rng(0)
    one, other = (rng.normal(size=(5, *shape)) for shape in shapes)
    left = BatchedArray(one) if which != "right" else one[0]
    right = BatchedArray(other) if which != "left" else other[0]
    found = np.matmul(left, right)
    for k in range(5):
        a = one[k] if which != "right" else one[0]
        b = other[k] if which != "left" else other[0]
        np.testing.assert_allclose(found.data[k], a @ b, rtol=1e-13)


def test_a_wide_function_is_run_on_whole_arrays_and_sees_weights_that_change() -> None:
    W = np.random.default_rng(0).normal(size=(40, 30)) / 6
    V = np.random.default_rng(1).normal(size=(20, 40)) / 6
    batch = chainad.jacobian(lambda x: V @ np.tanh(W @ x), batch=0)
    X = np.random.default_rng(2).normal(size=(50, 30))
    for _ in range(2):
        wanted = [V * (1 - np.tanh(W @ x) ** 2) @ W for x in X]
        np.testing.assert_allclose(batch(X), wanted, rtol=1e-10, atol=1e-12)
        W *= 0.5
    assert batch._batched is not None
    assert batch._batched.programs == ()


def test_a_batch_is_written_into_out_without_a_copy() -> None:
    f = chainad.jacobian(lambda x: np.stack([x[0] * x[1], np.sin(x[1])]), batch=0)
    X = np.random.default_rng(0).uniform(1, 2, (5000, 2))
    wanted = f(X)
    out = np.empty_like(wanted)
    tracemalloc.start()
    try:
        assert f(X, out=out) is out
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < out.nbytes / 2
    np.testing.assert_array_equal(out, wanted)


def test_out_of_a_batch_may_lie_anyhow_and_even_over_the_points() -> None:
    f = chainad.jacobian(lambda x: np.stack([x[0] * x[1], np.sin(x[1]) * x[0]]), batch=0)
    memory = np.random.default_rng(0).uniform(1, 2, (40, 2, 2))
    points = memory[:20].reshape(40, 2)
    wanted = f(points.copy())
    turned = np.empty((2, 40, 2)).swapaxes(0, 1)
    np.testing.assert_array_equal(f(points, out=turned), wanted)
    assert f(points, out=memory) is memory
    np.testing.assert_array_equal(memory, wanted)
    with pytest.raises(InputError, match="out must be an array of float64"):
        f(points, out=np.empty((40, 2, 3)))


def test_the_plan_of_a_batch_is_the_one_that_runs() -> None:
    def f(p: Any) -> Any:
        return np.array([p[0] * np.cos(p[1]), p[0] * np.sin(p[1]), 2.0 * p[0] * p[1]])

    X = np.random.default_rng(0).uniform(1, 2, (30, 2))
    batch = chainad.jacobian(f, batch=0)
    plan = batch.plan(X)
    assert isinstance(plan, chainad.Plan)
    assert plan.requested == "mode='auto', on scalars"
    assert plan.title == "f(p)"
    assert plan == chainad.compile(chainad.jacobian(f), X[0], backend="python").plan
    assert batch._batched is not None
    (program,) = batch._batched.programs
    batch(X)
    assert batch._batched.programs == (program,)
    # Where points go through whole arrays, or one by one, the plan is that of one point.
    W = np.random.default_rng(1).normal(size=(20, 40)) / 6

    def g(x: Any) -> Any:
        return np.tanh(W @ np.tanh(W.T @ x))

    x = np.ones((3, 20))
    for each in (g, lambda x: np.linalg.solve(np.eye(20) + np.outer(x, x), x)):
        assert chainad.jacobian(each, batch=0).plan(x) == chainad.plan(each, x[0])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "backend", ["numpy", "python", pytest.param("numba", marks=pytest.mark.numba)]
)
def test_a_batch_of_no_results_has_none(backend: str) -> None:
    f = chainad.value_and_jacobian(lambda x: (), batch=0, backend=backend)
    assert f(np.array([[1.0, 2.0], [-1.0, 2.0]])) == ((), ())
    assert chainad.jacobian(lambda x: (), batch=0, backend=backend)(np.ones((3, 2))) == ()


# ------------------------------------------------------------------- containers


RNG = np.random.default_rng(11)


def _scaled(w: Any, x: Any, *, power: Any) -> Any:
    return {"y": w["a"] * x ** w["b"][0], "s": (np.sum(x * w["c"]) * power,)}


@pytest.mark.parametrize("backend", ["auto", "numpy"])
@pytest.mark.parametrize("shared", [None, 0])
def test_containers_and_names_have_points(backend: str, shared: int | None) -> None:
    n = 4
    points = RNG.uniform(0.5, 2.0, (n, 3))
    w = {"a": RNG.normal(size=n), "b": [RNG.normal(size=n)], "c": RNG.normal(size=(n, 3))}
    power = 2.0 if shared is None else RNG.normal(size=n)
    of = chainad.value_and_jacobian(
        _scaled, ("w", 1), batch={0: 0, "x": 0, "power": shared}, backend=backend
    )
    for _ in range(2):
        value, J = of(w, points, power=power)
        assert value["s"][0].shape == (n,)
        for k in range(n):
            at = {"a": w["a"][k], "b": [w["b"][0][k]], "c": w["c"][k]}
            one = chainad.value_and_jacobian(_scaled, (0, 1))
            p = power if shared is None else power[k]
            wanted = one(at, points[k], power=p)
            pairs = zip(*map(optree.tree_leaves, ((value, J), wanted)), strict=True)
            for found, want in pairs:
                np.testing.assert_allclose(found[k], want, rtol=1e-12)
        assert optree.tree_structure(J) == optree.tree_structure(wanted[1])


def test_what_else_is_returned_has_points() -> None:
    def f(x: Any) -> Any:
        y = x * x if x[0] > 0 else -x
        return y, {"y": [y], "size": 2, "none": None}

    points = np.array([[1.0, 2.0], [3.0, -4.0]])
    for X in (points, points * [[1.0], [-1.0]]):  # one branch, two branches
        J, aux = chainad.jacobian(f, has_aux=True, batch=0)(X)
        wanted = [chainad.jacobian(f, has_aux=True)(x) for x in X]
        np.testing.assert_allclose(J, [slope for slope, _ in wanted])
        np.testing.assert_allclose(aux["y"][0], [each["y"][0] for _, each in wanted])
        assert aux["none"] is None


@pytest.mark.parametrize("backend", ["auto", pytest.param("numba", marks=pytest.mark.numba)])
def test_gradients_of_each_sample_by_shared_weights(backend: str) -> None:
    def loss(w: Any, x: Any, y: Any) -> Any:
        return (np.tanh(w["W"] @ x) @ w["v"] - y) ** 2

    rng = np.random.default_rng(0)
    w = {"W": rng.normal(size=(2, 3)), "v": rng.normal(size=2)}
    X, Y = rng.normal(size=(5, 3)), rng.normal(size=5)
    wanted = [chainad.value_and_grad(loss)(w, x, y) for x, y in zip(X, Y, strict=True)]
    for batch in ({"x": 0, "y": 0}, {"w": None, 1: 0, 2: 0}):
        values, found = chainad.value_and_grad(loss, "w", batch=batch, backend=backend)(w, X, Y)
        np.testing.assert_allclose(values, [value for value, _ in wanted])
        for name in w:
            np.testing.assert_allclose(found[name], [slope[name] for _, slope in wanted])


def test_a_batch_of_nothing_that_varies_is_refused() -> None:
    with pytest.raises(InputError, match=r"batch=\{0: None\} leaves no array with an axis"):
        chainad.jacobian(np.sin, batch={0: None})(np.ones(3))
    with pytest.raises(InputError, match="argument 'w', which was not given"):
        chainad.jacobian(np.sin, batch={0: 0, "w": 0})(np.ones(3))
    with pytest.raises(InputError, match=r"2 in argument 0, 3 in argument 1"):
        chainad.jacobian(np.multiply, batch={0: 0, 1: 0})(np.ones(2), np.ones(3))


# ------------------------------------------------------------------------ vmap


def _nested_values(w: Any, x: Any, n: int = 2) -> Any:
    y = np.zeros(2)
    y[0] = x[0] * w["a"]
    y[1] = x[1] if x[0] > 0 else -(x[1] ** n)
    return {"y": y, "name": "f", "sum": (np.sum(y), n), "sign": 1 if x[0] > 0 else -1}


def test_vmap_sends_points_through_a_function() -> None:
    points, w = np.array([[1.0, 2.0], [-3.0, 4.0], [5.0, 6.0]]), {"a": np.array([1.0, 2.0, 3.0])}
    f = chainad.vmap(_nested_values)
    assert repr(f) == "chainad.vmap(_nested_values, 0)"
    for g in (f, pickle.loads(pickle.dumps(f))):
        found = g(w, points, n=3)
        wanted = [_nested_values({"a": a}, x, 3) for a, x in zip(w["a"], points, strict=True)]
        np.testing.assert_allclose(found["y"], [each["y"] for each in wanted])
        np.testing.assert_allclose(found["sum"][0], [each["sum"][0] for each in wanted])
        assert found["name"] == "f"
        np.testing.assert_array_equal(found["sign"], [1, -1, 1])
    shared = chainad.vmap(_nested_values, {"x": 1, 0: None})(({"a": 2.0}), x=points.T)
    wanted = [_nested_values({"a": 2.0}, x)["y"] for x in points]
    np.testing.assert_allclose(shared["y"], wanted)


def test_vmap_of_products_and_of_derivatives() -> None:
    def energy(x: Any) -> Any:
        return np.sum(np.sin(x) * x[0])

    points, vectors = RNG.normal(size=(2, 5, 3))
    found = chainad.vmap(lambda x, v: chainad.hvp(energy, (x,), (v,)))(points, vectors)
    wanted = [chainad.hessian(energy)(x) @ v for x, v in zip(points, vectors, strict=True)]
    np.testing.assert_allclose(found, wanted)
    value, back = chainad.vmap(lambda x, u: (energy(x), chainad.vjp(np.sin, x)[1](u)[0]))(
        points, vectors
    )
    np.testing.assert_allclose(value, [energy(x) for x in points])
    np.testing.assert_allclose(back, np.cos(points) * vectors)
    slopes = chainad.vmap(chainad.grad(energy), 1)(points.T)
    np.testing.assert_allclose(slopes, [chainad.grad(energy)(x) for x in points])
    with pytest.raises(InputError, match="has points already"):
        chainad.vmap(chainad.vmap(energy))


@pytest.mark.parametrize("of", [chainad.vmap, lambda f, batch: chainad.grad(f, batch=batch)])
def test_points_that_are_traced_are_refused_in_the_line_of_the_user(of: Function) -> None:
    each = of(lambda x: np.sum(x**2), 0)
    with pytest.raises(
        TraceError, match=r"test_batches\.py:\d+: points that are differentiated themselves"
    ):
        chainad.jacobian(lambda X: each(2 * X))(np.ones((3, 2)))


def test_what_is_quicker_on_whole_arrays_is_not_written_out_on_scalars(monkeypatch) -> None:
    def never(*args: Any) -> Any:
        raise AssertionError("written out")

    monkeypatch.setattr(batches, "scalar_program", never)
    W, V = np.ones((50, 20)) / 50, np.ones((10, 50)) / 50
    points = np.linspace(0, 1, 60).reshape(3, 20)
    found = chainad.jacobian(lambda x: V @ np.tanh(W @ x), batch=0)(points)
    np.testing.assert_allclose(found, [(V * (1 - np.tanh(W @ x) ** 2)) @ W for x in points])
