"""Benchmarks: chainad beside its peers, in turn, in one process, on one core.

Run `python -m benchmarks --help` in the repository. Nothing here is imported by chainad.
"""
