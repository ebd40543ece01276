"""LoopMemory of loops: where in one vector of memory every register lies, turn by turn.

What only its own turn reads has one place for all turns; what the next turns read has a few, taken
in a circle; what a later loop reads (a reverse sweep) has one for every turn. Memory is used again
as soon as nothing needs what is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from chainad.backends.numba.reroll import InductionPattern, Loops
from chainad.ir.loop_program import ArrayProgram, Register

# So many turns are kept in a circle at most, a power of two.
CIRCLE = 4

Slot = tuple[int | None, int]  # loop and position, or None and a register


@dataclass(frozen=True, slots=True)
class Allocation:
    """`size` numbers for every turn that is kept, from `base` on.

    Turn t lies in place t - low; with `circle` in place t modulo that power of two.
    """

    base: int
    size: int
    low: int = 0
    circle: int | None = None

    def place(self, turn: int) -> int:
        """Return the address of what a turn made."""
        k = turn - self.low if self.circle is None else turn % self.circle
        return self.base + k * self.size


@dataclass(frozen=True)
class PrologueCopy:
    """What must be put before a loop where it reads a turn that is not there."""

    register: Register
    home: Slot
    turn: int


@dataclass
class _Use:
    """What is known of a home: the turns that are read, and when it is needed."""

    size: int
    start: int
    stop: int
    low: int = 0
    high: int = 0
    distance: int = 0
    latest: int = 0  # the earliest turn that is read when the loop is over
    is_whole: bool = False


@dataclass(frozen=True)
class LoopMemory:
    """The room of every home, the copies before every loop, and how many numbers it all takes."""

    rooms: dict[Slot, Allocation]
    copies: dict[int, tuple[PrologueCopy, ...]]
    size: int


def assign(program: ArrayProgram, loops: Loops) -> LoopMemory:
    """Return where every register of a program lies."""
    uses = _Uses(program, loops)
    homes = [*uses.of]
    placed = _placed([(u.start, u.stop, _extent(u)[0]) for u in uses.of.values()])
    rooms = {}
    for home, base in zip(homes, placed, strict=True):
        use = uses.of[home]
        _, circle = _extent(use)
        rooms[home] = Allocation(base, use.size, use.low if circle is None else 0, circle)
    ends = (base + _extent(u)[0] for base, u in zip(placed, uses.of.values(), strict=True))
    return LoopMemory(
        rooms, {k: tuple(found) for k, found in uses.copies.items()}, max(ends, default=0)
    )


def _extent(use: _Use) -> tuple[int, int | None]:
    """Return how many numbers a home takes, and its circle if it has one."""
    circle = 1
    while circle <= use.distance:
        circle *= 2
    turns = use.high - use.low + 1
    if use.is_whole or circle > CIRCLE or use.latest > circle or circle >= turns:
        return turns * use.size, None
    return circle * use.size, circle


@dataclass
class _Uses:
    """Everything that reads a register, found in one walk over a program."""

    program: ArrayProgram
    loops: Loops
    of: dict[Slot, _Use] = field(default_factory=dict)
    copies: dict[int, list[PrologueCopy]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        operations, loops = self.program.operations, self.loops
        for k, size in enumerate(self.program.inputs):
            self.of[None, -k - 1] = _Use(size, -1, -1)
        for register, operation in enumerate(operations):
            number = loops.loop_of(register)
            if number is None:
                self.of[None, register] = _Use(operation.size, register, register)
                continue
            loop = loops.loops[number]
            if register < loop.start + loop.length:
                use = _Use(operation.size, register, register, high=loop.repeats - 1)
                self.of[number, register - loop.start] = use
        for register, operation in enumerate(operations):
            if loops.loop_of(register) is None:
                for x in operation.inputs:
                    self._read(x, register)
        for k in range(len(loops.loops)):
            self._read_in_loop(k)
        for k, result in enumerate(self.program.results, len(operations)):
            self.of[None, k] = _Use(result.size, k, k)
            for x in result.inputs:
                self._read(x, k)

    def _read(self, register: Register, at: int) -> None:
        """Note that a register is read once, by what stands `at` some place."""
        family = self.loops.where(register)
        use = self.of[family.loop, family.position]
        use.stop = max(use.stop, at)
        if family.loop is not None:
            loop = self.loops.loops[family.loop]
            use.start = loop.start
            use.stop = max(use.stop, loop.stop)
            use.latest = max(use.latest, loop.repeats - family.first)

    def _read_in_loop(self, k: int) -> None:
        loop = self.loops.loops[k]
        found: dict[PrologueCopy, None] = {}
        for position, moves in enumerate(loop.moves):
            for place in range(len(moves)):
                family = self.loops.family(k, position, place)
                assert family is not None
                self._read_by(k, position, family)
                for turn, register in self.loops.outside(k, family):
                    found[PrologueCopy(register, (family.loop, family.position), turn)] = None
                    self._read(register, loop.start)
        self.copies[k] = [*found]

    def _read_by(self, k: int, position: int, family: InductionPattern) -> None:
        """Note that a loop reads a family of registers."""
        loop = self.loops.loops[k]
        if family.loop is None:
            parameter = self.of[None, family.position]
            parameter.stop = max(parameter.stop, loop.stop)
            return
        use = self.of[family.loop, family.position]
        if family.loop == k and family.move == 1 and family.first <= 0:
            use.distance = max(use.distance, -family.first)
            if family.first:
                use.start = loop.start
                use.stop = max(use.stop, loop.stop)
                use.low = min(use.low, family.first)
            else:
                use.stop = max(use.stop, loop.start + position)
            return
        turns = (family.first, family.first + family.move * (loop.repeats - 1))
        use.low, use.high = min(use.low, *turns), max(use.high, *turns)
        use.start = self.loops.loops[family.loop].start
        use.stop = max(use.stop, loop.stop)
        use.is_whole = True


def _placed(intervals: Sequence[tuple[int, int, int]]) -> list[int]:
    """Return an address for everything that is needed from start to stop, with its size.

    The largest comes first; each goes to the lowest place that is free all the time.
    """
    order = sorted(range(len(intervals)), key=lambda k: (-intervals[k][2], k))
    address = [0] * len(intervals)
    done: list[int] = []
    for k in order:
        start, stop, size = intervals[k]
        taken = sorted(
            (address[n], address[n] + intervals[n][2])
            for n in done
            if intervals[n][0] <= stop and start <= intervals[n][1]
        )
        at = 0
        for low, high in taken:
            if low >= at + size:
                break
            at = max(at, high)
        address[k] = at
        done.append(k)
    return address
