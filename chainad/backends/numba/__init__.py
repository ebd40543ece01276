"""The numba backend: machine code.

| module | what it does |
|---|---|
| `scalar` | scalar programs at one point or many as source code |
| `reroll` | finds the loops in a long list of operations |
| `loop_memory` | allocates registers and iterations in one vector of memory |
| `loops` | loops and nests as source code |
| `elementwise` | fused loops over large arrays as source code |
| `generated_modules` | compiles source code, once per text; the cache folder |
"""
