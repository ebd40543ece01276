"""Operation counts of steps: array calls and elements, by kind, that a product or a sum takes.

A step is lowered, as if alone, and its ops are asked: they know how their operands lie in memory.
Both the cost in bytes and the cost in time are read off these counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from chainad.ir.memory_layouts import MemoryLayout, row_major
from chainad.ir.operation_counts import OperationCounts, total_counts
from chainad.ir.ops import Application, Jvp, Materialize
from chainad.ir.program import Instruction
from chainad.ir.program_builder import ProgramBuilder
from chainad.ir.shapes import Shape
from chainad.structure.contract import emit_product, emit_sum
from chainad.structure.product import materialize_operator, multiply
from chainad.structure.structure import Structure
from chainad.structure.sum import add


@lru_cache(maxsize=65536)
def counts_of_product(left: Structure, right: Structure) -> OperationCounts:
    """Return the operation counts of a product."""
    builder, (one, two) = _builder(left, right)
    emit_product(builder, multiply(left, right), one, two)
    return _total(builder, left, right)


@lru_cache(maxsize=65536)
def counts_of_sum(left: Structure, right: Structure) -> OperationCounts:
    """Return the operation counts of a sum."""
    builder, (one, two) = _builder(left, right)
    emit_sum(builder, add(left, right), one, two)
    return _total(builder, left, right)


@lru_cache(maxsize=4096)
def counts_of_materialize(operator: Structure) -> OperationCounts:
    """Return the operation counts of materializing an operator."""
    builder, (register,) = _builder(operator)
    builder.apply(materialize_operator(operator).left, register)
    return _total(builder, operator)


def _builder(*factors: Structure) -> tuple[ProgramBuilder, list[int | None]]:
    """Return a builder with a slot for every factor, and the registers of those that store."""
    builder = ProgramBuilder(len(factors))
    for k, factor in enumerate(factors):
        builder.shapes[k] = None if factor.action else factor.stored_shape
    return builder, [None if x.scale is not None else k for k, x in enumerate(factors)]


def _total(builder: ProgramBuilder, *factors: Structure) -> OperationCounts:
    return total_counts(counts_of_instructions(builder.instructions, builder.shapes, factors))


def counts_of_instructions(
    instructions: Sequence[Instruction],
    shapes: Mapping[int, Shape | None],
    structures: Sequence[Structure],
) -> Iterator[OperationCounts]:
    """Yield the operation counts of every instruction.

    `structures` are those of the slots, whose arrays are taken to lie row-major; `shapes` are those
    of registers, as far as they are known.
    """
    layouts = {
        k: row_major(shape)
        for k, shape in shapes.items()
        if k < len(structures) and shape is not None
    }
    for i in instructions:
        inputs = [layouts[k] for k in i.inputs if k in layouts]
        if isinstance(i.op, Application | Materialize):
            yield _of_operator(i.op, structures[i.inputs[i.op.operator or 0]], inputs)
        elif len(inputs) == len(i.inputs):
            yield i.op.cost(*inputs)
            layouts[i.output] = i.op.layout(*inputs)
            continue
        else:
            yield OperationCounts(views=1)  # of what an operator made, or the rule of a function
        if (shape := shapes.get(i.output)) is not None:
            layouts[i.output] = row_major(shape)


def _of_operator(
    op: Application | Materialize, operator: Structure, block: Sequence[MemoryLayout]
) -> OperationCounts:
    """Return the operation counts of what an operator is applied to; it reads what it holds."""
    if isinstance(op, Materialize):
        return op.cost() + OperationCounts(applied=operator.cost_to_materialize)
    action, counts = operator.action, OperationCounts(operators=1, elements=operator.count)
    if action is None or not block:
        return counts
    (read,) = block
    is_jvp = isinstance(op, Jvp)
    each = action.tangent if is_jvp else action.adjoint
    applied = (each or 0) * read.shape[-1 if is_jvp else -2]
    return counts + OperationCounts(applied=applied, elements=2 * read.size)
