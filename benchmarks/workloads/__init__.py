"""All workloads by name: one file per family, one line here.

They are made when they are run, and forgotten afterwards: some are large.
"""

from collections.abc import Callable, Mapping

from benchmarks.workload import Workload
from benchmarks.workloads import mlp, scalar

WORKLOADS: Mapping[str, Callable[[], Workload]] = {**mlp.WORKLOADS, **scalar.WORKLOADS}
