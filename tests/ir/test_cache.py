"""Values by key: how many are kept, and which."""

from __future__ import annotations

import logging

import pytest

from chainad.ir.cache import Cache, keep_nothing


@pytest.mark.parametrize("size", [1, 3, 40])
def test_what_was_used_longest_ago_is_forgotten(size: int) -> None:
    cache: Cache[int] = Cache(size, "values")
    made = []
    for k in range(3 * size):
        cache.get("first", lambda: made.append("first") or 0)
        assert cache.get(k, lambda k=k: k) == k
        assert cache.get(k, lambda: -1) == k
        assert len(cache) <= size
    assert len(made) == (3 * size if size == 1 else 1)


def test_a_failure_leaves_no_trace() -> None:
    cache: Cache[float] = Cache(2, "values")
    with pytest.raises(ZeroDivisionError):
        cache.get("key", lambda: 1 / 0)
    assert len(cache) == 0
    assert cache.get("key", lambda: 2.0) == 2.0


def test_what_is_not_final_is_returned_and_kept_by_no_cache_around() -> None:
    outer: Cache[int] = Cache(2, "values")
    inner: Cache[int] = Cache(2, "values")
    other: Cache[int] = Cache(2, "values")

    def interrupted() -> int:
        keep_nothing()
        return 1

    keep_nothing()  # nothing is being made
    found = outer.get(0, lambda: inner.get(0, interrupted) + other.get(0, lambda: 2))
    assert (found, len(outer), len(inner), len(other)) == (3, 0, 0, 1)
    assert outer.get(0, lambda: inner.get(0, lambda: 4)) == 4
    assert (len(outer), len(inner)) == (1, 1)


def test_a_full_cache_says_what_it_forgets(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "chainad")
    cache: Cache[int] = Cache(16, "values")
    for k in range(18):
        cache.get(k, lambda: 0)
    assert caplog.messages == [
        "there are more than 16 values: those used longest ago, 3 of them, are forgotten"
    ]
