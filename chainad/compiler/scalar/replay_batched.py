"""Runs scalar programs at many points: by some backend, in several threads, into given arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from chainad.backends import python
from chainad.backends.numba import generated_modules
from chainad.backends.numba import scalar as numba
from chainad.backends.numpy import vector
from chainad.compiler.scalar.lower_to_scalars import LoweredScalars
from chainad.compiler.scalar.replay_scalar import by_numpy, contiguous
from chainad.ir.cache import cached_property
from chainad.ir.executors import expected_count, processors
from chainad.ir.progress import REPORTS_PER_TASK, Meter

Points = npt.NDArray[Any]
# Results, one array per output, and for which points they hold; None for all of them.
Outputs = tuple[list[Points], npt.NDArray[np.bool_] | None]

# At more, NumPy's arrays are quicker than Python's floats.
_MAX_PYTHON_POINTS = 8

# For fewer, compiling to machine code takes longer than some calls of NumPy.
_MIN_NUMBA_OPERATIONS = 2e8

# For fewer, starting a thread is not worth while.
_MIN_OPERATIONS_PER_THREAD = 1e6

# For fewer, progress is not told: several threads do these in milliseconds.
_MIN_OPERATIONS_PER_REPORT = 1e7


class BatchedScalars:
    """Runs a scalar program at many points."""

    def __init__(self, program: LoweredScalars, backend: str) -> None:
        self.program = program
        self.backend = backend

    def __call__(
        self, rows: Sequence[Points], count: int, meter: Meter, out: Any = None
    ) -> Outputs:
        """Return the results at some points.

        Parameters
        ----------
        rows : sequence of array_like, shape (count, elements)
            The elements of every data argument.
        count : int
        meter : Meter
            What is told of the points.
        out : array_like, optional
            Where the one result is to be, if that can be written there.
        """
        program = self.program
        shapes = [(count, *shape) for shape in program.shapes]
        if _fits(out, shapes, program, rows):
            results = [out]
        else:
            results = [np.empty(shape, program.dtype) for shape in shapes]
        outputs = [x.reshape(count, -1) if x.size else x.reshape(count, 0) for x in results]
        if program.has_guard:
            outputs.append(np.empty((count, 1), program.dtype))
        run = _BACKENDS[self._chosen(count)]
        for part in self._parts(count, meter) if outputs else ():
            run(self, [x[part] for x in rows], [x[part] for x in outputs])
            meter.advance(part.stop - part.start)
        return results, outputs[-1].ravel() != 0 if program.has_guard else None

    def _parts(self, count: int, meter: Meter) -> list[slice]:
        """Return the points in parts that are long enough to tell progress after each."""
        operations = count * len(self.program.ssa.instructions)
        most = REPORTS_PER_TASK if meter.is_told else 1
        parts = max(1, min(most, int(operations / _MIN_OPERATIONS_PER_REPORT)))
        bounds = [count * k // parts for k in range(parts + 1)]
        return [slice(a, b) for a, b in pairwise(bounds)]

    def _chosen(self, count: int) -> str:
        if self.backend != "auto":
            return self.backend
        ssa = self.program.ssa
        if self.program.dtype != np.float64:
            return "numpy"
        pays_compilation = expected_count(count) * len(ssa.instructions) >= _MIN_NUMBA_OPERATIONS
        if pays_compilation and numba.is_installed() and not numba.unsupported(ssa):
            return "numba"
        return "python" if count <= _MAX_PYTHON_POINTS and not python.unsupported(ssa) else "numpy"

    @cached_property
    def by_vector(self) -> vector.Runner:
        return vector.build(self.program.ssa, self.program.dtype)

    @cached_property
    def by_numba(self) -> Callable[..., None]:
        run: Callable[..., None] = generated_modules.load(numba.source(self.program.ssa))
        return run

    @cached_property
    def by_python(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """Python's floats, and NumPy for points where these raise."""
        ssa = self.program.ssa
        return python.build(ssa)[0], by_numpy(ssa)


def _fits(
    out: Any, shapes: Sequence[tuple[int, ...]], program: LoweredScalars, rows: Sequence[Points]
) -> bool:
    """Return whether the one result can be written directly into an array."""
    if type(out) is not np.ndarray or len(shapes) != 1 or program.has_guard:
        return False
    has_same_type = out.shape == shapes[0] and out.dtype == program.dtype
    flags = out.flags
    if not (has_same_type and flags.c_contiguous and flags.writeable and flags.aligned):
        return False
    return not any(np.may_share_memory(out, x) for x in rows)


def _by_numpy(batched: BatchedScalars, inputs: Sequence[Points], outputs: list[Points]) -> None:
    batched.by_vector(inputs, outputs)


def _by_python(batched: BatchedScalars, inputs: Sequence[Points], outputs: list[Points]) -> None:
    run_python, run_numpy = batched.by_python
    rows = [x.tolist() for x in inputs]
    for k in range(len(outputs[0])):
        try:
            found = run_python(*[row[k] for row in rows])
        except (ArithmeticError, ValueError):
            found = run_numpy(*[x[k] for x in inputs])
        for array, elements in zip(outputs, found, strict=True):
            array[k] = elements


def _by_numba(batched: BatchedScalars, inputs: Sequence[Points], outputs: list[Points]) -> None:
    """Run compiled code, in several threads where there are many points."""
    run, count = batched.by_numba, len(outputs[0])
    threads = int(count * len(batched.program.ssa.instructions) / _MIN_OPERATIONS_PER_THREAD)
    if threads > 1:
        threads = min(processors(), threads)
    try:
        _in_threads(run, [*inputs, *outputs], count, threads)
    except TypeError:  # rows that all points share, or that are not aligned
        _in_threads(run, [*map(contiguous, inputs), *outputs], count, threads)


def _in_threads(run: Callable[..., None], arrays: list[Points], count: int, threads: int) -> None:
    if threads <= 1:
        run(*arrays)
        return
    bounds = [count * k // threads for k in range(threads + 1)]
    parts = [slice(a, b) for a, b in pairwise(bounds)]
    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(run, *[x[part] for x in arrays]) for part in parts]
        for future in futures:
            future.result()


_BACKENDS: dict[str, Callable[[BatchedScalars, Sequence[Points], list[Points]], None]] = {
    "numpy": _by_numpy,
    "python": _by_python,
    "numba": _by_numba,
}
