"""Six problems beside finite differences, autograd, JAX and an expert's JAX: the README's table.

`python -m benchmarks.comparison [--quick] [--save] [name ...]`. All runners take turns on one core.
Of several ways that a library has, the quickest counts: forward and reverse mode of JAX; whatever
an expert may take of these, of a split by hand, of `vmap` and of asdex; compiled calls of ours, by
NumPy or numba.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from scipy.optimize._numdiff import approx_derivative  # what solvers of SciPy call

from benchmarks.check import agree_as_matrices
from benchmarks.machine import heading
from benchmarks.measure import checked
from benchmarks.peers import PEERS, library_of, load
from benchmarks.pin import pin
from benchmarks.table import table
from benchmarks.timing import Rounds, Runner, race, ratio
from benchmarks.workload import Library, Workload
from benchmarks.workloads import WORKLOADS
from chainad.planning.views.quantities import seconds_text

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "comparison.md"
PICTURE = HERE.parent / "docs" / "pictures" / "comparison.png"
ROUNDS = 5
OURS = ("compiled", "numba")
MOST_NUMBERS = 10**8  # of a Jacobian that may be kept dense

Found = tuple[float, float] | None  # seconds of a call, and how many times ours that is

PROBLEMS = {
    "W1a": "autoencoder, 1000 > 300 > 20 > 300 > 1000",
    "W6b": "linear solve behind 5 numbers, 500 > 1000",
    "W7b": "losses of 512 samples, by 640 weights",
    "W3-burgers-1e5": "Burgers' equation, 100,000 unknowns, sparse",
    "W6d": "100 Runge-Kutta steps, by 30 parameters",
    "W4-gmm-20": "Gaussian mixture, gradient by 5,775 parameters",
}
COLOURS = {
    "finite differences": "#bdbdbd",
    "autograd": "#7f7f7f",
    "JAX": "#E69F00",
    "expert's JAX": "#D55E00",
    "chainad": "#0072B2",
}


def columns_of(workload: Workload) -> dict[str, list[str]]:
    """Return the runners that each column chooses from."""
    theirs = [n for n in (*workload.rivals, *workload.others) if library_of(n) == "jax"]
    is_dense = np.size(workload.function(workload.point)) * workload.point.size < MOST_NUMBERS
    autograd = "autograd grad" if "jax grad" in theirs else "autograd"
    return {
        "finite differences": ["differences"],
        "autograd": [autograd] if is_dense else [],
        "JAX": [name for name in ("jax jacfwd", "jax jacrev", "jax grad") if name in theirs],
        "expert's JAX": theirs,
        "chainad": list(OURS),
    }


def runners_of(workload: Workload, libraries: Mapping[str, Library]) -> dict[str, Runner]:
    """Return everyone who takes part, after a check that all agree.

    Raises
    ------
    MismatchError
        If two Jacobians differ.
    """
    own, wanted = checked(workload)
    found = {name: own[name] for name in OURS if name in own}
    found["differences"] = partial(_differences, workload, wanted)
    makers = {**PEERS, **workload.own}
    for name in dict.fromkeys(n for column in columns_of(workload).values() for n in column):
        if name in makers and library_of(name) in libraries:
            found[name] = makers[name](libraries[library_of(name)], workload)
            agree_as_matrices(workload, name, found[name](), wanted)
    return found


def _differences(workload: Workload, wanted: Any) -> Any:
    """Return forward differences as SciPy's solvers take them; sparse ones know the pattern."""
    f, x = workload.function, workload.point
    is_sparse = workload.output == "sparse"
    return approx_derivative(
        lambda v: np.ravel(f(v.reshape(x.shape))),
        x.ravel(),
        method="2-point",
        sparsity=wanted if is_sparse else None,
    )


def best(rounds: Mapping[str, Rounds], names: Sequence[str]) -> Rounds | None:
    """Return the times of the quickest of some runners."""
    present = [rounds[name] for name in names if name in rounds]
    return min(present, key=median, default=None)


def measured(
    workload: Workload, libraries: Mapping[str, Library], seconds: float
) -> dict[str, Found]:
    """Return, by column, the seconds of a call, and how many times ours that is."""
    rounds = race(runners_of(workload, libraries), seconds, ROUNDS)
    columns = {name: best(rounds, runners) for name, runners in columns_of(workload).items()}
    ours = columns["chainad"]
    assert ours is not None
    return {
        name: None if found is None else (median(found), ratio(found, ours))
        for name, found in columns.items()
    }


def cell(found: Found) -> str:
    """Return a time, and how many times ours it is."""
    return (
        "-"
        if found is None
        else f"{seconds_text(found[0])} ({_short(found[1])}x)".replace(" (1x)", "")
    )


def _short(ratio: float) -> str:
    return f"{ratio:.2g}" if ratio < 99.5 else f"{ratio:,.0f}"


def draw(found: Mapping[str, Mapping[str, Found]], path: Path) -> None:
    """Draw the times of each problem as bars, on one logarithmic scale for all."""
    from matplotlib.figure import Figure

    times = [value[0] for columns in found.values() for value in columns.values() if value]
    least, most = 0.4 * min(times), 6 * max(times)
    rows = -(-len(found) // 2)
    figure = Figure(figsize=(10, 1.55 * rows + 0.4), layout="constrained", dpi=150)
    panels = figure.subplots(rows, 2, squeeze=False, sharex=True).ravel()
    for axes, (title, columns) in zip(panels, found.items(), strict=False):
        for k, (name, colour) in enumerate(COLOURS.items()):
            value = columns[name]
            text = "too large" if value is None else seconds_text(value[0])
            seconds = least if value is None else value[0]
            axes.barh(k, seconds - least, left=least, color=colour, height=0.78)
            axes.text(seconds * 1.12, k, text, va="center", fontsize=8)
        axes.set_title(title, fontsize=9, loc="left", fontweight="bold")
        axes.set_yticks(range(len(COLOURS)), COLOURS, fontsize=8)
        axes.get_yticklabels()[-1].set_fontweight("bold")
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.set_xlim(least, most)
        axes.set_xticks([])
        axes.minorticks_off()
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        axes.tick_params(length=0)
    figure.supxlabel("time of one Jacobian on one core, logarithmic scale", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main(arguments: Sequence[str]) -> int:
    """Check, time, print; write the table and the bars if that is wanted."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.comparison", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(PROBLEMS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="check on small sizes, time nothing")
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS} and {PICTURE}")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each runner")
    options = parser.parse_args(arguments)
    libraries, _ = load()
    libraries = {name: libraries[name] for name in ("jax", "autograd") if name in libraries}
    found = {}
    for name in options.names or PROBLEMS:
        workload = WORKLOADS[name](options.quick)
        if options.quick:
            print(f"{name}: correct: {', '.join(runners_of(workload, libraries))}", flush=True)
            continue
        found[name] = measured(workload, libraries, options.seconds)
        print(name, {column: cell(value) for column, value in found[name].items()}, flush=True)
    if not found:
        return 0
    rows = [[PROBLEMS[name], *map(cell, columns.values())] for name, columns in found.items()]
    text = heading("Comparison", libraries) + "\n" + table(["", *COLOURS], rows)
    print(text)
    if options.save:
        RESULTS.write_text(text + "\n")
        draw({PROBLEMS[name]: columns for name, columns in found.items()}, PICTURE)
    return 0


if __name__ == "__main__":
    if "--quick" not in sys.argv:
        pin()
    sys.exit(main(sys.argv[1:]))
