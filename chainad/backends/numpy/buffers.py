"""Programs that write into memory kept from call to call: a call allocates nothing but its results.

A first run shows the shape, dtype and layout of every register; `storage` says from that which
share memory, and which lie in a result. Memory is checked out for the time of a call, so that
calls may run at the same time, or inside one another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from chainad.backends.numpy.allocate import ArrayType, BufferAllocation, assign, views
from chainad.backends.numpy.build import build, compiled, constants, function, last_uses, observe
from chainad.backends.numpy.emit import Namespace, fresh, into, product_with_ones, viewed
from chainad.ir.array_functions import scatter_into, takes_over
from chainad.ir.ops import Jvp, Materialize, Op, Reshape, Scatter, Transpose, Vjp
from chainad.ir.positions import Positions, as_array
from chainad.ir.program import Instruction, Program

Array = npt.NDArray[Any]
Out = Sequence[Array | None] | None
# If what is the same at every call would be written in so many passes over a vector, the vector is
# copied and the rest written over.
PASSES = 3

Improve = Callable[[Program, dict[int, ArrayType]], Program]


@dataclass(frozen=True)
class Text:
    """A program as lines of Python for a function of one's own.

    Attributes
    ----------
    lines : tuple of str
        They read the slots by the names given, a variable `memory` (what `make` returns; not to be
        shared by two calls at the same time) and a variable `out`, a sequence of one array or None
        per result.
    results : tuple of str
        The names of the results afterwards; "None" where there is none.
    names : dict
        The objects that the lines name.
    storage : BufferAllocation
    seen : dict
    """

    lines: tuple[str, ...]
    results: tuple[str, ...]
    names: dict[str, Any]
    storage: BufferAllocation
    seen: dict[int, ArrayType]

    def make(self) -> list[Array]:
        """Return new memory: one array for every register that is written into it."""
        return views(self.storage, self.seen, self.storage.make())


def text_of(
    program: Program,
    seen: dict[int, ArrayType],
    slots: Sequence[str],
    prefix: str = "",
    fixed: Mapping[int, Any] | None = None,
) -> Text:
    """Return the lines of a program that writes into memory that is given to it.

    Parameters
    ----------
    program : Program
    seen : dict
        What `observe` saw of a run. The lines are right for slots of the same shapes and dtypes
        only: it is for the caller to see to that.
    slots : sequence of str
        The name of every slot.
    prefix : str
        Put before every name that is not a slot's.
    fixed : mapping, optional
        The numbers of slots that hold the same ones at every call.
    """
    return _Writing(program, seen, slots, prefix, fixed or {}).text()


class _Writing:
    """Namespace registers, and writes the lines of a program."""

    def __init__(
        self,
        program: Program,
        seen: dict[int, ArrayType],
        slots: Sequence[str],
        prefix: str,
        fixed: Mapping[int, Any],
    ) -> None:
        self.program, self.seen, self.prefix = program, seen, prefix
        self.names = Namespace(prefix)
        self.names.objects["empty"] = np.empty
        known = constants(program, fixed)
        self.storage = assign(program, seen, known)
        self.word = {k: slots[k] for k in program.used_slots}
        self.word |= {k: self.names.constant(value) for k, value in known.items()}
        for i in program.instructions:
            letter = "b" if i.output in self.storage.pieces else "r"
            self.word.setdefault(i.output, f"{prefix}{letter}{i.output}")
        self.known = known

    def text(self) -> Text:
        lines, last = self._head(), last_uses(self.program)
        for n, i in enumerate(self.program.instructions):
            if i.output in self.known:
                continue
            lines += self._call(i)
            kept = {*self.storage.pieces, *self.storage.results, *self.known}
            over = [k for k in dict.fromkeys(i.inputs) if last[k] == n and k not in kept]
            over = [k for k in over if k >= self.program.n_slots]
            if over:
                lines.append("del " + ", ".join(self.word[k] for k in over))
        found = []
        for number, k in enumerate(self.program.outputs):
            found.append(self._result(number, k, lines))
        return Text(tuple(lines), tuple(found), self.names.objects, self.storage, self.seen)

    def _head(self) -> list[str]:
        """Return the lines that fetch memory."""
        lines = []
        if self.storage.pieces:
            lines.append("".join(f"{self.word[k]}, " for k in self.storage.pieces) + "= memory")
        for number in dict.fromkeys(number for number, _ in self.storage.results.values()):
            k = self.program.outputs[number]
            assert k is not None
            name, seen = self._out(number), self.seen[k]
            dtype = self.names.constant(seen.dtype)
            lines.append(f"{name} = out[{number}] if out else None")
            lines.append(f"if {name} is None: {name} = empty({seen.shape}, {dtype})")
        for k, (number, way) in self.storage.results.items():
            lines.append(f"{self.word[k]} = {self._out(number)}{''.join(map(_step, way))}")
        return lines

    def _out(self, number: int) -> str:
        return f"{self.prefix}o{number}"

    def _call(self, i: Instruction) -> list[str]:
        """Return the lines of one instruction."""
        args = [self.word[k] for k in i.inputs]
        to = self.word[i.output]
        if i.output in self.storage.pieces or i.output in self.storage.results:
            base, rest = self._without_constants(i)
            if base:
                return [f"copyto({to}, {base})", *(self._call(rest) if rest.inputs else ())]
            if isinstance(i.op, Reshape):
                shape = self._shape(i.inputs[0])
                return [f"copyto({to}.reshape({shape}), {args[0]})"]
            if i.inputs and i.inputs[0] in self.storage.pieces:  # which is row-major
                seen = self.seen[i.inputs[0]]
                line = product_with_ones(i.op, args[0], to, seen.shape, seen.dtype, self.names)
                if line is not None:
                    return [line]
            shapes = [self._shape(k) for k in i.inputs]
            first = i.output in self.storage.in_place
            return into(i.op, args, to, shapes, first, self.names)
        shape = self._shape(i.inputs[0]) if i.inputs else None
        view = None if shape is None else viewed(i.op, args[0], shape, self.names)
        return [f"{to} = {view or fresh(i.op, args, self.names)}"]

    def _without_constants(self, i: Instruction) -> tuple[str, Instruction]:
        """Take from a scatter the regions that are the same at every call, if these are many.

        Returns the name of a vector that holds them already, empty if there is none, and the rest.
        """
        op = i.op
        if not isinstance(op, Scatter) or not op.covers:
            return "", i
        signs = op.signs or ((1,),) * len(op.positions)
        given = iter(i.inputs)
        regions = [
            (where, own, [next(given) for _ in own])
            for where, own in zip(op.positions, signs, strict=True)
        ]
        fixed = [each for each in regions if self.known.keys() >= set(each[2])]
        if not fixed or sum(map(_extent, _column(fixed, 0))) < PASSES * op.size:
            return "", i
        rest = [each for each in regions if not self.known.keys() >= set(each[2])]
        base = np.zeros(op.size, self.seen[i.output].dtype)
        values = [np.asarray(self.known[k]) for _, _, inputs in fixed for k in inputs]
        scatter_into(base, _column(fixed, 0), True, _column(fixed, 1), *values)
        left = Scatter(_column(rest, 0), op.size, True, _column(rest, 1))
        inputs = tuple(k for each in rest for k in each[2])
        return self.names.constant(base), Instruction(left, inputs, i.output)

    def _shape(self, k: int) -> tuple[int, ...] | None:
        return self.seen[k].shape if k in self.seen else None

    def _result(self, number: int, k: int | None, lines: list[str]) -> str:
        if k is None:
            return "None"
        if any(number == other for other, _ in self.storage.results.values()):
            return self._out(number)
        name = self._out(number)
        lines.append(f"{name} = {self.word[k]}")
        lender = self._lender(k)
        if lender is not None:
            word = "" if lender < 0 else f"if {self.word[lender]}.lends: "
            lines.append(f"{word}{name} = {name}.copy()")
        lines.append(f"if out and out[{number}] is not None:")
        lines.append(f"    copyto(out[{number}], {name}); {name} = out[{number}]")
        return name

    def _lender(self, k: int) -> int | None:
        """Return the operator whose memory a result may be, -1 for this program's, else None."""
        made = {i.output: i for i in self.program.instructions}
        while k in made and k not in self.storage.pieces:
            op, inputs = made[k].op, made[k].inputs
            if isinstance(op, (Materialize, Vjp, Jvp)):
                return inputs[isinstance(op, Vjp)]
            if not self.seen[k].is_view:
                return None
            k = inputs[0]
        return -1


def _column(rows: Sequence[tuple[Any, ...]], k: int) -> tuple[Any, ...]:
    return tuple(row[k] for row in rows)


def _extent(where: Positions) -> int:
    """Return how much of a vector lies between the first and the last of some positions."""
    return int(np.ptp(as_array(where))) + 1 if len(where) else 0


def _step(op: Op) -> str:
    if isinstance(op, Transpose):
        return f".transpose({op.order})"
    assert isinstance(op, Reshape)
    return f".reshape({op.shape})"


class PreallocatedProgram:
    """A program that keeps its memory from call to call.

    `improve` may return a quicker program that does the same; it is asked once, when a first run
    has shown the shape and dtype of every register. `fixed` are the numbers of slots that hold
    these at every call; `watched` are slots whose memory a result may be wanted in (all, if it is
    not given): these are read first.
    """

    def __init__(
        self,
        program: Program,
        improve: Improve | None = None,
        fixed: Mapping[int, Any] | None = None,
        watched: Sequence[int] | None = None,
    ) -> None:
        program.check()
        self._fixed = fixed
        self.program = program
        self._improve = improve
        self._plain = build(program)
        self._used = program.used_slots
        self._watched = self._used if watched is None else watched
        self._key: Any = None
        self._run: Any = None
        self._make: Any = None
        self._results: list[Any] = []
        self._free: list[list[Array]] = []
        self._lock = Lock()

    def __call__(self, slots: Sequence[Any], out: Out = None) -> tuple[Any, ...]:
        """Return the results for some slots, in the arrays `out` where these are given."""
        if any(map(takes_over, slots)):
            return self._plain(slots)
        if self._key is not None and _key(slots, self._used) != self._key:
            return _written(self._plain(slots), out)
        return self.trusting(slots, out)

    def trusting(self, slots: Sequence[Any], out: Out = None) -> tuple[Any, ...]:
        """Do the same for slots that are known to be plain, with the same shapes and dtypes."""
        if self._key is None:
            return _written(self._first(slots), out)
        direct = out if out is not None and self._can_write(out, slots) else None
        try:
            memory = self._free.pop()  # atomic, as is append: each call has memory of its own
        except IndexError:
            memory = self._make()
        try:
            results: tuple[Any, ...] = self._run(slots, memory, direct)
        finally:
            self._free.append(memory)
        return results if out is direct else _written(results, out)

    def _can_write(self, out: Sequence[Array | None], slots: Sequence[Any]) -> bool:
        """Return whether results can be written where they are wanted while slots are read."""
        for array, (shape, dtype) in zip(out, self._results, strict=True):
            if array is None:
                continue
            if array.shape != shape or array.dtype != dtype or not array.flags.c_contiguous:
                return False
            for k in self._watched:
                slot = slots[k]
                if isinstance(slot, np.ndarray) and np.may_share_memory(array, slot):
                    return False
        return True

    def _first(self, slots: Sequence[Any]) -> tuple[Any, ...]:
        program = self.program
        seen, results = observe(program, slots)
        if self._improve is not None:
            better = self._improve(program, seen)
            if better is not program:
                better.check()
                program = better
                seen, results = observe(program, slots)
        names = [f"slots[{k}]" for k in range(program.n_slots)]
        text = text_of(program, seen, names, fixed=self._fixed)
        ending = f"return ({''.join(f'{name}, ' for name in text.results)})"
        run = compiled(function("run(slots, memory, out)", [*text.lines, ending]), text.names)
        with self._lock:
            if self._key is None:  # else a call inside this one, or beside it, was here first
                self._run, self._make = run, text.make
                self._results = [(np.shape(x), getattr(x, "dtype", None)) for x in results]
                self.program, self._key = program, _key(slots, self._used)
        return results


def _key(slots: Sequence[Any], used: Sequence[int]) -> list[Any]:
    """Return what must be equal for two calls that run the same lines."""
    return [(np.shape(slots[k]), getattr(slots[k], "dtype", None)) for k in used]


def _written(results: tuple[Any, ...], out: Sequence[Array | None] | None) -> tuple[Any, ...]:
    """Copy results to where they are wanted."""
    if out is None:
        return results
    found = []
    for result, to in zip(results, out, strict=True):
        if to is not None:
            np.copyto(to, result)
        found.append(result if to is None else to)
    return tuple(found)
