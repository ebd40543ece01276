"""A plan in blocks explained: what they are, what all of them take, and the plan of the first."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from chainad.planning.views.explain import explain
from chainad.planning.views.quantities import bytes_text
from chainad.planning.views.report import shapes_of
from chainad.planning.views.terminal import fitting_width, wrapped

if TYPE_CHECKING:
    from chainad.planning.chunked import ChunkedPlan
    from chainad.planning.plan import Plan


def explain_blocks(plan: ChunkedPlan, rows: int | None, width: int | None) -> str:
    """Return what a plan in blocks does, and why."""
    width = fitting_width(width)
    texts = ["    ".join(headline_of_blocks(plan)), *about_blocks(plan)]
    head = "\n".join(line for text in texts for line in wrapped(text, width))
    return f"{head}\n\n{explain(first_block(plan), rows, width)}"


def headline_of_blocks(plan: ChunkedPlan) -> tuple[str, str]:
    """Return the function with its shapes, and how many blocks there are at what cost."""
    graph = plan.graph
    ends = [shapes_of(graph, vertices) for vertices in (graph.inputs, graph.outputs)]
    blocks = "one block" if len(plan.chunks) == 1 else f"{len(plan.chunks)} blocks"
    return (
        f"{plan.title}: {' -> '.join(ends)}",
        f"in {blocks} of {plan.side}, {plan.multiplications:,} multiplications",
    )


def about_blocks(plan: ChunkedPlan) -> list[str]:
    """Return sentences on what all blocks take, and how they are cut."""
    live = ", ".join(f"{what} {bytes_text(n * plan.itemsize)}" for what, n in plan.live.items())
    why = "as requested" if plan.limit is None else f"to keep within {bytes_text(plan.limit)}"
    return [
        f"Made in blocks {why}: it takes {bytes_text(plan.peak.bytes)}, of which {live}."
        " What blocks have in common is multiplied for each of them anew.",
        *_cuts(plan),
    ]


def first_block(plan: ChunkedPlan) -> Plan:
    """Return the plan of the first block, which says that it is one."""
    return replace(plan.chunks[0].plan, title="the first block")


def _cuts(plan: ChunkedPlan) -> list[str]:
    """Say along which axis every input, or output, is cut, and how large its blocks are."""
    found = []
    for end, v in enumerate(plan.ends):
        first, *others = [chunk for chunk in plan.chunks if chunk.end == end]
        shape = plan.graph.shapes[v] or (1,)
        size = plan.graph.size(v) // max(1, shape[first.axis]) * (first.stop - first.start)
        count = 1 + len(others)
        name = plan.graph.name(v)
        blocks = "one block of" if count == 1 else f"{count} blocks of up to"
        found.append(f"{blocks} {size:,} {plan.side}, cut along axis {first.axis} of {name}")
    return found
