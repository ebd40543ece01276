"""The two classical modes, and hybrids around one vertex."""

from __future__ import annotations

from collections.abc import Iterator

from chainad.planning.cost_models import CostModel, multiplications
from chainad.planning.linear_graph import LinearGraph, Vertex


def forward(graph: LinearGraph, model: CostModel = multiplications) -> tuple[Vertex, ...]:
    """Eliminate in topological order: push tangents from the inputs to the outputs."""
    return graph.inner


def reverse(graph: LinearGraph, model: CostModel = multiplications) -> tuple[Vertex, ...]:
    """Eliminate in reverse topological order: pull adjoints from the outputs to the inputs."""
    return graph.inner[::-1]


def around(graph: LinearGraph) -> Iterator[tuple[Vertex, ...]]:
    """Yield the hybrids that start at one vertex: back to the inputs, on to the outputs, join.

    Griewank & Walther, ch. 9, call this cross-country elimination with one pivot kept for last.
    """
    for k, middle in enumerate(graph.inner):
        yield (*graph.inner[:k][::-1], *graph.inner[k + 1 :], middle)
