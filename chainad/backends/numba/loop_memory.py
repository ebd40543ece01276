"""Memory of loops: where in one vector every register of every iteration is allocated.

A register that only its own iteration reads has one slot for all iterations; one that the next
iterations read has a ring buffer of a few; one that a later loop reads (a reverse sweep) has a slot
for every iteration. Memory is reused as soon as no live range covers it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from chainad.backends.numba.reroll import InductionPattern, RerolledLoops
from chainad.ir.loop_program import LoopProgram, Register

_MAX_RING_ITERATIONS = 4  # a power of two

Slot = tuple[int | None, int]  # loop and position in its body, or None and a register


@dataclass(frozen=True, slots=True)
class Allocation:
    """`size` elements for every iteration that is kept, from address `base` on.

    Iteration t is kept at index t - low; with `ring`, a power of two, at index t modulo that.
    """

    base: int
    size: int
    low: int = 0
    ring: int | None = None

    def address(self, iteration: int) -> int:
        """Return the address of what an iteration made."""
        k = iteration - self.low if self.ring is None else iteration % self.ring
        return self.base + k * self.size


@dataclass(frozen=True)
class PrologueCopy:
    """A copy before a loop, of what it reads from outside the iterations of a slot's loop."""

    register: Register
    slot: Slot
    iteration: int


@dataclass
class _LiveRange:
    """When a slot is live, and which of its iterations are read."""

    size: int
    start: int
    stop: int
    low: int = 0
    high: int = 0
    distance: int = 0
    latest: int = 0  # the earliest iteration that is read after the loop, counted from its end
    is_whole: bool = False


@dataclass(frozen=True)
class LoopMemory:
    """The allocation of every slot, the copies before every loop, and the elements of it all."""

    allocations: dict[Slot, Allocation]
    copies: dict[int, tuple[PrologueCopy, ...]]
    size: int


def allocate_loop_memory(program: LoopProgram, loops: RerolledLoops) -> LoopMemory:
    """Return where every register of a program is allocated."""
    liveness = _Liveness(program, loops)
    ranges = [*liveness.of.values()]
    bases = _packed([(r.start, r.stop, _extent(r)[0]) for r in ranges])
    allocations = {}
    for slot, live, base in zip(liveness.of, ranges, bases, strict=True):
        _, ring = _extent(live)
        allocations[slot] = Allocation(base, live.size, live.low if ring is None else 0, ring)
    ends = (base + _extent(live)[0] for base, live in zip(bases, ranges, strict=True))
    copies = {k: tuple(found) for k, found in liveness.copies.items()}
    return LoopMemory(allocations, copies, max(ends, default=0))


def _extent(live: _LiveRange) -> tuple[int, int | None]:
    """Return how many elements a slot takes, and the iterations in its ring buffer, if any."""
    ring = 1
    while ring <= live.distance:
        ring *= 2
    iterations = live.high - live.low + 1
    if live.is_whole or ring > _MAX_RING_ITERATIONS or live.latest > ring or ring >= iterations:
        return iterations * live.size, None
    return ring * live.size, ring


@dataclass
class _Liveness:
    """The live range of every slot, found in one pass over a program."""

    program: LoopProgram
    loops: RerolledLoops
    of: dict[Slot, _LiveRange] = field(default_factory=dict)
    copies: dict[int, list[PrologueCopy]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        operations, loops = self.program.operations, self.loops
        for k, size in enumerate(self.program.inputs):
            self.of[None, -k - 1] = _LiveRange(size, -1, -1)
        for register, operation in enumerate(operations):
            number = loops.loop_of(register)
            if number is None:
                self.of[None, register] = _LiveRange(operation.size, register, register)
                continue
            loop = loops.loops[number]
            if register < loop.start + loop.body_length:
                live = _LiveRange(operation.size, register, register, high=loop.iterations - 1)
                self.of[number, register - loop.start] = live
        for register, operation in enumerate(operations):
            if loops.loop_of(register) is None:
                for x in operation.inputs:
                    self._read(x, register)
        for k in range(len(loops.loops)):
            self._read_in_loop(k)
        for k, result in enumerate(self.program.results, len(operations)):
            self.of[None, k] = _LiveRange(result.size, k, k)
            for x in result.inputs:
                self._read(x, k)

    def _read(self, register: Register, at: int) -> None:
        """Note that operation `at`, outside of all loops, reads a register."""
        pattern = self.loops.invariant(register)
        live = self.of[pattern.loop, pattern.position]
        live.stop = max(live.stop, at)
        if pattern.loop is not None:
            loop = self.loops.loops[pattern.loop]
            live.start = loop.start
            live.stop = max(live.stop, loop.stop)
            live.latest = max(live.latest, loop.iterations - pattern.first)

    def _read_in_loop(self, k: int) -> None:
        loop = self.loops.loops[k]
        found: dict[PrologueCopy, None] = {}
        for position, strides in enumerate(loop.strides):
            for operand in range(len(strides)):
                pattern = self.loops.pattern(k, position, operand)
                assert pattern is not None
                self._read_by(k, position, pattern)
                for iteration, register in self.loops.out_of_range(k, pattern):
                    slot = pattern.loop, pattern.position
                    found[PrologueCopy(register, slot, iteration)] = None
                    self._read(register, loop.start)
        self.copies[k] = [*found]

    def _read_by(self, k: int, position: int, pattern: InductionPattern) -> None:
        """Note that position `position` in the body of loop k reads a pattern."""
        loop = self.loops.loops[k]
        if pattern.loop is None:
            parameter = self.of[None, pattern.position]
            parameter.stop = max(parameter.stop, loop.stop)
            return
        live = self.of[pattern.loop, pattern.position]
        if pattern.loop == k and pattern.stride == 1 and pattern.first <= 0:
            live.distance = max(live.distance, -pattern.first)
            if pattern.first:
                live.start = loop.start
                live.stop = max(live.stop, loop.stop)
                live.low = min(live.low, pattern.first)
            else:
                live.stop = max(live.stop, loop.start + position)
            return
        ends = (pattern.first, pattern.first + pattern.stride * (loop.iterations - 1))
        live.low, live.high = min(live.low, *ends), max(live.high, *ends)
        live.start = self.loops.loops[pattern.loop].start
        live.stop = max(live.stop, loop.stop)
        live.is_whole = True


def _packed(live_ranges: Sequence[tuple[int, int, int]]) -> list[int]:
    """Return an address for everything that is live from start to stop, with its size.

    First fit, largest first: each goes to the lowest address that is free for all of its life.
    """
    starts, stops, sizes = np.array(live_ranges, dtype=np.int64).reshape(-1, 3).T
    order = np.lexsort((np.arange(sizes.size), -sizes))
    starts, stops, sizes = starts[order], stops[order], sizes[order]
    address = np.zeros(sizes.size, np.int64)
    for k in range(sizes.size):
        is_live = (starts[:k] <= stops[k]) & (starts[k] <= stops[:k])
        lows = address[:k][is_live]
        by_address = np.argsort(lows, kind="stable")
        lows = lows[by_address]
        # The gap before each that is taken begins where all below it end.
        ends = np.maximum.accumulate(lows + sizes[:k][is_live][by_address])
        begins = np.append(0, ends)
        fits = np.flatnonzero(lows >= begins[:-1] + sizes[k])
        address[k] = begins[fits[0]] if fits.size else begins[-1]
    found = np.empty_like(address)
    found[order] = address
    return [int(x) for x in found]
