"""What costs in bytes and in time are read off, against the programs that are really run."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainad.compiler.lower import lower
from chainad.ir import ops
from chainad.ir.operation_counts import OperationCounts
from chainad.ir.program import Instruction
from chainad.planning.calibration import SHIPPED_TABLE
from chainad.planning.cost_models import by_bytes, by_time, model_of
from chainad.planning.plan import follow
from chainad.structure import dense, diagonal, identity, multiply
from chainad.structure.step_counts import counts_of_product, counts_of_sum
from chainad.structure.structure import Action, Structure
from chainad.testing import random_chain

randoms = st.randoms(use_true_random=False)
DENSE, TALL, WIDE, DIAGONAL = (
    dense((50,), (50,)),
    dense((50,), (2,)),
    dense((2,), (50,)),
    diagonal((50,)),
)


def instructions_of(rng: Random) -> tuple[list[Instruction], Structure, Structure]:
    """Return what one random product is lowered to."""
    graph, _ = random_chain(rng, 2)
    lowered = lower(follow(graph, (1,)), [(), ()], "structured")
    left, right = graph.edges[1].structure, graph.edges[0].structure
    return list(lowered.program.instructions), left, right


@given(randoms)
def test_kinds_of_operation_are_those_of_the_program(rng: Random) -> None:
    program, left, right = instructions_of(rng)
    counts = counts_of_product(left, right)
    product = multiply(left, right)
    if product.structure.count > left.count + right.count:
        return  # returned as two factors: nothing is multiplied
    has = {type(i.op) for i in program}
    assert (counts.dots > 0) == (ops.MatMul in has)
    assert (counts.entries > 0) == bool(has & {ops.SparseDot, ops.SegmentSum})
    assert (counts.multiplied > 0) >= bool(has & {ops.Multiply, ops.Dot, ops.Scale})
    assert not counts.applied
    assert not has & {ops.Jvp, ops.Vjp}
    gathers = [i for i in program if isinstance(i.op, ops.Take) and not i.op.is_view]
    assert (counts.gathered > 0) >= bool(gathers)


def test_dense_products_are_counted_in_closed_form() -> None:
    assert counts_of_product(TALL, WIDE) == OperationCounts(
        calls=2, views=1, dots=56 * (2 + 2) * 56, items=1, elements=100 + 100 + 2500
    )  # BLAS multiplies in blocks of eight rows and columns
    assert counts_of_product(DENSE, DIAGONAL) == OperationCounts(
        calls=1, loops=50, multiplied=2500, elements=2500 + 50 + 2500
    )
    assert counts_of_product(DIAGONAL, DIAGONAL) == OperationCounts(
        calls=1, loops=1, multiplied=50, elements=150
    )


def test_the_inner_product_of_two_vectors_is_counted_as_a_matrix_product() -> None:
    row, column = dense((), (50,)), dense((50,), ())
    assert counts_of_product(row, column) == OperationCounts(
        calls=2, views=1, dots=50, items=1, elements=50 + 50 + 1
    )


def test_sums_are_counted_in_closed_form() -> None:
    assert counts_of_sum(DENSE, DENSE) == OperationCounts(
        calls=1, loops=1, added=2500, elements=7500
    )


def test_operators_are_counted_by_what_they_are_applied_to() -> None:
    solve = Structure(DENSE.rows, DENSE.cols, DENSE.stored, DENSE.sizes, None, Action(900, 900))
    pushed = counts_of_product(solve, TALL)
    assert pushed.applied == multiply(solve, TALL).multiplications == 2 * 900
    assert counts_of_product(solve, solve).applied > pushed.applied


@pytest.mark.parametrize("name", ["multiplications", "bytes", "time"])
@pytest.mark.parametrize("other", [DENSE, DIAGONAL, dense((50,), (3,)), identity((50,))])
def test_a_product_with_the_identity_is_free(name: str, other: Structure) -> None:
    assert model_of(name).product(multiply(identity((50,)), other)) == 0
    assert model_of(name).product(multiply(other, identity(other.col_shape))) == 0


@pytest.mark.parametrize(
    "name", ["multiplications", "all_multiplications", "bytes", "time", "peak"]
)
def test_costs_never_fall_as_sizes_grow(name: str) -> None:
    model, sizes = model_of(name), (1, 2, 3, 8, 50, 400)
    for small, large in pairwise(sizes):
        for k in range(3):
            less, more = [20, 20, 20], [20, 20, 20]
            less[k], more[k] = small, large

            def cost(m: int, n: int, p: int) -> int:
                return model.product(multiply(dense((m,), (n,)), dense((n,), (p,))))

            assert cost(*less) <= cost(*more)
        assert model.product(multiply(diagonal((small,)), dense((small,), (7,)))) <= model.product(
            multiply(diagonal((large,)), dense((large,), (7,)))
        )


@given(randoms)
def test_bytes_are_in_proportion_to_the_size_of_a_number(rng: Random) -> None:
    graph, _ = random_chain(rng, 4)
    order = rng.sample(graph.inner, 3)
    one, two = (follow(graph, order, model=by_bytes(size)) for size in (4, 8))
    assert 2 * one.cost == two.cost


def test_time_knows_that_scaling_costs_more_than_multiplying_inside_a_matrix_product() -> None:
    model, n = by_time(SHIPPED_TABLE), 400
    inside = model.product(multiply(dense((n,), (n,)), dense((n,), (n,)))) / n**3
    scaling = model.product(multiply(dense((n,), (n,)), diagonal((n,)))) / n**2
    assert 10 < scaling / inside < 30
