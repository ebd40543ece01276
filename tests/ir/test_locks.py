"""Locks and lazily computed properties, in threads and in children that are forked meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import _lru_cache_wrapper
from threading import Event, Thread

import numpy as np
import pytest
from functions import FUNCTIONS
from processes import holds_in_child, may_fork_with_threads, needs_fork

import chainad
from chainad.ir.cache import Cache, cached_property
from chainad.ir.locks import fork_safe_lock

pytestmark = [needs_fork, may_fork_with_threads]


class Slow:
    """Has a property that waits for `go_on`, if it is given."""

    def __init__(self, inside: Event, go_on: Event | None) -> None:
        self.inside, self.go_on = inside, go_on

    @cached_property
    def answer(self) -> int:
        """What it is."""
        self.inside.set()
        if self.go_on is not None:
            self.go_on.wait(60)
        return 42


def test_a_cached_property_is_computed_once_and_has_a_docstring() -> None:
    one = Slow(Event(), None)
    assert one.answer == 42
    one.inside.clear()
    assert one.answer == 42
    assert not one.inside.is_set()
    assert Slow.answer.__doc__ == "What it is."


def test_a_child_computes_a_property_that_a_thread_was_computing() -> None:
    inside, go_on = Event(), Event()
    thread = Thread(target=lambda: Slow(inside, go_on).answer)
    thread.start()
    inside.wait(60)
    is_found = holds_in_child(lambda: Slow(Event(), None).answer == 42, 20)
    go_on.set()
    thread.join()
    assert is_found


def test_a_child_finds_locks_of_other_threads_open() -> None:
    lock, inside, go_on = fork_safe_lock(), Event(), Event()

    def hold() -> None:
        with lock:
            inside.set()
            go_on.wait(60)

    thread = Thread(target=hold)
    thread.start()
    inside.wait(60)
    is_open = holds_in_child(lambda: lock.acquire(timeout=10))
    go_on.set()
    thread.join()
    assert is_open


def test_a_child_releases_the_lock_that_it_was_forked_within() -> None:
    lock = fork_safe_lock()

    def release() -> bool:
        lock.release()
        return not lock._is_owned()

    with lock:
        assert holds_in_child(release)


@pytest.fixture
def switching_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def _forget_everything() -> None:
    for name, module in sys.modules.copy().items():
        for each in vars(module).values() if name.startswith("chainad.") else ():
            if isinstance(each, Cache):
                each.clear()
            elif isinstance(each, _lru_cache_wrapper):
                each.cache_clear()


@pytest.mark.usefixtures("switching_often")
def test_children_forked_while_threads_differentiate_do_so_too() -> None:
    names = ["softmax_rows", "cumsum"]
    cases = [FUNCTIONS[name] for name in names]
    done = Event()

    def differentiate() -> None:
        while not done.is_set():
            for f, x in cases:
                _forget_everything()
                chainad.jacobian(f)(x)

    def is_right() -> bool:
        _forget_everything()
        return all(np.isfinite(chainad.jacobian(f)(x)).all() for f, x in cases)

    threads = [Thread(target=differentiate) for _ in range(2)]
    for thread in threads:
        thread.start()
    found = [holds_in_child(is_right, 30) for _ in range(4)]
    done.set()
    for thread in threads:
        thread.join()
    assert all(found)
