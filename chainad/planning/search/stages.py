"""The search for a cheap order: rules, then splitting, windows and annealing; exact where small.

Every stage starts from the cheapest order so far and never makes it dearer, so that the search can
be stopped at any time. Components of the inner vertices are searched apart, since they never meet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from random import Random
from time import monotonic
from typing import Any

from chainad.errors import PlanError
from chainad.planning.cost_models import CostModel, multiplications
from chainad.planning.linear_graph import LinearGraph, Vertex
from chainad.planning.search.annealing import anneal
from chainad.planning.search.articulation import components, path_order, split
from chainad.planning.search.budget import DEFAULT, SMALL, Aim, Level, Pace, Progress
from chainad.planning.search.exhaustive import bound_of, cheapest
from chainad.planning.search.greedy import greedy_order, order_within
from chainad.planning.search.make_state import Compact, Dense, compact
from chainad.planning.search.window import by_windows

STAGES = ("blocks", "window", "annealing")

# The mean number of eliminations that a move of annealing costs anew.
PER_MOVE = 10

# Up to so many eliminations, a bound on their cost takes less time than a search.
QUICKLY_BOUNDED = 150

# With fewer moves per elimination, annealing finds nothing.
FEWEST_MOVES = 2.5

# So many times more sets of dense graphs are looked at in the same time.
LIGHT = 8


@dataclass
class Found:
    """The best order so far of one component, and whether it is known to be optimal."""

    graph: Compact[Any]
    order: list[int]
    is_proved: bool = False
    progress: Progress = field(default_factory=Progress)

    @property
    def cost(self) -> int:
        return self.graph.cost_of(self.order)

    def offer(self, order: Sequence[int]) -> None:
        """Take an order if it is cheaper."""
        if self.graph.cost_of(order) < self.cost:
            self.order[:] = order


def exhaustive(
    graph: LinearGraph, model: CostModel = multiplications, aim: Aim = DEFAULT
) -> tuple[Vertex, ...]:
    """Return a cheapest order, by dynamic programming over all sets of vertices.

    Raises
    ------
    PlanError
        If there are more than 9 inner vertices, or 18 with effort="thorough".
    """
    most = aim.level.inner
    if len(graph.inner) > most:
        raise PlanError(
            f"mode='exhaustive' tries every set of vertices and takes at most {most} inner ones at"
            f" effort={aim.effort!r}, but this graph has {len(graph.inner)}; use mode='auto'"
        )
    problem = compact(graph, model)
    orders = [order for _, order in rules(problem, aim.level)]
    found = cheapest(problem, min(orders, key=problem.cost_of))
    assert found is not None
    return tuple(found)


def blocks(
    graph: LinearGraph, model: CostModel = multiplications, aim: Aim = DEFAULT
) -> tuple[Vertex, ...]:
    """Split the best order of a rule at safe cut vertices; solve exactly what is small enough."""
    return _until("blocks", graph, model, aim)


def window(
    graph: LinearGraph, model: CostModel = multiplications, aim: Aim = DEFAULT
) -> tuple[Vertex, ...]:
    """Put any 6 consecutive eliminations into their cheapest order, beginning from `blocks`."""
    return _until("window", graph, model, aim)


def annealing(
    graph: LinearGraph, model: CostModel = multiplications, aim: Aim = DEFAULT
) -> tuple[Vertex, ...]:
    """Move single eliminations by simulated annealing, beginning from `window`."""
    return _until("annealing", graph, model, aim)


def _until(name: str, graph: LinearGraph, model: CostModel, aim: Aim) -> tuple[Vertex, ...]:
    """Return the cheapest order after a stage."""
    problem = compact(graph, model)
    orders = [order for _, order in rules(problem, aim.level)]
    best = problem.cheapest_of(orders)
    for stage, order, _ in improved(problem, orders, aim):
        best = order
        if stage == name:
            break
    return tuple(best)


def rules(graph: Compact[Any], level: Level) -> Iterator[tuple[str, list[int]]]:
    """Yield the orders of the plain rules, by name, as far as they do not take too long."""
    yield "forward", list(graph.inner)
    yield "reverse", list(graph.inner[::-1])
    found = [list(graph.inner), list(graph.inner[::-1])]
    for rule in ("markowitz", "greedy", "relative", "fill"):
        order = order_within(graph, rule, level.pairs * len(graph.inner))
        if order is not None:
            found.append(order)
            yield rule, order
        # The others take several times as long.
        if rule == "markowitz" and len(graph.inner) > level.rules:
            return


def is_worthwhile(
    graph: Compact[Any], orders: Sequence[Sequence[int]], level: Level, share: int = 1
) -> bool:
    """Return whether the cheapest of some orders is dear enough for a search to save its time.

    `share` is how many times less time it takes than trying every vertex elsewhere.
    """
    n = len(graph.inner)
    if n <= SMALL or graph.is_heavy:
        return True
    return share * min(map(graph.cost_of, orders)) >= n * level.worth


def improved(
    graph: Compact[Any], orders: Sequence[Sequence[int]], aim: Aim
) -> Iterator[tuple[str, list[int], bool]]:
    """Yield after every stage its name, the best order so far, and whether that is optimal.

    `orders` are the ones to start from. If the user interrupts the search, it ends with the stage
    that it is in, and what was found until then. Graphs that are too large for the effort, or have
    large patterns, are left as they are.
    """
    if len(graph.inner) > aim.level.most or graph.is_heavy:
        return
    if isinstance(aim.effort, str) and not is_worthwhile(graph, orders, aim.level):
        return
    found = [_first(graph, group, orders) for group in components(graph)]
    progress = Progress()
    for each in found:
        each.progress = progress
        if aim.level.exact < len(each.order) <= QUICKLY_BOUNDED:  # smaller ones are solved anyway
            each.is_proved = bound_of(each.graph) == each.cost
    todo = len(graph.inner) or 1
    for stage in STAGES:
        is_interrupted = False
        try:
            for k, each in enumerate(found):
                if not each.is_proved:
                    progress.show(f"{stage}, part {k + 1} of {len(found)}")
                    _STAGES[stage](each, aim, len(each.order) / todo, k)
        except KeyboardInterrupt:
            is_interrupted = True
        order = [each.graph.origin[v] for each in found for v in each.order]
        yield stage, order, all(each.is_proved for each in found)
        if is_interrupted:
            break
    progress.close()


def _first(graph: Compact[Any], group: list[int], orders: Sequence[Sequence[int]]) -> Found:
    """Return the cheapest of some orders on a component; numbers are those of its own graph."""
    part = graph.part(group)
    number = {graph_number: k for k, graph_number in enumerate(part.origin)}
    inside = set(group)
    own = [[number[v] for v in order if v in inside] for order in orders]
    return Found(part, min(own, key=part.cost_of))


def _blocks(found: Found, aim: Aim, share: float, number: int) -> None:
    """Solve exactly what is small enough; else split at safe cut vertices, and solve the blocks."""
    graph, pace = found.graph, _pace(found.graph, aim, "sets", share)
    small = len(graph.inner) <= aim.level.exact
    if small:  # the better the cost that is known, the fewer sets are looked at
        by_windows(graph, found.order, _pace(graph, aim, "windows", share))
    best = cheapest(graph, found.order, pace) if small else None
    if best is not None:
        found.order[:] = best
        found.is_proved = True
        return
    blocks, cuts = split(graph)
    if not cuts:
        return
    each = share / len(found.order)
    order: list[int] = []
    for block in blocks:
        part = graph.part(block)
        own = {v: k for k, v in enumerate(part.origin)}
        start = [own[v] for v in found.order if v in set(block)]
        order += (part.origin[v] for v in _solved(part, start, aim, each * len(block)))
    state = graph.copy()
    for v in order:
        graph.eliminate(state, v)
    rest = graph.part(cuts, state)
    last = path_order(rest) or _solved(rest, greedy_order(rest, "greedy"), aim, each * len(cuts))
    found.offer([*order, *(rest.origin[v] for v in last)])


def _solved(graph: Compact[Any], start: list[int], aim: Aim, share: float) -> list[int]:
    """Return the cheapest order, or a good one if that takes too long."""
    small = len(graph.inner) <= aim.level.exact
    best = cheapest(graph, start, _pace(graph, aim, "sets", share)) if small else None
    if best is None:
        by_windows(graph, start, _pace(graph, aim, "windows", share))
    return best or start


def _window(found: Found, aim: Aim, share: float, number: int) -> None:
    by_windows(found.graph, found.order, _pace(found.graph, aim, "windows", share))


def _annealing(found: Found, aim: Aim, share: float, number: int) -> None:
    """Anneal again and again, each time from the best, then repair by windows."""
    rng = Random(f"{aim.seed} {number}")
    pace = _pace(found.graph, aim, "anneals", share)
    left = (pace.allowance or 0) // PER_MOVE
    rounds = 60 * len(found.order)
    if isinstance(aim.effort, str) and left < FEWEST_MOVES * len(found.order):
        return
    is_long = len(found.order) <= aim.level.exact and left > 10 * rounds
    bound = bound_of(found.graph) if is_long or not left else 0
    while pace.go_on(0) and (left > 0 or not isinstance(aim.effort, str)):
        anneal(found.graph, found.order, pace, min(rounds, left) if left > 0 else rounds, rng)
        by_windows(found.graph, found.order, pace)
        found.progress.show(f"annealing part {number + 1}, at a cost of {found.cost:,}")
        if found.cost == bound:
            found.is_proved = True
            return
        left -= rounds
        rounds = min(2 * rounds, 2000 * len(found.order))


_STAGES = {"blocks": _blocks, "window": _window, "annealing": _annealing}

# How much of a given time every stage may take.
_PARTS = {"sets": 0.3, "windows": 0.1, "anneals": 0.6}


def _pace(graph: Compact[Any], aim: Aim, what: str, share: float) -> Pace:
    """Return the pace of a stage on a part that has this share of the vertices."""
    if not isinstance(aim.effort, str):
        return Pace(deadline=monotonic() + _PARTS[what] * share * aim.effort)
    level = aim.level
    most = {"sets": level.sets, "windows": level.windows, "anneals": level.anneals}[what]
    allowance = max(most // 20, int(most * share))
    if what == "sets":
        allowance *= LIGHT if isinstance(graph, Dense) else 1
    else:
        allowance = min(allowance, level.each * len(graph.inner))
    patience = level.patience if what == "anneals" else inf
    return Pace(allowance, work=lambda: graph.work, patience=patience)
