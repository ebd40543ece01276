"""Chains whose factors may be programs: known by tangents and adjoints, accumulated at a cost.

Such a factor is an operator. Its tangent program maps a column at the cost `tangent_costs[i]`, its
adjoint program a row at `adjoint_costs[i]`, so that the factor itself takes

    min(columns * tangent cost, rows * adjoint cost)

to accumulate. An adjoint program runs over a tape, so a limit on memory rules it out where the tape
is larger. A run of adjoints over several factors may be cut into runs over one factor each, at the
same cost: hence no limit on longer runs costs more than the one on single factors, and plans take
adjoints through one factor at a time.

Source: Naumann 2020, *Optimization of generalized Jacobian chain products without memory
constraints*; Naumann 2024, *Matrix-free Jacobian chaining*.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from chainad.errors import InputError, PlanError
from chainad.ir.graph import Origin
from chainad.planning.alternatives import Alternative
from chainad.planning.auto import Mode, check_mode, plan_cached
from chainad.planning.chain.chain import is_exact
from chainad.planning.chain.interval_dp import segments_of
from chainad.planning.chain.workers import MAX_DIVIDED_FACTORS, divide
from chainad.planning.cost_models import CostModel, CostName
from chainad.planning.linear_graph import Edge, LinearGraph
from chainad.planning.plan import Plan, follow
from chainad.structure import Sweep, dense
from chainad.structure.structure import Action, Structure

# The classical modes take every program one way.
SWEEPS: dict[str, Sweep] = {"forward": "tangent", "reverse": "adjoint"}

Costs = Sequence[int | None]


@dataclass(frozen=True)
class Programs:
    """The factors of a chain that are programs: costs and tapes, one entry per factor.

    A factor without either cost is an accumulated Jacobian; `limit` None stands for no limit.
    """

    tangents: tuple[int | None, ...]
    adjoints: tuple[int | None, ...]
    tapes: tuple[int, ...]
    limit: int | None

    @property
    def tape(self) -> int:
        """The tape of one sweep of adjoints through all programs."""
        pairs = zip(self.tapes, self.tangents, self.adjoints, strict=True)
        return sum(tape for tape, t, a in pairs if (t, a) != (None, None))


def programs_of(
    count: int,
    tangent_costs: Costs | None,
    adjoint_costs: Costs | None,
    tape_sizes: Sequence[int] | None,
    memory_limit: int | None,
) -> Programs | None:
    """Return the programs in a chain of `count` factors, checked; None if there are none.

    Raises
    ------
    InputError
        If there is not one entry per factor, or one is no non-negative integer.
    """
    tangents = _entries("tangent_costs", tangent_costs, count)
    adjoints = _entries("adjoint_costs", adjoint_costs, count)
    tapes = tuple(tape or 0 for tape in _entries("tape_sizes", tape_sizes, count))
    if memory_limit is not None:
        (memory_limit,) = _entries("memory_limit", [memory_limit], 1)
        if tape_sizes is None:
            raise InputError("memory_limit bounds tapes: give their sizes as tape_sizes=")
    if all(cost is None for cost in (*tangents, *adjoints)):
        return None
    return Programs(tangents, adjoints, tapes, memory_limit)


def plan_programs(
    sizes: Sequence[int], programs: Programs, mode: Mode, cost: CostName | CostModel
) -> Plan:
    """Plan a chain with programs; see `chainad.plan_chain`."""
    check_mode(mode)
    if cost != "multiplications":
        raise PlanError(
            "tangent_costs and adjoint_costs are multiplications, so the chain is planned by"
            f" cost='multiplications', but got cost={cost!r}"
        )
    graph = _graph(sizes, programs)
    classical = {name: _classical(graph, name) for name in SWEEPS if not _refusal(programs, name)}
    if not isinstance(mode, str) or mode not in SWEEPS:
        # The sweeps are no candidates: an order with the best choice at every product is cheaper.
        plan = plan_cached(graph, "chain" if mode == "auto" and is_exact(graph) else mode)
        plan = replace(plan, requested=f"mode={mode!r}") if mode == "auto" else plan
        kept = [offer for offer in plan.alternatives if offer.name not in SWEEPS]
    elif refusal := _refusal(programs, mode):
        raise PlanError(refusal)
    else:
        best, plan = plan_cached(graph, "chain"), classical[mode]
        is_best = plan.multiplications == best.multiplications
        plan = replace(plan, planner=mode, optimality=best.optimality if is_best else "")
        kept = [_alternative("chain", best)]
    offers = [*kept, *(_alternative(name, found) for name, found in classical.items())]
    offers.sort(key=lambda offer: (offer.cost, offer.additions))
    return replace(plan, title="chain", alternatives=tuple(offers))


def plan_workers(plan: Plan, workers: int) -> Plan:
    """Return the plan of the same chain that ends earliest on some workers, of those tried.

    Its steps may multiply more than those of `plan` in all, hence nothing is proved of their sum.
    """
    structures = [edge.structure for edge in plan.graph.edges]
    segments = segments_of(structures) if 1 < len(structures) <= MAX_DIVIDED_FACTORS else None
    best, makespan = plan, plan.schedule(workers).makespan
    for division in divide(segments, workers) if segments else ():
        written = [k for k in division.materialized if structures[k].action is not None]
        found = follow(plan.graph, division.order, requested=plan.requested, materialized=written)
        end = found.schedule(workers).makespan
        if end < makespan:
            best, makespan = found, end
    if best is plan:
        return plan
    return replace(
        best, planner=f"{workers} workers", title=plan.title, alternatives=plan.alternatives
    )


def _classical(graph: LinearGraph, mode: str) -> Plan:
    """Return the plan that takes every program the same way, at any cost."""
    order = graph.inner if mode == "forward" else graph.inner[::-1]
    return follow(graph, order, requested=f"mode={mode!r}", sweep=SWEEPS[mode])


def _alternative(name: str, plan: Plan) -> Alternative:
    return Alternative(name, plan.multiplications, plan.additions, plan.cost)


def _refusal(programs: Programs, mode: str) -> str:
    """Return why a classical mode is impossible, or an empty text."""
    needed, others = programs.tangents, programs.adjoints
    sweep = SWEEPS[mode]
    if sweep == "adjoint":
        needed, others = others, needed
    for k, (cost, other) in enumerate(zip(needed, others, strict=True)):
        if cost is None and other is not None:
            return (
                f"mode={mode!r} takes every program by its {sweep}s, but {sweep}_costs[{k}] is"
                " None; use mode='auto'"
            )
    if sweep == "adjoint" and programs.limit is not None and programs.tape > programs.limit:
        return (
            f"mode={mode!r} keeps the tapes of all programs at once, {programs.tape:,}, but"
            f" memory_limit is {programs.limit:,}; the least limit that would do is"
            f" {programs.tape:,}, or use mode='auto'"
        )
    return ""


def _graph(sizes: Sequence[int], programs: Programs) -> LinearGraph:
    """Return the chain, without the adjoints whose tapes are too large.

    Raises
    ------
    PlanError
        If such an adjoint is all there is of a program.
    """
    structures: list[Structure] = []
    too_small: list[int] = []
    entries = zip(programs.tangents, programs.adjoints, programs.tapes, strict=True)
    for (n, m), (tangent, adjoint, tape) in zip(pairwise(sizes), entries, strict=True):
        fits = programs.limit is None or tape <= programs.limit
        if tangent is None and adjoint is not None and not fits:
            too_small.append(tape)
        structures.append(_factor(m, n, tangent, adjoint if fits else None))
    if too_small:
        raise PlanError(
            f"{len(too_small)} programs have adjoints only, whose tapes exceed memory_limit"
            f"={programs.limit:,}; the least limit that would do is {max(too_small):,}"
        )
    n = len(structures)
    return LinearGraph(
        shapes=tuple((size,) for size in sizes),
        inputs=(0,),
        outputs=(n,),
        edges=tuple(Edge(i, i + 1, structure) for i, structure in enumerate(structures)),
        origins=tuple(Origin("program" if s.action else "matrix") for s in structures),
        names=("x", *(f"v{i}" for i in range(1, n)), "y"),
    )


def _factor(m: int, n: int, tangent: int | None, adjoint: int | None) -> Structure:
    matrix = dense((m,), (n,))
    if tangent is None and adjoint is None:
        return matrix
    parts = (matrix.rows, matrix.cols, matrix.stored, matrix.sizes)
    return Structure(*parts, None, Action(tangent, adjoint))


def _entries(name: str, entries: Costs | None, count: int) -> tuple[int | None, ...]:
    if entries is None:
        return (None,) * count
    found = tuple(entries)
    if len(found) != count:
        raise InputError(
            f"{name} must have one entry per factor, {count} in all, but got {len(found)}"
        )
    for entry in found:
        if entry is None:
            continue
        if not isinstance(entry, (int, np.integer)) or isinstance(entry, bool) or entry < 0:
            raise InputError(f"{name} must be non-negative integers or None, but got {entry!r}")
    return tuple(None if entry is None else int(entry) for entry in found)
