"""Lowering: from a plan to a program; every choice of an op is made here and in the passes."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from chainad.compiler.emit_results import EMIT_RESULT, Result
from chainad.compiler.passes.carry_masks import carry_masks
from chainad.compiler.repeated_steps import loops_of_steps, lower_loop, reads_alike
from chainad.compiler.target import Pass
from chainad.ir.program import Program, prune
from chainad.ir.program_builder import ProgramBuilder
from chainad.ir.shapes import Shape
from chainad.planning.plan import Plan
from chainad.structure import Ops, Product
from chainad.structure.contract import emit_product, emit_sum
from chainad.structure.results import ResultForm
from chainad.structure.structure import Structure


@dataclass(frozen=True)
class Lowered:
    """A program, and the form of every result; None stands for a zero one.

    The outputs of the program are the registers of all results, one after the other. `shapes` are
    those of its registers, as far as they are known. Where there were no passes, `ends` are the
    registers at which local Jacobians end, then every step of the plan, and results begin.
    """

    program: Program
    forms: tuple[ResultForm | None, ...]
    shapes: Mapping[int, Shape | None]
    ends: tuple[int, ...]


def lower(
    plan: Plan,
    arrangements: Sequence[Ops],
    output: str = "dense",
    passes: Sequence[Pass] = (),
    selections: Container[int] | None = None,
) -> Lowered:
    """Return the program of a plan.

    Parameters
    ----------
    plan : Plan
    arrangements : sequence of Ops
        For every local Jacobian, the ops that bring the array of its rule into the stored form.
    output : str
        The requested form of the results: "dense", "sparse" or "structured".
    passes : sequence of callables
        Those of the target that will run the program.
    selections : container of int, optional
        The local Jacobians that may have exact zeros, if the program is to carry masks of them:
        these are in as many slots again.
    """
    if selections is not None:
        passes = (partial(carry_masks, selections=selections),)
        # Whoever multiplies factors would know of no exact zeros.
        output = "multiplied" if output == "structured" else output
    edges = plan.graph.edges
    builder = ProgramBuilder(len(edges))
    registers: list[int | None] = []
    for k, (edge, ops) in enumerate(zip(edges, arrangements, strict=True)):
        registers.append(_local(builder, edge.structure, ops, k))
    ends = [builder.next_register]

    def lower_step(position: int) -> None:
        step = plan.steps[position]
        left, right = registers[step.left], registers[step.right]
        if isinstance(step.operation, Product):
            registers.append(emit_product(builder, step.operation, left, right))
        else:
            registers.append(emit_sum(builder, step.operation, left, right))
        ends.append(builder.next_register)

    position = 0
    for block in loops_of_steps(plan):
        for k in range(position, block.start):
            lower_step(k)
        position = block.start
        if reads_alike(plan, block, builder, registers):
            position = lower_loop(block, builder, registers, ends, lower_step)
    for k in range(position, len(plan.steps)):
        lower_step(k)
    outputs: list[int | None] = []
    forms: list[ResultForm | None] = []
    for k, numbers in enumerate(plan.results):
        if not numbers:
            forms.append(None)
            continue
        result = Result(plan, numbers, registers, k in plan.transposed)
        form, found = EMIT_RESULT[output](builder, result)
        forms.append(form)
        outputs += found
    program = prune(Program(len(edges), tuple(builder.instructions), tuple(outputs)))
    for optimise in passes:
        optimised, builder = optimise(program, builder)
        program = program if optimised is program else prune(optimised)
    return Lowered(program, tuple(forms), builder.shapes, tuple(ends))


def _local(builder: ProgramBuilder, structure: Structure, ops: Ops, slot: int) -> int | None:
    """Bring the array of a rule into the form that its structure stores."""
    if structure.scale is not None:
        return None
    register = builder.apply_stored(ops, slot)
    if structure.action is None:
        builder.shapes[register] = structure.stored_shape
    return register
