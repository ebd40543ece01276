"""Cost models: what a product, a sum and a materialized operator cost a planner, as data.

A model is additive: the cost of a plan is the sum of the costs of its steps. The one exception,
`peak`, has a cost for whole plans, and is searched by a cost of steps that stands in for it.
Costs are Python integers, so they never overflow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING, Literal, TypeAlias

from chainad.errors import PlanError, unknown
from chainad.ir.cache import cached_property
from chainad.ir.operation_counts import OperationCounts
from chainad.ir.pickling import fields_alone
from chainad.planning.calibration import Calibration, known
from chainad.structure import Product, StructureSum
from chainad.structure.step_counts import counts_of_materialize, counts_of_product, counts_of_sum
from chainad.structure.structure import Structure

if TYPE_CHECKING:
    from chainad.planning.plan import Plan

# What moving a byte to or from memory takes, about.
PICOSECONDS_PER_BYTE = 20

# By how much the time of steps alone is wrong at most, as far as was seen: beyond, whole programs
# need not be compared.
MAX_STEPS_RATIO = 1.6

CostName: TypeAlias = Literal["multiplications", "all_multiplications", "bytes", "time", "peak"]


@dataclass(frozen=True)
class CostModel:
    """What planning is to make small; an argument `cost=` of every verb that plans.

    Attributes
    ----------
    name : str
        What print-outs call it.
    unit : str
        What is counted.
    product, sum, materialize : callable
        The cost of a product, of a sum, and of materializing an operator: non-negative
        integers.
    overall : callable, optional
        The cost of a whole plan, where it is not the sum of these; candidates are compared by it,
        and found by the others.
    picoseconds : int, optional
        How long a unit takes, about: so long as it saves, so long a search may take. None of
        multiplications, which take a call each, at least.
    overall_ratio : float
        Candidates whose steps cost more than those of the cheapest by this factor are not compared.
    others : tuple of CostModel
        Models whose cheapest orders are candidates, too.

    Examples
    --------
    >>> import chainad
    >>> from chainad.planning.cost_models import CostModel
    >>> model = CostModel(
    ...     "products", "products", lambda product: 1, lambda sum: 0, lambda operator: 1
    ... )
    >>> chainad.plan_chain([5, 4, 3, 2], cost=model).cost
    2
    """

    name: str
    unit: str
    product: Callable[[Product], int]
    sum: Callable[[StructureSum], int]
    materialize: Callable[[Structure], int]
    overall: Callable[[Plan], int] | None = None
    picoseconds: int | None = None
    overall_ratio: float = inf
    others: tuple[CostModel, ...] = ()


def _multiplications(operation: Product | StructureSum) -> int:
    return operation.multiplications


def _materialize(operator: Structure) -> int:
    return operator.cost_to_materialize


def _every_product(product: Product) -> int:
    """Return the multiplications if factors of ones were multiplied by like any others.

    A product whose factors both store entries costs what it does anyway. Else every entry of the
    result takes one product, and one more for every addition that ends in it. Hence eliminating a
    scalar costs indegree times outdegree, as in the published tables (Lohoff & Neftci 2024).
    """
    structure = product.structure
    if product.labels is not None or structure.scale == 0 or not structure.nonzeros:
        return product.multiplications
    entries = structure.count if structure.scale is None else structure.nonzeros
    return max(product.multiplications, entries + product.additions)


multiplications = CostModel(
    "multiplications", "multiplications", _multiplications, _multiplications, _materialize
)
all_multiplications = CostModel(
    "all_multiplications", "multiplications", _every_product, _multiplications, _materialize
)


@lru_cache(maxsize=16)
def by_bytes(itemsize: int) -> CostModel:
    """Return the cost in bytes read from memory and written there, for entries of `itemsize`.

    Every array operation of a step is counted, with what it reads and what it writes; an operation
    that only looks at an array in another way is free.
    """

    cost_of = _Bytes(itemsize)
    return CostModel("bytes", "bytes", cost_of, cost_of, cost_of, picoseconds=PICOSECONDS_PER_BYTE)


@lru_cache(maxsize=16)
def by_time(table: Calibration, overall: Callable[[Plan], int] | None = None) -> CostModel:
    """Return the cost in picoseconds, from what the kinds of operation cost by a table.

    Inside a large matrix product a multiplication is many times cheaper than one that scales an
    array, and every array operation has a cost of its own, however small its arrays are. What whole
    programs take, `overall` says, if it is given.
    """
    cost_of = _Time(table)
    model = CostModel(
        f"time ({table.source})", "picoseconds", cost_of, cost_of, cost_of, picoseconds=1
    )
    if overall is None:
        return model
    return replace(model, overall=overall, overall_ratio=MAX_STEPS_RATIO, others=(multiplications,))


@dataclass(frozen=True)
class _Bytes:
    """The bytes that an operation reads and writes."""

    itemsize: int

    def __call__(self, operation: Product | StructureSum | Structure) -> int:
        return self.itemsize * _counts(operation).elements


@dataclass(frozen=True)
class _Time:
    """The picoseconds that an operation takes."""

    table: Calibration

    __getstate__ = fields_alone

    def __call__(self, operation: Product | StructureSum | Structure) -> int:
        return self._cost(_counts(operation))

    @cached_property
    def _cost(self) -> Callable[[OperationCounts], int]:
        return lru_cache(maxsize=65536)(self.table.time)


def _counts(operation: Product | StructureSum | Structure) -> OperationCounts:
    if isinstance(operation, Structure):  # an operator that is materialized
        return counts_of_materialize(operation)
    if isinstance(operation, StructureSum):
        return counts_of_sum(*operation.terms)
    # With one factor: the step that materializes an operator.
    return (
        counts_of_materialize(*operation.factors)
        if len(operation.factors) == 1
        else counts_of_product(*operation.factors)
    )


def _entries_of_result(operation: Product | StructureSum) -> int:
    return operation.structure.count


def _entries_materialized(operator: Structure) -> int:
    return operator.materialized.count


def _bytes_of_peak(plan: Plan) -> int:
    return plan.peak.bytes


# Orders that store few entries in all rarely hold many at once; auto compares the true peaks.
peak = CostModel(
    "peak",
    "bytes",
    _entries_of_result,
    _entries_of_result,
    _entries_materialized,
    _bytes_of_peak,
)

# Models are made when they are requested: a calibration may be stored at any time.
COSTS: dict[CostName, Callable[[int], CostModel]] = {
    "multiplications": lambda itemsize: multiplications,
    "all_multiplications": lambda itemsize: all_multiplications,
    "bytes": by_bytes,
    "time": lambda itemsize: by_time(known()),
    "peak": lambda itemsize: peak,
}


def model_of(cost: CostName | CostModel, itemsize: int = 8) -> CostModel:
    """Return the cost model of a name, for entries of `itemsize` bytes, or the model itself.

    Raises
    ------
    PlanError
        If the name is unknown, or this is no cost model.
    """
    if isinstance(cost, CostModel):
        return cost
    if not isinstance(cost, str):
        raise PlanError(
            "cost must be a name or a chainad.planning.cost_models.CostModel, but got"
            f" {type(cost).__name__}"
        )
    if cost not in COSTS:
        raise PlanError(unknown("cost", cost, sorted(COSTS)))
    return COSTS[cost](itemsize)
