"""Programs in two parts: what constant arrays determine is made again only when these changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from chainad.backends.numpy.build import build, observe
from chainad.ir.ops import MatMul
from chainad.ir.program import Program

Array = npt.NDArray[Any]


class HoistedProgram:
    """Runs `per_call` behind what `once` makes of constant slots.

    The arrays are the user's, who may overwrite them: copies of them tell whether that happened.
    """

    def __init__(
        self, once: Program, per_call: Callable[[Sequence[Any], Any], tuple[Any, ...]]
    ) -> None:
        self._once = build(once)
        self._read = once.used_slots
        self._per_call = per_call
        self._kept: tuple[list[Array], tuple[Any, ...]] | None = None

    def __call__(self, slots: Sequence[Any], out: Any = None) -> tuple[Any, ...]:
        return self._per_call([*slots, *self._made(slots)], out)

    def _made(self, slots: Sequence[Any]) -> tuple[Any, ...]:
        kept = self._kept
        if kept is None or not all(
            np.array_equal(slots[k], copy) for k, copy in zip(self._read, kept[0], strict=True)
        ):
            copies = [np.array(slots[k]) for k in self._read]
            known = dict(zip(self._read, copies, strict=True))
            kept = copies, self._once([known.get(k) for k in range(len(slots))])
            self._kept = kept  # in one piece: another thread may read it
        return kept[1]


def multiplications_in(program: Program, slots: Sequence[Any]) -> int:
    """Return the scalar multiplications in the matrix products of a program, by a run of it."""
    seen, _ = observe(program, slots)
    products = [i for i in program.instructions if isinstance(i.op, MatMul)]
    return sum(prod(seen[i.output].shape) * seen[i.inputs[0]].shape[-1] for i in products)
