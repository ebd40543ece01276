"""Recordings and their Jacobian programs as loops, for the numba backend.

| module | what it does |
|---|---|
| `lower_to_loops` | lowers every recorded call and every op to loop nests |
| `loop_builder` | builds a loop program: views move addresses, the rest are operations |
| `replay_loops` | calls the compiled loops on the arguments of a call |
"""
