"""Layout: numbers are made in the order of axes in which they are wanted.

A transposed array that is reshaped, gathered from or handed out must be copied. Where it is made by
elementwise ops or matrix products that nothing else reads, these work on transposed inputs
instead: views, mostly of smaller arrays.
"""

from __future__ import annotations

from collections import defaultdict

from chainad.compiler.passes.program_builder import ProgramBuilder
from chainad.ir.ops import Add, Copy, MatMul, Multiply, Op, Reshape, Scale, Subtract, Transpose
from chainad.ir.program import Instruction, Program

Order = tuple[int, ...]


def hoist_transposes(program: Program, builder: ProgramBuilder) -> tuple[Program, ProgramBuilder]:
    """Return the program with transposes moved to the inputs of what they transpose.

    `builder` is the one that built the program: it knows the shapes. What is returned has its own.
    """
    wanted = _wanted(program, builder)
    if not wanted:
        return program, builder
    made = ProgramBuilder(program.n_slots)
    made.shapes |= {k: builder.shapes.get(k) for k in range(program.n_slots)}
    register = {k: k for k in range(program.n_slots)}
    changed: set[int] = set()
    for old in program.instructions:
        # What is wanted in another order is changed, and so is whatever reads it.
        if old.output not in wanted and changed.isdisjoint(old.inputs):
            inputs = tuple(register[k] for k in old.inputs)
            shape = builder.shapes.get(old.output)
            register[old.output] = made.append_unchanged(old.op, inputs, shape)
            continue
        changed.add(old.output)
        inputs = tuple(register[k] for k in old.inputs)
        order = wanted.get(old.output)
        if order is not None:
            register[old.output] = _transposed(made, old.op, inputs, order, wanted, old)
        elif isinstance(old.op, Transpose) and old.inputs[0] in wanted:
            register[old.output] = inputs[0]
        else:
            register[old.output] = made.emit(old.op, *inputs)
            made.shapes[register[old.output]] = builder.shapes.get(old.output)
    outputs = tuple(None if k is None else made.unaliased(register[k]) for k in program.outputs)
    return Program(program.n_slots, tuple(made.instructions), outputs), made


def _wanted(program: Program, builder: ProgramBuilder) -> dict[int, Order]:
    """Return the registers that are to be made transposed, each with the order of its axes."""
    if not any(isinstance(i.op, Transpose) for i in program.instructions):
        return {}
    readers: dict[int, list[Instruction]] = defaultdict(list)
    for instruction in program.instructions:
        for k in instruction.inputs:
            readers[k].append(instruction)
    results = set(program.outputs)
    wanted: dict[int, Order] = {}

    def is_read_once(k: int) -> bool:
        return len(readers[k]) == 1 and k not in results

    def ask(k: int, order: Order) -> None:
        """Want register k transposed, if what makes it can do that."""
        found = builder.definitions.get(k)
        if found is None or not is_read_once(k):
            return
        if isinstance(found.op, MatMul) and _swap_of(order, found, builder) is not None:
            wanted[k] = order
        elif isinstance(found.op, (Add, Subtract, Multiply, Scale)):
            if any(builder.shapes.get(x) is None for x in (k, *found.inputs)):
                return
            wanted[k] = order
            for x in found.inputs:
                shape = builder.shapes[x]
                if shape is not None and len(shape) == len(order):
                    ask(x, order)

    for t in program.instructions:
        if not isinstance(t.op, Transpose):
            continue
        copies = (Reshape, Copy)
        is_copied = any(isinstance(r.op, copies) for r in readers[t.output])
        if is_copied or t.output in results:
            ask(t.inputs[0], t.op.order)
    return wanted


def _swap_of(order: Order, product: Instruction, builder: ProgramBuilder) -> bool | None:
    """Return whether an order swaps rows and columns of a matrix product; None if it does more."""
    shapes = [builder.shapes.get(x) for x in product.inputs]
    n = len(order)
    if any(shape is None or len(shape) != n for shape in shapes):
        return None
    if order[:-2] != tuple(range(n - 2)):
        return None
    return order[-2:] != (n - 2, n - 1)


def _transposed(
    builder: ProgramBuilder,
    op: Op,
    inputs: tuple[int, ...],
    order: Order,
    wanted: dict[int, Order],
    old: Instruction,
) -> int:
    """Emit an op so that its result has its axes in `order`."""
    if isinstance(op, MatMul):
        n = len(order)
        swap = Transpose((*range(n - 2), n - 1, n - 2))
        left, right = (builder.emit(swap, x) for x in inputs)
        return builder.emit(op, right, left)
    turned = [
        x if y in wanted else _turn(builder, x, order)
        for x, y in zip(inputs, old.inputs, strict=True)
    ]
    return builder.emit(op, *turned)


def _turn(builder: ProgramBuilder, x: int, order: Order) -> int:
    """Transpose an operand of an elementwise op, which may lack axes in front."""
    shape = builder.shapes[x]
    assert shape is not None
    missing = len(order) - len(shape)
    if missing:
        x = builder.emit(Reshape((1,) * missing + shape), x)
    return builder.emit(Transpose(order), x)
