"""The Python backend: an SSA program of scalars on Python floats, for one point at a time.

A product of Python floats takes a tenth of the time of a NumPy call on arrays of one element.
Where Python's math raises and NumPy gives infinity or nan, NumPy computes the point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from chainad.backends.namespace import Namespace
from chainad.backends.scalar_expressions import PYTHON_HELPERS, PYTHON_TEMPLATES
from chainad.ir.scalar_graph import Function
from chainad.ir.scalar_program import Register, ScalarProgram

# Deeper ones are split by a variable: Python's own compiler has a limit.
_MAX_EXPRESSION_DEPTH = 16


def unsupported(program: ScalarProgram) -> list[str]:
    """Return the names of functions that Python code has no expression for."""
    return sorted(
        {x.function.__name__ for x in program.instructions if x.function not in PYTHON_TEMPLATES}
    )


def build(program: ScalarProgram) -> tuple[Callable[..., Any], str]:
    """Return a program as a function of the elements of its inputs, in tuples, and its source.

    It raises where NumPy gives infinity or nan.
    """
    emitter = ScalarEmitter(program, PYTHON_TEMPLATES)
    lines = [*_unpacked(program), *emitter.lines()]
    lines.append(f"return {_results(program, emitter, range(len(program.outputs)))}")
    return _define(program, lines)


def build_split(program: ScalarProgram, first: Sequence[int]) -> tuple[Callable[..., Any], str]:
    """Return a program as a function that returns some outputs, and a closure for the others.

    `first` has the numbers of the outputs that are computed at once.
    """
    emitter = ScalarEmitter(program, PYTHON_TEMPLATES)
    needed = program.needed_by(first)
    assignments = emitter.assignments()
    rest = [k for k in range(len(program.outputs)) if k not in first]
    lines = _unpacked(program)
    lines += [line for register, line in assignments if register in needed]
    lines.append("def rest():")
    lines += [f"    {line}" for register, line in assignments if register not in needed]
    lines.append(f"    return {_results(program, emitter, rest)}")
    lines.append(f"return {_results(program, emitter, first)}, rest")
    return _define(program, lines)


def _unpacked(program: ScalarProgram) -> list[str]:
    """Return lines that give the elements of the inputs names."""
    names = [f"v{k}" for k in range(program.n_inputs)]
    starts = np.cumsum([0, *program.inputs]).tolist()
    return [
        f"({', '.join(names[a:b])},) = x{k}" for k, (a, b) in enumerate(pairwise(starts)) if b > a
    ]


def _results(program: ScalarProgram, emitter: ScalarEmitter, outputs: Sequence[int]) -> str:
    """Return a tuple of lists, one per output, as an expression."""
    lists = (f"[{', '.join(map(emitter.name, program.outputs[k]))}], " for k in outputs)
    return f"({''.join(lists)})"


def _define(program: ScalarProgram, lines: Sequence[str]) -> tuple[Callable[..., Any], str]:
    args = ", ".join(f"x{k}" for k in range(len(program.inputs)))
    return Namespace(**PYTHON_HELPERS).define(f"run({args})", lines)


class ScalarEmitter:
    """Emits the lines of a program; a value that is read once is inlined where it is read."""

    def __init__(self, program: ScalarProgram, templates: dict[Function, str]) -> None:
        self.program = program
        self.templates = templates
        self.inlined: dict[Register, str] = {}
        self.depth: dict[Register, int] = {}

    def name(self, register: Register) -> str:
        program = self.program
        if program.is_constant(register):
            return literal(program.constant(register))
        return self.inlined.get(register) or f"v{register}"

    def lines(self) -> list[str]:
        """Return the assignments; afterwards, `name` gives the expression of any value."""
        return [line for _, line in self.assignments()]

    def assignments(self) -> list[tuple[Register, str]]:
        """Return the registers that are assigned to, and the lines that do."""
        program = self.program
        found: list[tuple[Register, str]] = []
        repeated = self._read_repeatedly()
        for k, instruction in enumerate(program.instructions):
            register = program.first_result + k
            text = self.templates[instruction.function].format(
                *map(self.name, instruction.operands)
            )
            depth = 1 + max((self.depth.get(x, 0) for x in instruction.operands), default=0)
            if (
                program.uses[register] == 1
                and register not in repeated
                and depth < _MAX_EXPRESSION_DEPTH
            ):
                self.inlined[register], self.depth[register] = text, depth
            else:
                text = text[1:-1] if _is_parenthesized(text) else text
                found.append((register, f"v{register} = {text}"))
        return found

    def _read_repeatedly(self) -> set[Register]:
        """Return the operands that a template reads more than once."""
        return {
            x
            for instruction in self.program.instructions
            for k, x in enumerate(instruction.operands)
            if self.templates[instruction.function].count(f"{{{k}}}") > 1
        }


def literal(value: float | bool) -> str:
    """Return a number as Python source."""
    if isinstance(value, bool) or np.isfinite(value):
        text = repr(value)
        return f"({text})" if text.startswith("-") else text
    return "nan" if np.isnan(value) else "inf" if value > 0 else "(-inf)"


def _is_parenthesized(text: str) -> bool:
    """Return whether one pair of brackets encloses all of a text."""
    if not text.startswith("("):
        return False
    depth = 0
    for k, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return k == len(text) - 1
    return False
