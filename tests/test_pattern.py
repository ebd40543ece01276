"""Positions and factorisations against lists and loops."""

from itertools import pairwise
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainad.pattern import (
    Index,
    as_array,
    compose,
    is_ascending,
    is_injective,
    join,
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
def test_equal_positions_are_equal_and_hash_alike(one: list[int], two: list[int]) -> None:
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
def test_join_finds_all_pairs_that_meet(left: list[int], right: list[int]) -> None:
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
