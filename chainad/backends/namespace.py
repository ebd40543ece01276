"""The names of generated source: what objects they stand for, and the functions made of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainad.ir import array_functions, exact_zeros
from chainad.ir.positions import Positions

_NAMED: tuple[Any, ...] = (
    np.add, np.subtract, np.multiply, np.negative, np.matmul, np.vecdot, np.concatenate,
    np.copy, np.copyto, np.empty, array_functions.add_at, array_functions.add_at_into,
    array_functions.add_tied, array_functions.add_tied_into, array_functions.pair_matmul,
    array_functions.place, array_functions.place_into, array_functions.scatter,
    array_functions.scatter_into, array_functions.segment_sum, array_functions.sparse_dot,
    array_functions.symmetric_matmul, array_functions.take,
    exact_zeros.any_along, exact_zeros.masked_jvp, exact_zeros.masked_matmul,
    exact_zeros.masked_vjp, exact_zeros.sum_of_squares,
)  # fmt: skip
# What source names as it stands.
_FUNCTIONS = {function.__name__: function for function in _NAMED}


class Namespace:
    """The objects that generated source names."""

    def __init__(self, **objects: Any) -> None:
        self.objects: dict[str, Any] = {"np": np, **_FUNCTIONS, **objects}
        self._name_of_id: dict[int, str] = {}

    def constant(self, value: Any) -> str:
        """Return the name of an object."""
        name = self._name_of_id.get(id(value))
        if name is None:
            name = self._name_of_id[id(value)] = f"c{len(self._name_of_id)}"
            self.objects[name] = value
        return name

    def number(self, value: float, dtype: Any) -> str:
        """Return the name of a 0-d array."""
        array = np.array(value, dtype)
        digits = repr(float(array)).removesuffix(".0")
        name = "n" + digits.translate({ord("-"): "m", ord("."): "_", ord("+"): None})
        name += "" if array.dtype == np.float64 else "f"
        self.objects[name] = array
        return name

    def function(self, function: Callable[..., Any]) -> str:
        """Return the name of a function: NumPy's own, where it has one."""
        name = getattr(function, "__name__", "")
        is_numpys = getattr(np, name or "_", None) is function
        if not is_numpys or self.objects.setdefault(name, function) is not function:
            return self.constant(function)
        return name

    def full(self, value: float, dtype: np.dtype[Any] | None) -> str:
        """Return the name of a number that a program itself brings."""
        return self.constant(np.float64(value) if dtype is None else dtype.type(value))

    def positions(self, where: Positions) -> str:
        """Return the name of positions along an axis."""
        return self.constant(where)

    def regions(self, where: tuple[Positions, ...]) -> str:
        """Return the name of several positions."""
        return self.constant(where)

    def indexer(self, where: Positions) -> str:
        """Return the name of what indexes an axis at its positions."""
        return self.constant(array_functions.indexer_of(where))

    def evaluate(self, text: str) -> Any:
        """Return what an expression is."""
        return eval(compile(text, "<chainad expression>", "eval"), self.objects)

    def define(self, head: str, lines: Sequence[str]) -> tuple[Callable[..., Any], str]:
        """Return the function of a head such as `run(slots)` and lines, and its source."""
        text = function_source(head, lines)
        name = head.partition("(")[0]
        exec(compile(text, f"<chainad {name}>", "exec"), self.objects)
        return self.objects[name], text


def function_source(head: str, lines: Sequence[str]) -> str:
    """Return the source of a function."""
    return "\n    ".join([f"def {head}:", *lines]) + "\n"
