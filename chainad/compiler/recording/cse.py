"""Formulas that compute again what is known: the slope of a sine is the cosine that f has taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from chainad.compiler.recording.recording import Recording, Step
from chainad.frontends.numpy.recorder import Ref


def merged(recording: Recording) -> Recording:
    """Return a recording without the calls of formulas that are there already.

    Calls of the function itself stay: what it returns twice is two arrays.
    """
    first: dict[Any, int] = {}
    same: dict[int, int] = {}
    steps: list[Step] = []
    for step in recording.steps:
        args = _renamed(step.args, same)
        key = _key(step, args)
        known = step.number if key is None else first.setdefault(key, step.number)
        if known != step.number and step.number >= recording.formulas:
            same[step.number] = known
            continue
        steps.append(replace(step, args=args, kwargs=_renamed(step.kwargs, same)))
    guards = [replace(each, number=same.get(each.number, each.number)) for each in recording.guards]
    slots = tuple(_renamed(slot, same) for slot in recording.slots)
    return replace(recording, steps=tuple(steps), guards=tuple(guards), slots=slots)


def _key(step: Step, args: tuple[Any, ...]) -> Any:
    """Return what equal calls have in common; None for a call that may do more than compute.

    The state of np.errstate is no part of it: what there was to warn of, the first call has told.
    """
    if not isinstance(step.function, np.ufunc) or step.kwargs:
        return None
    known: list[Any] = []
    for arg in args:
        if isinstance(arg, Ref):
            known.append(arg.number)
        elif type(arg) in (int, float):
            known.append((type(arg), repr(arg)))
        else:
            return None
    return step.function, tuple(known)


def _renamed(value: Any, same: Mapping[int, int]) -> Any:
    """Return a value with every `Ref` to what is left out as one to what is there instead."""
    if isinstance(value, Ref):
        return Ref(same[value.number]) if value.number in same else value
    if not same:
        return value
    if isinstance(value, (list, tuple)):
        items = [_renamed(item, same) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, dict):
        return {k: _renamed(item, same) for k, item in value.items()}
    if isinstance(value, slice):
        return slice(*(_renamed(x, same) for x in (value.start, value.stop, value.step)))
    return value
