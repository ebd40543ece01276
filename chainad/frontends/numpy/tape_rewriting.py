"""Rewriting a tape: entries that stand for others, and copies of what is made from these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainad.frontends.numpy.tape import Entry, Tape


class TapeRewriting:
    """What replaces the entries of an open tape; a subclass says what, entry by entry."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.replaced: dict[int, int] = {}

    def replacement(self, number: int, entry: Entry) -> int | None:
        """Return the entry that stands for this one; None if none does.

        All that it is made from has been looked at.
        """
        raise NotImplementedError

    def run(self, outputs: Sequence[int | None]) -> list[int | None]:
        """Look at all entries there are; return those that stand for `outputs`."""
        with np.errstate(all="ignore"):  # the function itself has warned already
            for number, entry in enumerate([*self.tape.entries]):
                found = self.replacement(number, entry)
                if found is not None:
                    self.replaced[number] = found
                elif any(s in self.replaced for s in entry.sources):
                    self.replaced[number] = self.copy(entry, self.source)
        return [self.source(k) for k in outputs]

    def source(self, number: int | None) -> int | None:
        """Return the entry that stands for an operand."""
        return None if number is None else self.replaced.get(number, number)

    def copy(self, entry: Entry, source: Callable[[int | None], int | None]) -> int:
        """Append the same call on other entries with the same values."""
        sources = tuple([source(k) for k in entry.sources])
        return self.tape.append(entry._replace(sources=sources, key=("copy", entry.key, sources)))

    def value(self, number: int | None, operand: Any) -> Any:
        """Return an operand as a value to calculate with."""
        source = self.source(number)
        return operand if source is None else self.tape.box(operand, self.tape, source)
