"""What becomes of every public function of NumPy and scipy.special: a table, from the registry.

`python -m chainad.testing.coverage` prints it; `notebooks/coverage.md` is a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import scipy
import scipy.special

import chainad.scipy
from chainad.frontends.numpy.traced_values import CREATION
from chainad.rules import CONSTANT, DEFINED, REFUSED, RULES, WRITERS
from chainad.rules.base import kind_of

Function = Callable[..., Any]

MODULES: dict[str, ModuleType] = {
    "numpy": np,
    "numpy.linalg": np.linalg,
    "numpy.fft": np.fft,
    "scipy.special": scipy.special,
    "chainad.scipy.special": chainad.scipy.special,
    "chainad.scipy.linalg": chainad.scipy.linalg,
    "chainad.scipy.fft": chainad.scipy.fft,
    "chainad.scipy.signal": chainad.scipy.signal,
}
_STATUSES = {
    "differentiated": "has a derivative",
    "constant": "has derivative zero where it has one: returns plain values",
    "makes": "makes an array like a traced one, which can be filled",
    "writes": "writes into a traced array, and is followed",
    "refused": "raises an error that says why, and what to write instead",
    "not yet": "raises an error",
}


def functions(
    module_name: str, modules: Mapping[str, ModuleType] = MODULES
) -> Iterator[tuple[str, Function]]:
    """Yield the public functions of a module that dispatch to traced values, by name."""
    module = modules[module_name]
    names = getattr(module, "__all__", None) or [n for n in dir(module) if not n.startswith("_")]
    for name in sorted(names):
        function = getattr(module, name, None)
        is_numpys = isinstance(function, np.ufunc) or hasattr(function, "_implementation")
        if callable(function) and (is_numpys or function in RULES or function in DEFINED):
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
    return "constant" if function in CONSTANT else "not yet"


def kind(function: Function) -> str:
    """Return what kind of function its row says it is."""
    found = kind_of(function)
    if found is not None:
        return _words(type(found).__name__)
    return "in terms of others" if function in DEFINED else _NO_KIND


_NO_KIND = "others"


def _words(name: str) -> str:
    """Return the name of a class in words: 'piecewise constant'."""
    return "".join(f" {c.lower()}" if c.isupper() else c for c in name).strip()


def table(modules: Mapping[str, ModuleType] = MODULES) -> str:
    """Return the table as Markdown."""
    lines = [
        "# What becomes of every function",
        "",
        f"NumPy {np.__version__}, SciPy {scipy.__version__}. Made by"
        " `python -m chainad.testing.coverage`; a test keeps it true. Functions that do not"
        " dispatch to traced values are not listed.",
        "",
        "| | " + " | ".join(_STATUSES) + " |",
        "|---|" + "---|" * len(_STATUSES),
    ]
    found = {module: list(functions(module, modules)) for module in modules}
    for module, rows in found.items():
        counts = [sum(status(f) == each for _, f in rows) for each in _STATUSES]
        lines.append(f"| {module} | " + " | ".join(map(str, counts)) + " |")
    for module, rows in found.items():
        lines += ["", f"## {module}"]
        for each, meaning in _STATUSES.items():
            here = [(name, f) for name, f in rows if status(f) == each]
            if not here:
                continue
            lines += ["", f"**{each}** ({meaning}):", ""]
            by_kind = sorted({kind(f) for _, f in here}, key=lambda one: (one == _NO_KIND, one))
            for one in by_kind:
                names = ", ".join(f"`{name}`" for name, f in here if kind(f) == one)
                lines.append(names if by_kind == [_NO_KIND] else f"- {one}: {names}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(), end="")
