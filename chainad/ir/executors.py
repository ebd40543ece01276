"""Work in parts: one after the other, or as tasks of an executor, as concurrent.futures calls it.

Nothing here knows where a task runs. What is sent with it says what becomes of it where that is
another process: a `Replica` is there already from the second task on, what is `Local` stays behind.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

import numpy as np

from chainad.errors import InputError
from chainad.ir.cache import Cache, cached_property
from chainad.ir.notices import log
from chainad.ir.progress import Meter

T = TypeVar("T")

MAX_REPLICAS = 16

# Tasks that are submitted before they can run: so many per worker wait in the executor's queue.
TASKS_PER_WORKER = 2


@dataclass(frozen=True)
class Task:
    """What is done for a part of the indices: `function(*arguments)`."""

    part: slice
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


def run_tasks(
    executor: Executor | None,
    tasks: Sequence[Task],
    accept: Callable[[slice, Any], None],
    meter: Meter,
    at_once: int | None = None,
) -> None:
    """Run tasks, and pass each part with its result to `accept`, in this thread, as they end.

    Parameters
    ----------
    executor : Executor or None
        Runs them; None: they run here, one after the other.
    tasks : sequence of Task
    accept : callable
    meter : Meter
        What is told of the indices.
    at_once : int, optional
        How many tasks may be submitted whose results were not accepted yet.

    Raises
    ------
    Exception
        What a task or the executor raises, as it is. Its attribute `finished`, a tuple of ranges,
        has the indices of the parts that were accepted; a note says these, too. What was submitted
        is cancelled first, also when Ctrl-C is pressed, and what runs already is waited for.
    """
    finished: list[slice] = []

    def collect(part: slice, result: Any) -> None:
        accept(part, result)
        finished.append(part)

    try:
        if executor is None:
            for task in tasks:
                collect(task.part, task.function(*task.arguments))
                meter.advance(task.part.stop - task.part.start)
        else:
            workers = workers_of(executor)
            with _limited_blas(max(1, processors() // workers)):  # where tasks are threads
                _submit(executor, workers, tasks, collect, meter, at_once)
    except BaseException as error:
        _tell_finished(error, finished, meter.task, tasks[-1].part.stop)
        raise


def _submit(
    executor: Executor,
    workers: int,
    tasks: Sequence[Task],
    collect: Callable[[slice, Any], None],
    meter: Meter,
    at_once: int | None,
) -> None:
    at_once = TASKS_PER_WORKER * workers if at_once is None else at_once
    around = np.geterr(), _Share(workers, len(tasks)), Local(True)
    pending: dict[Future[Any], slice] = {}
    ended: SimpleQueue[Future[Any]] = SimpleQueue()

    def collect_next() -> None:
        future = ended.get()
        part = pending.pop(future)
        collect(part, future.result())
        meter.advance(part.stop - part.start)

    try:
        for task in tasks:
            if len(pending) >= at_once:
                collect_next()
            future = executor.submit(_run, task.function, task.arguments, *around)
            pending[future] = task.part
            future.add_done_callback(ended.put)
        while pending:
            collect_next()
    except BaseException:
        for future in list(pending):
            future.cancel()
        # Tasks of threads write into memory that is the caller's again once this has ended.
        while pending:
            future = ended.get()
            part = pending.pop(future)
            if not future.cancelled() and future.exception() is None:
                with suppress(InputError):  # of a result that does not fit
                    collect(part, future.result())
        raise


def _tell_finished(error: BaseException, finished: Iterable[slice], unit: str, total: int) -> None:
    """Add to an error which indices are finished."""
    merged: list[range] = []
    for part in sorted(finished, key=lambda part: part.start):
        if merged and merged[-1].stop == part.start:
            merged[-1] = range(merged[-1].start, part.stop)
        else:
            merged.append(range(part.start, part.stop))
    ranges = ", ".join(f"{each.start}:{each.stop}" for each in merged)
    where = "; their results are in `out`, if that was given" if merged else ""
    with suppress(AttributeError):  # an error of a class whose objects are frozen
        error.finished = tuple(merged)  # type: ignore[attr-defined]
        error.add_note(f"chainad: of {total} {unit}, {ranges or 'none'} are finished{where}")


# ------------------------------------------------------------------ in a task


@dataclass(frozen=True)
class _Share:
    """What part of the machine, and of the work, is that of a task."""

    workers: int = 1
    tasks: int = 1


class _Current(threading.local):
    """The share of this thread: everything, but in a task."""

    share = _Share()


_current = _Current()


def expected_count(count: int) -> int:
    """Return of how many indices all tasks are, if each is of `count`."""
    return count * _current.share.tasks


def processors() -> int:
    """Return how many processors there are for this thread."""
    return max(1, _processors() // _current.share.workers)


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _run(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    errors: Mapping[str, Any],
    share: _Share,
    here: Local[bool],
) -> Any:
    """Run a task where the executor has it run."""
    before, _current.share = _current.share, share
    try:
        with np.errstate(**errors), nullcontext() if here.value else _limited_blas(processors()):
            return function(*arguments)
    finally:
        _current.share = before


def _limited_blas(threads: int) -> AbstractContextManager[Any]:
    """Leave BLAS so many threads for the time of a context, if threadpoolctl is installed.

    OpenBLAS has one pool for all threads of a process, whose size one of them sets, and resets.
    """
    # To look for the libraries that are loaded takes a millisecond, so they are looked for when
    # something else was imported.
    controller = _controller(len(sys.modules))
    if controller is None:
        log.info(
            "threads of BLAS are not limited without threadpoolctl: pip install"
            " 'chainad[parallel]', or set OPENBLAS_NUM_THREADS=1 (MKL_NUM_THREADS=1)"
        )
        return nullcontext()
    limits: AbstractContextManager[Any] = controller.limit(limits=threads, user_api="blas")
    return limits


@lru_cache(maxsize=1)
def _controller(modules: int) -> Any:
    """Return what limits threads; None without threadpoolctl."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    return ThreadpoolController()


# ------------------------------------------------------- what is sent to tasks


class Local(Generic[T]):
    """What stays in this process: in another one `value` is None."""

    def __init__(self, value: T | None) -> None:
        self.value = value

    def __reduce__(self) -> Any:
        return Local, (None,)


class Replica(Generic[T]):
    """What every process keeps: the first task that brings it makes it there.

    Tasks of the same process have the object itself. Equal ones are recognised by what they are
    pickled to, so that what changed meanwhile is made anew.
    """

    def __init__(self, value: T) -> None:
        self.value = value

    @cached_property
    def _pickled(self) -> tuple[bytes, bytes]:
        pickled = _pickled(self.value)
        return blake2b(pickled, digest_size=16).digest(), pickled

    def __reduce__(self) -> Any:
        return _replica, self._pickled


_replicas: Cache[Replica[Any]] = Cache(MAX_REPLICAS, "functions that other processes sent")


def _replica(key: bytes, pickled: bytes) -> Replica[Any]:
    return _replicas.get(key, lambda: Replica(pickle.loads(pickled)))


def _pickled(value: Any) -> bytes:
    """Pickle by cloudpickle what pickle cannot, or only by a name of the script that is run.

    That is the rule of dask, too.
    """
    failure: Exception | None = None
    try:
        found = pickle.dumps(value)
        if b"__main__" not in found:
            return found
    except Exception as error:  # pickle raises many kinds
        failure = error
    try:
        import cloudpickle
    except ImportError:
        if failure is None:
            return found
        raise InputError(
            f"{value!r} cannot be sent to another process ({failure}): define its function in a"
            " module, install cloudpickle, or use a ThreadPoolExecutor"
        ) from failure
    pickled: bytes = cloudpickle.dumps(value)
    return pickled


# -------------------------------------------------------------- of executors


def checked_executor(executor: Any) -> Executor | None:
    """Return an executor as it is.

    Raises
    ------
    InputError
        If it has no method `submit`, or is a client of dask.
    """
    if hasattr(executor, "get_executor"):
        raise InputError("a client of dask is no executor, but has one: client.get_executor()")
    submit = getattr(executor, "submit", None)
    if executor is None or (callable(submit) and not isinstance(executor, type)):
        return executor
    raise InputError(
        "executor must have the method submit, as concurrent.futures.ThreadPoolExecutor and"
        " ProcessPoolExecutor have, client.get_executor() of dask, and those of loky and"
        f" mpi4py.futures, but got {type(executor).__name__}"
    )


def workers_of(executor: Executor) -> int:
    """Return how many tasks an executor runs at once; as many as processors where it says not."""
    of: Any = executor
    if hasattr(of, "_client"):  # of dask
        threads: list[int] = list(of._client.nthreads().values())
        return max(1, sum(threads))
    for name in ("num_workers", "_max_workers"):  # of mpi4py, of concurrent.futures and loky
        count = getattr(of, name, None)
        if isinstance(count, int) and count > 0:
            return count
    return _processors()
