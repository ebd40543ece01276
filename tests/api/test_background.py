"""Machine code in the background: NumPy serves until it is there; nothing here looks at a clock."""

from collections.abc import Iterator
from threading import Event
from typing import Any

import numpy as np
import pytest

import chainad
from chainad.backends.numba import generated_modules as modules
from chainad.errors import FallbackWarning, InputError


def f(x: Any) -> Any:
    return np.sin(x) * x[0] if x[0] > 0 else -x


@pytest.fixture
def go(tmp_path: Any, monkeypatch: Any) -> Iterator[Event]:
    """Let numba wait for an event."""
    monkeypatch.setenv("CHAINAD_CACHE", str(tmp_path))
    execute, event = modules._executed, Event()
    modules._recent.clear()
    modules._loaded.clear()

    def slowly(*args: Any) -> Any:
        event.wait(60)
        return execute(*args)

    monkeypatch.setattr(modules, "_executed", slowly)
    yield event
    event.set()


def wait_for(compiled: Any) -> None:
    for compilation in compiled._pending[1]:
        compilation.join(60)


def is_machine_code(compiled: Any) -> bool:
    return "@njit" in compiled.source


@pytest.mark.numba
def test_numpy_serves_until_machine_code_is_there(go: Event) -> None:
    x = np.array([0.5, 1.0])
    ours = chainad.compile(chainad.value_and_jacobian(f), backend="numba", background=True)
    by_numpy = chainad.compile(chainad.value_and_jacobian(f), backend="numpy")
    for point in (x, x + 1, -x):
        for found, wanted in zip(ours(point), by_numpy(point), strict=True):
            np.testing.assert_array_equal(found, wanted)
    assert not is_machine_code(ours)
    assert ours.plan is not None
    go.set()
    wait_for(ours)
    for point in (x, x + 1):
        for found, wanted in zip(ours(point), by_numpy(point), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-14)
    assert is_machine_code(ours)
    assert ours.programs == 1
    np.testing.assert_array_equal(ours(-x)[1], -np.eye(2))  # another branch, another program
    wait_for(ours)
    np.testing.assert_array_equal(ours(-x)[1], -np.eye(2))
    assert ours.programs == 2


@pytest.mark.numba
def test_first_halves_are_served_too(go: Event) -> None:
    x = np.array([0.5, 1.0])
    ours = chainad.compile(chainad.jacobian(f), backend="numba", background=True)
    value, finish = ours.begin(x)
    np.testing.assert_array_equal(value, f(x))
    go.set()
    wait_for(ours._split)
    value, finish = ours.begin(x)
    np.testing.assert_allclose(finish(), chainad.jacobian(f)(x), rtol=1e-14)
    assert is_machine_code(ours)


@pytest.mark.numba
def test_what_fails_in_the_background_is_told_once_and_numpy_stays(monkeypatch: Any) -> None:
    def refuse(*args: Any) -> Any:
        raise ValueError("no machine code today")

    x = np.array([0.5, 1.5])
    wanted = chainad.jacobian(np.cos)(x)
    ours = chainad.compile(chainad.jacobian(np.cos), backend="numba", background=True)
    with monkeypatch.context() as patch:
        patch.setattr(modules, "_executed", refuse)
        patch.setattr(modules, "_known", lambda name: None)
        np.testing.assert_allclose(ours(x), wanted)
        wait_for(ours)
    with pytest.warns(FallbackWarning, match="background failed with ValueError: no machine code"):
        np.testing.assert_allclose(ours(x), wanted)
    np.testing.assert_allclose(ours(x), wanted)
    assert not is_machine_code(ours)


@pytest.mark.numba
def test_what_the_memory_has_is_not_waited_for(go: Event) -> None:
    go.set()
    x = np.array([0.5, 2.5])
    J = chainad.jacobian(lambda x: np.tan(x) * x[1])
    first = chainad.compile(J, x, backend="numba")
    second = chainad.compile(J, x, backend="numba", background=True)
    assert is_machine_code(first)
    assert is_machine_code(second)


@pytest.mark.numba
def test_fused_loops_are_compiled_in_the_background(go: Event) -> None:
    x = np.linspace(0.5, 2.0, 30_000)
    g = lambda x: np.sum(x * x / (x + 1.5) - x * (x - 2.0) * (x + 3.0) / (x * x + 1.0))
    ours = chainad.compile(chainad.jacobian(g), backend="numba", background=True)
    np.testing.assert_allclose(ours(x), chainad.jacobian(g)(x))
    assert ours._pending is not None
    go.set()
    wait_for(ours)
    np.testing.assert_allclose(ours(x), chainad.jacobian(g)(x))
    assert ours.programs == 1


@pytest.mark.parametrize("backend", [None, "numpy", "python"])
def test_the_background_is_for_numba_alone(backend: Any) -> None:
    with pytest.raises(InputError, match="background=True is for backend='numba'"):
        chainad.compile(np.sin, backend=backend, background=True)
