"""Loops of steps: copies of an iteration are what lowering each of them emits."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainad
from chainad.compiler import repeated_steps
from chainad.compiler.linearize import linear_graph
from chainad.compiler.lower import Lowered, lower
from chainad.frontends.numpy.trace import tracing
from chainad.planning.auto import make_plan

A = np.random.default_rng(0).normal(size=(3, 3)) / 3


def euler(z: np.ndarray) -> np.ndarray:
    x, p = z[:3], z[3:]
    for _ in range(25):
        x = x + 0.1 * np.tanh(A @ x) * p
    return x


def leapfrog(z: np.ndarray) -> np.ndarray:
    q, v = z[:3], z[3:]
    for _ in range(25):
        v = v - 0.1 * q / (np.sum(q**2) + 1) ** 1.5
        q = q + 0.1 * v
    return np.concatenate([q, v])


def recurrent(z: np.ndarray) -> Any:
    w, b = z[:3], z[3:]
    h, loss = np.zeros(3), 0.0
    for k in range(25):
        h = np.tanh(w * h + b * A[k % 3, 0])
        loss = loss + h @ h
    return loss


def by_solves(z: np.ndarray) -> np.ndarray:
    x = z[:3]
    for _ in range(25):
        x = x + 0.1 * np.linalg.solve(np.diag(z[3:]) + 4 * np.eye(3), np.sin(x))
    return x


FUNCTIONS = [euler, leapfrog, recurrent, by_solves]
Z = np.linspace(0.2, 1.4, 6)


def lowered(f: Callable[..., Any], mode: Any) -> Lowered:
    with tracing(f, (Z,), (0,), {}) as run:
        linearized = linear_graph(run.graph())
    plan = make_plan(linearized.graph, mode)
    return lower(plan, [recipe.ops for recipe in linearized.recipes])


@pytest.mark.parametrize("f", FUNCTIONS)
@pytest.mark.parametrize("mode", ["auto", "forward", "reverse", "repeats"])
def test_copies_are_what_lowering_every_iteration_emits(
    monkeypatch: pytest.MonkeyPatch, f: Callable[..., Any], mode: str
) -> None:
    wanted = lowered(f, mode)
    monkeypatch.setattr(repeated_steps, "MIN_STEPS", 10)
    assert lowered(f, mode) == wanted


@pytest.mark.parametrize("f", FUNCTIONS)
def test_few_iterations_of_a_loop_are_lowered(
    monkeypatch: pytest.MonkeyPatch, f: Callable[..., Any]
) -> None:
    monkeypatch.setattr(repeated_steps, "MIN_STEPS", 10)
    count, emit = 0, lower.__globals__["emit_product"]

    def counted(*args: Any) -> Any:
        nonlocal count
        count += 1
        return emit(*args)

    monkeypatch.setattr("chainad.compiler.lower.emit_product", counted)
    lowered(f, "forward")
    plan = chainad.plan(f, Z, mode="forward")
    assert count < len(plan.steps) / 2
