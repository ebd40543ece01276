"""Planning: the cheapest order in which to multiply the local Jacobians of a linear graph.

- `linear_graph`, `orders`, `elimination_graph`: a structure on every edge; what eliminating
  vertices and edges does
- `cost_models`, `calibration`: what a product, a sum and a materialized operator cost
- `registry`, `planners`: what a planner is given, every planner by its name, and those there are
- `chain`, `search`, `repeats`: planners, from linear graphs to orders
- `candidates`, `auto`: every candidate's cost, and the cheapest one
- `bounds`: how far from optimal an order may be
- `steps`, `plan`: an order spelled out as products and sums, with their cost
- `sparsity`: the entries of a result that some path reaches
- `report`, `serialize`, `schedule`: plans as text, as JSON, on workers
- `peak`: the most that a run stores at one time
- `memory`, `chunked`: plans within a limit of memory, in blocks of columns or rows;
  `machine_memory`: the limit of this process
"""
