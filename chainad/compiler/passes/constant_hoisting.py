"""Constant slots: what depends on these alone is computed once, not at every call.

The weights of `W @ x` are the same array at every call, as long as nobody changes or replaces them.
Tracing finds that out anew each time, so that nothing may be kept from one call to the next; a
replay captures closed-over arrays by reference, and only has to see whether they were changed.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from chainad.ir.ops import Copy
from chainad.ir.program import Instruction, Program


@dataclass(frozen=True)
class Split:
    """A program in two: `once` for what is constant, `per_call` for the rest.

    The outputs of `once` are further slots of `per_call`, behind its own:
    `per_call([*slots, *once(slots)])` gives the results of the whole. `once` reads constant slots
    only.
    """

    once: Program
    per_call: Program


def split(program: Program, constant_slots: Collection[int]) -> Split:
    """Return a program in two parts: what constant slots determine, and the rest.

    Parameters
    ----------
    program : Program
    constant_slots : collection of int
        The slots whose arrays are the same, numbers and all, at every call.

    Examples
    --------
    >>> from chainad.ir.ops import Add, MatMul
    >>> W2_W1 = Instruction(MatMul(), (0, 1), 3)
    >>> whole = Program(3, (W2_W1, Instruction(Add(), (3, 2), 4)), (4,))
    >>> print(split(whole, {0, 1}).per_call)
    r4 = Add()(r3, r2)
    return r4
    """
    constant = set(constant_slots)
    fixed: list[Instruction] = []
    rest: list[Instruction] = []
    for i in program.instructions:
        if constant.issuperset(i.inputs):
            constant.add(i.output)
            fixed.append(i)
        else:
            rest.append(i)
    read = [k for i in rest for k in i.inputs]
    read += [k for k in program.outputs if k is not None]
    kept = tuple(dict.fromkeys(k for k in read if k in constant and k >= program.n_slots))
    once = Program(program.n_slots, tuple(fixed), kept)
    return Split(once, _per_call(program, rest, constant, kept))


def _per_call(
    program: Program, rest: list[Instruction], constant: set[int], kept: tuple[int, ...]
) -> Program:
    """Return the instructions that are left, registers numbered anew behind the further slots."""
    n_slots = program.n_slots + len(kept)
    number = {k: k for k in range(program.n_slots)}
    number |= {k: program.n_slots + n for n, k in enumerate(kept)}
    instructions: list[Instruction] = []
    for i in rest:
        number[i.output] = n_slots + len(instructions)
        inputs = tuple(number[k] for k in i.inputs)
        instructions.append(Instruction(i.op, inputs, number[i.output]))
    outputs: list[int | None] = []
    for k in program.outputs:
        if k is not None and k in constant:  # what is handed out has memory of its own
            copy = n_slots + len(instructions)
            instructions.append(Instruction(Copy(), (number[k],), copy))
            outputs.append(copy)
        else:
            outputs.append(None if k is None else number[k])
    return Program(n_slots, tuple(instructions), tuple(outputs))
