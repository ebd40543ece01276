"""The registry of planners: what a planner is given, and every planner by its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, NewType, Protocol, TypeAlias, TypeVar

from chainad.errors import PlanError
from chainad.ir.cache import cached_property
from chainad.planning.cost_models import CostModel, multiplications
from chainad.planning.linear_graph import LinearGraph
from chainad.planning.orders import Item
from chainad.planning.search.budget import DEFAULT_SEARCH, SearchOptions
from chainad.planning.search.make_state_space import state_space
from chainad.planning.search.state_space import StateSpace

Order = tuple[Item, ...]

# As type checkers know them: the modes that come with chainad, and the name of any other planner.
ModeName: TypeAlias = Literal[
    "auto", "forward", "reverse", "hybrid", "chain", "markowitz", "greedy", "relative", "fill",
    "exhaustive", "blocks", "window", "annealing", "repeats", "edges",
]  # fmt: skip
PlannerName = NewType("PlannerName", str)


@dataclass(frozen=True)
class Problem:
    """What a planner is given: a graph, the cost to be made small, and how hard to search."""

    graph: LinearGraph
    model: CostModel = multiplications
    search: SearchOptions = DEFAULT_SEARCH

    @cached_property
    def states(self) -> StateSpace[Any]:
        """The graph as integers, for thousands of eliminations per second."""
        return state_space(self.graph, self.model)


class Planner(Protocol):
    """Any function from a problem to an elimination order."""

    def __call__(self, problem: Problem, /) -> Sequence[Item]: ...


P = TypeVar("P", bound=Planner)


class Proof(NamedTuple):
    """What is proved of a planner's orders; the proof of the greatest `generality` is printed."""

    generality: int
    text: str


@dataclass(frozen=True, eq=False)
class RegisteredPlanner:
    """A planner that is a mode.

    Attributes
    ----------
    name, description : str
        The mode, and what it does, in one line.
    planner : Planner
    is_candidate : callable, optional
        Whether "auto" is to compare its order on a problem. The planners that come with chainad
        have none: "auto" shares intermediate results among them, see `candidates`.
    proof : callable, optional
        What is proved of its order on a problem; None if nothing is.
    """

    name: str
    description: str
    planner: Planner
    is_candidate: Callable[[Problem], bool] | None = None
    proof: Callable[[Problem], Proof | None] | None = None

    def order(self, problem: Problem) -> Order:
        """Return the planner's order, checked."""
        return problem.graph.check_order(self.planner(problem))


# Modes that choose among the planners.
CHOICES = {
    "auto": "the cheapest order of all candidates (beyond 3,000 values only the quick ones)",
    "hybrid": "the cheapest order found that is neither forward nor reverse",
}
PLANNERS: dict[str, RegisteredPlanner] = {}


def register(
    name: str,
    description: str,
    *,
    is_candidate: Callable[[Problem], bool] | None = None,
    proof: Callable[[Problem], Proof | None] | None = None,
) -> Callable[[P], P]:
    """Return a decorator that makes a planner the mode of this name; see `RegisteredPlanner`.

    Type checkers take the name as `mode=PlannerName("inside out")`: they know no registry.

    Raises
    ------
    PlanError
        If there is such a mode already.

    Examples
    --------
    >>> import chainad
    >>> from chainad.planning.registry import PlannerName, register, unregister
    >>> @register("inside out", "eliminates from the middle", is_candidate=lambda problem: True)
    ... def inside_out(problem):
    ...     inner = problem.graph.inner
    ...     return sorted(inner, key=lambda v: abs(2 * v - min(inner) - max(inner)))
    >>> chainad.plan_chain([5, 4, 3, 2, 3], mode=PlannerName("inside out")).order
    (2, 1, 3)
    >>> unregister("inside out")
    """
    if name in modes():
        raise PlanError(f"there is a mode {name!r} already; unregister it, or take another name")

    def decorate(planner: P) -> P:
        PLANNERS[name] = RegisteredPlanner(name, description, planner, is_candidate, proof)
        return planner

    return decorate


def unregister(name: str) -> None:
    """Forget a planner.

    Raises
    ------
    PlanError
        If there is none of this name.
    """
    if name not in PLANNERS:
        raise PlanError(f"there is no planner {name!r} to unregister")
    del PLANNERS[name]


def modes() -> dict[str, str]:
    """Return the description of every mode that has a name."""
    return CHOICES | {name: known.description for name, known in PLANNERS.items()}
