"""Measures what each kind of operation costs on this machine, for plans by time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from chainad.api.stopwatch import quickest
from chainad.backends.numpy.build import compiled
from chainad.ir import ops
from chainad.ir.array_functions import sparse_dot
from chainad.ir.memory_layouts import MIN_FRESH_ELEMENTS
from chainad.ir.op import Op
from chainad.ir.operation_counts import KINDS_OF_OPERATION
from chainad.ir.positions import positions
from chainad.ir.program import Instruction, Program
from chainad.planning.calibration import SHIPPED_TABLE, STORED, Calibration, checked, keep
from chainad.structure.linear_operators import Inverse

# All kinds take turns, so that each meets the machine in several states.
_TURNS = 6
_SECONDS_PER_TURN = 0.012

# Between others, calls take longer than one after the other, by so many times.
_COLD = 2

# Programs call as many ops, each of which reads what others wrote a while before.
_OPS = 32


def calibrate(store: bool = True) -> Calibration:
    """Measure what each kind of operation costs on this machine, and keep it for `cost="time"`.

    Parameters
    ----------
    store : bool
        Whether to write the table to the user's cache folder, where every later process finds it:
        `chainad` in `$CHAINAD_CACHE`, if that is set, `$XDG_CACHE_HOME` or `~/.cache`,
        `~/Library/Caches` on macOS, `%LOCALAPPDATA%` on Windows. There is one file per machine,
        NumPy and BLAS.

    Returns
    -------
    Calibration
        Picoseconds per kind of operation, and by how much these differ when measured again;
        `print` it to read it.

    Raises
    ------
    ChainadError
        If the file cannot be written, or the measurement is not plausible: a kind of operation
        takes many times more or less than on any machine known, or other times each time.

    Notes
    -----
    Takes some seconds, on a machine that is otherwise idle. All kinds take turns, several times,
    and the quickest run of each counts.
    """
    found = checked(_measure(), SHIPPED_TABLE)
    if store:
        keep(found)
    return found


class _Run(NamedTuple):
    """What is run to measure a kind: how many of its operations, and what else it takes."""

    run: Callable[[], Any]
    operations: int
    others: Mapping[str, int] = {}


def _measure() -> Calibration:
    """Return what was measured, with how far two halves of the measurement differ."""
    runs = _runs()
    turns = [_turn(runs) for _ in range(_TURNS)]
    halves = (_costs(runs, turns[k::2]) for k in range(2))
    noise = max(max(a, b) / min(a, b) - 1 for a, b in zip(*halves, strict=True))
    return Calibration(_costs(runs, turns), STORED, round(noise, 2))


def _turn(runs: Mapping[str, _Run]) -> dict[str, float]:
    """Return the seconds of every run, the quickest of a few right after one another."""
    return {kind: quickest(each.run, _SECONDS_PER_TURN) for kind, each in runs.items()}


def _costs(runs: Mapping[str, _Run], turns: Sequence[Mapping[str, float]]) -> tuple[int, ...]:
    """Return the costs in the order of `KINDS_OF_OPERATION`, in picoseconds."""
    found: dict[str, float] = {}
    for kind, each in runs.items():
        rest = sum(found[other] * count for other, count in each.others.items())
        found[kind] = (1e12 * min(turn[kind] for turn in turns) - rest) / each.operations
    # What else a program does takes what calls need out of the quickest cache.
    found |= {kind: _COLD * found[kind] for kind in ("calls", "views")}
    # At least one picosecond: no operation is free.
    return tuple(max(1, round(found[kind])) for kind in KINDS_OF_OPERATION)


def _runs() -> dict[str, _Run]:
    """Return what is run for each kind; what it takes besides was measured before it."""
    rng = np.random.default_rng(0)
    n, size = 100, _OPS * 100 * 100
    few, square, large = np.ones((2, 2)), np.ones((n, n)), np.ones((200, 200))
    tall, page = np.ones((1_000, 4)), np.ones(MIN_FRESH_ELEMENTS)
    blocks, solve = rng.random((2_000, 3, 3)), Inverse(rng.random((n, n)))
    index = ops.Take(1, positions(rng.permutation(n)))
    rows, cols = (positions(rng.integers(0, n, 5_000)) for _ in range(2))
    values, wide = rng.random(5_000), np.ones((n, 16))
    one, quarter = positions(np.array([0, 1, 1, 0])), np.ones(4)
    calls = {"calls": _OPS}
    whole = {"multiplied": _OPS * large.size}
    return {
        "calls": _Run(_chain(few, ops.Multiply()), _OPS),
        "views": _Run(_chain(few, ops.Transpose((1, 0))), _OPS),
        "loops": _Run(partial(np.multiply, tall, tall[:, :1]), len(tall), {"calls": 1}),
        "multiplied": _Run(_chain(square, ops.Multiply()), size, calls),
        "added": _Run(_chain(square, ops.Add()), size, calls),
        # Of arrays that are in no small cache when they are read, as in programs.
        "elements": _Run(
            _chain(large, ops.Multiply(), reach=6), 3 * _OPS * large.size, calls | whole
        ),
        "moved": _Run(_chain(square, ops.Copy()), size, calls),
        "strided": _Run(
            _chain(square, ops.Transpose((1, 0)), ops.Copy()),
            size,
            calls | {"views": _OPS, "moved": size},
        ),
        "gathered": _Run(_chain(square, index), size, calls),
        "dots": _Run(partial(np.matmul, large, large), large.size * len(large)),
        "items": _Run(partial(np.matmul, blocks, blocks), len(blocks)),
        "sparse": _Run(partial(sparse_dot, quarter, one, one, 2, few), 1),
        "entries": _Run(
            partial(sparse_dot, values, rows, cols, n, wide), 16 * len(values), {"sparse": 1}
        ),
        "operators": _Run(partial(solve.jvp, square[:, :1]), 1),
        "applied": _Run(partial(solve.jvp, square), n**3, {"operators": 1}),
        "reused": _Run(partial(np.multiply, page, page, np.ones_like(page)), 1),
        "fresh": _Run(partial(np.multiply, page, page), page.size, {"reused": 1}),
    }


def _chain(x: Any, *steps: Op, reach: int = 0) -> Callable[[], Any]:
    """Return a program that applies ops again and again, each to what the one before made.

    A second operand is what was made `reach` instructions before.
    """
    made: list[Instruction] = []
    for op in steps * _OPS:
        k = len(made)
        inputs = (max(0, k - reach), k) if isinstance(op, ops.Elementwise) else (k,)
        made.append(Instruction(op, inputs, k + 1))
    run, _ = compiled(Program(1, tuple(made), (len(made),)), is_traced=False)
    return partial(run, (x,))
