"""Stacking: small operations that many turns of a loop do alike are done once, on stacked arrays.

Instructions with the same op, on operands of the same shapes, that stand at the same depth of
the program, cannot read one another: one batched op does them all. Long sums of small arrays
are taken apart first, so that what only goes into a sum may wait until all of its terms can be made
together. No product is left out, added, or bracketed differently; sums are added up in another
order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from chainad.compiler.stacking.program_groups import (
    ALIGNED,
    MANY,
    Node,
    Repeated,
    Seen,
    Total,
    groups_of,
    nodes_of,
    repeated_in,
)
from chainad.ir.ops import (
    Add,
    AddAt,
    Broadcast,
    Concatenate,
    Copy,
    MatMul,
    Multiply,
    Op,
    Place,
    Reshape,
    Row,
    Subtract,
    Sum,
    Take,
    Transpose,
)
from chainad.ir.positions import Positions, positions
from chainad.ir.program import Instruction, Program

# What is stacked must make a program cheaper by this factor: calls are counted, and what it takes
# to name a row, or a piece of a stack, in calls.
GAIN, ROW, PIECE = 0.9, 0.2, 0.1

Spot: TypeAlias = tuple[int, int]  # a group, and a row of its stack


def stacked(program: Program, seen: Mapping[int, Seen], same: Sequence[int]) -> Program:
    """Return the program with what is alike stacked, or as it is where that saves little.

    Parameters
    ----------
    program : Program
    seen : mapping
        Shape and dtype of every register that is written or read.
    same : sequence of int
        For every slot, the first one that always holds the very same array.
    """
    nodes = nodes_of(program, seen, same)
    groups = groups_of(program, nodes, seen)
    if not groups:
        return program
    found = _Stacking(program, nodes, groups, seen).program()
    return found if _cost(found) < GAIN * _cost(program) else program


def _cost(program: Program) -> float:
    """Return how long a program of small arrays takes, in calls."""
    kinds = Counter(type(i.op) for i in program.instructions)
    pieces = sum(len(i.inputs) for i in program.instructions if isinstance(i.op, Concatenate))
    return len(program.instructions) - (1 - ROW) * kinds[Row] + PIECE * pieces


class _Stacking:
    """Writes a program anew, a group at a time."""

    def __init__(
        self,
        program: Program,
        nodes: Sequence[Node],
        groups: Sequence[list[Node]],
        seen: Mapping[int, Seen],
    ) -> None:
        self.source, self.nodes, self.seen = program, nodes, seen
        self.made = {node.output: node for node in nodes}
        self.groups = groups
        self.place: dict[int, Spot] = {}
        for n, group in enumerate(self.groups):
            # In the order of what they read, so that stacks follow on stacks as they are.
            group.sort(key=lambda node: [self.place.get(k, (-1, k)) for k in node.inputs])
            self.place |= {node.output: (n, row) for row, node in enumerate(group)}
        alone = [node for node in nodes if node.output not in self.place]
        self.repeated = Counter(k for node in alone for k in repeated_in(node, seen))
        self.spread: dict[Repeated, int] = {}
        self.stack: dict[int, int] = {}
        self.plain = {k: k for k in range(program.n_slots)}
        self.instructions: list[Instruction] = []
        self.known: dict[tuple[int, ...], int] = {}
        self.next = max([program.n_slots - 1, *(i.output for i in program.instructions)]) + 1

    def program(self) -> Program:
        for node in self.nodes:
            self._make(node)
        outputs = tuple(None if k is None else self._plain(k) for k in self.source.outputs)
        return Program(self.source.n_slots, tuple(self.instructions), outputs)

    def _make(self, wanted: Node) -> None:
        """Emit a node or its group, and before that all it needs."""
        left = [wanted]
        while left:
            node = left[-1]
            if self._is_done(node.output):
                left.pop()
                continue
            members = self._members(node)
            needed = [k for m in members for k in m.inputs if not self._is_done(k)]
            if needed:
                left += [self.made[k] for k in needed]
                continue
            left.pop()
            if node.output in self.place:
                self.stack[self.place[node.output][0]] = self._together(members)
            else:
                self.plain[node.output] = self._alone(node)

    def _members(self, node: Node) -> Sequence[Node]:
        return self.groups[self.place[node.output][0]] if node.output in self.place else (node,)

    def _is_done(self, k: int) -> bool:
        return k in self.plain or (k in self.place and self.place[k][0] in self.stack)

    def _emit(self, op: Op, *inputs: int) -> int:
        output, self.next = self.next, self.next + 1
        self.instructions.append(Instruction(op, inputs, output))
        return output

    def _plain(self, k: int) -> int:
        """Return a register that holds what a register of the old program held."""
        if k not in self.plain:
            group, row = self.place[k]
            self.plain[k] = self._emit(Row(row), self.stack[group])
        return self.plain[k]

    def _alone(self, node: Node) -> int:
        if isinstance(node.op, Total):
            return self._total(node.op.signs, node.inputs)
        if isinstance(node.op, Multiply):
            return self._emit(node.op, *(self._factor(k, node) for k in node.inputs))
        return self._emit(node.op, *map(self._plain, node.inputs))

    def _factor(self, k: int, node: Node) -> int:
        """Return a register for a factor, spread out if many products repeat it along an axis.

        NumPy needs more than twice as long for a small product that repeats an operand.
        """
        key = k, self.seen[node.output].shape
        if self.repeated[key] < MANY:
            return self._plain(k)
        if key not in self.spread:
            self.spread[key] = self._emit(Copy(), self._emit(Broadcast(key[1]), self._plain(k)))
        return self.spread[key]

    # ---------------------------------------------------------------- long sums

    def _total(self, signs: Sequence[int], terms: Sequence[int]) -> int:
        by_sign = [[k for s, k in zip(signs, terms, strict=True) if s == sign] for sign in (1, -1)]
        plus, minus = map(self._sum, by_sign)
        assert plus is not None  # the first term of a sum has no sign
        return plus if minus is None else self._emit(Subtract(), plus, minus)

    def _sum(self, terms: Sequence[int]) -> int | None:
        """Return the sum of registers: rows of a stack at once, others one by one if few."""
        by_group: dict[int, list[int]] = {}
        for k in sorted(terms):
            by_group.setdefault(self.place.get(k, (-1, 0))[0], []).append(k)
        parts: list[int] = []
        for own in by_group.values():
            if len(own) < MANY:
                parts += map(self._plain, own)
            else:
                parts.append(self._emit(Sum((0,)), self._rows(own)))
        total: int | None = None
        for part in parts:
            total = part if total is None else self._emit(Add(), total, part)
        return total

    # ------------------------------------------------------------------- stacks

    def _rows(self, registers: Sequence[int]) -> int:
        """Return a register with the arrays of some registers, of one shape, one after another."""
        key = tuple(registers)
        if key not in self.known:
            self.known[key] = self._gathered(registers)
        return self.known[key]

    def _gathered(self, registers: Sequence[int]) -> int:
        """Emit the parts that the rows are in, one after another, and take the rows from there."""
        shape = self.seen[registers[0]].shape
        rows: dict[int, list[int]] = {}
        for k in registers:
            if k in self.place:
                rows.setdefault(self.place[k][0], []).append(self.place[k][1])
        singles = [k for k in dict.fromkeys(registers) if k not in self.place]
        if len(rows) == 1 and not singles:
            ((group, own),) = rows.items()
            return self._taken(group, positions(own))
        pieces, at, size = [], dict[int, int](), 0
        for group, own in rows.items():
            least, stop = min(own), max(own) + 1
            part = self._taken(group, range(least, stop))
            flat = ((stop - least) * shape[0], *shape[1:]) if shape else ()
            pieces.append(self._emit(Reshape(flat), part) if shape else part)
            at[group] = size - least
            size += stop - least
        for k in singles:
            one = self._plain(k)
            pieces.append(one if shape else self._emit(Reshape((1,)), one))
        number = {k: size + n for n, k in enumerate(singles)}
        spots = ((k, self.place.get(k)) for k in registers)
        order = [number[k] if spot is None else at[spot[0]] + spot[1] for k, spot in spots]
        size += len(singles)
        joined = self._emit(Concatenate(), *pieces)
        if shape:
            joined = self._emit(Reshape((size, *shape)), joined)
        where = positions(order)
        return joined if where == range(size) else self._emit(Take(0, where), joined)

    def _taken(self, group: int, rows: Positions) -> int:
        """Return rows of one stack."""
        if rows == range(len(self.groups[group])):
            return self.stack[group]
        return self._emit(Take(0, rows), self.stack[group])

    def _together(self, members: Sequence[Node]) -> int:
        """Emit one op for all members of a group."""
        count, op = len(members), members[0].op
        shape = self.seen[members[0].output].shape
        columns = list(zip(*(node.inputs for node in members), strict=True))
        assert not isinstance(op, Total)
        depth = max(len(self.seen[column[0]].shape) for column in columns)
        if isinstance(op, Broadcast):
            depth = len(shape)
        # What is not of full depth must be stacked in front of the axes that it is repeated along.
        is_aligned = isinstance(op, (*ALIGNED, AddAt, Broadcast))
        operands = []
        for column in columns:
            if len(set(column)) == 1:
                operands.append(self._plain(column[0]))
                continue
            own = self.seen[column[0]].shape
            rows = self._rows(column)
            if is_aligned and len(own) < depth:
                rows = self._emit(Reshape((count, *(1,) * (depth - len(own)), *own)), rows)
            operands.append(rows)
        if isinstance(op, AddAt) and len(set(columns[0])) == 1:
            operands[0] = self._emit(Broadcast((count, *shape)), operands[0])
        if isinstance(op, MatMul) and len(set(columns[1])) == 1:
            n, m = self.seen[columns[0][0]].shape
            tall = self._emit(Reshape((count * n, m)), operands[0])
            return self._emit(Reshape((count, *shape)), self._emit(op, tall, operands[1]))
        return self._emit(_batched(op, count, shape), *operands)


def _batched(op: Op, count: int, shape: tuple[int, ...]) -> Op:
    """Return the op that does the same for every row of stacks; `shape` is that of a row."""
    match op:
        case Reshape():
            return Reshape((count, *shape))
        case Broadcast():
            return Broadcast((count, *shape))
        case Transpose(order):
            return Transpose((0, *(k + 1 for k in order)))
        case Sum(axes):
            return Sum(tuple(k + 1 for k in axes))
        case Take(axis, where):
            return Take(axis + 1, where)
        case Place(axis, where, size):
            return Place(axis + 1, where, size)
        case AddAt(axis, where):
            return AddAt(axis + 1, where)
    return op
