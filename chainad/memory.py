"""Plans within a limit of memory: another order, or the Jacobian in blocks of columns or rows.

What counts: all local Jacobians (for as long as the plan runs), the products alive at one time with
what a step copies, and the dense result in full. The values on the tape, and what the function
itself holds, do not.

A block of columns is the linear graph with a selection in front of one input, a block of rows one
with a selection behind one output: plans like any other. What the blocks have in common is computed
for each of them anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Literal

from chainad.algebra import arrange
from chainad.errors import InputError, TooLargeError
from chainad.linear import Edge, LinearGraph, Origin, Vertex
from chainad.plan import Peak, Plan, Step, follow
from chainad.planners.auto import Mode, make_plan, plan_cached
from chainad.planners.pace import DEFAULT, Aim
from chainad.prices import PriceModel, model_of
from chainad.report.text import bytes_text
from chainad.structure import Axis

Side = Literal["columns", "rows"]

# Beyond so many blocks, what is alive besides the result is a small part of it.
MOST_BLOCKS = 64

UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
UNITS |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def bytes_of(limit: int | str) -> int:
    """Return a limit such as `"2 GB"`, or a number of bytes, in bytes.

    Raises
    ------
    InputError
        If it is neither.

    Examples
    --------
    >>> bytes_of("1.5 GB"), bytes_of("2 KiB")
    (1500000000, 2048)
    """
    if isinstance(limit, int) and not isinstance(limit, bool) and limit > 0:
        return limit
    names = {unit.lower(): size for unit, size in UNITS.items()}
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]+)\s*", str(limit))
    if isinstance(limit, str) and found and found[2].lower() in names and float(found[1]) > 0:
        return int(float(found[1]) * names[found[2].lower()])
    raise InputError(
        f"memory_limit must be a number of bytes, or text such as '2 GB', but got {limit!r};"
        f" the units are {', '.join(UNITS)}"
    )


@dataclass(frozen=True)
class Part:
    """One block of the Jacobian: places `start` to `stop` of one axis of one input or output.

    Attributes
    ----------
    end : int
        The number of the input, or of the output.
    axis, start, stop : int
        The places of its value that the block is of.
    plan : Plan
        The plan of the block. Its last local Jacobian is the selection, which has no numbers.
    slots : tuple of int
        For every other local Jacobian of that plan its number in the whole graph.
    """

    end: int
    axis: int
    start: int
    stop: int
    plan: Plan
    slots: tuple[int, ...]


@dataclass(frozen=True)
class ChunkedPlan:
    """A Jacobian that is accumulated in blocks of columns or of rows, to keep within some memory.

    Attributes
    ----------
    graph : LinearGraph
        The local Jacobians and their structures.
    side : str
        "columns" or "rows".
    parts : tuple of Part
        One plan per block, in the order in which they run.
    limit : int
        Bytes.
    asked, title : str
        What the user asked for, and what the report calls the function.
    """

    graph: LinearGraph
    side: Side
    parts: tuple[Part, ...]
    limit: int
    asked: str = field(default="", compare=False)
    title: str = field(default="J", compare=False)

    def __str__(self) -> str:
        return _render(self)

    @property
    def itemsize(self) -> int:
        return self.parts[0].plan.itemsize

    @property
    def model(self) -> str:
        """The name of the price model that the orders were chosen by."""
        return self.parts[0].plan.model

    @cached_property
    def price(self) -> int:
        """What all blocks cost together; of peaks, the largest."""
        prices = [part.plan.price for part in self.parts]
        return max(prices) if self.model == "peak" else sum(prices)

    @cached_property
    def multiplications(self) -> int:
        """Scalar multiplications of all blocks."""
        return sum(part.plan.multiplications for part in self.parts)

    @cached_property
    def additions(self) -> int:
        """Scalar additions of all blocks."""
        return sum(part.plan.additions for part in self.parts)

    @cached_property
    def peak(self) -> Peak:
        """What counts towards the limit: local Jacobians, result, and the products of a block."""
        most = max(_products(part.plan, True) for part in self.parts)
        numbers = _locals(self.graph) + _result(self.graph) + most
        return Peak(numbers, numbers * self.itemsize)

    def with_origins(self, graph: LinearGraph) -> ChunkedPlan:
        """Return the same plan for an equal graph that was traced elsewhere."""
        return replace(self, graph=graph)


def plan_within(
    graph: LinearGraph,
    mode: Mode,
    itemsize: int,
    price: str | PriceModel,
    limit: int,
    output: str = "dense",
    aim: Aim = DEFAULT,
) -> Plan | ChunkedPlan:
    """Return the cheapest plan found that keeps within `limit` bytes.

    Orders for the whole Jacobian are tried first, then blocks of columns and of rows.

    Raises
    ------
    TooLargeError
        If none keeps within the limit; it names the least that would.
    PlanError
        As for `make_plan`.
    """
    model, is_dense = model_of(price, itemsize), output == "dense"
    needs: list[int] = []
    found: list[Plan | ChunkedPlan] = []
    for whole in _wholes(graph, mode, itemsize, model, aim):
        needs.append(needed(whole, is_dense))
        if needs[-1] <= limit:
            found.append(whole)
        if len(needs) == 1 and found:
            return whole
    if not found and is_dense and (isinstance(mode, str) or callable(mode)):
        for side in SIDES:
            need, chunked = _in_blocks(graph, side, mode, itemsize, model, limit)
            needs.append(need)
            if chunked is not None:
                found.append(chunked)
    if found:
        return min(found, key=lambda plan: (plan.price, plan.additions))
    raise TooLargeError(_refusal(graph, itemsize, limit, min(needs), is_dense))


def needed(plan: Plan, is_dense: bool) -> int:
    """Return the bytes that count towards a limit, for a plan that is run as a whole."""
    return (_locals(plan.graph) + _products(plan, is_dense)) * plan.itemsize


def _wholes(
    graph: LinearGraph, mode: Mode, itemsize: int, model: PriceModel, aim: Aim
) -> Iterator[Plan]:
    """Yield plans for the whole Jacobian, first the one that would be followed without a limit."""
    yield plan_cached(graph, mode, itemsize, model, aim)
    if mode == "auto":
        lean = plan_cached(graph, mode, itemsize, "peak", aim)
        for order in (lean.order, graph.inner, graph.inner[::-1]):
            yield make_plan(graph, order, itemsize, model)


def _locals(graph: LinearGraph) -> int:
    return sum(edge.structure.count for edge in graph.edges)


def _result(graph: LinearGraph) -> int:
    """Return how many numbers the dense Jacobians have, all of them together."""
    return sum(map(graph.size, graph.outputs)) * sum(map(graph.size, graph.inputs))


def _products(plan: Plan, is_dense: bool) -> int:
    """Return the most numbers alive at one time besides local Jacobians.

    At the end every result is written out in full if it is to be dense and is not yet.
    """
    n = len(plan.graph.edges)
    last = {step.number: k for k, step in enumerate(plan.steps)}
    last |= {used: k for k, step in enumerate(plan.steps) for used in (step.left, step.right)}
    kept = {number for numbers in plan.results for number in numbers}
    live = most = 0
    for k, step in enumerate(plan.steps):
        live += step.structure.count
        most = max(most, live + _copied(plan, step))
        for used in {step.left, step.right, step.number} - kept:
            if used >= n and last[used] == k:
                live -= plan.structures[used].count
    if not is_dense:
        return most
    for numbers, size in zip(plan.results, _sizes_of_results(plan.graph), strict=True):
        full = len(numbers) == 1 and plan.structures[numbers[0]].count == size
        live += 0 if full and numbers[0] >= n else size
    return max(most, live)


def _copied(plan: Plan, step: Step) -> int:
    """Return how many numbers a step copies to have them in the order in which it reads them."""
    factors = [plan.structures[k] for k in (step.left, step.right)]
    if all(factor.is_matrix for factor in factors) or 0 in (factor.count for factor in factors):
        return 0
    return max(factor.count for factor in factors)


def _sizes_of_results(graph: LinearGraph) -> list[int]:
    return [graph.size(o) * graph.size(i) for o in graph.outputs for i in graph.inputs]


def _refusal(graph: LinearGraph, itemsize: int, limit: int, least: int, is_dense: bool) -> str:
    parts = [f"local Jacobians {bytes_text(_locals(graph) * itemsize)}"]
    if is_dense:
        parts.append(f"the dense result {bytes_text(_result(graph) * itemsize)}")
    other = "output='sparse', 'structured' or 'operator'" if is_dense else "output='operator'"
    return (
        f"no plan was found that keeps within memory_limit={bytes_text(limit)}: the least found"
        f" takes {bytes_text(least)} ({least} bytes), of which {', '.join(parts)}; raise the limit,"
        f" or ask for {other}"
    )


# --------------------------------------------------------------------- blocks


def _in_blocks(
    graph: LinearGraph,
    side: Side,
    mode: Mode,
    itemsize: int,
    model: PriceModel,
    limit: int,
) -> tuple[int, ChunkedPlan | None]:
    """Return the least bytes seen, and the plan with the fewest blocks that fits, if one does."""
    fixed = _locals(graph) + _result(graph)
    parts: list[Part] = []
    most = 0
    for end in range(len(SIDES[side](graph))):
        counts = _counts(graph, side, end)
        for count in counts:
            blocks = [_largest(graph, side, end, count, mode, itemsize, model)]
            need = _products(blocks[0].plan, True)
            # Where positions meet, another block than the first may be the one that needs most.
            if count == counts[-1] or (fixed + need) * itemsize <= limit:
                blocks = [*_all_blocks(graph, side, blocks[0], model)]
                need = max(_products(block.plan, True) for block in blocks)
            if (fixed + need) * itemsize <= limit:
                break
        most = max(most, need)
        parts += blocks
    bytes_needed = (fixed + most) * itemsize
    if bytes_needed > limit:
        return bytes_needed, None
    asked = f"{_words(mode)}, memory_limit={bytes_text(limit)}"
    return bytes_needed, ChunkedPlan(graph, side, tuple(parts), limit, asked)


def _words(mode: Mode) -> str:
    return f"mode={mode!r}" if isinstance(mode, str) else "a planner"


def _inputs(graph: LinearGraph) -> tuple[Vertex, ...]:
    return graph.inputs


def _outputs(graph: LinearGraph) -> tuple[Vertex, ...]:
    return graph.outputs


SIDES: dict[Side, Callable[[LinearGraph], tuple[Vertex, ...]]] = {
    "columns": _inputs,
    "rows": _outputs,
}


def _counts(graph: LinearGraph, side: Side, end: int) -> list[int]:
    """Return how many blocks to try: 1, 2, 4, ... up to one per place of the longest axis."""
    shape = graph.shapes[SIDES[side](graph)[end]]
    most = min(MOST_BLOCKS, max(shape, default=1)) or 1
    return [*(2**k for k in range(most.bit_length()) if 2**k < most), most]


def _largest(
    graph: LinearGraph,
    side: Side,
    end: int,
    count: int,
    mode: Mode,
    itemsize: int,
    model: PriceModel,
) -> Part:
    """Return the first and largest of `count` blocks, with a plan of few numbers alive.

    Among the plan that is asked for and a plain sweep, the one with fewer numbers alive is taken.
    """
    shape = graph.shapes[SIDES[side](graph)[end]]
    axis = max(range(len(shape)), key=lambda k: shape[k], default=0)
    stop = -(-(shape[axis] if shape else 1) // count)
    slots, block = _graph_of_block(graph, side, end, axis, 0, stop)
    plans = [make_plan(block, mode, itemsize, model)]
    if mode == "auto":
        sweep = "forward" if side == "columns" else "reverse"
        plans.append(make_plan(block, sweep, itemsize, model))
    plan = min(plans, key=lambda plan: (_products(plan, True), plan.price))
    return Part(end, axis, 0, stop, plan, slots)


def _all_blocks(graph: LinearGraph, side: Side, first: Part, model: PriceModel) -> Iterator[Part]:
    """Yield all blocks of one end, each with the order of the first."""
    shape = graph.shapes[SIDES[side](graph)[first.end]]
    size = shape[first.axis] if shape else 1
    yield first
    for start in range(first.stop, size, max(1, first.stop)):
        stop = min(start + first.stop, size)
        slots, block = _graph_of_block(graph, side, first.end, first.axis, start, stop)
        made = follow(
            block,
            first.plan.order,
            asked=first.plan.asked,
            itemsize=first.plan.itemsize,
            model=model,
        )
        yield Part(first.end, first.axis, start, stop, made, slots)


def _graph_of_block(
    graph: LinearGraph, side: Side, end: int, axis: int, start: int, stop: int
) -> tuple[tuple[int, ...], LinearGraph]:
    """Return the graph of a block, and the numbers of its edges in the whole graph.

    Its vertices are the selection, what lies on paths from or to it, and the ends of the other
    side; the selection comes first as an input, last as an output.
    """
    seeded = SIDES[side](graph)[end]
    others = graph.outputs if side == "columns" else graph.inputs
    on_paths = _connected(graph, seeded, side) | {seeded, *others}
    slots = tuple(k for k, e in enumerate(graph.edges) if e.tail in on_paths and e.head in on_paths)
    kept = sorted(on_paths)
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
    origins = [graph.origins[k] for k in slots] if graph.origins else []
    return slots, LinearGraph(
        tuple(shapes),
        (seed,) if side == "columns" else ends,
        ends if side == "columns" else (seed,),
        tuple(edges),
        (*origins, Origin("block")) if origins else (),
        tuple(names),
    )


def _connected(graph: LinearGraph, end: Vertex, side: Side) -> set[Vertex]:
    """Return the vertices on paths between `end` and the ends of the other side."""
    inputs = {end} if side == "columns" else set(graph.inputs)
    outputs = set(graph.outputs) if side == "columns" else {end}
    order = sorted(graph.edges, key=lambda edge: edge.tail)
    reached, useful = set(inputs), set(outputs)
    for edge in order:
        if edge.tail in reached:
            reached.add(edge.head)
    for edge in reversed(order):
        if edge.head in useful:
            useful.add(edge.tail)
    return reached & useful


def _selection(
    shape: Sequence[int],
    taken: Sequence[int],
    axis: int,
    start: int,
    side: Side,
    end: Vertex,
    seed: Vertex,
) -> Edge:
    """Return the edge that takes some places of one axis of an input, or of an output."""
    whole = [Axis(n, (k,)) for k, n in enumerate(shape)]
    block = [Axis(n, (k,)) for k, n in enumerate(taken)]
    if shape:
        whole[axis] = Axis(shape[axis], (axis,), range(start, start + taken[axis]))
    sizes = dict(enumerate(taken))
    if side == "columns":
        return Edge(seed, end, arrange(whole, block, sizes, scale=1).structure)
    return Edge(end, seed, arrange(block, whole, sizes, scale=1).structure)


# --------------------------------------------------------------------- report


def _render(plan: ChunkedPlan) -> str:
    """Return the report: what all blocks take together, then the plan of the first."""
    graph, size = plan.graph, plan.itemsize
    ends = SIDES[plan.side](graph)
    sides = [", ".join(str(graph.shapes[v]) for v in vs) for vs in (graph.inputs, graph.outputs)]
    products = plan.peak.numbers - _locals(graph) - _result(graph)
    lines = [f"Plan  {plan.title}: {sides[0]} -> {sides[1]}     in {len(plan.parts)} blocks"]
    lines[0] += f" of {plan.side}  (asked: {plan.asked})"
    for end, v in enumerate(ends):
        mine = [part for part in plan.parts if part.end == end]
        wide = (
            (mine[0].stop - mine[0].start)
            * prod(graph.shapes[v])
            // max(1, (graph.shapes[v] or (1,))[mine[0].axis])
        )
        lines.append(
            f"blocks      {len(mine)} of up to {wide:,} {plan.side}, cut along axis {mine[0].axis}"
            f" of {graph.name(v)}"
        )
    lines += [
        f"memory      {bytes_text(plan.peak.bytes)} of {bytes_text(plan.limit)}: local Jacobians"
        f" {bytes_text(_locals(graph) * size)}, result {bytes_text(_result(graph) * size)},"
        f" products of a block {bytes_text(products * size)}",
        f"price       {plan.multiplications:,} multiplications, {plan.additions:,} additions,"
        " all blocks together",
    ]
    first = replace(plan.parts[0].plan, title="first block")
    return "\n".join(lines) + "\n\n" + str(first)
