"""Costs, bytes, times, ratios and lists as a reader sees them."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

MAX_LISTED = 8


def bytes_text(count: int) -> str:
    """Return a number of bytes in a unit that suits it: `8.08 MB`."""
    if count >= 10**18:  # more than floats may be able to tell
        return f"{count // 10**12:,} TB"
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:  # above, three digits would round to 1e+03
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB" if size < 999.5 else f"{size:,.0f} TB"


def seconds_text(seconds: float) -> str:
    """Return a time in a unit that suits it: `8.08 ms`."""
    return time_text(seconds * 1e12)


def time_text(picoseconds: float) -> str:
    """Return a time in a unit that suits it: `8.08 ms`."""
    time = picoseconds / 1e3
    for unit in ("ns", "us", "ms"):
        if time < 999.5:
            return f"{time:.3g} {unit}"
        time /= 1000
    return f"{time:.3g} s" if time < 999.5 else f"{time:,.0f} s"


def amount(model: str, cost: int) -> str:
    """Return a cost in the unit of its model."""
    if model.startswith("time"):
        return time_text(cost)
    return bytes_text(cost) if model in ("bytes", "peak") else f"{cost:,}"


def ratio(one: int, two: int) -> str:
    """Return how many times a cost another one is."""
    if one == two:
        return "1.0x"
    return times(one, two) if two else "-"


def times(one: int, two: int) -> str:
    """Return a ratio of integers of any size: `1.5x`, and `1.04x` where it is small."""
    if one >= two * 10**15:
        return f"{compact(one // two)}x"
    found = one / two
    return f"{found:.2f}x" if 1 < found < 1.095 else f"{found:,.1f}x"


def by_shape(shape: tuple[int, ...]) -> str:
    """Return a shape: `3x4`; that of a number is `1`."""
    return "x".join(map(str, shape)) or "1"


def count_text(count: int) -> str:
    """Return a count with all its digits, unless they are many: `20,000`, `20M`."""
    return f"{count:,}" if count < 10**7 else compact(count)


def compact(count: float) -> str:
    """Return a count of any size in three digits: `20M`."""
    if count >= 10**18:  # more than floats may be able to tell
        return f"{Decimal(count):.2e}".replace("e+", "e")
    for unit in ("", "k", "M", "G", "T"):
        if count < 999.5:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.3g}P"


def listed(parts: Sequence[str], most: int = MAX_LISTED) -> str:
    """Return a list in words, of many parts the first ones and the last one: `a, b, ..., z`."""
    is_short = len(parts) <= most
    return ", ".join(parts if is_short else (*parts[: most - 1], "...", parts[-1]))
