"""The oracle of random programs: differences of several steps, trusted where these agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from chainad.testing.oracles import Array
from chainad.testing.random_programs import RandomProgram

_STEPS = (1e-3, -1e-3, 2e-3, -2e-3, 1e-5, -1e-5, 3e-6, -3e-6)


class Trusted(NamedTuple):
    """Derivatives, and which of them to believe: those that all steps agree on."""

    slopes: Array
    mask: npt.NDArray[np.bool_]


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
            [_along(values, partial(moved, i, place)) for place in np.ndindex(x.shape)]
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
    slopes, mask = np.zeros((size, len(columns))), np.zeros((size, len(columns)), bool)
    for k, column in enumerate(columns):
        slopes[:, k], mask[:, k] = column
    return Trusted(slopes, mask)


def _along(values: Sequence[Array], at: Callable[[float], list[Array]]) -> list[Trusted]:
    """Return the derivative of every output along one entry of an input."""
    moved = [at(step) for step in _STEPS]
    found = []
    for o, y in enumerate(values):
        if any(outputs[o].shape != y.shape for outputs in moved):
            found.append(Trusted(np.zeros(y.size), np.zeros(y.size, bool)))
            continue
        a, b, c, d, e, f, g, h = (outputs[o].ravel() for outputs in moved)
        far = (8 * (a - b) - (c - d)) / 12e-3  # the five-point formula: error step**4
        near, nearer = (e - f) / 2e-5, (g - h) / 6e-6
        right, left = (e - y.ravel()) / 1e-5, (y.ravel() - f) / 1e-5
        scale = 1 + np.abs(far)
        mask = np.maximum(np.abs(far - near), np.abs(near - nearer)) < 1e-5 * scale
        found.append(Trusted(far, mask & (np.abs(right - left) < 1e-2 * scale)))
    return found
