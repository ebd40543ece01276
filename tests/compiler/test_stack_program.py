"""Stacking in programs: isomorphic instructions of loops are batched, and the results stay."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from random import Random

import numpy as np
import pytest
from functions import FUNCTIONS, agree, reference
from hypothesis import given
from hypothesis import strategies as st
from preallocated import Preallocated
from test_batch_last import random_op

import chainad
from chainad.api.recorded_run import record_planned_run
from chainad.backends.numpy.buffers import source_with_buffers
from chainad.backends.numpy.build import Slots, build, observe
from chainad.compiler.stacking import isomorphic, stack_program
from chainad.compiler.stacking.stack_program import stack_isomorphic
from chainad.ir.ops import Add, Concatenate, Copy, Full, MatMul, Multiply, Row, Subtract, Sum
from chainad.ir.program import Instruction, Program, prune
from chainad.ir.shapes import Shape
from chainad.testing import random_entries, run_program

randoms = st.randoms(use_true_random=False)
SHAPES: list[Shape] = [(2, 3), (3, 2), (3, 3), (3,), (1, 3), (3, 1), (2, 3, 1), ()]
TURNS = 9


@pytest.fixture
def eager() -> Iterator[None]:
    """Stack whatever can be stacked, whether it pays or not."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (isomorphic, stack_program):
            patch.setattr(module, "MIN_STACK_ROWS", 2)
        patch.setattr(stack_program, "MAX_RELATIVE_COST", float("inf"))
        yield


def stacked(program: Program, slots: Slots) -> Program:
    """Return a program with what is isomorphic stacked."""
    found = stack_isomorphic(program, observe(program, slots)[0])
    return program if found is None else found.program


def random_loop(rng: Random) -> tuple[Program, dict[int, Shape]]:
    """Return a loop of random turns: each reads slots of its own, shared ones and the last turn."""
    own = [rng.choice(SHAPES) for _ in range(3)]
    start: Shape = rng.choice([(3,), (3, 3)])
    shared: list[Shape] = [*SHAPES, start]
    n_slots = len(shared) + TURNS * len(own)
    slots = dict(enumerate([*shared, *own * TURNS]))
    names: dict[object, Shape] = {("shared", k): shape for k, shape in enumerate(shared)}
    names |= {("own", k): shape for k, shape in enumerate(own)} | {"state": start}
    body: list[tuple[object, tuple[object, ...], str]] = []
    for n in range(rng.randint(2, 8)):
        op, inputs = random_op(rng, names)  # type: ignore[arg-type]
        shape = op.infer_shape([names[k] for k in inputs])
        if shape is not None and np.prod(shape, dtype=int) <= 40:
            names[f"made{n}"] = shape
            body.append((op, inputs, f"made{n}"))
    handed = [k for k, shape in names.items() if shape == start and k != "state"]
    state, total = len(shared) - 1, -1
    summed = rng.choice([name for name in names if name != "state"])
    instructions: list[Instruction] = []

    def emit(op: object, *inputs: int) -> int:
        output = n_slots + len(instructions)
        instructions.append(Instruction(op, inputs, output))  # type: ignore[arg-type]
        return output

    for turn in range(TURNS):
        now: dict[object, int] = {("shared", k): k for k in range(len(shared))}
        first = len(shared) + turn * len(own)
        now |= {("own", k): first + k for k in range(len(own))} | {"state": state}
        for op, inputs, name in body:
            now[name] = emit(op, *(now[k] for k in inputs))
        state = now[rng.choice(handed)] if rng.random() < 0.2 else now[handed[-1]]
        term = now[summed]
        sign = rng.choice([Add(), Subtract()])
        total = term if total < 0 else emit(sign, total, term)
    results = (emit(Copy(), total), emit(Copy(), state))
    program = Program(n_slots, tuple(instructions), results)
    return prune(program), slots


@given(randoms)
def test_stacked_loops_give_the_same_results(rng: Random) -> None:
    program, shapes = random_loop(rng)
    slots = [random_entries(rng, shapes[k]) for k in range(program.n_slots)]
    wanted = run_program(program, slots)
    with pytest.MonkeyPatch.context() as patch:
        for module in (isomorphic, stack_program):
            patch.setattr(module, "MIN_STACK_ROWS", rng.randint(2, 4))
        patch.setattr(stack_program, "MAX_RELATIVE_COST", float("inf"))
        found = stacked(program, slots)
        found.check()
        reusing = Preallocated(found, slots)
        runs = (build(found), partial(run_program, found), reusing, reusing)
        for results in [run(slots) for run in runs]:
            for k, (one, two) in enumerate(zip(results, wanted, strict=True)):
                assert np.shape(one) == np.shape(two)
                np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-11)
                if np.ndim(one):
                    assert not any(np.shares_memory(one, a) for a in (*slots, *results[:k]))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.usefixtures("eager")
def test_compiled_functions_agree_with_traced_ones_however_much_is_stacked(name: str) -> None:
    f, x = FUNCTIONS[name]
    compiled = chainad.value_and_jacobian(f, backend="numpy").compile(x)
    for point, value, J in reference(name)[:3]:
        agree(compiled(point), (value, J))


# ----------------------------------------------------------------- a real loop


def stepping(n_steps: int, n: int = 5):
    """Return a trajectory of Runge and Kutta's, by its start."""
    K = np.random.default_rng(0).normal(size=(n, n)) / np.sqrt(n)

    def slope(y):
        return np.tanh(K @ y) - 0.1 * y

    def f(y):
        for _ in range(n_steps):
            k1 = slope(y)
            k2 = slope(y + 0.05 * k1)
            k3 = slope(y + 0.05 * k2)
            k4 = slope(y + 0.1 * k3)
            y = y + 0.1 / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return y

    return f


def calls_of(f, x, mode: str) -> tuple[int, Counter[type]]:
    """Return the calls of a Jacobian as it is planned, and those that a compiled one makes."""
    J = chainad.jacobian(f, mode=mode, backend="numpy")
    program = record_planned_run(J._of, (x,), {}).program.program
    with pytest.MonkeyPatch.context() as patch:
        made: list[Program] = []

        def seeing(program, *args):
            made.append(program)
            return source_with_buffers(program, *args)

        patch.setattr("chainad.compiler.recording.accumulation.source_with_buffers", seeing)
        J.compile(x)
    return program.array_calls, Counter(type(i.op) for i in made[-1].instructions)


def test_a_loop_of_100_steps_takes_little_more_calls_than_its_chain() -> None:
    x = np.linspace(0.1, 0.9, 5)
    before, calls = calls_of(stepping(100), x, "repeats")
    assert before > 4000
    assert calls[MatMul] <= 99 + 8  # the Jacobians of the steps, one after the other
    assert calls[Row] <= 100 + 20  # and a few of the first turn, which begins elsewhere
    assert calls.total() - calls[MatMul] - calls[Row] < 120


def test_calls_besides_the_chain_do_not_grow_with_the_steps() -> None:
    x = np.linspace(0.1, 0.9, 5)
    few, many = (calls_of(stepping(n), x, "repeats")[1] for n in (20, 60))
    chain = {MatMul, Row}
    assert sum(few[k] for k in few if k not in chain) == sum(
        many[k] for k in many if k not in chain
    )


def test_a_loop_of_100_steps_has_the_right_jacobian() -> None:
    f, x = stepping(100), np.linspace(0.1, 0.9, 5)
    J = chainad.jacobian(f, mode="repeats", backend="numpy").compile(x)
    h = 1e-6
    columns = [(f(x + h * e) - f(x - h * e)) / (2 * h) for e in np.eye(5)]
    np.testing.assert_allclose(J(x), np.stack(columns, 1), rtol=1e-6, atol=1e-7)


def sums(n: int) -> Program:
    """Return x A_1 y_1 - x A_2 y_2 + ..., where every A is read by the next."""
    instructions: list[Instruction] = []

    def emit(op, *inputs: int) -> int:
        instructions.append(Instruction(op, inputs, n + 1 + len(instructions)))
        return instructions[-1].output

    state, total = 0, -1
    for k in range(n):
        state = emit(MatMul(), state, 0)
        term = emit(Multiply(), state, k + 1)
        total = term if total < 0 else emit(Subtract() if k % 2 else Add(), total, term)
    return Program(n + 1, tuple(instructions), (total,))


def slots_of(program: Program) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(2, 2)) / 2, *rng.normal(size=(program.n_slots - 1, 2))]


def test_terms_of_a_long_sum_are_stacked_together() -> None:
    program = sums(20)
    slots = slots_of(program)
    found = stacked(program, slots)
    calls = Counter(type(i.op) for i in found.instructions)
    assert calls[MatMul] == 20
    assert calls[Multiply] == 1
    assert calls[Sum] == 2  # what is added, and what is taken off
    assert calls[Concatenate] == 2
    np.testing.assert_allclose(run_program(found, slots)[0], run_program(program, slots)[0])


def test_short_programs_stay_as_they_are() -> None:
    program = sums(5)
    assert stacked(program, slots_of(program)) is program


def test_large_arrays_are_not_stacked() -> None:
    n = 20
    instructions = [Instruction(Multiply(), (k, n + k), 2 * n + k) for k in range(n)]
    program = Program(2 * n, tuple(instructions), (2 * n,))
    slots = [np.ones(isomorphic.MAX_ROW_ELEMENTS + 1)] * (2 * n)
    assert stacked(program, slots) is program


def test_arrays_of_two_dtypes_are_not_stacked() -> None:
    n = 10
    first = [Instruction(Multiply(), (k, n), n + 1 + k) for k in range(n)]
    total, instructions = n + 1, list(first)
    for k in range(1, n):
        instructions.append(Instruction(Add(), (total, n + 1 + k), 2 * n + k))
        total = 2 * n + k
    program = Program(n + 1, tuple(instructions), (total,))
    slots = [np.full(3, 0.1, np.float32 if k < 5 else np.float64) for k in range(n)]
    slots.append(np.full(3, 0.1, np.float32))
    with pytest.MonkeyPatch.context() as patch:
        for module in (isomorphic, stack_program):
            patch.setattr(module, "MIN_STACK_ROWS", 2)
        patch.setattr(stack_program, "MAX_RELATIVE_COST", float("inf"))
        found = stacked(program, slots)
    products = [i for i in found.instructions if isinstance(i.op, Multiply)]
    assert len(products) == 3  # the narrow ones, the wide ones, and the one between
    np.testing.assert_allclose(build(found)(slots)[0], build(program)(slots)[0], rtol=1e-15)


@pytest.mark.usefixtures("eager")
def test_a_scalar_of_the_user_may_change_though_it_equals_another() -> None:
    step, other = np.array(0.5), np.array(0.5)

    def f(x):
        return x * step + np.sin(x) * other + np.cos(x) * 0.5

    compiled = chainad.jacobian(f, backend="numpy").compile(np.ones(3))
    other[...] = 2.0
    x = np.array([0.1, 0.2, 0.3])
    np.testing.assert_allclose(compiled(x), np.diag(0.5 + 2 * np.cos(x) - 0.5 * np.sin(x)))


@pytest.mark.usefixtures("eager")
def test_equal_instructions_are_no_rows_of_a_stack() -> None:
    n = 20
    first = [Instruction(Multiply(), (k % 10, n), n + 1 + k) for k in range(n)]
    first += [Instruction(Subtract(), (0, n), 2 * n + 1 + k) for k in range(n)]
    rest, total = [], n + 1
    for k in range(1, 2 * n):
        rest.append(Instruction(MatMul(), (total, n + 1 + k), 3 * n + 1 + k))
        total = rest[-1].output
    program = Program(n + 1, (*first, *rest), (total,))
    slots = [*np.random.default_rng(0).normal(size=(n + 1, 2, 2))]
    found = stacked(program, slots)
    assert found is not program
    np.testing.assert_allclose(build(found)(slots)[0], build(program)(slots)[0], rtol=1e-12)


def test_constants_of_a_program_are_not_stacked() -> None:
    program = Program(0, (Instruction(Full(2.0), (), 0),), (0,))
    assert stacked(program, []) is program
