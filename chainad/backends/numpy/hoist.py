"""Constant hoisting: what depends on constant arrays alone is recomputed only if these changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chainad.backends.numpy.build import build, observe
from chainad.ir.ops import MatMul
from chainad.ir.program import Program

Array = npt.NDArray[Any]


class HoistedProgram:
    """Runs `per_call` on the slots and what `hoisted` makes of the constant ones.

    The arrays are the user's, who may overwrite them: they are compared with copies.
    """

    def __init__(
        self, hoisted: Program, per_call: Callable[[Sequence[Any], Any], tuple[Any, ...]]
    ) -> None:
        self._hoisted = build(hoisted)
        self._constant_slots = hoisted.used_slots
        self._per_call = per_call
        self._cached: tuple[list[Array], tuple[Any, ...]] | None = None

    def __call__(self, slots: Sequence[Any], out: Any = None) -> tuple[Any, ...]:
        return self._per_call([*slots, *self._hoisted_values(slots)], out)

    def _hoisted_values(self, slots: Sequence[Any]) -> tuple[Any, ...]:
        cached = self._cached
        if cached is None or not all(
            np.array_equal(slots[k], copy)
            for k, copy in zip(self._constant_slots, cached[0], strict=True)
        ):
            copies = [np.array(slots[k]) for k in self._constant_slots]
            known = dict(zip(self._constant_slots, copies, strict=True))
            cached = copies, self._hoisted([known.get(k) for k in range(len(slots))])
            self._cached = cached  # one assignment: another thread may read it
        return cached[1]


def multiplications_in(program: Program, slots: Sequence[Any]) -> int:
    """Run a program; return the scalar multiplications in its matrix products."""
    types, _ = observe(program, slots)
    return sum(
        i.op.cost(*(types[k].shape for k in i.inputs)).dots
        for i in program.instructions
        if isinstance(i.op, MatMul)
    )
