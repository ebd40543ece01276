"""The peak of a plan: the most that a run of it stores at one time, by the sizes of its arrays.

What counts: all local Jacobians throughout, since a run keeps them, and many are arrays of the
user; the products that are alive, with what a step copies; and the results. The values on the tape,
and what the function itself holds, do not.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chainad.planning.linear_graph import LinearGraph
from chainad.structure.structure import Structure

if TYPE_CHECKING:
    from chainad.planning.plan import Plan
    from chainad.planning.steps import Step

# A factor of no more indices is a matrix, or the transpose of one, which BLAS reads as it is.
_MAX_INDICES_OF_MATRIX = 2


@dataclass(frozen=True)
class Peak:
    """The most that a run stores at one time: local Jacobians, products and results.

    Attributes
    ----------
    entries, bytes : int
        With results that store no zeros: with `output="sparse"` or `"structured"`.
    dense_bytes : int
        With dense results; more only where the Jacobian is not dense itself.
    """

    entries: int
    bytes: int
    dense_bytes: int

    def bytes_for(self, output: str) -> int:
        """Return the bytes that count towards `memory_limit`, for a form of the Jacobian."""
        return self.dense_bytes if output == "dense" else self.bytes


def peak_of(plan: Plan) -> Peak:
    """Return the peak of a plan that is run as a whole."""
    fixed = local_entries(plan.graph)
    entries, dense = (fixed + live_entries(plan, is_dense) for is_dense in (False, True))
    return Peak(entries, entries * plan.itemsize, dense * plan.itemsize)


def bytes_at_most(plan: Plan) -> int:
    """Return a number of bytes that the peak does not exceed, without a look at what is alive."""
    made = sum(step.structure.count for step in plan.steps)
    # A step copies a Jacobian, or two entries for each of its multiplications.
    entries = 2 * (local_entries(plan.graph) + made + plan.multiplications)
    return (entries + result_entries(plan.graph)) * plan.itemsize


def local_entries(graph: LinearGraph) -> int:
    """Return how many entries all local Jacobians store."""
    return sum(edge.structure.count for edge in graph.edges)


def result_entries(graph: LinearGraph) -> int:
    """Return how many entries the dense Jacobians have, all of them together."""
    return sum(_sizes_of_results(graph))


def live_entries(plan: Plan, is_dense: bool) -> int:
    """Return the most entries alive at one time besides those of local Jacobians.

    At the end, results are materialized if they are to be dense, and copied where they are local
    Jacobians, or several that are disjoint.
    """
    n = len(plan.graph.edges)
    last = {step.number: k for k, step in enumerate(plan.steps)}
    last |= {used: k for k, step in enumerate(plan.steps) for used in (step.left, step.right)}
    kept = {number for numbers in plan.results for number in numbers} | {*range(n)}
    live = most = 0
    for k, step in enumerate(plan.steps):
        over = {used for used in (step.left, step.right, step.number) if last[used] == k} - kept
        before, beside = _copies(plan, step, over)
        most = max(most, live + before, live + beside + step.structure.count)
        live += step.structure.count - sum(plan.structures[used].count for used in over)
    for numbers, size in zip(plan.results, _sizes_of_results(plan.graph), strict=True):
        stored = sum(plan.structures[number].count for number in numbers)
        made = size if is_dense else stored
        is_there = len(numbers) == 1 and numbers[0] >= n and stored == made
        live += 0 if is_there else made
    return max(most, live)


def _copies(plan: Plan, step: Step, over: Container[int]) -> tuple[int, int]:
    """Return how many entries a step copies, and how many of these besides what is `over`.

    A Jacobian is copied to have it in the order in which it is read; what is over is freed once it
    is copied, before the product is made. Of patterns that are multiplied, an entry and its index
    are copied for every multiplication.
    """
    counts = {k: plan.structures[k].count for k in (step.left, step.right)}
    if 0 in counts.values():
        return 0, 0
    if all(plan.structures[k].has_positions for k in counts):
        gathered = 2 * step.multiplications
        return gathered, gathered
    copied = [k for k in counts if not _is_read_as_it_is(plan.structures[k])]
    if not copied:
        return 0, 0
    largest = max(copied, key=counts.__getitem__)
    return counts[largest], 0 if largest in over else counts[largest]


def _is_read_as_it_is(structure: Structure) -> bool:
    is_plain = structure.action is None and not structure.has_positions
    return is_plain and len(structure.stored) <= _MAX_INDICES_OF_MATRIX


def _sizes_of_results(graph: LinearGraph) -> list[int]:
    return [graph.size(o) * graph.size(i) for o in graph.outputs for i in graph.inputs]
