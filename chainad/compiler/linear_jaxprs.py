"""From what a linear jaxpr does to a linear graph, with what its local Jacobians store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from chainad.backends.array_api import ArrayLibrary, build_for, index_add_at
from chainad.compiler.lower import lower
from chainad.compiler.scan_jacobians import planned_scan
from chainad.frontends.jax import jaxprs
from chainad.frontends.jax.function_operators import ScanOperator
from chainad.frontends.jax.linear_jaxpr import LinearRun, LocalJacobian
from chainad.planning.auto import plan_cached
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
    kept = [
        _with_planned_scan(edge) for edge in edges if edge.tail in reached and edge.head in useful
    ]
    ends = {*run.inputs, *run.outputs}
    inner = [v for v in range(len(run.shapes)) if v in reached & useful and v not in ends]
    number = {v: k for k, v in enumerate([*run.inputs, *inner, *run.outputs])}
    outputs = [number[v] for v in run.outputs]
    graph = LinearGraph(
        tuple(run.shapes[v] for v in number),
        tuple(range(len(run.inputs))),
        tuple(outputs),
        tuple(_edge(edge, number) for edge in kept),
        tuple(edge.origin for edge in kept),
        (
            *names,
            *(f"v{k}" for k in range(len(names), len(names) + len(inner))),
            *(["y"] if len(outputs) == 1 else [f"y{k}" for k in range(len(outputs))]),
        ),
    ).with_names_of_inputs(names)
    slots = tuple(jaxprs.as_jax([edge.stored for edge in kept]))
    return LinearizedJaxpr(run, graph, slots, tuple(edge.arrangement.ops for edge in kept))


def _edge(edge: LocalJacobian, number: dict[int, int]) -> Edge:
    return Edge(number[edge.tail], number[edge.head], edge.arrangement.structure)


def _with_planned_scan(edge: LocalJacobian) -> LocalJacobian:
    if not isinstance(edge.stored, ScanOperator):
        return edge
    return planned_scan(edge, edge.stored, dense_blocks)


def dense_blocks(run: LinearRun, dtype: Any) -> tuple[list[list[Any]], int]:
    """Return the Jacobians of outputs by inputs, and how many multiplications these take."""
    found = linear_graph_of(run, [f"x{k}" for k in range(len(run.inputs))])
    made = plan_cached(found.graph, "auto", jnp.dtype(dtype).itemsize)
    lowered = lower(made, found.arrangements)
    results = build_for(lowered.program, ArrayLibrary(jnp, index_add_at, dtype))(found.slots)
    blocks, forms = iter(results), iter(lowered.forms)
    return [
        [
            jnp.zeros((*run.shapes[y], *run.shapes[x]), dtype)
            if next(forms) is None
            else jnp.asarray(next(blocks), dtype)
            for x in run.inputs
        ]
        for y in run.outputs
    ], made.multiplications
