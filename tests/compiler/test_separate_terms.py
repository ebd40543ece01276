"""Blocks tied in different ways: separate terms of a sum, added in place where that is needed."""

from collections.abc import Sequence
from itertools import product
from math import prod

import numpy as np
import pytest

import chainad
from chainad.api.targets import NUMPY
from chainad.backends.namespace import Namespace
from chainad.backends.numpy.buffers import source_with_buffers
from chainad.backends.numpy.build import observe
from chainad.backends.numpy.emit import emit_into
from chainad.compiler.lower import lower
from chainad.ir.array_functions import add_tied
from chainad.ir.ops import AddAt, AddTied, MatMul, Reshape, SegmentSum, SparseDot, Take, Transpose
from chainad.ir.peephole import ties_of
from chainad.ir.positions import as_array, lattice
from chainad.ir.program import Program, prune
from chainad.ir.program_builder import ProgramBuilder
from chainad.planning.linear_graph import Edge, LinearGraph, may_keep_separate_terms
from chainad.planning.plan import follow
from chainad.structure import add, keep_separate
from chainad.structure.constructors import arrange
from chainad.structure.structure import Axis, Structure
from chainad.testing import apply_op, path_sum, run_program

RNG = np.random.default_rng(0)


def block(rows: Sequence[int], cols: Sequence[int], sizes: dict[int, int]) -> Structure:
    """Return the structure that keeps all labels, one on each axis."""
    axes = [[Axis(sizes[x], (x,)) for x in side] for side in (rows, cols)]
    return arrange(axes[0], axes[1], sizes, sorted({*rows, *cols})).structure


SCORES = {0: 2, 1: 6, 2: 6, 3: 5}  # heads, queries, keys, features
BY_QUERY = block((0, 1, 2), (1, 3), SCORES)
BY_KEY = block((0, 1, 2), (2, 3), SCORES)


# --------------------------------------------------------------------- algebra


def test_blocks_tied_in_different_ways_are_separate_terms() -> None:
    assert keep_separate(BY_QUERY, BY_KEY)
    assert add(BY_QUERY, BY_KEY).structure.has_positions  # what would be the alternative


def test_equally_tied_blocks_and_those_within_a_dense_one_are_added() -> None:
    assert not keep_separate(BY_QUERY, BY_QUERY)
    whole = block((0, 1, 2), (4, 3), {**SCORES, 4: 6})
    assert not keep_separate(BY_QUERY, whole)


def test_few_entries_are_added_up() -> None:
    few = {0: 1, 1: 2, 2: 2, 3: 2}
    assert not keep_separate(block((1, 2), (1, 3), few), block((1, 2), (2, 3), few))


def two_ways() -> LinearGraph:
    """Return a graph whose only inner vertex is reached in two ways, tied differently."""
    head = block((0, 4), (0, 1, 2), {0: 2, 1: 6, 2: 6, 4: 3})
    edges = (Edge(0, 1, BY_QUERY), Edge(0, 1, BY_KEY), Edge(1, 2, head))
    return LinearGraph((BY_QUERY.col_shape, (2, 6, 6), (2, 3)), (0,), (2,), edges)


def test_separate_terms_need_no_positions() -> None:
    plan = follow(two_ways(), (1,))
    assert not any(structure.has_positions for structure in plan.structures)


def test_optimality_is_not_claimed_with_separate_terms() -> None:
    assert may_keep_separate_terms(two_ways())
    dense = block((0,), (1,), {0: 30, 1: 30})
    assert not may_keep_separate_terms(
        LinearGraph(((30,),) * 3, (0,), (2,), (Edge(0, 1, dense),) * 2)
    )


# ----------------------------------------------------------------------- ties


@pytest.mark.parametrize("grid", [(3, 3), (2, 3, 3), (3, 2, 3), (3, 3, 3), (2, 2, 3, 3)])
def test_ties_are_found_wherever_axes_advance_together(grid: tuple[int, ...]) -> None:
    strides = [prod(grid[k + 1 :]) for k in range(len(grid))]
    for ties in product(range(len(grid)), repeat=len(grid)):
        sizes = dict(zip(ties, grid, strict=True))
        if any(sizes[tie] != size for tie, size in zip(ties, grid, strict=True)):
            continue
        steps = dict.fromkeys(sorted(sizes), 0)
        for tie, stride in zip(ties, strides, strict=True):
            steps[tie] += stride
        where = lattice(0, list(steps.values()), [sizes[tie] for tie in steps])
        found = ties_of(where, grid)
        if found is None:
            continue  # two walks make one progression, or the same places are walked twice
        x, y = np.zeros(grid), np.arange(1.0, 1 + prod(found[0])).reshape(found[0])
        want = np.zeros(prod(grid))
        want[as_array(where)] = y.ravel()
        assert np.array_equal(add_tied(x, grid, found[1], y).ravel(), want)


def test_a_diagonal_is_tied_to_both_axes() -> None:
    assert ties_of(range(0, 16, 5), (4, 4)) == ((4,), (0, 0))
    assert ties_of(range(0, 27, 13), (3, 3, 3)) == ((3,), (0, 0, 0))
    assert ties_of(range(1, 16, 5), (4, 4)) is None  # beside the diagonal
    assert ties_of(range(0, 8, 5), (4, 4)) is None  # a part of it


CASES = [
    ((3, 3), (3, 3), (0, 0), (3,)),
    ((3, 12), (3, 4, 3), (1, 0, 1), (4, 3)),
    ((3, 4, 3), (3, 4, 3), (0, 1, 0), (1, 4)),
    ((18,), (3, 2, 3), (1, 0, 1), (2, 1)),
]


@pytest.mark.parametrize(("own", "shape", "ties", "other"), CASES)
def test_adding_along_ties_is_right_fresh_traced_and_in_place(
    own: tuple[int, ...], shape: tuple[int, ...], ties: tuple[int, ...], other: tuple[int, ...]
) -> None:
    x, y = RNG.normal(size=own), RNG.normal(size=other)
    op = AddTied(shape, ties)
    want = apply_op(op, x, y)
    assert np.array_equal(add_tied(x, shape, ties, y), want)
    names = Namespace()
    to = x.copy()
    text = "\n".join(emit_into(op, ("to", "y"), "to", (own, other), True, names))
    exec(text, {**names.objects, "to": to, "y": y})
    assert np.array_equal(to, want)
    by_x, by_y = chainad.jacobian(lambda a, b: add_tied(a, shape, ties, b), argnums=(0, 1))(x, y)
    assert np.array_equal(by_x.reshape(x.size, x.size), np.eye(x.size))
    ones = add_tied(np.zeros(own), shape, ties, np.ones(other))
    assert by_y.sum() == ones.sum()


# ------------------------------------------------------------------- lowering


def test_a_diagonal_is_added_in_place_and_nothing_is_transposed() -> None:
    builder = ProgramBuilder(3)
    builder.shapes |= {0: (4, 5, 6), 1: (4, 6, 20), 2: (4, 5, 5)}
    whole = builder.emit(MatMul(), 0, 1)
    split = builder.emit(Reshape((4, 5, 4, 5)), whole)
    turned = builder.emit(Transpose((1, 3, 0, 2)), split)
    merged = builder.emit(Reshape((5, 5, 16)), turned)
    small = builder.emit(Transpose((1, 2, 0)), 2)
    added = builder.emit(AddAt(2, range(0, 20, 5)), merged, small)
    back = builder.emit(Transpose((2, 0, 3, 1)), builder.emit(Reshape((5, 5, 4, 4)), added))
    result = builder.emit(Reshape((20, 20)), back)
    program = prune(Program(3, tuple(builder.instructions), (result,)))
    assert [type(i.op) for i in program.instructions] == [
        MatMul,
        Transpose,
        AddTied,
        Reshape,
    ]
    slots = [RNG.normal(size=shape) for shape in ((4, 5, 6), (4, 6, 20), (4, 5, 5))]
    seen, (found,) = observe(program, slots)
    want = (slots[0] @ slots[1]).reshape(4, 5, 4, 5)
    for k in range(4):
        want[k, :, k, :] += slots[2][k]
    np.testing.assert_allclose(found, want.reshape(20, 20), rtol=1e-14)
    # In the memory of the result, from the product on.
    text = source_with_buffers(program, seen, ["a", "b", "c"], Namespace())
    assert not text.allocation.sizes
    assert not any("copy" in line for line in text.lines)


def attention(x: np.ndarray) -> np.ndarray:
    """Return tokens mixed by the softmax of their own scores."""
    scores = np.exp(x @ WEIGHTS @ x.T)
    return x + (scores / np.sum(scores, axis=1, keepdims=True)) @ x


WEIGHTS = RNG.normal(size=(4, 4)) / 4


@pytest.mark.parametrize("mode", ["auto", "forward", "reverse"])
def test_attention_gathers_nothing_and_is_right(mode: str) -> None:
    x = RNG.normal(size=(12, 4))
    plan = chainad.plan(attention, x, mode=mode)
    assert not any(structure.has_positions for structure in plan.structures)
    program = lower(plan, [() for _ in plan.graph.edges], passes=NUMPY.passes).program
    gathering = (Take, SegmentSum, SparseDot)
    assert not any(isinstance(i.op, gathering) for i in program.instructions)
    h = 1e-6
    want = np.empty((12, 4, 12, 4))
    for at in np.ndindex(x.shape):
        step = np.zeros(x.shape)
        step[at] = h
        want[..., *at] = (attention(x + step) - attention(x - step)) / (2 * h)
    found = chainad.jacobian(attention, mode=mode)(x)
    np.testing.assert_allclose(found, want, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(
        chainad.compile(chainad.jacobian(attention), x)(x), found, rtol=1e-12, atol=1e-14
    )


def test_a_plan_with_separate_terms_is_the_sum_over_paths() -> None:
    graph = two_ways()
    numbers = [RNG.normal(size=edge.structure.stored_shape) for edge in graph.edges]
    program = lower(follow(graph, (1,)), [() for _ in graph.edges], passes=NUMPY.passes).program
    (want,) = path_sum(graph, numbers)
    np.testing.assert_allclose(run_program(program, numbers)[0], want, rtol=1e-12, atol=1e-12)
