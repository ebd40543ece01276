"""The collector of cyclic garbage is paused while plans and programs are made, never longer."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

import chainad
from chainad.errors import PlanError
from chainad.ir.collector import paused_collector


def test_the_collector_rests_while_a_plan_is_made_and_works_afterwards() -> None:
    seen = []

    def forward(graph: Any) -> Any:
        seen.append(gc.isenabled())
        return graph.inner

    J = chainad.jacobian(lambda x: np.tanh(np.sin(x)) * x, mode=forward)
    J(np.ones(3))
    assert seen == [False]
    assert gc.isenabled()


def test_a_plan_that_fails_leaves_the_collector_as_it_was() -> None:
    with pytest.raises(PlanError):
        chainad.jacobian(lambda x: np.tanh(np.sin(x)), mode=lambda graph: [99])(np.ones(3))
    assert gc.isenabled()
    gc.disable()
    try:
        with paused_collector():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
