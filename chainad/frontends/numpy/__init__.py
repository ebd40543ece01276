"""NumPy functions to call graphs: traced values record the calls that are made on them.

trace            runs a function once on traced inputs
traced_values    the duck arrays; `methods`: their operators, `flat_view`: x.flat
made_arrays      arrays that a traced function makes and fills; `packing`: lists of traced values
makers           what functions that do not dispatch do in a traced function
bound_names      the names that are bound to `proxies` meanwhile; `read_names` finds them
traced_calls     a call on them: operands, static arguments, the entry on the tape
fast_path        the usual calls of one or two operands, recorded in the fewest steps
mutation         writes into traced arrays, followed through their views
tape             the entries of one run, and its call graph; `tape_digest` knows it again
kinks            what depends on the square of a norm; `spectral_functions`: functions of matrices;
                 both by `tape_rewriting`
closure_conversion  what a function reads from its closure becomes an argument
recorder         while a function is compiled: calls on plain arrays, and guards
recorded_values  the duck arrays of the recorder
"""
