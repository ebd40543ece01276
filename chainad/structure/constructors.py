"""Constructors of structures: what a rule states, brought into normal form, and the plain ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from chainad.ir.op import Op
from chainad.structure.normal_form import Labeling, Operand
from chainad.structure.structure import Action, Axis, Structure

Ops = tuple[Op, ...]


@dataclass(frozen=True)
class Arrangement:
    """A structure, and the ops that turn an array as a rule states it into the kept one."""

    structure: Structure
    ops: Ops


def arrange(
    rows: Sequence[Axis],
    cols: Sequence[Axis],
    sizes: dict[int, int],
    stored: Sequence[int] = (),
    scale: float | None = None,
) -> Arrangement:
    """Bring a structure as a rule states it into normal form; from a cache if it was seen.

    Parameters
    ----------
    rows, cols : sequence of Axis
        Axes of the output and of the input.
    sizes : dict
        The size of every label.
    stored : sequence of int
        The labels of the array that the rule keeps, in its own order.
    scale : float, optional
        The scalar factor, for a structure that keeps no array.
    """
    return _arrange(tuple(rows), tuple(cols), tuple(sizes.items()), tuple(stored), scale)


@lru_cache(maxsize=4096)
def _arrange(
    rows: tuple[Axis, ...],
    cols: tuple[Axis, ...],
    sizes: tuple[tuple[int, int], ...],
    stored: tuple[int, ...],
    scale: float | None,
) -> Arrangement:
    labeling = Labeling()
    labeling.sizes = dict(sizes)
    labeling.axes = [*rows, *cols]
    operand = Operand(stored, scale)
    labeling.operands = [operand]
    structure = labeling.normal_form(len(rows))
    return Arrangement(structure, tuple(operand.ops))


def from_labels(
    rows: Sequence[tuple[int, Sequence[int]]],
    cols: Sequence[tuple[int, Sequence[int]]],
    sizes: Mapping[int, int],
    stored: Sequence[int] | None = None,
    scale: float | None = None,
) -> Arrangement:
    """Return the structure with axes given as (size, labels); labels may occur several times."""
    assert (stored is None) != (scale is None)
    row_axes = [Axis(size, tuple(labels)) for size, labels in rows]
    col_axes = [Axis(size, tuple(labels)) for size, labels in cols]
    return arrange(row_axes, col_axes, dict(sizes), stored or (), scale)


def operator(
    arrangement: Arrangement,
    tangent: int | None,
    adjoint: int | None,
    stored: int | None = None,
    is_triangular: bool = False,
) -> Arrangement:
    """Return a structure whose formula gives an `Operator`, with its costs in multiplications.

    `stored` is how many entries it holds; by default as many as its materialized array. See
    `Action` for `is_triangular`.
    """
    plain = arrangement.structure
    assert not arrangement.ops, "the labels of an operator must be in normal form already"
    action = Action(tangent, adjoint, stored, is_triangular)
    parts = (plain.rows, plain.cols, plain.stored, plain.sizes, plain.scale)
    return Arrangement(Structure(*parts, action), ())


def reduced(
    rows: tuple[int, ...], cols: tuple[int, ...], axes: Sequence[int], scale: float | None = None
) -> Arrangement:
    """Return the structure of a reduction over `axes`, which may be kept with size 1.

    Without a scale, the rule states an entry for every entry of what is reduced.
    """
    kept: list[tuple[int, tuple[int, ...]]]
    kept = [(n, (k,)) for k, n in enumerate(cols) if k not in axes]
    if len(rows) == len(cols):
        kept = [(n, () if k in axes else (k,)) for k, n in enumerate(rows)]
    stored = None if scale is not None else tuple(range(len(cols)))
    all_axes = [(n, (k,)) for k, n in enumerate(cols)]
    return from_labels(kept, all_axes, dict(enumerate(cols)), stored, scale)


@lru_cache(maxsize=4096)
def identity(shape: tuple[int, ...]) -> Structure:
    """Return the identity on arrays of `shape`."""
    axes, sizes = _plain(shape)
    return Structure(axes, axes, (), sizes, 1)


@lru_cache(maxsize=4096)
def diagonal(shape: tuple[int, ...]) -> Structure:
    """Return the structure of an elementwise function of arrays of `shape`."""
    axes, sizes = _plain(shape)
    return Structure(axes, axes, tuple(range(len(sizes))), sizes, None)


@lru_cache(maxsize=4096)
def dense(row_shape: tuple[int, ...], col_shape: tuple[int, ...]) -> Structure:
    """Return the structure without any structure."""
    axes, sizes = _plain((*row_shape, *col_shape))
    n = len(row_shape)
    return Structure(axes[:n], axes[n:], tuple(range(len(sizes))), sizes, None)


@lru_cache(maxsize=4096)
def _axis(size: int, label: int) -> Axis:
    return Axis(size, () if size == 1 else (label,))


def _plain(shape: tuple[int, ...]) -> tuple[tuple[Axis, ...], tuple[int, ...]]:
    """Return axes with one label each, in normal form, and the sizes of the labels."""
    axes: list[Axis] = []
    sizes: list[int] = []
    for size in shape:
        axes.append(_axis(size, len(sizes)))
        if size != 1:
            sizes.append(size)
    return tuple(axes), tuple(sizes)
