"""A fault inside chainad is a warning at the user's line; the results are those of simpler ways."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainad
from chainad.api import batches, choose_backend
from chainad.backends.numpy import vector
from chainad.errors import FallbackWarning

X = np.array([0.3, 0.4])


def f(x):
    return np.sin(x[0]) * x if x[1] > 0 else -x


def boom(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError("injected")


def broken(*_: Any, **__: Any) -> Any:
    raise KeyError("injected")


def replaying(make: Any) -> Any:
    """Return what makes a replay whose every run fails."""
    return lambda *args: (broken, make(*args)[1])


def only_warning(call: Callable[[], Any]) -> tuple[Any, str]:
    """Return what a call returns, and its one warning, which is at a line of this file."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        result = call()
    assert [w.category for w in found] == [FallbackWarning]
    assert found[0].filename == __file__
    return result, str(found[0].message)


FAULTS = {
    "lowering to scalars": (["lower_to_scalars"], "python", "compiling to operations on scalars"),
    "the scalar backend": (["replay_by_scalars"], "auto", "compiling to operations on scalars"),
    "replaying calls": (["build_replay"], "numpy", "compiling to calls of NumPy"),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("verb", [chainad.jacobian, chainad.value_and_jacobian])
def test_a_fault_while_compiling_is_one_warning(
    monkeypatch: pytest.MonkeyPatch, name: str, verb: Any
) -> None:
    functions, backend, words = FAULTS[name]
    wanted = verb(f)(X)
    for function in functions:
        monkeypatch.setattr(choose_backend, function, boom)
    compiled = chainad.compile(verb(f), backend=backend)
    found, message = only_warning(lambda: compiled(X))
    np.testing.assert_equal(found, wanted)
    assert message.startswith(f"{words} failed with ZeroDivisionError: injected; ")
    assert message.endswith("a fault of chainad that is worth reporting")
    np.testing.assert_equal(compiled(X), wanted)


@pytest.mark.parametrize(
    ("function", "backend", "words"),
    [
        ("replay_by_scalars", "python", "replaying operations on scalars"),
        ("build_replay", "numpy", "replaying calls of NumPy"),
    ],
)
def test_a_fault_while_replaying_is_one_warning(
    monkeypatch: pytest.MonkeyPatch, function: str, backend: str, words: str
) -> None:
    wanted = chainad.jacobian(f)(X)
    monkeypatch.setattr(choose_backend, function, replaying(getattr(choose_backend, function)))
    compiled = chainad.compile(chainad.jacobian(f), backend=backend)
    found, message = only_warning(lambda: compiled(X))
    np.testing.assert_equal(found, wanted)
    assert message.startswith(f"{words} failed with KeyError: 'injected'; ")
    for _ in range(3):  # and none of the kind that failed is made any more
        np.testing.assert_equal(compiled(X), wanted)
    assert compiled.programs == (1 if backend == "python" else 0)


def test_without_any_program_a_function_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose_backend, "record_run", boom)
    monkeypatch.setattr(choose_backend, "record_planned_run", boom)
    compiled = chainad.compile(chainad.jacobian(f))
    with pytest.warns(FallbackWarning) as found:
        np.testing.assert_equal(compiled(X), chainad.jacobian(f)(X))
    assert len(found) == 2  # one for each form
    np.testing.assert_equal(compiled(X), chainad.jacobian(f)(X))


@pytest.mark.parametrize("function", ["scalar_program", "BatchedScalars", "record_run"])
def test_a_fault_while_compiling_for_many_points_is_one_warning(
    monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    monkeypatch.setattr(batches, function, boom)
    batch = chainad.jacobian(f, batch=0)
    points = np.stack([X, -X, 2 * X])
    found, message = only_warning(lambda: batch(points))
    np.testing.assert_allclose(found, [chainad.jacobian(f)(x) for x in points], rtol=1e-15)
    assert message.startswith("compiling for many points failed with ZeroDivisionError: injected; ")
    np.testing.assert_allclose(batch(points), found)


def test_a_fault_while_many_points_run_is_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = chainad.jacobian(f, batch=0, backend="numpy")
    points = np.stack([X, -X, 2 * X])
    monkeypatch.setattr(vector, "build", lambda *_: broken)
    found, message = only_warning(lambda: batch(points))
    np.testing.assert_allclose(found, [chainad.jacobian(f)(x) for x in points], rtol=1e-15)
    assert message.startswith("running many points at once failed with KeyError: 'injected'; ")
    np.testing.assert_allclose(batch(points), found)


def test_errors_of_the_function_itself_are_raised_as_they_are() -> None:
    def g(x):
        if x[0] > 1:
            raise KeyError("mine")
        return x * 2

    compiled, batch = chainad.compile(chainad.jacobian(g)), chainad.jacobian(g, batch=0)
    for _ in range(2):
        for call in (lambda: compiled(X + 1), lambda: batch(np.stack([X + 1, X]))):
            with pytest.raises(KeyError, match="mine"):
                call()
        np.testing.assert_equal(compiled(X), 2 * np.eye(2))
        np.testing.assert_equal(batch(X[None]), [2 * np.eye(2)])


def test_what_the_function_catches_is_no_fault() -> None:
    def g(x):
        try:
            return np.linalg.inv(x)
        except np.linalg.LinAlgError:
            return x * 2

    compiled = chainad.compile(chainad.jacobian(g), np.eye(2))
    singular = np.ones((2, 2))
    np.testing.assert_equal(compiled(singular), chainad.jacobian(g)(singular))


def test_a_refusal_is_warned_of_at_the_users_line() -> None:
    def g(x):
        return np.linalg.inv(x)

    compiled = chainad.compile(chainad.jacobian(g), backend="python")
    _, message = only_warning(lambda: compiled(np.eye(2)))
    assert message.startswith("backend='python' cannot run this function")
