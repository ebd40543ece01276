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


class Alternatives(Sequence[Alternative]):
    """Alternatives that are costed when one of them is first read; pickled as a tuple."""

    def __init__(self, compute: Callable[[], Iterable[Alternative]]) -> None:
        self._compute = compute

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
