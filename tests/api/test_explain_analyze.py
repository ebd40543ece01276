"""EXPLAIN ANALYZE: every step is measured, and what is said of it adds up; no clock is tested."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import CHROMIUM, faults_of
from functions import FUNCTIONS, Function

import chainad
from chainad import Analysis, InputError, PlanError, TraceError
from chainad.api.analysis import MeasuredMode, MeasuredStep, Phase

RNG = np.random.default_rng(0)
WEIGHTS = [RNG.normal(size=shape) for shape in ((6, 30), (2, 6), (30, 2), (30, 30))]
X = RNG.normal(size=30)


def bottleneck(x: np.ndarray) -> np.ndarray:
    for W in WEIGHTS:
        x = np.tanh(W @ x)
    return x


def analyzed(f: Function, *args: Any, **how: Any) -> Analysis:
    return chainad.jacobian(f, **how).explain(*args, analyze=True, seconds=0.01)


def check(found: Analysis) -> None:
    """Check that every step has a row, and that counts add up."""
    plans = [found.plan]
    if isinstance(found.plan, chainad.ChunkedPlan):
        plans = [chunk.plan for chunk in found.plan.chunks]
    assert [row.step for row in found.rows] == [step for plan in plans for step in plan.steps]
    assert sum(row.step.multiplications for row in found.rows) == found.plan.multiplications
    assert all(np.isfinite(row.seconds) and row.seconds >= 0 for row in found.rows)
    assert all(row.estimate >= 0 for row in found.rows)
    products = {phase.name: phase.seconds for phase in found.phases}
    assert products["products"] + products["sums"] == pytest.approx(found.seconds)
    assert min(found.f, found.traced, found.compiled, found.program) > 0
    assert all(len(line) <= 60 for line in found.explain(width=60).splitlines())
    assert json.loads(found.to_json())["multiplications"] == found.plan.multiplications
    assert len(json.loads(found.to_json())["steps"]) == len(found.rows)
    html = found.to_html()
    assert found._repr_html_() in html
    assert "<script" not in html
    assert len(html) < 40_000


@pytest.mark.parametrize("name", ["mlp", "log_softmax", "in_place"])
def test_every_step_has_a_row(name: str) -> None:
    f, x = FUNCTIONS[name]
    check(analyzed(f, x))


@pytest.mark.parametrize(
    "how",
    [
        {"mode": "reverse"},
        {"output": "sparse"},
        {"output": "structured"},
        {"cost": "time"},
        {"mode": chainad.plan(bottleneck, X)},
    ],
    ids=["reverse", "sparse", "structured", "time", "plan"],
)
def test_every_option_is_analyzed(how: dict[str, Any]) -> None:
    found = analyzed(bottleneck, X, **how)
    check(found)
    assert found.rows


def test_rich_shows_the_same_text() -> None:
    console = pytest.importorskip("rich.console")
    found = analyzed(bottleneck, X)
    shown = console.Console(file=StringIO(), width=90, color_system=None)
    shown.print(found)
    assert shown.file.getvalue().rstrip() == found.explain(width=90).rstrip()


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")
def test_nothing_overlaps_is_clipped_or_pale(tmp_path: Path) -> None:
    pages = {"one": analyzed(bottleneck, X), "two": analyzed(*FUNCTIONS["mlp"])}
    assert not faults_of({name: found.to_html() for name, found in pages.items()}, tmp_path)


def test_memory_limits_are_analyzed_block_by_block() -> None:
    def f(x: np.ndarray) -> np.ndarray:
        return np.sin(WEIGHTS[3] @ np.tanh(WEIGHTS[3] @ x))

    found = analyzed(f, X, memory_limit="26 kB")
    assert isinstance(found.plan, chainad.ChunkedPlan)
    check(found)
    assert "blocks of" in str(found)


def test_pure_modes_are_measured_too() -> None:
    found = analyzed(bottleneck, X)
    assert isinstance(found.plan, chainad.Plan)
    counts = {offer.name: offer.multiplications for offer in found.plan.alternatives}
    wanted = {name: counts[name] for name in ("forward", "reverse")}
    wanted |= {"hybrid (this plan)": found.plan.multiplications}
    assert {mode.name: mode.multiplications for mode in found.modes} == wanted


@pytest.mark.parametrize(
    "J",
    [
        chainad.grad(lambda x: np.sum(bottleneck(x) ** 2)),
        chainad.value_and_grad(lambda x: np.sum(bottleneck(x) ** 2)),
        chainad.hessian(lambda x: np.sum(bottleneck(x) ** 2)),
        chainad.value_and_jacobian(bottleneck),
        chainad.jacobian(bottleneck).compile(),
        chainad.for_scipy(bottleneck),
        chainad.jacobian(lambda x: (np.sin(x), 2), has_aux=True),
    ],
    ids=repr,
)
def test_what_the_verbs_return_is_explained(J: Any) -> None:
    assert isinstance(J.explain(X), chainad.Plan)
    check(J.explain(X, analyze=True, seconds=0.01))


def test_holomorphic_functions_are_explained_by_their_parts() -> None:
    J = chainad.jacobian(lambda z: np.exp(z) * z[0], holomorphic=True)
    check(J.explain(np.ones(3) + 1j, analyze=True, seconds=0.01))


def test_a_compiled_function_explains_what_it_follows() -> None:
    J = chainad.jacobian(lambda x: np.sin(x[0]) * x, backend="python").compile()
    plan = J.explain(np.ones(3))
    assert plan == J.plan
    assert "operations on scalars" in str(J.explain(np.ones(3), analyze=True, seconds=0.01))


def test_a_function_that_is_traced_at_each_call_is_explained() -> None:
    rng = np.random.default_rng(0)

    def noisy(x: np.ndarray) -> np.ndarray:
        return np.sin(x) * rng.normal(size=3) @ WEIGHTS[0][:3, :3]

    J = chainad.jacobian(noisy)
    assert J.explain(np.ones(3)).title == "noisy(x)"
    assert "cannot be compiled" in str(J.explain(np.ones(3), analyze=True, seconds=0.01))


def test_what_has_no_steps_is_refused() -> None:
    with pytest.raises(InputError, match="operator"):
        analyzed(bottleneck, X, output="operator")
    with pytest.raises(InputError, match="one point"):
        analyzed(bottleneck, X[None], batch=0)
    with pytest.raises(InputError, match="seconds"):
        chainad.jacobian(bottleneck).explain(X, analyze=True, seconds=0.0)
    with pytest.raises(PlanError, match="returns values"):
        chainad.compile(bottleneck).explain(X)


def test_arguments_are_left_alone() -> None:
    def writes(x: np.ndarray, calls: np.ndarray) -> np.ndarray:
        calls += 1
        return np.sin(x)

    calls = np.zeros(1)
    with pytest.raises(TraceError, match="writes into an argument"):
        analyzed(writes, X, calls)
    with pytest.raises(TraceError, match="writes into an argument"):
        chainad.timings(writes, X, calls, seconds=0.01)
    assert calls == 0


def test_what_is_printed() -> None:
    plan = replace(chainad.plan(bottleneck, X), title="bottleneck(x)")
    times = [1e-6 * (k + 1) for k in range(len(plan.steps))]
    found = Analysis(
        plan=plan,
        rows=tuple(MeasuredStep(plan, s, 2 * t, t) for s, t in zip(plan.steps, times, strict=True)),
        modes=(
            MeasuredMode("hybrid (this plan)", "hybrid", plan.multiplications, 7e-5, 3e-5, False),
            MeasuredMode("reverse", "reverse", 2 * plan.multiplications, 5e-5, 6e-5, True),
        ),
        phases=(Phase("tracing f", 3e-5), Phase("products", sum(times)), Phase("sums", 0.0)),
        preparation=(Phase("linearize", 1e-3), Phase("plan", 0.25)),
        f=2e-6,
        traced=6e-5,
        compiled=4e-5,
        form="calls of NumPy",
        program=3e-5,
        source="shipped table",
    )
    lines = found.explain(rows=2, width=90).splitlines()
    assert [line.partition("  test_explain")[0].rstrip() for line in lines] == [
        "bottleneck(x): (30,) -> (30,)    J is 30 x 30, dense, 4,104 multiplications",
        "A call takes 60 us traced, and 40 us compiled to calls of NumPy; f alone takes 2 us. 52 %",
        "of the traced call is tracing f.",
        "For products and sums this plan takes 30 us, reverse 60 us (expected): 2.0 times; by",
        "multiplications 2.0 times.",
        "One by one, the steps take 28 us; as one program 30 us, with the copy to the result. The",
        "model of time estimates 56 us (shipped table); chainad.calibrate() measures its costs",
        "here.",
        "",
        "a call, traced            measured",
        "  tracing f                  30 us  51.7 %  ████████████████████████",
        "  products                   28 us  48.3 %  ███████████████████████",
        "  sums                        0 ns   0.0 %",
        "",
        "products and sums         multiplications  estimated  measured",
        "  hybrid (this plan)                4,104      70 us     30 us  ████████████",
        "  reverse                           8,208      50 us    ~60 us  ████████████████████████",
        "",
        "7 steps   measured  estimated  mults",
        "  35.7 %     10 us      20 us    120  2 x pushed forward  2 -> 30 -> 30",
        "  25.0 %      7 us      14 us  1,800  joined              30 -> 2 -> 30",
        "",
        "a first call, besides     measured",
        "  linearize                   1 ms",
        "  plan                      250 ms",
    ]
    assert repr(found) == "<Analysis bottleneck(x): f 2 us, traced 60 us, compiled 40 us>"
