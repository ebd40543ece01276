"""From what a linear jaxpr does to a linear graph, with what its local Jacobians store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chainad.frontends.jax.equation_sites import origin_of
from chainad.frontends.jax.linear_jaxpr import LinearRun, LocalJacobian
from chainad.planning.linear_graph import Edge, LinearGraph
from chainad.structure import Ops


@dataclass(frozen=True)
class LinearizedJaxpr:
    """A linear graph; for every edge what it stores, and the ops that bring it into that form."""

    run: LinearRun
    graph: LinearGraph
    slots: tuple[Any, ...]
    arrangements: tuple[Ops, ...]


def linear_graph_of(run: LinearRun, names: Sequence[str]) -> LinearizedJaxpr:
    """Return the linear graph of what lies between inputs and outputs; `names` are of inputs."""
    edges = sorted(run.edges, key=lambda edge: edge.head)
    reached, useful = {*run.inputs}, {*run.outputs}
    for edge in edges:
        if edge.tail in reached:
            reached.add(edge.head)
    for edge in reversed(edges):
        if edge.head in useful:
            useful.add(edge.tail)
    kept = [edge for edge in edges if edge.tail in reached and edge.head in useful]
    ends = {*run.inputs, *run.outputs}
    inner = [v for v in range(len(run.shapes)) if v in reached & useful and v not in ends]
    number = {v: k for k, v in enumerate([*run.inputs, *inner, *run.outputs])}
    outputs = [number[v] for v in run.outputs]
    graph = LinearGraph(
        tuple(run.shapes[v] for v in number),
        tuple(range(len(run.inputs))),
        tuple(outputs),
        tuple(_edge(edge, number) for edge in kept),
        tuple(origin_of(edge) for edge in kept),
        (
            *names,
            *(f"v{k}" for k in range(len(names), len(names) + len(inner))),
            *(["y"] if len(outputs) == 1 else [f"y{k}" for k in range(len(outputs))]),
        ),
    )
    slots = tuple(edge.stored for edge in kept)
    return LinearizedJaxpr(run, graph, slots, tuple(edge.arrangement.ops for edge in kept))


def _edge(edge: LocalJacobian, number: dict[int, int]) -> Edge:
    return Edge(number[edge.tail], number[edge.head], edge.arrangement.structure)
