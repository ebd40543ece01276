"""The tracer: what works as in plain NumPy, and what is refused in the user's own line."""

from __future__ import annotations

import copy
import math
import pickle
import re
import sys
import threading
from collections.abc import Callable
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
import scipy.special as sp
from functions import Function, numerical
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import holds_in_child, may_fork_with_threads, needs_fork

import chainad
from chainad import InputError, TraceError
from chainad.errors import ZeroDerivativeWarning
from chainad.frontends.numpy import holds
from chainad.frontends.numpy.tape import MAX_COPIED_ENTRIES
from chainad.frontends.numpy.trace import tracing
from chainad.frontends.numpy.tracers import Tracer

X = np.array([0.3, 1.2, 2.5, 0.7])
A = np.arange(16.0).reshape(4, 4) / 7


def agrees(f: Function, x: Any = X, **options: Any) -> None:
    """Value and Jacobian of f are those of plain NumPy."""
    value, J = chainad.value_and_jacobian(f, **options)(x)
    np.testing.assert_allclose(value, np.asarray(f(x), float), rtol=1e-13, atol=1e-13)
    expected = numerical(f, x)
    assert J.shape == expected.shape
    np.testing.assert_allclose(J, expected, rtol=1e-7, atol=1e-7 * (1 + abs(expected).max()))


# ----------------------------------------------------------------- refused


def set_item_of_integers(x):
    z = np.zeros(2, int)
    z[0] = x[0]
    return z


def to_float(x):
    return x * float(x[0])


def to_int(x):
    return x * int(x[0])


def to_complex(x):
    return complex(x[0])


def float64_of(x):
    return np.float64(x[0]) * x


def as_range(x):
    return sum(x[k] for k in range(x[0]))


def dot_method(x):
    return A.dot(x)


def delete_item(x):
    y = x * 2
    del y[0]
    return y


def method_resize(x):
    y = x * 2
    y.resize(2)
    return y


def method_partition(x):
    y = x * 2
    y.partition(1)
    return y


def method_view(x):
    return x.view(np.int64)


def add_to_input(x):
    x += 1
    return x


def add_to_zero_dim_view(x):
    y = x * 2
    s = y[0, ...]
    s += 1
    return y


def unknown_function(x):
    return np.histogram(x)


def solve(x):
    return np.linalg.svd(x[:, None])[0]


def scipy_function(x):
    return scipy.linalg.solve_toeplitz(x, x)


def sparse_product(x):
    return scipy.sparse.csr_array(A).multiply(x)


def frompyfunc(x):
    return np.frompyfunc(lambda a: a, 1, 1)(x)


def as_integers(x):
    return x.astype(int) * x


def as_booleans(x):
    return x.astype(bool) * x


def as_text(x):
    return x.astype(str)


def times_matrix(x):
    return np.matrix(A) * x


def matmul_matrix(x):
    return x @ np.matrix(A)


def times_masked(x):
    return x * np.ma.array(np.ones(4), mask=[1, 0, 0, 0])


def pickled(x):
    return pickle.loads(pickle.dumps(x))


def atleast_of_several(x):
    return np.atleast_1d(x, x)[0]


REFUSED = [
    f
    for f in list(globals().values())
    if callable(f)
    and getattr(f, "__module__", "") == __name__
    and f.__code__.co_varnames[:1] == ("x",)
    and f.__code__.co_argcount == 1
]
NEXT_MOVES = (
    r"use |write |assign |build |say |keep |compute |convert |select |add |call |cannot be deleted"
)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.parametrize("f", REFUSED, ids=lambda f: f.__name__)
def test_what_would_lose_a_derivative_is_refused_in_the_users_line(f: Function) -> None:
    x = X.copy()
    with pytest.raises((TraceError, IndexError)) as caught:
        chainad.jacobian(f)(x)
    error: Any = caught.value
    while not isinstance(error, TraceError):  # NumPy turns what it gets from an index into its own
        error = error.__cause__ or error.__context__
        assert error is not None
    message = str(error)
    first = f.__code__.co_firstlineno
    found = re.match(r"(.*test_tracer\.py):(\d+): ", message)
    assert found, message
    assert first < int(found[2]) <= first + 6, message
    assert re.search(NEXT_MOVES, message), message
    assert x.flags.writeable
    np.testing.assert_array_equal(x, X)
    agrees(np.sin, x)


def test_the_list_of_refusals_is_long() -> None:
    assert len(REFUSED) > 25


def test_names_of_functions_are_in_the_messages() -> None:
    with pytest.raises(TraceError, match=r"np\.linalg\.svd: the vectors"):
        chainad.jacobian(solve)(X)


def test_a_traced_index_array_is_refused() -> None:
    for f in (
        lambda x: A[np.floor(x) * x],
        lambda x: A[x[0]],
        lambda x: x[x],
        lambda x: x[x[0]],
        lambda x: np.take(x, x),
    ):
        with pytest.raises((TypeError, IndexError), match=r"integer|index|plain numbers|int64"):
            chainad.jacobian(f)(X)


def test_integers_and_booleans_as_constants_never_wrap_around() -> None:
    small = np.full(4, 100, np.int8)
    for f in (
        lambda x: x * small * small,
        lambda x: (x * small) @ small,
        lambda x: np.einsum("i,i,i->i", x, small, small),
        lambda x: x * np.int8(100) * np.int8(100),
        lambda x: x * (x > 0) + x * (x > 0),
        lambda x: x * True + x * True + x * np.True_,
        lambda x: x / small + small / x - small * x,
        lambda x: (x > 0) @ np.outer(x, small) + x ** small[:1].astype(np.int64) * 0,
        lambda x: np.where(small > 0, x * small, small) * small,
        lambda x: np.power(x, np.uint8(3)) * np.uint8(200) * np.uint8(200),
        lambda x: np.dot(small, x) * small,
    ):
        agrees(f)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.array([1, 2], np.uint8), "uint8.*dtype=float"),
        ([1, 2**60], "int64.*dtype=float"),
        (2**53 + 1, "int64"),
        (np.array([True]), "bool.*dtype=float"),
        (np.array([1j]), "complex128.*real and imaginary"),
        (1j, "complex128"),
        (np.array([1.0, None]), "object"),
        ("text", "<U4"),
        (None, "None"),
        (np.matrix([[1.0]]), "matrix.*asarray"),
        (np.ma.array([1.0, 2.0], mask=[0, 1]), "Masked.*asarray"),
    ],
)
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_inputs_that_are_no_real_floats_raise_input_error(x: Any, words: str) -> None:
    with pytest.raises(InputError, match=rf"argument 0 must be .*{words}"):
        chainad.jacobian(lambda x: x * 1.0)(x)


def test_other_arguments_may_be_anything() -> None:
    def f(x, n, name):
        return x**n if name == "power" else x

    assert chainad.jacobian(f)(np.float64(2.0), 3, "power") == 12
    assert chainad.jacobian(f)(np.float64(2.0), 3, name="none") == 1


@pytest.mark.parametrize("result", ["text", np.array(["a"]), np.array([1j]), 1j, {1.0}])
def test_results_that_are_no_numbers_raise(result: Any) -> None:
    with pytest.raises(InputError, match=r"the result (must be|is complex)"):
        chainad.jacobian(lambda x: result)(X)
    with pytest.raises(InputError, match=r"output 1 (must be|is complex)"):
        chainad.jacobian(lambda x: (x, result))(X)


def test_an_object_array_without_numbers_is_refused() -> None:
    with pytest.raises(TraceError, match="object array"):
        chainad.jacobian(lambda x: np.array([None, 1.0]))(X)


PACKED: dict[str, Callable[..., Any]] = {
    "copysign": lambda v: np.copysign(v, 1.0),
    "logaddexp": lambda v: np.logaddexp(v, 1.0),
    "sin": np.sin,
    "arctan2 after pad": lambda v: np.arctan2(np.pad(v, 1), 1.0),
    "interp": lambda v: np.interp(v, [0.0, 3.0], [0.0, 1.0]),
    "cov": np.cov,
}


def packed_objects(x: Any) -> Any:
    v = np.empty(2, object)
    v[:] = [x[0], 1.0]
    return v


@pytest.mark.parametrize("function", PACKED.values(), ids=PACKED)
def test_arrays_of_objects_are_arrays_to_numpys_functions(function: Callable[..., Any]) -> None:
    def f(x: Any) -> Any:
        return function(packed_objects(x))

    def plain(x: Any) -> Any:
        return function(packed_objects(x).astype(float))

    x = np.array([2.0, 1.0])
    expected = chainad.jacobian(lambda x: function(np.array([x[0], 1.0])))(x)
    assert np.allclose(plain(x), chainad.value_and_jacobian(f)(x)[0])
    assert np.allclose(chainad.jacobian(f)(x), expected)
    assert np.allclose(chainad.compile(chainad.jacobian(f), x)(x), expected)


@pytest.mark.parametrize("is_compiled", [False, True])
@pytest.mark.parametrize("function", [sp.expit, sp.erf])
def test_arrays_of_objects_are_refused_in_the_users_line(
    function: Callable[..., Any], is_compiled: bool
) -> None:
    def f(x: Any) -> Any:
        return function(packed_objects(x))

    x = np.ones(2)
    with pytest.raises(TraceError, match=r"test_tracer\.py:\d+: .*np\.array\(\[") as caught:
        chainad.compile(chainad.jacobian(f), x)(x) if is_compiled else chainad.jacobian(f)(x)
    assert isinstance(caught.value.__cause__, (TypeError, AttributeError))


OWN_ERRORS: dict[str, tuple[Callable[..., Any], type[Exception]]] = {
    "types": (lambda x: x + "a", TypeError),
    "ufunc": (lambda x: np.bitwise_and(1.5, 2.5), TypeError),
    "raised": (lambda x: _raise(TypeError("got a list")), TypeError),
    "attribute": (lambda x: (np.array([x[0], 1.0]), (1.5).foo), AttributeError),
    "attribute of a traced array": (lambda x: (np.array([x[0], 1.0]), x.foo), AttributeError),
    "attribute without a name": (lambda x: _raise(AttributeError("no file")), AttributeError),
    "types after packing": (lambda x: (np.array([x[0], 1.0]), len(3)), TypeError),
}


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(("f", "kind"), OWN_ERRORS.values(), ids=OWN_ERRORS)
def test_errors_of_the_function_stay_what_they_are(
    f: Callable[..., Any], kind: type[Exception]
) -> None:
    for call in (chainad.jacobian(f), lambda x: chainad.compile(chainad.jacobian(f), x)):
        with pytest.raises(kind) as caught:
            call(np.ones(2))
        assert "arrays of objects" not in str(caught.value)


# ------------------------------------------------------------------- state


def test_an_exception_of_the_user_passes_through_and_leaves_nothing_behind() -> None:
    x, W = X.copy(), A.copy()

    class MineError(Exception):
        pass

    def f(x, fail):
        y = W @ x
        if fail:
            raise MineError("as it was")
        return y

    J = chainad.jacobian(f)
    with pytest.raises(MineError, match=r"^as it was$"):
        J(x, True)
    assert x.flags.writeable
    assert W.flags.writeable
    np.testing.assert_array_equal(J(x, False), W)


def test_errors_of_numpy_pass_through() -> None:
    with pytest.raises(ValueError, match="could not be broadcast"):
        chainad.jacobian(lambda x: x + np.ones(3))(X)
    with pytest.raises(IndexError):
        chainad.jacobian(lambda x: x[7])(X)
    with pytest.raises(ValueError, match="truth value"):
        chainad.jacobian(lambda x: x if x > 0 else -x)(X)


def test_a_small_constant_may_be_overwritten_after_use() -> None:
    buffer, index = np.ones(8), np.array([0, 1])
    view, other = buffer[:4], buffer[:4]

    def f(x):
        y = view * x
        other[:] = 7.0
        z = x[index] * view[:2]
        index[:] = 3
        view[:] = 1.0
        index[:] = 0, 1
        return np.concatenate([y, z])

    agrees(f, X)


def test_a_large_constant_that_is_overwritten_after_use_is_refused_loudly() -> None:
    W = np.ones((MAX_COPIED_ENTRIES, 4))

    def f(x):
        y = W @ x
        W[0, 0] = 5.0
        return y

    with pytest.raises(ValueError, match="read-only") as caught:
        chainad.jacobian(f)(X)
    assert "write into a copy" in " ".join(caught.value.__notes__)
    W[0, 0] = 5.0
    np.testing.assert_array_equal(chainad.jacobian(lambda x: W @ x)(X), W)


def test_a_large_constant_is_not_overwritten_while_it_is_needed() -> None:
    W = np.ones((MAX_COPIED_ENTRIES + 1, 4))
    whole = W.reshape(4, -1)

    def write_owner(x):
        y = W * x
        W[0] = 7
        return y

    def write_view(x):
        y = x @ whole
        whole[0] = 7
        return y

    def write_with_ufunc(x):
        y = W * x
        np.multiply(W, 2, out=W)
        return y

    for f in (write_owner, write_view, write_with_ufunc):
        for _ in range(2):
            with pytest.raises(ValueError, match="read-only"):
                chainad.jacobian(f)(X)
            assert W.flags.writeable
            assert whole.flags.writeable


def test_a_part_of_a_larger_buffer_is_copied_and_may_be_overwritten() -> None:
    buffer = np.ones((2 * MAX_COPIED_ENTRIES, 4))

    def f(x):
        y = buffer[: MAX_COPIED_ENTRIES + 1] * x
        buffer[:] = 7
        return y

    J = chainad.jacobian(f, output="sparse")(X)
    np.testing.assert_array_equal(J.data, 1.0)


@pytest.mark.parametrize("make", ["unpickled", "bytes", "capsule"])
def test_memory_that_is_not_numpys_own_is_copied(make: str) -> None:
    n = MAX_COPIED_ENTRIES + 1
    c = {
        "unpickled": lambda: pickle.loads(pickle.dumps(np.ones(n))),
        "bytes": lambda: np.frombuffer(bytearray(np.ones(n))),
        "capsule": lambda: np.from_dlpack(np.ones(n)),
    }[make]()
    if not c.flags.writeable:
        pytest.skip("this version of NumPy makes capsules read-only")

    def f(x):
        y = c * np.sum(x)
        c[:] = 7
        return y

    np.testing.assert_array_equal(chainad.jacobian(f)(X), 1.0)
    assert c.flags.writeable
    np.testing.assert_array_equal(chainad.jacobian(lambda x: x * 2, output="sparse")(c).data, 2.0)
    assert c.flags.writeable


def test_views_taken_by_a_traced_function_are_writeable_afterwards() -> None:
    W, taken = np.ones((MAX_COPIED_ENTRIES + 1, 4)), []

    def f(x):
        taken.append(W.T)
        return W @ x + taken[-1].T @ x

    for _ in range(2):
        chainad.jacobian(f)(X)
    assert all(view.flags.writeable for view in taken)


def test_a_view_that_was_read_only_stays_so() -> None:
    W = np.ones((MAX_COPIED_ENTRIES + 1, 4))
    view = W.T
    view.flags.writeable = False
    chainad.jacobian(lambda x: x @ view + x @ view + W @ x)(X)
    assert not view.flags.writeable
    assert W.flags.writeable


def test_one_trace_does_not_give_back_what_another_needs() -> None:
    W = np.ones((MAX_COPIED_ENTRIES + 1, 4))
    inside, go_on, found = Event(), Event(), []

    def slow(x):
        y = W * x
        inside.set()
        go_on.wait(10)
        with pytest.raises(ValueError, match="read-only"):
            W[0] = 100.0
        return y

    thread = Thread(target=lambda: found.append(chainad.jacobian(slow, output="sparse")(X)))
    thread.start()
    inside.wait(10)
    chainad.jacobian(lambda x: W * x, output="sparse")(X)
    go_on.set()
    thread.join(10)
    np.testing.assert_array_equal(found[0].data, 1.0)
    assert W.flags.writeable


@needs_fork
@may_fork_with_threads
def test_a_forked_child_finds_arrays_writeable_and_locks_open() -> None:
    W = np.ones((MAX_COPIED_ENTRIES + 1, 4))
    inside, go_on = Event(), Event()

    def slow(x):
        y = W * x
        with holds._lock:  # as at any moment of another thread
            inside.set()
            go_on.wait(10)
        return y

    thread = Thread(target=lambda: chainad.jacobian(slow, output="sparse")(X))
    thread.start()
    inside.wait(10)
    is_right = holds_in_child(
        lambda: (
            W.flags.writeable
            and chainad.jacobian(lambda x: W @ x)(X).shape == (len(W), 4)
            and W.flags.writeable
        )
    )
    go_on.set()
    thread.join(10)
    assert is_right


def test_a_large_index_that_is_overwritten_after_use_is_refused() -> None:
    index = np.zeros(MAX_COPIED_ENTRIES + 1, int)

    def f(x):
        y = x[index]
        index[:] = 3
        return y

    with pytest.raises(ValueError, match="read-only"):
        chainad.jacobian(f)(X)
    assert index.flags.writeable


def test_an_argument_may_be_overwritten_and_is_never_locked() -> None:
    x = np.arange(float(MAX_COPIED_ENTRIES + 4))

    def f(z):
        y = z * z
        x[:] = 9.0
        return y

    J = chainad.jacobian(f, output="sparse")(x)
    np.testing.assert_array_equal(J.data, 2 * np.arange(float(len(x))))


def test_read_only_arrays_stay_read_only() -> None:
    W = A.copy()
    W.flags.writeable = False
    np.testing.assert_array_equal(chainad.jacobian(lambda x: W @ x)(X), W)
    assert not W.flags.writeable


def test_locks_are_given_back_for_views_of_views_and_memory_maps(tmp_path: Any) -> None:
    n = MAX_COPIED_ENTRIES + 8
    owner = np.ones(4 * n)
    views = [owner[2:], owner[2:][1:], owner.reshape(4, n)[1], np.frombuffer(bytearray(8 * n))]
    mapped = np.memmap(tmp_path / "x", dtype=float, mode="w+", shape=4)
    views.append(np.memmap(tmp_path / "y", dtype=float, mode="w+", shape=n))
    for view in views:
        chainad.jacobian(lambda x, v=view: np.sum(x) * v[: MAX_COPIED_ENTRIES + 4])(X)
        assert view.flags.writeable
    assert owner.flags.writeable
    np.testing.assert_array_equal(chainad.jacobian(lambda x: x + mapped)(X), np.eye(4))


def test_results_share_no_memory_with_constants_or_inputs() -> None:
    W, x = A.copy(), X.copy()
    for f in (lambda x: W @ x, lambda x: W.T @ x, lambda x: x * W[0], lambda x: x, np.sum, np.diag):
        J = chainad.jacobian(f)(x)
        assert J.flags.writeable
        assert not np.shares_memory(J, W)
        assert not np.shares_memory(J, x)
        again = chainad.jacobian(f)(x)
        J += 1.0
        np.testing.assert_array_equal(chainad.jacobian(f)(x), again)


def test_leaked_values_are_refused() -> None:
    kept: list[Any] = []

    def leak(x):
        kept[:] = [x * 2, x[0]]
        return x

    chainad.jacobian(leak)(X)
    array, scalar = kept
    for use in (
        lambda: array + 1,
        lambda: np.sin(array),
        lambda: np.sum(array),
        lambda: array[0],
        lambda: scalar * 2,
        lambda: array > 0,
        lambda: np.concatenate([array, array]),
    ):
        with pytest.raises(TraceError, match=r"test_tracer\.py:\d+: .*after its function had ret"):
            use()
    for f in (lambda x: x + array, lambda x: x * scalar, lambda x: np.stack([x, array])):
        with pytest.raises(TraceError, match="after its function had returned"):
            chainad.jacobian(f)(X)
    for f in (lambda x: array, lambda x: (x, array), lambda x: [x[0], scalar]):
        with pytest.raises(TraceError, match=r"earlier call|after its function had returned"):
            chainad.jacobian(f)(X)


def test_a_value_that_is_used_while_a_generator_is_open_is_refused_afterwards() -> None:
    def f(x):
        return (x[k] for k in range(2))

    with pytest.raises(InputError, match="generator"):
        chainad.jacobian(f)(X)


def test_copies_stay_traced() -> None:
    agrees(lambda x: copy.copy(x) * x)
    agrees(lambda x: copy.deepcopy(x) * x)
    agrees(lambda x: copy.deepcopy({"a": [x[0], x]})["a"][1] ** 2)

    def f(x):
        y = x * 2
        z = copy.copy(y)
        z += x
        return y * z

    agrees(f)


def test_two_threads_may_trace_at_once() -> None:
    gate = threading.Barrier(4)
    W = np.random.default_rng(0).normal(size=(30, 30)) / 5
    found: dict[int, Any] = {}

    def f(x):
        gate.wait(10)
        for _ in range(20):
            x = np.tanh(W @ x)
        return x

    def work(k: int) -> None:
        found[k] = chainad.jacobian(f)(np.full(30, 0.1 * k))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert W.flags.writeable
    for k in range(4):
        x, J = np.full(30, 0.1 * k), np.eye(30)
        for _ in range(20):
            x = np.tanh(W @ x)
            J = ((1 - x * x)[:, None] * W) @ J
        np.testing.assert_allclose(found[k], J, rtol=1e-10, atol=1e-13)


def test_values_of_nested_traces_are_distinguished() -> None:
    def f(x):
        inner = chainad.jacobian(lambda y: np.sum(x * y**3))
        return inner(x * 2.0)  # x (2x)^2 3 = 12 x^3

    np.testing.assert_allclose(chainad.jacobian(f)(X), np.diag(36 * X**2))


def test_an_outer_value_changed_in_place_inside_counts_as_it_was() -> None:
    def f(x):
        a = x * 1.0

        def inner(y):
            nonlocal a
            z = a * y
            a += 1.0
            return z

        return chainad.jacobian(inner)(np.ones(4)).sum(axis=1)

    np.testing.assert_array_equal(chainad.jacobian(f)(X), np.eye(4))


def test_views_are_followed_in_nested_traces() -> None:
    def in_place_on_view(x):
        y = x * 2
        z = y[1:]
        z *= x[0]
        return np.sum(y)

    found = chainad.jacobian(chainad.jacobian(in_place_on_view))(X)
    wanted = np.zeros((4, 4))
    wanted[0, 1:] = wanted[1:, 0] = 2.0
    np.testing.assert_array_equal(found, wanted)

    def in_place_on_input(x):
        x += 1
        return np.sum(x)

    with pytest.raises(TraceError, match="writes into an argument"):
        chainad.jacobian(chainad.jacobian(in_place_on_input))(X)


# ------------------------------------------------- control flow and closures


def test_control_flow_is_traced_anew_at_every_call() -> None:
    def f(x):
        y = x
        while np.sum(y) < 10:
            y = y * 2
        return y if x[0] > 0 else -y

    J = chainad.jacobian(f)
    assert J(np.array([1.0, 1.0]))[0, 0] == 8
    assert J(np.array([4.0, 1.0]))[0, 0] == 2
    assert J(np.array([-4.0, 20.0]))[0, 0] == -1
    assert J(np.array([1.0, 1.0]))[0, 0] == 8


def test_closures_may_change_between_calls() -> None:
    state: dict[str, Any] = {"w": 2.0, "n": 2, "index": [0], "f": np.sin}

    def f(x):
        return state["f"](x[state["index"]] * state["w"]) ** state["n"]

    J = chainad.jacobian(f)
    for change in (
        {},
        {"w": 3.0},
        {"n": 3},
        {"n": 3.0},
        {"index": [1]},
        {"index": [2, 1]},
        {"index": slice(1, 3)},
        {"index": slice(1, 4, 2)},
        {"index": np.array([True, False, True, False])},
        {"index": np.array([True, False, False, True])},
        {"index": np.array([3, 0])},
        {"f": np.cos},
        {"w": np.arange(2.0)},
        {"w": np.float32(2)},
    ):
        state.update(change)
        np.testing.assert_allclose(J(X), numerical(f, X), atol=1e-8)


def test_a_changed_static_value_is_never_served_from_the_cache() -> None:
    option: dict[str, Any] = {}
    y = np.linspace(0.5, 1, 6).reshape(2, 3)

    def check(f: Function, values: list[Any]) -> None:
        J = chainad.jacobian(lambda x: f(x, option["value"]))
        for value in [*values, *values[::-1]]:
            option["value"] = value
            expected = numerical(lambda x, value=value: f(x, value), y)
            np.testing.assert_allclose(J(y), expected, atol=1e-8)

    check(np.roll, [1, 2, -1, 0])
    check(lambda x, k: np.roll(x, 1, axis=k), [0, 1, None])
    check(lambda x, k: np.sum(x, axis=k, keepdims=True), [0, 1, None, (0, 1)])
    check(lambda x, k: np.linalg.norm(x, k, axis=1), [1, 2, 3, 3.5, np.inf])
    check(lambda x, k: np.var(x, ddof=k), [0, 1, 1.5, True])
    check(lambda x, k: np.diag(x[:, :2], k), [0, 1, -1])
    check(np.pad, [1, 2, ((0, 1), (2, 0))])
    check(lambda x, k: np.pad(x, 1, mode=k), ["edge", "wrap", "constant", "symmetric"])
    check(lambda x, k: np.repeat(x, k, axis=0), [[1, 2], [2, 1]])
    check(lambda x, k: np.einsum(k, x, x), ["ij,ij->i", "ij,ij->j", "ij,kj->ik", "ij,ij->ij"])
    check(lambda x, k: np.tensordot(x, x, axes=k), [2, ([0], [0]), ([1], [1]), 0][:3])
    check(lambda x, k: x[k], [0, 1, (0, 1), (1, 0), slice(None, None, -1), ..., None])
    check(lambda x, k: x.astype(k), [np.float64, "float64"])
    check(lambda x, k: np.compress(k, x, axis=1), [[True, False, True], [True, True, False]])
    check(lambda x, k: np.compress(np.array(k), x, axis=1), [[1, 0, 1], [1, 1, 0]])
    check(lambda x, k: np.where(k, x, x * x), [True, False, np.array([True, False, True])])
    check(lambda x, k: np.transpose(x.reshape(1, 2, 3), k), [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
    check(lambda x, k: np.reshape(x, (3, 2), order=k), ["C", "F"])
    check(lambda x, k: x * k, [2.0, 2, True, np.float32(2), np.int64(3), [1.0, 2.0, 3.0]])


# ----------------------------------------------------------------- in place


def test_in_place_operators_on_fresh_arrays_are_right() -> None:
    def f(x):
        y = x * 2
        alias = y
        y += x
        y -= 0.5
        y *= np.sin(x)
        y /= 3
        y **= 2
        return alias + 1

    agrees(f)

    def matmul(x):
        y = np.outer(x, x)
        alias = y
        y @= A
        return alias

    agrees(matmul)

    def remainder(x):
        y = x * 3
        y %= 1.7
        return y

    agrees(remainder)


def test_in_place_operators_on_scalars_rebind_as_in_numpy() -> None:
    def f(x):
        total = x[0]
        kept = total
        for k in range(4):
            total += x[k] ** 2
        total *= x[1]
        return np.stack([total, kept])

    agrees(f)

    def from_zero(x):
        total = 0.0
        for value in x:
            total += np.sin(value)
        return total

    agrees(from_zero)


def test_in_place_operators_on_zero_dim_arrays_change_the_array() -> None:
    def f(x):
        y = np.copy(x)
        alias = y
        y += 1.0
        y *= x
        return alias

    x = np.array(0.7)
    value, J = chainad.value_and_jacobian(f)(x)
    assert (value, J) == (f(x), 2 * x + 1)


def test_in_place_operators_keep_shape_and_dtype() -> None:
    x = X.astype(np.float32)

    def f(x):
        y = x * np.float32(2)
        y += np.ones(4)
        return y

    value, J = chainad.value_and_jacobian(f)(x)
    assert value.dtype == J.dtype == np.float32

    def grow(x):
        y = x * 2
        y += np.ones((2, 4))
        return y

    with pytest.raises(ValueError, match="non-broadcastable output operand"):
        chainad.jacobian(grow)(X)


# --------------------------------------------------- arrays of traced scalars

STACKS: list[Function] = [
    lambda x: np.array([x[0] ** 2, np.sin(x[1])]),
    lambda x: np.array([[x[0], x[1]], [x[2], x[3] * x[0]]]),
    lambda x: np.array([x[0], 1.0, 2, x[1]]),
    lambda x: np.array([[x[0], 0.0], [1, x[1]]]) @ x[:2],
    lambda x: x[:2] @ np.array([[x[0], 0.0], [1, x[1]]]),
    lambda x: np.sin(np.array([x[0], x[1]])) * x[:2],
    lambda x: np.array([x[0], x[1]]) + np.array([x[2], x[3]]),
    lambda x: np.array([x[0], x[1]]).sum() * x,
    lambda x: np.array([x[0], x[1]]) * np.ones(2),
    lambda x: np.sum(np.array([x[0] * x[1], x[2]])),
    lambda x: np.dot(np.array([x[0], x[1]]), np.array([x[2], x[3]])),
    lambda x: np.array([[x[0], x[1]], [x[2], x[3]]]) @ np.array([x[0], 1.0]),
    lambda x: np.exp(np.array([x[0], x[1]]) * 0.5),
    lambda x: np.arctan2(np.array([x[0], x[1]]), np.array([x[2], x[3]])),
    lambda x: np.concatenate([np.array([x[0], 2.0]), x]),
    lambda x: np.stack([np.array([x[0], x[1]]), x[2:]]),
    lambda x: np.array([x[0]]),
    lambda x: np.array(x[0]),
    lambda x: np.asarray(x[0]) * x,
    lambda x: np.array([np.array([x[0], x[1]]), np.array([x[2], 0.0])]),
    lambda x: np.array([x[0], x[1], x[2]])[::-1],
    lambda x: np.array([x[0], x[1]]).reshape(2, 1) * x,
    lambda x: [x[0] * x[1], 2.0],
    lambda x: [[x[0], 1.0], [2.0, x[1]]],
    lambda x: [x[0]],
    lambda x: np.full(3, x[0]),
    lambda x: np.cumsum(np.array([x[0], x[1], x[2]])),
    lambda x: np.where(X > 1, np.array([x[0], x[1], x[2], x[3]]), x),
    lambda x: np.einsum("i,i->i", np.array([x[0], x[1]]), x[:2]),
    lambda x: np.linalg.norm(np.stack([x[0], x[1] * 2])),
    lambda x: np.float64(2.0) * np.array([x[0], x[1]]),
    lambda x: np.max(np.array([x[0], x[1], x[2]])) * x,
    lambda x: -(np.array([x[0], x[1]]) ** 2),
    lambda x: np.sign(np.array([x[0] - 1, x[1]])) * x[:2],
    lambda x: np.clip(np.array([x[0], x[1]]), 0.5, 1.0),
    lambda x: np.maximum(np.array([x[0], x[1]]), 1.0),
    lambda x: x * np.array([1, 2, 3, 4], dtype=object),
]


@pytest.mark.parametrize("f", STACKS)
def test_arrays_of_traced_scalars_are_stacks(f: Function) -> None:
    agrees(f)


def test_an_object_array_may_be_filled_entry_by_entry() -> None:
    def f(x):
        z = np.empty(3, dtype=object)
        z[0], z[1], z[2] = x[0] * x[1], 2.0, np.sin(x[2])
        return z

    value, J = chainad.value_and_jacobian(f)(X)
    np.testing.assert_allclose(value, [X[0] * X[1], 2, np.sin(X[2])])
    np.testing.assert_allclose(J[2], [0, 0, np.cos(X[2]), 0])


def test_object_arrays_are_inputs_of_nested_jacobians() -> None:
    def f(x):
        return chainad.jacobian(lambda y: np.sum(y**3))(np.array([x[0], x[1] * 2]))

    agrees(f)


# ------------------------------------------------------ behaviour of an array


def test_attributes_and_protocols_are_those_of_an_array() -> None:
    def f(x):
        M = x.reshape(2, 2)
        assert isinstance(x, Tracer)
        assert (x.shape, x.ndim, x.size, len(x)) == ((4,), 1, 4, 4)
        assert (x.dtype, x.itemsize, x.nbytes) == (np.float64, 8, 32)
        assert (np.shape(M), np.ndim(M), np.size(M)) == ((2, 2), 2, 4)
        assert isinstance(x > 1, np.ndarray)
        assert (x > 1).tolist() == (X > 1).tolist()
        assert (1 > x).tolist() == (X < 1).tolist()  # noqa: SIM300
        assert (x == X).all()
        assert not (x != X).any()
        assert (x <= X).all()
        assert (x >= X).all()
        assert x[0] < x[1] <= x[2]
        assert bool(x[0])
        assert not x[0] - x[0]
        assert 1.2 in x
        assert 7.0 not in x
        assert (x == "text") is False
        assert x is not None
        assert str(x) == str(X)
        assert repr(x).startswith("Traced(array(")
        assert f"{x[0]:.2f}" == "0.30"
        assert np.argmax(x) == x.argmax() == 2
        assert x.argmin() == 0
        assert x.argsort().tolist() == np.argsort(X).tolist()
        assert x.any()
        assert x.all()
        assert np.isfinite(x).all()
        assert np.allclose(x, X)
        assert x.nonzero()[0].tolist() == [0, 1, 2, 3]
        assert np.searchsorted(np.array([0.0, 1.0]), x[0]) == 1
        assert round(x[1]) == 1
        assert math.floor(x[2]) == 2
        assert math.ceil(x[2]) == 3
        assert math.trunc(x[2]) == 2
        assert np.round(x).tolist() == x.round().tolist() == [0, 1, 2, 1]
        assert not x.imag.any()
        with pytest.raises(TypeError):
            hash(x)
        with pytest.raises(TypeError):
            len(x[0])
        with pytest.raises(TypeError):
            iter(x[0])
        with pytest.raises(AttributeError):
            _ = x.nothing
        with pytest.raises(AttributeError):
            _ = x[0].nothing
        with pytest.raises(TypeError):
            _ = x + "text"
        with pytest.raises(ValueError, match="size 1"):
            x.item()
        return x

    chainad.jacobian(f)(X)


def unpacked(a, b, *rest):
    return a * b + rest[0] * rest[1]


def recursive(x, n):
    return x if n == 0 else np.sin(recursive(x, n - 1)) + x


BEHAVES: dict[str, Function] = {
    "iterate": lambda x: sum(value**2 for value in x),
    "iterate rows": lambda x: sum(row @ row for row in np.outer(x, x)),
    "unpack": lambda x: unpacked(*x),
    "enumerate": lambda x: sum(k * value for k, value in enumerate(x)),
    "zip": lambda x: sum(a * b for a, b in zip(x, x[::-1], strict=True)),
    "max of Python": lambda x: max(x) * min(x) * x,
    "sorted": lambda x: np.stack(sorted(x)),
    "reversed": lambda x: np.stack(list(reversed(x))),
    "sum method": lambda x: x.sum() * x,
    "mean": lambda x: x.mean() + x.reshape(2, 2).mean(axis=0, keepdims=True),
    "var std": lambda x: x.var() * x.std(ddof=1),
    "max min ptp": lambda x: x.max() * x.min() + np.ptp(x),
    "prod": lambda x: x.prod(),
    "cumsum cumprod": lambda x: x.cumsum() + x.cumprod(),
    "T": lambda x: x.reshape(2, 2).T @ x[:2],
    "mT": lambda x: x.reshape(2, 2).mT @ x[:2],
    "reshape tuple": lambda x: x.reshape((2, 2)) ** 2,
    "reshape -1": lambda x: np.outer(x, x).reshape(-1),
    "reshape F": lambda x: np.outer(x, x[:2]).reshape(2, 4, order="F"),
    "ravel": lambda x: np.outer(x, x).ravel(),
    "ravel F": lambda x: np.outer(x, x[:2]).ravel("F"),
    "flatten": lambda x: np.outer(x, x).flatten(),
    "flatten F": lambda x: np.outer(x, x[:2]).flatten("F"),
    "flat": lambda x: sum(k * v for k, v in enumerate(np.outer(x, x).flat)),
    "transpose": lambda x: x.reshape(2, 2, 1).transpose(1, 2, 0),
    "transpose tuple": lambda x: x.reshape(2, 2, 1).transpose((1, 2, 0)),
    "swapaxes": lambda x: x.reshape(2, 2).swapaxes(0, 1),
    "squeeze": lambda x: x.reshape(1, 4).squeeze(),
    "dot": lambda x: x.dot(A).dot(x),
    "copy": lambda x: x.copy() * x,
    "astype": lambda x: x.astype(float) * x.astype(np.float64, copy=False),
    "item": lambda x: x.item(2) * x[0:1].item() * x.reshape(2, 2).item(1, 0),
    "tolist": lambda x: np.stack(x.tolist()[::-1]),
    "tolist 2": lambda x: np.stack(x.reshape(2, 2).tolist()[1]),
    "clip": lambda x: x.clip(0.5, 2.0) + x.clip(min=1.0) + x.clip(max=x[0] * 2),
    "take": lambda x: x.take([0, 0, 3]) + x.take(np.array([1, 2, 3])),
    "repeat": lambda x: x.repeat(2),
    "diagonal trace": lambda x: np.outer(x, x).diagonal() * np.outer(x, x).trace(),
    "compress": lambda x: x.compress([True, False, True, True]),
    "real conj": lambda x: x.real * x.conj() * x.conjugate(),
    "scalar methods": lambda x: x[0].sum() * x[1].reshape(1) * x[2].copy() * x[3].T,
    "reduce": lambda x: np.add.reduce(x) * np.multiply.reduce(x) + np.maximum.reduce(x),
    "reduce axis": lambda x: np.add.reduce(np.outer(x, x), axis=1, keepdims=True),
    "reduce default axis": lambda x: np.add.reduce(np.outer(x, x[:2])),
    "reduce all": lambda x: np.add.reduce(np.outer(x, x), axis=None),
    "reduce initial": lambda x: np.add.reduce(x, initial=2.0),
    "outer": lambda x: np.add.outer(x, x) * np.multiply.outer(x, [1.0, 2.0, 3.0, 4.0]),
    "outer swapped": lambda x: np.subtract.outer(np.ones(2), x),
    "outer of tables": lambda x: np.power.outer(x.reshape(2, 2), x[:2]),
    "methods of any ufunc": lambda x: (
        np.subtract.accumulate(x) * np.hypot.reduce(np.outer(x, x), 1) + np.divide.reduce(x)
    ),
    "methods of ufuncs on one entry": lambda x: (
        np.hypot.reduce(-x[:1]) * np.hypot.reduceat(-x, [0, 1]) + np.logaddexp.reduce(-x[:1])
    ),
    "reduceat": lambda x: np.add.reduceat(np.outer(x, x), [0, 2, 1], 1).sum(),
    "reduceat of others": lambda x: (
        np.multiply.reduceat(x, [0, 2, 1, 1]) * np.maximum.reduceat(x, [1, 3, 2, 0])
    ),
    "where= and out=": lambda x: np.divide(1.0, x, out=np.zeros((2, 4)), where=x > 1),
    "where= and a traced out=": lambda x: np.sqrt(A[0], out=x * x, where=A[0] > 1.1),
    "out= of a constant": lambda x: np.add(A[0], A[1], out=x * 2) * x,
    "accumulate": lambda x: np.add.accumulate(x) + np.multiply.accumulate(x),
    "accumulate axis": lambda x: np.add.accumulate(np.outer(x, x), axis=1),
    "keywords": lambda x: np.sum(a=x, axis=0) * np.clip(a=x, a_min=0.5, a_max=1.0),
    "keywords of concatenate": lambda x: np.concatenate((x, x), axis=0),
    "static numpy ints": lambda x: np.roll(x, np.int64(1)) * x[np.int32(2)] + x[np.uint8(1) :][0],
    "static zero-dim arrays": lambda x: x[np.array(2)] * np.roll(x, np.array(1)),
    "mixed lists": lambda x: np.concatenate([x, [1.0, 2.0]]),
    "mixed lists of scalars": lambda x: np.concatenate([[x[0], 1.0], x, [2.0]]),
    "insert": lambda x: np.insert(x, 1, 5.0) ** 2,
    "insert traced": lambda x: np.insert(np.ones(3), 1, x[0]),
    "append": lambda x: np.append(x, x[0] * 2),
    "where one argument": lambda x: x[np.where(x > 1)] ** 2,
    "where": lambda x: np.where(x > 1, x**2, 0.0) + np.where(x > 1, 1, x),
    "where constant": lambda x: np.where(x > 1, 1.0, 2.0) * x,
    "full_like": lambda x: np.full_like(x, x[0]) * x,
    "zeros_like": lambda x: np.zeros_like(x) + np.ones_like(x) * x,
    "float64 on the left": lambda x: np.float64(2.0) * x + np.float64(1.0) - np.float64(3) / x,
    "float64 beside scalar": lambda x: np.float64(2.0) * x[0] ** np.float64(2) - np.float64(1) % x,
    "float32 on the left": lambda x: np.float32(2.0) * x,
    "array on the left": lambda x: X * x + X @ x - X / x + 2.0**x,
    "integer array on the left": lambda x: np.arange(1, 5) * x ** np.arange(4) // 1e-9 * 0 + x,
    "integers as operands": lambda x: np.arange(1, 5) / x + np.array(2) * x + 3 - x,
    "booleans as operands": lambda x: (x > 1) * x + True * x,
    "list as operand": lambda x: x * [1, 2, 3, 4] + [x[0], 1, 2, 3],
    "list on the left": lambda x: [1, 2, 3, 4] * x,
    "tuple as operand": lambda x: np.add((1.0, 2.0, 3.0, x[0]), x),
    "negative step": lambda x: x[::-1] * x[3:0:-1].sum() + x[::-2].sum(),
    "ellipsis": lambda x: x.reshape(2, 1, 2)[..., 0] + x[...][0],
    "newaxis": lambda x: x[:, None] * x[None, :] + x[np.newaxis],
    "integer arrays": lambda x: x[np.array([[0, 1], [3, 3]])] * x[[0, -1]],
    "integer lists": lambda x: np.outer(x, x)[[0, 1], [2, 3]],
    "open mesh": lambda x: np.outer(x, x)[np.ix_([0, 2], [1, 3])],
    "boolean mask": lambda x: x[x > 1] ** 2,
    "boolean mask of rows": lambda x: np.outer(x, x)[x > 1] * x,
    "empty mask": lambda x: np.sum(x[x > 100]) + x,
    "masked sum": lambda x: np.sum(x * (x > 1)),
    "slices by numpy ints": lambda x: x[np.int64(1) : np.int64(3)] ** 2,
    "divmod": lambda x: divmod(x * 3, 1.7)[1] + divmod(7.4, x)[1],
    "abs neg pos": lambda x: abs(-x) + +x,
    "mod floordiv": lambda x: x % 0.65 + (x // 0.65) * x,
    "pow": lambda x: x**2 + 2**x + x**x + pow(x, 3) + x**-1.5,
    "matmul": lambda x: A @ x + x @ A + x @ x,
    "gradient of a list comprehension": lambda x: np.stack([np.sin(v) for v in x], axis=-1),
    "modf": lambda x: np.modf(x)[0] * x,
    "round counts for nothing": lambda x: x * np.round(x + 0.1) + (x + 0.01).round(1),
    "scipy special": lambda x: sp.erf(x) * sp.expit(x[0]) + sp.xlogy(x, x),
    "nested lists": lambda x: np.concatenate([[x[0]], [x[1], 1.0], x[2:]]),
    "block": lambda x: np.block([[x[:2].reshape(1, 2), np.ones((1, 1))], [np.ones((1, 3))]]),
    "split": lambda x: np.split(x, 2)[0] * np.split(x, [1, 3])[1],
    "broadcast": lambda x: np.broadcast_to(x, (2, 4)) * x,
    "stack of scalars": lambda x: np.stack([x[0], 2.0, x[1]]),
    "column_stack": lambda x: np.column_stack([x, x**2]) @ np.ones(2),
    "argmax as index": lambda x: x[np.argmax(x)] * x[x.argmin()],
    "sort": lambda x: np.sort(x)[::-1] * x,
    "argsort": lambda x: x[np.argsort(x)] * np.arange(4),
    "unused": lambda x: (x**2, x)[1] * 2,
    "same array twice": lambda x: np.concatenate([x, x]) * np.stack([x, x]).ravel(),
    "recursion": lambda x: recursive(x, 3),
}


@pytest.mark.parametrize("name", BEHAVES)
def test_a_traced_array_behaves_as_an_array(name: str) -> None:
    agrees(BEHAVES[name])


def test_objects_like_matrices_never_change_what_an_operator_means() -> None:
    matrix = scipy.sparse.csr_array(A)
    for f in (lambda x: x * matrix, lambda x: matrix * x):
        with pytest.raises((TraceError, TypeError, ValueError)):
            chainad.jacobian(f)(X)


@pytest.mark.parametrize(
    "x",
    [
        np.asfortranarray(A[:3]),
        A[::2, ::-1],
        A.T[1:],
        np.broadcast_to(X, (3, 4)),
        np.lib.stride_tricks.sliding_window_view(X, 2),
        A.astype(">f8"),
        np.frombuffer(A.tobytes()).reshape(4, 4)[:, 1:],
    ],
)
def test_memory_layout_of_inputs_does_not_matter(x: Any) -> None:
    C = np.asfortranarray(A)

    def f(x):
        y = np.sin(x) * x
        z = C[: x.shape[0], : x.shape[0]] @ y.T.reshape(x.shape) + x.ravel().reshape(x.shape)
        return np.sum(z * y.T.ravel().reshape(x.shape), axis=0) + y.T.copy().T.reshape(-1)[:1]

    agrees(f, x)
    agrees(lambda x: x.ravel(), x)
    agrees(lambda x: (x.T * 2).ravel(), x)
    agrees(lambda x: x.T.reshape(-1, 1)[::2], x)
    agrees(lambda x: x.reshape(-1, order="F"), x)


# Functions whose constants, or conversions to Python numbers, make float64 of float32.
BECOME_FLOAT64 = {"item", "tolist", "tolist 2", "array on the left", "dot", "matmul", "open mesh"}


def test_float32_goes_through_untouched_by_python_numbers() -> None:
    x = X.astype(np.float32)
    for name, f in BEHAVES.items():
        if (
            name
            in ("item", "tolist", "tolist 2", "array on the left", "dot", "matmul", "open mesh")
            or "float64" in name
        ):
            continue
        plain = np.asarray(f(x))
        value, J = chainad.value_and_jacobian(f)(x)
        assert value.dtype == plain.dtype, name
        assert J.dtype == plain.dtype, name
        np.testing.assert_allclose(value, plain, rtol=1e-5, atol=1e-5, err_msg=name)


def test_scalars_of_all_kinds_are_inputs() -> None:
    for x in (2.0, np.float64(2.0), np.array(2.0), np.float32(2.0)):
        J = chainad.jacobian(lambda x: x**3)(x)
        assert J.shape == ()
        assert J == 12

    def rebind(x):
        x += 1
        return x * x

    assert chainad.jacobian(rebind)(2.0) == 6


def test_lists_are_inputs() -> None:
    assert chainad.jacobian(np.sum)([1.0, 2.0]).tolist() == [1, 1]


# ------------------------------------------------------------- random programs


def _in_place(x: Any, y: Any) -> Any:
    z = x * 1.0
    z += y
    z *= 0.5
    return z


OPERATIONS: list[tuple[str, Function]] = [
    ("sin", lambda x, y: np.sin(x)),
    ("tanh", lambda x, y: np.tanh(x + 0.1)),
    ("square", lambda x, y: 0.3 * x**2),
    ("exp", lambda x, y: np.exp(-np.abs(x + 3.1))),
    ("add", lambda x, y: x + y),
    ("multiply", lambda x, y: x * y),
    ("divide", lambda x, y: x / (2 + y * y)),
    ("roll", lambda x, y: np.roll(x, 1)),
    ("flip", lambda x, y: x[::-1]),
    ("gather", lambda x, y: x[np.array([3, 0, 0, 5, 2, 1])]),
    ("matmul", lambda x, y: W6 @ x),
    ("sum", lambda x, y: np.sum(x) + y),
    ("mean keepdims", lambda x, y: x - np.mean(x, keepdims=True)),
    ("table", lambda x, y: (x.reshape(2, 3) * y.reshape(3, 2).T).ravel()),
    ("transpose", lambda x, y: x.reshape(2, 3).T.ravel()),
    ("reshape product", lambda x, y: (x.reshape(3, 2) @ W2 @ y.reshape(2, 3)).sum(0).repeat(2)),
    ("concatenate", lambda x, y: np.concatenate([x[2:], y[:2]])),
    ("stencil", lambda x, y: np.pad(x[2:] - 2 * x[1:-1] + x[:-2], 1)),
    ("stencil of y", lambda x, y: np.pad(y, 1, mode="wrap")[2:] * x),
    ("cumsum", lambda x, y: 0.2 * np.cumsum(x)),
    ("outer", lambda x, y: np.outer(x, y) @ y),
    ("einsum", lambda x, y: np.einsum("ij,jk->ik", x.reshape(2, 3), y.reshape(3, 2)).sum() * x),
    ("scalar", lambda x, y: x * y[0]),
    ("where", lambda x, y: np.where(np.arange(6) % 2 == 0, x, y)),
    ("softmax", lambda x, y: np.exp(x) / np.sum(np.exp(x))),
    ("stack", lambda x, y: np.stack([x, y]).T.ravel()[:6]),
    ("norm", lambda x, y: x / (1 + np.linalg.norm(y))),
    ("scalars", lambda x, y: np.stack([x[k] * y[-k] for k in range(6)])),
    ("negative", lambda x, y: 1 - x),
    ("broadcast", lambda x, y: (x[:, None] + y[None, :3]).mean(axis=1)),
    ("erf", lambda x, y: sp.erf(x)),
    ("take column", lambda x, y: np.vstack([x, y])[:, 2].sum() * x),
    ("split", lambda x, y: np.hstack([np.split(x, 2)[1], y[:3]])),
    ("tile", lambda x, y: np.tile(x[:2], 3)),
    ("triangle", lambda x, y: np.tril(np.outer(x, y)).sum(axis=0)),
    ("in place", _in_place),
    ("prod", lambda x, y: np.prod(x[:3]) + y),
    ("arctan2", lambda x, y: np.arctan2(x, 3 + y * y)),
]
_rng = np.random.default_rng(3)
W6, W2 = _rng.normal(size=(6, 6)) / 3, _rng.normal(size=(2, 2))


@settings(max_examples=50)
@given(
    program=st.lists(
        st.tuples(st.integers(0, len(OPERATIONS) - 1), st.integers(0, 10), st.integers(0, 10)),
        min_size=10,
        max_size=10,
    ),
    mode=st.sampled_from(["auto", "forward", "reverse", "greedy", "hybrid"]),
    seed=st.integers(0, 1000),
)
def test_random_programs_agree_with_differences(program: Any, mode: str, seed: int) -> None:
    def f(x):
        values = [x]
        for number, a, b in program:
            x, y = values[-1 - a % min(3, len(values))], values[b % len(values)]
            values.append(OPERATIONS[number][1](x, y))
        return values[-1]

    x = np.random.default_rng(seed).uniform(-0.9, 0.9, size=6)
    value, J = chainad.value_and_jacobian(f, mode=mode)(x)
    np.testing.assert_allclose(value, f(x), rtol=1e-12, atol=1e-12)
    expected = numerical(f, x)
    np.testing.assert_allclose(J, expected, rtol=1e-6, atol=1e-7 * (1 + abs(expected).max()))


# ----------------------------------------------------------- what is recorded at once

KEYS = [
    0,
    -1,
    True,
    1,
    np.int64(1),
    None,
    ...,
    slice(1, None),
    slice(None, None, -1),
    slice(np.int64(1), None),
    (),
    (0, -1),
    (0, True),
    (slice(1), 1),
    (..., 0),
    (None, 1, slice(None, 3, 2)),
    [0, 2],
    (slice(None), [1, 1]),
]


@pytest.mark.parametrize("key", KEYS, ids=map(str, KEYS))
def test_entries_and_slices_are_those_of_numpy_in_each_derivative(key: Any) -> None:
    def f(x):
        return x[key] ** 2

    x = A + 1.0
    where = np.arange(x.size).reshape(x.shape)[key]
    expected = np.zeros((*where.shape, x.size))
    np.put_along_axis(expected, where[..., None], 2 * x.ravel()[where][..., None], -1)
    J = chainad.jacobian(f)(x)
    np.testing.assert_array_equal(J, expected.reshape(*where.shape, *x.shape))
    H = chainad.jacobian(chainad.jacobian(f))(x)
    np.testing.assert_array_equal(H.sum((-2, -1)), 2.0 * (J != 0))


def test_lines_of_a_notebook_are_named_by_their_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    # IPython gives every cell a file name that says nothing to a reader.
    file = "/tmp/ipykernel_7/596909951.py"
    cells = {file: ("Cell", "In[3]")}
    compiler = SimpleNamespace(format_code_name=cells.get)
    shell = SimpleNamespace(get_ipython=lambda: SimpleNamespace(compile=compiler))
    monkeypatch.setitem(sys.modules, "IPython", shell)
    names: dict[str, Any] = {"np": np}
    source = "def f(x):\n    return np.sin(x * 2)\ndef bad(x):\n    return float(x[0])\n"
    exec(compile(source, file, "exec"), names)
    sites = [origin.site for origin in chainad.plan(names["f"], X).graph.origins]
    assert {str(site) for site in sites} == {"In[3]:2"}
    with pytest.raises(TraceError, match=r"^In\[3\]:4: float\(\) of a traced value"):
        chainad.jacobian(names["bad"])(X)


def test_every_entry_knows_the_line_of_the_user() -> None:
    def f(x):
        y = np.sin(x) + A @ x - 2.0 * x
        z = np.add(y, x)
        return z[1:] * x[0] / np.sum(z)

    with tracing(f, (X,), (0,)) as run:
        sites = [entry.raw_site for entry in run.tape.entries[1:]]
    assert len(sites) == 11
    assert {site[0] for site in sites if site is not None} == {f.__code__}


def of_a_list(x: Any) -> Any:
    return [x[0] * x[1], np.sin(x[2])]


def of_objects(x: Any) -> Any:
    y = np.empty(2, dtype=object)
    y[0], y[1] = x[0] * x[1], x[1]
    return y


def of_a_view(x: Any) -> Any:
    y = np.zeros(3)
    part = y[1:]
    y[:2], y[2] = x[:2] * x[1:], x[0]
    return part


def of_a_container(x: Any) -> Any:
    return {"a": [x[0] * x[1], np.sin(x[2])]}


def of_eigenvectors(x: Any) -> Any:
    values, vectors = np.linalg.eigh(x[:, None] * x + np.eye(3))
    return np.sum((vectors * np.exp(values)) @ vectors.T)


def of_an_array(x: Any) -> Any:
    return np.array([x[0] * x[1], np.sin(x[2])])


@pytest.mark.parametrize(
    "f", [of_a_list, of_objects, of_a_view, of_a_container, of_eigenvectors, of_an_array]
)
@pytest.mark.parametrize("is_hessian", [False, True])
def test_all_that_is_called_is_from_lines_of_the_function(f: Any, is_hessian: bool) -> None:
    # Also what is called after it has returned, while its caller's line runs.
    J = chainad.hessian(lambda x: np.sum(sum_of(f(x)) ** 3)) if is_hessian else chainad.jacobian(f)
    names = {origin.site and origin.site.function.name for origin in J.plan(X[:3]).graph.origins}
    assert names <= {f.__name__, "<lambda>", "sum_of"}


def sum_of(value: Any) -> Any:
    return np.sum(np.asarray(value["a"] if isinstance(value, dict) else value))


def test_a_function_of_a_library_has_no_lines() -> None:
    assert [origin.site for origin in chainad.plan(np.sin, X).graph.origins] == [None]


def by_bisection(x: Any) -> float:
    low, high = 0.0, 3.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if middle**2 > x[0] else (middle, high)
    return middle


@pytest.mark.parametrize("of_result", [lambda m: m, lambda m: {"root": m}])
def test_a_root_found_by_comparing_has_a_derivative_of_zero_and_a_warning(of_result: Any) -> None:
    with pytest.warns(ZeroDerivativeWarning, match="30 comparisons.*chainad.implicit"):
        chainad.jacobian(lambda x: of_result(by_bisection(x)))(X)


def test_constants_of_branches_have_a_derivative_of_zero_without_a_warning() -> None:
    assert not chainad.grad(lambda x: max(0.0, *(x[k] - 5.0 for k in range(4))))(X).any()
    assert chainad.jacobian(by_bisection_and_slope)(X)[0] == 1.0


def by_bisection_and_slope(x: Any) -> Any:
    return by_bisection(x) + x[0]
