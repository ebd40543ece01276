"""A plan as a networkx graph: the linear graph, with what the plan does at every vertex."""

from __future__ import annotations

from collections import Counter
from math import prod
from typing import Any

import networkx as nx

from chainad.planning.orders import via
from chainad.planning.report import Printable


def network(plan: Printable) -> nx.MultiDiGraph:
    """Return the graph of a plan; `Plan.to_networkx` says which attributes there are."""
    graph = nx.MultiDiGraph(
        title=plan.title,
        mode=plan.mode,
        planner=plan.planner,
        bracketing=plan.bracketing,
        proof=plan.proof,
        multiplications=plan.multiplications,
        additions=plan.additions,
        peak_bytes=plan.peak.bytes,
    )
    position = {via(item): k for k, item in enumerate(plan.order)}
    multiplications, additions = _work(plan)
    for v, shape in enumerate(plan.graph.shapes):
        about: dict[str, Any] = {
            "name": plan.graph.name(v),
            "shape": str(shape),
            "size": prod(shape),
            "role": "input" if v in plan.graph.inputs else "output",
        }
        if v in position:
            about |= {
                "role": "inner",
                "position": position[v],
                "multiplications": multiplications[v],
                "additions": additions[v],
            }
        graph.add_node(v, **about)
    origins = plan.graph.origins or (None,) * len(plan.graph.edges)
    for k, (edge, origin) in enumerate(zip(plan.graph.edges, origins, strict=True)):
        rows, cols = edge.structure.matrix_shape
        known = {} if origin is None else {"operation": origin.name}
        if origin is not None and origin.site is not None:
            known["line"] = str(origin.site)
        graph.add_edge(
            edge.tail,
            edge.head,
            key=k,
            rows=rows,
            cols=cols,
            kind=edge.structure.kind,
            structure=str(edge.structure),
            numbers=edge.structure.count,
            bytes=edge.structure.count * plan.itemsize,
            **known,
        )
    return graph


def _work(plan: Printable) -> tuple[Counter[int], Counter[int]]:
    """Return the multiplications and additions of every vertex's elimination.

    The sums that follow a product belong to the vertex of that product.
    """
    multiplications: Counter[int] = Counter()
    additions: Counter[int] = Counter()
    last: int | None = None
    for step in plan.steps:
        last = last if step.via is None else step.via
        if last is not None and step.direction != "explicit":
            multiplications[last] += step.multiplications
            additions[last] += step.additions
    return multiplications, additions
