"""Constant hoisting: a program in two parts gives the results of the whole."""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainad
from chainad.api.targets import NUMPY
from chainad.backends.numpy.build import build, observe
from chainad.backends.numpy.hoist import HoistedProgram
from chainad.compiler.lower import lower
from chainad.compiler.passes.constant_hoisting import hoist_constants
from chainad.compiler.recording import accumulation
from chainad.compiler.recording.accumulation import multiplications_in
from chainad.ir.ops import MatMul
from chainad.ir.program import Program
from chainad.planning.linear_graph import Edge, LinearGraph
from chainad.planning.plan import follow
from chainad.structure import dense, diagonal
from chainad.testing import random_entries, random_graph

randoms = st.randoms(use_true_random=False)


@given(randoms)
def test_hoisted_and_residual_program_give_the_results_of_the_whole(rng: Random) -> None:
    graph, numbers = random_graph(rng, rng.randint(0, 4), n_inputs=2, n_outputs=2)
    order = rng.sample(graph.inner, len(graph.inner))
    program = lower(follow(graph, order), [() for _ in graph.edges], passes=NUMPY.passes).program
    constant = {k for k in range(program.n_slots) if rng.random() < rng.choice([0.3, 0.7, 1.0])}
    parts = hoist_constants(program, constant)
    parts.hoisted.check()
    parts.residual.check()
    assert constant.issuperset(parts.hoisted.used_slots)
    kept = build(parts.hoisted)(list(numbers))
    run, whole = build(parts.residual), build(program)
    for _ in range(2):  # what is not constant changes from call to call
        results = run([*numbers, *kept])
        for one, two in zip(results, whole(numbers), strict=True):
            assert (one is None) == (two is None)
            if one is not None:
                np.testing.assert_array_equal(one, two)
                assert not any(np.shares_memory(one, a) for a in kept)
        numbers = [
            a if a is None or k in constant else random_entries(rng, a.shape)
            for k, a in enumerate(numbers)
        ]


def test_products_of_weights_are_hoisted() -> None:
    """Two layers without anything in between: their product is no part of a call."""
    structures = [dense((30,), (5,)), dense((4,), (30,)), diagonal((4,))]
    edges = tuple(Edge(k, k + 1, s) for k, s in enumerate(structures))
    graph = LinearGraph(((5,), (30,), (4,), (4,)), (0,), (3,), edges)
    program = lower(follow(graph, graph.inner), [() for _ in edges]).program
    parts = hoist_constants(program, {0, 1})
    assert [type(i.op) for i in parts.hoisted.instructions] == [MatMul]
    assert parts.residual.array_calls == program.array_calls - 1


def test_without_constant_slots_only_literals_are_hoisted() -> None:
    graph, numbers = random_graph(Random(3), 3)
    program = lower(follow(graph, graph.inner), [() for _ in graph.edges]).program
    parts = hoist_constants(program, ())
    assert parts.hoisted.used_slots == ()
    assert parts.hoisted.array_calls + parts.residual.array_calls == program.array_calls
    results = build(parts.residual)([*numbers, *build(parts.hoisted)(numbers)])
    for one, two in zip(results, build(program)(numbers), strict=True):
        np.testing.assert_array_equal(one, two)


def two_layers() -> tuple[Program, list[np.ndarray]]:
    """Return the program of a diagonal times two matrices, and numbers for its slots."""
    structures = [dense((30,), (5,)), dense((4,), (30,)), diagonal((4,))]
    edges = tuple(Edge(k, k + 1, s) for k, s in enumerate(structures))
    graph = LinearGraph(((5,), (30,), (4,), (4,)), (0,), (3,), edges)
    program = lower(follow(graph, graph.inner), [() for _ in edges]).program
    rng = np.random.default_rng(0)
    return program, [rng.normal(size=s.stored_shape) for s in structures]


def test_multiplications_of_constants_are_counted() -> None:
    program, numbers = two_layers()
    types, _ = observe(program, numbers)
    assert multiplications_in(hoist_constants(program, {0, 1}).hoisted, types) == 4 * 30 * 5
    assert multiplications_in(hoist_constants(program, {0, 2}).hoisted, types) == 0


def test_products_of_constants_are_recomputed_only_if_these_changed() -> None:
    program, numbers = two_layers()
    parts = hoist_constants(program, {0, 1})
    hoisted, residual = (
        HoistedProgram(parts.hoisted, dict(enumerate(numbers))),
        build(parts.residual),
    )
    products = []
    for change in (None, None, 0, 1, None, 2):
        if change is not None:
            numbers[change][0] += 1.0
        products += hoisted()
        (result,) = residual([*numbers, *hoisted()])
        np.testing.assert_array_equal(result, build(program)(numbers)[0])
    first, second, third, fourth, fifth, sixth = products
    assert first is second
    assert second is not third
    assert third is not fourth
    assert fourth is fifth is sixth


@pytest.mark.parametrize("size", [3, 60])
@pytest.mark.counts_instructions
def test_compiled_functions_see_what_is_written_into_their_constants(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[HoistedProgram] = []
    monkeypatch.setattr(
        accumulation, "HoistedProgram", lambda *a: made.append(HoistedProgram(*a)) or made[-1]
    )
    rng = np.random.default_rng(1)
    A, B, C = rng.normal(size=(3, size, size))

    def f(x: np.ndarray) -> np.ndarray:
        return np.tanh(A @ (B @ (C @ x)))

    x = rng.normal(size=size)
    J, traced = chainad.compile(chainad.jacobian(f), x), chainad.jacobian(f)
    for weights in (A, B, C):
        weights[0, -1] += 1.0
        np.testing.assert_allclose(J(x), traced(x), rtol=1e-12)
    assert len(made) == (size == 60)  # small products take less time than the comparison


def test_a_jacobian_of_constants_alone_is_returned_in_memory_of_its_own() -> None:
    A, B = np.random.default_rng(2).normal(size=(2, 70, 70))
    J = chainad.compile(chainad.jacobian(lambda x: A @ (B @ x)), np.ones(70))
    J(np.ones(70))[:] = 0.0
    np.testing.assert_allclose(J(np.ones(70)), A @ B, rtol=1e-12)
