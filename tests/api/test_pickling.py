"""Pickling and copying: everything goes to other processes as what it was made from."""

import copy
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest

import chainad
from chainad.ir.positions import Index
from chainad.planning.calibration import SHIPPED_TABLE
from chainad.planning.cost_models import by_bytes, by_time, model_of

W = np.random.default_rng(0).normal(size=(4, 3))
LARGE = np.random.default_rng(1).normal(size=(300, 300))
X = np.array([0.1, 0.2, 0.3])


def layer(x: np.ndarray) -> np.ndarray:
    return np.tanh(W @ x)


def scaled(a: Any, x: np.ndarray) -> np.ndarray:
    return a * np.sin(x)


def gathered(x: np.ndarray) -> np.ndarray:
    return np.sin(x[[2, 0, 2, 1]])


def solved(x: np.ndarray) -> np.ndarray:
    return np.linalg.solve(np.eye(3) + np.outer(x, x), x)


def deep(x: np.ndarray) -> np.ndarray:
    return np.tanh(LARGE @ np.sin(LARGE @ x))


def two(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.sin(x), np.sum(x**2)


class Model:
    """A callable with parameters, and a method."""

    def __init__(self, w: float) -> None:
        self.w = w

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.w * np.sin(x)

    def method(self, x: np.ndarray) -> np.ndarray:
        return self.w * np.cos(x)

    def _residual(self, x: np.ndarray) -> np.ndarray:
        return self.w * x**2

    jac = chainad.jacobian(_residual, argnums=1)


@chainad.primitive
def cube(x: Any) -> Any:
    return x * x * x


@cube.jacobian(structure="diagonal")
def _slope(y: Any, x: Any) -> Any:
    return 3 * x**2


@chainad.primitive
def smooth(x: Any, kernel: Any) -> Any:
    return np.convolve(x, kernel, "same")


def _push(tangent: Any, y: Any, x: Any, kernel: Any) -> Any:
    return smooth(tangent, kernel)


def _pull(adjoint: Any, y: Any, x: Any, kernel: Any) -> Any:
    return smooth(adjoint, kernel[::-1])


smooth.operator(jvp=_push, vjp=_pull)
KERNEL = np.array([0.5, 0.25, 0.125])


def cubed(x: np.ndarray) -> np.ndarray:
    return cube(2 * x)


def smoothed(x: np.ndarray) -> np.ndarray:
    return smooth(np.sin(x), KERNEL)


@chainad.compile
@chainad.jacobian
def replaced(x: np.ndarray) -> np.ndarray:
    return np.cos(x)


# Everything that is called with an array, and how it is made.
FUNCTIONS: dict[str, Callable[[], Any]] = {
    "jacobian": lambda: chainad.jacobian(layer),
    "value and jacobian": lambda: chainad.value_and_jacobian(layer),
    "sparse": lambda: chainad.jacobian(gathered, output="sparse"),
    "structured": lambda: chainad.jacobian(gathered, output="structured"),
    "of several": lambda: chainad.value_and_jacobian(two),
    "compiled": lambda: chainad.compile(chainad.jacobian(layer)),
    "compiled with value": lambda: chainad.value_and_jacobian(solved).compile(),
    "compiled, numpy": lambda: chainad.compile(chainad.jacobian(layer), backend="numpy"),
    "compiled, python": lambda: chainad.compile(chainad.jacobian(layer), backend="python"),
    "compiled, numba": lambda: chainad.compile(chainad.jacobian(layer), backend="numba"),
    "of a Jacobian": lambda: chainad.jacobian(chainad.jacobian(layer)),
    "by a plan": lambda: chainad.jacobian(layer, mode=chainad.plan(layer, X)),
    "by a cost model": lambda: chainad.jacobian(layer, cost=by_time(SHIPPED_TABLE)),
    "of a partial": lambda: chainad.jacobian(partial(scaled, 2.0)),
    "of an object": lambda: chainad.compile(chainad.jacobian(Model(2.0))),
    "of a method": lambda: chainad.jacobian(Model(2.0).method),
    "a method": lambda: Model(2.0).jac,
    "of a ufunc": lambda: chainad.jacobian(np.sin),
    "of a primitive": lambda: chainad.jacobian(cube),
    "through a primitive": lambda: chainad.compile(chainad.jacobian(cubed)),
    "through an operator": lambda: chainad.jacobian(smoothed),
    "in place of its function": lambda: replaced,
}
BATCHED: dict[str, Callable[[], Any]] = {
    "batch": lambda: chainad.jacobian(layer, batch=0),
    "batch with value": lambda: chainad.value_and_jacobian(solved, batch={0: 0}),
    "batch, numba": lambda: chainad.jacobian(layer, batch=0, backend="numba"),
}
CALLED = [
    pytest.param(name, marks=pytest.mark.numba if "numba" in name else ())
    for name in [*FUNCTIONS, *BATCHED]
]
OPERATORS: dict[str, Callable[[], Any]] = {
    "operator": lambda: chainad.jacobian(layer, output="operator")(X),
    "operator through a solve": lambda: chainad.jacobian(solved, output="operator")(X),
    "operator through a primitive": lambda: chainad.jacobian(smoothed, output="operator")(X),
    "one operator of two": lambda: chainad.jacobian(two, output="operator")(X)[1],
}
PLANS: dict[str, Callable[[], Any]] = {
    "plan": lambda: chainad.plan(layer, X),
    "plan with indices": lambda: chainad.plan(gathered, X),
    "plan of a chain": lambda: chainad.plan_chain([30, 2, 40, 7]),
    "chunked plan": lambda: chainad.plan(deep, np.ones(300), memory_limit="2500 kB"),
    "schedule": lambda: chainad.plan_chain([100, 10, 2, 10, 100]).schedule(2),
    "linear graph": lambda: chainad.plan(gathered, X).graph,
    "edge": lambda: chainad.EdgeElimination(0, 1, "back"),
    "calibration": lambda: SHIPPED_TABLE,
    "cost in time": lambda: by_time(SHIPPED_TABLE),
    "cost in bytes": lambda: by_bytes(8),
    "cost of the peak": lambda: model_of("peak"),
    "cost in multiplications": lambda: model_of("multiplications"),
}


def through_pickle(this: Any) -> Any:
    return pickle.loads(pickle.dumps(this))


def through_cloudpickle(this: Any) -> Any:
    return pickle.loads(pytest.importorskip("cloudpickle").dumps(this))


WAYS = {
    "pickle": through_pickle,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "cloudpickle": through_cloudpickle,
}


def arrays_in(result: Any) -> Iterator[np.ndarray]:
    if isinstance(result, tuple):
        for each in result:
            yield from arrays_in(each)
    else:
        yield result.toarray() if hasattr(result, "toarray") else np.asarray(result)


def assert_equal(found: Any, wanted: Any) -> None:
    for one, two in zip(arrays_in(found), arrays_in(wanted), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CALLED)
def test_what_comes_back_gives_the_same_results_used_before_or_not(name: str, way: str) -> None:
    make, x = (FUNCTIONS[name], X) if name in FUNCTIONS else (BATCHED[name], np.stack([X, 2 * X]))
    this = make()
    unused = WAYS[way](this)
    wanted = this(x)
    assert_equal(unused(x), wanted)
    assert_equal(WAYS[way](this)(x), wanted)
    assert repr(unused).split(" at ")[0] == repr(this).split(" at ")[0]


@pytest.mark.parametrize("name", CALLED)
def test_nothing_that_was_recorded_is_pickled(name: str) -> None:
    make, x = (FUNCTIONS[name], X) if name in FUNCTIONS else (BATCHED[name], np.stack([X, 2 * X]))
    this = make()
    before = pickle.dumps(this)
    this(x)
    assert len(pickle.dumps(this)) == len(before)
    assert len(before) < (8000 if name == "by a plan" else 1000)


@pytest.mark.parametrize("way", WAYS)
def test_a_compiled_function_records_anew(way: str) -> None:
    this = chainad.compile(chainad.jacobian(layer))
    this(X)
    found = WAYS[way](this)
    assert (this.programs, found.programs) == (1, 0)
    found(X)
    found(np.float32(X))
    assert (this.programs, found.programs) == (1, 2)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", OPERATORS)
def test_operators_come_back_with_their_own_local_jacobians(name: str, way: str) -> None:
    this = OPERATORS[name]()
    wanted = this @ np.eye(3)
    for derived, matrix in ((this, wanted), (this.T, wanted.T), (2 * this.H, 2 * wanted.T)):
        found = WAYS[way](derived)
        assert (found.shape, found.dtype) == (derived.shape, derived.dtype)
        np.testing.assert_array_equal(
            found @ np.eye(matrix.shape[1]), derived @ np.eye(len(matrix.T))
        )
        np.testing.assert_allclose(found @ np.eye(matrix.shape[1]), matrix)
    assert len(pickle.dumps(this)) < 2500


def test_an_operator_of_one_output_is_pickled_without_the_others() -> None:
    def f(x: np.ndarray) -> tuple[Any, Any]:
        return LARGE @ np.sin(x[0] * np.ones(300)), np.sum(x**2)

    large, small = chainad.jacobian(f, output="operator")(X)
    assert len(pickle.dumps(small)) < 2000 < LARGE.nbytes < len(pickle.dumps(large))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", PLANS)
def test_plans_come_back_equal(name: str, way: str) -> None:
    this = PLANS[name]()
    before = len(pickle.dumps(this))
    hash(this)
    str(this)
    assert len(pickle.dumps(this)) == before, "something was pickled that was computed on the way"
    found = WAYS[way](this)
    assert found == this
    assert hash(found) == hash(this)
    assert str(found) == str(this)


def test_a_plan_that_came_back_is_followed() -> None:
    plan = through_pickle(chainad.plan(gathered, X, mode="reverse"))
    assert_equal(chainad.jacobian(gathered, mode=plan)(X), chainad.jacobian(gathered)(X))


def test_indices_that_came_back_are_read_only() -> None:
    this = Index(np.array([2, 0, 2, 1]))
    found = through_pickle(this)
    assert found == this
    assert not found.values.flags.writeable


@pytest.mark.parametrize("way", WAYS)
def test_structured_jacobians_come_back_equal(way: str) -> None:
    this = chainad.jacobian(gathered, output="structured")(X)
    found = WAYS[way](this)
    assert found.terms[0][0].structure is this.terms[0][0].structure
    assert_equal(found, this)


# ----------------------------------------------------------------- primitives


@pytest.mark.parametrize("way", WAYS)
def test_a_primitive_is_pickled_by_its_name_as_functions_are(way: str) -> None:
    assert WAYS[way](cube) is cube
    assert WAYS[way](replaced) is replaced


def test_a_primitive_without_a_name_is_pickled_with_its_derivatives() -> None:
    @chainad.primitive
    def square(x: Any) -> Any:
        return x * x

    @square.jacobian(structure="diagonal")
    def _(y: Any, x: Any) -> Any:
        return 2 * x

    found = through_cloudpickle(square)
    assert found is not square
    np.testing.assert_array_equal(chainad.jacobian(found)(X), np.diag(2 * X))
    inside = through_cloudpickle(chainad.jacobian(lambda x: square(np.sin(x))))
    np.testing.assert_allclose(inside(X), np.diag(np.sin(2 * X)))


def test_an_operator_through_a_primitive_keeps_its_constants() -> None:
    kernel, x = np.linspace(0, 1, 5001), np.ones(5001)
    operator = chainad.jacobian(lambda x: smooth(x, kernel), output="operator")(x)
    before = operator @ x
    kernel *= 2
    np.testing.assert_array_equal(operator @ x, before)


# ------------------------------------------------------- lambdas and closures


def test_lambdas_and_closures_go_through_cloudpickle() -> None:
    a = np.array([1.0, 2.0, 3.0])
    for this in (
        chainad.jacobian(lambda x: a * x**2),
        chainad.compile(chainad.jacobian(lambda x: a * x**2)),
        chainad.jacobian(lambda x: a * x**2, mode=lambda graph: graph.inner),
    ):
        np.testing.assert_array_equal(through_cloudpickle(this)(X), np.diag(2 * a * X))
    batched = through_cloudpickle(chainad.jacobian(lambda x: a * x**2, batch=0))
    np.testing.assert_array_equal(batched(X[None])[0], np.diag(2 * a * X))


@pytest.mark.parametrize("make", [chainad.jacobian, chainad.compile, chainad.value_and_jacobian])
def test_where_the_function_cannot_be_pickled_the_error_is_that_of_pickle(make: Any) -> None:
    f: Any = lambda x: x**2
    with pytest.raises((AttributeError, pickle.PicklingError)) as own:
        pickle.dumps(f)
    with pytest.raises(own.type) as found:
        pickle.dumps(make(f))
    assert str(found.value) == str(own.value)


def test_a_deep_copy_has_its_own_function() -> None:
    model = Model(2.0)
    found = copy.deepcopy(chainad.jacobian(model))
    model.w = 5.0
    np.testing.assert_allclose(found(X), np.diag(2 * np.cos(X)))


# ------------------------------------------------------------ other processes


def call(this: Any, x: np.ndarray) -> Any:
    return this(x)


def multiply(this: Any, x: np.ndarray) -> Any:
    return this @ x


def same_plan(plan: Any) -> tuple[bool, int]:
    """Return whether a plan is that of this process, and as how many keys both count."""
    own = chainad.plan(layer, X)
    return plan == own and plan.graph == own.graph, len({plan, own})


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield pool


@pytest.mark.parametrize("name", CALLED[: len(FUNCTIONS)])
def test_a_new_process_returns_the_same_results(pool: ProcessPoolExecutor, name: str) -> None:
    this = FUNCTIONS[name]()
    wanted = this(X)
    assert_equal(pool.submit(call, this, X).result(), wanted)


def test_a_new_process_multiplies_by_operators(pool: ProcessPoolExecutor) -> None:
    for make in OPERATORS.values():
        this = make()
        np.testing.assert_array_equal(pool.submit(multiply, this, X).result(), this @ X)


def test_a_plan_from_another_process_is_the_same_key(pool: ProcessPoolExecutor) -> None:
    plan = chainad.plan(layer, X)
    hash(plan)  # the hash of this process must not go along
    assert pool.submit(same_plan, plan).result() == (True, 1)
