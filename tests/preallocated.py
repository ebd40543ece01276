"""A program by itself, in preallocated memory that is kept from call to call."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chainad.backends.namespace import Namespace
from chainad.backends.numpy.buffers import source_with_buffers
from chainad.backends.numpy.build import observe
from chainad.ir.program import Program


class Preallocated:
    """Runs the lines of a program on slots of the shapes and dtypes of the first ones."""

    def __init__(
        self, program: Program, slots: Sequence[Any], fixed: Mapping[int, Any] | None = None
    ) -> None:
        names = [f"slots[{k}]" for k in range(program.n_slots)]
        space, (types, _) = Namespace(), observe(program, slots)
        self.text = source_with_buffers(program, types, names, space, fixed)
        results = "".join(f"{name}, " for name in self.text.results)
        lines = [*self.text.lines, f"return ({results})"]
        self._run, _ = space.define("run(slots, memory, out)", lines)
        self._free = list[list[np.ndarray]]()

    def __call__(self, slots: Sequence[Any], out: Sequence[Any] | None = None) -> tuple[Any, ...]:
        try:
            memory = self._free.pop()
        except IndexError:
            memory = self.text.allocate()
        results: tuple[Any, ...] = self._run(slots, memory, out)
        self._free.append(memory)
        return results
