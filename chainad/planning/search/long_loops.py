"""Long loops: one iteration is searched for an order, and all others follow it in a sweep.

A sweep eliminates iteration after iteration, from the first on or from the last one back. It starts
from the ends of the graph, with tangents of the inputs or adjoints of the outputs, so that what
stands before it is eliminated first; or from the ends of the loop, which becomes one Jacobian. In
either case an iteration in the middle is a small graph, between what was swept and what was not,
and that is what the search looks at. What the sweeps leave is searched as any other graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any

from chainad.planning.linear_graph import LinearGraph
from chainad.planning.orders import Vertex
from chainad.planning.registry import Problem, register
from chainad.planning.repeats import RepeatedBlock, repeats_in
from chainad.planning.search.articulation import path_order
from chainad.planning.search.budget import SearchOptions
from chainad.planning.search.repeated_blocks import (
    MAX_PATH_VERTICES,
    best_of,
    by_iterations,
    by_rules,
    cut,
    for_all,
    passed_on,
)
from chainad.planning.search.stages import improved, rules
from chainad.planning.search.state_space import MAX_FULLY_COSTED_VERTICES, State, StateSpace
from chainad.planning.search.structured_states import StructuredStates

# Smaller graphs are searched as a whole.
MAX_WHOLE_VERTICES = 200

# Loops of fewer iterations are searched as a whole.
MIN_LONG_LOOP_ITERATIONS = 16

# A graph is one of loops if these have so much of its inner vertices.
MIN_SHARE_OF_LOOPS = 0.7

# After so many iterations of a long loop, the next one is as any other.
MAX_ITERATIONS_BEFORE_SAMPLE = 12

# Sweeps whose loops cost more than the cheapest ones by this factor are not looked at further.
MAX_RELATIVE_ESTIMATE = 1.25


@register("repeats", "plans one iteration of a repeated block, and eliminates all of them alike")
def repeats(problem: Problem) -> tuple[Vertex, ...]:
    """Eliminate every iteration of a loop alike: in sweeps, or before what is left between them."""
    loops = loops_to_sweep(problem)
    return by_sweeps(problem, loops) if loops else by_iterations(problem)


def loops_to_sweep(problem: Problem) -> tuple[RepeatedBlock, ...]:
    """Return the long loops of a large graph, if most of it is in them, else none."""
    graph, n = problem.graph, len(problem.graph.inner)
    if n <= MAX_WHOLE_VERTICES or problem.states.has_large_index_sets:
        return ()
    found = [x for x in repeats_in(graph) if x.repeats >= MIN_LONG_LOOP_ITERATIONS]
    if sum(x.length * x.repeats for x in found) < MIN_SHARE_OF_LOOPS * n:
        return ()
    return tuple(cut(graph, block) for block in found)


@dataclass(frozen=True)
class _Sweep:
    """A sweep over the iterations of a loop.

    What is eliminated in one go are the vertices of an iteration that it reads alone, together with
    those that it passes on, or, forwards, that the one before passes on. Where the sweep does not
    start from the outputs, what the last iteration passes on is left.

    Attributes
    ----------
    loop : RepeatedBlock
    is_forward, is_from_end : bool
        Whether it starts from the first iteration, and whether from the end of the graph.
    passed_on : frozenset of int
        The places in an iteration of what is read outside of it.
    order : tuple of int
        The places of what is eliminated, in this order; negative ones are in the iteration before.
    sample : StateSpace
        The graph of the iteration that it was found for, with one vertex for every place.
    """

    loop: RepeatedBlock
    is_forward: bool
    is_from_end: bool
    passed_on: frozenset[int]
    order: tuple[int, ...] = ()
    sample: StateSpace[Any] | None = field(default=None, compare=False)

    @property
    def places(self) -> list[int]:
        """What is eliminated in one go, in topological order."""
        shift = self.loop.length if self.is_forward else 0
        each = range(self.loop.length)
        return sorted(k - shift if k in self.passed_on else k for k in each)

    @property
    def vertices(self) -> Iterator[int]:
        """The positions of all that is eliminated, in order."""
        last = self.loop.repeats - 1
        for k in range(last + 1) if self.is_forward else range(last, -1, -1):
            first = self.loop.iteration(k).start
            # Nothing is passed on to the first one, and what the last passes on may be left.
            is_whole = k > 0 if self.is_forward else k < last or self.is_from_end
            for place in self.order:
                if is_whole or place % self.loop.length not in self.passed_on:
                    yield first + place

    def sampled(
        self, states: StateSpace[Any], inner: Sequence[Vertex], state: State[Any]
    ) -> _Sweep:
        """Return the sweep with a sample, given the state that it starts from."""
        loop = self.loop
        count = min(loop.repeats // 2, MAX_ITERATIONS_BEFORE_SAMPLE)
        k = count if self.is_forward else loop.repeats - 1 - count
        places = self.places
        swept = replace(self, order=tuple(places if self.is_forward else places[::-1])).vertices
        first = loop.iteration(k).start
        sample = {first + place for place in places}
        before = list(state[0]), list(state[1])
        swept_before = takewhile(lambda position: position not in sample, swept)
        states.advance(before, [inner[position] for position in swept_before])
        return replace(self, sample=states.subproblem([inner[k] for k in sorted(sample)], before))

    def ordered(self, search: SearchOptions, is_quick: bool) -> _Sweep:
        """Return the sweep with the cheapest order of its sample, quickly found or searched for."""
        sample, places = self.sample, self.places
        assert sample is not None
        search = for_all(self.loop, search)
        orders = [order for _, order in rules(sample, search)]
        if not is_quick:
            orders += [order for _, order, _ in improved(sample, orders, search)]
        place = dict(zip(sample.inner, places, strict=True))
        return replace(self, order=tuple(place[v] for v in _cheapest(sample, orders)))

    @property
    def cost(self) -> int:
        """What all iterations cost if each does as the sample."""
        assert self.sample is not None
        vertex = dict(zip(self.places, self.sample.inner, strict=True))
        return self.loop.repeats * self.sample.cost_of([vertex[place] for place in self.order])


def _cheapest(states: StateSpace[Any], orders: Sequence[list[int]]) -> list[int]:
    """Return the cheapest of some orders, of equals that of the fewest additions."""
    if isinstance(states, StructuredStates):
        return min(orders, key=states.full_cost)
    return min(orders, key=states.cost_of)


@dataclass(frozen=True)
class _Sweeps:
    """Positions outside of loops, and sweeps over these, one after the other."""

    parts: tuple[Sequence[int] | _Sweep, ...]

    @property
    def estimate(self) -> int:
        """What the loops cost."""
        return sum(part.cost for part in self.parts if isinstance(part, _Sweep))

    def searched(self, search: SearchOptions) -> _Sweeps:
        """Return the sweeps in the cheapest orders that a search finds."""
        return _Sweeps(
            tuple(
                part.ordered(search, False) if isinstance(part, _Sweep) else part
                for part in self.parts
            )
        )

    def vertices(self, inner: Sequence[Vertex]) -> list[Vertex]:
        """Return the vertices that are eliminated, in order."""
        order: list[Vertex] = []
        for part in self.parts:
            order += [inner[k] for k in (part.vertices if isinstance(part, _Sweep) else part)]
        return order


def by_sweeps(problem: Problem, loops: Sequence[RepeatedBlock]) -> tuple[Vertex, ...]:
    """Return the cheapest order that sweeps over loops give."""
    graph, states, search = problem.graph, problem.states, problem.search
    offers = [_from_end(graph, states, loops, search, way) for way in (True, False)]
    offers.append(_from_loops(graph, states, loops, search))
    ranked = sorted(dict.fromkeys(offers), key=lambda sweeps: sweeps.estimate)
    if len(graph.inner) > MAX_FULLY_COSTED_VERTICES:
        ranked = [*{sweeps.estimate: sweeps for sweeps in reversed(ranked)}.values()][::-1]
    limit = MAX_RELATIVE_ESTIMATE * ranked[0].estimate
    near = [sweeps for sweeps in ranked if sweeps.estimate <= limit]
    # One of them is going to run.
    each = replace(search, expected_calls=search.expected_calls / len(near))
    tried = [sweeps.searched(each) for sweeps in near]
    swept = [_Swept(graph, states, sweeps) for sweeps in tried]
    best = min(swept, key=lambda x: x.cost_with(by_rules(x.left, search)))
    last = best.left.cheapest_of([f(best.left, search) for f in (by_rules, _path, best_of)])
    order = (*best.order, *(best.left.origin[v] for v in last))
    states.known[order] = best.cost_with(last)
    return order


def _from_end(
    graph: LinearGraph,
    states: StateSpace[Any],
    loops: Sequence[RepeatedBlock],
    search: SearchOptions,
    is_forward: bool,
) -> _Sweeps:
    """Return the sweeps through the whole graph, from the inputs or from the outputs."""
    parts: list[Sequence[int] | _Sweep] = []
    state, inner = states.copy(), graph.inner
    start, stop = 0, len(inner)
    for loop in loops if is_forward else reversed(loops):
        outside = range(start, loop.start) if is_forward else range(stop - 1, loop.stop - 1, -1)
        start, stop = loop.stop, loop.start
        if outside:
            parts.append(outside)
        states.advance(state, [inner[k] for k in outside])
        sweep = _Sweep(loop, is_forward, True, passed_on(graph, loop))
        sweep = sweep.sampled(states, inner, state).ordered(search, True)
        parts.append(sweep)
        if len(loops) > 1:
            states.advance(state, [inner[k] for k in sweep.vertices])
    return _Sweeps(tuple(parts))


def _from_loops(
    graph: LinearGraph,
    states: StateSpace[Any],
    loops: Sequence[RepeatedBlock],
    search: SearchOptions,
) -> _Sweeps:
    """Return the sweep over every loop by itself, from its cheaper end."""
    sweeps = []
    for loop in loops:
        both = (_Sweep(loop, way, way, passed_on(graph, loop)) for way in (True, False))
        ways = [
            sweep.sampled(states, graph.inner, states.copy()).ordered(search, True)
            for sweep in both
        ]
        sweeps.append(min(ways, key=lambda sweep: sweep.cost))
    return _Sweeps(tuple(sweeps))


class _Swept:
    """What sweeps leave, and their order and cost."""

    def __init__(self, graph: LinearGraph, states: StateSpace[Any], sweeps: _Sweeps) -> None:
        self.order = sweeps.vertices(graph.inner)
        state = states.copy()
        self._cost = states.advance(state, self.order)
        gone = set(self.order)
        self.left = states.subproblem([v for v in graph.inner if v not in gone], state)

    def cost_with(self, last: Sequence[int]) -> int:
        """Return the cost of all, if what is left is eliminated in this order."""
        return self._cost + self.left.cost_of(last)


def _path(states: StateSpace[Any], search: SearchOptions) -> Sequence[int]:
    """Return the cheapest order of a path; of another graph, any order."""
    is_short = 0 < len(states.inner) <= MAX_PATH_VERTICES
    return (path_order(states) if is_short else None) or states.inner
