"""Building programs, and the passes over them.

peephole          one instruction, simplified by the instructions that define its inputs
program_builder   appends instructions: hash-consed, after peephole optimisation
layout            transposes are hoisted to where they are views
batch_last        long batches of small blocks get the batch as their last axis
placed_sums       sums with placed arrays are made at their places
carry_masks       arrays with exact zeros are accompanied by their masks
constant_hoisting what depends on constant slots alone is computed once
fuse_elementwise  elementwise operations on arrays of one shape become one nest
operand_views     which element of which register a view is
"""
