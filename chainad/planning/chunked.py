"""Chunked plans: a Jacobian in blocks of columns or rows, one plan per block; what they take.

A block of columns is the linear graph with a selection in front of one input, a block of rows one
with a selection behind one output: plans like any other. What the blocks have in common is computed
for each of them anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from chainad.ir.cache import cached_property
from chainad.ir.graph import Origin
from chainad.ir.pickling import fields_alone
from chainad.planning.cost_models import CostModel, multiplications
from chainad.planning.linear_graph import Edge, LinearGraph, on_paths
from chainad.planning.orders import Vertex
from chainad.planning.peak import Peak, live_entries, local_entries, result_entries
from chainad.planning.plan import Plan, follow
from chainad.planning.serialize import fields_of, text_of
from chainad.planning.views.explain_blocks import explain_blocks, headline_of_blocks
from chainad.planning.views.listing import listing
from chainad.planning.views.markup import document, saved
from chainad.planning.views.page import element_of_blocks
from chainad.planning.views.quantities import bytes_text
from chainad.planning.views.report import details
from chainad.planning.views.terminal import Explained
from chainad.structure import arrange
from chainad.structure.structure import Axis
from chainad.structure.to_json import a_flag, a_text, a_tuple, an_integer, refuse

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Side = Literal["columns", "rows"]

_FORMAT = "chainad chunked plan 3"
_FIELDS = [
    *("format", "side", "limit", "counts_result", "requested", "title", "multiplications"),
    *("additions", "model", "costs", "graph", "first"),
]

# Beyond, what is alive besides the result is a small part of it.
MAX_BLOCKS = 64


def _inputs(graph: LinearGraph) -> tuple[Vertex, ...]:
    return graph.inputs


def _outputs(graph: LinearGraph) -> tuple[Vertex, ...]:
    return graph.outputs


SIDES: dict[Side, Callable[[LinearGraph], tuple[Vertex, ...]]] = {
    "columns": _inputs,
    "rows": _outputs,
}


@dataclass(frozen=True)
class Chunk:
    """One block of the Jacobian: indices `start` to `stop` of one axis of one input or output.

    Attributes
    ----------
    end : int
        The number of the input, or of the output.
    axis, start, stop : int
        The axis of its value that is cut, and the indices on it that the block is of.
    plan : Plan
        The plan of the block. Its last local Jacobian is the selection, which stores no entries.
    slots : tuple of int
        For every other local Jacobian of that plan its slot in the whole graph.
    """

    end: int
    axis: int
    start: int
    stop: int
    plan: Plan
    slots: tuple[int, ...]


@dataclass(frozen=True, repr=False)
class ChunkedPlan(Explained):
    """A Jacobian that is accumulated in blocks of columns or of rows, to keep within some memory.

    Attributes
    ----------
    graph : LinearGraph
        The local Jacobians and their structures.
    side : str
        "columns" or "rows".
    chunks : tuple of Chunk
        One plan per block, in the order in which they run.
    limit : int or None
        Bytes; None if only the size of blocks was requested.
    counts_result : bool
        Whether the dense result counts towards the limit; not where blocks are written elsewhere.
    requested, title : str
        What the user requested, and what the report calls the function.
    at_once : int
        How many blocks are made at the same time.
    """

    graph: LinearGraph
    side: Side
    chunks: tuple[Chunk, ...]
    limit: int | None
    counts_result: bool = True
    requested: str = field(default="", compare=False)
    title: str = field(default="J", compare=False)
    at_once: int = field(default=1, compare=False)

    __getstate__ = fields_alone

    def __repr__(self) -> str:
        within = "" if self.limit is None else f" within {bytes_text(self.limit)}"
        return (
            f"<ChunkedPlan {self.title} in {len(self.chunks)} blocks of {self.side}{within},"
            f" {self.multiplications:,} multiplications>"
        )

    def explain(self, rows: int | None = None, width: int | None = None) -> str:
        """Return what the blocks are, what all of them take, and the plan of the first.

        Parameters
        ----------
        rows, width : int, optional
            As for `Plan.explain`.
        """
        return explain_blocks(self, rows, width)

    def listing(self, width: int | None = None) -> str:
        """Return the source with what all blocks multiply on every line; see `Plan.listing`."""
        return listing(self.title, [chunk.plan for chunk in self.chunks], width)

    def details(self) -> str:
        """Return every number there is of the first block, in tables; see `Plan.details`."""
        return details(replace(self.chunks[0].plan, title=f"first block of {self.title}"))

    @property
    def ends(self) -> tuple[Vertex, ...]:
        """The inputs, or the outputs, that are cut."""
        return SIDES[self.side](self.graph)

    @property
    def itemsize(self) -> int:
        return self.chunks[0].plan.itemsize

    @property
    def model(self) -> str:
        """The name of the cost model that the orders were chosen by."""
        return self.chunks[0].plan.model

    @cached_property
    def cost(self) -> int:
        """What all blocks cost together; of peaks, the largest."""
        costs = [chunk.plan.cost for chunk in self.chunks]
        return max(costs) if self.model == "peak" else sum(costs)

    @cached_property
    def multiplications(self) -> int:
        """Scalar multiplications of all blocks."""
        return sum(chunk.plan.multiplications for chunk in self.chunks)

    @cached_property
    def additions(self) -> int:
        """Scalar additions of all blocks."""
        return sum(chunk.plan.additions for chunk in self.chunks)

    @cached_property
    def live(self) -> dict[str, int]:
        """The entries that count towards the limit, by what they are of."""
        result = {"the result": result_entries(self.graph)} if self.counts_result else {}
        of_block = max(live_entries(chunk.plan, True) for chunk in self.chunks)
        blocks = "a block" if self.at_once == 1 else f"{self.at_once} blocks at once"
        return {
            "local Jacobians": local_entries(self.graph),
            **result,
            f"products of {blocks}": self.at_once * of_block,
        }

    @cached_property
    def peak(self) -> Peak:
        """What counts towards the limit, as `live` has it."""
        entries = sum(self.live.values())
        return Peak(entries, entries * self.itemsize, entries * self.itemsize)

    def draw(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Return a picture of the plan of the first block, as `Plan.draw` does."""
        blocks = f"the first of {len(self.chunks)} blocks of {self.side}"
        return replace(self.chunks[0].plan, title=f"{self.title}, {blocks}").draw(path)

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return what `explain` says as a web page, as `Plan.to_html` does."""
        return saved(document(headline_of_blocks(self)[0], element_of_blocks(self)), path)

    def _repr_html_(self) -> str:
        return element_of_blocks(self)

    def to_json(self) -> str:
        """Return the plan as text for `ChunkedPlan.from_json`, as `Plan.to_json` does."""
        whole = follow(self.graph, self.graph.inner, itemsize=self.itemsize)
        firsts = [chunk for chunk in self.chunks if chunk.start == 0]
        fields: dict[str, Any] = {
            "format": _FORMAT,
            "side": self.side,
            "limit": self.limit,
            "counts_result": self.counts_result,
            "requested": self.requested,
            "title": self.title,
            "multiplications": self.multiplications,
            "additions": self.additions,
            "model": self.model,
            "costs": [chunk.plan.cost for chunk in self.chunks],
            "graph": json.loads(whole.to_json()),
            # The first block of every end; the others follow its order.
            "first": [[p.axis, p.stop, json.loads(p.plan.to_json())] for p in firsts],
        }
        return text_of(fields)

    @classmethod
    def from_json(cls, text: str) -> ChunkedPlan:
        """Return the plan that `to_json` wrote; raise PlanError as `Plan.from_json` does."""
        return _read(text)

    def with_origins(self, graph: LinearGraph) -> ChunkedPlan:
        """Return the same plan for an equal graph that was traced elsewhere."""
        chunks = []
        for chunk in self.chunks:
            block = replace(chunk.plan.graph, origins=_origins_of_block(graph, chunk.slots))
            chunks.append(replace(chunk, plan=chunk.plan.with_origins(block)))
        return replace(self, graph=graph, chunks=tuple(chunks))


def all_blocks(graph: LinearGraph, side: Side, first: Chunk, model: CostModel) -> Iterator[Chunk]:
    """Yield all blocks of one end, each with the order of the first."""
    shape = graph.shapes[SIDES[side](graph)[first.end]]
    size = shape[first.axis] if shape else 1
    yield first
    for start in range(first.stop, size, max(1, first.stop)):
        stop = min(start + first.stop, size)
        slots, block = graph_of_block(graph, side, first.end, first.axis, start, stop)
        made = follow(
            block,
            first.plan.order,
            requested=first.plan.requested,
            itemsize=first.plan.itemsize,
            model=model,
        )
        yield Chunk(first.end, first.axis, start, stop, made, slots)


def _read(text: str) -> ChunkedPlan:
    """Return the plan of a text; its blocks are cut and followed anew."""
    fields = fields_of(text, _FORMAT, _FIELDS)
    if fields["side"] not in SIDES:
        refuse("side", "'columns' or 'rows'", fields["side"])
    side: Side = fields["side"]
    graph = Plan.from_json(json.dumps(fields["graph"])).graph
    ends = SIDES[side](graph)
    chunks: list[Chunk] = []
    for end, cut in enumerate(a_tuple(fields["first"], "first", len(ends))):
        chunks += _read_blocks(graph, side, end, cut)
    costs = a_tuple(fields["costs"], "costs", len(chunks))
    model = a_text(fields["model"], "model")
    costed = [
        replace(chunk, plan=replace(chunk.plan, model=model, cost=an_integer(cost, "costs")))
        for chunk, cost in zip(chunks, costs, strict=True)
    ]
    plan = ChunkedPlan(
        graph,
        side,
        tuple(costed),
        None if fields["limit"] is None else an_integer(fields["limit"], "limit", 1),
        a_flag(fields["counts_result"], "counts_result"),
        a_text(fields["requested"], "requested"),
        a_text(fields["title"], "title"),
    )
    for name in ("multiplications", "additions"):
        if an_integer(fields[name], name) != getattr(plan, name):
            refuse(name, f"the {getattr(plan, name)} of its blocks", fields[name])
    return plan


def _read_blocks(graph: LinearGraph, side: Side, end: int, cut: Any) -> list[Chunk]:
    at = f"first[{end}]"
    axis, stop, written = a_tuple(cut, at, 3)
    shape = graph.shapes[SIDES[side](graph)[end]]
    axis = an_integer(axis, f"{at}.axis", 0, max(0, len(shape) - 1))
    size = shape[axis] if shape else 1
    stop = an_integer(stop, f"{at}.stop", min(size, 1), size)
    plan = Plan.from_json(json.dumps(written))
    slots, block = graph_of_block(graph, side, end, axis, 0, stop)
    if plan.graph != block:
        refuse(at, "the plan of a block of the graph", "one of another graph")
    return [*all_blocks(graph, side, Chunk(end, axis, 0, stop, plan, slots), multiplications)]


def graph_of_block(
    graph: LinearGraph, side: Side, end: int, axis: int, start: int, stop: int
) -> tuple[tuple[int, ...], LinearGraph]:
    """Return the graph of a block, and the slots of its edges in the whole graph.

    Its vertices are the selection, what lies on paths from or to it, and the ends of the other
    side; the selection comes first as an input, last as an output.
    """
    seeded = SIDES[side](graph)[end]
    others = graph.outputs if side == "columns" else graph.inputs
    connected = _connected(graph, seeded, side) | {seeded, *others}
    slots = tuple(
        k for k, e in enumerate(graph.edges) if e.tail in connected and e.head in connected
    )
    kept = sorted(connected)
    shift = 1 if side == "columns" else 0
    number = {v: k + shift for k, v in enumerate(kept)}
    seed = 0 if side == "columns" else len(kept)
    shape = graph.shapes[seeded]
    taken = tuple(stop - start if k == axis else n for k, n in enumerate(shape))
    edges = [
        Edge(number[e.tail], number[e.head], e.structure) for e in (graph.edges[k] for k in slots)
    ]
    edges.append(_selection(shape, taken, axis, start, side, number[seeded], seed))
    shapes = [graph.shapes[v] for v in kept]
    names = [graph.name(v) for v in kept]
    shapes.insert(seed, taken)
    names.insert(seed, f"{graph.name(seeded)}[{start}:{stop}]")
    ends = tuple(number[v] for v in others)
    return slots, LinearGraph(
        tuple(shapes),
        (seed,) if side == "columns" else ends,
        ends if side == "columns" else (seed,),
        tuple(edges),
        _origins_of_block(graph, slots),
        tuple(names),
    )


def _origins_of_block(graph: LinearGraph, slots: Sequence[int]) -> tuple[Origin, ...]:
    """Return where the local Jacobians of a block are from; its selection comes last."""
    return (*(graph.origins[k] for k in slots), Origin("block")) if graph.origins else ()


def _connected(graph: LinearGraph, end: Vertex, side: Side) -> set[Vertex]:
    """Return the vertices on paths between `end` and the ends of the other side."""
    inputs = {end} if side == "columns" else set(graph.inputs)
    outputs = set(graph.outputs) if side == "columns" else {end}
    edges = sorted((edge.tail, edge.head) for edge in graph.edges)
    return {v for k in on_paths(edges, inputs, outputs) for v in edges[k]}


def _selection(
    shape: Sequence[int],
    taken: Sequence[int],
    axis: int,
    start: int,
    side: Side,
    end: Vertex,
    seed: Vertex,
) -> Edge:
    """Return the edge that takes some indices of one axis of an input, or of an output."""
    whole = [Axis(n, (k,)) for k, n in enumerate(shape)]
    block = [Axis(n, (k,)) for k, n in enumerate(taken)]
    if shape:
        whole[axis] = Axis(shape[axis], (axis,), range(start, start + taken[axis]))
    sizes = dict(enumerate(taken))
    if side == "columns":
        return Edge(seed, end, arrange(whole, block, sizes, scale=1).structure)
    return Edge(end, seed, arrange(block, whole, sizes, scale=1).structure)
