"""Recordings of a function and of its local Jacobians, replayed without tracing.

arguments            what the arguments were, and the checks that new ones are like them
recording            what one run did, as a program of calls and guards
factorization_reuse  solves and the operators of their local Jacobians factorise a matrix once
multiply_reduce      sums of products are fused
constant_factors     of two arrays that are multiplied, the smaller one is scaled
quiet_calls          which calls cause no floating-point warning
replay               the recording as the source of one Python function
"""
