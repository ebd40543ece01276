"""Constant slots: a program in two parts gives the numbers of the whole."""

from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from chainad.algebra import dense, diagonal
from chainad.backends.numpy import build
from chainad.kernels import MatMul
from chainad.linear import Edge, LinearGraph
from chainad.lower import lower
from chainad.lowering.constants import split
from chainad.plan import follow
from chainad.testing import random_graph, random_numbers

randoms = st.randoms(use_true_random=False)


@given(randoms)
def test_both_parts_together_give_the_numbers_of_the_whole(rng: Random) -> None:
    graph, numbers = random_graph(rng, rng.randint(0, 4), n_inputs=2, n_outputs=2)
    order = rng.sample(graph.inner, len(graph.inner))
    program = lower(follow(graph, order), [() for _ in graph.edges]).program
    constant = {k for k in range(program.n_slots) if rng.random() < rng.choice([0.3, 0.7, 1.0])}
    parts = split(program, constant)
    parts.once.check()
    parts.per_call.check()
    assert constant.issuperset(parts.once.used_slots)
    kept = build(parts.once)(list(numbers))
    run, whole = build(parts.per_call), build(program)
    for _ in range(2):  # what is not constant changes from call to call
        results = run([*numbers, *kept])
        for one, two in zip(results, whole(numbers), strict=True):
            assert (one is None) == (two is None)
            if one is not None:
                np.testing.assert_array_equal(one, two)
                assert not any(np.shares_memory(one, a) for a in kept)
        numbers = [
            a if a is None or k in constant else random_numbers(rng, a.shape)
            for k, a in enumerate(numbers)
        ]


def test_products_of_weights_are_made_once() -> None:
    """Two layers without anything in between: their product is no part of a call."""
    structures = [dense((30,), (5,)), dense((4,), (30,)), diagonal((4,))]
    edges = tuple(Edge(k, k + 1, s) for k, s in enumerate(structures))
    graph = LinearGraph(((5,), (30,), (4,), (4,)), (0,), (3,), edges)
    program = lower(follow(graph, graph.inner), [() for _ in edges]).program
    parts = split(program, {0, 1})
    assert [type(i.kernel) for i in parts.once.instructions] == [MatMul]
    assert parts.per_call.array_calls == program.array_calls - 1


def test_without_constant_slots_only_literals_are_made_once() -> None:
    graph, numbers = random_graph(Random(3), 3)
    program = lower(follow(graph, graph.inner), [() for _ in graph.edges]).program
    parts = split(program, ())
    assert parts.once.used_slots == ()
    assert parts.once.array_calls + parts.per_call.array_calls == program.array_calls
    results = build(parts.per_call)([*numbers, *build(parts.once)(numbers)])
    for one, two in zip(results, build(program)(numbers), strict=True):
        np.testing.assert_array_equal(one, two)
