"""Random chains and linear graphs, with a stored array for every edge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from chainad.planning.linear_graph import Edge, LinearGraph
from chainad.testing.oracles import Array, Shape
from chainad.testing.random_locals import LOCAL_KINDS, axes_of, random_local
from chainad.testing.random_structures import (
    RandomJacobian,
    random_jacobian,
    random_shape,
    random_structure,
)


def random_chain(
    rng: Random, n_factors: int, kinds: Sequence[str] = tuple(LOCAL_KINDS)
) -> tuple[LinearGraph, list[Array | None]]:
    """Return a path of `n_factors` typical local Jacobians, and the stored array of every one.

    Parameters
    ----------
    rng : random.Random
    n_factors : int
        At least one.
    kinds : sequence of str
        Names from `LOCAL_KINDS`.

    Examples
    --------
    >>> graph, entries = random_chain(Random(0), 4)
    >>> len(graph.chain), len(entries)
    (4, 4)
    """
    shapes = [random_shape(rng)]
    edges, entries = [], []
    for k in range(n_factors):
        structure, kept, _ = random_local(rng, shapes[-1], kinds)
        edges.append(Edge(k, k + 1, structure))
        entries.append(kept)
        shapes.append(structure.row_shape)
    return LinearGraph(tuple(shapes), (0,), (n_factors,), tuple(edges)), entries


def random_graph(
    rng: Random,
    n_inner: int,
    *,
    n_inputs: int = 1,
    n_outputs: int = 1,
    more: float = 1.0,
    shapes: Callable[[Random], Shape] = random_shape,
    local: Callable[[Random, Shape, Shape], RandomJacobian] = random_structure,
) -> tuple[LinearGraph, list[Array | None]]:
    """Return a random linear graph, and the stored array of every edge.

    Every inner vertex lies between an input and an output. Edges may be parallel, skip vertices,
    and join an input to an output; they come in any order.

    Parameters
    ----------
    rng : random.Random
    n_inner, n_inputs, n_outputs : int
        The numbers of vertices.
    more : float
        Edges per inner vertex beyond those that connect the graph.
    shapes : callable
        Makes the shape of a vertex.
    local : callable
        Makes the Jacobian of an edge from the shapes of its head and of its tail.

    Examples
    --------
    >>> graph, entries = random_graph(Random(0), 3, n_inputs=2)
    >>> graph.inner, len(entries) == len(graph.edges)
    ((2, 3, 4), True)
    """
    n = n_inputs + n_inner + n_outputs
    first_output = n_inputs + n_inner
    vertices = tuple(shapes(rng) for _ in range(n))
    ends = [(rng.randrange(v), v) for v in range(n_inputs, first_output)]
    ends += [(rng.randrange(first_output), v) for v in range(first_output, n)]
    for v in range(first_output):
        if all(tail != v for tail, _ in ends):
            ends.append((v, rng.randrange(max(v + 1, n_inputs), n)))
    for _ in range(round(more * n_inner)):
        tail = rng.randrange(first_output)
        ends.append((tail, rng.randrange(max(tail + 1, n_inputs), n)))
    rng.shuffle(ends)
    edges, entries = [], []
    for tail, head in ends:
        structure, kept, _ = local(rng, vertices[head], vertices[tail])
        edges.append(Edge(tail, head, structure))
        entries.append(kept)
    inputs, outputs = tuple(range(n_inputs)), tuple(range(first_output, n))
    return LinearGraph(vertices, inputs, outputs, tuple(edges)), entries


def random_dense(rng: Random, row_shape: Shape, col_shape: Shape) -> RandomJacobian:
    """Return a Jacobian without any structure; a `local` for `random_graph`.

    Examples
    --------
    >>> random_dense(Random(0), (2,), (3,)).structure.kind
    'dense'
    """
    rows, new = axes_of(row_shape, len(col_shape))
    cols, sizes = axes_of(col_shape)
    return random_jacobian(rng, rows, cols, sizes | new, [*new, *sizes])
