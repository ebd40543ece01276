"""Peephole optimisation and layout: no instruction twice, no no-op, the same results."""

from collections import Counter
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainad.backends.numpy.build import build, compiled, folded_constants
from chainad.compiler.passes.layout import hoist_transposes
from chainad.ir import ops
from chainad.ir.op import Op
from chainad.ir.positions import positions
from chainad.ir.program import Instruction, Program, prune
from chainad.ir.program_builder import ProgramBuilder
from chainad.testing import random_entries, run_program

randoms = st.randoms(use_true_random=False)
MINUS = ops.Scale(-1)


def builder(*shapes: tuple[int, ...]) -> ProgramBuilder:
    found = ProgramBuilder(len(shapes))
    found.shapes |= dict(enumerate(shapes))
    return found


def ops_of(written: ProgramBuilder, *outputs: int) -> list[Op]:
    """Return what is left of the instructions for some outputs."""
    program = prune(Program(9, tuple(written.instructions), outputs))
    return [i.op for i in program.instructions]


def random_op(rng: Random, shapes: dict[int, tuple[int, ...]]) -> tuple[Op, tuple[int, ...]]:
    """Return an op, and registers that it fits."""
    x = rng.choice(list(shapes))
    shape = shapes[x]
    kind = rng.randrange(9)
    if kind == 0:
        return ops.Reshape(rng.choice([(int(np.prod(shape)),), (1, *shape), (*shape, 1)])), (x,)
    if kind == 1:
        return ops.Transpose(tuple(rng.sample(range(len(shape)), len(shape)))), (x,)
    if kind == 2:
        return ops.Broadcast((rng.choice([1, 2]), *shape)), (x,)
    if kind == 3:
        return ops.Scale(rng.choice([-1, -1, 2.0])), (x,)
    if kind == 4 and shape:
        axis = rng.randrange(len(shape))
        where = [rng.randrange(shape[axis]) for _ in range(rng.randint(1, 3))]
        return ops.Take(axis, positions(where)), (x,)
    if kind == 5 and shape:
        return ops.Sum(tuple(rng.sample(range(len(shape)), rng.randint(0, len(shape))))), (x,)
    fitting = [y for y in shapes if broadcasts(shape, shapes[y])]
    if kind == 6 and len(shape) > 1:
        fitting = [y for y in shapes if len(shapes[y]) == 2 and shapes[y][0] == shape[-1]]
        if fitting:
            return ops.MatMul(), (x, rng.choice(fitting))
        return ops.Reshape(shape), (x,)
    return rng.choice([ops.Add(), ops.Subtract(), ops.Multiply()]), (x, rng.choice(fitting))


def broadcasts(one: tuple[int, ...], two: tuple[int, ...]) -> bool:
    try:
        np.broadcast_shapes(one, two)
    except ValueError:
        return False
    return True


def random_instructions(rng: Random) -> tuple[Program, list[np.ndarray]]:
    shapes = {k: rng.choice([(), (1,), (3,), (2, 3), (3, 3), (3, 1)]) for k in range(4)}
    slots = [random_entries(rng, shape) for shape in shapes.values()]
    instructions = []
    for output in range(4, 4 + rng.randint(1, 14)):
        op, inputs = random_op(rng, shapes)
        instructions.append(Instruction(op, inputs, output))
        shape = op.infer_shape([shapes[k] for k in inputs])
        assert shape is not None
        shapes[output] = shape
    outputs = tuple(rng.sample(sorted(shapes), rng.randint(1, 3)))
    return Program(4, tuple(instructions), outputs), slots


def rewritten(program: Program, slots: list[np.ndarray], rng: Random) -> Program:
    """Return the program written anew; some shapes of slots are not told."""
    written = ProgramBuilder(program.n_slots)
    written.shapes |= {k: a.shape for k, a in enumerate(slots) if rng.random() < 0.8}
    register = {k: k for k in range(program.n_slots)}
    for i in program.instructions:
        register[i.output] = written.emit(i.op, *(register[k] for k in i.inputs))
    outputs = tuple(written.unaliased(register[k]) for k in program.outputs if k is not None)
    program = prune(Program(program.n_slots, tuple(written.instructions), outputs))
    return prune(hoist_transposes(program, written)[0])


@given(randoms)
def test_rewritten_instructions_give_the_same_results_in_no_more_calls(rng: Random) -> None:
    program, slots = random_instructions(rng)
    found = rewritten(program, slots, rng)
    found.check()
    wanted = run_program(program, slots)
    copies = sum(isinstance(i.op, ops.Copy) for i in found.instructions)
    assert found.array_calls - copies <= 2 * prune(program).array_calls
    for run in (build(found), lambda slots: run_program(found, slots)):
        for one, two in zip(run(slots), wanted, strict=True):
            assert np.shape(one) == np.shape(two)
            np.testing.assert_array_equal(one, two)


@given(randoms)
def test_stated_shapes_are_those_of_the_arrays(rng: Random) -> None:
    program, slots = random_instructions(rng)
    arrays: dict[int, np.ndarray] = dict(enumerate(slots))
    for i in program.instructions:
        step = Program(len(i.inputs), (Instruction(i.op, tuple(range(len(i.inputs))), 9),), (9,))
        operands = [arrays[k] for k in i.inputs]
        arrays[i.output] = np.asarray(run_program(step, operands)[0])
        assert i.op.infer_shape([a.shape for a in operands]) == arrays[i.output].shape


def test_equal_instructions_are_emitted_once() -> None:
    w = builder((3,), (3,))
    one, two = w.emit(ops.Multiply(), 0, 1), w.emit(ops.Multiply(), 1, 0)
    assert one == two
    assert w.emit(ops.Sum((0,)), one) == w.emit(ops.Sum((0,)), two)
    assert w.emit(ops.Subtract(), 0, 1) != w.emit(ops.Subtract(), 1, 0)


def test_copies_are_never_merged() -> None:
    w = builder((3,))
    assert w.unaliased(0) != w.unaliased(0)


def test_no_ops_are_not_emitted() -> None:
    w = builder((3, 4))
    assert w.emit(ops.Reshape((3, 4)), 0) == 0
    assert w.emit(ops.Transpose((0, 1)), 0) == 0
    assert w.emit(ops.Broadcast((3, 4)), 0) == 0
    assert w.emit(ops.Take(1, range(4)), 0) == 0
    assert w.emit(ops.Sum(()), 0) == 0
    assert w.emit(ops.Scale(1), 0) == 0
    assert w.emit(ops.Transpose((1, 0)), w.emit(ops.Transpose((1, 0)), 0)) == 0
    assert w.emit(ops.Reshape((3, 4)), w.emit(ops.Reshape((2, 6)), 0)) == 0


def test_axes_of_size_one_are_transposed_by_a_reshape() -> None:
    w = builder((3, 1, 4))
    assert ops_of(w, w.emit(ops.Transpose((1, 0, 2)), 0)) == [ops.Reshape((1, 3, 4))]


def test_signs_cancel() -> None:
    w = builder((3,), (3,), (3, 3), (3, 3))
    a, b = w.emit(MINUS, 0), w.emit(MINUS, 1)
    assert w.emit(MINUS, a) == 0
    assert ops_of(w, w.emit(ops.Multiply(), a, b)) == [ops.Multiply()]
    assert ops_of(w, w.emit(ops.Add(), 0, b)) == [ops.Subtract()]
    assert ops_of(w, w.emit(MINUS, w.emit(ops.Subtract(), 0, 1))) == [ops.Subtract()]
    assert ops_of(w, w.emit(ops.MatMul(), w.emit(MINUS, 2), w.emit(MINUS, 3))) == [ops.MatMul()]
    turned = w.emit(ops.Reshape((1, 3)), a)
    assert ops_of(w, w.emit(ops.Add(), 2, turned)) == [ops.Subtract()]


def test_a_sign_stays_on_the_smaller_factor() -> None:
    w = builder((3,), (4, 3))
    made = w.emit(ops.Multiply(), w.emit(MINUS, 0), 1)
    product = prune(Program(2, tuple(w.instructions), (made,)))
    assert [(i.op, i.inputs) for i in product.instructions] == [
        (MINUS, (0,)),
        (ops.Multiply(), (2, 1)),
    ]


def test_elementwise_ops_broadcast_by_themselves() -> None:
    w = builder((), (5,))
    spread = w.emit(ops.Broadcast((5,)), w.emit(ops.Reshape((1,)), 0))
    assert ops_of(w, w.emit(ops.Add(), 1, spread)) == [ops.Add()]


def test_a_transposed_product_is_computed_transposed() -> None:
    w = builder((3, 4), (4, 5))
    turned = w.emit(ops.Transpose((1, 0)), w.emit(ops.MatMul(), 0, 1))
    program = Program(2, tuple(w.instructions), (turned,))
    found = prune(hoist_transposes(program, w)[0])
    last = found.instructions[-1]
    assert isinstance(last.op, ops.MatMul)
    assert build(found)([np.ones((3, 4)), np.ones((4, 5))])[0].flags.c_contiguous


def test_what_is_reshaped_is_computed_row_major() -> None:
    """Blocks scaled by a batch of diagonals are written once, batch first."""
    w = builder((10, 50, 1), (50, 256))
    product = w.emit(ops.Multiply(), 0, 1)
    flat = w.emit(ops.Reshape((2560, 50)), w.emit(ops.Transpose((2, 0, 1)), product))
    program = Program(2, tuple(w.instructions), (flat,))
    found = prune(hoist_transposes(program, w)[0])
    slots = [np.random.default_rng(0).normal(size=s) for s in ((10, 50, 1), (50, 256))]
    np.testing.assert_array_equal(build(found)(slots)[0], build(program)(slots)[0])
    calls = Counter(type(i.op) for i in found.instructions)
    assert calls[ops.Multiply] == 1
    multiply = next(i for i in found.instructions if isinstance(i.op, ops.Multiply))
    reshape = found.instructions[-1]
    assert reshape.inputs == (multiply.output,)  # of rows: a view


def test_what_another_op_reads_too_is_not_transposed() -> None:
    w = builder((3, 4), (4, 5))
    product = w.emit(ops.MatMul(), 0, 1)
    turned = w.emit(ops.Transpose((1, 0)), product)
    program = Program(2, tuple(w.instructions), (turned, product))
    assert hoist_transposes(program, w)[0] == program


# ---------------------------------------------------------------- constants


def literal_program() -> Program:
    return Program(
        1,
        (
            Instruction(ops.Full(2.0), (), 1),
            Instruction(ops.Reshape((1,)), (1,), 2),
            Instruction(ops.Broadcast((3,)), (2,), 3),
            Instruction(ops.Add(), (3, 3), 4),
            Instruction(ops.Multiply(), (4, 0), 5),
        ),
        (5,),
    )


def test_what_depends_on_no_slot_is_computed_beforehand() -> None:
    program = literal_program()
    assert sorted(folded_constants(program)) == [1, 2, 3, 4]
    np.testing.assert_array_equal(build(program)([np.ones(3)])[0], [4, 4, 4])
    text = compiled(program, is_traced=False)[1]
    assert "multiply" in text
    assert "broadcast" not in text


def test_constants_that_are_returned_are_copied() -> None:
    program = Program(
        0, (Instruction(ops.Full(1.0), (), 0), Instruction(ops.Broadcast((2,)), (0,), 1)), (1,)
    )
    with_copy = Program(0, (*program.instructions, Instruction(ops.Copy(), (1,), 2)), (2,))
    run = build(with_copy)
    run([])[0][:] = 7
    np.testing.assert_array_equal(run([])[0], [1, 1])


@pytest.mark.parametrize("size", [1 << 16, (1 << 16) + 1])
def test_large_constants_are_not_kept(size: int) -> None:
    program = Program(
        1,
        (
            Instruction(ops.Full(1.0), (), 1),
            Instruction(ops.Broadcast((size,)), (1,), 2),
            Instruction(ops.Multiply(), (0, 2), 3),
        ),
        (3,),
    )
    assert (2 in folded_constants(program)) == (size <= 1 << 16)
