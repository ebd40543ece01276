"""All workloads by name: one file per family, one line here.

They are made when they are run, and forgotten afterwards: some are large.
"""

from collections.abc import Mapping

from benchmarks.workload import Maker
from benchmarks.workloads import blocks, bundle, gmm, mlp, pde, scalar, solves, tasks

FAMILIES = (mlp, pde, gmm, bundle, tasks, solves, blocks, scalar)
_PAIRS = [pair for family in FAMILIES for pair in family.WORKLOADS.items()]
# Families in the order of their numbers: the first two letters of a name.
WORKLOADS: Mapping[str, Maker] = dict(sorted(_PAIRS, key=lambda pair: pair[0][:2]))
