"""Interrupts at any moment of a call leave nothing locked or read-only; the next call works."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable
from threading import Thread, current_thread, main_thread
from typing import Any

import numpy as np
import pytest

import chainad
from chainad.frontends.numpy.holds import Holds
from chainad.frontends.numpy.tape import MAX_COPIED_ENTRIES, active
from chainad.ir import locks

W = np.linspace(0.5, 1.5, MAX_COPIED_ENTRIES + 4).reshape(-1, 4)
X = np.array([0.3, -0.2, 0.7, 1.1])
rng = np.random.default_rng(5)

pytestmark = [
    # An interrupt that comes in a finalizer is only printed, as all errors there.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def function(x: Any) -> Any:
    y = np.tanh(W @ x)
    z = np.zeros(2)
    z[0], z[1] = np.sum(y), y[0] * x[1]
    return z if x[0] > 0 else np.sin(z)


def wanted(x: Any) -> Any:
    y = np.tanh(W @ x)
    rows = (1 - y**2)[:, None] * W
    J = np.stack([rows.sum(0), rows[0] * x[1]])
    J[1, 1] += y[0]
    return J


def traced() -> Any:
    return chainad.jacobian(function)(X)


def value_too() -> Any:
    return chainad.value_and_jacobian(function)(X)[1]


def second() -> Any:
    return chainad.jacobian(lambda x: chainad.jacobian(function)(x))(X).shape


def compiled() -> Any:
    return chainad.jacobian(function).compile(X)(X)


def compiled_by_python() -> Any:
    J = chainad.jacobian(lambda x: np.sin(x) * x[0], backend="python").compile(X)
    return J(X)


def batched() -> Any:
    return chainad.jacobian(lambda x: np.sin(x) * x[0], batch=0)(np.stack([X, X]))


known = chainad.jacobian(function).compile(X)


def replayed() -> Any:
    return known(X)


CALLS = [traced, value_too, second, compiled, compiled_by_python, batched, replayed]


def interrupted_at(event: int, call: Callable[[], Any]) -> int | None:
    """Make a call; raise KeyboardInterrupt where the interpreter looks for signals.

    Return how many events there were if the interrupt did not come.
    """
    count = 0

    def profile(frame: Any, kind: str, argument: Any) -> None:
        nonlocal count
        if kind in ("call", "c_return"):
            count += 1
            if count == event:
                raise KeyboardInterrupt

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        call()
    except KeyboardInterrupt:
        return None
    finally:
        sys.setprofile(before)
    return count


def held_locks() -> list[Any]:
    """Return which locks another thread cannot get."""
    held = []

    def look() -> None:
        for lock in list(locks._locks):
            if lock.acquire(blocking=False):
                lock.release()
            else:
                held.append(lock)

    thread = Thread(target=look)
    thread.start()
    thread.join()
    return held


def assert_nothing_is_left() -> None:
    if not W.flags.writeable:
        gc.collect()  # the trace may be part of a cycle
    assert W.flags.writeable
    assert not held_locks()
    assert getattr(active, "recorder", None) is None
    np.testing.assert_allclose(chainad.jacobian(function)(X), wanted(X), rtol=1e-12)
    assert W.flags.writeable


@pytest.mark.parametrize("call", CALLS)
def test_an_interrupt_at_any_moment_leaves_nothing_behind(call: Callable[[], Any]) -> None:
    right = call()
    total = interrupted_at(0, call)
    assert total is not None
    few = rng.integers(1, total, 8)
    for event in sorted({*few.tolist(), *range(max(1, total - 8), total)}):
        interrupted_at(event, call)
        assert_nothing_is_left()
        np.testing.assert_allclose(call(), right, rtol=1e-12)


@pytest.mark.parametrize("event", range(1, 40))
def test_an_interrupt_while_arrays_are_held_and_given_back(event: int) -> None:
    array = np.ones((MAX_COPIED_ENTRIES + 1, 1))
    view = array.reshape(-1)

    def call() -> None:
        holds = Holds()
        holds.keep(array)
        holds.keep(view)
        holds.release()

    interrupted_at(event, call)
    assert array.flags.writeable
    assert view.flags.writeable
    assert not held_locks()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers here")
@pytest.mark.parametrize("call", [traced, compiled, batched, replayed])
def test_a_timer_that_interrupts_calls_leaves_nothing_behind(call: Callable[[], Any]) -> None:
    if current_thread() is not main_thread():
        pytest.skip("signals come in the main thread only")
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        for delay in rng.uniform(1e-5, 5e-3, 15):
            try:
                signal.setitimer(signal.ITIMER_REAL, delay)
                call()
            except KeyboardInterrupt:
                pass
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            assert_nothing_is_left()
    finally:
        signal.signal(signal.SIGALRM, before)
