"""Helpers for tests: one check of a Jacobian, slow and obvious oracles, random samples.

Nothing imports `chainad.api` but the face of the package and `check`, which is a user like any
other: no file of chainad outside this folder imports this one.
"""

from chainad.testing.check import check_jacobian
from chainad.testing.graphs import random_chain, random_dense, random_graph
from chainad.testing.kinds import KINDS, random_local
from chainad.testing.oracle import (
    apply_op,
    apply_ops,
    dense_product,
    path_sum,
    product_numbers,
    run_program,
    to_array,
    total_numbers,
)
from chainad.testing.samples import (
    SIZES,
    Sample,
    random_numbers,
    random_shape,
    random_structure,
    sample,
)

__all__ = [
    "KINDS",
    "SIZES",
    "Sample",
    "apply_op",
    "apply_ops",
    "check_jacobian",
    "dense_product",
    "path_sum",
    "product_numbers",
    "random_chain",
    "random_dense",
    "random_graph",
    "random_local",
    "random_numbers",
    "random_shape",
    "random_structure",
    "run_program",
    "sample",
    "to_array",
    "total_numbers",
]
