"""Caches for several threads and for forked children: of values by key, and of properties."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Hashable
from typing import Any, Generic, Self, TypeVar, overload

from chainad.ir.locks import fork_safe_lock
from chainad.ir.notices import log

Value = TypeVar("Value")


class _Kept(Generic[Value]):
    """A value, and when it was used last."""

    __slots__ = ("used", "value")

    def __init__(self, value: Value) -> None:
        self.value = value
        self.used = next(_clock)


_clock = itertools.count()


class _Making(threading.local):
    """What a thread is making for caches, one inside the other: whether the innermost is kept."""

    is_kept = True


_making = _Making()


def keep_nothing() -> None:
    """Let no cache keep what this thread is making now: the next call is to make it anew."""
    _making.is_kept = False


class Cache(Generic[Value]):
    """Values by key, at most `size` of them; what was used longest ago is forgotten.

    The logger is told of it; `name` is what the values are called there, "" to say nothing.
    """

    def __init__(self, size: int, name: str) -> None:
        self.size, self.name = size, name
        self._kept: dict[Hashable, _Kept[Value]] = {}
        self._lock = fork_safe_lock()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value of `key`, made first if it is not known; a failure leaves no trace."""
        # A key may be long: it is hashed once, and what is found needs no lock.
        kept = self._kept.get(key)
        if kept is not None:
            kept.used = next(_clock)
            return kept.value
        outer, _making.is_kept = _making.is_kept, True
        try:
            # Outside the lock: planning may take long, and may call the user's planner.
            value = make()
            is_kept = _making.is_kept
        finally:
            _making.is_kept &= outer
        if not is_kept:
            return value
        with self._lock:
            self._kept[key] = _Kept(value)
            forgotten = self._forget_oldest() if len(self._kept) > self.size else 0
        if forgotten and self.name:
            log.info(
                "there are more than %d %s: those used longest ago, %d of them, are forgotten",
                self.size,
                self.name,
                forgotten,
            )
        return value

    def _forget_oldest(self) -> int:
        """Forget one value, or an eighth of them where there are many, to look for these seldom."""
        by_age = sorted(self._kept.items(), key=lambda item: item[1].used)
        forgotten = by_age[: 1 + self.size // 8]
        for key, _ in forgotten:
            del self._kept[key]
        return len(forgotten)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()

    def __len__(self) -> int:
        return len(self._kept)


class cached_property(Generic[Value]):  # noqa: N801
    """A property that is computed when it is first read.

    That of Python 3.11 holds a lock of all instances meanwhile, which a child forked then finds
    closed for good. Here several threads may compute it; what they find is equal.
    """

    def __init__(self, compute: Callable[[Any], Value]) -> None:
        self.compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type) -> Value: ...

    def __get__(self, instance: object, owner: type) -> Self | Value:
        if instance is None:
            return self
        value = instance.__dict__[self.name] = self.compute(instance)
        return value
