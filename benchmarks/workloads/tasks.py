"""W5: the functions of `points` at one point, and at many at once."""

from __future__ import annotations

from functools import partial
from importlib import import_module

import numpy as np
import scipy.special

from benchmarks.workload import JAX, VMAPPED, Function, Library, Maker, Workload
from benchmarks.workloads import points_by_hand
from benchmarks.workloads.points import TASKS, Task

COUNTS = (1, 512, 100_000)
QUICK = 20
# Where other libraries have the error function.
ERF = {"jax": "jax.scipy.special", "autograd": "autograd.scipy.special", "casadi": "casadi"}


def spell(task: Task, library: Library) -> Function:
    """Return the function of one point in a library."""
    return task.make(library.np, import_module(ERF[library.name]).erf)


def make(name: str, task: Task, count: int, is_quick: bool) -> Workload:
    """Return a task at so many random points; a single one comes as a vector, without a batch."""
    is_batch = count > 1
    points = task.points(min(count, QUICK) if is_quick else count)
    return Workload(
        name=name,
        title=f"{task.name}, {count:,} point{'s' * is_batch}",
        function=task.make(np, scipy.special.erf),
        point=points if is_batch else points[0],
        spell=partial(spell, task),
        rivals=VMAPPED if is_batch else JAX,
        others=() if is_batch else ("autograd", "casadi"),
        oracle="central",
        limit=partial(points_by_hand.jacobian, task.name, is_batch)
        if task.name in points_by_hand.TASKS
        else None,
        group=f"W5, {count:,} point{'s' * is_batch}",
        batch=is_batch,
        numba=not is_quick or count < COUNTS[-1],  # it compiles for seconds, twice is enough
    )


WORKLOADS: dict[str, Maker] = {
    name: partial(make, name, task, count)
    for count in COUNTS
    for task in TASKS
    for name in [f"W5-{task.name}-{count}"]
}
