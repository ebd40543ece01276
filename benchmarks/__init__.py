"""Benchmarks: chainad beside its peers, in turn, in one process, on one core.

`python -m benchmarks --save` runs all workloads and writes the pages in `results/`, in a quarter of
an hour; `--quick` what the README shows, in three minutes; `--check` times nothing. `python -m
benchmarks.profile` asks where planning and tracing spend their time. Nothing here is imported by
chainad.

A further command has one file of its own here and shares with the others:

- `pin.pin()`, called first: one core, one thread;
- `check.agree(...)` before anything is timed;
- `timing.race({name: runner}, seconds, rounds)`: all in turn; `timing.ratio` of two of them;
- `table.table(head, rows)`, `table.ms`, `table.times`; `machine.heading(title, libraries)`.
"""
