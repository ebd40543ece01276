"""Backends: programs to callables; they only emit, every decision was made before.

| module | what it does |
|---|---|
| `namespace` | the names of generated source, and the functions made of it |
| `bound_program` | array programs as functions that are called one by one |
| `array_api` | array programs on any library that follows the array API standard |
| `numpy/` | array programs as NumPy calls; scalar programs on many points |
| `scalar_expressions` | how generated code writes scalar functions, one row each |
| `python` | scalar programs on Python floats |
| `numba/` | scalar programs, loops and nests as machine code |

Three of them allocate memory, each its own way, since live ranges are all that these have in
common. NumPy's buffers have any size, are overwritten in place, and are reused while a program is
gone through (`numpy/allocate`). What loops need (an element for every iteration, or a ring buffer)
is known beforehand, and packed at the lowest free addresses of one vector (`numba/loop_memory`).
Rows of scalars have one size, so that any free one will do, best the last one (`numpy/vector`).
"""
