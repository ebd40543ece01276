"""The tape: the values of one traced run, and what is needed to make its call graph."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from operator import itemgetter
from threading import local
from typing import Any, NamedTuple

import numpy as np

from chainad.frontends.numpy.holds import Holds
from chainad.ir.graph import Argument, Graph, Node, Origin, identity, operands_alone
from chainad.ir.source_lines import RawOrigin, RawSite, prefix, raw_site
from chainad.rules.base import name_of

_levels = itertools.count()


# `active.recorder` is that of this thread, if any: a tape made meanwhile runs on its values;
# `active.tape` is that of the function that runs in this thread, if any is traced;
# `active.is_reported` says that somebody is going to read which lines calls are from.
class _Active(local):
    recorder: Any = None
    tape: Any = None
    is_reported: bool = False


active = _Active()


@contextmanager
def reported() -> Iterator[None]:
    """Have the lines noted, in this thread, that derivatives of derivatives are from."""
    before, active.is_reported = active.is_reported, True
    try:
        yield
    finally:
        active.is_reported = before


# Larger constants are locked.
MAX_COPIED_ENTRIES = 4096


class Entry(NamedTuple):
    """One recorded call; its `Node` is built only for a graph that is not in the cache.

    `sources` names the entry of every operand, None for a constant; `operands` holds their values.
    `template` is the call's arguments with an `Argument` for every operand, or None if they are
    its operands one by one. `key` tells all that is not a number.
    """

    # A tuple: one is made at every traced operation, and nothing is made as quickly.

    function: Callable[..., Any]
    template: tuple[tuple[Any, ...], dict[str, Any]] | None
    sources: tuple[int | None, ...]
    operands: tuple[Any, ...]
    value: Any
    key: Hashable
    raw_site: RawSite | None


# What makes an entry of a tuple of its fields.
new_entry = partial(tuple.__new__, Entry)
_function_of, _key_of = itemgetter(0), itemgetter(5)


def _signature(value: Any, source: int | None) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    dtype = getattr(value, "dtype", None)
    if dtype is None:
        return (), np.dtype(type(value)), False
    return value.shape, dtype, source is not None


def argument(number: int, value: Any, is_traced: bool) -> Argument:
    """Return the `Argument` that stands for an operand."""
    dtype = getattr(value, "dtype", None)
    if dtype is None:
        dtype = np.dtype(type(value))
    return Argument(number, np.shape(value), dtype, is_traced)


class Tape:
    """Entries in the order they were computed; the inputs come first.

    Nested traces have tapes of growing `level`; a value of an outer tape is a plain constant on an
    inner one. `box` makes the traced value of an entry. A tape is open while its function runs; a
    traced value that outlives it is refused. `recorder` records the calls on plain arrays, where
    the function is being compiled.
    """

    is_recorder = False
    n_inputs = 0
    # Whether an outer trace differentiates an input.
    is_differentiated = False
    # Whether any value is complex: then some functions have other rows.
    has_complex = False
    # Whether NumPy may have packed a 0-d value into an array of objects.
    has_objects = False
    # Whether the memory of an array that became traced is nan now.
    has_blanked = False
    # Whether the function may write into arrays.
    has_writes = False
    # How many times the function has compared a traced number.
    comparisons = 0

    def __init__(self, box: Callable[..., Any]) -> None:
        self.box = box
        self.recorder: Any = None if self.is_recorder else active.recorder
        self.level = next(_levels)
        self.is_open = True
        # Errors raised because a derivative would be lost, also those that the function caught.
        self.refusals: list[Exception] = []
        # Whether calls may be recorded without looking at their arguments twice.
        self.has_fast_path = not self.is_recorder
        self.entries: list[Entry] = []
        # The lines that derivatives of an inner tape are of, by entry: they are made elsewhere.
        self.sites: dict[int, RawSite | None] = {}
        # Entries whose values show the memory of another value in a way that is not followed.
        self.shared: set[int] = set()
        # Entries that are read from elsewhere than this tape.
        self.pinned: set[int] = set()
        self._holds = Holds()

    def close(self) -> None:
        """Take no more calls; give held arrays back."""
        self.is_open = self.has_fast_path = False
        self._holds.release()

    def append(self, entry: Entry) -> int:
        """Append the record of one call; return its number."""
        number = len(self.entries)
        self.entries.append(entry)
        return number

    def append_input(self, value: Any) -> int:
        """Append an input."""
        key = "input", value.shape, value.dtype
        self.n_inputs += 1
        return self.append(new_entry((identity, None, (), (), value, key, None)))

    def keep(self, constant: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return a constant in a form that stays as it is until the derivatives are evaluated.

        Small arrays are copied, which costs no more than to hold them, and lets buffers be reused;
        of large ones see `Holds`.
        """
        if self.recorder is not None:
            kept: np.ndarray[Any, Any] = self.recorder.constant(constant)
            return kept
        if constant.size <= MAX_COPIED_ENTRIES:
            return constant.copy("K")
        return self._holds.keep(constant)

    def keep_static(self, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return an array that shapes the structure, such as an index, as a plain array."""
        if self.recorder is not None:
            kept: np.ndarray[Any, Any] = self.recorder.static(array)
            return kept
        return self.keep(array)

    @property
    def functions(self) -> Iterator[Callable[..., Any]]:
        """The function of every entry."""
        return map(_function_of, self.entries)

    def forget(self) -> None:
        """Release all values, once the local Jacobians are evaluated."""
        self.entries.clear()

    def key(self, outputs: Sequence[int | None]) -> Hashable:
        """Return what is equal for two runs exactly if they call the same on the same types.

        `outputs` are the entries of the results.
        """
        return tuple(map(_key_of, self.entries)), tuple(outputs)

    def graph(self, outputs: tuple[int | None, ...], shapes: Iterable[tuple[int, ...]]) -> Graph:
        """Return the recorded graph, for outputs given by their entries (or None) and shapes."""
        return Graph(
            tuple(self.node(entry) for entry in self.entries),
            self.n_inputs,
            outputs,
            tuple(shapes),
        )

    def node(self, entry: Entry) -> Node:
        """Return the node of an entry."""
        function, template, sources, operands, value, *_ = entry
        if template is not None:
            return Node(function, *template, sources, value.shape, value.dtype)
        args = operands_alone(*map(_signature, operands, sources))
        return Node(function, args, {}, sources, value.shape, value.dtype, True)

    def where(self, number: int) -> str:
        """Return the user's file and line of an entry, as the beginning of a message."""
        return prefix(self._own_site(number))

    def _own_site(self, number: int) -> RawSite | None:
        return self.sites.get(number, self.entries[number].raw_site)

    def raw_site(self, number: int) -> RawSite | None:
        """Return the place in the user's code that an entry is from; None if it is from no line.

        What is called after the function has returned is from the line of its last operand that is
        from one: that which runs meanwhile is of whoever called it.
        """
        running, operands = raw_site(), [number]
        seen = {number}
        while operands:
            last = operands.pop()
            found = self._own_site(last)
            if found is not None and found != running:
                return found
            new = [k for k in self.entries[last].sources if k is not None and k not in seen]
            seen.update(new)
            operands += new
        return None

    def origin(self, number: int) -> Origin:
        """Return what an entry is called, and the user's line."""
        return self.raw_origin(number).origin()

    def raw_origin(self, number: int) -> RawOrigin:
        """Return what an entry is called, and its place in the user's code."""
        entry, raw = self.entries[number], self.raw_site(number)
        return RawOrigin(name_of(entry.function), raw, raw is not entry.raw_site)
