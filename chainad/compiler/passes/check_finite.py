"""Where to look for nan and infinity: the fewest entries that tell whether masks would matter.

A program without masks of exact zeros returns what the one with masks does if everything that is
multiplied is finite: an exact zero times a finite number is zero. So its results need not be looked
at where they are large, but what they are made of: the outer product of two vectors is finite, or
infinite by overflow alone, if the vectors are finite. What an operator returns is looked at itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from math import isfinite, prod
from typing import NamedTuple

from chainad.ir import ops
from chainad.ir.op import Op
from chainad.ir.program import Instruction, Program
from chainad.ir.shapes import Shape

# What it takes to look at another array, in elements that are looked at in that time.
ELEMENTS_PER_CALL = 1000
# The size of a register of unknown shape.
_UNKNOWN = 1 << 40

_MOVEMENTS = (ops.View, ops.Copy, ops.Take, ops.Place, ops.Concatenate)
_SUMS = (
    ops.Add, ops.Subtract, ops.Scale, ops.Sum, ops.SegmentSum, ops.Scatter, ops.Accumulate,
)  # fmt: skip
_PRODUCTS = (ops.Multiply, ops.MatMul, ops.PairMatMul, ops.Dot, ops.SparseDot)


class _Looked(NamedTuple):
    """Registers to look at, and how many elements these have."""

    size: int
    registers: frozenset[int]


_NOTHING = _Looked(0, frozenset())


def check_finite(program: Program, shapes: Mapping[int, Shape | None], is_exact: bool) -> Program:
    """Return a program with one more result, which is finite only if masks would not matter.

    With `is_exact`, it is finite only if the results are, too.
    """

    @cache
    def alone(k: int) -> _Looked:
        shape = shapes.get(k)
        size = ELEMENTS_PER_CALL + (_UNKNOWN if shape is None else prod(shape))
        return _Looked(size, frozenset((k,)))

    def together(found: Mapping[int, _Looked], inputs: tuple[int, ...]) -> _Looked:
        if len(inputs) == 1:
            return found.get(inputs[0]) or alone(*inputs)
        registers = frozenset().union(*((found.get(k) or alone(k)).registers for k in inputs))
        return _Looked(sum(alone(k).size for k in registers), registers)

    def least(found: Mapping[int, _Looked], inputs: tuple[int, ...], own: _Looked) -> _Looked:
        # What is looked at for one input is looked at for all of them.
        if any(k in found and found[k].size > own.size for k in inputs):
            return own
        return min(together(found, inputs), own, key=_size)

    # What tells that a register is finite, and what tells that it is what it would be with masks.
    finite: dict[int, _Looked] = {}
    equal: dict[int, _Looked] = {}
    for i in program.instructions:
        op, own = i.op, alone(i.output)
        finite[i.output] = equal[i.output] = own
        if _is_finite_number(op):
            finite[i.output] = equal[i.output] = _NOTHING
        elif isinstance(op, _MOVEMENTS):
            finite[i.output] = least(finite, i.inputs, own)
            equal[i.output] = least(equal, i.inputs, own)
        elif isinstance(op, _SUMS):  # which may overflow
            equal[i.output] = least(equal, i.inputs, own)
        elif isinstance(op, _PRODUCTS):
            equal[i.output] = least(finite, i.inputs, own)
    results = tuple(k for k in program.outputs if k is not None)
    looked = together(finite if is_exact else equal, results).registers
    # At once, as long as they are in the cache.
    last = max((n for n, i in enumerate(program.instructions, 1) if i.output in looked), default=0)
    output = 1 + max([program.n_slots - 1, *(i.output for i in program.instructions)])
    check = Instruction(ops.SumOfSquares(), tuple(sorted(looked)), output)
    instructions = (*program.instructions[:last], check, *program.instructions[last:])
    return replace(program, instructions=instructions, outputs=(*program.outputs, output))


def _size(looked: _Looked) -> int:
    return looked.size


def _is_finite_number(op: Op) -> bool:
    return isinstance(op, ops.Full) and isfinite(op.value)
