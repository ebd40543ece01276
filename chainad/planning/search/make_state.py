"""Linear graphs as integers, whichever way fits: `Dense`, `Scalars` or `Structured`.

All cost by an additive model, products and sums alike.
"""

from __future__ import annotations

from typing import Any

from chainad.planning.cost_models import CostModel, all_multiplications, multiplications
from chainad.planning.linear_graph import LinearGraph, Vertex, accumulate
from chainad.planning.search.state import Compact, State, bits
from chainad.planning.search.state_dense import Dense
from chainad.planning.search.state_scalar import Scalars, scalars
from chainad.planning.search.state_structured import PER_NUMBER, Edges, Structured, Table
from chainad.structure.structure import Structure

# Integers of more bits than this are slower than sets.
MOST_BITS = 4096

# Products of patterns with more positions than this take too long to be tried by the hundred.
BULKY = 20_000

# So many numbers are never too many for a product.
ROOMY = 1_000_000
# Graphs of no more inner vertices may be solved exactly, hence by costs as they are.
EXACT = 18

COUNTING = (multiplications, all_multiplications)


def compact(graph: LinearGraph, model: CostModel = multiplications) -> Compact[Any]:
    """Return a linear graph as integers."""
    everything = range(len(graph.shapes))
    if model in COUNTING and len(graph.shapes) <= MOST_BITS and _is_dense(graph):
        widths = [graph.size(v) for v in everything]
        return Dense(widths, graph.inner, ((e.tail, e.head) for e in graph.edges), everything)
    if model is multiplications and len(graph.inner) > EXACT:
        found = scalars(graph)
        if found is not None:
            return found
    return structured(graph, model)


def structured(graph: LinearGraph, model: CostModel) -> Structured:
    """Return any linear graph as integers, costed exactly."""
    everything = range(len(graph.shapes))
    table = Table(model, BULKY)
    pieces: dict[tuple[Vertex, Vertex], list[Structure]] = {}
    for edge in graph.edges:
        accumulate(pieces.setdefault((edge.tail, edge.head), []), edge.structure)
    after: list[Edges] = [{} for _ in everything]
    before: list[Edges] = [{} for _ in everything]
    table.sums_are_free = model in COUNTING and all(e.structure.action is None for e in graph.edges)
    if model is multiplications and len(graph.inner) > EXACT:
        table.room = _room(graph)
    for (tail, head), found in pieces.items():
        after[tail][head] = before[head][tail] = table.number(tuple(found))
    return Structured(
        table, graph.inner, (after, before), everything, [*map(graph.size, everything)]
    )


def is_heavy(graph: LinearGraph) -> bool:
    """Return whether the patterns have so many positions that products of them take long."""
    return sum(structure.weight for structure in {e.structure for e in graph.edges}) > BULKY


def _room(graph: LinearGraph) -> int:
    """Return how many numbers a product may have: those of all local Jacobians or of the result."""
    given = sum(edge.structure.count for edge in graph.edges)
    rows, cols = (sum(map(graph.size, ends)) for ends in (graph.outputs, graph.inputs))
    return max(given, rows * cols, ROOMY)


def _is_dense(graph: LinearGraph) -> bool:
    structures = {edge.structure for edge in graph.edges}
    return all(s.kind == "dense" and min(s.matrix_shape) > 0 for s in structures)


__all__ = [
    "PER_NUMBER",
    "Compact",
    "Dense",
    "Scalars",
    "State",
    "Structured",
    "bits",
    "compact",
    "is_heavy",
    "structured",
]
