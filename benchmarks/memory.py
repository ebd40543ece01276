"""Memory: the peak of one call, and the size of what it returns, in bytes."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import scipy.sparse

import chainad
from benchmarks.timing import Runner


def peak(runner: Runner) -> int:
    """Return the most memory that one call holds at a time, its result included.

    What Python and NumPy allocate is counted; not what other libraries do by themselves.
    """
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        runner()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def size(jacobian: Any) -> int:
    """Return the bytes of a Jacobian in any form."""
    if isinstance(jacobian, chainad.StructuredJacobian):
        arrays = [factor.array for term in jacobian.terms for factor in term]
        return sum(array.nbytes for array in arrays if array is not None)
    if scipy.sparse.issparse(jacobian):
        return int(jacobian.data.nbytes + jacobian.indices.nbytes + jacobian.indptr.nbytes)
    return int(np.asarray(jacobian).nbytes)
