"""The groups of isomorphic instructions of a program that one batched op could do together.

They apply the same op, or elementwise function, to operands of the same shapes and dtypes, and
stand on the same level of the dependency graph, so that none can read another. Elementwise ones of
vectors may have any length. Long sums of small arrays are taken apart first, so that what only
goes into a sum may wait until all of its terms can be computed together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

import numpy as np

from chainad.backends.numpy.allocate import ArrayType
from chainad.compiler.merge_scalars import MIN_MERGED_CALLS
from chainad.ir.calls import Call
from chainad.ir.op import Op
from chainad.ir.ops import Add, Elementwise, MatMul, Multiply, Subtract
from chainad.ir.program import Instruction
from chainad.rules import kinds
from chainad.rules.base import kind_of
from chainad.rules.movement import flat_index, getitem

# Stacking fewer instructions costs as much as it saves.
MIN_STACK_ROWS = 8

# On an array of more elements, arithmetic takes longer than the call.
MAX_ROW_ELEMENTS = 1024

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


def operations_of(
    instructions: Sequence[Instruction], types: Mapping[int, ArrayType], returned: Collection[int]
) -> list[Operation]:
    """Return instructions, with every long sum as one; `returned` are registers that must stay."""
    operations = [Operation(i.op, i.inputs, i.output) for i in instructions]
    return _with_long_sums(operations, types, returned)


def groups_of(
    operations: Sequence[Operation], types: Mapping[int, ArrayType], returned: Collection[int]
) -> list[list[Operation]]:
    """Return the operations that one op could do together, those that others read first.

    No two of a group are equal: of those that are, the first is taken.
    """
    level = _levels(operations)
    distinct: dict[tuple[int, Hashable], dict[tuple[int, ...], Operation]] = {}
    for each in operations:
        if each.output in returned:
            continue
        if entry_of(each, types) is not None:
            of_array = level[each.output], (getitem, each.inputs)
            distinct.setdefault(of_array, {})[each.output,] = each
        elif _is_batchable(each, types):
            key = _key(each, [_type(types[k]) for k in (*each.inputs, each.output)])
            distinct.setdefault((level[each.output], key), {}).setdefault(each.inputs, each)
    found = {key: [*group.values()] for key, group in distinct.items()}
    vectors: dict[tuple[int, Hashable], list[Operation]] = {}
    for key, group in [*found.items()]:
        if len(group) < MIN_STACK_ROWS and _is_of_vectors(group[0], types):
            del found[key]
            dtypes = [(1, types[k].dtype) for k in (*group[0].inputs, group[0].output)]
            vectors.setdefault((key[0], _key(group[0], dtypes)), []).extend(group)
    every = sorted([*found.items(), *vectors.items()], key=lambda item: item[0][0])
    return [
        group
        for _, group in every
        if len(group) >= _min_rows(group[0], types)
        and n_elements(group, types) <= _MAX_STACK_ELEMENTS
    ]


def _min_rows(operation: Operation, types: Mapping[int, ArrayType]) -> int:
    """Return how many isomorphic operations are worth one: scalars are quicker one by one."""
    return MIN_STACK_ROWS if types[operation.output].shape else MIN_MERGED_CALLS


def entry_of(operation: Operation, types: Mapping[int, ArrayType]) -> int | None:
    """Return which entry of the raveled array that it reads an operation is, if it is one."""
    op = operation.op
    if not isinstance(op, Call) or op.function is not getitem or op.positions != (0, None):
        return None
    array = types.get(operation.inputs[0])
    if not op.is_scalar or op.kwargs or array is None or array.dtype.kind not in "fc":
        return None
    return flat_index(op.args[1], array.shape)


def n_elements(group: Sequence[Operation], types: Mapping[int, ArrayType]) -> int:
    """Return the elements of all results of a group."""
    return sum(prod(types[each.output].shape) for each in group)


def repeated_factors(operation: Operation, types: Mapping[int, ArrayType]) -> list[RepeatedFactor]:
    """Return the factors that a small product repeats along an axis, with its shape."""
    if not isinstance(operation.op, Multiply):
        return []
    shape = types[operation.output].shape
    # A single element is repeated at no cost.
    return [
        (k, shape)
        for k in operation.inputs
        if _is_small(shape) and types[k].shape != shape and prod(types[k].shape) > 1
    ]


def _is_small(shape: Sequence[int]) -> bool:
    """Return whether an array is small enough to be a row of a stack."""
    return 0 < prod(shape) <= MAX_ROW_ELEMENTS


def _type(seen: ArrayType) -> Hashable:
    return seen.shape, seen.dtype


def _key(operation: Operation, of_arrays: Sequence[Hashable]) -> Hashable:
    """Return what isomorphic operations have in common."""
    op = operation.op
    assert not isinstance(op, LongSum)
    return op.key, op.errstate if isinstance(op, Call) else None, *of_arrays


def _is_of_vectors(operation: Operation, types: Mapping[int, ArrayType]) -> bool:
    """Return whether an elementwise operation has vectors of one length only."""
    shapes = {types[k].shape for k in (*operation.inputs, operation.output)}
    return isinstance(operation.op, (Call, Elementwise)) and len(shapes) == 1 and len(*shapes) == 1


def _is_batchable(operation: Operation, types: Mapping[int, ArrayType]) -> bool:
    """Return whether there is a batched op for an operation, and its arrays are small."""
    op, registers = operation.op, (*operation.inputs, operation.output)
    if isinstance(op, LongSum) or not operation.inputs or not types.keys() >= {*registers}:
        return False
    if isinstance(op, Call) and not isinstance(kind_of(op.function), kinds.Elementwise):
        return False
    # Of an array, NumPy takes square roots instead, which are not the same at minus infinity.
    if isinstance(op, Call) and op.function is np.power and op.is_scalar and 0.5 in op.args:
        return False
    if op.on_rows(MIN_STACK_ROWS, types[operation.output].shape) is None:
        return False
    known = [types[k] for k in registers]
    if isinstance(op, MatMul) and any(len(each.shape) != 2 for each in known):
        return False
    return all(_is_small(x.shape) and x.dtype.kind in "fc" for x in known)


def _levels(operations: Sequence[Operation]) -> dict[int, int]:
    """Return the level of every operation: the least that is larger than those of what it reads.

    What goes into long sums only is as late as can be, but for calls, which come first.
    """
    level: dict[int, int] = {}
    readers: dict[int, list[Operation]] = {}
    for each in operations:
        level[each.output] = 1 + max((level.get(k, -1) for k in each.inputs), default=-1)
        for k in each.inputs:
            readers.setdefault(k, []).append(each)
    late: set[int] = set()
    for each in reversed(operations):
        reading = readers.get(each.output, ())
        is_late = reading and all(isinstance(r.op, LongSum) or r.output in late for r in reading)
        if is_late and not isinstance(each.op, Call):
            late.add(each.output)
            level[each.output] = min(level[r.output] for r in reading) - 1
    return level


# ----------------------------------------------------------------------- sums


def _with_long_sums(
    operations: Sequence[Operation], types: Mapping[int, ArrayType], returned: Collection[int]
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
    if not isinstance(operation.op, (Add, Subtract)):
        return False
    own = types[operation.output]
    return _is_small(own.shape) and all(_type(types[k]) == _type(own) for k in operation.inputs)


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
