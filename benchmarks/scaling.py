"""How cost grows with size, beside JAX: first calls, calls and memory of five kinds of function.

`python -m benchmarks.scaling [--save] [--check] [family ...]`. An exponent is the slope of a line
through the three largest sizes on logarithmic scales: 1 is in proportion. Who would take more than
LIMIT seconds for the first call at the next size, by growth so far, stops.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import chainad
from benchmarks.check import agree_as_matrices
from benchmarks.inside import forget
from benchmarks.machine import heading
from benchmarks.memory import peak
from benchmarks.peers import PEERS, load
from benchmarks.pin import pin
from benchmarks.table import mb, ms, table
from benchmarks.timing import limited, once, race
from benchmarks.workload import VMAPPED, Library, Workload, scan, spelled
from benchmarks.workloads import loops, mlp, pde, scalar, tasks
from benchmarks.workloads.points import TASKS

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "scaling.md"
PICTURE = HERE / "results" / "scaling.png"
LIMIT = 8.0  # seconds
SECONDS, ROUNDS = 0.1, 3
FITTED = 3  # sizes, the largest ones
COLOURS = {"chainad": "#0072B2", "JAX": "#E69F00"}
MEASURES = ("first call", "call", "memory")


@dataclass(frozen=True)
class Family:
    """Functions that differ in one size: what it counts, and its values."""

    what: str
    sizes: tuple[int, ...]
    make: Callable[[int], Workload]


@dataclass(frozen=True)
class Cost:
    """Seconds of a first call and of later ones, and the most bytes that a later one holds."""

    first: float
    call: float
    memory: float
    first_memory: float | None = None

    @property
    def values(self) -> tuple[float, float, float]:
        return self.first, self.call, self.memory


def chain(size: int) -> Workload:
    """Return a perceptron of so many layers whose widths vary, which no loop can run."""
    rng = np.random.default_rng(size)
    widths = rng.integers(5, 50, size + 1)
    arrays: list[Any] = []
    for n, m in pairwise(widths):
        arrays += [rng.normal(size=(m, n)) / np.sqrt(n), 0.1 * rng.normal(size=m)]
    function, spell = spelled(mlp.network, *arrays)
    return Workload("chain", "", function, rng.normal(size=widths[0]), spell)


def graph(size: int) -> Workload:
    """Return so many operations on numbers."""
    function, spell = spelled(partial(scalar.run, scalar.program(size)))
    point = np.random.default_rng(1).normal(size=scalar.N_INPUTS)
    return Workload("graph", "", function, point, spell)


def stencil(size: int) -> Workload:
    """Return Burgers' equation on so many points."""
    return pde.make("stencil", pde.burgers, size, 0, ("jax asdex",), (), False)


def loop(size: int) -> Workload:
    """Return so many Euler steps of ten states."""
    A = np.random.default_rng(0).normal(size=(10, 10)) / 3

    def spell(library: Library) -> Any:
        return loops.euler(A, size, library.np, library.scan)

    return Workload("loop", "", loops.euler(A, size, np, scan), np.linspace(0.5, 1.5, 10), spell)


def batch(size: int) -> Workload:
    """Return so many poses of a robot's arm."""
    task = next(task for task in TASKS if task.name == "robot")
    return tasks.make("batch", task, size, False)


FAMILIES = {
    "chain": Family("layers", (10, 30, 100, 300, 1000), chain),
    "graph": Family("operations", (100, 300, 1000, 3000), graph),
    "stencil": Family("unknowns", (1_000, 10_000, 100_000, 1_000_000), stencil),
    "loop": Family("steps", (10, 100, 1_000, 10_000), loop),
    "batch": Family("points", (10, 100, 1_000, 10_000, 100_000), batch),
}


Way = tuple[float, Callable[[], Any], int, int | None]


def ours(workload: Workload) -> Way:
    """Return the seconds of the first call, what runs later ones, and the most bytes of each."""
    x, options = workload.point, {"batch": 0} if workload.batch else {}
    jacobian = partial(chainad.jacobian, workload.function, output=workload.output, **options)

    def start() -> Any:
        forget()
        return jacobian()(x)

    first = once(start)[0]
    # A list of thousands of operations is too long to be compared at each call.
    compiled = jacobian() if workload.batch else chainad.compile(jacobian(), x, constant="lines")
    run = partial(compiled, x)
    run()  # what is kept for all later calls
    return first, run, peak(run), peak(start)


def theirs(workload: Workload, library: Library) -> Way:
    """Return the same of the quickest of JAX's ways that need no thought.

    Nobody knows how much its compiler takes.
    """
    x = library.array(workload.point)
    names = VMAPPED if workload.batch else workload.rivals
    found = []
    for name in names if workload.name not in ("chain", "graph") else names[:1]:

        def start(name: str = name) -> Any:
            function = PEERS[name](library, workload)
            return function, function(x)

        library.module.clear_caches()
        first, (function, _) = once(start)
        run = partial(function, x)
        found.append((once(run)[0], first, run, function.peak(x)))
    _, first, run, memory = min(found, key=lambda each: each[0])
    return first, run, memory, None


def measured(family: Family, sizes: Sequence[int], library: Library | None) -> dict[str, Any]:
    """Return the costs of both by size."""
    found: dict[str, dict[int, Cost]] = {name: {} for name in COLOURS}
    ways: dict[str, Any] = {"chainad": ours}
    if library is not None:
        ways["JAX"] = lambda workload: theirs(workload, library)
    for size in sizes:
        workload = family.make(size)
        costs, runners = {}, {}
        for name, way in ways.items():
            past = found[name]
            if past:
                last = max(past)
                if past[last].first * (size / last) > LIMIT or len(past) < sizes.index(size):
                    continue
            try:
                with limited(round(8 * LIMIT)):
                    first, runners[name], *memory = way(workload)
            except Exception as error:  # it stops there, the others go on
                print(
                    f"{workload.name} {size:,} {name}: {type(error).__name__} {error}", flush=True
                )
                continue
            costs[name] = first, memory
        if len(runners) > 1:
            agree_as_matrices(workload, "JAX", runners["JAX"](), runners["chainad"]())
        for name, rounds in race(runners, SECONDS, ROUNDS).items():
            found[name][size] = Cost(costs[name][0], median(rounds), *costs[name][1])
            print(workload.name, size, name, *found[name][size].values, flush=True)
    return found


def exponent(costs: Mapping[int, Cost], k: int) -> float | None:
    """Return how a measure grows with size, at the largest sizes."""
    if len(costs) < 2:
        return None
    sizes = sorted(costs)[-FITTED:]
    values = [costs[size].values[k] for size in sizes]
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def rows(family: Family, found: Mapping[str, Mapping[int, Cost]]) -> list[list[str]]:
    """Return a row for each size, and one of exponents."""
    each = [
        [
            f"{size:,} {family.what}",
            *(
                shown(costs[size].values[k]) if size in (costs := found[name]) else "-"
                for k, shown in enumerate((ms, ms, mb))
                for name in COLOURS
            ),
            mb(found["chainad"][size].first_memory) if size in found["chainad"] else "-",
        ]
        for size in family.sizes
    ]
    powers = [exponent(found[name], k) for k in range(3) for name in COLOURS]
    return [*each, ["exponent", *("-" if p is None else f"{p:.2f}" for p in powers), ""]]


HEAD = [
    "size", "first call (ms)", "JAX", "call (ms)", "JAX", "memory (MB)", "JAX",
    "memory of the first call (MB)",
]  # fmt: skip
TITLES = {
    "chain": "Chain: layers of 5 to 49 numbers, no two alike",
    "graph": "Graph: operations on numbers, 10 inputs, 5 outputs",
    "stencil": "Stencil: Burgers' equation, sparse, beside asdex",
    "loop": "Loop: Euler steps of ten states, beside `lax.scan`",
    "batch": "Batch: poses of a robot's arm, beside `vmap`",
}


def draw(found: Mapping[str, Any], path: Path) -> None:
    """Draw what each kind costs by size, on logarithmic scales, with its exponents."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.7 * len(found), 6.6), layout="constrained", dpi=150)
    panels = figure.subplots(len(MEASURES), len(found), squeeze=False, sharex="col", sharey="row")
    for column, (name, both) in zip(panels.T, found.items(), strict=True):
        column[0].set_title(name.capitalize(), fontsize=11, fontweight="bold")
        column[-1].set_xlabel(FAMILIES[name].what, fontsize=9)
        for k, axes in enumerate(column):
            for who, costs in both.items():
                if not costs:
                    continue
                power = exponent(costs, k)
                scaled = [cost.values[k] / (1e6 if k == 2 else 1) for cost in costs.values()]
                label = who if power is None else f"{who}: $n^{{{power:.1f}}}$"
                axes.plot([*costs], scaled, "o-", color=COLOURS[who], label=label, ms=4, lw=1.6)
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.grid(True, which="major", color="#e4e4e4", lw=0.7)
            axes.legend(fontsize=7.5, frameon=False, handlelength=1.2, loc="upper left")
            axes.margins(y=0.32)
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(labelsize=8)
    for axes, measure in zip(panels[:, 0], MEASURES, strict=True):
        axes.set_ylabel(f"{measure}, {'MB' if measure == 'memory' else 'seconds'}", fontsize=9)
    figure.suptitle("What one Jacobian costs by size, on one core: lower is better", fontsize=12)
    figure.supxlabel(
        "$n^{1.0}$ is in proportion to the size; where a line ends, the next first call would take"
        f" over {LIMIT:.0f} seconds",
        fontsize=8.5,
    )
    figure.savefig(path)


def run(names: Sequence[str] = (), check: bool = False, save: bool = False) -> str:
    """Measure, and return the page; write it and its picture if that is wanted."""
    libraries = load()[0]
    ours(loop(1))  # what is loaded when it is first needed is no size's
    found = {}
    for name in names or FAMILIES:
        family = FAMILIES[name]
        sizes = family.sizes[:1] if check else family.sizes
        found[name] = measured(family, sizes, libraries.get("jax"))
    parts = [heading("Scaling", [name for name in ("jax", "asdex") if "jax" in libraries]), INTRO]
    for name, both in found.items():
        parts += [f"## {TITLES[name]}", table(HEAD, rows(FAMILIES[name], both))]
    text = "\n\n".join(part.strip() for part in parts) + "\n"
    if save:
        RESULTS.write_text(text)
        draw(found, PICTURE)
    return text


INTRO = f"""\
![First calls, calls and memory by size](scaling.png)

The Jacobian of five kinds of function by size, on one core, beside JAX's quickest jitted way
(`jacfwd` or `jacrev`, `vmap`, `lax.scan`, asdex). A first call finds empty caches and contains
tracing and planning, or compilation. Memory is the peak of a later call, the result included:
`tracemalloc`'s for chainad, XLA's own account for JAX. Exponents
are slopes through the {FITTED} largest sizes on logarithmic scales: 1 is in proportion. Whose first
call would take over {LIMIT:.0f} s by growth so far is not measured ("-")."""


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and save if that is wanted."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(FAMILIES)} (default: all)")
    parser.add_argument("--check", action="store_true", help="the least sizes only")
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS} and {PICTURE}")
    options = parser.parse_args(arguments)
    print(run(options.names, options.check, options.save))
    return 0


if __name__ == "__main__":
    pin()
    sys.exit(main(sys.argv[1:]))
