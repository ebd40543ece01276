"""For tests of code that uses or extends chainad: a check, oracles, random problems.

check              `check_jacobian` compares a Jacobian with central differences
oracles            what structures, ops and programs mean, by loops that anyone can read
random_structures  random Jacobians, together with the full array
random_locals      those of the kinds that NumPy functions have
random_graphs      chains and linear graphs of them
coverage           the table of all functions and what becomes of them (`python -m ...`)
statements         templates of NumPy statements, by family
random_programs    random programs grown from them, as source text
differences        their derivatives by differences, and where to believe these
jacobian_requests  all the ways of asking for a Jacobian
fuzz               checks random programs in all these ways (`python -m ...`)
mutations          negates one formula of a rule, to see whether a test notices

Of the first five, the names below are public. No other package of chainad imports this one.
"""

from chainad.testing.check import check_jacobian
from chainad.testing.oracles import (
    apply_op,
    apply_ops,
    dense_product,
    path_sum,
    product_entries,
    run_program,
    sum_entries,
    to_array,
)
from chainad.testing.random_graphs import random_chain, random_dense, random_graph
from chainad.testing.random_locals import LOCAL_KINDS, random_local
from chainad.testing.random_structures import (
    AXIS_SIZES,
    RandomJacobian,
    random_entries,
    random_jacobian,
    random_shape,
    random_structure,
)

__all__ = [
    "AXIS_SIZES",
    "LOCAL_KINDS",
    "RandomJacobian",
    "apply_op",
    "apply_ops",
    "check_jacobian",
    "dense_product",
    "path_sum",
    "product_entries",
    "random_chain",
    "random_dense",
    "random_entries",
    "random_graph",
    "random_jacobian",
    "random_local",
    "random_shape",
    "random_structure",
    "run_program",
    "sum_entries",
    "to_array",
]
