"""A program by itself, in preallocated memory that is kept from call to call."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chainad.backends.numpy.buffers import source_with_buffers
from chainad.backends.numpy.build import observe
from chainad.ir.program import Program


class Preallocated:
    """Runs the lines of a program on slots of the shapes and dtypes of the first ones."""

    def __init__(
        self, program: Program, slots: Sequence[Any], fixed: Mapping[int, Any] | None = None
    ) -> None:
        names = [f"slots[{k}]" for k in range(program.n_slots)]
        self.text = source_with_buffers(program, observe(program, slots)[0], names, fixed)
        results = "".join(f"{name}, " for name in self.text.results)
        body = "\n    ".join([*self.text.lines, f"return ({results})"])
        objects = dict(self.text.names)
        exec(f"def run(slots, memory, out):\n    {body}\n", objects)
        self._run, self._free = objects["run"], list[list[np.ndarray]]()

    def __call__(self, slots: Sequence[Any], out: Sequence[Any] | None = None) -> tuple[Any, ...]:
        try:
            memory = self._free.pop()
        except IndexError:
            memory = self.text.allocate()
        results: tuple[Any, ...] = self._run(slots, memory, out)
        self._free.append(memory)
        return results
