"""Some problems beside finite differences, autograd, JAX and an expert: the README's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks.machine import heading
from benchmarks.measure import Measurement
from benchmarks.peers import library_of
from benchmarks.table import table
from benchmarks.timing import ratio
from chainad.planning.views.quantities import seconds_text

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "comparison.png"

Found = tuple[float, float] | None  # seconds of a call, and how many times ours that is

PROBLEMS = {
    "W1a": "autoencoder, 1000 > 300 > 20 > 300 > 1000",
    "W6b": "linear solve behind 5 numbers, 500 > 1000",
    "W7b": "losses of 512 samples, by 640 weights",
    "W3-burgers-1e5": "Burgers' equation, 100,000 unknowns, sparse",
    "W6d": "100 Runge-Kutta steps, by 30 parameters",
    "W10-kalman": "Kalman filter, 60 steps, by 6 parameters",
    "W9-gp-200": "Gaussian process, 200 points, by 5 parameters",
    "W4-gmm-20": "Gaussian mixture, gradient by 5,775 parameters",
    "W11": "spectral Burgers' equation, 256 unknowns",
    "E-image": "blur of an image, gradient by 16,384 pixels",
}
MODES = ("jax jacfwd", "jax jacrev", "jax grad")
COLUMNS = {
    "finite differences": lambda name: name == "numpy differences",
    "autograd": lambda name: library_of(name) == "autograd",
    "JAX": lambda name: name in MODES,
    "expert's JAX": lambda name: library_of(name) == "jax",
    "NumPy by hand": lambda name: name == "limit",
    "chainad": lambda name: name in ("compiled", "numba"),
}
COLOURS = dict(
    zip(COLUMNS, ("#bdbdbd", "#7f7f7f", "#E69F00", "#D55E00", "#009E73", "#0072B2"), strict=True)
)


def peers_of(measured: str, rivals: Sequence[str], is_dense: bool) -> tuple[str, ...]:
    """Return who takes part in a problem of the table besides its rivals."""
    if measured not in PROBLEMS:
        return ()
    autograd = "autograd grad" if "jax grad" in rivals else "autograd"
    return ("numpy differences", *([autograd] if is_dense else []))


def columns(found: Measurement) -> dict[str, Found]:
    """Return, by column, the seconds of a call, and how many times ours that is.

    Of several ways that a library has, the quickest counts.
    """
    ours = found.rounds[found.ours]
    best = {
        title: min(
            (r for name, r in found.rounds.items() if belongs(name)), key=median, default=None
        )
        for title, belongs in COLUMNS.items()
    }
    return {
        title: None if rounds is None else (median(rounds), ratio(rounds, ours))
        for title, rounds in best.items()
    }


def cell(found: Found) -> str:
    """Return a time, and how many times ours it is."""
    if found is None:
        return "-"
    return f"{seconds_text(found[0])} ({_short(found[1])}x)".replace(" (1x)", "")


def _short(ratio: float) -> str:
    return f"{ratio:.2g}" if ratio < 99.5 else f"{ratio:,.0f}"


def page(found: Sequence[Measurement]) -> str:
    """Return the table under its heading."""
    rows = [[PROBLEMS[m.workload.name], *map(cell, columns(m).values())] for m in found]
    return heading("Comparison", ["jax", "autograd"]) + "\n" + table(["", *COLUMNS], rows)


def draw(found: Sequence[Measurement], path: Path = PICTURE) -> None:
    """Draw the times of each problem as bars, on one logarithmic scale for all."""
    from matplotlib.figure import Figure

    shown: Mapping[str, Mapping[str, Found]] = {
        PROBLEMS[m.workload.name]: columns(m) for m in found
    }
    times = [value[0] for each in shown.values() for value in each.values() if value]
    least, most = 0.4 * min(times), 6 * max(times)
    rows = -(-len(shown) // 2)
    figure = Figure(figsize=(10, 1.55 * rows + 0.4), layout="constrained", dpi=150)
    panels = figure.subplots(rows, 2, squeeze=False, sharex=True).ravel()
    for axes, (title, each) in zip(panels, shown.items(), strict=False):
        for k, (name, colour) in enumerate(COLOURS.items()):
            value = each[name]
            text = "-" if value is None else seconds_text(value[0])
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
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    figure.supxlabel("time of one Jacobian on one core, logarithmic scale", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
