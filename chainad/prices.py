"""Price models: what a product, a sum and an explicit operator cost a planner, as data.

A model is additive: the price of a plan is the sum of the prices of its steps. Prices are Python
integers, so they never overflow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chainad.algebra import Product, Total
from chainad.errors import PlanError
from chainad.structure import Structure


@dataclass(frozen=True)
class PriceModel:
    """What planning is to make small; an argument `price=` of every verb that plans.

    Attributes
    ----------
    name : str
        What print-outs call it.
    unit : str
        What is counted.
    product, total, explicit : callable
        The price of a product, of a sum, and of making an operator explicit: non-negative
        integers.

    Examples
    --------
    >>> import chainad
    >>> from chainad.prices import PriceModel
    >>> model = PriceModel(
    ...     "products", "products", lambda product: 1, lambda total: 0, lambda operator: 1
    ... )
    >>> chainad.plan_chain([5, 4, 3, 2], price=model).price
    2
    """

    name: str
    unit: str
    product: Callable[[Product], int]
    total: Callable[[Total], int]
    explicit: Callable[[Structure], int]


def _multiplications(algebra: Product | Total) -> int:
    return algebra.multiplications


def _explicit(operator: Structure) -> int:
    return operator.cost_of_explicit


def _every_product(product: Product) -> int:
    """Return the multiplications if factors of ones were numbers like any others.

    A product whose factors both keep numbers is priced as it is. Else every entry of the result
    takes one product, and one more for every addition that ends in it. Hence eliminating a scalar
    costs indegree times outdegree, as in the published tables (Lohoff & Neftci 2024).
    """
    structure = product.structure
    if product.labels is not None or structure.scale == 0 or not structure.nonzeros:
        return product.multiplications
    entries = structure.count if structure.scale is None else structure.nonzeros
    return max(product.multiplications, entries + product.additions)


multiplications = PriceModel(
    "multiplications", "multiplications", _multiplications, _multiplications, _explicit
)
all_multiplications = PriceModel(
    "all_multiplications", "multiplications", _every_product, _multiplications, _explicit
)

PRICES: dict[str, PriceModel] = {
    model.name: model for model in (multiplications, all_multiplications)
}


def model_of(price: str | PriceModel) -> PriceModel:
    """Return the price model of a name, or the model itself.

    Raises
    ------
    PlanError
        If the name is unknown, or this is no price model.
    """
    if isinstance(price, PriceModel):
        return price
    if not isinstance(price, str):
        raise PlanError(
            f"price must be a name or a chainad.prices.PriceModel, but got {type(price).__name__}"
        )
    if price not in PRICES:
        raise PlanError(f"price={price!r} is unknown; choose one of {', '.join(sorted(PRICES))}")
    return PRICES[price]
