"""Arrays that a function makes: filled, converted and joined as in plain NumPy, nothing changed."""

from __future__ import annotations

import builtins
import math
import pickle
import sys
import textwrap
from threading import Event, Thread
from typing import Any, ClassVar

import numpy as np
import pytest
from functions import Function, numerical

import chainad
from chainad.errors import TraceError
from chainad.frontends.numpy.read_names import Search
from chainad.frontends.numpy.trace import tracing
from chainad.rules.base import name_of

X = np.array([0.3, 1.2, 2.5, 0.7])
A = np.arange(16.0).reshape(4, 4) / 7


def agrees(f: Function, x: Any = X, **options: Any) -> None:
    """Value and Jacobian of f, traced and compiled, are those of plain NumPy."""
    expected = numerical(f, x)
    J = chainad.value_and_jacobian(f, **options)
    for run in (J, J.compile()):
        value, found = run(x)
        np.testing.assert_allclose(value, np.asarray(f(x), float), rtol=1e-13, atol=1e-13)
        assert found.shape == expected.shape
        np.testing.assert_allclose(
            found, expected, rtol=1e-7, atol=1e-7 * (1 + abs(expected).max())
        )


def set_item_of_plain(x):
    z = np.zeros(2)
    z[0] = x[0]
    return z


def set_slice_of_plain(x):
    z = np.zeros(4)
    z[1:] = x[1:]
    return z


def set_item_of_complex(x):
    z = np.zeros(2, complex)
    z[0] = x[0]
    return abs(z)


def out_of_ufunc(x):
    z = np.zeros(4)
    np.sin(x, out=z)
    return z


def out_by_position(x):
    z = np.zeros(4)
    np.sin(x, z)
    return z


def out_of_sum(x):
    z = np.zeros(())
    np.sum(x, out=z)
    return z


def out_of_sum_by_position(x):
    z = np.zeros(())
    np.sum(x, 0, None, z)
    return z


def out_of_method(x):
    z = np.zeros(())
    x.sum(out=z)
    return z


def out_of_method_by_position(x):
    z = np.zeros(())
    x.sum(0, None, z)
    return z


def out_of_dot(x):
    z = np.zeros(4)
    np.dot(A, x, z)
    return z


def out_of_clip(x):
    z = np.zeros(4)
    np.clip(x, 0, 1, z)
    return z


def out_of_concatenate(x):
    z = np.zeros(8)
    np.concatenate([x, x], out=z)
    return z


def out_of_cumsum(x):
    z = np.zeros(4)
    np.cumsum(x, 0, None, z)
    return z


def out_of_take(x):
    z = np.zeros(2)
    np.take(x, [0, 1], 0, z)
    return z


def out_of_einsum(x):
    z = np.zeros(4)
    np.einsum("ij,j->i", A, x, out=z)
    return z


def add_to_plain(x):
    z = np.zeros(4)
    z += x
    return z


def add_to_entry_of_plain(x):
    z = np.zeros(4)
    z[0] += x[0]
    return z


def add_to_slice_of_plain(x):
    z = np.zeros(4)
    z[1:] += x[1:]
    return z


def add_at(x):
    z = np.zeros(4)
    np.add.at(z, [0, 0, 1, 1], x)
    return z


def copy_to(x):
    z = np.zeros(4)
    np.copyto(z, x)
    return z


def put(x):
    z = np.zeros(4)
    np.put(z, [0, 1, 2, 3], x)
    return z


def put_along_axis(x):
    z = np.zeros(4)
    np.put_along_axis(z, np.arange(4), x, 0)
    return z


def place(x):
    z = np.zeros(4)
    np.place(z, [True] * 4, x)
    return z


def putmask(x):
    z = np.zeros(4)
    np.putmask(z, [True] * 4, x)
    return z


def fill_diagonal(x):
    z = np.zeros((4, 4))
    np.fill_diagonal(z, x)
    return z


def fill(x):
    z = np.zeros(4)
    z.fill(x[0])
    return z


def float_array_of(x):
    return np.array([x[0], 1.0], dtype=float)


def math_sin(x):
    return math.sin(x[0])


def as_array(x):
    return np.asarray(x)


def array_of(x):
    return np.array(x)


def array_of_arrays(x):
    return np.array([x, x])


def array_of_slices(x):
    return np.array([x[:2], x[2:]])


def vectorized(x):
    return np.vectorize(lambda a: 2 * a)(x)


FOLLOWED = [
    f
    for f in list(globals().values())
    if callable(f)
    and getattr(f, "__module__", "") == __name__
    and f.__code__.co_varnames[:1] == ("x",)
    and f.__code__.co_argcount == 1
]


@pytest.mark.parametrize("f", FOLLOWED, ids=lambda f: f.__name__)
def test_arrays_that_a_function_makes_are_followed(f: Function) -> None:
    agrees(f)


MADE: dict[str, Any] = {
    "a loop": lambda x: _filled(np.zeros(5), x),
    "a copy of a constant": lambda x: _filled(np.ones(5).copy(), x),
    "computed from constants": lambda x: _filled(2.0 * np.arange(5) + 1, x),
    "a list": lambda x: _filled(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), x),
    "like an array": lambda x: _filled(np.zeros_like(np.r_[x, 1.0]), x),
    "a diagonal": lambda x: _filled(np.diag([1.0, 2.0, 3.0, 4.0, 5.0])[1], x),
    "linspace": lambda x: _filled(np.linspace(0, 1, 5), x),
    "full of a traced value": lambda x: np.full((2, 2), x[1]) @ x[:2],
    "arange by a traced step": lambda x: np.arange(0, 4) * x[0] + np.arange(3.0)[1] * x[1],
    "arange of named bounds": lambda x: (
        np.arange(x[0], stop=x[0] + 2, step=0.5) * np.arange(3.5 * x[1], step=x[1])
    ),
    "the first of an iterator": lambda x: np.fromiter((a * x[0] for a in x), float, count=2),
    "r_ and c_": lambda x: np.c_[x, np.r_[x[2:], 0.0, x[0]]] @ np.array([1.0, x[3]]),
    "fromiter": lambda x: np.fromiter((a * x[0] for a in x), float),
    "vectorize of two": lambda x: np.vectorize(lambda a, b: a * b if a > 1 else b)(x, x[0]),
    "vectorize of tuples": lambda x: sum(np.vectorize(lambda a: (a * a, 2 * a))(x)),
    "math": lambda x: math.hypot(x[0], x[1]) + math.log(x[2], 3) * math.pow(x[3], 2) + math.pi,
    "atan2": lambda x: math.atan2(x[0], 2.0) * math.exp(-x[1]) + math.floor(x[2]),
    "mean of a list": lambda x: np.mean([x[0], x[1] * x[2], 1.0]),
    "norm of a list": lambda x: np.linalg.norm([x[0], x[1]]) * np.max([x[2], x[3]]),
    "lists of lists": lambda x: np.concatenate([[x[0], 1.0], [x[1]]]) * np.sum([x[2], x[3]]),
    "polyval": lambda x: np.polynomial.polynomial.polyval(np.array([2.0, 0.5]), x),
    "ufuncs of lists": lambda x: np.hypot([x[0], 1.0], (2.0, x[1])) + np.exp([x[:2], [1.0, x[3]]]),
    "lists beside constants": lambda x: np.sin([x[0], 1.0, 2.0, x[1]] + A[0]) @ ([x[2]] * 4 * A),
    "iterators": lambda x: (
        sum(a * b for a, b in np.nditer([x, x[:1]]))
        + sum((k[0] + 1) * a * a for k, a in np.ndenumerate(x) for a in np.nditer(a))
    ),
    "out= of what does not dispatch": lambda x: np.outer(x, x, out=np.empty((4, 4))),
    "math.isclose": lambda x: x * (2 if math.isclose(x[0], 0.3, abs_tol=0.1) else 3),
    "numbers times one's own": lambda x: (x[0] * Scaled(2.0) * x[1]).value,
    "at the same places": lambda x: _at(np.ones(3), [0, 1, 1, 2], x),
    "a mixed matrix": lambda x: np.linalg.inv(np.array([[x[0], 1.0], [1.0, x[1]]])) @ x[:2],
    "an entry twice": lambda x: np.array([[x[0], x[1]], [x[1], x[0]]]) @ x[2:],
    "rows and lists": lambda x: np.array([x[:2], [1.0, x[3]], [0, 2]]) @ x[2:],
    "methods of a mixed array": lambda x: np.array([x[0], 1.0, x[1]]).cumsum() ** 2,
    "fft of a mixed array": lambda x: abs(np.fft.fft(np.array([x[0], 1.0, x[1]]))) ** 2,
    "dot of a constant": lambda x: np.arange(16.0).reshape(4, 4).dot(x),
    "asarray of a scalar": lambda x: np.asarray(x[0]) * np.asarray(x, dtype=float),
    "imports in the function": lambda x: __import__("math").sin(x[0]) * x,
    "a made constant": lambda x: np.eye(4) @ x + np.ones(4) * np.sum(np.arange(4) * x),
    "an array of indices": lambda x: x[np.arange(4)[::-1]] * x[np.array([0, 0, 1, 2])],
    "a mask": lambda x: np.where(np.array([True, False, True, False]), x, 2 * x),
    "a condition on constants": lambda x: x * 2 if np.ones(3).sum() == 3 and np.eye(2).any() else x,
}


def _at(z: Any, places: Any, x: Any) -> Any:
    np.multiply.at(z, places, x)
    np.maximum.at(z, places, x[::-1])
    np.negative.at(z, places)
    return z


def _filled(z: Any, x: Any) -> Any:
    z[0] = x[0] * x[1]
    for k in range(3):
        z[k + 1] = z[k] + x[k] * z[4]
    z[1:3] *= x[3]
    return z


@pytest.mark.parametrize("f", MADE.values(), ids=MADE)
def test_what_makes_arrays_is_as_in_plain_numpy(f: Function) -> None:
    agrees(f)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.full(2, x[0], int),
        lambda x: np.fromiter(x, int),
        lambda x: np.vectorize(lambda a: 0 if a < 1 else a * a)(x),
        lambda x: np.vectorize(lambda a: a * a, otypes=[int])(x),
    ],
)
def test_conversions_that_would_cut_are_refused(f: Function) -> None:
    with pytest.raises(chainad.TraceError, match="makes int64 numbers here, which cuts"):
        chainad.jacobian(lambda x: f(x) * 1.0)(X)


def test_how_many_entries_a_compiled_function_makes_is_checked_at_each_call() -> None:
    J = chainad.jacobian(lambda x: np.arange(x[0], 3.0) * x[1]).compile(X)
    for x in (X, X - 2.0, X + 0.1):
        np.testing.assert_allclose(J(x)[:, 1], np.arange(x[0], 3.0))
    assert J.programs == 2


class Scaled:
    """A number of the user's own class."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __mul__(self, other: Any) -> Any:
        return Scaled(self.value * other)

    __rmul__ = __mul__


class Layer:
    """A state that holds arrays, also in a dictionary, beside a function."""

    def __init__(self) -> None:
        self.matrix = A.copy()
        self.parameters = {"bias": A[0].copy(), "activation": np.tanh}

    def __call__(self, x: Any) -> Any:
        matrix, bias = self.matrix, self.parameters["bias"].copy()
        matrix = matrix[1:].T.copy()
        matrix[:, 0] = x
        bias += x[1] * x
        return self.parameters["activation"](matrix.T @ x) + bias[1:]


def copied_constant(x: Any) -> Any:
    full, counts = A[0].copy(), np.arange(4).astype(float)
    full[[1, 2]] = x[:2]
    counts[1] *= x[3]
    return np.outer(full, x) @ counts.reshape(2, 2).copy().flatten()


def copied_column(table: Any) -> Function:
    def f(x: Any) -> Any:
        column = table[:, 1].copy()
        column[0] = x[0] * x[1]
        return column * x

    return f


COPIED = {
    "a global": copied_constant,
    "attributes and entries": Layer(),
    "a closure": copied_column(A),
    "another closure of the same code": copied_column(2 * A),
    "an argument": lambda x: chainad.jacobian(_of_two, argnums=(0, 1))(x, A[0])[1] @ x,
}


def _of_two(x: Any, start: Any) -> Any:
    z = start.copy()
    z[1:3] = x[:2]
    return z * x


@pytest.mark.parametrize("f", COPIED.values(), ids=COPIED)
def test_copies_of_constants_are_followed(f: Any) -> None:
    agrees(f)
    assert type(A) is np.ndarray
    assert type(getattr(f, "matrix", A)) is np.ndarray


def of_constants(x: Any) -> Any:
    joined, least = np.concatenate([A[0], A[1]]), np.sort(A[2])
    joined[0], least[1] = x[0], x[1]
    row = np.atleast_1d(A[3])
    assert np.shares_memory(row, A)
    grown = np.exp(A[0])
    grown[2] = x[2]
    return joined[:4] * least + grown


def test_what_functions_make_of_constants_is_followed() -> None:
    agrees(of_constants)

    def into_a_view(x: Any) -> Any:
        row = np.atleast_1d(A[3])
        row[0] = x[0]
        return row

    with pytest.raises(chainad.TraceError, match=r"np\.copy"):
        chainad.jacobian(into_a_view)(X)


def test_a_function_bound_to_a_name_anew_is_looked_at_anew() -> None:
    space: dict[str, Any] = {"math": math, "np": np, "__name__": "theirs"}
    exec("def one(x): return x * 2\ndef f(x): return two(x)\n", space)
    exec("def other(x): return np.zeros(1) + math.sin(x[0])", space)
    space["two"] = space["one"]
    f = space["f"]
    np.testing.assert_allclose(chainad.jacobian(f)(X), 2 * np.eye(4))
    space["two"] = space["other"]
    np.testing.assert_allclose(chainad.jacobian(f)(X)[0, 0], math.cos(X[0]))


def test_copies_of_arguments_that_are_no_variables_are_followed() -> None:
    expected = numerical(lambda x: _of_two(x, A[0]), X)
    for run in (chainad.jacobian(_of_two), chainad.jacobian(_of_two).compile()):
        np.testing.assert_allclose(run(X, A[0]), expected, atol=1e-7)


def test_a_constant_itself_is_not_written_into() -> None:
    def f(x: Any) -> Any:
        spare = A.copy()
        A[0] = x
        return spare @ x

    with pytest.raises(chainad.TraceError, match=r"test_makers.py:\d+: .*np\.copy"):
        chainad.jacobian(f)(X)


@pytest.mark.parametrize("f", [_of_two, lambda x, start: [x, {"z": _of_two(x, start)}]])
def test_compiled_functions_return_what_they_have_filled(f: Any) -> None:
    found, expected = chainad.compile(f)(X, A[0]), f(X, A[0])
    np.testing.assert_equal(found, expected)


def views(x: Any) -> Any:
    z = np.zeros((2, 3))
    row, column, flat, turned = z[1], z[:, 2], z.reshape(-1), z.T
    part = row[1:]
    z[1, 1] = x[0]
    part[1] = x[1] * row[1]
    turned[0] += x[2]
    flat[3:5] *= x[3]
    return np.concatenate([z.ravel(), row, column, flat, turned.ravel(), part, z.flat[2:4]])


def views_first(x: Any) -> Any:
    z = np.ones((2, 3))
    left, right = np.split(z, [1], axis=1)
    right[0] = x[:2]
    left[...] = np.sum(right) * x[2]
    np.diagonal(z)
    return z * np.ravel(z)[4]


@pytest.mark.parametrize("f", [views, views_first])
def test_views_made_before_a_write_see_it_and_write(f: Function) -> None:
    agrees(f)


def test_memory_of_what_became_traced_is_nan() -> None:
    def f(x: Any) -> Any:
        z = np.zeros(3)
        plain = z.plain
        assert isinstance(z, np.ndarray)
        assert isinstance(x, np.ndarray)
        z[0] = x[0]
        assert np.isnan(memoryview(plain)).all()
        return z

    assert chainad.jacobian(f)(X).shape == (3, 4)


@pytest.mark.parametrize(
    "make", [lambda: np.zeros(3, int), lambda: np.array([1, 2]), lambda: np.arange(3)]
)
def test_writes_that_would_be_cut_are_refused_in_the_users_line(make: Any) -> None:
    def f(x: Any) -> Any:
        z = make()
        z[0] = x[0]
        return z

    with pytest.raises(chainad.TraceError, match=r"test_makers.py:\d+: .*int64, which cuts it"):
        chainad.jacobian(f)(X)


def test_arrays_of_an_earlier_call_are_not_written_into() -> None:
    kept: list[Any] = []

    def f(x: Any) -> Any:
        kept.append(np.zeros(4))
        kept[0][0] = x[0] if len(kept) > 1 else 1.0
        return x * kept[0]

    chainad.jacobian(f)(X)
    with pytest.raises(chainad.TraceError, match=r"test_makers.py:\d+: .*did not make"):
        chainad.jacobian(f)(X)


def test_constants_cost_nothing() -> None:
    A, ones = np.eye(4), np.ones(4)
    made = chainad.plan(lambda x: np.sin(np.eye(4) @ x) * np.ones(4), X)
    given = chainad.plan(lambda x: np.sin(A @ x) * ones, X)
    assert made.order == given.order
    assert made.multiplications == given.multiplications


def test_a_mixed_array_is_one_call() -> None:
    def f(x: Any) -> Any:
        c, s = np.cos(x[0]), np.sin(x[0])
        return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])

    with tracing(f, (X,), (0,)) as run:
        names = [name_of(entry.function) for entry in run.tape.entries[1:]]
    assert names.count("set_items") == 1
    assert len(names) == 6  # two entries of x, cos, sin and -s
    assert chainad.jacobian(f, output="sparse")(X).nnz == 4


# ------------------------------------------------- functions held elsewhere than by name


def zeros_by_default(x: Any, zeros: Any = np.zeros) -> Any:
    y = zeros(2)
    y[0] = x[0] * x[1]
    return y


def module_by_keyword(x: Any, *, lib: Any = np) -> Any:
    y = lib.zeros(2)
    y[1] = x[0] * x[1]
    return y


class Holder:
    zeros = staticmethod(np.zeros)
    lib = math
    bound = np.empty_like
    table: ClassVar[dict[str, Any]] = {"full": np.full}

    def filled(self, x: Any) -> Any:
        y = self.zeros(2)
        y[0] = self.lib.exp(x[1])
        return y

    def full(self, x: Any) -> Any:
        return self.table["full"](2, x[0])

    def of_class(self, x: Any) -> Any:
        y = Holder.bound(np.ones(2))
        y[:] = x * x
        return y


MAKERS_IN_A_LIST = [np.zeros]


def listed(x: Any) -> Any:
    y = MAKERS_IN_A_LIST[0](2)
    y[0] = x[0] ** 2
    return y


HELD = [zeros_by_default, module_by_keyword, Holder().filled, Holder().full, Holder().of_class]


@pytest.mark.parametrize("f", [*HELD, listed], ids=lambda f: f.__qualname__)
def test_functions_in_defaults_classes_and_lists_are_followed(f: Function) -> None:
    x = np.array([1.5, 0.5])
    before = zeros_by_default.__defaults__, {**vars(Holder)}, [*MAKERS_IN_A_LIST]
    compiled = chainad.jacobian(f).compile(x)
    for jacobian in (chainad.jacobian(f), compiled, compiled):
        np.testing.assert_allclose(jacobian(x), numerical(f, x), atol=1e-8)
    assert (zeros_by_default.__defaults__, {**vars(Holder)}, [*MAKERS_IN_A_LIST]) == before


def norm_by_default(p: Any, norm: Any = np.linalg.norm) -> Any:
    return norm(np.arange(3.0), p)


@pytest.mark.parametrize("order", [1.0, 2.0, 3.0, np.inf])
@pytest.mark.parametrize(
    "f",
    [
        lambda p: np.linalg.norm(np.arange(3.0), p),
        norm_by_default,
        lambda p: (np.linalg.norm,)[0](np.arange(3.0), p),
        lambda p, held=(np.linalg.norm,): held[0](np.arange(3.0), p),
        lambda p, held=((np.linalg.norm,),): held[0][0](np.arange(3.0), ord=p),
    ],
)
def test_what_numpy_decides_by_a_traced_number_is_refused(f: Function, order: float) -> None:
    with pytest.raises(TraceError, match="decides what is computed"):
        chainad.jacobian(f)(order)


def test_code_behind_much_data_is_refused_if_it_is_not_found() -> None:
    elsewhere: dict[str, Any] = {"__name__": "elsewhere"}
    exec("import numpy as np", elsewhere)
    exec("def fill(x):\n    y = np.zeros(2)\n    y[0] = x[0]\n    return y", elsewhere)
    exec("def measure(x):\n    return np.linalg.norm(np.ones(2), x[0])", elsewhere)
    for function in (elsewhere["fill"], elsewhere["measure"]):
        for held in ([*range(3000), function], [[*range(3000)], [function]]):

            def f(x: Any, held: Any = held) -> Any:
                last = held[-1]
                return (last[0] if isinstance(last, list) else last)(x)

            try:
                found = chainad.jacobian(f)(np.ones(2))
            except TraceError:
                continue
            np.testing.assert_array_equal(found, [[1.0, 0.0], [0.0, 0.0]])


def test_tables_of_functions_are_looked_at_one_by_one() -> None:
    def using(table: dict[str, Any]) -> Function:
        def f(x: Any) -> Any:
            y = table["zeros"](2)
            y[0] = x[0] * x[1]
            return y

        return f

    for _ in range(3):
        found = chainad.jacobian(using({"zeros": np.zeros}))(np.array([2.0, 3.0]))
        np.testing.assert_array_equal(found, [[3.0, 2.0], [0.0, 0.0]])


# ------------------------------------------------------- names are given back


def names() -> list[Any]:
    return [np, math, np.zeros, builtins.__import__]


def fails(x: Any) -> Any:
    np.zeros(3)[0] = x[0]
    raise KeyboardInterrupt


def inner_fails(x: Any) -> Any:
    with pytest.raises(KeyboardInterrupt):
        chainad.jacobian(fails)(x)
    z = np.zeros(2)
    z[0] = x[0]
    return chainad.jacobian(lambda y: np.array([y[0], 1.0]) * y[1])(z + 1.0)


def test_names_are_given_back_after_nested_runs_errors_and_interrupts() -> None:
    before = names()
    with pytest.raises(KeyboardInterrupt):
        chainad.jacobian(fails)(X)
    assert all(a is b for a, b in zip(before, names(), strict=True))
    chainad.jacobian(inner_fails)(X)
    assert all(a is b for a, b in zip(before, names(), strict=True))
    assert type(np.zeros(3)) is np.ndarray


@pytest.mark.numba
def test_other_threads_see_numpy_as_it_is() -> None:
    numba = pytest.importorskip("numba")
    stop, faults = Event(), []

    def work() -> None:
        while not stop.is_set():
            try:
                assert type(np.zeros(2)) is np.ndarray
                assert pickle.loads(pickle.dumps(np.zeros)) is zeros_of_numpy()
                compiled = numba.njit(lambda x: np.sin(x) + np.zeros(3)[0] + math.exp(x))
                np.testing.assert_allclose(compiled(1.0), np.sin(1.0) + math.exp(1.0))
            except BaseException as fault:
                faults.append(fault)
                return

    def f(x: Any) -> Any:
        z = np.zeros(4)
        z[1:] = x[:3] * math.sin(x[0])
        return z

    wanted = chainad.jacobian(f)(X)
    thread = Thread(target=work)
    thread.start()
    try:
        for _ in range(1000):
            np.testing.assert_array_equal(chainad.jacobian(f)(X), wanted)
    finally:
        stop.set()
        thread.join()
    assert not faults


def zeros_of_numpy() -> Any:
    return vars(sys.modules["numpy"])["zeros"]


def test_closures_that_differ_in_code_are_looked_at_anew() -> None:
    def of(inner):
        def f(x):
            return inner(x) * weights[0]

        weights = [2.0, np.ones(2)]
        return f

    def filled(x):
        out = np.zeros(2)
        out[:] = x
        return out

    def joined(x):
        return np.array([x[0], x[1] ** 2])

    def even(x, n=2):
        return odd(x, n - 1) if n else filled(x)

    def odd(x, n):
        return even(x, n - 1)

    x = np.array([1.0, 3.0])
    for _ in range(2):
        np.testing.assert_array_equal(chainad.jacobian(of(filled))(x), np.diag([2.0, 2.0]))
        np.testing.assert_array_equal(chainad.jacobian(of(joined))(x), np.diag([2.0, 12.0]))
        np.testing.assert_array_equal(chainad.jacobian(of(np.zeros_like))(x), np.zeros((2, 2)))
        np.testing.assert_array_equal(chainad.jacobian(even)(x), np.eye(2))


def test_helpers_that_are_defined_later_or_anew_are_looked_at() -> None:
    users: dict[str, Any] = {"__name__": "users"}

    def define(text: str) -> None:
        exec(textwrap.dedent(text), users)

    define(
        """
        import numpy as np
        def f(x):
            return helper(x)
        """
    )
    J = chainad.jacobian(users["f"])
    x = np.array([1.0, 3.0])
    with pytest.raises(NameError):
        J(x)
    define("def helper(x): return 2.0 * x")
    np.testing.assert_array_equal(J(x), np.diag([2.0, 2.0]))
    define(
        """
        def helper(x):
            z = np.zeros(2)
            z[0] = math.sin(x[0]) if "math" in globals() else x[0]
            return z
        """
    )
    np.testing.assert_array_equal(J(x), np.diag([1.0, 0.0]))
    define("import math")
    np.testing.assert_allclose(J(x), np.diag([math.cos(1.0), 0.0]))


def test_arrays_of_others_are_not_filled_with_nan() -> None:
    theirs = np.arange(4.0)

    def returned(x: Any) -> Any:
        found = np.fromfunction(lambda i: theirs, (4,))
        found[0] = x[0]
        return found

    def written(x: Any) -> Any:
        found = np.add(theirs, 0.0, out=theirs)
        found[0] = x[0]
        return found

    for f in (returned, written):
        with pytest.raises(chainad.TraceError, match="array that the function did not make"):
            chainad.jacobian(f)(np.ones(2))
        np.testing.assert_array_equal(theirs, np.arange(4.0))

    def made(x: Any) -> Any:
        found = np.fromfunction(lambda i: i + 1, (2,))
        found[0] = x[0]
        return found

    np.testing.assert_array_equal(chainad.jacobian(made)(np.ones(2)), [[1, 0], [0, 0]])


def test_names_are_not_looked_up_in_what_rewrites_assertions() -> None:
    def asserted(x: Any) -> Any:
        assert x.size == 2
        return np.sin(x)

    search = Search()
    search.visit(asserted)
    assert [*search.namespaces.values()] == [globals()]


def test_arrays_of_numbers_that_are_traced_twice_have_second_derivatives() -> None:
    H = chainad.hessian(lambda x: np.array([x[0] ** 2, x[0] * x[1]]) @ np.ones(2))(np.ones(2))
    np.testing.assert_array_equal(H, [[2.0, 1.0], [1.0, 0.0]])
