"""Structures of data movement: views, selections and reshapes, which store nothing."""

from __future__ import annotations

import numpy as np

from chainad.ir.positions import Integers, coordinates, positions, refine
from chainad.structure.constructors import Arrangement, arrange
from chainad.structure.structure import Axis


def strided(
    start: int, strides: tuple[int, ...], shape: tuple[int, ...], source: tuple[int, ...]
) -> Arrangement | None:
    """Return the structure of a view of a contiguous array of shape `source`, or None.

    Entry i of the view is entry start + strides . i of the array. Returns None for views
    of which an axis moves along several axes of the array, as of some reshapes.
    """
    first = np.unravel_index(start, source) if source else ()
    steps: dict[int, tuple[int, int]] = {}  # axis of the array -> axis of the view, step
    for k, (stride, size) in enumerate(zip(strides, shape, strict=True)):
        if size == 1 or stride == 0:
            continue
        one = np.subtract(np.unravel_index(start + stride, source), first)
        end = np.subtract(np.unravel_index(start + stride * (size - 1), source), first)
        moved = np.flatnonzero(one)
        if moved.size != 1 or not np.array_equal(end, one * (size - 1)) or moved[0] in steps:
            return None
        steps[int(moved[0])] = (k, int(one[moved[0]]))
    rows = [Axis(size, (k,)) for k, size in enumerate(shape)]
    cols = []
    for a, size in enumerate(source):
        at = int(first[a])
        if a not in steps:
            cols.append(Axis(size, (), range(at, at + 1)))
            continue
        k, step = steps[a]
        cols.append(Axis(size, (k,), range(at, at + step * shape[k], step)))
    return arrange(rows, cols, dict(enumerate(shape)), scale=1)


def selection(source: Integers, shape: tuple[int, ...]) -> Arrangement:
    """Return the structure of y[i] = x.ravel()[source[i]] for x of `shape`.

    Sources outside x are constants. Axes that move independently get labels of their own, so
    that for example a roll along one axis leaves the labels of all others in place.
    """
    total = int(np.prod(shape, dtype=np.int64))
    inside = (source >= 0) & (source < total)
    if not inside.any():
        return _zero(source.shape, shape)
    visited = [
        np.flatnonzero(inside.any(axis=tuple(a for a in range(source.ndim) if a != k)))
        for k in range(source.ndim)
    ]
    box = inside[np.ix_(*visited)] if visited else inside
    if not box.all():
        return _scattered(source, np.flatnonzero(inside), shape)
    numbers = source[np.ix_(*visited)] if visited else source
    sizes = {k: where.size for k, where in enumerate(visited)}
    rows = [
        Axis(n, (k,), positions(where))
        for k, (n, where) in enumerate(zip(source.shape, visited, strict=True))
    ]
    cols = []
    for n, coordinate in zip(shape, coordinates(numbers, shape), strict=True):
        labels = tuple(k for k in range(numbers.ndim) if _varies(coordinate, k))
        thin = coordinate[tuple(slice(None) if k in labels else 0 for k in range(numbers.ndim))]
        cols.append(Axis(n, labels, positions(thin)))
    return arrange(rows, cols, sizes, scale=1)


def _varies(coordinate: Integers, axis: int) -> bool:
    return bool((coordinate != coordinate.take([0], axis=axis)).any())


def _scattered(source: Integers, where: Integers, shape: tuple[int, ...]) -> Arrangement:
    """Return a selection entry by entry."""
    rows = _axes_through(where, source.shape)
    cols = _axes_through(source.ravel()[where], shape)
    return arrange(rows, cols, {0: where.size}, scale=1)


def _axes_through(where: Integers, shape: tuple[int, ...]) -> list[Axis]:
    if not shape:
        return []
    places = coordinates(where, shape)
    return [Axis(n, (0,), positions(at)) for n, at in zip(shape, places, strict=True)]


def _zero(rows: tuple[int, ...], cols: tuple[int, ...]) -> Arrangement:
    """Return the zero Jacobian."""
    axes = [Axis(n, (k,)) for k, n in enumerate((*rows, *cols))]
    return arrange(axes[: len(rows)], axes[len(rows) :], dict(enumerate((*rows, *cols))), scale=0)


def reshaped(shape: tuple[int, ...], into: tuple[int, ...]) -> Arrangement | None:
    """Return the structure of a row-major reshape; None if the shapes have no common refinement."""
    parts = refine(shape, into)
    if parts is None:
        return None
    rows, cols = _axes_of_factors(into, parts), _axes_of_factors(shape, parts)
    return arrange(rows, cols, dict(enumerate(parts)), scale=1)


def _axes_of_factors(shape: tuple[int, ...], parts: list[int]) -> list[Axis]:
    """Return axes of the sizes `shape` with consecutive labels of the sizes `parts`."""
    axes, k = [], 0
    for size in shape:
        labels, got = [], 1
        while got < size:
            labels.append(k)
            got *= parts[k]
            k += 1
        axes.append(Axis(size, tuple(labels)))
    return axes
