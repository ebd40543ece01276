"""Plans within a limit of memory: another order, or the Jacobian in blocks of columns or rows.

What counts is what the peak of a plan counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from typing import TypeAlias

from chainad.errors import InputError, PlanError, TooLargeError
from chainad.ir.graph import Origin
from chainad.planning.auto import Mode, make_plan, plan_cached
from chainad.planning.chunked import (
    MAX_BLOCKS,
    SIDES,
    Chunk,
    ChunkedPlan,
    Side,
    all_blocks,
    graph_of_block,
)
from chainad.planning.cost_models import CostModel, CostName, model_of
from chainad.planning.linear_graph import LinearGraph
from chainad.planning.machine_memory import memory_of_machine
from chainad.planning.peak import bytes_at_most, live_entries, local_entries, result_entries
from chainad.planning.plan import Plan
from chainad.planning.registry import ModeName
from chainad.planning.search.budget import DEFAULT_SEARCH, SearchOptions
from chainad.planning.views.quantities import bytes_text

_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}

# Of results in a block that is written elsewhere: larger ones are no quicker, and progress and
# restarts are by blocks.
MAX_STREAMED_BYTES = 1 << 28
MAX_STREAMED_BLOCKS = 4096

# Blocks of columns are written elsewhere where rows cost so many times as much.
MIN_GAIN_BY_COLUMNS = 1.2


def default_limit() -> int:
    """Return the bytes that a Jacobian on disk keeps within, where no limit is given.

    It is half of the memory there is: Python and what the function holds take their part.
    """
    return memory_of_machine() // 2


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
    names = {unit.lower(): size for unit, size in _UNITS.items()}
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]+)\s*", str(limit))
    if isinstance(limit, str) and found and found[2].lower() in names and float(found[1]) > 0:
        return int(float(found[1]) * names[found[2].lower()])
    raise InputError(
        f"memory_limit must be a number of bytes, or text such as '2 GB', but got {limit!r};"
        f" the units are {', '.join(_UNITS)}"
    )


def plan_within(
    graph: LinearGraph,
    mode: Mode,
    itemsize: int,
    cost: CostName | CostModel,
    limit: int,
    output: str = "dense",
    search: SearchOptions = DEFAULT_SEARCH,
    counts_result: bool = True,
    at_once: int = 1,
    others: Sequence[str] | None = None,
) -> Plan | ChunkedPlan:
    """Return the cheapest plan found that keeps within `limit` bytes.

    Orders for the whole Jacobian are tried first, then blocks of columns and of rows, of which
    several may be made `at_once`. Without `counts_result`, blocks are written elsewhere, so that
    the dense result takes no memory. `others` are outputs that may take less: those of the NumPy
    front end, if they are not given.

    Raises
    ------
    TooLargeError
        If none keeps within the limit; it names the least that would.
    PlanError
        As for `make_plan`.
    """
    model, is_dense = model_of(cost, itemsize), output == "dense"
    needs: list[int] = []
    found: list[Plan | ChunkedPlan] = []
    wholes: list[Plan] = []
    for whole in _wholes(graph, mode, itemsize, model, search):
        wholes.append(whole)
        needs.append(whole.peak.bytes_for(output))
        if needs[-1] <= limit:
            found.append(whole)
        if len(needs) == 1 and found:
            return whole
    if not found and is_dense and (isinstance(mode, str) or callable(mode)):
        least, chunked = _in_blocks(graph, mode, itemsize, model, limit, counts_result, at_once)
        needs.append(least)
        found += chunked
    if found:
        return min(found, key=_cost_of if counts_result else _cost_on_disk)
    leanest = min(wholes, key=lambda plan: plan.peak.bytes_for(output))
    raise TooLargeError(_refusal(leanest, limit, min(needs), output, counts_result, others))


def plan_in_blocks(
    graph: LinearGraph,
    mode: Mode,
    itemsize: int,
    cost: CostName | CostModel,
    limit: int | None,
    chunk_size: int | None = None,
    counts_result: bool = False,
    at_once: int = 1,
) -> ChunkedPlan:
    """Return the cheapest plan in blocks of columns or of rows, of which several run `at_once`.

    Blocks are of `chunk_size` indices of the longest axis; by default as large as keeps within
    `limit` bytes, and of 256 MiB each at most. Without `counts_result`, they are written elsewhere,
    so that the dense result takes no memory.

    Raises
    ------
    TooLargeError
        If no block keeps within the limit; it names the least that would.
    PlanError
        As for `make_plan`, and if the mode is an order of the whole graph.
    """
    if not isinstance(mode, str) and not callable(mode):
        raise PlanError(
            "blocks of a Jacobian have graphs of their own, which an order or a Plan of the whole"
            " one does not fit; choose mode= by name, or pass a ChunkedPlan"
        )
    model = model_of(cost, itemsize)
    lengths = partial(_lengths_of_stream, itemsize=itemsize, chunk_size=chunk_size)
    least, found = _in_blocks(graph, mode, itemsize, model, limit, counts_result, at_once, lengths)
    if found or limit is None:
        return min(found, key=_cost_of if counts_result else _cost_on_disk)
    fixed = bytes_text(local_entries(graph) * itemsize)
    size = "" if chunk_size is None else f" of chunk_size={chunk_size}"
    raise TooLargeError(
        f"no block{size} was found that keeps within memory_limit={bytes_text(limit)}: the least"
        f" found takes {bytes_text(least)} ({least} bytes), of which local Jacobians {fixed}; raise"
        f" the limit{'' if chunk_size is None else ', or lower chunk_size'}"
    )


def _cost_of(plan: Plan | ChunkedPlan) -> tuple[int, int]:
    return plan.cost, plan.additions


def _cost_on_disk(plan: Plan | ChunkedPlan) -> tuple[float, int]:
    """Return the cost of a plan, higher for columns: on a disk, only blocks of rows lie in line."""
    is_by_columns = isinstance(plan, ChunkedPlan) and plan.side == "columns"
    return plan.cost * (MIN_GAIN_BY_COLUMNS if is_by_columns else 1), plan.additions


def _wholes(
    graph: LinearGraph, mode: Mode, itemsize: int, model: CostModel, search: SearchOptions
) -> Iterator[Plan]:
    """Yield plans for the whole Jacobian, first the one that would be followed without a limit."""
    yield plan_cached(graph, mode, itemsize, model, search)
    if mode == "auto":
        longer = replace(search, expected_calls=inf)  # any plan is better than none
        lean = plan_cached(graph, mode, itemsize, "peak", longer)
        for order in (lean.order, graph.inner, graph.inner[::-1]):
            yield make_plan(graph, order, itemsize, model)


def check_peak(plan: Plan, origin: Callable[[int], Origin]) -> None:
    """Raise TooLargeError if this machine has not the memory for a plan.

    `origin` tells where a local Jacobian, given by its number, is from.
    """
    memory = memory_of_machine()
    if bytes_at_most(plan) > memory and plan.peak.bytes > memory:
        raise TooLargeError(
            f"the plan needs {bytes_text(plan.peak.bytes)} at a time, but this machine has"
            f" {bytes_text(memory)}; {_largest_in(plan, origin)}. Another mode= may need less;"
            " memory_limit= finds orders and blocks that fit, output='operator' stores none of it"
        )


def _largest_in(plan: Plan, origin: Callable[[int], Origin]) -> str:
    """Return which Jacobian of a plan has the most entries, and which operation makes it."""
    n = len(plan.graph.edges)
    number = largest = max(range(len(plan.structures)), key=lambda k: plan.structures[k].count)
    while number >= n:
        step = plan.steps[number - n]
        number = step.right if step.right < n else step.left
    made = origin(number)
    line = "" if made.site is None else f" ({made.site})"
    size = bytes_text(plan.structures[largest].count * plan.itemsize)
    return f"the largest Jacobian, of {size}, is made by {made.name}{line}"


def _refusal(
    plan: Plan,
    limit: int,
    least: int,
    output: str,
    counts_result: bool,
    others: Sequence[str] | None,
) -> str:
    graph, itemsize = plan.graph, plan.itemsize
    parts = [f"local Jacobians {bytes_text(local_entries(graph) * itemsize)}"]
    if output == "dense" and counts_result:
        parts.append(f"the dense result {bytes_text(result_entries(graph) * itemsize)}")
    largest = f"; {_largest_in(plan, graph.origins.__getitem__)}" if graph.origins else ""
    if others is None:
        others = ("sparse", "structured", "operator") if output == "dense" else ("operator",)
    *rest, last = [*map(repr, others)] or [""]
    other = f"{', '.join(rest)} or {last}" if rest else last
    return (
        f"no plan was found that keeps within memory_limit={bytes_text(limit)}: the least found"
        f" takes {bytes_text(least)} ({least} bytes), of which {', '.join(parts)}{largest}; raise"
        f" the limit{other and f', or request output={other}'}"
    )


# The lengths of blocks to try along an axis, the longest first.
_Lengths: TypeAlias = Callable[[LinearGraph, Side, int], list[int]]


def _lengths(graph: LinearGraph, side: Side, end: int) -> list[int]:
    """Return the lengths of 1, 2, 4, ... blocks, up to one per index of the longest axis."""
    size = max(graph.shapes[SIDES[side](graph)[end]], default=1)
    most = min(MAX_BLOCKS, size) or 1
    counts = [*(2**k for k in range(most.bit_length()) if 2**k < most), most]
    return [-(-size // count) for count in counts]


def _lengths_of_stream(
    graph: LinearGraph, side: Side, end: int, itemsize: int, chunk_size: int | None
) -> list[int]:
    """Return the length that is given, or halves of the largest one that is not too large."""
    v = SIDES[side](graph)[end]
    size = max(graph.shapes[v], default=1)
    if chunk_size is not None:
        return [min(chunk_size, size) or 1]
    others = graph.outputs if side == "columns" else graph.inputs
    entries = graph.size(v) * sum(map(graph.size, others)) // max(size, 1)
    least = -(-size // MAX_STREAMED_BLOCKS)
    lengths = [min(size, max(MAX_STREAMED_BYTES // max(entries * itemsize, 1), least))]
    while lengths[-1] > least:
        lengths.append(-(-lengths[-1] // 2))
    return lengths


def _in_blocks(
    graph: LinearGraph,
    mode: Mode,
    itemsize: int,
    model: CostModel,
    limit: int | None,
    counts_result: bool,
    at_once: int,
    lengths: _Lengths = _lengths,
) -> tuple[int, list[ChunkedPlan]]:
    """Return the least bytes seen, and for each side the plan with the fewest blocks that fits."""
    needs = []
    found = []
    for side in SIDES:
        fixed = local_entries(graph) + (result_entries(graph) if counts_result else 0)
        most = inf if limit is None else (limit // itemsize - fixed) // at_once
        of_block, chunks = _cut(graph, side, mode, itemsize, model, most, lengths)
        need = (fixed + at_once * of_block) * itemsize
        needs.append(need)
        if limit is None or need <= limit:
            within = "" if limit is None else f", memory_limit={bytes_text(limit)}"
            requested = f"{_requested(mode)}{within}"
            plan = ChunkedPlan(graph, side, chunks, limit, counts_result, requested)
            found.append(replace(plan, at_once=at_once))
    return min(needs), found


def _cut(
    graph: LinearGraph,
    side: Side,
    mode: Mode,
    itemsize: int,
    model: CostModel,
    limit: float,
    lengths: _Lengths,
) -> tuple[int, tuple[Chunk, ...]]:
    """Return the entries of the products of a block, for the fewest blocks that fit, and these.

    The limit is in entries, too; where no blocks fit, these are the smallest.
    """
    chunks: list[Chunk] = []
    most = 0
    for end in range(len(SIDES[side](graph))):
        tried = lengths(graph, side, end)
        for length in tried:
            blocks = [_first(graph, side, end, length, mode, itemsize, model)]
            need = live_entries(blocks[0].plan, True)
            # Where positions overlap, another block than the first may be the one that needs most.
            if length == tried[-1] or need <= limit:
                blocks = [*all_blocks(graph, side, blocks[0], model)]
                need = max(live_entries(block.plan, True) for block in blocks)
            if need <= limit:
                break
        most = max(most, need)
        chunks += blocks
    return most, tuple(chunks)


def _requested(mode: Mode) -> str:
    return f"mode={mode!r}" if isinstance(mode, str) else "a planner"


def _first(
    graph: LinearGraph,
    side: Side,
    end: int,
    length: int,
    mode: Mode,
    itemsize: int,
    model: CostModel,
) -> Chunk:
    """Return the first block of some length, with a plan of few entries alive.

    Of the requested plan and a plain sweep, the one with fewer entries alive is taken.
    """
    shape = graph.shapes[SIDES[side](graph)[end]]
    axis = max(range(len(shape)), key=lambda k: shape[k], default=0)
    slots, block = graph_of_block(graph, side, end, axis, 0, length)
    plans = [make_plan(block, mode, itemsize, model)]
    if mode == "auto":
        sweep: ModeName = "forward" if side == "columns" else "reverse"
        plans.append(make_plan(block, sweep, itemsize, model))
    plan = min(plans, key=lambda plan: (live_entries(plan, True), plan.cost))
    return Chunk(end, axis, 0, length, plan, slots)
