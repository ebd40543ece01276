"""The array operations that a program is made of: names and static parameters, no data.

The algebra of structures states in ops how stored arrays are moved and multiplied; `lower` puts
them into programs; a backend implements each once. Axes are counted from zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from chainad.ir.calls import Call, Guard
from chainad.ir.positions import Positions


@dataclass(frozen=True, slots=True)
class Full:
    """A 0-d array that holds `value`."""

    value: float


@dataclass(frozen=True, slots=True)
class Reshape:
    """The same elements in row-major order, with other axes."""

    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Transpose:
    """The axes in another order: new axis k is old axis `order[k]`."""

    order: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Axes of size 1 (or missing in front) repeated up to `shape`."""

    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Take:
    """Gather along one axis."""

    axis: int
    positions: Positions


@dataclass(frozen=True, slots=True)
class Place:
    """Put the entries of one axis at `positions` of a zero axis of `size`; the inverse of Take."""

    axis: int
    positions: Positions
    size: int


@dataclass(frozen=True, slots=True)
class SegmentSum:
    """Add up the entries of one axis that share a segment id."""

    axis: int
    segments: Positions
    size: int


@dataclass(frozen=True, slots=True)
class Sum:
    """The entries of some axes added up."""

    axes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Scale:
    """Every element times `factor`."""

    factor: float


@dataclass(frozen=True, slots=True)
class Add:
    """Elementwise sum of two arrays that broadcast."""


@dataclass(frozen=True, slots=True)
class Subtract:
    """Elementwise difference of two arrays that broadcast."""


@dataclass(frozen=True, slots=True)
class AddAt:
    """Add the second array to the entries of the first at `positions` of one axis."""

    axis: int
    positions: Positions


@dataclass(frozen=True, slots=True)
class AddTied:
    """Add the second array to those entries of the first at which axes run together.

    The first array is seen in `shape`; its axis k runs along axis `ties[k]` of the second: two
    equal ties are a Kronecker delta. The second array broadcasts along axes of size 1. The result
    has the axes of the first.
    """

    shape: tuple[int, ...]
    ties: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Copy:
    """The same elements in memory of their own."""


@dataclass(frozen=True, slots=True)
class Multiply:
    """Elementwise product of two arrays that broadcast."""


@dataclass(frozen=True, slots=True)
class MatMul:
    """Matrix product over the last two axes, earlier axes broadcast."""


@dataclass(frozen=True, slots=True)
class SparseDot:
    """A sparse matrix, its entries in the first array, times the 2-d second array.

    Entry k stands in row `rows[k]` of `size`, column `cols[k]`.
    """

    rows: Positions
    cols: Positions
    size: int


@dataclass(frozen=True, slots=True)
class Scatter:
    """Sums of vectors (or of scalars) put at `positions` of one vector of `size`.

    `signs` has a tuple for every region, +1 or -1 for each of its terms; the inputs are the terms
    of all regions, one after the other. Left empty, every region has one term. Overlapping entries
    are added up; `covers` says that there are none, and that every place is taken.
    """

    positions: tuple[Positions, ...]
    size: int
    covers: bool
    signs: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Materialize:
    """The array of an operator, in the shape of its labels."""

    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Jvp:
    """An operator applied to tangents, of shape (batch, in, columns)."""


@dataclass(frozen=True, slots=True)
class Vjp:
    """Adjoints, of shape (batch, rows, out), times an operator, which comes second."""


@dataclass(frozen=True, slots=True)
class Dot:
    """Sum over the last axis of an elementwise product."""


@dataclass(frozen=True, slots=True)
class Concatenate:
    """Arrays of one axis or more, one after the other along the first."""


@dataclass(frozen=True, slots=True)
class Row:
    """The entry at `index` of the first axis, without that axis."""

    index: int


Unary: TypeAlias = (
    Reshape
    | Transpose
    | Broadcast
    | Take
    | Place
    | SegmentSum
    | Sum
    | Scale
    | Copy
    | Materialize
    | Row
)
Binary: TypeAlias = (
    Add | Subtract | AddAt | AddTied | Multiply | MatMul | Dot | SparseDot | Jvp | Vjp
)
Op: TypeAlias = Full | Unary | Binary | Scatter | Concatenate | Call | Guard
