"""Compiled functions: replays that agree with tracing at every point, whatever branch is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from test_functions import FUNCTIONS

import chainad

Function = Callable[..., Any]


def points(x: Any, count: int) -> list[Any]:
    """Return x, and points around it where the function is defined, too."""
    rng = np.random.default_rng(5)
    return [x, *(x * (1 + 0.1 * rng.uniform(-1, 1, size=x.shape)) for _ in range(count))]


def agree(found: Any, wanted: Any) -> None:
    if isinstance(wanted, tuple):
        assert isinstance(found, tuple)
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            agree(one, other)
        return
    assert type(found) is type(wanted)
    assert found.shape == wanted.shape
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_compiled_function_agrees_with_the_traced_one_at_every_point(name: str) -> None:
    f, x = FUNCTIONS[name]
    compiled = chainad.value_and_jacobian(f).compile(x)
    traced = chainad.value_and_jacobian(f)
    for point in points(x, 4):
        agree(compiled(point), traced(point))
