"""Structured chains: all products costed at once, against the algebra asked one by one."""

from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainad.ir.positions import positions
from chainad.planning.auto import make_plan
from chainad.planning.chain.chain import _narrow_cuts, bracketing_order, is_exact
from chainad.planning.chain.interval_dp import (
    bracket_by_algebra,
    bracket_structures,
    can_tabulate,
    segments_of,
)
from chainad.planning.linear_graph import Edge, LinearGraph
from chainad.structure import arrange, dense, diagonal, identity, multiply
from chainad.structure.structure import Action, Axis, Structure
from chainad.testing import LOCAL_KINDS, random_chain

randoms = st.randoms(use_true_random=False)
NO_POSITIONS = [kind for kind in LOCAL_KINDS if kind not in ("slice", "gather", "pad")]


def chain_of(structures: list[Structure]) -> LinearGraph:
    shapes = (structures[0].col_shape, *(s.row_shape for s in structures))
    edges = tuple(Edge(k, k + 1, s) for k, s in enumerate(structures))
    return LinearGraph(shapes, (0,), (len(edges),), edges)


def some_factors(rng: Random, count: int, operators: float) -> list[Structure]:
    """Return a chain of many kinds, or one of dense and diagonal matrices, with operators."""
    if rng.random() < 0.5:
        graph, _ = random_chain(rng, count, NO_POSITIONS)
        factors = [edge.structure for edge in graph.edges]
    else:
        sizes = [rng.randint(1, rng.choice([3, 9, 30])) for _ in range(count + 1)]
        factors = []
        for n, m in pairwise(sizes):
            factors += [dense((m,), (n,))] + [diagonal((m,))] * (rng.random() < 0.3)
    return [as_operator(s, rng) if rng.random() < operators else s for s in factors]


def as_operator(structure: Structure, rng: Random) -> Structure:
    """Return the same Jacobian known by its action only; diagonals stay what they are."""
    if structure.scale is not None or structure.rows == structure.cols or not structure.stored:
        return structure
    costs = (rng.randint(0, 60), rng.randint(0, 60))
    tangent, adjoint = rng.choice([costs, (None, costs[1]), (costs[0], None)])
    action = Action(tangent, adjoint)
    parts = (structure.rows, structure.cols, structure.stored, structure.sizes)
    return Structure(*parts, None, action)


def selecting_factors(rng: Random, count: int) -> list[Structure]:
    """Return a chain of dense, diagonal and banded matrices, slices, pads and permutations."""
    factors: list[Structure] = []
    n = rng.randint(2, 9)
    for _ in range(count):
        kind = rng.choice(["dense", "diagonal", "slice", "pad", "take", "band"])
        k = rng.randint(1, n)
        start = rng.randint(0, n - k)
        some = Axis(n, (0,), range(start, start + k))
        if kind == "dense":
            factors.append(dense((rng.randint(1, 9),), (n,)))
        elif kind == "diagonal":
            factors.append(diagonal((n,)))
        elif kind == "band":
            first = rng.randint(0, n - k)
            rows = Axis(n, (0,), range(first, first + k))
            factors.append(arrange([rows], [some], {0: k}, stored=(0,)).structure)
        elif kind == "pad":
            rows = Axis(n + start + 1, (0,), range(start, start + n))
            factors.append(arrange([rows], [Axis(n, (0,))], {0: n}, scale=1).structure)
        else:
            if kind == "take":
                some = Axis(n, (0,), positions(rng.sample(range(n), k)))
            factors.append(arrange([Axis(k, (0,))], [some], {0: k}, scale=1).structure)
        (n,) = factors[-1].row_shape
    return factors


def agree(factors: list[Structure]) -> bool:
    """Return whether both ways give the same cost, as a whole and for every last product."""
    one, two = bracket_structures(factors), bracket_by_algebra(factors)
    roots = range(len(factors) - 1)
    return one.cost == two.cost and all(one.rooted(k) == two.rooted(k) for k in roots)


@pytest.mark.parametrize("operators", [0.0, 0.5], ids=["arrays", "operators"])
@pytest.mark.parametrize("seed", range(5))
def test_costs_by_labels_are_those_of_the_algebra(seed: int, operators: float) -> None:
    rng = Random(seed)
    tabulated = 0
    for _ in range(40):
        factors = some_factors(rng, rng.randint(1, 8), operators)
        tabulated += can_tabulate(factors)
        assert agree(factors), list(map(str, factors))
    assert tabulated > 20


@pytest.mark.parametrize("seed", range(5))
def test_costs_of_selections_are_those_of_the_algebra(seed: int) -> None:
    rng = Random(seed)
    tabulated = 0
    for _ in range(40):
        if rng.random() < 0.5:
            factors = selecting_factors(rng, rng.randint(1, 8))
        else:
            graph, _ = random_chain(rng, rng.randint(1, 8))
            factors = [edge.structure for edge in graph.edges]
        tabulated += can_tabulate(factors)
        assert agree(factors), list(map(str, factors))
    assert tabulated > 20


def test_a_place_that_is_visited_twice_is_left_to_the_algebra() -> None:
    twice = Axis(3, (0,), positions([0, 0, 2]))
    gather = arrange([Axis(3, (0,))], [twice], {0: 3}, scale=1).structure
    assert not can_tabulate([gather, dense((2,), (3,))])
    # Nothing survives: the first half of what the second half was.
    first, second = (
        arrange([Axis(6, (0,), at)], [Axis(6, (0,), at)], {0: 3}, stored=(0,)).structure
        for at in (range(3), range(3, 6))
    )
    assert not can_tabulate([first, second])
    assert agree([dense((6,), (2,)), first, second, dense((2,), (6,))])


def test_a_long_chain_of_slices_and_pads_is_tabulated() -> None:
    factors = [dense((50,), (3,))]
    for k in range(33):
        cut = arrange([Axis(40, (0,))], [Axis(50, (0,), range(5, 45))], {0: 40}, scale=1)
        pad = arrange([Axis(50, (0,), range(5, 45))], [Axis(40, (0,))], {0: 40}, scale=1)
        middle = diagonal((40,)) if k % 3 else dense((40,), (40,))
        factors += [cut.structure, middle, pad.structure]
    assert can_tabulate(factors)
    order = bracket_structures(factors).order()
    assert sorted(order) == list(range(1, len(factors)))


@given(randoms)
def test_order_in_the_table_has_the_cost_in_the_table(rng: Random) -> None:
    factors = some_factors(rng, rng.randint(1, 7), 0.3)
    if not all(s.is_identity for s in factors):
        plan = make_plan(chain_of(factors), "chain")
        kept = [s for s in factors if not (s.is_identity and s.scale == 1)]
        assert plan.multiplications == bracket_structures(kept).cost


def test_costs_beyond_64_bits_are_exact() -> None:
    for n in (10**15, 10**200):
        factors = [dense((n,), (n,)), diagonal((n,)), dense((n,), (n,)), dense((1,), (n,))]
        assert agree(factors)
        assert bracket_structures(factors).cost == n * n + n + n * n


def test_costs_of_long_vectors_fit_into_64_bits() -> None:
    diagonals = [diagonal((10**7,))] * 300 + [dense((1,), (10**7,))]
    segments = segments_of(diagonals)
    assert segments is not None
    assert segments.dtype is np.int64  # Python integers would take minutes
    assert segments.cost == 300 * 10**7


def test_labels_that_split_are_followed_along_the_chain() -> None:
    # (6,) -> (2, 3) -> (6,) by reshapes, with a product along the inner axis between them.
    split = arrange([Axis(2, (0,)), Axis(3, (1,))], [Axis(6, (0, 1))], {0: 2, 1: 3}, scale=1)
    inner = arrange(
        [Axis(2, (0,)), Axis(3, (1,))],
        [Axis(2, (0,)), Axis(3, (2,))],
        {0: 2, 1: 3, 2: 3},
        stored=(1, 2),
    )
    join = arrange([Axis(6, (0, 1))], [Axis(2, (0,)), Axis(3, (1,))], {0: 2, 1: 3}, scale=1)
    middle = [split.structure, inner.structure, join.structure]
    factors = [dense((6,), (5,)), *middle, dense((6,), (6,)), *middle]
    assert can_tabulate(factors)
    assert agree(factors)


def test_equal_terms_are_added_up_by_one_multiplication() -> None:
    spread = arrange([Axis(3, (0,))], [], {0: 3}, scale=1).structure  # a number, three times
    total = arrange([], [Axis(3, (0,))], {0: 3}, scale=1).structure
    for factors in (
        [dense((), (5,)), spread, total, dense((4,), ())],
        [spread, total, dense((4,), ()), dense((2,), (4,)), diagonal((2,))],
    ):
        assert can_tabulate(factors)
        assert agree(factors)


def test_what_labels_do_not_tell_is_left_to_the_algebra() -> None:
    doubled = arrange([Axis(3, (0,))], [Axis(3, (0,))], {0: 3}, scale=2).structure
    assert not can_tabulate([dense((3,), (3,)), doubled])
    assert agree([dense((3,), (3,)), doubled, dense((2,), (3,))])


def test_an_identity_beside_an_operator_is_free() -> None:
    solve = Structure(*_parts(dense((9,), (9,))), None, Action(81, 81))
    factors = [dense((9,), (2,)), identity((9,)), solve, identity((9,)), dense((5,), (9,))]
    assert make_plan(chain_of(factors)).multiplications == 2 * 81 + 2 * 9 * 5


def test_a_change_of_sign_does_not_materialize_an_operator() -> None:
    minus = arrange([Axis(9, (0,))], [Axis(9, (0,))], {0: 9}, scale=-1).structure
    solve = Structure(*_parts(dense((9,), (9,))), None, Action(81, 81))
    factors = [dense((9,), (2,)), solve, minus, dense((5,), (9,))]
    assert make_plan(chain_of(factors)).multiplications == 2 * 81 + 2 * 9 * 5


def _parts(structure: Structure) -> tuple:
    return structure.rows, structure.cols, structure.stored, structure.sizes


def test_a_long_chain_with_diagonals_is_optimal_by_exchange_of_neighbours() -> None:
    rng = Random(2)
    factors = [dense((30,), (40,))]
    while len(factors) < 130:
        (n,) = factors[-1].row_shape
        factors += [diagonal((n,)), dense((rng.randint(2, 60),), (n,))]
    graph = chain_of(factors)
    assert is_exact(graph)
    plan = make_plan(graph)
    assert plan.optimality == "optimal over all bracketings of this chain"
    for k in range(0, len(plan.order) - 1, 10):
        order = [*plan.order]
        order[k], order[k + 1] = order[k + 1], order[k]
        assert make_plan(graph, tuple(order)).multiplications >= plan.multiplications


@pytest.mark.parametrize("kinds", ["MMM", "DMDMD", "MDMMDM", "DMMMM"])
def test_no_bracketing_costs_less_than_forward_where_all_sizes_are_equal(kinds: str) -> None:
    factors = [{"M": dense((4,), (4,)), "D": diagonal((4,))}[kind] for kind in kinds]
    order = bracketing_order(chain_of(factors))
    assert order == tuple(range(1, len(factors)))
    assert make_plan(chain_of(factors), order).cost == bracket_by_algebra(factors).cost


def test_diagonals_in_a_row_are_multiplied_first() -> None:
    factors = [dense((4,), (4,)), diagonal((4,)), diagonal((4,))]
    plan = make_plan(chain_of(factors))
    assert plan.multiplications == bracket_by_algebra(factors).cost == 4 + 16


def test_very_long_chains_are_cut_where_they_are_narrow() -> None:
    sizes = [9] * 30
    for narrow in (7, 11, 15, 25):
        sizes[narrow] = 2
    assert _narrow_cuts(sizes, 10) == [0, 7, 15, 25, 29]
    assert _narrow_cuts(sizes, 29) == [0, 29]


def test_a_very_long_chain_is_planned_piece_by_piece_and_nothing_is_proved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chainad.planning.chain.chain.MAX_ALGEBRA_FACTORS", 8)
    monkeypatch.setattr("chainad.planning.chain.chain.MAX_TABLE_FACTORS", 8)
    monkeypatch.setattr("chainad.planning.chain.chain.MAX_PIECE_FACTORS", 8)
    factors = [dense((5,), (6,))]
    for k in range(10):
        (n,) = factors[-1].row_shape
        factors += [diagonal((n,)), dense((3 + k % 4,), (n,))]
    graph = chain_of(factors)
    plan = make_plan(graph)
    assert not is_exact(graph)
    assert plan.optimality == ""
    assert sorted(plan.order) == sorted(graph.inner)
    assert plan.multiplications <= min(a.multiplications for a in plan.alternatives)


def test_structures_of_products_are_those_that_labels_foretell() -> None:
    rng = Random(7)
    for _ in range(60):
        factors = some_factors(rng, 6, 0.0)
        product = factors[0]
        for factor in factors[1:]:
            product = multiply(factor, product).structure
        again = factors[-1]
        for factor in factors[-2::-1]:
            again = multiply(again, factor).structure
        assert product == again
