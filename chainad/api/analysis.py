"""What analyzing a plan has found: estimates beside measurements, as data, text and a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import zip_longest
from math import ceil
from typing import Any, NamedTuple

from chainad.planning.chunked import ChunkedPlan
from chainad.planning.plan import Plan
from chainad.planning.steps import Direction, Step
from chainad.planning.views.directions import DIRECTION_COLORS, DIRECTION_WORDS
from chainad.planning.views.overview import headline, place, step_groups
from chainad.planning.views.quantities import seconds_text
from chainad.planning.views.terminal import cut, fitting_width, wrapped

DEFAULT_ROWS = 8

_BAR_LENGTH = 24
_FIRST_COLUMN = 24
# What takes a smaller part of the time of all steps is not shown.
_LEAST_SHARE = 0.001
# An estimate that is wrong by more than this is worth a word.
_TOLERANCE = 2.0
# A smaller ratio may be chance.
_NOISE = 1.1


class Phase(NamedTuple):
    """A part of a call, and how long it takes, in seconds."""

    name: str
    seconds: float


class MeasuredStep(NamedTuple):
    """A step of a plan (of a block of the Jacobian, where that is accumulated in blocks).

    Attributes
    ----------
    plan, step
        The plan, and its step.
    estimate, seconds : float
        How long it takes by the model of time, and as measured alone; 0 where nothing is computed.
    """

    plan: Plan
    step: Step
    estimate: float
    seconds: float

    @property
    def is_sum(self) -> bool:
        """Whether it adds two Jacobians."""
        return self.step.direction == "sum"


class MeasuredMode(NamedTuple):
    """An order of the same products and sums, run as one program.

    Attributes
    ----------
    name : str
    multiplications : int
    estimate, seconds : float
        How long it takes by the model of time, and as measured.
    is_expected : bool
        Whether it would have taken too long, or too much memory, to be measured: `seconds` are then
        multiplied up from this plan by the estimates.
    """

    name: str
    multiplications: int
    estimate: float
    seconds: float
    is_expected: bool


class _Row(NamedTuple):
    """Steps that do the same on one line, measured."""

    direction: Direction
    times: int
    factors: str
    line: str
    text: str
    multiplications: int
    estimate: float
    seconds: float


@dataclass(frozen=True, repr=False)
class Analysis:
    """How long a Jacobian takes, and where; made by `J.explain(..., analyze=True)`; print it.

    All times are in seconds, the least of several runs.

    Attributes
    ----------
    plan : Plan or ChunkedPlan
        What was run.
    rows : tuple of MeasuredStep
        Every step, in order.
    modes : tuple of MeasuredMode
        This plan, then the pure modes, as one program each.
    phases : tuple of Phase
        The parts of a call that is traced; products, sums and the result are measured one by one.
    preparation : tuple of Phase
        What a first call does besides.
    f, traced, compiled : float
        A call of the function; of its Jacobian, traced; and of that, compiled.
    form : str
        What the compiled function is made of.
    program : float
        All products, sums and the result as one program, without tracing and local Jacobians.
    source : str
        Where the costs are from that times are estimated by.
    """

    plan: Plan | ChunkedPlan
    rows: tuple[MeasuredStep, ...]
    modes: tuple[MeasuredMode, ...]
    phases: tuple[Phase, ...]
    preparation: tuple[Phase, ...]
    f: float
    traced: float
    compiled: float
    form: str
    program: float
    source: str

    def __repr__(self) -> str:
        return (
            f"<Analysis {self.plan.title}: f {seconds_text(self.f)}, traced"
            f" {seconds_text(self.traced)}, compiled {seconds_text(self.compiled)}>"
        )

    def __str__(self) -> str:
        return self.explain()

    @property
    def seconds(self) -> float:
        """The time of all steps, run one by one."""
        return sum(row.seconds for row in self.rows)

    @property
    def estimate(self) -> float:
        """The time of all steps by the model of time."""
        return sum(row.estimate for row in self.rows)

    def explain(self, rows: int = DEFAULT_ROWS, width: int | None = None) -> str:
        """Return what was found, on one screen: what `print` shows.

        Parameters
        ----------
        rows : int
            How many steps are shown, the slowest; equal ones of one line are together.
        width : int, optional
            Characters per line; by default those of the terminal, and at most 100.
        """
        width = fitting_width(width)
        parts = ["\n".join(line for text in sentences(self) for line in wrapped(text, width))]
        parts += [_text(table, width) for table in tables(self, rows)]
        return "\n\n".join(parts)

    def to_html(self, rows: int = DEFAULT_ROWS) -> str:
        """Return what was found as a page that needs nothing else: no script, no other file.

        Parameters
        ----------
        rows : int
            As for `explain`.
        """
        return page(self, rows)

    def _repr_html_(self) -> str:
        return self.to_html()

    def to_json(self) -> str:
        """Return what was found as JSON, a row for every step; times are in seconds.

        The plan itself is in `self.plan.to_json()`.
        """
        steps = [
            {
                "direction": row.step.direction,
                "line": place(row.plan, row.step.via)[0] if row.step.via is not None else "",
                "multiplications": row.step.multiplications,
                "estimate": row.estimate,
                "seconds": row.seconds,
            }
            for row in self.rows
        ]
        found: dict[str, Any] = {
            "title": self.plan.title,
            "multiplications": self.plan.multiplications,
            "f": self.f,
            "traced": self.traced,
            "compiled": self.compiled,
            "form": self.form,
            "program": self.program,
            "estimated by": self.source,
            "preparation": dict(self.preparation),
            "phases": dict(self.phases),
            "modes": [mode._asdict() for mode in self.modes],
            "steps": steps,
        }
        return json.dumps(found, indent=1)


# ------------------------------------------------------------------------ in words


def sentences(of: Analysis) -> list[str]:
    """Return what was found in words, a sentence each."""
    return [text for text in (_title(of), _calls(of), _saving(of), _estimates(of)) if text]


def _title(of: Analysis) -> str:
    if isinstance(of.plan, Plan):
        return "    ".join(headline(of.plan))
    blocks = f"in {len(of.plan.chunks)} blocks of {of.plan.side}"
    return f"{of.plan.title}: {blocks}, {of.plan.multiplications:,} multiplications"


def _calls(of: Analysis) -> str:
    """Say how long a call takes, and where most of the time goes."""
    most = max(of.phases, key=lambda phase: phase.seconds)
    share = most.seconds / sum(phase.seconds for phase in of.phases)
    return (
        f"A call takes {seconds_text(of.traced)} traced, and {seconds_text(of.compiled)} compiled"
        f" to {of.form}; f alone takes {seconds_text(of.f)}. {100 * share:.0f} % of the traced call"
        f" is {most.name}."
    )


def _saving(of: Analysis) -> str:
    """Say how this plan and the best pure mode compare, measured and counted."""
    if len(of.modes) < 2:
        return ""
    own, *others = of.modes
    best = min(others, key=lambda mode: mode.seconds)
    expected = " (expected)" if best.is_expected else ""
    both = (
        f"this plan takes {seconds_text(own.seconds)}, {best.name} {seconds_text(best.seconds)}"
        f"{expected}"
    )
    if best.seconds * _NOISE < own.seconds:
        return f"For products and sums {both}, which is quicker here: cost='time' plans for time."
    counts = own.multiplications, best.multiplications
    counted = f"; by multiplications {counts[1] / counts[0]:,.1f} times" if all(counts) else ""
    return f"For products and sums {both}: {best.seconds / own.seconds:,.1f} times{counted}."


def _estimates(of: Analysis) -> str:
    """Say what the steps take together, and how far off the estimates are."""
    if not of.rows:
        return ""
    ratio = max(of.estimate, 1e-12) / max(of.seconds, 1e-12)
    is_off = not 1 / _TOLERANCE < ratio < _TOLERANCE
    advice = "; chainad.calibrate() measures its costs here" if is_off else ""
    return (
        f"One by one, the steps take {seconds_text(of.seconds)}; as one program"
        f" {seconds_text(of.program)}, with the copy to the result. The model of time estimates"
        f" {seconds_text(of.estimate)} ({of.source}){advice}."
    )


# ----------------------------------------------------------------------- in tables


class Table(NamedTuple):
    """What is shown in rows: headings with `<` or `>` for each, cells, and bars if there are any.

    Bars are fractions of the longest one, and have a color.
    """

    headings: tuple[str, ...]
    align: str
    cells: Sequence[tuple[str, ...]]
    bars: Sequence[tuple[float, str]] = ()


def tables(of: Analysis, rows: int) -> list[Table]:
    """Return what was found in figures."""
    found = [_phases(of), _modes(of), _steps(of, rows), _preparation(of)]
    return [table for table in found if table.cells]


def _phases(of: Analysis) -> Table:
    total = sum(phase.seconds for phase in of.phases)
    cells = [
        (name, seconds_text(seconds), f"{100 * seconds / total:.1f} %")
        for name, seconds in of.phases
    ]
    top = max(phase.seconds for phase in of.phases)
    headings = ("a call, traced", "measured", "")
    bars = [(phase.seconds / top, DIRECTION_COLORS["leaf"]) for phase in of.phases]
    return Table(headings, "<>>", cells, bars)


def _modes(of: Analysis) -> Table:
    cells = [
        (
            mode.name,
            f"{mode.multiplications:,}",
            seconds_text(mode.estimate),
            "~" * mode.is_expected + seconds_text(mode.seconds),
        )
        for mode in of.modes
    ]
    top = max((mode.seconds for mode in of.modes), default=1.0)
    headings = ("products and sums", "multiplications", "estimated", "measured")
    pure = {"forward": DIRECTION_COLORS["forward"], "reverse": DIRECTION_COLORS["reverse"]}
    colors = [pure.get(mode.name.split()[0], DIRECTION_COLORS["join"]) for mode in of.modes]
    lengths = [mode.seconds / top for mode in of.modes]
    return Table(headings, "<>>>", cells, [*zip(lengths, colors, strict=True)])


def _steps(of: Analysis, rows: int) -> Table:
    least = max(_LEAST_SHARE * of.seconds, 1e-12)
    groups = [row for row in _grouped(of) if row.seconds >= least][:rows]
    cells = [
        (
            f"{100 * row.seconds / of.seconds:.1f} %",
            seconds_text(row.seconds),
            seconds_text(row.estimate),
            f"{row.multiplications:,}",
            (f"{row.times:,} x " if row.times > 1 else "") + DIRECTION_WORDS[row.direction],
            row.line,
            row.factors,
            row.text,
        )
        for row in groups
    ]
    headings = (f"{len(of.rows):,} steps", "measured", "estimated", "mults", "", "", "", "")
    bars = [(row.seconds / groups[0].seconds, DIRECTION_COLORS[row.direction]) for row in groups]
    return Table(headings, ">>>><<<<", cells, bars)


def _grouped(of: Analysis) -> list[_Row]:
    """Return equal steps of one line together, the slowest first."""
    plans: dict[int, Plan] = {id(row.plan): row.plan for row in of.rows}
    measured = {(id(row.plan), row.step.number): row for row in of.rows}
    found: dict[tuple[Direction, str, str, str], list[MeasuredStep]] = {}
    for key, plan in plans.items():
        for group in step_groups(plan):
            what = group.direction, group.factors, group.line, group.text
            same = found.setdefault(what, [])
            same += [measured[key, step.number] for step in group.steps]
    rows = [
        _Row(
            direction,
            len(steps),
            factors,
            line,
            text,
            sum(row.step.multiplications for row in steps),
            sum(row.estimate for row in steps),
            sum(row.seconds for row in steps),
        )
        for (direction, factors, line, text), steps in found.items()
    ]
    return sorted(rows, key=lambda row: -row.seconds)


def _preparation(of: Analysis) -> Table:
    cells = [(phase.name, seconds_text(phase.seconds)) for phase in of.preparation]
    return Table(("a first call, besides", "measured"), "<>", cells)


def _text(table: Table, width: int) -> str:
    """Return a table in lines of at most so many characters, with bars if there is room."""
    rows = [table.headings, *(("  " + row[0], *row[1:]) for row in table.cells)]
    sizes = [max(len(row[k]) for row in rows) for k in range(len(table.align))]
    align = "<" + table.align[1:]
    if table.align[0] == "<":
        sizes[0] = max(sizes[0], _FIRST_COLUMN)
    else:
        rows[1:] = [(f"{row[0]:>{sizes[0]}}", *row[1:]) for row in rows[1:]]
    lines = [
        "  ".join(f"{x:{a}{n}}" for x, a, n in zip(row, align, sizes, strict=True)) for row in rows
    ]
    if len(lines[0]) + 2 + _BAR_LENGTH <= width:
        bars = ["", *("█" * ceil(_BAR_LENGTH * length) for length, _ in table.bars)]
        lines = [f"{line}  {bar}" for line, bar in zip_longest(lines, bars, fillvalue="")]
    return "\n".join(cut(line.rstrip(), width) for line in lines)


# ------------------------------------------------------------------------- as a page


def page(of: Analysis, rows: int) -> str:
    """Return what was found as HTML."""
    title, *texts = map(escape, sentences(of))
    parts = [f"<h1>{title}</h1>", *(f"<p>{text}</p>" for text in texts)]
    parts += [_html(table) for table in tables(of, rows)]
    return f'<div class="chainad-analysis"><style>{_STYLE}</style>{"".join(parts)}</div>'


def _html(table: Table) -> str:
    """Return a table; what is said of a row after its figures is one cell, that may be broken."""
    figures = 1 + table.align.count(">", 1)
    rows = []
    for k, row in enumerate([table.headings, *table.cells]):
        cells = [f'<td class="figure">{escape(text)}</td>' for text in row[:figures]]
        if table.align[0] == "<":
            cells[0] = f"<td>{escape(row[0])}</td>"
        if table.bars:
            length, color = table.bars[k - 1] if k else (0.0, "")
            bar = f'<i style="width:{100 * length:.1f}%;background:{color}"></i>'
            cells.append(f'<td class="bar">{bar}</td>')
        if row[figures:]:
            spans = "\n".join(f"<span>{escape(text)}</span>" for text in row[figures:] if text)
            cells.append(f'<td class="what">{spans}</td>')
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table>{''.join(rows)}</table>"


_STYLE = (
    ".chainad-analysis{font:14px/1.5 system-ui,sans-serif;max-width:1000px;overflow-x:auto}"
    ".chainad-analysis h1{font-size:16px}.chainad-analysis p{margin:.4em 0}"
    ".chainad-analysis table{border-collapse:collapse;margin:1.2em 0}"
    ".chainad-analysis tr:first-child td{font-weight:600;border-bottom:1px solid #8888}"
    ".chainad-analysis td{padding:2px 8px;vertical-align:top;text-align:left}"
    ".chainad-analysis .figure{text-align:right;white-space:nowrap;"
    "font-variant-numeric:tabular-nums}"
    ".chainad-analysis .bar{width:160px;min-width:40px}"
    ".chainad-analysis .what{min-width:16em}"
    ".chainad-analysis i{display:block;height:10px;margin-top:5px}"
    ".chainad-analysis span{display:inline-block;margin-right:1em}"
)
