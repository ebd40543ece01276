"""Stacking: isomorphic calls of a loop's iterations are done as one, on stacked arrays.

isomorphic        what both clients share: groups of isomorphic calls, dependency level by level
program_groups    the groups of a program's instructions, long sums as one
stack_program     a program with its groups as batched ops
stack_recording   a recording's formulas with its groups as one call each
"""
