"""The report: dated tables in Markdown, times in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.machine import heading
from benchmarks.measure import Measurement
from benchmarks.peers import PEERS, Library

Rows = list[list[str]]


def report(
    found: Sequence[Measurement], libraries: Mapping[str, Library], is_quick: bool = False
) -> str:
    """Return all tables, under a heading that says when and on what."""
    quick = ["Quick run: the Jacobians are checked, the times say little.", ""] if is_quick else []
    sections = [
        _section("Against the best of the rivals (ms)", GAIN, map(_gain, found), found),
        _section("Multiplications", COUNTS, map(_counts, found), found),
        _section("One cached call of chainad (ms)", CACHED, map(_cached, found), found),
        _section("The first call (ms)", FIRST, map(_first, found), found),
        _section("Everybody's median (ms)", *_everybody(found), found),
    ]
    return "\n".join(
        [
            heading("Benchmarks", libraries),
            "All float64, in turn in one process, medians. A ratio is the median over rounds",
            "that both ran: on a busy machine not the quotient of the two medians.",
            "",
            *quick,
            *sections,
        ]
    )


def progress(found: Measurement) -> str:
    """Return one line about a workload that is done."""
    seconds = found.seconds
    rival = f", {found.rival} {_ms(seconds[found.rival])} ms" if found.rival else ""
    return f"correct; chainad {_ms(seconds['chainad'])} ms{rival}"


GAIN = [
    "workload", "chainad", "limit", "rival", "its time", "rival / chainad", "goal", "",
    "rival / limit", "chainad / limit",
]  # fmt: skip


def _gain(found: Measurement) -> list[str]:
    seconds = found.seconds
    gain, goal = found.gain, found.workload.goal
    verdict = "" if gain is None or goal is None else "passed" if gain >= goal else "missed"
    return [
        _ms(seconds["chainad"]),
        _ms(seconds.get("limit")),
        found.rival or "-",
        _ms(seconds.get(found.rival or "")),
        _times(gain),
        _times(goal),
        verdict,
        _times(found.possible_gain),
        _times(found.distance),
    ]


COUNTS = ["workload", "what", "forward", "reverse", "auto", "least of both / auto"]


def _counts(found: Measurement) -> list[str]:
    counts = found.multiplications
    least = min(counts["forward"], counts["reverse"])
    return [
        found.workload.title,
        *(f"{counts[name]:,}" for name in ("forward", "reverse", "auto")),
        _times(least / max(counts["auto"], 1)),
    ]


CACHED = ["workload", "trace", "look up", "evaluate", "execute", "total"]


def _cached(found: Measurement) -> list[str]:
    c = found.cached
    return [*map(_ms, (c.trace, c.look_up, c.evaluate, c.execute, c.total))]


FIRST = [
    "workload", "trace", "linearize", "plan", "lower", "before it runs", "whole call",
    "jax jacfwd", "jax jacrev", "best jax / chainad (goal 20x)",
]  # fmt: skip


def _first(found: Measurement) -> list[str]:
    first, calls = found.first, found.first_calls
    return [
        *map(_ms, (first.trace, first.linearize, first.plan, first.lower, first.total)),
        *(_ms(calls.get(name)) for name in ("chainad", "jax jacfwd", "jax jacrev")),
        _times(found.first_gain),
    ]


def _everybody(found: Sequence[Measurement]) -> tuple[list[str], Rows]:
    everybody = ["chainad", "limit", *(peer.name for peer in PEERS)]
    names = [name for name in everybody if any(name in m.rounds for m in found)]
    rows = [[_ms(m.seconds.get(name)) for name in names] for m in found]
    return ["workload", *names], rows


def _section(title: str, head: list[str], rows: object, found: Sequence[Measurement]) -> str:
    body = [[m.workload.name, *row] for m, row in zip(found, list(rows), strict=True)]
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    rule = ["-" * width for width in widths]
    lines = [
        "| " + " | ".join(cell.ljust(n) for cell, n in zip(row, widths, strict=True)) + " |"
        for row in (head, rule, *body)
    ]
    return "\n".join([f"## {title}", "", *lines, ""])


def _ms(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1e3:.3g}" if seconds < 1 else f"{seconds * 1e3:.0f}"


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.3g}x"
