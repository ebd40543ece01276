"""Recordings and their Jacobians as programs on scalars, for the Python, NumPy and numba backends.

| module | what it does |
|---|---|
| `symbolic_array` | arrays of scalar expressions, on which recorded calls run |
| `scalarize` | runs a recording on them: the computational graph of its scalars |
| `eliminate` | eliminates that graph by several rules, on the expressions themselves |
| `lower_to_scalars` | the SSA program of value and Jacobian, by the rule of fewest operations |
| `scalar_plan` | that elimination as a plan |
| `replay_scalar`, `replay_batched` | call the compiled program at one point, at many |
"""
