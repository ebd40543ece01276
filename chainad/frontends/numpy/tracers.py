"""What every traced value has, and which traced values there are in arguments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from chainad.frontends.numpy.tape import Tape
from chainad.rules.sparse_arrays import SparseArray

NUMBERS = (bool, int, float, complex, np.generic)
# Other subclasses of ndarray change what operators mean, or hide entries.
PLAIN = (np.ndarray, np.memmap)


class Tracer:
    """What every traced value has: a value, its tape, and the number of its node there."""

    __slots__ = ("number", "tape", "value")

    tape: Tape
    number: int
    value: Any

    def __init__(self, value: Any, tape: Tape, number: int) -> None:
        self.value = value
        self.tape = tape
        self.number = number

    @property
    def shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = np.shape(self.value)
        return shape

    @property
    def dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = self.value.dtype
        return dtype

    def snapshot(self) -> Tracer:
        """Return this value as it is now, whatever is written into it later."""
        self.tape.pinned.add(self.number)
        return type(self)(self.value, self.tape, self.number)


def raw(value: Any) -> Any:
    """Return the plain number or array behind a traced value."""
    while isinstance(value, Tracer):
        value = value.value
    return value


def undifferentiated(value: Any) -> Any:
    """Return the recorded value behind a traced one, or the plain number or array."""
    while isinstance(value, Tracer) and not value.tape.is_recorder:
        value = value.value
    return value


def tracers_in(value: Any) -> Iterator[Tracer]:
    """Yield the traced values inside (nested) arguments."""
    if isinstance(value, Tracer):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tracers_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from tracers_in(item)
    elif isinstance(value, SparseArray):
        yield from tracers_in(value.entries)
    elif isinstance(value, np.ndarray) and value.dtype == object:
        yield from tracers_in(value.ravel().tolist())


def has_tracer(value: Any) -> bool:
    """Return whether there are traced values inside (nested) arguments."""
    return any(True for _ in tracers_in(value))


def innermost_tape(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tape:
    """Return the tape of the innermost trace that any argument belongs to."""
    found: Tape | None = None
    for x in (*args, *kwargs.values()) if kwargs else args:
        if isinstance(x, Tracer):
            if found is None or x.tape.level > found.level:
                found = x.tape
        elif isinstance(x, (list, tuple, dict)) or (type(x) is np.ndarray and x.dtype.char == "O"):
            found = None
            break
    if found is None:
        found = max((x.tape for x in tracers_in((args, kwargs))), key=lambda t: t.level)
    return found
