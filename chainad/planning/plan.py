"""Plans: an elimination order spelled out step by step, and its cost."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING, Any, Literal

from chainad.errors import InputError, PlanError
from chainad.ir.cache import cached_property
from chainad.ir.pickling import fields_alone
from chainad.planning.alternatives import Alternative, Alternatives, QuickerOrder
from chainad.planning.bounds import lower_bound
from chainad.planning.cost_models import CostModel, multiplications
from chainad.planning.linear_graph import Cost, Edge, LinearGraph, cost, cost_of
from chainad.planning.orders import EdgeElimination, Item, via
from chainad.planning.peak import Peak, peak_of
from chainad.planning.repeats import RepeatedBlock, repeats_in
from chainad.planning.schedule import Schedule, schedule
from chainad.planning.serialize import PlanRecord, read, write
from chainad.planning.steps import Step, check_materialized, steps_of
from chainad.planning.views.draw import draw
from chainad.planning.views.explain import explain
from chainad.planning.views.listing import listing
from chainad.planning.views.markup import document, saved
from chainad.planning.views.overview import headline
from chainad.planning.views.page import element
from chainad.planning.views.report import details, summary
from chainad.planning.views.spy import spy
from chainad.planning.views.terminal import Explained
from chainad.structure import Product, Sweep
from chainad.structure.structure import Structure

if TYPE_CHECKING:
    import networkx as nx
    from matplotlib.figure import Figure

Mode = Literal["forward", "reverse", "hybrid"]


@dataclass(frozen=True, repr=False)
class Plan(Explained):
    """How a Jacobian is going to be accumulated: read it before anything runs.

    Plans are immutable, hashable and comparable; two plans are equal if they do the same.

    Attributes
    ----------
    graph : LinearGraph
        The local Jacobians and their structures.
    order : tuple of int or EdgeElimination
        The inner vertices in the order of their elimination; single edges where that is cheaper.
    steps : tuple of Step
        Every product and sum, in order.
    results : tuple of tuples of int
        For every pair (output, input), outputs first, the numbers of the Jacobians that add up to
        its own: none (zero), one, or the disjoint diagonals of a stencil. Of a Hessian, they may be
        those of the transposed pair.
    requested : str
        What the user requested.
    itemsize : int
        Bytes per entry.
    alternatives : sequence of Alternative
        Forward, reverse and every other candidate, with their costs.
    optimality : str
        What is proved of the cost; empty if nothing is.
    planner, title : str
        The planner that found the order, and what the report calls the function.
    model : str
        The name of the cost model that the order was chosen by.
    cost : int
        What the plan costs by that model; the multiplications, unless another model was requested.
    sweep : str
        "tangent" or "adjoint" if all operators are taken that way, even where materializing
        one would cost less; empty if each is taken the cheapest way.
    materialized : tuple of int
        The local Jacobians, by number, that are materialized before anything else, whatever else
        would cost less: on several workers that may save time.
    """

    graph: LinearGraph
    order: tuple[Item, ...]
    steps: tuple[Step, ...]
    results: tuple[tuple[int, ...], ...]
    requested: str = field(default="", compare=False)
    itemsize: int = 8
    alternatives: Sequence[Alternative] = field(default=(), compare=False)
    optimality: str = field(default="", compare=False)
    planner: str = field(default="", compare=False)
    title: str = field(default="J", compare=False)
    model: str = field(default=multiplications.name, compare=False)
    cost: int = field(default=0, compare=False)
    sweep: Sweep = ""
    materialized: tuple[int, ...] = ()

    __getstate__ = fields_alone

    @cached_property
    def _hash(self) -> int:
        return hash((self.graph, self.order, self.itemsize))

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return summary(self)

    def explain(self, rows: int | None = None, width: int | None = None) -> str:
        """Return what the plan does, and why, on one screen: what `print` shows.

        Parameters
        ----------
        rows : int, optional
            How many steps are shown, those that cost most; equal ones of one line are together.
            By default these are at most 8, none without multiplications.
        width : int, optional
            Characters per line; by default those of the terminal, and at most 100.

        Returns
        -------
        str
            A verdict, the widths of the values, this plan beside forward and reverse, the most
            expensive steps with the lines of the user's code, structures, and what is proved.

        Examples
        --------
        >>> import chainad
        >>> print(chainad.plan_chain([9, 2, 8, 9]).explain(rows=1, width=80))
        chain: (9,) -> (9,)    J is 9 x 9, dense, 306 multiplications
        Pulled back from the output to the input, one operation after the other: 2.6x
        fewer multiplications than forward.
        <BLANKLINE>
        widths  ██████▂▂▂▂▂▂████████████  9 numbers in, 2 at the narrowest, 9 out
        <BLANKLINE>
          reverse (this plan)   306      1.0x  ████████████
          forward               792      2.6x  ██████████████████████████████
          other orders          chain 1.0x
        <BLANKLINE>
        the most expensive of 2 steps, 52.9 % of the multiplications
          52.9 %  162  pulled back  9 -> 2 -> 9  value v1
        <BLANKLINE>
        values: v1 = matrix(x), 2
        3 local Jacobians: 3 dense
        peak 1.64 kB; optimal over all bracketings of this chain
        """
        return explain(self, rows, width)

    def listing(self, width: int | None = None) -> str:
        """Return the source of what was traced, with the multiplications of every line.

        A tangent is pushed forward through the line that it goes through, an adjoint pulled back
        through it; where both meet, they are joined on the line of the value there. The source is
        read again, and shown only if it is what it was; else those lines are listed that
        derivatives go through.

        Parameters
        ----------
        width : int, optional
            Characters per line; by default those of the terminal, and at most 100.

        Returns
        -------
        str
            A block for every function that costs something, most expensive first: line, how often
            it ran if that was more than once, multiplications, share, direction, source.

        Examples
        --------
        >>> import chainad
        >>> import numpy as np
        >>> from model import net  # doctest: +SKIP
        >>> print(chainad.plan(net, np.ones(30)).listing())  # doctest: +SKIP
        net(x): 4,240 multiplications, by line    -> pushed forward  <- pulled back
        <BLANKLINE>
        net  model.py:5    4,240 multiplications, 100.0 %
           line  multiplications       %
              5                               def net(x):
              6            3,620    85.4  <-      a = np.tanh(A @ x)
              7               20     0.5  <-      b = np.tanh(B @ a)
              8              600    14.2  ->      return C @ b
        """
        return listing(self.title, [self], width)

    def draw(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Return a picture of the plan: what it does, where, and what that saves.

        It shows the values from the inputs to the outputs, as large as they are, the narrowest
        place among them, and between them the local Jacobians in the color of what happens to
        them; below the bracketing of a chain, or the cost of every product; this plan beside
        forward, reverse and the best of the other orders. Of many operations, later iterations of
        a loop are one.

        Parameters
        ----------
        path : str or path, optional
            A file to write, in the format that its name ends with: PNG, SVG, PDF.

        Returns
        -------
        matplotlib.figure.Figure
            Notebooks show it; `pyplot` is not used.

        Raises
        ------
        MissingExtraError
            If matplotlib, the extra `plot`, is not installed.

        Examples
        --------
        >>> import chainad
        >>> chainad.plan_chain([1000, 20, 300, 1000]).draw("plan.png")  # doctest: +SKIP
        """
        return draw(self, path)

    def spy(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Return a picture of where the Jacobian has entries, and its local Jacobians.

        Of many local Jacobians, those of most entries are shown; equal ones are together.

        Parameters
        ----------
        path : str or path, optional
            A file to write, as for `draw`.

        Returns
        -------
        matplotlib.figure.Figure
            The patterns; cells that stand for many entries are the darker the more there are.

        Raises
        ------
        MissingExtraError
            If matplotlib, the extra `plot`, is not installed.
        """
        return spy(self, path)

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the plan as a web page, with a picture, in light and dark; notebooks show it, too.

        Parameters
        ----------
        path : str or path, optional
            Where to save the page.

        Returns
        -------
        str
            HTML without any script, less than 40 kB of it; what it leaves out, it says.

        Examples
        --------
        >>> import chainad
        >>> page = chainad.plan_chain([9, 2, 8, 9]).to_html()
        >>> page[:15], len(page) < 40_000
        ('<!doctype html>', True)
        """
        return saved(document(headline(self)[0], element(self)), path)

    def _repr_html_(self) -> str:
        return element(self)

    def details(self) -> str:
        """Return every number there is, in tables: all modes, steps and local Jacobians."""
        return details(self)

    @cached_property
    def multiplications(self) -> int:
        """Scalar multiplications of all steps."""
        return sum(step.multiplications for step in self.steps)

    @cached_property
    def additions(self) -> int:
        """Scalar additions of all steps."""
        return sum(step.additions for step in self.steps)

    @cached_property
    def structures(self) -> tuple[Structure, ...]:
        """The structure of every Jacobian, local ones first."""
        return (*(e.structure for e in self.graph.edges), *(s.structure for s in self.steps))

    @cached_property
    def transposed(self) -> frozenset[int]:
        """The results, by number, that are the transposes of the Jacobians that they name."""
        ends = [(edge.tail, edge.head) for edge in self.graph.edges]
        ends += [(step.tail, step.head) for step in self.steps]
        pairs = [(i, o) for o in self.graph.outputs for i in self.graph.inputs]
        given = zip(pairs, self.results, strict=True)
        return frozenset(
            k for k, (pair, numbers) in enumerate(given) if numbers and ends[numbers[0]] != pair
        )

    @cached_property
    def mirrored(self) -> frozenset[int]:
        """The Jacobians, by number, whose entries above the diagonal are copies of those below.

        They are what they are said to be only together with all that is added to them.
        """
        found: set[int] = set()
        for step in self.steps:
            is_copied = isinstance(step.operation, Product) and step.operation.blocks > 1
            if is_copied or step.left in found or step.right in found:
                found.add(step.number)
        return frozenset(found)

    @cached_property
    def may_store_zeros(self) -> bool:
        """Whether results may store entries that no path through the graph leads to."""
        actions = (edge.structure.action for edge in self.graph.edges)
        pads = any(step.operation.pads for step in self.steps)
        return pads or any(a and a.is_triangular for a in actions)

    @cached_property
    def mode(self) -> Mode:
        """What the plan turned out to be: forward, reverse or hybrid.

        Only steps that multiply count: a product with an identity has no direction.
        """
        directions = {s.direction for s in self.steps if s.multiplications}
        directions -= {"leaf", "materialize", "sum"}
        if not directions:
            return self._mode_of_order()
        if directions == {"forward"}:
            return "forward"
        return "reverse" if directions == {"reverse"} else "hybrid"

    def _mode_of_order(self) -> Mode:
        """Settle the mode where every product is free, or one of two local Jacobians."""
        if self.order == self.graph.inner:
            return "forward"
        return "reverse" if self.order == self.graph.inner[::-1] else "hybrid"

    @cached_property
    def bracketing(self) -> str:
        """The order in words: a bracketed product on a chain, else the eliminated vertices."""
        if (chain := self.graph.chain) is None:
            if not self.order:
                return "J = " + " + ".join(f"J{k + 1}" for k in range(len(self.graph.edges)))
            return "eliminate " + ", ".join(map(self._name_of, self.order))
        return _bracketed(self, chain)

    def _name_of(self, item: Item) -> str:
        name = self.graph.name
        if not isinstance(item, EdgeElimination):
            return name(item)
        return f"edge {name(item.tail)} -> {name(item.head)} ({item.side})"

    @cached_property
    def peak(self) -> Peak:
        """The most that is stored at one time: local Jacobians, products and results."""
        return peak_of(self)

    def to_json(self) -> str:
        """Return the plan as text for `Plan.from_json`, in this process or another.

        The text is JSON, the same for equal plans found in the same way, with one line for every
        vertex, distinct structure and edge. It holds structures and the user's lines, no entries.

        Examples
        --------
        >>> import chainad
        >>> plan = chainad.plan_chain([30, 2, 40])
        >>> chainad.Plan.from_json(plan.to_json()) == plan
        True
        """
        return write(self)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Return the plan that `to_json` wrote.

        The order is followed anew, and its cost must be the one in the text. What the text says
        of other orders, and of what is proved, is taken as it stands.

        Parameters
        ----------
        text : str
            Made by `Plan.to_json`; nothing in it is run.

        Raises
        ------
        PlanError
            If the text is no plan, of another format, damaged, or of another cost by this
            version of chainad. The message says where.
        """
        record = read(text)
        try:
            plan = follow(
                record.graph,
                record.order,
                requested=record.requested,
                itemsize=record.itemsize,
                sweep=record.sweep,
                materialized=record.materialized,
            )
        except MemoryError as error:
            raise PlanError("the plan in this text needs more memory than there is") from error
        _check_cost(record, plan)
        return replace(
            plan,
            alternatives=tuple(Alternative(*offer) for offer in record.alternatives),
            optimality=record.optimality,
            planner=record.planner,
            title=record.title,
            model=record.model,
            cost=record.cost,
        )

    def schedule(self, workers: int) -> Schedule:
        """Return which of several workers takes which step, and when.

        Parameters
        ----------
        workers : int
            How many steps may run at the same time.

        Raises
        ------
        InputError
            If there is no worker.

        Examples
        --------
        >>> import chainad
        >>> plan = chainad.plan_chain([100, 10, 2, 10, 100])
        >>> schedule = plan.schedule(2)
        >>> plan.multiplications, schedule.makespan
        (24000, 22000)
        """
        if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
            raise InputError(f"workers must be a positive integer, but got {workers!r}")
        return schedule(self.steps, workers, self.title)

    def to_networkx(self) -> nx.MultiDiGraph:
        """Return the linear graph as a networkx graph that knows the plan.

        All attributes are numbers and text, so that every writer of networkx takes them.

        - nodes: `name`, `shape`, `size`, `role` ("input", "inner" or "output"), and, if inner,
          `position` in the order (from 0), `multiplications` and `additions` of its elimination;
        - edges, with the number of the local Jacobian as key: `rows`, `cols`, `kind`, `structure`,
          `entries` (how many are stored), `bytes`, and, if known, `operation` and `line`;
        - the graph: `title`, `mode`, `planner`, `bracketing`, `optimality`, `multiplications`,
          `additions`, `peak_bytes`.

        Examples
        --------
        >>> import chainad
        >>> graph = chainad.plan_chain([30, 2, 40, 7]).to_networkx()
        >>> [graph.nodes[v]["position"] for v in (1, 2)]
        [1, 0]
        """
        import networkx as nx  # slow to load

        graph = nx.MultiDiGraph(
            title=self.title,
            mode=self.mode,
            planner=self.planner,
            bracketing=self.bracketing,
            optimality=self.optimality,
            multiplications=self.multiplications,
            additions=self.additions,
            peak_bytes=self.peak.bytes,
        )
        position = {via(item): k for k, item in enumerate(self.order)}
        multiplications, additions = _counts_per_vertex(self)
        for v, shape in enumerate(self.graph.shapes):
            about: dict[str, Any] = {
                "name": self.graph.name(v),
                "shape": str(shape),
                "size": prod(shape),
                "role": "input" if v in self.graph.inputs else "output",
            }
            if v in position:
                about |= {
                    "role": "inner",
                    "position": position[v],
                    "multiplications": multiplications[v],
                    "additions": additions[v],
                }
            graph.add_node(v, **about)
        origins = self.graph.origins or (None,) * len(self.graph.edges)
        for k, (edge, origin) in enumerate(zip(self.graph.edges, origins, strict=True)):
            rows, cols = edge.structure.matrix_shape
            known = {} if origin is None else {"operation": origin.name}
            if origin is not None and origin.site is not None:
                known["line"] = str(origin.site)
            graph.add_edge(
                edge.tail,
                edge.head,
                key=k,
                rows=rows,
                cols=cols,
                kind=edge.structure.kind,
                structure=str(edge.structure),
                entries=edge.structure.count,
                bytes=edge.structure.count * self.itemsize,
                **known,
            )
        return graph

    @cached_property
    def repeated_blocks(self) -> tuple[RepeatedBlock, ...]:
        """The blocks of the graph that repeat: iterations of a loop, layers of a network."""
        return repeats_in(self.graph)

    @cached_property
    def bound(self) -> int | None:
        """The least cost that any order can have, as far as is known; None if nothing is.

        The cost itself if that is proved; else by minimum vertex cuts, for dense Jacobians and for
        scalars, in multiplications.
        """
        if self.optimality:
            return self.cost
        is_below = self.graph.may_save_by_symmetry  # cuts know nothing of symmetry
        return None if is_below else lower_bound(self.graph, self.model)

    @property
    def gap(self) -> float | None:
        """By how much the cost exceeds the bound, as a fraction of the cost."""
        if self.bound is None:
            return None
        return (self.cost - self.bound) / self.cost if self.cost else 0.0

    @property
    def quicker(self) -> QuickerOrder | None:
        """Another order that is clearly quicker by the model of time; None if none is known.

        Of plans that were chosen by their multiplications in this process.
        """
        return self.alternatives.quicker if isinstance(self.alternatives, Alternatives) else None

    def with_origins(self, graph: LinearGraph) -> Plan:
        """Return the same plan for an equal graph that was traced elsewhere."""
        return replace(self, graph=graph)


def follow(
    graph: LinearGraph,
    order: Sequence[Item],
    *,
    requested: str = "",
    itemsize: int = 8,
    model: CostModel = multiplications,
    sweep: Sweep = "",
    materialized: Sequence[int] = (),
) -> Plan:
    """Spell out an elimination order step by step, and cost it by `model`.

    Operators are applied to tangents or to adjoints, or materialized, each the cheapest way, or all
    as `sweep` says; those on the edges `materialized` are materialized first.

    Raises
    ------
    PlanError
        If the order does not name every inner vertex exactly once, or, with single edges in it,
        leaves some or cannot be followed; or if an edge to be materialized is no operator alone
        between its vertices.
    """
    checked = graph.check_order(order)
    written = check_materialized(graph, materialized)
    steps, results = steps_of(graph, checked, sweep, written)
    plan = Plan(
        graph, checked, steps, results, requested, itemsize, sweep=sweep, materialized=written
    )
    return replace(plan, model=model.name, cost=cost_of_steps(plan, model))


def cost_of_steps(plan: Plan, model: CostModel) -> int:
    """Return what a plan costs by a cost model: its steps together, or the plan as a whole."""
    if model.overall is not None:
        return model.overall(plan)
    return sum(cost_of_step(plan, step, model) for step in plan.steps)


def cost_of_step(plan: Plan, step: Step, model: CostModel) -> int:
    """Return what one step of a plan costs by a cost model of steps."""
    if step.direction == "materialize":
        return model.materialize(plan.structures[step.left])
    return cost_of(step.operation, model)


def full_cost(graph: LinearGraph, order: Sequence[Item], model: CostModel) -> Cost:
    """Return the cost of eliminating in this order, by a model of any kind."""
    if model.overall is None and not graph.may_save_by_symmetry:
        return cost(graph, order, model)
    plan = follow(graph, order, model=model)
    return Cost(plan.cost, plan.additions, plan.multiplications)


def _counts_per_vertex(plan: Plan) -> tuple[Counter[int], Counter[int]]:
    """Return the multiplications and additions of every vertex's elimination.

    The sums that follow a product belong to the vertex of that product.
    """
    multiplications: Counter[int] = Counter()
    additions: Counter[int] = Counter()
    last: int | None = None
    for step in plan.steps:
        last = last if step.via is None else step.via
        if last is not None and step.direction != "materialize":
            multiplications[last] += step.multiplications
            additions[last] += step.additions
    return multiplications, additions


def _check_cost(record: PlanRecord, plan: Plan) -> None:
    """Refuse a plan whose text was written by a version that counted its cost differently."""
    written = (record.multiplications, record.additions)
    if written != (plan.multiplications, plan.additions):
        raise PlanError(
            f"the text says {written[0]:,} multiplications and {written[1]:,} additions, but its"
            f" order takes {plan.multiplications:,} and {plan.additions:,}: it is damaged, or from"
            " another version of chainad; plan the function again"
        )


def _bracketed(plan: Plan, chain: tuple[Edge, ...]) -> str:
    """Write the steps of a chain as one bracketed product, such as `J = (J4 J3) (J2 J1)`."""
    n = len(plan.graph.edges)
    position = {edge.tail: k + 1 for k, edge in enumerate(chain)}
    numbers = [position[edge.tail] for edge in plan.graph.edges]
    root = plan.steps[-1].number if plan.steps else 0
    text: list[str] = []
    # An explicit stack: chains may have thousands of factors.
    stack: list[int | str] = [root]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            text.append(item)
        elif item < n:
            text.append(f"J{numbers[item]}")
        else:
            step = plan.steps[item - n]
            if step.direction == "materialize":
                stack.append(step.left)
                continue
            inside: list[int | str] = [step.right, " ", step.left]
            stack += [")", *inside, "("] if text or stack else inside
    return "J = " + "".join(text)
