"""Stacking: isomorphic instructions of a loop's iterations are done as one, on stacked arrays.

isomorphic        groups of isomorphic instructions, long sums as one
stack_program     a program with its groups as batched ops and calls
"""
