"""Programs as lists of functions that are called one by one: soon made, on any kind of array."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chainad.ir.op import Op
from chainad.ir.program import Program


class BoundProgram:
    """A program whose ops are functions of their operands; equal ops are one function.

    `bind` returns the function of an op with so many operands; `constants` are registers whose
    value is known. Registers are dropped after their last use.

    Attributes
    ----------
    runs : int
        How often it has run.
    """

    def __init__(
        self,
        program: Program,
        bind: Callable[[Op, int], Callable[..., Any]],
        constants: Mapping[int, Any] | None = None,
    ) -> None:
        self.runs = 0
        self._used_slots, self._outputs = program.used_slots, program.outputs
        self._constants = dict(constants or {})
        functions: dict[tuple[Op, int], Callable[..., Any]] = {}
        self._steps: list[tuple[Callable[..., Any], tuple[int, ...], int, tuple[int, ...]]] = []
        for i, dead in zip(program.instructions, program.last_reads, strict=True):
            if i.output in self._constants:
                continue
            key = i.op, len(i.inputs)
            function = functions.get(key)
            if function is None:
                function = functions[key] = bind(*key)
            self._steps.append((function, i.inputs, i.output, dead))

    def __call__(self, slots: Sequence[Any]) -> tuple[Any, ...]:
        self.runs += 1
        registers = {**self._constants}
        for k in self._used_slots:
            registers[k] = slots[k]
        for function, inputs, output, dead in self._steps:
            registers[output] = function(*[registers[k] for k in inputs])
            for k in dead:
                del registers[k]
        return tuple(None if k is None else registers[k] for k in self._outputs)
