"""Lists and object arrays of traced values and numbers as one traced array, made by one call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from chainad.frontends.numpy.tape import new_entry
from chainad.frontends.numpy.tracers import Tracer, has_tracer
from chainad.ir.graph import operands_alone
from chainad.ir.source_lines import raw_site
from chainad.rules.movement import set_items

_PLAIN_TYPES = {np.ndarray, np.float16, np.float32, np.float64}

# Where a value is in nested lists.
_Place = tuple[int, ...]


def as_one(value: Any) -> Any:
    """Return nested lists of traced and plain values as one array, traced if any of them is."""
    if not issubclass(type(value), (list, tuple)):
        return value
    if not has_tracer(value):
        return np.asarray(value)
    if all(isinstance(x, Tracer) for x in value) and len({*map(_identity, value)}) == len(value):
        stacked = _recorded_stack(value)
        return np.stack(value) if stacked is None else stacked
    return _joined(value)


def _recorded_stack(values: Sequence[Tracer]) -> Any:
    """Record `np.stack(values)` of floats of one shape and dtype at once; None if it is another.

    Arrays that are filled entry by entry are made so: every microsecond here is paid for each.
    """
    tape = values[0].tape
    if not tape.has_fast_path:
        return None
    arrays = [x.value for x in values]
    shape, dtype = arrays[0].shape, arrays[0].dtype
    if dtype.kind != "f":
        return None
    for x, array in zip(values, arrays, strict=True):
        if x.tape is not tape or array.shape != shape or array.dtype != dtype:
            return None
    operands = operands_alone(*((shape, dtype, True),) * len(arrays))
    sources = tuple([x.number for x in values])
    # Of recorded values, `np.array` would read the numbers.
    make = np.array if {*map(type, arrays)} <= _PLAIN_TYPES else np.stack
    value, number, key = make(arrays), len(tape.entries), (np.stack, shape, dtype, sources)
    template: Any = ([*operands],), {}
    fields = np.stack, template, sources, tuple(arrays), value, key, raw_site(4)
    tape.entries.append(new_entry(fields))
    return tape.box(value, tape, number, (np.stack, (values,), {}))


def pack(array: np.ndarray[Any, Any]) -> Any:
    """Return an object array that holds traced values as one traced array."""
    return as_one(array.tolist()) if array.ndim else array.item()


def packed(value: Any) -> Any:
    """Return a list or an object array with traced values as one array; others as they are."""
    kind = type(value)
    if issubclass(kind, (list, tuple)):
        return as_one(value) if has_tracer(value) else value
    if issubclass(kind, np.ndarray) and value.dtype == object and has_tracer(value):
        return pack(value)
    return value


def _identity(x: Tracer) -> tuple[int, int]:
    return id(x.tape), x.number


def _joined(value: Any) -> Any:
    """Return nested lists as the constants among them, into which traced values are written.

    A value that occurs several times is written once, at several places.
    """
    shape = _shape(value)
    constants: list[tuple[_Place, Any]] = []
    traced: dict[tuple[int, int], tuple[Any, list[_Place]]] = {}
    for place, x in _leaves(value, shape, ()):
        if isinstance(x, Tracer):
            traced.setdefault(_identity(x), (x, []))[1].append(place)
        else:
            constants.append((place, x))
    dtypes = [x.dtype for x, _ in traced.values()]
    array = np.zeros(shape, np.result_type(*dtypes, *(np.asarray(x).dtype for _, x in constants)))
    for place, x in constants:
        array[place] = x
    keys = tuple(_key(places) for _, places in traced.values())
    return set_items(array, keys, [x for x, _ in traced.values()])


def _key(places: list[_Place]) -> tuple[Any, ...]:
    return places[0] if len(places) == 1 else tuple(map(np.array, zip(*places, strict=True)))


def _shape(value: Any) -> tuple[int, ...]:
    if isinstance(value, (list, tuple)):
        return (len(value), *(_shape(value[0]) if value else ()))
    return np.shape(value)


def _leaves(value: Any, shape: tuple[int, ...], place: _Place) -> Iterator[tuple[_Place, Any]]:
    """Yield the arrays and numbers in nested lists of a shape, and where they are."""
    if isinstance(value, np.ndarray) and value.dtype == object:
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        if len(value) != shape[len(place)]:
            raise _ragged(len(place) + 1)
        for k, x in enumerate(value):
            yield from _leaves(x, shape, (*place, k))
    elif np.shape(value) != shape[len(place) :]:
        raise _ragged(len(place))
    else:
        yield place, value


def _ragged(axes: int) -> ValueError:
    return ValueError(
        "setting an array element with a sequence. The requested array has an inhomogeneous shape"
        f" after {axes} dimensions"
    )
