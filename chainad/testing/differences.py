"""The oracle of random programs: differences of several steps, trusted where these agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from chainad.testing.oracles import Array
from chainad.testing.random_programs import RandomProgram

Mask: TypeAlias = npt.NDArray[np.bool_]

_STEPS = (1e-3, -1e-3, 2e-3, -2e-3, 1e-5, -1e-5, 3e-6, -3e-6)


class Trusted(NamedTuple):
    """Derivatives, and which of them to believe.

    `is_smooth` where all steps agree, `is_sided` where those of each side do: at kinks, but neither
    at jumps nor where rounding errors are all there is.
    """

    slopes: Array
    is_smooth: Mask
    is_sided: Mask


@dataclass(frozen=True)
class Truth:
    """What NumPy alone says of a function: its values, and d(output o)/d(input i) as matrices."""

    values: tuple[Array, ...]
    blocks: tuple[tuple[Trusted, ...], ...]


def truth_of(program: RandomProgram) -> Truth | None:
    """Return what differences say of a program; None if it raises around its point."""
    f = program.function()

    def moved(which: int, place: tuple[int, ...], step: float) -> list[Array]:
        point = program.point()
        there = np.array(point[which])
        there[place] += step
        point[which] = there[()]
        return outputs_of(f(*point))

    try:
        values = outputs_of(f(*program.point()))
        by_input = [
            [along(values, partial(moved, i, place)) for place in np.ndindex(x.shape)]
            for i, x in enumerate(program.inputs)
        ]
    except Exception:  # a random function may raise anything where it was not tried
        return None
    blocks = (
        tuple(_joined([column[o] for column in columns], y.size) for columns in by_input)
        for o, y in enumerate(values)
    )
    return Truth(tuple(values), tuple(blocks))


def outputs_of(value: Any) -> list[Array]:
    """Return what a function returns as a list of arrays of floats."""
    return [np.asarray(y, float) for y in (value if isinstance(value, tuple) else (value,))]


def _joined(columns: Sequence[Trusted], size: int) -> Trusted:
    """Return the columns of a matrix as one."""
    shape, dtypes = (size, len(columns)), (float, bool, bool)
    parts = Trusted(*(np.zeros(shape, dtype) for dtype in dtypes))
    for k, column in enumerate(columns):
        for part, values in zip(parts, column, strict=True):
            part[:, k] = values
    return parts


def along(values: Sequence[Array], at: Callable[[float], list[Array]]) -> list[Trusted]:
    """Return the derivative of every output by the step that `at` takes."""
    moved = [at(step) for step in _STEPS]
    found = []
    for o, y in enumerate(values):
        if all(outputs[o].shape == y.shape for outputs in moved):
            found.append(_compared(y.ravel(), *(outputs[o].ravel() for outputs in moved)))
        else:
            nowhere = np.zeros(y.size, bool)
            found.append(Trusted(np.zeros(y.size), nowhere, nowhere))
    return found


def _compared(y: Array, *moved: Array) -> Trusted:
    a, b, c, d, e, f, g, h = moved
    far = (8 * (a - b) - (c - d)) / 12e-3  # the five-point formula: error step**4
    near, nearer = (e - f) / 2e-5, (g - h) / 6e-6
    right, left = (e - y) / 1e-5, (y - f) / 1e-5
    scale = 1 + np.abs(far)
    is_smooth = np.maximum(np.abs(far - near), np.abs(near - nearer)) < 1e-5 * scale
    is_smooth &= np.abs(right - left) < 1e-2 * scale
    is_sided = np.abs(right - (g - y) / 3e-6) < 1e-2 * scale
    is_sided &= np.abs(left - (y - h) / 3e-6) < 1e-2 * scale
    return Trusted(far, is_smooth, is_sided)
