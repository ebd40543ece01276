"""Stacking in programs: isomorphic instructions of a loop's iterations become one.

Array ops and calls of elementwise functions become batched ones, on arrays whose rows are those of
the iterations; calls on vectors of several lengths, one call on their concatenation. No product is
pending out, added, or bracketed differently; long sums are added up in another order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from math import prod
from typing import TypeAlias

import numpy as np

from chainad.backends.numpy.allocate import ArrayType
from chainad.compiler.merge_scalars import MIN_MERGED_CALLS
from chainad.compiler.stacking.isomorphic import (
    MIN_STACK_ROWS,
    LongSum,
    Operation,
    RepeatedFactor,
    entry_of,
    groups_of,
    n_elements,
    operations_of,
    repeated_factors,
)
from chainad.ir import ops
from chainad.ir.calls import Call
from chainad.ir.op import Op
from chainad.ir.operators import SYMBOLS
from chainad.ir.positions import Positions, positions
from chainad.ir.program import Instruction, Program
from chainad.rules import kinds
from chainad.rules.base import kind_of
from chainad.rules.movement import getitem, sources_of

# A program is replaced by the stacked one only if its cost falls below this share.
MAX_RELATIVE_COST = 0.9

# Costs in array calls: of a view, such as a row of a stack, or of arithmetic on two scalars, and of
# a piece of a concatenation.
_COST_OF_VIEW, _COST_OF_PIECE = 0.2, 0.1

_StackRow: TypeAlias = tuple[int, int]  # a group, and a row of its stack


@dataclass(frozen=True)
class StackedProgram:
    """A program with isomorphic instructions stacked.

    `registers` has the register that holds what one of the old program held, where there is one;
    `types` has shape and dtype of registers of both programs. All that the function needs are the
    first `n_function` instructions.
    """

    program: Program
    n_function: int
    registers: Mapping[int, int]
    types: Mapping[int, ArrayType]


def stack_isomorphic(
    program: Program, types: Mapping[int, ArrayType], n_fixed: int = 0, n_function: int = 0
) -> StackedProgram | None:
    """Return the program with isomorphic instructions stacked, or None if that saves little.

    Parameters
    ----------
    program : Program
    types : mapping
        Shape and dtype of registers, for a program of ops of every one that is written or read.
        What reads or writes others is not stacked.
    n_fixed : int
        So many instructions at the start stay as they are.
    n_function : int
        So many at the start are what the function does. Its iterations may depend on one another
        where those of its Jacobian do not, so that these are stacked apart.
    """
    parts = (
        program.instructions[n_fixed:n_function],
        program.instructions[max(n_fixed, n_function) :],
    )
    operations = [operations_of(part, types, program.returned) for part in parts]
    groups = [group for part in operations for group in groups_of(part, types, program.returned)]
    if not groups:
        return None
    found = _Stacking(program, n_fixed, operations, groups, types).stacked()
    before, after = (_cost(each.instructions[n_fixed:]) for each in (program, found.program))
    return found if after < MAX_RELATIVE_COST * before else None


def _cost(instructions: Sequence[Instruction]) -> float:
    """Return how long instructions on small arrays take, in calls."""
    views = sum(i.op.is_view or _is_scalar_operation(i.op) for i in instructions)
    pieces = sum(
        len(i.inputs) for i in instructions if isinstance(i.op, ops.Concatenate) or _moves_many(i)
    )
    return len(instructions) - (1 - _COST_OF_VIEW) * views + _COST_OF_PIECE * pieces


def _is_scalar_operation(op: Op) -> bool:
    """Return whether a call takes an entry of an array, or does what Python has an operator for."""
    return (
        isinstance(op, Call) and op.is_scalar and (op.function is getitem or op.function in SYMBOLS)
    )


def _moves_many(instruction: Instruction | Operation) -> bool:
    """Return whether a call only moves entries of many arrays."""
    return (
        isinstance(instruction.op, Call)
        and len(instruction.inputs) >= MIN_MERGED_CALLS
        and isinstance(kind_of(instruction.op.function), kinds.Movement)
    )


class _Stacking:
    """Rebuilds a program, one group of operations at a time."""

    def __init__(
        self,
        program: Program,
        n_fixed: int,
        parts: Sequence[Sequence[Operation]],
        groups: Sequence[list[Operation]],
        types: Mapping[int, ArrayType],
    ) -> None:
        operations = [each for part in parts for each in part]
        self.source, self.parts, self.types = program, parts, {**types}
        self.definitions = {each.output: each for each in operations}
        self.groups = groups
        self.row_of: dict[int, _StackRow] = {}
        self.n_rows = [len(group) for group in groups]
        # Where vectors of several lengths are in their concatenation.
        self.slices: dict[int, range] = {}
        for n, group in enumerate(self.groups):
            entries = {k.output: entry_of(k, types) for k in group}
            if None not in entries.values():
                self.n_rows[n] = prod(types[group[0].inputs[0]].shape)
                self.row_of |= {k: (n, row) for k, row in entries.items() if row is not None}
                continue
            # In the order of their operands, so that whole stacks are read as they are.
            group.sort(key=lambda each: [self.row_of.get(k, (-1, k)) for k in each.inputs])
            self.row_of |= {each.output: (n, row) for row, each in enumerate(group)}
            shapes = [types[each.output].shape for each in group]
            if len({*shapes}) > 1:
                ends = pairwise(accumulate((length for (length,) in shapes), initial=0))
                self.slices |= {g.output: range(*at) for g, at in zip(group, ends, strict=True)}
        unstacked = [each for each in operations if each.output not in self.row_of]
        self.repeated = Counter(k for each in unstacked for k in repeated_factors(each, types))
        self.broadcast: dict[RepeatedFactor, int] = {}
        self.stack: dict[int, int] = {}
        self.instructions = [*program.instructions[:n_fixed]]
        fixed = [*range(program.n_slots), *program.constants]
        fixed += [i.output for i in self.instructions]
        read = (k for each in operations for k in each.inputs if k not in self.definitions)
        self.registers: dict[int, int] = {k: k for k in (*fixed, *read)}
        self.row_blocks: dict[tuple[int, ...], int] = {}
        self.next_register: int = 1 + max(
            [*self.registers, *(i.output for i in program.instructions)]
        )

    def stacked(self) -> StackedProgram:
        function, rest = self.parts
        for operation in function:
            self._compute(operation)
        n_function = len(self.instructions)
        for operation in rest:
            self._compute(operation)
        outputs = tuple(None if k is None else self._register(k) for k in self.source.outputs)
        program = replace(self.source, instructions=tuple(self.instructions), outputs=outputs)
        return StackedProgram(program, n_function, self.registers, self.types)

    def _compute(self, wanted: Operation) -> None:
        """Emit an operation or its group, and before that all it needs."""
        pending = [wanted]
        while pending:
            operation = pending[-1]
            if self._is_done(operation.output):
                pending.pop()
                continue
            members = self._members(operation)
            needed = [k for m in members for k in m.inputs if not self._is_done(k)]
            if needed:
                pending += [self.definitions[k] for k in needed]
                continue
            pending.pop()
            if operation.output in self.row_of:
                is_ragged = operation.output in self.slices
                batched = self._concatenation(members) if is_ragged else self._batched(members)
                self.stack[self.row_of[operation.output][0]] = batched
            else:
                self.registers[operation.output] = self._single(operation)

    def _members(self, operation: Operation) -> Sequence[Operation]:
        row = self.row_of.get(operation.output)
        return (operation,) if row is None else self.groups[row[0]]

    def _is_done(self, k: int) -> bool:
        return k in self.registers or (k in self.row_of and self.row_of[k][0] in self.stack)

    def _emit(self, op: Op, *inputs: int) -> int:
        output, self.next_register = self.next_register, self.next_register + 1
        self.instructions.append(Instruction(op, inputs, output))
        if isinstance(op, Call):
            if op.dtype is not None:
                self.types[output] = ArrayType(op.shape, op.dtype, False)
        elif inputs and self.types.keys() >= {*inputs}:
            known = [self.types[k] for k in inputs]
            shape = op.infer_shape([each.shape for each in known])
            if shape is not None:
                dtype = np.result_type(*(each.dtype for each in known))
                self.types[output] = ArrayType(shape, dtype, False)
        return output

    def _register(self, k: int) -> int:
        """Return a register that holds what a register of the old program held."""
        if k not in self.registers:
            group, row = self.row_of[k]
            op = ops.Take(0, self.slices[k]) if k in self.slices else ops.Row(row)
            self.registers[k] = self._emit(op, self.stack[group])
        return self.registers[k]

    def _single(self, operation: Operation) -> int:
        if isinstance(operation.op, LongSum):
            return self._signed_sum(operation.op.signs, operation.inputs)
        if _moves_many(operation) and (moved := self._moved(operation)) is not None:
            return moved
        if isinstance(operation.op, ops.Multiply):
            return self._emit(operation.op, *(self._factor(k, operation) for k in operation.inputs))
        return self._emit(operation.op, *map(self._register, operation.inputs))

    def _factor(self, k: int, operation: Operation) -> int:
        """Return a register for a factor, broadcast once if many products repeat it along an axis.

        NumPy needs more than twice as long for a small product that repeats an operand.
        """
        key = k, self.types[operation.output].shape
        if self.repeated[key] < MIN_STACK_ROWS:
            return self._register(k)
        if key not in self.broadcast:
            self.broadcast[key] = self._emit(
                ops.Copy(), self._emit(ops.Broadcast(key[1]), self._register(k))
            )
        return self.broadcast[key]

    # ---------------------------------------------------------------- long sums

    def _signed_sum(self, signs: Sequence[int], terms: Sequence[int]) -> int:
        by_sign = [[k for s, k in zip(signs, terms, strict=True) if s == sign] for sign in (1, -1)]
        plus, minus = map(self._sum, by_sign)
        assert plus is not None  # the first term of a sum has no sign
        return plus if minus is None else self._emit(ops.Subtract(), plus, minus)

    def _sum(self, terms: Sequence[int]) -> int | None:
        """Return the sum of registers: one op adds many rows of a stack."""
        by_group: dict[int, list[int]] = {}
        for k in sorted(terms):
            by_group.setdefault(self._stack_row(k)[0], []).append(k)
        parts: list[int] = []
        for own in by_group.values():
            if len(own) < MIN_STACK_ROWS:
                parts += map(self._register, own)
            else:
                parts.append(self._emit(ops.Sum((0,)), self._rows(own)))
        total: int | None = None
        for part in parts:
            total = part if total is None else self._emit(ops.Add(), total, part)
        return total

    # ------------------------------------------------------------------- stacks

    def _stack_row(self, k: int) -> _StackRow:
        """Return the group, and the row of its stack, where a register is; -1 if in none."""
        return (-1, 0) if k in self.slices else self.row_of.get(k, (-1, 0))

    def _rows(self, registers: Sequence[int]) -> int:
        """Return a register that holds the arrays of some registers, of one shape, as its rows."""
        key = tuple(registers)
        if key not in self.row_blocks:
            self.row_blocks[key] = self._concatenated(registers)
        return self.row_blocks[key]

    def _concatenated(self, registers: Sequence[int]) -> int:
        """Concatenate the pieces that contain the rows, and take the rows from there."""
        shape = self.types[registers[0]].shape
        rows: dict[int, list[int]] = {}
        for k in registers:
            group, row = self._stack_row(k)
            if group >= 0:
                rows.setdefault(group, []).append(row)
        singles = [k for k in dict.fromkeys(registers) if self._stack_row(k)[0] < 0]
        if len(rows) == 1 and not singles:
            ((group, own),) = rows.items()
            return self._selected(group, positions(own))
        pieces, at, size = [], dict[int, int](), 0
        for group, own in rows.items():
            least, stop = min(own), max(own) + 1
            part = self._selected(group, range(least, stop))
            flat = ((stop - least) * shape[0], *shape[1:]) if shape else ()
            pieces.append(self._emit(ops.Reshape(flat), part) if shape else part)
            at[group] = size - least
            size += stop - least
        for k in singles:
            one = self._register(k)
            pieces.append(one if shape else self._emit(ops.Reshape((1,)), one))
        number = {k: size + n for n, k in enumerate(singles)}
        rows_of = ((k, *self._stack_row(k)) for k in registers)
        order = [number[k] if group < 0 else at[group] + row for k, group, row in rows_of]
        size += len(singles)
        joined = self._emit(ops.Concatenate(), *pieces)
        if shape:
            joined = self._emit(ops.Reshape((size, *shape)), joined)
        taken = positions(order)
        return joined if taken == range(size) else self._emit(ops.Take(0, taken), joined)

    def _moved(self, operation: Operation) -> int | None:
        """Emit a call that moves scalars as a selection of rows; None if it does more than that."""
        op, inputs = operation.op, operation.inputs
        if not isinstance(op, Call) or not {*inputs} <= self.types.keys():
            return None
        shapes = [self.types[k].shape for k in inputs]
        if {self.types[k].dtype for k in inputs} != {op.dtype}:
            return None
        sources, _ = sources_of(lambda arrays: op(*arrays), shapes)
        if (sources < 0).any():
            return None
        sizes = [prod(shape) for shape in shapes]
        operands = np.repeat(np.arange(len(inputs)), sizes)[sources.ravel()]
        read = np.unique(operands)
        scalars = [int(n) for n in read if not shapes[n]]
        # Where the entries of the operands that are read are, all in one vector.
        pieces = [self._rows([inputs[n] for n in scalars])] if scalars else []
        start = np.zeros(len(inputs), int)
        start[scalars] = np.arange(len(scalars))
        size = len(scalars)
        for n in (n for n in read if shapes[n]):
            pieces.append(self._emit(ops.Reshape((-1,)), self._register(inputs[n])))
            start[n], size = size, size + sizes[n]
        first = np.cumsum([0, *sizes])[operands]
        taken = positions(start[operands] + sources.ravel() - first)
        found = pieces[0] if len(pieces) == 1 else self._emit(ops.Concatenate(), *pieces)
        if taken != range(size):
            found = self._emit(ops.Take(0, taken), found)
        return found if len(op.shape) == 1 else self._emit(ops.Reshape(op.shape), found)

    def _selected(self, group: int, rows: Positions) -> int:
        """Return a range of rows, or some rows, of one stack."""
        if rows == range(self.n_rows[group]):
            return self.stack[group]
        return self._emit(ops.Take(0, rows), self.stack[group])

    def _batched(self, members: Sequence[Operation]) -> int:
        """Emit one batched op for all members of a group."""
        count, op = len(members), members[0].op
        shape = self.types[members[0].output].shape
        columns = list(zip(*(each.inputs for each in members), strict=True))
        if entry_of(members[0], self.types) is not None:
            array = self._register(columns[0][0])
            is_flat = len(self.types[array].shape) == 1
            return array if is_flat else self._emit(ops.Reshape((-1,)), array)
        assert not isinstance(op, LongSum)
        depth = max(len(self.types[column[0]].shape) for column in columns)
        if isinstance(op, ops.Broadcast):
            depth = len(shape)
        # What is not of full depth must be stacked in front of the axes that it is repeated along.
        operands = []
        for column in columns:
            if len(set(column)) == 1:
                operands.append(self._register(column[0]))
                continue
            own = self.types[column[0]].shape
            rows = self._rows(column)
            if op.aligns_last_axes and len(own) < depth:
                rows = self._emit(ops.Reshape((count, *(1,) * (depth - len(own)), *own)), rows)
            operands.append(rows)
        if isinstance(op, ops.AddAt) and len(set(columns[0])) == 1:
            operands[0] = self._emit(ops.Broadcast((count, *shape)), operands[0])
        if isinstance(op, ops.MatMul) and len(set(columns[1])) == 1:
            n, m = self.types[columns[0][0]].shape
            tall = self._emit(ops.Reshape((count * n, m)), operands[0])
            return self._emit(ops.Reshape((count, *shape)), self._emit(op, tall, operands[1]))
        on_rows = op.on_rows(count, shape)
        assert on_rows is not None
        return self._emit(on_rows, *operands)

    def _concatenation(self, members: Sequence[Operation]) -> int:
        """Emit one elementwise op or call for all members of a group, on vectors end to end."""
        operands = []
        for column in zip(*(each.inputs for each in members), strict=True):
            group, _ = self.row_of.get(column[0], (-1, 0))
            is_whole = column[0] in self.slices and column == tuple(
                each.output for each in self.groups[group]
            )
            if column not in self.row_blocks:
                self.row_blocks[column] = (
                    self.stack[group]
                    if is_whole
                    else self._emit(ops.Concatenate(), *map(self._register, column))
                )
            operands.append(self.row_blocks[column])
        op = members[0].op
        assert not isinstance(op, LongSum)
        on_rows = op.on_rows(n_elements(members, self.types), ())
        assert on_rows is not None
        return self._emit(on_rows, *operands)
