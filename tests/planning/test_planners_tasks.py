"""The published task functions, traced: what the default effort makes of them."""

import numpy as np
import pytest
from functions import heart, propane, robot, roe1d

import chainad
from chainad.compiler.linearize import evaluate, linear_graph
from chainad.frontends.numpy.trace import tracing
from chainad.planning.plan import Plan

# The function, where, and the most multiplications: by something other than ones and constants.
TASKS = {
    "roe1d": (roe1d, np.array([[1.0, 0.4, 2.0], [1.3, 0.6, 2.6]]), 186),
    "robot": (robot, np.linspace(0.1, 0.9, 6), 134),
    "heart": (heart, np.linspace(0.2, 1.7, 8), 48),
    "propane": (propane, np.linspace(0.2, 1.9, 11), 24),
}


def constants(f, x: np.ndarray) -> set[int]:
    """Return the local Jacobians that have the same numbers in several places."""
    found = []
    for at in (x, 1.01 * x, 1.02 * x + 0.01):
        with tracing(f, (at,), (0,)) as run:
            slots = evaluate(run.tape, linear_graph(run.graph()).recipes)
        found.append([0.0 if slot is None else np.array(slot) for slot in slots])
    return {k for k, same in enumerate(zip(*found, strict=True)) if np.ptp(same, axis=0).max() == 0}


def by_variables(plan: Plan, known: set[int]) -> int:
    """Return the multiplications of products whose factors are both no constants."""
    constant, total = set(known), 0
    for step in plan.steps:
        pair = {step.left, step.right}
        if pair <= constant:
            constant.add(step.number)
        elif step.via is not None and not pair & constant:
            total += step.multiplications
    return total


@pytest.mark.parametrize("name", sorted(TASKS))
def test_a_traced_task_takes_no_more_than_the_best_known(name: str) -> None:
    f, x, most = TASKS[name]
    plan = chainad.plan(f, x)
    assert by_variables(plan, constants(f, x)) <= most
    others = [other.cost for other in plan.alternatives]
    assert plan.cost == min(others)
    wanted = chainad.jacobian(f, mode="reverse")(x)
    np.testing.assert_allclose(chainad.jacobian(f)(x), wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "effort"), [("roe1d", "thorough"), ("robot", "balanced"), ("propane", "balanced")]
)
def test_products_by_constants_counted_too_it_is_still_no_more(name: str, effort: str) -> None:
    f, x, most = TASKS[name]
    assert chainad.plan(f, x, effort=effort).multiplications <= most
