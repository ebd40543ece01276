"""The groups of isomorphic instructions of a program that one batched op could do together.

Long sums of small arrays are taken apart first, so that what only goes into a sum may wait until
all of its terms can be computed together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import numpy as np

from chainad.backends.numpy.allocate import ArrayType
from chainad.compiler.stacking.isomorphic import (
    MIN_STACK_ROWS,
    is_small,
    isomorphic_groups,
    levels,
)
from chainad.ir.ops import Add, MatMul, Multiply, Op, Subtract
from chainad.ir.program import Program

_MAX_STACK_ELEMENTS = 1 << 18

RepeatedFactor: TypeAlias = tuple[int, tuple[int, ...]]  # a register, the shape of the product


@dataclass(frozen=True, slots=True)
class LongSum:
    """A sum of many arrays of one shape, with a sign for each."""

    signs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """An instruction, or a long sum in the place of several."""

    op: Op | LongSum
    inputs: tuple[int, ...]
    output: int


def operations_of(program: Program, types: Mapping[int, ArrayType]) -> list[Operation]:
    """Return the instructions of a program, with every long sum as one."""
    operations = [Operation(i.op, i.inputs, i.output) for i in program.instructions]
    return _with_long_sums(operations, types, program.returned)


def groups_of(
    program: Program, operations: Sequence[Operation], types: Mapping[int, ArrayType]
) -> list[list[Operation]]:
    """Return the operations that one op could do together, those that others read first."""
    returned = program.returned
    batchable = [
        ((each.op, tuple(_type(types[k]) for k in (*each.inputs, each.output))), each)
        for each in operations
        if each.output not in returned and _is_batchable(each, types)
    ]
    calls = [(each.output, key, each) for key, each in batchable]
    found = isomorphic_groups(calls, _levels(operations))
    groups = [group for on_level in found for group in on_level.values()]
    return [
        group
        for group in groups
        if len(group) >= MIN_STACK_ROWS and _size(group, types) <= _MAX_STACK_ELEMENTS
    ]


def _size(group: Sequence[Operation], types: Mapping[int, ArrayType]) -> int:
    return len(group) * prod(types[group[0].output].shape)


def repeated_factors(operation: Operation, types: Mapping[int, ArrayType]) -> list[RepeatedFactor]:
    """Return the factors that a small product repeats along an axis, with its shape."""
    shape = types[operation.output].shape
    if not isinstance(operation.op, Multiply) or not is_small(shape):
        return []
    # A single element is repeated at no cost.
    return [
        (k, shape) for k in operation.inputs if types[k].shape != shape and prod(types[k].shape) > 1
    ]


def _type(seen: ArrayType) -> tuple[tuple[int, ...], np.dtype[Any]]:
    return seen.shape, seen.dtype


def _is_batchable(operation: Operation, types: Mapping[int, ArrayType]) -> bool:
    """Return whether there is a batched op for an operation, and its arrays are small."""
    if isinstance(operation.op, LongSum) or not operation.inputs:
        return False
    if operation.op.on_rows(MIN_STACK_ROWS, types[operation.output].shape) is None:
        return False
    known = [types[k] for k in (*operation.inputs, operation.output)]
    if isinstance(operation.op, MatMul) and any(len(each.shape) != 2 for each in known):
        return False
    return all(is_small(x.shape) and x.dtype.kind in "fc" for x in known)


def _levels(operations: Sequence[Operation]) -> dict[int, int]:
    """Return the level of every operation; what goes into long sums only is as late as can be."""
    level = levels((each.output, each.inputs) for each in operations)
    readers: dict[int, list[Operation]] = {}
    for each in operations:
        for k in each.inputs:
            readers.setdefault(k, []).append(each)
    late: set[int] = set()
    for each in reversed(operations):
        reading = readers.get(each.output, ())
        if reading and all(isinstance(r.op, LongSum) or r.output in late for r in reading):
            late.add(each.output)
            level[each.output] = min(level[r.output] for r in reading) - 1
    return level


# ----------------------------------------------------------------------- sums


def _with_long_sums(
    operations: Sequence[Operation], types: Mapping[int, ArrayType], returned: set[int]
) -> list[Operation]:
    """Return the operations with every long sum of small arrays as one."""
    reads = Counter(k for each in operations for k in each.inputs)
    sums = {each.output: each for each in operations if _is_sum(each, types)}
    partial = {
        k
        for each in sums.values()
        for k in each.inputs
        if k in sums and reads[k] == 1 and k not in returned
    }
    absorbed: set[int] = set()
    long: dict[int, Operation] = {}
    for root in sums.values():
        if root.output not in partial:
            signs, terms, passed = _terms(root, sums, partial)
            if len(terms) >= MIN_STACK_ROWS:
                long[root.output] = Operation(LongSum(signs), terms, root.output)
                absorbed |= passed
    return [long.get(each.output, each) for each in operations if each.output not in absorbed]


def _is_sum(operation: Operation, types: Mapping[int, ArrayType]) -> bool:
    """Return whether an operation adds or subtracts two small arrays of its own type."""
    own = _type(types[operation.output])
    has_one_type = all(_type(types[k]) == own for k in operation.inputs)
    return isinstance(operation.op, (Add, Subtract)) and has_one_type and is_small(own[0])


def _terms(
    root: Operation, sums: Mapping[int, Operation], partial: set[int]
) -> tuple[tuple[int, ...], tuple[int, ...], set[int]]:
    """Return signs and registers of the terms of a sum, and the partial sums they pass through."""
    found: list[tuple[int, int]] = []
    passed: set[int] = set()
    stack = [(1, root)]
    while stack:
        sign, each = stack.pop()
        second = -sign if isinstance(each.op, Subtract) else sign
        for own, k in zip((sign, second), each.inputs, strict=True):
            if k in partial:
                passed.add(k)
                stack.append((own, sums[k]))
            else:
                found.append((own, k))
    return tuple(s for s, _ in found), tuple(k for _, k in found), passed
