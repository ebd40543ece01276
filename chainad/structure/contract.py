"""Contraction: the instructions of products and sums of structures.

An einsum of two arrays becomes `multiply` if nothing is added up, else one `matmul` over
(batch, rows, inner) and (batch, inner, cols): NumPy's own einsum is several times slower there.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from chainad.ir import ops
from chainad.ir.program_builder import ProgramBuilder
from chainad.structure.product import Product
from chainad.structure.sum import StructureSum

Labels = Sequence[int]

# Of fewer, a product of small matrices is as quick as it is to see that these are complex numbers.
MIN_ROWS_OF_PAIRS = 16


def emit_product(
    builder: ProgramBuilder, product: Product, left: int | None, right: int | None
) -> int | None:
    """Emit the product of two Jacobians; None if its structure stores nothing."""
    if product.structure.scale is not None and not product.after:
        return None
    sparse = _sparse_product(builder, product, left, right)
    if sparse is not None:
        return sparse
    if product.labels is None:
        one, two = builder.apply(product.left, left), builder.apply(product.right, right)
        return builder.apply(product.after, two if one is None else one)
    a = builder.apply_stored(product.left, left)
    b = builder.apply_stored(product.right, right)
    if product.action:
        return builder.apply(product.after, _apply_operator(builder, product, a, b))
    found = contract(builder, product.labels, dict(product.sizes), a, b, product.blocks)
    return builder.apply(product.after, found)


def _sparse_product(
    builder: ProgramBuilder, product: Product, left: int | None, right: int | None
) -> int | None:
    """Emit a product that gathers, multiplies and adds up segments as one sparse product.

    The vector of a pattern times an array gathered along the same label, added up along it, is a
    sparse matrix times that array: nothing of the size of the gathered array is ever made.
    Returns None if the product is not of this form.
    """
    if (
        product.labels is None
        or not product.after
        or not isinstance(product.after[0], ops.SegmentSum)
    ):
        return None
    segments = product.after[0]
    one, two, out = product.labels
    label = out[segments.axis]
    sides = [(one, product.left, left, two, product.right, right)]
    sides.append((two, product.right, right, one, product.left, left))
    for vector, on_vector, values, labels, on_array, array in sides:
        take = on_array[-1] if on_array else None
        if vector != (label,) or not isinstance(take, ops.Take) or labels[take.axis] != label:
            continue
        data = builder.apply_stored(on_vector, values)
        x = builder.apply_stored(on_array[:-1], array)
        size = dict(product.sizes)
        rest = [y for y in labels if y != label]
        width = prod(size[y] for y in rest)
        x = builder.transpose_to(x, labels, [label, *rest])
        if len(rest) != 1:
            x = builder.emit(ops.Reshape((-1, width)), x)
        y = builder.emit(ops.SparseDot(segments.segments, take.positions, segments.size), data, x)
        y = builder.emit(ops.Reshape((segments.size, *(size[z] for z in rest))), y)
        y = builder.transpose_to(y, [label, *rest], out)
        return builder.apply(product.after[1:], y)
    return None


def contract(
    builder: ProgramBuilder,
    labels: tuple[Labels, Labels, Labels],
    size: dict[int, int],
    a: int,
    b: int,
    blocks: int = 1,
) -> int:
    """Emit the einsum of two arrays with these labels; return the register of its result.

    With several `blocks` it is a symmetric matrix product.
    """
    left, right, out = labels
    inner = [x for x in left if x in right and x not in out]
    if not inner:
        if not out:
            return builder.emit(ops.Multiply(), a, b)
        return builder.emit(
            ops.Multiply(),
            _align_axes(builder, a, left, out, size),
            _align_axes(builder, b, right, out, size),
        )
    batch = [x for x in out if x in left and x in right]
    rows = [x for x in out if x not in right]
    cols = [x for x in out if x not in left]
    shape = tuple(size[x] for x in batch)
    total = prod(size[x] for x in inner)
    if [*rows, *batch, *inner] == [*left] and [*rows, *batch, *cols] == [*out] and shape:
        count, blocks_of = prod(size[x] for x in rows), prod(shape)
        if total == prod(size[x] for x in cols) == 2 and count >= MIN_ROWS_OF_PAIRS:
            a = builder.emit(ops.Reshape((count, blocks_of, 2)), a)
            b = builder.rearrange(b, right, [*batch, *inner, *cols], (blocks_of, 2, 2), size)
            result = builder.emit(ops.PairMatMul(), a, b)
            return builder.emit(ops.Reshape(tuple(size[x] for x in out)), result)
    is_dot = bool(batch) and not rows and not cols
    has_rows = bool(rows) or (bool(batch) and not is_dot)
    has_cols = bool(cols) or (bool(batch) and not is_dot)
    m = (prod(size[x] for x in rows),) if has_rows else ()
    n = (prod(size[x] for x in cols),) if has_cols else ()
    a = builder.rearrange(a, left, [*batch, *rows, *inner], (*shape, *m, total), size)
    if is_dot:
        b = builder.rearrange(b, right, [*batch, *inner], (*shape, total), size)
        result = builder.emit(ops.Dot(), a, b)
    else:
        b = builder.rearrange(b, right, [*batch, *inner, *cols], (*shape, total, *n), size)
        matmul = ops.MatMul() if blocks == 1 else ops.SymmetricMatMul(blocks)
        result = builder.emit(matmul, a, b)
    found = [*batch, *rows, *cols]
    wanted = tuple(size[x] for x in found)
    if not is_dot and (*shape, *m, *n) != wanted:
        result = builder.emit(ops.Reshape(wanted), result)
    return builder.transpose_to(result, found, out)


def _apply_operator(builder: ProgramBuilder, product: Product, a: int, b: int) -> int:
    """Emit the product with an operator, on the side that `product.action` names."""
    assert product.labels is not None
    is_jvp = product.action == "jvp"
    (operator, other) = product.labels[:2] if is_jvp else product.labels[1::-1]
    out, size = product.labels[2], dict(product.sizes)
    batch = [x for x in operator if x in other and x in out]
    taken = [x for x in operator if x in other and x not in out]
    made = [x for x in operator if x not in other]
    free = [x for x in other if x not in operator]
    shape = tuple(size[x] for x in batch)
    n, k = prod(size[x] for x in taken), prod(size[x] for x in free)
    if is_jvp:
        b = _as_block(builder, b, other, [*batch, *taken, *free], (*shape, n, k))
        result, labels = builder.emit(ops.Jvp(), a, b), [*batch, *made, *free]
    else:
        a = _as_block(builder, a, other, [*batch, *free, *taken], (*shape, k, n))
        result, labels = builder.emit(ops.Vjp(), a, b), [*batch, *free, *made]
    result = builder.emit(ops.Reshape(tuple(size[x] for x in labels)), result)
    return builder.transpose_to(result, labels, out)


def _as_block(
    builder: ProgramBuilder, register: int, have: Labels, want: Labels, shape: tuple[int, ...]
) -> int:
    return builder.emit(ops.Reshape(shape), builder.transpose_to(register, have, want))


def _align_axes(
    builder: ProgramBuilder, register: int, have: Labels, want: Labels, size: dict[int, int]
) -> int:
    """Give an array one axis for every label of `want`, of size 1 where it has none."""
    shape = tuple(size[x] if x in have else 1 for x in want)
    while shape and shape[0] == 1:  # NumPy adds leading axes itself
        shape = shape[1:]
    return builder.rearrange(register, have, [x for x in want if x in have], shape, size)


def emit_sum(
    builder: ProgramBuilder, total: StructureSum, left: int | None, right: int | None
) -> int | None:
    """Emit the sum of two Jacobians; None if its structure stores nothing."""
    if total.structure.scale is not None:
        return None
    (base, one), (other, two) = (total.left, left), (total.right, right)
    if base and isinstance(base[-1], ops.Place):
        (base, one), (other, two) = (other, two), (base, one)
    a = builder.apply_stored(base, one)
    last = other[-1] if other else None
    if (
        isinstance(last, ops.Place)
        and not (base and isinstance(base[-1], ops.Place))
        and total.fills
    ):
        b = builder.apply_stored(other[:-1], two)
        result = builder.emit(ops.AddAt(last.axis, last.positions), a, b)
    else:
        b = builder.apply_stored(other, two)
        result = builder.emit(ops.Add(), a, b)
    return builder.apply(total.after, result)
