"""Layouts of arrays, against what NumPy does with arrays that lie so."""

from random import Random

import numpy as np
import pytest

from chainad.ir import ops
from chainad.ir.memory_layouts import MemoryLayout, loops_of_sum, loops_over, row_major
from chainad.ir.op import Op


def layout_of(array: np.ndarray) -> MemoryLayout:
    return MemoryLayout(array.shape, tuple(step // array.itemsize for step in array.strides))


def some_view(rng: Random) -> np.ndarray:
    """Return an array whose axes are transposed, thinned out or repeated."""
    shape = [rng.choice([1, 2, 3, 4, 6]) for _ in range(rng.randint(1, 4))]
    array = np.empty(shape).transpose(rng.sample(range(len(shape)), len(shape)))
    array = array[::2] if rng.random() < 0.3 else array
    return np.broadcast_to(array, (3, *array.shape)) if rng.random() < 0.3 else array


def another_shape(shape: tuple[int, ...], rng: Random) -> tuple[int, ...]:
    found: list[int] = []
    for part in [p for n in shape for p in {4: (2, 2), 6: (2, 3)}.get(n, (n,))]:
        if found and rng.random() < 0.5:
            found[-1] *= part
        else:
            found.append(part)
    return (*found, 1) if rng.random() < 0.3 else tuple(found)


def steps(layout: MemoryLayout) -> list[tuple[int, int]]:
    return [(n, s) for n, s in zip(layout.shape, layout.strides, strict=True) if n != 1]


def test_a_reshape_copies_where_numpy_copies() -> None:
    rng = Random(0)
    for _ in range(2_000):
        array = some_view(rng)
        shape = another_shape(array.shape, rng)
        reshaped, found = array.reshape(shape), layout_of(array).reshaped(shape)
        assert (found is not None) == np.shares_memory(array, reshaped)
        if found is not None:
            assert steps(found) == steps(layout_of(reshaped))


VIEWS: list[tuple[Op, tuple[int, ...]]] = [
    (ops.Transpose((2, 0, 1)), (2, 3, 4)),
    (ops.Broadcast((5, 2, 3)), (2, 1)),
    (ops.Row(1), (2, 3)),
    (ops.Take(1, range(0, 6, 2)), (2, 6)),
]


@pytest.mark.parametrize(("op", "shape"), VIEWS)
def test_a_view_lies_as_numpys_does(op: Op, shape: tuple[int, ...]) -> None:
    array = np.empty(shape)
    views = {
        ops.Transpose: lambda: array.transpose(2, 0, 1),
        ops.Broadcast: lambda: np.broadcast_to(array, (5, 2, 3)),
        ops.Row: lambda: array[1],
        ops.Take: lambda: array[:, 0:6:2],
    }
    assert steps(op.layout(row_major(shape))) == steps(layout_of(views[type(op)]()))


def test_loops_run_as_far_as_all_operands_lie_evenly() -> None:
    whole, column, row = row_major((50, 8)), row_major((50, 1)), row_major((8,))
    assert loops_over((50, 8), whole, whole) == (1, 0)
    assert loops_over((50, 8), whole, column) == loops_over((50, 8), whole, row) == (50, 0)
    across = row_major((8, 50)).transposed((1, 0))
    assert loops_over((50, 8), whole, across) == (50, 400)
    assert loops_over((), row_major(())) == (1, 0)


def test_sums_walk_along_memory() -> None:
    whole = row_major((50, 8))
    assert loops_of_sum(whole, (0, 1)) == (1, 0)
    assert loops_of_sum(whole, (0,)) == loops_of_sum(whole, (1,)) == (50, 0)
    assert loops_of_sum(whole.transposed((1, 0)), (0,)) == (50, 0)


def test_a_reshape_of_what_was_transposed_costs_a_copy() -> None:
    turned = row_major((40, 50)).transposed((1, 0))
    view, copy = (ops.Reshape((2000,)).cost(each) for each in (row_major((40, 50)), turned))
    assert (view.views, view.elements) == (1, 0)
    assert (copy.moved, copy.strided, copy.elements) == (2000, 2000, 4000)
