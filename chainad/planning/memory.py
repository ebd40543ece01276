"""Plans within a limit of memory: another order, or the Jacobian in blocks of columns or rows.

What counts is what the peak of a plan counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from chainad.errors import InputError, TooLargeError
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
from chainad.planning.peak import live_entries, local_entries, result_entries
from chainad.planning.plan import Plan
from chainad.planning.registry import ModeName
from chainad.planning.search.budget import DEFAULT_SEARCH, SearchOptions
from chainad.planning.views.quantities import bytes_text

_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


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
        for side in SIDES:
            need, chunked = _in_blocks(graph, side, mode, itemsize, model, limit)
            needs.append(need)
            if chunked is not None:
                found.append(chunked)
    if found:
        return min(found, key=lambda plan: (plan.cost, plan.additions))
    leanest = min(wholes, key=lambda plan: plan.peak.bytes_for(output))
    raise TooLargeError(_refusal(leanest, limit, min(needs), is_dense))


def _wholes(
    graph: LinearGraph, mode: Mode, itemsize: int, model: CostModel, search: SearchOptions
) -> Iterator[Plan]:
    """Yield plans for the whole Jacobian, first the one that would be followed without a limit."""
    yield plan_cached(graph, mode, itemsize, model, search)
    if mode == "auto":
        lean = plan_cached(graph, mode, itemsize, "peak", search)
        for order in (lean.order, graph.inner, graph.inner[::-1]):
            yield make_plan(graph, order, itemsize, model)


def check_peak(plan: Plan, origin: Callable[[int], Origin]) -> None:
    """Raise TooLargeError if this machine has not the memory for a plan.

    `origin` tells where a local Jacobian, given by its number, is from.
    """
    memory = memory_of_machine()
    if plan.peak.bytes > memory:
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


def _refusal(plan: Plan, limit: int, least: int, is_dense: bool) -> str:
    graph, itemsize = plan.graph, plan.itemsize
    parts = [f"local Jacobians {bytes_text(local_entries(graph) * itemsize)}"]
    if is_dense:
        parts.append(f"the dense result {bytes_text(result_entries(graph) * itemsize)}")
    largest = f"; {_largest_in(plan, graph.origins.__getitem__)}" if graph.origins else ""
    other = "output='sparse', 'structured' or 'operator'" if is_dense else "output='operator'"
    return (
        f"no plan was found that keeps within memory_limit={bytes_text(limit)}: the least found"
        f" takes {bytes_text(least)} ({least} bytes), of which {', '.join(parts)}{largest}; raise"
        f" the limit, or request {other}"
    )


def _in_blocks(
    graph: LinearGraph,
    side: Side,
    mode: Mode,
    itemsize: int,
    model: CostModel,
    limit: int,
) -> tuple[int, ChunkedPlan | None]:
    """Return the least bytes seen, and the plan with the fewest blocks that fits, if one does."""
    fixed = local_entries(graph) + result_entries(graph)
    chunks: list[Chunk] = []
    most = 0
    for end in range(len(SIDES[side](graph))):
        counts = _counts(graph, side, end)
        for count in counts:
            blocks = [_largest(graph, side, end, count, mode, itemsize, model)]
            need = live_entries(blocks[0].plan, True)
            # Where positions overlap, another block than the first may be the one that needs most.
            if count == counts[-1] or (fixed + need) * itemsize <= limit:
                blocks = [*all_blocks(graph, side, blocks[0], model)]
                need = max(live_entries(block.plan, True) for block in blocks)
            if (fixed + need) * itemsize <= limit:
                break
        most = max(most, need)
        chunks += blocks
    bytes_needed = (fixed + most) * itemsize
    if bytes_needed > limit:
        return bytes_needed, None
    requested = f"{_requested(mode)}, memory_limit={bytes_text(limit)}"
    return bytes_needed, ChunkedPlan(graph, side, tuple(chunks), limit, requested)


def _requested(mode: Mode) -> str:
    return f"mode={mode!r}" if isinstance(mode, str) else "a planner"


def _counts(graph: LinearGraph, side: Side, end: int) -> list[int]:
    """Return how many blocks to try: 1, 2, 4, ... up to one per index of the longest axis."""
    shape = graph.shapes[SIDES[side](graph)[end]]
    most = min(MAX_BLOCKS, max(shape, default=1)) or 1
    return [*(2**k for k in range(most.bit_length()) if 2**k < most), most]


def _largest(
    graph: LinearGraph,
    side: Side,
    end: int,
    count: int,
    mode: Mode,
    itemsize: int,
    model: CostModel,
) -> Chunk:
    """Return the first and largest of `count` blocks, with a plan of few entries alive.

    Of the requested plan and a plain sweep, the one with fewer entries alive is taken.
    """
    shape = graph.shapes[SIDES[side](graph)[end]]
    axis = max(range(len(shape)), key=lambda k: shape[k], default=0)
    stop = -(-(shape[axis] if shape else 1) // count)
    slots, block = graph_of_block(graph, side, end, axis, 0, stop)
    plans = [make_plan(block, mode, itemsize, model)]
    if mode == "auto":
        sweep: ModeName = "forward" if side == "columns" else "reverse"
        plans.append(make_plan(block, sweep, itemsize, model))
    plan = min(plans, key=lambda plan: (live_entries(plan, True), plan.cost))
    return Chunk(end, axis, 0, stop, plan, slots)
