"""Programs as XLA has them fastest: pads, masks and gathers, which it fuses, and few scatters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from chainad.backends.array_api import ARRAY_FUNCTIONS, ArrayLibrary, concatenated_regions
from chainad.ir.positions import Positions, as_array
from chainad.ir.shapes import Shape, resized

# XLA scatters an entry in about the time in which it passes over so many of a whole array.
PASSED_PER_SCATTERED = 32


@dataclass(frozen=True)
class XlaLibrary(ArrayLibrary):
    """JAX as an array library, whose programs hold constants of NumPy alone.

    They belong to no trace of JAX, so that a program serves all.
    """

    def vector(self, where: Positions) -> Any:
        return np.array(as_array(where))

    def positions(self, where: Positions) -> Any:
        return where if isinstance(where, range) and where.step > 0 else self.vector(where)

    def number(self, value: float) -> Any:
        return np.asarray(value, jnp.float64 if self.dtype is None else self.dtype)

    @property
    def functions(self) -> dict[str, Callable[..., Any]]:
        return {**super().functions, **_FUNCTIONS}


def _place(library: ArrayLibrary, x: Any, axis: int, where: Any, size: int) -> Any:
    if not isinstance(where, range) or size > PASSED_PER_SCATTERED * max(len(where), 1):
        return library.add_to_zeros(resized(x.shape, axis, size), axis, _vector(where), x)
    if not where:
        return jnp.zeros(resized(x.shape, axis, size), x.dtype)
    padding = [(0, 0, 0)] * x.ndim
    padding[axis] = (where.start, size - where[-1] - 1, where.step - 1)
    return lax.pad(x, jnp.zeros((), x.dtype), padding)


def _add_at(library: ArrayLibrary, x: Any, axis: int, where: Any, y: Any) -> Any:
    spread = jnp.broadcast_to(y, resized(x.shape, axis, len(where)))
    if isinstance(where, range) and x.shape[axis] <= PASSED_PER_SCATTERED * len(where):
        return x + _place(library, spread, axis, where, x.shape[axis])
    return library.index_add(x, axis, _vector(where), spread)


def _add_tied(library: ArrayLibrary, x: Any, shape: Shape, ties: tuple[int, ...], y: Any) -> Any:
    """Add where tied axes run together: y broadcast along the others, behind a mask."""
    first = {tie: ties.index(tie) for tie in sorted({*ties})}
    sizes = [1] * len(shape)
    for axis in first.values():
        sizes[axis] = shape[axis]
    tied = [shape[axis] for axis in first.values()]
    if prod(shape) > PASSED_PER_SCATTERED * prod(tied):
        return ARRAY_FUNCTIONS["add_tied"](library, x, shape, ties, y)
    full = jnp.broadcast_to(y, tied)
    # Axes of y are in the order of ties, those of x where a tie is first.
    moved = jnp.transpose(full, np.argsort([*first.values()]))
    part = jnp.broadcast_to(jnp.reshape(moved, sizes), shape)
    for axis, tie in enumerate(ties):
        if axis != first[tie]:
            own, other = (lax.broadcasted_iota(np.int32, shape, k) for k in (axis, first[tie]))
            part = jnp.where(own == other, part, jnp.zeros((), part.dtype))
    return jnp.reshape(jnp.reshape(x, shape) + part, x.shape)


def _scatter(
    library: ArrayLibrary, indices: Sequence[Any], size: int, covers: bool, signs: Any, *terms: Any
) -> Any:
    """Put regions at their positions: by a gather from all of them, or the sum of one from each."""
    values, where = concatenated_regions(library, indices, signs, terms), np.concatenate(indices)
    regions = [where] if _is_distinct(where) else indices
    is_sparse = size * len(regions) > PASSED_PER_SCATTERED * where.size
    if is_sparse or not all(map(_is_distinct, regions)):
        return library.add_to_zeros((size,), 0, where, values)
    parts = jnp.split(values, np.cumsum([len(region) for region in regions[:-1]], dtype=int))
    found = [_gathered(*each, size) for each in zip(parts, regions, strict=True)]
    return reduce(jnp.add, found)


def _is_distinct(where: Any) -> bool:
    return bool(np.unique(where).size == where.size)


def _gathered(values: Any, where: Any, size: int) -> Any:
    """Return values at different positions, and zeros at the others."""
    source = np.full(size, where.size)
    source[where] = np.arange(where.size)
    if where.size < size:
        values = jnp.concatenate([values, jnp.zeros(1, values.dtype)])
    return values if (source == np.arange(size)).all() else values[source]


def _sparse_dot(library: ArrayLibrary, values: Any, rows: Any, cols: Any, size: int, x: Any) -> Any:
    terms = values[:, None] * jnp.take(x, _vector(cols), axis=0)
    return library.add_to_zeros((size, x.shape[1]), 0, _vector(rows), terms)


def _vector(where: Any) -> Any:
    return np.array(where, np.intp)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add_at": _add_at,
    "add_tied": _add_tied,
    "place": _place,
    "scatter": _scatter,
    "segment_sum": _place,
    "sparse_dot": _sparse_dot,
}
