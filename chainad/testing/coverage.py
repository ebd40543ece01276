"""What becomes of every public function of NumPy and SciPy: a table, from the registry.

`python -m chainad.testing.coverage` prints it; `notebooks/coverage.md` is a copy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import scipy
import scipy.special

import chainad.scipy
from chainad.frontends.numpy.makers import MAKERS
from chainad.frontends.numpy.traced_values import CREATION
from chainad.rules import CONSTANT, DEFINED, REFUSED, RULES, WRITERS
from chainad.rules.base import kind_of

Function = Callable[..., Any]

MODULES: dict[str, ModuleType] = {
    "numpy": np,
    "numpy.linalg": np.linalg,
    "numpy.fft": np.fft,
    "numpy.polynomial.polynomial": np.polynomial.polynomial,
    "numpy.lib.stride_tricks": np.lib.stride_tricks,
    "math": math,
    "scipy.special": scipy.special,
    "chainad.scipy.special": chainad.scipy.special,
    "chainad.scipy.linalg": chainad.scipy.linalg,
    "chainad.scipy.fft": chainad.scipy.fft,
    "chainad.scipy.signal": chainad.scipy.signal,
}
# By module of SciPy, the names that take traced values in chainad's module of that name.
_INSTEAD: dict[str, list[str]] = {
    home.__name__.removeprefix("chainad."): [
        name for name in home.__all__ if not isinstance(getattr(home, name), ModuleType)
    ]
    for home in (
        *(getattr(chainad.scipy, name) for name in sorted(chainad.scipy.__all__)),
        chainad.scipy.sparse.linalg,
    )
}
_STATUSES = {
    "differentiated": "derivative",
    "followed": "takes traced values",
    "constant": "plain values: the derivative is zero where there is one",
    "makes": "an array that traced values can be written into",
    "writes": "writes into a traced array, which is followed",
    "refused": "refused",
    "not yet": "refused: no rule yet",
}


def functions(
    module_name: str, modules: Mapping[str, ModuleType] = MODULES
) -> Iterator[tuple[str, Function]]:
    """Yield the public functions of a module that dispatch to traced values, by name."""
    module = modules[module_name]
    names = getattr(module, "__all__", None) or [n for n in dir(module) if not n.startswith("_")]
    for name in sorted(names):
        function: Any = getattr(module, name, None)
        if type(function).__hash__ is None:
            continue
        is_numpys = isinstance(function, np.ufunc) or hasattr(function, "_implementation")
        if is_numpys or any(function in known for known in (RULES, DEFINED, MAKERS)):
            yield name, function


def status(function: Function) -> str:
    """Return what becomes of a function: one of `_STATUSES`."""
    if function in WRITERS:
        return "writes"
    if function in CREATION:
        return "makes"
    if function in REFUSED:
        return "refused"
    if function in RULES or function in DEFINED:
        return "differentiated"
    if function in CONSTANT:
        return "constant"
    return "followed" if function in MAKERS else "not yet"


def kind(function: Function) -> str:
    """Return what kind of function its row says it is, in words, or ""."""
    found = kind_of(function)
    words = "" if found is None else type(found).__name__
    return "".join(f" {c.lower()}" if c.isupper() else c for c in words).strip()


def row(function: Function) -> tuple[str, str]:
    """Return what happens when a function gets traced values, and what to write."""
    happens = _STATUSES[status(function)]
    if status(function) == "refused":
        reason, _, advice = REFUSED[function].partition("; ")
        return f"{happens}: {reason.partition(' ')[2]}", advice
    if status(function) == "not yet":
        return happens, "make it a chainad.primitive"
    return f"{happens} ({kind(function)})" if kind(function) else happens, "the same"


def rows(
    module_name: str, modules: Mapping[str, ModuleType] = MODULES
) -> Iterator[tuple[str, str, str]]:
    """Yield the name of every function of a module, what happens, and what to write."""
    listed = set()
    for name, function in functions(module_name, modules) if module_name in modules else ():
        listed.add(name)
        yield f"`{name}`", *row(function)
    for name in _INSTEAD.get(module_name, ()):
        if name not in listed:
            yield (
                f"`{name}`",
                "SciPy's takes plain arrays, chainad's has a derivative",
                f"`chainad.{module_name}.{name}`",
            )


def table(modules: Mapping[str, ModuleType] = MODULES) -> str:
    """Return the table as Markdown."""
    lines = [
        "# What becomes of every function",
        "",
        f"NumPy {np.__version__}, SciPy {scipy.__version__}. Made by"
        " `python -m chainad.testing.coverage`; a test keeps it true. What is not listed takes"
        " plain numbers alone.",
    ]
    for module in {**modules, **_INSTEAD}:
        if module.startswith("chainad."):
            continue  # under SciPy's names
        lines += [
            "",
            f"## {module}",
            "",
            "| name | what happens | what to write |",
            "|---|---|---|",
        ]
        lines += [f"| {' | '.join(cells)} |" for cells in rows(module, modules)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(), end="")
