"""W1 and W2: multilayer perceptrons as chains of dense and diagonal Jacobians."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.peers import Library
from benchmarks.workload import Function, Workload
from benchmarks.workloads.mlp_limit import by_hand

W1 = {
    "W1a": ((1000, 300, 20, 300, 1000), 8.0),
    "W1b": ((20, 100, 300, 1000), 0.85),
    "W1c": ((1000, 300, 100, 20), 0.8),
    "W1d": ((50, 1000, 2000, 1000, 50), 1.05),
    "W1e": ((3000, 500, 8, 500, 3000), 15.0),
    "W1f": ((100, 30, 4, 30, 100), 2.2),
}
# Least and greatest width, number of layers, seed, goal.
W2 = {
    "W2-20": (5, 500, 20, 1, 4.3),
    "W2-30": (5, 500, 30, 2, 1.8),
    "W2-50": (5, 500, 50, 3, 9.0),
    "W2s": (2, 40, 30, 7, 0.6),
}


def network(layers: Sequence[tuple[Any, Any]], np: Any = np) -> Function:
    """Return the network; `np` is an argument so that every library runs this very text."""
    *hidden, (last, shift) = layers

    def f(x: Any) -> Any:
        for W, b in hidden:
            x = np.tanh(W @ x + b)
        return last @ x + shift

    return f


def make(name: str, widths: Sequence[int], goal: float) -> Workload:
    """Return the network with these widths, x first, at a random point."""
    rng = np.random.default_rng(0)
    layers = [
        (rng.normal(size=(m, n)) / np.sqrt(n), 0.1 * rng.normal(size=m))
        for n, m in pairwise(widths)
    ]

    def spell(library: Library) -> Function:
        return network([(library.array(W), library.array(b)) for W, b in layers], library.np)

    return Workload(
        name=name,
        title=_title(widths),
        function=network(layers),
        point=rng.normal(size=widths[0]),
        spellings=dict.fromkeys(("jax", "torch", "autograd"), spell),
        limit=by_hand(layers),
        goal=goal,
    )


def _random_widths(least: int, most: int, n_layers: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).integers(least, most + 1, n_layers + 1).tolist()


def _title(widths: Sequence[int]) -> str:
    if len(widths) < 8:
        return ">".join(map(str, widths))
    return f"{len(widths) - 1} layers of {min(widths)} to {max(widths)}"


WORKLOADS: dict[str, Callable[[], Workload]] = {
    name: partial(make, name, widths, goal) for name, (widths, goal) in W1.items()
} | {
    name: partial(make, name, _random_widths(*random), goal) for name, (*random, goal) in W2.items()
}
