"""Structures: what is known of a Jacobian before any of its entries is computed.

A Jacobian dy/dx has the axes of y (`rows`) and of x (`cols`). Every axis is indexed by labels, in
row-major order; **a label that occurs twice is a Kronecker delta**. `stored` names the labels that
the kept array really has, in order. An axis may be indexed through `positions`: then its labels
visit those places only, and all others are zero (slices, gathers, stencils).

    operation                     rows        cols        stored
    dense                         i           j           i j
    tanh, exp, *  (diagonal)      i           i           i
    add, negate   (identity)      i           i           -
    A @ X wrt X   (A (x) I)       i k         j k         i j
    batched matmul                b i         b j         b i j
    sum over j                    i           i j         -
    x[2:]         (selection)     i           i -> 2..    -

A structure that keeps no array is `scale` times ones and ties. Structures are in normal form
(see `normal_form`), so that equality, hashing and printing come free.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar
from weakref import WeakValueDictionary

import numpy as np

from chainad.ir.cache import cached_property
from chainad.ir.positions import Index, Integers, Positions, as_array, is_injective

# What is this part full is multiplied more quickly as a block than entry by entry.
MIN_FILL_INVERSE = 3


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: `size` places, of which `labels` visit `positions` (None: all, in order)."""

    size: int
    labels: tuple[int, ...]
    positions: Positions | None = None

    @property
    def is_injective(self) -> bool:
        return self.positions is None or is_injective(self.positions)


@dataclass(frozen=True, slots=True)
class Action:
    """What an operator costs, in multiplications: per column of tangents, per row of adjoints.

    None stands for a direction that is not there; one of the two is. `stored` is how many entries
    the operator holds; None: as many as its materialized array. `is_triangular` says that no entry
    of its result depends on a later entry of what it is applied to.
    """

    tangent: int | None
    adjoint: int | None
    stored: int | None = None
    is_triangular: bool = False


class _Interned(type):
    """Makes equal structures one object, so that comparing and looking them up takes no time."""

    _known: ClassVar[WeakValueDictionary[Any, Any]] = WeakValueDictionary()

    def __call__(
        cls,
        rows: tuple[Axis, ...],
        cols: tuple[Axis, ...],
        stored: tuple[int, ...],
        sizes: tuple[int, ...],
        scale: float | None,
        action: Action | None = None,
    ) -> Any:
        key = (rows, cols, stored, sizes, scale, action)
        found = cls._known.get(key)
        return found or cls._known.setdefault(key, super().__call__(*key))


@dataclass(frozen=True, eq=False)
class Structure(metaclass=_Interned):
    """The shape, ties and kept labels of a Jacobian, in normal form; equal ones are one object.

    Attributes
    ----------
    rows, cols : tuple of Axis
        The axes of the output and of the input.
    stored : tuple of int
        The labels of the kept array, ascending; its shape is `stored_shape`.
    sizes : tuple of int
        The size of every label.
    scale : float or None
        The scalar factor when no array is kept; None when one is.
    action : Action or None
        If given, this is an operator: the array is not there, only its action is. Labels stored
        on both sides are batches, those on one side only are what the action maps.
    """

    rows: tuple[Axis, ...]
    cols: tuple[Axis, ...]
    stored: tuple[int, ...]
    sizes: tuple[int, ...]
    scale: float | None
    action: Action | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        parts = (self.rows, self.cols, self.stored, self.sizes, self.scale, self.action)
        return Structure, parts

    @cached_property
    def materialized(self) -> Structure:
        """The same Jacobian with its array kept."""
        return Structure(self.rows, self.cols, self.stored, self.sizes, self.scale)

    @cached_property
    def sides(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """The stored labels on both sides (batches), on rows only, and on cols only."""
        rows = {label for axis in self.rows for label in axis.labels}
        cols = {label for axis in self.cols for label in axis.labels}
        return (
            tuple(x for x in self.stored if x in rows and x in cols),
            tuple(x for x in self.stored if x not in cols),
            tuple(x for x in self.stored if x not in rows),
        )

    @cached_property
    def cost_to_materialize(self) -> int:
        """The multiplications that materialize an operator."""
        if self.action is None:
            return 0
        return min(cost for cost in self.costs_to_materialize if cost is not None)

    @cached_property
    def costs_to_materialize(self) -> tuple[int | None, int | None]:
        """The multiplications that materialize an operator by tangents, and by adjoints."""
        assert self.action is not None
        batch, out, inner = (prod(self.sizes[x] for x in labels) for labels in self.sides)
        tangent, adjoint = self.action.tangent, self.action.adjoint
        return (
            None if tangent is None else batch * tangent * inner,
            None if adjoint is None else batch * adjoint * out,
        )

    @cached_property
    def row_shape(self) -> tuple[int, ...]:
        return tuple(axis.size for axis in self.rows)

    @cached_property
    def col_shape(self) -> tuple[int, ...]:
        return tuple(axis.size for axis in self.cols)

    @cached_property
    def matrix_shape(self) -> tuple[int, int]:
        """Rows and columns of the Jacobian as a matrix."""
        return prod(self.row_shape), prod(self.col_shape)

    @cached_property
    def stored_shape(self) -> tuple[int, ...]:
        return tuple(self.sizes[label] for label in self.stored)

    @cached_property
    def count(self) -> int:
        """How many entries are stored."""
        if self.action is not None and self.action.stored is not None:
            return self.action.stored
        return 0 if self.scale is not None else prod(self.stored_shape)

    @cached_property
    def nonzeros(self) -> int:
        """How many entries of the matrix may be nonzero."""
        return prod(self.sizes)

    @property
    def is_unit(self) -> bool:
        """Whether every entry that ties and positions allow is +1, or every one is -1."""
        return self.scale is not None and abs(self.scale) == 1

    @cached_property
    def is_identity(self) -> bool:
        """Whether this is plus or minus the identity."""
        return (
            self.is_unit
            and self.rows == self.cols
            and all(axis.positions is None for axis in self.rows)
            and all(n == 1 for n in Counter(x for a in self.rows for x in a.labels).values())
        )

    @cached_property
    def is_dense(self) -> bool:
        """Whether an array with every entry of the matrix is kept."""
        if self.action is not None or self.scale is not None:
            return False
        entries = prod([axis.size for axis in (*self.rows, *self.cols)])
        return prod([self.sizes[label] for label in self.stored]) == entries

    @property
    def is_square(self) -> bool:
        """Whether rows and columns have the same shape."""
        return self.row_shape == self.col_shape

    @cached_property
    def is_matrix(self) -> bool:
        """Whether this is a dense or a diagonal matrix, with two or more rows and columns."""
        if self.action is not None or self.scale is not None:
            return False
        if len(self.rows) != 1 or len(self.cols) != 1 or len(self.stored) != len(self.sizes):
            return False
        ends = (self.rows[0], self.cols[0])
        is_plain = all(axis.positions is None and len(axis.labels) == 1 for axis in ends)
        return is_plain and min(self.sizes) > 1

    @cached_property
    def has_positions(self) -> bool:
        return any(axis.positions is not None for axis in (*self.rows, *self.cols))

    @cached_property
    def n_labels(self) -> tuple[int, int]:
        """How many labels index the rows, and how many the columns."""
        rows, cols = (sum(len(axis.labels) for axis in side) for side in (self.rows, self.cols))
        return rows, cols

    @property
    def is_tied(self) -> bool:
        """Whether some label occurs twice."""
        return sum(self.n_labels) > len(self.sizes)

    @cached_property
    def is_regular(self) -> bool:
        """Whether all positions are formulas, so that nothing of the size of the data is needed."""
        return not any(isinstance(axis.positions, Index) for axis in (*self.rows, *self.cols))

    @cached_property
    def kind(self) -> str:
        """One word for print-outs."""
        if self.action is not None:
            return "operator"
        if self.scale == 0:
            return "zero"
        if self.is_identity:
            return "identity" if self.scale == 1 else "-identity"
        if self.has_positions:
            return "selection" if self.is_unit else "pattern"
        rows = {label for axis in self.rows for label in axis.labels}
        cols = {label for axis in self.cols for label in axis.labels}
        if self.scale is not None:
            return _kind_of_unit(rows, cols)
        if self.is_dense:
            return "dense"
        if self.rows == self.cols:
            return "diagonal"
        tied = rows & cols
        if tied & set(self.stored):
            return "block diagonal"
        return "kronecker" if tied else "low rank"

    @cached_property
    def weight(self) -> int:
        """How many integers it takes to say which positions are visited."""
        axes = (*self.rows, *self.cols)
        return sum(len(axis.positions) for axis in axes if isinstance(axis.positions, Index))

    @property
    def fills_up(self) -> bool:
        """Whether the entries that positions list are a third of all there are."""
        rows, cols = self.matrix_shape
        return self.weight > 0 and MIN_FILL_INVERSE * self.nonzeros >= rows * cols

    def entries(self) -> tuple[Integers, Integers]:
        """Return row and column of every possible nonzero, in label order.

        The values of these entries are the kept array, broadcast to all labels.
        """
        return _flat(self.rows, self.sizes), _flat(self.cols, self.sizes)

    def nonzero_entries(self) -> tuple[Integers, Integers]:
        """Return `entries` without those that are zero in a triangular operator."""
        rows, cols = self.entries()
        if self.action is None or not self.action.is_triangular:
            return rows, cols
        _, out, inner = (
            _flat((Axis(prod(self.sizes[x] for x in labels), labels),), self.sizes)
            for labels in self.sides
        )
        return rows[out >= inner], cols[out >= inner]

    def __str__(self) -> str:
        names = {label: _name(label) for label in range(len(self.sizes))}
        return (
            f"{self.kind} [{_format_axes(self.rows, names)} | {_format_axes(self.cols, names)}]"
            f" stored {' '.join(names[x] for x in self.stored) or '-'}"
        )


def _kind_of_unit(rows: set[int], cols: set[int]) -> str:
    if cols - rows:
        return "sum"
    if rows - cols:
        return "broadcast"
    return "rearrangement"


def places(axis: Axis, labels: tuple[int, ...], sizes: dict[int, int]) -> Integers:
    """Return the place on `axis` of every assignment of `labels`, as an array over them.

    The result has one axis per label of `labels`, of size 1 where `axis` lacks that label.
    """
    if len(axis.labels) == 1 and axis.positions is not None:
        return as_array(axis.positions).reshape([-1 if x in axis.labels else 1 for x in labels])
    total = np.zeros((1,) * len(labels), np.int64)
    stride = 1
    for label in reversed(axis.labels):
        shape = [1] * len(labels)
        shape[labels.index(label)] = sizes[label]
        total = total + stride * np.arange(sizes[label]).reshape(shape)
        stride *= sizes[label]
    return total if axis.positions is None else as_array(axis.positions)[total]


def _flat(axes: tuple[Axis, ...], sizes: tuple[int, ...]) -> Integers:
    labels = tuple(range(len(sizes)))
    numbered = dict(enumerate(sizes))
    total = np.zeros((1,) * len(sizes), np.int64)
    for axis in axes:
        total = total * axis.size + places(axis, labels, numbered)
    return np.broadcast_to(total, sizes).ravel()


def _name(label: int) -> str:
    return chr(ord("i") + label) if label < 12 else f"l{label}"


def _format_axes(axes: tuple[Axis, ...], names: dict[int, str]) -> str:
    return " ".join(_format_axis(axis, names) for axis in axes) or "."


def _format_axis(axis: Axis, names: dict[int, str]) -> str:
    text = "".join(names[label] for label in axis.labels) or "1"
    text = f"({text})" if len(axis.labels) > 1 else text
    if axis.positions is None:
        return text
    if isinstance(axis.positions, range):
        r = axis.positions
        step = f":{r.step}" if r.step != 1 else ""
        return f"{text}@{r.start}:{r.start + r.step * len(r)}{step}"
    return f"{text}@{'index' if isinstance(axis.positions, Index) else 'lattice'}"
