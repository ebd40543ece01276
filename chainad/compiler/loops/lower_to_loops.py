"""Lowers recordings and programs to loops: every call and every op, on views of registers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainad.compiler.loops.loop_array import LoopArray
from chainad.compiler.loops.loop_builder import LoopBuilder, Value, View
from chainad.compiler.loops.lower_ops import executed
from chainad.compiler.loops.small_matrices import on_views
from chainad.compiler.recording.recording import Recording
from chainad.compiler.scalar.scalarize import data_arguments
from chainad.ir.calls import Call
from chainad.ir.loop_program import LoopProgram
from chainad.ir.program import Program
from chainad.ir.scalar_graph import NotScalarError
from chainad.structure.linear_operators import Operator

# More take numba too long to compile.
_MAX_OPERATIONS = 40_000


def lower_to_loops(
    recording: Recording, program: Program, wants_value: bool
) -> tuple[LoopProgram, list[tuple[int, ...]]]:
    """Return a recording and its program as loops, and the shapes of the results.

    The inputs are the arguments that flow, then the `captured_arrays` of the recording. The results
    are the values of the function (if asked for), then those of the program that are not None.

    Raises
    ------
    NotScalarError
        If something has no form as a loop, or is too large to be worth it.
    """
    if any(guard.kind != "shape" for guard in recording.guards):
        raise NotScalarError("a branch depends on values")
    if len(recording.calls) + len(program.instructions) > _MAX_OPERATIONS:
        raise NotScalarError(f"it takes more than {_MAX_OPERATIONS} operations")
    builder = LoopBuilder()
    values: dict[int, Any] = {}
    for number, flow in data_arguments(recording).items():
        _check_dtype(flow.dtype)
        values[number] = LoopArray(builder, builder.input(flow.shape))
    values.update(recording.program.constants)
    for number, array in captured_arrays(recording):
        _check_dtype(array.dtype)
        values[number] = LoopArray(builder, builder.input(array.shape))
    for i in recording.program.instructions:
        if isinstance(i.op, Call):
            values[i.output] = _called(i.op, [values[k] for k in i.inputs])
    linked = ((k, recording.slots[k]) for k in program.used_slots)
    slots = {k: _slot(builder, values[slot]) for k, slot in linked if slot is not None}
    registers = executed(builder, program, slots)
    results: list[Value] = []
    if wants_value:
        results += [_value(values[k]) for k in recording.values]
    results += [registers[k] for k in program.outputs if k is not None]
    return builder.program(results), [np.shape(_addresses(x)) for x in results]


def captured_arrays(recording: Recording) -> list[tuple[int, Any]]:
    """Return the arrays that a recording reads at each call; those that stay in place come last."""
    return sorted(recording.references.items(), key=lambda pair: stays_in_place(pair[1]))


def stays_in_place(array: Any) -> bool:
    """Return whether machine code may read a captured array where it is."""
    return bool(array.flags.c_contiguous and array.flags.aligned)


def _check_dtype(dtype: Any) -> None:
    if dtype != np.float64:
        raise NotScalarError(f"the arrays are {dtype}")


def _addresses(value: Value) -> Any:
    return value.addresses if isinstance(value, View) else value


def _called(call: Call, inputs: Sequence[Any]) -> Any:
    if call.dtype is None or call.dtype.kind not in "fb":
        raise NotScalarError(f"np.{call.name} makes {call.dtype}")
    if call.dtype.kind == "f":
        _check_dtype(call.dtype)
    found = call(*inputs)
    if np.shape(found) != call.shape:
        raise NotScalarError(f"the shape of np.{call.name} depends on values")
    return found


def _slot(builder: LoopBuilder, x: Any) -> Any:
    return on_views(builder, x) if isinstance(x, Operator) else _value(x)


def _value(x: Any) -> Value:
    if isinstance(x, LoopArray):
        return x.value
    if np.ndim(x) or np.asarray(x).dtype.kind not in "fiub":
        raise NotScalarError("an array is a constant")
    return float(x)
