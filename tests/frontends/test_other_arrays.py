"""Arrays of other libraries, and plain numbers, as arguments and beside traced values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainad
from chainad import InputError, TraceError

pandas = pytest.importorskip("pandas")
P = np.array([1.0, 0.5])
both = pytest.mark.parametrize("is_compiled", [False, True])
Function = Callable[..., Any]


class Foreign:
    """An array of another library, which NumPy converts."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array([3.0, 4.0], dtype)


def jacobian(f: Function, is_compiled: bool) -> Function:
    J = chainad.jacobian(f)
    return J.compile() if is_compiled else J


SERIES = pandas.Series([0.0, 1.0])
FRAME = pandas.DataFrame(np.diag([2.0, 3.0]))
WORKS: dict[str, tuple[Function, Any]] = {
    "series": (lambda p: p[0] * np.exp(-p[1] * SERIES), [[1, 0], [np.exp(-0.5), -np.exp(-0.5)]]),
    "frame": (lambda p: p @ FRAME, [[2, 0], [0, 3]]),
    "function of a frame": (lambda p: np.dot(FRAME, p), [[2, 0], [0, 3]]),
    "to_numpy": (lambda p: SERIES.to_numpy() * p, [[0, 0], [0, 1]]),
    "foreign": (lambda p: p * Foreign(), [[3, 0], [0, 4]]),
}


@both
@pytest.mark.parametrize("name", WORKS)
def test_arrays_of_other_libraries_are_constants(name: str, is_compiled: bool) -> None:
    f, wanted = WORKS[name]
    np.testing.assert_allclose(jacobian(f, is_compiled)(P), wanted, rtol=1e-12)


@both
@pytest.mark.parametrize("f", [lambda p: SERIES * p, lambda p: FRAME @ p, lambda p: FRAME * p[0]])
def test_what_pandas_takes_over_is_refused_with_the_next_move(
    f: Function, is_compiled: bool
) -> None:
    with pytest.raises(TraceError, match=r"test_other_arrays\.py:\d+: pandas .*\.to_numpy\(\)"):
        jacobian(f, is_compiled)(P)


def test_a_result_of_another_library_is_refused_with_the_next_move() -> None:
    with pytest.raises(InputError, match=r"got Series; return its \.to_numpy\(\)"):
        chainad.jacobian(lambda p: SERIES)(P)


@both
@pytest.mark.parametrize("x", [[1, 2], [1.0, 2.0], np.array([1, 2]), np.array([1, 2], np.int32)])
def test_lists_and_integers_are_arrays_of_floats(x: Any, is_compiled: bool) -> None:
    J = jacobian(lambda x: x**2, is_compiled)
    np.testing.assert_array_equal(J(x), [[2, 0], [0, 4]])
    assert J(x).dtype == np.float64


@both
@pytest.mark.parametrize("x", [3, 3.0, np.float64(3.0), np.int64(3), np.array(3)])
def test_numbers_are_arguments(x: Any, is_compiled: bool) -> None:
    assert jacobian(lambda x: x * x, is_compiled)(x) == 6.0


@both
def test_a_series_is_an_argument(is_compiled: bool) -> None:
    x = pandas.Series([1.0, 2.0])
    np.testing.assert_array_equal(jacobian(lambda x: x**2, is_compiled)(x), [[2, 0], [0, 4]])


def test_floats_flow_as_data_through_compiled_functions() -> None:
    J = chainad.jacobian(lambda t, y: y * t / (t - 1.0), argnums=1).compile()
    with np.errstate(divide="ignore", invalid="ignore"):
        for t in (0.5, 2.0, 3.0, 1.0):  # where Python's floats divide by zero, NumPy's do not
            wanted = np.float64(t) / (np.float64(t) - 1.0)
            np.testing.assert_array_equal(np.diag(J(t, P)), [wanted] * 2)
    assert J.programs == 1


def test_numpy_is_the_namespace_of_traced_arrays() -> None:
    def f(x: Any) -> Any:
        xp = x.__array_namespace__()
        assert xp is np
        return xp.sin(x)

    np.testing.assert_allclose(np.diag(chainad.jacobian(f)(P)), np.cos(P))


@pytest.mark.numba
@both
def test_functions_that_numba_compiled_are_refused_with_the_next_move(is_compiled: bool) -> None:
    import numba

    @numba.njit
    def square(x):
        return x * x

    for f in (square, lambda x: square(x) + x):
        with pytest.raises(chainad.TraceError, match=r"test_other_arrays.py:\d+: .*py_func"):
            jacobian(f, is_compiled)(np.ones(2))
    np.testing.assert_array_equal(jacobian(square.py_func, is_compiled)(np.ones(2)), 2 * np.eye(2))
