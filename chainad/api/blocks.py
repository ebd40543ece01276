"""Jacobians block by block, of which no more than one is there at a time: blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from chainad.api.differentiator import Differentiator
from chainad.api.function_of import check_callable, name_of
from chainad.api.jacobian_program import blocked_program
from chainad.api.options import Options, checked_options
from chainad.api.outputs import nesting
from chainad.api.targets import NUMPY
from chainad.api.traced_run import masked_blocks, values_on
from chainad.compiler.chunked_programs import ChunkedPrograms, Part, exact
from chainad.compiler.linearize import evaluate, linear_graph
from chainad.errors import InputError
from chainad.frontends.numpy.trace import Key, Run
from chainad.frontends.numpy.tracers import Tracer
from chainad.ir.progress import Meter, ProgressOption
from chainad.ir.trees import LEAF, Tree
from chainad.planning.auto import Mode
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.cost_models import CostModel, CostName

Index = tuple[slice, ...]


def blocks(
    f: Callable[..., Any],
    *args: Any,
    argnums: Key | Sequence[Key] = 0,
    chunk_size: int | None = None,
    memory_limit: int | str | None = None,
    mode: Mode | ChunkedPlan = "auto",
    cost: CostName | CostModel = "multiplications",
    progress: ProgressOption = False,
    **kwargs: Any,
) -> Iterator[tuple[Index, npt.NDArray[Any]]]:
    """Yield the Jacobian of `f` block by block, to be reduced, sent or stored; never all of it.

    Parameters
    ----------
    f : callable
        As for `jacobian`; it has one output.
    *args, **kwargs
        The arguments of `f`.
    argnums : int or str
        The argument to differentiate by, one array.
    chunk_size, memory_limit, mode, cost, progress
        As for `stream`.

    Yields
    ------
    index, block
        `J[index]` of the Jacobian J of shape `f(x).shape + x.shape`, an array of your own: some
        rows, or, if that costs much less, some columns. The blocks together are all of J, in order.

    Raises
    ------
    InputError
        If the Jacobian is more than one array, or to be differentiated again.
    PlanError, TraceError, TooLargeError
        As for `stream`.

    Notes
    -----
    `f` runs when the first block is asked for. What it reads is read-only until the last block is
    made, or the iterator is closed.

    Examples
    --------
    The norms of the rows of a Jacobian that is never there:

    >>> import numpy as np
    >>> import chainad
    >>> total = np.zeros(3)
    >>> for index, block in chainad.blocks(np.diff, np.arange(4.0), chunk_size=2):
    ...     total[index[0]] += np.sum(block**2, axis=1)
    >>> total
    array([2., 2., 2.])
    """
    check_callable(f)
    options = checked_options(
        argnums, mode=mode, cost=cost, memory_limit=memory_limit, progress=progress,
        chunk_size=chunk_size,
    )  # fmt: skip
    return _blocks(f, options, args, kwargs)


def _blocks(
    f: Callable[..., Any],
    options: Options,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Iterator[tuple[Index, npt.NDArray[Any]]]:
    with blocked_run(f, options, args, kwargs) as blocked:
        if blocked.nest is not LEAF:
            raise InputError(
                f"the Jacobian of {name_of(f)} is {blocked.nest.num_leaves} arrays, but blocks are"
                " of one; join inputs and outputs by chainad.ravel, or write all of them by"
                " chainad.stream"
            )
        for number in blocked.told(options.progress):
            for _, index, block in blocked.block(number):
                yield index, block


class DenseBlock(NamedTuple):
    """A block of one result: `array` is what that has at the index `key`."""

    result: int
    key: Index
    array: npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class BlockedRun:
    """A traced run whose Jacobian is made block by block, from `slots`.

    `nest` is how the results are arranged in the Jacobian.
    """

    run: Run
    programs: ChunkedPrograms
    slots: list[Any]
    masked: Callable[[int], Any] | None
    nest: Tree

    @property
    def plan(self) -> ChunkedPlan:
        """The plan of all blocks."""
        return self.programs.plan

    def told(self, progress: ProgressOption, done: Sequence[int] = ()) -> Iterator[int]:
        """Yield the numbers of the blocks that are not `done`, and tell how far that is."""
        with Meter(progress, "blocks", len(self.plan.chunks)) as meter:
            meter.advance(len(done))
            for number in sorted({*range(len(self.plan.chunks))} - {*done}):
                yield number
                meter.advance(1)

    def block(self, number: int) -> list[DenseBlock]:
        """Return what one block has of every result that it is of."""
        with np.errstate(all="ignore"):  # the function itself has warned already
            parts = [*exact(self.programs.block(number, self.slots), number, self.masked)]
        return [DenseBlock(part.result, part.key, self._dense(part)) for part in parts]

    def places(self, number: int) -> list[tuple[int, Index]]:
        """Return which results a block is of, and where it lies in them."""
        return [(part.result, part.key) for part in self.programs.places(number)]

    def values_read(self) -> list[Any]:
        """Return what the blocks are made of: nothing may be written there meanwhile."""
        return [*self.slots, *values_on(self.run.tape)]

    def _dense(self, part: Part) -> npt.NDArray[Any]:
        rows, cols, dtype = self.run.signature.blocks[part.result]
        if part.array is not None:
            return np.asarray(part.array, dtype, order="C")
        shape = [*rows, *cols]
        if part.axis is not None and part.where is not None:
            shape[part.axis] = len(part.where)
        return np.zeros(shape, dtype)


@contextmanager
def blocked_run(
    f: Callable[..., Any],
    options: Options,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Iterator[BlockedRun]:
    """Trace a call, plan its Jacobian in blocks, and lend what makes them."""
    of = Differentiator(f, options, has_value=False)
    with of.tracing(args, kwargs) as run:
        if any(isinstance(run.input(k), Tracer) for k in range(run.tape.n_inputs)):
            raise InputError(
                "a Jacobian in blocks cannot be differentiated again; use chainad.jacobian for the"
                " inner one"
            )
        linearized = linear_graph(run.graph(), where=run.tape.where)
        program = blocked_program(run.signature, options, NUMPY, linearized)
        assert isinstance(program.run, ChunkedPrograms)
        with np.errstate(all="ignore"):
            slots = evaluate(run.tape, program.recipes)
        exactly = None if program.masked is None else masked_blocks(run, program.masked, slots)
        tree = nesting(run.result, run.arguments, options.is_single)
        yield BlockedRun(run, program.run, slots, exactly, tree)
