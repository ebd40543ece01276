"""Searches: what they tell of their progress, and what an interrupt leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from random import Random
from typing import Any

import pytest

import chainad
from chainad import Progress
from chainad.errors import FallbackWarning
from chainad.planning.auto import make_plan, plan_cached
from chainad.planning.linear_graph import LinearGraph
from chainad.planning.search.budget import Effort, SearchOptions
from chainad.testing import random_dense, random_graph

SMALL, LARGE = (
    random_graph(Random(2), n, n_inputs=2, local=random_dense, more=1.5)[0] for n in (8, 30)
)


def stopped_at(report: int, by: type[BaseException]) -> Callable[[Progress], None]:
    count = 0

    def progress(_: Progress) -> None:
        nonlocal count
        count += 1
        if count == report:
            raise by

    return progress


def tasks(reports: list[Progress]) -> Iterator[list[Progress]]:
    """Yield the reports of each task."""
    start = 0
    for k, report in enumerate(reports):
        if report.done == report.total:
            yield reports[start : k + 1]
            start = k + 1
    assert start == len(reports)


@pytest.mark.parametrize("graph", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("effort", ["balanced", 0.2])
def test_progress_rises_to_its_total_and_the_cost_falls(graph: LinearGraph, effort: Effort) -> None:
    reports: list[Progress] = []
    plan = make_plan(graph, search=SearchOptions(effort, progress=reports.append))
    searches = [*tasks(reports)]
    assert searches
    for search in searches:
        for one, two in pairwise(search):
            assert one.task == two.task == "search"
            assert one.done < two.done
            assert one.total == two.total
            assert one.best >= two.best
    assert min(search[-1].best for search in searches) >= plan.cost


def test_a_search_is_the_same_whether_it_is_watched_or_not() -> None:
    watched = SearchOptions("balanced", progress=lambda _: None)
    assert make_plan(LARGE, search=watched) == make_plan(LARGE)


@pytest.mark.parametrize("by", [KeyboardInterrupt, StopIteration])
@pytest.mark.parametrize("report", [1, 2, 4])
@pytest.mark.parametrize("mode", ["auto", "annealing"])
def test_an_interrupted_search_gives_the_best_order_so_far_and_is_not_kept(
    by: type[BaseException], report: int, mode: Any
) -> None:
    stop, reports = stopped_at(report, by), []

    def progress(told: Progress) -> None:
        reports.append(told)
        stop(told)

    search = SearchOptions("balanced", seed=report, progress=progress)
    with pytest.warns(FallbackWarning, match="the search for a cheap order was interrupted"):
        plan = plan_cached(LARGE, mode, search=search)
    assert plan.cost <= min(make_plan(LARGE, name).cost for name in ("forward", "reverse"))
    assert "optimal" not in plan.optimality
    assert reports[-1].done == reports[-1].total or by is StopIteration  # which is told no more
    # The same call searches anew.
    search = SearchOptions("balanced", seed=report, progress=stopped_at(report + 1, by))
    with pytest.warns(FallbackWarning):
        plan_cached(LARGE, mode, search=search)


@pytest.mark.parametrize("effort", ["fast", "balanced", "thorough", 1.0, 60.0])
def test_an_interrupt_without_progress_ends_long_searches_alone(
    effort: Effort, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("chainad.planning.search.stages.by_windows", interrupt)
    if effort in ("fast", "balanced"):
        with pytest.raises(KeyboardInterrupt):
            make_plan(LARGE, search=SearchOptions(effort))
    else:
        with pytest.warns(FallbackWarning, match="interrupted"):
            plan = make_plan(LARGE, search=SearchOptions(effort))
        assert plan.cost <= make_plan(LARGE, "greedy").cost


def test_an_interrupt_before_there_is_any_order_goes_on() -> None:
    search = SearchOptions("thorough", progress=stopped_at(1, KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        make_plan(SMALL, "exhaustive", search=search)


def test_an_error_of_the_function_that_is_told_goes_on_and_nothing_is_kept() -> None:
    search = SearchOptions("balanced", seed=77, progress=stopped_at(3, ZeroDivisionError))
    with pytest.raises(ZeroDivisionError):
        plan_cached(LARGE, "auto", search=search)
    assert plan_cached(LARGE, "auto", search=search) == make_plan(LARGE, search=search)


def test_verbs_pass_progress_on() -> None:
    reports: list[Progress] = []
    edges = [("x", "a"), ("a", "b"), ("b", "y"), ("a", "y"), ("x", "b")]
    chainad.plan_graph(edges, progress=reports.append, seed=5)
    assert reports
