"""How long chains take to plan, beside NumPy's and opt_einsum's planners: `-m benchmarks.chains`.

The peers are given the same sizes; all find the same cost, or the run stops. Times are those of
the processor, the least of a few calls, with empty caches.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
from numpy.linalg import _linalg

import chainad
from benchmarks.pin import pin
from benchmarks.table import ms, table
from benchmarks.timing import now
from chainad.planning.auto import make_plan
from chainad.planning.linear_graph import Edge, LinearGraph
from chainad.structure import dense, diagonal, forget

try:
    import opt_einsum
except ImportError:
    opt_einsum = None

COUNTS = (10, 30, 100, 300, 1000, 3000, 10_000)
QUICK = (10, 30, 100)
REPEATS = 3
LIMIT = 10.0  # seconds; a planner that would take longer, by its growth so far, is left out

Planner = Callable[[Sequence[int]], int]


def ours(sizes: Sequence[int]) -> int:
    """Return the cost that chainad finds for dense matrices."""
    return chainad.plan_chain(sizes).multiplications


def with_diagonals(sizes: Sequence[int]) -> int:
    """Return the cost of the same chain with every second matrix a diagonal one."""
    factors = []
    for n, m in pairwise(sizes[: len(sizes) // 2 + 1]):
        factors += [dense((m,), (n,)), diagonal((m,))]
    shapes = (factors[0].col_shape, *(factor.row_shape for factor in factors))
    edges = tuple(Edge(k, k + 1, factor) for k, factor in enumerate(factors))
    return make_plan(LinearGraph(shapes, (0,), (len(edges),), edges)).multiplications


def programs(sizes: Sequence[int]) -> int:
    """Return the cost of the same chain with programs for matrices."""
    costs = [n * m // 2 + 1 for n, m in pairwise(sizes)]
    plan = chainad.plan_chain(sizes, tangent_costs=costs, adjoint_costs=costs)
    return plan.multiplications


def multi_dot(sizes: Sequence[int]) -> int:
    """Return the cost that `numpy.linalg.multi_dot` plans with."""
    matrices = [np.broadcast_to(0.0, shape) for shape in pairwise(sizes[::-1])]
    _, costs = _linalg._multi_dot_matrix_chain_order(matrices, return_costs=True)
    return int(costs[0, len(matrices) - 1])


def einsum(sizes: Sequence[int]) -> int:
    """Return half the operations that opt_einsum's dynamic programming plans."""
    terms: list[Any] = []
    for k, shape in enumerate(pairwise(sizes[::-1])):
        terms += [np.broadcast_to(0.0, shape), (k, k + 1)]
    _, info = opt_einsum.contract_path(*terms, (0, len(sizes) - 1), optimize="dp")
    return int(info.opt_cost) // 2


PLANNERS: dict[str, Planner] = {
    "chainad": ours,
    "numpy multi_dot": multi_dot,
    **({"opt_einsum dp": einsum} if opt_einsum else {}),
    "chainad, half diagonals": with_diagonals,
    "chainad, programs": programs,
}
SAME = ("chainad", "numpy multi_dot", "opt_einsum dp")


def timed(planner: Planner, chains: Sequence[Sequence[int]]) -> tuple[float, int]:
    """Return the least seconds of a call with empty caches, and the cost of the first chain.

    Every call gets a chain of its own: an equal one would be looked up.
    """
    seconds, costs = [], []
    for sizes in chains:
        forget()
        start = now()
        costs.append(planner(sizes))
        seconds.append(now() - start)
        if seconds[-1] > 1:
            break
    return min(seconds), costs[0]


def main(arguments: Sequence[str]) -> int:
    """Print the table; return 1 if two planners disagree."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chains", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short chains only")
    options = parser.parse_args(arguments)
    last: dict[str, tuple[int, float]] = {}
    rows = []
    for count in QUICK if options.quick else COUNTS:
        rng = Random(count)
        chains = [[rng.randint(5, 500) for _ in range(count + 1)] for _ in range(REPEATS)]
        row, costs = [f"{count:,}"], {}
        for name, planner in PLANNERS.items():
            size, seconds = last.get(name, (count, 0.0))
            if seconds * (count / size) ** 3 > LIMIT and name != "chainad":
                row.append("-")
                continue
            seconds, costs[name] = timed(planner, chains)
            last[name] = (count, seconds)
            row.append(ms(seconds))
        rows.append(row)
        if len({costs[name] for name in SAME if name in costs}) > 1:
            print(f"WRONG: {count} factors cost {costs}")
            return 1
    print(table(["factors, ms", *PLANNERS], rows))
    return 0


if __name__ == "__main__":
    pin()
    sys.exit(main(sys.argv[1:]))
