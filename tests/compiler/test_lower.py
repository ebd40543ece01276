"""Programs: what is executed equals the plan's dense oracle, in no more calls than promised."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainad
from chainad.api.targets import NUMPY
from chainad.backends.numpy.build import build, compiled
from chainad.compiler.lower import lower
from chainad.ir.array_functions import scatter
from chainad.ir.ops import AddAt, Copy, MatMul, Multiply, Reshape, Scale, Scatter, Transpose
from chainad.ir.positions import as_array, positions
from chainad.ir.program import Instruction, Program
from chainad.planning.auto import make_plan
from chainad.planning.linear_graph import Edge, LinearGraph
from chainad.planning.plan import Plan, follow
from chainad.structure import Ops, arrange, dense, diagonal, forget, identity
from chainad.structure.structure import Axis, Structure
from chainad.testing import (
    RandomJacobian,
    path_sum,
    random_chain,
    random_entries,
    random_graph,
    random_jacobian,
    random_structure,
    run_program,
)

randoms = st.randoms(use_true_random=False)
Local = Callable[[Random, tuple[int, ...], tuple[int, ...]], RandomJacobian]


def lowered(plan: Plan) -> Program:
    """Lower a plan whose slots hold the kept arrays already."""
    nothing: list[Ops] = [() for _ in plan.graph.edges]
    return lower(plan, nothing, passes=NUMPY.passes).program


def pieces_of(plan: Plan) -> list[int]:
    """Return the numbers of the pairs that have a result."""
    return [k for k, numbers in enumerate(plan.results) if numbers]


def chain_of(*structures: Structure) -> LinearGraph:
    """Return the chain of some Jacobians, the one next to x first."""
    shapes = (structures[0].col_shape, *(s.row_shape for s in structures))
    edges = tuple(Edge(k, k + 1, s) for k, s in enumerate(structures))
    return LinearGraph(shapes, (0,), (len(edges),), edges)


def assert_program_is_right(plan: Plan, numbers: Sequence[np.ndarray | None]) -> None:
    program = lowered(plan)
    program.check()
    wanted = path_sum(plan.graph, numbers)
    both = (compiled(program, is_traced)[0] for is_traced in (False, True))
    for run in (build(program), *both, lambda slots: run_program(program, slots)):
        found = dict(zip(pieces_of(plan), run(numbers), strict=True))
        for k, want in enumerate(wanted):
            if k not in found:
                assert not np.any(want)
            else:
                assert found[k].shape == want.shape
                np.testing.assert_allclose(found[k], want, rtol=1e-12, atol=1e-9)


@given(randoms)
def test_program_of_a_random_graph_is_the_sum_over_paths(rng: Random) -> None:
    n_inputs, n_outputs = rng.randint(1, 2), rng.randint(1, 2)
    inner = rng.randint(0, 4)
    graph, numbers = random_graph(rng, inner, n_inputs=n_inputs, n_outputs=n_outputs)
    order = rng.sample(graph.inner, len(graph.inner))
    assert_program_is_right(follow(graph, order), numbers)


@given(randoms)
def test_program_of_a_random_chain_is_the_product(rng: Random) -> None:
    graph, numbers = random_chain(rng, rng.randint(1, 6))
    order = rng.sample(graph.inner, len(graph.inner))
    assert_program_is_right(follow(graph, order), numbers)


@pytest.mark.parametrize("mode", ["auto", "forward", "reverse", "markowitz", "greedy"])
def test_every_mode_lowers_to_the_same_jacobian(mode: str) -> None:
    for seed in range(15):
        rng = Random(seed)
        graph, numbers = random_graph(rng, 4)
        assert_program_is_right(make_plan(graph, mode), numbers)
        graph, numbers = random_chain(rng, 5)
        assert_program_is_right(make_plan(graph, mode), numbers)


@given(randoms)
def test_results_have_memory_of_their_own(rng: Random) -> None:
    graph, numbers = random_graph(rng, rng.randint(0, 3), n_inputs=2, n_outputs=2)
    slots = [None if a is None else a.copy() for a in numbers]
    results = build(lowered(make_plan(graph)))(slots)
    found = [a for a in results if isinstance(a, np.ndarray)]  # no None, no scalar
    for k, one in enumerate(found):
        assert one.flags.writeable
        for other in (*found[:k], *(a for a in slots if a is not None)):
            assert not np.shares_memory(one, other)


def test_two_outputs_of_the_same_value_get_a_jacobian_each() -> None:
    eye = identity((2,))
    edges = (Edge(0, 1, dense((2,), (3,))), Edge(1, 2, dense((2,), (2,))))
    edges += (Edge(2, 3, eye), Edge(2, 4, eye))
    graph = LinearGraph(((3,), (2,), (2,), (2,), (2,)), (0,), (3, 4), edges)
    slots = [np.ones((2, 3)), np.ones((2, 2)), None, None]
    one, two = build(lowered(make_plan(graph)))(slots)
    np.testing.assert_array_equal(one, two)
    assert not np.shares_memory(one, two)


def test_execution_leaves_the_slots_alone() -> None:
    for seed in range(30):
        graph, numbers = random_graph(Random(seed), 3)
        slots = [None if a is None else a.copy() for a in numbers]
        build(lowered(make_plan(graph)))(slots)
        for slot, kept in zip(slots, numbers, strict=True):
            np.testing.assert_array_equal(slot, kept)


# ------------------------------------------------------------------ pieces


def selection(
    rng: Random, row_shape: tuple[int, ...], col_shape: tuple[int, ...]
) -> RandomJacobian:
    """Return a shifted diagonal, a block of one, or both axes cut out: the pieces of stencils."""
    (m,), (n,) = row_shape, col_shape
    count = rng.randint(1, min(m, n))
    first = [rng.randint(0, size - count) for size in (m, n)]
    rows, cols = (
        Axis(size, (0,), range(start, start + count))
        for size, start in zip((m, n), first, strict=True)
    )
    if rng.random() < 0.3:
        return random_jacobian(rng, [rows], [cols], {0: count}, scale=rng.choice([1, -1, 2.5]))
    return random_jacobian(rng, [rows], [cols], {0: count}, [0])


FORMS = ("dense", "sparse", "structured")


def formed(plan: Plan, numbers: Sequence[np.ndarray | None], output: str) -> list[np.ndarray]:
    """Return the Jacobians of a plan as matrices, through one of the forms of results."""
    lowered = lower(plan, [() for _ in plan.graph.edges], output, NUMPY.passes)
    lowered.program.check()
    float64 = np.dtype(np.float64)
    for run in (build(lowered.program), lambda slots: run_program(lowered.program, slots)):
        arrays = iter(run(numbers))
        blocks = []
        ends = [(o, i) for o in plan.graph.outputs for i in plan.graph.inputs]
        for (o, i), form in zip(ends, lowered.forms, strict=True):
            shape = (plan.graph.size(o), plan.graph.size(i))
            if form is None:
                blocks.append(np.zeros(shape))
            else:
                found = form.assemble([next(arrays) for _ in range(form.width)], float64)
                full = found if output == "dense" else found.toarray()
                blocks.append(full.reshape(shape))
        assert next(arrays, None) is None
    return blocks


@pytest.mark.parametrize(("few", "many"), [(256, 32), (1, 32), (1, 3), (1, 1), (4, 2)])
@pytest.mark.parametrize("local", [selection, random_structure])
@given(rng=randoms)
def test_placed_terms_add_up_to_the_sum_over_paths_in_every_form(
    few: int, many: int, local: Local, rng: Random
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        forget()
        monkeypatch.setattr("chainad.structure.sum.MIN_SEPARATE_ENTRIES", few)
        monkeypatch.setattr("chainad.planning.linear_graph.MAX_TERMS_PER_EDGE", many)
        graph, numbers = random_graph(
            rng,
            rng.randint(0, 4),
            n_inputs=rng.randint(1, 2),
            n_outputs=rng.randint(1, 2),
            more=rng.choice([1.0, 2.0]),
            shapes=lambda rng: (rng.choice([2, 5, 6, 8]),),
            local=local,
        )
        plans = [make_plan(graph, mode) for mode in ("auto", "forward", "reverse", "greedy")]
        plans.append(follow(graph, rng.sample(graph.inner, len(graph.inner))))
    forget()
    wanted = path_sum(graph, numbers)
    for plan in plans:
        for output in FORMS:
            for got, want in zip(formed(plan, numbers, output), wanted, strict=True):
                np.testing.assert_allclose(got, want.reshape(got.shape), rtol=1e-12, atol=1e-9)


def test_pieces_that_fill_a_matrix_are_written_once() -> None:
    n = 300
    axes = [
        (Axis(2 * n, (0,), range(start, start + n)), Axis(2 * n, (0,), range(to, to + n)))
        for start, to in ((0, n), (n, 0))
    ]
    pieces = [arrange([row], [col], {0: n}, [0]).structure for row, col in axes]
    edges = tuple(Edge(0, 1, piece) for piece in pieces)
    graph = LinearGraph(((2 * n,), (2 * n,)), (0,), (1,), edges)
    program = lower(follow(graph, ()), [(), ()], "sparse").program
    (op,) = (i.op for i in program.instructions)
    assert op == Scatter((range(n), range(n, 2 * n)), 2 * n, covers=True)
    dense_program = lower(follow(graph, ()), [(), ()], "dense").program
    (op,) = (i.op for i in dense_program.instructions if isinstance(i.op, Scatter))
    assert not op.covers


def test_a_diagonal_is_returned_sparse_by_one_copy() -> None:
    graph = chain_of(diagonal((5,)))
    program = lower(follow(graph, ()), [()], "sparse").program
    assert [type(i.op) for i in program.instructions] == [Copy]


def test_thin_factors_are_returned_as_they_are() -> None:
    graph = chain_of(dense((2,), (9,)), dense((8,), (2,)))
    lowered = lower(follow(graph, graph.inner), [(), ()], "structured")
    assert [type(i.op) for i in lowered.program.instructions] == [Copy, Copy]
    graph = chain_of(dense((9,), (2,)), dense((2,), (9,)))  # the product is the smaller one
    lowered = lower(follow(graph, graph.inner), [(), ()], "structured")
    assert [type(i.op) for i in lowered.program.instructions] == [MatMul]


# -------------------------------------------------------------------- scatter


@given(randoms)
def test_scatter_accumulates_at_equal_positions(rng: Random) -> None:
    size = rng.randint(1, 8)
    where = [
        positions(rng.sample(range(size), rng.randint(0, size))) for _ in range(rng.randint(1, 3))
    ]
    vectors = [random_entries(rng, rng.choice([(len(p),), ()])) for p in where]
    want = np.zeros(size)
    for p, vector in zip(where, vectors, strict=True):
        np.add.at(want, as_array(p), vector)
    np.testing.assert_array_equal(scatter(tuple(where), size, False, (), *vectors), want)
    parts = rng.sample(range(size), size)
    cut = rng.randint(0, size)
    apart = (positions(parts[:cut]), positions(parts[cut:]))
    vectors = [random_entries(rng, (len(p),)) for p in apart]
    want = np.zeros(size)
    for p, vector in zip(apart, vectors, strict=True):
        want[as_array(p)] = vector
    np.testing.assert_array_equal(scatter(apart, size, True, (), *vectors), want)


def test_scatter_is_differentiated() -> None:
    def f(x: np.ndarray) -> np.ndarray:
        where = (range(3), range(6, 1, -2), positions([0, 1]))
        return scatter(where, 7, False, (), x, x * x, np.full(2, 5.0))

    x = np.array([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(f(x), [6, 7, 12, 0, 4, 0, 1])
    want = np.zeros((7, 3))
    want[[0, 1, 2], [0, 1, 2]] = 1
    want[[6, 4, 2], [0, 1, 2]] += 2 * x
    np.testing.assert_array_equal(chainad.jacobian(f)(x), want)


# ------------------------------------------------------------- array calls


def mlp(*widths: int) -> LinearGraph:
    """Return the chain of an MLP: dense, tanh, dense, ..., dense."""
    factors = []
    for k, (n, m) in enumerate(pairwise(widths)):
        factors += [diagonal((n,))] if k else []
        factors.append(dense((m,), (n,)))
    return chain_of(*factors)


def test_a_bottleneck_takes_one_call_for_every_product() -> None:
    program = lowered(make_plan(mlp(1000, 300, 20, 300, 1000)))
    calls = Counter(type(i.op) for i in program.instructions)
    assert calls == {Multiply: 3, MatMul: 3, Reshape: 1}
    assert program.array_calls == 7


@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_the_classical_modes_take_one_call_for_every_product(mode: str) -> None:
    program = lowered(make_plan(mlp(50, 40, 30, 20), mode))
    calls = Counter(type(i.op) for i in program.instructions)
    assert (calls[Multiply], calls[MatMul], calls[Copy], calls[Transpose]) == (2, 2, 0, 0)


@given(randoms)
def test_no_instruction_multiplies_by_an_identity(rng: Random) -> None:
    graph, numbers = random_chain(rng, 4)
    factors = [edge.structure for edge in graph.edges]
    k = rng.randint(0, len(factors))
    shape = graph.shapes[k]
    wider = chain_of(*factors[:k], identity(shape), *factors[k:])
    order = [*graph.inner]
    plain = lowered(follow(graph, order))
    padded = lowered(follow(wider, wider.inner))
    assert [i.op for i in plain.instructions] == [i.op for i in padded.instructions]
    slots = [*numbers[:k], None, *numbers[k:]]
    for one, two in zip(build(plain)(numbers), build(padded)(slots), strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_negative_identity_is_a_change_of_sign() -> None:
    eye = identity((3,))
    minus = arrange(eye.rows, eye.cols, {0: 3}, scale=-1).structure
    program = lowered(make_plan(chain_of(dense((3,), (2,)), minus)))
    assert [i.op for i in program.instructions] == [Scale(-1)]


def test_a_small_term_is_added_in_place_of_a_large_one() -> None:
    one = dense((4,), (4,))
    graph = LinearGraph(((4,), (4,)), (0,), (1,), (Edge(0, 1, one), Edge(0, 1, diagonal((4,)))))
    program = lowered(make_plan(graph))
    assert any(isinstance(i.op, AddAt) for i in program.instructions)
    found = build(program)([np.ones((4, 4)), np.full(4, 2.0)])[0]
    np.testing.assert_array_equal(found, np.ones((4, 4)) + 2 * np.eye(4))


def test_a_sparse_pattern_times_a_matrix_gathers_nothing_large() -> None:
    n = 50
    where = [positions([*range(1, n), 0]), positions([*range(2, n), 0, 1])]
    axes = [Axis(n, (0,), where[0]), Axis(n, (0,), where[1])]
    pattern = arrange(axes[:1], axes[1:], {0: n}, [0]).structure
    graph = chain_of(dense((n,), (7,)), pattern)
    rng = Random(0)
    numbers = [random_entries(rng, (n, 7)), random_entries(rng, (n,))]
    assert_program_is_right(make_plan(graph), numbers)


# ------------------------------------------------------------------ programs


def test_a_program_reads_as_code() -> None:
    program = lowered(make_plan(mlp(4, 3, 2)))
    assert str(program) == ("r3 = Multiply()(r2, r1)\nr4 = MatMul()(r3, r0)\nreturn r4")


def test_slots_without_entries_are_not_read() -> None:
    program = lowered(make_plan(chain_of(dense((2,), (3,)), identity((2,)), dense((2,), (2,)))))
    assert program.used_slots == (0, 2)


BAD = [
    (Program(1, (Instruction(Copy(), (1,), 2),), (2,)), "reads what nothing wrote"),
    (Program(1, (Instruction(Copy(), (0,), 0),), (0,)), "writes a slot"),
    (
        Program(2, (Instruction(Copy(), (0,), 2), Instruction(Copy(), (1,), 2)), (2,)),
        "writes twice",
    ),
    (Program(1, (), (1,)), "returns what nothing wrote"),
]


@pytest.mark.parametrize("program", [case[0] for case in BAD], ids=[case[1] for case in BAD])
def test_check_refuses_a_program_that(program: Program) -> None:
    with pytest.raises(AssertionError):
        program.check()


def test_check_accepts_every_lowered_program() -> None:
    for seed in range(40):
        graph, _ = random_graph(Random(seed), 4, n_inputs=2, n_outputs=2)
        lowered(make_plan(graph)).check()


# ------------------------------------------------------------------ no planning


def test_running_a_cached_plan_plans_and_multiplies_no_structure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    A, B = rng.normal(size=(3, 5)), rng.normal(size=(4, 3))

    def f(x: np.ndarray) -> np.ndarray:
        return B @ np.tanh(A @ x) + np.sum(x)

    J = chainad.jacobian(f)
    first = J(np.ones(5))
    calls: Counter[str] = Counter()
    watched = {
        "chainad.planning.linear_graph": ["multiply", "add"],
        "chainad.planning.chain.chain": ["multiply"],
        "chainad.planning.registry": ["state_space"],
        "chainad.planning.auto": ["make_plan", "follow"],
        "chainad.planning.linear_graph.Elimination": ["__init__", "eliminate"],
        "chainad.api.jacobian_program": ["lower"],
        "chainad.api.traced_run": ["linear_graph"],
    }
    for owner, names in watched.items():
        for name in names:

            def counted(*args: object, name: str = name, owner: str = owner, **kwargs: object):
                calls[f"{owner}.{name}"] += 1
                raise AssertionError(f"{owner}.{name} was called")

            monkeypatch.setattr(f"{owner}.{name}", counted)
    second = J(np.ones(5))
    np.testing.assert_array_equal(first, second)
    assert not calls
    with pytest.raises(AssertionError):  # the watch works: a new graph is planned
        chainad.jacobian(lambda x: f(x) * 3 + f(2 * x))(np.ones(5))
    assert calls


@pytest.mark.parametrize("seed", range(20))
def test_the_first_run_of_a_program_does_what_the_later_ones_do(seed: int) -> None:
    rng = Random(seed)
    graph, numbers = random_graph(rng, 6)
    program = lower(make_plan(graph), [()] * len(graph.edges), passes=NUMPY.passes).program
    run = build(program)
    for first, second in zip(run(numbers), run(numbers), strict=True):
        assert (first is None) == (second is None)
        if first is not None:
            np.testing.assert_array_equal(first, second)
