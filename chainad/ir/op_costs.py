"""What array operations take, by the layouts of their operands: parts of the costs of ops."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from chainad.ir.memory_layouts import MemoryLayout, fresh_elements, loops_over
from chainad.ir.operation_counts import OperationCounts
from chainad.ir.positions import Positions
from chainad.ir.shapes import broadcast_shape


def copied(x: MemoryLayout, calls: int = 1) -> OperationCounts:
    """Return what it takes to copy an array into row-major order."""
    loops, across = loops_over(x.shape, x)
    return OperationCounts(
        calls=calls,
        loops=loops,
        moved=x.size,
        strided=across,
        elements=2 * x.size,
        fresh=fresh_elements(x.size),
    )


def elementwise(inputs: Sequence[MemoryLayout]) -> OperationCounts:
    """Return what it takes to read operands together, and to write a row-major result."""
    shape = broadcast_shape(inputs[0].shape, inputs[-1].shape) or ()
    loops, across = loops_over(shape, *inputs)
    made = prod(shape)
    return OperationCounts(
        calls=1,
        loops=loops,
        strided=across,
        elements=made + sum(each.size for each in inputs),
        fresh=fresh_elements(made),
    )


def gathered(size: int, row: int) -> dict[str, int]:
    """Return what it takes to gather elements that lie in rows of so many."""
    return {"gathered": size} if row == 1 else {"loops": size // max(row, 1), "moved": size}


def written_at(x: MemoryLayout, axis: int, where: Positions) -> OperationCounts:
    """Return what it takes to write an array to some positions of an axis."""
    if isinstance(where, range):
        loops, across = loops_over(x.shape, x)
        loops = max(loops, prod(x.shape[:axis]))
        return OperationCounts(loops=loops, moved=x.size, strided=across, elements=x.size)
    row = prod(x.shape[axis + 1 :])
    return OperationCounts(calls=1, elements=x.size, **gathered(x.size, row))


def suits_blas(x: MemoryLayout) -> bool:
    """Return whether BLAS can read a matrix, or the matrices of a stack, as they lie."""
    return any(n == 1 or step == 1 for n, step in zip(x.shape[-2:], x.strides[-2:], strict=True))


def dots_of(rows: int, inner: int, cols: int) -> int:
    """Return the multiplications of a matrix product, with those that BLAS makes beyond.

    It multiplies in blocks of eight rows and columns, and starts each anew.
    """
    if rows == 1 or cols == 1:
        return rows * inner * cols
    return (-(-rows // 8) * 8) * (inner + 2) * (-(-cols // 8) * 8)


def size_of_both(one: MemoryLayout, two: MemoryLayout) -> int:
    """Return how many elements two arrays have together."""
    return prod(broadcast_shape(one.shape, two.shape) or ())
