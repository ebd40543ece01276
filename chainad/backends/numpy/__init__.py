"""The NumPy backend.

| module | what it does |
|---|---|
| `emit` | every op as Python source |
| `build` | a program as a function, traceable and quick |
| `allocate` | which registers share a buffer, and which overwrite another |
| `buffers` | programs that write into preallocated buffers |
| `hoist` | programs whose constant part is recomputed only if its arrays changed |
| `vector` | scalar programs on many points at once |
"""
