"""Long batches of small blocks: the batch becomes the last axis, and results stay the same."""

from collections import Counter
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainad
from chainad.backends.numpy.build import build
from chainad.compiler.passes import batch_last
from chainad.compiler.passes.batch_last import move_batches_last
from chainad.ir import ops
from chainad.ir.op import Op
from chainad.ir.positions import positions
from chainad.ir.program import Instruction, Program, prune
from chainad.ir.program_builder import ProgramBuilder
from chainad.ir.shapes import Shape
from chainad.testing import random_entries, run_program

randoms = st.randoms(use_true_random=False)
N = 5


def random_op(rng: Random, shapes: dict[int, Shape]) -> tuple[Op, tuple[int, ...]]:
    """Return an op as programs of batches have them, and registers that it fits."""
    x = rng.choice(list(shapes))
    shape = shapes[x]
    axis = rng.randrange(len(shape)) if shape else 0
    kind = rng.randrange(9)
    if kind == 0:
        rest = int(np.prod(shape[1:])) if shape else 1
        return ops.Reshape(
            rng.choice([(-1,), (*shape[:1], rest), (*shape, 1), (*shape[:1], 1, rest)])
        ), (x,)
    if kind == 1:
        return ops.Transpose(tuple(rng.sample(range(len(shape)), len(shape)))), (x,)
    if kind == 2 and shape:
        where = [rng.randrange(shape[axis]) for _ in range(rng.randint(1, 3))]
        return ops.Take(axis, positions(where)), (x,)
    if kind == 3 and shape:
        size = max(N, shape[axis]) + 1
        return ops.Place(axis, positions(rng.sample(range(size), shape[axis])), size), (x,)
    if kind == 4 and shape:
        return ops.Sum((axis,)), (x,)
    if kind == 5 and shape:
        fitting = [y for y in shapes if shapes[y] == (*shape[:axis], 1, *shape[axis + 1 :])]
        if fitting:
            return ops.AddAt(axis, range(shape[axis] - 1, shape[axis])), (x, rng.choice(fitting))
    if kind == 6:
        if len(shape) == 3 and shape[-1] == 1:
            return ops.Broadcast((*shape[:2], 2)), (x,)
        return ops.Scale(rng.choice([-1, 2.0])), (x,)
    if kind == 7 and len(shape) > 1:
        fitting = [y for y in shapes if is_product(shape, shapes[y])]
        if fitting:
            return ops.MatMul(), (x, rng.choice(fitting))
    fitting = [y for y in shapes if broadcasts(shape, shapes[y])]
    return rng.choice([ops.Add(), ops.Subtract(), ops.Multiply()]), (x, rng.choice(fitting))


def is_product(one: Shape, two: Shape) -> bool:
    return len(two) > 1 and one[-1] == two[-2] and broadcasts(one[:-2], two[:-2])


def broadcasts(one: Shape, two: Shape) -> bool:
    try:
        np.broadcast_shapes(one, two)
    except ValueError:
        return False
    return True


START: list[Shape] = [(N, 2, 3), (N, 3, 2), (N, 3), (N,), (N, 3, 1), (1, 3, 2), (3, 2), (3,), ()]
MORE: list[Shape] = [(N, 1, 2), (N, 2, 2)]


@given(randoms)
def test_batches_moved_last_give_the_same_results(rng: Random) -> None:
    shapes = dict(enumerate(START + MORE))
    slots = [random_entries(rng, shape) for shape in shapes.values()]
    w = ProgramBuilder(len(slots))
    w.shapes |= shapes
    instructions = []
    register = {k: k for k in shapes}
    for output in range(len(slots), len(slots) + rng.randint(1, 12)):
        op, inputs = random_op(rng, shapes)
        shape = op.infer_shape([shapes[k] for k in inputs])
        assert shape is not None
        if np.prod(shape, dtype=int) > 500:
            continue
        shapes[output] = shape
        instructions.append(Instruction(op, inputs, output))
        register[output] = w.emit(op, *(register[k] for k in inputs))
    outputs = rng.sample(sorted(shapes), 3)
    wanted = run_program(Program(len(slots), tuple(instructions), tuple(outputs)), slots)
    owned = tuple(w.unaliased(register[k]) for k in outputs)
    program = prune(Program(len(slots), tuple(w.instructions), owned))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_last, "MIN_BATCH_SIZE", N)
        patch.setattr(batch_last, "_NS_PER_TRANSPOSED_ELEMENT", 0)
        found = prune(move_batches_last(program, w)[0])
    found.check()
    for run in (build(found), lambda slots: run_program(found, slots)):
        results = run(slots)
        for k, (one, two) in enumerate(zip(results, wanted, strict=True)):
            assert np.shape(one) == np.shape(two)
            np.testing.assert_allclose(one, two, rtol=1e-13, atol=1e-13)
            if isinstance(one, np.ndarray):
                assert not any(np.shares_memory(one, a) for a in (*slots, *results[:k]))


def blocks(n: int) -> tuple[Program, ProgramBuilder]:
    """Return ((A B) + C) D for n small matrices each."""
    w = ProgramBuilder(4)
    w.shapes |= {0: (n, 2, 3), 1: (n, 3, 2), 2: (n, 2, 2), 3: (n, 2, 1)}
    total = w.emit(ops.Add(), w.emit(ops.MatMul(), 0, 1), 2)
    return Program(4, tuple(w.instructions), (w.emit(ops.MatMul(), total, 3),)), w


def test_products_of_small_blocks_are_sums_of_products_of_long_vectors() -> None:
    program, w = blocks(2000)
    program = Program(4, tuple(w.instructions), program.outputs)
    found = prune(move_batches_last(program, w)[0])
    calls = Counter(type(i.op) for i in found.instructions)
    assert calls[ops.MatMul] == 0
    assert calls[ops.Multiply] == 3 + 2
    assert calls[ops.Copy] == 4 + 1  # what comes in, and the result
    rng = np.random.default_rng(0)
    slots = [rng.normal(size=w.shapes[k]) for k in range(4)]
    a, b, c, d = slots
    np.testing.assert_allclose(build(found)(slots)[0], (a @ b + c) @ d, rtol=1e-12)


def test_short_batches_and_large_blocks_are_left_alone() -> None:
    program, w = blocks(100)
    assert move_batches_last(program, w)[0] == program
    w = ProgramBuilder(2)
    w.shapes |= {0: (2000, 20, 20), 1: (2000, 20, 20)}
    program = Program(2, tuple(w.instructions), (w.emit(ops.MatMul(), 0, 1),))
    program = Program(2, tuple(w.instructions), program.outputs)
    assert move_batches_last(program, w)[0] == program


def test_a_jacobian_of_many_small_blocks_is_right() -> None:
    rng = np.random.default_rng(0)
    R, x = rng.normal(size=(1500, 3, 3)), rng.normal(size=(1500, 3))

    def f(x: np.ndarray) -> np.ndarray:
        y = np.sin(np.matmul(R, x[:, :, None]))
        return np.matmul(R, y * y)[:, :, 0] * np.sum(x, 1)[:, None]

    J = chainad.jacobian(f, output="sparse")(x)
    v = rng.normal(size=x.shape)
    want = np.imag(f(x + 1e-200j * v)) / 1e-200
    np.testing.assert_allclose(J @ v.ravel(), want.ravel(), rtol=1e-10, atol=1e-10)
