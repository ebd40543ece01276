"""Caches for several threads and for forked children: of values by key, and of properties."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable
from typing import Any, Generic, Self, TypeVar, overload

from chainad.ir.locks import fork_safe_lock

Value = TypeVar("Value")


class _Kept(Generic[Value]):
    """A value, and when it was used last."""

    __slots__ = ("used", "value")

    def __init__(self, value: Value) -> None:
        self.value = value
        self.used = next(_clock)


_clock = itertools.count()


class Cache(Generic[Value]):
    """Values by key, at most `size` of them; what was used longest ago is forgotten."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._kept: dict[Hashable, _Kept[Value]] = {}
        self._lock = fork_safe_lock()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value of `key`, made first if it is not known; a failure leaves no trace."""
        # A key may be long: it is hashed once, and what is found needs no lock.
        kept = self._kept.get(key)
        if kept is not None:
            kept.used = next(_clock)
            return kept.value
        value = make()  # outside the lock: planning may take long, and may call the user's planner
        with self._lock:
            self._kept[key] = _Kept(value)
            if len(self._kept) > self.size:
                self._forget_oldest()
        return value

    def _forget_oldest(self) -> None:
        """Forget one value, or an eighth of them where there are many, to look for these seldom."""
        by_age = sorted(self._kept.items(), key=lambda item: item[1].used)
        for key, _ in by_age[: 1 + self.size // 8]:
            del self._kept[key]

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
