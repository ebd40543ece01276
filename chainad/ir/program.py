"""Programs: straight-line instructions on numbered registers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from chainad.ir.calls import Guard
from chainad.ir.op import Op

# From the slots of a program to its results: what a backend makes of it. As a second argument, it
# may take the arrays that results are written into.
Runner: TypeAlias = Callable[..., tuple[Any, ...]]
Build: TypeAlias = "Callable[[Program], Runner]"


@dataclass(frozen=True, slots=True)
class Instruction:
    """Apply an op to registers; write a register that was never written before."""

    op: Op
    inputs: tuple[int, ...]
    output: int


@dataclass(frozen=True)
class Program:
    """What a backend executes: no choice is left.

    Registers 0 to `n_slots` - 1 are the inputs: the arguments of a function that was recorded, or
    the stored arrays of local Jacobians (where an edge stores none, its register is never read).
    Further registers hold `constants`. `outputs` are the registers of the results, None where there
    is none: a Jacobian that is zero.
    """

    n_slots: int
    instructions: tuple[Instruction, ...]
    outputs: tuple[int | None, ...]
    constants: Mapping[int, Any] = field(default_factory=dict, compare=False)

    @property
    def used_slots(self) -> tuple[int, ...]:
        """The slots that are read."""
        read = {k for i in self.instructions for k in i.inputs} | {*self.outputs}
        return tuple(k for k in range(self.n_slots) if k in read)

    @property
    def returned(self) -> set[int]:
        """The registers that results are, or may be views of."""
        found = {k for k in self.outputs if k is not None}
        for i in reversed(self.instructions):
            if i.output in found and i.op.is_view:
                found.add(i.inputs[0])
        return found

    @property
    def slot_of(self) -> dict[int, int]:
        """By register, the slot that it is made of: that last read directly on the way to it."""
        found = {k: k for k in range(self.n_slots)}
        direct = {*found}  # slots, and views of them
        for i in self.instructions:
            own = [found[k] for k in i.inputs if k in direct] or [
                found[k] for k in i.inputs if k in found
            ]
            if own:
                found[i.output] = min(own)
            if i.op.is_view and i.inputs[0] in direct:
                direct.add(i.output)
        return found

    @property
    def last_reads(self) -> tuple[tuple[int, ...], ...]:
        """By instruction, the registers that nothing reads after it; results are read later."""
        read = {*self.outputs}
        found: list[tuple[int, ...]] = []
        for i in reversed(self.instructions):
            found.append(tuple(k for k in dict.fromkeys(i.inputs) if k not in read))
            read.update(i.inputs)
        return tuple(reversed(found))

    @property
    def array_calls(self) -> int:
        """How many array operations a run makes."""
        return len(self.instructions)

    def check(self) -> None:
        """Assert that every register is written once, before it is read."""
        written = {*range(self.n_slots), *self.constants}
        for instruction in self.instructions:
            assert written.issuperset(instruction.inputs), instruction
            assert instruction.output not in written, instruction
            written.add(instruction.output)
        assert written.issuperset(k for k in self.outputs if k is not None)

    def __str__(self) -> str:
        lines = [
            f"r{i.output} = {i.op}({', '.join(f'r{k}' for k in i.inputs)})"
            for i in self.instructions
        ]
        outputs = ", ".join("zero" if k is None else f"r{k}" for k in self.outputs)
        return "\n".join([*lines, f"return {outputs}"])


def prune(program: Program) -> Program:
    """Drop instructions whose results are never read; guards stay."""
    needed = {k for k in program.outputs if k is not None}
    kept = []
    for instruction in reversed(program.instructions):
        if instruction.output in needed or isinstance(instruction.op, Guard):
            needed.update(instruction.inputs)
            kept.append(instruction)
    return replace(program, instructions=tuple(reversed(kept)))
