"""Oracles: dense arrays, products and programs, by loops that anyone can read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from chainad.ir import ops
from chainad.ir.op import Op
from chainad.ir.positions import Positions, as_array
from chainad.ir.program import Program
from chainad.ir.shapes import resized
from chainad.planning.linear_graph import LinearGraph
from chainad.planning.orders import Vertex
from chainad.structure import Product, StructureSum
from chainad.structure.structure import Structure

Array: TypeAlias = npt.NDArray[np.float64]
Shape: TypeAlias = tuple[int, ...]


def to_array(structure: Structure, entries: Array | None) -> Array:
    """Return the full Jacobian, of shape rows + cols, entry by entry.

    Parameters
    ----------
    structure : Structure
    entries : array of shape `structure.stored_shape`, or None
        The stored array; None if the structure stores none.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> from chainad.structure import diagonal
    >>> to_array(diagonal((2,)), np.array([3.0, 5.0]))
    array([[3., 0.],
           [0., 5.]])
    """
    kept = np.asarray(structure.scale if entries is None else entries, np.float64)
    stored = [n if k in structure.stored else 1 for k, n in enumerate(structure.sizes)]
    values = np.broadcast_to(kept.reshape(stored), structure.sizes).ravel()
    full = np.zeros(structure.matrix_shape)
    for row, col, value in zip(*structure.entries(), values, strict=True):
        full[row, col] += value
    return full.reshape((*structure.row_shape, *structure.col_shape))


def dense_product(left: Array, right: Array, n_inner: int) -> Array:
    """Return left @ right, summed over `n_inner` axes.

    Examples
    --------
    >>> dense_product(np.ones((2, 3)), np.ones((3, 4)), 1).shape
    (2, 4)
    """
    return np.asarray(np.tensordot(left, right, n_inner), np.float64)


def path_sum(graph: LinearGraph, entries: Sequence[Array | None]) -> list[Array]:
    """Return the Jacobians of a linear graph as sums over all paths of products of dense arrays.

    Parameters
    ----------
    graph : LinearGraph
    entries : sequence
        The kept array of every edge, None where there is none.

    Returns
    -------
    list of ndarray
        One for every pair (output, input), outputs first.

    Examples
    --------
    >>> from random import Random
    >>> from chainad.testing import random_chain
    >>> graph, entries = random_chain(Random(0), 3)
    >>> [block.shape == (*graph.shapes[-1], *graph.shapes[0]) for block in path_sum(graph, entries)]
    [True]
    """
    dense = [to_array(e.structure, a) for e, a in zip(graph.edges, entries, strict=True)]

    def along_all_paths(v: Vertex, end: Vertex) -> Array:
        if v == end:
            size = graph.size(v)
            return np.eye(size).reshape((*graph.shapes[v], *graph.shapes[v]))
        total = np.zeros((*graph.shapes[end], *graph.shapes[v]))
        for edge, local in zip(graph.edges, dense, strict=True):
            if edge.tail == v:
                rest = along_all_paths(edge.head, end)
                total += dense_product(rest, local, len(graph.shapes[edge.head]))
        return total

    return [along_all_paths(i, o) for o in graph.outputs for i in graph.inputs]


def apply_op(op: Op, *arrays: Array) -> Array:
    """Do what an op says, in the plainest way.

    Examples
    --------
    >>> apply_op(ops.Sum((0,)), np.ones((2, 3)))
    array([2., 2., 2.])
    """
    match op, arrays:
        case ops.Full(value), ():
            return np.array(float(value))
        case ops.Reshape(shape), (a,):
            return a.reshape(shape)
        case ops.Transpose(order), (a,):
            return a.transpose(order)
        case ops.Broadcast(shape), (a,):
            return np.broadcast_to(a, shape)
        case ops.Take(axis, where), (a,):
            return a.take(as_array(where), axis)
        case ops.Place(axis, where, size), (a,):
            return _placed(np.zeros(resized(a.shape, axis, size)), axis, where, a)
        case ops.SegmentSum(axis, segments, size), (a,):
            return _placed(np.zeros(resized(a.shape, axis, size)), axis, segments, a)
        case ops.Sum(axes), (a,):
            return np.asarray(a.sum(axes))
        case ops.Scale(factor), (a,):
            return a * factor
        case ops.Copy(), (a,):
            return a.copy()
        case ops.Add(), (a, b):
            return a + b
        case ops.Subtract(), (a, b):
            return a - b
        case ops.AddAt(axis, where), (a, b):
            return _placed(a.copy(), axis, where, b)
        case ops.AddTied(shape, ties), (a, b):
            out = a.reshape(shape).copy()
            sizes = tuple(shape[ties.index(k)] for k in range(b.ndim))
            for at, number in np.ndenumerate(np.broadcast_to(b, sizes)):
                out[tuple(at[tie] for tie in ties)] += number
            return out.reshape(a.shape)
        case ops.Multiply(), (a, b):
            return a * b
        case ops.SumOfSquares(), arrays:
            return np.asarray(sum(np.sum(a * a) for a in arrays))
        case ops.MatMul(), (a, b):
            return a @ b
        case ops.PairMatMul(), (a, b):
            return np.asarray((a[..., None] * b).sum(-2))
        case ops.Dot(), (a, b):
            return np.asarray((a * b).sum(-1))
        case ops.Concatenate(), _:
            return np.concatenate(arrays)
        case ops.Row(index), (a,):
            return np.asarray(a[index])
        case ops.SparseDot(rows, cols, size), (a, b):
            matrix = np.zeros((size, b.shape[0]))
            np.add.at(matrix, (as_array(rows), as_array(cols)), a)
            return matrix @ b
        case ops.Scatter(places, size, _, signs), _:
            each = signs or ((1,),) * len(places)
            spots = [p for p, own in zip(places, each, strict=True) for _ in own]
            factors = [sign for own in each for sign in own]
            pieces = zip(spots, factors, arrays, strict=True)
            return sum((sign * _put(at, size, a) for at, sign, a in pieces), np.zeros(size))
        case ops.Ones(), (a,):
            return np.ones(a.shape)
        case ops.NonZero(), (a,):
            return np.where(a != 0, 1.0, 0.0)
        case ops.Masked(), (mask, a):
            return np.where(mask != 0, a, 0.0)
        case ops.AnyAlong(axis), (mask, a):
            return np.broadcast_to((mask != 0).any(axis, keepdims=True).astype(float), a.shape)
        case ops.MaskedMatMul(), (a, b, mask_a, mask_b):
            terms = a[..., None] * b[..., None, :, :]
            is_used = (mask_a[..., None] != 0) & (mask_b[..., None, :, :] != 0)
            return np.asarray(np.where(is_used, terms, 0.0).sum(-2))
    raise TypeError(f"{op} does not take {len(arrays)} arrays")


def _put(where: Positions, size: int, a: Array) -> Array:
    a = a.reshape(()) if a.size == 1 else a  # one number, with however many axes, goes everywhere
    return _placed(np.zeros(size), 0, where, np.broadcast_to(a, (len(where),)))


def _placed(out: Array, axis: int, where: Positions, a: Array) -> Array:
    a = np.broadcast_to(a, resized(out.shape, axis, len(where)))
    for k, place in enumerate(as_array(where)):
        out[(slice(None),) * axis + (place,)] += a[(slice(None),) * axis + (k,)]
    return out


def apply_ops(unary: Iterable[Op], array: Array | None) -> Array | None:
    """Apply ops one after the other; None stands for a structure that stores none.

    Examples
    --------
    >>> apply_ops([ops.Reshape((3,)), ops.Scale(2)], np.ones((1, 3)))
    array([2., 2., 2.])
    """
    for op in unary:
        if isinstance(op, ops.Full):
            array = apply_op(op)
        else:
            assert array is not None
            array = apply_op(op, array)
    return array


def run_program(program: Program, slots: Sequence[Array | None]) -> list[Array | None]:
    """Execute a program with `apply_op`, one instruction after the other.

    Examples
    --------
    >>> from chainad.ir.program import Instruction
    >>> run_program(Program(1, (Instruction(ops.Scale(2), (0,), 1),), (1,)), [np.ones(2)])
    [array([2., 2.])]
    """
    registers: dict[int, Array] = {k: a for k, a in enumerate(slots) if a is not None}
    for instruction in program.instructions:
        operands = [registers[k] for k in instruction.inputs]
        registers[instruction.output] = apply_op(instruction.op, *operands)
    return [None if k is None else registers[k] for k in program.outputs]


def product_entries(product: Product, left: Array | None, right: Array | None) -> Array | None:
    """Return the stored array of a product, from those of its factors.

    Examples
    --------
    >>> from chainad.structure import diagonal, multiply
    >>> D = diagonal((2,))
    >>> product_entries(multiply(D, D), np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    array([3., 8.])
    """
    if product.structure.scale is not None:
        return None
    a = apply_ops(product.left, left)
    b = apply_ops(product.right, right)
    if product.labels is None:
        return apply_ops(product.after, b if a is None else a)
    letter = {x: chr(ord("a") + k) for k, (x, _) in enumerate(product.sizes)}
    left_subscripts, right_subscripts, subscripts = (
        "".join(letter[x] for x in labels) for labels in product.labels
    )
    assert a is not None
    assert b is not None
    result = np.einsum(f"{left_subscripts},{right_subscripts}->{subscripts}", a, b)
    return apply_ops(product.after, np.asarray(result))


def sum_entries(total: StructureSum, left: Array | None, right: Array | None) -> Array | None:
    """Return the stored array of a sum, from those of its terms.

    Examples
    --------
    >>> from chainad.structure import add, diagonal, identity
    >>> sum_entries(add(diagonal((2,)), identity((2,))), np.array([1.0, 2.0]), None)
    array([2., 3.])
    """
    if total.structure.scale is not None:
        return None
    a = apply_ops(total.left, left)
    b = apply_ops(total.right, right)
    assert a is not None
    assert b is not None
    return apply_ops(total.after, a + b)
