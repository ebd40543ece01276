"""Layout: transposes are hoisted, so that arrays are computed with their axes in the final order.

A transposed array that is reshaped, gathered from or returned must be copied. If it is computed by
elementwise ops or matrix products that nothing else reads, these read transposed inputs instead:
views, mostly of smaller arrays.
"""

from __future__ import annotations

from collections import defaultdict

from chainad.ir.op import Op
from chainad.ir.ops import Copy, Elementwise, MatMul, Reshape, Transpose
from chainad.ir.program import Instruction, Program
from chainad.ir.program_builder import ProgramBuilder

_AxisOrder = tuple[int, ...]


def hoist_transposes(program: Program, builder: ProgramBuilder) -> tuple[Program, ProgramBuilder]:
    """Return the program with transposes hoisted to the inputs of what they transpose.

    `builder` is the one that built the program: it knows the shapes. What is returned has its own.
    """
    order_of = _transposed_registers(program, builder)
    if not order_of:
        return program, builder
    made = ProgramBuilder(program.n_slots)
    made.shapes |= {k: builder.shapes.get(k) for k in range(program.n_slots)}
    register = {k: k for k in range(program.n_slots)}
    rewritten: set[int] = set()
    for old in program.instructions:
        # What gets another order is rewritten, and so is whatever reads it.
        if old.output not in order_of and rewritten.isdisjoint(old.inputs):
            inputs = tuple(register[k] for k in old.inputs)
            shape = builder.shapes.get(old.output)
            register[old.output] = made.append_unchanged(old.op, inputs, shape)
            continue
        rewritten.add(old.output)
        inputs = tuple(register[k] for k in old.inputs)
        order = order_of.get(old.output)
        if order is not None:
            register[old.output] = _emit_transposed(made, old.op, inputs, order, order_of, old)
            # A transpose that is gone may have been all that told the shape.
            shape = builder.shapes[old.output]
            if shape is not None:
                made.shapes[register[old.output]] = tuple(shape[k] for k in order)
        elif isinstance(old.op, Transpose) and old.inputs[0] in order_of:
            register[old.output] = inputs[0]
        else:
            register[old.output] = made.emit(old.op, *inputs)
            made.shapes[register[old.output]] = builder.shapes.get(old.output)
    outputs = tuple(None if k is None else made.unaliased(register[k]) for k in program.outputs)
    return Program(program.n_slots, tuple(made.instructions), outputs), made


def _transposed_registers(program: Program, builder: ProgramBuilder) -> dict[int, _AxisOrder]:
    """Return the registers to be computed transposed, each with the order of its axes."""
    if not any(isinstance(i.op, Transpose) for i in program.instructions):
        return {}
    readers: dict[int, list[Instruction]] = defaultdict(list)
    for instruction in program.instructions:
        for k in instruction.inputs:
            readers[k].append(instruction)
    results = set(program.outputs)
    order_of: dict[int, _AxisOrder] = {}

    def is_read_once(k: int) -> bool:
        return len(readers[k]) == 1 and k not in results

    def propagate(k: int, order: _AxisOrder) -> None:
        """Have register k computed transposed, if the instruction that defines it can do that."""
        found = builder.definitions.get(k)
        if found is None or not is_read_once(k):
            return
        if isinstance(found.op, MatMul) and _swap_of(order, found, builder) is not None:
            order_of[k] = order
        elif isinstance(found.op, Elementwise):
            if any(builder.shapes.get(x) is None for x in (k, *found.inputs)):
                return
            order_of[k] = order
            for x in found.inputs:
                shape = builder.shapes[x]
                if shape is not None and len(shape) == len(order):
                    propagate(x, order)

    for t in program.instructions:
        if not isinstance(t.op, Transpose):
            continue
        copies = (Reshape, Copy)
        is_copied = any(isinstance(r.op, copies) for r in readers[t.output])
        if is_copied or t.output in results:
            propagate(t.inputs[0], t.op.order)
    return order_of


def _swap_of(order: _AxisOrder, product: Instruction, builder: ProgramBuilder) -> bool | None:
    """Return whether an order swaps rows and columns of a matrix product; None if it does more."""
    shapes = [builder.shapes.get(x) for x in product.inputs]
    n = len(order)
    if any(shape is None or len(shape) != n for shape in shapes):
        return None
    if order[:-2] != tuple(range(n - 2)):
        return None
    return order[-2:] != (n - 2, n - 1)


def _emit_transposed(
    builder: ProgramBuilder,
    op: Op,
    inputs: tuple[int, ...],
    order: _AxisOrder,
    order_of: dict[int, _AxisOrder],
    old: Instruction,
) -> int:
    """Emit an op so that its result has its axes in `order`."""
    if isinstance(op, MatMul):
        n = len(order)
        swap = Transpose((*range(n - 2), n - 1, n - 2))
        left, right = (builder.emit(swap, x) for x in inputs)
        return builder.emit(op, right, left)
    transposed = [
        x if y in order_of else _transpose_operand(builder, x, order)
        for x, y in zip(inputs, old.inputs, strict=True)
    ]
    return builder.emit(op, *transposed)


def _transpose_operand(builder: ProgramBuilder, x: int, order: _AxisOrder) -> int:
    """Transpose an operand of an elementwise op, which may lack leading axes."""
    shape = builder.shapes[x]
    assert shape is not None
    missing = len(order) - len(shape)
    if missing:
        x = builder.emit(Reshape((1,) * missing + shape), x)
    return builder.emit(Transpose(order), x)
