"""Python's operators: what each of them is on arrays, and how it is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

# By the name of the method, without underscores.
ARITHMETIC: dict[str, np.ufunc] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "truediv": np.divide,
    "floordiv": np.floor_divide,
    "mod": np.remainder,
    "pow": np.power,
    "matmul": np.matmul,
}
COMPARISONS: dict[str, np.ufunc] = {
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
}
BITWISE: dict[str, np.ufunc] = {
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "lshift": np.left_shift,
    "rshift": np.right_shift,
}
SIGNS: dict[str, np.ufunc] = {"neg": np.negative, "pos": np.positive, "abs": np.absolute}

_SYMBOLS = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**",
    "matmul": "@", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!=",
    "and": "&", "or": "|", "xor": "^", "lshift": "<<", "rshift": ">>",
}  # fmt: skip
# By ufunc, the operator between two operands.
SYMBOLS: dict[Callable[..., Any], str] = {
    ufunc: _SYMBOLS[name] for name, ufunc in {**ARITHMETIC, **COMPARISONS, **BITWISE}.items()
}
# How calls are written that are more than a name and arguments: `{0}` is the first of these.
TEMPLATES: dict[Callable[..., Any], str] = {
    function: f"{{0}} {symbol} {{1}}"
    for function, symbol in SYMBOLS.items()
    if function is not np.matmul
}
TEMPLATES[np.negative] = "-{0}"

_Function = TypeVar("_Function", bound=Callable[..., Any])


def written_as(template: str) -> Callable[[_Function], _Function]:
    """Let calls of a function be written in another way in generated source."""

    def register(function: _Function) -> _Function:
        TEMPLATES[function] = template
        return function

    return register


# The order of two operands makes no difference, to the last bit.
COMMUTATIVE: frozenset[np.ufunc] = frozenset({np.add, np.multiply})
