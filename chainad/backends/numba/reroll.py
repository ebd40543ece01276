"""Rolling: the turns of an unrolled loop, found in a long list of operations, become a loop again.

In a loop every turn does the same operations, and what an operation reads moves on by the same
number of operations from turn to turn: by one turn (its own, or one before), backwards through
another loop (a reverse sweep), or not at all (a parameter).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chainad.ir.loop_program import Operation, Register
from chainad.ir.periodicity import numbered, periods

# So many turns are worth a loop.
FEWEST = 4


@dataclass(frozen=True, slots=True)
class Loop:
    """`repeats` turns of `length` operations each, from operation `start` on.

    `moves` tells for every input of every operation of a turn by how much it moves per turn.
    """

    start: int
    length: int
    repeats: int
    moves: tuple[tuple[int, ...], ...]

    @property
    def stop(self) -> int:
        return self.start + self.length * self.repeats


@dataclass(frozen=True, slots=True)
class InductionPattern:
    """What an input is in the turns of a loop.

    In turn t it is what position `position` of loop number `loop` made in turn `first + move * t`;
    where `loop` is None, it is the register `position` in every turn.
    """

    loop: int | None
    position: int
    first: int = 0
    move: int = 0


class Loops:
    """The loops of a list of operations, in order, none overlapping."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.operations = operations
        self.loops = list(_found(operations))
        self._starts = [loop.start for loop in self.loops]
        while (bad := self._without_home()) is not None:
            del self.loops[bad]
            self._starts = [loop.start for loop in self.loops]

    def loop_of(self, register: Register) -> int | None:
        """Return the number of the loop that an operation is in."""
        k = bisect_right(self._starts, register) - 1
        return k if k >= 0 and register < self.loops[k].stop else None

    def where(self, register: Register) -> InductionPattern:
        """Return a register as a family that does not move."""
        k = None if register < 0 else self.loop_of(register)
        if k is None:
            return InductionPattern(None, register)
        turn, position = divmod(register - self.loops[k].start, self.loops[k].length)
        return InductionPattern(k, position, turn)

    def family(self, k: int, position: int, place: int) -> InductionPattern | None:
        """Return what an input is in the turns of loop k; None if it has no home in one loop."""
        loop = self.loops[k]
        move = loop.moves[position][place]
        first = self.operations[loop.start + position].inputs[place]
        if not move:
            return self.where(first)
        # Turns at the ends may read what stands before or behind the home of all others.
        turns = (loop.repeats // 2, loop.repeats - 1, 0)
        homes = (self.loop_of(first + move * t) for t in turns)
        home = next((h for h in homes if h is not None), None)
        if home is None or move % self.loops[home].length:
            return None
        turn, at = divmod(first - self.loops[home].start, self.loops[home].length)
        return InductionPattern(home, at, turn, move // self.loops[home].length)

    def outside(self, k: int, family: InductionPattern) -> Iterator[tuple[int, Register]]:
        """Yield the turns of its own loop that a family reads without their being there.

        Each comes with the register that is meant.
        """
        if family.loop is None or not family.move:
            return
        home = self.loops[family.loop]
        for t in range(self.loops[k].repeats):
            turn = family.first + family.move * t
            if not 0 <= turn < home.repeats:
                yield turn, home.start + family.position + turn * home.length

    def _without_home(self) -> int | None:
        """Return a loop with an input that cannot be addressed by a formula of the turn."""
        for k, loop in enumerate(self.loops):
            for position, moves in enumerate(loop.moves):
                for place in range(len(moves)):
                    family = self.family(k, position, place)
                    if family is None:
                        return k
                    meant = [register for _, register in self.outside(k, family)]
                    if any(register >= loop.start for register in meant):
                        return k
        return None


def _found(operations: Sequence[Operation]) -> list[Loop]:
    """Return the loops that cover most, in order."""
    described = numbered(operation.static for operation in operations)
    stretches = [
        stretch
        for length, moves in _candidates(operations, described).items()
        for stretch in _of(length, moves)
    ]
    stretches.sort(key=lambda s: (s.start - s.stop, s.length, s.start))
    kept: list[Loop] = []
    for loop in stretches:
        if all(loop.stop <= other.start or other.stop <= loop.start for other in kept):
            kept.append(loop)
    return sorted(kept, key=lambda loop: loop.start)


Moves = Sequence[tuple[int, ...] | None]


def _candidates(operations: Sequence[Operation], described: Sequence[int]) -> dict[int, Moves]:
    """Return how far inputs move from turn to turn, for every length that a turn may have.

    Operations may look alike at shorter distances than that at which their inputs move evenly: the
    moves themselves have the period then.
    """
    found: dict[int, Moves] = {}
    for length in periods(described):
        found[length] = moves = _moves(operations, described, length)
        for longer in periods(numbered(moves)):
            if longer not in found:
                found[longer] = _moves(operations, described, longer)
    return found


def _moves(operations: Sequence[Operation], described: Sequence[int], length: int) -> Moves:
    """Return how far the inputs of every operation are from those a turn later.

    None where there is another operation then.
    """
    return [
        tuple(
            b - a for a, b in zip(operations[k].inputs, operations[k + length].inputs, strict=True)
        )
        if described[k] == described[k + length]
        else None
        for k in range(len(operations) - length)
    ]


def _of(length: int, moves: Moves) -> Iterator[Loop]:
    """Yield the loops whose turns have `length` operations."""
    start, count = 0, len(moves)
    for k in range(count - length + 1):
        if k < count - length and moves[k] is not None and moves[k] == moves[k + length]:
            continue
        repeats = (k - start) // length + 2
        if repeats >= FEWEST:
            own = tuple(moves[n] or () for n in range(start, start + length))
            yield Loop(start, length, repeats, own)
        start = k + 1
