"""Value numbering: what is computed twice gets one number (Aho, Sethi & Ullman 1986, ch. 9).

Whatever builds a program keeps such numbers: of calls in graphs, of instructions, of operations of
loops, of nodes of scalar expressions. A key says what is computed, of which numbers.
"""

from __future__ import annotations

from collections.abc import Hashable


class ValueNumbers(dict[int, int]):
    """By number of a value that is computed again, the first one that is equal to it.

    A value that was not entered stands for itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self._first: dict[Hashable, int] = {}

    def __missing__(self, number: int) -> int:
        return number

    def first(self, key: Hashable, number: int) -> int:
        """Return the first value with this key: `number`, if there was none, or the key is None."""
        return number if key is None else self._first.setdefault(key, number)

    def known(self, key: Hashable) -> int | None:
        """Return the value with this key, if there is one."""
        return self._first.get(key)
