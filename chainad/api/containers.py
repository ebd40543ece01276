"""Nested results: the arrays inside tuples, lists and dictionaries, taken out and put back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from chainad.errors import InputError
from chainad.frontends.numpy.made_arrays import MadeArray, current
from chainad.frontends.numpy.packing import pack
from chainad.frontends.numpy.recorder import Recorder
from chainad.frontends.numpy.tracers import Tracer, has_tracer
from chainad.ir.array_functions import is_ndarray

Arrange: TypeAlias = Callable[[Sequence[Any]], Any]

# They are the same at every call, and cannot be changed.
_CONSTANTS = (bool, int, float, complex, str, bytes, type(None), np.generic)


@dataclass(frozen=True, slots=True)
class _Leaf:
    """The place of an array."""

    number: int


def flatten(value: Any, recorder: Recorder) -> tuple[Any, Arrange | None]:
    """Return the arrays of a result, recorded, and what puts arrays in their places.

    That is None where the result is one array or a tuple of them, as it is returned then.

    Raises
    ------
    InputError
        If something in it is no array, number or text, nor a container of these.
    """
    leaves: list[Tracer] = []
    template = _template(value, recorder, leaves)
    if isinstance(template, _Leaf):
        return leaves[0], None
    if type(template) is tuple and all(isinstance(item, _Leaf) for item in template):
        return tuple(leaves), None
    return tuple(leaves), lambda arrays: _filled(template, arrays)


def _template(value: Any, recorder: Recorder, leaves: list[Tracer]) -> Any:
    if type(value) is MadeArray:
        value = current(value)
    if is_ndarray(value):
        is_traced = value.dtype == object and has_tracer(value)
        value = pack(value) if is_traced else recorder.constant(value)
    if isinstance(value, Tracer):
        leaves.append(value)
        return _Leaf(len(leaves) - 1)
    if isinstance(value, _CONSTANTS):
        return value
    if _is_sequence(value):
        return _of_kind(type(value), [_template(item, recorder, leaves) for item in value])
    if type(value) is dict:
        return {k: _template(item, recorder, leaves) for k, item in value.items()}
    raise InputError(
        "a compiled function returns arrays, numbers, text or None, or tuples, lists and"
        f" dictionaries of these, but got {type(value).__name__}"
    )


def _filled(template: Any, arrays: Sequence[Any]) -> Any:
    if isinstance(template, _Leaf):
        return arrays[template.number]
    if _is_sequence(template):
        return _of_kind(type(template), [_filled(item, arrays) for item in template])
    if type(template) is dict:
        return {k: _filled(item, arrays) for k, item in template.items()}
    return template


def _is_sequence(value: Any) -> bool:
    return type(value) in (tuple, list) or (isinstance(value, tuple) and hasattr(value, "_fields"))


def _of_kind(kind: type, items: list[Any]) -> Any:
    return kind(*items) if hasattr(kind, "_fields") else kind(items)
