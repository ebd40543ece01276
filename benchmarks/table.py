"""Tables in Markdown, and how times and ratios are written in them."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns stand in line."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "| " + " | ".join(cell.ljust(n) for cell, n in zip(row, widths, strict=True)) + " |"
        for row in (head, rule, *rows)
    )


def ms(seconds: float | None) -> str:
    """Return seconds as milliseconds with three digits, "-" for None."""
    return "-" if seconds is None else _short(seconds * 1e3)


def mb(size: float | None) -> str:
    """Return bytes as megabytes with three digits, "-" for None."""
    return "-" if size is None else _short(size / 1e6)


def times(ratio: float | None) -> str:
    """Return a ratio such as "1.85x", "-" for None."""
    return "-" if ratio is None else f"{_short(ratio)}x"


def _short(number: float) -> str:
    return f"{number:.3g}" if abs(number) < 1000 else f"{number:,.0f}"
