"""The sparsity pattern of a result: which entries some path from the input to the output reaches.

What a plan stores may hold more: sums that fill a third of a box are kept as that box, and
operators are materialized in full. The pattern is propagated through the linear graph as bits, 64
columns to a word, whatever the order of elimination.
Source: Griewank & Walther, *Evaluating Derivatives*, 2nd ed., ch. 7 (index domains).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from chainad.ir.positions import Integers
from chainad.planning.linear_graph import LinearGraph
from chainad.planning.orders import Vertex
from chainad.structure.structure import Structure

Bits = npt.NDArray[np.uint64]

_WORD = 64

# Words of the bits of one vertex that are propagated at a time.
_MAX_BLOCK_WORDS = 1 << 20

# Beyond so many words in all, finding the pattern would take seconds.
_MAX_WORDS = 1 << 30


def may_be_nonzero(
    graph: LinearGraph, start: Vertex, end: Vertex, rows: Integers, cols: Integers
) -> npt.NDArray[np.bool_]:
    """Return which entries of the Jacobian of `end` with respect to `start` some path reaches.

    The entries are given by row and column of the Jacobian as a matrix; of very large graphs, all
    are said to be reached.
    """
    n = graph.size(start)
    entries = sum(edge.structure.nonzeros for edge in graph.edges)
    if entries * (n // _WORD + 1) > _MAX_WORDS:
        return np.ones(rows.shape, bool)
    widest = max(map(graph.size, range(len(graph.shapes))))
    width = _WORD * max(1, _MAX_BLOCK_WORDS // widest)
    found = np.zeros(rows.shape, bool)
    for first in range(0, n, width):
        own = np.flatnonzero((cols >= first) & (cols < first + width))
        bits = _propagated(graph, start, end, range(first, min(n, first + width)))
        if bits is not None:
            column = cols[own] - first
            words = bits[rows[own], column // _WORD]
            found[own] = words >> (column % _WORD).astype(np.uint64) & np.uint64(1)
    return found


def _propagated(graph: LinearGraph, start: Vertex, end: Vertex, columns: range) -> Bits | None:
    """Return the pattern between two vertices in some columns, as bits; None if there is none."""
    bits: dict[Vertex, Bits] = {start: _unit(graph.size(start), columns)}
    for edge in sorted(graph.edges, key=lambda edge: edge.tail):
        if edge.tail not in bits or edge.structure.scale == 0:
            continue
        new = _applied(edge.structure, bits[edge.tail])
        old = bits.get(edge.head)
        bits[edge.head] = new if old is None else old | new
    return bits.get(end)


def _unit(size: int, columns: range) -> Bits:
    """Return the rows of the identity, in some columns."""
    bits = np.zeros((size, -(-len(columns) // _WORD)), np.uint64)
    at = np.arange(len(columns))
    bits[at + columns.start, at // _WORD] = np.uint64(1) << (at % _WORD).astype(np.uint64)
    return bits


def _applied(structure: Structure, bits: Bits) -> Bits:
    """Return the pattern of a local Jacobian times another one."""
    if structure.is_identity:
        return bits
    shape = (structure.matrix_shape[0], bits.shape[1])
    if structure.is_dense:
        return np.broadcast_to(np.bitwise_or.reduce(bits, axis=0), shape)
    rows, cols, starts = _compressed(structure)
    found = np.zeros(shape, np.uint64)
    if rows.size:
        found[rows] = np.bitwise_or.reduceat(bits[cols], starts, axis=0)
    return found


@lru_cache(maxsize=256)
def _compressed(structure: Structure) -> tuple[Integers, Integers, Integers]:
    """Return the rows that have entries, the columns row by row, and where each row begins."""
    rows, cols = structure.nonzero_entries()
    order = np.argsort(rows, kind="stable")
    found, starts = np.unique(rows[order], return_index=True)
    return found, cols[order], starts
