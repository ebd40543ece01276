"""All workloads by name: one file per family, one line here.

They are made when they are run, and forgotten afterwards: some are large.
"""

from collections.abc import Mapping

from benchmarks.workload import Maker
from benchmarks.workloads import (
    blocks,
    bundle,
    entries,
    everyday,
    factorizations,
    gmm,
    loops,
    mlp,
    pde,
    scalar,
    solves,
    tasks,
)

FAMILIES = (
    mlp,
    pde,
    gmm,
    bundle,
    tasks,
    solves,
    blocks,
    scalar,
    entries,
    factorizations,
    loops,
    everyday,
)
_PAIRS = [pair for family in FAMILIES for pair in family.WORKLOADS.items()]


def _number(name: str) -> tuple[bool, int]:
    """Return the number in the name of a workload, such as 12 in W12-poisson; others come last."""
    digits = "".join(c for c in name.split("-", maxsplit=1)[0] if c.isdigit())
    return not digits, int(digits or 0)


# Families in the order of their numbers.
WORKLOADS: Mapping[str, Maker] = dict(sorted(_PAIRS, key=lambda pair: _number(pair[0])))
