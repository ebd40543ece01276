"""Locks that are open in a forked child, unless the thread that forked holds them."""

from __future__ import annotations

import os
from threading import RLock
from typing import Any
from weakref import WeakSet

_locks: WeakSet[Any] = WeakSet()


def fork_safe_lock() -> Any:
    """Return a reentrant lock; a child does not wait for threads that it does not have."""
    # Reentrant: signal handlers and finalizers run in the middle of whatever a thread does.
    lock = RLock()
    _locks.add(lock)
    return lock


def _open_all() -> None:
    for lock in _locks:
        if not lock._is_owned():
            # What the standard library does with its own locks (concurrent.futures, logging).
            lock._at_fork_reinit()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_open_all)
