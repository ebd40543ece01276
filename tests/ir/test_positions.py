"""Positions and factorisations against lists and loops."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainad.ir.positions import (
    Box,
    Index,
    Lattice,
    as_array,
    as_box,
    compose,
    is_ascending,
    is_injective,
    join,
    lattice,
    numbered,
    positions,
    refine,
)

N = 12
progressions = st.builds(
    lambda start, step, count: [start + step * k for k in range(count)],
    st.integers(0, 30),
    st.integers(1, 3),
    st.integers(0, 8),
)
places = st.lists(st.integers(0, N - 1), max_size=8)
vectors = st.one_of(progressions, progressions.map(lambda p: p[::-1]), places)
factorisations = st.lists(st.sampled_from([2, 2, 3, 4, 5, 6]), max_size=4)


@given(vectors)
def test_positions_keep_their_values(values: list[int]) -> None:
    where = positions(values)
    assert as_array(where).tolist() == values
    assert as_array(where).dtype == np.int64
    assert len(where) == len(values)


@given(vectors)
def test_positions_are_a_range_exactly_if_they_are_a_progression(values: list[int]) -> None:
    gaps = {b - a for a, b in pairwise(values)}
    is_progression = len(gaps) == 0 or (len(gaps) == 1 and gaps != {0})
    assert isinstance(positions(values), range) == is_progression


@given(vectors, vectors)
def test_equal_positions_have_equal_hashes(one: list[int], two: list[int]) -> None:
    assert (positions(one) == positions(two)) == (one == two)
    assert positions(one) == positions(np.array(one, np.int64))
    assert hash(positions(one)) == hash(positions(np.array(one, np.int64)))


def test_an_index_cannot_be_changed() -> None:
    index = positions([0, 0, 1])
    assert isinstance(index, Index)
    with pytest.raises(ValueError, match="read-only"):
        index.values[0] = 7


def test_an_index_does_not_follow_the_array_it_is_made_from() -> None:
    values = np.array([0, 0, 1])
    index = positions(values)
    values[0] = 9
    assert as_array(index).tolist() == [0, 0, 1]


@given(st.data())
def test_compose_looks_up_one_in_the_other(data: st.DataObject) -> None:
    outer = data.draw(vectors.filter(len))
    at = st.integers(0, len(outer) - 1)
    inner = data.draw(st.one_of(st.lists(at, max_size=8), st.just(list(range(len(outer)))[::-1])))
    found = compose(positions(outer), positions(inner))
    assert found == positions([outer[k] for k in inner])


@given(vectors)
def test_injective_and_ascending_are_what_they_say(values: list[int]) -> None:
    where = positions(values)
    assert is_injective(where) == (len(set(values)) == len(values))
    assert is_ascending(where) == (sorted(set(values)) == values)


@given(places, places)
def test_join_finds_all_matching_pairs(left: list[int], right: list[int]) -> None:
    at_left, at_right = join(positions(left), positions(right), N)
    found = list(zip(as_array(at_left).tolist(), as_array(at_right).tolist(), strict=True))
    wanted = [(i, j) for i, p in enumerate(left) for j, q in enumerate(right) if p == q]
    assert sorted(found) == wanted
    assert [i for i, _ in found] == [i for i, _ in wanted]


@given(factorisations, factorisations)
def test_refine_is_the_coarsest_common_refinement(left: list[int], right: list[int]) -> None:
    if prod(left) != prod(right):
        right = [prod(left)] if prod(left) > 1 else []
    found = refine(left, right)
    cuts = [{prod(sizes[k:]) for k in range(len(sizes) + 1)} for sizes in (left, right)]
    union = sorted(cuts[0] | cuts[1], reverse=True)
    wanted = [big / small for big, small in pairwise(union)]
    if all(part == int(part) for part in wanted):
        assert found == wanted
    else:
        assert found is None


REFINEMENTS = [
    ((6,), (2, 3), [2, 3]),
    ((2, 3), (3, 2), None),
    ((4, 6), (2, 12), [2, 2, 6]),
    ((), (), []),
    ((5,), (5,), [5]),
    ((0, 3), (0, 3), [0, 3]),
    ((0,), (3, 0), None),
]


@pytest.mark.parametrize(("left", "right", "parts"), REFINEMENTS)
def test_known_refinements(
    left: tuple[int, ...], right: tuple[int, ...], parts: list[int] | None
) -> None:
    assert refine(left, right) == parts


# ------------------------------------------------------------ boxes of grids

GRIDS = [(12,), (3, 4), (4, 3), (2, 3, 4), (5, 1, 3), (6, 6)]


@st.composite
def boxes(draw: st.DrawFn) -> tuple[tuple[int, ...], list[int]]:
    """Draw a grid, and the row-major numbers of a slice of it, strided and reversed."""
    grid = draw(st.sampled_from(GRIDS))
    coordinates = []
    for size in grid:
        first, count = draw(st.integers(0, size - 1)), draw(st.integers(1, size))
        step = draw(st.sampled_from([1, 1, 2, 3, -1, -2]))
        last = [k for k in (first + step * np.arange(count)) if 0 <= k < size]
        coordinates.append(last)
    return grid, np.arange(prod(grid)).reshape(grid)[np.ix_(*coordinates)].ravel().tolist()


def coordinates(values: list[int], grid: Sequence[int]) -> list[list[int]]:
    """Return the distinct coordinates of some places along every axis of a grid."""
    return [list(dict.fromkeys(at.tolist())) for at in np.unravel_index(values, grid)]


def regular(values: list[int], grid: Sequence[int]) -> range | Lattice | None:
    """Spell a box of a grid as a formula, from the coordinates of its places."""
    seen = coordinates(values, grid)
    strides = [prod(grid[k + 1 :]) for k in range(len(grid))]
    steps = [(s[1] - s[0]) * n if len(s) > 1 else n for s, n in zip(seen, strides, strict=True)]
    found = lattice(values[0], steps, [len(s) for s in seen])
    assert not isinstance(found, Index)
    return found


steps_and_sizes = st.lists(
    st.tuples(st.sampled_from([1, 2, 3, 4, 6, 12, -1, -3, 0]), st.integers(0, 4)), max_size=3
)


@given(st.integers(30, 40), steps_and_sizes)
def test_a_lattice_is_its_nested_progressions(start: int, axes: list[tuple[int, int]]) -> None:
    wanted = [start]
    for step, size in axes:
        wanted = [w + step * k for w in wanted for k in range(size)]
    found = lattice(start, [step for step, _ in axes], [size for _, size in axes])
    assert as_array(found).tolist() == wanted
    assert len(found) == len(wanted)
    if isinstance(found, Lattice):
        assert min(found.sizes) > 1
        assert 0 not in found.steps
        assert len(found.steps) > 1
    assert is_injective(found) == (len(set(wanted)) == len(wanted))
    assert is_ascending(found) == (sorted(set(wanted)) == wanted)


def is_box_of(values: list[int], grid: Sequence[int]) -> bool:
    at = np.ix_(*coordinates(values, grid))
    return np.arange(prod(grid)).reshape(grid)[at].ravel().tolist() == values


@given(boxes())
def test_boxes_of_equal_places_have_one_normal_form(
    case: tuple[tuple[int, ...], list[int]],
) -> None:
    grid, values = case
    for other in GRIDS:
        if prod(other) == prod(grid) and is_box_of(values, other):
            steps = [c[1] - c[0] if len(c) > 1 else 1 for c in coordinates(values, other)]
            if all(
                np.all(np.diff(c) == step)
                for c, step in zip(coordinates(values, other), steps, strict=True)
            ):
                assert regular(values, grid) == regular(values, other)


@given(boxes(), st.sampled_from(GRIDS))
def test_as_box_gives_the_coordinates_of_places(
    case: tuple[tuple[int, ...], list[int]], other: tuple[int, ...]
) -> None:
    own, values = case
    for grid in (own, other):
        box = as_box(regular(values, own), grid) if max(values) < prod(grid) else None
        if box is None:
            continue
        assert len(set(box.digits)) == len(box.digits)
        found = []
        for index in np.ndindex(*box.sizes):
            at = list(box.first)
            for k, digit in zip(index, box.digits, strict=True):
                at[digit] = box.along(digit)[k]
            found.append(int(np.ravel_multi_index(at, grid)))  # raises outside the grid
        assert found == values


@given(boxes())
def test_as_box_knows_every_box_that_ascends(case: tuple[tuple[int, ...], list[int]]) -> None:
    grid, values = case
    if sorted(values) == values:
        assert as_box(regular(values, grid), grid) is not None
        backwards = as_box(regular(values[::-1], grid), grid)
        assert backwards is not None
        assert set(backwards.steps) <= {-step for step in as_box(regular(values, grid), grid).steps}


def test_a_progression_that_overflows_one_coordinate_moves_the_next() -> None:
    assert as_box(range(1, 12, 3), (2, 6)) == Box((0, 1), (0, 1), (1, 3), (2, 2))
    assert as_box(range(11, -1, -1), (2, 6)) == Box((1, 5), (0, 1), (-1, -1), (2, 6))
    assert as_box(range(4, 12, 4), (2, 6)) is None
    assert as_box(range(3, 12, 3), (2, 6)) is None
    assert as_box(range(2, 12), (2, 6)) is None
    assert as_box(range(6, 3, -1), (2, 6)) is None


@given(boxes(), st.data())
def test_compose_of_boxes_looks_up_one_in_the_other(
    case: tuple[tuple[int, ...], list[int]], data: st.DataObject
) -> None:
    grid, outer = case
    _, inner = data.draw(boxes())
    inner = [k for k in inner if k < len(outer)]
    found = compose(regular(outer, grid), positions(inner))
    assert as_array(found).tolist() == [outer[k] for k in inner]
    shape = [len(set(at.tolist())) for at in np.unravel_index(outer, grid)]
    part = np.arange(len(outer)).reshape(shape)[tuple(slice(None, None, 2) for _ in shape)].ravel()
    found = compose(regular(outer, grid), regular(part.tolist(), shape))
    assert not isinstance(found, Index)
    assert as_array(found).tolist() == [outer[k] for k in part]


@given(boxes(), st.data())
def test_join_of_boxes_finds_all_matching_pairs(
    case: tuple[tuple[int, ...], list[int]], data: st.DataObject
) -> None:
    grid, left = case
    other, right = data.draw(boxes().filter(lambda c: prod(c[0]) == prod(grid)))
    for one in (regular(left, grid), range(prod(grid)), range(prod(grid) - 1, -1, -1)):
        at_left, at_right = join(one, regular(right, other), prod(grid))
        found = list(zip(as_array(at_left).tolist(), as_array(at_right).tolist(), strict=True))
        f = as_array(one).tolist()
        assert found == [(i, j) for i, p in enumerate(f) for j, q in enumerate(right) if p == q]


def test_boxes_of_one_grid_are_joined_as_formulas() -> None:
    grid = (1000, 1000)
    one = lattice(0, (1000, 1), (1000, 999))  # all columns but the last
    two = lattice(1, (1000, 1), (1000, 999))  # all columns but the first
    at_one, at_two = join(one, two, prod(grid))
    assert at_one == lattice(1, (999, 1), (1000, 998))
    assert at_two == lattice(0, (999, 1), (1000, 998))
    assert compose(one, at_one) == compose(two, at_two) == lattice(1, (1000, 1), (1000, 998))


ranges = st.builds(
    lambda start, step, count: range(start, start + step * count, step),
    st.integers(20, 40),
    st.sampled_from([1, 2, 3, 4, 6, 9, -1, -2, -4, -5]),
    st.integers(0, 9),
)


@given(ranges, ranges)
def test_ranges_are_joined_as_ranges(left: range, right: range) -> None:
    at_left, at_right = join(left, right, 200)
    assert isinstance(at_left, range)
    assert isinstance(at_right, range)
    wanted = [(i, j) for i, p in enumerate(left) for j, q in enumerate(right) if p == q]
    assert list(zip(at_left, at_right, strict=True)) == wanted


def test_progressions_that_touch_visit_a_place_twice() -> None:
    assert not is_injective(Lattice(0, (2, 1), (2, 3)))
    assert not is_ascending(Lattice(0, (2, 1), (2, 3)))
    assert is_injective(Lattice(0, (3, 1), (2, 2)))


def test_nested_progressions_in_step_are_one() -> None:
    assert lattice(0, (3, 1), (2, 3)) == range(6)


@pytest.mark.parametrize("most", [3, 40, 10**9])
@pytest.mark.parametrize("size", [0, 1, 50])
def test_numbered_values_are_those_of_sorting(size: int, most: int) -> None:
    values = np.random.default_rng(0).integers(2, 2 + most, size)
    wanted = np.unique(values, return_index=True, return_inverse=True, return_counts=True)[1:]
    for found, right in zip(numbered(values), wanted, strict=True):
        np.testing.assert_array_equal(found, right)
