"""The NumPy backend: a program as straight-line Python source, one NumPy call per line.

The first runs bind every instruction to a function, and call these in a loop: to compile an
instruction takes Python as long as it loses by that in some thirty runs. From then on no loop runs
over the instructions: what is executed is what `compiled` prints. Every call can be traced, so that
the Jacobian of a Jacobian is a Hessian; on plain arrays a second version runs, whose calls are
quicker. Constants that depend on no slot are folded beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import prod
from typing import Any, TypeAlias

import numpy as np

from chainad.backends.bound_program import BoundProgram
from chainad.backends.namespace import Namespace
from chainad.backends.numpy.allocate import ArrayType, results_in_place, type_of
from chainad.backends.numpy.emit import emit_into, emit_new, emit_standard, view_call
from chainad.ir.array_functions import is_traced
from chainad.ir.op import Op
from chainad.ir.ops import Full, Reshape, Transpose
from chainad.ir.program import Program, Runner
from chainad.ir.shapes import Shape

Slots: TypeAlias = Sequence[Any] | Mapping[int, Any]
Emit: TypeAlias = Callable[[Op, Sequence[str], Namespace], str]

MAX_INTERPRETED_RUNS = 32

# Types of slots that are not traced.
_PLAIN = frozenset({np.ndarray, np.float64, float, type(None)})

# Larger registers are not folded: they would be kept as long as the program.
_MAX_FOLDED_ELEMENTS = 1 << 16


def compiled(program: Program, is_traced: bool = True) -> tuple[Runner, str]:
    """Return a program as a Python function `run(slots)`, and its source.

    Without `is_traced` it is the quicker version, for plain arrays.
    """
    names = Namespace()
    lines = _lines(program, names, emit_standard if is_traced else emit_new)
    return names.define("run(slots)", lines)


def build(program: Program) -> Runner:
    """Return a function from slots to results; where slots are traced, results are, too.

    Its second argument are arrays of the dtype of the slots, row-major and of the shapes of the
    first results, which are then written there if their last ops can, and are new else.
    """
    program.check()
    runners: dict[bool, Runner] = {}
    writers: dict[tuple[Shape, ...], Runner] = {}

    def run(slots: Sequence[Any], out: Sequence[Any] | None = None) -> tuple[Any, ...]:
        if out is not None and _dtypes(slots) == _dtypes(out):
            shapes = tuple(np.shape(x) for x in slots)
            if shapes not in writers:
                writers[shapes] = _writer(program, shapes, len(out))
            return writers[shapes](slots, out)
        is_traced = not _PLAIN.issuperset(map(type, slots)) and any(map(_is_traced, slots))
        runner = runners.get(is_traced)
        if runner is None:
            emit = emit_standard if is_traced else emit_new
            bind = partial(bound_op, emit=emit, namespace=Namespace)
            runner = runners[is_traced] = BoundProgram(program, bind, folded_constants(program))
        elif isinstance(runner, BoundProgram) and runner.runs >= MAX_INTERPRETED_RUNS:
            runner = runners[is_traced] = compiled(program, is_traced)[0]
        return runner(slots)

    return run


def _dtypes(arrays: Sequence[Any]) -> set[Any]:
    return {getattr(x, "dtype", None) for x in arrays if x is not None}


def _writer(program: Program, shapes: Sequence[Shape], count: int) -> Runner:
    """Return a program on slots of these shapes that writes its first results into arrays."""
    found: dict[int, Shape | None] = dict(enumerate(shapes))
    types = {k: ArrayType(shape, np.dtype(float), False) for k, shape in enumerate(shapes)}
    for i in program.instructions:
        found[i.output] = shape = i.op.infer_shape([found[k] for k in i.inputs])
        is_view = isinstance(i.op, (Reshape, Transpose))
        types[i.output] = ArrayType(shape or (), np.dtype(float), is_view)
    made = {i.output: i for i in program.instructions}
    places = results_in_place(program, types, made)
    into = {k: place for k, place in places.items() if place[0] < count}
    names = Namespace()
    lines = _lines(program, names, emit_new, into=into, shapes=found)
    return names.define("run(slots, out)", lines)[0]


def _is_traced(slot: Any) -> bool:
    """Return whether a slot is traced, or an operator of traced arrays."""
    return type(slot) is not np.ndarray and (is_traced(slot) or getattr(slot, "is_traced", False))


def bound_op(
    op: Op, count: int, emit: Emit, namespace: Callable[[], Namespace]
) -> Callable[..., Any]:
    """Return an op as a function of its inputs."""
    names, args = namespace(), [f"r{k}" for k in range(count)]
    text = f"lambda {', '.join(args)}: {emit(op, args, names)}"
    made: Callable[..., Any] = names.evaluate(text)
    return made


def observe(program: Program, slots: Slots) -> tuple[dict[int, ArrayType], tuple[Any, ...]]:
    """Run a program once on plain arrays; return the types of its registers, and the results."""
    types = {k: type_of(slots[k], None) for k in program.used_slots}

    def watch(number: int, register: Any, first: Any) -> None:
        types[number] = type_of(register, first)

    run = watched(program, watch, emit_new)
    with np.errstate(all="ignore"):
        return types, run(slots)


def watched(
    program: Program, watch: Callable[[int, Any, Any], None], emit: Emit = emit_standard
) -> Callable[[Slots], tuple[Any, ...]]:
    """Return a program that calls `watch` with every register, its value and its first input."""
    names = Namespace(watch=watch)
    return names.define("run(slots)", _lines(program, names, emit, is_watched=True))[0]


def _lines(
    program: Program,
    names: Namespace,
    emit: Emit,
    is_watched: bool = False,
    into: Mapping[int, tuple[int, tuple[Op, ...]]] | None = None,
    shapes: Mapping[int, Shape | None] | None = None,
) -> list[str]:
    """Return the lines of a run; registers are deleted after their last use.

    If it is watched, every register is passed to the function `watch`. The registers `into` are
    written into views of results, which are in `out`; that takes the `shapes` of registers.
    """
    into, shapes = into or {}, shapes or {}
    known = {k: names.constant(value) for k, value in folded_constants(program).items()}
    name_of = {
        k: known.get(k, f"r{k}") for i in program.instructions for k in (*i.inputs, i.output)
    }
    lines = [f"r{k} = slots[{k}]" for k in program.used_slots]
    for i, dead in zip(program.instructions, program.last_reads, strict=True):
        args = [name_of[k] for k in i.inputs]
        if i.output in into:
            number, views = into[i.output]
            to, of_args = f"r{i.output}", [shapes.get(k) for k in i.inputs]
            lines.append(f"{to} = out[{number}]{''.join(map(view_call, views))}")
            lines += emit_into(i.op, args, to, of_args, False, names)
        elif i.output not in known:
            lines.append(f"r{i.output} = {emit(i.op, args, names)}")
        if is_watched:
            lines.append(f"watch({i.output}, {name_of[i.output]}, {args[0] if args else None})")
        over = sorted(k for k in dead if k not in known)
        if over and i.output not in known:
            lines.append("del " + ", ".join(f"r{k}" for k in over))
    results = "".join("None, " if k is None else f"r{k}, " for k in program.outputs)
    return [*lines, f"return ({results})"]


def folded_constants(program: Program, fixed: Mapping[int, Any] | None = None) -> dict[int, Any]:
    """Return the values of the small registers that depend on no slot but `fixed` ones.

    `fixed` are the values of slots that are the same at every call, themselves among the registers
    that are returned. No result is folded, nor what it is a view of: results have their own memory.
    """
    returned = program.returned
    found: dict[int, Any] = dict(fixed or {})
    names = Namespace()
    for i in program.instructions:
        if i.output in returned or not all(k in found for k in i.inputs):
            continue
        if not i.inputs and not isinstance(i.op, Full):
            continue
        args = [names.constant(found[k]) for k in i.inputs]
        value = names.evaluate(emit_new(i.op, args, names))
        if prod(np.shape(value)) <= _MAX_FOLDED_ELEMENTS:
            found[i.output] = value
    return found
