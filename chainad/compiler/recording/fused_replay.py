"""Replays by calls of NumPy, with fused loops in machine code between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from chainad.backends.numba import scalar as numba
from chainad.backends.numba.elementwise import compiled
from chainad.compiler.recording.recording import Recording
from chainad.compiler.recording.replay import Replay, RequestedOutput, build_replay
from chainad.ir.fused_loops import FusedLoops
from chainad.ir.program import Program
from chainad.ir.scalar_graph import NotScalarError


def fused_replay(
    recording: Recording,
    jacobian: Program,
    slots: Sequence[Any],
    requested: RequestedOutput,
) -> tuple[Replay, str]:
    """Return what `build_replay` returns, with elementwise operations fused into nests.

    Raises
    ------
    NotScalarError
        If there are none that are worth it.
    """
    numba.check_installed()
    texts: list[str] = []

    def compile_nests(nests: Sequence[FusedLoops]) -> list[Callable[..., Any]]:
        functions, text = compiled(nests)
        texts.append(text)
        return functions

    replay, source = build_replay(recording, jacobian, slots, requested, compile_nests)
    if not texts:
        raise NotScalarError("there are no elementwise operations on large arrays")
    return replay, "\n".join([*texts, source])
