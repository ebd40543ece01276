"""Backends: programs to callables; they only emit, every decision was made before.

| module | what it does |
|---|---|
| `numpy/` | array programs as NumPy calls; scalar programs on many points |
| `scalar_expressions` | how generated code writes scalar functions, one row each |
| `python` | scalar programs on Python floats |
| `numba/` | scalar programs and loops as machine code |
"""
