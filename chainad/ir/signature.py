"""Signatures: what Jacobians depend on beside entries, whatever front end made the run."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any, NamedTuple

import numpy as np

from chainad.ir.shapes import Shape


class Block(NamedTuple):
    """The Jacobian of one output by one input, of the shape `rows + cols`."""

    rows: Shape
    cols: Shape
    dtype: np.dtype[Any]


class Signature(NamedTuple):
    """Shapes and dtypes of the inputs to differentiate by and of the outputs.

    Attributes
    ----------
    inputs, outputs : tuple of (shape, dtype)
    key : hashable
        Equal for two runs exactly if they differ in values only.
    blocks : tuple of Block
        The blocks of the Jacobian, output by output; those of integers have the input's dtype.
    """

    inputs: tuple[tuple[Shape, np.dtype[Any]], ...]
    outputs: tuple[tuple[Shape, np.dtype[Any]], ...]
    key: Hashable
    blocks: tuple[Block, ...]

    @property
    def itemsize(self) -> int:
        """The bytes of an entry of the Jacobian, the largest of all blocks."""
        return max([block.dtype.itemsize for block in self.blocks], default=8)


def signature_of(inputs: Iterable[Any], outputs: Iterable[Any], key: Hashable) -> Signature:
    """Return the signature of a run with these values."""
    wanted = tuple([(x.shape, x.dtype) for x in inputs])
    found = tuple([(y.shape, y.dtype) for y in outputs])
    blocks = [
        Block(rows, cols, dtype if dtype.kind == "f" else own)
        for rows, dtype in found
        for cols, own in wanted
    ]
    return Signature(wanted, found, key, tuple(blocks))
