"""Structures: normal form, equality, entries, kinds and printed text."""

import pickle
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainad.ir.positions import positions
from chainad.structure import arrange, dense, diagonal, identity
from chainad.structure.structure import Axis, Structure
from chainad.testing import (
    LOCAL_KINDS,
    RandomJacobian,
    random_jacobian,
    random_local,
    random_shape,
    random_structure,
    to_array,
)

SIZES = (0, 1, 2, 3, 4, 6, 6)
randoms = st.randoms(use_true_random=False)


def any_sample(rng: Random) -> RandomJacobian:
    if rng.random() < 0.3:
        return random_local(rng, random_shape(rng, 3))
    return random_structure(rng, random_shape(rng, sizes=SIZES), random_shape(rng, sizes=SIZES))


def rebuilt(structure: Structure, **changes: object) -> Structure:
    """Return the structure as `arrange` makes it from its own axes."""
    s = replace(structure, **changes)
    return arrange(s.rows, s.cols, dict(enumerate(s.sizes)), s.stored, s.scale).structure


@given(randoms)
def test_structure_and_stored_array_determine_the_jacobian(rng: Random) -> None:
    structure, entries, full = any_sample(rng)
    np.testing.assert_array_equal(to_array(structure, entries), full)


@given(randoms)
def test_kept_array_has_the_stored_shape(rng: Random) -> None:
    structure, entries, _ = any_sample(rng)
    assert (entries is None) == (structure.scale is not None)
    if entries is not None:
        assert entries.shape == structure.stored_shape
        assert entries.size == structure.count
    else:
        assert structure.count == 0


@given(randoms)
def test_no_entry_is_stored_twice(rng: Random) -> None:
    structure, _, full = any_sample(rng)
    rows, cols = structure.entries()
    places = set(zip(rows.tolist(), cols.tolist(), strict=True))
    assert len(places) == rows.size == structure.nonzeros <= full.size


@given(randoms)
def test_entries_are_the_pattern_of_a_jacobian_of_ones(rng: Random) -> None:
    structure, _, full = any_sample(rng)
    pattern = np.zeros(structure.matrix_shape, bool)
    pattern[structure.entries()] = True
    assert not np.any(full.reshape(structure.matrix_shape)[~pattern])


@given(randoms)
def test_normal_form_of_a_normal_form_is_itself(rng: Random) -> None:
    structure = any_sample(rng).structure
    s = structure
    again = arrange(s.rows, s.cols, dict(enumerate(s.sizes)), s.stored, s.scale)
    assert again.structure == structure
    assert again.ops == ()


@given(randoms)
def test_equal_structures_are_one_object(rng: Random) -> None:
    structure = any_sample(rng).structure
    assert rebuilt(structure) is structure


@given(randoms)
def test_names_of_labels_do_not_matter(rng: Random) -> None:
    structure = any_sample(rng).structure
    n = len(structure.sizes)
    name = rng.sample(range(n), n)

    def renamed(axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
        return tuple(Axis(a.size, tuple(name[x] for x in a.labels), a.positions) for a in axes)

    sizes = {name[x]: size for x, size in enumerate(structure.sizes)}
    stored = rng.sample([name[x] for x in structure.stored], len(structure.stored))
    rows, cols = renamed(structure.rows), renamed(structure.cols)
    other = arrange(rows, cols, sizes, stored, structure.scale).structure
    assert other == structure
    assert hash(other) == hash(structure)
    assert str(other) == str(structure)


def test_structures_that_are_built_separately_are_one_object() -> None:
    one = dense((2, 3), (4,))
    two = Structure(one.rows, one.cols, one.stored, one.sizes, one.scale)
    assert one is two
    assert pickle.loads(pickle.dumps(one)) is one
    assert len({one, two, diagonal((2,)), diagonal((3,))}) == 3


def test_order_in_which_positions_are_visited_does_not_matter() -> None:
    rng = Random(0)
    forth, back = Axis(5, (0,), positions([4, 0, 3])), Axis(5, (0,), positions([3, 4, 0]))
    one = random_jacobian(rng, [forth], [forth], {0: 3}, [0])
    two = random_jacobian(rng, [back], [back], {0: 3}, [0])
    assert one.structure == two.structure
    np.testing.assert_array_equal(to_array(one.structure, one.entries), one.dense)
    np.testing.assert_array_equal(to_array(two.structure, two.entries), two.dense)


def test_size_one_axes_have_no_label() -> None:
    axis = Axis(1, (0,))
    structure = arrange([axis, Axis(3, (1,))], [Axis(3, (1,))], {0: 1, 1: 3}, [0, 1]).structure
    assert str(structure) == "block diagonal [1 i | i] stored i"
    assert structure.stored_shape == (3,)


def test_positions_that_visit_every_place_in_order_are_not_kept() -> None:
    axis = Axis(4, (0,), range(4))
    assert arrange([axis], [axis], {0: 4}, [0]).structure == diagonal((4,))


def test_adjacent_labels_are_one() -> None:
    assert len(diagonal((6,)).sizes) == 1
    axis = Axis(6, (0, 1))
    assert arrange([axis], [axis], {0: 2, 1: 3}, [1, 0]).structure == diagonal((6,))


def test_entries_that_coincide_are_added_up() -> None:
    axis = Axis(3, (0,), positions([2, 0, 2, 2]))
    structure, entries, full = random_jacobian(Random(0), [axis], [axis], {0: 4}, [0])
    assert structure.nonzeros == 2
    np.testing.assert_array_equal(to_array(structure, entries), full)


def test_repeated_ones_are_stored_only_if_they_are_unequal() -> None:
    even = Axis(3, (0,), positions([2, 0, 2, 0]))
    odd = Axis(3, (0,), positions([2, 0, 2, 2]))
    assert arrange([even], [even], {0: 4}, scale=1).structure.scale == 2
    assert arrange([odd], [odd], {0: 4}, scale=1).structure.scale is None


i, j, k, b = 0, 1, 2, 3
LABELS = {i: 2, j: 3, k: 4, b: 5}


def axes(*labels: int) -> list[Axis]:
    return [Axis(LABELS[x], (x,)) for x in labels]


PRINTED = [
    (axes(i), axes(j), [i, j], None, "dense [i | j] stored i j"),
    (axes(i), axes(i), [i], None, "diagonal [i | i] stored i"),
    (axes(i), axes(i), [], 1.0, "identity [i | i] stored -"),
    (axes(i), axes(i), [], -1.0, "-identity [i | i] stored -"),
    (axes(i), axes(i), [], 0.0, "zero [i | i] stored -"),
    (axes(i, k), axes(j, k), [i, j], None, "kronecker [i j | k j] stored i k"),
    (axes(b, i), axes(b, j), [b, i, j], None, "block diagonal [i j | i k] stored i j k"),
    (axes(i), axes(i, j), [], 1.0, "sum [i | i j] stored -"),
    (axes(i, j), axes(j), [], 1.0, "broadcast [i j | j] stored -"),
    (axes(j, i), axes(i, j), [], 1.0, "rearrangement [i j | j i] stored -"),
    ([Axis(6, (i, j))], axes(i, j), [], 1.0, "rearrangement [(ij) | i j] stored -"),
    (axes(i), axes(j), [i], None, "low rank [i | j] stored i"),
    (axes(i), [Axis(7, (i,), range(3, 5))], [], 1.0, "selection [i | i@3:5] stored -"),
    (axes(i), [Axis(7, (i,), range(1, 5, 2))], [i], None, "pattern [i | i@1:5:2] stored i"),
    (axes(j), [Axis(7, (j,), positions([0, 5, 6]))], [], 1.0, "selection [i | i@index] stored -"),
    ([], [], [], 1.0, "identity [. | .] stored -"),
]


@pytest.mark.parametrize(("rows", "cols", "stored", "scale", "text"), PRINTED)
def test_structure_says_what_it_is(
    rows: list[Axis], cols: list[Axis], stored: list[int], scale: float | None, text: str
) -> None:
    used = list(dict.fromkeys(x for axis in (*rows, *cols) for x in axis.labels))
    number = {x: n for n, x in enumerate(used)}
    sizes = {number[x]: LABELS[x] for x in used}

    def numbered(given: list[Axis]) -> list[Axis]:
        return [Axis(a.size, tuple(number[x] for x in a.labels), a.positions) for a in given]

    made = arrange(numbered(rows), numbered(cols), sizes, [number[x] for x in stored], scale)
    assert str(made.structure) == text


@given(randoms)
def test_identity_is_recognised_exactly(rng: Random) -> None:
    structure, _, full = any_sample(rng)
    rows, cols = structure.matrix_shape
    same_shape = structure.row_shape == structure.col_shape
    equals = same_shape and (
        np.array_equal(full.reshape(rows, cols), np.eye(rows))
        or np.array_equal(full.reshape(rows, cols), -np.eye(rows))
    )
    if structure.is_identity:
        assert equals
    elif structure.is_unit and structure.nonzeros:
        assert not equals


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3), (0, 2)])
def test_plain_structures_are_what_they_are_called(shape: tuple[int, ...]) -> None:
    n = int(np.prod(shape))
    eye = np.eye(n).reshape(shape + shape)
    np.testing.assert_array_equal(to_array(identity(shape), None), eye)
    ones = np.ones(diagonal(shape).stored_shape)
    np.testing.assert_array_equal(to_array(diagonal(shape), ones), eye)
    entries = np.arange(4.0 * n).reshape(dense((4,), shape).stored_shape)
    full = np.arange(4.0 * n).reshape((4, *shape))
    np.testing.assert_array_equal(to_array(dense((4,), shape), entries), full)


@pytest.mark.parametrize("kind", sorted(LOCAL_KINDS))
def test_typical_kinds_are_sampled_correctly(kind: str) -> None:
    for seed in range(30):
        rng = Random(seed)
        structure, entries, full = random_local(rng, random_shape(rng, 3), [kind])
        np.testing.assert_array_equal(to_array(structure, entries), full)
