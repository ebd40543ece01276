"""The program builder: appends instructions, none of them twice, after peephole optimisation.

Equal ops on equal registers are one instruction (a product or a sum in either order). What
`simplify` finds to be a no-op (a reshape of a reshape, a sign that cancels a sign) is not appended.
"""

from __future__ import annotations

from collections.abc import Sequence

from chainad.ir.op import Op
from chainad.ir.ops import Broadcast, Copy, Full, Reshape, Transpose
from chainad.ir.peephole import simplify
from chainad.ir.program import Instruction
from chainad.ir.shapes import Shape
from chainad.ir.value_numbers import ValueNumbers

Labels = Sequence[int]


class ProgramBuilder:
    """Appends instructions, and knows shape and definition of every register.

    Attributes
    ----------
    instructions : list of Instruction
    shapes : dict
        The shape of every register, None where it is not known.
    definitions : dict
        The instruction that defines every register; slots have none.
    next_register : int
        What the next instruction writes.
    """

    def __init__(self, n_slots: int) -> None:
        self.instructions: list[Instruction] = []
        self.shapes: dict[int, Shape | None] = {}
        self.definitions: dict[int, Instruction] = {}
        self.next_register = n_slots
        self._numbers = ValueNumbers()
        # Registers whose memory is that of a result already.
        self._returned: set[int] = set()

    def emit(self, op: Op, *inputs: int) -> int:
        """Return the register that holds the result of an op on registers."""
        found = simplify(op, inputs, self)
        if isinstance(found, int):
            return found
        return self._append(*found)

    def _append(self, op: Op, inputs: tuple[int, ...]) -> int:
        output = self._numbers.first(op.value_key(inputs), self.next_register)
        if output == self.next_register:
            shape = op.infer_shape([self.shapes.get(k) for k in inputs])
            self.append_unchanged(op, inputs, shape)
        return output

    def append_unchanged(self, op: Op, inputs: tuple[int, ...], shape: Shape | None) -> int:
        """Append an instruction that another builder optimised already; return its register."""
        output, self.next_register = self.next_register, self.next_register + 1
        instruction = Instruction(op, inputs, output)
        self.instructions.append(instruction)
        self.definitions[output] = instruction
        self.shapes[output] = shape
        return output

    def apply(self, ops: Sequence[Op], register: int | None) -> int | None:
        """Apply unary ops one after the other; None stands for a structure that stores nothing."""
        for op in ops:
            if isinstance(op, Full):
                register = self.emit(op)
            else:
                assert register is not None
                register = self.emit(op, register)
        return register

    def apply_stored(self, ops: Sequence[Op], register: int | None) -> int:
        """Apply unary ops one after the other; the result stores entries."""
        found = self.apply(ops, register)
        assert found is not None
        return found

    def transpose_to(self, register: int, have: Labels, want: Labels) -> int:
        """Transpose axes from the order `have` into the order `want`."""
        if list(have) == list(want):
            return register
        return self.emit(Transpose(tuple(list(have).index(x) for x in want)), register)

    def rearrange(
        self, register: int, have: Labels, want: Labels, shape: Shape, size: dict[int, int]
    ) -> int:
        """Transpose axes from the order `have` into the order `want`, then reshape to `shape`."""
        register = self.transpose_to(register, have, want)
        if tuple(size[x] for x in want) == shape:
            return register
        return self.emit(Reshape(shape), register)

    def unaliased(self, register: int) -> int:
        """Return a register of the same elements in memory that no slot or result shares."""
        owner = register
        while (made := self.definitions.get(owner)) is not None and made.op.is_view:
            if isinstance(made.op, Broadcast):  # whose elements share memory
                break
            owner = made.inputs[0]
        if made is None or made.op.is_view or owner in self._returned:
            register = owner = self.emit(Copy(), register)
        self._returned.add(owner)
        return register
