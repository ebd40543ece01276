"""The report: dated tables in Markdown, times in milliseconds, memory in megabytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from benchmarks import goals
from benchmarks.goals import Figures, geometric_mean
from benchmarks.machine import heading
from benchmarks.measure import OURS, Measurement
from benchmarks.table import mb, ms, table, times

Rows = list[list[str]]


def report(found: Sequence[Measurement], failed: Mapping[str, str]) -> str:
    """Return all tables, under a heading that says when and on what.

    `failed` are the libraries that could not be imported, with the reason.
    """
    raced = {name.split()[0] for m in found for name in m.rounds}
    libraries = [name for name in ("jax", "torch", "autograd", "casadi", "numba") if name in raced]
    if any("asdex" in name for m in found for name in m.rounds):
        libraries.append("asdex")
    sections = {
        "Geometric means": (MEANS, _means(found)),
        "Against JAX, an expert and the limit (ms)": (TIMES, [_times(m) for m in found]),
        "First calls (ms)": (FIRST, [_first(m) for m in found]),
        "Memory (MB)": (MEMORY, [_memory(m) for m in found]),
        "Goals": (GOALS, [row for m in found for row in _goals(m)] + _goals_of_groups(found)),
        "Everybody's median (ms)": _everybody(found),
    }
    body = [
        f"## {title}\n\n{EXPLAINED[title]}\n\n{table(head, rows)}\n"
        for title, (head, rows) in sections.items()
    ]
    return "\n".join([heading("Benchmarks", libraries), COMMON, *_left_out(found, failed), *body])


COMMON = """\
All float64, every Jacobian checked first, all runners in turn in one process, another point at each
call, medians of the time that passes on one core of a quiet machine, and ratios of these. "traced"
is `chainad.jacobian(f)(x)`, which traces f at every call; "compiled" traces no more and runs by
NumPy, "numba" by numba; "ours" is the quicker of these two.
"""
EXPLAINED = {
    "Geometric means": "Above 1, chainad is quicker. E is everyday work that chainad was not tuned"
    " for; W1 to W13 are what it is measured on.",
    "Against JAX, an expert and the limit (ms)": '"JAX" is the quickest of the jitted ways that'
    " need no thought: `jacfwd`, `jacrev` or `grad`, under `vmap` for batches, asdex for sparse"
    ' results. "expert" is the quickest of these and of what someone who knows derives or splits by'
    ' hand in JAX. The "limit" is the best Jacobian written by hand in NumPy.',
    "First calls (ms)": "All caches are empty. The first five columns are the stages of a traced"
    " call; then come whole first calls, compilation included. JAX's is the quickest of its ways.",
    "Memory (MB)": "Peaks of single calls, the result included: of ours and the limit as"
    " `tracemalloc` sees them, of JAX by XLA's own account.",
    "Goals": "Goals that all workloads have are listed where they are missed.",
    "Everybody's median (ms)": "",
}


def progress(found: Measurement) -> str:
    """Return one line about a workload that is done."""
    shown = (*OURS, "f", found.rival, found.expert, "limit")
    seconds = found.seconds
    text = ", ".join(f"{n} {ms(seconds[n])}" for n in dict.fromkeys(shown) if n in seconds)
    return "; ".join([f"{text} ms", *(f"{name}: {why}" for name, why in found.failed.items())])


def summary(found: Sequence[Measurement]) -> str:
    """Return how many goals were met."""
    counts = Counter(verdict for m in found for _, verdict in m.verdicts)
    return ", ".join(f"{n} {verdict}" for verdict, n in sorted(counts.items()) if verdict != "-")


MEANS = [
    "workloads", "", "JAX / traced", "JAX / compiled", "JAX / ours", "expert / compiled",
    "expert / ours", "ours / limit", "first call: JAX / ours",
]  # fmt: skip


def _means(found: Sequence[Measurement]) -> Rows:
    groups: dict[str, list[Measurement]] = {"all": list(found)}
    for m in found:
        name = m.workload.name
        groups.setdefault(name.split("-")[0].rstrip("abcdefs"), []).append(m)
    return [
        [
            name,
            str(len(members)),
            *(
                times(geometric_mean([m.ratio(*pair(m)) for m in members]))
                for pair in (
                    lambda m: (m.rival, "traced"),
                    lambda m: (m.rival, "compiled" if "compiled" in m.rounds else "traced"),
                    lambda m: (m.rival, m.ours),
                    lambda m: (m.expert, "compiled" if "compiled" in m.rounds else "traced"),
                    lambda m: (m.expert, m.ours),
                    lambda m: (m.ours, "limit"),
                )
            ),
            times(geometric_mean([m.figures[goals.FIRST_GAIN].traced for m in members])),
        ]
        for name, members in groups.items()
    ]


GOALS = ["workload", "what", "figure", "goal", *goals.WAYS, "verdict"]


def _goals_of_groups(found: Sequence[Measurement]) -> Rows:
    rows = []
    for group, wanted in goals.OF_GROUPS.items():
        members = [m for m in found if m.workload.group == group]
        if not members:
            continue
        each = [m.figures[goals.GAIN] for m in members]
        mean = Figures(*(geometric_mean([getattr(f, way) for f in each]) for way in goals.WAYS))
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


TIMES = [
    "workload", "what", "f", *OURS, "JAX", "expert", "limit", "JAX / ours", "expert / ours",
    "ours / limit", "ours / f",
]  # fmt: skip


def _times(found: Measurement) -> list[str]:
    return [
        found.workload.name,
        found.workload.title,
        *(ms(found.seconds.get(n)) for n in ("f", *OURS, found.rival, found.expert, "limit")),
        times(found.ratio(found.rival, found.ours)),
        times(found.ratio(found.expert, found.ours)),
        times(found.ratio(found.ours, "limit")),
        times(found.ratio(found.ours, "f")),
    ]


FIRST = [
    "workload", "trace", "linearize", "plan", "lower", "all / trace", *OURS, "numba from disk",
    "JAX", "JAX / traced", "JAX / numba",
]  # fmt: skip


def _first(found: Measurement) -> list[str]:
    stages, calls = found.stages, found.first_calls
    theirs = found.jax_first_call()
    return [
        found.workload.name,
        *map(ms, (stages.trace, stages.linearize, stages.plan, stages.lower)),
        times(found.figures[goals.OVER_TRACE].traced),
        *(ms(calls.get(name)) for name in (*OURS, "numba from disk")),
        ms(theirs),
        times(found.figures[goals.FIRST_GAIN].traced),
        times(theirs / calls["numba"] if theirs and "numba" in calls else None),
    ]


MEMORY = [
    "workload", "result", "first call", "traced", "compiled", "JAX", "limit", "JAX / compiled",
    "compiled / limit",
]  # fmt: skip


def _memory(found: Measurement) -> list[str]:
    memory, compiled = found.memory, found.memory.compiled
    return [
        found.workload.name,
        *map(mb, (memory.result, memory.first, memory.traced, compiled, memory.jax, memory.limit)),
        times(memory.jax / compiled if memory.jax and compiled else None),
        times(memory.figures.compiled),
    ]


def _everybody(found: Sequence[Measurement]) -> tuple[list[str], Rows]:
    first = (*OURS, "f", "limit")
    present = dict.fromkeys(name for m in found for name in m.rounds)
    names = sorted(present, key=lambda name: first.index(name) if name in first else len(first))
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
