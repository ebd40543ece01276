"""Programs with preallocated buffers: the same results, nothing allocated, nothing shared."""

import tracemalloc
from collections.abc import Sequence
from itertools import pairwise
from random import Random
from threading import Thread

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from preallocated import Preallocated

import chainad
from chainad.api.targets import NUMPY
from chainad.backends.namespace import Namespace
from chainad.backends.numpy.buffers import source_with_buffers
from chainad.backends.numpy.build import build, observe
from chainad.backends.numpy.emit import emit_view
from chainad.compiler.lower import lower
from chainad.errors import InputError
from chainad.ir import ops
from chainad.ir.positions import positions
from chainad.ir.program import Instruction, Program
from chainad.planning.auto import make_plan
from chainad.planning.linear_graph import Edge, LinearGraph
from chainad.planning.plan import follow
from chainad.structure import dense, diagonal
from chainad.testing import apply_op, random_chain, random_entries, random_graph

randoms = st.randoms(use_true_random=False)
Slots = list[np.ndarray | None]


def random_program(rng: Random) -> tuple[Program, Slots]:
    if rng.random() < 0.5:
        graph, numbers = random_chain(rng, rng.randint(1, 6))
    else:
        graph, numbers = random_graph(rng, rng.randint(0, 4), n_inputs=2, n_outputs=2)
    order = rng.sample(graph.inner, len(graph.inner))
    form = rng.choice(["dense", "sparse", "structured"])
    lowered = lower(follow(graph, order), [() for _ in graph.edges], form, NUMPY.passes)
    return lowered.program, list(numbers)


def other_numbers(rng: Random, slots: Slots) -> Slots:
    return [None if a is None else random_entries(rng, a.shape) for a in slots]


def assert_equal(found: Sequence[object], wanted: Sequence[object]) -> None:
    for one, two in zip(found, wanted, strict=True):
        if two is None:
            assert one is None
        else:
            np.testing.assert_allclose(one, two, rtol=1e-13, atol=1e-13)


@given(randoms)
def test_every_call_gives_the_results_of_a_call_without_buffers(rng: Random) -> None:
    program, slots = random_program(rng)
    run, preallocated = build(program), Preallocated(program, slots)
    earlier = []
    for _ in range(3):
        results = preallocated(slots)
        assert_equal(results, run(slots))
        earlier.append((results, run(slots)))
        slots = other_numbers(rng, slots)
    for results, wanted in earlier:  # no later call has overwritten them
        assert_equal(results, wanted)


@given(randoms)
def test_results_are_written_into_out(rng: Random) -> None:
    program, slots = random_program(rng)
    run, preallocated = build(program), Preallocated(program, slots)
    for _ in range(3):
        wanted = run(slots)
        out = [None if a is None or rng.random() < 0.3 else np.empty(np.shape(a)) for a in wanted]
        found = preallocated(slots, out)
        assert_equal(found, wanted)
        for one, to in zip(found, out, strict=True):
            assert to is None or one is to
        slots = other_numbers(rng, slots)


@given(randoms)
def test_slots_are_neither_written_nor_returned(rng: Random) -> None:
    program, slots = random_program(rng)
    preallocated = Preallocated(program, slots)
    kept = [None if a is None else a.copy() for a in slots]
    for _ in range(3):
        for result in preallocated(slots):
            for slot in slots:
                assert result is None or slot is None or not np.shares_memory(result, slot)
    assert_equal(slots, kept)


def bottleneck(*widths: int) -> tuple[Program, Slots]:
    """Return the program of a perceptron's Jacobian, and slots."""
    structures = []
    for k, (n, m) in enumerate(pairwise(widths)):
        structures += [diagonal((n,))] if k else []
        structures.append(dense((m,), (n,)))
    shapes = (structures[0].col_shape, *(s.row_shape for s in structures))
    edges = tuple(Edge(k, k + 1, s) for k, s in enumerate(structures))
    graph = LinearGraph(shapes, (0,), (len(edges),), edges)
    rng = Random(0)
    slots: Slots = [random_entries(rng, s.stored_shape) for s in structures]
    return lower(make_plan(graph), [() for _ in edges], passes=NUMPY.passes).program, slots


def peak(preallocated: Preallocated, slots: Slots, out: list[np.ndarray] | None) -> int:
    tracemalloc.start()
    try:
        preallocated(slots, out)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_call_allocates_nothing_but_its_result_and_with_out_not_even_that() -> None:
    program, slots = bottleneck(400, 300, 20, 300, 400)
    preallocated = Preallocated(program, slots)
    preallocated(slots)  # which allocates buffers
    result = 400 * 400 * 8
    small = result // 20  # NumPy's iterator takes 48 KB where operands broadcast
    assert result <= peak(preallocated, slots, None) < result + small
    assert peak(preallocated, slots, [np.empty((400, 400))]) < small


def test_registers_that_are_not_live_together_share_buffers() -> None:
    steps = 20
    instructions = tuple(Instruction(ops.MatMul(), (0, k), k + 1) for k in range(1, steps))
    program = Program(2, instructions, (steps,))
    slots = [np.eye(50), np.ones((50, 50))]
    text = source_with_buffers(program, observe(program, slots)[0], ["s0", "s1"], Namespace())
    assert len(text.allocation.sizes) == 2


def test_elementwise_ops_overwrite_an_operand_that_dies() -> None:
    program = Program(
        2,
        (
            Instruction(ops.MatMul(), (0, 1), 2),
            Instruction(ops.Multiply(), (2, 0), 3),
            Instruction(ops.Scale(-1), (3,), 4),
            Instruction(ops.Add(), (4, 1), 5),
        ),
        (5,),
    )
    slots = [np.full((4, 4), 2.0), np.ones((4, 4))]
    text = source_with_buffers(program, observe(program, slots)[0], ["s0", "s1"], Namespace())
    assert text.allocation.sizes == ()  # all in the result
    preallocated = Preallocated(program, slots)
    for _ in range(2):
        np.testing.assert_array_equal(preallocated(slots)[0], np.full((4, 4), -15.0))


def test_an_operand_that_is_read_through_a_view_is_not_overwritten() -> None:
    program = Program(
        1,
        (
            Instruction(ops.Scale(2.0), (0,), 1),
            Instruction(ops.Transpose((1, 0)), (1,), 2),
            Instruction(ops.Add(), (1, 2), 3),
            Instruction(ops.Scale(2.0), (3,), 4),
        ),
        (4,),
    )
    x = np.arange(9.0).reshape(3, 3)
    preallocated = Preallocated(program, [x])
    for _ in range(3):
        np.testing.assert_array_equal(preallocated([x])[0], 4 * (x + x.T))


def test_threads_do_not_disturb_one_another() -> None:
    program, slots = bottleneck(60, 50, 10, 50, 60)
    run, preallocated = build(program), Preallocated(program, slots)
    preallocated(slots)
    points = [other_numbers(Random(k), slots) for k in range(4)]
    wanted = [run(point)[0] for point in points]
    wrong: list[int] = []

    def work(k: int) -> None:
        for _ in range(100):
            if not np.allclose(preallocated(points[k])[0], wanted[k], rtol=1e-12):
                wrong.append(k)

    threads = [Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


class Nested:
    """An operator whose action calls the very program that it is in, then returns its argument."""

    shape, dtype, aliases = (), np.dtype(float), True

    def __init__(self, inner: Preallocated | None) -> None:
        self.inner = inner

    def jvp(self, x: np.ndarray) -> np.ndarray:
        if self.inner is not None:
            self.inner([Nested(None), np.full((1, 3, 3), 7.0)])
        return x


def test_nested_calls_have_buffers_of_their_own() -> None:
    program = Program(
        2,
        (
            Instruction(ops.Scale(2.0), (1,), 2),
            Instruction(ops.Jvp(), (0, 2), 3),
            Instruction(ops.Scale(3.0), (3,), 4),
            Instruction(ops.Reshape((3, 3)), (3,), 5),
            Instruction(ops.Copy(), (4,), 6),
        ),
        (5, 6),
    )
    preallocated = Preallocated(program, [Nested(None), np.ones((1, 3, 3))])
    one, two = preallocated([Nested(preallocated), np.ones((1, 3, 3))])
    preallocated([Nested(None), np.zeros((1, 3, 3))])
    np.testing.assert_array_equal(one, np.full((3, 3), 2.0))
    np.testing.assert_array_equal(two, np.full((1, 3, 3), 6.0))


def test_the_source_runs_inside_another_function() -> None:
    program, slots = bottleneck(6, 5, 2, 5, 6)
    names = [f"slot{k}" for k in range(program.n_slots)]
    space = Namespace()
    text = source_with_buffers(program, observe(program, slots)[0], names, space)
    lines = [f"slot{k} = given[{k}]" for k in program.used_slots]
    lines += [*text.lines, f"return {text.results[0]}"]
    call, _ = space.define("call(given, memory, out=None)", lines)
    wanted = build(program)(slots)[0]
    memory = text.allocate()
    for _ in range(2):
        np.testing.assert_allclose(call(slots, memory), wanted)


# ----------------------------------------------------------------- compiled


def network(*widths: int):
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(m, n)) / 5 for n, m in pairwise(widths)]

    def f(x: np.ndarray) -> np.ndarray:
        for w in weights[:-1]:
            x = np.tanh(w @ x)
        return weights[-1] @ x

    return f, [rng.normal(size=widths[0]) for _ in range(3)]


def test_compiled_jacobians_are_written_into_out_directly() -> None:
    f, points = network(300, 200, 20, 200, 300)
    J = chainad.jacobian(f)
    fast = J.compile()
    out = np.empty((300, 300))
    for x in points:
        assert fast(x, out=out) is out
        np.testing.assert_allclose(out, J(x), rtol=1e-12, atol=1e-12)
    tracemalloc.start()
    fast(points[0], out=out)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < out.nbytes // 5


def test_results_of_compiled_calls_share_no_memory() -> None:
    f, points = network(30, 20, 4, 20, 30)
    J = chainad.jacobian(f)
    fast = J.compile()
    found = [fast(x) for x in points]
    for one, x in zip(found, points, strict=True):
        np.testing.assert_allclose(one, J(x), rtol=1e-12)


@pytest.mark.parametrize(
    "out",
    [np.empty((3, 30)), np.empty((30, 30), np.float32), np.empty(30), [1.0]],
    ids=["shape", "dtype", "axes", "list"],
)
def test_buffers_that_do_not_fit_are_refused_by_compiled_calls(out: object) -> None:
    f, points = network(30, 20, 4, 20, 30)
    fast = chainad.jacobian(f).compile()
    for x in points:
        with pytest.raises(InputError, match="out"):
            fast(x, out=out)


def test_the_buffer_may_be_the_argument_itself() -> None:
    def f(x: np.ndarray) -> np.ndarray:
        return x * np.sum(x)

    x = np.arange(4.0).reshape(2, 2)
    J = chainad.jacobian(lambda y: f(y)[0, :1] * 1.0, argnums=0)
    fast = J.compile()
    for _ in range(3):
        wanted = J(x)
        memory = np.zeros(4)
        memory[:] = x.ravel()
        point = memory.reshape(2, 2)
        out = memory.reshape(1, 2, 2)
        np.testing.assert_allclose(fast(point, out=out), wanted)


SHAPES = st.lists(st.sampled_from([1, 1, 2, 3]), max_size=4).map(tuple)


@given(SHAPES, SHAPES)
def test_reshapes_by_indexing_are_the_same_views(
    old: tuple[int, ...], new: tuple[int, ...]
) -> None:
    names, x = Namespace(), np.arange(float(np.prod(old))).reshape(old)
    text = emit_view(ops.Reshape(new), "x", old, names)
    kept = [n for n in old if n != 1], [n for n in new if n != 1]
    assert (text is not None) == (kept[0] == kept[1])
    if text is not None:
        y = eval(text, {**names.objects, "x": x})
        assert type(y) is np.ndarray
        assert np.shares_memory(x, y)
        np.testing.assert_array_equal(y, x.reshape(new))


def test_constant_regions_are_copied_and_the_rest_is_written_over_them() -> None:
    n, m = 300, 1500
    order = np.random.default_rng(0).permutation(n)  # no formula
    places = (*(range(k, m, 5) for k in range(4)), positions(5 * order + 4))
    op = ops.Scatter(places, m, True, ((-1, 1), (1,), (1,), (1, -1), (1,)))
    program = Program(4, (Instruction(op, (0, 1, 1, 0, 2, 3, 1), 4),), (4,))
    fixed = {0: np.float64(2.0), 1: np.float64(5.0)}
    slots = [fixed[0], fixed[1], np.arange(n, dtype=float), np.ones(n)]
    preallocated = Preallocated(program, slots, fixed)
    for call in range(3):
        slots[2] = slots[2] + call
        (found,) = preallocated(slots)
        arrays = [slots[k] for k in program.instructions[0].inputs]
        np.testing.assert_array_equal(found, apply_op(op, *arrays))
        found[:] = -1  # it is the caller's
    text = source_with_buffers(
        program, observe(program, slots)[0], [*"abcd"], Namespace(), fixed=fixed
    )
    assert sum(line.startswith("copyto") for line in text.lines) == 1
    assert sum("r4[" in line for line in text.lines) == 1


def test_what_fixed_slots_determine_is_folded() -> None:
    program = Program(
        3,
        (Instruction(ops.Multiply(), (0, 1), 3), Instruction(ops.Multiply(), (3, 2), 4)),
        (4,),
    )
    fixed = {0: np.float64(3.0), 1: np.float64(7.0)}
    slots = [*fixed.values(), np.arange(4.0)]
    text = source_with_buffers(
        program, observe(program, slots)[0], [*"abc"], Namespace(), fixed=fixed
    )
    assert sum("multiply" in line for line in text.lines) == 1
    preallocated = Preallocated(program, slots, fixed)
    for _ in range(2):
        np.testing.assert_array_equal(preallocated(slots)[0], 21 * np.arange(4.0))


def test_out_may_be_memory_that_the_program_reads() -> None:
    W, V = np.arange(18.0).reshape(3, 6) / 7, np.arange(18.0, 0, -1).reshape(3, 6) / 5
    out = np.empty((3, 6))
    a, b = out[0, :3], out[2, 3:]

    def f(x: np.ndarray) -> np.ndarray:
        return a * (W @ x) + b * (V @ x)

    x = np.linspace(0.1, 0.9, 6)
    out[:] = 0.5
    compiled = chainad.compile(chainad.jacobian(f), x)
    for _ in range(3):
        out[:] = W + V
        wanted = a[:, None] * W + b[:, None] * V
        assert compiled(x, out=out) is out
        np.testing.assert_allclose(out, wanted, rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("shape", "axis", "calls"), [
    ((5, 40, 20), 1, "matmul"),
    ((40, 3), 0, "matmul"),
    ((40, 300), 0, "add.reduce"),
    ((5, 40, 20), 2, "add.reduce"),
    ((5, 40, 20), 0, "add.reduce"),
])  # fmt: skip
def test_short_rows_are_added_up_by_a_matrix_product(
    shape: tuple[int, ...], axis: int, calls: str, dtype: type
) -> None:
    program = Program(
        1, (Instruction(ops.Scale(2.0), (0,), 1), Instruction(ops.Sum((axis,)), (1,), 2)), (2,)
    )
    x = np.random.default_rng(0).normal(size=shape).astype(dtype)
    seen, _ = observe(program, [x])
    assert any(
        line.startswith(calls)
        for line in source_with_buffers(program, seen, ["x"], Namespace()).lines
    )
    run = Preallocated(program, [x])
    x[..., 0], x[..., 1] = np.inf, np.nan
    for given_x in (x, x[::-1].copy()):
        (found,) = run([given_x])
        assert found.dtype == dtype
        tolerance = 1e-13 if dtype is np.float64 else 1e-5
        np.testing.assert_allclose(found, np.sum(2 * given_x, axis), tolerance, tolerance)


def test_views_of_buffers_are_made_once() -> None:
    instructions = (
        Instruction(ops.Multiply(), (0, 0), 1),
        Instruction(ops.Transpose((1, 0)), (1,), 2),
        Instruction(ops.Take(0, range(0, 4, 2)), (2,), 3),
        Instruction(ops.Reshape((6,)), (3,), 4),  # of such a buffer a copy
        Instruction(ops.Reshape((3, 2)), (4,), 5),
        Instruction(ops.MatMul(), (2, 5), 6),
    )
    program = Program(1, instructions, (6,))
    x = np.arange(12.0).reshape(3, 4)
    run = Preallocated(program, [x])
    for factor in (1.0, 2.0):
        square = (factor * x) ** 2
        wanted = square.T @ square.T[::2].reshape(3, 2)
        np.testing.assert_array_equal(run([factor * x])[0], wanted)
    assert not any(text in line for line in run.text.lines for text in ("transpose", ".T", "r3 ="))
