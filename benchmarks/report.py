"""The report: dated tables in Markdown, times in milliseconds, memory in megabytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from benchmarks import goals
from benchmarks.goals import Figures
from benchmarks.machine import heading
from benchmarks.measure import MODES, Measurement
from benchmarks.table import mb, ms, table, times

Rows = list[list[str]]


def report(found: Sequence[Measurement], failed: Mapping[str, str]) -> str:
    """Return all tables, under a heading that says when and on what.

    `failed` are the libraries that could not be imported, with the reason.
    """
    raced = {name.split()[0] for m in found for name in m.rounds}
    libraries = [name for name in ("jax", "asdex", "torch", "autograd", "casadi") if name in raced]
    if any("asdex" in name for m in found for name in m.rounds):
        libraries.insert(1, "asdex")
    sections = {
        "Goals": (GOALS, [row for m in found for row in _goals(m)] + _goals_of_groups(found)),
        "Against the best of the rivals (ms)": (GAIN, [_gain(m) for m in found]),
        "Multiplications, and auto beside the fixed modes": (COUNTS, [_counts(m) for m in found]),
        "Where a traced call spends its time (ms)": (CACHED, [_cached(m) for m in found]),
        "The first call (ms)": (FIRST, [_first(m) for m in found]),
        "Memory of one call, traced and compiled (MB)": (MEMORY, [_memory(m) for m in found]),
        "Everybody's median (ms)": _everybody(found),
    }
    body = [f"## {title}\n\n{table(head, rows)}\n" for title, (head, rows) in sections.items()]
    return "\n".join(
        [heading("Benchmarks", libraries), EXPLAINED, *_left_out(found, failed), *body]
    )


EXPLAINED = """\
All float64, every Jacobian checked first, all runners in turn in one process, medians of processor
time (all threads and the system's part included; on an idle machine the time that passes). A ratio
is the median over the rounds that both ran, not the quotient of the two medians.
"traced" is `chainad.jacobian(f)(x)`, which traces f at every call; "compiled" traces no more.
"""


def progress(found: Measurement) -> str:
    """Return one line about a workload that is done."""
    seconds, rival = found.seconds, found.rival
    names = [
        "chainad",
        *(["compiled"] if "compiled" in seconds else []),
        *([rival] if rival else []),
    ]
    return "correct; " + ", ".join(f"{name} {ms(seconds[name])} ms" for name in names)


def summary(found: Sequence[Measurement]) -> str:
    """Return how many goals were met."""
    counts = Counter(verdict for m in found for _, verdict in m.verdicts)
    return ", ".join(f"{n} {verdict}" for verdict, n in sorted(counts.items()) if verdict != "-")


GOALS = ["workload", "what", "figure", "goal", *goals.WAYS, "verdict"]


def _goals_of_groups(found: Sequence[Measurement]) -> Rows:
    rows = []
    for group, wanted in goals.OF_GROUPS.items():
        members = [m for m in found if m.workload.group == group]
        if not members:
            continue
        mean = goals.geometric_mean([m.figures[goals.GAIN] for m in members])
        what = f"geometric mean of {len(members)}"
        for goal in wanted:
            verdict = goal.verdict({goals.GAIN: mean})
            rows.append([group, what, goal.figure, str(goal), *_ways(mean), verdict])
    return rows


def _goals(found: Measurement) -> Rows:
    rows = []
    for goal, verdict in found.verdicts:
        pair = found.figures.get(goal.figure, Figures(None))
        if goal in goals.COMMON and verdict in ("met", "-"):
            continue  # said in tables of their own; here only what is missed
        name, title = found.workload.name, found.workload.title
        rows.append([name, title, goal.figure, str(goal), *_ways(pair), verdict])
    return rows


GAIN = [
    "workload", "chainad", "compiled", "numba", "limit", "rival", "its time", "rival / chainad",
    "rival / compiled", "rival / numba", "rival / limit", "chainad / limit", "f",
    "J / f", "compiled J / f",
]  # fmt: skip


def _gain(found: Measurement) -> list[str]:
    seconds, figures = found.seconds, found.figures
    gain, over_f = figures[goals.GAIN], figures[goals.OVER_F]
    return [
        found.workload.name,
        *(ms(seconds.get(name)) for name in ("chainad", "compiled", "numba", "limit")),
        found.rival or "-",
        ms(seconds.get(found.rival or "")),
        times(gain.traced),
        times(gain.compiled),
        times(gain.numba),
        times(found.ratio(found.rival, "limit")),
        times(figures[goals.OVER_LIMIT].traced),
        ms(seconds.get("f")),
        times(over_f.traced),
        times(over_f.compiled),
    ]


COUNTS = [
    "workload", "forward", "reverse", "auto", "least of both / auto", "forward ms", "reverse ms",
    "auto ms", "auto / better mode (goal 1.05x)",
]  # fmt: skip


def _counts(found: Measurement) -> list[str]:
    counts, seconds = found.counts, found.seconds
    # Where products of patterns take long, a mode that is dearer is not costed to its end.
    least = min(counts[mode] for mode in MODES if mode in counts)
    return [
        found.workload.name,
        *(f"{counts[name]:,}" if name in counts else "dearer" for name in (*MODES, "auto")),
        times(least / max(counts["auto"], 1)),
        *(ms(seconds.get(name)) for name in (*MODES, "chainad")),
        times(found.figures[goals.OVER_MODE].traced),
    ]


CACHED = ["workload", "trace", "key", "evaluate", "execute", "sum", "whole call", "compiled call"]


def _cached(found: Measurement) -> list[str]:
    c, seconds = found.cached, found.seconds
    stages = (c.trace, c.key, c.evaluate, c.execute, c.total)
    whole = (seconds["chainad"], seconds.get("compiled"))
    return [found.workload.name, *map(ms, (*stages, *whole))]


FIRST = [
    "workload", "trace", "linearize", "plan", "lower", "before it runs", "whole call",
    "rivals, the quicker", "rival / chainad (goal 20x)",
]  # fmt: skip


def _first(found: Measurement) -> list[str]:
    first, calls = found.first, found.first_calls
    rivals = [calls[name] for name in found.workload.rivals if name in calls]
    stages = (first.trace, first.linearize, first.plan, first.lower, first.total)
    return [
        found.workload.name,
        *map(ms, (*stages, calls["chainad"], min(rivals, default=None))),
        times(found.figures[goals.FIRST_GAIN].traced),
    ]


MEMORY = [
    "workload", "result", "peak", "compiled", "limit's peak", "peak / result", "peak / limit's",
    "compiled / limit's",
]  # fmt: skip


def _memory(found: Measurement) -> list[str]:
    memory = found.memory
    return [
        found.workload.name,
        *map(mb, (memory.result, memory.peak, memory.compiled, memory.limit)),
        times(memory.peak / memory.result),
        times(memory.figures.traced),
        times(memory.figures.compiled),
    ]


OURS = ("chainad", "compiled", "numba", "forward", "reverse", "limit", "f")


def _everybody(found: Sequence[Measurement]) -> tuple[list[str], Rows]:
    present = dict.fromkeys(name for m in found for name in m.rounds)
    names = sorted(present, key=lambda name: OURS.index(name) if name in OURS else len(OURS))
    rows = [[m.workload.name, *(ms(m.seconds.get(name)) for name in names)] for m in found]
    return ["workload", *names], rows


def _left_out(found: Sequence[Measurement], failed: Mapping[str, str]) -> list[str]:
    lines = [f"- {name}: {reason}" for name, reason in failed.items()]
    lines += [
        f"- {name} on {m.workload.name}: {reason}"
        for m in found
        for name, reason in m.failed.items()
    ]
    return ["Left out:", "", *lines, ""] if lines else []


def _ways(figures: Figures) -> list[str]:
    return [_number(figures.known.get(way)) for way in goals.WAYS]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
