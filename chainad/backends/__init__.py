"""Backends: each one file, each executes programs; execution never decides anything."""
