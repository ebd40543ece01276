"""Batched runs: a recording and its program on many points at once, array by array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from chainad.api.recorded_run import PlannedRun
from chainad.compiler.vectorize import BatchedArray, NotBatchableError
from chainad.ir.calls import Call, Guard
from chainad.ir.progress import Meter

Points = npt.NDArray[Any]

# The values of the points of one chunk stay in the processor's cache.
MAX_CHUNK_ENTRIES = 1 << 18
MAX_CHUNK_POINTS = 4096

# What NumPy raises where a call on stacks is not what it is on arrays.
_REFUSALS = (NotBatchableError, TypeError, ValueError, IndexError, AttributeError)


def run_batched(
    found: PlannedRun, inputs: Mapping[int, Any], count: int, shapes: Sequence[tuple[int, ...]],
    has_value: bool, meter: Meter,
) -> tuple[list[Points], npt.NDArray[np.bool_]]:  # fmt: skip
    """Return values (if requested) and Jacobians at all points, and where the guards hold.

    `inputs` are stacks of `count` points, or arrays that all points share, by number; `meter` is
    told of the points.

    Raises
    ------
    NotBatchableError
        If some call has no known meaning for many points.
    """
    dtypes = [*found.dtypes] if has_value else []
    dtypes += [found.block_dtypes[k] for k in range(len(shapes) - len(dtypes))]
    outputs = [np.empty((count, *s), dtype) for s, dtype in zip(shapes, dtypes, strict=True)]
    holds = np.ones(count, bool)
    size = sum(prod(call.shape) for call in found.recording.calls) + sum(map(prod, shapes))
    chunk = min(max(MAX_CHUNK_ENTRIES // max(size, 1), 1), MAX_CHUNK_POINTS)
    with np.errstate(all="ignore"):
        for first in range(0, count, chunk):
            part = slice(first, min(first + chunk, count))
            given = {
                k: BatchedArray(x.data[part]) if isinstance(x, BatchedArray) else x
                for k, x in inputs.items()
            }
            try:
                results, holds[part] = _run(found, given, part.stop - first, has_value)
            except _REFUSALS as error:
                raise NotBatchableError(str(error)) from error
            for whole, result in zip(outputs, results, strict=True):
                whole[part] = result.data if isinstance(result, BatchedArray) else result
            meter.advance(part.stop - first)
    return outputs, holds


def _run(
    found: PlannedRun, inputs: Mapping[int, Any], count: int, has_value: bool
) -> tuple[list[Any], npt.NDArray[np.bool_]]:
    recording, program = found.recording, found.program
    values: dict[int, Any] = {**recording.program.constants, **inputs}
    holds = np.ones(count, bool)
    for i in recording.program.instructions:
        operands = [values[k] for k in i.inputs]
        if isinstance(i.op, Guard):
            holds &= _holds(i.op, operands[0], count)
        elif isinstance(i.op, Call):
            values[i.output] = _called(i.op, operands)
    slots = [None if k is None else values[k] for k in recording.slots]
    arrays = iter(program.run(slots))
    blocks = [0.0 if form is None else next(arrays) for form in program.forms]
    results = [values[k] for k in recording.values] if has_value else []
    return [*results, *blocks], holds


def _called(call: Call, operands: Sequence[Any]) -> Any:
    result = call(*operands)
    depends = any(isinstance(x, BatchedArray) for x in operands)
    if depends and not isinstance(result, BatchedArray):
        raise NotBatchableError(call.name)
    if depends and (result.shape, result.dtype) != (call.shape, call.dtype):
        raise NotBatchableError(f"the shape of {call.name} depends on values")
    return result


def _holds(guard: Guard, value: Any, count: int) -> Any:
    """Return for which points what was read off a value is as it was."""
    if not isinstance(value, BatchedArray) or guard.kind == "shape":
        return True
    rows = np.ascontiguousarray(value.data).reshape(count, -1)
    if guard.kind == "truth":
        return rows[:, 0].astype(bool) == guard.found
    wanted = np.ascontiguousarray(guard.found).reshape(1, -1)
    return (rows.view(np.uint8) == wanted.view(np.uint8)).all(axis=1)
