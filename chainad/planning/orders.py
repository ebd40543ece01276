"""Elimination orders: vertices and single edges, one after the other; see `elimination_graph`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from chainad.errors import PlanError

Vertex = int
End = Literal["front", "back"]


@dataclass(frozen=True, slots=True)
class EdgeElimination:
    """One step of an order: the edge from `tail` to `head` alone.

    Parameters
    ----------
    tail, head : int
        The ends of the edge.
    side : str
        "back" to multiply by the edges out of `head`, "front" by those into `tail`.

    Raises
    ------
    PlanError
        If the side is neither.

    Examples
    --------
    >>> EdgeElimination(0, 3, "back").via
    3
    """

    tail: Vertex
    head: Vertex
    side: End

    def __post_init__(self) -> None:
        if self.side not in ("front", "back"):
            raise PlanError(f"side must be 'front' or 'back', but got {self.side!r}")

    @property
    def via(self) -> Vertex:
        """The vertex that the products jump over."""
        return self.head if self.side == "back" else self.tail


Item: TypeAlias = Vertex | EdgeElimination


def via(item: Item) -> Vertex:
    """Return the vertex that the products of an elimination jump over."""
    return item.via if isinstance(item, EdgeElimination) else item


def only_vertices(order: Iterable[Item]) -> tuple[Vertex, ...] | None:
    """Return an order if it eliminates vertices alone, else None."""
    found = tuple(order)
    vertices = tuple(item for item in found if not isinstance(item, EdgeElimination))
    return vertices if len(vertices) == len(found) else None
