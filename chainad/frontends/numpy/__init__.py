"""NumPy functions to call graphs: traced values record the calls that are made on them.

trace            runs a function once on traced inputs
traced_values    the duck arrays; `methods`: their operators, `flat_view`: x.flat
traced_calls     a call on them: operands, static arguments, the entry on the tape
mutation         writes into traced arrays, followed through their views
tape             the entries of one run, and the call graph made of them
recorder         while a function is compiled: calls on plain arrays, and guards
recorded_values  the duck arrays of the recorder
source_lines     the user's file and line, for messages
"""
