"""What `compile` takes: Jacobians, nested ones and plain functions; it is the same function."""

from __future__ import annotations

import inspect
import pickle
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from functions import FUNCTIONS, agree, points

import chainad
from chainad import InputError, PlanError, TraceError
from chainad.errors import FallbackWarning

Array = npt.NDArray[Any]

X = np.array([0.3, 1.2, -0.5])
W = np.arange(9.0).reshape(3, 3)
BACKENDS = ["auto", "numpy", "python", pytest.param("numba", marks=pytest.mark.numba)]


class Pair(NamedTuple):
    """Two results."""

    one: Any
    two: Any


def layer(x: Any, k: int = 2, *, scale: float = 1.0) -> Any:
    """Return a layer."""
    return scale * np.tanh(W @ x) ** k


def two(x: Any) -> Any:
    return x * np.sum(x), np.array([x[0] * x[1], np.sin(x[2])])


class Model:
    """A function with a parameter, as a method."""

    def __init__(self, w: float) -> None:
        self.w = w

    def residual(self, x: Any) -> Any:
        return self.w * x**2

    value = chainad.compile(residual)
    jac = chainad.jacobian(residual, argnums=1)


def assert_same(found: Any, wanted: Any) -> None:
    """Types, dtypes, shapes and containers are the same, and numbers but for rounding."""
    assert type(found) is type(wanted)
    if isinstance(wanted, (tuple, list)):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert_same(one, other)
    elif isinstance(wanted, dict):
        assert [*found] == [*wanted]
        assert_same([*found.values()], [*wanted.values()])
    elif hasattr(wanted, "toarray"):
        np.testing.assert_allclose(found.toarray(), wanted.toarray(), rtol=1e-12)
    else:
        assert getattr(found, "dtype", None) == getattr(wanted, "dtype", None)
        if isinstance(wanted, (np.ndarray, np.generic)):
            np.testing.assert_allclose(found, wanted, rtol=1e-12)
        else:
            assert found == wanted


# ------------------------------------------------------------------ Jacobians

JACOBIANS: dict[str, Callable[[], Any]] = {
    "dense": lambda: chainad.jacobian(two),
    "sparse": lambda: chainad.jacobian(two, output="sparse"),
    "structured": lambda: chainad.jacobian(two, output="structured"),
    "forward": lambda: chainad.jacobian(two, mode="forward"),
    "value": lambda: chainad.value_and_jacobian(two),
    "value, sparse": lambda: chainad.value_and_jacobian(two, output="sparse"),
    "several arguments": lambda: chainad.jacobian(lambda x: x * W, argnums=(0,)),
    "second": lambda: chainad.jacobian(chainad.jacobian(layer)),
    "third": lambda: chainad.jacobian(chainad.jacobian(chainad.jacobian(np.sin))),
    "of a value and Jacobian": lambda: chainad.jacobian(chainad.value_and_jacobian(np.sin)),
    "of a compiled one": lambda: chainad.jacobian(chainad.compile(chainad.jacobian(layer))),
    "of a compiled function": lambda: chainad.jacobian(chainad.compile(layer)),
    "method": lambda: Model(3.0).jac,
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", JACOBIANS)
def test_a_compiled_jacobian_is_the_jacobian(name: str, backend: Any) -> None:
    J = JACOBIANS[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FallbackWarning)
        compiled = chainad.compile(J, X, backend=backend)
        for point in points(X, 3):
            assert_same(compiled(point), J(point))
    assert compiled.programs == 1


def test_all_ways_to_compile_a_jacobian_are_one() -> None:
    J = chainad.jacobian(layer)

    @chainad.compile
    @chainad.jacobian
    def decorated(x: Any) -> Any:
        return layer(x)

    @chainad.compile(backend="python")
    @partial(chainad.jacobian, mode="reverse")
    def with_options(x: Any) -> Any:
        return layer(x)

    assert with_options.plan is None
    ways = [chainad.compile(J), chainad.compile(J, X), J.compile(), J.compile(X)]
    for compiled in (*ways, decorated, with_options):
        agree(compiled(X), J(X))
        assert isinstance(compiled, chainad.CompiledFunction)
        assert compiled.programs == 1
    plan = with_options.plan
    assert plan is not None
    assert plan.requested == "mode='reverse', on scalars"


def test_a_method_that_is_a_jacobian_is_compiled_as_one() -> None:
    compiled = chainad.compile(Model(3.0).jac, X)
    assert compiled.plan is not None
    both = chainad.jacobian(lambda a, b, x: a * b * x, argnums=(-1, 1))
    fixed = partial(both, X)
    agree(chainad.compile(fixed, X, X)(X, 2 * X), fixed(X, 2 * X))
    by_given = partial(chainad.jacobian(lambda a, x: a * x), X)
    agree(chainad.compile(by_given)(X), by_given(X))


def test_compiled_is_compiled() -> None:
    for g in (chainad.jacobian(layer), layer):
        compiled = chainad.compile(g)
        assert chainad.compile(compiled) is compiled
        assert chainad.compile(compiled, X, backend="auto") is compiled
        assert compiled.programs == 1
        other = chainad.compile(compiled, X, backend="numpy")
        assert other is not compiled
        assert "tanh(v" in other.source
        agree(other(X), compiled(X))


def test_the_backend_is_that_of_the_jacobian_unless_told() -> None:
    J = chainad.jacobian(two, backend="numpy")
    assert "def run(" not in chainad.compile(J, X).source
    assert "def run(" in chainad.compile(J, X, backend="python").source


def test_what_cannot_be_compiled_is_refused() -> None:
    with pytest.raises(InputError, match="batch= is compiled already"):
        chainad.compile(chainad.jacobian(layer, batch=0))
    with pytest.raises(InputError, match="'operator' is not compiled"):
        chainad.compile(chainad.jacobian(layer, output="operator"), X)
    with pytest.raises(InputError, match=r"argnums= is no argument of layer, but an option"):
        chainad.compile(layer, X, argnums=0)
    with pytest.raises(InputError, match="backend='nump' is unknown"):
        chainad.compile(layer, backend="nump")
    with pytest.raises(InputError, match="f must be a function, but got ndarray"):
        chainad.compile(X)  # type: ignore[call-overload]
    with pytest.raises(InputError, match="tuples, lists and dictionaries of these, but got object"):
        chainad.compile(lambda x: object(), X)
    with pytest.raises(TraceError, match="writes into an argument"):
        chainad.compile(np.square)(X, out=X.copy())


def test_a_function_may_have_a_keyword_of_that_name() -> None:
    def f(x: Any, mode: str = "sum") -> Any:
        return np.sum(x) if mode == "sum" else x

    assert_same(chainad.compile(f, X, mode="same")(X, mode="same"), X)
    assert_same(chainad.compile(f)(X), np.sum(X))


# ------------------------------------------------------------ plain functions

# The function, and how many programs there are after points with other values and signs.
PLAIN: dict[str, tuple[Callable[..., Any], int]] = {
    "array": (lambda x: np.tanh(W @ x), 1),
    "number": (lambda x: x[0] * x[1], 1),
    "several": (lambda x: (x * 2, np.sum(x)), 1),
    "array of numbers": (lambda x: np.array([x[0] * x[1], np.sin(x[0])]), 1),
    "list": (lambda x: [x[0] * x[1], x[2]], 1),
    "dictionary": (lambda x: {"a": x * 2, "b": (1, None, "s", x[0])}, 1),
    "named": (lambda x: Pair(x, [np.sin(x)]), 1),
    "nothing": (lambda x: None, 1),
    "no outputs": (lambda x: (), 1),
    "the argument": (lambda x: x, 1),
    "view": (lambda x: x[::-1], 1),
    "constant": (lambda x: W, 1),
    "complex": (lambda x: np.fft.fft(x) * 1j, 1),
    "complex constant": (lambda x: W * 1j, 1),
    "integers": (lambda x: np.argsort(x), 1),
    "truth": (lambda x: x > 0, 1),
    "branch": (lambda x: np.sin(x) if x[0] > 0 else np.cos(x), 2),
    "bool": (lambda x: bool(x[0] > 0), 2),
    "float": (lambda x: float(x[0]), 4),
    "int": (lambda x: int(x[0] * 20), 4),
    "a Jacobian inside": (lambda x: chainad.jacobian(two)(x), 1),
    "Newton": (
        lambda x: x - np.linalg.solve(chainad.jacobian(lambda y: W @ y**2 + y)(x), W @ x**2 + x),
        1,
    ),
    "compiled inside": (lambda x: chainad.compile(chainad.jacobian(layer))(x), 1),
    "ufunc": (np.square, 1),
    "partial": (partial(np.multiply, 3.0), 1),
    "bytes": (lambda x: x.tobytes(), 4),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", PLAIN)
def test_a_compiled_function_is_the_function(name: str, backend: Any) -> None:
    f, programs = PLAIN[name]
    compiled = chainad.compile(f, backend=backend)
    with warnings.catch_warnings():
        if backend in ("python", "numba"):
            warnings.simplefilter("ignore", FallbackWarning)
        for point in (X, 2 * X, -X, 3 * X, X):
            assert_same(compiled(point), f(point))
    assert compiled.programs == programs


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_are_those_of_the_function_at_every_point(name: str) -> None:
    f, x = FUNCTIONS[name]
    compiled = chainad.compile(f)
    for point in points(x, 3):
        agree(compiled(point), f(point))


def test_arguments_are_what_they_are_for_jacobians() -> None:
    def f(data: Any, n: int, *, scale: Any = 1.0) -> Any:
        return data["x"] ** n * scale + data["rest"][0]

    compiled = chainad.compile(f)
    for n in (2, 3):
        for k in (1.0, 2.0):
            data = {"x": k * X, "rest": [k, "unused"]}
            assert_same(compiled(data, n), f(data, n))
            assert_same(compiled(data, n, scale=k * W), f(data, n, scale=k * W))
    assert compiled.programs == 4
    assert_same(chainad.compile(lambda: W @ X)(), W @ X)


@pytest.mark.parametrize("make", [np.ma.masked_array, lambda a: a.astype(object)])
def test_what_is_written_into_other_arrays_is_seen(make: Callable[..., Any]) -> None:
    this = make(W.copy())
    compiled = chainad.compile(lambda x: np.sum(x * 2.0))
    second = chainad.compile(chainad.jacobian(lambda x, y: x * np.sum(y)))
    for k in (1.0, 5.0):
        this[0, 0] = k
        assert compiled(this) == np.sum(this * 2.0)
        agree(second(X, this), np.eye(3) * np.sum(this))


def test_results_are_in_memory_of_their_own() -> None:
    for f in (lambda x: x, lambda x: W, lambda x: [x, x[:2]], lambda x: {"a": W}):
        found = chainad.compile(f, X)(X)
        arrays = [*found.values()] if isinstance(found, dict) else found
        for array in arrays if isinstance(arrays, list) else [arrays]:
            assert not any(np.shares_memory(array, other) for other in (X, W))
            array[:] = 0.0
        assert_same(chainad.compile(f, X)(X), f(X))


def test_the_program_has_nothing_but_the_value() -> None:
    compiled = chainad.compile(lambda x: np.tanh(x * 2.0), X, backend="numpy")
    assert compiled.source.endswith(
        "    v1 = v0 * n2\n    v2 = tanh(v1)\n    return v2, None\n",
    )
    assert "jacobian" not in compiled.source


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_a_function_reads_elsewhere_is_guarded_as_for_jacobians(backend: Any) -> None:
    state, w = {"k": 2.0}, np.ones(3)

    def f(x: Any) -> Any:
        return state["k"] * x + w[0]

    compiled = chainad.compile(f, X, backend=backend)
    fixed = chainad.compile(f, X, backend=backend, constant=("state", "w"))
    before = f(X)
    state["k"], w[0] = 3.0, 5.0
    assert_same(compiled(X), f(X))
    assert_same(fixed(X), before)
    assert "by value" in str(compiled)
    assert chainad.compile(fixed) is fixed


def test_a_plain_function_has_no_plan() -> None:
    for compiled in (chainad.compile(layer), chainad.compile(layer, X)):
        with pytest.raises(PlanError, match=r"compile\(layer\) returns values: there is no Jac"):
            compiled.plan  # noqa: B018


def test_a_compiled_function_has_the_names_of_its_function() -> None:
    compiled = chainad.compile(layer)
    assert compiled.__wrapped__ is layer
    assert (compiled.__name__, compiled.__module__) == ("layer", __name__)
    assert compiled.__doc__ == layer.__doc__
    assert inspect.signature(compiled) == inspect.signature(layer)
    assert repr(compiled) == "chainad.compile(layer)"
    J = chainad.jacobian(compiled)
    assert J.__doc__ == "The Jacobian of layer, mode='auto'."
    assert repr(chainad.jacobian(chainad.jacobian(layer)).compile()) == (
        "chainad.jacobian(jacobian(layer), argnums=0, mode='auto', output='dense').compile()"
    )


def test_in_a_class_a_compiled_function_is_a_method() -> None:
    for w in (3.0, 5.0):
        agree(Model(w).value(X), w * X**2)
        agree(Model.value(Model(w), X), w * X**2)


module_level = chainad.compile(layer)


def test_compiled_functions_are_pickled_as_their_functions() -> None:
    module_level(X)
    found = pickle.loads(pickle.dumps(module_level))
    assert found.programs == 0
    agree(found(X), layer(X))


def test_a_function_that_raises_raises_the_same() -> None:
    def f(x: Any) -> Any:
        if x[0] < 0:
            raise KeyError("negative")
        return np.sqrt(x)

    compiled = chainad.compile(f, abs(X))
    with pytest.raises(KeyError, match="negative"):
        compiled(-abs(X))
    agree(compiled(abs(X)), f(abs(X)))


def test_arrays_of_traced_numbers_alone_are_replayed_at_other_points() -> None:
    compiled = chainad.compile(chainad.jacobian(lambda p: np.diag(np.array([p[0], p[1]])) @ p))
    for p in (np.array([1.0, 2.0]), np.array([3.0, 0.5])):
        np.testing.assert_allclose(compiled(p), np.diag(2 * p))
    assert compiled.programs == 1
