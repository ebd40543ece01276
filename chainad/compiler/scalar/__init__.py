"""Recordings and their Jacobians as programs on scalars, for the Python, NumPy and numba backends.

| module | what it does |
|---|---|
| `symbolic_array` | arrays of scalar expressions, on which recorded calls run |
| `scalarize` | runs a recording on them: the computational graph of its scalars |
| `eliminate` | eliminates that graph in any order, on the expressions themselves |
| `scalar_order` | the order of fewest operations that a mode offers, and its plan |
| `lower_to_scalars` | the SSA program of value and Jacobian |
| `replay_scalar`, `replay_batched` | call the compiled program at one point, at many |
"""
