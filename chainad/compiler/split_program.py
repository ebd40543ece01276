"""Splitting: a program cut into sections, which run one after the other and can be timed alone."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

from chainad.ir.program import Instruction, Program


@dataclass(frozen=True)
class Section:
    """A part of a program, as a program of its own.

    Attributes
    ----------
    program : Program
        Its slots are the registers in `reads`, its outputs those in `writes`.
    reads, writes : tuple of int
        Registers of the whole program: what earlier sections made, and what is made for later ones
        or for the results.
    over : tuple of int
        The registers that nothing reads after it.
    """

    program: Program
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    over: tuple[int, ...]


def split(program: Program, ends: Sequence[int]) -> tuple[Section, ...]:
    """Return a program as one section more than there are `ends`, each the first register beyond.

    Run in order, the sections do what the program does: `test_sections_do_what_the_program_does`.
    """
    parts: list[list[Instruction]] = [[] for _ in range(len(ends) + 1)]
    for instruction in program.instructions:
        parts[bisect_right(ends, instruction.output)].append(instruction)
    later = {k for k in program.outputs if k is not None}
    found: list[Section] = []
    for part in reversed(parts):
        made = {i.output for i in part}
        reads = tuple(dict.fromkeys(k for i in part for k in i.inputs if k not in made))
        writes = tuple(i.output for i in part if i.output in later)
        over = tuple(k for k in reads if k not in later)
        found.append(Section(_renumbered(part, reads, writes), reads, writes, over))
        later |= {*reads}
    return tuple(reversed(found))


def _renumbered(
    part: Sequence[Instruction], reads: Sequence[int], writes: Sequence[int]
) -> Program:
    """Return instructions as a program: equal ones for sections that do the same."""
    own = {k: n for n, k in enumerate(reads)}
    for instruction in part:
        own[instruction.output] = len(own)
    renumbered = tuple(
        replace(i, inputs=tuple(own[k] for k in i.inputs), output=own[i.output]) for i in part
    )
    return Program(len(reads), renumbered, tuple(own[k] for k in writes))
