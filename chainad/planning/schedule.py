"""Schedules: the steps of a plan on several workers, each step when its factors are there.

Steps are started by the length of what still depends on them (critical path first: Hu 1961,
Graham 1969); for few steps branch and bound then looks through all schedules in which no worker
waits for nothing. Times are multiplications, one unit each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from chainad.planning.steps import Step

# Up to so many steps, branch and bound looks through their schedules.
_MAX_SEARCHED_STEPS = 40

# Nodes of branch and bound after which it keeps the best schedule so far.
_MAX_NODES = 20_000

# In characters.
_BAR_WIDTH = 72


@dataclass(frozen=True, slots=True)
class Task:
    """One step of a plan, by its number among the steps, on a worker (from 0)."""

    step: int
    worker: int
    start: int
    end: int


@dataclass(frozen=True)
class Schedule:
    """Which worker takes which step of a plan, and when; times are counted in multiplications.

    Attributes
    ----------
    workers : int
    tasks : tuple of Task
        One per step, in the order of their starts.
    bound : int
        No schedule of these steps on so many workers ends earlier.
    title : str
        What print-outs call the plan.
    """

    workers: int
    tasks: tuple[Task, ...]
    bound: int
    title: str = field(default="J", compare=False)

    @property
    def makespan(self) -> int:
        """When the last step ends."""
        return max((task.end for task in self.tasks), default=0)

    @property
    def multiplications(self) -> int:
        """The multiplications of all steps together."""
        return sum(task.end - task.start for task in self.tasks)

    @property
    def speedup(self) -> float:
        """How many times earlier the last step ends than with one worker."""
        return self.multiplications / self.makespan if self.makespan else 1.0

    def __str__(self) -> str:
        proof = "no schedule of these steps is shorter"
        if self.makespan > self.bound:
            proof = f"no schedule of these steps is shorter than {self.bound:,}"
        lines = [
            f"Schedule  {self.title}: {len(self.tasks)} steps on {self.workers} workers",
            f"makespan  {self.makespan:,} of {self.multiplications:,} multiplications"
            f" ({self.speedup:.2f}x); {proof}",
            "",
            *(f"  worker {worker}  {self._bar(worker)}" for worker in range(self.workers)),
        ]
        return "\n".join(lines)

    def _bar(self, worker: int) -> str:
        """Return the time line of a worker: its steps as P1 ===, waiting as dots."""
        bar = ["."] * _BAR_WIDTH
        for task in self.tasks:
            if task.worker != worker or task.end == task.start:
                continue
            first = task.start * _BAR_WIDTH // self.makespan
            last = max(first + 1, task.end * _BAR_WIDTH // self.makespan)
            width = last - first
            text = f"|P{task.step + 1} ".ljust(width, "=") if width > 1 else "|"
            bar[first:last] = text[:width]
        return "".join(bar)


@dataclass(frozen=True)
class _Jobs:
    """The steps as jobs: how long each takes, which it waits for, and what waits for it."""

    times: tuple[int, ...]
    before: tuple[tuple[int, ...], ...]
    after: tuple[tuple[int, ...], ...]
    tail: tuple[int, ...]  # from the start of a job to the end of all that depends on it


def schedule(steps: Sequence[Step], workers: int, title: str = "J") -> Schedule:
    """Put the steps of a plan on workers so that the last one ends early.

    Raises
    ------
    AssertionError
        If there is no worker.
    """
    assert workers > 0
    workers = min(workers, max(len(steps), 1))  # others would have nothing to do
    jobs = _jobs(steps)
    bound = max(max(jobs.tail, default=0), -(-sum(jobs.times) // workers))
    tasks = _by_critical_path(jobs, workers)
    if len(tasks) <= _MAX_SEARCHED_STEPS and max((task.end for task in tasks), default=0) > bound:
        tasks = _Search(jobs, workers, tasks, bound).run()
    ordered = sorted(tasks, key=lambda task: (task.start, task.end, task.step))
    return Schedule(workers, tuple(ordered), bound, title)


def _jobs(steps: Sequence[Step]) -> _Jobs:
    position = {step.number: k for k, step in enumerate(steps)}
    before = [
        tuple(sorted({position[x] for x in (step.left, step.right) if x in position}))
        for step in steps
    ]
    after: list[list[int]] = [[] for _ in steps]
    for k, needed in enumerate(before):
        for j in needed:
            after[j].append(k)
    times = [step.multiplications for step in steps]
    tail = list(times)
    for k in reversed(range(len(times))):  # steps come after those that they need
        tail[k] += max((tail[j] for j in after[k]), default=0)
    return _Jobs(tuple(times), tuple(before), tuple(map(tuple, after)), tuple(tail))


def _by_critical_path(jobs: _Jobs, workers: int) -> list[Task]:
    """Give a worker that is free the job with the longest tail among those that can start."""
    waiting = [len(needed) for needed in jobs.before]
    ready = [(-jobs.tail[k], k) for k, count in enumerate(waiting) if not count]
    ready.sort()
    idle = list(range(workers))
    running: list[tuple[int, int, int]] = []
    now = 0
    tasks: list[Task] = []
    while ready or running:
        while ready and idle:
            _, k = heappop(ready)
            task = Task(k, heappop(idle), now, now + jobs.times[k])
            tasks.append(task)
            heappush(running, (task.end, k, task.worker))
        now = running[0][0]
        while running and running[0][0] == now:
            _, k, worker = heappop(running)
            heappush(idle, worker)
            for j in jobs.after[k]:
                waiting[j] -= 1
                if not waiting[j]:
                    heappush(ready, (-jobs.tail[j], j))
    return tasks


class _Search:
    """Branch and bound over the order in which jobs are started."""

    def __init__(self, jobs: _Jobs, workers: int, best: list[Task], bound: int) -> None:
        self.jobs, self.workers, self.bound = jobs, workers, bound
        self.best, self.makespan = best, max(task.end for task in best)
        self.nodes = 0
        self.tasks: list[Task] = []

    def run(self) -> list[Task]:
        waiting = [len(needed) for needed in self.jobs.before]
        ends = [0] * len(waiting)
        self._branch([0] * self.workers, waiting, ends, sum(self.jobs.times), 0)
        return self.best

    def _branch(
        self, free: list[int], waiting: list[int], ends: list[int], left: int, last: int
    ) -> None:
        """Start one more job; starts never go back, so that no schedule is visited twice."""
        if len(self.tasks) == len(waiting):
            makespan = max(free)
            if makespan < self.makespan:
                self.best, self.makespan = list(self.tasks), makespan
            return
        self.nodes += 1
        if self.nodes > _MAX_NODES or self.makespan == self.bound:
            return
        done = {task.step for task in self.tasks}
        worker = min(range(self.workers), key=free.__getitem__)
        candidates = []
        for k, count in enumerate(waiting):
            if not count and k not in done:
                start = max(free[worker], last, *(ends[j] for j in self.jobs.before[k]), 0)
                candidates.append((start, -self.jobs.tail[k], k))
        # All workers together, from the time when each is free.
        fill = -(-(sum(max(t, free[worker]) for t in free) + left) // self.workers)
        longest = max(start - tail for start, tail, _ in candidates)
        if max(fill, longest) >= self.makespan:
            return
        soonest = min(start + self.jobs.times[k] for start, _, k in candidates)
        for start, _, k in sorted(candidates, key=lambda candidate: (candidate[1], candidate[0])):
            # Waiting past the end of a job that could be done in the meantime never helps.
            if start >= soonest and start > min(candidates)[0]:
                continue
            end = start + self.jobs.times[k]
            self.tasks.append(Task(k, worker, start, end))
            held, free[worker], ends[k] = free[worker], end, end
            for j in self.jobs.after[k]:
                waiting[j] -= 1
            self._branch(free, waiting, ends, left - self.jobs.times[k], start)
            for j in self.jobs.after[k]:
                waiting[j] += 1
            free[worker] = held
            self.tasks.pop()
