"""Constant factors: of two arrays that are multiplied, the smaller one is scaled.

The slope of a square is twice the operand. Where that is multiplied by an array that broadcasts
along it, the factor of two takes no pass over the larger array, nor memory of its size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from math import frexp, prod

import numpy as np

from chainad.backends.numpy.allocate import ArrayType
from chainad.compiler.recording.link import LinkedProgram
from chainad.ir.calls import Call
from chainad.ir.ops import Multiply, Scale
from chainad.ir.program import Instruction, Program

_MIN_ELEMENTS = 4096  # of the larger array: below, it is the call that takes time
_MIN_ELEMENTS_PER_ELEMENT = 4  # of the smaller array


def scale_smaller_factors(
    linked: LinkedProgram, program: Program, types: Mapping[int, ArrayType]
) -> tuple[LinkedProgram, Program, dict[int, ArrayType]]:
    """Return a linked program, its accumulation and all types, with smaller arrays scaled.

    Factors are powers of two, with which no result is rounded otherwise.
    """
    scaled = {
        i.output: (i.inputs[0], factor)
        for i in linked.calls
        if (factor := _factor(i, linked.types)) is not None
    }
    reads = Counter(k for i in (*linked.calls, *program.instructions) for k in i.inputs)
    reads.update(k for k in linked.program.outputs if k is not None)
    found, absorbed = dict(types), set[int]()
    instructions: list[Instruction] = []
    register = 1 + max((i.output for i in program.instructions), default=0)
    for i in program.instructions:
        inputs = i.inputs
        for large, small in (inputs, inputs[::-1]) if isinstance(i.op, Multiply) else ():
            size = prod(types[small].shape) * _MIN_ELEMENTS_PER_ELEMENT
            if large not in scaled or reads[large] != 1 or size > prod(types[large].shape):
                continue
            source, factor = scaled[large]
            instructions.append(Instruction(Scale(factor), (small,), register))
            inputs = (source, register)
            found[register] = replace(types[small], is_view=False)
            found[source] = linked.types[source]
            absorbed.add(large)
            register += 1
            break
        instructions.append(replace(i, inputs=inputs))
    if not absorbed:
        return linked, program, found
    program = replace(program, instructions=tuple(instructions))
    calls = [i for i in linked.calls if i.output not in absorbed]
    whole = replace(linked.program, instructions=(*calls, *instructions))
    slots = tuple(None if k in absorbed else k for k in linked.slots)
    return replace(linked, program=whole, slots=slots), program, found


def _factor(i: Instruction, types: Mapping[int, ArrayType]) -> float | None:
    """Return the power of two that a call multiplies a large array by, if it does that."""
    call = i.op
    if not isinstance(call, Call) or call.function is not np.multiply or call.kwargs:
        return None
    numbers = [x for x in call.args if type(x) in (int, float)]
    known = types.get(i.inputs[0]) if len(i.inputs) == 1 else None
    if len(numbers) != 1 or known is None or (known.shape, known.dtype) != (call.shape, call.dtype):
        return None
    is_large = prod(call.shape) >= _MIN_ELEMENTS and known.dtype.kind == "f"
    return float(numbers[0]) if is_large and abs(frexp(numbers[0])[0]) == 0.5 else None
