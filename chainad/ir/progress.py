"""Progress of what takes long: told to a function of the user, or shown by tqdm."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from typing import Any, Self, TypeAlias

from chainad.errors import InputError
from chainad.ir.notices import log

REPORTS_PER_TASK = 200

# A bar is shown of what takes longer.
SECONDS_BEFORE_BAR = 0.5


@dataclass(frozen=True)
class Progress:
    """How far a task is, as `progress=` is told.

    Attributes
    ----------
    task : str
        "search" (for a cheap elimination order), "points" (of a batch), or "blocks" (of a Jacobian
        that is accumulated in blocks). One plan may take several searches.
    done, total : float
        In points, blocks, or eliminations that are tried (seconds, if `effort` is in seconds).
        `done` never falls; what turns out not to be needed is skipped. In the last report of a task
        that was not ended by an error, they are equal.
    best : int, optional
        The cost of the cheapest order so far.
    """

    task: str
    done: float
    total: float
    best: int | None = None


ProgressOption: TypeAlias = bool | Callable[[Progress], object]


def checked_progress(progress: ProgressOption) -> ProgressOption:
    """Return what tells progress as it is.

    Raises
    ------
    InputError
        If it is neither a bool nor a function.
    """
    if isinstance(progress, bool) or callable(progress):
        return progress
    raise InputError(
        "progress must be True (a bar, where tqdm is installed and stderr is a terminal), False, or"
        f" a function of a Progress, but got {progress!r}"
    )


class Meter:
    """Counts what a task has done, and tells it.

    Attributes
    ----------
    task : str
        What is done, as in `Progress`.
    done, total : float
    """

    def __init__(
        self,
        progress: ProgressOption,
        task: str,
        total: float,
        best: Callable[[], int | None] = lambda: None,
    ) -> None:
        self.done, self.total = 0.0, total
        self.task, self._best = task, best
        self._bar = _bar(task, total) if progress is True else None
        self._function = self._show if self._bar is not None else progress
        self._end = total  # of the part that is under way
        self._next = 0.0  # nothing is told before

    @property
    def is_told(self) -> bool:
        """Whether anybody is told."""
        return callable(self._function)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None or kind is GeneratorExit:  # of a search, of which no more is wanted
                self.finish()
        finally:
            if self._bar is not None:
                self._bar.close()

    def finish(self) -> None:
        """Tell that nothing is left to do."""
        self._end = self.total
        self._move(self.total)

    @contextmanager
    def part(self, amount: float) -> Iterator[None]:
        """Count a part of the task: no more than its amount, and all of that at its end."""
        self._end = end = min(self.done + amount, self.total)
        yield
        self._move(end)
        self._end = self.total

    def advance(self, amount: float) -> None:
        """Count some more; an exception of the user's function is raised as it is.

        Raises
        ------
        KeyboardInterrupt
            If that raises StopIteration.
        """
        if self.is_told:
            self._move(self.done + amount)

    def extend(self, amount: float) -> None:
        """Note that there is more to do."""
        self.total = self._end = self.total + amount
        self._next = min(self._next, self.total)

    def _move(self, done: float) -> None:
        self.done = max(self.done, min(done, self._end))
        if self.done < self._next:
            return
        self._next = min(self.done + self.total / REPORTS_PER_TASK, self.total)
        if self.done >= self.total:
            self._next = inf  # all is told
        function = self._function
        if callable(function):
            try:
                function(Progress(self.task, self.done, self.total, self._best()))
            except StopIteration:
                self._function = False  # it has had enough
                raise KeyboardInterrupt from None

    def _show(self, progress: Progress) -> None:
        bar: Any = self._bar
        bar.total = progress.total
        if progress.best is not None:
            bar.set_postfix_str(f"cost {progress.best:,}; Ctrl-C takes this", refresh=False)
        bar.update(progress.done - bar.n)


# For what is not worth telling.
UNTOLD = Meter(False, "", 0)


def is_from_progress(error: BaseException) -> bool:
    """Return whether the function that is told of progress has raised an error."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code is Meter._move.__code__:
            return True
        trace = trace.tb_next
    return False


def _bar(task: str, total: float) -> Any:
    """Return a bar of tqdm; None where it is not installed, or nobody would see it."""
    if not sys.stderr.isatty():
        return None
    try:
        from tqdm import tqdm
    except ImportError:
        log.info("progress=True shows nothing without tqdm: pip install 'chainad[progress]'")
        return None
    return tqdm(
        total=total,
        desc=f"chainad: {task}",
        delay=SECONDS_BEFORE_BAR,
        leave=False,
        bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}{postfix}",
    )
