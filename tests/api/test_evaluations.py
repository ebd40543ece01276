"""Evaluations in two halves: `value, finish = compiled.begin(x)`, then `finish()`, or not."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from functions import FUNCTIONS, agree, points

import chainad
from chainad import InputError, PlanError
from chainad.errors import FallbackWarning

X = np.array([0.3, 1.2, -0.5])
MATRIX = np.array([[3.0, 1.0, 0.5], [1.0, -4.0, 1.0], [0.5, 1.0, 5.0]])
BACKENDS = ["numpy", "auto", pytest.param("numba", marks=pytest.mark.numba)]
on_every_backend = pytest.mark.parametrize("backend", BACKENDS)


def squares(x: Any) -> Any:
    y = np.tanh(MATRIX @ x)
    return y * y[::-1]


def compiled(f: Callable[..., Any], **how: Any) -> chainad.CompiledFunction:
    return chainad.jacobian(f, **how).compile()


@pytest.mark.parametrize(
    "name",
    [
        "mlp", "attention", "recurrent", "layer_norm", "heart", "gmm_log_likelihood", "masks",
        "lorenz_by_scalars", "a_branch_by_value", "number_to_number", "in_place", "norms",
        "newton_iterations", "the input itself",
    ],
)  # fmt: skip
def test_both_halves_agree_with_a_traced_call(name: str) -> None:
    f, x = FUNCTIONS[name]
    c = compiled(f)
    begun = [(place, *c.begin(place)) for place in points(x, 2)]
    for place, value, finish in reversed(begun):
        agree((value, finish()), chainad.value_and_jacobian(f)(place))


@on_every_backend
@pytest.mark.parametrize("f", [squares, lambda x: np.sum(squares(x)), lambda x: (x @ x, x[::-1])])
def test_what_is_overwritten_meanwhile_changes_nothing(f: Any, backend: str) -> None:
    x, c = X.copy(), compiled(f, backend=backend)
    wanted, slope = chainad.value_and_jacobian(f)(x)
    value, finish = c.begin(x)
    agree(value, wanted)
    x.fill(7)
    for array in value if isinstance(value, tuple) else [value]:
        if isinstance(array, np.ndarray):
            array.fill(7)
    for _ in range(2):
        found = finish()
        agree(found, slope)
        for array in found if isinstance(found, tuple) else [found]:
            array.fill(7)


@on_every_backend
@pytest.mark.parametrize("size", [3, 100])
def test_the_jacobian_is_that_of_what_the_function_read_at_first(size: int, backend: str) -> None:
    data, scale = np.random.default_rng(0).normal(size=(size, 3)), 2.0
    other = data.copy()

    def f(x: Any) -> Any:
        return np.tanh(data @ x) * scale + np.cos(other @ x) @ other

    if size > 3:
        f = lambda x: np.sum(np.tanh(data @ x) * scale) + other[0] @ x
    c = compiled(f, backend=backend)
    for _ in range(3):  # recorded, replayed, recorded anew
        slope = chainad.jacobian(f)(X)
        _, finish = c.begin(X)
        assert finish.holds()
        data *= 1.5
        other[0, 1] += 1.0
        scale += 1.0
        agree(finish(), slope)
        assert not finish.holds()
        agree(c.begin(X)[1](), chainad.jacobian(f)(X))


def test_products_of_constants_are_those_at_first() -> None:
    rng = np.random.default_rng(0)
    A, B = rng.normal(size=(2, 60, 60))
    f = lambda x: A @ (B @ (A @ np.sin(x)))
    x = rng.normal(size=60)
    c = compiled(f, backend="numpy", mode="forward")
    slope = chainad.jacobian(f)(x)
    _, finish = c.begin(x)
    A *= 2.0
    np.testing.assert_allclose(finish(), slope)
    np.testing.assert_allclose(c.begin(x)[1](), chainad.jacobian(f)(x))


@on_every_backend
def test_evaluations_are_finished_in_any_order(backend: str) -> None:
    c = compiled(squares, backend=backend)
    slope = chainad.jacobian(squares)
    begun = [(k, c.begin(k * X)[1]) for k in (1.0, 2.0, 3.0)]
    for k, finish in (begun[2], begun[0], begun[1], begun[0]):
        agree(finish(), slope(k * X))


@on_every_backend
@pytest.mark.filterwarnings("ignore:backend='numba' cannot run:chainad.errors.FallbackWarning")
def test_shapes_and_branches_are_recorded_as_they_are_met(backend: str) -> None:
    def f(x: Any) -> Any:
        return np.sum(x**3) * x if x[0] > 0 else np.exp(x)

    c = compiled(f, backend=backend)
    for x in (X, -X, np.array([1.0, 2.0]), 2 * X, [1.0, 2.0], np.float32([1.0, 2.0])):
        value, finish = c.begin(x)
        wanted, slope = chainad.value_and_jacobian(f)(x)
        agree(value, wanted)
        np.testing.assert_allclose(finish(), slope, rtol=1e-6)


@on_every_backend
def test_evaluations_may_be_begun_inside_of_others(backend: str) -> None:
    inner = compiled(np.sin, backend=backend)

    def f(x: Any) -> Any:
        value, finish = inner.begin(x)
        return finish() @ value  # differentiated again

    c = compiled(f, backend=backend)
    value, finish = c.begin(X)
    np.testing.assert_allclose(value, np.sin(X) * np.cos(X), rtol=1e-12)
    np.testing.assert_allclose(finish(), np.diag(np.cos(2 * X)), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("backend", ["numpy", "auto"])
def test_threads_share_a_compiled_function(backend: str) -> None:
    c = compiled(squares, backend=backend)
    slope = {k: chainad.jacobian(squares)(k * X) for k in range(8)}
    failures = []

    def work(k: int) -> None:
        for _ in range(50):
            _, finish = c.begin(k * X)
            _, other = c.begin((7 - k) * X)
            if not (np.allclose(finish(), slope[k]) and np.allclose(other(), slope[7 - k])):
                failures.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.numba
def test_long_programs_are_finished_by_loops() -> None:
    scale = np.linspace(0.5, 1.5, 300)

    def f(x: Any) -> Any:
        for _ in range(30):
            x = x + 0.01 * np.tanh(x) * scale
        return x

    c, x = compiled(f, backend="numba"), np.linspace(-1.0, 1.0, 300)
    for _ in range(2):
        wanted, slope = chainad.value_and_jacobian(f)(x)
        value, finish = c.begin(x)
        _, other = c.begin(x)
        agree(value, wanted)
        agree(finish(), slope)
        scale *= 2.0
        agree(other(), slope)  # by NumPy, since something has changed
    assert "loops over scalars" in str(c)


@on_every_backend
def test_jacobians_are_written_into_out(backend: str) -> None:
    for f, out in ((squares, np.empty((3, 3))), (lambda x: x @ x, np.empty(3))):
        _, finish = compiled(f, backend=backend).begin(X)
        assert finish(out=out) is out
        agree(out, chainad.jacobian(f)(X))
        with pytest.raises(InputError, match="out must be an array"):
            finish(out=np.empty(7))
    _, finish = compiled(lambda x: (x, x * x), backend=backend).begin(X)
    outs = np.empty((3, 3)), np.empty((3, 3))
    assert finish(out=outs) is outs
    agree(outs[1], np.diag(2 * X))


@pytest.mark.parametrize("output", ["sparse", "structured"])
def test_every_output_is_finished(output: str) -> None:
    f = lambda x: np.exp(x) * x[::-1]
    value, finish = compiled(f, output=output).begin(X)
    value.fill(7)
    first, second = finish(), finish()
    wanted = chainad.jacobian(f)(X)
    for found in (first, second):
        dense = found.toarray()
        np.testing.assert_allclose(dense, wanted)
    if output == "sparse":
        assert not np.shares_memory(first.data, second.data)


@on_every_backend
def test_exact_zeros_are_exact(backend: str) -> None:
    scale = np.array([1.0, 2.0, 3.0])

    def f(x: Any) -> Any:
        return np.where(x < 1, x, np.sqrt(np.abs(x))) * scale

    c = compiled(f, backend=backend)
    for x in (X, np.array([0.0, 2.0, 0.5])):
        _, finish = c.begin(x)
        agree(finish(), chainad.jacobian(f)(x))


def test_a_jacobian_that_would_have_to_be_evaluated_anew_is_refused_if_that_gave_another() -> None:
    scale = np.array([1.0, 2.0, 3.0])
    f = lambda x: np.where(x < 1, x, np.sqrt(np.abs(x))) * scale
    c = compiled(f, backend="numpy")
    (_, finite), (_, finish) = c.begin(X), c.begin(np.array([0.0, 2.0, 0.5]))
    slope = chainad.jacobian(f)(X)
    scale *= 2.0
    agree(finite(), slope)
    with pytest.raises(InputError, match="has changed since this evaluation was begun"):
        finish()


def test_a_point_that_is_rejected_costs_its_value_alone() -> None:
    counts = {"value": 0, "slope": 0}

    @chainad.primitive
    def sine(x: Any) -> Any:
        counts["value"] += 1
        return np.sin(x)

    @sine.jacobian(structure="diagonal")
    def cosine(y: Any, x: Any) -> Any:
        counts["slope"] += 1
        return np.cos(x)

    c = compiled(lambda x: sine(x) * x)
    c.begin(X)
    counts.update(value=0, slope=0)
    begun = [c.begin(k * X) for k in range(5)]
    assert counts == {"value": 5, "slope": 0}
    begun[-1][1]()
    assert counts == {"value": 5, "slope": 1}


def test_what_fails_is_the_functions_own_error() -> None:
    def f(x: Any) -> Any:
        return np.linalg.inv(x)

    c = compiled(f, backend="numpy")
    c.begin(np.eye(2))
    with pytest.raises(np.linalg.LinAlgError):
        c.begin(np.zeros((2, 2)))

    @chainad.primitive
    def root(x: Any) -> Any:
        return np.sqrt(x)

    @root.jacobian(structure="diagonal")
    def slope(y: Any, x: Any) -> Any:
        if np.any(y == 0):
            raise ZeroDivisionError("no slope at zero")
        return 0.5 / y

    c = compiled(lambda x: root(x * x))
    c.begin(X)
    value, finish = c.begin(0 * X)
    agree(value, 0 * X)
    with pytest.raises(ZeroDivisionError, match="no slope at zero") as caught:
        finish()
    assert caught.value.__context__ is None


def test_arguments_are_those_of_the_function() -> None:
    def f(t: Any, y: Any, *, scale: Any) -> Any:
        return y * scale["a"][0] * t

    c = chainad.value_and_jacobian(f, argnums=(1, 0)).compile()
    scale = {"a": [X.copy()]}
    value, finish = c.begin(2.0, X, scale=scale)
    agree(value, 2 * X * X)
    scale["a"][0].fill(0.0)
    by_y, by_t = finish()
    agree(by_y, np.diag(2 * X))
    agree(by_t, X * X)


def test_containers_and_auxiliary_results_are_arranged() -> None:
    def f(p: Any) -> Any:
        return {"sum": p["a"] @ p["b"][0]}, p["a"] * 2

    p = {"a": X.copy(), "b": [2 * X]}
    c = chainad.jacobian(f, has_aux=True).compile()
    for _ in range(2):
        (value, aux), finish = c.begin(p)
        p["a"].fill(0.0)
        np.testing.assert_allclose(value["sum"], 2 * X @ X)
        agree(aux, 2 * X)
        slope = finish()["sum"]
        agree(slope["a"], 2 * X)
        agree(slope["b"][0], X)
        p["a"][:] = X


def test_functions_that_are_traced_at_each_call_can_be_begun() -> None:
    rng = np.random.default_rng(0)
    c = compiled(lambda x: rng.normal() * x)
    with pytest.warns(FallbackWarning, match="draws by"):
        value, finish = c.begin(X)
    np.testing.assert_allclose(finish(), np.diag(value / X))
    assert not finish.holds()
    assert finish() is not finish()


def test_gradients_and_hessians_can_be_begun() -> None:
    f = lambda x: np.sum(np.exp(x) * x[::-1])
    value, finish = chainad.grad(f).compile().begin(X)
    np.testing.assert_allclose(value, f(X))
    agree(finish(), chainad.grad(f)(X))
    value, finish = chainad.hessian(f).compile().begin(X)
    np.testing.assert_allclose(value, chainad.grad(f)(X))
    np.testing.assert_allclose(finish(), chainad.hessian(f)(X))
    with pytest.raises(InputError, match="returned an array of shape"):
        chainad.grad(np.sin).compile().begin(X)


def test_begin_is_for_jacobians() -> None:
    with pytest.raises(PlanError, match="there is no Jacobian to finish"):
        chainad.compile(squares).begin(X)


def test_what_was_begun_is_not_pickled_and_can_be_cleared() -> None:
    c = compiled(squares)
    _, finish = c.begin(X)
    other = pickle.loads(pickle.dumps(c))
    assert other.source == ""
    assert "def finish(out=None):" in c.source
    c.clear()
    assert c.source == ""
    agree(finish(), other(X))
