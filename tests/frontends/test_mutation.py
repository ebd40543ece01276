"""Writing into arrays made from traced values: as NumPy does, with the right derivatives."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainad
from chainad.errors import TraceError

X = np.array([0.3, 1.2, -0.5, 0.9])
A = np.arange(16.0).reshape(4, 4)


def numerical(f: Any, x: np.ndarray, h: float = 1e-6) -> np.ndarray:
    """Central differences of the plain function; `f` may write into its own arrays."""
    J = np.zeros(np.shape(f(x.copy())) + x.shape)
    for k in np.ndindex(x.shape):
        e = np.zeros_like(x)
        e[k] = h
        J[(..., *k)] = (np.asarray(f(x + e)) - np.asarray(f(x - e))) / (2 * h)
    return J


def shift_and_add(x):
    z = np.zeros_like(x)
    z[1:] = x[:-1] ** 2
    z[0] = x[3]
    z += x
    return z


def write_through_a_view(x):
    z = x * 2
    w = z[1:3]
    w[:] = 5
    w += x[0]
    return z * w[1]


def fill_a_table(x):
    z = np.zeros((2, 4))
    z[0] = x
    z.T[2] = x[1]
    z.reshape(-1)[5] *= x[2]
    z[1] = z[0] * 2
    return z


def fill_in_a_loop(x):
    z = np.zeros(4)
    for i in range(4):
        z[i] = np.sin(x[i]) * x[0]
    for i in range(3):
        z[i + 1] += z[i]
    return z


def repeated_and_masked(x):
    z = x.copy()
    z[[0, 0, 1]] = x[1:]
    z[z > 0.5] *= 3
    return z


def rows_and_diagonal(x):
    z = np.outer(x, x)
    for row in z:
        row += x[0]  # noqa: PLW2901
        row[1] = x[2]
    np.fill_diagonal(z, x)
    np.add.at(z[0], [0, 0, 1], x[:3])
    z.sort(axis=1)
    return z


def out_arguments(x):
    z = np.empty_like(x)
    np.exp(x, out=z)
    np.multiply(z, x, out=z)
    np.copyto(z, x * x, where=np.array([True, False, True, False]))
    z.fill(x[1])
    z[1] = 3
    np.put(z, [0, 2], x[:2])
    return z


def views_of_views(x):
    z = x * 1.0
    v = z[::2]
    u = v[::-1]
    u[0] = x[1] * 7
    z[2] *= 2
    return np.concatenate([u, v, z])


def ones_and_ravel(x):
    z = np.ones_like(x)
    z *= x
    y = z.ravel()
    y[2] = 0
    z = z + y
    z[0] = z[0] * z[1]
    return z


def out_is_traced(x):
    y = x * 1.0
    np.sin(np.ones(4), out=y)
    return y


def set_item_of_traced(x):
    y = x * 2
    y[0] = 1.0
    return y


def set_slice_of_traced(x):
    y = x * 2
    y[:] = x
    return y


def sort_in_place(x):
    y = x * 2
    y.sort()
    return y


def method_put(x):
    y = x * 2
    y.put(0, 1.0)
    return y


def method_fill(x):
    y = x * 2
    y.fill(1.0)
    return y


def add_to_view(x):
    y = x * 2
    z = y[1:]
    z += 1
    return y


def add_to_owner_of_view(x):
    y = x * 2
    z = y[1:]
    y += 1
    return z


def add_to_reshaped(x):
    y = x * 2
    z = y.reshape(2, 2)
    z *= 2
    return y


def add_to_transposed(x):
    y = np.outer(x, x)
    z = y.T
    z -= 1
    return y


def add_to_what_is_the_same(x):
    y = x * 2
    z = np.atleast_1d(y)  # NumPy returns y itself
    z += 1
    return y


def add_to_row(x):
    y = np.outer(x, x)
    for row in y:
        row += 1  # noqa: PLW2901
    return y


def floor_divide_in_place(x):
    y = x * 2
    y //= 2
    return y


FUNCTIONS = [
    f
    for f in list(globals().values())
    if getattr(f, "__module__", "") == __name__ and f.__code__.co_varnames[:1] == ("x",)
]


@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.__name__)
def test_writes_are_those_of_numpy(f: Any) -> None:
    x = X.copy()
    value, J = chainad.value_and_jacobian(f)(x)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_allclose(value, f(X.copy()), rtol=1e-14)
    for mode in ("auto", "forward", "reverse"):
        np.testing.assert_allclose(
            chainad.jacobian(f, mode=mode)(X), numerical(f, X), rtol=1e-6, atol=1e-7
        )
    np.testing.assert_allclose(J, numerical(f, X), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.__name__)
def test_writes_are_differentiated_twice(f: Any) -> None:
    found = chainad.jacobian(chainad.jacobian(f))(X)
    np.testing.assert_allclose(found, numerical(chainad.jacobian(f), X, 1e-5), atol=1e-4)


# ------------------------------------------------- random reads, views and writes


def random_program(rng: Random, x: Any) -> Any:
    """Read, look at and write into arrays at random; linear in x, so that columns are exact."""
    arrays = [x * 1.0, np.zeros((3, 4)), np.outer(np.arange(1.0, 4.0), x)]
    for _ in range(rng.randint(3, 14)):
        z = rng.choice([a for a in arrays if a.size])
        kind = rng.randrange(10)
        if kind == 0 and z.ndim == 2:
            arrays.append(rng.choice([z.T, z[rng.randrange(z.shape[0])], z[::-1], z[:, 1:]]))
        elif kind == 1 and z.ndim == 1:
            arrays.append(rng.choice([z[::2], z[1:], z[::-1], z.reshape(1, -1)]))
        elif kind == 2:
            arrays.append(np.ravel(z))
        elif kind == 3:
            z[rng.randrange(z.shape[0])] = float(rng.randint(-3, 3)) + x[rng.randrange(4)]
        elif kind == 4:
            z[...] = z * 2
        elif kind == 5:
            z += x[rng.randrange(4)]
        elif kind == 6:
            z[[0, 0, -1]] = rng.randint(1, 3) * x[rng.randrange(4)]
        elif kind == 7:
            z[:1] -= 2 * z[-1:]
        elif kind == 8:
            arrays += np.split(z, [1])
        else:
            arrays.append(z.copy())
    return np.concatenate([np.ravel(z) for z in arrays])


@given(st.integers(0, 10**9))
def test_random_writes_are_those_of_numpy(seed: int) -> None:
    def f(x: Any) -> Any:
        return random_program(Random(seed), x)

    value, J = chainad.value_and_jacobian(f, mode="forward")(X)  # planning is not what is tested
    at_x, at_zero = f(X.copy()), f(np.zeros(4))
    np.testing.assert_allclose(value, at_x, rtol=1e-12, atol=1e-12)
    columns = [f(e) - at_zero for e in np.eye(4)]
    np.testing.assert_allclose(J, np.stack(columns, axis=-1), rtol=1e-12, atol=1e-12)


# --------------------------------------------------------------------- refusals


def test_a_fill_loop_is_one_call_on_the_graph() -> None:
    def f(x: Any) -> Any:
        z = np.zeros(50)
        for k in range(50):
            z[k] = x[k]
        return z

    plan = chainad.plan(f, np.ones(50))
    assert len(plan.graph.inner) == 1  # the entries read; all writes are one vertex
    assert plan.multiplications == 0


def test_what_is_read_between_two_writes_keeps_its_values() -> None:
    def f(x: Any) -> Any:
        z = np.zeros_like(x)
        z[0] = x[0]
        square = z * z
        z[0] = x[1]
        return square + z

    np.testing.assert_allclose(chainad.jacobian(f)(X), numerical(f, X), atol=1e-7)


def test_blank_arrays_may_become_plain_arrays() -> None:
    def f(x: Any) -> Any:
        z = np.zeros_like(x)
        assert float(z[0]) == 0.0
        assert np.asarray(z).dtype == float
        return x * A[z.astype(int)].sum()

    np.testing.assert_allclose(chainad.jacobian(f)(X), A[[0] * 4].sum() * np.eye(4))


@pytest.mark.parametrize(
    ("write", "error", "words"),
    [
        (lambda x: x.__setitem__(0, 1.0), TraceError, "argument of the function.*x.copy()"),
        (lambda x: x[1:].__setitem__(0, 1.0), TraceError, "argument of the function"),
        (lambda x: np.fill_diagonal(np.reshape(x, (2, 2)), 0), TraceError, "argument of the"),
        (lambda x: A[0].__setitem__(0, x[0]), TraceError, r"np\.copy"),
        (lambda x: A[0].__setitem__(slice(1, 3), x[:2]), TraceError, r"np\.copy"),
        (lambda x: np.zeros(4, int).__setitem__(0, x[0]), TraceError, r"int64, which cuts"),
        (lambda x: (x * 2).__setitem__(7, 1.0), IndexError, "out of bounds"),
        (lambda x: (x * 2).__setitem__(slice(2), x), ValueError, "broadcast"),
        (lambda x: (x * 2).__setitem__(x[0], 1.0), TraceError, "cannot be an index"),
        (lambda x: np.broadcast_to(x * 2, (2, 4)).fill(0.0), ValueError, "read-only"),
    ],
)  # fmt: skip
def test_writes_that_cannot_be_are_refused(write: Any, error: type[Exception], words: str) -> None:
    def f(x: Any) -> Any:
        write(x)
        return x

    x = X.copy()
    with pytest.raises(error, match=words):
        chainad.jacobian(f)(x)
    assert x.flags.writeable
    np.testing.assert_array_equal(x, X)


def test_an_array_without_axes_is_written_into_as_a_number_is_not() -> None:
    def f(x):
        v = np.copy(x)
        v[()] *= 0.5
        v[...] = v * x
        return v

    def g(x):
        x[()] = 2 * x
        return x

    def h(x):
        v = np.where(x < 0, x * 2, x)
        v[None] = v[None] * x
        v[v < 0] = 0.0
        v[v > 0] *= 3
        v[False] = 7
        v[...] *= 2
        return v

    x = np.float64(-0.7)
    for written, expected in (f, x), (h, 24 * x):
        np.testing.assert_allclose(chainad.jacobian(written)(x), expected)
        np.testing.assert_allclose(chainad.compile(chainad.jacobian(written))(x), expected)
    with pytest.raises(TypeError, match=r"test_mutation.py:\d+: .*item assignment"):
        chainad.jacobian(g)(x)
    with pytest.raises(chainad.TraceError, match="write"):
        chainad.jacobian(g)(np.array(-0.7))
