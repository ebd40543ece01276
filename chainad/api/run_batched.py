"""Batched runs: a recording and its program on many points at once, array by array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from chainad.api.recorded_run import PlannedRun
from chainad.compiler.recording.recording import RecordedCall
from chainad.compiler.scalar.scalarize import substitute
from chainad.compiler.vectorize import BatchedArray, NotBatchableError
from chainad.frontends.numpy.recorder import Guard, Ref

Points = npt.NDArray[Any]

# The values of the points of one chunk stay in the processor's cache.
MAX_CHUNK_ENTRIES = 1 << 18
MAX_CHUNK_POINTS = 4096

# What NumPy raises where a call on stacks is not what it is on arrays.
_REFUSALS = (NotBatchableError, TypeError, ValueError, IndexError, AttributeError)


def run_batched(
    found: PlannedRun, inputs: Mapping[int, Any], count: int, shapes: Sequence[tuple[int, ...]],
    has_value: bool,
) -> tuple[list[Points], npt.NDArray[np.bool_]]:  # fmt: skip
    """Return values (if requested) and Jacobians at all points, and where the guards hold.

    `inputs` are stacks of `count` points, or arrays that all points share, by number.

    Raises
    ------
    NotBatchableError
        If some call has no known meaning for many points.
    """
    dtypes = [*found.dtypes] if has_value else []
    dtypes += [found.block_dtypes[k] for k in range(len(shapes) - len(dtypes))]
    outputs = [np.empty((count, *s), dtype) for s, dtype in zip(shapes, dtypes, strict=True)]
    holds = np.ones(count, bool)
    size = sum(prod(step.shape) for step in found.recording.calls) + sum(map(prod, shapes))
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
    return outputs, holds


def _run(
    found: PlannedRun, inputs: Mapping[int, Any], count: int, has_value: bool
) -> tuple[list[Any], npt.NDArray[np.bool_]]:
    recording, program = found.recording, found.program
    values: dict[int, Any] = {**recording.constants, **inputs}
    for step in recording.calls:
        values[step.number] = _called(step, values)
    slots = [values[x.number] if isinstance(x, Ref) else x for x in recording.slots]
    arrays = iter(program.run(slots))
    blocks = [0.0 if form is None else next(arrays) for form in program.forms]
    results = [values[ref.number] for ref in recording.values] if has_value else []
    return [*results, *blocks], _holds(recording.guards, values, count)


def _called(step: RecordedCall, values: Mapping[int, Any]) -> Any:
    args, kwargs = substitute(step.args, values), substitute(step.kwargs, values)
    result = step.function(*args, **kwargs)
    depends = any(isinstance(values[k], BatchedArray) for k in step.reads)
    if depends and not isinstance(result, BatchedArray):
        raise NotBatchableError(step.function.__name__)
    if depends and (result.shape, result.dtype) != (step.shape, step.dtype):
        raise NotBatchableError(f"the shape of {step.function.__name__} depends on values")
    return result


def _holds(guards: Sequence[Guard], values: Mapping[int, Any], count: int) -> npt.NDArray[np.bool_]:
    """Return for which points everything that was read off values is as it was."""
    holds = np.ones(count, bool)
    for guard in guards:
        value = values[guard.number]
        if not isinstance(value, BatchedArray) or guard.kind == "shape":
            continue
        rows = np.ascontiguousarray(value.data).reshape(count, -1)
        if guard.kind == "truth":
            holds &= rows[:, 0].astype(bool) == guard.found
        else:
            wanted = np.ascontiguousarray(guard.found).reshape(1, -1)
            holds &= (rows.view(np.uint8) == wanted.view(np.uint8)).all(axis=1)
    return holds
