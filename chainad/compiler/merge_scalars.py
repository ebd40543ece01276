"""Functions written entry by entry: isomorphic scalar calls become one vertex, a vector.

Calls of one function on scalars that stand on the same level of the graph cannot read one another,
so that their values are a block of the graph as much as the entries of an array are. Between two
blocks there is one local Jacobian, whose entries are listed. Thousands of vertices become a few,
and the sum of thousands of single entries is never formed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainad.ir.array_functions import is_traced
from chainad.ir.cache import cached_property
from chainad.ir.graph import Argument, Graph, Node, operands_alone
from chainad.ir.positions import Integers, positions
from chainad.rules.base import Local, arguments_in, kind_of
from chainad.rules.kinds import Elementwise, Movement
from chainad.rules.movement import entry_numbers, flat_index, getitem
from chainad.structure import arrange, selection
from chainad.structure.structure import Axis

# Fewer calls are as quick one by one, and an order of elimination may tell them apart.
MIN_MERGED_CALLS = 32

# The share of what reads a block that must read it as a block.
_MIN_SHARE_OF_BLOCKS = 0.9


@dataclass(frozen=True)
class Blocks:
    """Which calls of a graph are merged: `members` of every block, and the `place` of every call.

    `order` has the first call of every block, and all calls outside, each after what it reads.
    """

    members: dict[int, tuple[int, ...]]
    order: tuple[int, ...]

    def shape(self, k: int, own: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a vertex: that of its block, or its own."""
        return (len(self.members[k]),) if k in self.members else own

    @cached_property
    def place(self) -> dict[int, tuple[int, int]]:
        """For every merged call the first one of its block, and its number in there."""
        return {k: (first, row) for first, own in self.members.items() for row, k in enumerate(own)}


def blocks_of(graph: Graph, calls: Iterable[int]) -> Blocks:
    """Return which of some calls are merged."""
    level: dict[int, int] = {}
    found: dict[tuple[int, Hashable], list[int]] = {}
    readers: dict[int, list[int]] = {}
    numbers = sorted(calls)
    outputs = {*graph.outputs}
    for k in numbers:
        node = graph.nodes[k]
        sources = [s for s in node.sources if s is not None]
        level[k] = 1 + max((level.get(s, -1) for s in sources), default=-1)
        for s in sources:
            readers.setdefault(s, []).append(k)
        key = _key(graph, node) if k not in outputs else None
        if key is not None:
            found.setdefault((level[k], key), []).append(k)
    large = [own for own in found.values() if len(own) >= MIN_MERGED_CALLS]
    merged: set[int] = set()
    members = {}
    # Blocks are worth it where what reads them are blocks, too, or moves many entries at once.
    for own in sorted(large, key=lambda own: -level[own[0]]):
        reading = [c for k in own for c in readers.get(k, ())]
        n_blocks = sum(c in merged or moves_many(graph.nodes[c]) for c in reading)
        if reading and n_blocks >= _MIN_SHARE_OF_BLOCKS * len(reading):
            merged.update(own)
            members[own[0]] = tuple(own)
    rest = [k for k in numbers if k not in merged]
    order = sorted([*rest, *members], key=lambda k: (level[k], k))
    return Blocks(members, tuple(order if members else numbers))


def _key(graph: Graph, node: Node) -> Hashable | None:
    """Return what calls have in common that are merged; None for one that is not."""
    if node.shape or node.dtype.kind != "f" or all(s is None for s in node.sources):
        return None
    if node.function is getitem:
        return None if _flat_index(node) is None else (getitem, node.sources, node.dtype)
    if not isinstance(kind_of(node.function), Elementwise):
        return None
    own = [x for x in node.args if isinstance(x, Argument)]
    if not node.is_alone or any(x.shape or x.dtype.kind not in "fiu" for x in own):
        return None
    return (node.function, id(node.args), node.dtype)  # equal arguments are the very same


def moves_many(node: Node) -> bool:
    """Return whether a call only moves entries of many scalars."""
    return len(node.sources) >= MIN_MERGED_CALLS and isinstance(kind_of(node.function), Movement)


def _flat_index(node: Node) -> int | None:
    """Return which entry of an array a call takes, if its index is of integers alone."""
    x, key = node.args[:2] if len(node.args) == 2 and not node.kwargs else (None, None)
    if not isinstance(x, Argument) or x.dtype.kind != "f":
        return None
    return flat_index(key, x.shape)


@dataclass(frozen=True)
class BlockLocal:
    """A local Jacobian by the value of `source`, of some members of a block, or of one call."""

    source: int
    local: Local
    calls: int | tuple[int, ...]


def locals_of_block(
    graph: Graph,
    blocks: Blocks,
    first: int,
    pieces: Callable[[Node], Sequence[tuple[int, Local]]],
) -> list[BlockLocal]:
    """Return the local Jacobians of a block; `pieces` gives those of a call, by operand."""
    members = blocks.members[first]
    if graph.nodes[first].function is getitem:
        (source,) = graph.nodes[first].sources
        assert source is not None
        shape = graph.nodes[first].args[0].shape
        entries = np.array([_flat_index(graph.nodes[k]) for k in members])
        return [BlockLocal(source, Local(selection(entries, shape), None), members)]
    found = []
    for operand, source in enumerate(graph.nodes[first].sources):
        if source is not None:
            found += _by_operand(graph, blocks, members, operand, pieces)
    return found


def _by_operand(
    graph: Graph,
    blocks: Blocks,
    members: tuple[int, ...],
    operand: int,
    pieces: Callable[[Node], Sequence[tuple[int, Local]]],
) -> list[BlockLocal]:
    """Return the local Jacobians of a block by one operand, by every vertex that holds it."""
    rows: dict[int, list[int]] = {}
    cols: dict[int, list[int]] = {}
    for row, k in enumerate(members):
        source = graph.nodes[k].sources[operand]
        assert source is not None
        block, col = blocks.place.get(source, (source, 0))
        rows.setdefault(block, []).append(row)
        cols.setdefault(block, []).append(col)
    found = []
    for block, own in rows.items():
        calls = tuple(members[row] for row in own)
        tail = [Axis(n, (0,), positions(cols[block])) for n in blocks.shape(block, ())]
        head = [Axis(len(members), (0,), positions(own))]
        for number, local in pieces(_on_vectors(graph.nodes[members[0]], len(own))):
            if number == operand:
                kept = local.arrangement.structure
                arrangement = arrange(head, tail, {0: len(own)}, kept.stored, kept.scale)
                found.append(
                    BlockLocal(block, Local(arrangement, local.formula, local.mask), calls)
                )
    return found


def _on_vectors(node: Node, count: int) -> Node:
    """Return the call that does on vectors what `count` calls do on scalars."""
    traced = [s is not None for s in node.sources]
    vectors = [((count,), x.dtype, t) for x, t in zip(node.args, traced, strict=True)]
    return node._replace(args=operands_alone(*vectors), shape=(count,), is_alone=True)


def locals_of_movement(graph: Graph, blocks: Blocks, k: int) -> list[BlockLocal]:
    """Return the local Jacobians of a call that moves entries of many scalars."""
    node = graph.nodes[k]
    operands = arguments_in([*node.args, *node.kwargs.values()])
    numbers = entry_numbers(node.function, node.args, node.kwargs, operands)
    found = []
    rows: dict[int, Integers] = {}
    size, start = 1 + sum(x.size for x in operands), 1
    for x in operands:
        source = node.sources[x.number]
        if source in blocks.place:
            block, row = blocks.place[source]
            if block not in rows:
                rows[block] = np.full(size, -1)
            rows[block][start] = row
        elif source is not None:
            found.append(BlockLocal(source, Local(selection(numbers - start, x.shape), None), k))
        start += x.size
    for block, row_of in rows.items():
        local = Local(selection(row_of[numbers], blocks.shape(block, ())), None)
        found.append(BlockLocal(block, local, k))
    return found


def stacked(values: Sequence[Any]) -> Any:
    """Return the values of all calls of a block as a vector."""
    return np.stack(values) if any(map(is_traced, values)) else np.array(values)
