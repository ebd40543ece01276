"""What traced values have in common with arrays: operators, methods of arrays and of ufuncs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from inspect import unwrap
from types import FunctionType
from typing import Any

import numpy as np
import scipy.sparse

from chainad.errors import TraceError
from chainad.frontends.numpy.fast_path import recorded_binary
from chainad.frontends.numpy.packing import as_one
from chainad.frontends.numpy.traced_calls import call, call_in_general, written
from chainad.ir.operators import ARITHMETIC, COMPARISONS, SIGNS
from chainad.ir.source_lines import here
from chainad.rules.base import CONSTANT, DEFINED, REFUSED, RULES, name_of, static
from chainad.rules.sparse_arrays import SparseArray
from chainad.rules.ufunc_methods import METHODS

_NO_OPTIONS: dict[str, Any] = {}

# Types of most right operands; the classes of traced values are added to them.
COMMON_OPERAND_TYPES: set[type] = {float, int, np.float64, np.ndarray}

_IN_PLACE = {"sort"}  # which returns nothing, unlike the function of that name


def add_array_methods(cls: type) -> None:
    """Give a class the operators and methods of arrays that it lacks, where they have a row."""
    for name, ufunc in ARITHMETIC.items():
        setattr(cls, f"__{name}__", _binary(name, ufunc, swapped=False))
        setattr(cls, f"__r{name}__", _binary(name, ufunc, swapped=True))
    for name, ufunc in COMPARISONS.items():
        setattr(cls, f"__{name}__", _comparison(_binary(name, ufunc, swapped=False)))
    for name, ufunc in SIGNS.items():
        setattr(cls, f"__{name}__", _unary(ufunc))
    for name in {*dir(np.ndarray)} - {*dir(cls)} - _IN_PLACE:
        function: Any = getattr(np, name, None)
        has_row = function in RULES or function in DEFINED or function in CONSTANT
        if has_row and callable(getattr(np.ndarray, name)):
            setattr(cls, name, _method(function))


def _binary(name: str, ufunc: np.ufunc, swapped: bool) -> Callable[[Any, Any], Any]:
    def method(self: Any, other: Any) -> Any:
        if type(other) not in COMMON_OPERAND_TYPES:
            if other is NotImplemented or isinstance(other, (str, bytes, dict)):
                return NotImplemented
            if not swapped and not self.shape and _has_operators(other):
                return NotImplemented
            if isinstance(other, SparseArray) or scipy.sparse.issparse(other):
                operator = getattr(SparseArray, f"__{name}__" if swapped else f"__r{name}__", None)
                return operator(SparseArray.of(other), self) if operator else NotImplemented
        args = (other, self) if swapped else (self, other)
        done = recorded_binary(ufunc, *args) if is_plain else None
        return call_in_general(ufunc, args, _NO_OPTIONS) if done is None else done

    is_plain = ufunc in RULES and RULES[ufunc].is_plain
    return method


def _comparison(compare: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return a comparison; by one in np.linalg, NumPy decides what to compute.

    By one in a minimizer, SciPy decides which of the points where it has looked is the minimum.
    """

    def method(self: Any, other: Any) -> Any:
        found = compare(self, other)
        if self.shape or self.tape.is_recorder or found is NotImplemented:
            return found
        self.tape.comparisons += 1
        names = sys._getframe(1).f_globals
        if names is _LINALG:
            self._refuse(REFUSED[static])
        if names.get("__name__") == "scipy.optimize._optimize":
            self._refuse_numbers("a minimizer compares traced values, and returns plain numbers")
        return found

    return method


# Its norms are not dispatched on `ord`.
_LINALG: dict[str, Any] = unwrap(np.linalg.norm).__globals__


def _has_operators(value: Any) -> bool:
    """Return whether a value is of a class of the user's that says what a number times it is."""
    kind = type(value)
    return type(getattr(kind, "__rmul__", None)) is FunctionType and not any(
        hasattr(kind, name) for name in ("__array_ufunc__", "__array__", "__float__", "__len__")
    )


def _unary(function: Callable[..., Any]) -> Callable[[Any], Any]:
    return lambda self: call(function, (self,), {})


def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return call(function, (self, *args), kwargs)

    method.__doc__ = f"See numpy.{function.__name__}."
    return method


def ufunc_method(
    ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Compute a method of a ufunc other than its call."""
    if method == "at":
        raise TraceError(
            f"{here()}{name_of(ufunc)}.at writes into an array, and the derivative would be lost;"
            " use np.stack, a matrix product, or np.concatenate"
        )
    options = {k: v for k, v in kwargs.items() if v is not None or k == "axis"}
    out = options.pop("out", (None,))[0]
    try:
        result = METHODS[method](ufunc, *map(as_one, inputs), **options)
    except NotImplementedError as error:
        raise TraceError(f"{here()}{name_of(ufunc)}.{method}: {error}") from None
    return result if out is None else written(out, result, f"{name_of(ufunc)}.{method}")
