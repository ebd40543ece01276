"""The verb for explicit elimination problems: plan_graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from chainad.errors import InputError
from chainad.ir.graph import Origin
from chainad.ir.progress import ProgressOption
from chainad.planning.auto import Mode, check_mode, plan_cached
from chainad.planning.cost_models import CostModel, CostName
from chainad.planning.linear_graph import Edge, LinearGraph
from chainad.planning.plan import Plan
from chainad.planning.search.budget import Effort, search_options
from chainad.structure import dense, identity

if TYPE_CHECKING:
    import networkx as nx

Named: TypeAlias = Hashable  # a vertex as the user calls it
Pair: TypeAlias = tuple[Named, Named]


def plan_graph(
    graph: nx.DiGraph | Iterable[Pair],
    inputs: Sequence[Named] | None = None,
    outputs: Sequence[Named] | None = None,
    *,
    dimensions: int | Mapping[Named, int] | None = None,
    mode: Mode | Sequence[Named] = "auto",
    cost: CostName | CostModel = "multiplications",
    effort: Effort = "balanced",
    seed: int = 0,
    progress: ProgressOption = False,
) -> Plan:
    """Return the cheapest plan found for accumulating the Jacobian of an explicit graph.

    Parameters
    ----------
    graph : networkx.DiGraph, networkx.MultiDiGraph or iterable of pairs
        An edge (tail, head) for every local Jacobian of `head` with respect to `tail`, each of them
        dense. Vertices are any hashable objects. Parallel edges add up.
    inputs, outputs : sequence of vertices, optional
        The vertices to differentiate by, and those to differentiate; by default all without an edge
        into them, and all without an edge out of them. What lies on no path between them plays no
        part. An output from which edges lead on is eliminated like any inner vertex, and a copy of
        it, named `v (result)`, keeps its own Jacobian.
    dimensions : int or mapping, optional
        How many numbers a vertex has: one number for all, or a mapping; vertices that are not in it
        have one.
    mode : str, sequence of vertices, Plan or callable
        As for `jacobian`; an elimination order is given in the vertices of `graph`.
    cost, effort, seed, progress
        As for `jacobian`.

    Returns
    -------
    Plan
        Its vertices are numbered; `plan.graph.name(v)` is what `graph` calls number v.

    Raises
    ------
    InputError
        If the graph has a cycle, names an unknown vertex, a dimension is not a positive integer, or
        an input has an edge into it.
    PlanError
        If mode, cost or effort is unknown, or the order does not fit.

    Notes
    -----
    Source: Griewank & Walther, *Evaluating Derivatives*, 2nd ed., ch. 9.

    Examples
    --------
    >>> import chainad
    >>> edges = [("x", "a"), ("a", "c"), ("c", "b"), ("b", "y"), ("u", "c"), ("c", "w")]
    >>> plan = chainad.plan_graph(edges, dimensions={"x": 100, "y": 100, "u": 9, "w": 9})
    >>> plan.multiplications, [plan.graph.name(v) for v in plan.order]
    (12000, ['c', 'a', 'b'])
    """
    problem = _problem(graph, inputs, outputs, dimensions)
    how = problem.mode(mode)
    search = search_options(effort, seed, progress, expected_calls=inf)
    plan = plan_cached(problem.linear, how, cost=cost, search=search)
    return replace(plan, title="graph")


@dataclass(frozen=True)
class _Problem:
    """A linear graph, and the number of every vertex of the user's that it has."""

    linear: LinearGraph
    numbers: dict[Named, int]

    def mode(self, mode: Mode | Sequence[Named]) -> Mode:
        """Return a mode with the vertices of an order numbered."""
        if isinstance(mode, (str, Plan)) or callable(mode) or not isinstance(mode, Sequence):
            return check_mode(mode)
        for v in mode:
            if v not in self.numbers:
                raise InputError(
                    f"the order names {v!r}, which lies on no path from an input to an output;"
                    " name each inner vertex once"
                )
        return [self.numbers[v] for v in mode]


@dataclass(frozen=True)
class _Digraph:
    """The edges as they are given: how many lead from every vertex to every other.

    Vertices are in the order in which they were met, and so are the heads of each.
    """

    after: dict[Named, dict[Named, int]]
    before: dict[Named, list[Named]]

    @classmethod
    def of(cls, vertices: Iterable[Named], edges: Iterable[Pair]) -> _Digraph:
        found = cls({}, {})
        for v in vertices:
            found._add(v)
        for tail, head in edges:
            found._add(tail)
            found._add(head)
            heads = found.after[tail]
            if head not in heads:
                found.before[head].append(tail)
            heads[head] = heads.get(head, 0) + 1
        return found

    def _add(self, v: Named) -> None:
        if v not in self.after:
            self.after[v], self.before[v] = {}, []

    def edges(self) -> Iterator[Pair]:
        """Yield all edges, by their tails."""
        for tail, heads in self.after.items():
            for head, count in heads.items():
                yield from [(tail, head)] * count

    def topological_order(self) -> list[Named]:
        """Return the vertices so that edges lead onwards, of several the one that was met first.

        Raises
        ------
        InputError
            If there is a cycle.
        """
        rank = {v: k for k, v in enumerate(self.after)}
        vertices = [*self.after]
        left = {v: len(tails) for v, tails in self.before.items()}
        ready = [rank[v] for v, count in left.items() if not count]
        order = []
        while ready:  # ranks that grow are a heap
            v = vertices[heappop(ready)]
            order.append(v)
            for w in self.after[v]:
                left[w] -= 1
                if not left[w]:
                    heappush(ready, rank[w])
        if len(order) < len(vertices):
            path = " -> ".join(map(repr, self._cycle({v for v in vertices if left[v]})))
            raise InputError(
                f"graph has a cycle, {path}; a computation has none: remove one of its edges"
            )
        return order

    def _cycle(self, remaining: set[Named]) -> list[Named]:
        """Return a cycle among vertices that each have a tail among them."""
        v = next(v for v in self.after if v in remaining)
        path: dict[Named, None] = {}
        while v not in path:
            path[v] = None
            v = next(u for u in self.before[v] if u in remaining)
        backwards = [*path][[*path].index(v) :]
        return [v, *backwards[:0:-1], v]


def _problem(
    graph: nx.DiGraph | Iterable[Pair],
    inputs: Sequence[Named] | None,
    outputs: Sequence[Named] | None,
    dimensions: int | Mapping[Named, int] | None,
) -> _Problem:
    given = _as_graph(graph)
    order = given.topological_order()
    starts = _ends(given, inputs, "inputs", [v for v in given.before if not given.before[v]])
    stops = _ends(given, outputs, "outputs", [v for v in given.after if not given.after[v]])
    sizes = _sizes(given, dimensions)
    for v in starts:
        if given.before[v]:
            raise InputError(
                f"input {v!r} has an edge into it; remove that edge, or leave {v!r} out of inputs"
            )
    useful = _between(given, order, starts, stops)
    first, last = set(starts), set(stops)
    leading_on = {v for v in stops if v in useful and any(w in useful for w in given.after[v])}
    copied = [v for v in stops if v in leading_on or v in first]
    inner = [
        v for v in order if v in useful and v not in first and (v not in last or v in leading_on)
    ]
    numbers = {v: k for k, v in enumerate([*starts, *inner])}
    results = {v: len(numbers) + k for k, v in enumerate(stops)}
    is_copied = set(copied)
    head_of = numbers | {v: k for v, k in results.items() if v not in is_copied}
    edges = [
        Edge(numbers[u], head_of[w], dense((sizes[w],), (sizes[u],)))
        for u, w in given.edges()
        if u in useful and w in useful
    ]
    origins = [Origin("edge")] * len(edges)
    edges += [Edge(numbers[v], results[v], identity((sizes[v],))) for v in copied]
    origins += [Origin("result")] * len(copied)
    names = [str(v) for v in numbers]
    names += [f"{v} (result)" if v in is_copied else str(v) for v in stops]
    linear = LinearGraph(
        shapes=tuple((sizes[v],) for v in (*numbers, *stops)),
        inputs=tuple(numbers[v] for v in starts),
        outputs=tuple(results.values()),
        edges=tuple(edges),
        origins=tuple(origins),
        names=tuple(names),
    )
    return _Problem(linear, {v: numbers[v] for v in inner})


def _as_graph(graph: Any) -> _Digraph:
    """Return the edges in the order in which they are given."""
    if hasattr(graph, "is_directed"):  # of networkx
        if not graph.is_directed():
            raise InputError(
                "graph must be directed, tail to head, but got an undirected networkx graph;"
                " pass a networkx.DiGraph"
            )
        found = _Digraph.of(graph, graph.edges())
    else:
        found = _Digraph.of((), map(_pair, _listed(graph)))
    if not found.after:
        raise InputError("graph has no vertices; give at least one edge (tail, head)")
    return found


def _listed(graph: Any) -> list[Any]:
    if isinstance(graph, (str, bytes)) or not isinstance(graph, Iterable):
        raise InputError(
            "graph must be a networkx.DiGraph or pairs (tail, head),"
            f" but got {type(graph).__name__}"
        )
    return list(graph)


def _pair(edge: Any) -> Pair:
    if not isinstance(edge, (tuple, list)) or len(edge) != 2:
        raise InputError(f"an edge must be a pair (tail, head), but got {edge!r}")
    for v in edge:
        if v is None:  # which networkx keeps for itself
            raise InputError(f"a vertex must be something other than None, but got {edge!r}")
        try:
            hash(v)
        except TypeError as error:
            raise InputError(f"a vertex must be hashable, but got {v!r}") from error
    return edge[0], edge[1]


def _ends(
    graph: _Digraph, given: Sequence[Named] | None, what: str, default: list[Named]
) -> list[Named]:
    if given is None:
        return default
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise InputError(f"{what} must be a sequence of vertices, but got {given!r}")
    found = list(given)
    for v in found:
        if v not in graph.after:
            raise InputError(f"{what} names {v!r}, which has no edge; {_some(graph)}")
    for v, count in Counter(found).items():
        if count > 1:
            raise InputError(f"{what} names {v!r} twice")
    if not found:
        raise InputError(f"{what} must name at least one vertex; {_some(graph)}")
    return found


def _some(graph: _Digraph) -> str:
    shown = ", ".join(repr(v) for v, _ in zip(graph.after, range(6), strict=False))
    return f"the vertices are {shown}" + (", ..." if len(graph.after) > 6 else "")


def _sizes(graph: _Digraph, dimensions: int | Mapping[Named, int] | None) -> dict[Named, int]:
    if isinstance(dimensions, Mapping):
        for v in dimensions:
            if v not in graph.after:
                raise InputError(f"dimensions names {v!r}, which has no edge; {_some(graph)}")
        sizes = {v: dimensions.get(v, 1) for v in graph.after}
    else:
        sizes = dict.fromkeys(graph.after, 1 if dimensions is None else dimensions)
    for v, size in sizes.items():
        is_integer = isinstance(size, (int, np.integer)) and not isinstance(size, bool)
        if not is_integer or size < 1:
            raise InputError(f"the dimension of {v!r} must be a positive integer, but got {size!r}")
    return {v: int(size) for v, size in sizes.items()}


def _between(
    graph: _Digraph, order: Sequence[Named], starts: list[Named], stops: list[Named]
) -> set[Named]:
    """Return the vertices on paths from an input to an output."""
    behind, ahead = set(starts), set(stops)
    for v in order:
        if v in behind:
            behind.update(graph.after[v])
    for v in reversed(order):
        if v in ahead:
            ahead.update(graph.before[v])
    return behind & ahead
