"""Straight-line programs on single numbers: what the scalar backends execute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from chainad.ir.scalar_graph import TRUTHS, Function, Number, Table, same, variable

Place = int


@dataclass(frozen=True, slots=True)
class Line:
    """One operation; `operands` are places of earlier values."""

    function: Function
    operands: tuple[Place, ...]


@dataclass(frozen=True)
class StraightLine:
    """Operations on the numbers of some input arrays, filling some output arrays.

    Places 0, 1, ... hold the numbers of all inputs, then the constants, then the result of every
    line.

    Attributes
    ----------
    inputs : tuple of int
        How many numbers every input array has.
    constants : tuple of float or bool
    lines : tuple of Line
    outputs : tuple of tuples of int
        For every output array, the place of each of its numbers.
    """

    inputs: tuple[int, ...]
    constants: tuple[float | bool, ...]
    lines: tuple[Line, ...]
    outputs: tuple[tuple[Place, ...], ...]

    @property
    def n_inputs(self) -> int:
        return sum(self.inputs)

    @property
    def start(self) -> Place:
        """The place of the first line."""
        return self.n_inputs + len(self.constants)

    @cached_property
    def uses(self) -> tuple[int, ...]:
        """How often the value of every place is read, by lines and outputs."""
        counts = [0] * (self.start + len(self.lines))
        for line in self.lines:
            for k in line.operands:
                counts[k] += 1
        for output in self.outputs:
            for k in output:
                counts[k] += 1
        return tuple(counts)

    def is_constant(self, place: Place) -> bool:
        return self.n_inputs <= place < self.start

    def constant(self, place: Place) -> float | bool:
        return self.constants[place - self.n_inputs]

    def is_truth(self, place: Place) -> bool:
        """Return whether the value at a place is True or False."""
        if self.is_constant(place):
            return isinstance(self.constant(place), bool)
        return place >= self.start and self.lines[place - self.start].function in TRUTHS

    @property
    def multiplications(self) -> int:
        """Products of two numbers neither of which is a constant."""
        return sum(
            line.function is np.multiply and not any(map(self.is_constant, line.operands))
            for line in self.lines
        )

    def __str__(self) -> str:
        def name(k: Place) -> str:
            return repr(self.constant(k)) if self.is_constant(k) else f"v{k}"

        lines = [
            f"v{self.start + k} = {line.function.__name__}({', '.join(map(name, line.operands))})"
            for k, line in enumerate(self.lines)
        ]
        results = ["(" + ", ".join(map(name, output)) + ")" for output in self.outputs]
        return "\n".join([*lines, "return " + ", ".join(results)])


def compose(
    table: Table, inputs: Sequence[int], outputs: Sequence[Sequence[Number]]
) -> StraightLine:
    """Write down what some results need, each operation shortly before it is first used."""
    shift = _with_signs(table, [number for output in outputs for number in output])
    results = [[shift.get(k, k) for k in output] for output in outputs]
    order = _scheduled(table, [k for output in results for k in output])
    places: dict[Number, Place] = {}
    constants: list[float | bool] = []
    n = sum(inputs)
    for k in order:
        if table.functions[k] is variable:
            places[k] = table.operands[k][0]
        elif k in table.values:
            places[k] = n + len(constants)
            constants.append(table.values[k])
    lines: list[Line] = []
    start = n + len(constants)
    for k in order:
        if table.functions[k] is same:
            places[k] = places[table.operands[k][0]]
        elif k not in places:
            operands = tuple(places[x] for x in table.operands[k])
            places[k] = start + len(lines)
            lines.append(Line(table.functions[k], operands))
    found = tuple(tuple(places[k] for k in output) for output in results)
    return StraightLine(tuple(inputs), tuple(constants), tuple(lines), found)


def _with_signs(table: Table, results: Sequence[Number]) -> dict[Number, Number]:
    """Return, for results that are minus a product by a constant, the product by minus it."""
    found = {}
    for k in results:
        inner = table.negated(k)
        if inner is None or table.functions[inner] is not np.multiply:
            continue
        x, y = table.operands[inner]
        for factor, other in ((x, y), (y, x)):
            value = table.values.get(factor)
            if isinstance(value, float):
                found[k] = table.product(table.constant(-value), other)
                break
    return found


def _scheduled(table: Table, results: Sequence[Number]) -> list[Number]:
    """Return the nodes behind results, operands first, along one result after the other."""
    order: list[Number] = []
    done: set[Number] = set()
    for result in results:
        stack: list[tuple[Number, bool]] = [(result, False)]
        while stack:
            k, is_ready = stack.pop()
            if is_ready:
                order.append(k)
            elif k not in done:
                done.add(k)
                stack.append((k, True))
                if table.functions[k] is not variable and k not in table.values:
                    stack.extend((x, False) for x in table.operands[k])
    return order
