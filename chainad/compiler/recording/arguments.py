"""The arguments of a compiled function: which ones are data, and which must stay the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from reprlib import repr as short_repr
from typing import Any, TypeAlias

import numpy as np

from chainad.ir import trees


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """An array that is data: the recorded value `number`, of this dtype, shape and layout."""

    number: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    is_c_contiguous: bool
    is_f_contiguous: bool


@dataclass(frozen=True, slots=True)
class ScalarSpec:
    """A scalar of NumPy's, or a float, that is data: the recorded value `number`."""

    number: int
    kind: type


@dataclass(frozen=True, slots=True)
class FixedSpec:
    """Anything else: numbers, strings and None must be equal, other objects identical."""

    value: Any


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """A list, tuple or dictionary of arguments, by key.

    Other containers are known by their `metadata` and their parts, as optree takes them apart.
    """

    kind: type
    items: tuple[tuple[Any, ArgumentSpec], ...]
    metadata: Any = None


ArgumentSpec: TypeAlias = ArraySpec | ScalarSpec | FixedSpec | ContainerSpec

_COMPARED_BY_VALUE = (bool, int, float, complex, str, bytes, type(None))


def record_argument(
    value: Any, record_leaf: Callable[[Any], tuple[int, Any]]
) -> tuple[ArgumentSpec, Any]:
    """Return the spec of an argument, and what replaces it while a function is recorded.

    `record_leaf` gives number and recorded value of a leaf that is data.
    """
    if type(value) is np.ndarray and value.dtype.kind in "fiubc":
        number, recorded = record_leaf(value)
        flags = value.flags
        layout = flags.c_contiguous, flags.f_contiguous
        return ArraySpec(number, value.dtype, value.shape, *layout), recorded
    if type(value) is float:
        # As a float64: it neither raises nor changes type where NumPy's scalars do not.
        number, recorded = record_leaf(np.float64(value))
        return ScalarSpec(number, float), recorded
    if isinstance(value, np.generic) and value.dtype.kind in "fiubc":
        number, recorded = record_leaf(value)
        return ScalarSpec(number, type(value)), recorded
    if type(value) in (list, tuple) or hasattr(value, "_fields"):  # a named tuple
        pairs = [record_argument(item, record_leaf) for item in value]
        items = tuple((k, argument) for k, (argument, _) in enumerate(pairs))
        inside = [each for _, each in pairs]
        kind = type(value)
        rebuilt = kind(*inside) if hasattr(kind, "_fields") else kind(inside)
        return ContainerSpec(kind, items), rebuilt
    if type(value) is dict:
        named = {k: record_argument(item, record_leaf) for k, item in value.items()}
        items = tuple((k, argument) for k, (argument, _) in named.items())
        return ContainerSpec(dict, items), {k: each for k, (_, each) in named.items()}
    if trees.is_container(value):
        parts, metadata, rebuild = trees.taken_apart(value)
        pairs = [record_argument(item, record_leaf) for item in parts]
        items = tuple((k, argument) for k, (argument, _) in enumerate(pairs))
        return ContainerSpec(type(value), items, metadata), rebuild([each for _, each in pairs])
    return FixedSpec(value), value


def leaf_numbers(argument: ArgumentSpec, value: Any) -> Iterator[tuple[int, Any]]:
    """Yield the number of every leaf that is data, and what is in its place in another value."""
    if isinstance(argument, (ArraySpec, ScalarSpec)):
        yield argument.number, value
    elif isinstance(argument, ContainerSpec) and value is not None:
        parts = value if is_indexed(argument.kind) else trees.taken_apart(value)[0]
        for key, item in argument.items:
            yield from leaf_numbers(item, parts[key])


def is_indexed(kind: type) -> bool:
    """Return whether the parts of a container are its items."""
    return kind in (list, tuple, dict) or hasattr(kind, "_fields")


def has_opaque_arrays(value: Any) -> bool:
    """Return whether there are arrays that are no data, in arguments.

    Those are subclasses, arrays of text and objects, and arrays of other libraries: what is written
    into them would not be seen.
    """
    if isinstance(value, (list, tuple)):
        return any(map(has_opaque_arrays, value))
    if isinstance(value, dict):
        return any(map(has_opaque_arrays, value.values()))
    if type(value) is np.ndarray:
        return value.dtype.kind not in "fiubc"
    if trees.is_container(value):
        return any(map(has_opaque_arrays, trees.taken_apart(value)[0]))
    return hasattr(type(value), "__array__") and not isinstance(value, np.generic)


def array_specs(arguments: Iterable[ArgumentSpec]) -> dict[int, ArraySpec]:
    """Return the specs of the arrays that are data, by number."""
    found: dict[int, ArraySpec] = {}
    for argument in arguments:
        if isinstance(argument, ArraySpec):
            found[argument.number] = argument
        elif isinstance(argument, ContainerSpec):
            found |= array_specs(item for _, item in argument.items)
    return found


def fixed_objects(argument: ArgumentSpec) -> list[Any]:
    """Return what must stay the same inside of an argument."""
    if isinstance(argument, ContainerSpec):
        return [value for _, item in argument.items for value in fixed_objects(item)]
    return [argument.value] if isinstance(argument, FixedSpec) else []


def arguments_as_text(positional: ContainerSpec, named: ContainerSpec) -> str:
    """Return what a call must be like to fit the specs, as `(float64 (3,), n=4)`."""
    values = [_as_text(item) for _, item in positional.items]
    values += [f"{key}={_as_text(item)}" for key, item in named.items]
    return f"({', '.join(values)})"


def _as_text(argument: ArgumentSpec) -> str:
    if isinstance(argument, ContainerSpec):
        items = (f"{_key(argument, key)}{_as_text(item)}" for key, item in argument.items)
        return f"{argument.kind.__name__}({', '.join(items)})"
    if isinstance(argument, FixedSpec):
        return short_repr(argument.value)
    if isinstance(argument, ScalarSpec):
        return argument.kind.__name__
    text = f"{argument.dtype} {argument.shape}"
    if argument.is_c_contiguous:
        return text
    return f"{text} by columns" if argument.is_f_contiguous else f"{text} not contiguous"


def _key(container: ContainerSpec, key: Any) -> str:
    return f"{key}=" if container.kind is dict else ""


def argument_checks(
    positional: ContainerSpec,
    named: ContainerSpec,
    constant: Callable[[Any], str],
    is_brief: bool = False,
) -> list[str]:
    """Return lines that unpack the arguments of a call, the tuple `args` and the dict `kwargs`.

    They return MISS unless these fit the specs. `constant` gives the name of an object. A leaf that
    is data is named v and its number. With `is_brief`, dtypes and layouts of row-major arrays are
    not checked: the function that gets the arrays refuses others.
    """
    lines = [f"if len(args) != {len(positional.items)}:", "    return MISS"]
    for k, item in positional.items:
        lines += _checks(item, f"args[{k}]", constant, is_brief)
    if named.items:
        return [*lines, *_checks(named, "kwargs", constant, is_brief)]
    return [*lines, "if kwargs:", "    return MISS"]


def _checks(
    argument: ArgumentSpec, name: str, constant: Callable[[Any], str], is_brief: bool
) -> list[str]:
    if isinstance(argument, ContainerSpec):
        kind = constant(argument.kind)
        lines = [f"if {name}.__class__ is not {kind}:", "    return MISS"]
        if not is_indexed(argument.kind):
            own = f"parts_{re.sub(r'[^a-zA-Z0-9]+', '_', name)}"
            taken_apart, metadata = constant(trees.taken_apart), constant(argument.metadata)
            lines.append(f"{own}, metadata, _ = {taken_apart}({name})")
            name = own
            lines += [f"if metadata != {metadata}:", "    return MISS"]
        lines += [f"if len({name}) != {len(argument.items)}:", "    return MISS"]
        for key, item in argument.items:
            index = repr(key) if type(key) in (int, str) else constant(key)
            if argument.kind is dict:
                lines += [f"if {index} not in {name}:", "    return MISS"]
            lines += _checks(item, f"{name}[{index}]", constant, is_brief)
        return lines
    if isinstance(argument, FixedSpec):
        return [f"if {_differs(argument.value, name, constant)}:", "    return MISS"]
    own = f"v{argument.number}"
    if isinstance(argument, ScalarSpec):
        kind = constant(argument.kind)
        taken = f"{constant(np.float64)}({name})" if argument.kind is float else name
        return [f"if {name}.__class__ is not {kind}:", "    return MISS", f"{own} = {taken}"]
    tests = [f"type({own}) is not ndarray", f"{own}.shape != {argument.shape}"]
    if not (is_brief and argument.is_c_contiguous and argument.shape):
        dtype = constant(argument.dtype)
        tests.append(f"({own}.dtype is not {dtype} and {own}.dtype != {dtype})")
        tests += _layout(argument, own)
    return [f"{own} = {name}", f"if {' or '.join(tests)}:", "    return MISS"]


def _layout(argument: ArraySpec, own: str) -> list[str]:
    """Return tests of the memory layout of an array, which decides what is a view."""
    if len(argument.shape) == 0:
        return []
    if argument.is_c_contiguous:
        return [f"not {own}.flags.c_contiguous"]
    if argument.is_f_contiguous:
        return [f"not {own}.flags.f_contiguous"]
    return [f"{own}.flags.c_contiguous", f"{own}.flags.f_contiguous"]


def _differs(value: Any, name: str, constant: Callable[[Any], str]) -> str:
    if value is None or type(value) is bool:
        return f"{name} is not {value!r}"
    if type(value) in (float, complex):  # nan is nan, and 0.0 is not -0.0
        kind = type(value).__name__
        return f"{name}.__class__ is not {kind} or repr({name}) != {repr(value)!r}"
    if type(value) in _COMPARED_BY_VALUE:
        return f"{name}.__class__ is not {type(value).__name__} or {name} != {value!r}"
    return f"{name} is not {constant(value)}"
