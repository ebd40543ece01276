"""Signatures: what Jacobians depend on beside entries, whatever front end made the run."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np

from chainad.ir.cache import Cache, cached_property
from chainad.ir.shapes import Shape


class Block(NamedTuple):
    """The Jacobian of one output by one input, of the shape `rows + cols`."""

    rows: Shape
    cols: Shape
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """The bytes of its entries."""
        return prod(self.rows + self.cols) * self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class Signature:
    """Shapes and dtypes of the inputs to differentiate by and of the outputs.

    There is one for all runs that differ in values only, so that it is compared by identity.

    Attributes
    ----------
    inputs, outputs : tuple of (shape, dtype)
    """

    inputs: tuple[tuple[Shape, np.dtype[Any]], ...]
    outputs: tuple[tuple[Shape, np.dtype[Any]], ...]

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks of the Jacobian, output by output; of integers in the dtype of the input."""
        return tuple(
            [
                Block(rows, cols, dtype if dtype.kind == "f" else own)
                for rows, dtype in self.outputs
                for cols, own in self.inputs
            ]
        )

    @cached_property
    def itemsize(self) -> int:
        """The bytes of an entry of the Jacobian, the largest of all blocks."""
        return max([block.dtype.itemsize for block in self.blocks], default=8)

    @cached_property
    def nbytes(self) -> int:
        """The bytes of all entries of the Jacobian."""
        return sum([block.nbytes for block in self.blocks])


_signatures: Cache[Signature] = Cache(512, "signatures of traces")


def signature_of(inputs: Iterable[Any], outputs: Iterable[Any], key: Hashable) -> Signature:
    """Return the signature of a run with these values.

    `key` is equal for two runs exactly if they call the same on inputs of the same types.
    """
    found = tuple([(y.shape, y.dtype) for y in outputs])
    return _signatures.get(
        (key, found), lambda: Signature(tuple([(x.shape, x.dtype) for x in inputs]), found)
    )
