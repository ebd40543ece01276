"""Operation counts: how often, and on how many elements, the machine does what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from operator import add, attrgetter


@dataclass(frozen=True, slots=True)
class OperationCounts:
    """How often, and on how many elements, the machine does what.

    Attributes
    ----------
    calls, views : int
        Array operations that compute, and those that only view an array in another way.
    loops : int
        Loops over elements that lie evenly in all operands of an array operation.
    moved, strided, gathered : int
        Elements copied in order, elements read or written far from those before, and elements taken
        from or put at an index.
    multiplied, added : int
        Elements that an elementwise product or sum makes, or that a sum reads.
    dots, items : int
        Multiplications inside matrix products, and how many matrices these have as their result.
    entries, sparse : int
        Multiplications with the entries of sparse matrices, and how many such products there are.
    applied, operators : int
        Multiplications that operators make, and how often one is applied or materialized.
    elements : int
        Elements read from memory and written there, by all of these together.
    fresh : int
        Elements written into memory that the system has to provide first.
    """

    calls: int = 0
    views: int = 0
    loops: int = 0
    moved: int = 0
    strided: int = 0
    gathered: int = 0
    multiplied: int = 0
    added: int = 0
    dots: int = 0
    items: int = 0
    entries: int = 0
    sparse: int = 0
    applied: int = 0
    operators: int = 0
    elements: int = 0
    fresh: int = 0

    def __add__(self, other: OperationCounts) -> OperationCounts:
        return OperationCounts(*map(add, _numbers_of(self), _numbers_of(other)))

    @property
    def multiplications(self) -> int:
        """All scalar multiplications."""
        return self.multiplied + self.dots + self.entries + self.applied


KINDS_OF_OPERATION = tuple(field.name for field in fields(OperationCounts))
_numbers_of = attrgetter(*KINDS_OF_OPERATION)


def total_counts(counts: Iterable[OperationCounts]) -> OperationCounts:
    """Return the operation counts of several together.

    Examples
    --------
    >>> one, two = OperationCounts(calls=1, added=3), OperationCounts(calls=1, multiplied=4)
    >>> total_counts([one, two]) == OperationCounts(calls=2, added=3, multiplied=4)
    True
    """
    return OperationCounts(*map(sum, zip(*map(_numbers_of, counts), strict=True)))
