"""Writing into traced arrays: a write makes a new value, which the array and its views become.

NumPy's arrays change; recorded values must not, since derivatives are taken of what they were. So
`z[key] = v` records a call of `set_items`, and the traced array z stands for its result from then
on. Views of z are known by how they were made (their path), and follow: a write into a view is a
write into the viewed array. Writes that nothing has read in between are recorded as one call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import ref

import numpy as np

from chainad.errors import TraceError
from chainad.frontends.numpy.made_arrays import settle
from chainad.frontends.numpy.packing import as_one
from chainad.frontends.numpy.tape import Entry, Tape
from chainad.frontends.numpy.traced_calls import Template, call, concrete
from chainad.frontends.numpy.tracers import Tracer, raw
from chainad.ir.graph import freeze, identity
from chainad.ir.positions import coordinates
from chainad.ir.source_lines import here, raw_site
from chainad.rules.base import RULES
from chainad.rules.movement import set_items

# How a view was made: the functions called, with _VIEWED_ARRAY in the place of the viewed array.
ViewPath = tuple[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]], ...]
_VIEWED_ARRAY = object()

_CLASS: Any = vars(object)["__class__"]

_REMOVED = Entry(identity, None, (), (), np.float64(0), ("void",), None)


class ViewedArray:
    """A traced array that has views: `base`, and the views that are alive."""

    def __init__(self, base: Any) -> None:
        self.base = base
        self._views: list[ref[Any]] = []

    def add(self, view: Any) -> None:
        self._views.append(ref(view))

    def views(self) -> list[Any]:
        """Return the views that are still alive."""
        alive = [(each, view) for each in self._views if (view := each()) is not None]
        self._views = [each for each, _ in alive]
        return [view for _, view in alive]


def link(view: Any, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Any) -> bool:
    """Remember how a view was made; return whether the viewed array is known."""
    plain = raw(view)
    found = [
        k
        for k, x in enumerate(args)
        if hasattr(type(x), "link") and np.may_share_memory(raw(x), plain) and x is not view
    ]
    if len(found) != 1:
        return False
    parent = args[found[0]]
    viewed, path = parent.link or (ViewedArray(parent), ())
    parent.link = (viewed, path)
    template = tuple(_VIEWED_ARRAY if k == found[0] else x for k, x in enumerate(args))
    view.link = (viewed, (*path, (function, template, kwargs)))
    viewed.add(view)
    return True


def write(target: Any, key: Any, value: Any) -> None:
    """Do what `target[key] = value` does to a plain array."""
    viewed, path = target.link or (None, ())
    base = target if viewed is None else viewed.base
    _check_writeable(target, base)
    if _is_recorded_mask(target, key) and np.ndim(value) == 0:
        key, value = ..., np.where(key, value, target)  # the same call for every mask
    key, value = static_key(settle(key), base.tape), settle(value)
    if path:
        places = _view_by_path(np.arange(base.size).reshape(base.shape), path)[key]
        key = coordinates(places, base.shape)
    value = as_one(value)
    if not _merge_write(base, key, value):
        result = call(set_items, (base, (key,), [value]), {})
        rebind(base, result)
    if viewed is not None:
        for view in viewed.views():
            rebind(view, _view_by_path(base, view.link[1]))


def _check_writeable(target: Any, base: Any) -> None:
    if target.tape.is_recorder and not target.tape.is_open:
        raise TraceError(
            f"{here()}this writes into a value that was kept while a function was compiled; write"
            " into np.array(x) instead"
        )
    if base.number < base.tape.n_inputs:
        raise TraceError(
            f"{here()}this writes into an argument of the function, or into a view of it; write"
            " into a copy instead: x = x.copy()"
        )
    if target.number in target.tape.shared:
        raise TraceError(
            f"{here()}this writes into a traced array that shares memory with another in a way that"
            " is not followed; write into a copy instead: z = z.copy()"
        )
    plain = raw(target)
    if target.link is not None and isinstance(plain, np.ndarray) and not plain.flags.writeable:
        raise ValueError("assignment destination is read-only")


def _is_recorded_mask(target: Any, key: Any) -> bool:
    """Return whether a key is a recorded mask of the shape of the target."""
    is_recorded = isinstance(key, Tracer) and key.tape.is_recorder
    return is_recorded and key.dtype == bool and key.shape == target.shape


def static_key(key: Any, tape: Tape) -> Any:
    """Return an index without recorded values."""
    if isinstance(key, tuple):
        return tuple([static_key(item, tape) for item in key])
    key = concrete(key)
    if isinstance(key, slice):
        return slice(concrete(key.start), concrete(key.stop), concrete(key.step))
    if isinstance(key, Tracer):
        raise TraceError(
            f"{here()}a traced value cannot be an index; say int(chainad.stop_gradient(x)) if the"
            " plain number is meant"
        )
    if isinstance(key, list):
        return np.array(key) if key else np.zeros(0, np.intp)
    if isinstance(key, np.ndarray):
        return np.array(key) if tape.recorder is None else tape.keep_static(key)
    return key


def _view_by_path(value: Any, path: ViewPath) -> Any:
    """Return the view that a path leads to from an array."""
    for function, args, kwargs in path:
        value = function(*(value if x is _VIEWED_ARRAY else x for x in args), **kwargs)
    return value


def rebind(target: Tracer, result: Tracer) -> None:
    """Let a traced value stand for another one of the same shape."""
    value = result.value
    if type(target) is not type(result):  # a recorded array becomes one that is differentiated
        _CLASS.__set__(target, type(result))
    target.value = np.copy(value) if isinstance(raw(value), np.generic) else value
    target.number, target.tape = result.number, result.tape


def write_whole(target: Any, result: Any) -> None:
    """Do what `target[...] = result` does, for a result of the same shape."""
    is_own = target.link is None and isinstance(result, Tracer) and result.dtype == target.dtype
    if is_own and getattr(result, "link", None) is None:
        _check_writeable(target, target)
        rebind(target, result)
    else:
        write(target, ..., result)


def _merge_write(base: Any, key: Any, value: Any) -> bool:
    """Merge a write with the one before, if nothing has read its result; return whether it did."""
    tape: Tape = base.tape
    if tape.is_recorder:
        return bool(tape.merge_write(base, key, value))  # type: ignore[attr-defined]
    old = tape.entries[base.number]
    if old.function is not set_items or not tape.is_open or base.number in tape.pinned:
        return False
    if any(base.number in entry.sources for entry in tape.entries[base.number + 1 :]):
        return False
    if not _write_in_place(tape, old.value, key, value):
        return False
    assert old.template is not None
    start, keys, values = old.template[0]
    template = Template(tape, RULES[set_items], old.sources, old.operands)
    argument = template.argument(value, True)
    tape.entries[base.number] = _REMOVED
    entry = Entry(
        set_items,
        ((start, (*keys, key), [*values, argument]), {}),
        tuple(template.sources),
        tuple(template.values),
        old.value,
        (*tuple(old.key), freeze(key), argument, template.sources[-1]),
        raw_site(),
    )
    base.number = tape.append(entry)
    return True


def _write_in_place(tape: Tape, into: Any, key: Any, value: Any) -> bool:
    """Write into the array that an earlier write has made; return whether that was possible."""
    if isinstance(value, Tracer) and value.tape is tape:
        value = value.value
    if isinstance(into, Tracer):
        return into.tape.is_recorder and into.tape.merge_write(into, key, value)  # type: ignore[attr-defined]
    if isinstance(value, Tracer):
        return False
    into[key] = value
    return True
