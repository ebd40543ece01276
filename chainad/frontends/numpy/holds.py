"""Large constants of the user's that stay read-only while a trace needs them as they are.

Local Jacobians read constants after the function has run; one that was overwritten in between
would give wrong entries. To copy a large matrix, or to hash it twice, takes as long as a good part
of the whole call, so its owner is made read-only. That is counted per array, over all traces and
threads, and taken back when the last trace ends.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from chainad.ir.locks import fork_safe_lock

Array: TypeAlias = np.ndarray[Any, Any]


@dataclass(slots=True)
class _Held:
    """A read-only owner of memory, the traces that need it, and views of all of it.

    `restored` are the views, by their id, that become writeable with it; `known` those that were
    read-only before, and stay so.
    """

    owner: Array
    by: set[int] = field(default_factory=set)
    restored: dict[int, Array] = field(default_factory=dict)
    known: dict[int, Array] = field(default_factory=dict)


_lock = fork_safe_lock()
_held: dict[int, _Held] = {}


class Holds:
    """What one trace keeps as it is, until `release`.

    An interrupt may come between any two steps: what is to be given back is noted before it is
    taken, and giving back may be begun anew.
    """

    def __init__(self) -> None:
        self._mine: dict[int, _Held] = {}

    def keep(self, array: Array) -> Array:
        """Return an array with these entries that stays as it is until `release`.

        That is the array itself where its memory belongs to a NumPy array of the same size, else a
        copy: flags of memory that is not NumPy's own (an unpickled array, a memory map) could not
        be given back, and those of a larger array would hinder who writes elsewhere in it.
        """
        owner = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        with _lock:
            held = _held.get(id(owner))
            if held is None and not owner.flags.writeable:
                return array  # nobody overwrites it
            if owner.base is not None or owner.size != array.size:
                return array.copy(order="K")
            if held is None:
                held = _Held(owner)
                if array is not owner and not array.flags.writeable:
                    held.known[id(array)] = array
            if id(owner) not in self._mine:
                self._mine[id(owner)] = _held[id(owner)] = held
                held.by.add(id(self))
                owner.flags.writeable = False
            if array is not owner:
                _hold_view(held, array)
        return array

    def release(self) -> None:
        """Give everything back as it was, unless another trace needs it still."""
        if not self._mine:
            return
        with _lock:
            while self._mine:
                key, held = next(iter(self._mine.items()))
                held.by.discard(id(self))
                if not held.by and _held.get(key) is held:
                    _restore(held)
                    del _held[key]
                del self._mine[key]

    def __del__(self) -> None:
        if self._mine:  # an interrupt came before `release`
            self.release()


def _hold_view(held: _Held, view: Array) -> None:
    if id(view) not in held.restored and id(view) not in held.known:
        # A view that is read-only was made of the owner while that was held, and shares its fate.
        held.restored[id(view)] = view
        view.flags.writeable = False


def _restore(held: _Held) -> None:
    # A view can be made writeable only after the array that owns its memory.
    for array in (held.owner, *held.restored.values()):
        array.flags.writeable = True


def _restore_all() -> None:
    """Give back, in a forked child, what threads of the parent hold: they do not run here."""
    for held in _held.values():
        _restore(held)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restore_all)
