"""The time of a plan, from the program that it is lowered to: every op, and how its operands lie.

What steps take alone says less. Products whose results lie in another order than the next step
reads them, sums that several steps share, batches that are moved: only the whole program knows.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from chainad.compiler.lower import Lowered, lower
from chainad.compiler.target import Pass
from chainad.planning.calibration import Calibration
from chainad.planning.cost_models import by_time
from chainad.planning.plan import Plan, cost_of_steps
from chainad.structure import Ops
from chainad.structure.step_counts import counts_of_instructions

# Of more steps, lowering takes longer than a search: these are costed one by one.
MAX_LOWERED_STEPS = 400


@dataclass(frozen=True)
class ProgramTime:
    """How many picoseconds whole plans take by a table: what a cost model has as `overall`.

    Attributes
    ----------
    table : Calibration
    passes : tuple of callables
        Those of the target that will run the programs.
    """

    table: Calibration
    passes: tuple[Pass, ...]

    def __call__(self, plan: Plan) -> int:
        if len(plan.steps) > MAX_LOWERED_STEPS:
            return cost_of_steps(plan, by_time(self.table))
        arrangements: list[Ops] = [()] * len(plan.graph.edges)
        lowered = lower(plan, arrangements, "structured", self.passes)
        return sum(_picoseconds(plan, lowered, self.table))


def times_of_steps(
    plan: Plan, arrangements: Sequence[Ops], output: str, table: Calibration
) -> list[int]:
    """Return how many picoseconds the steps of a plan take, one after the other as they stand."""
    lowered = lower(plan, arrangements, output)
    found = [0] * (len(lowered.ends) + 1)
    times = _picoseconds(plan, lowered, table)
    for instruction, time in zip(lowered.program.instructions, times, strict=True):
        found[bisect_right(lowered.ends, instruction.output)] += time
    return found[1:-1]


def _picoseconds(plan: Plan, lowered: Lowered, table: Calibration) -> list[int]:
    """Return how long every instruction of a program takes."""
    structures = [edge.structure for edge in plan.graph.edges]
    counts = counts_of_instructions(lowered.program.instructions, lowered.shapes, structures)
    return [table.time(each) for each in counts]
