"""The laws of the algebra, against dense arrays; entries are small integers: equality is exact."""

from math import prod
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainad.ir.ops import Scale
from chainad.ir.positions import as_array, lattice, positions
from chainad.structure import (
    Product,
    add,
    arrange,
    dense,
    diagonal,
    identity,
    keep_separate,
    lay_out,
    multiply,
    to_dense,
    to_vector,
)
from chainad.structure import csr as sparse
from chainad.structure.structure import Axis, Structure
from chainad.structure.sum import contiguous_extension
from chainad.testing import (
    AXIS_SIZES,
    LOCAL_KINDS,
    RandomJacobian,
    apply_ops,
    dense_product,
    product_entries,
    random_jacobian,
    random_local,
    random_shape,
    random_structure,
    sum_entries,
    to_array,
)

randoms = st.randoms(use_true_random=False)
WITH_ZERO = (0, *AXIS_SIZES)


def two_factors(
    rng: Random, sizes: tuple[int, ...] = WITH_ZERO
) -> tuple[RandomJacobian, RandomJacobian]:
    z, y, x = (random_shape(rng, sizes=sizes) for _ in range(3))
    positioned = rng.choice([0, 0.3, 0.6])
    left = random_structure(rng, z, y, positioned=positioned)
    return left, random_structure(rng, y, x, positioned=positioned)


def three_factors(
    rng: Random, positioned: float, split: float = 0.4
) -> tuple[RandomJacobian, RandomJacobian, RandomJacobian]:
    z, y, x, w = (random_shape(rng) for _ in range(4))
    c = random_structure(rng, z, y, positioned=positioned, split=split)
    b = random_structure(rng, y, x, positioned=positioned, split=split)
    return c, b, random_structure(rng, x, w, positioned=positioned, split=split)


def two_terms(rng: Random) -> tuple[RandomJacobian, RandomJacobian]:
    y, x = (random_shape(rng, sizes=WITH_ZERO) for _ in range(2))
    left = random_structure(rng, y, x)
    if rng.random() < 0.3:  # the same ties and positions, other stored labels
        s = left.structure
        stored = tuple(k for k in range(len(s.sizes)) if rng.random() < 0.5)
        right = arrange(s.rows, s.cols, dict(enumerate(s.sizes)), stored).structure
        entries = np.arange(1.0, right.count + 1).reshape(right.stored_shape)
        return left, RandomJacobian(right, entries, to_array(right, entries))
    return left, random_structure(rng, y, x)


def product_of(left: RandomJacobian, right: RandomJacobian) -> RandomJacobian:
    product = multiply(left.structure, right.structure)
    entries = product_entries(product, left.entries, right.entries)
    n_inner = len(right.structure.rows)
    return RandomJacobian(
        product.structure, entries, dense_product(left.dense, right.dense, n_inner)
    )


def assert_is(found: RandomJacobian) -> None:
    """Assert that structure and entries equal the dense array."""
    if found.entries is not None:
        assert found.entries.shape == found.structure.stored_shape
    np.testing.assert_array_equal(to_array(found.structure, found.entries), found.dense)


def pattern(structure: Structure) -> set[tuple[int, int]]:
    rows, cols = structure.entries()
    return set(zip(rows.tolist(), cols.tolist(), strict=True))


def count_terms(left: Structure, right: Structure) -> np.ndarray:
    """Return how many terms each entry of the product has."""
    one, two = np.zeros(left.matrix_shape, int), np.zeros(right.matrix_shape, int)
    one[left.entries()] = 1
    two[right.entries()] = 1
    return one @ two


# ------------------------------------------------------------------- products


@given(randoms)
def test_product_equals_the_dense_product(rng: Random) -> None:
    left, right = two_factors(rng)
    assert_is(product_of(left, right))


@given(randoms)
def test_a_product_has_entries_only_where_those_of_its_factors_match(rng: Random) -> None:
    left, right = (s.structure for s in two_factors(rng))
    rows, cols = np.nonzero(count_terms(left, right))
    met = set(zip(rows.tolist(), cols.tolist(), strict=True))
    found = pattern(multiply(left, right).structure)
    assert met <= found
    if not (
        left.has_positions or right.has_positions or multiply(left, right).structure.scale == 0
    ):
        assert met == found


@given(randoms)
def test_bracketing_changes_neither_structure_nor_entries_of_whole_axes(rng: Random) -> None:
    c, b, a = three_factors(rng, positioned=0, split=0)
    one = product_of(product_of(c, b), a)
    two = product_of(c, product_of(b, a))
    assert one.structure == two.structure
    assert_is(one)
    assert_is(two)


@given(randoms)
def test_bracketing_never_changes_the_entries(rng: Random) -> None:
    # Axes such as (ij) and (ji) have no common refinement and are tied through positions, so that
    # here the structure may depend on the bracketing.
    c, b, a = three_factors(rng, positioned=rng.choice([0, 0.5]))
    one = product_of(product_of(c, b), a)
    two = product_of(c, product_of(b, a))
    assert_is(one)
    assert_is(two)
    np.testing.assert_array_equal(one.dense, two.dense)


WITHOUT_PAD = [kind for kind in LOCAL_KINDS if kind != "pad"]
WITHOUT_RAVEL = [kind for kind in LOCAL_KINDS if kind not in ("ravel", "gather")]


@pytest.mark.parametrize("kinds", [WITHOUT_PAD, WITHOUT_RAVEL], ids=["no pad", "no ravel"])
@given(rng=randoms)
def test_bracketing_does_not_change_the_structure_of_typical_products(
    rng: Random, kinds: list[str]
) -> None:
    # A ravelled array that is padded may be indexed by one label or by two: exact only without.
    factors = [random_local(rng, random_shape(rng), kinds)]
    for _ in range(3):
        factors.append(random_local(rng, factors[-1].structure.row_shape, kinds))
    a, b, c, d = factors
    found = [
        product_of(product_of(product_of(d, c), b), a),
        product_of(product_of(d, product_of(c, b)), a),
        product_of(product_of(d, c), product_of(b, a)),
        product_of(d, product_of(product_of(c, b), a)),
        product_of(d, product_of(c, product_of(b, a))),
    ]
    structures = [one.structure for one in found]
    # Not `scale`: how often entries coincide may even out on one way and be stored on another.
    assert len({(s.rows, s.cols, s.stored, s.sizes) for s in structures}) == 1
    for one in found:
        assert_is(one)


TWISTED = [
    (["i", "ij"], {"i": 2, "j": 2}, ["i", "ji"], {"i": 2, "j": 2}),
    (["i", "ij"], {"i": 2, "j": 6}, ["i", "ji"], {"i": 2, "j": 6}),
    (["ij", "k"], {"i": 2, "j": 3, "k": 2}, ["ij", "j"], {"i": 3, "j": 2}),
    (["ij", "ik"], {"i": 2, "j": 6, "k": 3}, ["ij", "k"], {"i": 3, "j": 4, "k": 6}),
    (["ijk", "kij"], {"i": 2, "j": 2, "k": 3}, ["jki", "ikj"], {"i": 3, "j": 2, "k": 2}),
]


@pytest.mark.parametrize(("inner_left", "left_sizes", "inner_right", "right_sizes"), TWISTED)
def test_axes_that_share_labels_are_tied_together(
    inner_left: list[str],
    left_sizes: dict[str, int],
    inner_right: list[str],
    right_sizes: dict[str, int],
) -> None:
    def axes(words: list[str], sizes: dict[str, int]) -> list[Axis]:
        number = {letter: k for k, letter in enumerate(sizes)}
        return [Axis(prod(sizes[x] for x in w), tuple(number[x] for x in w)) for w in words]

    rng = Random(0)
    one, two = (dict(enumerate(sizes.values())) for sizes in (left_sizes, right_sizes))
    left = random_jacobian(rng, [Axis(one[0], (0,))], axes(inner_left, left_sizes), one, [*one])
    right = random_jacobian(rng, axes(inner_right, right_sizes), [], two, [*two])
    assert_is(product_of(left, right))


@pytest.mark.parametrize("outer", sorted(LOCAL_KINDS))
@pytest.mark.parametrize("inner", sorted(LOCAL_KINDS))
def test_every_pair_of_kinds_multiplies(outer: str, inner: str) -> None:
    for seed in range(6):
        rng = Random(seed)
        right = random_local(rng, random_shape(rng), [inner])
        left = random_local(rng, right.structure.row_shape, [outer])
        assert_is(product_of(left, right))


@given(randoms)
def test_identity_changes_nothing_and_is_free(rng: Random) -> None:
    one = two_factors(rng)[0]
    for product in (
        multiply(identity(one.structure.row_shape), one.structure),
        multiply(one.structure, identity(one.structure.col_shape)),
    ):
        assert product.structure is one.structure
        assert product.multiplications == 0
        assert product.additions == 0
        assert product.labels is None


@given(randoms)
def test_a_product_with_zero_is_zero_and_free(rng: Random) -> None:
    one = two_factors(rng)[0].structure
    unit = identity(one.row_shape)
    zero = arrange(unit.rows, unit.cols, dict(enumerate(unit.sizes)), scale=0).structure
    product = multiply(zero, one)
    assert product.structure.kind == "zero"
    assert product.multiplications == 0


# --------------------------------------------------------------------- costs


@given(randoms)
def test_no_product_costs_more_than_the_dense_product(rng: Random) -> None:
    left, right = (s.structure for s in two_factors(rng))
    (m, n), (_, p) = left.matrix_shape, right.matrix_shape
    assert multiply(left, right).multiplications <= m * n * p


def scalings(ops: tuple[object, ...], entries: np.ndarray | None) -> int:
    """Return the multiplications that ops make, one for every entry that is scaled."""
    count = 0
    for op in ops:
        if isinstance(op, Scale) and op.factor != -1:
            assert entries is not None
            count += entries.size
        entries = apply_ops([op], entries)  # type: ignore[list-item]
    return count


def made(product: Product, left: np.ndarray | None, right: np.ndarray | None) -> int:
    """Return the multiplications that the ops of a product make."""
    count = scalings(product.left, left) + scalings(product.right, right)
    if product.labels is None:
        return count + scalings(product.after, right if left is None else left)
    sizes = dict(product.sizes)
    out = np.zeros([sizes[x] for x in product.labels[2]])
    count += prod(sizes[x] for x in {*product.labels[0], *product.labels[1]})
    return count + scalings(product.after, out)


@given(randoms)
def test_cost_is_what_the_ops_multiply(rng: Random) -> None:
    left, right = two_factors(rng)
    product = multiply(left.structure, right.structure)
    if product.structure.scale is not None:
        assert product.multiplications == 0
    else:
        a = apply_ops(product.left, left.entries)
        b = apply_ops(product.right, right.entries)
        found = scalings(product.left, left.entries) + scalings(product.right, right.entries)
        bare = Product(
            product.structure, 0, 0, (), (), product.labels, product.sizes, product.after
        )
        assert product.multiplications == found + made(bare, a, b)


@given(randoms)
def test_a_product_with_a_unit_is_free_unless_equal_terms_add_up(rng: Random) -> None:
    z, y, x = (random_shape(rng) for _ in range(3))
    left = random_structure(rng, z, y, unit=1).structure
    right = random_structure(rng, y, x).structure
    if rng.random() < 0.5:
        left, right = random_structure(rng, z, y).structure, random_structure(rng, y, x, unit=1)[0]
    if not (left.is_unit or right.is_unit):
        return
    if count_terms(left, right).max(initial=0) <= 1:
        assert multiply(left, right).multiplications == 0


UNITS = ("unit", "sum", "broadcast", "transpose", "ravel", "slice", "gather", "pad")


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("other", ["dense", "diagonal", "block diagonal"])
def test_typical_units_are_free_on_either_side(unit: str, other: str) -> None:
    for seed in range(8):
        rng = Random(seed)
        one = random_local(rng, random_shape(rng), [unit])
        two = random_local(rng, one.structure.row_shape, [other])
        three = random_local(rng, two.structure.row_shape, [unit])
        assert multiply(two.structure, one.structure).multiplications == 0
        assert multiply(three.structure, two.structure).multiplications == 0


def kronecker(m: int, n: int, k: int) -> Structure:
    rows, cols = [Axis(m, (0,)), Axis(k, (2,))], [Axis(n, (1,)), Axis(k, (2,))]
    return arrange(rows, cols, {0: m, 1: n, 2: k}, [0, 1]).structure


def blocks(b: int, m: int, n: int) -> Structure:
    rows, cols = [Axis(b, (0,)), Axis(m, (1,))], [Axis(b, (0,)), Axis(n, (2,))]
    return arrange(rows, cols, {0: b, 1: m, 2: n}, [0, 1, 2]).structure


COSTS = [
    ("dense . dense", dense((2,), (3,)), dense((3,), (5,)), 30, 20, "dense"),
    ("diagonal . dense", diagonal((3,)), dense((3,), (5,)), 15, 0, "dense"),
    ("dense . diagonal", dense((2,), (3,)), diagonal((3,)), 6, 0, "dense"),
    ("diagonal . diagonal", diagonal((3, 4)), diagonal((3, 4)), 12, 0, "diagonal"),
    ("A(x)I . B(x)I", kronecker(2, 3, 7), kronecker(3, 5, 7), 30, 20, "kronecker"),
    ("A(x)I . diagonal", kronecker(2, 3, 7), diagonal((3, 7)), 42, 0, "block diagonal"),
    ("A(x)I . dense", kronecker(2, 3, 7), dense((3, 7), (5,)), 210, 140, "dense"),
    ("blocks . blocks", blocks(7, 2, 3), blocks(7, 3, 5), 210, 140, "block diagonal"),
    ("blocks . dense", blocks(7, 2, 3), dense((7, 3), (5,)), 210, 140, "dense"),
    ("identity . dense", identity((3,)), dense((3,), (5,)), 0, 0, "dense"),
]


@pytest.mark.parametrize(
    ("left", "right", "multiplications", "additions", "kind"),
    [case[1:] for case in COSTS],
    ids=[case[0] for case in COSTS],
)
def test_costs_of_known_products(
    left: Structure, right: Structure, multiplications: int, additions: int, kind: str
) -> None:
    product = multiply(left, right)
    assert product.multiplications == multiplications
    assert product.additions == additions
    assert product.structure.kind == kind


def test_costs_are_python_integers_of_any_size() -> None:
    n = 10**7
    product = multiply(dense((n,), (n,)), dense((n,), (n,)))
    assert product.multiplications == 10**21
    assert type(product.multiplications) is int
    assert type(product.additions) is int


# ----------------------------------------------------------------------- sums


@given(randoms)
def test_sum_equals_the_dense_sum(rng: Random) -> None:
    left, right = two_terms(rng)
    total = add(left.structure, right.structure)
    entries = sum_entries(total, left.entries, right.entries)
    assert_is(RandomJacobian(total.structure, entries, left.dense + right.dense))


@given(randoms)
def test_a_sum_keeps_at_most_three_times_the_union_of_entries(rng: Random) -> None:
    left, right = (s.structure for s in two_terms(rng))
    union = pattern(left) | pattern(right)
    total = add(left, right)
    found = pattern(total.structure)
    assert union <= found
    assert total.pads or union == found or total.structure.scale == 0
    assert total.structure.nonzeros <= 3 * len(union)
    if union:
        assert total.structure.count <= 3 * len(union)


def test_a_long_sum_of_single_entries_stores_these_alone() -> None:
    n, total = 60, None
    for k in range(n):
        row, col = (Axis(n, (), range(at, at + 1)) for at in (k, (7 * k) % n))
        entry = arrange([row], [col], {}, []).structure
        total = entry if total is None else add(total, entry).structure
    assert total is not None
    assert total.count <= 3 * n


def test_what_is_a_third_full_is_multiplied_as_a_block() -> None:
    rng, n = np.random.default_rng(0), 60
    factors = []
    for _ in range(2):
        dense = np.where(rng.random((n, n)) < 0.5, rng.integers(1, 9, (n, n)), 0)
        at = [positions(x) for x in dense.nonzero()]
        rows, cols = (Axis(n, (0,), x) for x in at)
        structure = arrange([rows], [cols], {0: len(at[0])}, [0]).structure
        factors.append(RandomJacobian(structure, dense[dense.nonzero()], dense))
    found = product_of(*factors)
    assert_is(found)
    assert found.structure.weight == 0
    assert multiply(*(x.structure for x in factors)).pads


def test_a_sum_of_patterns_may_have_more_places_than_64_bits_count() -> None:
    # Positions that both share are places on the label of 800 entries, not on the axis itself.
    shape, count = (2, 3, 3, 2, 3, 3, 2, 3, 3), 800
    entries = np.random.default_rng(0).choice(prod(shape), count, replace=False)
    spots = np.unravel_index(entries, shape)
    terms = []
    for shift in (0, 1):
        moved = [*spots[:7], *((spot + shift) % 3 for spot in spots[7:])]
        axes = [Axis(n, (0,), positions(at)) for n, at in zip(shape, moved, strict=True)]
        terms.append(arrange(axes[:6], axes[6:], {0: count}, (0,)).structure)
    assert count**7 > np.iinfo(np.int64).max
    entries = [np.arange(1.0, count + 1), np.sqrt(np.arange(1.0, count + 1))]
    total = add(*terms)
    found = to_array(total.structure, sum_entries(total, *entries))
    wanted = sum(to_array(t, x) for t, x in zip(terms, entries, strict=True))
    np.testing.assert_array_equal(found, wanted)


@given(randoms)
def test_a_sum_of_equally_tied_terms_keeps_their_ties(rng: Random) -> None:
    one = two_factors(rng)[0].structure
    total = add(one, one)
    assert (total.structure.rows, total.structure.cols) == (one.rows, one.cols)
    assert total.structure.stored == one.stored
    if one.scale is not None:
        assert total.structure.scale == 2 * one.scale
        assert total.additions == 0
    else:
        assert total.additions == one.count


@given(randoms)
def test_terms_may_be_exchanged(rng: Random) -> None:
    left, right = (s.structure for s in two_terms(rng))
    assert add(left, right).structure == add(right, left).structure


def test_sum_of_opposite_units_is_zero() -> None:
    plus = identity((3,))
    minus = arrange(plus.rows, plus.cols, {0: 3}, scale=-1).structure
    assert add(plus, minus).structure.kind == "zero"


SUMS = [
    (diagonal((6,)), identity((6,)), "diagonal [i | i] stored i"),
    (diagonal((6,)), diagonal((6,)), "diagonal [i | i] stored i"),
    (dense((6,), (6,)), diagonal((6,)), "dense [i | j] stored i j"),
    (blocks(4, 2, 2), diagonal((4, 2)), "block diagonal [i j | i k] stored i j k"),
]


@pytest.mark.parametrize(("left", "right", "text"), SUMS)
def test_a_sum_keeps_the_ties_that_both_have(left: Structure, right: Structure, text: str) -> None:
    assert str(add(left, right).structure) == text
    assert str(add(right, left).structure) == text


def shifted(n: int, by: int) -> Structure:
    """Return a diagonal of an n x (n + 2) matrix, as of x[by : by + n]."""
    return arrange([Axis(n, (0,))], [Axis(n + 2, (0,), range(by, by + n))], {0: n}, [0]).structure


def test_a_stencil_keeps_its_diagonals_only() -> None:
    n = 1000
    total = add(add(shifted(n, 0), shifted(n, 1)).structure, shifted(n, 2)).structure
    assert total.nonzeros == total.count == 3 * n


@given(randoms)
def test_product_distributes_over_sum(rng: Random) -> None:
    left, right = two_terms(rng)
    x = random_shape(rng)
    other = random_structure(rng, left.structure.col_shape, x)
    total = add(left.structure, right.structure)
    entries = sum_entries(total, left.entries, right.entries)
    outer = product_of(RandomJacobian(total.structure, entries, left.dense + right.dense), other)
    assert_is(outer)
    one, two = product_of(left, other), product_of(right, other)
    inner = add(one.structure, two.structure)
    assert_is(
        RandomJacobian(inner.structure, sum_entries(inner, one.entries, two.entries), outer.dense)
    )


# -------------------------------------------- regular positions and their sums

GRID_OF = {1: (1, 1), 4: (2, 2), 6: (1, 6), 12: (3, 4), 30: (5, 6)}


def boxed(rng: Random, row_shape: tuple[int, ...], col_shape: tuple[int, ...]) -> RandomJacobian:
    """Return a random Jacobian whose axes are boxes of grids: cut out, shifted, strided, reversed.

    Labels return on other axes, with other strides: shifted diagonals, batches, traces.
    """
    sizes: dict[int, int] = {}

    def axis(n: int) -> Axis:
        start, steps, labels = 0, [], []
        stride = n
        for length in GRID_OF[n]:
            stride //= length
            old = [x for x in sizes if sizes[x] <= length and x not in labels]
            if old and rng.random() < 0.7:
                label = rng.choice(old)
            else:
                label = len(sizes)
                sizes[label] = rng.randint(1, length)
            step = rng.choice([1, 1, 2]) if 2 * (sizes[label] - 1) < length else 1
            first = rng.randint(0, length - 1 - step * (sizes[label] - 1))
            if rng.random() < 0.2:
                first, step = first + step * (sizes[label] - 1), -step
            labels.append(label)
            start += stride * first
            steps.append(stride * step)
        return Axis(n, tuple(labels), lattice(start, steps, [sizes[x] for x in labels]))

    rows, cols = [axis(n) for n in row_shape], [axis(n) for n in col_shape]
    if rng.random() < 0.3:
        return random_jacobian(rng, rows, cols, sizes, scale=rng.choice([1, -1, 2.5]))
    return random_jacobian(rng, rows, cols, sizes, [x for x in sizes if rng.random() < 0.8])


def grid_shape(rng: Random) -> tuple[int, ...]:
    return tuple(rng.choice([*GRID_OF]) for _ in range(rng.randint(1, 2)))


@given(randoms)
def test_products_of_boxes_equal_the_dense_product(rng: Random) -> None:
    z, y, x, w = (grid_shape(rng) for _ in range(4))
    c, b, a = boxed(rng, z, y), boxed(rng, y, x), boxed(rng, x, w)
    assert_is(product_of(product_of(c, b), a))
    assert_is(product_of(c, product_of(b, a)))
    other = random_structure(rng, y, x)
    assert_is(product_of(c, other))
    assert_is(product_of(other, a))


def total_of(left: RandomJacobian, right: RandomJacobian) -> RandomJacobian:
    total = add(left.structure, right.structure)
    entries = sum_entries(total, left.entries, right.entries)
    return RandomJacobian(total.structure, entries, left.dense + right.dense)


@given(randoms)
def test_sums_of_boxes_equal_the_dense_sum(rng: Random) -> None:
    y, x = grid_shape(rng), grid_shape(rng)
    one, two, three = boxed(rng, y, x), boxed(rng, y, x), boxed(rng, y, x)
    assert_is(total_of(one, two))
    assert_is(total_of(total_of(one, two), three))


def pieces(rng: Random, shift: int, n: int, m: int) -> tuple[RandomJacobian, RandomJacobian]:
    """Return two pieces of one shifted diagonal, the second of m, `shift` steps after n."""
    low, high = min(0, shift), max(n, shift + m)
    on_rows, on_cols = rng.choice([1, 2, -1]), rng.choice([1, 3, -2])
    batch, ties = rng.choice([2, 3]), rng.randint(0, 2)  # on no axis, on the rows, on both
    extra = rng.randint(0, 2)

    def axis(step: int, first: int, count: int) -> Axis:
        size = abs(step) * (high - low - 1) + 1 + extra
        start = step * (first - low) + (0 if step > 0 else size - 1)
        return Axis(size, (1,), range(start, start + step * count, step))

    def piece(first: int, count: int) -> RandomJacobian:
        rows, cols = [axis(on_rows, first, count)], [axis(on_cols, first, count)]
        sizes = {1: count}
        if ties:
            b = Axis(batch, (0,))
            rows, cols = [b, *rows], [*cols, *[b] * (ties - 1)]
            sizes = {0: batch, 1: count}
        if rng.random() < 0.4:
            return random_jacobian(rng, rows, cols, sizes, scale=rng.choice([1, 1, -1, 2.5]))
        return random_jacobian(rng, rows, cols, sizes, [x for x in sizes if rng.random() < 0.7])

    return piece(0, n), piece(shift, m)


@given(randoms)
def test_contiguous_pieces_add_up(rng: Random) -> None:
    n, m = rng.randint(2, 6), rng.randint(2, 6)
    shift = rng.randint(-m, n)  # overlapping, adjoining on either side, or contained
    one, two = pieces(rng, shift, n, m)
    assert_is(total_of(one, two))
    if one.structure.sizes != two.structure.sizes or shift:
        extension = contiguous_extension(one.structure, two.structure)
        assert extension is not None
        assert extension.size == max(n, shift + m) - min(0, shift)
    total = add(one.structure, two.structure).structure
    lines = total.nonzeros // max(1, one.structure.nonzeros // n)
    assert lines == max(n, shift + m) - min(0, shift)  # no place beyond the two is kept


def test_equal_contiguous_units_are_one_unit() -> None:
    def piece(first: int, count: int, scale: float) -> Structure:
        axis = Axis(10, (0,), range(first, first + count))
        return arrange([axis], [axis], {0: count}, scale=scale).structure

    assert add(piece(0, 4, 1), piece(4, 6, 1)).structure is identity((10,))
    assert add(piece(4, 6, -1), piece(0, 4, -1)).structure.kind == "-identity"
    assert add(piece(0, 4, 1), piece(4, 6, -1)).structure is diagonal((10,))
    assert add(piece(0, 5, 1), piece(4, 6, 1)).structure is diagonal((10,))


def test_pieces_with_a_gap_are_not_contiguous() -> None:
    for first, step in ((5, 1), (4, 2), (9, 1)):
        one, two = Axis(20, (0,), range(4)), Axis(20, (0,), range(first, first + 4 * step, step))
        terms = [arrange([axis], [axis], {0: 4}, [0]).structure for axis in (one, two)]
        assert contiguous_extension(*terms) is None


def test_a_label_that_does_not_move_on_one_axis_is_not_contiguous() -> None:
    still = Axis(4, (0,))
    terms = [
        arrange([still], [Axis(9, (0,), range(k, k + 4))], {0: 4}, [0]).structure for k in (0, 4)
    ]
    assert contiguous_extension(*terms) is None


def test_pieces_whose_other_labels_differ_are_not_contiguous() -> None:
    terms = []
    for k, parts in ((0, (2, 3)), (4, (3, 2))):
        line = Axis(10, (2,), range(k, k + 4))
        rows, sizes = [Axis(6, (0, 1)), line], {0: parts[0], 1: parts[1], 2: 4}
        terms.append(random_jacobian(Random(k), rows, [line], sizes, [0, 2]))
    assert contiguous_extension(terms[0].structure, terms[1].structure) is None
    assert_is(total_of(*terms))


def test_long_diagonals_are_kept_as_separate_terms_and_short_or_dense_ones_are_not() -> None:
    n = 1000
    one, two = shifted(n, 0), shifted(n, 1)
    assert keep_separate(one, two)
    assert not keep_separate(one, one)
    assert not keep_separate(shifted(10, 0), shifted(10, 1))
    assert not keep_separate(one, dense((n,), (n + 2,)))
    assert not keep_separate(diagonal((n,)), identity((n,)))
    where = positions(np.random.default_rng(0).permutation(n))
    gather = arrange([Axis(n, (0,))], [Axis(n + 2, (0,), where)], {0: n}, [0]).structure
    assert not keep_separate(one, gather)


# ----------------------------------------------------------------- dense form


@given(randoms)
def test_dense_form_is_the_jacobian_in_full(rng: Random) -> None:
    structure, entries, full = two_factors(rng)[0]
    np.testing.assert_array_equal(apply_ops(to_dense(structure), entries), full)


@pytest.mark.parametrize("kind", sorted(LOCAL_KINDS))
def test_dense_form_of_every_kind(kind: str) -> None:
    for seed in range(20):
        rng = Random(seed)
        structure, entries, full = random_local(rng, random_shape(rng, 3), [kind])
        np.testing.assert_array_equal(apply_ops(to_dense(structure), entries), full)


# ---------------------------------------------------------- vectors and layouts


@given(randoms)
def test_the_vector_of_a_structure_lists_its_entries(rng: Random) -> None:
    structure, entries, full = rng.choice([two_factors(rng)[0], boxed(rng, (12,), (6, 4))])
    vector = apply_ops(to_vector(structure), entries)
    rows, cols = structure.entries()
    found = np.zeros(structure.matrix_shape)
    found[rows, cols] = vector
    np.testing.assert_array_equal(found, full.reshape(found.shape))


def on_diagonal(rng: Random, m: int, n: int) -> RandomJacobian:
    """Return a part of one diagonal of an m x n matrix, strided."""
    offset, step = rng.randint(1 - m, n - 1), rng.choice([1, 1, 2, -1])
    rows = [i for i in range(m) if 0 <= i + offset < n][rng.randint(0, 2) :: abs(step)]
    rows = rows[:: 1 if step > 0 else -1]
    axes = [Axis(size, (0,), positions([i + k for i in rows])) for size, k in ((m, 0), (n, offset))]
    return random_jacobian(rng, axes[:1], axes[1:], {0: len(rows)}, [0])


@given(randoms)
def test_diagonals_are_laid_out_as_by_sorting(rng: Random) -> None:
    m, n = rng.randint(1, 9), rng.randint(1, 9)
    terms = [on_diagonal(rng, m, n).structure for _ in range(rng.randint(1, 5))]
    entries = [term.entries() for term in terms]
    found, wanted = sparse._of_diagonals(m, entries), sparse._by_sorting((m, n), entries)
    total = sum(rows.size for rows, _ in entries)
    assert (found is None) == (total > wanted[0].size or any(r.size == 0 for r, _ in entries))
    if found is not None:
        for got, want in zip(found[:2], wanted[:2], strict=True):
            np.testing.assert_array_equal(got, want)
        for got, want in zip(found[2], wanted[2], strict=True):
            np.testing.assert_array_equal(got, want)


@given(randoms)
def test_a_layout_gives_every_entry_its_place(rng: Random) -> None:
    y, x = grid_shape(rng), grid_shape(rng)
    terms = [boxed(rng, y, x) for _ in range(rng.randint(1, 3))]
    layout = lay_out([term.structure for term in terms])
    data = np.zeros(layout.indices.size)
    for term, places in zip(terms, layout.places, strict=True):
        vector = apply_ops(to_vector(term.structure), term.entries)
        data[as_array(places)] += vector
    found = np.zeros(layout.shape)
    for row in range(layout.shape[0]):
        for k in range(layout.indptr[row], layout.indptr[row + 1]):
            found[row, layout.indices[k]] += data[k]
        assert np.all(np.diff(layout.indices[layout.indptr[row] : layout.indptr[row + 1]]) > 0)
    np.testing.assert_array_equal(found, sum(t.dense for t in terms).reshape(layout.shape))
    taken = np.concatenate([as_array(places) for places in layout.places])
    assert sorted(set(taken.tolist())) == list(range(layout.indices.size))
    assert layout.covers == (taken.size == layout.indices.size)
    union = set().union(*(pattern(term.structure) for term in terms))
    assert layout.indices.size == len(union)
