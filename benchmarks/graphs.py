"""Elimination problems: published tasks, planning time against size, the gap to the lower bound.

    python -m benchmarks.graphs [--quick]

Counts are exact; seconds are of processor time. Without --quick the tasks are searched thoroughly.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from random import Random
from time import process_time

import chainad
from benchmarks.machine import heading
from benchmarks.table import table
from chainad.planning.plan import Plan

DATA = Path(__file__).parent.parent / "tests/data/elimination_graphs.json"
SIZES = (10, 30, 100, 300, 1000, 3000, 10_000, 20_000)
Edges = list[tuple[int, int]]


def scalar_program(n: int, seed: int = 0) -> Edges:
    """Return the edges of n operations, each of the one before and of another recent value."""
    rng = Random(seed)
    return [(u, v) for v in range(4, n + 4) for u in sorted({v - 1, v - 1 - rng.randrange(4, 12)})
            if u >= 0]  # fmt: skip


def random_problem(n: int, seed: int, most: int) -> tuple[Edges, dict[int, int]]:
    """Return a random graph with about n inner vertices, and its dimensions."""
    rng = Random(seed)
    edges = [(rng.randrange(max(0, v - 6), v), v) for v in range(3, n + 6) for _ in range(2)]
    edges = sorted(set(edges))
    return edges, {v: rng.randint(1, most) for edge in edges for v in edge}


def tasks(effort: str) -> list[list[str]]:
    """Return a row for every published task."""
    rows = []
    for name, given in json.loads(DATA.read_text())["graphs"].items():

        def plan(mode: str, effort: str = "fast", given: dict = given) -> Plan:
            ends = {"inputs": given["inputs"], "outputs": given["outputs"]}
            how = {"cost": "all_multiplications", "effort": effort}
            return chainad.plan_graph(given["edges"], mode=mode, **ends, **how)

        costs = [plan(mode).cost for mode in ("forward", "reverse", "markowitz", "greedy")]
        start = process_time()
        ours = plan("auto", effort)
        seconds = process_time() - start
        published = given["multiplications"]["published_alphagrad"]
        proof = "yes" if ours.optimality else f"at least {ours.bound}"
        row = [name, *costs, published, ours.cost, proof, f"{seconds:.2f}"]
        rows.append([str(cell) for cell in row])
    return rows


def planning_time(sizes: tuple[int, ...]) -> list[list[str]]:
    """Return a row for every size: seconds and costs at two efforts."""
    rows = []
    for n in sizes:
        edges = scalar_program(n)
        row = [f"{n:,}"]
        for k, effort in enumerate(("fast", "balanced")):
            start = process_time()
            plan = chainad.plan_graph(edges, effort=effort, seed=n)
            row.append(f"{process_time() - start:.3f}")
            if not k:
                classical = [a.cost for a in plan.alternatives if a.name in ("forward", "reverse")]
                row.append(f"{min(classical):,}")
            row.append(f"{plan.cost:,}")
        rows.append(row)
    return rows


def gaps(count: int) -> list[list[str]]:
    """Return a row for every kind of random graph: the mean gap to the lower bound."""
    rows = []
    for n in (10, 40):
        for most in (1, 50):
            plans = []
            for seed in range(count):
                edges, sizes = random_problem(n, seed, most)
                plans.append(chainad.plan_graph(edges, dimensions=sizes))
            cuts = [p.gap for p in plans if p.gap is not None]
            proved = sum(bool(p.optimality) for p in plans)
            rows.append(
                [str(n), f"1 to {most}", f"{sum(cuts) / len(cuts):.1%}", f"{proved} of {count}"]
            )
    return rows


def main(arguments: list[str]) -> int:
    quick = "--quick" in arguments
    print(heading("Elimination graphs", []))
    head = ["task", "forward", "reverse", "Markowitz", "greedy", "AlphaGrad", "chainad"]
    rows = tasks("balanced" if quick else "thorough")
    print(table([*head, "proved", "seconds"], rows), end="\n\n")
    head = ["operations", "fast (s)", "min(forward, reverse)", "fast", "balanced (s)", "balanced"]
    print(table(head, planning_time(SIZES[:5] if quick else SIZES)), end="\n\n")
    head = ["inner vertices", "dimensions", "mean gap", "proved optimal"]
    print(table(head, gaps(5 if quick else 30)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
