"""Strided copies, transposes found in positions, and sums that are written in place."""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from preallocated import Preallocated

from chainad.compiler.assemble import assemble, reassemble
from chainad.ir import ops, strides
from chainad.ir.array_functions import add_at, place, scatter
from chainad.ir.positions import Index, Lattice, as_array, positions
from chainad.ir.program import Instruction, Program, prune
from chainad.ir.program_builder import ProgramBuilder
from chainad.ir.strides import as_transpose, strided_copies, strided_view
from chainad.testing import random_entries, run_program

randoms = st.randoms(use_true_random=False)


def brought(where: object, size: int) -> np.ndarray | None:
    """Bring 1, 2, 3, ... to positions by strided copies."""
    found = strided_copies(where)
    if found is None:
        return None
    out, x = np.zeros(size, int), np.arange(1, len(where) + 1)
    for copy in found:
        target = strided_view(out, copy.sizes, copy.target)
        assert not target.any()
        target[...] = strided_view(x, copy.sizes, copy.source)
    return out


def by_index(where: object, size: int) -> np.ndarray:
    out = np.zeros(size, int)
    out[as_array(where)] = np.arange(1, len(where) + 1)
    return out


@pytest.mark.parametrize(
    "where",
    [range(0), range(3, 900, 2), range(600, 10, -3), Lattice(5, (40, 2), (20, 15))],
    ids=str,
)
def test_regular_positions_are_one_strided_copy(where: object) -> None:
    np.testing.assert_array_equal(brought(where, 1000), by_index(where, 1000))
    assert len(strided_copies(where)) <= 1


@given(randoms)
def test_runs_become_strided_copies(rng: Random) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(strides, "_MIN_ELEMENTS_PER_COPY", 1)
        strided_copies.cache_clear()
        parts, place = [], 0
        for _ in range(rng.randint(1, 4)):
            lengths = [rng.randint(1, 9) for _ in range(rng.randint(1, 3))]
            step, gaps = rng.choice([1, 2, 5]), [rng.randint(1, 9) for _ in lengths]
            for _ in range(rng.randint(1, 12)):
                for length, gap in zip(lengths, gaps, strict=True):
                    parts.append(place + step * np.arange(length))
                    place = int(parts[-1][-1]) + gap
        where = positions(np.concatenate(parts))
        found = brought(where, place + 1)
        strided_copies.cache_clear()
    assert found is None or np.array_equal(found, by_index(where, place + 1))


def test_the_diagonals_of_a_periodic_stencil_are_few_strided_copies() -> None:
    n, width = 40, 6
    place = np.arange(n * n).reshape(n, n) * width + 3
    place[:, 0] += 1  # on the first and the last column another diagonal comes before
    place[:, -1] -= 1
    place[0] += 2
    where = positions(place.ravel())
    assert isinstance(where, Index)
    assert len(strided_copies(where)) <= 6
    np.testing.assert_array_equal(
        brought(where, width * n * n + 9), by_index(where, width * n * n + 9)
    )


def test_positions_in_no_order_are_no_strided_copies() -> None:
    assert strided_copies(positions(np.random.default_rng(0).permutation(5000))) is None


# ------------------------------------------------------------- sums in place


@given(randoms)
def test_signed_terms_are_added_where_they_belong(rng: Random) -> None:
    size = rng.randint(1, 9)
    regions, signs, vectors = [], [], []
    want = np.zeros(size)
    for _ in range(rng.randint(1, 3)):
        where = positions(rng.sample(range(size), rng.randint(0, size)))
        own = tuple(rng.choice([1, -1]) for _ in range(rng.randint(1, 3)))
        for sign in own:
            x = random_entries(rng, rng.choice([(len(where),), ()]))
            want[as_array(where)] += sign * x
            vectors.append(x)
        regions.append(where)
        signs.append(own)
    found = scatter(tuple(regions), size, False, tuple(signs), *vectors)
    np.testing.assert_array_equal(found, want)


def random_sum(rng: Random, w: ProgramBuilder, length: int, depth: int) -> int:
    """Write a vector that is a sum of pieces."""
    kind = rng.randrange(8) if depth else 6
    if kind < 2:
        parts = [random_sum(rng, w, length, depth - 1) for _ in range(2)]
        return w.emit(rng.choice([ops.Add(), ops.Subtract()]), *parts)
    if kind == 2:
        where = positions(sorted(rng.sample(range(length), rng.randint(1, length))))
        small = random_sum(rng, w, len(where), depth - 1)
        return w.emit(ops.AddAt(0, where), random_sum(rng, w, length, depth - 1), small)
    if kind == 3:
        count = rng.randint(1, length)
        where = positions(sorted(rng.sample(range(length), count)))
        return w.emit(ops.Place(0, where, length), random_sum(rng, w, count, depth - 1))
    if kind == 4:
        return w.emit(ops.Scale(-1), random_sum(rng, w, length, depth - 1))
    if kind == 5:
        number = rng.choice([k for k, shape in w.shapes.items() if shape == ()])
        return w.emit(ops.Broadcast((length,)), w.emit(ops.Reshape((1,)), number))
    if kind == 7 and length < LONGEST:
        first = rng.randint(0, LONGEST - length)
        whole = random_sum(rng, w, LONGEST, depth - 1)
        return w.emit(ops.Take(0, range(first, first + length)), whole)
    fitting = [k for k, shape in w.shapes.items() if shape == (length,)]
    return rng.choice(fitting)


LONGEST = 8


@given(randoms)
def test_assembled_sums_are_those_of_the_instructions(rng: Random) -> None:
    lengths = range(1, LONGEST + 1)
    shapes: list[tuple[int, ...]] = [(), ()] + [(n,) for n in lengths] * 2
    w = ProgramBuilder(len(shapes))
    w.shapes |= dict(enumerate(shapes))
    slots = [random_entries(rng, shape) for shape in shapes]
    size = LONGEST
    cut = rng.randint(1, size - 1)
    where = [range(cut), range(cut, size)] if rng.random() < 0.5 else [range(size), range(cut)]
    sums = [random_sum(rng, w, len(places), 4) for places in where]
    covers = where[1].start == cut
    plain = Program(len(slots), (*w.instructions,), tuple(sums))
    want = np.zeros(size)
    for x, places in zip(run_program(plain, slots), where, strict=True):
        want[as_array(places)] += x
    out = assemble(w, sums, where, size, covers)
    program = prune(Program(len(slots), tuple(w.instructions), (out,)))
    program.check()
    np.testing.assert_allclose(run_program(program, slots)[0], want, rtol=1e-14, atol=1e-14)
    reusing = Preallocated(program, slots)
    for _ in range(2):  # the second time in memory that is kept
        np.testing.assert_allclose(reusing(slots)[0], want, rtol=1e-14, atol=1e-14)
    left = [i.op for i in program.instructions]
    assert sum(isinstance(op, ops.Scatter) for op in left) == 1


def test_a_sum_of_placed_pieces_is_one_call() -> None:
    """Both halves of a diagonal, each a number and a vector: written once, nothing in between."""
    n = 300
    w = ProgramBuilder(4)
    w.shapes |= {0: (), 1: (), 2: (n,), 3: (n,)}
    halves = [range(n), range(n, 2 * n)]
    numbers = [w.emit(ops.Broadcast((n,)), w.emit(ops.Reshape((1,)), k)) for k in (0, 1)]
    placed = [w.emit(ops.Place(0, at, 2 * n), x) for at, x in zip(halves, numbers, strict=True)]
    total = w.emit(ops.Add(), *placed)
    for at, x in zip(halves, (2, w.emit(ops.Scale(-1), 3)), strict=True):
        total = w.emit(ops.AddAt(0, at), total, x)
    out = assemble(w, [total], [range(1, 4 * n + 1, 2)], 4 * n, False)
    program = prune(Program(4, tuple(w.instructions), (out,)))
    (instruction,) = program.instructions
    assert instruction.inputs == (0, 2, 1, 3)
    assert instruction.op == ops.Scatter(
        (range(1, 2 * n + 1, 2), range(2 * n + 1, 4 * n + 1, 2)), 4 * n, False, ((1, 1), (1, -1))
    )


# ------------------------------------------------------------- transposes


@given(randoms)
def test_transposes_are_found_in_their_positions(rng: Random) -> None:
    sizes = tuple(rng.randint(1, 4) for _ in range(rng.randint(1, 4)))
    order = tuple(rng.sample(range(len(sizes)), len(sizes)))
    size = int(np.prod(sizes))
    x = np.arange(size)
    where = np.empty(size, int)
    where[x.reshape(sizes).transpose(order).ravel()] = x
    found = as_transpose(positions(where), size)
    if size < 2:
        assert found is None
        return
    assert found is not None
    np.testing.assert_array_equal(x.reshape(found[0]).transpose(found[1]).ravel()[where], x)


def test_positions_that_are_no_transpose_are_not_taken_for_one() -> None:
    assert as_transpose(range(1, 7), 7) is None  # a place is left out
    assert as_transpose(positions([1, 0, 2, 3]), 4) is None
    assert as_transpose(range(3, -1, -1), 4) is None
    assert as_transpose(Lattice(0, (4, 1), (2, 2)), 8) is None


@given(randoms)
def test_gathers_and_placings_of_every_entry_are_transposes(rng: Random) -> None:
    a, b, c = (rng.randint(2, 4) for _ in range(3))
    order = tuple(rng.sample(range(3), 3))
    where = positions(np.arange(a * b * c).reshape(a, b, c).transpose(order).ravel())
    front, back = rng.choice([(), (2,)]), rng.choice([(), (3,)])
    axis, size = len(front), a * b * c
    x = random_entries(rng, (*front, size, *back))
    for op in (ops.Take(axis, where), ops.Place(axis, where, size)):
        w = ProgramBuilder(1)
        w.shapes[0] = x.shape
        out = w.emit(op, 0)
        program = prune(Program(1, tuple(w.instructions), (out,)))
        assert not any(isinstance(i.op, (ops.Take, ops.Place)) for i in program.instructions)
        plain = Program(1, (Instruction(op, (0,), 1),), (1,))
        np.testing.assert_array_equal(run_program(program, [x])[0], run_program(plain, [x])[0])


@given(randoms)
def test_axes_are_split_before_they_are_transposed(rng: Random) -> None:
    """What was merged, transposed and split again is only transposed."""
    sizes = [rng.randint(1, 3) for _ in range(4)]
    x = random_entries(rng, tuple(sizes))
    w = ProgramBuilder(1)
    w.shapes[0] = x.shape
    merged = w.emit(ops.Reshape((sizes[0], sizes[1] * sizes[2], sizes[3])), 0)
    transposed = w.emit(ops.Transpose((1, 2, 0)), merged)
    out = w.emit(ops.Reshape((sizes[1], sizes[2], sizes[3], sizes[0])), transposed)
    program = prune(Program(1, tuple(w.instructions), (out,)))
    np.testing.assert_array_equal(run_program(program, [x])[0], x.transpose(1, 2, 3, 0))
    if 1 not in sizes:
        assert [i.op for i in program.instructions] == [ops.Transpose((1, 2, 3, 0))]


def test_a_vector_of_placed_pieces_is_reassembled_and_others_are_left_alone() -> None:
    w = ProgramBuilder(2)
    w.shapes |= {0: (3,), 1: (5,)}
    total = w.emit(
        ops.Add(), w.emit(ops.Place(0, range(3), 8), 0), w.emit(ops.Place(0, range(3, 8), 8), 1)
    )
    out = reassemble(w, total, 8)
    program = prune(Program(2, tuple(w.instructions), (out,)))
    (instruction,) = program.instructions
    assert instruction.op == ops.Scatter((range(3), range(3, 8)), 8, True)
    assert reassemble(w, 1, 5) == 1
    doubled = w.emit(ops.Add(), 1, w.emit(ops.Scale(2.0), 1))
    assert reassemble(w, doubled, 5) == doubled


@pytest.mark.parametrize("axis", [0, 1])
def test_entries_at_nested_progressions_are_placed_and_added_as_by_an_index(axis: int) -> None:
    box = as_array(Lattice(3, (30, 2), (20, 12)))
    for where in (positions(box), positions(box[::-1]), positions(np.append(box, 1))):
        shape = [2, 3]
        shape.insert(axis, len(where))
        x = np.random.default_rng(0).normal(size=shape)
        wanted = np.zeros([*shape[:axis], 700, *shape[axis + 1 :]])
        wanted[(slice(None),) * axis + (as_array(where),)] = x
        np.testing.assert_array_equal(place(x, axis, where, 700), wanted)
        np.testing.assert_array_equal(add_at(wanted, axis, where, x), 2 * wanted)
        one = x.take([0], axis)
        spread = place(np.broadcast_to(one, shape), axis, where, 700)
        np.testing.assert_array_equal(add_at(np.zeros_like(wanted), axis, where, one), spread)
