"""What an entry of a tape does to its operand: a choice, a transpose, a diagonal, its slope."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainad.frontends.numpy.tape import Entry
from chainad.frontends.numpy.traced_calls import refill
from chainad.rules.base import RULES
from chainad.rules.kinds import Conversion, Movement


def slope_of(entry: Entry, of_operands: Sequence[Any]) -> Any:
    """Return the slope of an entry by the eigenvalues, from those of its operands."""
    if np.size(entry.value) == 1:  # the same for all eigenvalues
        return 0.0
    row = RULES.get(entry.function)
    if row is None:
        return np.nan
    if row.partials is not None:
        total: Any = 0.0
        for partial, slope in zip(row.partials, of_operands, strict=True):
            if slope is None or partial is None:
                continue
            by = partial(entry.value, *entry.operands) if callable(partial) else partial
            if isinstance(by, str):
                return np.nan
            total = total + np.where(np.equal(by, 0), 0.0, by * slope)
        return total
    if len(of_operands) == 1 and isinstance(row.kind, (Movement, Conversion)):
        x = entry.operands[0]
        numbers = np.asarray(_call_on(entry, np.arange(float(np.size(x))).reshape(np.shape(x))))
        is_in_order = np.array_equal(numbers.ravel(), np.arange(np.size(x)))
        if is_in_order:
            return _call_on(entry, np.broadcast_to(of_operands[0], np.shape(x)))
    return np.nan


def chosen_entries(entry: Entry, axis: int) -> tuple[int, ...] | None:
    """Return which entries of an axis a call takes, if that is all it does; None for all."""
    row = RULES.get(entry.function)
    if len(entry.sources) != 1 or row is None or not isinstance(row.kind, Movement):
        return None
    shape, found = np.shape(entry.operands[0]), np.shape(entry.value)
    if len(found) != len(shape) or len(shape) < -axis or not found[axis]:
        return None
    numbers = np.arange(float(np.size(entry.operands[0]))).reshape(shape)
    taken = np.asarray(_call_on(entry, numbers))
    line = np.moveaxis(taken, axis, -1).reshape(-1, found[axis])[0]
    positions = [*np.searchsorted(np.moveaxis(numbers, axis, -1).reshape(-1, shape[axis])[0], line)]
    if max(positions) >= shape[axis] or positions == [*range(shape[axis])]:
        return None
    return tuple(positions) if np.array_equal(numbers.take(positions, axis), taken) else None


def _call_on(entry: Entry, x: Any) -> Any:
    if entry.template is None:
        return entry.function(x)
    args, kwargs = entry.template
    return entry.function(*refill(args, [x]), **refill(kwargs, [x]))


def is_plain_diagonal(entry: Entry) -> bool:
    """Return whether a call makes a diagonal matrix of a vector."""
    static = () if entry.template is None else entry.template[0][1:]
    return np.ndim(entry.operands[0]) == 1 and static in ((), (0,))


def is_transpose(entry: Entry) -> bool:
    """Return whether a call swaps the last two axes, and no other."""
    x = entry.operands[0]
    row = RULES.get(entry.function)
    if row is None or not isinstance(row.kind, Movement) or np.ndim(x) < 2:
        return False
    if np.shape(entry.value) != (*np.shape(x)[:-2], *np.shape(x)[:-3:-1]):
        return False
    numbers = np.arange(float(np.size(x))).reshape(np.shape(x))
    return np.array_equal(_call_on(entry, numbers), np.matrix_transpose(numbers))
