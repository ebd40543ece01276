"""Fusion of elementwise operations: those on arrays of one shape that follow one another.

Operations on arrays of one shape may become one nest if no path between them leaves it: if all have
the same *level*. An operand that is made otherwise, or seen otherwise, is made at a lower level.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush
from math import prod
from typing import Any

import numpy as np

from chainad.backends.numba.elementwise import TYPES, VECTORIZABLE, cubed
from chainad.backends.numpy.allocate import ArrayType
from chainad.compiler.passes.operand_views import OperandViews
from chainad.ir import ops
from chainad.ir.calls import Call, Guard, Input, has_inputs
from chainad.ir.fused_loops import (
    Apply,
    Empty,
    FusedLoops,
    Load,
    Node,
    Number,
    QuietCall,
    RunLoops,
    Written,
)
from chainad.ir.op import Op
from chainad.ir.program import Instruction, Program
from chainad.ir.scalar_graph import PREDICATES
from chainad.ir.shapes import Shape
from chainad.rules.base import kind_of, normalize_axes
from chainad.rules.kinds import Movement, Reduction

# A nest with fewer elements, all operations together, saves less than calling it takes.
MIN_FUSED_ELEMENTS = 8_192
# Of small arrays, so many operations.
MAX_MEMBERS = 32
# In shorter rows, NumPy takes longer to begin a row than to go through it.
MAX_SHORT_ROW = 64
MIN_SHORT_ROW_ELEMENTS = 16_384
# Rows that are added up are kept on the stack.
MAX_SUMMED_ROW = 4_096
# Each takes a compiler about a tenth of a second.
MAX_NESTS = 24

_CHEAP = (np.add, np.subtract, np.multiply, np.negative)

Compile = Callable[[Sequence[FusedLoops]], list[Callable[..., Any]]]


@dataclass(frozen=True)
class _Operation:
    """What an instruction computes at every place of a nest over `sizes`.

    `operands` are registers, or numbers. With `is_sum` the results are added up along the last
    axis.
    """

    function: Callable[..., Any] | None
    operands: tuple[int | Number, ...]
    sizes: Shape
    is_sum: bool = False
    keeps_axis: bool = False


def fuse_elementwise(
    program: Program,
    types: Mapping[int, ArrayType],
    kept: Iterable[int],
    n_fixed: int,
    compiled: Compile,
) -> tuple[Program, dict[int, ArrayType], dict[int, int]] | None:
    """Return a program with fused loops, the types of its registers, and by old their numbers.

    None if there is nothing to fuse.

    Parameters
    ----------
    program : Program
    types : mapping
        The types of all registers that are arrays.
    kept : iterable of int
        Registers that their own instructions must make.
    n_fixed : int
        So many instructions in front stay what they are.
    compiled : callable
        From nests to functions of operands and results.
    """
    fusion = _Fusion(program, types, frozenset(kept), n_fixed)
    groups = fusion.groups()
    if not groups:
        return None
    nests = fusion.nests(groups)
    written = [nest for nest in nests if nest.results]
    functions = compiled([nest.loops for nest in written])
    recomputed = {k for nest in nests if not nest.results for k in nest.members}
    return fusion.fused(written, functions, recomputed)


@dataclass(frozen=True)
class _Nest:
    """The instructions that a nest replaces, its loops, and the registers it reads and writes."""

    members: tuple[int, ...]
    loops: FusedLoops
    operands: tuple[int, ...]
    results: tuple[int, ...]


class _Fusion:
    """Finds the groups of a program, and puts nests in their places."""

    def __init__(
        self,
        program: Program,
        types: Mapping[int, ArrayType],
        kept: frozenset[int],
        n_fixed: int,
    ) -> None:
        self.program, self.types, self.kept, self.n_fixed = program, types, kept, n_fixed
        self.instructions = program.instructions
        self.views = OperandViews(program.instructions, types)
        self.operations: dict[int, _Operation] = {}
        for n, i in enumerate(self.instructions):
            if n >= n_fixed and i.output not in kept:
                operation = self._operation(i)
                if operation is not None:
                    self.operations[i.output] = operation
        self.readers: dict[int, list[int]] = defaultdict(list)
        for i in self.instructions:
            for k in dict.fromkeys(i.inputs):
                self.readers[k].append(i.output)

    # ------------------------------------------------------------ what can be fused

    def _operation(self, i: Instruction) -> _Operation | None:
        """Return what an instruction does as part of a nest, if it can be one."""
        made = self.types.get(i.output)
        if made is None or made.dtype not in TYPES or (not made.shape and not _is_sum(i.op)):
            return None
        found = self._elementwise(i, made.shape) or self._sum(i)
        if found is None or not found.sizes or prod(found.sizes) < _least_elements():
            return None
        registers = [k for k in found.operands if isinstance(k, int)]
        if made.dtype != (bool if found.function in PREDICATES else float):
            return None
        for k in registers:
            if k not in self.types or self.types[k].dtype not in TYPES:
                return None
            if self.views.access(k, found.sizes) is None:
                return None
        return found

    def _elementwise(self, i: Instruction, shape: Shape) -> _Operation | None:
        match i.op:
            case ops.Add():
                return _Operation(np.add, i.inputs, shape)
            case ops.Subtract():
                return _Operation(np.subtract, i.inputs, shape)
            case ops.Multiply():
                return _Operation(np.multiply, i.inputs, shape)
            case ops.Scale(factor):
                if factor == -1:
                    return _Operation(np.negative, i.inputs, shape)
                return _Operation(np.multiply, (*i.inputs, _number(factor)), shape)
            case Call(function=function, args=args, kwargs=kwargs, shape=own):
                if function is np.power and args[1:] in ((2,), (3,)):
                    function, args = (np.square if args[1] == 2 else cubed), args[:1]
                is_known = (
                    (function in VECTORIZABLE or function is cubed) and not kwargs and own == shape
                )
                if is_known and all(type(x) in (Input, int, float) for x in args):
                    given = [i.inputs[x.position] if type(x) is Input else _number(x) for x in args]
                    return _Operation(function, tuple(given), shape)
        return None

    def _sum(self, i: Instruction) -> _Operation | None:
        """Return a sum along the last axis, of an array or of a product of two."""
        if not _is_sum(i.op) or any(k not in self.types for k in i.inputs):
            return None
        operands, options = i.inputs, {}
        if isinstance(i.op, Call):
            is_arrays = [isinstance(x, Input) for x in i.op.args]
            operands = tuple(i.inputs[x.position] for x in i.op.args if isinstance(x, Input))
            rest = i.op.args[sum(is_arrays) :]
            options = dict(zip(("axis", "dtype", "out", "keepdims"), rest, strict=False))
            options |= i.op.kwargs
        elif isinstance(i.op, ops.Sum):
            options["axis"] = i.op.axes
        sizes = np.broadcast_shapes(*(self.types[k].shape for k in operands))
        if not sizes:
            return None
        default = -1 if len(operands) == 2 else None
        axes = normalize_axes(options.pop("axis", default), len(sizes))
        keeps_axis = options.pop("keepdims", False)
        is_last = axes == (len(sizes) - 1,) and sizes[-1] <= MAX_SUMMED_ROW
        if options or not is_last or type(keeps_axis) is not bool:
            return None
        return _Operation(
            np.multiply if len(operands) == 2 else None, operands, sizes, True, keeps_axis
        )

    # --------------------------------------------------------------------- groups

    def groups(self) -> list[tuple[int, ...]]:
        """Return the registers of every group that is worth a nest, those that save most first."""
        parent = {k: k for k in self.operations}

        def root(k: int) -> int:
            while parent[k] != k:
                k = parent[k]
            return k

        level: dict[int, int] = {}
        # The first operation of a level that reads an array.
        reads: dict[tuple[int, int, Shape], int] = {}
        for i in self.instructions:
            own = self.operations.get(i.output)
            inputs = [k for k in i.inputs if k in level]
            if own is None:
                is_view = i.output in self.types and self.views.is_view(i.output)
                found_at = [level[k] + (k in self.operations or not is_view) for k in inputs]
                level[i.output] = max(found_at, default=0)
                continue
            outer = [k for k in inputs if k in self.operations and not self._is_inner(k, own)]
            level[i.output] = max([level[k] + (k in outer) for k in inputs], default=0)
            for k in i.inputs:
                if k in self.operations and self._is_inner(k, own):
                    if level[k] == level[i.output]:
                        parent[root(k)] = root(i.output)
                    continue
                key = self.views.base(k), level[i.output], own.sizes
                if prod(self.types[k].shape) > 1:
                    parent[root(reads.setdefault(key, i.output))] = root(i.output)
        groups: dict[int, list[int]] = defaultdict(list)
        for k in self.operations:
            groups[root(k)].append(k)
        worth = [(self._saved(group), tuple(group)) for group in groups.values()]
        best = sorted((each for each in worth if each[0]), key=lambda each: -each[0])
        return [group for _, group in best[:MAX_NESTS]]

    def _is_inner(self, k: int, reader: _Operation) -> bool:
        """Return whether an operand can be computed in the nest of who reads it."""
        own = self.operations[k]
        return not own.is_sum and own.sizes == reader.sizes

    def _recomputed(self, k: int, sizes: Shape) -> _Operation | None:
        """Return an operation that takes less time than to read what it makes.

        It has one operand, an array that is there anyhow.
        """
        own = self.operations.get(k)
        if own is None or own.function not in _CHEAP or own.is_sum or own.sizes != sizes:
            return None
        registers = [x for x in own.operands if isinstance(x, int)]
        is_there = len(registers) == 1 and registers[0] not in self.operations
        return own if is_there and self.types[registers[0]].shape == sizes else None

    def _saved(self, group: Sequence[int]) -> int:
        """Return how many elements a nest saves reading or writing, 0 if it is not worth it."""
        size = prod(self.operations[group[0]].sizes)
        has_short_rows = self.operations[group[0]].sizes[-1] <= MAX_SHORT_ROW
        if len(group) * size < MIN_FUSED_ELEMENTS:
            return 0
        if len(group) > 1:
            return len(group) * size
        own = self.operations[group[0]]
        is_broadcast = any(
            isinstance(k, int) and self.types[k].shape != own.sizes for k in own.operands
        )
        is_short = has_short_rows and size >= MIN_SHORT_ROW_ELEMENTS
        return size if is_short and (own.is_sum or is_broadcast) else 0

    # ---------------------------------------------------------------------- nests

    def nests(self, groups: Sequence[Sequence[int]]) -> list[_Nest]:
        """Return the nests of some groups; some have no results: all who read them recompute."""
        chosen = {k for group in groups for k in group}

        def must_store(k: int, own: set[int]) -> bool:
            return k in self.program.outputs or not all(
                reader in own
                or (reader in chosen and self._recomputed(k, self.operations[reader].sizes))
                for reader in self.readers[k]
            )

        return [self._nest(group, must_store) for group in groups]

    def _nest(self, group: Sequence[int], must_store: Callable[[int, set[int]], bool]) -> _Nest:
        """Return the nest of a group."""
        own = set(group)
        members = [i.output for i in self.instructions if i.output in own]
        nodes: list[Node] = []
        number: dict[Any, int] = {}
        operands: list[int] = []

        def node(key: Any, made: Node) -> int:
            if key not in number:
                number[key] = len(nodes)
                nodes.append(made)
            return number[key]

        def operand(x: int | Number, sizes: Shape) -> int:
            if isinstance(x, Number):
                return node(x, x)
            if x in own and x in number:
                return number[x]
            unary = self._recomputed(x, sizes)
            if unary is not None and unary.function is not None:
                made = Apply(unary.function, tuple(operand(k, sizes) for k in unary.operands))
                return node(made, made)
            access = self.views.access(x, sizes)
            assert access is not None
            base, places = access
            if base not in operands:
                operands.append(base)
            load = Load(operands.index(base), places)
            return node(load, load)

        results: list[tuple[int, Written]] = []
        for k in members:
            operation = self.operations[k]
            of = tuple(operand(x, operation.sizes) for x in operation.operands)
            made = of[0]
            if operation.function is not None:
                applied = Apply(operation.function, of)
                made = node(applied, applied)
            if not operation.is_sum:
                number[k] = made
            if operation.is_sum or must_store(k, own):
                dtype = self.types[k].dtype
                results.append((k, Written(made, dtype, operation.is_sum, operation.keeps_axis)))
        kinds = tuple(
            (self.types[k].shape, self.types[k].dtype) if self.types[k].shape else None
            for k in operands
        )
        sizes = self.operations[members[0]].sizes
        loops = FusedLoops(sizes, kinds, tuple(nodes), tuple(x for _, x in results))
        return _Nest(tuple(members), loops, tuple(operands), tuple(k for k, _ in results))

    # -------------------------------------------------------------------- programs

    def _quiet(self, i: Instruction) -> Instruction:
        """Return a call as one that may be anywhere, if it may."""
        if not isinstance(i.op, Call) or i.output in self.kept or not _is_pure(i.op):
            return i
        return Instruction(QuietCall(i.op), i.inputs, i.output)

    def fused(
        self,
        nests: Sequence[_Nest],
        functions: Sequence[Callable[..., Any]],
        recomputed: Container[int],
    ) -> tuple[Program, dict[int, ArrayType], dict[int, int]]:
        """Return the program with nests instead of their members, its types, and its numbers.

        Registers that are `recomputed` wherever they are read are left out.
        """
        instructions = self.instructions
        unit_of = {k: n for n, nest in enumerate(nests) for k in nest.members}
        first = 1 + max(k for i in instructions for k in (*i.inputs, i.output))
        units: list[tuple[Instruction, ...]] = []
        for i in instructions:
            n = unit_of.get(i.output)
            if i.output in recomputed:
                continue
            if n is None:
                units.append((self._quiet(i),))
            elif i.output == nests[n].members[0]:
                nest = nests[n]
                new = [
                    Instruction(Empty(self.types[k].shape, self.types[k].dtype), (), k)
                    for k in nest.results
                ]
                op = RunLoops(nest.loops, functions[n])
                units.append((*new, Instruction(op, (*nest.operands, *nest.results), first + n)))
        ordered = [*units[: self.n_fixed], *_ordered(units[self.n_fixed :])]
        needed = _needed(ordered, self.program.outputs)
        types = {k: self._type(k) for k in self.types}
        return _renumbered(self.program, [i for unit in needed for i in unit], types)

    def _type(self, k: int) -> ArrayType:
        """Return the type of a register; what may be a view is one: that keeps memory alive."""
        return replace(self.types[k], is_view=self.types[k].is_view or self.views.may_be_view(k))


def _least_elements() -> int:
    """Return how many elements an operation has at least: smaller ones are too many to look at."""
    return max(1, MIN_FUSED_ELEMENTS // MAX_MEMBERS)


def _is_pure(call: Call) -> bool:
    """Return whether a call makes a new array, or a view of its first operand, and nothing else."""
    if call.dtype is None:
        return False
    if isinstance(call.function, np.ufunc) or call.function in (np.dot, np.where, np.concatenate):
        return True
    is_first = call.positions[:1] == (0,) and not any(map(has_inputs, call.args[1:]))
    return is_first and isinstance(kind_of(call.function), Reduction | Movement)


def _is_sum(op: Op) -> bool:
    """Return whether an op may add up along an axis: an array, or the product of two."""
    if isinstance(op, Call):
        n_arrays = {np.sum: 1, np.vecdot: 2}.get(op.function, 0)
        return (
            bool(n_arrays)
            and not any(has_inputs(x) for x in op.args[n_arrays:])
            and all(isinstance(x, Input) for x in op.args[:n_arrays])
        )
    return isinstance(op, (ops.Sum, ops.Dot))


def _number(value: float) -> Number:
    return Number(float(value).hex())


def _needed(
    units: Sequence[tuple[Instruction, ...]], outputs: Sequence[int | None]
) -> list[tuple[Instruction, ...]]:
    """Return the units without views that nothing reads any more."""
    read = {*outputs}
    kept = []
    for unit in reversed(units):
        is_read = any(i.output in read for i in unit)
        if is_read or isinstance(unit[-1].op, (RunLoops, Guard)):
            read.update(k for i in unit for k in i.inputs)
            kept.append(unit)
    return kept[::-1]


def _ordered(units: Sequence[tuple[Instruction, ...]]) -> list[tuple[Instruction, ...]]:
    """Return units in an order in which everything is made before it is read.

    Calls come as early as they can: what comes after the last one has preallocated memory.
    """
    maker = {i.output: n for n, unit in enumerate(units) for i in unit}
    waits_for = [
        {maker[k] for i in unit for k in i.inputs if k in maker} - {n}
        for n, unit in enumerate(units)
    ]
    readers: list[list[int]] = [[] for _ in units]
    for n, others in enumerate(waits_for):
        for other in others:
            readers[other].append(n)
    ready = [(_is_late(units[n]), n) for n, others in enumerate(waits_for) if not others]
    heapify(ready)
    found = []
    while ready:
        _, n = heappop(ready)
        found.append(units[n])
        for reader in readers[n]:
            waits_for[reader].discard(n)
            if not waits_for[reader]:
                heappush(ready, (_is_late(units[reader]), reader))
    assert len(found) == len(units), "a nest waits for itself"
    return found


def _is_late(unit: tuple[Instruction, ...]) -> bool:
    return not isinstance(unit[-1].op, Call)


def _renumbered(
    program: Program, instructions: Sequence[Instruction], types: Mapping[int, ArrayType]
) -> tuple[Program, dict[int, ArrayType], dict[int, int]]:
    """Return a program whose registers are numbered in order, its types, and its numbers."""
    first = 1 + max(k for i in instructions for k in (*i.inputs, i.output))
    number = {i.output: first + n for n, i in enumerate(instructions)}
    renumbered = [
        Instruction(i.op, tuple(number.get(k, k) for k in i.inputs), number[i.output])
        for i in instructions
    ]
    outputs = tuple(None if k is None else number.get(k, k) for k in program.outputs)
    made = {number.get(k, k): found for k, found in types.items()}
    runs = (i.output for i in renumbered if isinstance(i.op, RunLoops))
    made |= dict.fromkeys(runs, ArrayType((), np.dtype(object), False))
    found = replace(program, instructions=tuple(renumbered), outputs=outputs)
    return found, made, number
