"""Constant factors of large arrays: the array that broadcasts along them is scaled instead."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainad

rng = np.random.default_rng(0)
CENTRES = rng.normal(size=(300, 1, 4))


def energies(x: Any) -> Any:
    return np.sum(np.tanh(np.sum((x - CENTRES) ** 2, axis=2)), axis=0)


@pytest.mark.parametrize(("count", "is_large"), [(8, True), (2, False)])
def test_the_factor_of_a_square_takes_no_pass_over_a_large_array(
    count: int, is_large: bool
) -> None:
    x = rng.normal(size=(count, 4))
    J = chainad.jacobian(energies).compile()
    np.testing.assert_allclose(J(x), chainad.jacobian(energies)(x), rtol=1e-14)
    assert ("n2 * v" not in J.source) == is_large
    value, finish = J.begin(x)
    np.testing.assert_array_equal(value, energies(x))
    np.testing.assert_array_equal(finish(), J(x))
