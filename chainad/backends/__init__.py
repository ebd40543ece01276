"""Backends: programs to callables; they only emit, every decision was made before.

| module | what it does |
|---|---|
| `namespace` | the names of generated source, and the functions made of it |
| `bound_program` | array programs as functions that are called one by one |
| `array_api` | array programs on any library that follows the array API standard |
| `numpy/` | array programs as NumPy calls; scalar programs on many points |
| `scalar_expressions` | how generated code writes scalar functions, one row each |
| `python` | scalar programs on Python floats |
| `numba/` | scalar programs and loops as machine code |
"""
