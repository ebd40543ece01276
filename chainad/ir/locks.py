"""Locks that are open in a forked child, where the threads that held them do not run."""

from __future__ import annotations

import os
from threading import Lock, RLock
from typing import Any
from weakref import WeakSet

_locks: WeakSet[Any] = WeakSet()


def fork_safe_lock() -> Lock:
    """Return a lock that a child forked meanwhile finds open."""
    lock = Lock()
    _locks.add(lock)
    return lock


def fork_safe_rlock() -> Any:
    """Return a reentrant lock that a child forked meanwhile finds open."""
    lock = RLock()
    _locks.add(lock)
    return lock


def _open_all() -> None:
    for lock in _locks:
        # What the standard library does with its own locks (concurrent.futures, logging).
        lock._at_fork_reinit()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_open_all)
