"""Values that everything passes: where a plan may join what is before with what is after."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainad.planning.linear_graph import LinearGraph
from chainad.planning.orders import Vertex

if TYPE_CHECKING:
    from chainad.planning.plan import Plan


def places_to_meet(plan: Plan) -> set[Vertex]:
    """Return the values, narrower than both ends, where a hybrid plan joins what it has before."""
    if plan.mode != "hybrid":
        return set()
    graph = plan.graph
    least = min(sum(map(graph.size, vertices)) for vertices in (graph.inputs, graph.outputs))
    return {v for v in passed_by_every_path(graph) if graph.size(v) < least}


def passed_by_every_path(graph: LinearGraph) -> tuple[Vertex, ...]:
    """Return the inner vertices that every path of two edges or more passes, inputs to outputs.

    An edge that leads from an input to an output is only added to what the others give, and never
    multiplied. Vertices are in topological order: those over which no edge jumps are passed. The
    paths begin before all of them, and end behind all of them.
    """
    inputs, outputs = {*graph.inputs}, {*graph.outputs}
    edges = [e for e in graph.edges if e.tail not in inputs or e.head not in outputs]
    reads = {edge.tail for edge in edges}
    read = {edge.head for edge in edges}
    jumps = [(edge.tail, edge.head) for edge in edges]
    jumps += [(-1, v) for v in graph.inputs if v in reads]
    jumps += [(v, len(graph.shapes)) for v in graph.outputs if v in read]
    change = [0] * (len(graph.shapes) + 2)
    for tail, head in jumps:  # vertices tail + 1, ..., head - 1 are jumped over
        change[tail + 1] += 1
        change[head] -= 1
    found, over = [], 0
    inner = {*graph.inner} & reads & read
    for v in range(len(graph.shapes)):
        over += change[v]
        if not over and v in inner:
            found.append(v)
    return tuple(found)
