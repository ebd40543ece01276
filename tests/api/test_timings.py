"""Timings: what is measured, and what the table says."""

import numpy as np
import pytest

import chainad
from chainad.api.timings import Timing, Timings
from chainad.errors import InputError


def test_the_ways_of_computing_a_jacobian_are_measured() -> None:
    calls = []

    def f(x: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
        calls.append(type(x))
        return np.tanh(w["a"] * x)

    found = chainad.timings(f, np.ones(3), w={"a": np.ones(3)}, argnums=("w", 0), seconds=0.01)
    assert found.title == "f, 6 entries"
    assert [row.name for row in found.rows][:4] == ["f", "finite differences", "traced", "compiled"]
    assert found["finite differences"].later == 7 * found["f"].later
    assert np.ndarray in calls
    assert len({*calls}) > 1  # a Jacobian was traced, too
    with pytest.raises(InputError):
        chainad.timings(f, np.ones(3), {"a": "text"}, argnums=1)


def test_the_table_says_whether_it_is_worth_it() -> None:
    rows = (
        Timing("f", 2e-6, 1e-6),
        Timing("finite differences", 1e-4, 1e-4, True),
        Timing("traced", 1e-2, 2e-4),
        Timing("compiled", 1.0, 5e-5),
    )
    assert str(Timings("f, 99 entries", rows)).splitlines() == [
        "f, 99 entries                     first call       later      of f",
        "  f                                     2 us        1 us        1x",
        "  finite differences                  100 us     ~100 us      100x",
        "  traced                               10 ms      200 us      200x",
        "  compiled                               1 s       50 us       50x",
        "compiled is 2 times as fast as differences, and pays for its first call after 20,000"
        " calls",
    ]
    assert Timings("f", rows[:3]).verdict == "finite differences are 2 times as fast"
