"""What every line of the user's code costs: the steps of a plan by the line that they are for."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from chainad.ir.graph import Origin
from chainad.ir.sites import FunctionSource
from chainad.planning.views.directions import shown_directions

if TYPE_CHECKING:
    from chainad.planning.orders import Vertex
    from chainad.planning.plan import Plan
    from chainad.planning.steps import Direction


# The instruction of a function of the user's, and what it called.
_Caller: TypeAlias = tuple[FunctionSource, int, str]


@dataclass
class LineCost:
    """What a line costs: multiplications by direction, and how often it ran.

    `calls` counts the calls of every function that an instruction on the line made.
    """

    text: str = ""
    by_direction: Counter[Direction] = field(default_factory=Counter)
    calls: Counter[_Caller] = field(default_factory=Counter)

    @property
    def multiplications(self) -> int:
        return self.by_direction.total()

    @property
    def runs(self) -> int:
        """How often the line ran, as far as derivatives go through it.

        A function of NumPy may be several calls, some of them more than once.
        """
        least: dict[tuple[FunctionSource, int], int] = {}
        for (source, instruction, _), count in self.calls.items():
            place = source, instruction
            least[place] = min(count, least.get(place, count))
        return max(least.values(), default=1)


@dataclass
class FunctionCost:
    """What the lines of a function cost, by their numbers, and its source as it is now.

    `text` is None where the source is not what it was when the function was traced.
    """

    source: FunctionSource
    text: list[str] | None
    lines: dict[int, LineCost] = field(default_factory=dict)

    @property
    def multiplications(self) -> int:
        return sum(line.multiplications for line in self.lines.values())


def paid_vertices(plan: Plan) -> dict[int, Vertex]:
    """Return, for every step by its number, the value whose line it is for.

    A tangent is pushed forward through the line that makes its head, an adjoint is pulled back
    through the line that makes the eliminated value, and there two factors are joined. A sum
    belongs to the product that it adds.
    """
    directions = shown_directions(plan)
    found: dict[int, Vertex] = {}
    for step in plan.steps:
        if step.via is not None and directions[step.number] != "forward":
            found[step.number] = step.via
        elif step.direction == "sum":
            found[step.number] = found.get(step.right, step.head)
        else:
            found[step.number] = step.head
    return found


def function_costs(*plans: Plan) -> tuple[list[FunctionCost], int]:
    """Return the functions that cost something, by falling cost, and what is of no line at all.

    Of several plans, such as those of blocks, it is what they cost together.
    """
    sources = {
        origin.site.function
        for plan in plans
        for merged in plan.graph.origins
        for origin in merged.of_each_line
        if origin.site is not None
    }
    functions = _functions(sources)
    elsewhere = LineCost()
    for plan in plans:
        _add_costs(plan, functions, elsewhere)
    costs = {id(x): x for x in functions.values() if x.multiplications}
    by_cost = sorted(costs.values(), key=lambda x: -x.multiplications)
    return by_cost, elsewhere.multiplications


def _add_costs(
    plan: Plan, functions: dict[FunctionSource, FunctionCost], elsewhere: LineCost
) -> None:
    """Add what a plan costs to the lines of the functions; a line runs as often as in any plan."""
    lines: dict[Vertex, list[tuple[LineCost, int]]] = {}
    calls: dict[int, Counter[_Caller]] = defaultdict(Counter)
    every: dict[int, LineCost] = {}
    for v, merged in _fullest_origins(plan).items():
        lines[v] = []
        for origin in merged.of_each_line:
            site = origin.site
            line = elsewhere
            if site is not None:
                own = functions[site.function].lines
                line = own.setdefault(site.line, LineCost(site.text))
                every[id(line)] = line
                if site.instruction is not None:
                    calls[id(line)][site.function, site.instruction, origin.name] += origin.calls
            lines[v].append((line, origin.calls))
    for key, line in every.items():
        line.calls |= calls[key]
    directions, paid = shown_directions(plan), paid_vertices(plan)
    for step in plan.steps:
        if step.multiplications:
            shares = _shares(step.multiplications, lines.get(paid[step.number], [(elsewhere, 1)]))
            for line, share in shares:
                line.by_direction[directions[step.number]] += share


def _fullest_origins(plan: Plan) -> dict[Vertex, Origin]:
    """Return where values are from; an edge may be of some of the calls that made one."""
    found: dict[Vertex, Origin] = {}
    for edge, origin in zip(plan.graph.edges, plan.graph.origins, strict=False):
        known = found.get(edge.head)
        if known is None or origin.all_calls > known.all_calls:
            found[edge.head] = origin
    return found


def _shares(count: int, lines: Sequence[tuple[LineCost, int]]) -> Iterator[tuple[LineCost, int]]:
    """Yield what of some multiplications is of every line, by its calls."""
    total, before, done = sum(calls for _, calls in lines), 0, 0
    for line, calls in lines:
        before += calls
        until = count * before // total if total else count
        yield line, until - done
        done = until


def _functions(sources: Iterable[FunctionSource]) -> dict[FunctionSource, FunctionCost]:
    """Return what is to hold the costs of every function: that of one around it, if there is one.

    Lambdas and functions within functions are shown where they stand.
    """
    outer: list[FunctionCost] = []
    found: dict[FunctionSource, FunctionCost] = {}
    for source in sorted(sources, key=lambda s: (s.path, s.first, -s.last, s.name)):
        own = FunctionCost(source, source.text())
        holds = (x for x in outer if x.text and own.text and _is_within(source, x.source))
        around = next(holds, None)
        if around is None:
            outer.append(own)
        found[source] = around or own
    return found


def _is_within(one: FunctionSource, other: FunctionSource) -> bool:
    return one.path == other.path and other.first <= one.first and one.last <= other.last
