"""Tracing: running a NumPy function once, and writing down what it did."""
