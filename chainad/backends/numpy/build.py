"""The NumPy backend: a program as straight-line Python source, one NumPy call per line.

No loop runs over the instructions: what is executed is what `source` prints. Every call can be
traced, so that the Jacobian of a Jacobian is a Hessian; on plain arrays a second text runs, whose
calls are quicker. What depends on no slot is computed when the text is written. A program that runs
for the first time is taken call by call: Python needs longer to compile the text than to run it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, TypeAlias

import numpy as np

from chainad.backends.numpy.allocate import ArrayType, look
from chainad.backends.numpy.emit import Namespace, fresh, traced
from chainad.ir.array_functions import takes_over
from chainad.ir.ops import (
    Add,
    Broadcast,
    Copy,
    Dot,
    Full,
    MatMul,
    Multiply,
    Op,
    Reshape,
    Row,
    Scale,
    Subtract,
    Sum,
    Take,
    Transpose,
)
from chainad.ir.program import Program

Runner = Callable[[Sequence[Any]], tuple[Any, ...]]
Writing: TypeAlias = Callable[[Op, Sequence[str], Namespace], str]

# Constants of up to so many numbers are computed beforehand.
SMALL = 1 << 16


def source(program: Program, is_traced: bool = True) -> tuple[str, dict[str, Any]]:
    """Return a program as Python source, a function `run(slots)`, and the names that it needs.

    Without `is_traced` it is the quicker text, for plain arrays.
    """
    names = Namespace()
    lines = _lines(program, names, traced if is_traced else fresh)
    return function("run(slots)", lines), names.objects


def build(program: Program) -> Runner:
    """Return a function from slots to results; where slots are traced, results are, too."""
    program.check()
    runners: dict[bool, Runner] = {}
    begun: set[bool] = set()

    def run(slots: Sequence[Any]) -> tuple[Any, ...]:
        is_traced = any(map(takes_over, slots))
        runner = runners.get(is_traced)
        if runner is None:
            if is_traced not in begun:
                begun.add(is_traced)
                return interpreted(program, slots, traced if is_traced else fresh)
            runner = runners[is_traced] = compiled(*source(program, is_traced))
        return runner(slots)

    return run


# Ops that are told apart quickly; the positions of others may be long to compare.
SHORT = (Add, Subtract, Multiply, MatMul, Dot, Copy, Scale, Sum, Reshape, Transpose, Broadcast, Row)


def interpreted(program: Program, slots: Sequence[Any], write: Writing) -> tuple[Any, ...]:
    """Run a program call by call; equal ops are written once."""
    functions: dict[Op, Callable[..., Any]] = {}
    last = last_uses(program)
    registers: dict[int, Any] = {k: slots[k] for k in program.used_slots}
    for n, i in enumerate(program.instructions):
        call = functions.get(i.op) if isinstance(i.op, SHORT) else None
        if call is None:
            call = _call(i.op, len(i.inputs), write)
            if isinstance(i.op, SHORT):
                functions[i.op] = call
        registers[i.output] = call(*[registers[k] for k in i.inputs])
        for k in i.inputs:
            if last[k] == n:
                registers.pop(k, None)
    return tuple(None if k is None else registers[k] for k in program.outputs)


def _call(op: Op, count: int, write: Writing) -> Callable[..., Any]:
    """Return a op as a function of its inputs."""
    names, words = Namespace(), [f"r{k}" for k in range(count)]
    text = f"lambda {', '.join(words)}: {write(op, words, names)}"
    made: Callable[..., Any] = eval(text, names.objects)
    return made


def observe(program: Program, slots: Sequence[Any]) -> tuple[dict[int, ArrayType], tuple[Any, ...]]:
    """Run a program once on plain arrays; return what was seen on the way, and the results."""
    seen = {k: look(slots[k], None) for k in program.used_slots}

    def watch(number: int, register: Any, first: Any) -> None:
        seen[number] = look(register, first)

    names = Namespace()
    names.objects["watch"] = watch
    text = function("run(slots)", _lines(program, names, fresh, is_watched=True))
    return seen, compiled(text, names.objects)(slots)


def compiled(text: str, names: dict[str, Any]) -> Any:
    """Return the function `run` that a text defines."""
    exec(compile(text, "<chainad program>", "exec"), names)
    return names["run"]


def function(head: str, lines: Sequence[str]) -> str:
    """Return the text of a function."""
    return "\n    ".join([f"def {head}:", *lines]) + "\n"


def _lines(
    program: Program, names: Namespace, write: Writing, is_watched: bool = False
) -> list[str]:
    """Return the lines of a run; registers are forgotten after their last use.

    If it is watched, every register is shown to the function `watch`.
    """
    known = {k: names.constant(value) for k, value in constants(program).items()}
    word = {k: known.get(k, f"r{k}") for i in program.instructions for k in (*i.inputs, i.output)}
    last = last_uses(program)
    lines = [f"r{k} = slots[{k}]" for k in program.used_slots]
    for n, i in enumerate(program.instructions):
        args = [word[k] for k in i.inputs]
        if i.output not in known:
            lines.append(f"r{i.output} = {write(i.op, args, names)}")
        if is_watched:
            lines.append(f"watch({i.output}, {word[i.output]}, {args[0] if args else None})")
        over = sorted(k for k in {*i.inputs} if last[k] == n and k not in known)
        if over and i.output not in known:
            lines.append("del " + ", ".join(f"r{k}" for k in over))
    results = "".join("None, " if k is None else f"r{k}, " for k in program.outputs)
    return [*lines, f"return ({results})"]


def last_uses(program: Program) -> dict[int, int]:
    """Return the number of the last instruction that reads a register; results are read later."""
    last = {k: n for n, i in enumerate(program.instructions) for k in i.inputs}
    return last | {k: len(program.instructions) for k in program.outputs if k is not None}


def constants(program: Program, fixed: Mapping[int, Any] | None = None) -> dict[int, Any]:
    """Return the small registers that depend on no slot but `fixed` ones, with their numbers.

    `fixed` are the numbers of some slots, here among the registers that are returned. No constant
    is handed out, nor is a view of one: results have memory of their own.
    """
    given: set[int] = {k for k in program.outputs if k is not None}
    for i in reversed(program.instructions):
        if i.output in given and isinstance(i.op, (Broadcast, Reshape, Row, Take, Transpose)):
            given.add(i.inputs[0])
    found: dict[int, Any] = dict(fixed or {})
    names = Namespace()
    for i in program.instructions:
        if i.output in given or not all(k in found for k in i.inputs):
            continue
        if not i.inputs and not isinstance(i.op, Full):
            continue
        words = [names.constant(found[k]) for k in i.inputs]
        value = eval(fresh(i.op, words, names), names.objects)
        if prod(np.shape(value)) <= SMALL:
            found[i.output] = value
    return found
