"""Arrays that a function makes: filled, converted and joined as in plain NumPy, nothing changed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from functions import Function, numerical

import chainad

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
