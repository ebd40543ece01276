"""Planning: the cheapest order in which to multiply the local Jacobians of a linear graph.

- `linear_graph`, `orders`: a structure on every edge; what eliminating vertices and edges does
- `cost_models`, `calibration`: what a product, a sum and a materialized operator cost
- `modes`, `chain`, `search`, `repeats`: planners, from linear graphs to orders
- `auto`: every candidate's cost, and the cheapest one; `bounds`: how far from optimal it may be
- `steps`, `plan`: an order spelled out as products and sums, with their cost
- `report`, `serialize`, `schedule`, `fit`: plans as text, as JSON, on workers, for other functions
- `memory`, `chunked`: plans within a limit of memory, in blocks of columns or rows
"""
