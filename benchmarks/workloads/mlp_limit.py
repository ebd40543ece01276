"""The Jacobian of a perceptron as one would write it by hand: the limit for NumPy.

The bracketing is found once, by a dynamic program of its own, so that a mistake in chainad's would
show. What remains per call is one NumPy call per line: no trace, no look-up, scratch arrays made
beforehand, all derivatives of tanh at once. Only the result is fresh memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

Array = np.ndarray

# Scaling a row is bound by memory: one number costs as much as some twenty in a matrix product.
SCALING = 20


def by_hand(layers: Sequence[tuple[Array, Array]]) -> Callable[[Array], Array]:
    """Return the Jacobian of `mlp.network(layers)` as straight-line NumPy."""
    widths = (layers[0][0].shape[1], *(b.size for _, b in layers))
    names = _names(layers)
    lines = _derivatives(len(layers)) + _products(widths, names)
    body = "\n    ".join(lines)
    exec(f"def jacobian(x):\n    {body}\n", names)
    jacobian: Callable[[Array], Array] = names["jacobian"]
    return jacobian


def _names(layers: Sequence[tuple[Array, Array]]) -> dict[str, Any]:
    """Return weights W and b, hidden values h and derivatives d, the latter as columns c too."""
    names: dict[str, Any] = {
        "dot": np.dot,
        "add": np.add,
        "subtract": np.subtract,
        "multiply": np.multiply,
        "tanh": np.tanh,
    }
    ends = np.cumsum([0, *(b.size for _, b in layers[:-1])]).tolist()
    names["h"], names["d"] = np.empty(ends[-1]), np.empty(ends[-1])
    for k, (W, b) in enumerate(layers):
        names |= {f"W{k}": W, f"b{k}": b}
    for k, (start, end) in enumerate(pairwise(ends)):
        h, d = names["h"][start:end], names["d"][start:end]
        names |= {f"h{k}": h, f"d{k}": d, f"c{k}": d[:, None]}
    return names


def _derivatives(n_layers: int) -> list[str]:
    """Return the lines that compute all hidden values, then all derivatives of tanh at once."""
    lines = []
    for k in range(n_layers - 1):
        before = f"h{k - 1}" if k else "x"
        lines += [f"dot(W{k}, {before}, h{k})", f"add(h{k}, b{k}, h{k})", f"tanh(h{k}, h{k})"]
    return [*lines, "multiply(h, h, d)", "subtract(1.0, d, d)"]


def _products(widths: Sequence[int], names: dict[str, Any]) -> list[str]:
    """Return the lines that multiply everything in the cheapest order."""
    splits = cheapest_splits(widths)
    last = 2 * len(widths) - 4
    lines = []

    def product(i: int, j: int) -> str:
        if i == j:
            return f"W{i // 2}"
        k = splits[i, j]
        if _is_diagonal(i, k):
            call = f"multiply({product(k + 1, j)}, d{i // 2}"
        elif _is_diagonal(k + 1, j):
            call = f"multiply({product(i, k)}, c{j // 2}"
        else:
            call = f"dot({product(k + 1, j)}, {product(i, k)}"
        if (i, j) == (0, last):
            lines.append(f"return {call})")
            return ""
        scratch = f"s{i}_{j}"
        names[scratch] = np.empty(_shape(widths, i, j))
        lines.append(f"{call}, {scratch})")
        return scratch

    product(0, last)
    return lines


def cheapest_splits(widths: Sequence[int]) -> dict[tuple[int, int], int]:
    """Return for every segment of W0, D0, W1, D1, ... the last factor of its right part.

    Factors are counted from x to y: matrices stand at even places, diagonals at odd ones.
    """
    n = 2 * len(widths) - 3
    cost = {(i, i): 0 for i in range(n)}
    splits = {}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            cost[i, j], splits[i, j] = min(
                (cost[i, k] + cost[k + 1, j] + _cost(widths, i, k, j), k) for k in range(i, j)
            )
    return splits


def _cost(widths: Sequence[int], i: int, k: int, j: int) -> int:
    rows, cols = _shape(widths, i, j)
    if _is_diagonal(i, k) or _is_diagonal(k + 1, j):
        return SCALING * rows * cols
    return rows * widths[k // 2 + 1] * cols


def _shape(widths: Sequence[int], i: int, j: int) -> tuple[int, int]:
    """Return the shape of the product of the factors i to j."""
    return widths[j // 2 + 1], widths[(i + 1) // 2]


def _is_diagonal(i: int, j: int) -> bool:
    return i == j and i % 2 == 1
