"""The NumPy backend: a program as straight-line Python source, one NumPy call per line.

No loop runs over the instructions: what is executed is what `source` prints. Every call can be
traced, so that the Jacobian of a Jacobian is a Hessian.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainad.kernels import (
    Add,
    AddAt,
    Broadcast,
    Copy,
    Dot,
    Explicit,
    Full,
    Kernel,
    MatMul,
    Multiply,
    Place,
    Pull,
    Push,
    Reshape,
    Scale,
    Scatter,
    SegmentSum,
    SparseDot,
    Sum,
    Take,
    Transpose,
)
from chainad.primitives import add_at, key_of, place, scatter, segment_sum, sparse_dot
from chainad.program import Program

Runner = Callable[[Sequence[Any]], tuple[Any, ...]]


class _Source:
    """Lines of Python, and the objects that they name."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {
            "np": np,
            "add_at": add_at,
            "place": place,
            "scatter": scatter,
            "segment_sum": segment_sum,
            "sparse_dot": sparse_dot,
        }
        self.lines: list[str] = []

    def constant(self, value: Any) -> str:
        name = f"c{len(self.names)}"
        self.names[name] = value
        return name

    def expression(self, kernel: Kernel, args: list[str]) -> str:
        match kernel:
            case Full(value):
                return self.constant(np.float64(value))
            case Reshape(shape):
                return f"{args[0]}.reshape({shape})"
            case Transpose(order):
                return f"{args[0]}.transpose({order})"
            case Broadcast(shape):
                return f"np.broadcast_to({args[0]}, {shape})"
            case Take(axis, positions):
                key = (slice(None),) * axis + (key_of(positions),)
                return f"{args[0]}[{self.constant(key)}]"
            case Place(axis, positions, size):
                return f"place({args[0]}, {axis}, {self.constant(positions)}, {size})"
            case SegmentSum(axis, segments, size):
                return f"segment_sum({args[0]}, {axis}, {self.constant(segments)}, {size})"
            case Sum(axes):
                return f"np.sum({args[0]}, axis={axes})"
            case Scale(factor):
                return f"np.negative({args[0]})" if factor == -1 else f"{args[0]} * {factor!r}"
            case Copy():
                return f"np.copy({args[0]})"
            case Add():
                return f"np.add({args[0]}, {args[1]})"
            case AddAt(axis, positions):
                return f"add_at({args[0]}, {axis}, {self.constant(positions)}, {args[1]})"
            case Multiply():
                return f"np.multiply({args[0]}, {args[1]})"
            case MatMul():
                return f"np.matmul({args[0]}, {args[1]})"
            case SparseDot(rows, cols, size):
                where = f"{self.constant(rows)}, {self.constant(cols)}, {size}"
                return f"sparse_dot({args[0]}, {where}, {args[1]})"
            case Scatter(positions, size, covers):
                where = self.constant(positions)
                return f"scatter({where}, {size}, {covers}, {', '.join(args)})"
            case Explicit(shape):
                return f"{args[0]}.explicit().reshape({shape})"
            case Push():
                return f"{args[0]}.push({args[1]})"
            case Pull():
                return f"{args[1]}.pull({args[0]})"
            case Dot():
                return f"np.vecdot({args[0]}, {args[1]})"


def source(program: Program) -> tuple[str, dict[str, Any]]:
    """Return a program as Python source, and the names that it needs."""
    text = _Source()
    last_use = {k: n for n, i in enumerate(program.instructions) for k in i.inputs}
    for k in program.used_slots:
        text.lines.append(f"r{k} = slots[{k}]")
    for n, instruction in enumerate(program.instructions):
        args = [f"r{k}" for k in instruction.inputs]
        text.lines.append(f"r{instruction.output} = {text.expression(instruction.kernel, args)}")
        over = {k for k in instruction.inputs if last_use[k] == n and k not in program.outputs}
        if over:
            text.lines.append("del " + ", ".join(f"r{k}" for k in sorted(over)))
    results = "".join("None, " if k is None else f"r{k}, " for k in program.outputs)
    body = "\n    ".join([*text.lines, f"return ({results})"])
    return f"def run(slots):\n    {body}\n", text.names


def build(program: Program) -> Runner:
    """Return a function from slots to results."""
    program.check()
    text, names = source(program)
    exec(compile(text, "<chainad program>", "exec"), names)
    runner: Runner = names["run"]
    return runner
