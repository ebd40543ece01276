"""Arguments of a compiled function: which of them flow as data, and what must stay the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np


@dataclass(frozen=True, slots=True)
class Array:
    """An array that flows as data: recorded value `number`, of this dtype, shape and layout."""

    number: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    is_c: bool
    is_f: bool


@dataclass(frozen=True, slots=True)
class Number:
    """A NumPy scalar that flows as data."""

    number: int
    kind: type


@dataclass(frozen=True, slots=True)
class Same:
    """Anything else: numbers, texts and None must be equal, other objects the same ones."""

    value: Any


@dataclass(frozen=True, slots=True)
class Several:
    """A list, tuple or dictionary of arguments, by key."""

    kind: type
    items: tuple[tuple[Any, Argument], ...]


Argument: TypeAlias = Array | Number | Same | Several

_EQUAL = (bool, int, float, complex, str, bytes, type(None))


def take_apart(value: Any, flow: Callable[[Any], tuple[int, Any]]) -> tuple[Argument, Any]:
    """Return what an argument is, and what stands for it while a function is recorded.

    `flow` gives number and recorded value of a leaf that flows as data.
    """
    if type(value) is np.ndarray and value.dtype.kind in "fiubc":
        number, recorded = flow(value)
        flags = value.flags
        layout = flags.c_contiguous, flags.f_contiguous
        return Array(number, value.dtype, value.shape, *layout), recorded
    if isinstance(value, np.generic) and value.dtype.kind in "fiubc":
        number, recorded = flow(value)
        return Number(number, type(value)), recorded
    if type(value) in (list, tuple) or hasattr(value, "_fields"):  # a named tuple
        pairs = [take_apart(item, flow) for item in value]
        items = tuple((k, argument) for k, (argument, _) in enumerate(pairs))
        inside = [each for _, each in pairs]
        kind = type(value)
        return Several(kind, items), kind(*inside) if hasattr(kind, "_fields") else kind(inside)
    if type(value) is dict:
        named = {k: take_apart(item, flow) for k, item in value.items()}
        items = tuple((k, argument) for k, (argument, _) in named.items())
        return Several(dict, items), {k: each for k, (_, each) in named.items()}
    return Same(value), value


def arrays_of(arguments: Iterable[Argument]) -> dict[int, Array]:
    """Return the arrays that flow as data, by number."""
    found: dict[int, Array] = {}
    for argument in arguments:
        if isinstance(argument, Array):
            found[argument.number] = argument
        elif isinstance(argument, Several):
            found |= arrays_of(item for _, item in argument.items)
    return found


def checks(
    positional: Several, named: Several, constant: Callable[[Any], str], is_brief: bool = False
) -> list[str]:
    """Return lines that take the arguments of a call apart, the tuple `args` and the dict `kwargs`.

    They give up where these are not what was recorded. `constant` gives the name of an object. A
    leaf that flows as data is named v and its number. With `is_brief`, what arrays are given to
    refuses other dtypes and layouts: those of row-major arrays are not looked at.
    """
    lines = [f"if len(args) != {len(positional.items)}:", "    return MISS"]
    for k, item in positional.items:
        lines += _checks(item, f"args[{k}]", constant, is_brief)
    if named.items:
        return [*lines, *_checks(named, "kwargs", constant, is_brief)]
    return [*lines, "if kwargs:", "    return MISS"]


def _checks(
    argument: Argument, name: str, constant: Callable[[Any], str], is_brief: bool
) -> list[str]:
    if isinstance(argument, Several):
        kind = constant(argument.kind)
        lines = [f"if {name}.__class__ is not {kind} or len({name}) != {len(argument.items)}:"]
        lines.append("    return MISS")
        for key, item in argument.items:
            spelled = repr(key) if type(key) in (int, str) else constant(key)
            if argument.kind is dict:
                lines += [f"if {spelled} not in {name}:", "    return MISS"]
            lines += _checks(item, f"{name}[{spelled}]", constant, is_brief)
        return lines
    if isinstance(argument, Same):
        return [f"if {_differs(argument.value, name, constant)}:", "    return MISS"]
    own = f"v{argument.number}"
    if isinstance(argument, Number):
        kind = constant(argument.kind)
        return [f"{own} = {name}", f"if {own}.__class__ is not {kind}:", "    return MISS"]
    tests = [f"{own}.__class__ is not ndarray", f"{own}.shape != {argument.shape}"]
    if not (is_brief and argument.is_c and argument.shape):
        dtype = constant(argument.dtype)
        tests.append(f"({own}.dtype is not {dtype} and {own}.dtype != {dtype})")
        tests += _layout(argument, own)
    return [f"{own} = {name}", f"if {' or '.join(tests)}:", "    return MISS"]


def _layout(argument: Array, own: str) -> list[str]:
    """Return tests of how an array lies in memory, which decides what is a view."""
    if len(argument.shape) == 0:
        return []
    if argument.is_c:
        return [f"not {own}.flags.c_contiguous"]
    if argument.is_f:
        return [f"not {own}.flags.f_contiguous"]
    return [f"{own}.flags.c_contiguous", f"{own}.flags.f_contiguous"]


def _differs(value: Any, name: str, constant: Callable[[Any], str]) -> str:
    if value is None or type(value) is bool:
        return f"{name} is not {value!r}"
    if type(value) in (float, complex):  # nan is nan, and 0.0 is not -0.0
        kind = type(value).__name__
        return f"{name}.__class__ is not {kind} or repr({name}) != {repr(value)!r}"
    if type(value) in _EQUAL:
        return f"{name}.__class__ is not {type(value).__name__} or {name} != {value!r}"
    return f"{name} is not {constant(value)}"
