"""Random Jacobians: a structure, its stored array, and the full array made without any algebra.

Entries are small integers held as floats, so that products of a few Jacobians are exact and tests
can require equality. `rng` is a `random.Random`, so that hypothesis can draw from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple

import numpy as np

from chainad.ir.positions import Positions, as_array, positions
from chainad.structure import arrange
from chainad.structure.structure import Axis, Structure
from chainad.testing.oracles import Array, Shape, apply_ops

AXIS_SIZES = (1, 2, 3, 4, 6, 6, 12)


class RandomJacobian(NamedTuple):
    """A random Jacobian: its structure, its stored array (None if it stores none), and in full.

    `dense` has the shape rows + cols, and is made without any of the library's algebra.
    """

    structure: Structure
    entries: Array | None
    dense: Array


def random_shape(rng: Random, most_axes: int = 2, sizes: Sequence[int] = AXIS_SIZES) -> Shape:
    """Return a shape of at most `most_axes` axes.

    Examples
    --------
    >>> len(random_shape(Random(0), most_axes=3)) <= 3
    True
    """
    return tuple(rng.choice(sizes) for _ in range(rng.randint(0, most_axes)))


def random_entries(rng: Random, shape: Shape) -> Array:
    """Return an array of small integers, none of them zero.

    Examples
    --------
    >>> bool(np.all(random_entries(Random(0), (2, 2)) != 0))
    True
    """
    values = np.random.default_rng(rng.getrandbits(32)).integers(1, 4, shape)
    signs = np.random.default_rng(rng.getrandbits(32)).choice([-1, 1], shape)
    return np.asarray(values * signs, np.float64)


def random_structure(
    rng: Random,
    row_shape: Shape,
    col_shape: Shape,
    *,
    tied: float = 0.6,
    positioned: float = 0.3,
    split: float = 0.4,
    unit: float = 0.35,
) -> RandomJacobian:
    """Return a random Jacobian of the given shape.

    Axes have one or several labels, some of which occur twice (ties); some axes are indexed through
    positions (slices, permutations, gathers with repeats); any subset of the labels is stored.

    Parameters
    ----------
    rng : random.Random
    row_shape, col_shape : tuple of int
        The shapes of output and input.
    tied, positioned, split, unit : float
        How likely a label occurs again, an axis is indexed through positions, an axis has several
        labels, nothing is stored.

    Returns
    -------
    RandomJacobian
        The structure, its stored array or None, and the full array.

    Examples
    --------
    >>> from chainad.testing import to_array
    >>> structure, entries, dense = random_structure(Random(1), (2, 3), (6,))
    >>> dense.shape
    (2, 3, 6)
    >>> bool(np.array_equal(to_array(structure, entries), dense))
    True
    """
    sizes: dict[int, int] = {}
    axes = []
    for n in (*row_shape, *col_shape):
        is_positioned = n > 0 and rng.random() < positioned
        count = rng.randint(1, n + 1) if is_positioned else n
        labels = _random_labels(rng, count, sizes, tied, split)
        axes.append(Axis(n, labels, _random_positions(rng, count, n) if is_positioned else None))
    rows, cols = axes[: len(row_shape)], axes[len(row_shape) :]
    if rng.random() < unit:
        return random_jacobian(rng, rows, cols, sizes, scale=rng.choice([1, -1, 1, 2.5]))
    stored = [label for label in sizes if rng.random() < 0.7]
    rng.shuffle(stored)
    return random_jacobian(rng, rows, cols, sizes, stored)


def _random_labels(
    rng: Random, n: int, sizes: dict[int, int], tied: float, split: float
) -> tuple[int, ...]:
    """Return labels for an axis of size `n`, used ones where these fit and chance says so."""
    labels: list[int] = []
    for size in _random_factors(rng, n, split):
        old = [x for x in sizes if sizes[x] == size and x not in labels]
        if old and rng.random() < tied:
            labels.append(rng.choice(old))
        else:
            labels.append(len(sizes))
            sizes[labels[-1]] = size
    return tuple(labels)


def _random_factors(rng: Random, n: int, split: float) -> list[int]:
    factors: list[int] = []
    while n > 1 and len(factors) < 2 and rng.random() < split:
        factors.append(rng.choice([d for d in range(2, n + 1) if n % d == 0]))
        n //= factors[-1]
    return [*factors, n] if n != 1 or rng.random() < 0.3 else factors


def _random_positions(rng: Random, count: int, n: int) -> Positions:
    """Return `count` places below `n`: a slice, distinct places, or any."""
    kind = rng.choice(["slice", "distinct", "any"])
    if kind == "slice" and count <= n:
        start = rng.randint(0, n - count)
        where = range(start, start + count)
        return where if rng.random() < 0.7 else positions(where[::-1])
    if kind == "distinct" and count <= n:
        return positions(rng.sample(range(n), count))
    return positions([rng.randrange(n) for _ in range(count)])


def random_jacobian(
    rng: Random,
    rows: Sequence[Axis],
    cols: Sequence[Axis],
    sizes: dict[int, int],
    stored: Sequence[int] = (),
    scale: float | None = None,
) -> RandomJacobian:
    """Return a Jacobian of the given structure with random entries.

    Examples
    --------
    >>> i = Axis(2, (0,))
    >>> random_jacobian(Random(0), [i], [i], {0: 2}, scale=-1).dense
    array([[-1.,  0.],
           [ 0., -1.]])
    """
    arrangement = arrange(rows, cols, sizes, stored, scale)
    entries = None
    if scale is None:
        entries = random_entries(rng, tuple(sizes[x] for x in stored))
    dense = _scattered(rows, cols, sizes, stored, scale if entries is None else entries)
    kept = apply_ops(arrangement.ops, entries)
    return RandomJacobian(arrangement.structure, kept, dense)


def _scattered(
    rows: Sequence[Axis],
    cols: Sequence[Axis],
    sizes: dict[int, int],
    stored: Sequence[int],
    values: Any,
) -> Array:
    """Return the full array: every assignment of the labels adds its entry at one place."""
    full = np.zeros([axis.size for axis in (*rows, *cols)])
    labels = list(sizes)
    at = dict(zip(labels, np.indices([sizes[x] for x in labels]), strict=True))
    place = []
    for axis in (*rows, *cols):
        number = np.zeros([sizes[x] for x in labels], np.int64)
        for label in axis.labels:
            number = number * sizes[label] + at[label]
        if axis.positions is not None:
            number = as_array(axis.positions)[number]
        place.append(number)
    each = np.asarray(values)[tuple(at[x] for x in stored)]
    np.add.at(full, tuple(place), each)
    return full
