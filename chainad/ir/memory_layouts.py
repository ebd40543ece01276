"""Layouts of arrays: their strides, whether a reshape must copy, how NumPy walks through operands.

Operations on equal numbers of elements differ by an order of magnitude: NumPy starts one loop for
every run of elements that lie evenly in all operands, and elements that are far apart are read
cache line by cache line.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from chainad.ir.shapes import Shape

# Of larger arrays (32 MiB), glibc returns the pages, so that each new one meets fresh ones.
MIN_FRESH_ELEMENTS = 1 << 22


class MemoryLayout(NamedTuple):
    """How the elements of an array lie in memory: strides count elements, 0 where they repeat."""

    shape: Shape
    strides: Shape

    @property
    def size(self) -> int:
        """How many elements the array has."""
        return prod(self.shape)

    @property
    def is_row_major(self) -> bool:
        """Whether the elements lie one after the other."""
        return loops_over(self.shape, self) == (1, 0)

    def transposed(self, order: Sequence[int]) -> MemoryLayout:
        """Return the layout with its axes in another order."""
        shape, strides = (tuple(each[k] for k in order) for each in self)
        return MemoryLayout(shape, strides)

    def reshaped(self, shape: Shape) -> MemoryLayout | None:
        """Return the layout of the same elements in row-major order with other axes.

        None if no strides say that: then the array must be copied.
        """
        old = [(n, s) for n, s in zip(self.shape, self.strides, strict=True) if n != 1]
        strides: list[int] = []
        for n in reversed(shape):
            if n == 1 or not old:
                strides.append(0)
                continue
            size, stride = old.pop()
            while size % n and old:  # one axis of what were several
                more, step = old.pop()
                if step != stride * size:
                    return None
                size *= more
            strides.append(stride)
            if size > n:
                old.append((size // n, stride * n))
        return MemoryLayout(shape, tuple(reversed(strides)))


def row_major(shape: Shape) -> MemoryLayout:
    """Return the layout of a new array."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return MemoryLayout(shape, tuple(reversed(strides)))


def broadcast(layout: MemoryLayout, shape: Shape) -> MemoryLayout:
    """Return the layout of an array repeated up to a shape."""
    missing = len(shape) - len(layout.shape)
    strides = [
        0 if have == 1 != n else step
        for have, step, n in zip(layout.shape, layout.strides, shape[missing:], strict=True)
    ]
    return MemoryLayout(shape, (0,) * missing + tuple(strides))


def loops_over(shape: Shape, *operands: MemoryLayout) -> tuple[int, int]:
    """Return how many loops make a row-major array, and how many elements are read across lines.

    The operands broadcast to `shape`. Axes run together where they do so in all operands.
    """
    strides = [row_major(shape).strides, *(broadcast(each, shape).strides for each in operands)]
    loops, _ = _runs(shape, strides)
    last = max((k for k, n in enumerate(shape) if n > 1), default=None)
    if last is None:
        return 1, 0
    across = sum(each[last] not in (0, 1) for each in strides)
    return loops, across * prod(shape)


def loops_of_sum(layout: MemoryLayout, axes: Sequence[int]) -> tuple[int, int]:
    """Return how many loops add up some axes, and how many elements are read across lines.

    NumPy walks along the axes as they lie in memory, wherever they are in the shape.
    """
    kept = [
        (abs(step), n, k in axes)
        for k, (n, step) in enumerate(zip(layout.shape, layout.strides, strict=True))
        if n > 1
    ]
    if not kept:
        return 1, 0
    kept.sort(key=lambda each: -each[0])
    step, run, is_added = kept.pop()
    across = layout.size if step > 1 else 0
    while kept and kept[-1][2] == is_added and kept[-1][0] == step * run:
        run *= kept.pop()[1]
    return layout.size // run if run else 1, across


def fresh_elements(size: int) -> int:
    """Return how many elements of a new array are in pages that were never touched."""
    return size if size >= MIN_FRESH_ELEMENTS else 0


def _runs(shape: Shape, strides: Sequence[Shape]) -> tuple[int, int]:
    """Return how many runs of how many elements lie evenly in all operands."""
    axes = [k for k, n in enumerate(shape) if n != 1]
    if not axes or 0 in shape:
        return 1, prod(shape)
    k = axes.pop()
    run = shape[k]
    while axes and all(each[axes[-1]] == each[k] * shape[k] for each in strides):
        k = axes.pop()
        run *= shape[k]
    return prod(shape) // run, run
