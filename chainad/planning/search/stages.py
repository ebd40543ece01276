"""The search for a good order: rules, then splitting, windows and annealing; exact where small.

Every stage starts from the cheapest order so far and never makes it costlier, so that the search
can be stopped at any time. Components of the inner vertices are searched separately, since they are
never adjacent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from random import Random
from time import monotonic
from typing import Any

from chainad.errors import PlanError
from chainad.ir.progress import Meter
from chainad.planning.orders import Vertex
from chainad.planning.registry import Problem, register
from chainad.planning.search.annealing import anneal
from chainad.planning.search.articulation import components, path_order, split
from chainad.planning.search.budget import SearchBudget, SearchOptions, interrupted
from chainad.planning.search.dense_states import DenseStates
from chainad.planning.search.exhaustive import PROOF, cheapest
from chainad.planning.search.greedy import greedy_order, order_within
from chainad.planning.search.state_space import StateSpace
from chainad.planning.search.window import by_windows

# The mean number of eliminations that a move of annealing recomputes.
ELIMINATIONS_PER_MOVE = 10

# With fewer, windows and annealing rarely find anything.
MIN_ELIMINATIONS_PER_VERTEX = 10

# Pairs of edges that are looked up while one elimination is tried.
PAIRS_PER_ELIMINATION = 16

# Of larger components, a bound on the cost takes more time than a search.
MAX_QUICK_BOUND_VERTICES = 150

# With fewer moves per elimination, annealing finds nothing.
MIN_MOVES_PER_ELIMINATION = 2.5

# Of what is worth trying, windows and sets, which gain less than annealing does.
MAX_SHARE_BEFORE_ANNEALING = 0.25

# Sets of dense graphs are examined this many times faster.
DENSE_SETS_FACTOR = 8


@dataclass
class _ComponentOrder:
    """The best order so far of one component, and whether it is known to be optimal.

    The component has the number `number`, and this share of all inner vertices.
    """

    graph: StateSpace[Any]
    order: list[int]
    number: int
    share: float
    is_proved: bool = False

    @property
    def cost(self) -> int:
        return self.graph.cost_of(self.order)

    def allowance(self, search: SearchOptions) -> float:
        """Return how many eliminations it is worth to try."""
        return search.allowance(self.graph.picoseconds_of(self.cost))

    def offer(self, order: Sequence[int]) -> None:
        """Take an order if it is cheaper."""
        if self.graph.cost_of(order) < self.cost:
            self.order[:] = order


@register(
    "exhaustive",
    "optimal over all orders of vertices, for small graphs",
    proof=lambda problem: PROOF,
)
def exhaustive(problem: Problem) -> tuple[Vertex, ...]:
    """Return a cheapest order, by dynamic programming over all sets of vertices.

    Raises
    ------
    PlanError
        If there are more than 9 inner vertices, or 18 with effort="thorough", or more than the
        seconds of `effort` do for.
    """
    search, states = problem.search, problem.states
    count = len(states.settled.rest.inner)
    limit = search.level.max_exhaustive_vertices
    if count > limit:
        raise PlanError(
            f"mode='exhaustive' tries every set of vertices and takes at most {limit} inner ones at"
            f" effort={search.effort!r}, but this graph has {count}; use mode='auto'"
        )
    orders = [order for _, order in rules(states, search)]
    return tuple(proved(states, min(orders, key=states.cost_of), search))


def proved(graph: StateSpace[Any], known: Sequence[int], search: SearchOptions) -> list[int]:
    """Return a cheapest order, `known` if there is none below its cost, however long it takes."""
    rest, start = graph.settled.rest, graph.settled.restrict(known)
    sets = 1 << len(rest.inner)
    with Meter(search.progress, "search", sets, lambda: graph.cost_of(known)) as meter:
        found = cheapest(rest, start, SearchBudget(meter))
    assert found is not None
    return graph.settled.complete(found)


@register("blocks", "splits the graph at safe cut vertices, and solves small blocks exactly")
def blocks(problem: Problem) -> tuple[Vertex, ...]:
    """Split the best order of a rule at safe cut vertices; solve exactly what is small enough."""
    return _until("blocks", problem)


@register("window", "as blocks; then any 6 consecutive eliminations in their cheapest order")
def window(problem: Problem) -> tuple[Vertex, ...]:
    """Put any 6 consecutive eliminations into their cheapest order, beginning from `blocks`."""
    return _until("window", problem)


@register("annealing", "as window; then single eliminations are moved by simulated annealing")
def annealing(problem: Problem) -> tuple[Vertex, ...]:
    """Move single eliminations by simulated annealing, beginning from `window`."""
    return _until("annealing", problem)


def _until(name: str, problem: Problem) -> tuple[Vertex, ...]:
    """Return the cheapest order after a stage."""
    orders = [order for _, order in rules(problem.states, problem.search)]
    best = problem.states.cheapest_of(orders)
    try:
        for stage, order, _ in improved(problem.states, orders, problem.search):
            best = order
            if stage == name:
                break
    except KeyboardInterrupt:
        if not problem.search.takes_interrupts:
            raise
        interrupted(problem.states.cost_of(best))
    return tuple(best)


def rules(graph: StateSpace[Any], search: SearchOptions) -> Iterator[tuple[str, list[int]]]:
    """Yield the orders of the plain rules, by name, as far as they do not take too long."""
    found = [list(graph.inner), list(graph.inner[::-1])]
    yield from zip(("forward", "reverse"), found, strict=True)
    level, n = search.level, len(graph.inner)
    worth = search.allowance(graph.picoseconds_of(graph.least_of(found)))
    if search.effort == "fast" and worth < n:
        return
    for rule in ("markowitz", "greedy", "relative", "fill"):
        order = order_within(graph, rule, level.rule_pairs_per_vertex * n)
        if order is not None:
            found.append(order)
            yield rule, order
        elif worth < n * level.rule_pairs_per_vertex / PAIRS_PER_ELIMINATION:
            return  # where scores take long, they must save something
        # The others take several times as long.
        is_worth_it = n <= level.max_rule_vertices and (search.effort != "fast" or worth >= 4 * n)
        if rule == "markowitz" and not is_worth_it:
            return


def improved(
    graph: StateSpace[Any], orders: Sequence[Sequence[int]], search: SearchOptions
) -> Iterator[tuple[str, list[int], bool]]:
    """Yield after every stage its name, the best order so far, and whether that is optimal.

    `orders` are the ones to start from. If the user interrupts the search, the best order until
    then is yielded before the interrupt goes on. Graphs that are too large for the effort, or have
    large index sets, are left as they are.
    """
    if len(graph.inner) > search.level.max_improved_vertices or graph.has_large_index_sets:
        return
    settled = graph.settled
    rest, least = settled.rest, graph.least_of(orders)
    worth = search.allowance(graph.picoseconds_of(least))
    if isinstance(search.effort, str) and worth < MIN_ELIMINATIONS_PER_VERTEX * len(rest.inner):
        return
    starts = [settled.restrict(order) for order in orders]
    found = [_first(rest, k, group, starts) for k, group in enumerate(components(rest))]
    for each in found:
        # Smaller ones are solved anyway, and a short search takes less time than the bound.
        if (
            worth == inf
            and search.level.max_proof_vertices < len(each.order) <= MAX_QUICK_BOUND_VERTICES
        ):
            each.is_proved = each.graph.least_cost == each.cost
    amounts = {
        (stage, each.number): _allowance(
            each.graph, search, what, each.share, each.allowance(search)
        )
        for stage, (what, _) in STAGES.items()
        for each in found
    }
    total = sum(amounts.values())
    with Meter(search.progress, "search", total, lambda: sum(x.cost for x in found)) as meter:
        for stage, (_, improve) in STAGES.items():
            interrupt = None
            try:
                for each in found:
                    with meter.part(amounts[stage, each.number]):
                        if not each.is_proved:
                            improve(each, search, meter)
            except KeyboardInterrupt as error:
                interrupt = error
            order = settled.complete(each.graph.origin[v] for each in found for v in each.order)
            yield stage, order, all(each.is_proved for each in found)
            if interrupt is not None:
                meter.finish()
                raise interrupt


def _first(
    graph: StateSpace[Any], number: int, group: list[int], orders: Sequence[Sequence[int]]
) -> _ComponentOrder:
    """Return the cheapest of some orders on a component; vertices are those of its own graph."""
    part = graph.subproblem(group)
    if len(group) == len(graph.inner):  # what the orders cost is known
        orders = [min(orders, key=graph.cost_of)]
    own_number = {v: k for k, v in enumerate(part.origin)}
    inside = set(group)
    own = [[own_number[v] for v in order if v in inside] for order in orders]
    share = len(group) / len(graph.inner)
    return _ComponentOrder(part, min(own, key=part.cost_of), number, share)


def _blocks(found: _ComponentOrder, search: SearchOptions, meter: Meter) -> None:
    """Solve exactly what is small enough; else split at safe cut vertices, and solve the blocks."""
    graph, share, limit = found.graph, found.share, found.allowance(search)
    small = len(graph.inner) <= search.level.max_proof_vertices
    if small:  # the better the cost that is known, the fewer sets are examined
        by_windows(graph, found.order, _budget(graph, search, "windows", share, limit, meter))
    budget = _budget(graph, search, "sets", share, limit, meter)
    best = cheapest(graph, found.order, budget) if small else None
    if best is not None:
        found.order[:] = best
        found.is_proved = True
        return
    blocks, cuts = split(graph)
    if not cuts:
        return
    each, per_vertex = share / len(found.order), limit / len(found.order)
    order: list[int] = []
    for block in blocks:
        part = graph.subproblem(block)
        own = {v: k for k, v in enumerate(part.origin)}
        start = [own[v] for v in found.order if v in set(block)]
        order += (
            part.origin[v]
            for v in _solved(part, start, search, each * len(block), per_vertex, meter)
        )
    state = graph.copy()
    for v in order:
        graph.eliminate(state, v)
    rest = graph.subproblem(cuts, state)
    last = path_order(rest) or _solved(
        rest, greedy_order(rest, "greedy"), search, each * len(cuts), per_vertex, meter
    )
    found.offer([*order, *(rest.origin[v] for v in last)])


def _solved(
    graph: StateSpace[Any],
    start: list[int],
    search: SearchOptions,
    share: float,
    per_vertex: float,
    meter: Meter,
) -> list[int]:
    """Return the cheapest order, or a good one if that takes too long."""
    limit = per_vertex * len(start)
    small = len(graph.inner) <= search.level.max_proof_vertices
    budget = _budget(graph, search, "sets", share, limit, meter)
    best = cheapest(graph, start, budget) if small else None
    if best is None:
        by_windows(graph, start, _budget(graph, search, "windows", share, limit, meter))
    return best or start


def _window(found: _ComponentOrder, search: SearchOptions, meter: Meter) -> None:
    graph, limit = found.graph, found.allowance(search)
    by_windows(graph, found.order, _budget(graph, search, "windows", found.share, limit, meter))


def _annealing(found: _ComponentOrder, search: SearchOptions, meter: Meter) -> None:
    """Anneal again and again, each time from the best, then repair by windows."""
    rng = Random(f"{search.seed} {found.number}")
    limit = found.allowance(search)
    budget = _budget(found.graph, search, "anneals", found.share, limit, meter)
    left = (budget.allowance or 0) // ELIMINATIONS_PER_MOVE
    rounds = 60 * len(found.order)
    if isinstance(search.effort, str) and left < MIN_MOVES_PER_ELIMINATION * len(found.order):
        return
    is_long = len(found.order) <= search.level.max_proof_vertices and left > 10 * rounds
    bound = found.graph.least_cost if is_long or not left else 0
    while budget.spend(0) and (left > 0 or not isinstance(search.effort, str)):
        anneal(found.graph, found.order, budget, min(rounds, left) if left > 0 else rounds, rng)
        by_windows(found.graph, found.order, budget)
        if found.cost == bound:
            found.is_proved = True
            return
        left -= rounds
        rounds = min(2 * rounds, 2000 * len(found.order))


# What every stage is allowed, by name, and what it does.
STAGES: dict[str, tuple[str, Callable[[_ComponentOrder, SearchOptions, Meter], None]]] = {
    "blocks": ("sets", _blocks),
    "window": ("windows", _window),
    "annealing": ("anneals", _annealing),
}

# How much of a given time every stage may take.
_TIME_SHARES = {"sets": 0.3, "windows": 0.1, "anneals": 0.6}


def _budget(
    graph: StateSpace[Any],
    search: SearchOptions,
    what: str,
    share: float,
    limit: float,
    meter: Meter,
) -> SearchBudget:
    """Return the budget of a stage on a part that has this share of the vertices."""
    allowance = _allowance(graph, search, what, share, limit)
    if not isinstance(search.effort, str):
        return SearchBudget(meter, deadline=monotonic() + allowance)
    patience = search.level.patience if what == "anneals" else inf
    return SearchBudget(meter, int(allowance), overhead=lambda: graph.overhead, patience=patience)


def _allowance(
    graph: StateSpace[Any], search: SearchOptions, what: str, share: float, limit: float
) -> float:
    """Return the seconds, or the eliminations, that a stage may take on such a part.

    A named effort tries no more eliminations than the limit.
    """
    if not isinstance(search.effort, str):
        return _TIME_SHARES[what] * share * search.effort
    level = search.level
    total = {
        "sets": level.max_proof_sets,
        "windows": level.window_eliminations,
        "anneals": level.annealing_eliminations,
    }[what]
    allowance = max(total // 20, int(total * share))
    if what == "sets":
        allowance *= DENSE_SETS_FACTOR if isinstance(graph, DenseStates) else 1
    else:
        allowance = min(allowance, level.eliminations_per_vertex * len(graph.inner))
    limit *= 1 if what == "anneals" else MAX_SHARE_BEFORE_ANNEALING
    return min(allowance, limit)
