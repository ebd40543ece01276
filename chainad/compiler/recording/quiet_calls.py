"""Quiet calls: which calls cause no floating-point warning, whatever their operands hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainad.backends.numpy.emit import MAX_SAFE_MAGNITUDE
from chainad.ir.calls import Call, Input
from chainad.ir.program import Instruction
from chainad.rules.base import kind_of
from chainad.rules.kinds import Elementwise, Movement


def is_quiet(i: Instruction, bounds: dict[int, float]) -> bool:
    """Return whether an instruction can cause no floating-point warning, whatever it reads.

    `bounds` has an upper bound of the magnitude of known registers; that of this one is added.
    """
    call = i.op
    if not isinstance(call, Call):  # it moves rows of stacks
        bounds[i.output] = max((bounds.get(k, math.inf) for k in i.inputs), default=math.inf)
        return True
    of = [_bound_of(x, i.inputs, bounds) for x in call.args]
    bounds[i.output] = found = _bound(call, of)
    kind = kind_of(call.function)
    is_exact = isinstance(kind, Elementwise) and kind.is_exact
    return is_exact or isinstance(kind, Movement) or found < MAX_SAFE_MAGNITUDE


def _bound(call: Call, of: list[float]) -> float:
    if call.kwargs or not of:
        return math.inf
    kind = kind_of(call.function)
    if isinstance(kind, Elementwise) and kind.bound < math.inf:
        return kind.bound
    if call.function is np.negative:
        return of[0]
    if call.function is np.multiply:
        return of[0] * of[1] if max(of) < MAX_SAFE_MAGNITUDE else math.inf
    return sum(of) if call.function in (np.add, np.subtract) else math.inf


def _bound_of(value: Any, inputs: Sequence[int], bounds: dict[int, float]) -> float:
    if isinstance(value, Input):
        return bounds.get(inputs[value.position], math.inf)
    is_number = isinstance(value, (bool, int, float)) and abs(value) < MAX_SAFE_MAGNITUDE
    return float(abs(value)) if is_number else math.inf
