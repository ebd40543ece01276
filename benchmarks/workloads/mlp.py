"""W1 and W2: multilayer perceptrons as chains of dense and diagonal Jacobians."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.goals import (
    AGAINST_EXPERT,
    EXCESS,
    FIRST,
    GAIN,
    OVER_LIMIT,
    PEAK,
    PLAN,
    Goal,
    at_least,
    at_most,
)
from benchmarks.workload import OTHERS, VMAPPED, Array, Function, Library, Maker, Workload, spelled
from benchmarks.workloads import experts
from benchmarks.workloads.mlp_limit import by_hand

LIMIT = (at_most(OVER_LIMIT, 1.15), at_most(PEAK, 1.5))

W1 = {
    "W1a": ((1000, 300, 20, 300, 1000), (at_least(GAIN, 8), *LIMIT)),
    "W1b": ((20, 100, 300, 1000), (at_least(GAIN, 0.85), *LIMIT)),
    "W1c": ((1000, 300, 100, 20), (at_least(GAIN, 0.8), *LIMIT)),
    "W1d": ((50, 1000, 2000, 1000, 50), (at_least(GAIN, 1.05), *LIMIT)),
    "W1e": ((3000, 500, 8, 500, 3000), (at_least(GAIN, 15), *LIMIT)),
    "W1f": ((100, 30, 4, 30, 100), (at_least(GAIN, 2.2), at_most(EXCESS, 18), *LIMIT)),
}
# Least and greatest width, number of layers, seed, goals.
W2 = {
    "W2-20": (5, 500, 20, 1, (at_least(GAIN, 4.3), at_least(AGAINST_EXPERT, 1))),
    "W2-30": (5, 500, 30, 2, (at_least(GAIN, 1.8), at_least(AGAINST_EXPERT, 1))),
    "W2-50": (5, 500, 50, 3, (at_least(GAIN, 9), at_least(AGAINST_EXPERT, 1), at_most(PLAN, 10))),
    "W2s": (
        2,
        40,
        30,
        7,
        (
            at_least(GAIN, 0.6, "traced"),
            at_least(GAIN, 1, "compiled"),
            at_least(AGAINST_EXPERT, 0.8),
        ),
    ),
}
# CasADi writes out every scalar operation: for small networks only.
BY_SCALARS = ("W1f", "W2s")
LARGE = 500_000  # numbers in a Jacobian
QUICKER = 5  # a quick run takes so many times fewer of everything


def network(*arrays: Any) -> Function:
    """Return the network of W1, b1, W2, b2, ... and, at last, the `np` of their library."""
    *flat, np = arrays
    *hidden, (last, shift) = list(zip(flat[::2], flat[1::2], strict=True))

    def f(x: Any) -> Any:
        for W, b in hidden:
            x = np.tanh(W @ x + b)
        return last @ x + shift

    return f


def make(name: str, widths: Sequence[int], goals: tuple[Goal, ...], is_quick: bool) -> Workload:
    """Return the network with these widths, x first, at a random point."""
    rng = np.random.default_rng(0)
    if is_quick:
        widths = [-(-n // QUICKER) for n in widths]
    layers = [
        (rng.normal(size=(m, n)) / np.sqrt(n), 0.1 * rng.normal(size=m))
        for n, m in pairwise(widths)
    ]
    arrays = [array for layer in layers for array in layer]
    function, spell = spelled(network, *arrays)
    return Workload(
        name=name,
        title=_title(widths),
        function=function,
        point=rng.normal(size=widths[0]),
        spell=spell,
        others=_others(name, widths),
        own={experts.NAME: experts.written(experts.chain, *arrays)},
        limit=partial(by_hand, layers),
        goals=goals,
        numba=name == "W2s",
    )


def deep(is_quick: bool) -> Workload:
    """Return layers of one size; JAX scans them, an expert carries the Jacobian along."""
    rng = np.random.default_rng(0)
    count, n = (30, 5) if is_quick else (1000, 20)
    weights, shifts = rng.normal(size=(count, n, n)) / np.sqrt(n), 0.1 * rng.normal(size=(count, n))

    def spell(library: Library) -> Function:
        layers = library.array(weights), library.array(shifts)
        tanh = library.np.tanh
        return lambda x: library.scan(lambda h, wb: (tanh(wb[0] @ h + wb[1]), None), x, layers)[0]

    return Workload(
        name="W13-deep",
        title=f"{count:,} layers of {n}",
        function=spell(Library("numpy", np, np, np.asarray)),
        point=rng.normal(size=n),
        spell=spell,
        others=("autograd",),
        limit=partial(_carried, weights, shifts),
        goals=(at_most(FIRST, 500, "traced"),),
    )


def _carried(weights: Array, shifts: Array) -> Function:
    """Return the Jacobian that goes along with the state, as its last column goes."""
    n = weights.shape[1]

    def jacobian(x: Array) -> Array:
        both, moved = np.empty((n, n + 1)), np.empty((n, n + 1))
        both[:, :n], both[:, n] = np.eye(n), x
        for W, b in zip(weights, shifts, strict=True):
            np.dot(W, both, moved)
            h = np.tanh(moved[:, n] + b)
            np.multiply(moved, (1 - h * h)[:, None], both)
            both[:, n] = h
        return both[:, :n].copy()

    return jacobian


def batched(is_quick: bool) -> Workload:
    """Return a perceptron of three layers at many points."""
    rng = np.random.default_rng(0)
    count = 6 if is_quick else 256
    arrays = [rng.normal(size=s) / 5 for s in ((50, 20), (50,), (50, 50), (50,), (10, 50), (10,))]
    function, spell = spelled(network, *arrays)
    return Workload(
        name="W13-batch",
        title=f"20>50>50>10 at {count} points",
        function=function,
        point=rng.normal(size=(count, 20)),
        spell=spell,
        rivals=VMAPPED,
        others=(),
        limit=partial(_blocks, *arrays),
        goals=(at_most(FIRST, 20, "traced"),),
        batch=True,
    )


def _blocks(A: Array, a: Array, B: Array, b: Array, C: Array, c: Array) -> Function:
    """Return one Jacobian for each point, the narrow end first."""

    def jacobian(X: Array) -> Array:
        h = np.tanh(X @ A.T + a)
        k = np.tanh(h @ B.T + b)
        left = (C * (1 - k * k)[:, None, :]).reshape(-1, len(b)) @ B
        left = left.reshape(len(X), -1, len(a)) * (1 - h * h)[:, None, :]
        return (left.reshape(-1, len(a)) @ A).reshape(len(X), -1, X.shape[1])

    return jacobian


def _others(name: str, widths: Sequence[int]) -> tuple[str, ...]:
    """Return the peers to show beside JAX: autograd pulls back row by row, for minutes here."""
    if widths[0] * widths[-1] > LARGE:
        return tuple(peer for peer in OTHERS if peer != "autograd")
    return (*OTHERS, "casadi") if name in BY_SCALARS else OTHERS


def _random_widths(least: int, most: int, n_layers: int, seed: int) -> list[int]:
    found = np.random.default_rng(seed).integers(least, most + 1, n_layers + 1)
    return [int(n) for n in found]


def _title(widths: Sequence[int]) -> str:
    if len(widths) < 8:
        return ">".join(map(str, widths))
    return f"{len(widths) - 1} layers of {min(widths)} to {max(widths)}"


WORKLOADS: dict[str, Maker] = {
    **{name: partial(make, name, widths, goals) for name, (widths, goals) in W1.items()},
    **{
        name: partial(make, name, _random_widths(least, most, n_layers, seed), goals)
        for name, (least, most, n_layers, seed, goals) in W2.items()
    },
    "W13-deep": deep,
    "W13-batch": batched,
}
