"""Constant hoisting: what depends on constant slots alone is computed once, not at every call.

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
class HoistedConstants:
    """A program in two parts: what constant slots determine, and the residual program.

    The outputs of `hoisted` are further slots of `residual`, after its own:
    `residual([*slots, *hoisted(slots)])` gives the results of the whole. `hoisted` reads constant
    slots only.
    """

    hoisted: Program
    residual: Program


def hoist_constants(program: Program, constant_slots: Collection[int]) -> HoistedConstants:
    """Return a program in two parts: what constant slots determine, and the rest.

    Parameters
    ----------
    program : Program
    constant_slots : collection of int
        The slots that hold the same array, with the same elements, at every call.

    Examples
    --------
    >>> from chainad.ir.ops import Add, MatMul
    >>> W2_W1 = Instruction(MatMul(), (0, 1), 3)
    >>> whole = Program(3, (W2_W1, Instruction(Add(), (3, 2), 4)), (4,))
    >>> print(hoist_constants(whole, {0, 1}).residual)
    r4 = Add()(r3, r2)
    return r4
    """
    constant = set(constant_slots)
    invariant: list[Instruction] = []
    varying: list[Instruction] = []
    for i in program.instructions:
        if constant.issuperset(i.inputs):
            constant.add(i.output)
            invariant.append(i)
        else:
            varying.append(i)
    read = [k for i in varying for k in i.inputs]
    read += [k for k in program.outputs if k is not None]
    passed_on = tuple(dict.fromkeys(k for k in read if k in constant and k >= program.n_slots))
    hoisted = Program(program.n_slots, tuple(invariant), passed_on)
    return HoistedConstants(hoisted, _residual(program, varying, constant, passed_on))


def _residual(
    program: Program, varying: list[Instruction], constant: set[int], passed_on: tuple[int, ...]
) -> Program:
    """Return the instructions that are left, registers renumbered after the further slots."""
    n_slots = program.n_slots + len(passed_on)
    number = {k: k for k in range(program.n_slots)}
    number |= {k: program.n_slots + n for n, k in enumerate(passed_on)}
    instructions: list[Instruction] = []
    for i in varying:
        number[i.output] = n_slots + len(instructions)
        inputs = tuple(number[k] for k in i.inputs)
        instructions.append(Instruction(i.op, inputs, number[i.output]))
    outputs: list[int | None] = []
    for k in program.outputs:
        if k is not None and k in constant:  # a result has memory of its own
            copy = n_slots + len(instructions)
            instructions.append(Instruction(Copy(), (number[k],), copy))
            outputs.append(copy)
        else:
            outputs.append(None if k is None else number[k])
    return Program(n_slots, tuple(instructions), tuple(outputs))
