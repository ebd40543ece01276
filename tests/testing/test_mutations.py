"""Mutations: they change derivatives alone, one formula of a row, and are undone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainad
from chainad.testing.mutations import negated, recorded_targets

X = np.array([0.3, 0.7])
CASES: list[tuple[Any, Any, Any]] = [
    (np.sin, (0, 0), np.sin),  # a formula
    (np.subtract, (1, 0), lambda x: np.subtract(1.0, x)),  # a number
    (np.sum, (0, 0), np.sum),  # a structure alone
    (np.cumsum, (0, 0), np.cumsum),  # an operator
    (np.ptp, (0, 0), np.ptp),  # a definition
    (np.piecewise, (0, 0), lambda x: np.piecewise(x, [x > 0.5], [np.sin, np.exp])),  # it writes
]


@pytest.mark.parametrize(
    ("function", "target", "f"), CASES, ids=lambda x: getattr(x, "__name__", "")
)
def test_a_negated_formula_negates_the_jacobian_and_nothing_else(
    function: Any, target: Any, f: Any
) -> None:
    value, J = chainad.value_and_jacobian(f)(X)
    with negated(function, target):
        changed = chainad.value_and_jacobian(f)(X)
    np.testing.assert_allclose(changed[0], value)
    np.testing.assert_array_equal(changed[1], -J)
    np.testing.assert_array_equal(chainad.jacobian(f)(X), J)


def test_formulas_are_found_by_use() -> None:
    with recorded_targets(np.divide) as targets:
        chainad.jacobian(lambda x: x / 2)(X)
        chainad.jacobian(lambda x: 2 / x)(X)
    assert targets == [(0, 0), (1, 0)]
    with recorded_targets(np.split) as targets:
        chainad.jacobian(lambda x: np.split(x, 2)[1])(X)
    assert targets == [(0, 0), (1, 0)]
