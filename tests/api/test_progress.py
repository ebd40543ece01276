"""What `progress=` is told: of batches, of Jacobians in blocks, of searches; and the bar."""

from __future__ import annotations

import gc
import io
import sys
import weakref
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import chainad
from chainad import Progress
from chainad.api import run_batched
from chainad.compiler.scalar import replay_batched
from chainad.errors import InputError

POINTS = np.linspace(-1.0, 2.0, 60).reshape(20, 3)
W = np.linspace(0.5, 1.5, 40000).reshape(200, 200)


def with_branches(x: Any) -> Any:
    return np.sin(x) * x[0] if x[0] > 0 else x**2


def with_arrays(x: Any) -> Any:
    return np.linalg.solve(np.eye(3) + np.outer(x, x), x)


def deep(x: Any) -> Any:
    return np.tanh(W @ np.sin(W @ x))


def assert_rises(reports: list[Progress], task: str, total: int) -> None:
    reports = [report for report in reports if report.task == task]
    for one, two in pairwise(reports):
        assert one.done < two.done
        assert one.total <= two.total
    assert (reports[-1].done, reports[-1].total) == (total, total)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_batched, "_MIN_OPERATIONS_PER_REPORT", 1.0)
    monkeypatch.setattr(run_batched, "MAX_CHUNK_POINTS", 4)


# How many points are evaluated: those of the other branch once more.
BATCHES = {
    "scalars": (np.sin, 20),
    "branches": (with_branches, 20 + int((POINTS[:, 0] > 0).sum())),
    "arrays": (with_arrays, 20),
}


@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize(
    "backend", ["auto", "numpy", pytest.param("numba", marks=pytest.mark.numba)]
)
@pytest.mark.filterwarnings("ignore:backend='numba' cannot run")
def test_a_batch_tells_of_its_points_and_gives_the_same(name: str, backend: Any) -> None:
    f, total = BATCHES[name]
    reports: list[Progress] = []
    how: Any = {"batch": 0, "backend": backend, "progress": reports.append}
    J = chainad.value_and_jacobian(f, **how)
    wanted = chainad.value_and_jacobian(f, batch=0, backend=backend)(POINTS)
    for _ in range(2):
        reports.clear()
        found = J(POINTS)
        assert len(reports) > 3
        assert_rises(reports, "points", total)
        for one, two in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(one, two)
    reports.clear()
    J(POINTS[:0])
    assert reports[-1] == Progress("points", 0, 0)


def test_points_that_run_one_after_the_other_are_told_of() -> None:
    reports: list[Progress] = []
    chainad.jacobian(np.sin, batch=0, memory_limit="1 GB", progress=reports.append)(POINTS)
    assert len(reports) == 20
    assert_rises(reports, "points", 20)


def test_the_points_of_vmap_are_told_of() -> None:
    reports: list[Progress] = []
    chainad.vmap(chainad.jacobian(np.sin, progress=reports.append), 0)(POINTS)
    assert_rises(reports, "points", 20)
    reports.clear()
    chainad.vmap(np.sin, 0, progress=reports.append)(POINTS)
    assert_rises(reports, "points", 20)


@pytest.mark.parametrize("compiled", [False, True])
def test_blocks_are_told_of(compiled: bool) -> None:
    x = np.linspace(0.1, 0.9, 200)
    reports: list[Progress] = []
    J = chainad.jacobian(deep, memory_limit="1100 kB", progress=reports.append)
    plan = J.plan(x)
    assert isinstance(plan, chainad.ChunkedPlan)
    call: Callable[..., Any] = J.compile(x) if compiled else J
    reports.clear()
    np.testing.assert_allclose(call(x), chainad.jacobian(deep)(x), rtol=1e-9)
    assert_rises(reports, "blocks", len(plan.chunks))
    # Others that share the program are not told of.
    reports.clear()
    chainad.jacobian(deep, memory_limit="1100 kB")(x)
    assert not reports


class CancelledError(ValueError):
    pass


def cancel(progress: Progress) -> None:
    if progress.done:
        raise CancelledError


@pytest.mark.parametrize("f", [np.sin, with_branches, with_arrays])
def test_an_error_of_the_function_that_is_told_ends_a_batch_and_is_no_fault(f: Any) -> None:
    J = chainad.jacobian(f, batch=0, progress=cancel)
    for _ in range(2):
        with pytest.raises(CancelledError):
            J(POINTS)


@pytest.mark.parametrize("compiled", [False, True])
def test_an_error_of_the_function_that_is_told_ends_a_jacobian_in_blocks(compiled: bool) -> None:
    x = np.linspace(0.1, 0.9, 200)
    J = chainad.jacobian(deep, memory_limit="1100 kB", progress=cancel)
    call: Callable[..., Any] = J.compile() if compiled else J
    for _ in range(2):
        with pytest.raises(CancelledError):
            call(x)


def test_an_error_of_the_function_that_is_told_ends_a_compilation() -> None:
    def f(x: Any) -> Any:
        a = np.tanh(x[0] * x[1])
        b = np.sin(a * x[1] + x[2])
        c = np.exp(a - b) * x[0]
        return np.array([a * b, b * c, c * a, a + c])

    J = chainad.jacobian(f, progress=cancel, seed=11).compile()
    for _ in range(2):
        with pytest.raises(CancelledError):
            J(POINTS[0])


def test_an_unknown_progress_is_refused() -> None:
    with pytest.raises(InputError, match="progress must be True"):
        chainad.jacobian(np.sin, progress="bar")  # type: ignore[call-overload]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_is_shown_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tqdm")
    monkeypatch.setattr("chainad.ir.progress.SECONDS_BEFORE_BAR", 0.0)
    for seed, (stream, is_shown) in enumerate([(io.StringIO(), False), (Terminal(), True)]):
        monkeypatch.setattr(sys, "stderr", stream)
        chainad.jacobian(np.sin, batch=0, progress=True)(POINTS)
        assert ("chainad: points" in stream.getvalue()) == is_shown
        edges = [("x", "a"), ("a", "b"), ("b", "y"), ("a", "y"), ("x", "b")]
        chainad.plan_graph(edges, progress=True, seed=seed)
        assert ("chainad: search" in stream.getvalue()) == is_shown


def test_without_tqdm_nothing_is_shown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "chainad")
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(sys, "stderr", Terminal())
    chainad.jacobian(np.sin, batch=0, progress=True)(POINTS)
    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]
    assert "pip install 'chainad[progress]'" in caplog.text


def test_no_cache_keeps_the_function_that_is_told() -> None:
    def tell(progress: Progress) -> None: ...

    def f(x: Any) -> Any:
        a = np.tanh(x[0] * x[1])
        return np.array([a * x[2], np.sin(a) * x[0]])

    known = weakref.ref(tell)
    how: Any = {"progress": tell, "seed": 13}
    chainad.jacobian(f, **how)(POINTS[0])
    chainad.jacobian(f, **how).compile(POINTS[0])
    chainad.jacobian(f, batch=0, **how)(POINTS)
    del tell, how
    gc.collect()
    assert known() is None
