"""What op classes say of themselves, against the op done in the plainest way."""

from dataclasses import is_dataclass

import numpy as np
import pytest

from chainad.backends.numpy.emit import EMIT
from chainad.ir import ops
from chainad.ir.calls import Call
from chainad.ir.fused_loops import Empty, QuietCall, RunLoops
from chainad.ir.memory_layouts import row_major
from chainad.ir.op import Op
from chainad.ir.operation_counts import OperationCounts
from chainad.ir.positions import positions
from chainad.ir.shapes import Shape
from chainad.testing import apply_op

GATHER = positions([2, 0, 3])
# An example of every op, with the shapes of its operands.
EXAMPLES: list[tuple[Op, tuple[Shape, ...]]] = [
    (ops.Full(2.0), ()),
    (ops.Reshape((5, 8)), ((5, 4, 2),)),
    (ops.Reshape((5, -1)), ((5, 4, 2),)),
    (ops.Transpose((0, 2, 1)), ((5, 4, 2),)),
    (ops.Broadcast((5, 3, 2)), ((5, 1, 2),)),
    (ops.Row(1), ((5, 4),)),
    (ops.Copy(), ((5, 4),)),
    (ops.Take(1, range(1, 3)), ((5, 4),)),
    (ops.Take(1, GATHER), ((5, 4),)),
    (ops.Place(1, range(1, 4), 6), ((5, 3),)),
    (ops.Place(1, GATHER, 6), ((5, 3),)),
    (ops.Scatter((range(2), GATHER), 6, False), ((2,), (3,))),
    (ops.Scatter((range(2), range(2, 5)), 5, True, ((1, -1), (1,))), ((2,), (2,), (3,))),
    (ops.Concatenate(), ((5, 4), (2, 4))),
    (ops.Add(), ((5, 4), (5, 1))),
    (ops.Subtract(), ((5, 4), (5, 4))),
    (ops.Multiply(), ((5, 1), (5, 4))),
    (ops.Scale(3.0), ((5, 4),)),
    (ops.Sum((1,)), ((5, 4),)),
    (ops.SegmentSum(1, positions([0, 1, 1, 0]), 2), ((5, 4),)),
    (ops.AddAt(1, GATHER), ((5, 4), (5, 3))),
    (ops.AddTied((5, 4, 4), (0, 1, 1)), ((5, 16), (5, 4))),
    (ops.MatMul(), ((5, 4), (4, 3))),
    (ops.MatMul(), ((5, 2, 4), (4,))),
    (ops.SymmetricMatMul(2), ((5, 4), (4, 5))),
    (ops.PairMatMul(), ((5, 3, 2), (3, 2, 2))),
    (ops.SumOfSquares(), ((5, 4), (3,))),
    (ops.Dot(), ((5, 4), (5, 4))),
    (ops.Ones(), ((5, 4),)),
    (ops.NonZero(), ((5, 4),)),
    (ops.Masked(), ((5, 1), (5, 4))),
    (ops.MaskedMatMul(), ((5, 4), (4, 3), (5, 4), (4, 3))),
    (ops.AnyAlong(-2), ((5, 4, 2), (5, 3, 2))),
    (ops.SparseDot(positions([0, 1, 1, 0]), positions([4, 2, 0, 0]), 2), ((4,), (5, 4))),
]
# Ops of programs whose elementwise operations are fused.
OF_FUSED_LOOPS = {RunLoops, QuietCall, Empty}
# Ops on operators, which have no arrays to try.
ON_OPERATORS = {ops.Materialize, ops.Jvp, ops.Vjp, ops.MaskedJvp, ops.MaskedVjp}

each_op = pytest.mark.parametrize(("op", "shapes"), EXAMPLES, ids=str)


def operands(shapes: tuple[Shape, ...], op: Op | None = None) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    found = [rng.normal(size=shape) for shape in shapes]
    # Only of such factors is it known that the product is symmetric.
    return [found[0], found[0].T.copy()] if isinstance(op, ops.SymmetricMatMul) else found


def test_every_op_has_an_example_and_a_row_of_the_backend() -> None:
    concrete = {x for x in vars(ops).values() if is_dataclass(x) and issubclass(x, Op)}
    assert {type(op) for op, _ in EXAMPLES} | ON_OPERATORS == concrete
    assert concrete == {*EMIT} - {Call} - OF_FUSED_LOOPS


@each_op
def test_shapes_are_those_of_the_results(op: Op, shapes: tuple[Shape, ...]) -> None:
    assert op.infer_shape(shapes) == apply_op(op, *operands(shapes)).shape


@each_op
def test_results_of_unknown_operands_have_the_stated_shape_or_none(
    op: Op, shapes: tuple[Shape, ...]
) -> None:
    found = op.infer_shape([None for _ in shapes])
    assert found in {None, op.infer_shape(shapes)}


@each_op
def test_only_views_share_memory(op: Op, shapes: tuple[Shape, ...]) -> None:
    arrays = operands(shapes)
    assert not any(np.shares_memory(apply_op(op, *arrays), a) for a in arrays if not op.is_view)


@each_op
def test_costs_count_what_is_made(op: Op, shapes: tuple[Shape, ...]) -> None:
    cost = op.cost(*map(row_major, shapes))
    assert (cost == OperationCounts(views=cost.views)) == (op.is_view or isinstance(op, ops.Full))
    if cost.calls:
        assert cost.elements >= apply_op(op, *operands(shapes)).size


@each_op
def test_symmetric_ops_may_exchange_their_operands(op: Op, shapes: tuple[Shape, ...]) -> None:
    if op.is_symmetric:
        one, two = operands(shapes)
        assert np.array_equal(apply_op(op, one, two), apply_op(op, two, one))


@each_op
def test_an_op_on_rows_does_the_same_for_every_row(op: Op, shapes: tuple[Shape, ...]) -> None:
    row = apply_op(op, *operands(shapes)).shape
    on_rows = op.on_rows(7, row)
    if on_rows is None:
        return
    if isinstance(op, ops.MatMul):
        shapes = ((5, 4), (4, 3))
    stacks = operands(tuple((7, *shape) for shape in shapes))
    wanted = np.stack([apply_op(op, *(stack[k] for stack in stacks)) for k in range(7)])
    np.testing.assert_allclose(apply_op(on_rows, *stacks), wanted, rtol=1e-14)


@each_op
def test_an_op_with_rows_last_is_the_op_transposed(op: Op, shapes: tuple[Shape, ...]) -> None:
    rows_last = op.with_rows_last(*shapes)
    if rows_last is None:
        return
    arrays = operands(shapes)
    moved = [np.moveaxis(a, 0, -1) for a in arrays]
    wanted = np.moveaxis(apply_op(op, *arrays), 0, -1)
    assert np.array_equal(apply_op(rows_last, *moved), wanted)


@pytest.mark.parametrize(
    ("op", "shape"),
    [
        (ops.Reshape((10, 4)), (5, 4, 2)),
        (ops.Broadcast((5, 5)), (5,)),
        (ops.Transpose((1, 0)), (5, 5)),
        (ops.Sum((0,)), (5, 5)),
        (ops.Take(0, range(5)), (5, 5)),
    ],
    ids=str,
)
def test_ops_that_mix_rows_have_no_form_with_rows_last(op: Op, shape: Shape) -> None:
    assert op.with_rows_last(shape) is None


def test_equal_values_have_equal_keys() -> None:
    assert ops.Add().value_key((2, 1)) == ops.Add().value_key((1, 2))
    assert ops.Subtract().value_key((2, 1)) != ops.Subtract().value_key((1, 2))
    assert ops.Copy().value_key((1,)) is None
