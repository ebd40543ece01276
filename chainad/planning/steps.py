"""The steps of a plan: the products and sums that an elimination order takes, one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from chainad.errors import PlanError
from chainad.planning.linear_graph import NEW_EDGE, Accumulation, Elimination, LinearGraph
from chainad.planning.orders import EdgeElimination, Item, Vertex, via
from chainad.structure import (
    Product,
    StructureSum,
    Sweep,
    as_symmetric,
    materialize_operator,
    staged,
)
from chainad.structure.structure import Structure

Direction = Literal["leaf", "forward", "reverse", "join", "sum", "materialize"]


class Step(NamedTuple):
    """One product or sum of two Jacobians.

    Jacobians are numbered: the local ones 0, 1, ... as the edges of the graph, then one for every
    step. A product is `left @ right`; the result is the Jacobian of `head` with respect to `tail`.

    `direction` says which factor is a local Jacobian: the left one (forward: a product is pushed on
    towards the outputs), the right one (reverse: pulled back towards the inputs), both (leaf) or
    neither (join); with an operator, whether it is applied to tangents or to adjoints. A sum adds
    two Jacobians of the same vertices. A step "materialize" makes an array of an operator that is
    multiplied as one, or is itself a result: both factors are that operator.
    """

    number: int
    left: int
    right: int
    tail: Vertex
    via: Vertex | None
    head: Vertex
    direction: Direction
    operation: Product | StructureSum

    @property
    def structure(self) -> Structure:
        return self.operation.structure

    @property
    def multiplications(self) -> int:
        return self.operation.multiplications

    @property
    def additions(self) -> int:
        return self.operation.additions


def check_materialized(graph: LinearGraph, materialized: Sequence[int]) -> tuple[int, ...]:
    """Return the edges to be materialized, ascending; raise PlanError if one cannot be."""
    between = Counter((edge.tail, edge.head) for edge in graph.edges) if materialized else Counter()
    for k in materialized:
        edge = graph.edges[k] if 0 <= k < len(graph.edges) else None
        if edge is None or edge.structure.action is None or between[edge.tail, edge.head] > 1:
            raise PlanError(
                f"edge {k} cannot be materialized first: only an operator that is alone between its"
                " two vertices can"
            )
    return tuple(sorted(set(materialized)))


def _with_materialized(graph: LinearGraph, written: tuple[int, ...]) -> LinearGraph:
    edges = list(graph.edges)
    for k in written:
        edges[k] = replace(edges[k], structure=edges[k].structure.materialized)
    return replace(graph, edges=tuple(edges))


def steps_of(
    graph: LinearGraph, order: tuple[Item, ...], sweep: Sweep, written: tuple[int, ...]
) -> tuple[tuple[Step, ...], tuple[tuple[int, ...], ...]]:
    """Return the steps, and for every pair (output, input) the Jacobians that add up to its own."""
    steps, current = _elimination_steps(graph, order, sweep, written)
    steps += _last_steps(graph, steps, current, sweep)
    pairs = [(i, o) for o in graph.outputs for i in graph.inputs]
    results = tuple(tuple(current.get(pair, ())) for pair in pairs)
    if graph.may_save_by_symmetry:
        steps, results = _with_transposed_results(graph, steps, results)
        steps = _with_symmetric_products(graph, steps, results)
    return steps, results


_Results = tuple[tuple[int, ...], ...]


def _with_transposed_results(
    graph: LinearGraph, steps: tuple[Step, ...], results: _Results
) -> tuple[tuple[Step, ...], _Results]:
    """Return steps and results of a symmetric Jacobian, each block made once where that saves.

    Of two blocks that are each other's transposes, both results name the Jacobians of one: all
    those below the diagonal, or all those above it.
    """
    k = len(graph.inputs)
    pairs = [(o, i) for o in range(k) for i in range(k)]
    below = tuple(results[max(pair) * k + min(pair)] for pair in pairs)
    above = tuple(results[min(pair) * k + max(pair)] for pair in pairs)
    n = len(graph.edges)
    offers = [(steps, results), _read(n, steps, below), _read(n, steps, above)]
    return min(offers, key=lambda offer: sum(step.multiplications for step in offer[0]))


def _read(n: int, steps: tuple[Step, ...], results: _Results) -> tuple[tuple[Step, ...], _Results]:
    """Return the steps that results need, numbered anew from n on, and the results."""
    needed = {number for numbers in results for number in numbers}
    for step in reversed(steps):
        if step.number in needed:
            needed.update((step.left, step.right))
    kept = [step for step in steps if step.number in needed]
    new = {number: number for number in range(n)}
    new |= {step.number: n + k for k, step in enumerate(kept)}
    renumbered = [
        s._replace(number=new[s.number], left=new[s.left], right=new[s.right]) for s in kept
    ]
    return tuple(renumbered), tuple(tuple(new[k] for k in numbers) for numbers in results)


def _with_symmetric_products(
    graph: LinearGraph, steps: tuple[Step, ...], results: _Results
) -> tuple[Step, ...]:
    """Return the steps; products that add up to a symmetric Jacobian are made up to the diagonal.

    Beyond it their entries are copied even where such a product alone is not symmetric: the sum of
    all terms is, and so it is the sum of what these copies make of them, if each is made so, or is
    diagonal.
    """
    found = list(steps)
    reads = Counter(k for step in steps for k in {step.left, step.right})
    reads.update(k for numbers in results for k in numbers)
    n = len(graph.edges)
    for numbers in results[:: len(graph.inputs) + 1]:  # those of an input by itself
        for number, product in _symmetric_terms(graph, steps, numbers, reads).items():
            found[number - n] = steps[number - n]._replace(operation=product)
    return tuple(found)


def _symmetric_terms(
    graph: LinearGraph, steps: tuple[Step, ...], numbers: Sequence[int], reads: Counter[int]
) -> dict[int, Product]:
    """Return the products that a symmetric Jacobian is a sum of, by number, made symmetric.

    None of them if there are other terms, or if anything else reads one.
    """
    n, found = len(graph.edges), dict[int, Product]()
    structures = [edge.structure for edge in graph.edges]
    stack = [*numbers]
    while stack:
        number = stack.pop()
        step = steps[number - n] if number >= n else None
        structure = structures[number] if step is None else step.structure
        if structure.kind == "diagonal" or structure.is_identity:
            continue
        if step is None or reads[number] > 1 or step.direction == "materialize":
            return {}
        product = as_symmetric(step.operation) if isinstance(step.operation, Product) else None
        if product is not None:
            found[number] = product
        elif step.direction == "sum":
            stack += [step.left, step.right]
        else:
            assert isinstance(step.operation, Product)
            left, right = step.operation.factors
            if not (left.is_identity or right.is_identity):
                return {}
            stack.append(step.right if left.is_identity else step.left)
    return found


def _elimination_steps(
    graph: LinearGraph, order: tuple[Item, ...], sweep: Sweep, written: tuple[int, ...]
) -> tuple[tuple[Step, ...], dict[tuple[Vertex, Vertex], list[int]]]:
    """Return the steps, and the numbers of the terms between every two vertices."""
    elimination = Elimination(_with_materialized(graph, written) if written else graph)
    steps: list[Step] = []
    n = len(graph.edges)
    has_operators = any(e.structure.action is not None for e in graph.edges)
    current: dict[tuple[Vertex, Vertex], list[int]] = {}
    # Products with an identity are still local; `local` holds the numbers of all such Jacobians.
    local = set(range(n))

    def put(number: int, accumulation: Accumulation, ends: tuple[Vertex, Vertex]) -> int:
        if accumulation is NEW_EDGE:
            current[ends] = [number]
            return number
        terms = current.setdefault(ends, [])
        if not accumulation.sums:
            terms.append(number)
            return number
        tail, head = ends
        for total in accumulation.sums:
            old, new = terms.pop(accumulation.index), n + len(steps)
            steps.append(Step(new, old, number, tail, None, head, "sum", total))
            number = new
        terms.insert(accumulation.index, number)
        return number

    def materialize(old: int, ends: tuple[Vertex, Vertex], operation: Product) -> int:
        new, (tail, head) = n + len(steps), ends
        steps.append(Step(new, old, old, tail, None, head, "materialize", operation))
        if old in local:
            local.add(new)
        return new

    for k, (edge, accumulation) in enumerate(
        zip(graph.edges, elimination.accumulations, strict=True)
    ):
        local.add(put(k, accumulation, (edge.tail, edge.head)))
    for k in written:
        ends = (graph.edges[k].tail, graph.edges[k].head)
        current[ends] = [
            materialize(k, ends, materialize_operator(graph.edges[k].structure, sweep))
        ]
    for item in order:
        v = via(item)
        elimination.eliminate(item)
        for m in elimination.products:
            tail, head, _, _, product, accumulation = m
            left, right = current[v, head][m.left], current[tail, v][m.right]
            is_free = not product.multiplications
            if has_operators:
                (one, two), product = staged(product, sweep)
                if one is not None:
                    left = materialize(left, (v, head), one)
                if two is not None:
                    right = materialize(right, (tail, v), two)
            number = n + len(steps)
            direction = _APPLIED.get(product.action) or _direction(left in local, right in local)
            steps.append(Step(number, left, right, tail, v, head, direction, product))
            if is_free and left in local and right in local:
                local.add(number)
            put(number, accumulation, (tail, head))
        if isinstance(item, EdgeElimination):  # another edge may come to lie there
            current.pop((item.tail, item.head), None)
    return tuple(steps), current


def _last_steps(
    graph: LinearGraph,
    steps: tuple[Step, ...],
    current: dict[tuple[Vertex, Vertex], list[int]],
    sweep: Sweep,
) -> tuple[Step, ...]:
    """Return the steps that materialize the operators among the results, and point there."""
    structures = [*(e.structure for e in graph.edges), *(s.structure for s in steps)]
    made: list[Step] = []
    for tail, head in [(i, o) for i in graph.inputs for o in graph.outputs]:
        terms = current.get((tail, head), [])
        for index, old in enumerate(terms):
            if structures[old].action is not None:
                new, operation = (
                    len(structures) + len(made),
                    materialize_operator(structures[old], sweep),
                )
                made.append(Step(new, old, old, tail, None, head, "materialize", operation))
                terms[index] = new
    return tuple(made)


_APPLIED: dict[str, Direction] = {"jvp": "forward", "vjp": "reverse"}


def _direction(left_is_local: bool, right_is_local: bool) -> Direction:
    if left_is_local:
        return "leaf" if right_is_local else "forward"
    return "reverse" if right_is_local else "join"
