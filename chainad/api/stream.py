"""Jacobians larger than memory, written block by block into what lies on a disk: stream."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any, TypeVar

import numpy as np

from chainad.api.blocks import BlockedRun, blocked_run
from chainad.api.function_of import check_callable
from chainad.api.options import checked_options
from chainad.api.outputs import map_of, nested_in, reserve
from chainad.api.stream_record import StreamRecord
from chainad.errors import InputError
from chainad.frontends.numpy.tape_digest import (
    DIGEST_BYTES,
    digest_of_arguments,
    digest_of_array,
    digest_of_calls,
)
from chainad.frontends.numpy.trace import Key
from chainad.frontends.numpy.traced_results import described
from chainad.ir.progress import ProgressOption
from chainad.ir.signature import Block
from chainad.ir.version import VERSION
from chainad.planning.auto import Mode
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.cost_models import CostModel, CostName

Into = TypeVar("Into")


def stream(
    f: Callable[..., Any],
    *args: Any,
    into: Into,
    argnums: Key | Sequence[Key] = 0,
    chunk_size: int | None = None,
    memory_limit: int | str | None = None,
    record: str | os.PathLike[str] | None = None,
    mode: Mode | ChunkedPlan = "auto",
    cost: CostName | CostModel = "multiplications",
    progress: ProgressOption = False,
    **kwargs: Any,
) -> Into:
    """Write the Jacobian of `f` block by block, so that it may be larger than memory.

    Parameters
    ----------
    f : callable
        As for `jacobian`.
    *args, **kwargs
        The arguments of `f`.
    into : array-like on a disk, or container of these
        What takes the Jacobian, nested as that is: an `np.memmap`, a dataset of h5py, an array of
        zarr, or whatever has the `shape` and `dtype` of the Jacobian and takes `into[index] =
        block`, where an index is a tuple of slices.
    argnums : int, str, or sequence of these
        The arguments to differentiate by, as for `jacobian`.
    chunk_size : int, optional
        How many indices of the longest axis a block has; by default as many as keep within
        `memory_limit`, and 256 MiB of results at most.
    memory_limit : int or str, optional
        Bytes, or text such as "2 GB": all local Jacobians, the products alive at one time, and one
        block; not the result. By default half of the memory of this machine, or of what control
        groups and `ulimit -v` leave of it.
    record : path, optional
        The file that tells which blocks are in their place; by default, for an `np.memmap`, the
        name of its file with ".record" behind it, else there is none. It exists while the Jacobian
        is not whole: the same call goes on where another process was killed.
    mode, cost
        As for `jacobian`; a mode is a name, a function or a `ChunkedPlan`. Blocks are of rows,
        which lie in line on a disk, unless all blocks of columns together cost much less.
    progress : bool or callable
        As for `jacobian`: the task is "blocks".

    Returns
    -------
    into
        With the Jacobian in it.

    Raises
    ------
    InputError
        If `into` does not fit, cannot be written, or holds what `f` reads; if there is a record of
        another function, other arguments, another plan or another version of chainad; or if what
        is recorded as finished is not what was written.
    OSError
        If the disk is full. What is finished stays recorded.
    TooLargeError
        If no block keeps within the limit.
    PlanError, TraceError
        As for `jacobian`.

    Notes
    -----
    A block is flushed before it is recorded, with a digest of its entries, by which it is known
    again in `into`: a file that was opened anew and emptied is refused. The room of an `np.memmap`
    is reserved on the disk before the first block.

    What blocks have in common is multiplied for each of them anew; `chainad.blocks` yields them
    without writing.

    Examples
    --------
    >>> import numpy as np
    >>> import tempfile
    >>> import chainad
    >>> W = np.random.default_rng(0).normal(size=(300, 300))
    >>> def f(x):
    ...     return np.tanh(W @ np.sin(x))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     name = f"{folder}/jacobian.npy"
    ...     J = np.lib.format.open_memmap(name, "w+", shape=(300, 300))
    ...     J = chainad.stream(f, np.ones(300), into=J, chunk_size=100)
    ...     bool(np.allclose(J, chainad.jacobian(f)(np.ones(300))))
    True
    """
    check_callable(f)
    options = checked_options(
        argnums, mode=mode, cost=cost, memory_limit=memory_limit, progress=progress,
        chunk_size=chunk_size,
    )  # fmt: skip
    with blocked_run(f, options, args, kwargs) as blocked:
        targets = nested_in("into", into, blocked.nest)
        read = blocked.values_read()
        for target, block in zip(targets, blocked.run.signature.blocks, strict=True):
            _check(target, block, read)
            reserve(target)
        records = _record(blocked, targets, record)
        finished = {} if records is None else records.finished
        try:
            for number in blocked.told(progress, [*finished]):
                written = blocked.block(number)
                for result, index, array in written:
                    targets[result][index] = array
                for result in {part.result for part in written}:
                    _flush(targets[result])
                if records is not None:
                    records.add(number, _digest([array for _, _, array in written]))
        except BaseException as error:
            error.add_note(_state(blocked, records))
            raise
        if records is not None:
            records.remove()
    return into


def _state(blocked: BlockedRun, record: StreamRecord | None) -> str:
    """Return how far a stream has come, for an error."""
    if record is None:
        return "`into` holds a part of the Jacobian, and there is no record of which"
    return (
        f"{len(record.finished)} of {len(blocked.plan.chunks)} blocks are in `into`, recorded in"
        f" {record.path}: the same call goes on from there"
    )


def _record(
    blocked: BlockedRun, targets: Sequence[Any], path: str | os.PathLike[str] | None
) -> StreamRecord | None:
    """Return the record, begun or checked; None if there is none."""
    if path is None:
        mapped = map_of(targets[0]) if targets else None
        path = None if mapped is None else f"{mapped.filename}.record"
    if path is None:
        return None
    for target in targets:
        if not hasattr(target, "__getitem__"):
            raise InputError(
                "record= needs targets that can be read, to tell what is finished, but"
                f" {described(target)} cannot; leave it out"
            )
    tape, plan, blocks = blocked.run.tape, blocked.plan, blocked.run.signature.blocks
    record = StreamRecord(
        path,
        version=VERSION,
        function=digest_of_calls(tape),
        arguments=digest_of_arguments(tape),
        results=[[[*b.rows], [*b.cols], b.dtype.str] for b in blocks],
        blocks=len(plan.chunks),
        plan=_digest_of_plan(plan),
    )
    record.check(
        lambda number: _digest(
            [np.asarray(targets[result][index]) for result, index in blocked.places(number)]
        )
    )
    return record


def _digest(arrays: Sequence[Any]) -> str:
    return " ".join(map(digest_of_array, arrays))


def _digest_of_plan(plan: ChunkedPlan) -> str:
    text = replace(plan, limit=1, requested="", title="").to_json()
    return blake2b(text.encode(), digest_size=DIGEST_BYTES).hexdigest()


def _check(target: Any, block: Block, read: Sequence[Any]) -> None:
    """Refuse what cannot take a Jacobian."""
    if not hasattr(target, "__setitem__") or not hasattr(target, "dtype"):
        raise InputError(
            "into must be an np.memmap, a dataset of h5py or zarr, or what has a shape, a dtype and"
            f" takes into[index] = block, but got {described(target)}"
        )
    shape, dtype = (*block.rows, *block.cols), block.dtype
    if tuple(target.shape) != shape or target.dtype != dtype:
        raise InputError(
            f"into must be of {dtype} {shape}, as the Jacobian is, but got {target.dtype}"
            f" {tuple(target.shape)}"
        )
    if isinstance(target, np.ndarray):
        if not target.flags.writeable:
            raise InputError("into must be writeable, but got a read-only array; open it with 'r+'")
        if any(np.may_share_memory(target, x) for x in read if isinstance(x, np.ndarray)):
            raise InputError("into holds what the function reads; write into another array")
    mapped = map_of(target)
    if mapped is not None and mapped.mode == "c":
        raise InputError("into is a copy-on-write map, which reaches no disk; open it with 'r+'")
    if getattr(getattr(target, "file", None), "mode", "") == "r":
        raise InputError("into is in a file that is open for reading; open it with 'r+'")


def _flush(target: Any) -> None:
    """Bring to the disk what was written, where a target holds some of it back."""
    mapped, file = map_of(target), getattr(target, "file", None)
    holders = [holder for holder in (mapped, file, target) if holder is not None]
    flush = getattr(holders[0], "flush", None)
    if flush is not None:
        flush()
