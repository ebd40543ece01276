"""Whether a plan fits a function: where the two graphs first differ, said in words."""

from __future__ import annotations

from chainad.errors import PlanError
from chainad.planning.linear_graph import LinearGraph


def check_fits(planned: LinearGraph, graph: LinearGraph) -> None:
    """Raise PlanError with the first difference if the graph of a plan is another one."""
    if planned != graph:
        raise PlanError(
            f"the plan was made for another function: {_difference(planned, graph)};"
            " make one for this function with chainad.plan(f, x)"
        )


def _difference(one: LinearGraph, two: LinearGraph) -> str:
    """Return where two graphs first differ: arguments, then edges in order, then how many."""
    for ends in ("inputs", "outputs"):
        shapes = [[graph.shapes[v] for v in getattr(graph, ends)] for graph in (one, two)]
        if shapes[0] != shapes[1]:
            return f"its {ends} have the shapes {_list(shapes[0])}, here {_list(shapes[1])}"
    for k, (a, b) in enumerate(zip(one.edges, two.edges, strict=False)):
        if a != b:
            return f"its local Jacobian J{k + 1} is {_edge(one, k)}, here it is {_edge(two, k)}"
    counts = [
        f"{len(g.inner)} inner vertices and {len(g.edges)} local Jacobians" for g in (one, two)
    ]
    if counts[0] != counts[1]:
        longer, k = max((one, two), key=lambda g: len(g.edges)), min(len(one.edges), len(two.edges))
        first = (
            f"; the first one more is J{k + 1}, {_edge(longer, k)}" if k < len(longer.edges) else ""
        )
        return f"it has {counts[0]}, this function {counts[1]}{first}"
    return "its vertices are numbered in another way"


def _list(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join(map(str, shapes)) or "none"


def _edge(graph: LinearGraph, k: int) -> str:
    """Return what an edge is: its sizes, structure, ends, operation and the user's line."""
    edge = graph.edges[k]
    rows, cols = edge.structure.matrix_shape
    text = f"{rows}x{cols} {edge.structure} from {graph.name(edge.tail)} to {graph.name(edge.head)}"
    if not graph.origins:
        return text
    origin = graph.origins[k]
    return f"{text} ({origin.name}" + (f", {origin.site})" if origin.site else ")")
