"""The writer: appends instructions, none of them twice, and none that another form makes idle.

Equal ops on equal registers are one instruction (a product or a sum in either order). What
`simplify` finds idle (a reshape of a reshape, a sign that meets a sign) is never written.
"""

from __future__ import annotations

from collections.abc import Sequence

from chainad.compiler.passes.peephole import simplify
from chainad.ir.ops import (
    Add,
    Broadcast,
    Copy,
    Full,
    Multiply,
    Op,
    Reshape,
    Scatter,
    Take,
    Transpose,
)
from chainad.ir.program import Instruction
from chainad.ir.shapes import Shape, shape_of
from chainad.structure import Ops

Labels = Sequence[int]


class Writer:
    """Appends instructions, and remembers what every register holds.

    Attributes
    ----------
    instructions : list of Instruction
    shapes : dict
        The shape of every register, None where it is not known.
    made : dict
        The instruction behind every register; slots have none.
    """

    def __init__(self, n_slots: int) -> None:
        self.instructions: list[Instruction] = []
        self.shapes: dict[int, Shape | None] = {}
        self.made: dict[int, Instruction] = {}
        self._next = n_slots
        self._known: dict[tuple[Op, tuple[int, ...]], int] = {}
        # Registers whose memory a result has taken already.
        self._given: set[int] = set()

    def emit(self, op: Op, *inputs: int) -> int:
        """Return the register of a op applied to registers."""
        found = simplify(op, inputs, self)
        if isinstance(found, int):
            return found
        return self._append(*found)

    def _append(self, op: Op, inputs: tuple[int, ...]) -> int:
        is_symmetric = isinstance(op, (Add, Multiply))
        key = (op, tuple(sorted(inputs)) if is_symmetric else inputs)
        # A scatter is never met twice, and its places are long to compare; a copy must be one.
        is_unique = isinstance(op, (Scatter, Copy))
        if not is_unique and key in self._known:
            return self._known[key]
        output, self._next = self._next, self._next + 1
        instruction = Instruction(op, inputs, output)
        self.instructions.append(instruction)
        self.made[output] = instruction
        self.shapes[output] = shape_of(op, tuple(self.shapes.get(k) for k in inputs))
        if not is_unique:
            self._known[key] = output
        return output

    def repeat(self, op: Op, inputs: tuple[int, ...], shape: Shape | None) -> int:
        """Return the register of an instruction that another writer found nothing to better in."""
        output, self._next = self._next, self._next + 1
        instruction = Instruction(op, inputs, output)
        self.instructions.append(instruction)
        self.made[output] = instruction
        self.shapes[output] = shape
        return output

    def apply(self, ops: Ops, register: int | None) -> int | None:
        """Apply unary ops one after the other; None stands for a structure without numbers."""
        for op in ops:
            if isinstance(op, Full):
                register = self.emit(op)
            else:
                assert register is not None
                register = self.emit(op, register)
        return register

    def order(self, register: int, have: Labels, want: Labels) -> int:
        """Bring axes from the order `have` into the order `want`."""
        if list(have) == list(want):
            return register
        return self.emit(Transpose(tuple(list(have).index(x) for x in want)), register)

    def arrange(
        self, register: int, have: Labels, want: Labels, shape: Shape, size: dict[int, int]
    ) -> int:
        """Bring axes from the order `have` into the order `want`, then into `shape`."""
        register = self.order(register, have, want)
        if tuple(size[x] for x in want) == shape:
            return register
        return self.emit(Reshape(shape), register)

    def own(self, register: int) -> int:
        """Return a register of the same numbers whose memory no slot and no other result has."""
        owner = register
        while owner in self.made and is_view(self.made[owner].op):
            owner = self.made[owner].inputs[0]
        is_fresh = owner in self.made and not isinstance(self.made[owner].op, Broadcast)
        if not is_fresh or owner in self._given:
            register = owner = self.emit(Copy(), register)
        self._given.add(owner)
        return register


def is_view(op: Op) -> bool:
    """Return whether a op may return another look at the memory of its input."""
    return isinstance(op, (Reshape, Transpose)) or (
        isinstance(op, Take) and isinstance(op.positions, range)
    )
