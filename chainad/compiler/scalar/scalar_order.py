"""The elimination order of a scalar program: the one of fewest operations that a mode offers.

The planners see the linear graph of scalars, and count multiplications. The program takes less:
common subexpressions are computed once, and sums and products of constants not at all. Hence the
orders that come near the cheapest one are carried out and compared by what is left.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from chainad.compiler.scalar.eliminate import Jacobian, accumulate, cost_of_results
from chainad.compiler.scalar.scalarize import ScalarGraph
from chainad.ir.cache import Cache
from chainad.ir.scalar_graph import NodeId, NotScalarError
from chainad.planning.auto import (
    Mode,
    check_fits,
    finish,
    hybrid_order,
    mode_key,
    orders_of,
    request_of,
)
from chainad.planning.candidates import CLASSICAL
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.cost_models import multiplications
from chainad.planning.linear_graph import LinearGraph
from chainad.planning.orders import only_vertices
from chainad.planning.plan import Plan, full_cost
from chainad.planning.registry import Order, Problem
from chainad.planning.search.budget import SearchOptions

# Orders of more multiplications than this many times the least are rarely those of the fewest
# operations, unless they are forward or reverse: these share most subexpressions.
MAX_MULTIPLICATIONS_RATIO = 1.05

# In larger graphs only forward and reverse are tried: searches take too long.
MAX_SEARCHED_EDGES = 2000

# Compiling one scalar operation takes as long as these many calls of NumPy.
CALLS_PER_COMPILATION = 1000

_orders: Cache[dict[str, Order]] = Cache(64, "orders of scalars")


@dataclass(frozen=True)
class ScalarOrder:
    """An elimination order of scalars, and the others that it was compared with.

    Attributes
    ----------
    graph : ScalarGraph
    always : tuple of int
        The nodes that the program computes in any order: the values, if they are returned.
    planner : str
        The planner of the order.
    orders : dict
        The orders that were compared, by planner.
    jacobian : tuple of int
        The entries of the Jacobian by the order.
    mode, search
        What was requested.
    """

    graph: ScalarGraph
    always: tuple[NodeId, ...]
    planner: str
    orders: dict[str, Order]
    jacobian: Jacobian
    mode: Mode
    search: SearchOptions

    def plan(self) -> Plan:
        """Return the plan of this order, with the others as alternatives."""

        def overall(plan: Plan) -> int:
            jacobian = accumulate(self.graph, plan.order)
            return cost_of_results(self.graph.dag, [*jacobian, *self.always])

        # The steps are costed for searches only.
        model = replace(multiplications, name="operations", unit="operations", overall=overall)
        problem = Problem(self.graph.linear, model, self.search)
        costs = {name: full_cost(problem.graph, x, model) for name, x in self.orders.items()}
        requested = request_of(self.mode, self.search)
        requested += "" if isinstance(self.mode, Plan) else ", on scalars"
        return finish(problem, self.orders[self.planner], requested, self.planner, 8, costs)


def scalar_order(
    graph: ScalarGraph,
    arrays: LinearGraph,
    mode: Mode | ChunkedPlan,
    search: SearchOptions,
    always: Iterable[NodeId],
) -> ScalarOrder:
    """Return the order of fewest operations that a mode offers.

    A planner orders the scalars. An order of arrays, or a plan of one, orders their entries alike.

    Raises
    ------
    NotScalarError
        If the mode is an order of whole arrays that is none of scalars.
    PlanError
        If it is unknown, or fits neither graph.
    """
    if isinstance(mode, ChunkedPlan):
        raise NotScalarError("a plan in chunks is one of whole arrays")
    given = _of_entries(graph, arrays, mode)
    linear = graph.linear
    is_large = given == "auto" and len(linear.edges) > MAX_SEARCHED_EDGES
    key = mode_key(given)
    nodes = tuple(always)

    def offers() -> dict[str, Order]:
        if is_large:
            return {name: order for x in CLASSICAL for name, order in orders_of(problem, x).items()}
        found = orders_of(problem, given)
        mixed = hybrid_order(problem, found) if given == "hybrid" else None
        return _near_cheapest(problem, found) if mixed is None else {"hybrid": mixed}

    within = replace(search.within(len(linear.inner)), expected_calls=CALLS_PER_COMPILATION)
    problem = Problem(linear, multiplications, within)
    orders = offers() if key is None else _orders.get((linear, key, problem.search.key), offers)
    jacobians = {name: accumulate(graph, order) for name, order in orders.items()}
    best = min(orders, key=lambda name: cost_of_results(graph.dag, [*jacobians[name], *nodes]))
    return ScalarOrder(graph, nodes, best, orders, jacobians[best], given, search)


def _of_entries(graph: ScalarGraph, arrays: LinearGraph, mode: Mode) -> Mode:
    """Return a mode for scalars: of an order of arrays, the order of their entries."""
    if isinstance(mode, Plan):
        if mode.graph == graph.linear:
            return mode
        check_fits(mode.graph, arrays)
        order = mode.order
    elif isinstance(mode, str) or callable(mode):
        return mode
    else:
        order = arrays.check_order(mode)
    vertices = only_vertices(order)
    if vertices is None:
        raise NotScalarError("the order eliminates single edges between whole arrays")
    position = {v: k for k, v in enumerate(vertices)}
    return tuple(sorted(graph.linear.inner, key=lambda v: position[graph.arrays[v]]))


def _near_cheapest(problem: Problem, orders: dict[str, Order]) -> dict[str, Order]:
    if len(orders) == 1:
        return orders
    costs = {name: problem.states.cost_of(order) for name, order in orders.items()}
    limit = MAX_MULTIPLICATIONS_RATIO * min(costs.values())
    return {
        name: order for name, order in orders.items() if name in CLASSICAL or costs[name] <= limit
    }
