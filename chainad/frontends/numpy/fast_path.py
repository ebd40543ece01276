"""Calls of one or two operands that are values of one tape, or real constants, recorded at once.

Most calls are of this kind, and every microsecond here is paid at each of them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from chainad.frontends.numpy.made_arrays import MadeArray, current
from chainad.frontends.numpy.tape import Tape, new_entry
from chainad.frontends.numpy.tracers import Tracer
from chainad.ir.graph import operands_alone
from chainad.ir.operators import ARITHMETIC
from chainad.ir.source_lines import raw_site
from chainad.rules.movement import getitem

# On NumPy's scalars Python's operators are quicker.
_OPERATORS: dict[Callable[..., Any], Callable[..., Any]] = {
    ufunc: getattr(operator, name) for name, ufunc in ARITHMETIC.items()
}


def recorded_unary(function: Callable[..., Any], a: Tracer, depth: int = 3) -> Any:
    """Record a call of one operand, of a function whose row is plain; None if it is another one.

    So many innermost frames, here and in the others, are known to be of chainad.
    """
    tape, x = a.tape, a.value
    if not tape.has_fast_path:
        return None
    value = function(x)
    if value.dtype.kind != "f":
        return None
    entries = tape.entries
    number = len(entries)
    source = a.number
    key = function, source
    entries.append(new_entry((function, None, (source,), (x,), value, key, raw_site(depth))))
    made: Any = None if type(function) is np.ufunc else (function, (a,), {})
    return tape.box(value, tape, number, made)


def recorded_binary(function: Callable[..., Any], a: Any, b: Any, depth: int = 3) -> Any:
    """Record a call of two operands, of a function whose row is plain; None if it is another one.

    One of them may be a real constant.
    """
    if isinstance(a, Tracer):
        tape, x = a.tape, a.value
        first = one = a.number
        if not tape.has_fast_path:
            return None
        if isinstance(b, Tracer):
            if b.tape is not tape:
                return None
            y = b.value
            second = other = b.number
        else:
            second, (y, other) = None, _constant(tape, function, b)
    elif isinstance(b, Tracer) and b.tape.has_fast_path:
        tape, y = b.tape, b.value
        second = other = b.number
        first, (x, one) = None, _constant(tape, function, a)
    else:
        return None
    if one is None or other is None:
        return None
    value = _OPERATORS.get(function, function)(x, y)
    if value.dtype.kind != "f":
        return None
    entries = tape.entries
    number = len(entries)
    key = function, one, other
    entries.append(
        new_entry((function, None, (first, second), (x, y), value, key, raw_site(depth)))
    )
    made: Any = None if type(function) is np.ufunc else (function, (a, b), {})
    return tape.box(value, tape, number, made)


def recorded_item(a: Tracer, key: Any) -> Any:
    """Record `a[key]` where the key is of integers and slices alone; None if it is another one."""
    tape, x = a.tape, a.value
    frozen = key if type(key) is int else _frozen(key)
    if frozen is NotImplemented or not tape.has_fast_path:
        return None
    value = x[key]
    entries = tape.entries
    number = len(entries)
    template: Any = (*operands_alone((x.shape, x.dtype, True)), key), {}
    source = a.number
    call = getitem, source, frozen
    entries.append(new_entry((getitem, template, (source,), (x,), value, call, raw_site(3))))
    return tape.box(value, tape, number, (getitem, (a, key), {}))


def _frozen(key: Any) -> Any:
    """Return a hashable stand-in for an index; NotImplemented if it is more than integers."""
    kind = type(key)
    if kind is int or key is None or key is ...:
        return key
    if kind is tuple:
        found = tuple(map(_frozen, key))
        return NotImplemented if NotImplemented in found else found
    if kind is slice:
        ends = key.start, key.stop, key.step
        if {*map(type, ends)} <= _ENDS:
            return slice, ends
    return NotImplemented


_ENDS = {int, type(None)}


def _constant(tape: Tape, function: Callable[..., Any], x: Any) -> tuple[Any, Any]:
    """Return a real constant as it is kept, and what it is in a key (None: no fast path)."""
    kind = type(x)
    if kind is MadeArray:
        x = current(x)
        kind = type(x)
    if kind is float or kind is np.float64:
        return x, kind
    if kind is int and function in _OPERATORS:  # others, such as np.ldexp, ask for integers
        return float(x), float
    if kind is np.ndarray and x.dtype.kind == "f":
        return tape.keep(x), (x.shape, x.dtype.char)
    return None, None
