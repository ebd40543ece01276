"""The product of two structures: tie the inner axes, add up what neither side keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from typing import Literal

from chainad.ir.ops import Materialize, Reshape, Scale
from chainad.ir.shapes import symmetric_bands
from chainad.structure.constructors import Arrangement, Ops, arrange, dense, diagonal
from chainad.structure.materialize import to_dense
from chainad.structure.normal_form import Labeling, Operand
from chainad.structure.structure import Axis, Structure
from chainad.structure.ties import tie

# Of fewer entries, no list is long.
MIN_BLOCK_ENTRIES = 1024

# A symmetric product in fewer rows, of fewer terms or of fewer multiplications is made as a whole:
# what is not multiplied takes longer to copy. More blocks save little beyond, and are slower each.
MIN_SYMMETRIC_ROWS = 64
MIN_SYMMETRIC_TERMS = 32
MIN_SYMMETRIC_MULTIPLICATIONS = 1 << 21
SYMMETRIC_BLOCKS = 4

# Which way all operators of a product are taken, if not each the cheapest.
Sweep = Literal["", "tangent", "adjoint"]


@dataclass(frozen=True)
class Product:
    """The product of two structures: what it is, what it costs and how its array is made.

    `left` and `right` are applied to the kept arrays; an einsum over `labels` (left, right, result)
    contracts these; `after` makes the kept array of `structure`. Where one side keeps no
    array, the other is all there is (`labels` is None). `sizes` are those of the labels.
    `action` says that one factor is an operator that is applied, not an array that is multiplied.
    `factors` are the two structures, left one first. `pads` says that the structure may store
    entries to which no term leads. With several `blocks` the product is symmetric, and multiplied
    up to the diagonal in so many bands of rows.
    """

    structure: Structure
    multiplications: int
    additions: int
    left: Ops
    right: Ops
    labels: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] | None
    sizes: tuple[tuple[int, int], ...]
    after: Ops
    action: Literal["", "jvp", "vjp"] = ""
    factors: tuple[Structure, ...] = ()
    pads: bool = False
    blocks: int = 1


@lru_cache(maxsize=65536)
def multiply(left: Structure, right: Structure) -> Product:
    """Return the product of two structures, left @ right.

    Raises
    ------
    AssertionError
        If the columns of `left` are not the rows of `right`.
    """
    assert [a.size for a in left.cols] == [a.size for a in right.rows], (left, right)
    if left.is_matrix and right.is_matrix:
        return _of_matrices(left, right)
    return replace(_multiply(left, right), factors=(left, right))


def as_symmetric(product: Product) -> Product | None:
    """Return a product of which the entries above the diagonal are copied, not multiplied.

    None if it is no product of dense matrices, or so small that copying takes longer.
    """
    if product.labels is None or product.action or product.after or product.pads:
        return None
    left, right, out = product.labels
    structure, size = product.structure, dict(product.sizes)
    axes = (*structure.rows, *structure.cols)
    is_row_major = structure.stored == tuple(x for axis in axes for x in axis.labels)
    if not structure.is_square or structure.kind != "dense" or not is_row_major:
        return None
    rows, cols = out[: structure.n_labels[0]], out[structure.n_labels[0] :]
    inner = prod(size[x] for x in left if x in right and x not in out)
    n = prod(size[x] for x in rows)
    is_plain = not {*rows} & {*right} and not {*cols} & {*left}
    is_large = n >= MIN_SYMMETRIC_ROWS and inner >= MIN_SYMMETRIC_TERMS
    if not is_plain or not is_large or n * n * inner < MIN_SYMMETRIC_MULTIPLICATIONS:
        return None
    entries = sum((stop - start) * stop for start, stop in symmetric_bands(n, SYMMETRIC_BLOCKS))
    return replace(
        product,
        multiplications=product.multiplications - (n * n - entries) * inner,
        additions=product.additions - (n * n - entries) * (inner - 1),
        blocks=SYMMETRIC_BLOCKS,
    )


def _multiply(left: Structure, right: Structure) -> Product:
    if (left.action or right.action) and not (_is_one(left) or _is_one(right)):
        return _cheapest_with_operator(left, right)
    if left.is_identity:
        return _times_unit(left, right)
    if right.is_identity:
        return _times_unit(right, left)
    if left.nonzeros and right.nonzeros and left.scale != 0 and right.scale != 0:
        if _is_single_entry(left) and have_one_place(right.rows):
            return _times_single_entry(left, right, left, right)
        if _is_single_entry(right) and have_one_place(left.cols):
            return _times_single_entry(right, left, left, right)
    if all(x.fills_up and x.count >= MIN_BLOCK_ENTRIES for x in (left, right)):
        return _of_blocks(left, right)
    return _by_labels(left, right)


def _of_blocks(left: Structure, right: Structure) -> Product:
    """Return the product of the full arrays of two structures, zeros included."""
    shapes = [(x.row_shape, x.col_shape) for x in (left, right)]
    plain = multiply(*(dense(*shape) for shape in shapes))
    one, other = to_dense(left) + plain.left, to_dense(right) + plain.right
    return replace(plain, left=one, right=other, pads=True)


# Functions of scalars have hundreds of Jacobians of one entry: what is found here is what the
# labels would say, in a tenth of the time.


def _is_single_entry(structure: Structure) -> bool:
    """Return whether a Jacobian is one entry, all of it."""
    return structure.action is None and have_one_place((*structure.rows, *structure.cols))


def have_one_place(axes: tuple[Axis, ...]) -> bool:
    """Return whether some axes have one place altogether."""
    return all(axis.size == 1 and not axis.labels and axis.positions is None for axis in axes)


def _times_single_entry(
    entry: Structure, other: Structure, left: Structure, right: Structure
) -> Product:
    """Return the product `left @ right`, one of them a single entry, the other any Jacobian."""
    scale, cost, after = _scaled(entry, other)
    stored = () if scale is not None or other.scale is not None else other.stored
    structure = Structure(left.rows, right.cols, stored, other.sizes, scale)
    if entry.scale is not None or other.scale is not None:
        return Product(structure, cost, 0, (), (), None, _sized(other, stored), after)
    labels = (left.stored, right.stored, stored)
    return Product(structure, cost, 0, (), (), labels, _sized(other, stored), after)


def _scaled(entry: Structure, other: Structure) -> tuple[float | None, int, Ops]:
    """Return scale, multiplications and last ops of a single entry times another Jacobian."""
    if entry.scale is not None and other.scale is not None:
        return entry.scale * other.scale, 0, ()
    if entry.scale is None and other.scale is None:
        return None, other.count, ()
    factor = entry.scale if other.scale is None else other.scale
    assert factor is not None
    count = max(1, other.count)
    after = () if factor == 1 else (Scale(factor),)
    return None, 0 if abs(factor) == 1 else count, after


def _sized(structure: Structure, labels: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    return tuple((x, structure.sizes[x]) for x in labels)


def _by_labels(left: Structure, right: Structure) -> Product:
    """Return the product as the labels say."""
    labeling = Labeling()
    a, rows, inner_left = labeling.add(left)
    b, inner_right, cols = labeling.add(right)
    tie(labeling, list(zip(inner_left, inner_right, strict=True)))
    kept = {x for k in (*rows, *cols) for x in labeling.axes[k].labels}
    inner = {x for k in (*inner_left, *inner_right) for x in labeling.axes[k].labels} - kept
    labeling.axes = [labeling.axes[k] for k in (*rows, *cols)]
    return _contract(labeling, a, b, inner, len(rows))


def materialize_ops(structure: Structure) -> Ops:
    """Return the op that materializes an operator; nothing for what is an array already."""
    return () if structure.action is None else (Materialize(structure.stored_shape),)


def materialize_operator(operator: Structure, sweep: Sweep = "") -> Product:
    """Return the step that materializes an operator: by tangents, by adjoints or the cheaper."""
    tangent, adjoint = operator.costs_to_materialize
    cost = {"": operator.cost_to_materialize, "tangent": tangent, "adjoint": adjoint}[sweep]
    assert cost is not None
    ops = materialize_ops(operator)
    return Product(operator.materialized, cost, 0, ops, (), None, (), (), factors=(operator,))


def staged(product: Product, sweep: Sweep = "") -> tuple[list[Product | None], Product]:
    """Split a product with operators into steps: what materializes its factors, then the product.

    The first two are for the left and for the right factor, None where there is nothing to
    materialize; the three costs add up to that of the product. In a sweep, tangents are pushed
    through every operator on the left (adjoints pulled through those on the right) even where
    materializing the operator would be cheaper.
    """
    left, right = product.factors
    if (left.action is None and right.action is None) or product.structure.action is not None:
        return [None, None], product
    action = product.action
    if sweep:
        forced: Literal["jvp", "vjp"] = "jvp" if sweep == "tangent" else "vjp"
        operator = left if forced == "jvp" else right
        is_applied = operator.action is not None and _applied(left, right, forced)
        action = forced if is_applied else ""
    before: list[Product | None] = [None, None]
    if left.action and action != "jvp":
        before[0], left = materialize_operator(left, sweep), left.materialized
    if right.action and action != "vjp":
        before[1], right = materialize_operator(right, sweep), right.materialized
    applied = _applied(left, right, action) if action else multiply(left, right)
    assert applied is not None
    return before, replace(applied, factors=(left, right))


def _is_one(structure: Structure) -> bool:
    return structure.is_identity and structure.scale == 1


def _cheapest_with_operator(left: Structure, right: Structure) -> Product:
    """Return the cheapest product with an operator: by its JVPs, its VJPs, or materialized."""
    offers: list[Product | None] = [_materialized(left, right)]
    if left.action is not None:
        offers.append(_applied(left, right, "jvp"))
    if right.action is not None:
        offers.append(_applied(left, right, "vjp"))
    return min((x for x in offers if x is not None), key=lambda x: x.multiplications)


def _materialized(left: Structure, right: Structure) -> Product:
    """Return the product of the arrays that operators stand for."""
    plain = multiply(left.materialized, right.materialized)
    return replace(
        plain,
        multiplications=plain.multiplications
        + left.cost_to_materialize
        + right.cost_to_materialize,
        left=materialize_ops(left) + plain.left,
        right=materialize_ops(right) + plain.right,
    )


def _applied(left: Structure, right: Structure, action: Literal["jvp", "vjp"]) -> Product | None:
    """Return the product with an operator applied to all of the other factor, or None.

    The labels that the operator maps must be axes of the other factor's array, which is spread out
    along them where it is not: a selection becomes a block of unit vectors.
    """
    found = _applied_to_array(left, right, action)
    operator, other = (left, right) if action == "jvp" else (right, left)
    if found is not None or other.action is not None:
        return found
    arrangement = _spread(other, operator, action)
    if arrangement is None:
        return None
    spread, ops = arrangement.structure, arrangement.ops
    if action == "jvp":
        found = _applied_to_array(left, spread, action)
        found = found and replace(found, right=ops + found.right, factors=(left, right))
    else:
        found = _applied_to_array(spread, right, action)
        found = found and replace(found, left=ops + found.left, factors=(left, right))
    wanted = multiply(left.materialized, right.materialized).structure
    return found if found is not None and found.structure == wanted else None


def _spread(
    structure: Structure, operator: Structure, action: Literal["jvp", "vjp"]
) -> Arrangement | None:
    """Return a Jacobian whose array has the axes that an operator maps.

    None if it would be no smaller than the unit matrix on these.
    """
    outer, inner, met = structure.rows, structure.cols, operator.rows
    if action == "jvp":
        outer, inner, met = inner, outer, operator.cols
    batch = set(operator.sides[0])
    is_tied = [bool(batch & {*axis.labels}) for axis in met]
    tied = [axis for axis, is_batch in zip(inner, is_tied, strict=True) if is_batch]
    mapped = [axis for axis, is_batch in zip(inner, is_tied, strict=True) if not is_batch]
    labels = {x: structure.sizes[x] for axis in outer for x in axis.labels}
    if any(axis.positions is not None for axis in tied):
        return None
    if not tied and prod(axis.size for axis in outer) < prod(labels.values()):
        # Entries that share rows and columns: what stays small are the whole axes.
        by_label, outer, labels = list(outer), *_whole(outer, len(structure.sizes))
    else:
        # Those of a batch are axes of the array even where they are added up.
        labels |= {x: structure.sizes[x] for axis in tied for x in axis.labels}
        by_label = [Axis(size, (x,)) for x, size in labels.items()]
    if structure.scale == 0 or prod(labels.values()) >= prod(axis.size for axis in inner):
        return None
    ops = to_dense(replace(structure, rows=tuple(by_label), cols=tuple(mapped)))
    whole, made = _whole(mapped, len(structure.sizes) + len(outer))
    rest = iter(whole)
    inner = tuple(
        axis if is_batch else next(rest) for axis, is_batch in zip(inner, is_tied, strict=True)
    )
    sizes = labels | made
    ends = (inner, outer) if action == "jvp" else (outer, inner)
    found = arrange(*ends, sizes, [*sizes])
    return Arrangement(found.structure, (*ops, Reshape(tuple(sizes.values())), *found.ops))


def _whole(axes: Sequence[Axis], first: int) -> tuple[tuple[Axis, ...], dict[int, int]]:
    """Return axes of the same sizes with a label each, numbered from `first`, and their sizes."""
    labels = {first + k: axis.size for k, axis in enumerate(axes) if axis.size > 1}
    whole = [Axis(a.size, (first + k,) if a.size > 1 else ()) for k, a in enumerate(axes)]
    return tuple(whole), labels


def _applied_to_array(
    left: Structure, right: Structure, action: Literal["jvp", "vjp"]
) -> Product | None:
    """Return the product if the labels that the operator maps are axes of the other's array."""
    operator, other = (left, right) if action == "jvp" else (right, left)
    assert operator.action is not None
    each = operator.action.tangent if action == "jvp" else operator.action.adjoint
    if each is None:
        return None
    plain = multiply(left.materialized, right.materialized)
    if plain.labels is None or (plain.left if action == "jvp" else plain.right):
        return None
    own, theirs = plain.labels[:2] if action == "jvp" else plain.labels[1::-1]
    result = set(plain.labels[2])
    name = dict(zip(operator.stored, own, strict=True))
    batch, out, inner = ({name[x] for x in labels} for labels in operator.sides)
    taken, made = (inner, out) if action == "jvp" else (out, inner)
    fits = taken <= set(theirs) - result and made <= result - set(theirs)
    if not fits or not batch <= result & set(theirs):
        return None
    size = dict(plain.sizes)
    met = prod(size.values())
    count = prod(n for x, n in size.items() if x not in taken | made)
    # What has to be materialized is the other factor, if that is an operator too.
    ops = plain.right if action == "jvp" else plain.left
    first = materialize_ops(other)
    cost = plain.multiplications - met + count * each + other.cost_to_materialize
    applied = replace(
        plain,
        multiplications=cost,
        additions=min(plain.additions, count * each),
        action=action,
        factors=(left, right),
    )
    if action == "jvp":
        return replace(applied, right=first + ops)
    return replace(applied, left=first + ops)


def _times_unit(unit: Structure, other: Structure) -> Product:
    """Return the product with plus or minus the identity: the other factor as it is, or negated."""
    if unit.scale == 1:
        return Product(other, 0, 0, (), (), None, (), ())
    if other.scale is not None:
        return Product(replace(other, scale=-other.scale), 0, 0, (), (), None, (), ())
    return Product(other, 0, 0, (), (), None, (), (Scale(-1),))


def _of_matrices(left: Structure, right: Structure) -> Product:
    """Return what the labels would say of dense and diagonal matrices, without labeling it out."""
    m, k, n = left.rows[0].size, left.cols[0].size, right.cols[0].size
    is_wide = (left.is_dense, right.is_dense)
    sizes = ((0, m), (1, k), (2, n))
    right_labels = (1, 2) if is_wide[1] else (1,)
    left_labels = (0, 1) if is_wide[0] else (1,)
    out = (*left_labels[:-1], *([] if all(is_wide) else [1]), *right_labels[1:])
    structure = dense((m,), (n,)) if any(is_wide) else diagonal((m,))
    cost = (m if is_wide[0] else 1) * k * (n if is_wide[1] else 1)
    additions = m * n * (k - 1) if all(is_wide) else 0
    labels = (left_labels, right_labels, out)
    factors = (left, right)
    return Product(structure, cost, additions, (), (), labels, sizes, (), factors=factors)


def _contract(labeling: Labeling, a: Operand, b: Operand, inner: set[int], n_rows: int) -> Product:
    """Multiply two operands whose inner axes are tied; `inner` labels are to be added up."""
    everywhere = labeling.size([*inner.union(*(axis.labels for axis in labeling.axes))])
    only_a = {x for x in a.labels if x in inner and x not in b.labels}
    only_b = {x for x in b.labels if x in inner and x not in a.labels}
    a.sum_out(only_a)
    b.sum_out(only_b)
    # A label that is added up and that neither array has: so many equal terms.
    repeats = labeling.size([x for x in inner - only_a - only_b if x not in a.labels + b.labels])
    union = [*a.labels, *(x for x in b.labels if x not in a.labels)]
    labels = None
    met = 0
    if everywhere == 0 or a.scale == 0 or b.scale == 0:
        result = Operand((), 0.0)
    elif a.scale is not None or b.scale is not None:
        one, other = (a, b) if a.scale is not None else (b, a)
        assert one.scale is not None
        result = Operand(other.labels, other.scale)
        result.multiply(one.scale * repeats, labeling.sizes)
    else:
        met = labeling.size(union)
        out = [x for x in union if x not in inner]
        labels = (tuple(a.labels), tuple(b.labels), tuple(out))
        result = Operand(out, None)
        result.multiply(repeats, labeling.sizes)
    left, right = tuple(a.ops), tuple(b.ops)
    sizes = tuple((x, labeling.sizes[x]) for x in union)
    labeling.operands = [result]
    structure = labeling.normal_form(n_rows)
    cost = met + result.multiplications
    keeps_array = structure.scale is None
    # Terms beyond the first that are added up in one entry of the result.
    terms = _terms(everywhere, structure) if keeps_array else 0
    return Product(structure, cost, terms, left, right, labels, sizes, tuple(result.ops))


def _terms(everywhere: int, structure: Structure) -> int:
    """Return the additions of a product: terms over all labels, less the entries they end in."""
    return max(0, (everywhere - structure.nonzeros) * structure.count // max(1, structure.nonzeros))
