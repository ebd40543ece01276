"""A function and its arguments, as a command names them: `model:f --shape x=1000`."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import reduce
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from chainad.api.function_of import name_of
from chainad.errors import InputError

Call = tuple[tuple[Any, ...], dict[str, Any]]

_SHAPE = re.compile(r"(?:(?P<name>[^\W\d]\w*)=)?\(?(?P<sizes>(?:\d+(?:,\d+)*)?),?\)?")


def function_named(text: str) -> tuple[ModuleType, Callable[..., Any]]:
    """Return the module and the function of `module:function`, or of `path/file.py:function`.

    Raises
    ------
    InputError
        If the text is neither, the module has no such function, or cannot be found.
    """
    place, _, name = text.rpartition(":")
    if not place or not name:
        raise InputError(
            f"{text!r} names no function: write module:function, or path/file.py:function"
        )
    module = _module_of_file(Path(place)) if place.endswith(".py") else _module(place)
    try:
        found = reduce(getattr, name.split("."), module)
    except AttributeError:
        functions = [each for each, value in vars(module).items() if callable(value)]
        similar = get_close_matches(name, functions, n=1)
        advice = f"; did you mean {similar[0]!r}?" if similar else ""
        raise InputError(f"{place} has no function {name!r}{advice}") from None
    if not callable(found):
        raise InputError(f"{text} is no function, but of type {type(found).__name__}")
    return module, found


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # what the module imports itself
        raise InputError(
            f"there is no module {error.name!r} here; a file is named by its path, ending with .py"
        ) from None


def _module_of_file(path: Path) -> ModuleType:
    """Return a module as Python runs a file: its own folder is the first that it imports from."""
    spec = spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise InputError(f"there is no file {str(path)!r}")
    sys.path.insert(0, str(path.resolve().parent))
    module = sys.modules[path.stem] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def arguments(
    f: Callable[..., Any], module: ModuleType, shapes: Sequence[str], given: str | None
) -> Call:
    """Return the arguments of a call: of some shapes, from a file, or by a Python expression.

    Raises
    ------
    InputError
        If a shape is none, the file cannot be read, or there are no arguments at all.
    """
    args, kwargs = ((), {}) if given is None else _given(given, module)
    positional, named = [*args], {**kwargs}
    rng = np.random.default_rng(0)
    for text in shapes:
        name, shape = _shape(text)
        values = rng.random(shape)  # positive: they may go through logarithms
        if name is None:
            positional.append(values)
        else:
            named[name] = values
    if not positional and not named:
        raise InputError(
            "there are no arguments: give shapes, such as --shape x=1000, or --args FILE.npz, or"
            " --args with a Python expression"
        )
    return _bound(f, positional, named)


def _shape(text: str) -> tuple[str | None, tuple[int, ...]]:
    """Return name and shape of `x=30,4`; the shape of a number is empty."""
    match = _SHAPE.fullmatch(text.replace(" ", ""))
    if match is None:
        raise InputError(f"{text!r} is no shape: write x=1000, or W=20,30, or x= for a number")
    sizes = match["sizes"]
    return match["name"], tuple(map(int, sizes.split(","))) if sizes else ()


def _given(text: str, module: ModuleType) -> Call:
    """Return the arguments in a file of arrays, or in a Python expression as inside a call."""
    if text.endswith((".npz", ".npy")):
        return _loaded(Path(text))
    names = {"np": np, **vars(module), "_call": lambda *args, **kwargs: (args, kwargs)}
    found: Call = eval(compile(f"_call({text})", "--args", "eval"), names)
    return found


def _loaded(path: Path) -> Call:
    """Return arrays by the names of parameters; those without names by position."""
    if not path.is_file():
        raise InputError(f"there is no file {str(path)!r}")
    found: Any = np.load(path)
    if isinstance(found, np.ndarray):
        return (found,), {}
    with found:
        arrays = {name: found[name][()] for name in found.files}
    unnamed = [name for name in arrays if re.fullmatch(r"arr_\d+", name)]
    args = tuple(arrays.pop(name) for name in unnamed)
    return args, arrays


def _bound(f: Callable[..., Any], positional: list[Any], named: Mapping[str, Any]) -> Call:
    """Return arguments, those by name put by position as far as f takes them so."""
    try:
        signature = inspect.signature(f)
    except (ValueError, TypeError):  # a function in C that does not tell
        return tuple(positional), {**named}
    rest = dict(named)
    for parameter in [*signature.parameters.values()][len(positional) :]:
        by_position = parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD
        if parameter.kind not in by_position or parameter.name not in rest:
            break
        positional.append(rest.pop(parameter.name))
    try:
        signature.bind(*positional, **rest)
    except TypeError as error:
        raise InputError(f"{error}; {name_of(f)} takes {signature}") from None
    return tuple(positional), rest
