"""What analyzing a plan has found, in words, and in tables for a terminal."""

from __future__ import annotations

from itertools import zip_longest
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from chainad.planning.plan import Plan
from chainad.planning.views.overview import headline
from chainad.planning.views.quantities import seconds_text
from chainad.planning.views.terminal import cut, fitting_width, wrapped

if TYPE_CHECKING:
    from chainad.api.analysis import Analysis, MeasuredGroup

DEFAULT_ROWS = 8

_BAR_LENGTH = 24
_FIRST_COLUMN = 24
# What takes a smaller part of the time of all steps is not shown.
_LEAST_SHARE = 0.001
# An estimate that is wrong by more than this is worth a word.
_TOLERANCE = 2.0
# A smaller ratio may be chance.
_NOISE = 1.1


def explain(of: Analysis, rows: int, width: int | None) -> str:
    """Return what was found, in at most some 30 lines and `rows` steps."""
    width = fitting_width(width)
    texts = ["    ".join(title(of)), *sentences(of)]
    parts = ["\n".join(line for text in texts for line in wrapped(text, width))]
    found = [_phases(of), _modes(of), _steps(of, rows), _preparation(of)]
    parts += [_text(table, width) for table in found if table.cells]
    return "\n\n".join(parts)


# ------------------------------------------------------------------------ in words


def title(of: Analysis) -> tuple[str, str]:
    """Return the function, and its Jacobian with what that costs."""
    if isinstance(of.plan, Plan):
        return headline(of.plan)
    blocks = f"in {len(of.plan.chunks)} blocks of {of.plan.side}"
    return f"{of.plan.title}:", f"{blocks}, {of.plan.multiplications:,} multiplications"


def sentences(of: Analysis) -> list[str]:
    """Return what was found in words, a sentence each."""
    return [text for text in (_calls(of), _saving(of), _estimates(of)) if text]


def _calls(of: Analysis) -> str:
    """Say how long a call takes, and where most of the time goes."""
    most = max(of.phases, key=lambda phase: phase.seconds)
    share = most.seconds / sum(phase.seconds for phase in of.phases)
    compiled = f"and {seconds_text(of.compiled)} compiled to {of.form}"
    if not of.form:
        compiled = "and cannot be compiled"
    return (
        f"A call takes {seconds_text(of.traced)} traced, {compiled}; f alone takes"
        f" {seconds_text(of.f)}. {100 * share:.0f} % of the traced call is {most.name}."
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


def slowest(of: Analysis, rows: int) -> list[MeasuredGroup]:
    """Return the groups of steps that are shown."""
    least = max(_LEAST_SHARE * of.seconds, 1e-12)
    return [group for group in of.groups if group.seconds >= least][:rows]


# ----------------------------------------------------------------------- in tables


class _Table(NamedTuple):
    """What is shown in rows: headings with `<` or `>` for each, cells, and what bars show."""

    headings: tuple[str, ...]
    align: str
    cells: list[tuple[str, ...]]
    bars: tuple[float, ...] = ()


def _phases(of: Analysis) -> _Table:
    total = sum(phase.seconds for phase in of.phases)
    cells: list[tuple[str, ...]] = [
        (name, seconds_text(seconds), f"{100 * seconds / total:.1f} %")
        for name, seconds in of.phases
    ]
    bars = tuple(phase.seconds for phase in of.phases)
    return _Table(("a call, traced", "measured", ""), "<>>", cells, bars)


def _modes(of: Analysis) -> _Table:
    cells: list[tuple[str, ...]] = [
        (
            mode.name,
            f"{mode.multiplications:,}",
            seconds_text(mode.estimate),
            "~" * mode.is_expected + seconds_text(mode.seconds),
        )
        for mode in of.modes
    ]
    headings = ("products and sums", "multiplications", "estimated", "measured")
    return _Table(headings, "<>>>", cells, tuple(mode.seconds for mode in of.modes))


def _steps(of: Analysis, rows: int) -> _Table:
    cells: list[tuple[str, ...]] = [
        (
            f"{100 * seconds / of.seconds:.1f} %",
            seconds_text(seconds),
            seconds_text(estimate),
            f"{group.multiplications:,}",
            group.what,
            group.shapes,
            group.line,
            f"{group.text}  {group.kinds}".strip(),
        )
        for group, estimate, seconds in slowest(of, rows)
    ]
    headings = (f"{len(of.rows):,} steps", "measured", "estimated", "mults", "", "", "", "")
    return _Table(headings, ">>>><<<<", cells)


def _preparation(of: Analysis) -> _Table:
    cells: list[tuple[str, ...]] = [(name, seconds_text(x)) for name, x in of.preparation]
    return _Table(("a first call, besides", "measured"), "<>", cells)


def _text(table: _Table, width: int) -> str:
    """Return a table in lines of at most so many characters."""
    rows = [table.headings, *(("  " + row[0], *row[1:]) for row in table.cells)]
    sizes = [max(len(row[k]) for row in rows) for k in range(len(table.align))]
    align = "<" + table.align[1:]
    if table.align[0] == "<":
        sizes[0] = max(sizes[0], _FIRST_COLUMN)
    else:
        rows[1:] = [(f"{row[0]:>{sizes[0]}}", *row[1:]) for row in rows[1:]]
    top = max(table.bars, default=1.0)
    bars = ["", *("█" * ceil(_BAR_LENGTH * (bar / top)) for bar in table.bars)]
    lines = [
        "  ".join([*(f"{x:{a}{n}}" for x, a, n in zip(row, align, sizes, strict=True)), bar])
        for row, bar in zip_longest(rows, bars, fillvalue="")
    ]
    return "\n".join(cut(line.rstrip(), width) for line in lines)
