"""What is alike: instructions that one batched op could do together.

These have the same op, on operands of the same shapes, and stand at the same depth of the
program, so that none can read another. Long sums of small arrays are taken apart first, so that
what only goes into a sum may wait until all of its terms can be made together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol, TypeAlias

import numpy as np

from chainad.ir.ops import (
    Add,
    AddAt,
    Broadcast,
    Copy,
    Dot,
    MatMul,
    Multiply,
    Op,
    Place,
    Reshape,
    Row,
    Scale,
    Scatter,
    Subtract,
    Sum,
    Take,
    Transpose,
)
from chainad.ir.program import Program

# So many alike are worth stacking, and a long sum has so many terms.
MANY = 8

# An array is small up to so many numbers: a call on it costs more than its arithmetic. A stack has
# so many at most.
SMALL, LARGEST = 1024, 1 << 18

ALIGNED = (Add, Subtract, Multiply, Dot)
ABLE = (*ALIGNED, AddAt, Broadcast, MatMul, Place, Reshape, Scale, Sum, Take, Transpose)
VIEWS = (Broadcast, Reshape, Row, Take, Transpose)


Repeated: TypeAlias = tuple[int, tuple[int, ...]]  # a register, and the shape of the product


class Seen(Protocol):
    """What a run showed of a register."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...


@dataclass(frozen=True, slots=True)
class Total:
    """A sum of many arrays of one shape, with a sign for each."""

    signs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """An instruction, or a long sum."""

    op: Op | Total
    inputs: tuple[int, ...]
    output: int


def nodes_of(program: Program, seen: Mapping[int, Seen], same: Sequence[int]) -> list[Node]:
    """Return the instructions of a program, each made once, and every long sum as one.

    `same` tells, for every slot, the first one that always holds the very same array.
    """
    handed_out = _handed_out(program)
    return _with_long_sums(_without_copies(program, same, handed_out), seen, handed_out)


def groups_of(
    program: Program, nodes: Sequence[Node], seen: Mapping[int, Seen]
) -> list[list[Node]]:
    """Return the nodes that one op could do together, those that others read first."""
    handed_out, level = _handed_out(program), _levels(nodes)
    found: dict[Any, list[Node]] = {}
    for node in nodes:
        if node.output not in handed_out and _is_able(node, seen):
            kinds = tuple(_kind(seen[k]) for k in (*node.inputs, node.output))
            found.setdefault((level[node.output], node.op, kinds), []).append(node)
    groups = [found[key] for key in sorted(found, key=lambda key: key[0])]
    return [g for g in groups if len(g) >= MANY and _size(g, seen) <= LARGEST]


def _size(group: Sequence[Node], seen: Mapping[int, Seen]) -> int:
    return len(group) * prod(seen[group[0].output].shape)


def repeated_in(node: Node, seen: Mapping[int, Seen]) -> list[Repeated]:
    """Return the factors that a small product repeats along an axis, with its shape."""
    shape = seen[node.output].shape
    if not isinstance(node.op, Multiply) or prod(shape) > SMALL:
        return []
    # A single number is repeated at no cost.
    return [(k, shape) for k in node.inputs if seen[k].shape != shape and prod(seen[k].shape) > 1]


def _handed_out(program: Program) -> set[int]:
    """Return the registers that results are, or may be views of."""
    found = {k for k in program.outputs if k is not None}
    for i in reversed(program.instructions):
        if i.output in found and isinstance(i.op, VIEWS):
            found.add(i.inputs[0])
    return found


def _without_copies(program: Program, same: Sequence[int], handed_out: set[int]) -> list[Node]:
    """Return the instructions, but what always has the same numbers is made once."""
    first: dict[int, int] = {}
    now = {k: first.setdefault(same[k], k) for k in program.used_slots}
    known: dict[tuple[Op, tuple[int, ...]], int] = {}
    nodes = []
    for i in program.instructions:
        inputs = tuple(now.get(k, k) for k in i.inputs)
        # A result has memory of its own; the places of a scatter are long to compare.
        if i.output not in handed_out and not isinstance(i.op, (Copy, Scatter)):
            now[i.output] = known.setdefault((i.op, inputs), i.output)
        if now.get(i.output, i.output) == i.output:
            nodes.append(Node(i.op, inputs, i.output))
    return nodes


# ----------------------------------------------------------------------- sums


def _with_long_sums(
    nodes: Sequence[Node], seen: Mapping[int, Seen], handed_out: set[int]
) -> list[Node]:
    """Return the nodes with every long sum of small arrays as one."""
    reads = Counter(k for node in nodes for k in node.inputs)
    made = {node.output: node for node in nodes if _is_sum(node, seen)}
    inner = {
        k
        for node in made.values()
        for k in node.inputs
        if k in made and reads[k] == 1 and k not in handed_out
    }
    gone: set[int] = set()
    long: dict[int, Node] = {}
    for node in made.values():
        if node.output not in inner:
            signs, terms, passed = _terms(node, made, inner)
            if len(terms) >= MANY:
                long[node.output] = Node(Total(signs), terms, node.output)
                gone |= passed
    return [long.get(node.output, node) for node in nodes if node.output not in gone]


def _is_sum(node: Node, seen: Mapping[int, Seen]) -> bool:
    """Return whether a node adds or subtracts two small arrays of its own kind."""
    own = _kind(seen[node.output])
    is_alike = all(_kind(seen[k]) == own for k in node.inputs)
    return isinstance(node.op, (Add, Subtract)) and is_alike and 0 < prod(own[0]) <= SMALL


def _kind(seen: Seen) -> tuple[tuple[int, ...], np.dtype[Any]]:
    return seen.shape, seen.dtype


def _terms(
    root: Node, made: Mapping[int, Node], inner: set[int]
) -> tuple[tuple[int, ...], tuple[int, ...], set[int]]:
    """Return signs and registers of the terms of a sum, and the sums on the way to them."""
    found: list[tuple[int, int]] = []
    passed: set[int] = set()
    left = [(1, root)]
    while left:
        sign, node = left.pop()
        second = -sign if isinstance(node.op, Subtract) else sign
        for own, k in zip((sign, second), node.inputs, strict=True):
            if k in inner:
                passed.add(k)
                left.append((own, made[k]))
            else:
                found.append((own, k))
    return tuple(s for s, _ in found), tuple(k for _, k in found), passed


# --------------------------------------------------------------------- groups


def _levels(nodes: Sequence[Node]) -> dict[int, int]:
    """Return a number for every node, larger than those of all that it reads.

    It is the least one, but what goes into long sums only is as late as can be.
    """
    level: dict[int, int] = {}
    for node in nodes:
        level[node.output] = 1 + max((level.get(k, -1) for k in node.inputs), default=-1)
    readers: dict[int, list[Node]] = {}
    for node in nodes:
        for k in node.inputs:
            readers.setdefault(k, []).append(node)
    late: set[int] = set()
    for node in reversed(nodes):
        reading = readers.get(node.output, ())
        if reading and all(isinstance(r.op, Total) or r.output in late for r in reading):
            late.add(node.output)
            level[node.output] = min(level[r.output] for r in reading) - 1
    return level


def _is_able(node: Node, seen: Mapping[int, Seen]) -> bool:
    """Return whether there is a batched op for a node, and it is small."""
    if not isinstance(node.op, ABLE) or not node.inputs:
        return False
    known = [seen[k] for k in (*node.inputs, node.output)]
    if isinstance(node.op, MatMul) and any(len(each.shape) != 2 for each in known):
        return False
    return all(0 < prod(x.shape) <= SMALL and x.dtype.kind in "fc" for x in known)
