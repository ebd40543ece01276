"""Intermediate representations: what a function called, what programs consist of, where they index.

| module | what it is |
|---|---|
| `graph` | the computational graph that a front end records |
| `positions`, `strides` | index sets along an axis; their copies as strided blocks |
| `op`, `ops`, `program` | array ops, with their shapes and costs; straight-line array programs |
| `calls`, `operators` | calls of any function as ops, and guards; operators of Python |
| `value_numbers` | what is computed twice gets one number |
| `shapes`, `operation_counts` | shapes of arrays; how often the machine does what |
| `signature` | shapes, dtypes and nesting of a run |
| `array_functions` | the array functions that ops need and NumPy lacks |
| `exact_zeros` | products of arrays with exact zeros |
| `scalar_graph`, `scalar_program` | hash-consed expression DAG; SSA programs on scalars |
| `loop_program` | array operations as loop nests with known addresses |
| `fused_loops` | elementwise operations on large arrays as one nest |
| `periodicity` | periods of a sequence |
| `cache`, `locks` | caches for several threads; locks that are open in a forked child |
| `sites`, `source_lines` | places in the user's code; its line that is running, for messages |
| `cache_folder` | the folder of files that later processes read again |
| `pickling` | what is pickled and copied of an object |
| `version` | the version of the library, which records name |
"""
