"""Jacobians that are never accumulated: each product with one is a sweep through the local ones.

J @ V is the linear graph with a seed in front of the input, eliminated forward: tangents are pushed
from the input to the output. U @ J has the seed behind the output and is eliminated in reverse:
adjoints are pulled back. Both are plans like any other, lowered to programs.
Source: Griewank & Walther, *Evaluating Derivatives*, 2nd ed., ch. 3.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from chainad.compiler.lower import lower
from chainad.compiler.passes.carry_masks import multiplies_exact_zeros
from chainad.compiler.target import Target
from chainad.ir.cache import Cache
from chainad.ir.exact_zeros import is_finite
from chainad.ir.program import Runner
from chainad.planning.linear_graph import Edge, LinearGraph
from chainad.planning.orders import Vertex
from chainad.planning.plan import follow
from chainad.structure import Ops, dense

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

Array = npt.NDArray[Any]

_MAX_SEEDED_PROGRAMS = 16


class Sweeps:
    """The programs that map tangents forward and adjoints back between one input and one output.

    They depend on the graph and on the number of columns or rows, not on entries. `slots` are those
    of the given graph that are read; what is swept through are the local Jacobians in these, those
    of `selections` with exact zeros.
    """

    def __init__(
        self,
        graph: LinearGraph,
        arrangements: Sequence[Ops],
        ends: tuple[Vertex, Vertex],
        target: Target,
        selections: Container[int] = (),
    ) -> None:
        self.ends, self.target = ends, target
        self.slots, self.graph = _subgraph(graph, *ends)
        self.arrangements = [arrangements[k] for k in self.slots]
        self.selections = {n for n, k in enumerate(self.slots) if k in selections}
        self._programs: Cache[_Seeded] = Cache(
            _MAX_SEEDED_PROGRAMS, "programs of products with a Jacobian"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return Sweeps, (self.graph, self.arrangements, self.ends, self.target, self.selections)

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The shapes of the input and of the output."""
        return self.graph.shapes[self.ends[0]], self.graph.shapes[self.ends[1]]

    def jvp(self, slots: Sequence[Any], tangents: Array) -> Array:
        """Return J @ tangents, for tangents of shape (size of x, k)."""
        count = tangents.shape[1]
        seeded = self._programs.get(("jvp", count), lambda: self._seeded_in_front(count))
        return seeded.run(slots, tangents)

    def vjp(self, slots: Sequence[Any], adjoints: Array) -> Array:
        """Return adjoints @ J, for adjoints of shape (k, size of y)."""
        count = adjoints.shape[0]
        seeded = self._programs.get(("vjp", count), lambda: self._seeded_behind(count))
        return seeded.run(slots, adjoints)

    def _seeded_in_front(self, count: int) -> _Seeded:
        """Return the program for `count` tangents in front of the input."""
        start, end = self.ends
        vertex = len(self.graph.shapes)
        seed = Edge(vertex, start, dense(self.graph.shapes[start], (count,)))
        graph = self._with(seed, (vertex,), (end,))
        return self._program(seed, graph, graph.inner, (graph.size(end), count))

    def _seeded_behind(self, count: int) -> _Seeded:
        """Return the program for `count` adjoints behind the output."""
        start, end = self.ends
        vertex = len(self.graph.shapes)
        seed = Edge(end, vertex, dense((count,), self.graph.shapes[end]))
        graph = self._with(seed, (start,), (vertex,))
        return self._program(seed, graph, graph.inner[::-1], (count, graph.size(start)))

    def _with(
        self, seed: Edge, inputs: tuple[Vertex, ...], outputs: tuple[Vertex, ...]
    ) -> LinearGraph:
        shapes = (*self.graph.shapes, seed.structure.col_shape)
        return LinearGraph(shapes, inputs, outputs, (*self.graph.edges, seed))

    def _program(
        self, seed: Edge, graph: LinearGraph, order: Sequence[Vertex], result: tuple[int, int]
    ) -> _Seeded:
        plan, arrangements = follow(graph, order), [*self.arrangements, ()]

        def masked() -> Runner:
            lowered = lower(plan, arrangements, "dense", (), self.selections)
            return self.target.build(lowered.program)

        program = lower(plan, arrangements, "dense", self.target.passes).program
        has_exact_zeros = multiplies_exact_zeros(program, self.selections)
        return _Seeded(
            len(self.slots),
            self.target.build(program),
            cache(masked) if has_exact_zeros else None,
            seed.structure.stored_shape,
            result,
        )


@dataclass(frozen=True)
class _Seeded:
    """A program, one with masks of exact zeros, the shape of the seed and that of the result.

    `n_slots` are those of the local Jacobians; behind them come those of their masks.
    """

    n_slots: int
    runner: Runner
    masked: Callable[[], Runner] | None
    shape: tuple[int, ...]
    result: tuple[int, int]

    def run(self, slots: Sequence[Any], seed: Array) -> Array:
        n = self.n_slots
        given = [*slots[:n], seed.reshape(self.shape)]
        with np.errstate(all="ignore"):
            results = self.runner(given)
            if self.masked is not None and not is_finite(results):
                results = self.masked()([*given, *slots[n:], None])
        if not results:  # the product is zero: no path, no columns, or disjoint index sets
            return np.zeros(self.result, seed.dtype)
        return np.asarray(results[0]).reshape(self.result)


def _subgraph(graph: LinearGraph, start: Vertex, end: Vertex) -> tuple[list[int], LinearGraph]:
    """Return the numbers of the edges on paths from `start` to `end`, and the graph of these."""
    reached, useful = {start}, {end}
    order = sorted(range(len(graph.edges)), key=lambda k: graph.edges[k].tail)
    for k in order:
        if graph.edges[k].tail in reached:
            reached.add(graph.edges[k].head)
    for k in reversed(order):
        if graph.edges[k].head in useful:
            useful.add(graph.edges[k].tail)
    on_path = reached & useful
    slots = [k for k, e in enumerate(graph.edges) if e.tail in on_path and e.head in on_path]
    edges = tuple(graph.edges[k] for k in slots)
    return slots, LinearGraph(graph.shapes, (start,), (end,), edges)


def linear_operator(sweeps: Sweeps, slots: Sequence[Any], dtype: np.dtype[Any]) -> LinearOperator:
    """Return a Jacobian as a `scipy.sparse.linalg.LinearOperator`, rows and columns raveled.

    `J.matvec(v)` (or `J @ v`) pushes a tangent forward, `J.rmatvec(u)` (or `J.T @ u`) pulls an
    adjoint back; matrices are swept through at once. The local Jacobians are those in `slots`, and
    behind them the masks of their exact zeros.
    """
    return _operator_class()(sweeps, slots, dtype)


@cache
def _operator_class() -> type[LinearOperator]:
    from scipy.sparse.linalg import LinearOperator  # slow to load

    class JacobianOperator(LinearOperator):  # type: ignore[misc]  # SciPy has no types
        """A Jacobian that is known by its products, each of which is a sweep."""

        def __init__(self, sweeps: Sweeps, slots: Sequence[Any], dtype: np.dtype[Any]) -> None:
            self.sweeps, self.slots = sweeps, slots
            n, m = (prod(shape) for shape in sweeps.shapes)
            super().__init__(dtype, (m, n))

        def __reduce__(self) -> tuple[Any, ...]:
            return linear_operator, (self.sweeps, self.slots, self.dtype)

        def _matvec(self, x: Array) -> Array:
            return self._matmat(x.reshape(-1, 1))

        def _rmatvec(self, x: Array) -> Array:
            return self._rmatmat(x.reshape(-1, 1))

        def _matmat(self, x: Array) -> Array:
            return self.sweeps.jvp(self.slots, np.asarray(x))

        def _rmatmat(self, x: Array) -> Array:
            return self.sweeps.vjp(self.slots, np.conj(x).T).conj().T

    return JacobianOperator
