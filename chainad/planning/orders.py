"""Elimination orders: vertices and single edges, and whether following one leaves no inner vertex.

Eliminating edge (i, j) from the back multiplies it by every edge out of j, and from the front by
every edge into i; the products are added to the edges that jump over the vertex between, and the
edge is gone. A vertex that no edge leads to, or none leaves, plays no part any more. Eliminating a
vertex is eliminating all edges into it from the back, or all out of it from the front.
Source: Naumann 2004, *Optimal accumulation of Jacobian matrices by elimination methods on the dual
computational graph*; Griewank & Walther, *Evaluating Derivatives*, 2nd ed., ch. 9.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from chainad.errors import PlanError

Vertex = int
End = Literal["front", "back"]


@dataclass(frozen=True, slots=True)
class EdgeElimination:
    """One step of an order: the edge from `tail` to `head` alone.

    Parameters
    ----------
    tail, head : int
        The ends of the edge.
    side : str
        "back" to multiply by the edges out of `head`, "front" by those into `tail`.

    Raises
    ------
    PlanError
        If the side is neither.

    Examples
    --------
    >>> EdgeElimination(0, 3, "back").via
    3
    """

    tail: Vertex
    head: Vertex
    side: End

    def __post_init__(self) -> None:
        if self.side not in ("front", "back"):
            raise PlanError(f"side must be 'front' or 'back', but got {self.side!r}")

    @property
    def via(self) -> Vertex:
        """The vertex that the products jump over."""
        return self.head if self.side == "back" else self.tail


Item: TypeAlias = Vertex | EdgeElimination


def via(item: Item) -> Vertex:
    """Return the vertex that the products of an elimination jump over."""
    return item.via if isinstance(item, EdgeElimination) else item


def only_vertices(order: Iterable[Item]) -> tuple[Vertex, ...] | None:
    """Return an order if it eliminates vertices alone, else None."""
    found = tuple(order)
    vertices = tuple(item for item in found if not isinstance(item, EdgeElimination))
    return vertices if len(vertices) == len(found) else None


class Skeleton:
    """Which edges there are while an order is followed, if no product vanishes.

    Where some do vanish, there are fewer.
    """

    def __init__(self, edges: Iterable[tuple[Vertex, Vertex]], inner: Iterable[Vertex]) -> None:
        self.inner = frozenset(inner)
        self.after: dict[Vertex, set[Vertex]] = {}
        self.before: dict[Vertex, set[Vertex]] = {}
        for tail, head in edges:
            self._join(tail, head)

    def _join(self, tail: Vertex, head: Vertex) -> None:
        self.after.setdefault(tail, set()).add(head)
        self.before.setdefault(head, set()).add(tail)

    def has(self, tail: Vertex, head: Vertex) -> bool:
        return head in self.after.get(tail, ())

    def is_dead(self, v: Vertex) -> bool:
        """Return whether nothing leads through v."""
        return not self.after.get(v) or not self.before.get(v)

    def eliminate(self, item: Item) -> None:
        """Eliminate a vertex, or an edge that is there."""
        v = via(item)
        tails, heads = self.before.get(v, set()), self.after.get(v, set())
        if isinstance(item, EdgeElimination):
            tails, heads = ({item.tail}, heads) if item.side == "back" else (tails, {item.head})
        for tail in tails:
            for head in heads:
                self._join(tail, head)
        if isinstance(item, EdgeElimination):
            self._cut(item.tail, item.head)
        if not isinstance(item, EdgeElimination) or self.is_dead(v):
            self._forget(v)

    def _cut(self, tail: Vertex, head: Vertex) -> None:
        self.after[tail].discard(head)
        self.before[head].discard(tail)

    def _forget(self, v: Vertex) -> None:
        ends = [(u, v) for u in self.before.get(v, ())] + [(v, w) for w in self.after.get(v, ())]
        for tail, head in ends:
            self._cut(tail, head)

    def left(self) -> list[Vertex]:
        """Return the inner vertices that something still leads through."""
        return sorted(v for v in self.inner if not self.is_dead(v))


def check_mixed(
    edges: Iterable[tuple[Vertex, Vertex]], inner: Sequence[Vertex], order: tuple[Item, ...]
) -> None:
    """Raise PlanError unless following an order is possible and leaves no way through a vertex."""
    skeleton = Skeleton(edges, inner)
    named: set[Vertex] = set()
    for k, item in enumerate(order):
        v = via(item)
        if v not in skeleton.inner:
            _refuse(k, item, f"{v} is no inner vertex")
        if isinstance(item, EdgeElimination):
            if not skeleton.has(item.tail, item.head):
                _refuse(k, item, "there is no such edge at that point")
        elif item in named:
            _refuse(k, item, "it is named twice")
        else:
            named.add(item)
        skeleton.eliminate(item)
    if left := skeleton.left():
        shown = ", ".join(map(str, left[:6])) + (", ..." if len(left) > 6 else "")
        raise PlanError(
            f"the elimination order leaves edges into and out of {shown}: add these vertices to its"
            " end; chainad.plan(f, x).order is one that fits"
        )


def _refuse(position: int, item: Item, why: str) -> None:
    what = f"vertex {item}"
    if isinstance(item, EdgeElimination):
        what = f"edge {item.tail} -> {item.head} ({item.side})"
    raise PlanError(
        f"the elimination order cannot eliminate {what} at position {position}: {why};"
        " chainad.plan(f, x).order is one that fits"
    )
