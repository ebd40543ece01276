"""Values by key: how many are kept, and which."""

from __future__ import annotations

import pytest

from chainad.ir.cache import Cache


@pytest.mark.parametrize("size", [1, 3, 40])
def test_what_was_used_longest_ago_is_forgotten(size: int) -> None:
    cache: Cache[int] = Cache(size)
    made = []
    for k in range(3 * size):
        cache.get("first", lambda: made.append("first") or 0)
        assert cache.get(k, lambda k=k: k) == k
        assert cache.get(k, lambda: -1) == k
        assert len(cache) <= size
    assert len(made) == (3 * size if size == 1 else 1)


def test_a_failure_leaves_no_trace() -> None:
    cache: Cache[float] = Cache(2)
    with pytest.raises(ZeroDivisionError):
        cache.get("key", lambda: 1 / 0)
    assert len(cache) == 0
    assert cache.get("key", lambda: 2.0) == 2.0
