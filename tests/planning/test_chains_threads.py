"""Chains on several workers: published optima, and all schedules of few steps, each tried."""

import json
from dataclasses import FrozenInstanceError, dataclass
from itertools import pairwise, permutations
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainad
from chainad.api.chains import plan_chain
from chainad.errors import InputError, PlanError
from chainad.planning.plan import Plan, follow
from chainad.planning.schedule import Schedule, schedule

randoms = st.randoms(use_true_random=False)
FILE = Path(__file__).parents[1] / "data/jacobian_chains.json"
CASES = [case for case in json.loads(FILE.read_text())["cases"] if case["kind"] == "threads"]


def planned(case: dict) -> Schedule:
    plan = plan_chain(
        case["dims"],
        tangent_costs=case["tangent_cost"],
        adjoint_costs=case["adjoint_cost"],
        tape_sizes=case["edges"],
        memory_limit=case["memory"] or None,
        workers=case["threads"],
    )
    found = plan.schedule(case["threads"])
    check(found, plan)
    return found


def check(found: Schedule, plan: Plan) -> None:
    """Assert that every step runs once, on one worker at a time, after what it needs."""
    n = len(plan.graph.edges)
    at = {task.step: task for task in found.tasks}
    assert sorted(at) == list(range(len(plan.steps)))
    for k, step in enumerate(plan.steps):
        assert at[k].end - at[k].start == step.multiplications
        for needed in {step.left, step.right} - set(range(n)):
            assert at[needed - n].end <= at[k].start
    for worker in range(found.workers):
        mine = [task for task in found.tasks if task.worker == worker and task.end > task.start]
        for one, two in pairwise(mine):
            assert one.end <= two.start
    assert found.bound <= found.makespan <= max(1, found.multiplications)


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_no_schedule_ends_before_the_published_optimum(case: dict) -> None:
    assert planned(case).makespan >= case["expected"]["optimal_makespan"]


def test_schedules_end_within_five_percent_of_the_published_optimum_on_average() -> None:
    assert len(CASES) == 30
    ratios = [planned(case).makespan / case["expected"]["optimal_makespan"] for case in CASES]
    assert sum(ratios) / len(ratios) < 1.05
    assert ratios.count(1.0) >= 29


@dataclass(frozen=True)
class Job:
    number: int
    left: int
    right: int
    multiplications: int


def random_jobs(rng: Random, count: int) -> list[Job]:
    """Return jobs numbered from 100 on; numbers below stand for what is there from the start."""
    jobs = []
    for k in range(count):
        needs = [rng.choice([0, *range(100, 100 + k)]) for _ in range(2)]
        jobs.append(Job(100 + k, *needs, rng.randint(0, 9)))
    return jobs


def shortest(jobs: list[Job], workers: int) -> int:
    """Return the least makespan over all orders in which jobs are handed out."""
    best = sum(job.multiplications for job in jobs)
    for order in permutations(jobs):
        ends: dict[int, int] = {}
        free = [0] * workers
        for job in order:
            if any(x >= 100 and x not in ends for x in (job.left, job.right)):
                break
            ready = max(ends.get(job.left, 0), ends.get(job.right, 0))
            free.sort()
            # The worker that is free last of those that are free in time.
            at = max((k for k in range(workers) if free[k] <= ready), default=0)
            free[at] = ends[job.number] = max(free[at], ready) + job.multiplications
        else:
            best = min(best, max(free))
    return best


@pytest.mark.parametrize("seed", range(4))
def test_schedules_of_few_steps_are_the_shortest_of_all(seed: int) -> None:
    rng = Random(seed)
    for _ in range(40):
        jobs, workers = random_jobs(rng, rng.randint(1, 6)), rng.randint(1, 4)
        found = schedule(jobs, workers)
        assert found.makespan == shortest(jobs, workers), jobs


@given(randoms)
def test_schedules_of_any_plan_are_possible(rng: Random) -> None:
    sizes = [rng.randint(1, 30) for _ in range(rng.randint(2, 14))]
    plan = plan_chain(sizes)
    for workers in (1, 2, 5):
        check(plan.schedule(workers), plan)
    assert plan.schedule(1).makespan == plan.multiplications
    assert plan.schedule(100).makespan == plan.schedule(100).bound


@given(randoms)
def test_more_workers_never_end_later_than_one(rng: Random) -> None:
    sizes = [rng.randint(1, 30) for _ in range(rng.randint(3, 9))]
    alone = plan_chain(sizes).multiplications
    for workers in (2, 3, 8):
        plan = plan_chain(sizes, workers=workers)
        check(plan.schedule(workers), plan)
        assert plan.schedule(workers).makespan <= alone
        assert plan.multiplications >= alone


def test_two_halves_run_side_by_side() -> None:
    plan = plan_chain([100, 10, 2, 10, 100], workers=2)
    found = plan.schedule(2)
    assert (found.multiplications, found.makespan, found.bound) == (24_000, 22_000, 22_000)
    assert found.speedup == 24 / 22


def test_a_plan_for_several_workers_may_multiply_more() -> None:
    case = CASES[0]
    costs = {"tangent_costs": case["tangent_cost"], "adjoint_costs": case["adjoint_cost"]}
    alone, plan = plan_chain(case["dims"], **costs), plan_chain(case["dims"], **costs, workers=3)
    assert plan.multiplications > alone.multiplications
    assert plan.schedule(3).makespan < alone.schedule(3).makespan
    assert plan.optimality == ""
    assert plan.planner == "3 workers"
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert again.steps == plan.steps


def test_a_long_plan_is_scheduled() -> None:
    plan = plan_chain([2 + k % 7 for k in range(3001)])
    check(plan.schedule(4), plan)


def test_a_schedule_cannot_be_changed() -> None:
    found = plan_chain([4, 3, 2]).schedule(2)
    with pytest.raises(FrozenInstanceError):
        found.workers = 3  # type: ignore[misc]


PRINTED = """\
Schedule  chain: 3 steps on 2 workers
makespan  22,000 of 24,000 multiplications (1.09x); no schedule of these steps is shorter

  worker 0  |P1 ==|P3 ==============================================================
  worker 1  |P2 ==.................................................................."""


def test_a_schedule_reads() -> None:
    assert str(plan_chain([100, 10, 2, 10, 100]).schedule(2)) == PRINTED


def test_a_schedule_of_nothing_reads() -> None:
    found = plan_chain([4, 3]).schedule(2)
    assert (found.makespan, found.tasks, found.speedup) == (0, (), 1.0)
    assert "0 steps on 1 workers" in str(found)


@pytest.mark.parametrize("workers", [0, -1, 1.5, True, "2"])
def test_workers_that_are_none_are_refused(workers: object) -> None:
    message = f"workers must be a positive integer, but got {workers!r}"
    with pytest.raises(InputError) as error:
        plan_chain([4, 3, 2]).schedule(workers)  # type: ignore[arg-type]
    assert str(error.value) == message
    with pytest.raises(InputError) as error:
        plan_chain([4, 3, 2], workers=workers)  # type: ignore[arg-type]
    assert str(error.value) == message


def test_only_an_operator_can_be_materialized_first() -> None:
    plan = chainad.plan_chain([4, 3, 2])
    for k in (0, 7, -1):
        with pytest.raises(PlanError) as error:
            follow(plan.graph, plan.order, materialized=[k])
        assert str(error.value).startswith(f"edge {k} cannot be materialized first")
