"""Nested results: the arrays inside tuples, lists and dictionaries, taken out and put back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from chainad.errors import InputError
from chainad.frontends.numpy.made_arrays import MadeArray, current
from chainad.frontends.numpy.packing import pack
from chainad.frontends.numpy.recorder import Recorder
from chainad.frontends.numpy.tracers import Tracer, has_tracer
from chainad.ir import trees
from chainad.ir.array_functions import is_ndarray
from chainad.ir.trees import LEAF, Tree

Arrange: TypeAlias = Callable[[Sequence[Any]], Any]

# They are the same at every call, and cannot be changed.
_CONSTANTS = (bool, int, float, complex, str, bytes, type(None), np.generic)


def flatten(value: Any, recorder: Recorder) -> tuple[Any, Arrange | None]:
    """Return the arrays of a result, recorded, and what puts arrays in their places.

    That is None where the result is one array or a tuple of them, as it is returned then.

    Raises
    ------
    InputError
        If something in it is no array, number or text, nor a container of these.
    """
    items, tree = trees.flatten(value)
    recorded = [_recorded(item, recorder) for item in items]
    arrays = [item for item in recorded if isinstance(item, Tracer)]
    if tree is LEAF and arrays:
        return arrays[0], None
    if tree.is_flat_tuple and len(arrays) == len(items):
        return tuple(arrays), None
    places = [k for k, item in enumerate(recorded) if isinstance(item, Tracer)]
    template = [None if isinstance(item, Tracer) else item for item in recorded]
    return tuple(arrays), partial(_arranged, tree, template, places)


def _recorded(item: Any, recorder: Recorder) -> Any:
    """Return an array as a recorded value, and what cannot be changed as it is."""
    if type(item) is MadeArray:
        item = current(item)
    if is_ndarray(item):
        is_traced = item.dtype == object and has_tracer(item)
        item = pack(item) if is_traced else recorder.constant(item)
    if isinstance(item, (Tracer, *_CONSTANTS)):
        return item
    raise InputError(
        "a compiled function returns arrays, numbers, text or None, or tuples, lists and"
        f" dictionaries of these, but got {type(item).__name__}"
    )


def with_aux(result: Tree, aux: Any, recorder: Recorder) -> tuple[tuple[Any, ...], Arrange]:
    """Return the arrays of what a function returns beside its result, and what arranges both.

    It takes the arrays of the result first.
    """
    found, arrange = flatten(aux, recorder)
    is_one = not isinstance(found, tuple)
    count = result.num_leaves

    def arranged(arrays: Sequence[Any]) -> Any:
        rest = arrays[count] if is_one else tuple(arrays[count:])
        return result.unflatten(arrays[:count]), arrange(rest) if arrange else rest

    return (found,) if is_one else found, arranged


def _arranged(
    tree: Tree, template: Sequence[Any], places: Sequence[int], arrays: Sequence[Any]
) -> Any:
    items = [*template]
    for k, array in zip(places, arrays, strict=True):
        items[k] = array
    return tree.unflatten(items)
