"""Chains of dense matrices: thousands of factors, against the cubic recurrence and NumPy."""

from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.linalg import _linalg

import chainad
from chainad.planning.chain.chain import bracketing_order, cost_of_order
from chainad.planning.chain.hu_shing import hu_shing, triangles
from chainad.planning.chain.interval_dp import bracket_structures
from chainad.planning.linear_graph import Edge, LinearGraph, cost
from chainad.structure import dense

randoms = st.randoms(use_true_random=False)


def cubic(sizes: list[int]) -> int:
    """Return the least cost by the textbook recurrence, in Python integers."""
    q = len(sizes) - 1
    best = [[0] * (q + 1) for _ in sizes]
    for length in range(2, q + 1):
        for i in range(q + 1 - length):
            j = i + length
            best[i][j] = min(
                best[i][k] + best[k][j] + sizes[i] * sizes[k] * sizes[j] for k in range(i + 1, j)
            )
    return best[0][q]


def cost_of_triangles(sizes: list[int]) -> int:
    return sum(sizes[i] * sizes[k] * sizes[j] for i, k, j in triangles(sizes))


def dense_chain(sizes: list[int]) -> LinearGraph:
    edges = tuple(Edge(k, k + 1, dense((m,), (n,))) for k, (n, m) in enumerate(pairwise(sizes)))
    return LinearGraph(tuple((n,) for n in sizes), (0,), (len(edges),), edges)


def random_sizes(rng: Random, most: int) -> list[int]:
    """Return sizes with ties, ones, zeros, ramps or numbers beyond 64 bits."""
    high = rng.choice([1, 2, 3, 5, 10, 50, 1000, 10**9, 10**30])
    sizes = [rng.randint(rng.choice([0, 1, 1, 1]), high) for _ in range(rng.randint(2, most))]
    shape = rng.randrange(6)
    if shape == 0:
        sizes.sort(reverse=rng.random() < 0.5)
    if shape == 1:
        sizes = sorted(sizes[::2]) + sorted(sizes[1::2], reverse=True)
    return sizes


@pytest.mark.parametrize("seed", range(10))
def test_triangles_are_as_cheap_as_the_cubic_recurrence(seed: int) -> None:
    rng = Random(seed)
    for _ in range(200):
        sizes = random_sizes(rng, 16)
        assert cost_of_triangles(sizes) == cubic(sizes), sizes


def test_triangles_are_as_cheap_as_the_cubic_recurrence_on_longer_chains() -> None:
    rng = Random(0)
    for _ in range(100):
        sizes = [max(1, n) for n in random_sizes(rng, 80)]
        assert (
            cost_of_triangles(sizes)
            == bracket_structures([e.structure for e in dense_chain(sizes).edges]).cost
        ), sizes


@given(randoms)
def test_triangles_name_every_inner_corner_once_and_in_a_possible_order(rng: Random) -> None:
    sizes = random_sizes(rng, 30)
    order = hu_shing(sizes)
    assert sorted(order) == list(range(1, len(sizes) - 1))
    assert sorted(k for _, k, _ in triangles(sizes)) == sorted(order)
    wanted = cost_of_triangles(sizes)
    if min(sizes) > 0:  # an empty product leaves nothing to multiply
        assert cost_of_order(dense_chain(sizes), order).multiplications == wanted


@given(randoms)
def test_cost_by_sizes_is_the_cost_by_algebra(rng: Random) -> None:
    sizes = random_sizes(rng, 9)
    graph = dense_chain(sizes)
    order = rng.sample(graph.inner, len(graph.inner))
    assert cost_of_order(graph, order) == cost(graph, order)


def test_long_and_short_chains_are_planned_at_the_same_cost() -> None:
    rng = Random(1)
    sizes = [rng.randint(1, 30) for _ in range(90)]
    assert cost(dense_chain(sizes), bracketing_order(dense_chain(sizes))).multiplications == cubic(
        sizes
    )


@given(st.lists(st.integers(1, 60), min_size=4, max_size=30))
def test_numpy_finds_no_cheaper_order(sizes: list[int]) -> None:
    matrices = [np.broadcast_to(0.0, shape) for shape in pairwise(sizes[::-1])]
    _, costs = _linalg._multi_dot_matrix_chain_order(matrices, return_costs=True)
    assert chainad.plan_chain(sizes).multiplications == costs[0, len(matrices) - 1]


def test_a_chain_of_ten_thousand_factors_is_planned_and_printed() -> None:
    rng = Random(0)
    sizes = [rng.randint(5, 500) for _ in range(10_001)]
    plan = chainad.plan_chain(sizes)
    assert plan.multiplications == cost_of_triangles(sizes)
    assert plan.optimality == "optimal over all bracketings of this chain"
    assert plan.alternatives[0].name == "chain"
    assert plan.bracketing.count("J") == 10_001
    assert "... 9959 more steps" in plan.details()


def test_costs_of_ten_thousand_factors_are_python_integers() -> None:
    plan = chainad.plan_chain([10**30] * 200 + [1] + [10**30] * 200)
    # A fan around the narrow value: every triangle has it as a corner.
    assert plan.multiplications == 2 * 199 * 10**60 + 10**60
    assert type(plan.multiplications) is int


def test_a_size_of_zero_leaves_nothing_to_multiply() -> None:
    plan = chainad.plan_chain([3] * 40 + [0] + [4] * 40)
    assert plan.multiplications == 0
