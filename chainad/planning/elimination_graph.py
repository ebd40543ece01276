"""The elimination graph: vertices and edges are eliminated, whatever an edge carries.

Eliminating edge (i, j) from the back multiplies it by every edge out of j, and from the front by
every edge into i; the products are added to the edges that jump over the vertex between, and the
edge is gone. A vertex that no edge leads to, or none leaves, plays no part any more. Eliminating a
vertex is eliminating all edges into it from the back, or all out of it from the front.
Source: Naumann 2004, *Optimal accumulation of Jacobian matrices by elimination methods on the dual
computational graph*; Griewank & Walther, *Evaluating Derivatives*, 2nd ed., ch. 9.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Generic, Literal, TypeVar

from chainad.errors import PlanError
from chainad.planning.orders import EdgeElimination, Item, Vertex, via

Entry = TypeVar("Entry")


class EliminationGraph(ABC, Generic[Entry]):
    """A graph while its vertices and edges are being eliminated.

    `after[v][w]` and `before[w][v]` are what the edge from v to w carries: structures, nodes of an
    expression, or only that it is there.
    """

    def __init__(self, inner: Iterable[Vertex]) -> None:
        self.inner = frozenset(inner)
        self.after: dict[Vertex, dict[Vertex, Entry]] = defaultdict(dict)
        self.before: dict[Vertex, dict[Vertex, Entry]] = defaultdict(dict)

    @abstractmethod
    def multiply_add(
        self, tail: Vertex, head: Vertex, left: Entry, right: Entry, old: Entry | None
    ) -> Entry | None:
        """Return what the edge from `tail` to `head` carries once `left @ right` was added.

        `old` is what it has carried; None, before or after, stands for no edge.
        """

    def set_edge(self, tail: Vertex, head: Vertex, entry: Entry) -> None:
        self.after[tail][head] = entry
        self.before[head][tail] = entry

    def has_edge(self, tail: Vertex, head: Vertex) -> bool:
        return head in self.after[tail]

    def eliminate(self, item: Item) -> None:
        """Eliminate a vertex or an edge.

        An edge that is not there, since its products vanished, takes nothing.
        """
        outs, ins = self.after[via(item)], self.before[via(item)]
        if isinstance(item, EdgeElimination):
            if item.side == "back":
                ins = {tail: entry for tail, entry in ins.items() if tail == item.tail}
            else:
                outs = {head: entry for head, entry in outs.items() if head == item.head}
        after, multiply_add = self.after, self.multiply_add
        for head, left in outs.items():
            for tail, right in ins.items():
                new = multiply_add(tail, head, left, right, after[tail].get(head))
                if new is not None:
                    self.set_edge(tail, head, new)
        if isinstance(item, EdgeElimination):
            self.after[item.tail].pop(item.head, None)
            self.before[item.head].pop(item.tail, None)
            self._prune({item.tail, item.head})
        else:
            self._forget(item)

    def _forget(self, v: Vertex) -> None:
        for tail in self.before.pop(v, ()):
            del self.after[tail][v]
        for head in self.after.pop(v, ()):
            del self.before[head][v]

    def _prune(self, vertices: Iterable[Vertex]) -> None:
        """Forget those of some vertices that nothing leads through, and others left so by that."""
        todo = [v for v in vertices if v in self.inner]
        while todo:
            v = todo.pop()
            if bool(self.after[v]) != bool(self.before[v]):
                todo += [u for u in (*self.after[v], *self.before[v]) if u in self.inner]
                self._forget(v)

    def remaining(self) -> list[Vertex]:
        """Return the inner vertices that something still leads through."""
        return sorted(v for v in self.inner if self.after[v] and self.before[v])


class EdgePattern(EliminationGraph[Literal[True]]):
    """Which edges there are while an order is followed, if no product vanishes.

    Where some do vanish, there are fewer.
    """

    def __init__(self, edges: Iterable[tuple[Vertex, Vertex]], inner: Iterable[Vertex]) -> None:
        super().__init__(inner)
        for tail, head in edges:
            self.set_edge(tail, head, True)

    def multiply_add(
        self,
        tail: Vertex,
        head: Vertex,
        left: Literal[True],
        right: Literal[True],
        old: Literal[True] | None,
    ) -> Literal[True]:
        return True


def check_mixed(
    edges: Iterable[tuple[Vertex, Vertex]], inner: Sequence[Vertex], order: tuple[Item, ...]
) -> None:
    """Raise PlanError unless following an order is possible and leaves no way through a vertex."""
    pattern = EdgePattern(edges, inner)
    named: set[Vertex] = set()
    for k, item in enumerate(order):
        v = via(item)
        if v not in pattern.inner:
            _refuse(k, item, f"{v} is no inner vertex")
        if isinstance(item, EdgeElimination):
            if not pattern.has_edge(item.tail, item.head):
                _refuse(k, item, "there is no such edge at that point")
        elif item in named:
            _refuse(k, item, "it is named twice")
        else:
            named.add(item)
        pattern.eliminate(item)
    if left := pattern.remaining():
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
