"""The Python backend: a straight-line program on Python floats, for one point at a time.

A Python float times another takes a tenth of the time of a NumPy call on arrays of one number.
Where Python's math raises and NumPy gives infinity or nan, NumPy computes the point.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from chainad.backends.scalar_expressions import HELPERS, PYTHON
from chainad.ir.scalar_program import Place, StraightLine

# Deeper expressions are cut by a variable: Python's own compiler has a limit.
DEEPEST = 16


def missing(program: StraightLine) -> list[str]:
    """Return the names of functions that have no spelling."""
    return sorted({x.function.__name__ for x in program.lines if x.function not in PYTHON})


def source(program: StraightLine) -> str:
    """Return a program as a Python function of the numbers of its inputs, in tuples."""
    writer = ScalarEmitter(program, PYTHON)
    body = writer.lines()
    names = [f"v{k}" for k in range(program.n_inputs)]
    starts = np.cumsum([0, *program.inputs]).tolist()
    read = [
        f"({', '.join(names[a:b])},) = x{k}" for k, (a, b) in enumerate(pairwise(starts)) if b > a
    ]
    args = ", ".join(f"x{k}" for k in range(len(program.inputs)))
    results = "".join(f"[{', '.join(map(writer.name, output))}], " for output in program.outputs)
    text = "\n    ".join([*read, *body, f"return ({results})"])
    return f"def run({args}):\n    {text}\n"


class ScalarEmitter:
    """Writes the lines of a program; a value that is read once is written where it is read."""

    def __init__(self, program: StraightLine, spellings: dict[Any, str]) -> None:
        self.program = program
        self.spellings = spellings
        self.inlined: dict[Place, str] = {}
        self.depth: dict[Place, int] = {}

    def name(self, place: Place) -> str:
        program = self.program
        if program.is_constant(place):
            return literal(program.constant(place))
        return self.inlined.get(place) or f"v{place}"

    def lines(self) -> list[str]:
        """Return the assignments; afterwards, `name` spells any value."""
        program, found = self.program, []
        often = self._read_twice()
        for k, line in enumerate(program.lines):
            place = program.start + k
            text = self.spellings[line.function].format(*map(self.name, line.operands))
            depth = 1 + max((self.depth.get(x, 0) for x in line.operands), default=0)
            if program.uses[place] == 1 and place not in often and depth < DEEPEST:
                self.inlined[place], self.depth[place] = text, depth
            else:
                found.append(f"v{place} = {text[1:-1] if _is_bracketed(text) else text}")
        return found

    def _read_twice(self) -> set[Place]:
        """Return the places that a spelling names more than once."""
        return {
            x
            for line in self.program.lines
            for k, x in enumerate(line.operands)
            if self.spellings[line.function].count(f"{{{k}}}") > 1
        }


def literal(value: float | bool) -> str:
    """Return a number as Python source."""
    if isinstance(value, bool) or np.isfinite(value):
        text = repr(value)
        return f"({text})" if text.startswith("-") else text
    return "nan" if np.isnan(value) else "inf" if value > 0 else "(-inf)"


def _is_bracketed(text: str) -> bool:
    """Return whether one pair of brackets is around all of a text."""
    if not text.startswith("("):
        return False
    depth = 0
    for k, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return k == len(text) - 1
    return False


def load(text: str) -> Callable[..., Any]:
    """Return the function that a source defines; it raises where NumPy gives infinity or nan."""
    names = {**HELPERS}
    exec(compile(text, "<chainad scalar program>", "exec"), names)
    work: Callable[..., Any] = names["run"]
    return work
