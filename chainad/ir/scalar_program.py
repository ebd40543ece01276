"""Scalar programs: straight-line SSA code that the scalar backends execute."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from chainad.ir.cache import cached_property
from chainad.ir.scalar_graph import (
    PREDICATES,
    ExpressionDAG,
    Function,
    NodeId,
    copy_scalar,
    variable,
)

Register = int


@dataclass(frozen=True, slots=True)
class ScalarInstruction:
    """One operation; `operands` are registers that are written before."""

    function: Function
    operands: tuple[Register, ...]


@dataclass(frozen=True)
class ScalarProgram:
    """Instructions on the elements of some input arrays, filling some output arrays.

    Registers 0, 1, ... hold the elements of all inputs, then the constants, then the result of
    every instruction.

    Attributes
    ----------
    inputs : tuple of int
        How many elements every input array has.
    constants : tuple of float or bool
    instructions : tuple of ScalarInstruction
    outputs : tuple of tuples of int
        For every output array, the register of each of its elements.
    """

    inputs: tuple[int, ...]
    constants: tuple[float | bool, ...]
    instructions: tuple[ScalarInstruction, ...]
    outputs: tuple[tuple[Register, ...], ...]

    @cached_property
    def n_inputs(self) -> int:
        return sum(self.inputs)

    @cached_property
    def first_result(self) -> Register:
        """The register of the first instruction."""
        return self.n_inputs + len(self.constants)

    @cached_property
    def uses(self) -> tuple[int, ...]:
        """How often every register is read, by instructions and outputs."""
        counts = [0] * (self.first_result + len(self.instructions))
        for instruction in self.instructions:
            for k in instruction.operands:
                counts[k] += 1
        for output in self.outputs:
            for k in output:
                counts[k] += 1
        return tuple(counts)

    def is_constant(self, register: Register) -> bool:
        return self.n_inputs <= register < self.first_result

    def constant(self, register: Register) -> float | bool:
        return self.constants[register - self.n_inputs]

    def is_boolean(self, register: Register) -> bool:
        """Return whether a register holds True or False."""
        if self.is_constant(register):
            return isinstance(self.constant(register), bool)
        return (
            register >= self.first_result
            and self.instructions[register - self.first_result].function in PREDICATES
        )

    def needed_by(self, outputs: Iterable[int]) -> set[Register]:
        """Return the registers that some outputs, given by number, depend on."""
        needed = {k for number in outputs for k in self.outputs[number]}
        for n in reversed(range(len(self.instructions))):
            if self.first_result + n in needed:
                needed.update(self.instructions[n].operands)
        return needed

    def restricted(self, outputs: Sequence[int]) -> ScalarProgram:
        """Return the program of some outputs alone, given by number."""
        needed, first = self.needed_by(outputs), self.first_result
        kept = [n for n in range(len(self.instructions)) if first + n in needed]
        register = {k: k for k in range(first)} | {first + n: first + k for k, n in enumerate(kept)}
        instructions = [
            ScalarInstruction(i.function, tuple(register[k] for k in i.operands))
            for i in (self.instructions[n] for n in kept)
        ]
        found = tuple(tuple(register[k] for k in self.outputs[n]) for n in outputs)
        return replace(self, instructions=tuple(instructions), outputs=found)

    @property
    def multiplications(self) -> int:
        """Products of two values neither of which is a constant."""
        return sum(
            instruction.function is np.multiply
            and not any(map(self.is_constant, instruction.operands))
            for instruction in self.instructions
        )

    def __str__(self) -> str:
        def name(k: Register) -> str:
            return repr(self.constant(k)) if self.is_constant(k) else f"v{k}"

        def call(instruction: ScalarInstruction) -> str:
            return f"{instruction.function.__name__}({', '.join(map(name, instruction.operands))})"

        lines = [f"v{self.first_result + k} = {call(x)}" for k, x in enumerate(self.instructions)]
        results = ["(" + ", ".join(map(name, output)) + ")" for output in self.outputs]
        return "\n".join([*lines, "return " + ", ".join(results)])


def to_scalar_program(
    dag: ExpressionDAG, inputs: Sequence[int], outputs: Sequence[Sequence[NodeId]]
) -> ScalarProgram:
    """Return the program of some results, each instruction shortly before its first use."""
    shift = _with_signs(dag, [number for output in outputs for number in output])
    results = [[shift.get(k, k) for k in output] for output in outputs]
    order = _scheduled(dag, [k for output in results for k in output])
    registers: dict[NodeId, Register] = {}
    constants: list[float | bool] = []
    n_inputs = sum(inputs)
    for k in order:
        if dag.functions[k] is variable:
            registers[k] = dag.operands[k][0]
        elif k in dag.values:
            registers[k] = n_inputs + len(constants)
            constants.append(dag.values[k])
    instructions: list[ScalarInstruction] = []
    first_result = n_inputs + len(constants)
    for k in order:
        if dag.functions[k] is copy_scalar:
            registers[k] = registers[dag.operands[k][0]]
        elif k not in registers:
            operands = tuple(registers[x] for x in dag.operands[k])
            registers[k] = first_result + len(instructions)
            instructions.append(ScalarInstruction(dag.functions[k], operands))
    found = tuple(tuple(registers[k] for k in output) for output in results)
    return ScalarProgram(tuple(inputs), tuple(constants), tuple(instructions), found)


def _with_signs(dag: ExpressionDAG, results: Sequence[NodeId]) -> dict[NodeId, NodeId]:
    """Return, for results that are minus a product by a constant, the product by minus it."""
    found = {}
    for k in results:
        inner = dag.negated(k)
        if inner is None or dag.functions[inner] is not np.multiply:
            continue
        x, y = dag.operands[inner]
        for factor, other in ((x, y), (y, x)):
            value = dag.values.get(factor)
            if isinstance(value, float):
                found[k] = dag.product(dag.constant(-value), other)
                break
    return found


def _scheduled(dag: ExpressionDAG, results: Sequence[NodeId]) -> list[NodeId]:
    """Return the nodes behind results, operands first, along one result after the other."""
    order: list[NodeId] = []
    done: set[NodeId] = set()
    for result in results:
        stack: list[tuple[NodeId, bool]] = [(result, False)]
        while stack:
            k, is_ready = stack.pop()
            if is_ready:
                order.append(k)
            elif k not in done:
                done.add(k)
                stack.append((k, True))
                if dag.functions[k] is not variable and k not in dag.values:
                    stack.extend((x, False) for x in dag.operands[k])
    return order
