"""What other orders would have cost, computed when somebody looks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, overload

from chainad.ir.cache import cached_property


@dataclass(frozen=True)
class Alternative:
    """What another mode would have cost: scalar operations, and the cost in the plan's unit."""

    name: str
    multiplications: int
    additions: int
    cost: int


@dataclass(frozen=True)
class QuickerOrder:
    """Another order that takes clearly less time by the model of time.

    Attributes
    ----------
    own, other : int
        The picoseconds of the plan, and of the other order.
    """

    own: int
    other: int

    @property
    def ratio(self) -> float:
        """How many times less time the other order takes."""
        return self.own / self.other


class Alternatives(Sequence[Alternative]):
    """Alternatives that are costed when one of them is first read; pickled as a tuple.

    `find_quicker` compares the times of the plan and of other orders, when somebody looks.
    """

    def __init__(
        self,
        compute: Callable[[], Iterable[Alternative]],
        find_quicker: Callable[[], QuickerOrder | None] = lambda: None,
    ) -> None:
        self._compute = compute
        self._find_quicker = find_quicker

    @cached_property
    def quicker(self) -> QuickerOrder | None:
        """Another order that is clearly quicker than the plan; None if none is known."""
        return self._find_quicker()

    @cached_property
    def _costed(self) -> tuple[Alternative, ...]:
        return tuple(self._compute())

    @overload
    def __getitem__(self, index: int) -> Alternative: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Alternative]: ...

    def __getitem__(self, index: int | slice) -> Alternative | Sequence[Alternative]:
        return self._costed[index]

    def __len__(self) -> int:
        return len(self._costed)

    def __repr__(self) -> str:
        return repr(self._costed)

    def __reduce__(self) -> tuple[Any, ...]:
        return tuple, (self._costed,)
