"""Searches for cheap elimination orders of any graph.

- budget: how hard to search, and when to stop
- state_space, dense_states, scalar_states, structured_states: linear graphs as integers
- make_state_space: which of these fits a graph
- greedy: the classical modes, and rules that choose vertex after vertex
- exhaustive: the cheapest order, by dynamic programming over sets
- articulation: components, safe cut vertices, paths
- window, annealing: better orders from good ones
- stages: all of these one after the other
- repeated_blocks: loops, planned by one iteration
- edges: orders of single edges
"""
