"""The benchmarks' own logic: turns, ratios, verdicts, and that a wrong Jacobian is found out."""

from itertools import count, groupby

import numpy as np
import pytest
import scipy.sparse

import chainad
from benchmarks import timing
from benchmarks.check import MismatchError, agree, agree_with_function, applied
from benchmarks.command import select
from benchmarks.goals import Figures, at_least, at_most, geometric_mean
from benchmarks.inside import linearized, trace
from benchmarks.measure import Found, checked
from benchmarks.modes import runners
from benchmarks.peers import csr_of
from benchmarks.scaling import Cost, exponent
from benchmarks.table import ms, table, times
from benchmarks.time_model import plans_of, rank_correlation
from benchmarks.timing import limited, race, ratio
from benchmarks.workload import Workload
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.orders import CASES
from chainad.planning.cost_models import model_of
from chainad.planning.plan import follow


def test_all_runners_of_a_race_take_turns(monkeypatch):
    ticks = count()
    monkeypatch.setattr(timing, "now", lambda: 0.001 * next(ticks))
    called = []
    found = race({name: lambda name=name: called.append(name) for name in "abc"}, 1e-6, 3)
    assert [name for name, _ in groupby(called)] == [*"abcabc"]  # a trial each, then a round
    assert all(len(rounds) == 1 and rounds[0] > 0 for rounds in found.values())


def test_a_ratio_is_that_of_the_medians():
    assert ratio((2.0, 4.0, 9.0), (1.0, 2.0, 3.0)) == 2


@pytest.mark.parametrize(
    ("goal", "figures", "verdict"),
    [
        (at_least("speed", 2), Figures(2.0), "met"),
        (at_least("speed", 2), Figures(1.9), "missed"),
        (at_least("speed", 2), Figures(1.9, 2.1), "met compiled"),
        (at_least("speed", 2), Figures(2.1, 1.9), "met"),
        (at_least("speed", 2, "traced"), Figures(1.9, 2.1), "missed"),
        (at_least("speed", 2, "compiled"), Figures(2.1), "-"),
        (at_most("speed", 2), Figures(2.0), "met"),
        (at_most("speed", 2), Figures(3.0, 2.1), "missed"),
        (at_most("other", 2), Figures(1.0), "-"),
        (at_least("speed", 2), Figures(1.0, 1.0, 3.0), "met numba"),
        (at_least("speed", 2, "compiled", "numba"), Figures(None, 3.0), "met"),
    ],
)
def test_verdicts(goal, figures, verdict):
    assert goal.verdict({"speed": figures}) == verdict


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (np.array([1.0, 2.0 + 1e-8]), "off by"),
        (np.array([1.0, np.nan]), "off by"),
        (np.array([1.0, 2.0, 3.0]), "wanted float64"),
        (np.array([1.0, 2.0], np.float32), "got float32"),
    ],
)
def test_disagreement_is_found(found, message):
    with pytest.raises(MismatchError, match=message):
        agree("it", found, np.array([1.0, 2.0]))


@pytest.mark.parametrize("oracle", ["complex", "central"])
@pytest.mark.parametrize("size", [5, 100])  # column by column, and along random directions
def test_a_wrong_entry_of_a_jacobian_is_found(oracle, size):
    x = np.linspace(0.1, 1.0, size)
    workload = Workload("it", "it", np.sin, x, oracle=oracle)
    right = np.diag(np.cos(x))
    agree_with_function(workload, right)
    right[size // 2, 0] += 1e-3
    with pytest.raises(MismatchError, match=f"{oracle} steps"):
        agree_with_function(workload, right)


@pytest.mark.parametrize("output", ["dense", "sparse", "structured"])
def test_a_jacobian_in_any_form_is_applied_to_a_direction(output):
    rng = np.random.default_rng(0)
    W, v = rng.normal(size=(4, 3)), rng.normal(size=(5, 4))

    def f(x):
        return np.tanh(x @ W)

    x = rng.normal(size=(5, 4))
    slope = np.imag(f(x + 1e-200j * v)) / 1e-200
    found = applied(chainad.jacobian(f, output=output)(x), v)
    np.testing.assert_allclose(found, slope.ravel(), rtol=1e-12)


def test_our_own_runners_all_take_part_in_the_check():
    found, jacobian = checked(WORKLOADS["W1f"](True), with_modes=True)
    assert {"traced", "compiled", "f", "limit", "forward", "reverse"} <= found.functions.keys()
    assert jacobian.shape == (20, 20)


@pytest.mark.parametrize("name", ["W1f", "W3-burgers-1e4", "W5-roe1d-512"])
def test_modes_race_with_auto_first_and_all_agree(name):
    workload = WORKLOADS[name](True)
    ways = list(runners(workload))
    assert [way for way, _, _ in ways] == ["traced", "compiled"][: 1 if workload.batch else 2]
    for _, racing, plans in ways:
        assert next(iter(racing)) == "auto"
        assert racing.keys() <= plans.keys()
        found = [np.asarray(as_dense(run())) for run in racing.values()]
        for other in found[1:]:
            np.testing.assert_allclose(other, found[0], rtol=1e-9, atol=1e-12)


def as_dense(jacobian):
    return jacobian.toarray() if scipy.sparse.issparse(jacobian) else jacobian


def test_a_mode_that_is_far_too_dear_does_not_race():
    _, racing, plans = next(runners(WORKLOADS["W1a"](False)))
    assert [*racing] == [*plans] == ["auto"]


def test_a_csr_is_made_of_numbers_in_any_order():
    rng = np.random.default_rng(0)
    full = rng.normal(size=(6, 5)) * (rng.random((6, 5)) < 0.4)
    rows, cols = np.nonzero(full)
    shuffled = rng.permutation(rows.size)
    places = np.stack([rows, cols], axis=1)[shuffled]
    found = csr_of(places, full.shape)(full[rows, cols][shuffled])
    assert isinstance(found, scipy.sparse.csr_array)
    np.testing.assert_array_equal(found.toarray(), full)


def test_workloads_are_selected_by_name_or_its_beginning():
    assert select([]) == list(WORKLOADS)
    assert select(["W1f"]) == ["W1f"]
    assert select(["W6a", "W2s"]) == ["W2s", "W6a-50-20", "W6a-50-200", "W6a-200-50"]
    assert select(["W99"]) == []


def test_tables_stand_in_line():
    assert table(["a", "long"], [["123", "4"]]).splitlines() == [
        "| a   | long |",
        "| --- | ---- |",
        "| 123 | 4    |",
    ]
    assert (ms(0.0012345), ms(None), times(1234.5), times(0.5)) == ("1.23", "-", "1,234x", "0.5x")


def test_a_geometric_mean_is_that_of_the_ratios_there_are():
    assert geometric_mean([2.0, None, 8.0]) == pytest.approx(4)
    assert geometric_mean([None]) is None


def test_numbers_outside_of_a_matrix_are_no_entries_of_its_csr():
    places = np.array([[0, -1], [0, 0], [1, 1], [1, 2]])
    found = csr_of(places, (2, 2))(np.arange(4.0))
    np.testing.assert_array_equal(found.toarray(), [[1, 0], [0, 2]])


def test_what_fails_takes_no_part_and_the_others_run():
    found = Found()
    assert found.add("it", lambda: lambda x: 1 / x, 0) is None
    assert found.add("another", lambda: lambda x: 1 / x, 2) == 0.5
    assert found.functions.keys() == {"another"}
    assert found.failed == {"it": "ZeroDivisionError: division by zero"}


def test_a_benchmark_that_takes_too_long_is_stopped():
    def endless():
        while True:
            pass

    with pytest.raises(TimeoutError, match="more than"), limited(0.01):
        endless()


@pytest.mark.parametrize("blocks", [False, True])
def test_factors_and_blocks_are_applied_as_the_matrix_they_stand_for(blocks):
    rng = np.random.default_rng(0)
    if blocks:
        found, v = rng.normal(size=(4, 2, 3)), rng.normal(size=(4, 3))
        wanted = np.einsum("bij,bj->bi", found, v).ravel()
    else:
        found, v = (rng.normal(size=(4, 2)), rng.normal(size=(2, 3))), rng.normal(size=3)
        wanted = found[0] @ found[1] @ v
    np.testing.assert_allclose(applied(found, v), wanted, rtol=1e-12)


def test_exponents_are_slopes_through_the_largest_sizes():
    costs = {n: Cost(n**2, 3.0, n**0.5) for n in (10, 20, 40)} | {1: Cost(1e9, 1e9, 1e9)}
    assert [exponent(costs, k) for k in range(3)] == pytest.approx([2, 0, 0.5], abs=1e-12)
    assert exponent({1: Cost(1, 1, 1)}, 0) is None


def test_a_rank_correlation_is_that_of_the_order_alone():
    assert rank_correlation([1, 2, 3], [10, 20, 900]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert rank_correlation([1, 1, 1], [3, 2, 1]) == 1


def test_plans_that_are_timed_are_distinct_and_those_by_time_and_by_multiplications_come_first():
    f, x = CASES["rows_of_waves"]()
    graph = linearized(trace(f, x))
    model = model_of("time")
    plans = plans_of(graph, 6, model)
    assert len({plan.order for plan in plans[1:]}) == len(plans) - 1 == 5
    assert plans[0].cost == min(follow(plan.graph, plan.order, model=model).cost for plan in plans)
    assert plans[1].multiplications == min(plan.multiplications for plan in plans)
