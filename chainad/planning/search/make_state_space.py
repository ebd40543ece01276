"""Which state space fits a graph: that of dense, of scalar or of any structured Jacobians.

All cost by an additive model, products and sums alike.
"""

from __future__ import annotations

from typing import Any

from chainad.planning.cost_models import CostModel, all_multiplications, multiplications
from chainad.planning.linear_graph import LinearGraph, accumulate
from chainad.planning.orders import Vertex
from chainad.planning.search.dense_states import DenseStates
from chainad.planning.search.scalar_states import scalar_states
from chainad.planning.search.state_space import StateSpace
from chainad.planning.search.structured_states import Edges, StructuredStates, StructureTable
from chainad.structure.structure import Structure

# Integers of more bits than this are slower than sets.
MAX_BITSET_VERTICES = 4096

# Products of structures with more positions take too long to be tried by the hundred.
MAX_SEARCHED_POSITIONS = 20_000

# No product is penalized for fewer elements.
ALWAYS_ALLOWED_ELEMENTS = 1_000_000

# Graphs of no more inner vertices may be solved exactly, hence by exact costs.
MAX_EXACT_COST_VERTICES = 18

COUNTING = (multiplications, all_multiplications)


def state_space(graph: LinearGraph, model: CostModel = multiplications) -> StateSpace[Any]:
    """Return the states of a linear graph, in the quickest form that fits."""
    everything = range(len(graph.shapes))
    if model in COUNTING and len(graph.shapes) <= MAX_BITSET_VERTICES and _is_dense(graph):
        widths = [graph.size(v) for v in everything]
        return DenseStates(widths, graph.inner, ((e.tail, e.head) for e in graph.edges), everything)
    is_small = len(graph.shapes) <= MAX_BITSET_VERTICES
    if model is multiplications and is_small and len(graph.inner) > MAX_EXACT_COST_VERTICES:
        found = scalar_states(graph)
        if found is not None:
            return found
    return structured_states(graph, model)


def structured_states(graph: LinearGraph, model: CostModel) -> StructuredStates:
    """Return the states of any linear graph, costed exactly."""
    everything = range(len(graph.shapes))
    table = StructureTable(model, MAX_SEARCHED_POSITIONS)
    terms: dict[tuple[Vertex, Vertex], list[Structure]] = {}
    for edge in graph.edges:
        accumulate(terms.setdefault((edge.tail, edge.head), []), edge.structure)
    after: list[Edges] = [{} for _ in everything]
    before: list[Edges] = [{} for _ in everything]
    table.sums_are_free = model in COUNTING and all(e.structure.action is None for e in graph.edges)
    if model is multiplications and len(graph.inner) > MAX_EXACT_COST_VERTICES:
        table.max_elements = _max_elements(graph)
    for (tail, head), found in terms.items():
        after[tail][head] = before[head][tail] = table.number(tuple(found))
    return StructuredStates(
        table, graph.inner, (after, before), everything, [*map(graph.size, everything)]
    )


def has_large_index_sets(graph: LinearGraph) -> bool:
    """Return whether the index sets are so large that products of structures take long."""
    return (
        sum(structure.weight for structure in {e.structure for e in graph.edges})
        > MAX_SEARCHED_POSITIONS
    )


def _max_elements(graph: LinearGraph) -> int:
    """Return how many elements a product may have: those of all local Jacobians or the result."""
    given = sum(edge.structure.count for edge in graph.edges)
    rows, cols = (sum(map(graph.size, ends)) for ends in (graph.outputs, graph.inputs))
    return max(given, rows * cols, ALWAYS_ALLOWED_ELEMENTS)


def _is_dense(graph: LinearGraph) -> bool:
    structures = {edge.structure for edge in graph.edges}
    return all(s.kind == "dense" and min(s.matrix_shape) > 0 for s in structures)
