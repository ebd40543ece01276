"""From call graphs and plans to programs: all that is decided before a backend emits code.

cse               common-subexpression elimination in graphs, recordings and programs
complex_lift      local Jacobians between complex values as ones between real and imaginary parts
linearize         call graph to linear graph, and the entries of its local Jacobians
merge_scalars     scalars that are computed alike, as one vertex of a linear graph
target            what a backend brings along to lowering
contract          products and sums of structures as instructions
einsum_program    an einsum of any number of arrays, two at a time
assemble          sums of placed terms as one scatter
emit_results      the instructions that return dense, sparse or structured results
lower             plan to program; runs the passes
split_program     a program cut into sections that can be timed alone
chunked_programs  a plan in chunks, a program for each
matrix_free       products with a Jacobian that is never accumulated
passes/           builder and passes of programs
stacking/         isomorphic calls as one, on stacked arrays
recording/        what a compiled function replays
scalar/           recordings as operations on single scalars
loops/            programs as loops over the entries of arrays
duck_array        arrays on which recorded calls run and become others, for what follows
vectorize         a recording on many points at once
"""
