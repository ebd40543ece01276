"""Isomorphic calls: those that one call on stacked arrays could do together.

They apply the same function to operands of the same shapes and dtypes, and stand on the same level
of the dependency graph, so that none can read another.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from math import prod
from typing import TypeVar

# Stacking fewer calls costs as much as it saves.
MIN_STACK_ROWS = 8

# On an array of more elements, arithmetic takes longer than the call.
MAX_ROW_ELEMENTS = 1024

_Call = TypeVar("_Call")
_Key = TypeVar("_Key", bound=Hashable)


def is_small(shape: Sequence[int]) -> bool:
    """Return whether an array is small enough to be a row of a stack."""
    return 0 < prod(shape) <= MAX_ROW_ELEMENTS


def levels(reads: Iterable[tuple[int, Iterable[int]]]) -> dict[int, int]:
    """Return the level of every call: the least number that is larger than those of what it reads.

    `reads` has the number of every call and of what it reads, in order of execution; what is not a
    call has level -1.
    """
    level: dict[int, int] = {}
    for number, operands in reads:
        level[number] = 1 + max((level.get(k, -1) for k in operands), default=-1)
    return level


def isomorphic_groups(
    calls: Iterable[tuple[int, _Key, _Call]], level: Mapping[int, int]
) -> list[dict[_Key, list[_Call]]]:
    """Return the calls on each level, the lowest first, grouped by what they have in common.

    A call is given as its number, what it has in common with others, and the call itself.
    """
    found: dict[int, dict[_Key, list[_Call]]] = {}
    for number, key, call in calls:
        found.setdefault(level[number], {}).setdefault(key, []).append(call)
    return [found[k] for k in sorted(found)]
