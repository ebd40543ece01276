"""Programs with preallocated buffers: a call allocates nothing but its results.

A first run shows the shape, dtype and layout of every register; `allocate` decides from that which
share a buffer, and which are written into a result. Every call takes a set of buffers from a pool,
so that calls may run at the same time, or inside one another.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from chainad.backends.namespace import Namespace
from chainad.backends.numpy.allocate import (
    ArrayType,
    BufferAllocation,
    allocate_buffers,
    buffer_views,
)
from chainad.backends.numpy.build import bound_op, folded_constants
from chainad.backends.numpy.emit import (
    emit_into,
    emit_new,
    emit_sum_as_matmul,
    emit_view,
    view_call,
)
from chainad.ir.array_functions import scatter_into
from chainad.ir.op import Op
from chainad.ir.ops import Scatter
from chainad.ir.positions import Positions, as_array
from chainad.ir.program import Instruction, Program

Array = npt.NDArray[Any]
# If the constant regions of a scatter would be written in this many passes over its vector, a
# vector that holds them is copied, and the rest is written over it.
_MIN_CONSTANT_PASSES = 3


@dataclass(frozen=True)
class ProgramSource:
    """A program as lines of Python, to be put into a function.

    Attributes
    ----------
    lines : tuple of str
        They read the slots by the names given, a variable `memory` (what `allocate` returns; not to
        be shared by two calls at the same time) and a variable `out`, a sequence of one array or
        None per result.
    results : tuple of str
        The names of the results afterwards; "None" where there is none.
    allocation : BufferAllocation
    types : dict
        The type of every register.
    views : dict
        The registers that are views of buffers, at every call: what each is a view of, and its op.
    """

    lines: tuple[str, ...]
    results: tuple[str, ...]
    allocation: BufferAllocation
    types: dict[int, ArrayType]
    views: dict[int, tuple[int, Op]]

    def allocate(self) -> list[Array]:
        """Return new memory: one array for every register that lies in it."""
        made = buffer_views(self.allocation, self.types, self.allocation.allocate())
        found = dict(zip(self.allocation.buffers, made, strict=True))
        for k, (source, op) in self.views.items():
            found[k] = _view(op)(found[source])
        return [*found.values()]


def source_with_buffers(
    program: Program,
    types: dict[int, ArrayType],
    slots: Sequence[str],
    names: Namespace,
    fixed: Mapping[int, Any] | None = None,
) -> ProgramSource:
    """Return the lines of a program that writes into preallocated memory.

    Parameters
    ----------
    program : Program
    types : dict
        What `observe` returns of a run. The lines are right for slots of the same shapes and dtypes
        only: the caller has to check that.
    slots : sequence of str
        The name of every slot.
    names : Namespace
        Where the names of constants go.
    fixed : mapping, optional
        The values of slots that are the same at every call.
    """
    return _Emitter(program, types, slots, fixed or {}, names).source()


class _Emitter:
    """Names registers, and emits the lines of a program."""

    def __init__(
        self,
        program: Program,
        types: dict[int, ArrayType],
        slots: Sequence[str],
        fixed: Mapping[int, Any],
        names: Namespace,
    ) -> None:
        self.program, self.types = program, types
        self.names = names
        known = folded_constants(program, fixed)
        self.allocation = allocate_buffers(program, types, known)
        self.views = views_of_buffers(program, types, self.allocation, known)
        self.kept = {*self.allocation.buffers, *self.views}
        self.name_of = {k: slots[k] for k in program.used_slots}
        self.name_of |= {k: self.names.constant(value) for k, value in known.items()}
        for i in program.instructions:
            letter = "b" if i.output in self.kept else "r"
            self.name_of.setdefault(i.output, f"{letter}{i.output}")
        self.known = known

    def source(self) -> ProgramSource:
        lines = self._head()
        kept = {*self.kept, *self.allocation.results, *self.known}
        for i, read in zip(self.program.instructions, self.program.last_reads, strict=True):
            if i.output in self.known:
                continue
            lines += () if i.output in self.views else self._call(i)
            dead = [k for k in read if k not in kept and k >= self.program.n_slots]
            if dead:
                lines.append("del " + ", ".join(self.name_of[k] for k in dead))
        found = []
        for number, k in enumerate(self.program.outputs):
            found.append(self._result(number, k, lines))
        return ProgramSource(tuple(lines), tuple(found), self.allocation, self.types, self.views)

    def _head(self) -> list[str]:
        """Return the lines that fetch memory."""
        lines = []
        if self.allocation.buffers:
            names = [self.name_of[k] for k in (*self.allocation.buffers, *self.views)]
            lines.append(f"{', '.join(names)}, = memory")
        for number in dict.fromkeys(number for number, _ in self.allocation.results.values()):
            k = self.program.outputs[number]
            assert k is not None
            name, result = self._out(number), self.types[k]
            dtype = self.names.constant(result.dtype)
            lines.append(f"{name} = out[{number}] if out else None")
            lines.append(f"if {name} is None: {name} = empty({result.shape}, {dtype})")
        for k, (number, view) in self.allocation.results.items():
            lines.append(f"{self.name_of[k]} = {self._out(number)}{''.join(map(view_call, view))}")
        return lines

    def _out(self, number: int) -> str:
        return f"o{number}"

    def _call(self, i: Instruction) -> list[str]:
        """Return the lines of one instruction."""
        args = [self.name_of[k] for k in i.inputs]
        to = self.name_of[i.output]
        if i.output in self.allocation.buffers or i.output in self.allocation.results:
            base, rest = self._without_constants(i)
            if base:
                return [f"copyto({to}, {base})", *(self._call(rest) if rest.inputs else ())]
            if i.inputs and i.inputs[0] in self.allocation.buffers:  # which is row-major
                term = self.types[i.inputs[0]]
                line = emit_sum_as_matmul(i.op, args[0], to, term.shape, term.dtype, self.names)
                if line is not None:
                    return [line]
            shapes = [self._shape(k) for k in i.inputs]
            first = i.output in self.allocation.in_place
            return emit_into(i.op, args, to, shapes, first, self.names)
        shape = self._shape(i.inputs[0]) if i.inputs else None
        view = None if shape is None else emit_view(i.op, args[0], shape, self.names)
        return [f"{to} = {view or emit_new(i.op, args, self.names)}"]

    def _without_constants(self, i: Instruction) -> tuple[str, Instruction]:
        """Split the constant regions off a scatter, if they take many passes.

        Returns the name of a vector that holds them, empty if there is none, and the rest.
        """
        op = i.op
        if not isinstance(op, Scatter) or not op.covers:
            return "", i
        given = iter(i.inputs)
        regions = [
            (where, own, [next(given) for _ in own])
            for where, own in zip(op.positions, op.signs_by_region, strict=True)
        ]
        fixed = [each for each in regions if self.known.keys() >= set(each[2])]
        if not fixed or sum(map(_span, _column(fixed, 0))) < _MIN_CONSTANT_PASSES * op.size:
            return "", i
        rest = [each for each in regions if not self.known.keys() >= set(each[2])]
        base = np.zeros(op.size, self.types[i.output].dtype)
        values = [np.asarray(self.known[k]) for _, _, inputs in fixed for k in inputs]
        scatter_into(base, _column(fixed, 0), True, _column(fixed, 1), *values)
        left = Scatter(_column(rest, 0), op.size, True, _column(rest, 1))
        inputs = tuple(k for each in rest for k in each[2])
        return self.names.constant(base), Instruction(left, inputs, i.output)

    def _shape(self, k: int) -> tuple[int, ...] | None:
        return self.types[k].shape if k in self.types else None

    def _result(self, number: int, k: int | None, lines: list[str]) -> str:
        if k is None:
            return "None"
        if any(number == other for other, _ in self.allocation.results.values()):
            return self._out(number)
        name = self._out(number)
        lines.append(f"{name} = {self.name_of[k]}")
        owner = self._owner(k)
        if owner is not None:
            condition = "" if owner < 0 else f"if {self.name_of[owner]}.aliases: "
            lines.append(f"{condition}{name} = {name}.copy()")
        lines.append(f"if out and out[{number}] is not None:")
        lines.append(f"    copyto(out[{number}], {name}); {name} = out[{number}]")
        return name

    def _owner(self, k: int) -> int | None:
        """Return the operator whose memory a result may be, -1 if it is a buffer, else None."""
        made = {i.output: i for i in self.program.instructions}
        while k in made and k not in self.allocation.buffers:
            op, inputs = made[k].op, made[k].inputs
            if op.operator is not None:
                return inputs[op.operator]
            if not self.types[k].is_view:
                return None
            k = inputs[0]
        return -1


def _column(rows: Sequence[tuple[Any, ...]], k: int) -> tuple[Any, ...]:
    return tuple(row[k] for row in rows)


def _span(where: Positions) -> int:
    """Return the length of a vector from the first to the last of some positions."""
    return int(np.ptp(as_array(where))) + 1 if len(where) else 0


def views_of_buffers(
    program: Program,
    types: Mapping[int, ArrayType],
    allocation: BufferAllocation,
    constants: Container[int],
) -> dict[int, tuple[int, Op]]:
    """Return the registers that are views of buffers: of which register, and by which op.

    They are made with the buffers: to look at an array in another way takes half as long as a call.
    """
    arrays = dict(
        zip(allocation.buffers, buffer_views(allocation, types, allocation.allocate()), strict=True)
    )
    found: dict[int, tuple[int, Op]] = {}
    for i in program.instructions:
        if i.output in constants or not types[i.output].is_view or i.inputs[0] not in arrays:
            continue
        source = arrays[i.inputs[0]]
        view = _view(i.op)(source)
        # Of a transposed buffer, another shape may be a copy.
        if np.may_share_memory(view, source):
            arrays[i.output] = view
            found[i.output] = i.inputs[0], i.op
    return found


@lru_cache(maxsize=4096)
def _view(op: Op) -> Callable[[Array], Array]:
    """Return an op as a function of one array."""
    return bound_op(op, 1, emit_new, Namespace)
