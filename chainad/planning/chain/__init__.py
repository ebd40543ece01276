"""The cheapest bracketing of a chain.

- live_ranges: the labels of a chain, from which all costs follow
- interval_dp: dynamic programming over the segments of a chain
- vectorized_dp: the same, with whole arrays of segments at once
- hu_shing: thousands of dense matrices
- chain: the planner, which chooses among these
- workers: several products at the same time
- programs: factors known by tangents and adjoints alone
"""
