"""The targets that Jacobians are lowered to."""

from __future__ import annotations

from chainad.backends.numpy.build import build
from chainad.compiler.passes.batch_last import move_batches_last
from chainad.compiler.passes.layout import hoist_transposes
from chainad.compiler.passes.placed_sums import add_at_places
from chainad.compiler.program_time import ProgramTime
from chainad.compiler.target import Target
from chainad.planning.calibration import known
from chainad.planning.cost_models import COSTS, CostModel, by_time

NUMPY = Target(build, (hoist_transposes, move_batches_last, add_at_places))


def _time(itemsize: int) -> CostModel:
    """Return the cost in time of whole programs, as they will be lowered."""
    table = known()
    return by_time(table, ProgramTime(table, NUMPY.passes))


COSTS["time"] = _time
