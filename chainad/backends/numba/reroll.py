"""Loop rerolling: the iterations of an unrolled loop, found in a long program, are a loop again.

In a loop every iteration does the same operations, and the number of the register that an operation
reads advances by the same stride from iteration to iteration: by one iteration (its own, or an
earlier one), backwards through another loop (a reverse sweep), or not at all (an invariant).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chainad.ir.loop_program import LoopOperation, Register
from chainad.ir.periodicity import numbered, periods

MIN_ITERATIONS = 4


@dataclass(frozen=True, slots=True)
class Loop:
    """A body of `body_length` operations, `iterations` times over, from operation `start` on.

    `strides` tells for every input of every operation of the body by how many registers it advances
    per iteration.
    """

    start: int
    body_length: int
    iterations: int
    strides: tuple[tuple[int, ...], ...]

    @property
    def stop(self) -> int:
        return self.start + self.body_length * self.iterations


@dataclass(frozen=True, slots=True)
class InductionPattern:
    """Which register an input is in every iteration of a loop.

    In iteration t it is what position `position` in the body of loop number `loop` made in its
    iteration `first + stride * t`; where `loop` is None, it is the register `position` throughout.
    """

    loop: int | None
    position: int
    first: int = 0
    stride: int = 0


class RerolledLoops:
    """The loops of a list of operations, in order, no two overlapping."""

    def __init__(self, operations: Sequence[LoopOperation]) -> None:
        self.operations = operations
        self.loops = list(_largest_loops(operations))
        self._starts = [loop.start for loop in self.loops]
        while (bad := self._unaddressable()) is not None:
            del self.loops[bad]
            self._starts = [loop.start for loop in self.loops]

    def loop_of(self, register: Register) -> int | None:
        """Return the number of the loop that an operation is in."""
        k = bisect_right(self._starts, register) - 1
        return k if k >= 0 and register < self.loops[k].stop else None

    def invariant(self, register: Register) -> InductionPattern:
        """Return a register as a pattern of stride 0."""
        k = None if register < 0 else self.loop_of(register)
        if k is None:
            return InductionPattern(None, register)
        iteration, position = divmod(register - self.loops[k].start, self.loops[k].body_length)
        return InductionPattern(k, position, iteration)

    def pattern(self, k: int, position: int, operand: int) -> InductionPattern | None:
        """Return the pattern of an input of loop k; None if no single loop makes it."""
        loop = self.loops[k]
        stride = loop.strides[position][operand]
        first = self.operations[loop.start + position].inputs[operand]
        if not stride:
            return self.invariant(first)
        # The first and last iterations may read what stands before or behind the source loop.
        samples = (loop.iterations // 2, loop.iterations - 1, 0)
        sources = (self.loop_of(first + stride * t) for t in samples)
        source = next((k for k in sources if k is not None), None)
        if source is None or stride % self.loops[source].body_length:
            return None
        iteration, at = divmod(first - self.loops[source].start, self.loops[source].body_length)
        return InductionPattern(source, at, iteration, stride // self.loops[source].body_length)

    def out_of_range(self, k: int, pattern: InductionPattern) -> Iterator[tuple[int, Register]]:
        """Yield the iterations that a pattern reads beyond the range of its source loop.

        Each comes with the register that holds its value.
        """
        if pattern.loop is None or not pattern.stride:
            return
        source = self.loops[pattern.loop]
        for t in range(self.loops[k].iterations):
            iteration = pattern.first + pattern.stride * t
            if not 0 <= iteration < source.iterations:
                yield iteration, source.start + pattern.position + iteration * source.body_length

    def _unaddressable(self) -> int | None:
        """Return a loop with an input that is no linear function of the iteration, if any."""
        for k, loop in enumerate(self.loops):
            for position, strides in enumerate(loop.strides):
                for operand in range(len(strides)):
                    pattern = self.pattern(k, position, operand)
                    if pattern is None:
                        return k
                    outside = self.out_of_range(k, pattern)
                    if any(register >= loop.start for _, register in outside):
                        return k
        return None


def _largest_loops(operations: Sequence[LoopOperation]) -> list[Loop]:
    """Return loops that do not overlap, the longest ones chosen first, in order."""
    kinds = numbered(operation.static for operation in operations)
    candidates = [
        candidate
        for length, strides in _candidates(operations, kinds).items()
        for candidate in _loops_with_body(length, strides)
    ]
    candidates.sort(key=lambda loop: (loop.start - loop.stop, loop.body_length, loop.start))
    kept: list[Loop] = []
    for loop in candidates:
        if all(loop.stop <= other.start or other.stop <= loop.start for other in kept):
            kept.append(loop)
    return sorted(kept, key=lambda loop: loop.start)


Strides = Sequence[tuple[int, ...] | None]


def _candidates(operations: Sequence[LoopOperation], kinds: Sequence[int]) -> dict[int, Strides]:
    """Return the strides of all inputs for every length that the body of a loop may have.

    Operations may be equal at a shorter distance than that at which their inputs advance evenly:
    then the strides themselves are periodic.
    """
    found: dict[int, Strides] = {}
    for length in periods(kinds):
        found[length] = strides = _strides(operations, kinds, length)
        for longer in periods(numbered(strides)):
            if longer not in found:
                found[longer] = _strides(operations, kinds, longer)
    return found


def _strides(operations: Sequence[LoopOperation], kinds: Sequence[int], length: int) -> Strides:
    """Return how far the inputs of every operation advance within `length` operations.

    None where another kind of operation stands there.
    """
    return [
        tuple(
            b - a for a, b in zip(operations[k].inputs, operations[k + length].inputs, strict=True)
        )
        if kinds[k] == kinds[k + length]
        else None
        for k in range(len(operations) - length)
    ]


def _loops_with_body(length: int, strides: Strides) -> Iterator[Loop]:
    """Yield the loops whose bodies have `length` operations."""
    start, count = 0, len(strides)
    for k in range(count - length + 1):
        if k < count - length and strides[k] is not None and strides[k] == strides[k + length]:
            continue
        iterations = (k - start) // length + 2
        if iterations >= MIN_ITERATIONS:
            own = tuple(strides[n] or () for n in range(start, start + length))
            yield Loop(start, length, iterations, own)
        start = k + 1
