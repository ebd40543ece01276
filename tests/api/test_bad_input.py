"""Bad input: every refusal says what was got and the next move; no state is left behind."""

from __future__ import annotations

import copy
import functools
import pickle
import threading
import warnings
from typing import Any

import numpy as np
import pytest
import scipy.sparse

import chainad
from chainad import InputError, PlanError, TooLargeError, TraceError
from chainad.errors import ChainadError

X = np.array([0.3, 1.2, 0.5, 0.9])
PLAIN = np.zeros(4)
J = chainad.jacobian
kept: list[Any] = []


class OwnError(Exception):
    """An exception of a user's own."""


def raises(error: BaseException) -> Any:
    def f(x: Any) -> Any:
        np.sin(x)
        raise error

    return f


def generates(x: Any) -> Any:
    yield x


async def awaits(x: Any) -> Any:
    return x


def keeps(x: Any) -> Any:
    kept.append(x * 2)
    return x


def late(x: Any) -> Any:
    chainad.jacobian(keeps)(X)
    return kept[-1] + x


def endless(x: Any) -> Any:
    return endless(x + 1)


def two(x: Any, y: Any) -> Any:
    return x * y


other_plan = chainad.plan(lambda x: np.sin(np.cos(np.tan(x))), X)

# name: (what is called, the exception, what its message says)
TABLE: dict[str, tuple[Any, type[BaseException], str]] = {
    # ------------------------------------------------------------ inputs
    "x is a string": (lambda: J(np.sin)("abc"), InputError, "array of real floats.*dtype <U3"),
    "x is None": (lambda: J(np.sin)(None), InputError, "argument 0 must be.*got None"),
    "x holds a text": (
        lambda: J(lambda w: w["a"][1])({"a": [np.ones(2), "b"]}), InputError,
        r"^w\['a'\]\[1\] must be an array of real floats"),
    "x holds None by a name": (
        lambda: J(lambda *ws, **w: w["b"]["c"], "b")(b={"c": "d"}), InputError,
        r"^b\['c'\] must be an array of real floats"),
    "x is a set": (lambda: J(np.sin)({1.0, 2.0}), InputError, "of dtype object.*register_pytree"),
    "f is a number": (lambda: chainad.sparsity(3.0, X), InputError, "f must be a function.*float"),
    "f is a text": (lambda: chainad.jvp("f", (X,), (X,)), InputError, "f must be a function.*str"),
    "f is none": (lambda: chainad.vmap(None), InputError, "f must be a function.*NoneType"),
    "f is a list": (lambda: chainad.for_scipy([]), InputError, "f must be a function.*list"),
    "x is of bytes": (lambda: J(np.sin)(np.arange(3, dtype=np.uint8)), InputError, "uint8.*=float"),
    "x is an enormous integer": (lambda: J(np.sin)(2**60), InputError, "int64.*dtype=float"),
    "x is of booleans": (lambda: J(np.sin)(np.ones(2, bool)), InputError, "bool.*dtype=float"),
    "x is complex": (lambda: J(np.sin)(X + 0j), InputError, "complex.*real and imaginary part"),
    "x is of objects": (lambda: J(np.sin)(X.astype(object)), InputError, "of dtype object"),
    "x is masked": (lambda: J(np.sin)(np.ma.array(X)), InputError, "MaskedArray.*np.asarray"),
    "x is a matrix": (lambda: J(np.sin)(np.asmatrix(X)), InputError, "matrix.*np.asarray"),
    "x is of dates": (
        lambda: J(np.sin)(np.array(["2020-01-01"], "datetime64[D]")), InputError, "datetime64"),
    "x has fields": (
        lambda: J(np.sin)(np.zeros(2, [("a", float)])), InputError, "of dtype"),
    "x is sparse": (lambda: J(np.sin)(scipy.sparse.eye_array(3)), InputError, "of dtype object"),
    # ---------------------------------------------------------- arguments
    "f is no function": (lambda: J(3), InputError, "f must be a function, but got int"),
    "f is None": (lambda: J(None), InputError, "f must be a function, but got NoneType"),
    "no argument": (J(np.sin), InputError, "only 0 were given"),
    "keyword only": (lambda: J(two)(x=X, y=X), InputError, "only 0 were given"),
    "argnums too large": (lambda: J(np.sin, argnums=1)(X), InputError, "only 1 were given"),
    "argnums too small": (lambda: J(np.sin, argnums=-2)(X), InputError, "only 1 were given"),
    "argnums twice": (lambda: J(two, argnums=(0, -2))(X, X), InputError, "names an argument twice"),
    "argnums empty": (lambda: J(two, argnums=()), InputError, "non-empty sequence"),
    "argnums a float": (lambda: J(two, argnums=0.0), InputError, "must be a position"),
    "argnums another name": (
        lambda: J(two, argnums="z")(X, X), InputError, "argument 'z', which was not given"),
    "argnums a boolean": (lambda: J(two, argnums=True), InputError, "must be a position"),
    "an argument too few": (lambda: J(two)(X), TypeError, "missing 1 required positional"),
    "an argument too many": (lambda: J(keeps)(X, X), TypeError, "takes 1 positional argument"),
    "argnums by name of a positional": (
        lambda: J(two, argnums=1)(X, y=X), InputError, "asked for by name: 'y'"),
    "argnums of a default": (
        lambda: J(lambda x, y=1.0: x * y, argnums="y")(X), InputError, "given are 'x'"),
    "an option of none": (
        lambda: chainad.grad(np.sum, output="sparse"), InputError, "grad has no option output="),
    "a type that is not registered": (
        lambda: J(lambda x: x)(object()), InputError, "got a object.*register_pytree_node"),
    "x is ragged": (
        lambda: J(np.sin)([[1.0], [1.0, 2.0]]), InputError, "argument 0 .*of different lengths"),
    "a text in a container": (
        lambda: J(lambda w: w["x"])({"x": X, "name": "a"}), InputError,
        r"w\['name'\] must be .*got a str.*another argument"),
    "mode unknown": (lambda: J(np.sin, mode="sideways"), PlanError, "unknown; choose 'annealing'"),
    "mode misspelt": (
        lambda: J(np.sin, mode="revers"), PlanError, "did you mean 'reverse'. Choose 'annealing'"),
    "mode in capitals": (
        lambda: J(np.sin, mode="FORWARD"), PlanError, "did you mean 'forward'"),
    "cost misspelt": (lambda: J(np.sin, cost="byte"), PlanError, "did you mean 'bytes'"),
    "effort misspelt": (lambda: J(np.sin, effort="through"), PlanError, "did you mean 'thorough'"),
    "backend misspelt": (lambda: J(np.sin, backend="numpie"), InputError, "did you mean 'numpy'"),
    "mode a number": (lambda: J(np.sin, mode=3), PlanError, "mode must be"),
    "plan of another": (lambda: J(np.sin, mode=other_plan)(X), PlanError, "another function"),
    "order of another": (lambda: J(np.sin, mode=(7,))(X), PlanError, "cannot be eliminated"),
    "chain that branches": (
        lambda: J(lambda x: np.sin(x) * np.cos(x), mode="chain")(X), PlanError, "branches"),
    "output unknown": (lambda: J(np.sin, output="full"), InputError, "choose 'dense', 'sparse'"),
    "out of another shape": (
        lambda: J(np.sin)(X, out=np.zeros(4)), InputError, r"out.*\(4, 4\)"),
    "out of another dtype": (
        lambda: J(np.sin)(X, out=np.zeros((4, 4), int)), InputError, "out.*float64"),
    "out for a sparse one": (
        lambda: J(np.sin, output="sparse")(X, out=np.zeros((4, 4))), InputError, "dense"),
    "a dense Jacobian too large": (
        lambda: J(lambda x: x * x)(np.ones(3_000_000)), TooLargeError,
        r"takes 72 TB.*output='sparse', 'structured' or 'operator'"),
    "a zero Jacobian too large": (
        lambda: J(np.floor)(np.ones(3_000_000)), MemoryError, "takes 72 TB"),
    # ------------------------------------------------------------ results
    "result None": (lambda: J(lambda x: None)(X), InputError, "must be a number.*got None"),
    "result a string": (lambda: J(lambda x: "x")(X), InputError, "must be a number.*got str"),
    "result holds a text": (
        lambda: J(lambda x: {"y": (x, "t")})(X), InputError,
        r"the result\['y'\]\[1\] must be a number.*got str"),
    "result a set": (lambda: J(lambda x: {1.0})(X), InputError, "must be a number.*got set"),
    "result no pair": (
        lambda: J(lambda x: [x, x], has_aux=True)(X), InputError, "returns a pair.*got list"),
    "result alone": (
        lambda: J(lambda x: x, has_aux=True)(X), InputError, r"pair.*an array of shape \(4,\)"),
    "result in a dict": (
        lambda: chainad.grad(lambda x: {"y": x[0]})(X), InputError, r"a dict of an array of shape"),
    "result of truth": (lambda: J(lambda x: x > 0)(X), InputError, "is of dtype bool.*zero"),
    "result a truth": (lambda: J(lambda x: (x, True))(X), InputError, "output 1 is of dtype bool"),
    "result of integers": (lambda: J(np.argsort)(X), InputError, r"of dtype int\d+.*astype"),
    "result a count": (lambda: J(lambda x: np.sum(x > 0))(X), InputError, r"of dtype int\d+"),
    "result a generator": (lambda: J(generates)(X), InputError, "must be a number.*generator"),
    "result a coroutine": (lambda: J(awaits)(X), InputError, "must be a number.*coroutine"),
    "result complex": (lambda: J(lambda x: x * 1j)(X), InputError, "is complex.*np.real"),
    "result a constant complex": (lambda: J(lambda x: 1j)(X), InputError, "is complex"),
    "result of strings": (
        lambda: J(lambda x: np.array(["a"]))(X), InputError, "one of dtype <U1"),
    "result of an earlier call": (lambda: J(late)(X), TraceError, "after its function had"),
    "result kept from earlier": (
        lambda: (J(keeps)(X), J(lambda x: kept[-1])(X)), TraceError, "traced value of an earlier"),
    # ------------------------------------------------------------- inside
    "float": (lambda: J(lambda x: float(x[0]))(X), TraceError, "stop_gradient"),
    "int": (lambda: J(lambda x: int(x[0]))(X), TraceError, r"int\(chainad.stop_gradient"),
    "complex": (lambda: J(lambda x: complex(x[0]))(X), TraceError, "real and imaginary parts"),
    "an index": (lambda: J(lambda x: [1, 2][x[0]])(X), TraceError, "cannot be an index"),
    "a range": (lambda: J(lambda x: range(x[0]))(X), TraceError, "cannot be an index"),
    "to integers": (lambda: J(lambda x: x.astype(int))(X), TraceError, "cuts the derivative"),
    "a pickle": (lambda: J(pickle.dumps)(X), TraceError, "pickled"),
    "truth of an array": (lambda: J(lambda x: x if x > 0 else -x)(X), ValueError, "ambiguous"),
    "shapes that differ": (lambda: J(lambda x: x + np.ones(3))(X), ValueError, "broadcast"),
    "an index too large": (lambda: J(lambda x: x[9])(X), IndexError, "out of bounds"),
    "writing into x": (lambda: J(lambda x: x.fill(0))(X), TraceError, "x.copy()"),
    "writing into plain": (
        lambda: J(lambda x: PLAIN.__setitem__(0, x[0]))(X), TraceError, "np.copy"),
    "writing into integers": (
        lambda: J(lambda x: np.zeros(4, int).__setitem__(0, x[0]))(X), TraceError, "which cuts"),
    "an unknown function": (lambda: J(lambda x: np.lcm(x, x))(X), (TraceError, TypeError), "lcm"),
    "recursion": (lambda: J(endless)(X), RecursionError, "recursion"),
    # ---------------------------------------------------- the user's own errors
    "ValueError": (lambda: J(raises(ValueError("mine")))(X), ValueError, "^mine$"),
    "StopIteration": (lambda: J(raises(StopIteration("mine")))(X), StopIteration, "^mine$"),
    "KeyboardInterrupt": (
        lambda: J(raises(KeyboardInterrupt("mine")))(X), KeyboardInterrupt, "^mine$"),
    "SystemExit": (lambda: J(raises(SystemExit("mine")))(X), SystemExit, "^mine$"),
    "own error": (lambda: J(raises(OwnError("mine")))(X), OwnError, "^mine$"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::PendingDeprecationWarning")
@pytest.mark.parametrize("name", TABLE)
def test_bad_input_is_refused_with_the_next_move(name: str) -> None:
    call, error, words = TABLE[name]
    before = X.copy()
    with pytest.raises(error, match=words):
        call()
    assert X.flags.writeable
    np.testing.assert_array_equal(X, before)
    np.testing.assert_allclose(J(np.sin)(X), np.diag(np.cos(X)))


def test_the_table_is_long() -> None:
    assert len(TABLE) >= 60
    assert issubclass(TooLargeError, ChainadError)


@pytest.mark.parametrize(
    ("f", "x", "wanted"),
    [
        (np.sqrt, [0.0, 4.0], [np.inf, 0.25]),
        (np.log, [0.0, -1.0], [np.inf, -1.0]),
        (lambda x: x * x, [np.nan, np.inf], [np.nan, np.inf]),
        (lambda x: 1 / x, [0.0, np.inf], [-np.inf, 0.0]),
        (np.abs, [np.nan, -np.inf], [np.nan, -1.0]),
        (np.exp, [-np.inf, 1e3], [0.0, np.inf]),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_nan_and_infinity_propagate(f: Any, x: Any, wanted: Any) -> None:
    found = J(f, output="structured")(np.array(x)).array
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    "x",
    [np.float64(0.5), 0.5, np.array(0.5), [0.5, 1.0], np.zeros(0), np.zeros((2, 0)), X[:, None]],
    ids=np.shape,
)
@pytest.mark.parametrize("output", ["dense", "sparse"])
def test_numbers_lists_and_empty_arrays_are_fine(x: Any, output: str) -> None:
    shape = np.shape(x)
    found = J(np.sin, output=output)(x)
    assert found.shape == (shape * 2 if output == "dense" else (np.size(x),) * 2)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.longdouble])
def test_other_floats_keep_their_dtype(dtype: Any) -> None:
    found = J(lambda x: np.sin(x) * x)(X.astype(dtype))
    assert found.dtype == dtype


class Model:
    """A function in a class."""

    scale = 3.0

    def method(self, x: Any) -> Any:
        return self.scale * x**2

    __call__ = method


@pytest.mark.parametrize(
    "f",
    [Model().method, Model(), functools.partial(two, X), lambda x: 3 * x * x, np.square, sum, max,
     abs, np.vectorize(lambda v: v * v), copy.deepcopy, len],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_any_callable_works_or_says_why(f: Any) -> None:
    try:
        found = J(f)(X)
    except TraceError:
        return
    h = 1e-6
    columns = [(np.asarray(f(X + h * e)) - np.asarray(f(X - h * e))) / (2 * h) for e in np.eye(4)]
    np.testing.assert_allclose(found, np.stack(columns, axis=-1), atol=1e-6)


def test_threads_do_not_meet() -> None:
    found: dict[int, Any] = {}

    def work(k: int) -> None:
        for _ in range(20):
            found[k] = J(lambda x: np.sin(k * x) * x)(X)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in range(6):
        np.testing.assert_allclose(found[k], np.diag(k * np.cos(k * X) * X + np.sin(k * X)))


def test_a_thread_inside_a_function_sees_the_same_values() -> None:
    def f(x: Any) -> Any:
        parts: list[Any] = []
        thread = threading.Thread(target=lambda: parts.append(np.sin(x)))
        thread.start()
        thread.join()
        return parts[0] * x

    np.testing.assert_allclose(J(f)(X), np.diag(np.cos(X) * X + np.sin(X)))


def test_errors_and_warnings_of_numpy_are_those_of_the_function() -> None:
    def f(x: Any) -> Any:
        return np.sqrt(x - 1)

    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        J(f)(X)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        J(f)(X)
    assert len(caught) == 1
    np.testing.assert_allclose(J(np.sin)(X), np.diag(np.cos(X)))
