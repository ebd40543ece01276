"""What every op says of itself: shape and cost of its result, its memory, what it is on stacks."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import ClassVar

from chainad.ir.memory_layouts import MemoryLayout, row_major
from chainad.ir.operation_counts import OperationCounts
from chainad.ir.shapes import Shape


class Op:
    """What an instruction does to its operands.

    Attributes
    ----------
    is_symmetric : bool
        Whether the two operands may be exchanged.
    is_unique : bool
        Whether equal instructions must not become one.
    aligns_last_axes : bool
        Whether an operand with fewer axes than another is repeated along leading axes.
    operator : int or None
        Which operand is an operator, not an array; nothing is known of what it returns.
    """

    __slots__ = ()

    is_symmetric: ClassVar[bool] = False
    is_unique: ClassVar[bool] = False
    aligns_last_axes: ClassVar[bool] = False
    operator: ClassVar[int | None] = None

    @property
    def is_view(self) -> bool:
        """Whether the result may share memory with the first operand."""
        return False

    @property
    def key(self) -> Hashable:
        """What ops have in common that do the same; None if this cannot be told."""
        return self

    def value_key(self, inputs: tuple[int, ...]) -> Hashable:
        """Return what instructions with equal results have in common; None if each must stay."""
        if self.is_unique:
            return None
        return self.key, tuple(sorted(inputs)) if self.is_symmetric else inputs

    def infer_shape(self, inputs: Sequence[Shape | None]) -> Shape | None:
        """Return the shape of the result; None if that is not known.

        Slots whose arrays a rule states in its own way have no known shape, nor have the results of
        operators.
        """
        known = [shape for shape in inputs if shape is not None]
        return self.result_shape(*known) if len(known) == len(inputs) else None

    def result_shape(self, *inputs: Shape) -> Shape | None:
        """Return the shape of the result for operands of known shapes."""
        raise NotImplementedError

    def layout(self, *inputs: MemoryLayout) -> MemoryLayout:
        """Return how the elements of the result lie in memory."""
        shape = self.infer_shape([each.shape for each in inputs])
        assert shape is not None
        return row_major(shape)

    def cost(self, *inputs: MemoryLayout) -> OperationCounts:
        """Return how often, and on how many elements, the machine does what."""
        raise NotImplementedError

    def on_rows(self, count: int, row: Shape) -> Op | None:
        """Return the op that does the same for every row of stacks of `count` arrays, if any.

        `row` is the shape of one result; the rows lie along the first axis of operands and result.
        """
        return None

    def with_rows_last(self, *inputs: Shape) -> Op | None:
        """Return the op that does the same where the first axis of all arrays is their last.

        None if the op does not do the same, separately, for every entry of that axis.
        """
        return None
