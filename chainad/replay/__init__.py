"""Replay: a recorded script as straight-line Python that runs without tracing."""
